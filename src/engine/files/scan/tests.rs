//! The walk on live trees, judged by the standard library.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;

use std::path::Path;

use rustix::fs::Mode;

use super::*;
use crate::engine::files::support::{
    Seen, find, make_every_kind, path, paths, set_mode, skipped, temporary, walk, walk_one,
};
use crate::engine::files::{Extent, Owners};

fn refused(roots: &[&Path]) -> ScanError {
    let roots: Vec<PathBuf> = roots.iter().map(|root| root.to_path_buf()).collect();
    Scan::new(&roots, Owners::default(), ScanOptions::default()).expect_err("a bad root")
}

#[test]
fn every_kind_is_seen_as_the_standard_library_sees_it() {
    let dir = temporary();
    make_every_kind(dir.path());
    let seen = walk_one(dir.path());
    for Seen { entry, data } in &seen {
        let live = fs::symlink_metadata(dir.path().join(entry.path.as_path())).expect("it exists");
        let meta = &entry.meta;
        assert_eq!(meta.mode, live.mode() & 0o7777, "{}", entry.path);
        assert_eq!(
            (meta.uid, meta.gid, meta.inode, meta.links),
            (live.uid(), live.gid(), live.ino(), live.nlink())
        );
        assert_eq!(
            (meta.mtime.seconds, i64::from(meta.mtime.nanos)),
            (live.mtime(), live.mtime_nsec())
        );
        assert_eq!(
            (meta.ctime.seconds, i64::from(meta.ctime.nanos)),
            (live.ctime(), live.ctime_nsec())
        );
        if live.is_file() && !matches!(entry.kind, Kind::Hardlink { .. }) {
            assert_eq!(entry.kind.size(), live.len());
            assert_eq!(entry.kind.data_bytes(), data.len() as u64);
        }
    }
    assert_eq!(
        find(&seen, "other-name").entry.kind,
        Kind::Hardlink {
            to: path("dir/file")
        }
    );
    assert_eq!(
        find(&seen, "dir/third").entry.kind,
        Kind::Hardlink {
            to: path("dir/file")
        }
    );
    assert_eq!(
        find(&seen, "link").entry.kind,
        Kind::Symlink {
            target: b"dir/file".to_vec()
        }
    );
    assert_eq!(find(&seen, "fifo").entry.kind, Kind::Fifo);
    let large = &find(&seen, "dir").entry.meta.xattrs;
    assert_eq!(
        large
            .iter()
            .map(|xattr| xattr.value.len())
            .collect::<Vec<_>>(),
        [0, 3000]
    );
    assert_eq!(
        find(&seen, "dir/file").entry.meta.xattrs[0].value,
        b"\0\xff"
    );
    if crate::engine::files::support::is_root() {
        assert_eq!(
            find(&seen, "null").entry.kind,
            Kind::CharDevice { major: 1, minor: 3 }
        );
        assert_eq!(
            find(&seen, "loop").entry.kind,
            Kind::BlockDevice {
                major: 7,
                minor: 200
            }
        );
        assert_eq!(
            find(&seen, "link").entry.meta.xattrs[0].name,
            b"trusted.of-link"
        );
        assert_eq!(
            find(&seen, "fifo").entry.meta.xattrs[0].name,
            b"trusted.of-fifo"
        );
        assert_eq!(
            find(&seen, "empty").entry.meta.user.as_deref(),
            Some(b"root".as_slice())
        );
    }
}

#[test]
fn holes_are_left_out_of_the_data() {
    let dir = temporary();
    make_every_kind(dir.path());
    let seen = walk_one(dir.path());
    let sparse = find(&seen, "sparse");
    let Kind::File { size, extents } = &sparse.entry.kind else {
        panic!("a file")
    };
    assert_eq!(*size, (3 << 20) + 17);
    assert_eq!(
        extents.as_slice(),
        [Extent {
            offset: 1 << 20,
            len: 8192
        }]
    );
    assert_eq!((sparse.data[4999], sparse.data[5000]), (7, 0));
    assert_eq!(
        find(&seen, "hole").entry.kind,
        Kind::File {
            size: 1 << 20,
            extents: Vec::new()
        }
    );
}

#[test]
fn a_root_may_be_one_file() {
    let dir = temporary();
    fs::write(dir.path().join("one"), "alone").expect("written");
    let seen = walk_one(&dir.path().join("one"));
    assert_eq!(seen.len(), 1);
    assert!(seen[0].entry.path.is_root());
    assert_eq!(seen[0].data, b"alone");
}

#[test]
fn several_roots_keep_their_full_paths() {
    let dir = temporary();
    let base = dir.path().canonicalize().expect("it exists");
    for name in ["a/in", "b", "c/deep/in", "c/left-out"] {
        fs::create_dir_all(base.join(name)).expect("created");
    }
    set_mode(&base.join("c"), 0o711);
    fs::write(base.join("b/file"), "x").expect("written");
    let roots = [
        base.join("c/deep"),
        base.join("a"),
        base.join("b/file"),
        base.join("a/in"),
    ];
    let roots: Vec<&Path> = roots.iter().map(PathBuf::as_path).collect();
    let (seen, notes) = walk(&roots, ScanOptions::default());
    assert_eq!(notes, []);
    let prefix = RelPath::from_absolute(&base).expect("a clean path");
    let below: Vec<String> = paths(&seen)
        .into_iter()
        .filter_map(|path| path.strip_prefix(&format!("{prefix}/")).map(str::to_owned))
        .collect();
    assert_eq!(
        below,
        ["a", "a/in", "b", "b/file", "c", "c/deep", "c/deep/in"]
    );
    assert_eq!(find(&seen, &format!("{prefix}/c")).entry.meta.mode, 0o711);
    // The way down from the root of the file system, and nothing beside it.
    assert_eq!(seen.len(), below.len() + prefix.components().count() + 1);
    assert!(seen[0].entry.path.is_root() && seen[0].entry.kind.is_dir());
}

#[test]
fn bad_roots_are_refused_with_the_reason() {
    let dir = temporary();
    let base = dir.path().canonicalize().expect("it exists");
    fs::create_dir(base.join("real")).expect("created");
    symlink("real", base.join("link")).expect("linked");
    let gone = base.join("gone");
    assert!(matches!(refused(&[]), ScanError::NoRoots));
    assert!(matches!(
        refused(&[Path::new("relative")]),
        ScanError::NotAbsolute(_)
    ));
    assert!(matches!(
        refused(&[&base.join("real/..")]),
        ScanError::Path { .. }
    ));
    assert!(
        matches!(refused(&[&base.join("link")]), ScanError::SymbolicLink(path) if path == base.join("link"))
    );
    let through = base.join("link/x");
    let refusal = refused(&[&base.join("real"), &through]);
    assert!(matches!(refusal, ScanError::SymbolicLink(path) if path == base.join("link")));
    assert!(matches!(refused(&[&gone]), ScanError::Root { path, .. } if path == gone));
    assert!(matches!(refused(&[&base, &gone]), ScanError::Root { path, .. } if path == gone));
}

#[test]
fn excluded_directories_are_not_entered() {
    let dir = temporary();
    for name in ["keep", "target/deep", "sub/target"] {
        fs::create_dir_all(dir.path().join(name)).expect("created");
    }
    fs::write(dir.path().join("keep/x.tmp"), "").expect("written");
    fs::write(dir.path().join("target/deep/y"), "").expect("written");
    let excludes = Excludes::new(["/target", "*.tmp"]).expect("valid patterns");
    let (seen, notes) = walk(
        &[dir.path()],
        ScanOptions {
            excludes,
            ..ScanOptions::default()
        },
    );
    assert_eq!(
        (paths(&seen), notes),
        (
            [".", "keep", "sub", "sub/target"]
                .map(str::to_owned)
                .to_vec(),
            Vec::new()
        )
    );
}

#[test]
fn tagged_caches_keep_their_tag_only() {
    let dir = temporary();
    fs::create_dir_all(dir.path().join("cache/sub")).expect("created");
    fs::write(
        dir.path().join("cache/CACHEDIR.TAG"),
        "Signature: 8a477f597d28d172789f06886806bc55",
    )
    .expect("written");
    fs::write(dir.path().join("cache/AAA"), "").expect("written");
    let options = ScanOptions {
        skip_caches: true,
        ..ScanOptions::default()
    };
    let (seen, notes) = walk(&[dir.path()], options);
    assert_eq!(paths(&seen), [".", "cache", "cache/CACHEDIR.TAG"]);
    assert_eq!(notes, [Note::new(path("cache"), What::CacheSkipped)]);
    // A root that is itself a cache was asked for by name.
    let options = ScanOptions {
        skip_caches: true,
        ..ScanOptions::default()
    };
    assert_eq!(walk(&[&dir.path().join("cache")], options).0.len(), 4);
}

#[test]
fn sockets_are_skipped_with_a_note() {
    let dir = temporary();
    let _listener = UnixListener::bind(dir.path().join("socket")).expect("bound");
    let (seen, notes) = walk(&[dir.path()], ScanOptions::default());
    assert_eq!(paths(&seen), ["."]);
    assert_eq!(notes, [Note::new(path("socket"), What::SocketSkipped)]);
    assert!(!notes[0].what.is_loss());
}

#[test]
fn mount_points_come_empty_on_request() {
    let device = |path: &str| fs::symlink_metadata(path).map(|meta| meta.dev()).ok();
    if device("/dev/pts").is_none() || device("/dev/pts") == device("/dev") {
        skipped("no file system is mounted on /dev/pts");
        return;
    }
    let scan = |one_file_system| {
        let options = ScanOptions {
            one_file_system,
            ..ScanOptions::default()
        };
        let scan =
            Scan::new(&[PathBuf::from("/dev")], Owners::default(), options).expect("it exists");
        let found: Vec<Found> = scan.collect();
        let within = |found: &Found, name: &str| matches!(found, Found::Entry(scanned) if scanned.entry.path.to_string() == name);
        let entered = found.iter().any(|found| within(found, "pts/ptmx"));
        let noted = found.iter().any(|found| {
            matches!(found, Found::Note(note) if note.what == What::OtherFileSystem && note.path == path("pts"))
        });
        (
            found.iter().any(|found| within(found, "pts")),
            entered,
            noted,
        )
    };
    assert_eq!(scan(true), (true, false, true));
    assert_eq!(scan(false), (true, true, false));
}

#[test]
fn deep_trees_are_walked_with_few_open_directories() {
    let dir = temporary();
    let name = "d".repeat(255);
    let mut fd: OwnedFd = File::open(dir.path()).expect("it can be opened").into();
    for level in 0..120 {
        rustix::fs::mkdirat(&fd, name.as_str(), Mode::RWXU).expect("created");
        if level % 10 == 0 {
            let flags = OFlags::CREATE | OFlags::WRONLY;
            rustix::fs::openat(&fd, "z", flags, Mode::RUSR).expect("created");
        }
        fd = rustix::fs::openat(&fd, name.as_str(), OFlags::DIRECTORY, Mode::empty())
            .expect("opened");
    }
    let mut scan = Scan::new(
        &[dir.path().to_owned()],
        Owners::default(),
        ScanOptions::default(),
    )
    .expect("it exists");
    let (mut entries, mut longest) = (0, 0);
    while let Some(found) = scan.next() {
        let Found::Entry(mut scanned) = found else {
            panic!("{found:?}")
        };
        entries += 1;
        longest = longest.max(scanned.entry.path.as_bytes().len());
        let open = scan
            .stack
            .iter()
            .filter(|frame| frame.dir.is_some())
            .count();
        assert!(open <= OPEN_DIRS_MAX + 1, "{open} directories are open");
        if scanned.entry.path.name() == b"z" {
            scanned.open().expect("a file at any depth can be opened");
        }
    }
    assert_eq!((entries, longest), (1 + 120 + 12, 120 * 256 - 1));
}

#[test]
fn names_are_bytes() {
    use std::os::unix::ffi::OsStrExt;
    let dir = temporary();
    let long = [0xff_u8; 255];
    for name in [
        b"\xff\xfe".as_slice(),
        b"new\nline",
        b"\x1b[2J",
        b" ",
        b"-rf",
        &long,
    ] {
        fs::write(dir.path().join(std::ffi::OsStr::from_bytes(name)), name).expect("written");
    }
    let seen = walk_one(dir.path());
    assert_eq!(seen.len(), 7);
    assert!(
        seen[1..]
            .iter()
            .all(|seen| seen.data == seen.entry.path.name())
    );
}

#[test]
fn a_withdrawn_first_name_gives_way_to_the_next() {
    let dir = temporary();
    fs::write(dir.path().join("a"), "x").expect("written");
    for name in ["b", "c"] {
        fs::hard_link(dir.path().join("a"), dir.path().join(name)).expect("linked");
    }
    let mut scan = Scan::new(
        &[dir.path().to_owned()],
        Owners::default(),
        ScanOptions::default(),
    )
    .expect("it exists");
    let mut kinds = Vec::new();
    while let Some(Found::Entry(scanned)) = scan.next() {
        if scanned.entry.path == path("a") {
            scan.withdraw(&scanned);
        }
        kinds.push(scanned.entry.kind);
    }
    assert_eq!(
        kinds[2..],
        [Kind::dense_file(1), Kind::Hardlink { to: path("b") }]
    );
}

#[test]
fn changes_while_reading_are_noticed() {
    let dir = temporary();
    let file = dir.path().join("log");
    fs::write(&file, vec![1; 10_000]).expect("written");
    let open = || {
        let scan = Scan::new(
            std::slice::from_ref(&file),
            Owners::default(),
            ScanOptions::default(),
        );
        match scan.expect("it exists").next() {
            Some(Found::Entry(mut scanned)) => {
                (scanned.open().expect("readable"), scanned.entry.kind)
            }
            other => panic!("{other:?}"),
        }
    };
    let (grown, _) = open();
    assert!(!grown.has_changed().expect("it can be asked"));
    File::options()
        .append(true)
        .open(&file)
        .and_then(|mut file| file.write_all(b"more"))
        .expect("written");
    assert!(grown.has_changed().expect("it can be asked"));

    let (shrunk, kind) = open();
    File::options()
        .write(true)
        .open(&file)
        .and_then(|file| file.set_len(4_000))
        .expect("cut");
    let mut data = Vec::new();
    let error = shrunk
        .data(&kind)
        .read_to_end(&mut data)
        .expect_err("the end is gone");
    assert_eq!(
        (error.kind(), data.len()),
        (std::io::ErrorKind::UnexpectedEof, 4_000)
    );
    assert_eq!(kind.cut_to(4_000), Kind::dense_file(4_000));
}

#[test]
fn what_took_a_files_place_is_not_read() {
    let dir = temporary();
    let file = dir.path().join("file");
    let scan_file = || {
        fs::write(&file, "data").expect("written");
        let mut scan = Scan::new(
            &[dir.path().to_owned()],
            Owners::default(),
            ScanOptions::default(),
        )
        .expect("it exists");
        match scan.nth(1) {
            Some(Found::Entry(scanned)) => scanned,
            other => panic!("{other:?}"),
        }
    };
    let mut replaced = scan_file();
    fs::remove_file(&file).expect("removed");
    symlink("/etc/passwd", &file).expect("linked");
    assert_eq!(
        replaced.open().map(|_| ()),
        Err(Note::new(path("file"), What::Changed))
    );
    fs::remove_file(&file).expect("removed");
    let mut blocked = scan_file();
    fs::remove_file(&file).expect("removed");
    rustix::fs::mkfifoat(rustix::fs::CWD, &file, Mode::RWXU).expect("made");
    assert_eq!(
        blocked.open().map(|_| ()),
        Err(Note::new(path("file"), What::Changed))
    );
    fs::remove_file(&file).expect("removed");
    let mut vanished = scan_file();
    fs::remove_file(&file).expect("removed");
    assert_eq!(
        vanished.open().map(|_| ()),
        Err(Note::new(path("file"), What::Vanished))
    );
    let mut renewed = scan_file();
    fs::remove_file(&file).expect("removed");
    fs::write(&file, "longer data").expect("written");
    renewed.open().expect("a file again");
    assert_eq!(renewed.entry.kind, Kind::dense_file(11));
}

#[test]
fn what_cannot_be_read_is_told() {
    if rustix::process::geteuid().is_root() {
        skipped("root can read everything");
        return;
    }
    let dir = temporary();
    fs::create_dir_all(dir.path().join("closed/in")).expect("created");
    fs::write(dir.path().join("secret"), "x").expect("written");
    set_mode(&dir.path().join("closed"), 0o000);
    set_mode(&dir.path().join("secret"), 0o000);
    let scan = Scan::new(
        &[dir.path().to_owned()],
        Owners::default(),
        ScanOptions::default(),
    )
    .expect("it exists");
    let (mut seen, mut told) = (Vec::new(), Vec::new());
    for found in scan {
        match found {
            Found::Note(note) => told.push(note),
            Found::Entry(mut scanned) => {
                seen.push(scanned.entry.path.to_string());
                if scanned.entry.path == path("secret") {
                    told.extend(scanned.open().err());
                }
            }
        }
    }
    set_mode(&dir.path().join("closed"), 0o700);
    assert_eq!(seen, [".", "closed", "secret"]);
    let denied = |text: &str, what| Note::failed(path(text), what, Errno::ACCESS);
    assert_eq!(
        told,
        [
            denied("closed", What::DirUnreadable),
            denied("secret", What::FileUnreadable)
        ]
    );
}
