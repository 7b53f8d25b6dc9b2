//! What a folder store makes durable, and what an error after that shows.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::support::{create, env, options, writer};
use crate::engine::disk::{Disk, Item, Lock, NewFile, RealDisk};
use crate::engine::env::Cancel;
use crate::engine::store::{
    Dir, DirOptions, Folder, Put, SessionId, SessionKind, Store, StoreName,
};
use crate::engine::{BackupReport, EngineError, Silent, backup_stream};

/// A disk of this machine that tells which folders were synced, and fails on request.
#[derive(Default)]
struct Watched {
    real: RealDisk,
    synced: Mutex<Vec<PathBuf>>,
    /// Syncing a folder whose path ends so fails.
    no_sync: Mutex<Option<&'static str>>,
    /// Removing a folder below one of this name fails.
    no_removal: Mutex<Option<&'static str>>,
    /// Somebody else removes folders whose names begin so, a moment before.
    removed_by_others: Mutex<Option<&'static str>>,
}

impl Watched {
    fn was_synced(&self, folder: &Path) -> bool {
        let synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        synced.iter().any(|path| path == folder)
    }

    fn forget_syncs(&self) {
        let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        synced.clear();
    }
}

fn set(what: &Mutex<Option<&'static str>>, to: Option<&'static str>) {
    *what.lock().unwrap_or_else(PoisonError::into_inner) = to;
}

fn get(what: &Mutex<Option<&'static str>>) -> Option<&'static str> {
    *what.lock().unwrap_or_else(PoisonError::into_inner)
}

fn broken() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl Disk for Watched {
    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        self.real.create(path)
    }
    fn publish(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.real.publish(from, to)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.real.rename(from, to)
    }
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        if get(&self.no_sync).is_some_and(|end| path.ends_with(end)) {
            return Err(broken());
        }
        let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        synced.push(path.to_owned());
        self.real.sync_folder(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<Item>> {
        self.real.list(path)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.real.remove(path)
    }
    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        let parent = path.parent().and_then(Path::file_name);
        if parent.is_some() && parent == get(&self.no_removal).map(AsRef::as_ref) {
            return Err(broken());
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if get(&self.removed_by_others).is_some_and(|start| name.starts_with(start)) {
            self.real.remove_folder(path)?;
        }
        self.real.remove_folder(path)
    }
    fn make_folder(&self, path: &Path) -> io::Result<bool> {
        self.real.make_folder(path)
    }
    fn read(&self, path: &Path, len_max: u64) -> io::Result<Vec<u8>> {
        self.real.read(path, len_max)
    }
    fn read_range(&self, path: &Path, offset: u64, len: u64) -> io::Result<Vec<u8>> {
        self.real.read_range(path, offset, len)
    }
    fn size(&self, path: &Path) -> io::Result<u64> {
        self.real.size(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.real.lock(path)
    }
    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        self.real.try_lock(path)
    }
}

struct Place {
    folder: tempfile::TempDir,
    disk: Arc<Watched>,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            disk: Arc::default(),
        };
        let store = Dir::create(place.disk.clone(), env(), &place.options());
        create(&store.expect("a new store"));
        place
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("deep/repository")
    }

    fn options(&self) -> DirOptions {
        DirOptions {
            root: self.root(),
            machine: "here".to_owned(),
        }
    }

    fn store(&self) -> Arc<Dir> {
        let store = Dir::open(self.disk.clone(), env(), &self.options());
        Arc::new(store.expect("a store"))
    }

    fn back_up(&self) -> Result<BackupReport, EngineError> {
        backup_stream(
            &writer(self.store()),
            &mut &b"what is to be kept"[..],
            "stream",
            &options(),
            &Silent,
            &Cancel::new(),
        )
    }

    fn snapshots(&self) -> usize {
        let listed = self.store().list(Folder::Snapshots);
        listed.expect("a listing").len()
    }
}

#[test]
fn folders_that_a_dead_process_made_are_made_durable_with_the_files_in_them() {
    let place = Place::new();
    place.disk.forget_syncs();
    // As after a run that was killed before it synced anything.
    drop(std::fs::remove_file(place.root().join("bkpctl.json")));
    Dir::create(place.disk.clone(), env(), &place.options()).expect("a store begun before");
    for folder in [place.folder.path(), &place.folder.path().join("deep")] {
        assert!(place.disk.was_synced(folder), "{}", folder.display());
    }
    create(&*Arc::new(
        Dir::create(place.disk.clone(), env(), &place.options()).expect("a store begun before"),
    ));
    let name = StoreName::pack(blake3::hash(b"pack").as_bytes());
    let fan = place.root().join(name.as_str());
    let fan = fan.parent().expect("packs lie in folders");
    std::fs::create_dir(fan).expect("a folder");
    place.disk.forget_syncs();
    assert_eq!(place.store().put(&name, b"pack"), Ok(Put::Stored));
    assert!(place.disk.was_synced(fan));
    assert!(place.disk.was_synced(&place.root().join("packs")));
}

#[test]
fn packs_that_a_dead_process_put_are_made_durable_before_a_snapshot_builds_on_them() {
    let place = Place::new();
    place.back_up().expect("a backup");
    let store = place.store();
    for folder in [Folder::Index, Folder::Snapshots] {
        for file in store.list(folder).expect("a listing") {
            store.remove(&file.name).expect("a removal");
        }
    }
    place.disk.forget_syncs();
    let report = place.back_up().expect("a backup");
    assert_eq!(report.clear.new_bytes, 0, "the packs are found again");
    for folder in [Folder::Packs, Folder::Meta] {
        for file in store.list(folder).expect("a listing") {
            let path = place.root().join(file.name.as_str());
            let fan = path.parent().expect("packs lie in folders");
            assert!(place.disk.was_synced(fan), "{}", fan.display());
            assert!(place.disk.was_synced(&place.root().join(folder.as_str())));
        }
    }
}

#[test]
fn a_marker_that_a_dead_process_put_is_made_durable_before_anything_else() {
    let place = Place::new();
    place.disk.forget_syncs();
    place.back_up().expect("a backup");
    assert!(place.disk.was_synced(&place.root()));
}

#[test]
fn a_commit_that_cannot_be_made_durable_shows_no_snapshot() {
    let place = Place::new();
    place.back_up().expect("a backup");
    set(&place.disk.no_sync, Some("snapshots/web"));
    place.back_up().expect_err("its folder cannot be synced");
    assert_eq!(place.snapshots(), 1);
    set(&place.disk.no_sync, None);
    place.back_up().expect("the next run succeeds");
    assert_eq!(place.snapshots(), 2);
}

#[test]
fn two_processes_may_clear_the_same_session() {
    let place = Place::new();
    set(&place.disk.removed_by_others, Some("expired-"));
    let (store, other) = (place.store(), place.store());
    let session = SessionId::new([7; 16]);
    store
        .open_session(&session, SessionKind::Write)
        .expect("a session");
    assert_eq!(other.expire_session(&session), Ok(()));
}

#[test]
fn a_backup_whose_snapshot_shows_has_not_failed() {
    let place = Place::new();
    set(&place.disk.no_removal, Some("sessions"));
    place
        .back_up()
        .expect("only its session could not be removed");
    set(&place.disk.no_removal, None);
    assert_eq!(place.snapshots(), 1);
    place.back_up().expect("the next run cleans up");
    let left = std::fs::read_dir(place.root().join("sessions")).expect("a folder");
    assert_eq!(left.count(), 0);
}
