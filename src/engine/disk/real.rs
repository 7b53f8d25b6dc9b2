//! The file system of this machine.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::num::NonZeroU64;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{Advice, CWD, RenameFlags, fadvise};
use rustix::io::Errno;

use super::{Disk, Item, Lock, NewFile};

/// Says which permission bits new files and folders get, whatever the process's mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Modes {
    /// The bits of files.
    pub file: u32,
    /// The bits of folders.
    pub folder: u32,
}

impl Default for Modes {
    fn default() -> Self {
        Self {
            file: 0o600,
            folder: 0o700,
        }
    }
}

/// Works on this machine's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk {
    modes: Modes,
}

impl RealDisk {
    /// Makes a disk whose new files have these modes.
    pub fn new(modes: Modes) -> Self {
        Self { modes }
    }
}

/// After how many bytes the disk is set to work, so that a sync finds most of it done.
const STARTED_BYTES: usize = 8 << 20;

struct RealFile {
    file: File,
    written: u64,
}

impl NewFile for RealFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(STARTED_BYTES) {
            self.file.write_all(part)?;
            if part.len() == STARTED_BYTES {
                let len = NonZeroU64::new(part.len() as u64);
                // What is not needed in memory is written out soon. Only a hint: whether the
                // bytes are on the disk is what the sync tells.
                let _ = fadvise(&self.file, self.written, len, Advice::DontNeed);
            }
            self.written += part.len() as u64;
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }
}

struct RealLock {
    _held: File,
}

impl Lock for RealLock {}

impl RealDisk {
    fn open_lock(self, path: &Path, create: bool) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(create)
            .truncate(false)
            .mode(self.modes.file)
            .open(path)
    }
}

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(self.modes.file)
            .open(path)?;
        file.set_permissions(Permissions::from_mode(self.modes.file))?;
        Ok(Box::new(RealFile { file, written: 0 }))
    }

    fn publish(&self, from: &Path, to: &Path) -> io::Result<()> {
        match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Older kernels and some file systems have no such rename, but they have links.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                fs::hard_link(from, to)?;
                // It has its name now, whatever becomes of the old one.
                drop(fs::remove_file(from));
                Ok(())
            }
            other => other.map_err(io::Error::from),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Item>> {
        let mut items = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let meta = match entry.metadata() {
                // Another process removed it after the folder was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                meta => meta?,
            };
            let is_folder = meta.is_dir();
            let size = if is_folder { 0 } else { meta.len() };
            items.push(Item {
                name,
                is_folder,
                size,
            });
        }
        items.sort();
        Ok(items)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn make_folder(&self, path: &Path) -> io::Result<bool> {
        match fs::DirBuilder::new().mode(self.modes.folder).create(path) {
            Ok(()) => {
                fs::set_permissions(path, Permissions::from_mode(self.modes.folder))?;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn read(&self, path: &Path, len_max: u64) -> io::Result<Vec<u8>> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        if len > len_max {
            let message = format!("{len} bytes, more than the {len_max} allowed");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        let mut bytes = Vec::with_capacity(len as usize);
        file.take(len_max).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn read_range(&self, path: &Path, offset: u64, len: u64) -> io::Result<Vec<u8>> {
        let file = File::open(path)?;
        // Checked before the buffer is made, so that a wild length costs nothing.
        let end = offset.checked_add(len);
        if end.is_none_or(|end| end > file.metadata().map_or(0, |meta| meta.len())) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn size(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let file = self.open_lock(path, true)?;
        file.lock()?;
        Ok(Box::new(RealLock { _held: file }))
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let file = self.open_lock(path, false)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(RealLock { _held: file }))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishing_never_replaces_a_file() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let disk = RealDisk::default();
        let path = |name: &str| folder.path().join(name);
        for (name, bytes) in [("a", b"1"), ("b", b"2")] {
            let mut file = disk.create(&path(name)).expect("a new file");
            file.write(bytes).expect("a write");
            file.sync().expect("a sync");
        }
        disk.publish(&path("a"), &path("c")).expect("a free name");
        let taken = disk.publish(&path("b"), &path("c")).map_err(|e| e.kind());
        assert_eq!(taken, Err(io::ErrorKind::AlreadyExists));
        assert_eq!(disk.read(&path("c"), 10).expect("it is there"), b"1");
        assert!(disk.read(&path("c"), 0).is_err());
        let names: Vec<_> = disk.list(folder.path()).expect("a listing");
        assert_eq!(
            names.iter().map(|item| &*item.name).collect::<Vec<_>>(),
            ["b", "c"]
        );
    }

    #[test]
    fn files_and_folders_have_the_modes_asked_for() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let disk = RealDisk::new(Modes {
            file: 0o640,
            folder: 0o750,
        });
        let path = folder.path().join("d");
        assert!(disk.make_folder(&path).expect("a new folder"));
        assert!(!disk.make_folder(&path).expect("an old folder"));
        drop(disk.create(&path.join("f")).expect("a new file"));
        let mode = |path: &Path| fs::metadata(path).expect("it exists").permissions().mode();
        assert_eq!(mode(&path) & 0o7777, 0o750);
        assert_eq!(mode(&path.join("f")) & 0o7777, 0o640);
    }

    #[test]
    fn a_lock_ends_with_its_guard() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let disk = RealDisk::default();
        let path = folder.path().join("lock");
        let held = disk.lock(&path).expect("a free lock");
        assert!(disk.try_lock(&path).expect("a lock file").is_none());
        drop(held);
        assert!(disk.try_lock(&path).expect("a lock file").is_some());
    }
}
