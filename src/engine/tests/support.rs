//! Fixtures: a tree with everything in it, a repository in memory, short calls.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::engine::crypto::ReadingKey;
use crate::engine::env::{Cancel, Env, fixed};
use crate::engine::files::ScanOptions;
use crate::engine::store::{Memory, Store};
use crate::engine::{
    Access, BackupOptions, BackupReport, CompareOptions, CreateOptions, Differences, EngineError,
    OpenSnapshot, PackSize, Repository, RestoreOptions, RestoreReport, Silent, backup, compare,
    restore,
};

pub(super) fn key() -> ReadingKey {
    ReadingKey::from_seed(&[42; 32])
}

pub(super) fn env() -> Env {
    // Each environment of a test has randomness of its own, as each process has.
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    fixed::env(NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
}

/// Makes any empty store a repository of the test's key.
pub(super) fn create(store: &dyn Store) {
    Repository::create(store, &env(), &CreateOptions::for_key("here", &key()))
        .expect("an empty store becomes a repository");
}

pub(super) fn memory() -> Arc<Memory> {
    let store = Arc::new(Memory::new(env().clock));
    create(&*store);
    store
}

pub(super) fn reader(store: Arc<dyn Store>) -> Repository {
    Repository::open(store, env(), Access::Reader(key())).expect("the key fits")
}

pub(super) fn writer(store: Arc<dyn Store>) -> Repository {
    let key = key().writer("web").expect("a good label");
    Repository::open(store, env(), Access::Writer(key)).expect("the key fits")
}

pub(super) fn options() -> BackupOptions {
    BackupOptions {
        pack_size: PackSize::Fixed(256 << 10),
        threads: 3,
        ..BackupOptions::new("web", "web", "machine-a")
    }
}

pub(super) fn back_up(repository: &Repository, dir: &Path) -> Result<BackupReport, EngineError> {
    backup(
        repository,
        &[dir.to_owned()],
        ScanOptions::default(),
        &options(),
        &Silent,
        &Cancel::new(),
    )
}

pub(super) fn open_latest(repository: &Repository) -> Result<OpenSnapshot, EngineError> {
    OpenSnapshot::open(repository, &repository.find_snapshot("latest")?)
}

pub(super) fn restore_latest(
    repository: &Repository,
    target: &Path,
) -> Result<RestoreReport, EngineError> {
    restore(
        &open_latest(repository)?,
        target,
        &RestoreOptions::default(),
        &Silent,
        &Cancel::new(),
    )
}

pub(super) fn compare_latest(repository: &Repository, dir: &Path) -> Differences {
    let snapshot = open_latest(repository).expect("a snapshot");
    compare(
        &snapshot,
        dir,
        CompareOptions::default(),
        &Silent,
        &Cancel::new(),
    )
    .expect("a comparison")
}

/// Restores the latest snapshot and checks that it is the tree it came from.
pub(super) fn assert_restores(repository: &Repository, tree: &Path) {
    let target = tempfile::tempdir().expect("a temporary folder");
    let target = target.path().join("restored");
    let report = restore_latest(repository, &target).expect("a restore");
    assert!(report.is_whole(), "{:?}", report.failed);
    let differences = compare_latest(repository, &target);
    assert!(differences.is_none(), "restored: {differences:?}");
    let differences = compare_latest(repository, tree);
    assert!(differences.is_none(), "source: {differences:?}");
    assert_same(tree, &target);
}

/// Compares two trees by means of their own: the standard library's.
fn assert_same(left: &Path, right: &Path) {
    let (one, two) = (
        fs::symlink_metadata(left).expect("it is there"),
        fs::symlink_metadata(right).expect("it is there"),
    );
    assert_eq!(one.file_type(), two.file_type(), "{}", left.display());
    assert_eq!(one.mode(), two.mode(), "{}", left.display());
    let time = |meta: &fs::Metadata| (meta.mtime(), meta.mtime_nsec());
    assert_eq!(time(&one), time(&two), "{}", left.display());
    if one.is_symlink() {
        assert_eq!(fs::read_link(left).ok(), fs::read_link(right).ok());
    } else if one.is_file() {
        assert_eq!(one.nlink(), two.nlink(), "{}", left.display());
        assert!(
            fs::read(left).expect("readable") == fs::read(right).expect("readable"),
            "{}",
            left.display()
        );
    } else if one.is_dir() {
        let names = |path: &Path| {
            let mut names: Vec<_> = fs::read_dir(path)
                .expect("a folder")
                .map(|entry| entry.expect("an entry").file_name())
                .collect();
            names.sort();
            names
        };
        assert_eq!(names(left), names(right), "{}", left.display());
        for name in names(left) {
            assert_same(&left.join(&name), &right.join(&name));
        }
    }
}

pub(super) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// Makes a tree with files of all sizes, links, holes, odd names and modes.
pub(super) fn tree() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = folder.path().join("tree");
    let dir = |path: &str| fs::create_dir_all(root.join(path)).expect("a folder");
    let file = |path: &str, bytes: &[u8]| fs::write(root.join(path), bytes).expect("a file");
    dir("etc/empty");
    dir("data");
    file("etc/none", b"");
    for n in 0..300 {
        file(&format!("etc/conf-{n:03}"), &noise(n * 17, n as u64));
    }
    file("data/big", &noise(7 << 20, 1));
    file("data/text", &b"all work and no play\n".repeat(100_000));
    file("data/copy", &noise(7 << 20, 1));
    let sparse = fs::File::create(root.join("data/sparse")).expect("a file");
    sparse.set_len(40 << 20).expect("a length");
    sparse
        .write_all_at(&noise(70_000, 2), 12 << 20)
        .expect("data after a hole");
    fs::hard_link(root.join("data/text"), root.join("etc/text")).expect("a link");
    symlink("../nowhere", root.join("etc/link")).expect("a link");
    symlink("conf-001", root.join("etc/good")).expect("a link");
    let odd = std::ffi::OsStr::from_bytes(b"not \xff utf-8\n");
    fs::write(root.join(odd), b"odd").expect("a file");
    for (path, mode) in [
        ("etc", 0o750),
        ("etc/conf-007", 0o4711),
        ("data/big", 0o400),
    ] {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(root.join(path), mode).expect("a mode");
    }
    (folder, root)
}

/// Verifies everything and returns the findings as text.
pub(super) fn verify_all(repository: &Repository) -> Vec<String> {
    let report = crate::engine::verify(
        repository,
        crate::engine::Level::Full,
        &Silent,
        &Cancel::new(),
    )
    .expect("a verification");
    report.findings.iter().map(ToString::to_string).collect()
}
