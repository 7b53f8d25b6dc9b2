//! Known answers as data: `tests/vectors/*.json` pins what the format's parts compute.
//!
//! A second program checks the same files. They are made once for each format, by the ignored
//! test below, and never overwritten.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::support::noise;
use crate::engine::chunk::{ChunkSizes, Chunker};
use crate::engine::compress::Codec;
use crate::engine::crypto::{
    ArgonCost, Cipher, KeyFile, PassphraseSlot, ReadingKey, RecoveryCode, SealedSession, SessionKey,
};
use crate::engine::env::{Entropy, Env, SystemClock};
use crate::engine::files::{Encoder, Entry, Extent, Kind, Meta, RelPath, Span, Time, Xattr};
use crate::engine::hex;
use crate::engine::index;
use crate::engine::pack::{BlobKind, PackBuilder, PackView, SealedBlob, Sealer, split_blob};
use crate::engine::store::{Receipt, StoreName};
use crate::engine::tree::RefsBuilder;

const SEED: [u8; 32] = [7; 32];
const LABEL: &str = "pve1";
const SESSION_ID: [u8; 16] = [0x11; 16];
const SESSION_KEY: [u8; 32] = [0x22; 32];
const EXCHANGE_SEED: [u8; 32] = [0x33; 32];

/// Gives out what it was given, in order.
struct Script(Mutex<VecDeque<Vec<u8>>>);

impl Entropy for Script {
    fn fill(&self, bytes: &mut [u8]) -> std::io::Result<()> {
        let next = self.0.lock().expect("no panic").pop_front();
        bytes.copy_from_slice(&next.expect("the script is long enough"));
        Ok(())
    }
}

fn scripted(parts: &[&[u8]]) -> Env {
    let parts = parts.iter().map(|part| part.to_vec()).collect();
    Env {
        clock: Arc::new(SystemClock),
        entropy: Arc::new(Script(Mutex::new(parts))),
    }
}

fn key() -> ReadingKey {
    ReadingKey::from_seed(&SEED)
}

fn session() -> (SessionKey, SealedSession) {
    let env = scripted(&[&SESSION_ID, &SESSION_KEY, &EXCHANGE_SEED]);
    let writer = key().writer(LABEL).expect("a good label");
    SessionKey::generate(&env, &writer).expect("a session")
}

fn keys() -> Value {
    let seeds = [[0; 32], SEED, [0xff; 32], *blake3::hash(b"seed").as_bytes()];
    let described = seeds.map(|seed| {
        let key = ReadingKey::from_seed(&seed);
        let labels = ["a", LABEL, "with.all_kinds-OF.9"].map(|label| {
            let writer = key.writer(label).expect("a good label");
            let ids: Vec<_> = (1..=6_u8)
                .map(|kind| {
                    let len = if kind == 1 { 1500 } else { 10 };
                    let plain = noise(len, u64::from(kind));
                    let id = hex::encode(&writer.id(kind, &plain));
                    json!({ "kind": kind, "plain": hex::encode(&plain), "id": id })
                })
                .collect();
            let (writer_key, mac) = (hex::encode(&writer.encode()), writer.mac(b"bkpctl"));
            let mac = hex::encode(&mac);
            json!({ "label": label, "writer_key": writer_key, "ids": ids, "mac_of_bkpctl": mac })
        });
        json!({
            "seed": hex::encode(&seed),
            "public": hex::encode(key.public()),
            "domain": key.domain().to_string(),
            "proof_of_bkpctl": hex::encode(&key.mac_proof(b"bkpctl")),
            "key_file": *KeyFile::print(&key),
            "recovery_code": *RecoveryCode::print(&key),
            "writers": labels,
        })
    });
    json!({ "keys": described })
}

fn sessions() -> Value {
    let mut record = Vec::new();
    session().1.encode(&mut record);
    let mut ephemeral = [0; 32];
    let mut hasher = blake3::Hasher::new_derive_key("bkpctl key exchange randomness");
    hasher
        .update(&EXCHANGE_SEED)
        .finalize_xof()
        .fill(&mut ephemeral);
    json!({
        "seed": hex::encode(&SEED),
        "session_key": hex::encode(&SESSION_KEY),
        "ephemeral_ikm": hex::encode(&ephemeral),
        "record": hex::encode(&record),
    })
}

/// Blobs of noise, which does not compress, so that their bytes follow from the format alone.
fn blobs() -> Vec<(SealedBlob, Vec<u8>)> {
    let (session, _) = session();
    let writer = key().writer(LABEL).expect("a good label");
    let mut codec = Codec::new().expect("contexts");
    let kinds = [
        (BlobKind::Chunk, Cipher::ChaCha20Poly1305, 1000),
        (BlobKind::Chunk, Cipher::Aes256Gcm, 1),
        (BlobKind::Chunk, Cipher::Aes256Gcm, 0),
        (BlobKind::Spans, Cipher::ChaCha20Poly1305, 80),
    ];
    let mut blobs = Vec::new();
    for (number, (kind, cipher, len)) in kinds.into_iter().enumerate() {
        let plain = noise(len, number as u64);
        let sealer = Sealer {
            session: &session,
            cipher,
        };
        let id = writer.id(kind as u8, &plain);
        let blob = sealer.seal(kind, &id, &plain, &mut codec).expect("sealed");
        blobs.push((blob, plain));
    }
    let refs = [&[0], noise(96, 9).as_slice()].concat();
    let clear = Sealer::clear(&writer, BlobKind::Refs, &refs).expect("in the clear");
    blobs.push((clear, refs));
    blobs
}

fn packs() -> Value {
    let (_, record) = session();
    let mut builder = PackBuilder::new(*b"saltsalt");
    let mut described = Vec::new();
    for (blob, plain) in blobs() {
        described.push(json!({
            "kind": blob.header.kind as u8,
            "id": hex::encode(&blob.header.id),
            "plain": hex::encode(&plain),
            "blob": hex::encode(&[&blob.header.encode()[..], &blob.payload].concat()),
        }));
        let session = blob.header.cipher.is_some().then_some(&record);
        builder.push(&blob.header, &blob.payload, session);
    }
    let (bytes, entries) = builder.finish(false);
    let segment = index::encode(std::slice::from_ref(&entries));
    json!({
        "seed": hex::encode(&SEED),
        "label": LABEL,
        "session_key": hex::encode(&SESSION_KEY),
        "blobs": described,
        "pack": hex::encode(&bytes),
        "pack_name": hex::encode(&entries.hash),
        "segment": hex::encode(&segment),
    })
}

fn slots() -> Value {
    let described = ["correct horse", "käse ☃", " "].map(|passphrase| {
        let salt = [passphrase.len() as u8; 16];
        let env = scripted(&[&salt]);
        let slot = PassphraseSlot::wrap(&env, &key(), passphrase.as_bytes(), ArgonCost::LEAST)
            .expect("a slot");
        let line = String::from_utf8(slot.encode()).expect("JSON is text");
        let name = slot.name().expect("a good name").to_string();
        json!({ "passphrase": passphrase, "name": name, "slot": line })
    });
    json!({ "seed": hex::encode(&SEED), "slots": described })
}

fn cuts(bytes: &[u8]) -> Vec<usize> {
    let mut chunker = Chunker::new(ChunkSizes::FILES);
    chunker.push(bytes);
    let mut lens = Vec::new();
    while let Some(chunk) = chunker.cut() {
        lens.push(chunk.len());
    }
    while let Some(chunk) = chunker.finish() {
        lens.push(chunk.len());
    }
    lens
}

fn chunks() -> Value {
    let of_text = |text: &str, len: usize| {
        let mut bytes = vec![0; len];
        blake3::Hasher::new()
            .update(text.as_bytes())
            .finalize_xof()
            .fill(&mut bytes);
        json!({ "xof_of": text, "length": len, "chunks": cuts(&bytes) })
    };
    let mut cases: Vec<Value> = [0, 1, 524_288, 524_289, 900_001, 1_048_577, 6_000_000]
        .into_iter()
        .map(|len| of_text("bkpctl chunks", len))
        .collect();
    cases.extend((0..3).map(|n| of_text(&format!("seed {n}"), 3_000_001)));
    let zeros = cuts(&vec![0; 5 << 20]);
    cases.push(json!({ "zeros": true, "length": 5 << 20, "chunks": zeros }));
    json!({ "cases": cases })
}

fn lines() -> Value {
    let name = StoreName::parse("snapshots/web/20261123T051400.123Z-0a1b2c3d").expect("a name");
    let first = Receipt::after(None, "0011223344556677", &name, b"manifest", 5);
    let bytes = first.encode();
    let second = Receipt::after(Some((&first, &bytes)), &first.chain, &name, b"other", -1);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("JSON is text");
    json!({
        "receipts": [text(bytes), text(second.encode())],
        "manifests": [hex::encode(b"manifest"), hex::encode(b"other")],
    })
}

fn entries() -> Vec<Entry> {
    let path = |text: &[u8]| RelPath::new(text).expect("a good path");
    let meta = Meta {
        mode: 0o755,
        uid: 1000,
        gid: 4_294_967_294,
        user: Some(b"ann".as_slice().into()),
        group: Some(b"".as_slice().into()),
        mtime: Time {
            seconds: -2,
            nanos: 999_999_999,
        },
        ctime: Time {
            seconds: i64::MAX,
            nanos: 0,
        },
        inode: u64::MAX,
        links: 2,
        xattrs: Vec::new(),
    };
    let span = |chunk: u8, offset, len| Span {
        chunk: [chunk; 32],
        offset,
        len,
    };
    let mut dense = Entry::new(path(b"dir/dense"), Kind::dense_file(300), meta.clone());
    dense.spans = vec![
        span(1, 0, 100),
        span(1, 100, 50),
        span(1, 7, 50),
        span(2, 9, 100),
    ];
    let sparse = Kind::File {
        size: 1 << 44,
        extents: vec![
            Extent { offset: 0, len: 10 },
            Extent {
                offset: 1 << 40,
                len: 20,
            },
        ],
    };
    let with_xattrs = Meta {
        mode: 0o4711,
        uid: 0,
        user: None,
        inode: 3,
        mtime: Time {
            seconds: i64::MIN,
            nanos: 1,
        },
        xattrs: [("security.x", ""), ("user.a", "v"), ("user.b", "\0\u{ff}")]
            .map(|(name, value)| Xattr {
                name: name.into(),
                value: value.into(),
            })
            .to_vec(),
        ..meta.clone()
    };
    let mut sparse = Entry::new(path(b"dir/dense-not"), sparse, with_xattrs);
    sparse.spans = vec![span(2, 109, 30)];
    let link = Kind::Symlink {
        target: b"/any\xffwhere".to_vec(),
    };
    let hard = Kind::Hardlink {
        to: path(b"dir/dense"),
    };
    let device = |major, minor| Kind::BlockDevice { major, minor };
    let char = Kind::CharDevice { major: 1, minor: 3 };
    let entry = |name: &[u8], kind| Entry::new(path(name), kind, meta.clone());
    vec![
        entry(b"", Kind::Dir),
        entry(b"dir", Kind::Dir),
        dense,
        sparse,
        entry(b"dir/empty", Kind::dense_file(0)),
        entry(b"dir-after", Kind::Fifo),
        entry(b"raw\xff\xfe", link),
        entry(b"second", hard),
        entry(b"vda", device(u32::MAX, 0)),
        entry(b"vdb", char),
    ]
}

fn describe(entry: &Entry) -> Value {
    let meta = &entry.meta;
    let (number, size, extents, target, device) = match &entry.kind {
        Kind::Dir => (0, 0, Vec::new(), Vec::new(), (0, 0)),
        Kind::File { size, extents } => {
            let extents = extents.iter().map(|e| (e.offset, e.len)).collect();
            (1, *size, extents, Vec::new(), (0, 0))
        }
        Kind::Symlink { target } => (2, 0, Vec::new(), target.clone(), (0, 0)),
        Kind::Hardlink { to } => (3, 0, Vec::new(), to.as_bytes().to_vec(), (0, 0)),
        Kind::CharDevice { major, minor } => (4, 0, Vec::new(), Vec::new(), (*major, *minor)),
        Kind::BlockDevice { major, minor } => (5, 0, Vec::new(), Vec::new(), (*major, *minor)),
        Kind::Fifo => (6, 0, Vec::new(), Vec::new(), (0, 0)),
    };
    let xattrs = meta.xattrs.iter();
    let spans = entry.spans.iter();
    json!({
        "path": hex::encode(entry.path.as_bytes()),
        "kind": number,
        "mode": meta.mode,
        "uid": meta.uid,
        "gid": meta.gid,
        "user": meta.user.as_deref().map(hex::encode),
        "group": meta.group.as_deref().map(hex::encode),
        "mtime": [meta.mtime.seconds, i64::from(meta.mtime.nanos)],
        "ctime": [meta.ctime.seconds, i64::from(meta.ctime.nanos)],
        "inode": meta.inode,
        "links": meta.links,
        "xattrs": xattrs.map(|x| [hex::encode(&x.name), hex::encode(&x.value)]).collect::<Vec<_>>(),
        "size": size,
        "extents": extents,
        "spans": spans.map(|s| json!([hex::encode(&s.chunk), s.offset, s.len])).collect::<Vec<_>>(),
        "target": hex::encode(&target),
        "device": device,
    })
}

fn trees() -> Value {
    let mut encoder = Encoder::new();
    for entry in entries() {
        encoder.push(&entry).expect("in order");
    }
    let described: Vec<_> = entries().iter().map(describe).collect();
    let mut builder = RefsBuilder::new();
    let id = |n: u32| *blake3::hash(&n.to_le_bytes()).as_bytes();
    for n in 0..3000 {
        builder.push(id(n));
        if n % 10 == 9 {
            builder.push_leaf(id(n + 1_000_000));
        }
    }
    let mut lists = Vec::new();
    let root = builder.finish(|bytes| {
        let id = *blake3::hash(&bytes).as_bytes();
        lists.push((bytes[0], (bytes.len() - 1) / 32, hex::encode(&id)));
        Ok::<_, ()>(id)
    });
    json!({
        "run": hex::encode(&encoder.finish()),
        "entries": described,
        "references": { "lists": lists, "root": hex::encode(&root.expect("nothing fails")) },
    })
}

type Vector = (&'static str, fn() -> Value);

const VECTORS: [Vector; 7] = [
    ("keys", keys),
    ("sessions", sessions),
    ("packs", packs),
    ("slots", slots),
    ("chunks", chunks),
    ("lines", lines),
    ("trees", trees),
];

fn path(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    folder.join(format!("{name}.json"))
}

#[test]
fn answers_are_the_known_ones() {
    for (name, compute) in VECTORS {
        let text = std::fs::read_to_string(path(name)).expect("a file of answers");
        let known: Value = serde_json::from_str(&text).expect("JSON");
        assert!(known == compute(), "{name}");
    }
}

#[test]
fn known_secrets_open_what_is_known() {
    let text = std::fs::read_to_string(path("packs")).expect("a file of answers");
    let known: Value = serde_json::from_str(&text).expect("JSON");
    let bytes = |field: &Value| -> Vec<u8> {
        let text = field.as_str().expect("text").as_bytes();
        let digit = |d: u8| char::from(d).to_digit(16).expect("a digit") as u8;
        text.as_chunks()
            .0
            .iter()
            .map(|[a, b]| digit(*a) << 4 | digit(*b))
            .collect()
    };
    let pack = bytes(&known["pack"]);
    let view = PackView::parse(&pack).expect("a pack");
    view.check().expect("intact");
    let session = view.sessions[0].open(&key()).expect("the key fits");
    let mut codec = Codec::new().expect("contexts");
    for blob in known["blobs"].as_array().expect("blobs") {
        let sealed = bytes(&blob["blob"]);
        let (header, payload) = split_blob(&sealed).expect("a blob");
        let plain = header.open(payload, Some(&session), &mut codec);
        assert_eq!(plain.expect("it opens"), bytes(&blob["plain"]));
    }
    index::decode(&bytes(&known["segment"])).expect("a segment");
}

/// Makes the files of answers that are missing: `cargo test --lib -- --ignored make_the_vectors`.
#[test]
#[ignore = "makes files in the source tree, once for each format"]
fn make_the_vectors() {
    for (name, compute) in VECTORS {
        let text = serde_json::to_string_pretty(&compute()).expect("JSON") + "\n";
        std::fs::create_dir_all(path(name).parent().expect("a folder")).expect("a folder");
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create_new(true).open(path(name));
        match file {
            Ok(mut file) => std::io::Write::write_all(&mut file, text.as_bytes()).expect("written"),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists),
        }
    }
}
