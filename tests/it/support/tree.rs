//! Trees of files for tests, and a walker that says how two of them differ.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// Makes a tree with a bit of everything that ordinary users have.
pub(crate) fn make_tree(root: &Path) {
    fs::create_dir_all(root.join("a/b/c")).expect("folders");
    fs::create_dir(root.join("empty")).expect("a folder");
    for n in 0..40 {
        let text = format!("content of file {n}\n").repeat(n * 7);
        fs::write(root.join(format!("a/small-{n:02}")), text).expect("a file");
    }
    fs::write(root.join("a/b/large"), noise(3 << 20, 1)).expect("a file");
    fs::write(root.join("a/b/c/nothing"), b"").expect("a file");
    fs::hard_link(root.join("a/b/large"), root.join("a/second-name")).expect("a hard link");
    symlink("b/large", root.join("a/link")).expect("a link");
    symlink("/nowhere/at/all", root.join("dangling")).expect("a link");
    fs::write(root.join(OsStr::from_bytes(b"odd \xff\x1b name")), b"odd").expect("a file");
    let mode = |path: &str, bits| {
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(bits)).expect("a mode");
    };
    mode("a/small-03", 0o4711);
    mode("empty", 0o1777);
    let sparse = fs::File::create(root.join("sparse")).expect("a file");
    sparse.set_len(64 << 20).expect("a hole");
    sparse.write_all_at(b"island", 32 << 20).expect("an island");
    if rustix::process::geteuid().is_root() {
        lchown(root.join("a/small-05"), Some(1234), Some(2345)).expect("an owner");
        lchown(root.join("a/link"), Some(1234), Some(2345)).expect("an owner");
    }
    let time = UNIX_EPOCH + Duration::new(1_234_567_890, 123_456_789);
    let times = fs::FileTimes::new().set_modified(time);
    fs::File::open(root.join("a/small-07"))
        .expect("a file")
        .set_times(times)
        .expect("times");
}

/// Makes bytes that don't compress, the same for the same seed.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Describes everything below a folder, path by path, so that equal texts are equal trees.
fn describe(root: &Path) -> BTreeMap<OsString, String> {
    let mut all = BTreeMap::new();
    walk(root, root, &mut BTreeMap::new(), &mut all);
    all
}

type Groups = BTreeMap<(u64, u64), usize>;

fn walk(root: &Path, path: &Path, groups: &mut Groups, all: &mut BTreeMap<OsString, String>) {
    let meta = fs::symlink_metadata(path).expect("metadata");
    let kind = if meta.is_symlink() {
        format!(
            "link to {}",
            fs::read_link(path).expect("a target").display()
        )
    } else if meta.is_dir() {
        "folder".to_owned()
    } else {
        let next = groups.len();
        let group = *groups.entry((meta.dev(), meta.ino())).or_insert(next);
        let hash = blake3::hash(&fs::read(path).expect("content"));
        let holes = meta.blocks() * 512 < meta.len() / 2;
        let (len, links) = (meta.len(), meta.nlink());
        format!("file of {len} bytes {hash}, group {group} of {links}, holes {holes}")
    };
    let (mode, uid, gid) = (meta.mode(), meta.uid(), meta.gid());
    let text = format!(
        "{kind} {mode:o} {uid}:{gid} {}.{:09}",
        meta.mtime(),
        meta.mtime_nsec()
    );
    all.insert(
        path.strip_prefix(root)
            .expect("below")
            .as_os_str()
            .to_owned(),
        text,
    );
    if meta.is_dir() {
        let entries = fs::read_dir(path).expect("entries");
        let names: BTreeSet<_> = entries.map(|e| e.expect("an entry").path()).collect();
        for name in names {
            walk(root, &name, groups, all);
        }
    }
}

/// Demands that two trees are equal in content and metadata.
#[track_caller]
pub(crate) fn assert_same(left: &Path, right: &Path) {
    let (left, right) = (describe(left), describe(right));
    let paths: BTreeSet<_> = left.keys().chain(right.keys()).collect();
    let differences: Vec<String> = paths
        .into_iter()
        .filter(|path| left.get(*path) != right.get(*path))
        .map(|path| {
            format!(
                "{}\n  {:?}\n  {:?}",
                path.display(),
                left.get(path),
                right.get(path)
            )
        })
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Calls `look` with everything below a folder.
pub(crate) fn each_below(folder: &Path, look: &mut dyn FnMut(&Path, &fs::Metadata)) {
    let meta = fs::symlink_metadata(folder).expect("metadata");
    look(folder, &meta);
    if meta.is_dir() {
        for entry in fs::read_dir(folder).expect("entries") {
            each_below(&entry.expect("an entry").path(), look);
        }
    }
}
