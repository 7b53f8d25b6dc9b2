//! A file opened for reading its data, with its holes known.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{OFlags, SeekFrom, Stat};
use rustix::io::Errno;

use super::entry::{Extent, Kind};
use super::metadata::{self, Stamp};

/// How many extents of one file are kept apart; the rest is read as one, zeros included.
const EXTENTS_MAX: usize = 32 * 1024;

/// Holds an open regular file and what it was when it was opened.
#[derive(Debug)]
pub struct OpenFile {
    file: File,
    stamp: Stamp,
}

impl OpenFile {
    pub(super) fn new(fd: OwnedFd, stat: &Stat) -> Self {
        Self {
            file: File::from(fd),
            stamp: Stamp::of(stat),
        }
    }

    /// Reads at an offset, like the standard library's [`FileExt::read_at`].
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    /// Returns a reader of the data of `kind`'s extents, one after the other, holes left out.
    ///
    /// It fails with [`io::ErrorKind::UnexpectedEof`] if the file has become shorter;
    /// [`Kind::cut_to`] says what was read until then.
    pub fn data<'a>(&'a self, kind: &'a Kind) -> DataReader<'a> {
        let extents = match kind {
            Kind::File { extents, .. } => extents.as_slice(),
            _ => &[],
        };
        DataReader {
            file: &self.file,
            extents,
            done: 0,
        }
    }

    /// Tells whether the file is no longer what it was when it was opened.
    ///
    /// Ask after the last read: size, modification and change time are compared. A writer
    /// within the clock's grain of the opening goes unseen.
    pub fn has_changed(&self) -> io::Result<bool> {
        Ok(Stamp::of(&rustix::fs::fstat(&self.file)?) != self.stamp)
    }
}

impl AsFd for OpenFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl DataReader<'_> {
    /// Leaves out the first `bytes` of the data.
    pub fn skip_data(&mut self, mut bytes: u64) {
        while let Some(extent) = self.extents.first() {
            let left = extent.len - self.done;
            if bytes < left {
                self.done += bytes;
                return;
            }
            bytes -= left;
            self.extents = &self.extents[1..];
            self.done = 0;
        }
    }
}

/// Reads a file's data without its holes.
#[derive(Debug)]
pub struct DataReader<'a> {
    file: &'a File,
    extents: &'a [Extent],
    /// Bytes read of the first extent.
    done: u64,
}

impl Read for DataReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(extent) = self.extents.first() else {
            return Ok(0);
        };
        let left = extent.len - self.done;
        let wanted = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let len = self
            .file
            .read_at(&mut buffer[..wanted], extent.offset + self.done)?;
        if len == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "file became shorter while it was read",
            ));
        }
        self.done += len as u64;
        if self.done == extent.len {
            self.extents = &self.extents[1..];
            self.done = 0;
        }
        Ok(len)
    }
}

/// Opens for reading, sparing the access time where the kernel permits that.
pub(super) fn open_reading(
    dir: BorrowedFd<'_>,
    name: &[u8],
    extra: OFlags,
) -> Result<OwnedFd, Errno> {
    // Without NONBLOCK a fifo put in a file's place would block for ever.
    let flags = OFlags::RDONLY
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::NOCTTY
        | OFlags::CLOEXEC
        | extra;
    let open = |flags| rustix::fs::openat(dir, name, flags, rustix::fs::Mode::empty());
    match open(flags | OFlags::NOATIME) {
        // Only the owner and the privileged may spare the access time.
        Err(Errno::PERM) => open(flags),
        result => result,
    }
}

/// Returns size and extents of an open file.
pub(super) fn file_kind(fd: BorrowedFd<'_>, stat: &Stat) -> Kind {
    let size = metadata::size(stat);
    if !metadata::may_have_holes(stat) {
        return Kind::dense_file(size);
    }
    match data_extents(fd, size) {
        Ok(extents) => Kind::File { size, extents },
        // A file system that cannot tell has its zeros read.
        Err(_) => Kind::dense_file(size),
    }
}

fn data_extents(fd: BorrowedFd<'_>, size: u64) -> Result<Vec<Extent>, Errno> {
    let mut extents: Vec<Extent> = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match rustix::fs::seek(fd, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(errno) => return Err(errno),
        };
        // The file may have grown or shrunk since its size was taken.
        let start = start.max(at);
        if start >= size {
            break;
        }
        let end = match rustix::fs::seek(fd, SeekFrom::Hole(start)) {
            Ok(end) if extents.len() + 1 < EXTENTS_MAX => end.min(size),
            Ok(_) | Err(Errno::NXIO) => size,
            Err(errno) => return Err(errno),
        };
        if end <= start {
            break;
        }
        push_extent(
            &mut extents,
            Extent {
                offset: start,
                len: end - start,
            },
        );
        at = end;
    }
    Ok(extents)
}

fn push_extent(extents: &mut Vec<Extent>, extent: Extent) {
    match extents.last_mut() {
        // Two calls can see one stretch of data as two.
        Some(last) if last.end() == extent.offset => last.len += extent.len,
        _ => extents.push(extent),
    }
}
