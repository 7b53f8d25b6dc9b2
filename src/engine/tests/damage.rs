//! Damage at every place of a repository: it is found, and never restored as if it were right.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::support::*;
use crate::engine::crypto::{ArgonCost, PassphraseSlot};
use crate::engine::env::Cancel;
use crate::engine::files::{Kind, ScanOptions};
use crate::engine::store::{Folder, Memory, Store, StoreName};
use crate::engine::{
    Access, BackupOptions, CreateOptions, EngineError, Level, OpenSnapshot, PackSize,
    RepairOptions, Repository, Silent, backup, repair, verify,
};

/// Every byte this near to an end of a file is damaged, and each so many-th between.
const NEAR_BYTES: usize = 512;
const STRIDE_BYTES: usize = 997;

/// What a snapshot holds: every path with what it is and what is in it.
type Content = BTreeMap<String, (String, Vec<u8>)>;

/// A repository, what is in each of its files, and what must come back of it.
struct Fixture {
    _folder: tempfile::TempDir,
    root: std::path::PathBuf,
    files: BTreeMap<StoreName, Vec<u8>>,
    /// The content of each snapshot, by its manifest's name.
    contents: BTreeMap<StoreName, Content>,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().join("tree");
        fs::create_dir_all(root.join("deep/er")).expect("a folder");
        for n in 0..8_u64 {
            fs::write(root.join(format!("file-{n}")), noise(900, n)).expect("a file");
        }
        fs::write(root.join("deep/er/text"), "to and fro ".repeat(300)).expect("a file");
        fs::hard_link(root.join("file-1"), root.join("deep/name")).expect("a link");
        std::os::unix::fs::symlink("../file-1", root.join("deep/link")).expect("a link");
        let store = Arc::new(Memory::new(env().clock));
        let slot = PassphraseSlot::wrap(&env(), &key(), b"word", ArgonCost::LEAST);
        let mut options = CreateOptions::for_key("here", &key());
        options.slots.push(slot.expect("a slot"));
        Repository::create(&*store, &env(), &options).expect("a repository");
        back_up_small(&store, &root).expect("a backup");
        fs::write(root.join("file-3"), noise(1200, 99)).expect("a file");
        fs::write(root.join("new"), noise(700, 98)).expect("a file");
        back_up_small(&store, &root).expect("a backup");
        let mut fixture = Self {
            _folder: folder,
            root,
            files: contents_of(&*store),
            contents: BTreeMap::new(),
        };
        let listed = reader(store.clone()).snapshots(None).expect("a listing");
        for snapshot in listed.found {
            let content = read(&store, &snapshot.name).expect("it is whole");
            fixture.contents.insert(snapshot.name, content);
        }
        assert_eq!(fixture.contents.len(), 2);
        fixture
    }

    /// Returns the repository as it was, in a store of its own.
    fn store(&self) -> Arc<Memory> {
        let store = Memory::new(env().clock);
        for (name, bytes) in &self.files {
            store.plant(name, bytes);
        }
        Arc::new(store)
    }

    /// Returns the repository with other bytes in one file, or without it.
    fn with(&self, name: &StoreName, bytes: Option<&[u8]>) -> Arc<Memory> {
        let store = self.store();
        match bytes {
            Some(bytes) => store.plant(name, bytes),
            None => store.remove(name).expect("a removal"),
        }
        store
    }

    /// Checks that damage is found, and that whatever is still read is what was backed up.
    fn assert_found(&self, store: &Arc<Memory>, what: &str) {
        let found = findings(store);
        assert!(!found.is_empty(), "{what}: a verification calls it clean");
        self.assert_never_wrong(store, what);
    }

    /// Checks that a backup of the unchanged tree makes a snapshot that is whole.
    fn assert_heals(&self, store: &Arc<Memory>, what: &str) {
        back_up_small(store, &self.root).expect("a backup");
        let known = self.contents.keys().last().expect("two snapshots");
        let listed = store.list(Folder::Snapshots).expect("a listing");
        let new = &listed.last().expect("three snapshots").name;
        let content = read(store, new).expect("it is whole");
        assert!(content == self.contents[known], "{what}: it is not healed");
    }

    fn assert_never_wrong(&self, store: &Arc<Memory>, what: &str) {
        for (name, content) in &self.contents {
            if let Ok(read) = read(store, name) {
                assert!(read == *content, "{what}: {name} is read wrongly");
            }
        }
    }
}

fn back_up_small(store: &Arc<Memory>, root: &Path) -> Result<(), EngineError> {
    let options = BackupOptions {
        pack_size: PackSize::Fixed(3000),
        threads: 1,
        ..BackupOptions::new("web", "web", "machine-a")
    };
    let scan = ScanOptions::default();
    let paths = [root.to_owned()];
    let cancel = Cancel::new();
    backup(
        &reader(store.clone()),
        &paths,
        scan,
        &options,
        &Silent,
        &cancel,
    )
    .map(|_| ())
}

fn contents_of(store: &dyn Store) -> BTreeMap<StoreName, Vec<u8>> {
    let files = Folder::ALL
        .iter()
        .flat_map(|folder| store.list(*folder).expect("a listing"));
    files
        .map(|file| {
            let bytes = store.get(&file.name).expect("a file");
            (file.name, bytes)
        })
        .collect()
}

/// Verifies everything; that the repository cannot even be opened is a finding too.
fn findings(store: &Arc<Memory>) -> Vec<String> {
    let report = Repository::open(store.clone(), env(), Access::Reader(key()))
        .and_then(|repository| verify(&repository, Level::Full, &Silent, &Cancel::new()));
    match report {
        Ok(report) => report.findings.iter().map(ToString::to_string).collect(),
        Err(error) => vec![error.to_string()],
    }
}

/// Reads a whole snapshot; an error anywhere is an error.
fn read(store: &Arc<Memory>, name: &StoreName) -> Result<Content, EngineError> {
    let repository = Repository::open(store.clone(), env(), Access::Reader(key()))?;
    let listed = repository.snapshots(None)?.found;
    let snapshot = listed.iter().find(|snapshot| snapshot.name == *name);
    let snapshot = snapshot.ok_or_else(|| EngineError::NoSnapshot(name.to_string()))?;
    let opened = OpenSnapshot::open(&repository, snapshot)?;
    let mut content = Content::new();
    for entry in opened.entries()? {
        let entry = entry?;
        let mut bytes = Vec::new();
        if matches!(entry.kind, Kind::File { .. }) {
            opened.write_content(&entry, &mut bytes)?;
        }
        let about = format!("{:?} {:?}", entry.kind, entry.meta);
        content.insert(entry.path.to_string(), (about, bytes));
    }
    Ok(content)
}

/// Tells whether a full verification must notice damage to a file.
///
/// The description of the format is for people; nothing needs it.
fn matters(name: &StoreName) -> bool {
    name.folder() != Folder::Recovery
}

fn offsets(len: usize) -> BTreeSet<usize> {
    let ends = (0..len.min(NEAR_BYTES)).chain(len.saturating_sub(NEAR_BYTES)..len);
    ends.chain((0..len).step_by(STRIDE_BYTES)).collect()
}

/// Does the work for each item on all processors; a panic in one ends the test.
fn on_all<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(item);
                }
            });
        }
    });
}

#[test]
fn every_damaged_byte_is_found_and_never_restored() {
    let fixture = Fixture::new();
    let mut points = Vec::new();
    for (name, bytes) in fixture.files.iter().filter(|(name, _)| matters(name)) {
        points.extend(offsets(bytes.len()).into_iter().map(|at| (name, at)));
    }
    assert!(points.len() > 5000, "{}", points.len());
    let kinds = Mutex::new(BTreeMap::<&str, usize>::new());
    on_all(&points, |(name, at)| {
        let mut bytes = fixture.files[*name].clone();
        // A bit here, all bits there: sampled by place, so that a failure is seen again.
        bytes[*at] ^= if at % 3 == 0 { 0xff } else { 1 << (at % 8) };
        let what = format!("byte {at} of {name}");
        let store = fixture.with(name, Some(&bytes));
        assert!(
            !findings(&store).is_empty(),
            "{what}: a verification calls it clean"
        );
        // A restore does not look at the others.
        if !matches!(name.folder(), Folder::Keys | Folder::Receipts) {
            fixture.assert_never_wrong(&store, &what);
        }
        let mut kinds = kinds.lock().expect("no thread panicked with it");
        *kinds.entry(name.folder().as_str()).or_default() += 1;
    });
    let kinds = kinds.into_inner().expect("no thread panicked with it");
    let folders: Vec<_> = kinds.into_keys().collect();
    assert_eq!(
        folders,
        [
            "",
            "index",
            "keys",
            "meta",
            "packs",
            "receipts",
            "snapshots"
        ]
    );
}

#[test]
fn every_cut_or_grown_file_is_found_and_never_restored() {
    let fixture = Fixture::new();
    for (name, bytes) in fixture.files.iter().filter(|(name, _)| matters(name)) {
        let len = bytes.len();
        for cut in [0, 1, len / 2, len - 100.min(len), len - 1] {
            let what = format!("{name} cut to {cut}");
            fixture.assert_found(&fixture.with(name, Some(&bytes[..cut])), &what);
        }
        let grown = [bytes.as_slice(), b"\0"].concat();
        fixture.assert_found(&fixture.with(name, Some(&grown)), &format!("{name} grown"));
    }
}

#[test]
fn files_in_each_others_place_are_found_and_never_restored() {
    let fixture = Fixture::new();
    let names: Vec<_> = fixture.files.keys().filter(|name| matters(name)).collect();
    let mut pairs = 0;
    for (number, one) in names.iter().enumerate() {
        for two in &names[number + 1..] {
            let store = fixture.store();
            store.plant(one, &fixture.files[*two]);
            // A file of an earlier time in a later one's place, and both in each other's.
            fixture.assert_found(&store, &format!("{two} in the place of {one}"));
            store.plant(two, &fixture.files[*one]);
            fixture.assert_found(&store, &format!("{one} and {two} swapped"));
            pairs += 1;
        }
    }
    assert!(pairs > 50, "{pairs}");
}

#[test]
fn every_lost_file_is_found_that_a_snapshot_needs() {
    let fixture = Fixture::new();
    for name in fixture.files.keys().filter(|name| matters(name)) {
        let store = fixture.with(name, None);
        match name.folder() {
            // Whoever removes a snapshot has forgotten it, or a slot, revoked it.
            Folder::Snapshots | Folder::Keys => fixture.assert_never_wrong(&store, name.as_str()),
            // What can be derived can be lost.
            Folder::Index => {
                assert_eq!(findings(&store), [""; 0], "{name}");
                fixture.assert_never_wrong(&store, name.as_str());
                assert!(
                    fixture
                        .contents
                        .keys()
                        .all(|name| read(&store, name).is_ok())
                );
            }
            _ => fixture.assert_found(&store, &format!("{name} lost")),
        }
    }
}

#[test]
fn what_is_lost_or_cut_is_stored_anew_by_the_next_backup() {
    let fixture = Fixture::new();
    let files = fixture.files.iter();
    let derived = files.filter(|(name, _)| name.folder().is_content_named());
    for (name, bytes) in derived {
        fixture.assert_heals(&fixture.with(name, None), &format!("{name} lost"));
        for cut in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            let store = fixture.with(name, Some(&bytes[..cut]));
            fixture.assert_heals(&store, &format!("{name} cut to {cut}"));
        }
    }
}

#[test]
fn repair_and_the_next_backup_heal_damage_anywhere() {
    let fixture = Fixture::new();
    let files = fixture.files.iter();
    let derived = files.filter(|(name, _)| name.folder().is_content_named());
    for (name, bytes) in derived {
        let steps = bytes.len() / 8;
        for at in [0, 9, 17, 60]
            .into_iter()
            .chain((0..bytes.len()).step_by(steps))
        {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let store = fixture.with(name, Some(&changed));
            let what = format!("byte {at} of {name}");
            let keyless = Repository::open(store.clone(), env(), Access::Keyless);
            let keyless = keyless.expect("the marker is whole");
            let options = RepairOptions::default();
            let mended = repair(&keyless, options, &Silent, &Cancel::new());
            mended.expect("a repair");
            fixture.assert_never_wrong(&store, &what);
            fixture.assert_heals(&store, &what);
        }
    }
}
