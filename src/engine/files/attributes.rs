//! Sets owner, mode, extended attributes and times of what was just placed.
//!
//! The order matters: a change of owner clears set-user bits and capabilities, attributes
//! need the right to write, and everything changes times. So: owner, attributes, mode, times.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::entry::{MODE_MASK, Meta, Time, Xattr};
use super::metadata;
use super::note::What;
use super::xattrs::XattrReader;

/// The set-user and set-group bits.
const SET_ID_BITS: u32 = 0o6000;

/// Attributes a new file can inherit from a directory without being asked.
const INHERITED: [&str; 2] = ["system.posix_acl_access", "system.posix_acl_default"];

/// Says how to reach what gets the metadata.
#[derive(Debug, Clone, Copy)]
pub(super) enum Handle<'a> {
    /// Open for reading or writing.
    Open(BorrowedFd<'a>),
    /// Held by its place only, as links, fifos and devices must be; reached through `/proc`.
    Held(BorrowedFd<'a>),
}

/// Says what of its metadata something has since it was created.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Given {
    pub(super) owner: bool,
    mode: bool,
}

impl Given {
    pub(super) fn of(made: &Stat, meta: &Meta) -> Self {
        Self {
            owner: (made.st_uid, made.st_gid) == (meta.uid, meta.gid),
            mode: made.st_mode & MODE_MASK == meta.mode,
        }
    }
}

/// Takes what could not be set, and why.
pub(super) type Failures = Vec<(What, Errno)>;

/// Applies everything `meta` has; `is_link` leaves out the mode, which links do not have.
///
/// What is `given` is not set again.
pub(super) fn apply(
    handle: Handle<'_>,
    given: Given,
    meta: &Meta,
    is_link: bool,
    clean: bool,
) -> Failures {
    let mut failures = Failures::new();
    let mut mode = meta.mode;
    if !given.owner
        && let Err(errno) = set_owner(handle, meta)
    {
        failures.push((What::OwnerNotSet, errno));
        // The rights of one owner must not be given to another.
        if mode & SET_ID_BITS != 0 && !is_link {
            mode &= !SET_ID_BITS;
            failures.push((What::SetIdDropped, errno));
        }
    }
    if clean && !is_link {
        remove_inherited(handle, meta);
    }
    for xattr in &meta.xattrs {
        if let Err(errno) = set_xattr(handle, &xattr.name, &xattr.value) {
            failures.push((What::XattrNotSet(xattr.name.clone()), errno));
        }
    }
    // A change of owner and an ACL change the mode, too.
    let has_mode = given.owner && given.mode && meta.xattrs.is_empty() && !clean;
    if !is_link
        && !has_mode
        && let Err(errno) = set_mode(handle, mode)
    {
        failures.push((What::ModeNotSet, errno));
    }
    if let Err(errno) = set_times(handle, meta.mtime) {
        failures.push((What::TimesNotSet, errno));
    }
    failures
}

/// Sets what differs from what is there; tells whether anything was set.
///
/// A change of owner clears other things, and every change moves times, so that the later
/// steps follow from the earlier ones.
pub(super) fn mend(
    handle: Handle<'_>,
    live: &Stat,
    meta: &Meta,
    is_link: bool,
) -> (bool, Failures) {
    let mut failures = Failures::new();
    let mut mode = meta.mode;
    let mut changed = false;
    if (live.st_uid, live.st_gid) != (meta.uid, meta.gid) {
        match set_owner(handle, meta) {
            Ok(()) => changed = true,
            Err(errno) => {
                failures.push((What::OwnerNotSet, errno));
                if mode & SET_ID_BITS != 0 && !is_link {
                    mode &= !SET_ID_BITS;
                    failures.push((What::SetIdDropped, errno));
                }
            }
        }
    }
    let found = live_xattrs(handle);
    for xattr in &found {
        let is_wanted = meta.xattrs.iter().any(|wanted| wanted.name == xattr.name);
        // What cannot be removed, such as a label of the system, shows when compared.
        changed |= !is_wanted && remove_xattr(handle, &xattr.name).is_ok();
    }
    for xattr in &meta.xattrs {
        // A change of owner takes capabilities away.
        if changed || !found.contains(xattr) {
            match set_xattr(handle, &xattr.name, &xattr.value) {
                Ok(()) => changed = true,
                Err(errno) => failures.push((What::XattrNotSet(xattr.name.clone()), errno)),
            }
        }
    }
    if !is_link && (changed || live.st_mode & MODE_MASK != mode) {
        match set_mode(handle, mode) {
            Ok(()) => changed = true,
            Err(errno) => failures.push((What::ModeNotSet, errno)),
        }
    }
    if metadata::mtime(live) != meta.mtime {
        match set_times(handle, meta.mtime) {
            Ok(()) => changed = true,
            Err(errno) => failures.push((What::TimesNotSet, errno)),
        }
    }
    (changed, failures)
}

/// Tells whether a file's metadata is already what it is to be.
pub(super) fn is_right(handle: Handle<'_>, live: &Stat, meta: &Meta) -> bool {
    (live.st_uid, live.st_gid) == (meta.uid, meta.gid)
        && (live.st_mode & MODE_MASK == meta.mode || metadata::file_type(live) == FileType::Symlink)
        && metadata::mtime(live) == meta.mtime
        && live_xattrs(handle) == meta.xattrs
}

/// Gives the owner of a directory every right in it; what fails shows at the next step.
pub(super) fn open_up(dir: BorrowedFd<'_>, live: &Stat) {
    let _ = set_mode(Handle::Held(dir), live.st_mode & MODE_MASK | 0o700);
}

fn live_xattrs(handle: Handle<'_>) -> Vec<Xattr> {
    let mut reader = XattrReader::new();
    let (found, _) = match handle {
        Handle::Open(fd) => reader.of_fd(fd),
        Handle::Held(fd) => reader.of_path(&proc_path(fd)),
    };
    found
}

fn set_owner(handle: Handle<'_>, meta: &Meta) -> Result<(), Errno> {
    let (uid, gid) = (Some(Uid::from_raw(meta.uid)), Some(Gid::from_raw(meta.gid)));
    match handle {
        Handle::Open(fd) => rustix::fs::fchown(fd, uid, gid),
        Handle::Held(fd) => rustix::fs::chownat(fd, c"", uid, gid, AtFlags::EMPTY_PATH),
    }
}

fn set_mode(handle: Handle<'_>, mode: u32) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode(mode);
    match handle {
        Handle::Open(fd) => rustix::fs::fchmod(fd, mode),
        Handle::Held(fd) => rustix::fs::chmod(proc_path(fd), mode),
    }
}

fn set_xattr(handle: Handle<'_>, name: &[u8], value: &[u8]) -> Result<(), Errno> {
    match handle {
        Handle::Open(fd) => rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty()),
        Handle::Held(fd) => rustix::fs::setxattr(proc_path(fd), name, value, XattrFlags::empty()),
    }
}

fn remove_inherited(handle: Handle<'_>, meta: &Meta) {
    for name in INHERITED {
        if meta
            .xattrs
            .iter()
            .any(|xattr| xattr.name == name.as_bytes())
        {
            continue;
        }
        // Most have none, and what cannot be removed shows when the result is compared.
        let _ = remove_xattr(handle, name.as_bytes());
    }
}

fn remove_xattr(handle: Handle<'_>, name: &[u8]) -> Result<(), Errno> {
    match handle {
        Handle::Open(fd) => rustix::fs::fremovexattr(fd, name),
        Handle::Held(fd) => rustix::fs::removexattr(proc_path(fd), name),
    }
}

fn set_times(handle: Handle<'_>, mtime: Time) -> Result<(), Errno> {
    let omit = Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_OMIT,
    };
    let modified = Timespec {
        tv_sec: mtime.seconds,
        tv_nsec: mtime.nanos.into(),
    };
    let times = Timestamps {
        last_access: omit,
        last_modification: modified,
    };
    match handle {
        Handle::Open(fd) => rustix::fs::futimens(fd, &times),
        Handle::Held(fd) => rustix::fs::utimensat(CWD, proc_path(fd), &times, AtFlags::empty()),
    }
}

/// Returns a path that leads to what is held, itself, even if that is a link.
fn proc_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Tells whether what is created in this directory inherits an ACL.
pub(super) fn passes_acl_on(dir: BorrowedFd<'_>) -> bool {
    let mut none = [0_u8; 1];
    !matches!(
        rustix::fs::getxattr(proc_path(dir), INHERITED[1], &mut none),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOENT)
    )
}
