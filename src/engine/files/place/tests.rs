//! Round trips of whole trees, and attempts to get out of the target.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::engine::files::support::{
    Seen, assert_round_trip, assert_same, blocks, is_root, make_every_kind, path, place_all,
    set_mode, set_xattr, skipped, temporary, walk_one,
};
use crate::engine::files::{Extent, Time, Xattr};

fn target_with(dir: &Path, guard: Guard, existing: Existing) -> Target {
    let root = fs::File::open(dir).expect("it can be opened");
    Target::with_guard(root.into(), guard, existing).expect("a directory")
}

fn entry(text: &str, kind: Kind) -> Entry {
    let meta = Meta {
        mode: 0o644,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        ..Meta::default()
    };
    Entry::new(path(text), kind, meta)
}

fn seen(text: &str, kind: Kind) -> Seen {
    let data = vec![b'x'; usize::try_from(kind.data_bytes()).expect("small")];
    Seen {
        entry: entry(text, kind),
        data,
    }
}

#[test]
fn a_tree_of_every_kind_comes_back_the_same() {
    let dir = temporary();
    make_every_kind(dir.path());
    assert_round_trip(dir.path());
}

#[test]
fn holes_take_no_blocks() {
    let dir = temporary();
    make_every_kind(dir.path());
    let copy = temporary();
    let target = Target::open(copy.path(), Existing::Refuse).expect("an empty target");
    place_all(&target, &walk_one(dir.path())).expect("placed");
    drop(target.finish());
    assert_eq!(
        blocks(&copy.path().join("sparse")),
        blocks(&dir.path().join("sparse"))
    );
    assert_eq!(blocks(&copy.path().join("hole")), 0);
}

#[test]
fn rights_and_labels_survive_the_change_of_owner() {
    if !is_root() {
        return;
    }
    let dir = temporary();
    let file = dir.path().join("tool");
    fs::write(&file, "x").expect("written");
    std::os::unix::fs::chown(&file, Some(1000), Some(1000)).expect("owned");
    set_mode(&file, 0o6711);
    // CAP_NET_RAW, version 2; a change of owner or of data would clear it.
    let capability = [&[1, 0, 0, 2, 0, 0x20][..], &[0; 14]].concat();
    set_xattr(&file, "security.capability", &capability);
    // Owner rwx, user 7 r-x, group r-x, mask r-x, others none.
    let rules: [(u16, u16, u32); 5] = [
        (1, 7, u32::MAX),
        (2, 5, 7),
        (4, 5, u32::MAX),
        (0x10, 5, u32::MAX),
        (0x20, 0, u32::MAX),
    ];
    let mut acl = 2_u32.to_le_bytes().to_vec();
    for (tag, rights, id) in rules {
        acl.extend([tag.to_le_bytes(), rights.to_le_bytes()].concat());
        acl.extend(id.to_le_bytes());
    }
    let guarded = dir.path().join("guarded");
    fs::create_dir(&guarded).expect("created");
    fs::write(guarded.join("inherits"), "x").expect("written");
    set_xattr(&guarded, "system.posix_acl_access", &acl);
    set_xattr(&guarded, "system.posix_acl_default", &acl);
    assert_round_trip(dir.path());
    let labels = &walk_one(&file)[0].entry.meta.xattrs;
    assert_eq!(labels[0].value, capability);
}

#[test]
fn while_it_is_filled_a_file_gives_nobody_more_than_when_it_is_whole() {
    // The group of a set-group directory, the file's owner, mode and labels, the mode meanwhile.
    type Case = (Option<u32>, u32, u32, Vec<Xattr>, u32);
    if !is_root() {
        return;
    }
    let label = Xattr {
        name: b"user.label".to_vec(),
        value: b"x".to_vec(),
    };
    let cases: [Case; 8] = [
        (None, 0, 0o644, vec![], 0o644),
        (None, 0, 0o400, vec![], 0o400),
        (None, 0, 0o666, vec![], 0o666),
        (None, 0, 0o4755, vec![], 0o755),
        (None, 1000, 0o644, vec![], 0o600),
        (None, 0, 0o644, vec![label], 0o600),
        (Some(1000), 0, 0o664, vec![], 0o600),
        (Some(0), 0, 0o644, vec![], 0o644),
    ];
    for (group, owner, mode, xattrs, meanwhile) in cases {
        let dir = temporary();
        if let Some(group) = group {
            std::os::unix::fs::chown(dir.path(), None, Some(group)).expect("owned");
            set_mode(dir.path(), 0o2755);
        }
        let extents = vec![Extent { offset: 0, len: 1 }];
        let mut wanted = entry("a", Kind::File { size: 1, extents });
        wanted.meta.mode = mode;
        (wanted.meta.uid, wanted.meta.gid) = (owner, owner);
        wanted.meta.xattrs = xattrs;
        let target = Target::open(dir.path(), Existing::Refuse).expect("opened");
        let placed = target.place_file(&mut Parents::default(), &wanted);
        let placed = placed.expect("placed");
        let live = || walk_one(&dir.path().join("a"))[0].entry.meta.clone();
        // What is set for this process may take more away.
        assert_eq!(live().mode & !meanwhile, 0, "{mode:o}");
        placed.write_at(b"x", 0).expect("written");
        target.finish_file(&placed).expect("finished");
        let (live, wanted) = (live(), wanted.meta);
        assert_eq!(live.mode, wanted.mode, "{mode:o}");
        assert_eq!((live.uid, live.gid), (wanted.uid, wanted.gid));
        assert_eq!((live.mtime, live.xattrs), (wanted.mtime, wanted.xattrs));
    }
}

#[test]
fn a_targets_own_acl_is_not_inherited() {
    let dir = temporary();
    make_every_kind(dir.path());
    let copy = temporary();
    let mut acl = 2_u32.to_le_bytes().to_vec();
    for (tag, rights) in [(1_u16, 7_u16), (4, 5), (0x10, 5), (0x20, 0)] {
        acl.extend([tag.to_le_bytes(), rights.to_le_bytes()].concat());
        acl.extend(u32::MAX.to_le_bytes());
    }
    set_xattr(copy.path(), "system.posix_acl_default", &acl);
    let before = walk_one(dir.path());
    let target = Target::open(copy.path(), Existing::Refuse).expect("an empty target");
    place_all(&target, &before).expect("placed");
    assert_eq!(target.finish().0.kept(), []);
    assert_same(&before, &walk_one(copy.path()));
}

#[test]
fn paths_longer_than_the_kernel_takes_come_back() {
    let dir = temporary();
    let name = "n".repeat(255);
    let mut tree = vec![seen("", Kind::Dir)];
    let mut deep = RelPath::root();
    for _ in 0..40 {
        deep.push(name.as_bytes()).expect("a valid name");
        tree.push(Seen {
            entry: Entry {
                path: deep.clone(),
                ..entry("", Kind::Dir)
            },
            data: Vec::new(),
        });
    }
    deep.push(b"file").expect("a valid name");
    assert!(deep.as_bytes().len() > 10_000);
    tree.push(Seen {
        entry: Entry {
            path: deep.clone(),
            ..entry("", Kind::dense_file(3))
        },
        data: b"end".to_vec(),
    });
    tree.iter_mut()
        .filter(|seen| seen.entry.kind.is_dir())
        .for_each(|seen| seen.entry.meta.mode = 0o755);
    for (index, guard) in [Guard::Kernel, Guard::Stepwise].into_iter().enumerate() {
        let copy = dir.path().join(index.to_string());
        fs::create_dir(&copy).expect("created");
        let target = target_with(&copy, guard, Existing::Refuse);
        place_all(&target, &tree).expect("placed");
        assert_eq!(target.finish().0.kept(), []);
        let after = walk_one(&copy);
        assert_same(&tree, &after);
        assert_round_trip(&copy);
    }
}

#[test]
fn a_target_with_something_in_it_is_refused_unless_told() {
    let dir = temporary();
    fs::write(dir.path().join("mine"), "old").expect("written");
    assert!(matches!(
        Target::open(dir.path(), Existing::Refuse),
        Err(PlaceError::NotEmpty(_))
    ));
    let target = Target::open(dir.path(), Existing::Update).expect("told so");
    let Ok(Placed::File(file)) = target.place(&entry("mine", Kind::dense_file(3))) else {
        panic!("a file")
    };
    file.write_at(b"new", 0).expect("written");
    let old = fs::read(dir.path().join("mine")).expect("it exists");
    assert_eq!(old, b"old", "until the new one is whole");
    target.finish_file(&file).expect("finished");
    let new = fs::read(dir.path().join("mine")).expect("it exists");
    assert_eq!(new, b"new");
    let Ok(Placed::File(file)) = target.place(&entry("mine", Kind::dense_file(5))) else {
        panic!("a file")
    };
    target.discard(&file).expect("discarded");
    assert_eq!(fs::read_dir(dir.path()).expect("it exists").count(), 1);
    let new = fs::read(dir.path().join("mine")).expect("it exists");
    assert_eq!(new, b"new");
}

#[test]
fn replacing_leaves_other_names_of_a_file_alone() {
    let dir = temporary();
    let outside = temporary();
    let kept = outside.path().join("kept");
    fs::write(&kept, "precious").expect("written");
    fs::create_dir(dir.path().join("d")).expect("created");
    fs::hard_link(&kept, dir.path().join("hard")).expect("linked");
    symlink(&kept, dir.path().join("soft")).expect("linked");
    let target = Target::open(dir.path(), Existing::Update).expect("told so");
    let tree = [
        seen("d", Kind::Dir),
        seen("hard", Kind::dense_file(2)),
        seen("soft", Kind::dense_file(2)),
    ];
    place_all(&target, &tree).expect("placed");
    assert_eq!(fs::read(&kept).expect("it exists"), b"precious");
    for name in ["hard", "soft"] {
        assert!(
            fs::symlink_metadata(dir.path().join(name))
                .expect("placed")
                .is_file()
        );
        assert_eq!(fs::read(dir.path().join(name)).expect("placed"), b"xx");
    }
    fs::write(dir.path().join("d/mine"), "kept").expect("written");
    let over_dir = target.place(&entry("d", Kind::dense_file(1)));
    assert!(
        matches!(over_dir, Err(PlaceError::Occupied(_))),
        "{over_dir:?}"
    );
}

#[test]
fn entries_cannot_leave_through_links() {
    for guard in [Guard::Kernel, Guard::Stepwise] {
        let dir = temporary();
        let outside = temporary();
        fs::write(outside.path().join("secret"), "s").expect("written");
        symlink(outside.path(), dir.path().join("abs")).expect("linked");
        symlink("../../..", dir.path().join("up")).expect("linked");
        let before = fs::symlink_metadata(outside.path()).expect("it exists");
        let target = target_with(dir.path(), guard, Existing::Update);
        let outward = outside.path().to_str().expect("plain").as_bytes().to_vec();
        target
            .place(&entry("own", Kind::Symlink { target: outward }))
            .expect("a link is harmless");
        let in_the_way = |kind: Kind, text: &str| {
            let placed = target.place(&entry(text, kind));
            assert!(
                matches!(placed, Err(PlaceError::InTheWay(_))),
                "{guard:?} {text}: {placed:?}"
            );
        };
        for link in ["abs", "own", "up"] {
            let below = format!("{link}/x");
            in_the_way(Kind::dense_file(1), &below);
            in_the_way(Kind::Dir, &below);
            in_the_way(Kind::Fifo, &below);
            in_the_way(Kind::CharDevice { major: 1, minor: 3 }, &below);
            in_the_way(
                Kind::Symlink {
                    target: b"y".to_vec(),
                },
                &below,
            );
            in_the_way(Kind::Hardlink { to: path("a") }, &below);
            in_the_way(
                Kind::Hardlink {
                    to: path(&format!("{link}/secret")),
                },
                "zz",
            );
        }
        // The link itself gets the second name, not what it leads to.
        target
            .place(&entry("zz", Kind::Hardlink { to: path("own") }))
            .expect("linked");
        assert!(
            fs::symlink_metadata(dir.path().join("zz"))
                .expect("placed")
                .is_symlink()
        );
        for link in ["abs", "own", "up"] {
            // A directory where a link is replaces the link and does not follow it.
            target
                .place(&entry(link, Kind::Dir))
                .expect("the link is ours to replace");
            let now = fs::symlink_metadata(dir.path().join(link)).expect("placed");
            assert!(now.is_dir());
        }
        drop(target.finish());
        let after = fs::symlink_metadata(outside.path()).expect("it exists");
        assert_eq!(
            (before.mode(), before.ctime_nsec()),
            (after.mode(), after.ctime_nsec())
        );
        assert_eq!(fs::read_dir(outside.path()).expect("it exists").count(), 1);
    }
}

#[test]
fn senseless_entries_are_refused() {
    let dir = temporary();
    let target = Target::open(dir.path(), Existing::Refuse).expect("an empty target");
    assert!(matches!(
        target.place(&entry("", Kind::dense_file(1))),
        Err(PlaceError::RootNotDirectory)
    ));
    let bad_mode = Entry {
        meta: Meta {
            mode: 0o10000,
            ..Meta::default()
        },
        ..entry("a", Kind::Dir)
    };
    assert!(matches!(
        target.place(&bad_mode),
        Err(PlaceError::Entry { .. })
    ));
    let later = entry("a", Kind::Hardlink { to: path("b") });
    assert!(matches!(
        target.place(&later),
        Err(PlaceError::Entry { .. })
    ));
    let Ok(Placed::File(file)) = target.place(&entry("f", Kind::dense_file(4))) else {
        panic!("a file")
    };
    assert!(matches!(
        file.write_at(b"12345", 0),
        Err(PlaceError::BeyondEnd(_))
    ));
    assert!(matches!(
        file.write_at(b"1", u64::MAX),
        Err(PlaceError::BeyondEnd(_))
    ));
    assert!(file.write_at(b"1234", 0).is_ok());
    assert!(matches!(
        target.place(&entry("no/parent", Kind::Dir)),
        Err(PlaceError::Io { .. })
    ));
    assert!(matches!(
        target.place(&entry("f/below", Kind::Dir)),
        Err(PlaceError::InTheWay(_))
    ));
}

#[test]
fn what_cannot_be_set_is_told_and_nothing_fails() {
    let dir = temporary();
    let target = Target::open(dir.path(), Existing::Refuse).expect("an empty target");
    let mut odd = entry("odd", Kind::dense_file(0));
    odd.meta.xattrs = vec![Xattr {
        name: b"nowhere.known".to_vec(),
        value: vec![1],
    }];
    odd.meta.mtime = Time {
        seconds: 5,
        nanos: 6,
    };
    let Ok(Placed::File(file)) = target.place(&odd) else {
        panic!("a file")
    };
    target.finish_file(&file).expect("finished");
    let (notes, _) = target.finish();
    assert_eq!(notes.kept().len(), 1);
    assert_eq!(
        notes.kept()[0].what,
        What::XattrNotSet(b"nowhere.known".to_vec())
    );
    let live = fs::metadata(dir.path().join("odd")).expect("placed");
    assert_eq!((live.mtime(), live.mtime_nsec()), (5, 6));
}

#[test]
fn without_rights_the_data_comes_back_and_the_rest_is_told() {
    if rustix::process::geteuid().is_root() {
        skipped("root has every right");
        return;
    }
    let dir = temporary();
    let target = Target::open(dir.path(), Existing::Refuse).expect("an empty target");
    let mut tool = seen("tool", Kind::dense_file(3));
    (tool.entry.meta.uid, tool.entry.meta.mode) = (0, 0o4755);
    place_all(&target, &[tool]).expect("the data can be placed");
    let device = target.place(&entry("zero", Kind::CharDevice { major: 1, minor: 5 }));
    assert!(matches!(device, Ok(Placed::Skipped)), "{device:?}");
    let (notes, _) = target.finish();
    let what: Vec<What> = notes.kept().iter().map(|note| note.what.clone()).collect();
    assert_eq!(
        what,
        [
            What::OwnerNotSet,
            What::SetIdDropped,
            What::DeviceNotCreated
        ]
    );
    // Another owner's program must not become ours to run with our rights.
    assert_eq!(
        fs::metadata(dir.path().join("tool"))
            .expect("placed")
            .mode()
            & 0o7777,
        0o755
    );
}

#[test]
fn several_threads_fill_one_target() {
    let dir = temporary();
    let target = Target::open(dir.path(), Existing::Refuse).expect("an empty target");
    let (target, names) = (&target, ["a", "b", "c", "d"]);
    for name in names {
        target.place(&entry(name, Kind::Dir)).expect("placed");
    }
    std::thread::scope(|scope| {
        for name in names {
            scope.spawn(move || {
                for number in 0..200 {
                    place_all(
                        target,
                        &[seen(&format!("{name}/{number}"), Kind::dense_file(10))],
                    )
                    .expect("placed");
                }
            });
        }
    });
    assert_eq!(walk_one(dir.path()).len(), 1 + 4 * 201);
}

/// Swaps directories of the target for links to the outside as fast as it can.
fn swap_until(stop: &AtomicBool, swaps: &AtomicU64, target: &Path, outside: &Path) {
    let (real, aside) = (target.join("d"), target.join("aside"));
    while !stop.load(Ordering::Relaxed) {
        if fs::rename(&real, &aside).is_ok() {
            // Failures are the placing threads' doing, and as good an attack.
            let _ = symlink(outside, &real);
            let _ = fs::remove_file(&real);
            let _ = fs::rename(&aside, &real);
            swaps.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn nothing_escapes_while_directories_are_swapped_for_links() {
    for guard in [Guard::Kernel, Guard::Stepwise] {
        let dir = temporary();
        let outside = temporary();
        fs::create_dir(outside.path().join("sub")).expect("created");
        fs::create_dir_all(dir.path().join("d/sub")).expect("created");
        let before = fs::metadata(outside.path().join("sub"))
            .expect("it exists")
            .ctime_nsec();
        let (stop, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
        let mut placed = 0_u64;
        std::thread::scope(|scope| {
            scope.spawn(|| swap_until(&stop, &swaps, dir.path(), outside.path()));
            let end = Instant::now() + Duration::from_secs(1);
            while Instant::now() < end {
                // A new target each time, so that no directory is open from before.
                let target = target_with(dir.path(), guard, Existing::Update);
                let tree = [
                    seen("d/sub/file", Kind::dense_file(1)),
                    seen(
                        "d/sub/link",
                        Kind::Symlink {
                            target: b"x".to_vec(),
                        },
                    ),
                    seen("d/sub/more", Kind::Fifo),
                    seen("d/sub/new", Kind::Dir),
                    seen(
                        "d/sub/two",
                        Kind::Hardlink {
                            to: path("d/sub/file"),
                        },
                    ),
                ];
                for one in tree {
                    placed += u64::from(place_all(&target, &[one]).is_ok());
                }
                drop(target.finish());
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert!(
            placed > 0 && swaps.load(Ordering::Relaxed) > 100,
            "{guard:?}: the race took place"
        );
        let left: Vec<_> = fs::read_dir(outside.path().join("sub"))
            .expect("it exists")
            .collect();
        assert!(
            left.is_empty() && fs::read_dir(outside.path()).expect("it exists").count() == 1,
            "{guard:?}: {left:?}"
        );
        assert_eq!(
            fs::metadata(outside.path().join("sub"))
                .expect("it exists")
                .ctime_nsec(),
            before
        );
    }
}

#[test]
fn nothing_outside_is_removed_while_directories_are_swapped_for_links() {
    for guard in [Guard::Kernel, Guard::Stepwise] {
        let dir = temporary();
        let outside = temporary();
        fs::create_dir_all(outside.path().join("sub/deep")).expect("created");
        fs::write(outside.path().join("sub/deep/precious"), "x").expect("written");
        fs::create_dir_all(dir.path().join("d/sub")).expect("created");
        let (stop, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
        let mut removed = 0_u64;
        std::thread::scope(|scope| {
            scope.spawn(|| swap_until(&stop, &swaps, dir.path(), outside.path()));
            let end = Instant::now() + Duration::from_secs(1);
            while Instant::now() < end {
                let target = target_with(dir.path(), guard, Existing::Mirror);
                // Both where the attacker works and at what he swaps.
                for sub in ["d/sub", "aside/sub"] {
                    let deep = dir.path().join(sub).join("deep");
                    drop(fs::create_dir(&deep));
                    drop(target.live_names(&path(sub)));
                    let gone =
                        target.remove(&mut Parents::default(), &path(&format!("{sub}/deep")));
                    removed += gone.unwrap_or(0);
                }
                // The attacker's own link may go, what it leads to may not.
                drop(target.remove(&mut Parents::default(), &path("d/sub/none")));
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert!(
            removed > 0 && swaps.load(Ordering::Relaxed) > 100,
            "{guard:?}: the race took place"
        );
        let precious = fs::read(outside.path().join("sub/deep/precious"));
        assert_eq!(precious.expect("it exists"), b"x", "{guard:?}");
    }
}

#[test]
fn a_tree_of_any_depth_is_removed_and_links_in_it_are_not_followed() {
    let dir = temporary();
    let outside = temporary();
    fs::write(outside.path().join("precious"), "x").expect("written");
    let top = dir.path().join("top");
    fs::create_dir(&top).expect("created");
    let mut deep = fs::File::open(&top).expect("it can be opened");
    for level in 0..3000 {
        rustix::fs::mkdirat(&deep, c"d", Mode::RWXU).expect("created");
        if level % 500 == 0 {
            rustix::fs::symlinkat(outside.path(), &deep, c"link").expect("linked");
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let below = rustix::fs::openat(&deep, c"d", flags, Mode::empty());
        deep = below.expect("it can be opened").into();
    }
    let target = Target::open(dir.path(), Existing::Mirror).expect("told so");
    let removed = target.remove(&mut Parents::default(), &path("top"));
    assert_eq!(removed.expect("removed"), 3007);
    assert_eq!(fs::read_dir(dir.path()).expect("it exists").count(), 0);
    assert!(outside.path().join("precious").exists());
}

/// A recipe for one entry of a random tree, made with the standard library.
#[derive(Debug, Clone)]
enum Recipe {
    Dir(Vec<(Vec<u8>, Recipe)>, u32),
    File(Vec<(u8, u16)>, u32),
    Symlink(Vec<u8>),
    SecondName,
}

fn recipes() -> impl Strategy<Value = Recipe> {
    // The owner can always read, so that the test holds for everyone.
    let mode = (0_u32..0o1000).prop_map(|mode| mode | 0o600);
    let pieces = prop::collection::vec((any::<u8>(), any::<u16>()), 0..4);
    let leaf = prop_oneof![
        4 => (pieces, mode.clone()).prop_map(|(pieces, mode)| Recipe::File(pieces, mode)),
        1 => prop::collection::vec(1_u8.., 1..30).prop_map(Recipe::Symlink),
        1 => Just(Recipe::SecondName),
    ];
    let name = prop::collection::vec(prop_oneof![1_u8..b'.', b'0'..], 1..12);
    leaf.prop_recursive(3, 24, 5, move |inner| {
        (
            prop::collection::vec((name.clone(), inner), 0..6),
            mode.clone(),
        )
            .prop_map(|(children, mode)| Recipe::Dir(children, mode | 0o100))
    })
}

fn build(recipe: &Recipe, at: &Path, first_file: &mut Option<PathBuf>) {
    use std::os::unix::ffi::OsStrExt;
    match recipe {
        // A name that was drawn twice keeps its first meaning.
        _ if fs::symlink_metadata(at).is_ok() => {}
        Recipe::Dir(children, mode) => {
            fs::create_dir(at).expect("created");
            for (name, child) in children {
                build(
                    child,
                    &at.join(std::ffi::OsStr::from_bytes(name)),
                    first_file,
                );
            }
            set_mode(at, *mode);
        }
        Recipe::File(pieces, mode) => {
            let file = fs::File::create(at).expect("created");
            let mut offset = 0;
            for (byte, len) in pieces {
                // Long gaps become holes, short ones zeros.
                offset += u64::from(*byte) * 512;
                file.write_all_at(&vec![*byte; usize::from(*len)], offset)
                    .expect("written");
                offset += u64::from(*len);
            }
            set_mode(at, *mode);
            first_file.get_or_insert_with(|| at.to_owned());
        }
        Recipe::Symlink(target) => {
            symlink(std::ffi::OsStr::from_bytes(target), at).expect("linked");
        }
        Recipe::SecondName => {
            if let Some(first) = first_file {
                fs::hard_link(first, at).expect("linked");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn random_trees_come_back_the_same(recipe in recipes()) {
        let dir = temporary();
        let root = dir.path().join("root");
        build(&Recipe::Dir(vec![(b"r".to_vec(), recipe)], 0o755), &root, &mut None);
        assert_round_trip(&root);
    }
}
