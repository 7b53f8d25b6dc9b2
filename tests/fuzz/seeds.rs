//! Real inputs of every decoder, made by the encoders beside them.

use std::fs;
use std::sync::Arc;

use bkpctl::engine::crypto::{ArgonCost, KeyFile, PassphraseSlot, RecoveryCode, SessionKey};
use bkpctl::engine::env::{Cancel, Env};
use bkpctl::engine::files::{
    Encoder, Entry, Extent, Kind, Meta, RelPath, ScanOptions, Span, Time, Xattr,
};
use bkpctl::engine::pack::{BlobKind, PackView, Sealer};
use bkpctl::engine::store::{Folder, Memory, Store};
use bkpctl::engine::tree::{Child, LeafBuilder, Node, Refs};
use bkpctl::engine::{Access, BackupOptions, CreateOptions, Repository, Silent, backup};
use bkpctl::fuzz::key;
use bkpctl::run::frame::write_frame;
use serde_json::{Value, json};

type Seeds = Vec<(&'static str, Vec<Vec<u8>>)>;

pub(crate) fn all() -> Seeds {
    let env = Env::system();
    let store = repository(&env);
    let key = key();
    let writer = key.writer("web").expect("a label");
    let files = |folder| -> Vec<Vec<u8>> {
        let files = store.list(folder).expect("a listing");
        let bytes = files.iter().map(|file| store.get(&file.name));
        bytes.map(|bytes| bytes.expect("a file")).collect()
    };
    let slot = PassphraseSlot::wrap(&env, &key, b"word", ArgonCost::LEAST).expect("a slot");
    let (_, session) = SessionKey::generate(&env, &writer).expect("a session");
    let mut record = Vec::new();
    session.encode(&mut record);
    let packs = [files(Folder::Packs), files(Folder::Meta)].concat();
    let named = store.list(Folder::Packs).expect("a listing");
    let list = named
        .iter()
        .map(|file| format!("{}\n", file.name.file_name()));
    let refs = Sealer::clear(&writer, BlobKind::Refs, &refs(2)).expect("a blob");
    let view = PackView::parse(&packs[packs.len() - 1]).expect("a pack");
    let (_, at, payload) = view
        .blobs
        .iter()
        .find(|(header, ..)| header.cipher.is_none())
        .expect("references");
    let clear = packs[packs.len() - 1][*at..][..104 + payload.len()].to_vec();
    assert_eq!(refs.header.kind, BlobKind::Refs);
    let names: Vec<_> = Folder::ALL
        .iter()
        .flat_map(|folder| store.list(*folder).expect("a listing"))
        .collect();
    vec![
        ("marker", files(Folder::Root)),
        ("manifest", files(Folder::Snapshots)),
        ("pack", packs),
        ("blob", vec![clear]),
        ("session", vec![record]),
        ("index", files(Folder::Index)),
        ("leaf", vec![leaf(false), leaf(true)]),
        ("entries", vec![entries(), Vec::new()]),
        ("node", vec![node(1), node(2)]),
        ("refs", vec![self::refs(0), self::refs(1)]),
        ("spans", vec![spans()]),
        ("slot", vec![slot.encode()]),
        ("key-file", vec![KeyFile::print(&key).as_bytes().to_vec()]),
        (
            "recovery-code",
            vec![RecoveryCode::print(&key).as_bytes().to_vec()],
        ),
        ("writer-key", vec![writer.encode().to_vec()]),
        ("receipt", files(Folder::Receipts)),
        ("condemned", vec![list.collect::<String>().into_bytes()]),
        ("ledger", vec![ledger()]),
        ("cache", cache()),
        ("frames", frames()),
        (
            "names",
            names
                .iter()
                .map(|file| file.name.as_str().as_bytes().to_vec())
                .collect(),
        ),
        (
            "excludes",
            vec![b"*.tmp\n/var/cache/**\n!keep\n[a-z]?\\ \n".to_vec()],
        ),
        ("topology", topologies()),
    ]
}

/// Makes a small repository whose key is the corpora's.
fn repository(env: &Env) -> Arc<Memory> {
    let store = Arc::new(Memory::new(env.clock.clone()));
    let options = CreateOptions::for_key("here", &key());
    Repository::create(&*store, env, &options).expect("a repository");
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("small"), "small").expect("a file");
    fs::write(
        folder.path().join("text"),
        "all work and no play ".repeat(90),
    )
    .expect("a file");
    let access = Access::Reader(key());
    let repository = Repository::open(store.clone(), env.clone(), access).expect("it opens");
    backup(
        &repository,
        &[folder.path().to_owned()],
        ScanOptions::default(),
        &BackupOptions::new("web", "web", "here"),
        &Silent,
        &Cancel::new(),
    )
    .expect("a backup");
    store
}

fn span(n: u8, offset: u32, len: u32) -> Span {
    let chunk = [n; 32];
    Span { chunk, offset, len }
}

/// One entry of each kind, with everything that an entry can have.
fn samples() -> Vec<Entry> {
    let path = |path: &str| RelPath::new(path).expect("a path");
    let meta = |inode| Meta {
        mode: 0o4755,
        uid: 1000,
        gid: 100,
        user: Some(b"user".as_slice().into()),
        group: None,
        mtime: Time {
            seconds: -5,
            nanos: 999_999_999,
        },
        ctime: Time {
            seconds: 1_700_000_000,
            nanos: 1,
        },
        inode,
        links: 2,
        xattrs: vec![Xattr {
            name: b"user.a".to_vec(),
            value: vec![0, 255],
        }],
    };
    let extents = vec![
        Extent { offset: 5, len: 10 },
        Extent {
            offset: 100,
            len: 20,
        },
    ];
    let mut entries = vec![
        Entry::new(path(""), Kind::Dir, meta(1)),
        Entry::new(path("a"), Kind::Dir, Meta::default()),
        Entry::new(path("a/b"), Kind::dense_file(30), meta(7)),
        Entry::new(path("a/c"), Kind::File { size: 500, extents }, meta(7)),
        Entry::new(
            path("a/l"),
            Kind::Symlink {
                target: b"../x".to_vec(),
            },
            meta(8),
        ),
        Entry::new(path("d"), Kind::Hardlink { to: path("a/b") }, meta(9)),
        Entry::new(path("e"), Kind::CharDevice { major: 1, minor: 3 }, meta(10)),
        Entry::new(
            path("f"),
            Kind::BlockDevice {
                major: 8,
                minor: 300,
            },
            meta(11),
        ),
        Entry::new(path("g"), Kind::Fifo, Meta::default()),
        Entry::new(path("h"), Kind::dense_file(0), Meta::default()),
    ];
    entries[2].spans = vec![span(1, 0, 10), span(1, 10, 10), span(2, 0, 10)];
    entries[3].spans = vec![span(2, 50, 15), span(3, 7, 15)];
    entries
}

fn entries() -> Vec<u8> {
    let mut encoder = Encoder::default();
    for entry in &samples() {
        encoder.push(entry).expect("an entry");
    }
    encoder.finish()
}

fn leaf(spilled: bool) -> Vec<u8> {
    let mut builder = LeafBuilder::new();
    for mut entry in samples() {
        let lists = if spilled && entry.spans.len() > 2 {
            vec![[1; 32], [2; 32]]
        } else {
            Vec::new()
        };
        builder.push(&mut entry, lists).expect("an entry");
    }
    builder.take().expect("entries").1
}

fn node(level: u8) -> Vec<u8> {
    let child = |n: u8| Child {
        id: [n; 32],
        first: RelPath::new(format!("dir/{n:03}")).expect("a path"),
    };
    let children = (0..5).map(child).collect();
    Node { level, children }.encode()
}

fn refs(level: u8) -> Vec<u8> {
    let ids = (0..5).map(|n| [n; 32]).collect();
    Refs { level, ids }.encode()
}

fn spans() -> Vec<u8> {
    let one = |n: u8| {
        let numbers = [1_u32.to_le_bytes(), 50_u32.to_le_bytes()];
        [[n; 32].as_slice(), numbers.as_flattened()].concat()
    };
    (0..5).flat_map(one).collect()
}

fn ledger() -> Vec<u8> {
    let pack = "ab".repeat(32);
    let body = format!("bkpctl-verified 0\n{pack} full good 5\n{pack} hash bad -6\n");
    let check = blake3::hash(body.as_bytes());
    format!("{body}check {check}\n").into_bytes()
}

/// A beginning, and a run of entries as it is and compressed.
fn cache() -> Vec<Vec<u8>> {
    let run = entries();
    let packed = zstd::bulk::compress(&run, 3).expect("it compresses");
    let record = |is_packed: u8, bytes: &[u8]| {
        let len = (run.len() as u32).to_le_bytes();
        [&[2, is_packed], len.as_slice(), bytes].concat()
    };
    let beginning = [[1; 1].as_slice(), &5_i64.to_le_bytes(), &[7; 16]].concat();
    vec![beginning, record(0, &run), record(1, &packed)]
}

fn frames() -> Vec<Vec<u8>> {
    let session = "00112233445566778899aabbccddeeff";
    let calls = [
        json!({"store": "place"}),
        json!({"store": {"put": {"name": "keys/passphrase-12"}}}),
        json!({"store": {"get_range": {"name": "keys/a", "offset": 1, "len": u64::MAX}}}),
        json!({"store": {"list": {"folder": "snapshots"}}}),
        json!({"store": {"open_session": {"session": session, "kind": "write"}}}),
        json!({"store": {"commit": {"session": session, "manifest": "snapshots/web/a"}}}),
        json!({"node": "identify"}),
        json!({"node": {"journal": {"folder": "/var/lib/x", "line": "a"}}}),
        json!("stop"),
    ];
    let replies = [
        json!({"store": {"place": "here"}}),
        json!({"store": {"put": "stored"}}),
        json!({"store": {"failed": {"not_found": {"name": "keys/a"}}}}),
        json!({"store": {"size": 5}}),
        json!("stopping"),
    ];
    let progress = json!({"bytes": 1, "total": null, "files": 2, "stored": 3});
    let fault = json!({"kind": "lost", "message": "gone"});
    let calls = calls.map(|call| json!({"call": {"id": 1, "call": call}}));
    let replies = replies.map(|reply| json!({"reply": {"id": 2, "result": {"Ok": reply}}}));
    let rest = [
        json!({"hello": {"protocol": 1, "version": "0.1.0"}}),
        json!({"reply": {"id": 3, "result": {"Err": fault}}}),
        json!({"event": {"event": {"progress": progress}}}),
        json!("beat"),
    ];
    let heads = calls.iter().chain(&replies).chain(&rest);
    let frame = |head: &Value| {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, head, b"body").expect("a vector takes everything");
        bytes
    };
    heads.map(frame).collect()
}

fn topologies() -> Vec<Vec<u8>> {
    let root = env!("CARGO_MANIFEST_DIR");
    let small = br#"topology "small" id="small00001"
node "here" { local; agent path="state" }
key "lab" { file "lab.key"; create }
datastore "store" { place "here" path="store"; keep last=3 }
source "data" on="here" { path "data" }
phase "baseline" { backup "nightly" { source "data"; to "store"; at "02:00" } }
"#;
    let whole = fs::read(format!(
        "{root}/tests/cases/config/valid/whole-language.kdl"
    ));
    vec![small.to_vec(), whole.expect("a case")]
}
