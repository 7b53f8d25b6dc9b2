//! A store in a folder of a file system.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;

use super::dir_session::HeldSession;
use super::memory::{check_folder, too_short};
use super::{
    FILE_BYTES_MAX, Folder, Listed, OpenSession, Put, Receipt, SessionId, SessionKind, Store,
    StoreError, StoreName,
};
use crate::engine::disk::{Disk, Lock, NewFile};
use crate::engine::env::Env;
use crate::engine::hex;

/// The largest record of the planner, in bytes.
const MANAGED_BYTES_MAX: u64 = 16 << 20;
/// The largest marker, in bytes.
const MARKER_BYTES_MAX: u64 = 64 << 10;
const MANAGED: &str = "managed.json";
pub(super) const SESSIONS: &str = "sessions";
const TEMPS: &str = "tmp";

/// Says where a folder store lies and who opens it.
#[derive(Debug, Clone)]
pub struct DirOptions {
    /// The repository's folder.
    pub root: PathBuf,
    /// This machine's identity, which must be the one the marker calls home.
    pub machine: String,
}

/// Keeps a repository in a folder.
///
/// Every file is written below `tmp/`, synced, published under its name, and its folder is
/// synced. `tmp/` has one folder for each process, locked while the process lives; the next
/// process removes those whose owner is gone. All processes run on the home machine, so that
/// the kernel's locks and one view of the files hold for all of them.
pub struct Dir {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) root: PathBuf,
    pub(super) env: Env,
    pub(super) sessions: Mutex<HashMap<SessionId, HeldSession>>,
    temps: Mutex<Option<Temps>>,
    temp_count: AtomicU64,
    /// Folders whose own names this process has synced.
    settled: Mutex<HashSet<PathBuf>>,
}

struct Temps {
    folder: PathBuf,
    lock: Option<Box<dyn Lock>>,
}

impl Dir {
    /// Makes the folders of a new store in a folder that is absent or empty.
    ///
    /// Creating over a store that lacks its marker, as one does that was interrupted here, is
    /// no error.
    pub fn create(disk: Arc<dyn Disk>, env: Env, options: &DirOptions) -> Result<Self, StoreError> {
        let dir = Self::new(disk, env, options);
        dir.make_root(&options.root)?;
        dir.settle_root()?;
        let items = dir.at("", |disk| disk.list(&dir.root))?;
        let ours = |name: &str| {
            [SESSIONS, TEMPS, "lost+found"].contains(&name)
                || Folder::ALL.iter().any(|folder| folder.as_str() == name)
        };
        if items.iter().any(|item| !ours(&item.name)) {
            return Err(StoreError::NotEmpty { place: dir.place() });
        }
        let folders = Folder::ALL.iter().map(|folder| folder.as_str());
        for name in folders.chain([SESSIONS, TEMPS]).filter(|n| !n.is_empty()) {
            dir.at(name, |disk| disk.make_folder(&dir.root.join(name)))?;
        }
        dir.sync(&dir.root)?;
        Ok(dir)
    }

    /// Opens a store that has its marker, on its home machine.
    pub fn open(disk: Arc<dyn Disk>, env: Env, options: &DirOptions) -> Result<Self, StoreError> {
        #[derive(Deserialize)]
        struct Marker {
            home: String,
        }
        let dir = Self::new(disk, env, options);
        let name = StoreName::marker();
        let path = dir.path(&name);
        let bytes = match dir.disk.read(&path, MARKER_BYTES_MAX) {
            Err(error) if is_absent(&error) => {
                return Err(StoreError::NoRepository { place: dir.place() });
            }
            bytes => bytes.map_err(|error| StoreError::from_io(name.as_str(), &error))?,
        };
        let marker: Marker =
            serde_json::from_slice(&bytes).map_err(|error| StoreError::Damaged {
                name: name.to_string(),
                reason: error.to_string(),
            })?;
        if marker.home == options.machine {
            Ok(dir)
        } else {
            Err(StoreError::WrongHome {
                home: marker.home,
                here: options.machine.clone(),
            })
        }
    }

    fn new(disk: Arc<dyn Disk>, env: Env, options: &DirOptions) -> Self {
        Self {
            disk,
            root: options.root.clone(),
            env,
            sessions: Mutex::default(),
            temps: Mutex::default(),
            temp_count: AtomicU64::new(0),
            settled: Mutex::default(),
        }
    }

    /// Creates the root and those parents that are missing.
    fn make_root(&self, root: &Path) -> Result<(), StoreError> {
        let made = match self.disk.make_folder(root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let parent = parents(root).next();
                self.make_root(parent.ok_or_else(|| StoreError::from_io("", &error))?)?;
                self.disk.make_folder(root)
            }
            made => made,
        };
        let place = root.display().to_string();
        made.map_err(|error| StoreError::from_io(&place, &error))?;
        Ok(())
    }

    /// Makes the names durable that lead to the root.
    ///
    /// Those of folders that were there too: whoever made them may have died before that.
    fn settle_root(&self) -> Result<(), StoreError> {
        for parent in parents(&self.root) {
            match self.disk.sync_folder(parent) {
                // Somebody else's folder, or a file system that does not sync folders.
                Err(error) if is_foreign(&error) => {}
                synced => synced
                    .map_err(|error| StoreError::from_io(&parent.display().to_string(), &error))?,
            }
        }
        Ok(())
    }

    pub(super) fn path(&self, name: &StoreName) -> PathBuf {
        self.root.join(name.as_str())
    }

    /// Runs a step and words its error about `name`.
    pub(super) fn at<T>(
        &self,
        name: &str,
        step: impl FnOnce(&dyn Disk) -> io::Result<T>,
    ) -> Result<T, StoreError> {
        step(&*self.disk).map_err(|error| StoreError::from_io(name, &error))
    }

    pub(super) fn sync(&self, folder: &Path) -> Result<(), StoreError> {
        let name = folder.display().to_string();
        self.at(&name, |disk| disk.sync_folder(folder))
    }

    /// Returns once the names in a folder are on the disk, and the folder's own.
    pub(super) fn sync_names(&self, folder: &Path, depth: usize) -> Result<(), StoreError> {
        if depth > 0 {
            self.settle_folder(folder)?;
        }
        self.sync(folder)
    }

    /// Returns once a folder's own name is on the disk.
    ///
    /// Each process sees to that once: whoever made the folder may have died before.
    pub(super) fn settle_folder(&self, folder: &Path) -> Result<(), StoreError> {
        if !self.settled().contains(folder) {
            self.sync(folder.parent().expect("deep folders have a parent"))?;
            self.settled().insert(folder.to_owned());
        }
        Ok(())
    }

    fn settled(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a synced file under a temporary name and returns its path.
    ///
    /// The bytes are checked while the disk works on them, which takes as long for a pack.
    fn write_temp(
        &self,
        name: &str,
        bytes: &[u8],
        check: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<PathBuf, StoreError> {
        let folder = self.temp_folder()?;
        let count = self.temp_count.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(count.to_string());
        let failed = |error: io::Error| StoreError::from_io(name, &error);
        let written = self.write_unsynced(&path, bytes).map_err(failed);
        let synced = written.and_then(|mut file| {
            check()?;
            file.sync().map_err(failed)
        });
        match synced {
            Ok(()) => Ok(path),
            Err(error) => {
                // The error that counts is the first one; the next process cleans up too.
                drop(self.disk.remove(&path));
                Err(error)
            }
        }
    }

    fn write_unsynced(&self, path: &Path, bytes: &[u8]) -> io::Result<Box<dyn NewFile>> {
        let mut file = self.disk.create(path)?;
        file.write(bytes)?;
        Ok(file)
    }

    pub(super) fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.write_unsynced(path, bytes)?.sync()
    }

    /// Returns this process's folder for temporary files, made at the first use.
    fn temp_folder(&self) -> Result<PathBuf, StoreError> {
        let mut temps = self.temps.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(temps) = &*temps {
            return Ok(temps.folder.clone());
        }
        let id = self
            .env
            .random::<8>()
            .map_err(|error| StoreError::from_io(TEMPS, &error))?;
        let parent = self.root.join(TEMPS);
        let folder = parent.join(hex::encode(&id));
        let lock = self.at(TEMPS, |disk| {
            disk.make_folder(&parent)?;
            let _gate = self.gate()?;
            self.remove_dead_temps(&parent)?;
            disk.make_folder(&folder)?;
            disk.lock(&folder.join("lock"))
        })?;
        *temps = Some(Temps {
            folder: folder.clone(),
            lock: Some(lock),
        });
        Ok(folder)
    }

    /// Takes the lock that is held while folders with locks of their own are made or removed,
    /// so that none is taken for dead before its owner has locked it.
    pub(super) fn gate(&self) -> io::Result<Box<dyn Lock>> {
        self.disk.lock(&self.root.join(TEMPS).join("lock"))
    }

    fn remove_dead_temps(&self, parent: &Path) -> io::Result<()> {
        for item in self.disk.list(parent)? {
            let folder = parent.join(&item.name);
            if !item.is_folder {
                continue;
            }
            let alive = match self.disk.try_lock(&folder.join("lock")) {
                Ok(lock) => lock.is_none(),
                // Its owner died between the folder and the lock, or somebody else owns it.
                Err(error) if is_absent(&error) => false,
                Err(error) => return Err(error),
            };
            if !alive {
                self.remove_folder(&folder)?;
            }
        }
        Ok(())
    }

    /// Removes a folder that its owner or another process may be removing too.
    pub(super) fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        match self.disk.remove_folder(folder) {
            Err(error) if is_absent(&error) => Ok(()),
            removed => removed,
        }
    }

    /// Gives a temporary file its name, durably, unless the name is taken.
    fn publish(&self, temp: &Path, name: &StoreName, bytes: &[u8]) -> Result<Put, StoreError> {
        let path = self.path(name);
        let folder = path.parent().expect("a store's files lie in folders");
        let mut published = self.disk.publish(temp, &path);
        if published.as_ref().is_err_and(is_absent) && name.folder().depth() > 0 {
            self.at(name.as_str(), |disk| disk.make_folder(folder))?;
            published = self.disk.publish(temp, &path);
        }
        match published {
            Ok(()) => {
                self.sync_names(folder, name.folder().depth())?;
                Ok(Put::Stored)
            }
            Err(error) => {
                drop(self.disk.remove(temp));
                if error.kind() == io::ErrorKind::AlreadyExists {
                    self.same(name, bytes)
                } else {
                    Err(StoreError::from_io(name.as_str(), &error))
                }
            }
        }
    }

    /// Compares a file that exists with the bytes that were to be put.
    pub(super) fn same(&self, name: &StoreName, bytes: &[u8]) -> Result<Put, StoreError> {
        let path = self.path(name);
        let old = self.at(name.as_str(), |disk| disk.read(&path, FILE_BYTES_MAX))?;
        let folder = path.parent().expect("a store's files lie in folders");
        if old == bytes {
            // Whoever stored it may have died before the name was durable.
            self.sync_names(folder, name.folder().depth())?;
            return Ok(Put::AlreadyThere);
        }
        if name.check_bytes(&old).is_ok() {
            return Err(StoreError::Different {
                name: name.to_string(),
            });
        }
        // The bytes that are there are not those of the name; these are, as was checked.
        let temp = self.write_temp(name.as_str(), bytes, || Ok(()))?;
        self.at(name.as_str(), |disk| disk.rename(&temp, &path))?;
        self.sync_names(folder, name.folder().depth())?;
        Ok(Put::Stored)
    }

    pub(super) fn write_file(&self, name: &StoreName, bytes: &[u8]) -> Result<Put, StoreError> {
        let temp = self.write_temp(name.as_str(), bytes, || name.check_bytes(bytes))?;
        self.publish(&temp, name, bytes)
    }

    pub(super) fn sessions(&self) -> MutexGuard<'_, HashMap<SessionId, HeldSession>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the marker's bytes, if it is there already.
    pub(super) fn marker(&self) -> Result<Option<Vec<u8>>, StoreError> {
        absent_is_none(self.get(&StoreName::marker()))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let mut temps = self.temps.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(temps) = &mut *temps {
            // What remains after a failure here is removed by the next process.
            drop(self.disk.remove_folder(&temps.folder));
            drop(temps.lock.take());
        }
    }
}

impl std::fmt::Debug for Dir {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Dir")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

impl Store for Dir {
    fn place(&self) -> String {
        self.root.display().to_string()
    }

    fn put(&self, name: &StoreName, bytes: &[u8]) -> Result<Put, StoreError> {
        check_folder(name)?;
        match self.disk.size(&self.path(name)) {
            Ok(_) => {
                name.check_bytes(bytes)?;
                self.same(name, bytes)
            }
            Err(error) if is_absent(&error) => self.write_file(name, bytes),
            Err(error) => Err(StoreError::from_io(name.as_str(), &error)),
        }
    }

    fn get(&self, name: &StoreName) -> Result<Vec<u8>, StoreError> {
        self.at(name.as_str(), |disk| {
            disk.read(&self.path(name), FILE_BYTES_MAX)
        })
    }

    fn get_range(&self, name: &StoreName, offset: u64, len: u64) -> Result<Vec<u8>, StoreError> {
        match self.disk.read_range(&self.path(name), offset, len) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(too_short(name, offset, len))
            }
            bytes => bytes.map_err(|error| StoreError::from_io(name.as_str(), &error)),
        }
    }

    fn size(&self, name: &StoreName) -> Result<u64, StoreError> {
        self.at(name.as_str(), |disk| disk.size(&self.path(name)))
    }

    fn list(&self, folder: Folder) -> Result<Vec<Listed>, StoreError> {
        if folder == Folder::Root {
            let name = StoreName::marker();
            let size = absent_is_none(self.size(&name))?;
            return Ok(size.map(|size| Listed { name, size }).into_iter().collect());
        }
        let mut found = Vec::new();
        self.list_into(folder.as_str(), folder.depth(), &mut found)?;
        found.sort();
        Ok(found)
    }

    fn remove(&self, name: &StoreName) -> Result<(), StoreError> {
        let path = self.path(name);
        match self.disk.remove(&path) {
            Ok(()) => self.sync(path.parent().expect("a store's files lie in folders")),
            Err(error) if is_absent(&error) => Ok(()),
            Err(error) => Err(StoreError::from_io(name.as_str(), &error)),
        }
    }

    fn set_aside(&self, name: &StoreName) -> Result<(), StoreError> {
        let path = self.path(name);
        if absent_is_none(self.size(name))?.is_none() {
            return Ok(());
        }
        for taken in 0.. {
            let aside = self.path(&name.aside(taken));
            let folder = aside.parent().expect("a store's files lie in folders");
            match self.move_aside(&path, &aside, folder) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                // Somebody else moved it.
                Err(error) if is_absent(&error) => break,
                moved => {
                    moved.map_err(|error| StoreError::from_io(name.as_str(), &error))?;
                    self.sync_names(folder, Folder::Damaged.depth())?;
                    break;
                }
            }
        }
        self.sync(path.parent().expect("a store's files lie in folders"))
    }

    fn settle(&self, name: &StoreName) -> Result<(), StoreError> {
        let path = self.path(name);
        self.at(name.as_str(), |disk| disk.size(&path))?;
        let folder = path.parent().expect("a store's files lie in folders");
        self.sync_names(folder, name.folder().depth())
    }

    fn settle_removals(&self, folder: Folder) -> Result<(), StoreError> {
        let parent = self.root.join(folder.as_str());
        if folder.depth() > 0 {
            for item in self.at(folder.as_str(), |disk| disk.list(&parent))? {
                if item.is_folder {
                    self.sync(&parent.join(item.name))?;
                }
            }
        }
        self.sync(&parent)
    }

    fn open_session(&self, session: &SessionId, kind: SessionKind) -> Result<(), StoreError> {
        self.start_session(session, kind)
    }

    fn commit(
        &self,
        session: &SessionId,
        manifest: &StoreName,
        bytes: &[u8],
    ) -> Result<Receipt, StoreError> {
        self.commit_session(session, manifest, bytes)
    }

    fn close_session(&self, session: &SessionId) -> Result<(), StoreError> {
        self.end_session(session)
    }

    fn list_sessions(&self) -> Result<Vec<OpenSession>, StoreError> {
        self.open_sessions()
    }

    fn expire_session(&self, session: &SessionId) -> Result<(), StoreError> {
        self.move_session_away(session)
    }

    fn put_managed(&self, bytes: &[u8]) -> Result<(), StoreError> {
        let temp = self.write_temp(MANAGED, bytes, || Ok(()))?;
        self.at(MANAGED, |disk| disk.rename(&temp, &self.root.join(MANAGED)))?;
        self.sync(&self.root)
    }

    fn get_managed(&self) -> Result<Option<Vec<u8>>, StoreError> {
        absent_is_none(self.at(MANAGED, |disk| {
            disk.read(&self.root.join(MANAGED), MANAGED_BYTES_MAX)
        }))
    }
}

impl Dir {
    fn move_aside(&self, path: &Path, aside: &Path, folder: &Path) -> io::Result<()> {
        let all = self.root.join(Folder::Damaged.as_str());
        // Repositories that were made by older programs have no such folder.
        if self.disk.make_folder(&all)? {
            self.disk.sync_folder(&self.root)?;
        }
        self.disk.make_folder(folder)?;
        self.disk.publish(path, aside)
    }

    fn list_into(
        &self,
        folder: &str,
        depth: usize,
        found: &mut Vec<Listed>,
    ) -> Result<(), StoreError> {
        for item in self.at(folder, |disk| disk.list(&self.root.join(folder)))? {
            let path = format!("{folder}/{}", item.name);
            if depth > 0 && item.is_folder {
                self.list_into(&path, depth - 1, found)?;
            } else if depth == 0
                && !item.is_folder
                && let Ok(name) = StoreName::parse(&path)
            {
                let size = item.size;
                found.push(Listed { name, size });
            }
        }
        Ok(())
    }
}

pub(super) fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

fn parents(path: &Path) -> impl Iterator<Item = &Path> {
    let parents = path.ancestors().skip(1);
    parents.filter(|parent| !parent.as_os_str().is_empty())
}

/// Tells whether a folder cannot be synced by this process, however often it tries.
fn is_foreign(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    matches!(error.kind(), PermissionDenied | InvalidInput | Unsupported)
}

fn absent_is_none<T>(result: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
