//! Puts entries back below a target directory, and never outside it.
//!
//! Every call works in a parent directory that was opened below the target without following
//! a link, so that neither a crafted entry nor someone who swaps directories for links while
//! we work can lead it elsewhere. A new file is created under its name and never opened by
//! name again. What exists and is right stays. A file that exists and differs is written anew
//! beside the old one and renamed over it; only a large one that has no other name is written
//! in place, as writing into it could otherwise reach a file elsewhere.
//!
//! # Order and threads
//!
//! A directory must be placed before what is in it, and a file before hard links to it.
//! Beyond that a [`Target`] can be used from several threads at once, each with [`Parents`] of
//! its own, and each [`PlacedFile`] can be written from several threads at any offsets.
//! [`Target::finish`] comes last: it sets the metadata of directories, deepest first, when
//! nothing below changes them any more.

mod existing;
mod file;
mod remove;

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use thiserror::Error;

use super::attributes::{self, Given, Handle};
use super::beneath::Guard;
use super::entry::{Entry, EntryError, Kind, Meta};
use super::listing::Listing;
use super::metadata::{self, Identity};
use super::note::{Note, Notes, What};
use super::path::RelPath;

pub use self::existing::LiveFile;
pub use self::file::PlacedFile;
pub use self::remove::{LiveNames, is_temporary};

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
    /// A directory that is not empty is where something else is to be.
    #[error("'{0}' is a directory with something in it, which stays unless deletion is asked for")]
    Occupied(RelPath),
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
    /// What differs is made what the entries say; what no entry names stays.
    Update,
    /// Like [`Existing::Update`], and a directory that is in an entry's way goes with all in it.
    Mirror,
}

/// Is a directory that entries are placed in.
#[derive(Debug)]
pub struct Target {
    root: OwnedFd,
    /// The file system that the target is on.
    device: u64,
    guard: Guard,
    existing: Existing,
    /// Whom new files belong to, as a rule.
    creator: (u32, u32),
    /// Whether some directory makes new files inherit an ACL.
    passes_acl_on: AtomicBool,
    dirs: Mutex<Vec<PlacedDir>>,
    /// Files with several names that some entry has taken for its own.
    taken: Mutex<HashSet<Identity>>,
    notes: Mutex<Notes>,
    parents: Mutex<Parents>,
    temps: AtomicU64,
    unchanged: AtomicU64,
}

/// Waits for its metadata.
#[derive(Debug)]
struct PlacedDir {
    path: RelPath,
    meta: Meta,
    is_new: bool,
}

/// Is what became of an entry.
#[derive(Debug)]
pub enum Placed {
    /// The entry is in its place; a directory gets its metadata at the end.
    Done,
    /// The entry was there before and was right.
    Unchanged,
    /// The entry cannot be had here, and a note says why.
    Skipped,
    /// A file waits for its data.
    File(PlacedFile),
}

/// Keeps the last directories open that entries were placed in; one per thread.
#[derive(Debug, Default)]
pub struct Parents(Vec<(Vec<u8>, Arc<OwnedFd>)>);

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
        Self::with_guard(root, guard, existing).map_err(|errno| failed(errno.into()))
    }

    fn with_guard(root: OwnedFd, guard: Guard, existing: Existing) -> Result<Self, Errno> {
        let passes_acl_on = AtomicBool::new(attributes::passes_acl_on(root.as_fd()));
        let device = Identity::of(&rustix::fs::fstat(&root)?).device;
        Ok(Self {
            root,
            device,
            guard,
            existing,
            creator: (
                rustix::process::geteuid().as_raw(),
                rustix::process::getegid().as_raw(),
            ),
            passes_acl_on,
            dirs: Mutex::default(),
            taken: Mutex::default(),
            notes: Mutex::default(),
            parents: Mutex::default(),
            temps: AtomicU64::new(0),
            unchanged: AtomicU64::new(0),
        })
    }

    /// Tells whether there may be something in the target already.
    pub fn has_contents(&self) -> bool {
        self.existing != Existing::Refuse
    }

    /// Creates what an entry describes; a file still needs its data.
    ///
    /// An entry may be placed elsewhere than it came from by changing its path, and the path a
    /// hard link names with it.
    pub fn place(&self, entry: &Entry) -> Result<Placed, PlaceError> {
        self.place_with(&mut lock(&self.parents), entry)
    }

    fn place_with(&self, parents: &mut Parents, entry: &Entry) -> Result<Placed, PlaceError> {
        check(entry)?;
        let path = &entry.path;
        if path.is_root() {
            return self.place_root(entry);
        }
        let parent = self.parent_of(parents, path)?;
        match &entry.kind {
            Kind::Dir => self.place_dir(entry, parent.as_fd()),
            Kind::File { .. } => self.create_file(entry, &parent).map(Placed::File),
            Kind::Symlink { target } => self.place_special(entry, parent.as_fd(), |dir, name| {
                rustix::fs::symlinkat(target.as_slice(), dir, name)
            }),
            Kind::Hardlink { to } => {
                let from = self.parent_of(parents, to)?;
                self.place_hardlink(path, to, from.as_fd(), parent.as_fd())
            }
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

    /// Waits until everything on the target's file system is on the disk.
    ///
    /// Errors of earlier writes that only the disk or a server knew of come to light here.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.root)?)
    }

    /// Sets the metadata of all directories; says what could not be set on the way, and how
    /// many entries of any kind were right before.
    pub fn finish(&self) -> (Notes, u64) {
        let mut dirs = std::mem::take(&mut *lock(&self.dirs));
        dirs.sort_unstable_by(|left, right| right.path.cmp(&left.path));
        for dir in &dirs {
            match self.open_placed_dir(&dir.path) {
                Ok(held) => self.finish_dir(&held, dir),
                Err(errno) => self.note(&dir.path, What::ModeNotSet, errno),
            }
        }
        let notes = std::mem::take(&mut *lock(&self.notes));
        (notes, self.unchanged.load(Ordering::Relaxed))
    }

    fn finish_dir(&self, held: &OwnedFd, dir: &PlacedDir) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(held, c".", flags, Mode::empty());
        let handle = match &opened {
            Ok(opened) => Handle::Open(opened.as_fd()),
            // A shared directory need not be readable to us.
            Err(_) => Handle::Held(held.as_fd()),
        };
        if dir.is_new {
            self.apply(handle, Given::default(), &dir.path, &dir.meta, false);
        } else {
            match rustix::fs::fstat(held) {
                Ok(stat) => self.mend(handle, &stat, &dir.path, &dir.meta, false),
                Err(errno) => self.note(&dir.path, What::ModeNotSet, errno),
            }
        }
    }

    fn place_root(&self, entry: &Entry) -> Result<Placed, PlaceError> {
        if !entry.kind.is_dir() {
            return Err(PlaceError::RootNotDirectory);
        }
        self.remember_dir(entry, !self.has_contents());
        Ok(Placed::Done)
    }

    fn place_dir(&self, entry: &Entry, parent: BorrowedFd<'_>) -> Result<Placed, PlaceError> {
        let path = &entry.path;
        let make = || rustix::fs::mkdirat(parent, path.name(), DIR_MODE);
        let mut made = make();
        if matches!(made, Err(Errno::EXIST)) && self.has_contents() {
            if self.share_dir(path, parent)? {
                self.remember_dir(entry, false);
                return Ok(Placed::Unchanged);
            }
            self.clear_the_way(path, parent)?;
            made = make();
        }
        made.map_err(|errno| creation_failure(path, errno))?;
        self.remember_dir(entry, true);
        Ok(Placed::Done)
    }

    fn place_hardlink(
        &self,
        path: &RelPath,
        to: &RelPath,
        from: BorrowedFd<'_>,
        parent: BorrowedFd<'_>,
    ) -> Result<Placed, PlaceError> {
        // Without SYMLINK_FOLLOW a link that took the first name's place is linked, not its target.
        let link = |dir: BorrowedFd<'_>, name: &[u8]| {
            rustix::fs::linkat(from, to.name(), dir, name, AtFlags::empty())
        };
        let mut made = link(parent, path.name());
        if matches!(made, Err(Errno::EXIST)) && self.has_contents() {
            let identity = |dir: BorrowedFd<'_>, name: &[u8]| {
                let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
                stat.map(|stat| Identity::of(&stat))
            };
            let (first, second) = (identity(from, to.name()), identity(parent, path.name()));
            if first.is_ok() && first == second {
                self.unchanged.fetch_add(1, Ordering::Relaxed);
                return Ok(Placed::Unchanged);
            }
            self.clear_the_way(path, parent)?;
            made = link(parent, path.name());
        }
        made.map_err(|errno| creation_failure(path, errno))?;
        Ok(Placed::Done)
    }

    fn place_node(
        &self,
        entry: &Entry,
        parent: BorrowedFd<'_>,
        file_type: FileType,
        number: u64,
    ) -> Result<Placed, PlaceError> {
        let placed = self.place_special(entry, parent, |dir, name| {
            rustix::fs::mknodat(dir, name, file_type, FILE_MODE, number)
        });
        match placed {
            Err(PlaceError::Io { source, .. })
                if is_denied(&source) && file_type != FileType::Fifo =>
            {
                self.note(&entry.path, What::DeviceNotCreated, Errno::PERM);
                Ok(Placed::Skipped)
            }
            placed => placed,
        }
    }

    /// Makes a link, fifo or device, unless it is there already.
    fn place_special(
        &self,
        entry: &Entry,
        parent: BorrowedFd<'_>,
        make: impl Fn(BorrowedFd<'_>, &[u8]) -> Result<(), Errno>,
    ) -> Result<Placed, PlaceError> {
        let path = &entry.path;
        let mut made = make(parent, path.name());
        if matches!(made, Err(Errno::EXIST)) && self.has_contents() {
            if let Some((held, stat)) = hold(entry, parent)?
                && self.keep_special(&held, &stat, entry)
            {
                return Ok(Placed::Unchanged);
            }
            self.clear_the_way(path, parent)?;
            made = make(parent, path.name());
        }
        made.map_err(|errno| creation_failure(path, errno))?;
        // Someone may put another file in its place, which must not get this one's owner.
        let held = hold(entry, parent)?.filter(|(_, stat)| metadata::links(stat) == 1);
        let (held, stat) = held.ok_or_else(|| PlaceError::InTheWay(path.clone()))?;
        let given = Given::of(&stat, &entry.meta);
        let is_link = matches!(entry.kind, Kind::Symlink { .. });
        self.apply(
            Handle::Held(held.as_fd()),
            given,
            path,
            &entry.meta,
            is_link,
        );
        Ok(Placed::Done)
    }

    /// Places a directory that is only on the way to what is wanted: one that exists stays as
    /// it is.
    pub fn place_on_the_way(&self, entry: &Entry) -> Result<Placed, PlaceError> {
        if !self.has_contents() {
            return self.place(entry);
        }
        check(entry)?;
        let path = &entry.path;
        if !path.is_root() {
            let parent = self.parent_of(&mut lock(&self.parents), path)?;
            let stat = rustix::fs::statat(&parent, path.name(), AtFlags::SYMLINK_NOFOLLOW);
            let is_dir = |stat: Stat| metadata::file_type(&stat) == FileType::Directory;
            if !stat.is_ok_and(is_dir) {
                return self.place_dir(entry, parent.as_fd());
            }
        }
        self.unchanged.fetch_add(1, Ordering::Relaxed);
        Ok(Placed::Unchanged)
    }

    /// Keeps a link, fifo or device that is there and mends its metadata, if it may stay.
    fn keep_special(&self, held: &OwnedFd, stat: &Stat, entry: &Entry) -> bool {
        let handle = Handle::Held(held.as_fd());
        let is_link = matches!(entry.kind, Kind::Symlink { .. });
        if metadata::links(stat) == 1 {
            self.mend(handle, stat, &entry.path, &entry.meta, is_link);
            return true;
        }
        let stays = self.may_share(handle, stat, entry);
        self.unchanged
            .fetch_add(u64::from(stays), Ordering::Relaxed);
        stays
    }

    /// Tells whether what has several names may be one of the files that have, as it is.
    ///
    /// Its metadata is never set, as one of its names may be elsewhere.
    fn may_share(&self, handle: Handle<'_>, stat: &Stat, entry: &Entry) -> bool {
        attributes::is_right(handle, stat, &entry.meta)
            && entry.meta.links > 1
            // Two entries that are files of their own cannot both be this one.
            && lock(&self.taken).insert(Identity::of(stat))
    }

    fn remember_dir(&self, entry: &Entry, is_new: bool) {
        lock(&self.dirs).push(PlacedDir {
            path: entry.path.clone(),
            meta: entry.meta.clone(),
            is_new,
        });
    }

    fn open_placed_dir(&self, path: &RelPath) -> Result<OwnedFd, Errno> {
        self.guard.open_dir(self.root.as_fd(), path.as_bytes())
    }

    fn parent_of(&self, parents: &mut Parents, path: &RelPath) -> Result<Arc<OwnedFd>, PlaceError> {
        let wanted = path.parent_bytes().unwrap_or_default();
        if let Some((_, dir)) = parents.0.iter().rev().find(|(path, _)| path == wanted) {
            return Ok(Arc::clone(dir));
        }
        let opened = self.guard.open_parent(self.root.as_fd(), path);
        let dir = Arc::new(opened.map_err(|errno| way_failure(path, errno))?);
        if parents.0.len() == PARENTS_MAX {
            parents.0.remove(0);
        }
        parents.0.push((wanted.to_vec(), Arc::clone(&dir)));
        Ok(dir)
    }

    fn apply(&self, handle: Handle<'_>, given: Given, path: &RelPath, meta: &Meta, is_link: bool) {
        let clean = self.passes_acl_on.load(Ordering::Relaxed);
        for (what, errno) in attributes::apply(handle, given, meta, is_link, clean) {
            self.note(path, what, errno);
        }
    }

    /// Sets what differs of the metadata of something that was there before.
    fn mend(&self, handle: Handle<'_>, live: &Stat, path: &RelPath, meta: &Meta, is_link: bool) {
        let (changed, failures) = attributes::mend(handle, live, meta, is_link);
        if !changed && failures.is_empty() {
            self.unchanged.fetch_add(1, Ordering::Relaxed);
        }
        for (what, errno) in failures {
            self.note(path, what, errno);
        }
    }

    fn note(&self, path: &RelPath, what: What, errno: Errno) {
        lock(&self.notes).push(Note::failed(path.clone(), what, errno));
    }
}

/// Checks that an entry makes sense.
fn check(entry: &Entry) -> Result<(), PlaceError> {
    entry.check().map_err(|source| PlaceError::Entry {
        path: entry.path.clone(),
        source,
    })
}

/// Holds a link, fifo or device by its place, if it is what the entry describes.
fn hold(entry: &Entry, parent: BorrowedFd<'_>) -> Result<Option<(OwnedFd, Stat)>, PlaceError> {
    let path = &entry.path;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let held = rustix::fs::openat(parent, path.name(), flags, Mode::empty());
    let held = held.map_err(|errno| failure(path, "opened", errno))?;
    let stat = rustix::fs::fstat(&held).map_err(|errno| failure(path, "examined", errno))?;
    let same = match &entry.kind {
        Kind::Symlink { target } => rustix::fs::readlinkat(&held, c"", Vec::new())
            .is_ok_and(|held| held.as_bytes() == target),
        kind => metadata::plain_kind(&stat).as_ref() == Some(kind),
    };
    Ok(same.then_some((held, stat)))
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

/// Words a failure to make a name.
fn creation_failure(path: &RelPath, errno: Errno) -> PlaceError {
    match errno {
        Errno::EXIST => PlaceError::Exists(path.clone()),
        errno => failure(path, "created", errno),
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
