//! Packs: which are what their names say, and what is good in the others.

use std::collections::{HashMap, HashSet};

use super::segments::{Claims, Digest, digest};
use super::{DamagedPack, Read, Repair};
use crate::engine::crypto::{CryptoError, SealedSession};
use crate::engine::error::EngineError;
use crate::engine::index::{Index, PackEntries, PackInfo, Place};
use crate::engine::pack::{Header, PackBuilder, PackView, SALT_BYTES, SESSIONS_MAX, Salvage};
use crate::engine::progress::Event;
use crate::engine::store::{Folder, StoreName};

/// After how many bytes a pack of salvaged blobs is put.
const PACK_BYTES: usize = 64 << 20;

/// Is what a scan of all packs found.
#[derive(Default)]
pub(super) struct Packs {
    /// What is true of each intact pack.
    intact: HashMap<[u8; 32], Digest>,
    damaged: Vec<(StoreName, [u8; 32])>,
    /// Packs that could not be read: nothing is known of them.
    withheld: HashSet<[u8; 32]>,
    /// Packs that no segment names, or not rightly.
    unnamed: Vec<PackEntries>,
    sessions: Sessions,
}

/// Is the records of sessions: the only copies of the keys of what they sealed.
#[derive(Default)]
struct Sessions {
    /// From packs that are intact.
    known: HashMap<[u8; 16], SealedSession>,
    /// From manifests that are as they were written.
    committed: HashMap<[u8; 16], SealedSession>,
}

impl Sessions {
    /// Returns the record that a blob of a damaged pack needs, if one can be had.
    ///
    /// The pack's own record may be what is damaged, so that of another pack comes first; with
    /// the reading key it shows which of them opens.
    fn find<'a>(
        &'a self,
        repair: &Repair<'_>,
        id: &[u8; 16],
        own: &'a [SealedSession],
    ) -> Option<&'a SealedSession> {
        let own = own.iter().find(|session| session.id == *id);
        let mut candidates = [self.known.get(id), self.committed.get(id), own]
            .into_iter()
            .flatten();
        match repair.repository.reading_key() {
            Some(key) => candidates.find(|session| session.open(key).is_ok()),
            None => candidates.next(),
        }
    }
}

impl Packs {
    /// Reads every pack.
    pub(super) fn scan(
        repair: &mut Repair<'_>,
        claims: &Claims,
        committed: &[SealedSession],
    ) -> Result<Self, EngineError> {
        let mut packs = Self::default();
        let committed = committed.iter();
        let committed = committed.map(|session| (session.id, session.clone()));
        packs.sessions.committed.extend(committed);
        let mut files = repair.store.list(Folder::Packs)?;
        files.extend(repair.store.list(Folder::Meta)?);
        let bytes = files.iter().map(|file| file.size).sum();
        repair.observer.event(Event::Expected { bytes });
        for file in files {
            repair.check_cancel()?;
            let name = file.name;
            let hash = name.content_hash().expect("packs are named by their hash");
            let read = repair.store.get(&name);
            match repair.readable(&name, read)? {
                Read::There(bytes) => packs.add(repair, claims, name, hash, &bytes)?,
                Read::Gone => {}
                Read::Withheld => {
                    packs.withheld.insert(hash);
                }
            }
            repair.observer.event(Event::Checked { bytes: file.size });
        }
        Ok(packs)
    }

    fn add(
        &mut self,
        repair: &mut Repair<'_>,
        claims: &Claims,
        name: StoreName,
        hash: [u8; 32],
        bytes: &[u8],
    ) -> Result<(), EngineError> {
        repair.report.packs += 1;
        repair.report.bytes += bytes.len() as u64;
        let view = match check(&name, bytes) {
            Ok(view) => view,
            Err(reason) => {
                repair.report.damaged.push(DamagedPack {
                    name: name.to_string(),
                    reason,
                    good: 0,
                    salvaged: 0,
                });
                self.damaged.push((name, hash));
                return Ok(());
            }
        };
        for session in &view.sessions {
            let known = self.sessions.known.entry(session.id);
            known.or_insert_with(|| session.clone());
        }
        let entries = entries(&view, &name);
        let truth = digest(&entries);
        self.intact.insert(hash, truth);
        if !claims.say(&hash, &truth) {
            repair.report.indexed += 1;
            if !repair.options.dry_run {
                // Whoever put it may have died before it was durable.
                repair.store.settle(&name)?;
            }
            self.unnamed.push(entries);
        }
        Ok(())
    }

    /// Tells whether a pack is there, in whatever state.
    pub(super) fn is_there(&self, hash: &[u8; 32]) -> bool {
        self.intact.contains_key(hash)
            || self.withheld.contains(hash)
            || self.damaged.iter().any(|(_, damaged)| damaged == hash)
    }

    /// Tells whether what a segment says of a pack is true, as far as is known.
    pub(super) fn agree(&self, hash: &[u8; 32], digest: &Digest) -> bool {
        self.withheld.contains(hash) || self.intact.get(hash) == Some(digest)
    }

    /// Adds the packs that no segment names, and makes the index findable.
    pub(super) fn add_to(&self, index: &mut Index) {
        for pack in &self.unnamed {
            index.add(pack);
        }
        index.sort();
    }

    /// Returns the packs that new segments are to name.
    pub(super) fn take_unnamed(&mut self) -> Vec<PackEntries> {
        std::mem::take(&mut self.unnamed)
    }

    /// Copies what is good in damaged packs, and nowhere else, into new packs.
    pub(super) fn salvage(
        &mut self,
        repair: &mut Repair<'_>,
        index: &mut Index,
    ) -> Result<(), EngineError> {
        let mut copied = HashSet::new();
        for number in 0..self.damaged.len() {
            repair.check_cancel()?;
            let (name, hash) = self.damaged[number].clone();
            let read = repair.store.get(&name);
            let Read::There(bytes) = repair.readable(&name, read)? else {
                continue;
            };
            let salvage = Salvage::search(&bytes);
            let mut target = Target::new(
                hash,
                name.folder() == Folder::Packs,
                bytes.len(),
                repair.salt()?,
            );
            for (header, offset, payload) in &salvage.blobs {
                let session = match header.cipher {
                    Some(_) => {
                        let found = self
                            .sessions
                            .find(repair, &header.session, &salvage.sessions);
                        if found.is_none() {
                            continue;
                        }
                        found
                    }
                    None => None,
                };
                target.good += 1;
                let is_new = index.position(&header.id).is_none() && copied.insert(header.id);
                if is_new {
                    target.push(repair, (header, *offset, payload), session)?;
                }
            }
            target.put(repair)?;
            let told = &mut repair.report.damaged[number];
            (told.good, told.salvaged) = (target.good, target.salvaged);
            for entries in target.packs {
                index.add(&entries);
                self.unnamed.push(entries);
            }
        }
        index.sort();
        Ok(())
    }

    /// Moves damaged packs away, unless somebody brought them back meanwhile.
    pub(super) fn set_aside(&self, repair: &mut Repair<'_>) -> Result<(), EngineError> {
        for (name, _) in &self.damaged {
            let read = repair.store.get(name);
            if let Read::There(bytes) = repair.readable(name, read)?
                && check(name, &bytes).is_err()
            {
                repair.store.set_aside(name)?;
            }
        }
        Ok(())
    }
}

impl Repair<'_> {
    fn salt(&self) -> Result<[u8; SALT_BYTES], EngineError> {
        let random = self.repository.env.random();
        Ok(random.map_err(CryptoError::Entropy)?)
    }
}

/// Takes the blobs of one damaged pack that are good.
struct Target {
    is_data: bool,
    good: u64,
    salvaged: u64,
    builder: PackBuilder,
    sessions: HashSet<[u8; 16]>,
    /// What new segments are to name.
    packs: Vec<PackEntries>,
    /// What a dry run would put, where it is now.
    left: PackEntries,
}

impl Target {
    fn new(hash: [u8; 32], is_data: bool, len: usize, salt: [u8; SALT_BYTES]) -> Self {
        Self {
            is_data,
            good: 0,
            salvaged: 0,
            builder: PackBuilder::new(salt),
            sessions: HashSet::new(),
            packs: Vec::new(),
            left: PackEntries {
                hash,
                size: len as u64,
                is_data,
                places: Vec::new(),
            },
        }
    }

    fn push(
        &mut self,
        repair: &Repair<'_>,
        (header, offset, payload): (&Header, usize, &[u8]),
        session: Option<&SealedSession>,
    ) -> Result<(), EngineError> {
        self.salvaged += 1;
        if repair.options.dry_run {
            self.left.places.push(Place::new(header, offset as u32));
            return Ok(());
        }
        self.builder.push(header, payload, session);
        self.sessions.extend(session.map(|session| session.id));
        if self.builder.len() >= PACK_BYTES || self.sessions.len() >= SESSIONS_MAX {
            self.put(repair)?;
        }
        Ok(())
    }

    fn put(&mut self, repair: &Repair<'_>) -> Result<(), EngineError> {
        if !self.left.places.is_empty() {
            self.packs.push(self.left.clone());
        }
        if self.builder.is_empty() {
            return Ok(());
        }
        let next = PackBuilder::new(repair.salt()?);
        let builder = std::mem::replace(&mut self.builder, next);
        self.sessions.clear();
        let (bytes, entries) = builder.finish(self.is_data);
        let info: PackInfo = entries.info();
        repair.store.put(&info.name(), &bytes)?;
        repair.observer.event(Event::Stored {
            bytes: bytes.len() as u64,
        });
        self.packs.push(entries);
        Ok(())
    }
}

/// Checks a pack as far as one sees without a key.
fn check<'a>(name: &StoreName, bytes: &'a [u8]) -> Result<PackView<'a>, String> {
    name.check_bytes(bytes)
        .map_err(|_| "its bytes do not hash to its name".to_owned())?;
    let view = PackView::parse(bytes).map_err(|error| error.to_string())?;
    view.check().map_err(|error| error.to_string())?;
    Ok(view)
}

fn entries(view: &PackView<'_>, name: &StoreName) -> PackEntries {
    view.entries(name.folder() == Folder::Packs)
}
