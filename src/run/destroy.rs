//! Removes a repository that a topology no longer has: its own files, and nothing else.
//!
//! The marker `managed.json` must name what the plan named, and is the first thing to change and
//! the last to go: it says that the repository is being removed. So whatever a crash leaves is no
//! copy to anybody, is known for what it is, and is removed by the same call made again. Links
//! are never followed, other filesystems never entered, and what is not the repository's own by
//! its name stays.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::resume_unwind;
use std::thread;

use rustix::fs::{Access, AtFlags, Dir, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::message::Fault;
use super::node::NodeReply;
use super::{here, users};
use crate::engine::store::{Folder, StoreName};
use crate::model::Name;
use crate::model::markers::{Managed, RepositoryMarker};
use crate::model::topology::TopologyId;

const MARKER: &CStr = c"bkpctl.json";
const MANAGED: &CStr = c"managed.json";
/// The new marker before it has its name.
const NEXT: &CStr = c"managed.json.next";

/// Folders of a store that hold nothing of value and no names of files that are known.
const WORKING: [&str; 2] = ["sessions", "tmp"];

/// The largest marker.
const MARKER_BYTES_MAX: u64 = 16 << 20;

/// The deepest folder of a store.
const DEPTH_MAX: usize = 4;

/// What is to be removed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    /// The repository's folder.
    pub(super) folder: &'a str,
    /// The topology that its marker must name.
    pub(super) topology: &'a TopologyId,
    /// The datastore that its marker must name.
    pub(super) object: &'a Name,
    /// The repository's id in hex.
    pub(super) repository: &'a str,
}

/// Removes a repository; what is left of one whose removal was broken off as well.
///
/// Over the network root is often nobody, who may remove nothing: the folder's owner may. A
/// thread of its own becomes that owner, as nothing that did can ever be root again.
pub(super) fn destroy(target: &Target<'_>) -> Result<NodeReply, Fault> {
    let go_on = || destroy_step_by_step(target, &mut || Ok(()));
    let Some((uid, gid)) = owner_where_root_is_nobody(target.folder) else {
        return go_on();
    };
    let as_owner = || users::become_for_good(uid, gid).and_then(|()| go_on());
    let ended = thread::scope(|scope| scope.spawn(as_owner).join());
    ended.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Returns the owner of a folder in which we are root and may not write.
fn owner_where_root_is_nobody(folder: &str) -> Option<(u32, u32)> {
    let all = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    if here::effective_uid() != 0 || rustix::fs::access(folder, all) != Err(Errno::ACCESS) {
        return None;
    }
    let stat = rustix::fs::lstat(folder).ok()?;
    let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    (is_folder && stat.st_uid != 0).then_some((stat.st_uid, stat.st_gid))
}

/// Removes a repository, and asks before each change whether to go on.
fn destroy_step_by_step(
    target: &Target<'_>,
    go_on: &mut dyn FnMut() -> Result<(), Fault>,
) -> Result<NodeReply, Fault> {
    let root = open_root(target.folder)?;
    let Some(managed) = target.check(root.as_fd())? else {
        return Ok(NodeReply::Text(format!(
            "nothing is left in {}",
            target.folder
        )));
    };
    let mut removal = Removal {
        folder: target.folder,
        device: fstat_device(root.as_fd(), target.folder)?,
        removed: 0,
        left: 0,
        go_on,
    };
    removal.nobody_works(root.as_fd())?;
    removal.mark(root.as_fd(), managed, target.repository)?;
    // Without its marker nobody opens it any more.
    removal.unlink(root.as_fd(), MARKER, "bkpctl.json")?;
    removal.sync(root.as_fd(), "")?;
    for name in folders() {
        removal.folder(root.as_fd(), name, name, 0)?;
    }
    removal.unlink(root.as_fd(), NEXT, "managed.json.next")?;
    removal.sync(root.as_fd(), "")?;
    removal.unlink(root.as_fd(), MANAGED, "managed.json")?;
    removal.sync(root.as_fd(), "")?;
    Ok(NodeReply::Text(removal.words()))
}

/// Returns the folders of a store, in the order in which they go: what names snapshots first.
fn folders() -> impl Iterator<Item = &'static str> {
    let first = [Folder::Snapshots, Folder::Index];
    let rest = Folder::ALL.into_iter();
    let rest = rest.filter(move |folder| *folder != Folder::Root && !first.contains(folder));
    let all = first.into_iter().chain(rest).map(Folder::as_str);
    all.chain(WORKING)
}

/// Tells whether a file is a store's own, by its path in there.
fn is_own(path: &str) -> bool {
    let top = path.split('/').next().unwrap_or_default();
    WORKING.contains(&top) || path == "receipts/lock" || StoreName::parse(path).is_ok()
}

impl Target<'_> {
    /// Checks that what is there is what was planned, and returns its marker; none where
    /// nothing is left of it.
    fn check(&self, root: BorrowedFd<'_>) -> Result<Option<Managed>, Fault> {
        let managed: Option<Managed> = self.document(root, MANAGED)?;
        let marker: Option<RepositoryMarker> = self.document(root, MARKER)?;
        let folder = self.folder;
        let Some(managed) = managed else {
            return match marker {
                None => Ok(None),
                Some(_) => Err(Fault::refused(format!(
                    "the repository in {folder} is not marked as anybody's; nothing was removed"
                ))),
            };
        };
        if managed.topology != *self.topology || managed.object != *self.object {
            return Err(Fault::refused(format!(
                "{folder} is marked as datastore.{} of topology {}; nothing was removed",
                managed.object, managed.topology.0
            )));
        }
        if managed.guard {
            return Err(Fault::refused(format!(
                "the repository in {folder} is guarded; nothing was removed"
            )));
        }
        let id = marker.map(|marker| marker.id).or(managed.removing.clone());
        if id.as_deref() != Some(self.repository) {
            return Err(Fault::stale(format!(
                "another repository is in {folder} than when the plan was made; nothing was removed"
            )));
        }
        Ok(Some(managed))
    }

    fn document<T: serde::de::DeserializeOwned>(
        &self,
        root: BorrowedFd<'_>,
        name: &CStr,
    ) -> Result<Option<T>, Fault> {
        let shown = format!("{}/{}", self.folder, name.to_string_lossy());
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(root, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(Fault::io(&format!("read {shown}"), &error.into())),
        };
        let mut bytes = Vec::new();
        file.take(MARKER_BYTES_MAX)
            .read_to_end(&mut bytes)
            .map_err(|error| Fault::io(&format!("read {shown}"), &error))?;
        let document = serde_json::from_slice(&bytes).map_err(|error| {
            Fault::refused(format!(
                "{shown} can't be read ({error}); nothing was removed"
            ))
        })?;
        Ok(Some(document))
    }
}

/// A removal under way.
struct Removal<'a> {
    folder: &'a str,
    device: u64,
    removed: u64,
    left: u64,
    go_on: &'a mut dyn FnMut() -> Result<(), Fault>,
}

impl Removal<'_> {
    fn failed(&self, what: &str, path: &str, error: Errno) -> Fault {
        let place = format!("{}/{path}", self.folder);
        Fault::io(
            &format!("{what} {}", place.trim_end_matches('/')),
            &error.into(),
        )
    }

    /// Checks that no process has a session open; its lock would be held.
    fn nobody_works(&self, root: BorrowedFd<'_>) -> Result<(), Fault> {
        let Some(sessions) = self.open(root, c"sessions", "sessions")? else {
            return Ok(());
        };
        for session in self.list(sessions.as_fd(), "sessions")? {
            let path = format!("sessions/{}", session.to_string_lossy());
            let Some(folder) = self.open(sessions.as_fd(), &session, &path)? else {
                continue;
            };
            for file in self.list(folder.as_fd(), &path)? {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let Ok(opened) = rustix::fs::openat(&folder, &file, flags, Mode::empty()) else {
                    continue;
                };
                let lock = rustix::fs::flock(&opened, FlockOperation::NonBlockingLockExclusive);
                if lock == Err(Errno::WOULDBLOCK) {
                    return Err(Fault::locked(
                        &format!("{}/{path}", self.folder),
                        "a process that works with the repository",
                    ));
                }
            }
        }
        Ok(())
    }

    /// Says in the marker, durably, that the repository is being removed.
    fn mark(
        &mut self,
        root: BorrowedFd<'_>,
        managed: Managed,
        repository: &str,
    ) -> Result<(), Fault> {
        if managed.removing.as_deref() == Some(repository) {
            return Ok(());
        }
        let marked = Managed {
            removing: Some(repository.to_owned()),
            ..managed
        };
        let json = serde_json::to_vec_pretty(&marked)
            .map_err(|error| Fault::refused(format!("the marker can't be written: {error}")))?;
        // What a broken-off removal left under that name may be anything.
        self.unlink(root, NEXT, "managed.json.next")?;
        (self.go_on)()?;
        let write = || -> std::io::Result<()> {
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mode = Mode::from_raw_mode(0o644);
            let mut file = File::from(rustix::fs::openat(root, NEXT, flags, mode)?);
            file.write_all(&json)?;
            file.sync_all()
        };
        write().map_err(|error| {
            Fault::io(&format!("write {}/managed.json.next", self.folder), &error)
        })?;
        (self.go_on)()?;
        rustix::fs::renameat(root, NEXT, root, MANAGED)
            .map_err(|error| self.failed("write", "managed.json", error))?;
        self.sync(root, "")
    }

    /// Removes a folder of the store with all that is its own in there.
    fn folder(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &str,
        path: &str,
        depth: usize,
    ) -> Result<(), Fault> {
        let name = CString::new(name).map_err(|_| Fault::refused("a name with a NUL byte"))?;
        let Some(folder) = self.open(parent, &name, path)? else {
            return Ok(());
        };
        for entry in self.list(folder.as_fd(), path)? {
            let below = format!("{path}/{}", entry.to_string_lossy());
            match self.kind(folder.as_fd(), &entry, &below)? {
                Some(FileType::Directory) if depth < DEPTH_MAX => {
                    self.folder(folder.as_fd(), &entry.to_string_lossy(), &below, depth + 1)?;
                }
                Some(FileType::RegularFile) if is_own(&below) => {
                    self.unlink(folder.as_fd(), &entry, &below)?;
                }
                Some(_) => self.left += 1,
                None => {}
            }
        }
        self.sync(folder.as_fd(), path)?;
        (self.go_on)()?;
        match rustix::fs::unlinkat(parent, &name, AtFlags::REMOVEDIR) {
            // Somebody else's files are in it.
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST | Errno::BUSY) => Ok(()),
            Err(error) => Err(self.failed("remove", path, error)),
        }
    }

    /// Opens a folder below, if it is one and on the same filesystem.
    fn open(
        &self,
        parent: BorrowedFd<'_>,
        name: &CStr,
        path: &str,
    ) -> Result<Option<OwnedFd>, Fault> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = match rustix::fs::openat(parent, name, flags, Mode::empty()) {
            Ok(folder) => folder,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(error) => return Err(self.failed("open", path, error)),
        };
        let device = fstat_device(folder.as_fd(), path)?;
        Ok((device == self.device).then_some(folder))
    }

    fn list(&self, folder: BorrowedFd<'_>, path: &str) -> Result<Vec<CString>, Fault> {
        let failed = |error| self.failed("list", path, error);
        let mut names = Vec::new();
        for entry in Dir::read_from(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    fn kind(
        &self,
        folder: BorrowedFd<'_>,
        name: &CStr,
        path: &str,
    ) -> Result<Option<FileType>, Fault> {
        match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.failed("look at", path, error)),
        }
    }

    /// Removes a file, or a link itself; none is there after a removal that was broken off.
    fn unlink(&mut self, folder: BorrowedFd<'_>, name: &CStr, path: &str) -> Result<(), Fault> {
        (self.go_on)()?;
        match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
            Ok(()) => self.removed += 1,
            Err(Errno::NOENT) => {}
            Err(error) => return Err(self.failed("remove", path, error)),
        }
        Ok(())
    }

    fn sync(&self, folder: BorrowedFd<'_>, path: &str) -> Result<(), Fault> {
        rustix::fs::fsync(folder).map_err(|error| self.failed("sync", path, error))
    }

    fn words(&self) -> String {
        let removed = format!("{} files removed from {}", self.removed, self.folder);
        match self.left {
            0 => removed,
            left => format!("{removed}; {left} that are not the repository's own stay"),
        }
    }
}

fn open_root(folder: &str) -> Result<OwnedFd, Fault> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(folder, flags, Mode::empty())
        .map_err(|error| Fault::io(&format!("open {folder}"), &error.into()))
}

fn fstat_device(folder: BorrowedFd<'_>, path: &str) -> Result<u64, Fault> {
    let stat = rustix::fs::fstat(folder)
        .map_err(|error| Fault::io(&format!("look at {path}"), &error.into()))?;
    Ok(stat.st_dev)
}

#[cfg(test)]
mod tests;
