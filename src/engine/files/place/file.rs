//! Files that are being filled: new ones, ones beside what they replace, and in place.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{FILE_MODE, Parents, PlaceError, Target, check, creation_failure, failure};
use crate::engine::files::attributes::{Given, Handle};
use crate::engine::files::entry::{Entry, Extent, Kind, Meta};
use crate::engine::files::metadata;
use crate::engine::files::path::RelPath;

/// The rights of owner, group and others.
const RIGHTS: u32 = 0o777;
/// How often another temporary name is tried.
const TEMPS_MAX: usize = 1000;

/// Is a file that is being filled.
#[derive(Debug)]
pub struct PlacedFile {
    file: File,
    parent: Arc<OwnedFd>,
    path: RelPath,
    size: u64,
    meta: Meta,
    origin: Origin,
    given: Given,
}

/// Says under which name a file is filled.
#[derive(Debug)]
pub(super) enum Origin {
    /// It is new and has its own name.
    New,
    /// It has a temporary name until it replaces what has its own.
    Beside(Vec<u8>),
    /// It was there before.
    InPlace,
}

impl Target {
    /// Creates a file for an entry; its data is to be written.
    pub fn place_file(
        &self,
        parents: &mut Parents,
        entry: &Entry,
    ) -> Result<PlacedFile, PlaceError> {
        check(entry)?;
        let parent = self.parent_of(parents, &entry.path)?;
        self.create_file(entry, &parent)
    }

    pub(super) fn create_file(
        &self,
        entry: &Entry,
        parent: &Arc<OwnedFd>,
    ) -> Result<PlacedFile, PlaceError> {
        let path = &entry.path;
        let mode = self.mode_to_create(&entry.meta);
        let (fd, origin) = match create_new(parent, path.name(), mode) {
            Ok(fd) => (fd, Origin::New),
            Err(Errno::EXIST) if self.has_contents() => self.create_over(path, mode, parent)?,
            Err(errno) => return Err(creation_failure(path, errno)),
        };
        let stat = rustix::fs::fstat(&fd).map_err(|errno| failure(path, "examined", errno))?;
        let given = Given::of(&stat, &entry.meta);
        if mode != FILE_MODE && !given.owner {
            // The directory or the file system chose another group: that one gets no look.
            rustix::fs::fchmod(&fd, FILE_MODE).map_err(|errno| failure(path, "closed", errno))?;
        }
        let size = entry.kind.size();
        if ends_with_hole(&entry.kind) {
            rustix::fs::ftruncate(&fd, size).map_err(|errno| failure(path, "extended", errno))?;
        }
        Ok(PlacedFile {
            file: File::from(fd),
            parent: Arc::clone(parent),
            path: path.clone(),
            size,
            meta: entry.meta.clone(),
            origin,
            given,
        })
    }

    /// Returns the mode to create a file with.
    ///
    /// It is the file's own, which saves setting it, if nobody can do more with the file that
    /// way than when it is whole: it belongs to its owner from the beginning, and no ACL is
    /// yet to come or to go.
    fn mode_to_create(&self, meta: &Meta) -> Mode {
        let is_own = (meta.uid, meta.gid) == self.creator;
        let is_plain = meta.xattrs.is_empty() && !self.passes_acl_on.load(Ordering::Relaxed);
        if is_own && is_plain {
            Mode::from_raw_mode(meta.mode & RIGHTS)
        } else {
            FILE_MODE
        }
    }

    /// Creates a file that will replace what has its name.
    fn create_over(
        &self,
        path: &RelPath,
        mode: Mode,
        parent: &Arc<OwnedFd>,
    ) -> Result<(OwnedFd, Origin), PlaceError> {
        let stat = rustix::fs::statat(parent, path.name(), AtFlags::SYMLINK_NOFOLLOW);
        if stat.is_ok_and(|stat| metadata::file_type(&stat) == FileType::Directory) {
            self.clear_the_way(path, parent.as_fd())?;
            let made = create_new(parent, path.name(), mode);
            let fd = made.map_err(|errno| creation_failure(path, errno))?;
            return Ok((fd, Origin::New));
        }
        for _ in 0..TEMPS_MAX {
            let name = self.temporary_name();
            match create_new(parent, &name, mode) {
                Ok(fd) => return Ok((fd, Origin::Beside(name))),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(failure(path, "replaced", errno)),
            }
        }
        Err(failure(path, "replaced", Errno::EXIST))
    }

    /// Returns a name that no other file of this restore has.
    pub(super) fn temporary_name(&self) -> Vec<u8> {
        let number = self.temps.fetch_add(1, Ordering::Relaxed);
        let process = rustix::process::getpid().as_raw_nonzero();
        format!(".bkpctl-{process}-{number}.part").into_bytes()
    }

    /// Ends a file whose data is written: sets its metadata and gives it its name.
    pub fn finish_file(&self, placed: &PlacedFile) -> Result<(), PlaceError> {
        let handle = Handle::Open(placed.file.as_fd());
        if matches!(placed.origin, Origin::InPlace) {
            let stat = rustix::fs::fstat(&placed.file)
                .map_err(|errno| failure(&placed.path, "examined", errno))?;
            self.mend(handle, &stat, &placed.path, &placed.meta, false);
        } else {
            self.apply(handle, placed.given, &placed.path, &placed.meta, false);
        }
        if let Origin::Beside(name) = &placed.origin {
            let (parent, own) = (&placed.parent, placed.path.name());
            let renamed = rustix::fs::renameat(parent, name.as_slice(), parent, own);
            if let Err(errno) = renamed {
                self.discard(placed)?;
                return Err(failure(&placed.path, "replaced", errno));
            }
        }
        Ok(())
    }

    /// Takes a file away whose data cannot be had; what it was to replace stays as it was.
    ///
    /// A file that was being written in place stays too, half old and half new.
    pub fn discard(&self, placed: &PlacedFile) -> Result<(), PlaceError> {
        let name = match &placed.origin {
            Origin::New => placed.path.name(),
            Origin::Beside(name) => name,
            Origin::InPlace => return Ok(()),
        };
        let removed = rustix::fs::unlinkat(&placed.parent, name, AtFlags::empty());
        removed.map_err(|errno| failure(&placed.path, "removed", errno))
    }
}

impl PlacedFile {
    pub(super) fn in_place(file: File, parent: Arc<OwnedFd>, entry: &Entry) -> Self {
        Self {
            file,
            parent,
            path: entry.path.clone(),
            size: entry.kind.size(),
            meta: entry.meta.clone(),
            origin: Origin::InPlace,
            given: Given::default(),
        }
    }

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

    /// Returns the file, to read and change what was there before.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Tells whether it was there before and is written in place.
    pub fn is_in_place(&self) -> bool {
        matches!(self.origin, Origin::InPlace)
    }

    /// Returns the path the file has below the target.
    pub fn path(&self) -> &RelPath {
        &self.path
    }
}

fn create_new(parent: &OwnedFd, name: &[u8], mode: Mode) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, mode)
}

/// Tells whether the file is longer than its data, so that writing it all leaves it too short.
fn ends_with_hole(kind: &Kind) -> bool {
    match kind {
        Kind::File { size, extents } => extents.last().map_or(0, Extent::end) != *size,
        _ => false,
    }
}
