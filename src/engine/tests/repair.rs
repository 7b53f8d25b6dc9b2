//! Damage, repair, and what the next backup makes of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::support::*;
use crate::engine::crypto::ReadingKey;
use crate::engine::env::Cancel;
use crate::engine::index::{self, PackEntries};
use crate::engine::pack::PackView;
use crate::engine::store::{
    Fault, Faulty, Folder, Listed, Memory, SessionId, SessionKind, Store, StoreError, StoreName,
};
use crate::engine::{
    Access, EngineError, Level, RepairOptions, RepairReport, Repository, Silent, repair, verify,
};

fn keyless(store: Arc<dyn Store>) -> Repository {
    Repository::open(store, env(), Access::Keyless).expect("a repository")
}

fn mend(repository: &Repository) -> Result<RepairReport, EngineError> {
    let options = RepairOptions::default();
    repair(repository, options, &Silent, &Cancel::new())
}

fn files(store: &dyn Store, folder: Folder) -> Vec<Listed> {
    store.list(folder).expect("a listing")
}

fn packs(store: &dyn Store) -> Vec<Listed> {
    let mut packs = files(store, Folder::Packs);
    packs.extend(files(store, Folder::Meta));
    packs
}

fn largest(store: &dyn Store, folder: Folder) -> StoreName {
    let files = files(store, folder);
    let largest = files.into_iter().max_by_key(|file| file.size);
    largest.expect("a file").name
}

/// Returns the bytes of every file but sessions.
fn content(store: &dyn Store) -> BTreeMap<StoreName, Vec<u8>> {
    // What verifications remember is not of the repository's content.
    let folders = Folder::ALL
        .iter()
        .filter(|folder| **folder != Folder::Verify);
    folders
        .flat_map(|folder| files(store, *folder))
        .map(|file| (file.name.clone(), store.get(&file.name).expect("a file")))
        .collect()
}

type Damage = fn(&mut Vec<u8>);
type Change<'a> = (&'a str, Box<dyn Fn() + 'a>);

const DAMAGES: [(&str, Damage); 6] = [
    ("cut off", |bytes| bytes.truncate(bytes.len() / 2)),
    ("emptied", Vec::clear),
    ("lengthened", |bytes| bytes.extend_from_slice(b"more")),
    ("flipped in a blob", |bytes| {
        let at = bytes.len() * 2 / 3;
        bytes[at] ^= 1;
    }),
    ("flipped in its records", |bytes| bytes[40] ^= 1),
    ("without its beginning", |bytes| bytes[..200].fill(0)),
];

#[test]
fn after_damage_and_repair_the_next_backup_makes_everything_whole() {
    let (_folder, root) = tree();
    for (what, damage) in DAMAGES {
        for folder in [Folder::Packs, Folder::Meta] {
            let store = memory();
            back_up(&writer(store.clone()), &root).expect("a backup");
            let name = largest(&*store, folder);
            let before = store.get(&name).expect("a pack");
            store.damage(&name, damage);
            let report = mend(&keyless(store.clone())).expect("a repair");
            assert_eq!(report.damaged.len(), 1, "{what}");
            assert_eq!(report.damaged[0].name, name.as_str());
            assert!(store.get(&name).is_err(), "{what}: it is still there");
            let aside = store.get(&name.aside(0)).expect("it was set aside");
            assert_ne!(aside, before);
            let again = mend(&keyless(store.clone())).expect("a second repair");
            assert!(again.damaged.is_empty() && again.segments.is_empty());
            assert_eq!(again.lacking, report.lacking, "{what}");
            back_up(&writer(store.clone()), &root).expect("a backup");
            assert_restores(&reader(store.clone()), &root);
            assert_eq!(verify_all(&reader(store.clone())), [""; 0], "{what}");
            let clean = mend(&keyless(store)).expect("a third repair");
            assert!(clean.is_clean(), "{clean:?}");
        }
    }
}

#[test]
fn only_the_blob_that_was_hit_is_lost_and_its_files_are_named() {
    let (_folder, root) = tree();
    let store = memory();
    back_up(&writer(store.clone()), &root).expect("a backup");
    let name = largest(&*store, Folder::Packs);
    let blobs = {
        let bytes = store.get(&name).expect("a pack");
        PackView::parse(&bytes).expect("a pack").blobs.len() as u64
    };
    store.damage(&name, |bytes| {
        let at = bytes.len() - 9;
        bytes[at] ^= 1;
    });
    let report = mend(&reader(store.clone())).expect("a repair");
    let damaged = &report.damaged[0];
    assert_eq!((damaged.good, damaged.salvaged), (blobs - 1, blobs - 1));
    let [lacking] = &*report.lacking else {
        panic!("{:?}", report.lacking);
    };
    assert_eq!((lacking.blobs, lacking.references), (1, false));
    assert!(lacking.paths_total > 0, "{lacking:?}");
    let target = tempfile::tempdir().expect("a temporary folder");
    let restored = restore_latest(&reader(store), &target.path().join("t")).expect("a restore");
    let mut failed: Vec<_> = restored
        .failed
        .iter()
        .map(|(path, _)| path.to_string())
        .collect();
    failed.sort();
    let mut named = lacking.paths.clone();
    named.sort();
    assert_eq!(failed, named);
}

#[test]
fn a_damaged_beginning_loses_nothing_while_another_file_has_the_records() {
    let (_folder, root) = tree();
    for folder in [Folder::Packs, Folder::Meta] {
        let store = memory();
        back_up(&writer(store.clone()), &root).expect("a backup");
        for file in files(&*store, folder) {
            store.damage(&file.name, |bytes| bytes[45] ^= 1);
        }
        let report = mend(&keyless(store.clone())).expect("a repair");
        assert!(report.is_whole(), "{:?}", report.lacking);
        assert!(report.damaged.iter().all(|pack| pack.good == pack.salvaged));
        assert_eq!(verify_all(&reader(store.clone())), [""; 0]);
        assert_restores(&reader(store), &root);
    }
}

#[test]
fn records_that_are_left_in_manifests_alone_are_found_there() {
    let (_folder, root) = tree();
    let store = memory();
    back_up(&writer(store.clone()), &root).expect("a backup");
    for file in packs(&*store) {
        store.damage(&file.name, |bytes| bytes[45] ^= 1);
    }
    let report = mend(&keyless(store.clone())).expect("a repair");
    assert!(report.is_whole(), "{:?}", report.lacking);
    assert_restores(&reader(store), &root);
}

#[test]
fn the_index_says_after_a_repair_what_is_in_the_packs() {
    let (_folder, root) = tree();
    let store = memory();
    back_up(&writer(store.clone()), &root).expect("a backup");
    let truth = content(&*store);
    let segment = files(&*store, Folder::Index).remove(0).name;
    let honest = index::decode(&store.get(&segment).expect("a segment")).expect("a segment");
    let put = |packs: &[PackEntries]| {
        index::put_segments(&*store, packs).expect("a put");
    };
    let changes: [Change<'_>; 5] = [
        (
            "it is gone",
            Box::new(|| store.remove(&segment).expect("a removal")),
        ),
        (
            "it is damaged",
            Box::new(|| store.damage(&segment, |bytes| bytes[99] ^= 1)),
        ),
        (
            "another one lies about an offset",
            Box::new(|| {
                let mut lying = honest.clone();
                lying[0].places[0].offset += 1;
                put(&lying);
            }),
        ),
        (
            "another one leaves blobs out",
            Box::new(|| {
                let mut lying = honest.clone();
                lying[0].places.clear();
                store.remove(&segment).expect("a removal");
                put(&lying);
            }),
        ),
        (
            "another one names a pack that never was",
            Box::new(|| {
                let mut lying = honest[..1].to_vec();
                lying[0].hash = [7; 32];
                put(&lying);
            }),
        ),
    ];
    for (what, change) in changes {
        change();
        let report = mend(&keyless(store.clone())).expect("a repair");
        assert!(report.indexed > 0 || !report.segments.is_empty(), "{what}");
        assert!(report.is_whole(), "{what}");
        let level = Level::Packs;
        let found = verify(&keyless(store.clone()), level, &Silent, &Cancel::new());
        assert!(found.expect("a verification").is_clean(), "{what}");
        assert!(content(&*store) == truth, "{what}");
    }
}

#[test]
fn a_pack_that_is_gone_is_named_and_its_blobs_are_stored_anew() {
    let (_folder, root) = tree();
    let store = memory();
    back_up(&writer(store.clone()), &root).expect("a backup");
    let name = largest(&*store, Folder::Packs);
    store.remove(&name).expect("a removal");
    let report = mend(&keyless(store.clone())).expect("a repair");
    assert_eq!(report.missing, [name.as_str()]);
    assert_eq!(report.lacking.len(), 1);
    back_up(&writer(store.clone()), &root).expect("a backup");
    assert_eq!(verify_all(&reader(store.clone())), [""; 0]);
    assert_restores(&reader(store), &root);
}

#[test]
fn manifests_that_make_no_sense_are_set_aside_and_named() {
    let (_folder, root) = tree();
    let changes: [(usize, bool); 3] = [(1, false), (700, true), (usize::MAX, false)];
    for (at, only_with_key) in changes {
        let store = memory();
        back_up(&writer(store.clone()), &root).expect("a backup");
        back_up(&writer(store.clone()), &root).expect("a backup");
        let name = files(&*store, Folder::Snapshots).remove(0).name;
        let line = store.get(&name).expect("a manifest");
        let line = line.iter().position(|byte| *byte == b'\n').expect("a line");
        // The second line is a code that only the reading key can check.
        let at = if only_with_key { line + 5 } else { at };
        store.damage(&name, |bytes| {
            let at = at.min(bytes.len() - 1);
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
        });
        let report = mend(&keyless(store.clone())).expect("a repair");
        if only_with_key {
            assert!(report.manifests.is_empty(), "{:?}", report.manifests);
            assert_eq!(report.unreadable.len(), 1, "its receipt tells");
        }
        let with_key = mend(&reader(store.clone())).expect("a repair");
        let reports = [report.manifests, with_key.manifests].concat();
        assert_eq!(reports.len(), 1, "{reports:?}");
        assert_eq!(reports[0].0, name.as_str());
        assert!(store.get(&name.aside(0)).is_ok());
        assert_eq!(files(&*store, Folder::Snapshots).len(), 1);
        assert_restores(&reader(store), &root);
    }
}

#[test]
fn a_dry_run_tells_the_same_and_changes_nothing() {
    let (_folder, root) = tree();
    let store = memory();
    back_up(&writer(store.clone()), &root).expect("a backup");
    store.damage(&largest(&*store, Folder::Packs), |bytes| {
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
    });
    store.damage(&largest(&*store, Folder::Meta), |bytes| bytes[40] ^= 1);
    store.damage(&largest(&*store, Folder::Index), |bytes| bytes[40] ^= 1);
    let before = content(&*store);
    let options = RepairOptions { dry_run: true };
    let dry = repair(&keyless(store.clone()), options, &Silent, &Cancel::new());
    let dry = dry.expect("a dry run");
    assert_eq!(content(&*store), before);
    let real = mend(&keyless(store)).expect("a repair");
    assert_eq!(format!("{dry:?}"), format!("{real:?}"));
    assert!(!real.is_clean() && !real.lacking.is_empty());
}

#[test]
fn a_repair_waits_for_no_writer_and_keeps_collectors_out() {
    let store = memory();
    let writing = SessionId::new([1; 16]);
    let opened = store.open_session(&writing, SessionKind::Write);
    opened.expect("a session");
    let refused = mend(&keyless(store.clone()));
    assert!(matches!(refused, Err(EngineError::Busy { writers: 1 })));
    store.close_session(&writing).expect("a session ends");
    let collecting = SessionId::new([2; 16]);
    let opened = store.open_session(&collecting, SessionKind::Collect);
    opened.expect("a session");
    let refused = mend(&keyless(store.clone()));
    let collecting_error = EngineError::Store(StoreError::Collecting).to_string();
    assert_eq!(
        refused.map_err(|e| e.to_string()).err(),
        Some(collecting_error)
    );
    store.close_session(&collecting).expect("a session ends");
    assert!(mend(&keyless(store.clone())).expect("a repair").is_clean());
    assert_eq!(store.list_sessions(), Ok(Vec::new()));
}

#[test]
fn a_file_that_cannot_be_read_is_left_where_it_is() {
    let (_folder, root) = tree();
    let store = Arc::new(Faulty::new(memory()));
    back_up(&writer(store.clone()), &root).expect("a backup");
    let before = content(&*store);
    for after in 0..6 {
        let repository = keyless(store.clone());
        store.arm(Some(io_error("get", after, false)));
        let repaired = mend(&repository);
        store.arm(None);
        // What is read a second time must be readable; the rest is noted.
        if let Ok(report) = repaired {
            assert!(report.damaged.is_empty() && report.manifests.is_empty());
        }
        let now = content(&*store);
        assert!(
            before
                .keys()
                .all(|name| name.folder() == Folder::Index || now.contains_key(name))
        );
        assert_eq!(verify_all(&reader(store.clone())), [""; 0], "{after}");
    }
}

fn io_error(call: &'static str, after: u64, for_good: bool) -> Fault {
    Fault {
        call,
        after,
        for_good,
        takes_effect: false,
        error: StoreError::Io {
            name: "packs".to_owned(),
            message: "Input/output error".to_owned(),
            code: Some(5),
        },
    }
}

/// Makes a small repository of several packs and snapshots in memory.
fn small(folder: &Path) -> (Arc<Memory>, std::path::PathBuf) {
    let root = folder.join("tree");
    std::fs::create_dir(&root).expect("a folder");
    let store = memory();
    for number in 0..4 {
        let bytes = noise(600_000, number);
        std::fs::write(root.join(number.to_string()), bytes).expect("a file");
        back_up(&writer(store.clone()), &root).expect("a backup");
    }
    (store, root)
}

/// Copies a store's files into a new one.
fn copy(store: &Memory) -> Arc<Memory> {
    let new = Arc::new(Memory::new(env().clock));
    let session = SessionId::new([9; 16]);
    let opened = new.open_session(&session, SessionKind::Write);
    opened.expect("a session");
    for (name, bytes) in content(store) {
        match name.folder() {
            Folder::Snapshots => new.commit(&session, &name, &bytes).map(|_| ()),
            Folder::Receipts => Ok(()),
            _ => new.put(&name, &bytes).map(|_| ()),
        }
        .expect("an intact file");
    }
    new.close_session(&session).expect("a session ends");
    new
}

#[test]
fn a_repair_that_fails_at_any_call_is_finished_by_the_next() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (whole, root) = small(folder.path());
    let damaged = || {
        let store = copy(&whole);
        store.damage(&largest(&*store, Folder::Packs), |bytes| {
            let at = bytes.len() / 2;
            bytes[at] ^= 1;
        });
        store.damage(&largest(&*store, Folder::Meta), |bytes| bytes[40] ^= 1);
        store.damage(&largest(&*store, Folder::Index), |bytes| bytes[40] ^= 1);
        store
    };
    let expected = mend(&keyless(damaged())).expect("a repair").lacking;
    assert!(!expected.is_empty());
    let mut points = 0;
    for (call, takes_effect) in [
        ("put", false),
        ("put", true),
        ("set_aside", false),
        ("set_aside", true),
        ("remove", false),
        ("remove", true),
        ("list", false),
        ("settle", false),
    ] {
        for after in 0.. {
            let store = Arc::new(Faulty::new(damaged()));
            let repository = keyless(store.clone());
            store.arm(Some(Fault {
                takes_effect,
                ..io_error(call, after, true)
            }));
            let failed = mend(&repository);
            if store.failures() == 0 {
                break;
            }
            points += 1;
            assert!(failed.is_err(), "{call} {after}");
            store.arm(None);
            let report = mend(&keyless(store.clone())).expect("the next repair");
            assert_eq!(report.lacking, expected, "{call} {after}");
            back_up(&writer(store.clone()), &root).expect("a backup");
            assert_eq!(
                verify_all(&reader(store.clone())),
                [""; 0],
                "{call} {after}"
            );
        }
    }
    assert!(points > 12, "{points}");
}

/// A store in memory during whose calls something else happens once.
struct Interrupted {
    store: Arc<Memory>,
    calls: AtomicU64,
}

#[test]
fn a_backup_that_begins_while_a_repair_runs_does_no_harm() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (whole, root) = small(folder.path());
    for after in [0, 3, 9, 14, 20, 26] {
        let store = copy(&whole);
        store.damage(&largest(&*store, Folder::Packs), |bytes| {
            let at = bytes.len() / 2;
            bytes[at] ^= 1;
        });
        let interrupted = Interrupted {
            store: store.clone(),
            calls: AtomicU64::new(0),
        };
        let observer = Meanwhile(&interrupted, after, &root);
        let repository = keyless(store.clone());
        repair(
            &repository,
            RepairOptions::default(),
            &observer,
            &Cancel::new(),
        )
        .expect("a repair");
        mend(&keyless(store.clone())).expect("a repair");
        back_up(&writer(store.clone()), &root).expect("a backup");
        assert_eq!(verify_all(&reader(store.clone())), [""; 0], "{after}");
        assert_restores(&reader(store), &root);
    }
}

/// Backs up in the middle of the work that it watches.
struct Meanwhile<'a>(&'a Interrupted, u64, &'a Path);

impl crate::engine::Observer for Meanwhile<'_> {
    fn event(&self, _: crate::engine::Event<'_>) {
        let Self(interrupted, after, root) = self;
        if interrupted.calls.fetch_add(1, Ordering::Relaxed) == *after {
            back_up(&writer(interrupted.store.clone()), root).expect("a backup");
        }
    }
}

/// Is one piece of damage: which file, how, and where.
type Hit = (prop::sample::Index, u8, prop::sample::Index);

fn hit(store: &Memory, (file, how, at): &Hit) {
    let mut files = packs(store);
    files.extend(self::files(store, Folder::Index));
    let name = &files[file.index(files.len())].name;
    store.damage(name, |bytes| {
        if bytes.is_empty() {
            return;
        }
        let at = at.index(bytes.len());
        match how % 4 {
            0 => bytes.truncate(at),
            1 => bytes[at..].fill(0),
            _ => bytes[at] ^= 1 << (how % 8),
        }
    });
}

/// Returns the blobs of the whole repository that are unchanged in the damaged one.
fn unharmed(whole: &Memory, damaged: &Memory) -> Vec<[u8; 32]> {
    let mut ids = Vec::new();
    for file in packs(whole) {
        let bytes = whole.get(&file.name).expect("a pack");
        let now = damaged.get(&file.name).expect("it is not gone");
        for (header, offset, payload) in PackView::parse(&bytes).expect("a pack").blobs {
            let range = offset..offset + 104 + payload.len();
            if now.get(range.clone()) == Some(&bytes[range]) {
                ids.push(header.id);
            }
        }
    }
    ids
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn no_blob_that_checks_is_dropped_by_repairs_that_are_interrupted(
        hits in proptest::collection::vec(any::<Hit>(), 1..8),
        stops in proptest::collection::vec(0_u64..40, 0..4),
    ) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (whole, root) = small(folder.path());
        let damaged = copy(&whole);
        for one in &hits {
            hit(&damaged, one);
        }
        let unharmed = unharmed(&whole, &damaged);
        let store = Arc::new(Faulty::new(damaged));
        for after in stops {
            let repository = keyless(store.clone());
            store.arm(Some(io_error("any", after, true)));
            drop(mend(&repository));
            store.arm(None);
            // The lock of a process that was killed is free.
            for open in store.list_sessions().expect("the sessions") {
                store.expire_session(&open.id).expect("it ended");
            }
        }
        let report = mend(&keyless(store.clone())).expect("a repair");
        let index = index::load(&*store).expect("an index").index;
        for id in &unharmed {
            prop_assert!(index.position(id).is_some(), "{report:?}");
        }
        let key: ReadingKey = key();
        let session = |name: &StoreName| {
            let bytes = store.get(name).expect("a pack");
            let view = PackView::parse(&bytes).expect("a pack");
            view.sessions.iter().all(|session| session.open(&key).is_ok())
        };
        prop_assert!(packs(&*store).iter().all(|file| session(&file.name)));
        let new = back_up(&writer(store.clone()), &root).expect("a backup");
        assert_restores(&reader(store.clone()), &root);
        // What older snapshots alone had is lost for good; nothing else is wrong.
        for finding in verify_all(&reader(store.clone())) {
            let is_old = finding.starts_with("snapshots/") && !finding.contains(new.name.as_str());
            prop_assert!(is_old, "{finding}");
        }
    }
}
