//! Removes what no entry names: never through a link, never on another file system.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::{Parents, PlaceError, Target, failure, way_failure};
use crate::engine::files::listing::Listing;
use crate::engine::files::metadata::Identity;
use crate::engine::files::note::What;
use crate::engine::files::path::RelPath;

/// How deep directories are kept open; what lies deeper is first moved up.
const DEPTH_MAX: usize = 64;

/// Tells whether a name is one that a restore gives a file until it is whole.
pub fn is_temporary(name: &[u8]) -> bool {
    let Some(middle) = name
        .strip_prefix(b".bkpctl-")
        .and_then(|rest| rest.strip_suffix(b".part"))
    else {
        return false;
    };
    let mut numbers = middle.split(|byte| *byte == b'-');
    let is_number = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    numbers.clone().count() == 2 && numbers.all(is_number)
}

/// Walks the names that a directory of the target had, smallest first.
#[derive(Debug)]
pub struct LiveNames(Listing);

impl LiveNames {
    /// Calls `take` with each name before `name` and passes `name` itself; without one, all.
    pub fn pass<E>(
        &mut self,
        name: Option<&[u8]>,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(live) = self.0.peek() {
            if name.is_some_and(|name| live > name) {
                break;
            }
            if name != Some(live) {
                take(live)?;
            }
            self.0.advance();
        }
        Ok(())
    }
}

/// Is a directory on the way down of a removal.
struct Level {
    dir: OwnedFd,
    name: Vec<u8>,
    names: Listing,
}

impl Target {
    /// Lists a directory that exists; none if it is on another file system than the target,
    /// where nothing is removed.
    pub fn live_names(&self, path: &RelPath) -> Result<Option<LiveNames>, PlaceError> {
        let (dir, device) = match self.open_listed(self.root.as_fd(), path.as_bytes()) {
            Err(Errno::XDEV) => {
                self.note(path, What::OtherFileSystem, Errno::XDEV);
                return Ok(None);
            }
            opened => opened.map_err(|errno| way_failure(path, errno))?,
        };
        if device != self.device {
            self.note(path, What::OtherFileSystem, Errno::XDEV);
            return Ok(None);
        }
        let names = list(dir.as_fd()).map_err(|errno| failure(path, "listed", errno))?;
        Ok(Some(LiveNames(names)))
    }

    /// Removes a name with all below it; returns how many names that were.
    ///
    /// What is mounted there, or below, stays with what is on the way to it, and a note says so.
    pub fn remove(&self, parents: &mut Parents, path: &RelPath) -> Result<u64, PlaceError> {
        let parent = self.parent_of(parents, path)?;
        let removed = match rustix::fs::unlinkat(&parent, path.name(), AtFlags::empty()) {
            Ok(()) => Ok(1),
            Err(Errno::ISDIR | Errno::PERM) => self.remove_dir(parent.as_fd(), path.name()),
            Err(errno) => Err(errno),
        };
        match removed {
            Ok(names) => Ok(names),
            Err(Errno::NOENT) => Ok(0),
            Err(errno @ (Errno::XDEV | Errno::BUSY)) => {
                self.note(path, What::OtherFileSystem, errno);
                Ok(0)
            }
            Err(errno) => Err(failure(path, "removed", errno)),
        }
    }

    /// Removes a directory with all below it; returns how many names that were.
    pub(super) fn remove_below(
        &self,
        path: &RelPath,
        parent: BorrowedFd<'_>,
    ) -> Result<u64, PlaceError> {
        let removed = self.remove_dir(parent, path.name());
        removed.map_err(|errno| failure(path, "removed", errno))
    }

    fn remove_dir(&self, parent: BorrowedFd<'_>, name: &[u8]) -> Result<u64, Errno> {
        let mut removed = 0;
        let mut waiting = vec![name.to_vec()];
        while let Some(name) = waiting.pop() {
            let mut way = vec![self.enter(parent, name)?];
            loop {
                let depth = way.len();
                let Some(level) = way.last_mut() else { break };
                let Some(child) = level.names.next().map(<[u8]>::to_vec) else {
                    let Some(done) = way.pop() else { break };
                    let above = way.last().map_or(parent, |level| level.dir.as_fd());
                    rustix::fs::unlinkat(above, done.name.as_slice(), AtFlags::REMOVEDIR)?;
                    removed += 1;
                    continue;
                };
                match rustix::fs::unlinkat(&level.dir, child.as_slice(), AtFlags::empty()) {
                    Ok(()) => removed += 1,
                    Err(Errno::NOENT) => {}
                    Err(Errno::ISDIR | Errno::PERM) if depth < DEPTH_MAX => {
                        let below = self.enter(level.dir.as_fd(), child)?;
                        way.push(below);
                    }
                    Err(Errno::ISDIR | Errno::PERM) => {
                        // A name that a later restore would remove too.
                        let aside = self.temporary_name();
                        rustix::fs::renameat(&level.dir, child, parent, aside.as_slice())?;
                        waiting.push(aside);
                    }
                    Err(errno) => return Err(errno),
                }
            }
        }
        Ok(removed)
    }

    fn open_listed(&self, from: BorrowedFd<'_>, path: &[u8]) -> Result<(OwnedFd, u64), Errno> {
        let dir = self.guard.open_listed(from, path)?;
        let stat = rustix::fs::fstat(&dir)?;
        Ok((dir, Identity::of(&stat).device))
    }

    fn enter(&self, parent: BorrowedFd<'_>, name: Vec<u8>) -> Result<Level, Errno> {
        let (dir, device) = self.open_listed(parent, &name)?;
        if device != self.device {
            return Err(Errno::XDEV);
        }
        let names = list(dir.as_fd())?;
        Ok(Level { dir, name, names })
    }
}

fn list(dir: BorrowedFd<'_>) -> Result<Listing, Errno> {
    match Listing::read(dir, &mut Vec::new()) {
        (names, None) => Ok(names),
        // A short listing would only leave something behind, but unsaid.
        (_, Some(errno)) => Err(errno),
    }
}
