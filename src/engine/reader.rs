//! Reads blobs back with the reading key: every read checks the keyed id.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, RwLock};

use super::compress::Codec;
use super::crypto::{ReadingKey, SessionKey, WriterKey};
use super::error::EngineError;
use super::files::{Entry, RelPath};
use super::index::{Index, PackInfo, Place};
use super::manifest::codec;
use super::pack::{BlobKind, Header, check_payload, split_blob};
use super::repository::{Repository, load_index, scan_pack};
use super::store::{Folder, Store, StoreName};
use super::tree::{Child, Leaf, Node, decode_spans};
use super::writer::{lock, read_sessions};

/// How many decoded chunks are kept, since files next to each other share them.
const CACHED_MAX: usize = 16;

type Slot = Arc<Mutex<Option<Arc<Vec<u8>>>>>;

/// Reads blobs of one repository, from several threads.
pub(super) struct BlobReader {
    store: Arc<dyn Store>,
    key: ReadingKey,
    state: RwLock<IndexState>,
    sessions: Mutex<HashMap<[u8; 16], Arc<SessionKey>>>,
    codecs: Mutex<Vec<Codec>>,
    cache: Mutex<VecDeque<([u8; 32], Slot)>>,
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
            cache: Mutex::default(),
        })
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

    /// Returns a chunk, from memory if it was read a moment ago.
    pub(super) fn chunk(
        &self,
        writer: &WriterKey,
        id: &[u8; 32],
    ) -> Result<Arc<Vec<u8>>, EngineError> {
        let slot = self.slot(id);
        // Held while reading, so that threads that want the same chunk read it once.
        let mut held = lock(&slot);
        if let Some(chunk) = &*held {
            return Ok(chunk.clone());
        }
        let chunk = Arc::new(self.read(writer, BlobKind::Chunk, id)?);
        *held = Some(chunk.clone());
        Ok(chunk)
    }

    fn slot(&self, id: &[u8; 32]) -> Slot {
        let mut cache = lock(&self.cache);
        if let Some((_, slot)) = cache.iter().find(|(cached, _)| cached == id) {
            return slot.clone();
        }
        let slot = Slot::default();
        cache.push_back((*id, slot.clone()));
        if cache.len() > CACHED_MAX {
            cache.pop_front();
        }
        slot
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
        let bytes = self
            .store
            .get_range(&name, place.offset.into(), place.len.into())?;
        let damaged = || EngineError::damaged(&name, "a blob in it has changed");
        let (header, payload) = split_blob(&bytes).ok_or_else(damaged)?;
        if header.id != place.id || header.kind != kind || !check_payload(&header, payload) {
            return Err(damaged());
        }
        let plain = self.open_blob(&name, &header, payload)?;
        if writer.id(kind as u8, &plain) == place.id {
            Ok(plain)
        } else {
            Err(EngineError::damaged(
                &name,
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

    /// Returns the entries of a tree in path order.
    pub(super) fn entries<'a>(
        &'a self,
        writer: &'a WriterKey,
        root: [u8; 32],
    ) -> Result<Entries<'a>, EngineError> {
        let mut entries = Entries {
            reader: self,
            writer,
            stack: Vec::new(),
            leaf: Vec::new().into_iter(),
            failed: false,
        };
        entries.descend(&root, None)?;
        Ok(entries)
    }

    /// Tells whether a tree has an entry of this path, by the way down to it alone.
    pub(super) fn has_entry(
        &self,
        writer: &WriterKey,
        root: [u8; 32],
        path: &RelPath,
    ) -> Result<bool, EngineError> {
        let mut node = self.node(writer, &root)?;
        loop {
            let after = node.children.partition_point(|child| child.first <= *path);
            let Some(child) = after.checked_sub(1).and_then(|at| node.children.get(at)) else {
                return Ok(false);
            };
            if node.level == 1 {
                let bytes = self.read(writer, BlobKind::Leaf, &child.id)?;
                let leaf = Leaf::decode(&bytes).map_err(|error| bad_tree(&child.id, &error))?;
                return Ok(leaf.entries.iter().any(|entry| entry.path == *path));
            }
            let below = self.node(writer, &child.id)?;
            check_level(&below, node.level - 1)?;
            node = below;
        }
    }

    /// Reads a leaf with the spans that lie in blobs of their own.
    pub(super) fn leaf(
        &self,
        writer: &WriterKey,
        id: &[u8; 32],
    ) -> Result<Vec<Entry>, EngineError> {
        let bytes = self.read(writer, BlobKind::Leaf, id)?;
        let mut leaf = Leaf::decode(&bytes).map_err(|error| bad_tree(id, &error))?;
        for (index, lists) in &leaf.spilled {
            let entry = &mut leaf.entries[*index as usize];
            for list in lists {
                let bytes = self.read(writer, BlobKind::Spans, list)?;
                let spans = decode_spans(&bytes).map_err(|error| bad_tree(list, &error))?;
                entry.spans.extend(spans);
            }
        }
        Ok(leaf.entries)
    }

    pub(super) fn node(&self, writer: &WriterKey, id: &[u8; 32]) -> Result<Node, EngineError> {
        let bytes = self.read(writer, BlobKind::Node, id)?;
        Node::decode(&bytes).map_err(|error| bad_tree(id, &error))
    }
}

/// Checks that levels fall by one on the way down, so that every way ends.
fn check_level(node: &Node, level: u8) -> Result<(), EngineError> {
    if node.level == level {
        Ok(())
    } else {
        Err(EngineError::damaged("a tree", "a node has the wrong level"))
    }
}

fn bad_tree(id: &[u8; 32], error: &dyn std::error::Error) -> EngineError {
    let reason = match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    EngineError::damaged(format!("tree {}", super::hex::encode(&id[..8])), reason)
}

/// Walks the entries of a snapshot's tree in path order.
pub(super) struct Entries<'a> {
    reader: &'a BlobReader,
    writer: &'a WriterKey,
    stack: Vec<(u8, std::vec::IntoIter<Child>)>,
    leaf: std::vec::IntoIter<Entry>,
    failed: bool,
}

impl Entries<'_> {
    fn descend(&mut self, id: &[u8; 32], level: Option<u8>) -> Result<(), EngineError> {
        let node = self.reader.node(self.writer, id)?;
        if let Some(level) = level {
            check_level(&node, level)?;
        }
        self.stack.push((node.level, node.children.into_iter()));
        Ok(())
    }

    fn step(&mut self) -> Result<Option<Entry>, EngineError> {
        loop {
            if let Some(entry) = self.leaf.next() {
                return Ok(Some(entry));
            }
            let Some((level, children)) = self.stack.last_mut() else {
                return Ok(None);
            };
            match (children.next(), *level) {
                (None, _) => {
                    self.stack.pop();
                }
                (Some(child), 1) => {
                    self.leaf = self.reader.leaf(self.writer, &child.id)?.into_iter();
                }
                (Some(child), level) => self.descend(&child.id, Some(level - 1))?,
            }
        }
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let entry = self.step();
        self.failed = entry.is_err();
        entry.transpose()
    }
}
