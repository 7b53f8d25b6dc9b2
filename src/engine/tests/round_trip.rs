//! What comes back is what went in, and nothing is stored twice.

use std::fs;
use std::sync::Arc;

use proptest::prelude::*;

use super::support::*;
use crate::engine::env::Cancel;
use crate::engine::files::{Existing, RelPath, ScanOptions};
use crate::engine::manifest::Authentic;
use crate::engine::pack::BlobKind;
use crate::engine::store::{Call, Counting, Folder, Memory, Store};
use crate::engine::{
    Access, BackupOptions, EngineError, OpenSnapshot, Repository, RestoreOptions, Silent, backup,
    backup_stream, restore,
};

#[test]
fn a_restored_tree_is_the_tree_that_was_backed_up() {
    let (_folder, root) = tree();
    let store = memory();
    let report = back_up(&writer(store.clone()), &root).expect("a backup");
    assert!(report.clear.complete, "{:?}", report.notes);
    assert_eq!(report.clear.skipped, 0);
    let repository = reader(store);
    assert_restores(&repository, &root);
    let listed = repository.snapshots(Some("web")).expect("a listing");
    assert_eq!(listed.found.len(), 1);
    assert_eq!(listed.found[0].authentic, Authentic::Yes);
    assert_eq!(listed.found[0].clear, report.clear);
}

#[test]
fn a_small_file_that_is_there_again_is_stored_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = folder.path();
    // Enough files between the same ones that their chunk is stored and forgotten meanwhile.
    let same = noise(50_000, 1);
    let mut others = 0;
    for number in 0..400_u64 {
        let other = noise(20_000, 1000 + number);
        others += other.len();
        fs::write(root.join(format!("{number:03}-other")), other).expect("a file");
        if number % 40 == 0 {
            for copy in ["a", "b"] {
                let name = format!("{number:03}-same-{copy}");
                fs::write(root.join(name), &same).expect("a file");
            }
        }
    }
    // The same data around a hole is another file and the same bytes.
    let sparse = fs::File::create(root.join("sparse")).expect("a file");
    sparse.set_len(1 << 20).expect("a hole");
    std::os::unix::fs::FileExt::write_all_at(&sparse, &same, 1 << 16).expect("written");
    drop(sparse);

    let store = memory();
    let report = back_up(&writer(store.clone()), root).expect("a backup");
    // A file system counts data in blocks of its own around the hole.
    let stored_once = (others + 2 * same.len() + (1 << 16)) as u64;
    assert!(report.clear.new_bytes <= stored_once, "{:?}", report.clear);
    let repository = reader(store.clone());
    assert_restores(&repository, root);
    assert_eq!(verify_all(&repository), Vec::<String>::new());

    fs::remove_file(root.join("000-same-a")).expect("removed");
    let again = back_up(&writer(store.clone()), root).expect("a backup");
    assert_eq!(again.clear.new_bytes, 0, "what others had is still known");
    assert_restores(&reader(store), root);
}

#[test]
fn a_second_backup_of_unchanged_data_stores_a_manifest_alone() {
    let (_folder, root) = tree();
    for read_all in [true, false] {
        let store = Arc::new(Counting::new(memory()));
        let open = || {
            if read_all {
                writer(store.clone())
            } else {
                reader(store.clone())
            }
        };
        let first = back_up(&open(), &root).expect("a backup");
        store.take();
        let second = back_up(&open(), &root).expect("a backup");
        for folder in [Folder::Packs, Folder::Meta, Folder::Index] {
            assert_eq!(store.tally(Call::Put(folder)).calls, 0, "{folder:?}");
        }
        assert_eq!(store.tally(Call::Commit).calls, 1);
        assert_eq!(second.clear.new_bytes, 0);
        assert_eq!(second.clear.stored_bytes, 0);
        assert_eq!(first.clear.refs, second.clear.refs);
        assert_ne!(first.name, second.name);
        assert_restores(&reader(store.clone()), &root);
    }
}

#[test]
fn equal_files_are_stored_once_and_noise_is_not_blown_up() {
    let (_folder, root) = tree();
    let report = back_up(&writer(memory()), &root).expect("a backup");
    let clear = report.clear;
    assert!(clear.bytes > 55 << 20, "{clear:?}");
    assert!(clear.new_bytes < 12 << 20, "{clear:?}");
    assert!(clear.stored_bytes < 9 << 20, "{clear:?}");
}

#[test]
fn a_change_stores_what_changed() {
    let (_folder, root) = tree();
    let store = memory();
    back_up(&writer(store.clone()), &root).expect("a backup");
    fs::write(root.join("etc/conf-100"), b"changed").expect("a file");
    fs::remove_file(root.join("etc/conf-200")).expect("a file");
    // With the reading key the unchanged files are not even opened.
    let report = back_up(&reader(store.clone()), &root).expect("a backup");
    assert!(report.clear.stored_bytes < 200_000, "{:?}", report.clear);
    assert_restores(&reader(store.clone()), &root);
    fs::write(root.join("etc/conf-101"), b"changed again").expect("a file");
    let report = back_up(&writer(store.clone()), &root).expect("a backup");
    assert!(report.clear.new_bytes < 5 << 20, "{:?}", report.clear);
    assert_restores(&reader(store), &root);
}

#[test]
fn parts_are_restored_with_the_folders_above_them() {
    let (_folder, root) = tree();
    let store = memory();
    back_up(&writer(store.clone()), &root).expect("a backup");
    let repository = reader(store);
    let snapshot = open_latest(&repository).expect("a snapshot");
    let restored = |paths: &[&str]| {
        let target = tempfile::tempdir().expect("a temporary folder");
        let paths = paths
            .iter()
            .map(|path| RelPath::new(*path).expect("a path"));
        let options = RestoreOptions {
            paths: paths.collect(),
            existing: Existing::Refuse,
            threads: 2,
            ..RestoreOptions::default()
        };
        let report = restore(&snapshot, target.path(), &options, &Silent, &Cancel::new());
        report.map(|report| (target, report.files))
    };
    let (target, files) = restored(&["etc/conf-050", "data/sparse"]).expect("a restore");
    assert_eq!(files, 2);
    let same =
        |path: &str| fs::read(root.join(path)).ok() == fs::read(target.path().join(path)).ok();
    assert!(same("etc/conf-050") && same("data/sparse"));
    assert!(!target.path().join("data/big").exists());
    // The first name of this file is not among what was asked for.
    let (target, _) = restored(&["etc/text"]).expect("a restore");
    let text = fs::read(target.path().join("etc/text")).expect("a file");
    assert_eq!(text, fs::read(root.join("data/text")).expect("a file"));
    assert!(
        matches!(restored(&["etc/gone"]), Err(EngineError::NoPath(path)) if path == "etc/gone")
    );
}

#[test]
fn a_path_that_is_not_there_is_named_before_the_target_is_made() {
    let (_folder, root) = tree();
    let store = memory();
    back_up(&writer(store.clone()), &root).expect("a backup");
    let snapshot = open_latest(&reader(store)).expect("a snapshot");
    let place = tempfile::tempdir().expect("a temporary folder");
    let target = place.path().join("new");
    for gone in ["etc/gone", "aaa", "zzz/deep", "etc/conf-001/x"] {
        let paths = ["etc/conf-001", gone].map(|path| RelPath::new(path).expect("a path"));
        let options = RestoreOptions {
            paths: paths.to_vec(),
            ..RestoreOptions::default()
        };
        let refused = restore(&snapshot, &target, &options, &Silent, &Cancel::new())
            .expect_err("a path that is not there");
        assert_eq!(
            refused.to_string(),
            format!("the snapshot has no `{gone}`; a listing of it names the paths it holds")
        );
        assert!(!target.exists(), "{gone}");
    }
}

#[test]
fn every_path_of_a_snapshot_is_found() {
    let (_folder, root) = tree();
    let store = memory();
    back_up(&writer(store.clone()), &root).expect("a backup");
    let snapshot = open_latest(&reader(store)).expect("a snapshot");
    let entries: Result<Vec<_>, _> = snapshot.entries().expect("a tree").collect();
    for entry in entries.expect("entries") {
        assert!(snapshot.has(&entry.path).expect("a tree"), "{}", entry.path);
    }
}

#[test]
fn a_single_file_comes_back_under_its_name() {
    let (_folder, root) = tree();
    let store = memory();
    back_up(&writer(store.clone()), &root.join("data/big")).expect("a backup");
    let target = tempfile::tempdir().expect("a temporary folder");
    let repository = reader(store);
    restore_latest(&repository, target.path()).expect("a restore");
    let same = fs::read(target.path().join("big")).expect("a file")
        == fs::read(root.join("data/big")).expect("a file");
    assert!(same);
    let differences = compare_latest(&repository, target.path());
    assert!(differences.is_none(), "{differences:?}");
}

#[test]
fn several_roots_keep_their_full_paths() {
    let (_folder, root) = tree();
    let store = memory();
    let roots = [root.join("etc/empty"), root.join("data/big")];
    let report = backup(
        &writer(store.clone()),
        &roots,
        ScanOptions::default(),
        &options(),
        &Silent,
        &Cancel::new(),
    );
    assert_eq!(report.expect("a backup").clear.files, 1);
    let target = tempfile::tempdir().expect("a temporary folder");
    let target = target.path().join("t");
    restore_latest(&reader(store), &target).expect("a restore");
    for path in &roots {
        let path = path.strip_prefix("/").expect("an absolute path");
        assert!(target.join(path).exists(), "{}", path.display());
    }
}

#[test]
fn a_stream_becomes_a_file() {
    let store = memory();
    let bytes = noise(3 << 20, 9);
    let report = backup_stream(
        &writer(store.clone()),
        &mut &bytes[..],
        "dump.sql",
        &options(),
        &Silent,
        &Cancel::new(),
    )
    .expect("a backup");
    assert_eq!(report.clear.bytes, bytes.len() as u64);
    let repository = reader(store.clone());
    let snapshot = open_latest(&repository).expect("a snapshot");
    let entries: Vec<_> = snapshot
        .entries()
        .expect("a tree")
        .collect::<Result<_, _>>()
        .expect("entries");
    assert_eq!(entries.len(), 2);
    let mut out = Vec::new();
    snapshot
        .write_content(&entries[1], &mut out)
        .expect("its content");
    assert!(out == bytes);
    for name in ["", "a/b", "..", "/"] {
        let refused = backup_stream(
            &writer(store.clone()),
            &mut &b""[..],
            name,
            &options(),
            &Silent,
            &Cancel::new(),
        );
        assert_eq!(
            refused.expect_err("no plain name").to_string(),
            format!("the name of a stream is a plain file name, `{name}` is not")
        );
    }
}

#[test]
fn a_writer_reads_nothing_back_and_a_stranger_gets_in_nowhere() {
    let (_folder, root) = tree();
    let store = memory();
    back_up(&writer(store.clone()), &root.join("etc")).expect("a backup");
    let repository = writer(store.clone());
    assert!(matches!(
        open_latest(&repository),
        Err(EngineError::NeedsReadingKey(_))
    ));
    let listed = repository.snapshots(None).expect("clear parts are clear");
    assert_eq!(listed.found[0].authentic, Authentic::Unknown);
    let stranger = crate::engine::crypto::ReadingKey::from_seed(&[1; 32]);
    let refused = Repository::open(store, env(), Access::Reader(stranger));
    assert!(matches!(refused, Err(EngineError::WrongKey { .. })));
}

#[test]
fn no_plain_text_reaches_the_store() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let secret = b"correct horse battery staple";
    fs::write(folder.path().join("very-secret-name"), secret).expect("a file");
    let store = memory();
    back_up(&writer(store.clone()), folder.path()).expect("a backup");
    let needles: [&[u8]; 2] = [secret, b"very-secret-name"];
    for folder in Folder::ALL {
        for file in store.list(folder).expect("a listing") {
            let bytes = store.get(&file.name).expect("a file");
            for needle in needles {
                let found = bytes.windows(needle.len()).any(|part| part == needle);
                assert!(!found, "{}", file.name);
            }
        }
    }
}

#[test]
fn snapshots_are_found_by_latest_id_and_name() {
    let (_folder, root) = tree();
    let store = memory();
    let first = back_up(&writer(store.clone()), &root.join("etc")).expect("a backup");
    let second = back_up(&writer(store.clone()), &root.join("etc")).expect("a backup");
    let repository = reader(store);
    let find = |wanted: &str| repository.find_snapshot(wanted).map(|snap| snap.name);
    assert_eq!(find("latest").expect("one"), second.name);
    assert_eq!(find("web/latest").expect("one"), second.name);
    assert_eq!(find(&first.clear.id[..8]).expect("one"), first.name);
    let full = first
        .name
        .as_str()
        .strip_prefix("snapshots/")
        .expect("it is one");
    assert_eq!(find(full).expect("one"), first.name);
    for wanted in ["", "abc", "db/latest", "zzzzzzzz"] {
        assert!(find(wanted).is_err(), "{wanted}");
    }
}

#[test]
fn a_source_name_that_is_none_is_refused_before_anything_is_read() {
    let (_folder, root) = tree();
    let store = memory();
    for source in ["", "a/b", "..", "ü"] {
        let options = crate::engine::BackupOptions {
            source: source.to_owned(),
            ..options()
        };
        let refused = backup(
            &writer(store.clone()),
            std::slice::from_ref(&root),
            ScanOptions::default(),
            &options,
            &Silent,
            &Cancel::new(),
        );
        assert!(refused.is_err(), "{source}");
    }
    assert_eq!(store.list(Folder::Packs).expect("a listing"), []);
}

#[test]
fn a_cancelled_backup_shows_no_snapshot() {
    let (_folder, root) = tree();
    let store = memory();
    let cancel = Cancel::new();
    cancel.cancel();
    let stopped = backup(
        &writer(store.clone()),
        &[root],
        ScanOptions::default(),
        &options(),
        &Silent,
        &cancel,
    );
    assert!(matches!(stopped, Err(EngineError::Cancelled)));
    assert_eq!(store.list(Folder::Snapshots).expect("a listing"), []);
}

#[test]
fn ids_of_equal_data_are_equal_for_a_label_and_differ_between_labels() {
    let one = key().writer("web").expect("a good label");
    let two = key().writer("db").expect("a good label");
    let id = |key: &crate::engine::crypto::WriterKey| key.id(BlobKind::Chunk as u8, b"x");
    assert_eq!(id(&one), id(&one.clone()));
    assert_ne!(id(&one), id(&two));
}

fn arbitrary_tree() -> impl Strategy<Value = Vec<(Vec<u8>, usize, u64)>> {
    let name = proptest::collection::vec(1_u8..=255, 1..12).prop_filter("no separators", |name| {
        !name.contains(&b'/') && name != b"." && name != b".."
    });
    let size = prop_oneof![0_usize..2000, 400_000_usize..900_000];
    proptest::collection::vec((name, size, 0_u64..4), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn any_tree_comes_back(files in arbitrary_tree()) {
        use std::os::unix::ffi::OsStrExt;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().join("tree");
        fs::create_dir(&root).expect("a folder");
        for (n, (name, size, seed)) in files.iter().enumerate() {
            let dir = root.join(format!("d{}", n % 3));
            fs::create_dir_all(&dir).expect("a folder");
            let path = dir.join(std::ffi::OsStr::from_bytes(name));
            fs::write(path, noise(*size, *seed)).expect("a file");
        }
        let store: Arc<Memory> = memory();
        back_up(&writer(store.clone()), &root).expect("a backup");
        assert_restores(&reader(store.clone()), &root);
        let second = back_up(&reader(store), &root).expect("a backup");
        prop_assert_eq!(second.clear.stored_bytes, 0);
    }
}

#[test]
fn an_open_snapshot_says_what_it_is() {
    let (_folder, root) = tree();
    let store = memory();
    back_up(&writer(store.clone()), &root).expect("a backup");
    let repository = reader(store);
    let listed = repository.snapshots(None).expect("a listing").found;
    let snapshot = OpenSnapshot::open(&repository, &listed[0]).expect("a snapshot");
    assert_eq!(snapshot.clear().machine, "machine-a");
    assert_eq!(snapshot.sealed().paths, [root.display().to_string()]);
}

#[test]
fn a_file_that_cannot_be_read_is_missing_and_one_that_changes_is_not() {
    use crate::engine::{Event, Observer};
    /// Changes a file at the moment it has been read.
    struct Meddler(std::path::PathBuf);
    impl Observer for Meddler {
        fn event(&self, event: Event<'_>) {
            if matches!(event, Event::Read { .. }) {
                fs::write(&self.0, b"longer than it was before").expect("a file");
            }
        }
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("only"), b"short").expect("a file");
    let store = memory();
    let report = backup(
        &writer(store.clone()),
        &[folder.path().to_owned()],
        ScanOptions::default(),
        &options(),
        &Meddler(folder.path().join("only")),
        &Cancel::new(),
    )
    .expect("a backup");
    assert_eq!((report.clear.changed, report.clear.skipped), (1, 0));
    assert!(report.clear.complete);
    let target = tempfile::tempdir().expect("a temporary folder");
    restore_latest(&reader(store), target.path()).expect("a restore");
    assert_eq!(
        fs::read(target.path().join("only")).expect("a file"),
        b"short"
    );
}

#[test]
fn the_repository_itself_is_left_out_and_that_is_no_loss() {
    let (_folder, root) = tree();
    let inside = root.join("etc/repository");
    fs::create_dir_all(inside.join("packs")).expect("a folder");
    fs::write(inside.join("packs/x"), b"x").expect("a file");
    let link = root.join("way");
    std::os::unix::fs::symlink(&inside, &link).expect("a link");
    let store = memory();
    let run = |roots: &[std::path::PathBuf]| {
        let options = BackupOptions {
            leave_out: vec![link.clone(), root.join("not-there")],
            ..options()
        };
        backup(
            &writer(store.clone()),
            roots,
            ScanOptions::default(),
            &options,
            &Silent,
            &Cancel::new(),
        )
    };
    let report = run(std::slice::from_ref(&root)).expect("a backup");
    assert!(report.clear.complete);
    let notes: Vec<_> = report
        .notes
        .kept()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        notes,
        ["etc/repository was left out: it is the repository itself"]
    );
    let snapshot = open_latest(&reader(store.clone())).expect("a snapshot");
    let has = |path: &str| snapshot.has(&RelPath::new(path).expect("a path"));
    assert!(has("etc/conf-001").expect("a tree"));
    assert!(!has("etc/repository").expect("a tree"));
    for roots in [
        vec![inside.clone()],
        vec![inside.clone(), root.join("data")],
    ] {
        let refused = run(&roots).expect_err("nothing else to back up");
        assert_eq!(
            refused.to_string(),
            format!("path '{}' is the repository itself", inside.display())
        );
    }
}
