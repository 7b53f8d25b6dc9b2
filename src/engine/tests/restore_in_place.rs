//! A restore over something reads and writes what differs, and nothing else.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::support::*;
use crate::engine::env::Cancel;
use crate::engine::files::{Existing, RelPath};
use crate::engine::store::{Folder, Store};
use crate::engine::{
    EngineError, OpenSnapshot, Repository, RestoreOptions, RestoreReport, Silent, restore,
    restore_over,
};

fn restore_as(
    repository: &Repository,
    target: &Path,
    existing: Existing,
) -> Result<RestoreReport, EngineError> {
    let options = RestoreOptions {
        existing,
        threads: 3,
        ..RestoreOptions::default()
    };
    let snapshot = open_latest(repository)?;
    restore(&snapshot, target, &options, &Silent, &Cancel::new())
}

fn assert_equal(repository: &Repository, target: &Path) {
    let differences = compare_latest(repository, target);
    assert!(differences.is_none(), "{differences:?}");
}

/// Restores the latest snapshot of the test's tree and returns where to.
fn restored() -> (Repository, tempfile::TempDir, std::path::PathBuf) {
    let (_folder, root) = tree();
    let store = memory();
    back_up(&writer(store.clone()), &root).expect("a backup");
    let repository = reader(store);
    let place = tempfile::tempdir().expect("a temporary folder");
    let target = place.path().join("target");
    restore_as(&repository, &target, Existing::Refuse).expect("a restore");
    (repository, place, target)
}

#[test]
fn a_second_run_writes_nothing_and_reads_hardly_anything() {
    let (repository, _place, target) = restored();
    for existing in [Existing::Update, Existing::Mirror] {
        let report = restore_as(&repository, &target, existing).expect("a restore");
        assert!(report.is_whole(), "{:?}", report.failed);
        assert_eq!((report.bytes, report.deleted), (0, 0));
        assert_eq!(report.unchanged, report.entries, "{report:?}");
        // The tree itself, and no data.
        assert!(report.read < 100_000, "{report:?}");
        assert_equal(&repository, &target);
    }
}

#[test]
fn what_differs_is_made_right_and_extra_names_go_only_on_request() {
    let (repository, _place, target) = restored();
    let at = |path: &str| target.join(path);
    let big = fs::File::options().write(true).open(at("data/text"));
    big.expect("a file")
        .write_all_at(b"CHANGED", 1_000_000)
        .expect("written");
    fs::set_permissions(at("data/big"), fs::Permissions::from_mode(0o600)).expect("a mode");
    let big = fs::File::options().write(true).open(at("data/big"));
    let big = big.expect("a file");
    big.write_all_at(b"CHANGED", 3 << 20).expect("written");
    let inode = big.metadata().expect("a file").ino();
    let sparse = fs::File::options().write(true).open(at("data/sparse"));
    sparse
        .expect("a file")
        .write_all_at(b"no hole", 30 << 20)
        .expect("written");
    fs::remove_file(at("etc/conf-010")).expect("removed");
    fs::write(at("etc/conf-011"), b"other").expect("written");
    fs::remove_file(at("etc/conf-012")).expect("removed");
    fs::create_dir(at("etc/conf-012")).expect("a folder in a file's place");
    fs::remove_dir(at("etc/empty")).expect("removed");
    fs::write(at("etc/empty"), b"a file in a folder's place").expect("written");
    fs::remove_file(at("etc/link")).expect("removed");
    symlink("elsewhere", at("etc/link")).expect("linked");
    fs::remove_file(at("etc/text")).expect("removed");
    fs::write(at("etc/text"), b"no other name any more").expect("written");
    fs::create_dir_all(at("etc/extra/deep/deeper")).expect("created");
    fs::write(at("etc/extra/deep/file"), b"extra").expect("written");
    fs::write(at("zzz"), b"extra").expect("written");
    fs::write(at("etc/.bkpctl-77-3.part"), b"left by a killed restore").expect("written");
    let report = restore_as(&repository, &target, Existing::Update).expect("a restore");
    assert!(report.is_whole(), "{:?}", report.failed);
    assert_eq!(report.deleted, 1, "only what a restore had left");
    assert!(at("zzz").exists() && at("etc/extra/deep/file").exists());
    assert!(!at("etc/.bkpctl-77-3.part").exists());
    assert!(report.bytes < 6 << 20, "{report:?}");
    let now = fs::metadata(at("data/big")).expect("a file");
    assert_eq!(now.ino(), inode, "a large file is changed in place");
    let report = restore_as(&repository, &target, Existing::Mirror).expect("a restore");
    assert_eq!((report.bytes, report.deleted), (0, 5), "{report:?}");
    assert_equal(&repository, &target);
    let report = restore_as(&repository, &target, Existing::Mirror).expect("a restore");
    assert_eq!(report.unchanged, report.entries, "{report:?}");
}

#[test]
fn a_folder_with_something_in_it_is_in_the_way_unless_deletion_is_asked_for() {
    let (repository, _place, target) = restored();
    let at = target.join("etc/conf-012");
    fs::remove_file(&at).expect("removed");
    fs::create_dir_all(at.join("deep")).expect("created");
    fs::write(at.join("deep/mine"), b"mine").expect("written");
    let report = restore_as(&repository, &target, Existing::Update).expect("a restore");
    assert_eq!(report.failed_total, 1);
    assert_eq!(report.failed[0].0.to_string(), "etc/conf-012");
    assert!(at.join("deep/mine").exists());
    let report = restore_as(&repository, &target, Existing::Mirror).expect("a restore");
    assert!(report.is_whole(), "{:?}", report.failed);
    assert_equal(&repository, &target);
}

#[test]
fn files_outside_stay_whatever_links_lead_to_them() {
    let (repository, place, target) = restored();
    let outside = place.path().join("outside");
    fs::create_dir(&outside).expect("created");
    for name in ["one", "two", "three"] {
        fs::write(outside.join(name), b"precious").expect("written");
    }
    let before = fs::metadata(outside.join("one"))
        .expect("a file")
        .ctime_nsec();
    let at = |path: &str| target.join(path);
    // A link in a file's place, another name in a file's place, links in folders' places.
    fs::remove_file(at("etc/conf-001")).expect("removed");
    symlink(outside.join("one"), at("etc/conf-001")).expect("linked");
    fs::remove_file(at("etc/conf-002")).expect("removed");
    fs::hard_link(outside.join("two"), at("etc/conf-002")).expect("linked");
    fs::remove_file(at("data/copy")).expect("removed");
    fs::hard_link(outside.join("three"), at("data/copy")).expect("linked");
    fs::remove_dir(at("etc/empty")).expect("removed");
    symlink(&outside, at("etc/empty")).expect("linked");
    symlink(&outside, at("extra")).expect("linked");
    let report = restore_as(&repository, &target, Existing::Mirror).expect("a restore");
    assert!(report.is_whole(), "{:?}", report.failed);
    assert_equal(&repository, &target);
    for name in ["one", "two", "three"] {
        assert_eq!(fs::read(outside.join(name)).expect("a file"), b"precious");
    }
    let after = fs::metadata(outside.join("one"))
        .expect("a file")
        .ctime_nsec();
    assert_eq!(before, after);
}

#[test]
fn deletion_stays_below_what_is_restored() {
    let (repository, _place, target) = restored();
    for extra in ["zzz", "data/zzz", "etc/zzz"] {
        fs::write(target.join(extra), b"extra").expect("written");
    }
    let mode = fs::Permissions::from_mode(0o711);
    fs::set_permissions(&target, mode).expect("a mode");
    let snapshot = open_latest(&repository).expect("a snapshot");
    let options = RestoreOptions {
        paths: vec![RelPath::new("etc").expect("a path")],
        existing: Existing::Mirror,
        threads: 2,
        ..RestoreOptions::default()
    };
    let report = restore(&snapshot, &target, &options, &Silent, &Cancel::new());
    assert_eq!(report.expect("a restore").deleted, 1);
    assert!(target.join("zzz").exists() && target.join("data/zzz").exists());
    assert!(!target.join("etc/zzz").exists());
    let mode = fs::metadata(&target).expect("a folder").mode();
    assert_eq!(mode & 0o777, 0o711, "folders on the way stay as they are");
}

#[test]
fn deletion_spares_what_lies_beside_the_roots_of_a_snapshot() {
    let (_folder, root) = tree();
    let store = memory();
    let roots = [root.join("etc"), root.join("data")];
    crate::engine::backup(
        &writer(store.clone()),
        &roots,
        crate::engine::files::ScanOptions::default(),
        &options(),
        &Silent,
        &Cancel::new(),
    )
    .expect("a backup");
    let place = tempfile::tempdir().expect("a temporary folder");
    let inner = root.strip_prefix("/").expect("an absolute path");
    let copy = place.path().join(inner);
    fs::create_dir_all(copy.join("etc")).expect("created");
    fs::write(copy.join("beside"), b"not backed up").expect("written");
    fs::write(copy.join("etc/extra"), b"extra").expect("written");
    fs::write(place.path().join("beside"), b"not backed up").expect("written");
    let report = restore_as(&reader(store), place.path(), Existing::Mirror).expect("a restore");
    assert_eq!(report.deleted, 1);
    assert!(copy.join("beside").exists() && place.path().join("beside").exists());
    assert!(copy.join("data/big").exists() && !copy.join("etc/extra").exists());
}

#[test]
fn damage_leaves_the_old_file_and_names_it() {
    let (_folder, root) = tree();
    let store = memory();
    back_up(&writer(store.clone()), &root).expect("a backup");
    let repository = reader(store.clone());
    let place = tempfile::tempdir().expect("a temporary folder");
    let target = place.path().join("target");
    fs::create_dir_all(target.join("etc")).expect("created");
    fs::write(target.join("etc/conf-100"), b"the old content").expect("written");
    let snapshot = open_latest(&repository).expect("a snapshot");
    for pack in store.list(Folder::Packs).expect("a listing") {
        store.remove(&pack.name).expect("removed");
    }
    let options = RestoreOptions {
        existing: Existing::Update,
        ..RestoreOptions::default()
    };
    let report = restore(&snapshot, &target, &options, &Silent, &Cancel::new());
    let report = report.expect("the rest is restored");
    assert!(report.failed_total > 290, "{report:?}");
    let old = fs::read(target.join("etc/conf-100")).expect("a file");
    assert_eq!(old, b"the old content");
    let left = fs::read_dir(target.join("etc")).expect("a folder");
    let mut names = left.map(|entry| entry.expect("an entry").file_name());
    assert!(names.all(|name| !name.to_string_lossy().contains("part")));
}

#[test]
fn a_stop_names_the_file_that_is_half_written_and_a_second_run_finishes() {
    struct StopAtFirstWrite(Cancel);
    impl crate::engine::Observer for StopAtFirstWrite {
        fn event(&self, event: crate::engine::Event<'_>) {
            if matches!(event, crate::engine::Event::Written { .. }) {
                self.0.cancel();
            }
        }
    }
    let (repository, _place, target) = restored();
    let big = target.join("data/big");
    fs::set_permissions(&big, fs::Permissions::from_mode(0o600)).expect("a mode");
    fs::write(&big, noise(7 << 20, 77)).expect("written");
    let snapshot = open_latest(&repository).expect("a snapshot");
    let options = RestoreOptions {
        existing: Existing::Update,
        threads: 1,
        ..RestoreOptions::default()
    };
    let cancel = Cancel::new();
    let observer = StopAtFirstWrite(cancel.clone());
    let stopped = restore(&snapshot, &target, &options, &observer, &cancel);
    match stopped {
        Err(EngineError::HalfWritten { paths, source }) => {
            assert_eq!(paths, ["data/big"]);
            assert!(matches!(*source, EngineError::Cancelled));
        }
        other => panic!("{other:?}"),
    }
    restore_as(&repository, &target, Existing::Update).expect("a restore");
    assert_equal(&repository, &target);
}

#[test]
fn an_image_is_written_over_a_file_where_it_differs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let image = folder.path().join("disk.img");
    let file = fs::File::create(&image).expect("a file");
    file.set_len(64 << 20).expect("a length");
    file.write_all_at(&noise(10 << 20, 5), 8 << 20)
        .expect("written");
    let store = memory();
    back_up(&writer(store.clone()), &image).expect("a backup");
    let repository = reader(store);
    let snapshot = open_latest(&repository).expect("a snapshot");
    let entry = snapshot.only_file().expect("one file");
    let device = folder.path().join("device");
    let over =
        |snapshot: &OpenSnapshot| restore_over(snapshot, &entry, &device, &Silent, &Cancel::new());
    assert!(matches!(over(&snapshot), Err(EngineError::Device { .. })));
    fs::write(&device, vec![7; 1 << 20]).expect("written");
    let report = over(&snapshot).expect("written over");
    assert_eq!(report.bytes, 11 << 20, "data, and what was no zero before");
    let same = || fs::read(&device).expect("a file") == fs::read(&image).expect("a file");
    assert!(same());
    let report = over(&snapshot).expect("written over");
    assert_eq!((report.bytes, report.unchanged), (0, 1));
    let changed = fs::File::options()
        .write(true)
        .open(&device)
        .expect("a file");
    changed.write_all_at(b"x", 9 << 20).expect("written");
    changed.write_all_at(b"x", 60 << 20).expect("written");
    let report = over(&snapshot).expect("written over");
    assert!(report.bytes <= 5 << 20, "{report:?}");
    assert!(same());
}

#[test]
fn a_whole_restore_stays_inside_while_folders_are_swapped_for_links() {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    let (repository, place, target) = restored();
    let outside = place.path().join("outside");
    fs::create_dir_all(outside.join("empty")).expect("created");
    fs::write(outside.join("conf-001"), b"precious").expect("written");
    fs::write(outside.join("empty/precious"), b"precious").expect("written");
    let seen = || {
        let meta = |name: &str| fs::metadata(outside.join(name)).expect("it exists");
        ["", "empty", "conf-001", "empty/precious"].map(|name| meta(name).ctime_nsec())
    };
    let before = seen();
    let (stop, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let (etc, aside) = (target.join("etc"), target.join("aside"));
        let (stop, swaps, outside) = (&stop, &swaps, &outside);
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                if fs::rename(&etc, &aside).is_ok() {
                    // Failures are the restoring threads' doing, and as good an attack.
                    let _ = symlink(outside, &etc);
                    let _ = fs::remove_file(&etc);
                    let _ = fs::rename(&aside, &etc);
                    swaps.fetch_add(1, Ordering::Relaxed);
                } else {
                    let _ = fs::create_dir(&etc);
                }
            }
        });
        let end = std::time::Instant::now() + std::time::Duration::from_secs(3);
        while std::time::Instant::now() < end {
            for existing in [Existing::Update, Existing::Mirror] {
                drop(restore_as(&repository, &target, existing));
                drop(fs::write(target.join("etc/conf-002"), b"differs"));
                drop(fs::write(target.join("etc/extra"), b"extra"));
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(swaps.load(Ordering::Relaxed) > 100, "the race took place");
    // The test itself writes through the link now and then; the restore never does.
    let mut names: Vec<_> = fs::read_dir(&outside)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.retain(|name| name != "conf-002" && name != "extra");
    names.sort();
    assert_eq!(names, ["conf-001", "empty"]);
    assert_eq!(seen()[1..], before[1..]);
}

fn arbitrary_tree() -> impl Strategy<Value = Vec<(u8, u8, usize, u64)>> {
    let size = prop_oneof![4 => 0_usize..3000, 1 => 4_000_000_usize..6_000_000];
    proptest::collection::vec((0_u8..12, 0_u8..6, size, 0_u64..3), 0..14)
}

/// Makes what a recipe says; equal names in two recipes are often other things.
fn build(root: &Path, recipe: &[(u8, u8, usize, u64)]) {
    fs::create_dir_all(root).expect("created");
    for (name, kind, size, seed) in recipe {
        let dir = root.join(format!("d{}", name % 3));
        if fs::create_dir_all(&dir).is_err() {
            continue;
        }
        let path = dir.join(format!("n{name}"));
        // A name that was drawn twice keeps its first meaning.
        let _ = match kind {
            0 => fs::create_dir(&path),
            1 => symlink(format!("t{seed}"), &path),
            2 => {
                let first = root.join("d0/n0");
                fs::hard_link(first, &path)
            }
            3 => fs::File::create_new(&path).and_then(|file| {
                file.set_len(*size as u64 * 3)?;
                file.write_all_at(&noise(*size, *seed), *size as u64)
            }),
            _ => fs::File::create_new(&path)
                .and_then(|file| file.write_all_at(&noise(*size, *seed), 0)),
        };
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_tree_becomes_any_other(one in arbitrary_tree(), other in arbitrary_tree()) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (source, target) = (folder.path().join("source"), folder.path().join("target"));
        build(&source, &one);
        build(&target, &other);
        let store: Arc<_> = memory();
        back_up(&writer(store.clone()), &source).expect("a backup");
        let repository = reader(store);
        let report = restore_as(&repository, &target, Existing::Mirror).expect("a restore");
        prop_assert!(report.is_whole(), "{:?}", report.failed);
        let differences = compare_latest(&repository, &target);
        prop_assert!(differences.is_none(), "{:?}", differences);
        let again = restore_as(&repository, &target, Existing::Mirror).expect("a restore");
        prop_assert_eq!((again.bytes, again.deleted), (0, 0));
        prop_assert_eq!(again.unchanged, again.entries);
    }
}
