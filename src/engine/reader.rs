//! Reads blobs back with the reading key: every read checks the keyed id.

mod cache;
mod entries;
mod fetch;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use super::compress::Codec;
use super::crypto::{ReadingKey, SessionKey, WriterKey};
use super::error::EngineError;
use super::files::Entry;
use super::index::{Index, PackInfo, Place};
use super::manifest::codec;
use super::pack::{BlobKind, Header, split_blob};
use super::repository::{Repository, load_index, scan_pack};
use super::store::{Folder, Store, StoreName};
use super::tree::{FILE_SPANS_MAX, Leaf, Node, TreeError, decode_spans};
use super::writer::{lock, read_sessions};

use self::cache::Cache;
pub(super) use self::entries::{Entries, check_first, check_node, out_of_order, touches};

/// Holds chunks by id, or says in words why one cannot be had.
pub(super) type Chunks = HashMap<[u8; 32], Result<Arc<Vec<u8>>, String>>;

/// How many blobs of a tree are read in one go.
const FETCHED_AT_ONCE: usize = 32;

/// Reads blobs of one repository, from several threads.
pub(super) struct BlobReader {
    store: Arc<dyn Store>,
    key: ReadingKey,
    state: RwLock<IndexState>,
    sessions: Mutex<HashMap<[u8; 16], Arc<SessionKey>>>,
    codecs: Mutex<Vec<Codec>>,
    cache: Cache,
    bytes_read: AtomicU64,
}

struct IndexState {
    index: Index,
    /// Whether packs that no segment names were read too.
    is_complete: bool,
}

impl BlobReader {
    pub(super) fn open(repository: &Repository) -> Result<Self, EngineError> {
        let key = repository.require_reading_key("read a snapshot")?.clone();
        let (index, _) = repository.load_index()?;
        Ok(Self {
            store: repository.store.clone(),
            key,
            state: RwLock::new(IndexState {
                index,
                is_complete: false,
            }),
            sessions: Mutex::default(),
            codecs: Mutex::default(),
            cache: Cache::default(),
            bytes_read: AtomicU64::new(0),
        })
    }

    /// Returns how many bytes of the repository were read so far.
    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// Returns how many calls the store takes at once to be kept busy.
    pub(super) fn calls_at_once(&self) -> usize {
        self.store.calls_at_once()
    }

    /// Returns the plain bytes of a blob that a snapshot of `writer` names.
    pub(super) fn read(
        &self,
        writer: &WriterKey,
        kind: BlobKind,
        id: &[u8; 32],
    ) -> Result<Vec<u8>, EngineError> {
        let mut failure = EngineError::MissingBlob { id: *id };
        for (place, pack) in self.places(id) {
            match self.read_at(writer, kind, &place, &pack) {
                Ok(plain) => return Ok(plain),
                // Another pack may hold it too.
                Err(error) => failure = error,
            }
        }
        if self.complete_index()? {
            return self.read(writer, kind, id);
        }
        Err(failure)
    }

    /// Returns the length of a blob's plain bytes, if the index knows it.
    pub(super) fn plain_len(&self, id: &[u8; 32]) -> Option<u32> {
        let state = self.state.read();
        let state = state.unwrap_or_else(std::sync::PoisonError::into_inner);
        state
            .index
            .find(id)
            .next()
            .map(|(place, _)| place.plain_len)
    }

    fn places(&self, id: &[u8; 32]) -> Vec<(Place, PackInfo)> {
        let state = self.state.read();
        let state = state.unwrap_or_else(std::sync::PoisonError::into_inner);
        state.index.find(id).collect()
    }

    /// Reads the packs that no index segment names; tells whether that was new.
    fn complete_index(&self) -> Result<bool, EngineError> {
        let state = self.state.write();
        let mut state = state.unwrap_or_else(std::sync::PoisonError::into_inner);
        if state.is_complete {
            return Ok(false);
        }
        let (mut index, _) = load_index(&*self.store)?;
        for folder in [Folder::Packs, Folder::Meta] {
            for file in self.store.list(folder)? {
                let hash = file.name.content_hash();
                if hash.is_some_and(|hash| !index.has_pack(&hash))
                    && let Ok(entries) = scan_pack(&*self.store, &file.name)
                {
                    index.add(&entries);
                }
            }
        }
        index.sort();
        *state = IndexState {
            index,
            is_complete: true,
        };
        Ok(true)
    }

    fn read_at(
        &self,
        writer: &WriterKey,
        kind: BlobKind,
        place: &Place,
        pack: &PackInfo,
    ) -> Result<Vec<u8>, EngineError> {
        let name = pack.name();
        let (offset, len) = (place.offset.into(), place.len.into());
        let bytes = self.store.get_range(&name, offset, len)?;
        self.bytes_read.fetch_add(len, Ordering::Relaxed);
        self.open_placed(writer, kind, place, &name, &bytes)
    }

    /// Opens the blob that a place of the index leads to.
    ///
    /// Its own hash is not asked: the cipher's tag and the keyed id say more.
    fn open_placed(
        &self,
        writer: &WriterKey,
        kind: BlobKind,
        place: &Place,
        name: &StoreName,
        bytes: &[u8],
    ) -> Result<Vec<u8>, EngineError> {
        let damaged = || EngineError::damaged(name, "a blob in it has changed");
        let (header, payload) = split_blob(bytes).ok_or_else(damaged)?;
        if header.id != place.id || header.kind != kind {
            return Err(damaged());
        }
        let plain = self.open_blob(name, &header, payload)?;
        if writer.id(kind as u8, &plain) == place.id {
            Ok(plain)
        } else {
            Err(EngineError::damaged(
                name,
                "a blob in it is not what it claims to be",
            ))
        }
    }

    /// Decrypts and decompresses; the id is for the caller to check.
    pub(super) fn open_blob(
        &self,
        name: &StoreName,
        header: &Header,
        payload: &[u8],
    ) -> Result<Vec<u8>, EngineError> {
        let session = match header.cipher {
            Some(_) => Some(self.session(name, &header.session)?),
            None => None,
        };
        let taken = lock(&self.codecs).pop();
        let mut codec = match taken {
            Some(codec) => codec,
            None => codec()?,
        };
        let plain = header
            .open(payload, session.as_deref(), &mut codec)
            .map_err(|error| EngineError::damaged(name, error));
        lock(&self.codecs).push(codec);
        plain
    }

    fn session(&self, pack: &StoreName, id: &[u8; 16]) -> Result<Arc<SessionKey>, EngineError> {
        if let Some(session) = lock(&self.sessions).get(id) {
            return Ok(session.clone());
        }
        let sealed = read_sessions(&*self.store, pack)?;
        let sealed = sealed.iter().find(|sealed| sealed.id == *id);
        let sealed =
            sealed.ok_or_else(|| EngineError::damaged(pack, "it lacks the key of a session"))?;
        let session = sealed
            .open(&self.key)
            .map_err(|error| EngineError::damaged(pack, error))?;
        let session = Arc::new(session);
        lock(&self.sessions).insert(*id, session.clone());
        Ok(session)
    }

    /// Reads a leaf with the spans that lie in blobs of their own.
    pub(super) fn leaf(
        &self,
        writer: &WriterKey,
        id: &[u8; 32],
    ) -> Result<Vec<Entry>, EngineError> {
        let bytes = self.read(writer, BlobKind::Leaf, id)?;
        self.decode_leaf(writer, id, &bytes)
    }

    fn decode_leaf(
        &self,
        writer: &WriterKey,
        id: &[u8; 32],
        bytes: &[u8],
    ) -> Result<Vec<Entry>, EngineError> {
        let mut leaf = Leaf::decode(bytes).map_err(|error| bad_tree(id, &error))?;
        for (index, lists) in &leaf.spilled {
            let entry = &mut leaf.entries[*index as usize];
            let mut left = entry.kind.data_bytes();
            for lists in lists.chunks(FETCHED_AT_ONCE) {
                for (list, bytes) in
                    lists
                        .iter()
                        .zip(self.read_all(writer, BlobKind::Spans, lists)?)
                {
                    let spans = decode_spans(&bytes).map_err(|error| bad_tree(list, &error))?;
                    let bytes = spans.iter().map(|span| u64::from(span.len)).sum();
                    entry.spans.extend(spans);
                    // A leaf can name one list over and over.
                    left = left
                        .checked_sub(bytes)
                        .filter(|_| entry.spans.len() <= FILE_SPANS_MAX)
                        .ok_or_else(|| bad_tree(id, &TreeError::TooManySpans))?;
                }
            }
        }
        Ok(leaf.entries)
    }

    pub(super) fn node(&self, writer: &WriterKey, id: &[u8; 32]) -> Result<Node, EngineError> {
        let bytes = self.read(writer, BlobKind::Node, id)?;
        Node::decode(&bytes).map_err(|error| bad_tree(id, &error))
    }
}

pub(super) fn bad_tree(id: &[u8; 32], error: &dyn std::error::Error) -> EngineError {
    let reason = match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    EngineError::damaged(format!("tree {}", super::hex::encode(&id[..8])), reason)
}
