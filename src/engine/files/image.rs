//! An image opened for reading: a block device, or a file that holds one.
//!
//! Reads are positioned, so that several threads share one [`Image`]. Only as much of the
//! page cache is given back as reading took: what the machine had in memory before stays.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::num::NonZeroU64;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::{Errno, ReadWriteFlags};
use thiserror::Error;

use super::entry::{Entry, Kind};
use super::metadata::{self, Stamp};
use super::note::{Note, What};
use super::owners::Owners;
use super::path::RelPath;
use super::xattrs::XattrReader;

/// Where the numbers of writes stand in a block device's `stat`: requests and sectors of
/// writes, then of discards.
const WRITE_COUNTERS: [usize; 4] = [4, 6, 11, 13];

/// Says why an image cannot be read.
#[derive(Debug, Error)]
pub enum ImageError {
    /// It is neither a file nor a block device.
    #[error(
        "`{}` is a {noun}; an image is a block device or a regular file", .path.display()
    )]
    Kind {
        /// The image as given.
        path: PathBuf,
        /// What it is instead.
        noun: &'static str,
    },
    /// A device has no size, as when nothing is attached to it.
    #[error("`{}` is a device without content; attach or activate it first", .0.display())]
    NoMedium(PathBuf),
    /// Its path does not end with a name.
    #[error("`{}` does not end with a name that the image could have", .0.display())]
    NoName(PathBuf),
    /// It cannot be opened or examined.
    #[error("image `{}` cannot be opened for reading", .path.display())]
    Open {
        /// The image as given.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// Some part of it cannot be read.
    #[error("image `{}` cannot be read at byte {offset}", .path.display())]
    Read {
        /// The image as given.
        path: PathBuf,
        /// Where the reading failed.
        offset: u64,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// It became shorter while it was read.
    #[error(
        "image `{}` ended at byte {offset} while it was read, it had {size}; stop what changes it, or snapshot it first", .path.display()
    )]
    Shrank {
        /// The image as given.
        path: PathBuf,
        /// Where it ended.
        offset: u64,
        /// The size it had.
        size: u64,
    },
}

/// Is an image that several threads may read.
#[derive(Debug)]
pub struct Image {
    file: File,
    path: PathBuf,
    name: RelPath,
    size: u64,
    stat: Stat,
    before: State,
}

/// Is what changes whenever somebody writes to an image.
#[derive(Debug, PartialEq, Eq)]
enum State {
    File(Stamp),
    /// The counters of writes; nothing where the kernel does not tell them.
    Device(Option<[u64; 4]>),
}

impl Image {
    /// Opens an image; links to it are followed, as those below `/dev` are.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        let failed = |errno: Errno| ImageError::Open {
            path: path.to_owned(),
            source: errno.into(),
        };
        let name = path.file_name().and_then(|name| {
            let name = RelPath::new(name.as_bytes()).ok()?;
            (!name.is_root()).then_some(name)
        });
        let name = name.ok_or_else(|| ImageError::NoName(path.to_owned()))?;
        // Opening a fifo would wait, and opening other devices may do something to them.
        check_kind(path, &rustix::fs::stat(path).map_err(failed)?)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(failed)?;
        let stat = rustix::fs::fstat(&fd).map_err(failed)?;
        check_kind(path, &stat)?;
        let size = rustix::fs::seek(&fd, SeekFrom::End(0)).map_err(failed)?;
        if size == 0 && is_device(&stat) {
            return Err(ImageError::NoMedium(path.to_owned()));
        }
        // Reading ahead would bring in pages that nobody gives back.
        let _ = rustix::fs::fadvise(&fd, 0, None, Advice::Random);
        let before = State::of(&stat);
        Ok(Self {
            file: File::from(fd),
            path: path.to_owned(),
            name,
            size,
            stat,
            before,
        })
    }

    /// Returns the length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Tells whether it is a file, whose times say whether it changed since a snapshot.
    pub fn is_file(&self) -> bool {
        !is_device(&self.stat)
    }

    /// Returns the entry it becomes, and what of it could not be read.
    ///
    /// That is a file under its own name, dense until it is read.
    pub fn entry(&self, owners: &Owners) -> (Entry, Option<Note>) {
        let mut meta = metadata::meta(&self.stat, owners);
        // A snapshot of an image has this one name of it.
        meta.links = 1;
        let mut failure = None;
        if self.is_file() {
            (meta.xattrs, failure) = XattrReader::new().of_fd(self.file.as_fd());
        }
        let failed = |errno| Note::failed(self.name.clone(), What::XattrsUnreadable, errno);
        let entry = Entry::new(self.name.clone(), Kind::dense_file(self.size), meta);
        (entry, failure.map(failed))
    }

    /// Returns the first stretch of data that ends after `offset`; what is before it is a hole.
    pub fn data_after(&self, offset: u64) -> Option<(u64, u64)> {
        if offset >= self.size {
            return None;
        }
        let everything = Some((offset, self.size));
        let start = match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(start) if start < self.size => start.max(offset),
            Ok(_) | Err(Errno::NXIO) => return None,
            // A device or a file system that cannot tell has its zeros read.
            Err(_) => return everything,
        };
        match rustix::fs::seek(&self.file, SeekFrom::Hole(start)) {
            Ok(end) if end > start => Some((start, end.min(self.size))),
            _ => Some((start, self.size)),
        }
    }

    /// Fills `buffer` from `offset` on.
    pub fn read(&self, buffer: &mut [u8], offset: u64) -> Result<(), ImageError> {
        if self.is_file() {
            let known = self.read_from_memory(buffer, offset);
            if known < buffer.len() {
                self.read_from_disk(&mut buffer[known..], offset + known as u64)?;
                self.drop_pages(offset, buffer.len());
            }
            return Ok(());
        }
        // A mounted file system writes past the device's own pages, so old ones lie.
        self.drop_pages(offset, buffer.len());
        self.read_from_disk(buffer, offset)?;
        self.drop_pages(offset, buffer.len());
        Ok(())
    }

    /// Reads as much as needs no disk, and returns how much that was.
    fn read_from_memory(&self, buffer: &mut [u8], offset: u64) -> usize {
        let mut parts = [IoSliceMut::new(buffer)];
        // Where the kernel does not know how to say no, everything comes from the disk.
        rustix::io::preadv2(&self.file, &mut parts, offset, ReadWriteFlags::NOWAIT).unwrap_or(0)
    }

    fn read_from_disk(&self, mut buffer: &mut [u8], mut offset: u64) -> Result<(), ImageError> {
        while !buffer.is_empty() {
            match self.file.read_at(buffer, offset) {
                Ok(0) => {
                    return Err(ImageError::Shrank {
                        path: self.path.clone(),
                        offset,
                        size: self.size,
                    });
                }
                Ok(len) => {
                    buffer = &mut buffer[len..];
                    offset += len as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(ImageError::Read {
                        path: self.path.clone(),
                        offset,
                        source,
                    });
                }
            }
        }
        Ok(())
    }

    fn drop_pages(&self, offset: u64, len: usize) {
        // Only a wish: pages that somebody is writing stay.
        let len = NonZeroU64::new(len as u64);
        let _ = rustix::fs::fadvise(&self.file, offset, len, Advice::DontNeed);
    }

    /// Tells whether somebody wrote to it since it was opened, as far as the kernel tells.
    pub fn has_changed(&self) -> bool {
        let size = rustix::fs::seek(&self.file, SeekFrom::End(0));
        let stat = rustix::fs::fstat(&self.file);
        match (size, stat) {
            (Ok(size), Ok(stat)) => size != self.size || State::of(&stat) != self.before,
            _ => true,
        }
    }
}

impl State {
    fn of(stat: &Stat) -> Self {
        if is_device(stat) {
            Self::Device(write_counters(stat))
        } else {
            Self::File(Stamp::of(stat))
        }
    }
}

/// Returns how often and how much was written to a block device since it appeared.
fn write_counters(stat: &Stat) -> Option<[u64; 4]> {
    let (major, minor) = (
        rustix::fs::major(stat.st_rdev),
        rustix::fs::minor(stat.st_rdev),
    );
    let text = std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?;
    let numbers: Vec<u64> = text
        .split_ascii_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    // Kernels before 4.18 do not count discards.
    Some(WRITE_COUNTERS.map(|place| numbers.get(place).copied().unwrap_or(0)))
}

fn is_device(stat: &Stat) -> bool {
    metadata::file_type(stat) == FileType::BlockDevice
}

fn check_kind(path: &Path, stat: &Stat) -> Result<(), ImageError> {
    let noun = match metadata::file_type(stat) {
        FileType::RegularFile | FileType::BlockDevice => return Ok(()),
        FileType::Directory => "directory",
        FileType::CharacterDevice => "character device",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
        FileType::Symlink | FileType::Unknown => "thing of an unknown kind",
    };
    Err(ImageError::Kind {
        path: path.to_owned(),
        noun,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The longest file that ext4 takes.
    const LARGEST: u64 = (16 << 40) - 4096;

    fn refused(path: &Path) -> String {
        Image::open(path).expect_err("no image").to_string()
    }

    #[test]
    fn what_is_no_image_is_named() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let fifo = dir.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, Mode::RWXU).expect("made");
        assert!(refused(dir.path()).contains("is a directory"));
        assert!(refused(&fifo).contains("is a fifo"));
        assert!(refused(Path::new("/dev/null")).contains("is a character device"));
        assert!(refused(&dir.path().join("gone")).contains("cannot be opened"));
        assert!(refused(Path::new("/")).contains("does not end with a name"));
    }

    #[test]
    fn holes_are_found_and_data_is_read_whatever_is_in_memory() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("image");
        let file = File::create(&path).expect("created");
        file.set_len(LARGEST).expect("extended");
        file.write_all_at(&[7; 4096], 8 << 40).expect("written");
        file.sync_all().expect("synced");
        let image = Image::open(&path).expect("an image");
        assert_eq!(image.size(), LARGEST);
        assert_eq!(image.data_after(0), Some((8 << 40, (8 << 40) + 4096)));
        assert_eq!(image.data_after((8 << 40) + 4096), None);
        for _ in 0..2 {
            let mut buffer = [1; 8192];
            image.read(&mut buffer, 8 << 40).expect("readable");
            assert_eq!(buffer[..4096], [7; 4096]);
            assert_eq!(buffer[4096..], [0; 4096]);
        }
        assert!(!image.has_changed());
        file.write_all_at(&[8], 0).expect("written");
        assert!(image.has_changed());
        let image = Image::open(&path).expect("an image");
        file.set_len(100).expect("cut");
        let cut = image.read(&mut [0; 200], 0).expect_err("it is shorter");
        assert!(cut.to_string().contains("ended at byte 100"), "{cut}");
    }
}
