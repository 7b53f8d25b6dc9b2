//! Images and streams: what comes back is what went in, and zeros cost nothing.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::support::*;
use crate::engine::env::Cancel;
use crate::engine::files::{Entry, Kind, What};
use crate::engine::store::{Folder, Memory, Store};
use crate::engine::{
    BackupReport, EngineError, Event, Observer, OpenSnapshot, Repository, Silent, backup_image,
    backup_stream,
};

const MIB: u64 = 1 << 20;
/// The longest file that ext4 takes.
const LARGEST: u64 = (16 << 40) - 4096;

fn image(repository: &Repository, path: &Path) -> Result<BackupReport, EngineError> {
    backup_image(repository, path, &options(), &Silent, &Cancel::new())
}

fn file_entry(snapshot: &OpenSnapshot) -> Entry {
    let mut entries = snapshot.entries().expect("a tree");
    entries.next().expect("a root").expect("readable");
    let entry = entries.next().expect("a file").expect("readable");
    assert!(entries.next().is_none());
    entry
}

/// Restores the latest snapshot, compares it with the image, and returns its entry.
fn assert_image_returns(store: &Arc<Memory>, path: &Path) -> Entry {
    let repository = reader(store.clone());
    let target = tempfile::tempdir().expect("a temporary folder");
    restore_latest(&repository, target.path()).expect("a restore");
    let restored = target.path().join(path.file_name().expect("a name"));
    let differences = compare_latest(&repository, target.path());
    assert!(differences.is_none(), "{differences:?}");
    let (one, two) = (
        path.metadata().expect("it"),
        restored.metadata().expect("it"),
    );
    assert_eq!((one.len(), one.mode()), (two.len(), two.mode()));
    if one.len() < 64 * MIB {
        assert!(fs::read(path).expect("readable") == fs::read(&restored).expect("readable"));
    }
    // A block of the file system may be allocated at each end of an extent.
    let entry = file_entry(&open_latest(&repository).expect("a snapshot"));
    let Kind::File { extents, .. } = &entry.kind else {
        panic!("an image is a file");
    };
    let most = entry.kind.data_bytes() + extents.len() as u64 * 8192 + 8192;
    assert!(two.blocks() * 512 <= most, "{} {most}", two.blocks() * 512);
    entry
}

#[test]
fn an_image_comes_back_with_its_holes_and_a_new_version_stores_what_changed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("disk.img");
    let file = File::create(&path).expect("a file");
    file.set_len(40 * MIB + 1000).expect("a length");
    file.write_all_at(&noise(3 << 20, 1), 5 * MIB + 12_345)
        .expect("data");
    file.write_all_at(&noise(100, 2), 40 * MIB + 900)
        .expect("data at the end");
    // Zeros that were written are data to the file system and nothing to us.
    file.write_all_at(&vec![0; 8 << 20], 20 * MIB)
        .expect("zeros");
    let store = memory();
    let first = image(&writer(store.clone()), &path).expect("a backup");
    assert!(first.clear.complete);
    assert_eq!(first.clear.bytes, 40 * MIB + 1000);
    assert!(first.clear.new_bytes < 6 * MIB, "{:?}", first.clear);
    let entry = assert_image_returns(&store, &path);
    assert!(entry.kind.data_bytes() < 3 * MIB + 20_000);
    let again = image(&writer(store.clone()), &path).expect("a backup");
    assert_eq!(again.clear.new_bytes, 0);
    file.write_all_at(b"changed", 6 * MIB).expect("a change");
    let changed = image(&writer(store.clone()), &path).expect("a backup");
    assert_eq!(changed.clear.new_bytes, MIB);
    assert_image_returns(&store, &path);
}

#[test]
fn an_image_file_that_did_not_change_is_not_read_again() {
    struct NoReads;
    impl Observer for NoReads {
        fn event(&self, event: Event<'_>) {
            assert!(!matches!(event, Event::Read { .. }));
        }
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("disk.img");
    fs::write(&path, noise(3 << 20, 5)).expect("a file");
    let store = memory();
    let first = image(&reader(store.clone()), &path).expect("a backup");
    let again = backup_image(
        &reader(store.clone()),
        &path,
        &options(),
        &NoReads,
        &Cancel::new(),
    )
    .expect("a backup");
    assert_eq!(first.clear.bytes, again.clear.bytes);
    assert_image_returns(&store, &path);
}

#[test]
fn sixteen_tebibytes_of_nothing_take_seconds() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("disk.img");
    let file = File::create(&path).expect("a file");
    if file.set_len(LARGEST).is_err() {
        crate::engine::files::skipped("skipped: no file of 16 TiB can be made here");
        return;
    }
    // Nearer to each other than a hole of such an image is long, and across blocks.
    for (offset, seed) in [(0, 1), (3 * MIB + 5, 2), (9 << 40, 3), (LARGEST - 7, 4)] {
        let bytes = noise(if seed == 4 { 7 } else { 6000 }, seed);
        file.write_all_at(&bytes, offset).expect("data");
    }
    let store = memory();
    let start = Instant::now();
    let report = image(&writer(store.clone()), &path).expect("a backup");
    assert_eq!(report.clear.bytes, LARGEST);
    assert!(report.clear.new_bytes <= 6 * MIB, "{:?}", report.clear);
    let entry = assert_image_returns(&store, &path);
    assert!(start.elapsed() < Duration::from_secs(30));
    let Kind::File { extents, .. } = &entry.kind else {
        panic!("an image is a file");
    };
    assert_eq!(extents.len(), 3, "{extents:?}");
    assert_eq!(entry.span_bytes(), entry.kind.data_bytes());
}

#[test]
fn an_image_that_is_written_to_meanwhile_is_reported() {
    struct Meddler(File);
    impl Observer for Meddler {
        fn event(&self, event: Event<'_>) {
            if matches!(event, Event::Read { .. }) {
                self.0.write_all_at(b"x", 0).expect("a change");
            }
        }
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("disk.img");
    fs::write(&path, noise(2 << 20, 6)).expect("a file");
    let meddler = Meddler(File::options().write(true).open(&path).expect("a file"));
    let repository = writer(memory());
    let report = backup_image(&repository, &path, &options(), &meddler, &Cancel::new());
    let report = report.expect("a backup");
    assert_eq!((report.clear.changed, report.clear.skipped), (1, 0));
    assert_eq!(report.notes.kept()[0].what, What::Changed);
}

#[test]
fn an_image_that_shrinks_or_cannot_be_read_leaves_no_snapshot() {
    struct Cutter(File);
    impl Observer for Cutter {
        fn event(&self, event: Event<'_>) {
            if matches!(event, Event::Read { .. }) {
                self.0.set_len(100).expect("cut");
            }
        }
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("disk.img");
    fs::write(&path, noise(64 << 20, 6)).expect("a file");
    let cutter = Cutter(File::options().write(true).open(&path).expect("a file"));
    let store = memory();
    let repository = writer(store.clone());
    let refused = backup_image(&repository, &path, &options(), &cutter, &Cancel::new());
    let refused = refused.expect_err("it is shorter now").to_string();
    assert!(refused.contains("ended at byte"), "{refused}");
    let refused = image(&repository, folder.path()).expect_err("a directory");
    assert!(refused.to_string().contains("is a directory"));
    let cancel = Cancel::new();
    cancel.cancel();
    fs::write(&path, b"").expect("a file");
    let stopped = backup_image(&repository, &path, &options(), &Silent, &cancel);
    assert!(matches!(stopped, Err(EngineError::Cancelled)));
    assert_eq!(store.list(Folder::Snapshots).expect("a listing"), []);
}

#[test]
fn streams_of_nothing_of_zeros_and_of_noise_come_back() {
    for bytes in [Vec::new(), vec![0; 9 << 20], noise(5 << 20, 8), vec![1]] {
        let store = memory();
        let report = backup_stream(
            &writer(store.clone()),
            &mut &bytes[..],
            "dump",
            &options(),
            &Silent,
            &Cancel::new(),
        )
        .expect("a backup");
        assert_eq!(report.clear.bytes, bytes.len() as u64);
        assert!(report.clear.stored_bytes < bytes.len() as u64 + 10_000);
        let repository = reader(store);
        let target = tempfile::tempdir().expect("a temporary folder");
        let report = restore_latest(&repository, target.path()).expect("a restore");
        // Whoever made it can also own it again.
        assert_eq!(report.notes.kept(), []);
        assert!(fs::read(target.path().join("dump")).expect("a file") == bytes);
        let differences = compare_latest(&repository, target.path());
        assert!(differences.is_none(), "{differences:?}");
    }
}

/// Pieces of an image: where they begin, how long they are, and noise or zeros.
fn arbitrary_writes() -> impl Strategy<Value = Vec<(u64, usize, Option<u64>)>> {
    let offset = prop_oneof![0_u64..12_000_000, (0_u64..12).prop_map(|n| n * MIB)];
    let len = prop_oneof![1_usize..9000, 50_000_usize..3_000_000];
    proptest::collection::vec((offset, len, proptest::option::of(0_u64..3)), 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn any_image_comes_back(writes in arbitrary_writes(), len in 0_u64..16_000_000) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("disk.img");
        let file = File::create(&path).expect("a file");
        for (offset, len, seed) in writes {
            let bytes = seed.map_or_else(|| vec![0; len], |seed| noise(len, seed));
            file.write_all_at(&bytes, offset).expect("data");
        }
        file.set_len(len).expect("a length");
        let store = memory();
        image(&writer(store.clone()), &path).expect("a backup");
        assert_image_returns(&store, &path);
        let again = image(&writer(store), &path).expect("a backup");
        prop_assert_eq!(again.clear.new_bytes, 0);
    }
}
