//! One session of a writer: the protocol that keeps writers and collection apart.
//!
//! The order matters, and is: announce the session; read what is condemned, then the index;
//! put packs and index segments; read what is condemned again and store anew what of it is
//! used; commit.

mod storing;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::storing::{FullPack, Spare, Storer};
use super::backup::{Stage, Stages, waiting};
use super::chunk::ChunkSizes;
use super::compress::Codec;
use super::crypto::{Cipher, CryptoError, SealedSession, SessionKey, TAG_BYTES, WriterKey};
use super::error::EngineError;
use super::features::Deed;
use super::index::{self, Index, Marks, PackEntries, PackInfo, Place};
use super::manifest::{Clear, Manifest, Sealed, codec};
use super::pack::{
    BlobKind, HEADER_BYTES, PREFIX_BYTES, PackBuilder, PackSize, PackView, SALT_BYTES, SealedBlob,
    Sealer, check_payload, parse_sessions, split_blob,
};
use super::progress::{Event, Observer};
use super::repository::{Repository, condemned, scan_pack};
use super::store::{Folder, Put, Receipt, SessionId, SessionKind, Store, StoreError, StoreName};

/// How many packs of an interrupted backup are read to be found again.
const UNINDEXED_MAX: usize = 64;
/// After how many packs an index segment is put, so that an interruption loses little.
const SEGMENT_PACKS: usize = 16;

/// Says how large packs get, and how much an interruption may cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packing {
    /// The size that packs aim at.
    pub(super) pack_size: PackSize,
    /// After how long what was collected is put, in a smaller pack if need be.
    pub(super) checkpoint_every: Duration,
}

/// A checkpoint puts no pack that is smaller than this part of a full one.
const CHECKPOINT_PART: usize = 16;

/// Writes blobs into packs of one session.
pub(super) struct Writer<'a> {
    store: &'a dyn Store,
    observer: &'a dyn Observer,
    key: WriterKey,
    session_id: SessionId,
    session: SessionKey,
    sealed: SealedSession,
    cipher: Cipher,
    packing: Packing,
    /// The size that packs aim at, in bytes.
    pack_bytes: usize,
    index: Index,
    claimed: Mutex<HashSet<[u8; 32]>>,
    /// The positions of the index that this session builds on.
    reused: Marks,
    data: Mutex<PackBuilder>,
    meta: Mutex<PackBuilder>,
    storer: Storer,
    spare: Spare,
    unindexed: Mutex<Vec<PackEntries>>,
    /// How many index segments there are.
    segments: AtomicUsize,
    /// Whether no feature forbids to replace segments.
    may_merge: bool,
    /// When the last index segment was put: what came before it is found again.
    checkpoint: Mutex<Instant>,
    is_open: bool,
    /// Plain bytes of file data that were new.
    pub(super) new_bytes: AtomicU64,
    /// Bytes of packs that were put.
    pub(super) stored_bytes: AtomicU64,
    /// Where the time goes.
    pub(super) stages: Arc<Stages>,
}

impl<'a> Writer<'a> {
    /// Announces a session and reads what is there.
    pub(super) fn open(
        repository: &'a Repository,
        key: WriterKey,
        packing: Packing,
        observer: &'a dyn Observer,
    ) -> Result<Self, EngineError> {
        repository.marker.check(Deed::Write)?;
        let store = &*repository.store;
        let (session, sealed) = SessionKey::generate(&repository.env, &key)?;
        let new_pack = || Mutex::new(PackBuilder::new(salt(&session)));
        let (data, meta) = (new_pack(), new_pack());
        let session_id = SessionId::new(*session.id());
        store.open_session(&session_id, SessionKind::Write)?;
        let mut writer = Self {
            store,
            observer,
            key,
            session_id,
            session,
            sealed,
            cipher: Cipher::for_this_machine(),
            packing,
            pack_bytes: 0,
            index: Index::new(),
            claimed: Mutex::default(),
            reused: Marks::default(),
            data,
            meta,
            storer: Storer::default(),
            spare: Spare::new(),
            unindexed: Mutex::default(),
            segments: AtomicUsize::new(0),
            may_merge: repository.marker.check(Deed::Collect).is_ok(),
            checkpoint: Mutex::new(Instant::now()),
            is_open: true,
            new_bytes: AtomicU64::new(0),
            stored_bytes: AtomicU64::new(0),
            stages: Arc::default(),
        };
        let repository_bytes = writer.read_index()?;
        writer.size_packs(packing.pack_size.bytes(repository_bytes));
        Ok(writer)
    }

    /// Makes room for packs of this size.
    fn size_packs(&mut self, bytes: usize) {
        self.pack_bytes = bytes;
        for builder in [&mut self.data, &mut self.meta] {
            let empty = PackBuilder::in_buffer(salt(&self.session), pack_buffer(bytes));
            *builder = Mutex::new(empty);
        }
    }

    /// Reads the index and keeps what is safe to build on: packs that are there in full and
    /// not condemned. Packs that no segment names are read once and indexed again. Returns how
    /// many bytes all packs have.
    fn read_index(&mut self) -> Result<u64, EngineError> {
        let condemned = condemned(self.store)?;
        let loaded = index::load(self.store)?;
        self.segments = AtomicUsize::new(loaded.segments.len());
        let mut sizes = HashMap::new();
        for folder in [Folder::Packs, Folder::Meta] {
            for file in self.store.list(folder)? {
                if let Some(hash) = file.name.content_hash() {
                    sizes.insert(hash, file);
                }
            }
        }
        let is_good = |pack: &PackInfo| {
            let whole = sizes
                .get(&pack.hash)
                .is_some_and(|file| file.size == pack.size);
            whole && !condemned.contains(&pack.hash)
        };
        self.index = loaded.index.filtered(is_good);
        let mut unknown: Vec<_> = sizes
            .iter()
            .filter(|(hash, _)| !self.index.has_pack(hash) && !condemned.contains(*hash))
            .map(|(_, file)| &file.name)
            .collect();
        // Two runs on the same repository do the same.
        unknown.sort();
        if unknown.len() <= UNINDEXED_MAX {
            for name in unknown {
                // What cannot be read or is damaged is stored again instead.
                if let Ok(entries) = scan_pack(self.store, name) {
                    // Whoever put it may have died before it was durable.
                    self.store.settle(name)?;
                    self.index.add(&entries);
                    lock(&self.unindexed).push(entries);
                }
            }
            self.index.sort();
        }
        self.reused = Marks::new(self.index.len());
        Ok(sizes.values().map(|file| file.size).sum())
    }

    /// Returns the key that names blobs.
    pub(super) fn key(&self) -> &WriterKey {
        &self.key
    }

    /// Tells whether a blob is in a pack that this session may build on, and notes its use.
    pub(super) fn reuse(&self, id: &[u8; 32]) -> bool {
        self.is_indexed(id) || lock(&self.claimed).contains(id)
    }

    /// Tells whether a blob is in the index, and notes its use.
    fn is_indexed(&self, id: &[u8; 32]) -> bool {
        let position = self.index.position(id);
        if let Some(position) = position {
            self.reused.set(position);
        }
        position.is_some()
    }

    /// Stores a blob unless it is there, and returns its id.
    pub(super) fn put(
        &self,
        kind: BlobKind,
        plain: &[u8],
        codec: &mut Codec,
    ) -> Result<[u8; 32], EngineError> {
        let id = self.key.id(kind as u8, plain);
        if self.is_indexed(&id) || !lock(&self.claimed).insert(id) {
            return Ok(id);
        }
        let blob = if kind == BlobKind::Refs {
            Sealer::clear(&self.key, kind, plain)?
        } else {
            let sealer = Sealer {
                session: &self.session,
                cipher: self.cipher,
            };
            sealer.seal(kind, &id, plain, codec)?
        };
        if kind == BlobKind::Chunk {
            self.new_bytes
                .fetch_add(plain.len() as u64, Ordering::Relaxed);
        }
        self.push(&blob)?;
        codec.give_back(blob.payload);
        Ok(id)
    }

    fn push(&self, blob: &SealedBlob) -> Result<(), EngineError> {
        let is_data = blob.header.kind == BlobKind::Chunk;
        let mut builder = waiting(|| lock(self.builder(is_data)));
        let session = blob.header.cipher.map(|_| &self.sealed);
        builder.push(&blob.header, &blob.payload, session);
        let is_full = builder.len() >= self.pack_bytes;
        let is_due = is_data && self.is_checkpoint_due(builder.len());
        if !is_full && !is_due {
            return Ok(());
        }
        // No thread puts packs any more; why not comes from `storing`.
        let spare = self.spare.take().ok_or(EngineError::Cancelled)?;
        let buffer = if spare.capacity() < self.pack_bytes {
            pack_buffer(self.pack_bytes)
        } else {
            spare
        };
        let next = PackBuilder::in_buffer(salt(&self.session), buffer);
        let full = FullPack {
            builder: std::mem::replace(&mut *builder, next),
            is_data,
        };
        drop(builder);
        self.bring(full)
    }

    /// Tells whether a pack of this size is put because the last checkpoint is long ago.
    ///
    /// A little data is left for the next one, so that a slow source does not make many packs.
    fn is_checkpoint_due(&self, len: usize) -> bool {
        len >= self.pack_bytes / CHECKPOINT_PART && self.is_segment_due()
    }

    fn is_segment_due(&self) -> bool {
        lock(&self.checkpoint).elapsed() >= self.packing.checkpoint_every
    }

    fn builder(&self, is_data: bool) -> &Mutex<PackBuilder> {
        if is_data { &self.data } else { &self.meta }
    }

    /// Puts a pack and gives its buffer back, whether it could be put or not.
    fn put_pack(&self, pack: FullPack) -> Result<(), EngineError> {
        if pack.builder.is_empty() {
            return Ok(());
        }
        let (bytes, entries) = pack.builder.finish(pack.is_data);
        let name = if pack.is_data {
            StoreName::pack(&entries.hash)
        } else {
            StoreName::meta(&entries.hash)
        };
        let put = self.put_counted(&name, &bytes);
        self.spare.give(bytes);
        put?;
        let segment = {
            let mut unindexed = lock(&self.unindexed);
            unindexed.push(entries);
            let due = unindexed.len() >= SEGMENT_PACKS || self.is_segment_due();
            due.then(|| std::mem::take(&mut *unindexed))
        };
        self.put_segment(&segment.unwrap_or_default())
    }

    fn put_segment(&self, packs: &[PackEntries]) -> Result<(), EngineError> {
        for packs in index::in_segments(packs) {
            let bytes = index::encode(packs);
            let name = StoreName::index(blake3::hash(&bytes).as_bytes());
            self.put_counted(&name, &bytes)?;
            self.segments.fetch_add(1, Ordering::Relaxed);
        }
        if !packs.is_empty() {
            *lock(&self.checkpoint) = Instant::now();
        }
        Ok(())
    }

    fn put_counted(&self, name: &StoreName, bytes: &[u8]) -> Result<(), EngineError> {
        let put = self
            .stages
            .time(Stage::Store, || self.store.put(name, bytes))?;
        if put == Put::Stored {
            let len = bytes.len() as u64;
            self.stored_bytes.fetch_add(len, Ordering::Relaxed);
            self.observer.event(Event::Stored { bytes: len });
        }
        Ok(())
    }

    /// Puts what is collected: data packs, metadata packs, then the index.
    pub(super) fn flush(&self) -> Result<(), EngineError> {
        for is_data in [true, false] {
            let next = PackBuilder::new(salt(&self.session));
            let builder = std::mem::replace(&mut *lock(self.builder(is_data)), next);
            self.put_pack(FullPack { builder, is_data })?;
        }
        let rest = std::mem::take(&mut *lock(&self.unindexed));
        self.put_segment(&rest)
    }

    /// Copies blobs that this session uses out of packs that were condemned meanwhile.
    ///
    /// The collector deletes nothing while this session is open, so they are still there.
    fn rescue(&self) -> Result<(), EngineError> {
        let condemned = condemned(self.store)?;
        if condemned.is_empty() {
            return Ok(());
        }
        for position in self.reused.iter() {
            let (first, _) = self.index.at(position);
            let places: Vec<_> = self.index.find(&first.id).collect();
            let is_safe = places
                .iter()
                .any(|(_, pack)| !condemned.contains(&pack.hash));
            if let (false, Some((place, pack))) = (is_safe, places.first()) {
                self.copy(place, pack)?;
            }
        }
        self.flush()
    }

    fn copy(&self, place: &Place, pack: &PackInfo) -> Result<(), EngineError> {
        let name = pack.name();
        let bytes = self
            .store
            .get_range(&name, place.offset.into(), place.len.into())?;
        let damaged = || EngineError::damaged(&name, "a blob in it has changed");
        let (header, payload) = split_blob(&bytes).ok_or_else(damaged)?;
        if header.id != place.id || !check_payload(&header, payload) {
            return Err(damaged());
        }
        let sessions = read_sessions(self.store, &name)?;
        let session = sessions.iter().find(|known| known.id == header.session);
        lock(self.builder(pack.is_data)).push(&header, payload, session);
        Ok(())
    }

    /// Makes the snapshot visible: the last step of a writer.
    pub(super) fn commit(
        mut self,
        clear: &Clear,
        sealed: impl FnOnce(String) -> Sealed,
    ) -> Result<(StoreName, Receipt), EngineError> {
        self.rescue()?;
        let line = clear.encode()?;
        let sealed = sealed(blake3::hash(&line).to_hex().to_string());
        let plain = serde_json::to_vec(&sealed).expect("strings and numbers have a JSON form");
        let id = self.key.id(BlobKind::Manifest as u8, &plain);
        let sealer = Sealer {
            session: &self.session,
            cipher: self.cipher,
        };
        let blob = sealer.seal(BlobKind::Manifest, &id, &plain, &mut codec()?)?;
        let mut builder = PackBuilder::new(salt(&self.session));
        builder.push(&blob.header, &blob.payload, Some(&self.sealed));
        let (rest, _) = builder.finish(false);
        let bytes = Manifest::encode(&line, &self.key, &rest);
        let name = clear.name()?;
        let receipt = self.store.commit(&self.session_id, &name, &bytes)?;
        self.observer.event(Event::Stored {
            bytes: bytes.len() as u64,
        });
        self.merge_segments();
        // The snapshot shows, so this is no failure; a session left behind is found dead.
        drop(self.close());
        Ok((name, receipt))
    }

    /// Merges index segments if they have become many.
    fn merge_segments(&self) {
        if self.may_merge && self.segments.load(Ordering::Relaxed) > index::SEGMENTS_FEW {
            // The snapshot is there already, and the next writer merges what this one could not.
            drop(index::merge(self.store));
        }
    }

    fn close(&mut self) -> Result<(), StoreError> {
        self.is_open = false;
        self.store.close_session(&self.session_id)
    }

    /// Returns a new snapshot's id.
    pub(super) fn snapshot_id(repository: &Repository) -> Result<[u8; 16], EngineError> {
        Ok(repository.env.random().map_err(CryptoError::Entropy)?)
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        if self.is_open {
            // The operation failed already; a session left behind is found dead and removed.
            drop(self.close());
        }
    }
}

/// Returns the salt of a new pack: the session's id is random and no counter comes twice.
fn salt(session: &SessionKey) -> [u8; SALT_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(session.id());
    hasher.update(&session.next_counter().to_le_bytes());
    *hasher
        .finalize()
        .as_bytes()
        .first_chunk()
        .expect("a hash is longer than a salt")
}

/// Returns room for a pack of `len` bytes and what the last blob may go beyond that.
///
/// Memory that is never written is never taken; a buffer that grew step by step would leave
/// holes of its own size behind.
fn pack_buffer(len: usize) -> Vec<u8> {
    Vec::with_capacity(len + HEADER_BYTES + ChunkSizes::FILES.max + TAG_BYTES)
}

/// Holds a read session, so that nothing is deleted meanwhile, where one can be had.
pub(super) struct ReadSession {
    store: Arc<dyn Store>,
    id: SessionId,
}

impl ReadSession {
    pub(super) fn open(repository: &Repository) -> Result<Self, EngineError> {
        Self::open_on(repository.store.clone(), &repository.env)
    }

    pub(super) fn open_on(
        store: Arc<dyn Store>,
        env: &super::env::Env,
    ) -> Result<Self, EngineError> {
        let id = SessionId::new(env.random().map_err(CryptoError::Entropy)?);
        match store.open_session(&id, SessionKind::Read) {
            // A repository on a read-only medium has no collector either. A full one must keep
            // nobody from restoring: a collector that deletes meanwhile makes a read fail, and
            // what is read is checked in any case.
            Ok(()) | Err(StoreError::ReadOnly { .. } | StoreError::NoSpace { .. }) => {
                Ok(Self { store, id })
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for ReadSession {
    fn drop(&mut self) {
        // A session left behind is found dead and removed.
        drop(self.store.close_session(&self.id));
    }
}

/// Reads the session records of a pack.
pub(super) fn read_sessions(
    store: &dyn Store,
    name: &StoreName,
) -> Result<Vec<SealedSession>, EngineError> {
    let damaged = |error| EngineError::damaged(name, error);
    let prefix = store.get_range(name, 0, PREFIX_BYTES as u64)?;
    let prefix = prefix
        .as_array()
        .ok_or_else(|| EngineError::damaged(name, "it is cut off"))?;
    let len = PackView::records_len(prefix).map_err(damaged)?;
    let records = store.get_range(name, PREFIX_BYTES as u64, len as u64)?;
    parse_sessions(prefix, &records).map_err(damaged)
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
