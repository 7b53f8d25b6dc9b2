//! Turns what the kernel says of a file into [`Meta`] and [`Kind`].

use rustix::fs::{FileType, Stat};

use super::entry::{Kind, MODE_MASK, Meta, Time};
use super::owners::Owners;

/// Names a file on this machine: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    pub(super) device: u64,
    pub(super) inode: u64,
}

/// Holds what changes whenever a file's data does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    identity: Identity,
    size: u64,
    mtime: Time,
    ctime: Time,
}

impl Identity {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
        }
    }
}

impl Stamp {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            identity: Identity::of(stat),
            size: size(stat),
            mtime: mtime(stat),
            ctime: ctime(stat),
        }
    }
}

pub(super) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

pub(super) fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// Tells whether a file has fewer blocks than its length needs.
pub(super) fn may_have_holes(stat: &Stat) -> bool {
    (stat.st_blocks as u64).saturating_mul(512) < size(stat)
}

#[allow(
    clippy::unnecessary_cast,
    reason = "the kernel's type differs between architectures"
)]
pub(super) fn links(stat: &Stat) -> u64 {
    stat.st_nlink as u64
}

pub(super) fn mtime(stat: &Stat) -> Time {
    Time {
        seconds: stat.st_mtime,
        nanos: stat.st_mtime_nsec as u32,
    }
}

fn ctime(stat: &Stat) -> Time {
    Time {
        seconds: stat.st_ctime,
        nanos: stat.st_ctime_nsec as u32,
    }
}

/// Returns everything but the extended attributes.
pub(super) fn meta(stat: &Stat, owners: &Owners) -> Meta {
    Meta {
        mode: stat.st_mode & MODE_MASK,
        uid: stat.st_uid,
        gid: stat.st_gid,
        user: owners.user(stat.st_uid),
        group: owners.group(stat.st_gid),
        mtime: mtime(stat),
        ctime: ctime(stat),
        inode: stat.st_ino,
        links: links(stat),
        xattrs: Vec::new(),
    }
}

/// Returns the kind of what needs no further call: nothing for links, sockets and the unknown.
///
/// A file counts as dense until it is opened and asked for its holes.
pub(super) fn plain_kind(stat: &Stat) -> Option<Kind> {
    let (major, minor) = (
        rustix::fs::major(stat.st_rdev),
        rustix::fs::minor(stat.st_rdev),
    );
    match file_type(stat) {
        FileType::Directory => Some(Kind::Dir),
        FileType::RegularFile => Some(Kind::dense_file(size(stat))),
        FileType::Fifo => Some(Kind::Fifo),
        FileType::CharacterDevice => Some(Kind::CharDevice { major, minor }),
        FileType::BlockDevice => Some(Kind::BlockDevice { major, minor }),
        FileType::Symlink | FileType::Socket | FileType::Unknown => None,
    }
}
