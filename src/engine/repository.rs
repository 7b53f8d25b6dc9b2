//! A repository: a store with a marker, opened with a key or without one.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::crypto::{CryptoError, DomainId, PassphraseSlot, ReadingKey, WriterKey};
use super::env::Env;
use super::error::{EngineError, short};
use super::features::{self, Deed};
use super::format::{self, FORMAT};
use super::hex;
use super::index::{self, Index, PackEntries};
use super::line;
use super::manifest::{Authentic, Clear, Manifest};
use super::pack::PackView;
use super::store::{Folder, Listed, Store, StoreName};

/// The description of the format, which every repository carries.
const FORMAT_PAGE: &[u8] = include_bytes!("../../docs/format.md");

/// Says what a repository is: the content of its marker, which never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The format's number.
    pub format: u32,
    /// The repository's id: 32 hexadecimal digits.
    pub repository: String,
    /// The identity of the machine through which all access goes.
    pub home: String,
    /// The key domain.
    pub domain: String,
    /// The public key that session keys are sealed to.
    pub recipient: String,
    /// How files are cut into chunks.
    pub chunker: String,
    /// Features, and what a program that does not know one must not do: `read`, `write` or `collect`.
    pub features: BTreeMap<String, String>,
}

const CHUNKER: &str = "fastcdc-2020 524288 1048576 4194304";

/// Says what a new repository is to be.
#[derive(Debug, Clone)]
pub struct CreateOptions {
    /// The identity of its home machine.
    pub home: String,
    /// The key domain.
    pub domain: DomainId,
    /// The recipient's public key.
    pub recipient: [u8; 32],
    /// Slots that a passphrase opens.
    pub slots: Vec<PassphraseSlot>,
}

impl CreateOptions {
    /// Returns the options for a key, without slots.
    pub fn for_key(home: &str, key: &ReadingKey) -> Self {
        Self {
            home: home.to_owned(),
            domain: key.domain(),
            recipient: *key.public(),
            slots: Vec::new(),
        }
    }

    /// Returns the options for the domain and recipient of a writer's key, without slots.
    pub fn for_writer(home: &str, writer: &WriterKey) -> Self {
        Self {
            home: home.to_owned(),
            domain: writer.domain(),
            recipient: *writer.recipient(),
            slots: Vec::new(),
        }
    }
}

/// Says with what a repository is opened.
#[derive(Debug, Clone)]
pub enum Access {
    /// Reads everything, and can write with any label.
    Reader(ReadingKey),
    /// Writes and reads nothing back.
    Writer(WriterKey),
    /// Holds no key: lists, copies and checks hashes.
    Keyless,
}

/// Is an open repository.
#[derive(Clone)]
pub struct Repository {
    pub(super) store: Arc<dyn Store>,
    pub(super) marker: Marker,
    pub(super) access: Access,
    pub(super) env: Env,
}

/// Describes one snapshot of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The manifest's name.
    pub name: StoreName,
    /// What everybody may know of it.
    pub clear: Clear,
    /// Whether that is known to be its writer's word.
    pub authentic: Authentic,
}

/// Is what a listing of snapshots found.
#[derive(Debug, Default)]
pub struct Snapshots {
    /// The snapshots, by source and time.
    pub found: Vec<Snapshot>,
    /// Manifests that make no sense, and why.
    pub damaged: Vec<(StoreName, String)>,
}

impl Repository {
    /// Makes an empty store a repository; the marker comes last.
    pub fn create(
        store: &dyn Store,
        env: &Env,
        options: &CreateOptions,
    ) -> Result<Marker, EngineError> {
        clear_earlier_attempt(store)?;
        let id: [u8; 16] = env.random().map_err(CryptoError::Entropy)?;
        for slot in &options.slots {
            store.put(&slot.name()?, &slot.encode())?;
        }
        let marker = Marker {
            format: FORMAT,
            repository: hex::encode(&id),
            home: options.home.clone(),
            domain: options.domain.to_string(),
            recipient: hex::encode(&options.recipient),
            chunker: CHUNKER.to_owned(),
            features: BTreeMap::new(),
        };
        marker.store(store)?;
        Ok(marker)
    }

    /// Makes an empty store a repository of the same key domain as another, slots included.
    pub fn create_like(
        store: &dyn Store,
        env: &Env,
        home: &str,
        like: &dyn Store,
    ) -> Result<Marker, EngineError> {
        let old = Marker::read(like)?;
        old.check(Deed::Write)?;
        clear_earlier_attempt(store)?;
        for file in like.list(Folder::Keys)? {
            store.put(&file.name, &like.get(&file.name)?)?;
        }
        let id: [u8; 16] = env.random().map_err(CryptoError::Entropy)?;
        let marker = Marker {
            repository: hex::encode(&id),
            home: home.to_owned(),
            ..old
        };
        marker.store(store)?;
        Ok(marker)
    }

    /// Opens a repository; a key must be of its domain.
    pub fn open(store: Arc<dyn Store>, env: Env, access: Access) -> Result<Self, EngineError> {
        let marker = Marker::read(&*store)?;
        let domain = match &access {
            Access::Reader(key) => Some(key.domain()),
            Access::Writer(key) => Some(key.domain()),
            Access::Keyless => None,
        };
        if let Some(domain) = domain.map(|domain| domain.to_string())
            && domain != marker.domain
        {
            return Err(EngineError::WrongKey {
                wanted: short(&marker.domain),
                given: short(&domain),
            });
        }
        Ok(Self {
            store,
            marker,
            access,
            env,
        })
    }

    /// Returns the store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Returns the marker.
    pub fn marker(&self) -> &Marker {
        &self.marker
    }

    /// Returns the reading key, if the repository was opened with it.
    pub fn reading_key(&self) -> Option<&ReadingKey> {
        match &self.access {
            Access::Reader(key) => Some(key),
            _ => None,
        }
    }

    pub(super) fn require_reading_key(
        &self,
        purpose: &'static str,
    ) -> Result<&ReadingKey, EngineError> {
        self.reading_key()
            .ok_or(EngineError::NeedsReadingKey(purpose))
    }

    /// Returns a writer's key: the one it was opened with, or one derived for `label`.
    pub fn writer_key(&self, label: &str) -> Result<WriterKey, EngineError> {
        match &self.access {
            Access::Reader(key) => Ok(key.writer(label)?),
            Access::Writer(key) => Ok(key.clone()),
            Access::Keyless => Err(EngineError::NeedsWriterKey),
        }
    }

    /// Lists the snapshots, of one source or of all.
    pub fn snapshots(&self, source: Option<&str>) -> Result<Snapshots, EngineError> {
        let mut snapshots = Snapshots::default();
        for Listed { name, .. } in self.store.list(Folder::Snapshots)? {
            if source.is_some_and(|source| name.parts().next() != Some(source)) {
                continue;
            }
            let bytes = match self.store.get(&name) {
                // Forgotten between the listing and now.
                Err(error) if error.is_not_found() => continue,
                bytes => bytes?,
            };
            match Manifest::decode(&name, &bytes) {
                Ok(manifest) => snapshots.found.push(Snapshot {
                    authentic: manifest.authentic(self.reading_key()),
                    clear: manifest.clear,
                    name,
                }),
                Err(error) => snapshots.damaged.push((name, error.to_string())),
            }
        }
        Ok(snapshots)
    }

    /// Finds a snapshot by `latest`, the start of its id, its name, or `source/…` of these.
    pub fn find_snapshot(&self, wanted: &str) -> Result<Snapshot, EngineError> {
        let (source, wanted_part) = match wanted.split_once('/') {
            Some((source, rest)) => (Some(source), rest),
            None => (None, wanted),
        };
        let missing = || EngineError::NoSnapshot(wanted.to_owned());
        let found = self.snapshots(source)?.found;
        if wanted_part == "latest" {
            let latest = found.into_iter().max_by_key(|snap| snap.clear.started);
            return latest.ok_or_else(missing);
        }
        let fits = |snap: &Snapshot| {
            let by_id = wanted_part.len() >= 4 && snap.clear.id.starts_with(wanted_part);
            by_id || snap.name.file_name() == wanted_part
        };
        let mut fitting = found.into_iter().filter(fits);
        let first = fitting.next().ok_or_else(missing)?;
        match fitting.next() {
            Some(_) => Err(EngineError::Ambiguous(wanted.to_owned())),
            None => Ok(first),
        }
    }

    /// Reads the index; a segment that is damaged is left out and named.
    pub fn load_index(&self) -> Result<(Index, Vec<(StoreName, String)>), EngineError> {
        load_index(&*self.store)
    }
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Repository")
            .field("place", &self.store.place())
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}

impl Marker {
    /// Reads the marker of a store.
    pub fn read(store: &dyn Store) -> Result<Self, EngineError> {
        #[derive(Deserialize)]
        struct Number {
            format: u32,
        }
        let name = StoreName::marker();
        let bytes = store.get(&name)?;
        // Of another format, nothing but its number can be expected to make sense.
        if let Ok(Number { format }) = serde_json::from_slice(&bytes) {
            format::check_number(format)?;
        }
        let marker: Self = line::decode(&bytes).map_err(|error| {
            let reason = format!("{error}; put its copy from `recovery/` in its place");
            EngineError::damaged(&name, reason)
        })?;
        marker.check(Deed::Read)?;
        Ok(marker)
    }

    /// Refuses what features that this program does not know forbid.
    pub fn check(&self, deed: Deed) -> Result<(), EngineError> {
        features::check(&self.features, deed)
    }

    /// Makes a store a repository: the marker comes last, after what may be needed without it.
    fn store(&self, store: &dyn Store) -> Result<(), EngineError> {
        let bytes = line::encode(self);
        store.put(
            &StoreName::recovery("format", "md", FORMAT_PAGE),
            FORMAT_PAGE,
        )?;
        store.put(&StoreName::recovery("marker", "json", &bytes), &bytes)?;
        store.put(&StoreName::marker(), &bytes)?;
        Ok(())
    }
}

/// Removes what an attempt to make a repository left that ended before its marker: slots of a
/// key that is gone, and a marker's copy.
fn clear_earlier_attempt(store: &dyn Store) -> Result<(), EngineError> {
    match store.size(&StoreName::marker()) {
        Err(error) if error.is_not_found() => {}
        // It is a repository, and putting another marker will be refused.
        found => return Ok(found.map(|_| ())?),
    }
    for folder in [Folder::Keys, Folder::Recovery] {
        for file in store.list(folder)? {
            store.remove(&file.name)?;
        }
    }
    Ok(())
}

pub(super) fn load_index(
    store: &dyn Store,
) -> Result<(Index, Vec<(StoreName, String)>), EngineError> {
    let loaded = index::load(store)?;
    Ok((loaded.index, loaded.damaged))
}

/// Reads a pack whole and takes it apart, if it is what its name says.
pub(super) fn scan_pack(store: &dyn Store, name: &StoreName) -> Result<PackEntries, EngineError> {
    let bytes = store.get(name)?;
    name.check_bytes(&bytes)
        .map_err(|_| EngineError::damaged(name, "its bytes do not hash to its name"))?;
    let view = PackView::parse(&bytes).map_err(|error| EngineError::damaged(name, error))?;
    Ok(view.entries(name.folder() == Folder::Packs))
}

/// Reads which packs are condemned.
pub(crate) fn condemned(store: &dyn Store) -> Result<HashSet<[u8; 32]>, EngineError> {
    let mut packs = HashSet::new();
    for Listed { name, .. } in store.list(Folder::Gc)? {
        let bytes = match store.get(&name) {
            Err(error) if error.is_not_found() => continue,
            bytes => bytes?,
        };
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| EngineError::damaged(&name, "it is no text"))?;
        for line in text.lines() {
            let hash = hex::decode(line)
                .ok_or_else(|| EngineError::damaged(&name, "a line is no pack's name"))?;
            packs.insert(hash);
        }
    }
    Ok(packs)
}
