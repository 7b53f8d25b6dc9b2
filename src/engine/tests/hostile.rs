//! Repositories made to do harm: each is refused with a message, in bounded time.
//!
//! Whoever holds a writer's key can make any of these; whoever holds none can still make
//! the last few.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::forge::*;
use super::support::*;
use crate::engine::crypto::{ArgonCost, CryptoError, PassphraseSlot, ReadingKey};
use crate::engine::env::Cancel;
use crate::engine::files::{Extent, Kind, Meta};
use crate::engine::pack::{BlobKind, MAGIC, PackView, SESSIONS_MAX};
use crate::engine::store::{Folder, Memory, Store, StoreName};
use crate::engine::tree::Refs;
use crate::engine::{
    Access, CreateOptions, EngineError, Level, Marker, Repository, Selection, Silent, sync, unlock,
    verify,
};

/// No refusal takes longer than this, not even unoptimised on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

const IN_THE_WAY: &str = "in the way";

/// Restores and returns everything that was said about what went wrong.
fn complaints(store: Arc<Memory>, target: &std::path::Path) -> String {
    let began = Instant::now();
    let said = match restore_latest(&reader(store), target) {
        Err(error) => chain(&error),
        Ok(report) => {
            let failed = report.failed.iter();
            let failed: Vec<_> = failed.map(|(path, why)| format!("{path}: {why}")).collect();
            failed.join("\n")
        }
    };
    assert!(began.elapsed() < PATIENCE, "{:?}: {said}", began.elapsed());
    said
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

/// Checks that a crafted tree is refused in words, that nothing outside the target changed,
/// and that a verification does not call it clean.
fn assert_refused(what: &str, words: &str, craft: impl FnOnce(&mut Forge) -> [u8; 32]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let outside = folder.path().join("outside");
    fs::create_dir(&outside).expect("a folder");
    fs::write(outside.join("secret"), "secret").expect("a file");
    let before = fs::metadata(outside.join("secret")).expect("it is there");
    let mut forge = Forge::new();
    let tree = craft(&mut forge);
    let store = forge.commit(tree);
    let said = complaints(store.clone(), &folder.path().join("target"));
    assert!(said.contains(words), "{what}: {said:?}");
    assert_eq!(names(folder.path()), ["outside", "target"], "{what}");
    assert_eq!(names(&outside), ["secret"], "{what}");
    let secret = fs::read(outside.join("secret")).expect("it is there");
    assert_eq!(secret, b"secret", "{what}");
    let after = fs::metadata(outside.join("secret")).expect("it is there");
    assert_eq!(
        (before.mode(), before.nlink(), before.mtime_nsec()),
        (after.mode(), after.nlink(), after.mtime_nsec()),
        "{what}"
    );
    let began = Instant::now();
    let found = verify_all(&reader(store));
    assert!(began.elapsed() < PATIENCE, "{what}");
    // Each leaf is checked by itself: what lies between two entries only a restore meets.
    let is_seen = words != IN_THE_WAY;
    assert_ne!(found.is_empty(), is_seen, "{what}: {found:?}");
}

fn names(folder: &std::path::Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .expect("a folder")
        .map(|item| item.expect("an item").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn paths_that_lead_out_are_refused() {
    let cases: [(&str, &str, &[u8], &[u8]); 7] = [
        ("a way up", "aa/evil", b"aa/evil", b"../evil"),
        ("the parent alone", "ab", b"ab", b".."),
        ("an absolute path", "abc/evil", b"abc/evil", b"/tmp/evl"),
        ("a way up within", "a/bb/evil", b"a/bb/evil", b"a/../evil"),
        ("itself", "a/b", b"a/b", b"a/."),
        ("an empty part", "a/bb", b"a/bb", b"a//b"),
        ("a NUL", "evil", b"evil", b"ev\0l"),
    ];
    for (what, path, from, to) in cases {
        assert_refused(what, "path", |forge| {
            let bytes = patched(leaf([empty(path)]), from, to);
            forge.tree(&bytes, "a")
        });
    }
    assert_refused("a hard link's way out", "path", |forge| {
        let bytes = leaf([empty("a"), hardlink("b", "aa/secret")]);
        // The target would come later than its name, so it is named after the check.
        let bytes = patched(bytes, b"aa/secret", b"../secret");
        forge.tree(&bytes, "a")
    });
}

#[test]
fn links_on_the_way_are_not_followed() {
    assert_refused("a file below a link", IN_THE_WAY, |forge| {
        let bytes = leaf([link("a", "../outside"), empty("a/evil")]);
        forge.tree(&bytes, "a")
    });
    assert_refused("a directory over a link", "order", |forge| {
        let first = leaf([link("a", "../outside")]);
        let second = leaf([entry("b", Kind::Dir)]);
        let second = patched(second, b"\x01b", b"\x01a");
        let (first, second) = (
            forge.blob(BlobKind::Leaf, &first),
            forge.blob(BlobKind::Leaf, &second),
        );
        forge.node(1, &[(first, "a"), (second, "b")])
    });
    assert_refused("a hard link through a link", IN_THE_WAY, |forge| {
        let bytes = leaf([link("a", "../outside"), hardlink("b", "a/secret")]);
        forge.tree(&bytes, "a")
    });
    assert_refused("a file over a link to a file", "order", |forge| {
        let chunk = forge.blob(BlobKind::Chunk, b"changed");
        let first = forge.blob(BlobKind::Leaf, &leaf([link("a", "../outside/secret")]));
        let second = leaf([file("b", 7, &[(chunk, 0, 7)])]);
        let second = forge.blob(BlobKind::Leaf, &patched(second, b"\x01b", b"\x01a"));
        forge.node(1, &[(first, "a"), (second, "b")])
    });
}

#[test]
fn trees_that_make_no_sense_are_refused() {
    assert_refused("a name that comes twice", "order", |forge| {
        let one = forge.blob(BlobKind::Leaf, &leaf([empty("a"), empty("b")]));
        forge.node(1, &[(one, "a"), (one, "b")])
    });
    assert_refused("a leaf out of order", "order", |forge| {
        let one = forge.blob(BlobKind::Leaf, &leaf([empty("a"), empty("c")]));
        let two = forge.blob(BlobKind::Leaf, &leaf([empty("b")]));
        forge.node(1, &[(one, "a"), (two, "b")])
    });
    assert_refused("something below a file", IN_THE_WAY, |forge| {
        let bytes = leaf([empty("a"), empty("a/b")]);
        forge.tree(&bytes, "a")
    });
    assert_refused("a level that lies", "level", |forge| {
        let below = forge.tree(&leaf([empty("a")]), "a");
        forge.node(5, &[(below, "a")])
    });
    assert_refused("a node as a leaf", "", |forge| {
        let below = forge.tree(&leaf([empty("a")]), "a");
        forge.node(1, &[(below, "a")])
    });
    assert_refused("a node that names itself", "", |forge| {
        let id = [9; 32];
        let bytes = node(2, &[(id, "a")]).encode();
        forge.blob_as(BlobKind::Node, id, &bytes);
        id
    });
    assert_refused("a child that is nowhere", "is in no pack", |forge| {
        forge.node(1, &[([9; 32], "a")])
    });
    assert_refused("a root that is nowhere", "is in no pack", |_| [9; 32]);
}

#[test]
fn a_tree_of_nodes_that_doubles_at_each_level_is_refused() {
    assert_refused("empty leaves", "", |forge| {
        let mut id = forge.tree(&leaf([]), "a");
        for level in 2..=255 {
            id = forge.node(level, &[(id, "a"), (id, "b")]);
        }
        id
    });
    assert_refused("full leaves", "order", |forge| {
        let mut id = forge.tree(&leaf([empty("a")]), "a");
        for level in 2..=255 {
            id = forge.node(level, &[(id, "a"), (id, "b")]);
        }
        id
    });
}

#[test]
fn lengths_that_lie_are_refused() {
    assert_refused("a bomb", "decompress", |forge| {
        let zeros = std::io::repeat(0).take(1 << 30);
        let bomb = zstd::stream::encode_all(zeros, 3).expect("packed");
        let id = [5; 32];
        forge.lying_chunk(id, &bomb, (1 << 24) - 1);
        let bytes = leaf([file("a", 1 << 23, &[(id, 0, 1 << 23)])]);
        forge.tree(&bytes, "a")
    });
    assert_refused("less than was said", "decompress", |forge| {
        let packed = zstd::stream::encode_all(&[0; 1000][..], 3).expect("packed");
        let id = [5; 32];
        forge.lying_chunk(id, &packed, 5000);
        let bytes = leaf([file("a", 5000, &[(id, 0, 5000)])]);
        forge.tree(&bytes, "a")
    });
    assert_refused("a piece outside its chunk", "outside", |forge| {
        let chunk = forge.blob(BlobKind::Chunk, b"short");
        let bytes = leaf([file("a", 50, &[(chunk, 0, 50)])]);
        forge.tree(&bytes, "a")
    });
    assert_refused("a piece far outside", "outside", |forge| {
        let chunk = forge.blob(BlobKind::Chunk, b"short");
        let bytes = leaf([file("a", 5, &[(chunk, u32::MAX - 5, 5)])]);
        forge.tree(&bytes, "a")
    });
    assert_refused("chunks that do not fill a file", "fill", |forge| {
        let chunk = forge.blob(BlobKind::Chunk, b"short");
        let bytes = leaf([file("a", 1 << 40, &[(chunk, 0, 5)])]);
        forge.tree(&bytes, "a")
    });
    assert_refused("more spans than data", "", |forge| {
        let spans = [[1; 32].as_slice(), &[0; 4], &1_u32.to_le_bytes()].concat();
        let spans = forge.blob(BlobKind::Spans, &spans.repeat(4096));
        let run = leaf([empty("a")]);
        let mut bytes = vec![1, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend_from_slice(&400_000_u32.to_le_bytes());
        bytes.extend_from_slice(&spans.repeat(400_000));
        bytes.extend_from_slice(&run[4..]);
        forge.tree(&bytes, "a")
    });
}

#[test]
fn leaves_that_swell_are_refused() {
    assert_refused(
        "paths that all repeat a long one",
        "should have ended",
        |forge| {
            let long = format!("{}/", "a".repeat(250)).repeat(250);
            let entries = (0..400).map(|n| empty(&format!("{long}{n:08}")));
            let bytes = leaf(entries);
            forge.tree(&bytes, &format!("{long}00000000"))
        },
    );
    assert_refused("a leaf that does not end", "should have ended", |forge| {
        let bytes = leaf((0..30_000).map(|n| empty(&format!("{n:08}"))));
        forge.tree(&bytes, "00000000")
    });
    assert_refused("too many spans in a leaf", "spans", |forge| {
        let chunk = forge.blob(BlobKind::Chunk, &[0; 4000]);
        let spans: Vec<_> = (0..3000).map(|n| (chunk, n, 1)).collect();
        let entry = file("a", 3000, &spans);
        let mut encoder = crate::engine::files::Encoder::default();
        encoder.push(&entry).expect("an entry");
        let bytes = [&[0; 4][..], &encoder.finish()].concat();
        forge.tree(&bytes, "a")
    });
}

#[test]
fn a_file_larger_than_any_disk_is_refused() {
    let mut forge = Forge::new();
    let kind = Kind::File {
        size: u64::MAX,
        extents: Vec::new(),
    };
    let tree = forge.tree(&leaf([entry("a", kind)]), "a");
    let store = forge.commit(tree);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let said = complaints(store, &folder.path().join("target"));
    assert!(said.contains("'a' cannot be extended"), "{said}");
    let mut forge = Forge::new();
    let mut far = entry(
        "a",
        Kind::File {
            size: u64::MAX,
            extents: vec![Extent {
                offset: u64::MAX - 5,
                len: 5,
            }],
        },
    );
    let chunk = forge.blob(BlobKind::Chunk, b"short");
    far.spans = file("a", 5, &[(chunk, 0, 5)]).spans;
    let tree = forge.tree(&leaf([far]), "a");
    let store = forge.commit(tree);
    let said = complaints(store, &folder.path().join("other"));
    assert!(said.contains("'a' cannot be"), "{said}");
}

#[test]
fn attributes_that_the_system_refuses_are_noted() {
    let mut forge = Forge::new();
    let mut odd = entry("a", Kind::Dir);
    odd.meta = Meta {
        xattrs: vec![crate::engine::files::Xattr {
            name: vec![b'x'; 70_000],
            value: vec![0; 100_000],
        }],
        ..odd.meta
    };
    let tree = forge.tree(&leaf([odd]), "a");
    let store = forge.commit(tree);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let report = restore_latest(&reader(store), &folder.path().join("target"));
    let report = report.expect("the rest is restored");
    assert_eq!(report.notes.total(), 1);
}

#[test]
fn blobs_under_another_id_are_refused() {
    assert_refused(
        "two chunks that were swapped",
        "not what it claims",
        |forge| {
            let (one, two) = (b"one".as_slice(), b"two".as_slice());
            let id = |forge: &Forge, plain| forge.writer.id(BlobKind::Chunk as u8, plain);
            let (one_id, two_id) = (id(forge, one), id(forge, two));
            forge.blob_as(BlobKind::Chunk, one_id, two);
            forge.blob_as(BlobKind::Chunk, two_id, one);
            let bytes = leaf([
                file("a", 3, &[(one_id, 0, 3)]),
                file("b", 3, &[(two_id, 0, 3)]),
            ]);
            forge.tree(&bytes, "a")
        },
    );
    assert_refused(
        "a chunk of another writer's name",
        "not what it claims",
        |forge| {
            let other = key().writer("db").expect("a good label");
            let id = other.id(BlobKind::Chunk as u8, b"data");
            forge.blob_as(BlobKind::Chunk, id, b"data");
            let bytes = leaf([file("a", 4, &[(id, 0, 4)])]);
            forge.tree(&bytes, "a")
        },
    );
    assert_refused("a leaf as a chunk", "", |forge| {
        let bytes = leaf([empty("a")]);
        let id = forge.blob(BlobKind::Leaf, &bytes);
        let len = bytes.len() as u32;
        let bytes = leaf([file("a", len.into(), &[(id, 0, len)])]);
        forge.tree(&bytes, "a")
    });
}

#[test]
fn references_that_lie_are_found() {
    let found = |refs: &Refs| {
        let mut forge = Forge::new();
        let chunk = forge.blob(BlobKind::Chunk, b"data");
        let bytes = leaf([file("a", 4, &[(chunk, 0, 4)])]);
        let tree = forge.tree(&bytes, "a");
        let store = forge.commit_with(tree, refs);
        verify_all(&reader(store)).join("\n")
    };
    let refs = |level, ids: &[[u8; 32]]| Refs {
        level,
        ids: ids.to_vec(),
    };
    assert!(found(&refs(0, &[])).contains("does not refer"));
    assert!(found(&refs(0, &[[9; 32]])).contains("which is lost"));
    assert!(found(&refs(7, &[[9; 32]])).contains("is in no pack"));
}

#[test]
fn references_in_a_circle_end() {
    // Without a key the ids of references cannot be checked, so they can form circles.
    for doubling in [false, true] {
        let mut forge = Forge::new();
        let tree = forge.tree(&leaf([empty("a")]), "a");
        let ids: Vec<[u8; 32]> = (0..=40).map(|n| [n + 1; 32]).collect();
        for level in 0..40 {
            let next = if doubling { level + 1 } else { 0 };
            let list = Refs {
                level: if doubling { 40 - level as u8 } else { 1 },
                ids: vec![ids[next], ids[(next + 1).min(40)], ids[next]],
            };
            forge.blob_as(BlobKind::Refs, ids[level], &list.encode());
        }
        let last = Refs {
            level: 0,
            ids: Vec::new(),
        };
        forge.blob_as(BlobKind::Refs, ids[40], &last.encode());
        forge.put_packs();
        let (name, bytes) = forge.manifest(tree, ids[0]);
        let store = forge.store.clone();
        show(&*store, &name, &bytes);
        let began = Instant::now();
        let keyless = Repository::open(store.clone(), env(), Access::Keyless).expect("it opens");
        let checked = verify(&keyless, Level::Packs, &Silent, &Cancel::new());
        checked.expect("a verification ends");
        assert!(!verify_all(&reader(store.clone())).is_empty());
        let to = Arc::new(Memory::new(env().clock));
        Repository::create_like(&*to, &env(), "there", &*store).expect("a repository");
        let (from, to): (Arc<dyn Store>, Arc<dyn Store>) = (store, to);
        let copied = sync(
            &from,
            &to,
            &env(),
            &Selection::default(),
            &Silent,
            &Cancel::new(),
        );
        assert!(copied.is_err() || doubling);
        assert!(began.elapsed() < PATIENCE);
    }
}

#[test]
fn manifests_under_another_name_are_refused() {
    let mut forge = Forge::new();
    let chunk = forge.blob(BlobKind::Leaf, &leaf([empty("a")]));
    let tree = forge.node(1, &[(chunk, "a")]);
    let store = forge.commit(tree);
    let listed = store.list(Folder::Snapshots).expect("a listing");
    let name = &listed[0].name;
    let bytes = store.get(name).expect("a manifest");
    let time = name.file_name();
    for other in [
        format!("snapshots/db/{time}"),
        format!("snapshots/web/2099{}", &time[4..]),
        format!("snapshots/web/{}00000000", &time[..time.len() - 8]),
    ] {
        show(&*store, &StoreName::parse(&other).expect("a name"), &bytes);
        let repository = reader(store.clone());
        let listed = repository.snapshots(None).expect("a listing");
        assert_eq!(listed.found.len(), 1, "{other}");
        assert!(listed.damaged[0].1.contains("name"), "{:?}", listed.damaged);
        assert!(!verify_all(&repository).is_empty());
        store
            .remove(&StoreName::parse(&other).expect("a name"))
            .expect("a removal");
    }
}

#[test]
fn parts_of_two_manifests_do_not_make_a_third() {
    let mut forge = Forge::new();
    let leaf = forge.blob(BlobKind::Leaf, &leaf([empty("a")]));
    let tree = forge.node(1, &[(leaf, "a")]);
    let refs = Refs {
        level: 0,
        ids: vec![leaf, tree],
    };
    let refs = forge.blob(BlobKind::Refs, &refs.encode());
    forge.put_packs();
    let (name, one) = forge.manifest(tree, refs);
    let (_, two) = forge.manifest(tree, refs);
    let ends = |bytes: &[u8]| {
        let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let mut ends = ends.map(|(at, _)| at + 1);
        (ends.next().expect("a line"), ends.next().expect("a line"))
    };
    let (line, code) = ends(&one);
    let (_, other_code) = ends(&two);
    let store = forge.store.clone();
    for (what, bytes) in [
        (
            "the sealed part",
            [&one[..code], &two[other_code..]].concat(),
        ),
        (
            "the code",
            [
                &one[..line],
                &two[other_code - 65..other_code],
                &one[code..],
            ]
            .concat(),
        ),
        (
            "the clear part",
            patched(one.clone(), b"\"files\":1,", b"\"files\":9,"),
        ),
    ] {
        show(&*store, &name, &bytes);
        let repository = reader(store.clone());
        let opened = open_latest(&repository).map(|_| ());
        let refused = opened.expect_err(what).to_string();
        assert!(refused.contains("damaged"), "{what}: {refused}");
        assert!(!verify_all(&repository).is_empty(), "{what}");
        store.remove(&name).expect("a removal");
    }
    show(&*store, &name, &one);
    assert!(open_latest(&reader(store)).is_ok());
}

#[test]
fn a_pack_with_as_many_sessions_as_fit_is_read_and_one_more_is_refused() {
    let forge = Forge::new();
    let mut record = Vec::new();
    forge.record.encode(&mut record);
    let pack = |count: usize| {
        let records = record.repeat(count);
        let mut bytes = [MAGIC.as_slice(), b"saltsalt"].concat();
        bytes.extend_from_slice(&(records.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&(count as u16).to_le_bytes());
        bytes.extend_from_slice(&records);
        bytes
    };
    assert!(PackView::parse(&pack(SESSIONS_MAX)).is_ok());
    assert!(PackView::parse(&pack(SESSIONS_MAX + 1)).is_err());
    let bytes = pack(SESSIONS_MAX);
    let name = StoreName::pack(blake3::hash(&bytes).as_bytes());
    forge.store.put(&name, &bytes).expect("a put");
    let began = Instant::now();
    verify_all(&reader(forge.store.clone()));
    assert!(began.elapsed() < PATIENCE);
}

#[test]
fn slots_that_ask_for_too_much_or_hold_another_key_are_refused() {
    let store = memory();
    let slot = PassphraseSlot::wrap(&env(), &key(), b"word", ArgonCost::LEAST).expect("a slot");
    let text = String::from_utf8(slot.encode()).expect("JSON");
    let name = StoreName::parse("keys/passphrase-0011223344556677").expect("a name");
    let cost = format!(
        "\"memory_kib\":{},\"passes\":1",
        ArgonCost::LEAST.memory_kib
    );
    for (memory, passes) in [
        (1_u64, 1_u64),
        (4 << 30, 1),
        (u64::MAX, 1),
        (19 * 1024, 0),
        (19 * 1024, 1 << 31),
        (2 * 1024 * 1024, 17),
    ] {
        let asked = format!("\"memory_kib\":{memory},\"passes\":{passes}");
        let changed = text.replace(&cost, &asked);
        assert_ne!(changed, text);
        store.put(&name, changed.as_bytes()).expect("a put");
        let began = Instant::now();
        let refused = unlock(&*store, b"word").expect_err("a hostile slot");
        assert!(
            matches!(
                refused,
                EngineError::Crypto(CryptoError::Cost { .. } | CryptoError::Slot(_))
            ),
            "{refused}"
        );
        assert!(began.elapsed() < Duration::from_secs(1));
        store.remove(&name).expect("a removal");
    }
    // A slot that says it is ours and holds a stranger's key.
    let stranger = ReadingKey::from_seed(&[1; 32]);
    let foreign = PassphraseSlot::wrap(&env(), &stranger, b"word", ArgonCost::LEAST);
    let foreign = String::from_utf8(foreign.expect("a slot").encode()).expect("JSON");
    let foreign = foreign.replace(&stranger.domain().to_string(), &key().domain().to_string());
    store.put(&name, foreign.as_bytes()).expect("a put");
    assert!(unlock(&*store, b"word").is_err());
}

#[test]
fn a_repository_that_poses_as_another_is_refused() {
    let stranger = ReadingKey::from_seed(&[1; 32]);
    let store = Arc::new(Memory::new(env().clock));
    let options = CreateOptions {
        // It claims our domain, and would have sessions sealed to itself.
        domain: key().domain(),
        ..CreateOptions::for_key("here", &stranger)
    };
    Repository::create(&*store, &env(), &options).expect("a repository");
    let (_folder, root) = tree();
    // A writer seals to the recipient of its own key, whatever the marker says.
    back_up(&writer(store.clone()), &root).expect("a backup");
    assert_restores(&reader(store.clone()), &root);
    let opened = Repository::open(store, env(), Access::Reader(stranger));
    assert!(matches!(opened, Err(EngineError::WrongKey { .. })));
    for (bytes, words) in [
        ("{\"format\":9}", "newer bkpctl"),
        ("{", "damaged"),
        ("", "damaged"),
        (&"[".repeat(100_000), "damaged"),
    ] {
        let store = Memory::new(env().clock);
        store
            .put(&StoreName::marker(), bytes.as_bytes())
            .expect("a put");
        let refused = Marker::read(&store).expect_err("no marker");
        assert!(refused.to_string().contains(words), "{refused}");
    }
}
