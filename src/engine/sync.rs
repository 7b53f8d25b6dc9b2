//! Copies snapshots between repositories of one key domain, without a key.
//!
//! What is missing is found by following references; packs travel whole and unchanged, then
//! the index, then receipts, and manifests last. Snapshots that the target had before are
//! looked at too: what they lack is brought back.

mod heal;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::crypto::CryptoError;
use super::env::{Cancel, Env};
use super::error::{EngineError, short};
use super::features::Deed;
use super::hex;
use super::index::{self, Index, PackEntries, PackInfo, Place};
use super::manifest::Manifest;
use super::pack::{BlobKind, PackBuilder, PackView, check_payload, split_blob};
use super::progress::{Event, Observer};
use super::repository::{Marker, condemned, load_index, scan_pack};
use super::store::{Folder, Put, Receipt, SessionId, SessionKind, Store, StoreName};
use super::tree::Refs;
use super::writer::ReadSession;

const SEGMENT_PACKS: usize = 16;
const UNINDEXED_MAX: usize = 64;

/// Says which snapshots to copy.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// The sources; none for all.
    pub sources: Vec<String>,
    /// Whether only the newest snapshot of each source is copied.
    pub newest_only: bool,
}

/// Says what a copy did.
#[derive(Debug, Default)]
pub struct SyncReport {
    /// The snapshots that are new at the target.
    pub snapshots: Vec<StoreName>,
    /// How many selected snapshots the target had before.
    pub had: u64,
    /// How many packs were copied.
    pub packs: u64,
    /// How many bytes of packs were copied.
    pub bytes: u64,
    /// How many files were brought back that the target had lost, or had in part.
    pub healed: u64,
    /// How many packs, lists and chunks that snapshots of both need were to be had in neither.
    pub lost: u64,
}

/// Copies what the target lacks of the selected snapshots. Running it again goes on.
pub fn sync(
    from: &Arc<dyn Store>,
    to: &Arc<dyn Store>,
    env: &Env,
    selection: &Selection,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<SyncReport, EngineError> {
    let (theirs, ours) = (Marker::read(&**from)?, Marker::read(&**to)?);
    ours.check(Deed::Write)?;
    if theirs.domain != ours.domain {
        return Err(EngineError::OtherDomain {
            from: short(&theirs.domain),
            to: short(&ours.domain),
        });
    }
    if theirs.repository == ours.repository && from.place() == to.place() {
        return Err(EngineError::SameRepository { place: to.place() });
    }
    let _reading = ReadSession::open_on(from.clone(), env)?;
    let session = SessionId::new(env.random().map_err(CryptoError::Entropy)?);
    to.open_session(&session, SessionKind::Write)?;
    let copied =
        Copy::open(from, to, env, observer, cancel).and_then(|copy| copy.run(&session, selection));
    if copied.is_ok() && ours.check(Deed::Collect).is_ok() {
        // What was copied is there already, and the next writer merges what this one could not.
        drop(index::merge(&**to));
    }
    let closed = to.close_session(&session);
    let report = copied?;
    closed?;
    Ok(report)
}

struct Copy<'a> {
    from: &'a dyn Store,
    to: &'a dyn Store,
    env: &'a Env,
    observer: &'a dyn Observer,
    cancel: &'a Cancel,
    source: Index,
    /// What is in whole packs of the target, those that are condemned included.
    target: Index,
    /// The packs that the target lists, and their lengths.
    there: HashMap<[u8; 32], u64>,
    /// Segments of the target that make no sense.
    bad_segments: Vec<StoreName>,
    /// Packs of the source that were stored at the target now.
    copied: HashSet<[u8; 32]>,
    /// Files of the target that are whole again.
    healed: HashSet<[u8; 32]>,
    expected: u64,
    /// Packs at the source that are not whole, or may be deleted any time.
    doubtful: HashSet<[u8; 32]>,
    /// Packs at the target that may be deleted any time.
    condemned: HashSet<[u8; 32]>,
    unindexed: Vec<PackEntries>,
    report: SyncReport,
}

/// What a set of snapshots needs.
#[derive(Default)]
struct Needed {
    /// Blobs of references that were followed.
    refs: HashSet<[u8; 32]>,
    blobs: HashSet<[u8; 32]>,
}

/// Lists packs to copy: not of data, hash, length. Metadata comes after the data it names.
type Packs = BTreeSet<(bool, [u8; 32], u64)>;

fn info((is_meta, hash, size): (bool, [u8; 32], u64)) -> PackInfo {
    PackInfo {
        hash,
        size,
        is_data: !is_meta,
    }
}

impl<'a> Copy<'a> {
    fn open(
        from: &'a Arc<dyn Store>,
        to: &'a Arc<dyn Store>,
        env: &'a Env,
        observer: &'a dyn Observer,
        cancel: &'a Cancel,
    ) -> Result<Self, EngineError> {
        let (fading, condemned) = (condemned(&**from)?, condemned(&**to)?);
        let (source, _) = load_index(&**from)?;
        let doubtful = doubtful(&**from, &source, fading)?;
        let mut copy = Self {
            from: &**from,
            to: &**to,
            env,
            observer,
            cancel,
            source,
            target: Index::new(),
            there: HashMap::new(),
            bad_segments: Vec::new(),
            copied: HashSet::new(),
            healed: HashSet::new(),
            expected: 0,
            doubtful,
            condemned,
            unindexed: Vec::new(),
            report: SyncReport::default(),
        };
        copy.read_target()?;
        Ok(copy)
    }

    /// Reads which packs the target holds in full, those of an interrupted copy included.
    fn read_target(&mut self) -> Result<(), EngineError> {
        let (all, damaged) = load_index(self.to)?;
        self.bad_segments = damaged.into_iter().map(|(name, _)| name).collect();
        let mut there = Vec::new();
        for folder in [Folder::Packs, Folder::Meta] {
            there.extend(self.to.list(folder)?);
        }
        self.there = there
            .iter()
            .filter_map(|file| Some((file.name.content_hash()?, file.size)))
            .collect();
        self.target = all.filtered(|pack| self.is_whole(pack));
        let all = &self.target;
        let condemned = &self.condemned;
        let is_unknown = |name: &StoreName| {
            let hash = name.content_hash();
            hash.is_some_and(|hash| !all.has_pack(&hash) && !condemned.contains(&hash))
        };
        let unknown: Vec<_> = there.iter().filter(|file| is_unknown(&file.name)).collect();
        if unknown.len() <= UNINDEXED_MAX {
            for file in unknown {
                if let Ok(entries) = scan_pack(self.to, &file.name) {
                    // Whoever put it may have died before it was durable.
                    self.to.settle(&file.name)?;
                    self.target.add(&entries);
                    self.unindexed.push(entries);
                }
            }
            self.target.sort();
        }
        self.heal_segments()
    }

    /// Tells whether the target lists a pack in its full length.
    fn is_whole(&self, pack: &PackInfo) -> bool {
        self.there.get(&pack.hash) == Some(&pack.size)
    }

    /// Tells whether a blob is in a pack of the target that a new snapshot may build on.
    fn is_at_target(&self, id: &[u8; 32]) -> bool {
        let mut places = self.target.find(id);
        places.any(|(_, pack)| !self.condemned.contains(&pack.hash))
    }

    fn run(
        mut self,
        session: &SessionId,
        selection: &Selection,
    ) -> Result<SyncReport, EngineError> {
        let (names, had) = self.select(selection)?;
        let mut manifests = Vec::new();
        let mut needed = Needed::default();
        for name in names {
            let bytes = self.from.get(&name)?;
            self.follow_snapshot(&name, &bytes, &mut needed)?;
            manifests.push((name, bytes));
        }
        self.copy_packs(&needed)?;
        self.put_segment(0)?;
        self.check_condemned(&needed)?;
        self.copy_receipts()?;
        for (name, bytes) in manifests {
            self.check_cancel()?;
            self.to.commit(session, &name, &bytes)?;
            self.report.snapshots.push(name);
        }
        self.report.had = had.len() as u64;
        self.heal(&had)?;
        self.report.healed = self.healed.len() as u64;
        Ok(self.report)
    }

    fn check_cancel(&self) -> Result<(), EngineError> {
        if self.cancel.is_cancelled() {
            Err(EngineError::Cancelled)
        } else {
            Ok(())
        }
    }

    /// Returns the selected snapshots: those that the target lacks, and those that it has.
    fn select(
        &self,
        selection: &Selection,
    ) -> Result<(Vec<StoreName>, Vec<StoreName>), EngineError> {
        let mut names: Vec<StoreName> = self
            .from
            .list(Folder::Snapshots)?
            .into_iter()
            .map(|file| file.name)
            .filter(|name| {
                let source = name.parts().next().unwrap_or_default();
                selection.sources.is_empty() || selection.sources.iter().any(|s| s == source)
            })
            .collect();
        if selection.newest_only {
            // Names sort by source, then by time.
            let source = |name: &StoreName| name.parts().next().map(str::to_owned);
            names.reverse();
            names.dedup_by_key(|name| source(name));
            names.reverse();
        }
        let there: HashSet<StoreName> = self
            .to
            .list(Folder::Snapshots)?
            .into_iter()
            .map(|file| file.name)
            .collect();
        Ok(names.into_iter().partition(|name| !there.contains(name)))
    }

    /// Collects every blob that a snapshot needs.
    fn follow_snapshot(
        &self,
        name: &StoreName,
        manifest: &[u8],
        needed: &mut Needed,
    ) -> Result<(), EngineError> {
        let manifest = Manifest::decode(name, manifest)?;
        let root = manifest
            .clear
            .refs_root()
            .ok_or_else(|| EngineError::damaged(name, "it names no references"))?;
        self.follow(&root, None, needed)
    }

    /// Follows references from a root and collects every blob that is needed.
    fn follow(
        &self,
        id: &[u8; 32],
        level: Option<u8>,
        needed: &mut Needed,
    ) -> Result<(), EngineError> {
        if !needed.refs.insert(*id) {
            return Ok(());
        }
        self.check_cancel()?;
        needed.blobs.insert(*id);
        let refs = self.read_refs(id)?;
        if level.is_some_and(|level| level != refs.level) {
            return Err(EngineError::damaged(
                "references",
                "a list has the wrong level",
            ));
        }
        if refs.level == 0 {
            needed.blobs.extend(refs.ids);
            return Ok(());
        }
        for id in &refs.ids {
            self.follow(id, Some(refs.level - 1), needed)?;
        }
        Ok(())
    }

    fn read_refs(&self, id: &[u8; 32]) -> Result<Refs, EngineError> {
        read_refs(self.from, &self.source, id).or_else(|error| {
            // What is damaged at the source may be whole at the target.
            read_refs(self.to, &self.target, id).map_err(|_| error)
        })
    }

    /// Returns a pack of the source that holds a blob, if possible one that stays there.
    fn at_source(&self, id: &[u8; 32]) -> Option<PackInfo> {
        let packs = self.source.find(id).map(|(_, pack)| pack);
        packs.min_by_key(|pack| self.doubtful.contains(&pack.hash))
    }

    fn copy_packs(&mut self, needed: &Needed) -> Result<(), EngineError> {
        let mut packs = Packs::new();
        for id in &needed.blobs {
            if self.is_at_target(id) {
                continue;
            }
            let pack = self
                .at_source(id)
                .ok_or(EngineError::MissingBlob { id: *id })?;
            packs.insert((!pack.is_data, pack.hash, pack.size));
        }
        self.expect(&packs);
        for pack in packs {
            self.check_cancel()?;
            let pack = info(pack);
            let bytes = self.fetch(&pack)?;
            self.store(&pack, &bytes)?;
        }
        Ok(())
    }

    /// Tells the observer how much is to be copied in all.
    fn expect(&mut self, packs: &Packs) {
        self.expected += packs.iter().map(|(_, _, size)| size).sum::<u64>();
        self.observer.event(Event::Expected {
            bytes: self.expected,
        });
    }

    /// Reads a pack of the source and checks all of it that shows without a key.
    fn fetch(&self, pack: &PackInfo) -> Result<Vec<u8>, EngineError> {
        let name = pack.name();
        let bytes = self.from.get(&name)?;
        name.check_bytes(&bytes)
            .map_err(|_| EngineError::damaged(&name, "its bytes do not hash to its name"))?;
        PackView::parse(&bytes)
            .and_then(|view| view.check())
            .map_err(|error| EngineError::damaged(&name, error))?;
        Ok(bytes)
    }

    /// Stores a checked pack at the target.
    fn store(&mut self, pack: &PackInfo, bytes: &[u8]) -> Result<(), EngineError> {
        let name = pack.name();
        let view = PackView::parse(bytes).map_err(|error| EngineError::damaged(&name, error))?;
        let entries = if self.condemned.contains(&pack.hash) {
            self.put_rebuilt(&view, pack.is_data)?
        } else {
            self.put_pack(&name, bytes)?;
            // A file of this name that was there before was not whole.
            if self.there.contains_key(&pack.hash) && !self.is_whole(pack) {
                self.healed.insert(pack.hash);
            }
            view.entries(pack.is_data)
        };
        self.copied.insert(pack.hash);
        self.unindexed.push(entries);
        self.put_segment(SEGMENT_PACKS)
    }

    /// Stores the blobs of a pack whose name is about to be deleted at the target.
    fn put_rebuilt(
        &mut self,
        view: &PackView<'_>,
        is_data: bool,
    ) -> Result<PackEntries, EngineError> {
        let salt = self.env.random().map_err(CryptoError::Entropy)?;
        let mut builder = PackBuilder::new(salt);
        for (header, _, payload) in &view.blobs {
            let session = view
                .sessions
                .iter()
                .find(|known| known.id == header.session);
            builder.push(header, payload, session);
        }
        let (bytes, entries) = builder.finish(is_data);
        let info = PackInfo {
            hash: entries.hash,
            size: entries.size,
            is_data,
        };
        self.put_pack(&info.name(), &bytes)?;
        Ok(entries)
    }

    fn put_pack(&mut self, name: &StoreName, bytes: &[u8]) -> Result<(), EngineError> {
        if self.to.put(name, bytes)? == Put::Stored {
            self.report.packs += 1;
            self.report.bytes += bytes.len() as u64;
        }
        self.observer.event(Event::Stored {
            bytes: bytes.len() as u64,
        });
        Ok(())
    }

    /// Puts an index segment once more than `limit` packs wait for one.
    fn put_segment(&mut self, limit: usize) -> Result<(), EngineError> {
        if self.unindexed.len() > limit {
            let packs = std::mem::take(&mut self.unindexed);
            for packs in index::in_segments(&packs) {
                let bytes = index::encode(packs);
                let name = StoreName::index(blake3::hash(&bytes).as_bytes());
                let put = self.to.put(&name, &bytes)?;
                if put == Put::Stored && self.bad_segments.contains(&name) {
                    self.healed.extend(name.content_hash());
                }
            }
        }
        Ok(())
    }

    /// Refuses to commit what builds on packs that were condemned meanwhile.
    fn check_condemned(&self, needed: &Needed) -> Result<(), EngineError> {
        let now = condemned(self.to)?;
        if now.is_subset(&self.condemned) {
            return Ok(());
        }
        for id in &needed.blobs {
            let places = self.target.find(id);
            let mut places = places
                .filter(|(_, pack)| !self.condemned.contains(&pack.hash))
                .peekable();
            let was_there = places.peek().is_some();
            if was_there && places.all(|(_, pack)| now.contains(&pack.hash)) {
                let reason = "a pack this copy builds on is being collected; run it again";
                return Err(EngineError::damaged(
                    format!("chunk {}", hex::encode(&id[..8])),
                    reason,
                ));
            }
        }
        Ok(())
    }

    /// Copies the receipts of other places, so that a copy looks as old as what it copies.
    fn copy_receipts(&self) -> Result<(), EngineError> {
        let there: HashSet<StoreName> = self
            .to
            .list(Folder::Receipts)?
            .into_iter()
            .map(|file| file.name)
            .collect();
        for file in self.from.list(Folder::Receipts)? {
            if there.contains(&file.name) {
                continue;
            }
            let bytes = self.from.get(&file.name)?;
            let receipt =
                Receipt::decode(&bytes).map_err(|error| EngineError::damaged(&file.name, error))?;
            if receipt.name()? == file.name {
                self.to.put(&file.name, &bytes)?;
            } else {
                return Err(EngineError::damaged(
                    &file.name,
                    "its name does not fit its content",
                ));
            }
        }
        Ok(())
    }
}

/// Returns the packs that are not whole and those that are `fading`.
fn doubtful(
    store: &dyn Store,
    index: &Index,
    mut fading: HashSet<[u8; 32]>,
) -> Result<HashSet<[u8; 32]>, EngineError> {
    let mut there = HashSet::new();
    for folder in [Folder::Packs, Folder::Meta] {
        for file in store.list(folder)? {
            there.extend(file.name.content_hash().map(|hash| (hash, file.size)));
        }
    }
    let packs = index.packs().iter();
    let broken = packs.filter(|pack| !there.contains(&(pack.hash, pack.size)));
    fading.extend(broken.map(|pack| pack.hash));
    Ok(fading)
}

/// Reads a list of references without a key: the blob's own hash is checked.
pub(super) fn read_refs(
    store: &dyn Store,
    index: &Index,
    id: &[u8; 32],
) -> Result<Refs, EngineError> {
    let mut failure = EngineError::MissingBlob { id: *id };
    for (place, pack) in index.find(id) {
        match read_refs_at(store, &place, &pack) {
            Ok(refs) => return Ok(refs),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Reads one copy of a list of references without a key.
pub(super) fn read_refs_at(
    store: &dyn Store,
    place: &Place,
    pack: &PackInfo,
) -> Result<Refs, EngineError> {
    let name = pack.name();
    let bytes = store.get_range(&name, place.offset.into(), place.len.into())?;
    let good = split_blob(&bytes).filter(|(header, payload)| {
        header.id == place.id
            && header.kind == BlobKind::Refs
            && header.cipher.is_none()
            && check_payload(header, payload)
    });
    good.and_then(|(_, payload)| Refs::decode(payload).ok())
        .ok_or_else(|| EngineError::damaged(&name, "a list of references in it has changed"))
}
