//! Repositories that were made once and are never changed: later programs must read them.
//!
//! `tests/fixtures/format-N/` has a repository, its key file, recovery code and passphrase, and
//! `expected.json`, which says what its snapshots hold in words of the standard library alone.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bkpctl::engine::crypto::{ArgonCost, KeyFile, PassphraseSlot, ReadingKey, RecoveryCode};
use bkpctl::engine::disk::RealDisk;
use bkpctl::engine::env::{Cancel, Env};
use bkpctl::engine::files::ScanOptions;
use bkpctl::engine::format::FORMAT;
use bkpctl::engine::store::{Dir, DirOptions};
use bkpctl::engine::{
    Access, BackupOptions, CreateOptions, Level, OpenSnapshot, PackSize, Repository,
    RestoreOptions, Silent, backup, backup_stream, restore, unlock, verify,
};
use serde::{Deserialize, Serialize};

use crate::support::tree::each_below;

const HOME: &str = "fixture";
const PASSPHRASE: &str = "never in argv";
/// The folders that a repository of format 1 had when the format was frozen.
const FOLDERS: [&str; 12] = [
    "keys",
    "packs",
    "meta",
    "index",
    "snapshots",
    "receipts",
    "gc",
    "verify",
    "proofs",
    "recovery",
    "sessions",
    "tmp",
];
/// BLAKE3 over names and hashes of all files of a fixture, by the format's number.
const FROZEN: &[(u32, &str)] = &[(
    1,
    "6689b8d5dcbda9d7406a4a8f5c9dd962c0acc8e2c4bd8a6034716b2bad37d2d2",
)];

/// What one path of a snapshot is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shape {
    kind: String,
    mode: String,
    mtime: (i64, i64),
    #[serde(default, skip_serializing_if = "String::is_empty")]
    target: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blake3: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    xattrs: BTreeMap<String, String>,
    /// Which other path is the same file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    same_as: Option<String>,
}

/// What the snapshots hold, by their ids.
pub(crate) type Expected = BTreeMap<String, BTreeMap<String, Shape>>;

pub(crate) fn folder() -> PathBuf {
    let name = format!("tests/fixtures/format-{FORMAT}");
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

pub(crate) fn expected() -> Expected {
    let text = fs::read_to_string(folder().join("expected.json")).expect("what is expected");
    serde_json::from_str(&text).expect("its JSON")
}

/// Copies the repository and its key, since git keeps neither empty folders nor modes.
pub(crate) fn copy_to(target: &Path) -> (PathBuf, PathBuf) {
    let from = folder();
    let repository = target.join("repository");
    fs::create_dir(&repository).expect("a folder");
    for name in FOLDERS {
        fs::create_dir(repository.join(name)).expect("a folder");
    }
    let source = from.join("repository");
    each_below(&source, &mut |path, meta| {
        if meta.is_file() {
            let name = path.strip_prefix(&source).expect("below");
            let to = repository.join(name);
            fs::create_dir_all(to.parent().expect("a parent")).expect("folders");
            fs::copy(path, to).expect("a copy");
        }
    });
    let key = target.join("lab.key");
    fs::copy(from.join("lab.key"), &key).expect("the key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("a mode");
    (repository, key)
}

fn open(root: &Path, key: ReadingKey) -> Repository {
    let options = DirOptions {
        root: root.to_owned(),
        machine: HOME.to_owned(),
    };
    let disk = Arc::new(RealDisk::default());
    let store = Dir::open(disk, Env::system(), &options).expect("a store");
    Repository::open(Arc::new(store), Env::system(), Access::Reader(key)).expect("the key fits")
}

/// Returns bytes as text, what is no text as escapes.
fn text(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            write!(text, "\\x{byte:02x}").expect("text grows");
        }
    }
    text
}

/// Describes everything below a folder.
pub(crate) fn shapes(root: &Path) -> BTreeMap<String, Shape> {
    let mut found = BTreeMap::new();
    let mut names: BTreeMap<(u64, u64), String> = BTreeMap::new();
    let mut paths = Vec::new();
    each_below(root, &mut |path, meta| {
        paths.push((path.to_owned(), meta.clone()));
    });
    paths.sort_by(|a, b| a.0.cmp(&b.0));
    for (path, meta) in paths {
        let name = path.strip_prefix(root).expect("below");
        let name = text(name.as_os_str().as_bytes());
        let mut shape = shape(&path, &meta);
        if meta.is_file() && meta.nlink() > 1 {
            let first = names
                .entry((meta.dev(), meta.ino()))
                .or_insert(name.clone());
            shape.same_as = (*first != name).then(|| first.clone());
        }
        found.insert(name, shape);
    }
    found
}

fn shape(path: &Path, meta: &fs::Metadata) -> Shape {
    let content = meta.is_file().then(|| fs::read(path).expect("content"));
    let target = if meta.is_symlink() {
        text(
            fs::read_link(path)
                .expect("a target")
                .as_os_str()
                .as_bytes(),
        )
    } else {
        String::new()
    };
    let kind = match meta.mode() & 0o170_000 {
        0o040_000 => "directory",
        0o100_000 => "file",
        0o120_000 => "symlink",
        0o010_000 => "fifo",
        _ => "other",
    };
    Shape {
        kind: kind.to_owned(),
        mode: format!("{:04o}", meta.mode() & 0o7777),
        mtime: (meta.mtime(), meta.mtime_nsec()),
        target,
        size: content.as_ref().map(|bytes| bytes.len() as u64),
        blake3: content.map(|bytes| blake3::hash(&bytes).to_string()),
        xattrs: xattr(path).into_iter().collect(),
        same_as: None,
    }
}

/// Returns the one attribute that the fixture has.
fn xattr(path: &Path) -> Option<(String, String)> {
    let mut value = [0; 64];
    let len = rustix::fs::lgetxattr(path, "user.fixture", &mut value).ok()?;
    Some(("user.fixture".to_owned(), text(&value[..len])))
}

fn make_tree(root: &Path) {
    let file = |path: &str, bytes: &[u8]| fs::write(root.join(path), bytes).expect("a file");
    let mode = |path: &str, bits| {
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(bits)).expect("a mode");
    };
    fs::create_dir_all(root.join("deep/er/est")).expect("folders");
    fs::create_dir(root.join("empty")).expect("a folder");
    file("nothing", b"");
    for n in 0..30 {
        file(
            &format!("deep/small-{n:02}"),
            format!("file {n}\n").repeat(n).as_bytes(),
        );
    }
    file("deep-sibling", b"sorts after all that is below deep");
    file("large", digits(1_600_000).as_bytes());
    file(&"long".repeat(63), b"a name of 252 bytes");
    file("ünïcödé", "text in UTF-8".as_bytes());
    fs::write(
        root.join(OsStr::from_bytes(b"raw \xff\xfe name")),
        b"no UTF-8",
    )
    .expect("a file");
    let sparse = fs::File::create(root.join("sparse")).expect("a file");
    sparse.set_len(24 << 20).expect("a hole");
    sparse
        .write_all_at(digits(10_000).as_bytes(), 8 << 20)
        .expect("data");
    sparse.write_all_at(b"island", 16 << 20).expect("data");
    fs::hard_link(root.join("large"), root.join("second name")).expect("a hard link");
    symlink("deep/small-01", root.join("link")).expect("a link");
    symlink(OsStr::from_bytes(b"/nowhere/\xff"), root.join("dangling")).expect("a link");
    rustix::fs::mkfifoat(rustix::fs::CWD, root.join("fifo"), 0o640.into()).expect("a fifo");
    rustix::fs::setxattr(
        root.join("deep/small-01"),
        "user.fixture",
        b"a value",
        rustix::fs::XattrFlags::empty(),
    )
    .expect("an attribute");
    mode("deep/small-02", 0o4711);
    mode("empty", 0o1777);
    mode("deep/er", 0o2750);
    let before_1970 = UNIX_EPOCH - Duration::new(1_000_000, 500);
    let times = fs::FileTimes::new().set_modified(before_1970);
    let old = fs::File::open(root.join("deep/small-03")).expect("a file");
    old.set_times(times).expect("times");
}

/// Returns digits that look random and compress to half.
fn digits(count: usize) -> String {
    let mut bytes = vec![0; count / 2];
    blake3::Hasher::new_derive_key("bkpctl fixture")
        .finalize_xof()
        .fill(&mut bytes);
    bkpctl::engine::hex::encode(&bytes)
}

/// Makes the fixture of this format. It is made once, when a format is frozen, and never again:
/// `cargo test --test it -- --ignored make_the_fixture`.
#[test]
#[ignore = "makes files in the source tree, once for each format"]
fn make_the_fixture() {
    let target = folder();
    assert!(!target.exists(), "a fixture is never made anew");
    let key = ReadingKey::from_seed(blake3::hash(b"bkpctl fixture").as_bytes());
    let scratch = tempfile::Builder::new()
        .prefix("fixture")
        .tempdir()
        .expect("a folder");
    let tree = scratch.path().join("tree");
    fs::create_dir(&tree).expect("a folder");
    make_tree(&tree);
    let root = target.join("repository");
    fs::create_dir_all(&target).expect("a folder");
    let options = DirOptions {
        root: root.clone(),
        machine: HOME.to_owned(),
    };
    let env = Env::system();
    let store = Dir::create(Arc::new(RealDisk::default()), env.clone(), &options).expect("folders");
    let mut create = CreateOptions::for_key(HOME, &key);
    let slot = PassphraseSlot::wrap(&env, &key, PASSPHRASE.as_bytes(), ArgonCost::LEAST);
    create.slots.push(slot.expect("a slot"));
    Repository::create(&store, &env, &create).expect("a repository");
    drop(store);
    let mut expected = Expected::new();
    let repository = open(&root, key.clone());
    let options = BackupOptions {
        pack_size: PackSize::Fixed(256 << 10),
        ..BackupOptions::new("tree", "web", HOME)
    };
    let (quiet, go_on) = (Silent, Cancel::new());
    let back_up = |expected: &mut Expected| {
        let paths = [tree.clone()];
        let made = backup(
            &repository,
            &paths,
            ScanOptions::default(),
            &options,
            &quiet,
            &go_on,
        )
        .expect("a snapshot");
        assert!(made.clear.complete);
        expected.insert(made.clear.id, shapes(&tree));
    };
    back_up(&mut expected);
    fs::write(tree.join("deep/small-05"), b"changed").expect("a file");
    fs::remove_file(tree.join("deep/small-06")).expect("removed");
    back_up(&mut expected);
    let content = digits(700_000);
    let options = BackupOptions::new("stream", "db", HOME);
    let mut stream = content.as_bytes();
    backup_stream(
        &repository,
        &mut stream,
        "dump.sql",
        &options,
        &quiet,
        &go_on,
    )
    .expect("a stream");
    drop(repository);
    fs::write(target.join("lab.key"), KeyFile::print(&key).as_bytes()).expect("a file");
    fs::write(target.join("code"), RecoveryCode::print(&key).as_bytes()).expect("a file");
    fs::write(target.join("passphrase"), PASSPHRASE).expect("a file");
    let json = serde_json::to_string_pretty(&expected).expect("JSON");
    fs::write(target.join("expected.json"), json + "\n").expect("a file");
    for lock in ["receipts/lock", "tmp/lock"] {
        let _ = fs::remove_file(root.join(lock));
    }
}

/// Returns a hash over the names and bytes of everything in a fixture.
fn fingerprint(folder: &Path) -> String {
    let mut lines = Vec::new();
    each_below(folder, &mut |path, meta| {
        if meta.is_file() {
            let hash = blake3::hash(&fs::read(path).expect("content"));
            let name = path.strip_prefix(folder).expect("below").display();
            lines.push(format!("{name} {hash}\n"));
        }
    });
    lines.sort();
    blake3::hash(lines.concat().as_bytes()).to_string()
}

#[test]
fn fixtures_are_never_changed() {
    for (number, hash) in FROZEN {
        let name = format!("tests/fixtures/format-{number}");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        assert_eq!(fingerprint(&folder), *hash, "format {number}");
    }
    assert!(FROZEN.iter().any(|(number, _)| *number == FORMAT));
}

#[test]
fn every_secret_of_the_fixture_opens_it() {
    let scratch = tempfile::tempdir().expect("a folder");
    let (root, key_file) = copy_to(scratch.path());
    let read = |name: &str| fs::read_to_string(folder().join(name)).expect("a file");
    let by_file = KeyFile::parse(&fs::read_to_string(key_file).expect("a file")).expect("a key");
    let by_code = RecoveryCode::parse(&read("code")).expect("a key");
    let repository = open(&root, by_code);
    let (by_passphrase, _) =
        unlock(&**repository.store(), read("passphrase").as_bytes()).expect("a key");
    assert_eq!(by_passphrase.seed(), by_file.seed());
}

#[test]
fn the_fixture_verifies_and_restores_to_what_it_was() {
    let scratch = tempfile::tempdir().expect("a folder");
    let (root, key_file) = copy_to(scratch.path());
    let key = KeyFile::parse(&fs::read_to_string(key_file).expect("a file")).expect("a key");
    let repository = open(&root, key);
    let report = verify(&repository, Level::Full, &Silent, &Cancel::new()).expect("a verification");
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!(report.snapshots, 3);
    for (id, shapes_then) in expected() {
        let snapshot = repository.find_snapshot(&id).expect("a snapshot");
        let open = OpenSnapshot::open(&repository, &snapshot).expect("it opens");
        let target = scratch.path().join(&id);
        let options = RestoreOptions::default();
        let report = restore(&open, &target, &options, &Silent, &Cancel::new()).expect("a restore");
        assert!(report.is_whole(), "{:?}", report.failed);
        assert_same(&shapes(&target), &shapes_then);
    }
}

/// Demands that a restored tree has the shapes it had.
#[track_caller]
pub(crate) fn assert_same(found: &BTreeMap<String, Shape>, then: &BTreeMap<String, Shape>) {
    let names = |shapes: &BTreeMap<String, Shape>| shapes.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(then));
    for (name, shape) in then {
        assert_eq!(&found[name], shape, "{name}");
    }
}
