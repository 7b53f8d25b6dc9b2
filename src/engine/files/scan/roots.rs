//! Checks the paths a scan begins at, before anything is walked.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::ScanError;
use crate::engine::files::metadata;
use crate::engine::files::path::RelPath;

/// The place of the first entry.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) parent: Arc<OwnedFd>,
    pub(super) name: Arc<[u8]>,
}

pub(super) fn stat_at(parent: BorrowedFd<'_>, name: &[u8]) -> Result<Stat, Errno> {
    rustix::fs::statat(
        parent,
        name,
        AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT,
    )
}

fn open_plain_dir(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

fn checked_root(path: &Path) -> Result<RelPath, ScanError> {
    if !path.is_absolute() {
        return Err(ScanError::NotAbsolute(path.to_owned()));
    }
    RelPath::from_absolute(path).map_err(|source| ScanError::Path {
        path: path.to_owned(),
        source,
    })
}

fn root_error(path: &Path, errno: Errno) -> ScanError {
    ScanError::Root {
        path: path.to_owned(),
        source: errno.into(),
    }
}

pub(super) fn slash_base() -> Result<Base, ScanError> {
    let slash = Path::new("/");
    let parent = open_plain_dir(slash).map_err(|errno| root_error(slash, errno))?;
    Ok(Base {
        parent: Arc::new(parent),
        name: Arc::from(b".".as_slice()),
    })
}

/// Links above a single root are the caller's way to name it; the root itself must be no link.
pub(super) fn single_base(path: &Path) -> Result<Base, ScanError> {
    let cleaned = checked_root(path)?;
    if cleaned.is_root() {
        return slash_base();
    }
    let above = Path::new("/").join(cleaned.parent().unwrap_or_default().as_path());
    let parent = open_plain_dir(&above).map_err(|errno| root_error(path, errno))?;
    let stat = stat_at(parent.as_fd(), cleaned.name()).map_err(|errno| root_error(path, errno))?;
    if metadata::file_type(&stat) == FileType::Symlink {
        return Err(ScanError::SymbolicLink(path.to_owned()));
    }
    Ok(Base {
        parent: Arc::new(parent),
        name: Arc::from(cleaned.name()),
    })
}

pub(super) fn absolute_roots(paths: &[PathBuf]) -> Result<BTreeSet<RelPath>, ScanError> {
    let mut roots = BTreeSet::new();
    for path in paths {
        let root = checked_root(path)?;
        check_no_links(path, &root)?;
        roots.insert(root);
    }
    Ok(roots)
}

/// The directories above a root become entries, so none of them can be a link.
fn check_no_links(path: &Path, root: &RelPath) -> Result<(), ScanError> {
    let mut dir = open_plain_dir(Path::new("/")).map_err(|errno| root_error(path, errno))?;
    let mut names = root.components().peekable();
    while let Some(name) = names.next() {
        let stat = stat_at(dir.as_fd(), name).map_err(|errno| root_error(path, errno))?;
        if metadata::file_type(&stat) == FileType::Symlink {
            return Err(ScanError::SymbolicLink(link_path(root, name)));
        }
        if names.peek().is_some() {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            dir = rustix::fs::openat(&dir, name, flags, Mode::empty())
                .map_err(|errno| root_error(path, errno))?;
        }
    }
    Ok(())
}

/// Returns the path down to `name`, which is a slice of `root`'s own bytes.
fn link_path(root: &RelPath, name: &[u8]) -> PathBuf {
    let names = root.components();
    let upto = names.take_while(|part| part.as_ptr() <= name.as_ptr());
    let mut path = PathBuf::from("/");
    path.extend(upto.map(OsStr::from_bytes));
    path
}
