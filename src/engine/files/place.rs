//! Puts entries back below a target directory, and never outside it.
//!
//! Every call works in a parent directory that was opened below the target without following
//! a link, so that neither a crafted entry nor someone who swaps directories for links while
//! we work can lead it elsewhere. Files are created new and never opened by name again; what
//! exists is replaced by unlinking its name, as writing into it could reach a file that has
//! another name elsewhere.
//!
//! # Order and threads
//!
//! A directory must be placed before what is in it, and a file before hard links to it.
//! Beyond that a [`Target`] can be used from several threads at once, and each [`PlacedFile`]
//! can be written from several threads at any offsets. [`Target::finish`] comes last: it sets
//! the metadata of directories, deepest first, when nothing below changes them any more.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use thiserror::Error;

use super::attributes::{self, Handle};
use super::beneath::Guard;
use super::entry::{Entry, EntryError, Kind, Meta};
use super::listing::Listing;
use super::metadata;
use super::note::{Note, Notes, What};
use super::path::RelPath;

/// How many parent directories stay open for the next entry in them.
const PARENTS_MAX: usize = 8;

/// The modes things have until their own is set: nobody else looks in meanwhile.
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
const DIR_MODE: Mode = Mode::RWXU;

/// Says why something cannot be placed.
#[derive(Debug, Error)]
pub enum PlaceError {
    /// The target cannot be created or opened.
    #[error("target '{}' cannot be used", .path.display())]
    Target {
        /// The directory as given.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// The target has something in it and may not.
    #[error("target '{}' is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// The entry makes no sense.
    #[error("entry '{path}' is invalid")]
    Entry {
        /// The entry's path.
        path: RelPath,
        /// What is wrong with it.
        #[source]
        source: EntryError,
    },
    /// The target itself can only be a directory.
    #[error("root of the tree is no directory; place it under a name")]
    RootNotDirectory,
    /// Something is there already and may not be replaced.
    #[error("'{0}' exists already")]
    Exists(RelPath),
    /// A link, or something else that is no directory, is on the way to the entry.
    #[error("a symbolic link or a file is in the way to '{0}'")]
    InTheWay(RelPath),
    /// Data was to be written beyond the file's end.
    #[error("data for '{0}' goes beyond its end")]
    BeyondEnd(RelPath),
    /// A call failed.
    #[error("'{path}' cannot be {doing}")]
    Io {
        /// The entry's path.
        path: RelPath,
        /// What was being done, as a participle.
        doing: &'static str,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
}

/// Says what to do with what is in the target already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// The target must be empty.
    #[default]
    Refuse,
    /// Directories are shared; any other entry that exists is an error.
    Merge,
    /// Directories are shared; anything else but a directory is replaced by an entry of its name.
    Replace,
}

/// Is a directory that entries are placed in.
#[derive(Debug)]
pub struct Target {
    root: OwnedFd,
    guard: Guard,
    existing: Existing,
    /// Whether some directory makes new files inherit an ACL.
    passes_acl_on: AtomicBool,
    dirs: Mutex<Vec<(RelPath, Meta)>>,
    notes: Mutex<Notes>,
    parents: Mutex<Vec<(Vec<u8>, Arc<OwnedFd>)>>,
}

/// Is what became of an entry.
#[derive(Debug)]
pub enum Placed {
    /// The entry is in its place; a directory gets its metadata at the end.
    Done,
    /// The entry cannot be had here, and a note says why.
    Skipped,
    /// A file waits for its data.
    File(PlacedFile),
}

/// Is a new file that is being filled.
#[derive(Debug)]
pub struct PlacedFile {
    file: File,
    path: RelPath,
    size: u64,
    meta: Meta,
}

impl Target {
    /// Opens the directory to place entries in, and creates it if it is missing.
    ///
    /// Links on the way to the target itself are the caller's way to name it.
    pub fn open(dir: &Path, existing: Existing) -> Result<Self, PlaceError> {
        let failed = |source: io::Error| PlaceError::Target {
            path: dir.to_owned(),
            source,
        };
        std::fs::create_dir_all(dir).map_err(failed)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root =
            rustix::fs::open(dir, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
        if existing == Existing::Refuse {
            let (mut listing, failure) = Listing::read(root.as_fd(), &mut Vec::new());
            if let Some(errno) = failure {
                return Err(failed(errno.into()));
            }
            if listing.next().is_some() {
                return Err(PlaceError::NotEmpty(dir.to_owned()));
            }
        }
        let guard = Guard::detect(root.as_fd());
        Ok(Self::with_guard(root, guard, existing))
    }

    fn with_guard(root: OwnedFd, guard: Guard, existing: Existing) -> Self {
        let passes_acl_on = AtomicBool::new(attributes::passes_acl_on(root.as_fd()));
        Self {
            root,
            guard,
            existing,
            passes_acl_on,
            dirs: Mutex::default(),
            notes: Mutex::default(),
            parents: Mutex::default(),
        }
    }

    /// Creates what an entry describes; a file still needs its data.
    ///
    /// An entry may be placed elsewhere than it came from by changing its path, and the path a
    /// hard link names with it.
    pub fn place(&self, entry: &Entry) -> Result<Placed, PlaceError> {
        let path = &entry.path;
        entry.check().map_err(|source| PlaceError::Entry {
            path: path.clone(),
            source,
        })?;
        if path.is_root() {
            return self.place_root(entry);
        }
        let parent = self.parent_of(path)?;
        match &entry.kind {
            Kind::Dir => self.place_dir(entry, parent.as_fd()),
            Kind::File { .. } => self.place_file(entry, parent.as_fd()),
            Kind::Symlink { target } => {
                self.create(path, parent.as_fd(), |dir, name| {
                    rustix::fs::symlinkat(target.as_slice(), dir, name)
                })?;
                self.attribute_special(entry, parent.as_fd())
            }
            Kind::Hardlink { to } => self.place_hardlink(path, to, parent.as_fd()),
            Kind::Fifo => self.place_node(entry, parent.as_fd(), FileType::Fifo, 0),
            Kind::CharDevice { major, minor } => {
                let number = rustix::fs::makedev(*major, *minor);
                self.place_node(entry, parent.as_fd(), FileType::CharacterDevice, number)
            }
            Kind::BlockDevice { major, minor } => {
                let number = rustix::fs::makedev(*major, *minor);
                self.place_node(entry, parent.as_fd(), FileType::BlockDevice, number)
            }
        }
    }

    /// Ends a file whose data is written: sets its metadata.
    pub fn finish_file(&self, placed: PlacedFile) {
        let PlacedFile {
            file, path, meta, ..
        } = placed;
        self.apply(Handle::Open(file.as_fd()), &path, &meta, false);
    }

    /// Takes a file away whose data cannot be had.
    pub fn discard(&self, placed: PlacedFile) -> Result<(), PlaceError> {
        let path = placed.path;
        let parent = self.parent_of(&path)?;
        rustix::fs::unlinkat(&parent, path.name(), AtFlags::empty()).map_err(|errno| {
            PlaceError::Io {
                path,
                doing: "removed",
                source: errno.into(),
            }
        })
    }

    /// Waits until everything on the target's file system is on the disk.
    ///
    /// Errors of earlier writes that only the disk or a server knew of come to light here.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.root)?)
    }

    /// Sets the metadata of all directories and returns what could not be set on the way.
    pub fn finish(self) -> Notes {
        let mut dirs = std::mem::take(&mut *lock(&self.dirs));
        dirs.sort_unstable_by(|(left, _), (right, _)| right.cmp(left));
        for (path, meta) in &dirs {
            match self.open_placed_dir(path) {
                Ok(held) => self.finish_dir(&held, path, meta),
                Err(errno) => self.note(path, What::ModeNotSet, errno),
            }
        }
        std::mem::take(&mut *lock(&self.notes))
    }

    fn finish_dir(&self, held: &OwnedFd, path: &RelPath, meta: &Meta) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::openat(held, c".", flags, Mode::empty()) {
            Ok(dir) => self.apply(Handle::Open(dir.as_fd()), path, meta, false),
            // A shared directory need not be readable to us.
            Err(_) => self.apply(Handle::Held(held.as_fd()), path, meta, false),
        }
    }

    fn place_root(&self, entry: &Entry) -> Result<Placed, PlaceError> {
        if !entry.kind.is_dir() {
            return Err(PlaceError::RootNotDirectory);
        }
        self.remember_dir(entry);
        Ok(Placed::Done)
    }

    fn place_dir(&self, entry: &Entry, parent: BorrowedFd<'_>) -> Result<Placed, PlaceError> {
        let path = &entry.path;
        match rustix::fs::mkdirat(parent, path.name(), DIR_MODE) {
            Ok(()) => {}
            Err(Errno::EXIST) if self.existing == Existing::Refuse => {
                return Err(PlaceError::Exists(path.clone()));
            }
            Err(Errno::EXIST) => self.share_dir(path)?,
            Err(errno) => return Err(failure(path, "created", errno)),
        }
        self.remember_dir(entry);
        Ok(Placed::Done)
    }

    /// Takes an existing directory as the one wanted; a link to one is in the way.
    fn share_dir(&self, path: &RelPath) -> Result<(), PlaceError> {
        let dir = self
            .open_placed_dir(path)
            .map_err(|errno| way_failure(path, errno))?;
        if attributes::passes_acl_on(dir.as_fd()) {
            self.passes_acl_on.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn place_file(&self, entry: &Entry, parent: BorrowedFd<'_>) -> Result<Placed, PlaceError> {
        let path = entry.path.clone();
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = self.create(&path, parent, |dir, name| {
            rustix::fs::openat(dir, name, flags, FILE_MODE)
        })?;
        let size = entry.kind.size();
        if ends_with_hole(&entry.kind) {
            rustix::fs::ftruncate(&fd, size).map_err(|errno| failure(&path, "extended", errno))?;
        }
        Ok(Placed::File(PlacedFile {
            file: File::from(fd),
            path,
            size,
            meta: entry.meta.clone(),
        }))
    }

    fn place_hardlink(
        &self,
        path: &RelPath,
        to: &RelPath,
        parent: BorrowedFd<'_>,
    ) -> Result<Placed, PlaceError> {
        let from = self.parent_of(to)?;
        // Without SYMLINK_FOLLOW a link that took the first name's place is linked, not its target.
        self.create(path, parent, |dir, name| {
            rustix::fs::linkat(&from, to.name(), dir, name, AtFlags::empty())
        })?;
        Ok(Placed::Done)
    }

    fn place_node(
        &self,
        entry: &Entry,
        parent: BorrowedFd<'_>,
        file_type: FileType,
        number: u64,
    ) -> Result<Placed, PlaceError> {
        let made = self.create(&entry.path, parent, |dir, name| {
            rustix::fs::mknodat(dir, name, file_type, FILE_MODE, number)
        });
        match made {
            Ok(()) => self.attribute_special(entry, parent),
            Err(PlaceError::Io { source, .. })
                if is_denied(&source) && file_type != FileType::Fifo =>
            {
                self.note(&entry.path, What::DeviceNotCreated, Errno::PERM);
                Ok(Placed::Skipped)
            }
            Err(error) => Err(error),
        }
    }

    /// Sets the metadata of a link, fifo or device that was just created.
    fn attribute_special(
        &self,
        entry: &Entry,
        parent: BorrowedFd<'_>,
    ) -> Result<Placed, PlaceError> {
        let path = &entry.path;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = rustix::fs::openat(parent, path.name(), flags, Mode::empty())
            .map_err(|errno| failure(path, "opened", errno))?;
        if !is_fresh(&held, &entry.kind) {
            // Someone put another file in its place, which must not get this one's owner.
            return Err(PlaceError::InTheWay(path.clone()));
        }
        let is_link = matches!(entry.kind, Kind::Symlink { .. });
        self.apply(Handle::Held(held.as_fd()), path, &entry.meta, is_link);
        Ok(Placed::Done)
    }

    /// Creates a name, and replaces what has it if that is permitted.
    fn create<T>(
        &self,
        path: &RelPath,
        parent: BorrowedFd<'_>,
        make: impl Fn(BorrowedFd<'_>, &[u8]) -> Result<T, Errno>,
    ) -> Result<T, PlaceError> {
        let mut made = make(parent, path.name());
        if matches!(made, Err(Errno::EXIST)) && self.existing == Existing::Replace {
            match rustix::fs::unlinkat(parent, path.name(), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => made = make(parent, path.name()),
                // A directory is never removed for something else.
                Err(Errno::ISDIR | Errno::PERM) => {}
                Err(errno) => return Err(failure(path, "replaced", errno)),
            }
        }
        made.map_err(|errno| match errno {
            Errno::EXIST => PlaceError::Exists(path.clone()),
            errno => failure(path, "created", errno),
        })
    }

    fn remember_dir(&self, entry: &Entry) {
        lock(&self.dirs).push((entry.path.clone(), entry.meta.clone()));
    }

    fn open_placed_dir(&self, path: &RelPath) -> Result<OwnedFd, Errno> {
        self.guard.open_dir(self.root.as_fd(), path.as_bytes())
    }

    fn parent_of(&self, path: &RelPath) -> Result<Arc<OwnedFd>, PlaceError> {
        let wanted = path.parent_bytes().unwrap_or_default();
        if let Some((_, dir)) = lock(&self.parents).iter().find(|(path, _)| path == wanted) {
            return Ok(Arc::clone(dir));
        }
        let opened = self.guard.open_parent(self.root.as_fd(), path);
        let dir = Arc::new(opened.map_err(|errno| way_failure(path, errno))?);
        let mut parents = lock(&self.parents);
        if parents.len() == PARENTS_MAX {
            parents.remove(0);
        }
        parents.push((wanted.to_vec(), Arc::clone(&dir)));
        Ok(dir)
    }

    fn apply(&self, handle: Handle<'_>, path: &RelPath, meta: &Meta, is_link: bool) {
        let clean = self.passes_acl_on.load(Ordering::Relaxed);
        for (what, errno) in attributes::apply(handle, meta, is_link, clean) {
            self.note(path, what, errno);
        }
    }

    fn note(&self, path: &RelPath, what: What, errno: Errno) {
        lock(&self.notes).push(Note::failed(path.clone(), what, errno));
    }
}

impl PlacedFile {
    /// Writes data at its offset; what is never written stays a hole.
    pub fn write_at(&self, data: &[u8], offset: u64) -> Result<(), PlaceError> {
        if offset
            .checked_add(data.len() as u64)
            .is_none_or(|end| end > self.size)
        {
            return Err(PlaceError::BeyondEnd(self.path.clone()));
        }
        let written = self.file.write_all_at(data, offset);
        written.map_err(|source| PlaceError::Io {
            path: self.path.clone(),
            doing: "written",
            source,
        })
    }

    /// Returns the path the file has below the target.
    pub fn path(&self) -> &RelPath {
        &self.path
    }
}

/// Tells whether the file is longer than its data, so that writing it all leaves it too short.
fn ends_with_hole(kind: &Kind) -> bool {
    match kind {
        Kind::File { size, extents } => extents.last().map_or(0, super::Extent::end) != *size,
        _ => false,
    }
}

/// Tells whether a held node is what was just made: of the right kind, with one name.
fn is_fresh(held: &OwnedFd, kind: &Kind) -> bool {
    let Ok(stat) = rustix::fs::fstat(held) else {
        return false;
    };
    let same = match kind {
        Kind::Symlink { target } => rustix::fs::readlinkat(held, c"", Vec::new())
            .is_ok_and(|held| held.as_bytes() == target),
        kind => metadata::plain_kind(&stat).as_ref() == Some(kind),
    };
    same && metadata::links(&stat) == 1
}

fn is_denied(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::PERM | Errno::ACCESS)
    )
}

fn failure(path: &RelPath, doing: &'static str, errno: Errno) -> PlaceError {
    PlaceError::Io {
        path: path.clone(),
        doing,
        source: errno.into(),
    }
}

/// Words a failure to get to an entry's parent.
fn way_failure(path: &RelPath, errno: Errno) -> PlaceError {
    match errno {
        Errno::LOOP | Errno::NOTDIR | Errno::XDEV => PlaceError::InTheWay(path.clone()),
        errno => failure(path, "reached", errno),
    }
}

/// A thread that panicked leaves nothing half done in these lists.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
