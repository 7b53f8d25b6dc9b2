//! A cache gives back what was put into it, as far as it is intact, and nothing else.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::record::HEADER_BYTES;
use super::{CacheError, CacheReader, Place, Scope};
use crate::engine::crypto::ReadingKey;
use crate::engine::env::fixed;
use crate::engine::files::{Entry, Kind, Meta, RelPath, Span, Xattr};

fn scope(source: &str) -> Scope {
    Scope {
        writer: ReadingKey::from_seed(&[3; 32])
            .writer("web")
            .expect("a good label"),
        repository: "00".repeat(16),
        source: source.to_owned(),
        machine: "machine-a".to_owned(),
    }
}

fn place(folder: &Path) -> Place {
    Place::open(folder, scope("web")).expect("a folder")
}

fn entries(count: usize) -> Vec<Entry> {
    (0..count)
        .map(|n| {
            let path = RelPath::new(format!("folder/secret-{n:06}")).expect("a path");
            let mut entry = Entry::new(path, Kind::dense_file(9), Meta::default());
            entry.meta.inode = n as u64;
            entry.meta.xattrs = vec![Xattr {
                name: b"user.x".to_vec(),
                value: vec![n as u8; n % 50],
            }];
            entry.spans = vec![Span {
                chunk: *blake3::hash(&(n / 20).to_le_bytes()).as_bytes(),
                offset: (n % 20) as u32 * 9,
                len: 9,
            }];
            entry
        })
        .collect()
}

/// Writes entries and returns the file that holds them.
fn write(folder: &Path, entries: &[Entry], is_complete: bool) -> PathBuf {
    let mut writer = place(folder)
        .create(&fixed::env(1), 77, [5; 16], 1 << 30)
        .expect("a new cache");
    for entry in entries {
        writer.push(entry, None);
    }
    if is_complete {
        writer.finish().expect("it is written");
    }
    let ends = |name: &str| (name.len() == 32) == is_complete && !name.starts_with("CACHE");
    let mut files = fs::read_dir(folder).expect("a folder");
    files
        .find_map(|file| {
            let file = file.expect("an entry");
            let name = file.file_name().into_string().expect("ASCII");
            ends(&name).then(|| file.path())
        })
        .expect("a file")
}

fn read(cache: Option<CacheReader>) -> Vec<Entry> {
    cache.map_or_else(Vec::new, |cache| cache.map(|(entry, _)| entry).collect())
}

#[test]
fn a_hash_comes_back_with_its_entry_and_only_if_that_is_too_young() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let started = 10_000_000_000;
    let mut all = entries(5000);
    for (n, entry) in all.iter_mut().enumerate() {
        entry.meta.ctime.seconds = if n % 5 == 0 { 9 } else { 7 };
    }
    let mut writer = place(folder.path())
        .create(&fixed::env(1), started, [5; 16], 1 << 30)
        .expect("a new cache");
    let hash = |entry: &Entry| *blake3::hash(entry.path.as_bytes()).as_bytes();
    for (n, entry) in all.iter().enumerate() {
        writer.push(entry, (n % 3 == 0).then(|| hash(entry)).as_ref());
    }
    writer.finish().expect("it is written");
    let cache = place(folder.path()).complete().expect("it is there");
    let wanted = all.into_iter().enumerate().map(|(n, entry)| {
        let hash = (n % 15 == 0).then(|| hash(&entry));
        (entry, hash)
    });
    assert!(cache.eq(wanted));
}

#[test]
fn what_was_put_comes_back() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let all = entries(20_000);
    let file = write(folder.path(), &all, true);
    let cache = place(folder.path()).complete().expect("a cache");
    assert_eq!(cache.started(), 77);
    assert!(cache.map(|(entry, _)| entry).eq(all.iter().cloned()));
    assert!(place(folder.path()).interrupted().is_none());
    let bytes = fs::read(file).expect("a file");
    assert!(bytes.len() > 100_000, "{}", bytes.len());
    let shows = |text: &[u8]| bytes.windows(text.len()).any(|part| part == text);
    assert!(!shows(b"secret") && !shows(b"folder") && !shows(b"user.x"));
}

#[test]
fn the_interrupted_backup_that_came_further_is_kept() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let all = entries(9000);
    write(folder.path(), &all[..100], true);
    write(folder.path(), &all[..6000], false);
    write(folder.path(), &all[..3000], false);
    let place = place(folder.path());
    let running = place.create(&fixed::env(2), 78, [6; 16], 1 << 30);
    let running = running.expect("a new cache");
    assert_eq!(read(place.interrupted()), all[..6000]);
    assert_eq!(read(place.complete()), all[..100]);
    running.finish().expect("it is written");
    assert!(place.interrupted().is_none());
    assert_eq!(read(place.complete()), []);
}

#[test]
fn what_is_known_of_an_unfinished_file_comes_back_in_its_place() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let all = entries(300);
    let place = place(folder.path());
    let create = |env| place.create(&fixed::env(env), 77, [5; 16], 1 << 30);
    let mut writer = create(1).expect("a new cache");
    for entry in &all[..100] {
        writer.push(entry, None);
    }
    let spans: Vec<Span> = all[..50]
        .iter()
        .flat_map(|entry| entry.spans.clone())
        .collect();
    writer.push_part(&all[100], &[]);
    writer.push_part(&all[100], &spans[..20]);
    writer.push_part(&all[100], &spans[20..50]);
    drop(writer);
    drop(create(2));
    let mut cache = place.interrupted().expect("a cache");
    assert_eq!(cache.by_ref().count(), 100);
    assert!(cache.take_part(&all[99].path).is_none());
    let part = cache.take_part(&all[100].path).expect("a part");
    assert_eq!(part.spans, spans);
    assert_eq!(
        (part.kind, part.meta),
        (all[100].kind.clone(), all[100].meta.clone())
    );
    assert!(cache.take_part(&all[100].path).is_none());
}

#[test]
fn two_backups_at_once_do_not_share_a_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let place = place(folder.path());
    let create = || place.create(&fixed::env(2), 78, [6; 16], 1 << 30);
    let first = create().expect("a new cache");
    assert!(matches!(create(), Err(CacheError::Busy)));
    drop(first);
    assert!(create().is_ok());
}

#[test]
fn a_full_cache_keeps_what_came_first() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let all = entries(20_000);
    let place = place(folder.path());
    let mut writer = place
        .create(&fixed::env(1), 77, [5; 16], 150_000)
        .expect("a new cache");
    for entry in &all {
        writer.push(entry, None);
    }
    let full = writer.finish().expect_err("it is full");
    assert!(matches!(full, CacheError::Full(150_000)), "{full}");
    let kept = read(place.complete());
    assert!(
        kept.len() > 1000 && kept.len() < all.len(),
        "{}",
        kept.len()
    );
    assert_eq!(kept, all[..kept.len()]);
}

#[test]
fn caches_that_nobody_uses_are_removed_and_strangers_are_not() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let old = std::time::UNIX_EPOCH;
    let names = [
        "00".repeat(16),
        format!("{}.part", "11".repeat(16)),
        "notes.txt".to_owned(),
    ];
    for name in &names {
        let file = fs::File::create(folder.path().join(name)).expect("a file");
        file.set_modified(old).expect("a time");
    }
    let other = write(folder.path(), &entries(3), false);
    drop(place(folder.path()).create(&fixed::env(1), 77, [5; 16], 1 << 30));
    let there = names.map(|name| folder.path().join(name).exists());
    assert_eq!(there, [false, false, true]);
    assert!(other.exists());
}

#[test]
fn a_file_of_another_scope_or_key_gives_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = write(folder.path(), &entries(100), true);
    let mut stranger = scope("web");
    stranger.writer = ReadingKey::from_seed(&[4; 32])
        .writer("web")
        .expect("a label");
    let mut elsewhere = scope("web");
    elsewhere.repository = "11".repeat(16);
    for other in [scope("db"), stranger, elsewhere] {
        let opened = fs::File::open(&file).expect("a file");
        assert!(CacheReader::open(opened, &other).is_err());
        // Nor is it found under its name.
        let place = Place::open(folder.path(), other).expect("a folder");
        assert!(place.complete().is_none());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn damage_anywhere_leaves_what_came_before_it(at in 0.0..1.0_f64, flip in 1..=255_u8, cut: bool) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let all = entries(8000);
        let file = write(folder.path(), &all, true);
        let mut bytes = fs::read(&file).expect("a file");
        let at = (at * bytes.len() as f64) as usize;
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] ^= flip;
        }
        fs::write(&file, &bytes).expect("a file");
        let found = read(place(folder.path()).complete());
        prop_assert!(found.len() < all.len());
        prop_assert_eq!(&found[..], &all[..found.len()]);
    }

    #[test]
    fn arbitrary_bytes_give_nothing(mut bytes: Vec<u8>, keeps_header: bool) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = write(folder.path(), &entries(1), true);
        if keeps_header {
            let header = fs::read(&file).expect("a file")[..HEADER_BYTES].to_vec();
            bytes.splice(..0, header);
        }
        fs::write(&file, &bytes).expect("a file");
        prop_assert_eq!(read(place(folder.path()).complete()), []);
    }
}
