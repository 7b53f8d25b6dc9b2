//! What is in the target already: looked at, kept, mended or moved out of the way.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::{DIR_MODE, Existing, Parents, PlaceError, PlacedFile, Target, check, failure};
use crate::engine::files::attributes::{self, Handle};
use crate::engine::files::content;
use crate::engine::files::entry::{Entry, Extent, Kind};
use crate::engine::files::metadata::{self, Identity};
use crate::engine::files::path::RelPath;

/// Is a regular file of the target that may be what an entry describes.
#[derive(Debug)]
pub struct LiveFile {
    file: File,
    parent: Arc<OwnedFd>,
    stat: Stat,
}

impl Target {
    /// Opens the file that has an entry's name, if it may stay or be changed.
    ///
    /// A file with several names is never written to and its metadata is never set, as one of
    /// the names may be elsewhere: it stays only as it is.
    pub fn live_file(
        &self,
        parents: &mut Parents,
        entry: &Entry,
    ) -> Result<Option<LiveFile>, PlaceError> {
        if !self.has_contents() {
            return Ok(None);
        }
        check(entry)?;
        let parent = self.parent_of(parents, &entry.path)?;
        // What cannot be read is replaced.
        let Ok(fd) = content::open_reading(parent.as_fd(), entry.path.name(), OFlags::empty())
        else {
            return Ok(None);
        };
        let stat =
            rustix::fs::fstat(&fd).map_err(|errno| failure(&entry.path, "examined", errno))?;
        let live = LiveFile {
            file: File::from(fd),
            parent,
            stat,
        };
        Ok(self.may_stay(&live, entry).then_some(live))
    }

    fn may_stay(&self, live: &LiveFile, entry: &Entry) -> bool {
        if metadata::file_type(&live.stat) != FileType::RegularFile {
            return false;
        }
        if !live.is_shared() {
            return true;
        }
        self.may_share(Handle::Open(live.file.as_fd()), &live.stat, entry)
    }

    /// Keeps a file whose data is right; its metadata is mended.
    pub fn keep(&self, live: &LiveFile, entry: &Entry) {
        if live.is_shared() {
            self.unchanged.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let handle = Handle::Open(live.file.as_fd());
        self.mend(handle, &live.stat, &entry.path, &entry.meta, false);
    }

    /// Opens a file that has one name alone for writing in place, with the length it is to have;
    /// none if that is not possible.
    pub fn write_in_place(
        &self,
        live: &LiveFile,
        entry: &Entry,
    ) -> Result<Option<PlacedFile>, PlaceError> {
        if live.is_shared() {
            return Ok(None);
        }
        let path = &entry.path;
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&live.parent, path.name(), flags, Mode::empty());
        let Ok(fd) = opened else {
            return Ok(None);
        };
        let stat = rustix::fs::fstat(&fd).map_err(|errno| failure(path, "examined", errno))?;
        // Someone may have put another file in its place meanwhile.
        if Identity::of(&stat) != Identity::of(&live.stat) || metadata::links(&stat) != 1 {
            return Ok(None);
        }
        let size = entry.kind.size();
        if metadata::size(&stat) != size {
            rustix::fs::ftruncate(&fd, size).map_err(|errno| failure(path, "cut", errno))?;
        }
        let parent = Arc::clone(&live.parent);
        Ok(Some(PlacedFile::in_place(File::from(fd), parent, entry)))
    }

    /// Takes an existing directory as the one wanted; tells whether it is one.
    pub(super) fn share_dir(
        &self,
        path: &RelPath,
        parent: BorrowedFd<'_>,
    ) -> Result<bool, PlaceError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = match rustix::fs::openat(parent, path.name(), flags, Mode::empty()) {
            Ok(dir) => dir,
            Err(Errno::LOOP | Errno::NOTDIR) => return Ok(false),
            Err(errno) => return Err(failure(path, "opened", errno)),
        };
        if attributes::passes_acl_on(dir.as_fd()) {
            self.passes_acl_on.store(true, Ordering::Relaxed);
        }
        // The mode it is to have is set at the end; until then we must get in.
        if let Ok(stat) = rustix::fs::fstat(&dir)
            && !Mode::from_raw_mode(stat.st_mode).contains(DIR_MODE)
            && !rustix::process::geteuid().is_root()
        {
            attributes::open_up(dir.as_fd(), &stat);
        }
        Ok(true)
    }

    /// Removes what has the name of an entry of another kind.
    pub(super) fn clear_the_way(
        &self,
        path: &RelPath,
        parent: BorrowedFd<'_>,
    ) -> Result<(), PlaceError> {
        let name = path.name();
        match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(errno) => return Err(failure(path, "replaced", errno)),
        }
        match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) if self.existing == Existing::Mirror => {
                self.remove_below(path, parent).map(drop)
            }
            Err(Errno::NOTEMPTY | Errno::EXIST) => Err(PlaceError::Occupied(path.clone())),
            Err(errno) => Err(failure(path, "replaced", errno)),
        }
    }
}

impl LiveFile {
    /// Tells whether it has other names.
    pub fn is_shared(&self) -> bool {
        metadata::links(&self.stat) > 1
    }

    /// Returns its length in bytes.
    pub fn size(&self) -> u64 {
        metadata::size(&self.stat)
    }

    /// Returns the file, open for reading.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Fills the buffer from an offset; tells whether there was enough.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> bool {
        self.file.read_exact_at(buffer, offset).is_ok()
    }

    /// Returns the parts of the file that hold data.
    pub fn extents(&self) -> Vec<Extent> {
        match content::file_kind(self.file.as_fd(), &self.stat) {
            Kind::File { extents, .. } => extents,
            _ => Vec::new(),
        }
    }
}
