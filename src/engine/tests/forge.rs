//! Makes repositories that no honest writer makes, with a writer's own key.

use std::sync::Arc;

use super::support::{key, memory};
use crate::engine::compress::Codec;
use crate::engine::crypto::{Cipher, SealedSession, SessionKey, WriterKey};
use crate::engine::env::{Env, fixed};
use crate::engine::files::{Entry, Kind, Meta, RelPath, Span};
use crate::engine::format::{BLOB_VERSION, FORMAT};
use crate::engine::hex;
use crate::engine::index;
use crate::engine::manifest::{Clear, Manifest, Sealed};
use crate::engine::pack::{BlobKind, HEADER_BYTES, Header, PackBuilder, Sealer};
use crate::engine::store::{Memory, SessionId, SessionKind, Store, StoreName};
use crate::engine::tree::{Child, LeafBuilder, Node, Refs};

const CIPHER: Cipher = Cipher::ChaCha20Poly1305;

pub(super) struct Forge {
    pub(super) store: Arc<Memory>,
    pub(super) writer: WriterKey,
    pub(super) env: Env,
    pub(super) session: SessionKey,
    pub(super) record: SealedSession,
    codec: Codec,
    data: PackBuilder,
    meta: PackBuilder,
    /// Every blob so far, for the list of references.
    ids: Vec<[u8; 32]>,
}

impl Forge {
    pub(super) fn new() -> Self {
        let env = fixed::env(900);
        let writer = key().writer("web").expect("a good label");
        let (session, record) = SessionKey::generate(&env, &writer).expect("a session");
        Self {
            store: memory(),
            writer,
            env,
            session,
            record,
            codec: Codec::new().expect("contexts"),
            data: PackBuilder::new([0; 8]),
            meta: PackBuilder::new([0; 8]),
            ids: Vec::new(),
        }
    }

    /// Stores a blob under its right id.
    pub(super) fn blob(&mut self, kind: BlobKind, plain: &[u8]) -> [u8; 32] {
        let id = self.writer.id(kind as u8, plain);
        self.blob_as(kind, id, plain);
        id
    }

    /// Stores a blob under an id that need not be its own.
    pub(super) fn blob_as(&mut self, kind: BlobKind, id: [u8; 32], plain: &[u8]) {
        let blob = if kind == BlobKind::Refs {
            let mut blob = Sealer::clear(&self.writer, kind, plain).expect("a blob");
            blob.header.id = id;
            blob.header.hash = blob.header.hash_with(plain);
            blob
        } else {
            let sealer = Sealer {
                session: &self.session,
                cipher: CIPHER,
            };
            let sealed = sealer.seal(kind, &id, plain, &mut self.codec);
            sealed.expect("a blob")
        };
        self.push(&blob.header, &blob.payload);
    }

    /// Stores a chunk whose payload decompresses to something else than its header says.
    pub(super) fn lying_chunk(&mut self, id: [u8; 32], packed: &[u8], plain_len: u32) {
        let mut bound = [0; 72];
        bound[..8].copy_from_slice(&[b'b', b'k', b'p', b'b', BLOB_VERSION, 1, CIPHER as u8, 1]);
        bound[8..40].copy_from_slice(&id);
        bound[40..44].copy_from_slice(&plain_len.to_le_bytes());
        bound[44..48].copy_from_slice(&(packed.len() as u32 + 16).to_le_bytes());
        bound[48..64].copy_from_slice(self.session.id());
        let counter = self.session.next_counter();
        bound[64..].copy_from_slice(&counter.to_le_bytes());
        let mut payload = packed.to_vec();
        let sealed = self.session.seal(CIPHER, counter, &bound, &mut payload);
        sealed.expect("a seal");
        let mut head = [0; HEADER_BYTES];
        head[..72].copy_from_slice(&bound);
        let mut header = Header::decode(&head).expect("a plausible header");
        header.hash = header.hash_with(&payload);
        self.push(&header, &payload);
    }

    fn push(&mut self, header: &Header, payload: &[u8]) {
        if header.kind != BlobKind::Refs {
            self.ids.push(header.id);
        }
        let session = header.cipher.map(|_| &self.record);
        let builder = match header.kind {
            BlobKind::Chunk => &mut self.data,
            _ => &mut self.meta,
        };
        builder.push(header, payload, session);
    }

    /// Stores a tree of one leaf and returns its root.
    pub(super) fn tree(&mut self, leaf: &[u8], first: &str) -> [u8; 32] {
        let leaf = self.blob(BlobKind::Leaf, leaf);
        self.node(1, &[(leaf, first)])
    }

    pub(super) fn node(&mut self, level: u8, children: &[([u8; 32], &str)]) -> [u8; 32] {
        let bytes = node(level, children).encode();
        self.blob(BlobKind::Node, &bytes)
    }

    /// Shows a snapshot of a tree, with references to every blob.
    pub(super) fn commit(self, tree: [u8; 32]) -> Arc<Memory> {
        let refs = Refs {
            level: 0,
            ids: self.ids.clone(),
        };
        self.commit_with(tree, &refs)
    }

    pub(super) fn commit_with(mut self, tree: [u8; 32], refs: &Refs) -> Arc<Memory> {
        let refs = self.blob(BlobKind::Refs, &refs.encode());
        self.put_packs();
        let store = self.store.clone();
        let (name, bytes) = self.manifest(tree, refs);
        show(&*store, &name, &bytes);
        store
    }

    pub(super) fn put_packs(&mut self) {
        let mut packs = Vec::new();
        for is_data in [true, false] {
            let builder = if is_data {
                &mut self.data
            } else {
                &mut self.meta
            };
            let builder = std::mem::replace(builder, PackBuilder::new([0; 8]));
            if builder.is_empty() {
                continue;
            }
            let (bytes, entries) = builder.finish(is_data);
            let name = if is_data {
                StoreName::pack(&entries.hash)
            } else {
                StoreName::meta(&entries.hash)
            };
            self.store.put(&name, &bytes).expect("a put");
            packs.push(entries);
        }
        let bytes = index::encode(&packs);
        let name = StoreName::index(blake3::hash(&bytes).as_bytes());
        self.store.put(&name, &bytes).expect("a put");
    }

    pub(super) fn manifest(&mut self, tree: [u8; 32], refs: [u8; 32]) -> (StoreName, Vec<u8>) {
        let id: [u8; 16] = self.env.random().expect("bytes");
        let clear = Clear {
            id: hex::encode(&id),
            refs: hex::encode(&refs),
            ..clear()
        };
        let line = clear.encode().expect("a short line");
        let sealed = Sealed {
            clear: blake3::hash(&line).to_hex().to_string(),
            tree: hex::encode(&tree),
            paths: vec!["/forged".to_owned()],
            notes: Vec::new(),
            notes_total: 0,
        };
        let plain = serde_json::to_vec(&sealed).expect("JSON");
        let id = self.writer.id(BlobKind::Manifest as u8, &plain);
        let sealer = Sealer {
            session: &self.session,
            cipher: CIPHER,
        };
        let blob = sealer.seal(BlobKind::Manifest, &id, &plain, &mut self.codec);
        let blob = blob.expect("a blob");
        let mut builder = PackBuilder::new([0; 8]);
        builder.push(&blob.header, &blob.payload, Some(&self.record));
        let (rest, _) = builder.finish(false);
        let name = clear.name().expect("a name");
        (name, Manifest::encode(&line, &self.writer, &rest))
    }
}

pub(super) fn show(store: &dyn Store, name: &StoreName, bytes: &[u8]) {
    let session = SessionId::new([7; 16]);
    store
        .open_session(&session, SessionKind::Write)
        .expect("a session");
    store.commit(&session, name, bytes).expect("a commit");
    store.close_session(&session).expect("an end");
}

fn clear() -> Clear {
    Clear {
        format: FORMAT,
        id: String::new(),
        source: "web".to_owned(),
        writer: "web".to_owned(),
        started: 1_700_000_000_000_000_000,
        finished: 1_700_000_001_000_000_000,
        complete: true,
        entries: 1,
        files: 1,
        bytes: 1,
        new_bytes: 1,
        stored_bytes: 1,
        machine: "here".to_owned(),
        refs: String::new(),
        skipped: 0,
        changed: 0,
    }
}

pub(super) fn node(level: u8, children: &[([u8; 32], &str)]) -> Node {
    let children = children
        .iter()
        .map(|(id, first)| Child {
            id: *id,
            first: RelPath::new(*first).expect("a good path"),
        })
        .collect();
    Node { level, children }
}

pub(super) fn entry(path: &str, kind: Kind) -> Entry {
    let meta = Meta {
        mode: 0o755,
        links: 1,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        ..Meta::default()
    };
    Entry::new(RelPath::new(path).expect("a good path"), kind, meta)
}

pub(super) fn empty(path: &str) -> Entry {
    entry(path, Kind::dense_file(0))
}

pub(super) fn link(path: &str, target: &str) -> Entry {
    let target = target.as_bytes().to_vec();
    entry(path, Kind::Symlink { target })
}

pub(super) fn hardlink(path: &str, to: &str) -> Entry {
    let to = RelPath::new(to).expect("a good path");
    entry(path, Kind::Hardlink { to })
}

pub(super) fn file(path: &str, size: u64, spans: &[([u8; 32], u32, u32)]) -> Entry {
    let mut entry = entry(path, Kind::dense_file(size));
    entry.spans = spans
        .iter()
        .map(|&(chunk, offset, len)| Span { chunk, offset, len })
        .collect();
    entry
}

pub(super) fn leaf(entries: impl IntoIterator<Item = Entry>) -> Vec<u8> {
    let mut builder = LeafBuilder::new();
    for mut entry in entries {
        builder.push(&mut entry, Vec::new()).expect("an entry");
    }
    builder
        .take()
        .map_or_else(|| vec![0; 4], |(_, bytes)| bytes)
}

/// Replaces bytes by others of the same length, which no encoder would write.
pub(super) fn patched(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let at = bytes.windows(from.len()).position(|part| part == from);
    let at = at.expect("the bytes to replace are there");
    bytes[at..at + to.len()].copy_from_slice(to);
    bytes
}
