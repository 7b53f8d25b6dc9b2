//! What did not change is not read again, also without a reading key and after an interruption.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::support::*;
use crate::engine::env::{Cancel, Clock, Env, SystemClock};
use crate::engine::files::{Entry, ScanOptions};
use crate::engine::store::{Folder, Memory, Store};
use crate::engine::{
    Access, BackupOptions, BackupReport, CacheOptions, EngineError, Event, Observer, PackSize,
    Repository, Silent, backup,
};

fn remembering(cache: &Path) -> BackupOptions {
    BackupOptions {
        cache: Some(CacheOptions::new(cache)),
        threads: 1,
        ..options()
    }
}

fn run(repository: &Repository, dir: &Path, options: &BackupOptions) -> BackupReport {
    let paths = [dir.to_owned()];
    backup(
        repository,
        &paths,
        ScanOptions::default(),
        options,
        &Silent,
        &Cancel::new(),
    )
    .expect("a backup")
}

/// Asks for a stop once so many bytes were read.
struct StopAfter {
    left: AtomicU64,
    read: AtomicU64,
    cancel: Cancel,
}

impl Observer for StopAfter {
    fn event(&self, event: Event<'_>) {
        if let Event::Read { bytes } = event {
            self.read.fetch_add(bytes, Ordering::Relaxed);
            let left = self.left.load(Ordering::Relaxed).saturating_sub(bytes);
            self.left.store(left, Ordering::Relaxed);
            if left == 0 {
                self.cancel.cancel();
            }
        }
    }
}

/// Runs until so many bytes were read, and returns how many were.
fn interrupted(store: &Arc<Memory>, dir: &Path, options: &BackupOptions, after: u64) -> u64 {
    let stop = StopAfter {
        left: AtomicU64::new(after),
        read: AtomicU64::new(0),
        cancel: Cancel::new(),
    };
    let paths = [dir.to_owned()];
    let scan = ScanOptions::default();
    let stopped = backup(
        &writer(store.clone()),
        &paths,
        scan,
        options,
        &stop,
        &stop.cancel,
    );
    assert!(matches!(stopped, Err(EngineError::Cancelled)));
    stop.read.into_inner()
}

/// Makes files of about a megabyte, and small ones after them.
fn plain_tree(files: usize) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = folder.path().join("tree");
    for n in 0..files {
        let dir = root.join(format!("d{n:02}"));
        fs::create_dir_all(&dir).expect("a folder");
        fs::write(dir.join("large"), noise(900_000 + n, n as u64)).expect("a file");
    }
    fs::create_dir(root.join("z")).expect("a folder");
    for n in 0..100 {
        let bytes = noise(5000, 1000 + n);
        fs::write(root.join(format!("z/small-{n}")), bytes).expect("a file");
    }
    (folder, root)
}

#[test]
fn a_writer_alone_reads_no_unchanged_file_again() {
    let (_folder, root) = tree();
    let cache = tempfile::tempdir().expect("a temporary folder");
    let store = memory();
    let options = remembering(&cache.path().join("below"));
    let first = run(&writer(store.clone()), &root, &options);
    assert_eq!(first.stats.unchanged_files, 0);
    assert!(first.stats.read_bytes > 15 << 20, "{:?}", first.stats);
    let second = run(&writer(store.clone()), &root, &options);
    assert_eq!(second.stats.read_bytes, 0);
    assert_eq!(second.stats.unchanged_files, first.clear.files);
    assert_eq!(
        (second.stats.resumed_files, second.clear.stored_bytes),
        (0, 0)
    );
    assert_eq!(second.clear.refs, first.clear.refs);
    assert_eq!(second.warnings, [""; 0]);
    assert_restores(&reader(store.clone()), &root);
    fs::write(root.join("etc/conf-100"), noise(1700, 99)).expect("a file");
    fs::remove_file(root.join("etc/conf-200")).expect("a file");
    fs::rename(root.join("data/text"), root.join("data/words")).expect("a file");
    let third = run(&writer(store.clone()), &root, &options);
    // The renamed file has another change time, and its name another entry.
    assert_eq!(
        third.stats.read_bytes,
        1700 + 2_100_000,
        "{:?}",
        third.stats
    );
    assert_restores(&reader(store.clone()), &root);
    let all = BackupOptions {
        read_all: true,
        ..options.clone()
    };
    let fourth = run(&writer(store.clone()), &root, &all);
    assert_eq!(fourth.stats.unchanged_files, 0);
    let fifth = run(&writer(store), &root, &options);
    assert_eq!(
        fifth.stats.read_bytes, 0,
        "what was read anew is remembered"
    );
}

/// A clock that is set to a moment of the machine's own, and goes on slowly.
#[derive(Debug)]
struct Around(AtomicI64);

impl Clock for Around {
    fn now_ns(&self) -> i64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

#[test]
fn files_that_are_too_young_to_be_trusted_are_read_again_and_stored_once() {
    let temporary = || tempfile::tempdir().expect("a temporary folder");
    let (folder, cache) = (temporary(), temporary());
    let half = |names: std::ops::Range<u64>| {
        for name in names {
            let file = folder.path().join(format!("{name:02}"));
            fs::write(file, noise(5000, name)).expect("a file");
        }
    };
    // Of the files that share a chunk some are trusted and some are not.
    half(0..20);
    std::thread::sleep(Duration::from_millis(40));
    let between = SystemClock.now_ns() - 20_000_000;
    half(20..40);
    let store = memory();
    let at = |ns: i64| Env {
        clock: Arc::new(Around(AtomicI64::new(ns))),
        ..env()
    };
    let run_at = |ns: i64| {
        let key = key().writer("web").expect("a good label");
        let writer = Repository::open(store.clone(), at(ns), Access::Writer(key));
        let options = remembering(cache.path());
        run(&writer.expect("the key fits"), folder.path(), &options)
    };
    let first = run_at(between + 2_000_000_000);
    assert!(first.clear.stored_bytes > 0);
    for seconds in 3..5 {
        let again = run_at(between + seconds * 1_000_000_000);
        assert_eq!((again.clear.stored_bytes, again.clear.new_bytes), (0, 0));
        assert_eq!(again.clear.refs, first.clear.refs);
    }
    // One that did change is stored.
    fs::write(folder.path().join("30"), noise(5000, 99)).expect("a file");
    assert_eq!(run_at(between + 9_000_000_000).clear.new_bytes, 5000);
    assert_restores(&reader(store.clone()), folder.path());
}

#[test]
fn an_interrupted_backup_is_not_begun_again() {
    let (_folder, root) = plain_tree(24);
    let total = 24 * 900_000 + 24 * 23 / 2 + 100 * 5000;
    // What is read and not stored: a pack, and chunks in the pool.
    let slack = 5 << 20;
    for stops in [
        vec![12 << 20],
        vec![15 << 20, 1, 4 << 20],
        vec![1, 18 << 20, 2 << 20],
    ] {
        let cache = tempfile::tempdir().expect("a temporary folder");
        let store = memory();
        let options = remembering(cache.path());
        let mut read = 0;
        for stop in &stops {
            read += interrupted(&store, &root, &options, *stop);
        }
        assert_eq!(store.list(Folder::Snapshots).expect("a listing"), []);
        let last = run(&writer(store.clone()), &root, &options);
        assert!(last.stats.resumed_files > 8, "{:?}", last.stats);
        read += last.stats.read_bytes;
        let allowed = total + slack * stops.len() as u64;
        assert!(read < allowed, "{read} of {total}, {stops:?}");
        assert_eq!(verify_all(&reader(store.clone())), [""; 0]);
        assert_restores(&reader(store.clone()), &root);
        let again = run(&writer(store), &root, &options);
        assert_eq!((again.stats.read_bytes, again.stats.resumed_files), (0, 0));
    }
}

#[test]
fn a_small_file_does_not_keep_large_ones_from_being_remembered() {
    let (_folder, root) = plain_tree(44);
    fs::write(root.join("a"), b"small").expect("a file");
    let cache = tempfile::tempdir().expect("a temporary folder");
    let store = memory();
    let options = remembering(cache.path());
    interrupted(&store, &root, &options, 38 << 20);
    let last = run(&writer(store), &root, &options);
    assert!(last.stats.resumed_files > 30, "{:?}", last.stats);
}

#[test]
fn a_large_file_is_read_on_from_where_it_was_left() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = folder.path().join("tree");
    fs::create_dir(&root).expect("a folder");
    fs::write(root.join("before"), b"small").expect("a file");
    let file = fs::File::create(root.join("large")).expect("a file");
    file.set_len(300 << 20).expect("a length");
    for part in 0..10 {
        let at = (part * 25) << 20;
        file.write_all_at(&noise(15 << 20, part), at)
            .expect("data between holes");
    }
    let cache = tempfile::tempdir().expect("a temporary folder");
    let store = memory();
    let options = BackupOptions {
        pack_size: PackSize::Fixed(4 << 20),
        ..remembering(cache.path())
    };
    interrupted(&store, &root, &options, 60 << 20);
    interrupted(&store, &root, &options, 50 << 20);
    let last = run(&writer(store.clone()), &root, &options);
    assert!(last.stats.resumed_bytes > 64 << 20, "{:?}", last.stats);
    assert_eq!(
        last.stats.read_bytes + last.stats.resumed_bytes,
        (150 << 20) + 5
    );
    assert_restores(&reader(store.clone()), &root);
    let entries = listing_with_spans(&store);
    // Read from its beginning it is cut the same way.
    let fresh = memory();
    run(&writer(fresh.clone()), &root, &options);
    assert_eq!(listing_with_spans(&fresh), entries);
}

#[test]
fn a_checkpoint_puts_a_pack_that_is_not_full() {
    let (_folder, root) = plain_tree(12);
    for (every, found) in [(Duration::ZERO, true), (Duration::from_hours(1), false)] {
        let cache = tempfile::tempdir().expect("a temporary folder");
        let store = memory();
        let options = BackupOptions {
            pack_size: PackSize::Fixed(40 << 20),
            checkpoint_every: every,
            ..remembering(cache.path())
        };
        interrupted(&store, &root, &options, 9 << 20);
        for folder in [Folder::Packs, Folder::Index] {
            let files = store.list(folder).expect("a listing");
            assert_eq!(!files.is_empty(), found, "{folder:?}");
        }
        let last = run(&writer(store), &root, &options);
        assert_eq!(last.stats.resumed_files > 0, found, "{:?}", last.stats);
    }
}

#[test]
fn a_file_whose_chunks_are_gone_is_read_again_whatever_the_cache_says() {
    let (_folder, root) = plain_tree(3);
    let cache = tempfile::tempdir().expect("a temporary folder");
    let store = memory();
    let options = remembering(cache.path());
    run(&writer(store.clone()), &root, &options);
    let packs = store.list(Folder::Packs).expect("a listing");
    assert!(packs.len() > 2, "{}", packs.len());
    store.remove(&packs[1].name).expect("a pack");
    let second = run(&writer(store.clone()), &root, &options);
    assert!(second.stats.read_bytes > 0 && second.stats.unchanged_files > 0);
    assert_restores(&reader(store), &root);
}

#[test]
fn a_cache_that_cannot_be_kept_costs_a_warning() {
    let (_folder, root) = plain_tree(2);
    let full = BackupOptions {
        cache: Some(CacheOptions {
            bytes_max: 100,
            ..CacheOptions::new(root.with_file_name("cache"))
        }),
        ..options()
    };
    for (options, says) in [
        (remembering(Path::new("/dev/null/cache")), "Not a directory"),
        (full, "limit"),
    ] {
        let store = memory();
        let report = run(&writer(store.clone()), &root, &options);
        assert!(report.clear.complete);
        assert_eq!(report.warnings.len(), 1);
        assert!(report.warnings[0].contains(says), "{:?}", report.warnings);
        assert_restores(&reader(store), &root);
    }
}

#[test]
fn the_cache_itself_is_left_out_and_that_is_no_loss() {
    let (_folder, root) = plain_tree(2);
    let store = memory();
    let options = remembering(&root.join("d00/cache"));
    let report = run(&writer(store.clone()), &root, &options);
    assert!(report.clear.complete);
    let notes: Vec<_> = report
        .notes
        .kept()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(notes, ["d00/cache was left out: it is the cache of bkpctl"]);
    let again = run(&writer(store), &root, &options);
    assert_eq!(again.stats.read_bytes, 0);
}

#[test]
fn times_and_bytes_are_told() {
    let (_folder, root) = plain_tree(8);
    let report = run(&writer(memory()), &root, &options());
    assert_eq!(report.stats.read_bytes, report.clear.bytes);
    let times = report.stats.times;
    for time in [
        times.walk,
        times.read,
        times.seal,
        times.store,
        times.commit,
    ] {
        assert!(time > Duration::ZERO, "{times:?}");
    }
}

fn listing_with_spans(store: &Arc<Memory>) -> Vec<Entry> {
    let snapshot = open_latest(&reader(store.clone())).expect("a snapshot");
    let entries = snapshot.entries().expect("a tree");
    entries.map(|entry| entry.expect("an entry")).collect()
}

/// Returns what the newest snapshot holds, but for where the data lies.
fn listing(store: &Arc<Memory>) -> Vec<Entry> {
    let entries = listing_with_spans(store).into_iter();
    entries
        .map(|entry| Entry {
            spans: Vec::new(),
            ..entry
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn a_damaged_cache_makes_the_same_snapshot(
        interrupt in 1_u64..6_000_000,
        at in 0.0..1.0_f64,
        flip in 0..=255_u8,
    ) {
        let (_folder, root) = plain_tree(5);
        let cache = tempfile::tempdir().expect("a temporary folder");
        let store = memory();
        let options = remembering(cache.path());
        run(&writer(store.clone()), &root, &options);
        fs::write(root.join("d02/large"), noise(800_000, 77)).expect("a file");
        fs::write(root.join("d03/large"), noise(800_000, 78)).expect("a file");
        if interrupt < 1_600_000 {
            interrupted(&store, &root, &options, interrupt);
        }
        for file in fs::read_dir(cache.path()).expect("a folder") {
            let file = file.expect("an entry").path();
            let mut bytes = fs::read(&file).expect("a file");
            let at = (at * bytes.len() as f64) as usize;
            match flip {
                0 => bytes.truncate(at),
                _ => bytes[at] ^= flip,
            }
            fs::write(&file, bytes).expect("a file");
        }
        let report = run(&writer(store.clone()), &root, &options);
        prop_assert!(report.clear.complete);
        prop_assert_eq!(verify_all(&reader(store.clone())), Vec::<String>::new());
        assert_restores(&reader(store.clone()), &root);
        let with_cache = listing(&store);
        run(&writer(store.clone()), &root, &super::support::options());
        prop_assert_eq!(with_cache, listing(&store));
    }
}
