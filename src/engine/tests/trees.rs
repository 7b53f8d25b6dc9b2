//! Whatever a file system can hold comes back: compared by a walker that shares no code with us.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, UTIME_OMIT, XattrFlags, lgetxattr,
    llistxattr, lsetxattr, makedev, mkfifoat, mknodat, utimensat,
};

use super::support::*;
use crate::engine::BackupReport;
use crate::engine::files::{What, skipped};
use crate::engine::store::Memory;

/// What the kernel says of one entry.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    mode: u32,
    owner: (u32, u32),
    modified: (i64, i64),
    device: u64,
    size: u64,
    content: Option<blake3::Hash>,
    target: Option<PathBuf>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first path that names the same file.
    same_as: Vec<u8>,
}

#[derive(Debug, Default)]
struct Walk {
    found: BTreeMap<Vec<u8>, Facts>,
    inodes: BTreeMap<(u64, u64), Vec<u8>>,
    sockets: usize,
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn walk(root: &Path) -> Walk {
    let mut walk = Walk::default();
    walk.take(root, b"".to_vec());
    walk
}

/// Returns a path through an open directory, which has no length to speak of.
fn through(dir: &File, name: &OsStr) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name)
}

impl Walk {
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers make it for this call"
    )]
    fn take(&mut self, at: &Path, path: Vec<u8>) {
        let meta = fs::symlink_metadata(at).expect("it is there");
        let kind = meta.file_type();
        if meta.mode() & 0o170_000 == 0o140_000 {
            self.sockets += 1;
            return;
        }
        let content = kind.is_file().then(|| {
            let bytes = fs::read(at).expect("readable");
            blake3::hash(&bytes)
        });
        let same_as = if kind.is_dir() {
            path.clone()
        } else {
            let identity = (meta.dev(), meta.ino());
            self.inodes.entry(identity).or_insert(path.clone()).clone()
        };
        let facts = Facts {
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            modified: (meta.mtime(), meta.mtime_nsec()),
            device: meta.rdev(),
            size: if kind.is_dir() { 0 } else { meta.size() },
            content,
            target: fs::read_link(at).ok(),
            xattrs: xattrs(at),
            same_as,
        };
        self.found.insert(path.clone(), facts);
        if kind.is_dir() {
            let dir = File::open(at).expect("it can be opened");
            let names = fs::read_dir(at).expect("it can be listed");
            let mut names: Vec<_> = names.map(|n| n.expect("a name").file_name()).collect();
            names.sort();
            for name in names {
                let path = [&path, b"/".as_slice(), name.as_bytes()].concat();
                self.take(&through(&dir, &name), path);
            }
        }
    }
}

fn xattrs(at: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut list = vec![0; 64 << 10];
    let len = llistxattr(at, &mut list).unwrap_or(0);
    let names = list[..len].split(|byte| *byte == 0);
    let read = |name: &[u8]| {
        let mut value = vec![0; 64 << 10];
        let len = lgetxattr(at, name, &mut value).expect("it was listed");
        value.truncate(len);
        (name.to_vec(), value)
    };
    names.filter(|name| !name.is_empty()).map(read).collect()
}

fn set_xattr(at: &Path, name: &str, value: &[u8]) {
    lsetxattr(at, name, value, XattrFlags::empty()).expect("the file system takes attributes");
}

fn set_time(at: &Path, seconds: i64, nanos: i64) {
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: seconds,
            tv_nsec: nanos,
        },
    };
    utimensat(CWD, at, &times, AtFlags::SYMLINK_NOFOLLOW).expect("times can be set");
}

fn set_mode(at: &Path, mode: u32) {
    rustix::fs::chmod(at, Mode::from_raw_mode(mode)).expect("a mode can be set");
}

/// Backs a tree up twice, restores it, and checks that nothing is lost or stored twice.
fn assert_returns(root: &Path) -> BackupReport {
    let store: Arc<Memory> = memory();
    let before = walk(root);
    let report = back_up(&writer(store.clone()), root).expect("a backup");
    assert!(report.clear.complete, "{:?}", report.notes);
    assert_eq!(report.clear.entries as usize, before.found.len());
    let notes = report.notes.kept();
    assert_eq!(notes.len(), before.sockets, "{notes:?}");
    assert!(notes.iter().all(|note| note.what == What::SocketSkipped));
    let repository = reader(store);
    let place = tempfile::tempdir().expect("a temporary folder");
    let target = place.path().join("restored");
    let restored = restore_latest(&repository, &target).expect("a restore");
    assert!(restored.is_whole(), "{:?}", restored.failed);
    assert_eq!(restored.notes.kept(), []);
    assert_same(&before, &walk(&target));
    // Those that come with sockets are compared with the source's sockets left out.
    if before.sockets == 0 {
        let differences = compare_latest(&repository, root);
        assert!(differences.is_none(), "{differences:?}");
    }
    let again = back_up(&repository, root).expect("a backup");
    assert_eq!(again.clear.stored_bytes, 0);
    report
}

fn assert_same(before: &Walk, after: &Walk) {
    let paths = |walk: &Walk| walk.found.keys().cloned().collect::<Vec<_>>();
    assert_eq!(paths(before), paths(after));
    for (path, facts) in &before.found {
        let path_text = String::from_utf8_lossy(path);
        assert_eq!(Some(facts), after.found.get(path), "{path_text}");
    }
}

#[test]
fn one_of_everything_comes_back() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = folder.path().join("tree");
    let at = |name: &str| root.join(name);
    for dir in ["", "empty", "a", "b", "b/deep"] {
        fs::create_dir(at(dir)).expect("a folder");
    }
    fs::write(at("a/empty-file"), b"").expect("a file");
    fs::write(at("a/file"), noise(70_000, 1)).expect("a file");
    fs::hard_link(at("a/file"), at("b/deep/other-name")).expect("a link");
    fs::hard_link(at("a/file"), at("0-first")).expect("a link");
    symlink("../a/file", at("b/link")).expect("a link");
    fs::hard_link(at("b/link"), at("b/same-link")).expect("a link");
    symlink(OsStr::from_bytes(b"/no\xffwhere\n"), at("dangling")).expect("a link");
    mkfifoat(CWD, at("fifo"), Mode::from_raw_mode(0o620)).expect("a fifo");
    fs::hard_link(at("fifo"), at("b/same-fifo")).expect("a link");
    let socket = UnixListener::bind(at("a/socket")).expect("a socket");
    fs::write(at(&"n".repeat(255)), b"long").expect("a file");
    fs::write(root.join(OsStr::from_bytes(&[0xff; 255])), b"bytes").expect("a file");
    fs::write(root.join(OsStr::from_bytes(b"\x01\x1b[31m\n\\ ")), b"x").expect("a file");
    fs::create_dir(at("sticky")).expect("a folder");
    let sparse = File::create(at("sparse")).expect("a file");
    for (offset, len, seed) in [(2 << 20, 9000, 1), (9 << 20, 1 << 20, 2), (30 << 20, 1, 3)] {
        sparse
            .write_all_at(&noise(len, seed), offset)
            .expect("data");
    }
    sparse.set_len(40 << 20).expect("a hole at the end");
    let nothing = File::create(at("nothing")).expect("a file");
    nothing.set_len(3 << 20).expect("a hole alone");
    set_xattr(&at("a/file"), "user.note", b"\0\xff");
    set_xattr(&at("a"), "user.empty", b"");
    set_xattr(&at("a"), "user.large", &[3; 2000]);
    // Owner rw, user 7 r, group r, mask r, others none.
    let acl = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x04\0\x07\0\0\0\x04\0\x04\0\xff\xff\xff\xff\x10\0\x04\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";
    set_xattr(&at("b"), "system.posix_acl_default", acl);
    set_xattr(&at("a/empty-file"), "system.posix_acl_access", acl);
    set_mode(&at("sticky"), 0o1777);
    if is_root() {
        let device = |name: &str, kind, major, minor| {
            let number = makedev(major, minor);
            mknodat(CWD, at(name), kind, Mode::RUSR, number).expect("a device");
        };
        device("a/null", FileType::CharacterDevice, 1, 3);
        fs::hard_link(at("a/null"), at("b/same-null")).expect("a link");
        device("a/disk", FileType::BlockDevice, 259, 1_048_575);
        lchown(at("b/link"), Some(12), Some(34)).expect("an owner");
        lchown(at("a/disk"), Some(4_000_000_000), Some(7)).expect("an owner");
        set_xattr(&at("b/link"), "trusted.of-link", b"x");
        set_xattr(&at("fifo"), "trusted.of-fifo", b"y");
        // CAP_NET_RAW, version 2.
        let capability = [&[1, 0, 0, 2, 0, 0x20][..], &[0; 14]].concat();
        set_xattr(&at("0-first"), "security.capability", &capability);
        fs::write(at("unreadable"), b"to others").expect("a file");
        set_mode(&at("unreadable"), 0);
    } else {
        skipped("not root: owners, devices and labels are left out");
    }
    fs::write(at("tool"), b"x").expect("a file");
    set_mode(&at("tool"), 0o6711);
    let times = [
        ("a/empty-file", -2_000_000_000, 1),
        ("a/file", 4_294_967_296 + 7, 999_999_999),
        ("b/link", 9_000_000_000, 5),
        ("fifo", -1, 0),
        ("b/deep", -1, 999_999_999),
        ("b", 1, 1),
        ("", 7_000_000_000, 123_456_789),
    ];
    for (name, seconds, nanos) in times {
        set_time(&at(name), seconds, nanos);
    }
    let report = assert_returns(&root);
    assert_eq!(
        report.notes.kept()[0].to_string(),
        "a/socket is a socket and was skipped"
    );
    drop(socket);
}

#[test]
fn holes_of_a_file_come_back_as_holes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("sparse");
    let sparse = File::create(&path).expect("a file");
    for n in 0..20_u64 {
        sparse
            .write_all_at(&noise(4096, n), n * (3 << 20) + (1 << 20))
            .expect("data");
    }
    sparse.set_len(64 << 20).expect("a length");
    let store = memory();
    back_up(&writer(store.clone()), folder.path()).expect("a backup");
    let place = tempfile::tempdir().expect("a temporary folder");
    restore_latest(&reader(store), place.path()).expect("a restore");
    let blocks = |path: &Path| fs::metadata(path).expect("it").blocks();
    let (source, copy) = (blocks(&path), blocks(&place.path().join("sparse")));
    assert!(copy <= source + 16, "{source} {copy}");
}

#[test]
fn paths_far_beyond_the_kernels_limit_come_back() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = folder.path().join("tree");
    fs::create_dir(&root).expect("a folder");
    let name = "d".repeat(250);
    let mut dir = File::open(&root).expect("a folder");
    for depth in 0..41 {
        fs::write(through(&dir, OsStr::new("file")), noise(depth, 1)).expect("a file");
        let next = through(&dir, OsStr::new(&name));
        fs::create_dir(&next).expect("a folder");
        dir = File::open(&next).expect("a folder");
    }
    let deepest = through(&dir, OsStr::new("bottom"));
    fs::write(&deepest, noise(600_000, 2)).expect("a file");
    set_time(&deepest, 5_000_000_000, 1);
    symlink("nowhere", through(&dir, OsStr::new("link"))).expect("a link");
    let longest = walk(&root).found.keys().map(Vec::len).max();
    assert!(longest > Some(10_000));
    assert_returns(&root);
}

#[test]
fn what_an_ordinary_user_cannot_read_is_told_and_the_rest_comes_back() {
    if !is_root() {
        skipped("skipped: only root can make what others cannot read");
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    set_mode(folder.path(), 0o755);
    let root = folder.path().join("tree");
    fs::create_dir_all(root.join("closed")).expect("a folder");
    fs::write(root.join("closed/inner"), b"x").expect("a file");
    fs::write(root.join("secret"), b"x").expect("a file");
    fs::hard_link(root.join("secret"), root.join("second-name")).expect("a link");
    fs::write(root.join("open"), b"open").expect("a file");
    set_mode(&root.join("secret"), 0o600);
    set_mode(&root.join("closed"), 0o700);
    let store = memory();
    let repository = writer(store.clone());
    let work = || {
        // The thread alone becomes nobody, and those that it starts.
        let (user, group) = (
            rustix::fs::Uid::from_raw(65_534),
            rustix::fs::Gid::from_raw(65_534),
        );
        rustix::thread::set_thread_groups(&[]).expect("no groups");
        rustix::thread::set_thread_res_gid(group, group, group).expect("another group");
        rustix::thread::set_thread_res_uid(user, user, user).expect("another user");
        back_up(&repository, &root).expect("a backup")
    };
    let report = std::thread::scope(|scope| scope.spawn(work).join()).expect("no panic");
    assert!(!report.clear.complete);
    assert_eq!((report.clear.skipped, report.clear.files), (3, 1));
    let mut notes: Vec<_> = report
        .notes
        .kept()
        .iter()
        .map(ToString::to_string)
        .collect();
    notes.sort();
    assert_eq!(
        notes,
        [
            "closed could not be listed: Permission denied (os error 13)",
            "second-name could not be read: Permission denied (os error 13)",
            "secret could not be read: Permission denied (os error 13)",
        ]
    );
    let place = tempfile::tempdir().expect("a temporary folder");
    restore_latest(&reader(store), place.path()).expect("a restore");
    assert_eq!(fs::read(place.path().join("open")).expect("it"), b"open");
    assert!(place.path().join("closed").is_dir());
}

/// One entry of a random tree.
#[derive(Debug, Clone)]
struct Recipe {
    name: Vec<u8>,
    /// Picks one of the directories that are there already.
    dir: prop::sample::Index,
    kind: RecipeKind,
    mode: u32,
    owner: (u32, u32),
    modified: (i64, i64),
    xattrs: BTreeMap<String, Vec<u8>>,
}

#[derive(Debug, Clone)]
enum RecipeKind {
    Dir,
    /// Where pieces begin, how long they are and their noise, then the length.
    File(Vec<(u64, usize, u64)>, u64),
    Symlink(Vec<u8>),
    Fifo,
    Device(u32, u32),
    Socket,
    /// Another name of something that is no directory, if there is one.
    SecondName(prop::sample::Index),
}

fn names() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => b'a'..=b'e', 1 => 1_u8..=255];
    prop_oneof![
        8 => prop::collection::vec(byte, 1..6),
        1 => prop::collection::vec(0x80_u8..=0xff, 255),
    ]
    .prop_filter("names are no paths", |name| {
        !name.contains(&b'/') && name != b"." && name != b".."
    })
}

fn kinds() -> impl Strategy<Value = RecipeKind> {
    let piece = (0_u64..3_000_000, 1_usize..700_000, 0_u64..3);
    let small = (0_u64..5000, 1_usize..3000, 0_u64..50);
    let file = |piece: BoxedStrategy<(u64, usize, u64)>, len: u64| {
        (prop::collection::vec(piece, 0..3), 0..len)
            .prop_map(|(pieces, len)| RecipeKind::File(pieces, len))
    };
    prop_oneof![
        4 => Just(RecipeKind::Dir),
        6 => file(small.boxed(), 9000),
        2 => file(piece.boxed(), 5_000_000),
        2 => prop::collection::vec(1_u8..=255, 1..40).prop_map(RecipeKind::Symlink),
        1 => Just(RecipeKind::Fifo),
        1 => (0_u32..4096, 0_u32..1_000_000).prop_map(|(a, b)| RecipeKind::Device(a, b)),
        1 => Just(RecipeKind::Socket),
        3 => any::<prop::sample::Index>().prop_map(RecipeKind::SecondName),
    ]
}

fn recipes() -> impl Strategy<Value = Vec<Recipe>> {
    let time = (-2_000_000_000_i64..9_000_000_000, 0_i64..1_000_000_000);
    let value = prop::collection::vec(any::<u8>(), 0..200);
    let xattrs = prop::collection::btree_map("[a-z.]{1,12}", value, 0..3);
    let owner = (0_u32..3, 0_u32..4_000_000_000);
    let recipe = (
        names(),
        any::<prop::sample::Index>(),
        kinds(),
        0_u32..0o10000,
        owner,
        time,
        xattrs,
    );
    let recipe = recipe.prop_map(|(name, dir, kind, mode, owner, modified, xattrs)| Recipe {
        name,
        dir,
        kind,
        mode,
        owner,
        modified,
        xattrs,
    });
    prop::collection::vec(recipe, 0..30)
}

fn build(root: &Path, recipes: &[Recipe]) -> Vec<UnixListener> {
    let mut sockets = Vec::new();
    let mut dirs = vec![root.to_owned()];
    let mut others: Vec<PathBuf> = Vec::new();
    let mut made: Vec<(PathBuf, &Recipe)> = Vec::new();
    for recipe in recipes {
        let name = std::ffi::OsString::from_vec(recipe.name.clone());
        let at = recipe.dir.get(&dirs).join(name);
        if fs::symlink_metadata(&at).is_ok() {
            continue;
        }
        match &recipe.kind {
            RecipeKind::Dir => {
                fs::create_dir(&at).expect("a folder");
                dirs.push(at.clone());
            }
            RecipeKind::File(pieces, len) => {
                let file = File::create(&at).expect("a file");
                for (offset, len, seed) in pieces {
                    file.write_all_at(&noise(*len, *seed), *offset)
                        .expect("data");
                }
                file.set_len(*len).expect("a length");
            }
            RecipeKind::Symlink(target) => {
                symlink(OsStr::from_bytes(target), &at).expect("a link");
            }
            RecipeKind::Device(major, minor) if is_root() => {
                let number = makedev(*major, *minor);
                mknodat(CWD, &at, FileType::CharacterDevice, Mode::RUSR, number).expect("a device");
            }
            RecipeKind::Fifo | RecipeKind::Device(..) => {
                mkfifoat(CWD, &at, Mode::RUSR).expect("a fifo");
            }
            // Addresses of sockets are short.
            RecipeKind::Socket if at.as_os_str().len() > 100 => continue,
            RecipeKind::Socket => {
                sockets.push(UnixListener::bind(&at).expect("a socket"));
                continue;
            }
            RecipeKind::SecondName(which) if !others.is_empty() => {
                fs::hard_link(which.get(&others), &at).expect("a link");
                continue;
            }
            RecipeKind::SecondName(_) => continue,
        }
        if !matches!(recipe.kind, RecipeKind::Dir) {
            others.push(at.clone());
        }
        made.push((at, recipe));
    }
    // What is deeper was made later, and changes the times of what it is in.
    for (at, recipe) in made.iter().rev() {
        dress(at, recipe);
    }
    sockets
}

fn dress(at: &Path, recipe: &Recipe) {
    let is_link = matches!(recipe.kind, RecipeKind::Symlink(_));
    let has_data = matches!(recipe.kind, RecipeKind::Dir | RecipeKind::File(..));
    let mut mode = recipe.mode;
    if is_root() {
        lchown(at, Some(recipe.owner.0), Some(recipe.owner.1)).expect("an owner");
    } else {
        // The owner can always read, so that the test holds for everyone.
        mode |= 0o700;
    }
    for (name, value) in &recipe.xattrs {
        if is_root() {
            set_xattr(at, &format!("trusted.{name}"), value);
        }
        if has_data {
            set_xattr(at, &format!("user.{name}"), value);
        }
    }
    if !is_link {
        set_mode(at, mode);
    }
    set_time(at, recipe.modified.0, recipe.modified.1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn whatever_a_tree_holds_comes_back(recipes in recipes()) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().join("t");
        fs::create_dir(&root).expect("a folder");
        let sockets = build(&root, &recipes);
        assert_returns(&root);
        drop(sockets);
    }
}
