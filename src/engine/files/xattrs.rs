//! Reads extended attributes without opening what carries them.
//!
//! There is no widely supported call that takes a directory and a name, so a name below an
//! open directory is reached through `/proc/self/fd/N/name` with the calls that do not follow
//! a link at the end. Without `/proc`, only directories and files can be asked.

use std::ffi::CStr;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::entry::Xattr;

/// Enough for most lists of names; the kernel allocates what is asked for, so small is fast.
const LIST_BYTES_USUAL: usize = 1024;

/// The kernel's own bound for a list of names and for a value.
const BYTES_MAX: usize = 64 * 1024;

/// Reads attributes into buffers that are reused.
#[derive(Debug)]
pub(super) struct XattrReader {
    list: Vec<u8>,
    value: Vec<u8>,
    path: Vec<u8>,
    /// Known once it was needed.
    has_proc: Option<bool>,
}

/// Holds what could be read, and the first failure that hides an attribute.
pub(super) type Found = (Vec<Xattr>, Option<Errno>);

impl XattrReader {
    pub(super) fn new() -> Self {
        Self {
            list: vec![0; LIST_BYTES_USUAL],
            value: vec![0; LIST_BYTES_USUAL],
            path: Vec::new(),
            has_proc: None,
        }
    }

    /// Reads the attributes of something open for reading.
    pub(super) fn of_fd(&mut self, fd: BorrowedFd<'_>) -> Found {
        collect(
            &mut self.list,
            &mut self.value,
            |list| rustix::fs::flistxattr(fd, list),
            |name, value| rustix::fs::fgetxattr(fd, name, value),
        )
    }

    /// Reads the attributes of `name` in the directory `dir`, a link's own if it is one.
    pub(super) fn of_name(&mut self, dir: BorrowedFd<'_>, name: &[u8]) -> Found {
        let has_proc = || rustix::fs::stat("/proc/self/fd").is_ok();
        if !*self.has_proc.get_or_insert_with(has_proc) {
            return self.of_opened(dir, name);
        }
        self.path.clear();
        write!(self.path, "/proc/self/fd/{}/", dir.as_raw_fd()).expect("a Vec takes every write");
        self.path.extend_from_slice(name);
        self.path.push(0);
        let Ok(path) = CStr::from_bytes_with_nul(&self.path) else {
            return (Vec::new(), Some(Errno::INVAL));
        };
        collect(
            &mut self.list,
            &mut self.value,
            |list| rustix::fs::llistxattr(path, list),
            |name, value| rustix::fs::lgetxattr(path, name, value),
        )
    }

    /// Reads the attributes of what a path leads to, through every link.
    pub(super) fn of_path(&mut self, path: &str) -> Found {
        collect(
            &mut self.list,
            &mut self.value,
            |list| rustix::fs::listxattr(path, list),
            |name, value| rustix::fs::getxattr(path, name, value),
        )
    }

    fn of_opened(&mut self, dir: BorrowedFd<'_>, name: &[u8]) -> Found {
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        match rustix::fs::openat(dir, name, flags, Mode::empty()) {
            Ok(fd) => self.of_fd(fd.as_fd()),
            // Links and sockets refuse to be opened, and a missing driver is no attribute.
            Err(Errno::LOOP | Errno::NXIO | Errno::NODEV) => (Vec::new(), None),
            Err(errno) => (Vec::new(), Some(errno)),
        }
    }
}

fn collect(
    list: &mut Vec<u8>,
    value: &mut Vec<u8>,
    list_names: impl Fn(&mut [u8]) -> Result<usize, Errno>,
    get: impl Fn(&CStr, &mut [u8]) -> Result<usize, Errno>,
) -> Found {
    let list_len = match grown(list, list_names) {
        Ok(len) => len,
        Err(Errno::OPNOTSUPP | Errno::NODATA) => return (Vec::new(), None),
        Err(errno) => return (Vec::new(), Some(errno)),
    };
    let mut xattrs = Vec::new();
    let mut failure = None;
    for name in list[..list_len].split_inclusive(|&byte| byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else {
            continue;
        };
        match grown(value, |value| get(name, value)) {
            Ok(len) => xattrs.push(Xattr {
                name: name.to_bytes().to_vec(),
                value: value[..len].to_vec(),
            }),
            // It was removed since the list was made, or the list names what cannot be asked.
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(errno) => failure = failure.or(Some(errno)),
        }
    }
    xattrs.retain(|xattr| !xattr.name.is_empty());
    xattrs.sort_unstable();
    xattrs.dedup_by(|later, earlier| later.name == earlier.name);
    (xattrs, failure)
}

/// Calls with the buffer as it is, and once more with the largest if that was too small.
fn grown(
    buffer: &mut Vec<u8>,
    call: impl Fn(&mut [u8]) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    match call(buffer) {
        Err(Errno::RANGE) if buffer.len() < BYTES_MAX => {
            let mut large = vec![0; BYTES_MAX];
            let len = call(&mut large)?;
            // The usual size stays for the next file, unless this one needs more.
            buffer.resize(len.max(buffer.len()), 0);
            buffer[..len].copy_from_slice(&large[..len]);
            Ok(len)
        }
        result => result,
    }
}
