//! The simulated file system as a [`Disk`]: one handle for each process.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bkpctl::engine::disk::{Disk, Item, Lock, NewFile};

use crate::files::{Files, Ino};
use crate::machine::{Call, Machine, Pid};
use crate::mutants::Lie;

/// Is one process's view of the machine's disk.
#[derive(Clone)]
pub(crate) struct SimDisk {
    machine: Arc<Machine>,
    pid: Pid,
    /// Whether publishing is a link and a removal, as on file systems that know no better.
    by_link: bool,
}

impl SimDisk {
    pub(crate) fn new(machine: Arc<Machine>, pid: Pid, by_link: bool) -> Self {
        Self {
            machine,
            pid,
            by_link,
        }
    }

    fn call<T>(
        &self,
        call: Call,
        path: &Path,
        work: impl FnOnce(&mut Files) -> io::Result<T>,
    ) -> io::Result<T> {
        let what = || path.display().to_string();
        self.machine.call(self.pid, call, &what, work, |_, _| {})
    }

    fn moved<T>(
        &self,
        call: Call,
        (from, to): (&Path, &Path),
        work: impl FnOnce(&mut Files) -> io::Result<T>,
    ) -> io::Result<T> {
        let what = || format!("{} to {}", from.display(), to.display());
        self.machine.call(self.pid, call, &what, work, |_, _| {})
    }

    fn open_lock(&self, path: &Path, create: bool) -> io::Result<Ino> {
        self.call(Call::Lock, path, |files| match files.find(path) {
            Err(error) if create && error.kind() == io::ErrorKind::NotFound => files.create(path),
            found => found,
        })
    }

    fn guard(&self, number: u64) -> Box<dyn Lock> {
        Box::new(SimLock {
            machine: self.machine.clone(),
            number,
        })
    }
}

struct SimLock {
    machine: Arc<Machine>,
    number: u64,
}

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.machine.free_lock(self.number);
    }
}

struct SimFile {
    disk: SimDisk,
    path: PathBuf,
    ino: Ino,
    has_failed: bool,
}

impl NewFile for SimFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (disk, ino) = (&self.disk, self.ino);
        let what = || format!("{} bytes to {}", bytes.len(), self.path.display());
        let work = |files: &mut Files| {
            files.append(ino, bytes);
            Ok(())
        };
        disk.machine
            .call(disk.pid, Call::Write, &what, work, |files, rng| {
                files.append(ino, &bytes[..rng.index(bytes.len())]);
            })
    }

    fn sync(&mut self) -> io::Result<()> {
        let (disk, ino) = (&self.disk, self.ino);
        if self.has_failed {
            disk.machine.sync_again();
        }
        let lies = disk.machine.lie == Lie::FilesAreNotSynced;
        let what = || self.path.display().to_string();
        let work = |files: &mut Files| {
            if !lies {
                files.sync_file(ino);
            }
            Ok(())
        };
        let synced = disk
            .machine
            .call(disk.pid, Call::Sync, &what, work, |files, _| {
                files.doom(ino);
            });
        self.has_failed |= synced.is_err();
        match synced {
            Err(error)
                if disk.machine.lie == Lie::SyncsHideErrors && error.raw_os_error().is_some() =>
            {
                Ok(())
            }
            synced => synced,
        }
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        let ino = self.call(Call::Create, path, |files| files.create(path))?;
        Ok(Box::new(SimFile {
            disk: self.clone(),
            path: path.to_owned(),
            ino,
            has_failed: false,
        }))
    }

    fn publish(&self, from: &Path, to: &Path) -> io::Result<()> {
        let both = (from, to);
        if self.by_link {
            self.moved(Call::Publish, both, |files| files.link(from, to))?;
            drop(self.remove(from));
            return Ok(());
        }
        self.moved(Call::Publish, both, |files| files.rename(from, to, false))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.moved(Call::Rename, (from, to), |files| {
            files.rename(from, to, true)
        })
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let lies = self.machine.lie == Lie::FoldersAreNotSynced;
        self.call(Call::SyncFolder, path, |files| {
            if lies {
                files.find(path).map(|_| ())
            } else {
                files.sync_folder(path)
            }
        })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Item>> {
        let names = self.call(Call::List, path, |files| files.names(path))?;
        let mut items = Vec::new();
        for name in names {
            let path = path.join(&name);
            match self.call(Call::Stat, &path, |files| files.stat(&path)) {
                // Another process removed it after the folder was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                stat => {
                    let stat = stat?;
                    items.push(Item {
                        name,
                        is_folder: stat.is_folder,
                        size: stat.size,
                    });
                }
            }
        }
        Ok(items)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call(Call::Remove, path, |files| files.remove(path, false))
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        let names = self.call(Call::List, path, |files| files.names(path))?;
        for name in names {
            let path = path.join(name);
            let is_folder = self.call(Call::Stat, &path, |files| files.stat(&path));
            let removed = match is_folder.map(|stat| stat.is_folder) {
                Ok(true) => self.remove_folder(&path),
                Ok(false) => self.remove(&path),
                Err(error) => Err(error),
            };
            match removed {
                // Somebody else removes the same folder.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
        self.call(Call::Remove, path, |files| files.remove(path, true))
    }

    fn make_folder(&self, path: &Path) -> io::Result<bool> {
        self.call(Call::MakeFolder, path, |files| {
            match files.make_folder(path) {
                Err(error)
                    if error.kind() == io::ErrorKind::AlreadyExists
                        && files.stat(path).is_ok_and(|stat| stat.is_folder) =>
                {
                    Ok(false)
                }
                made => made.map(|_| true),
            }
        })
    }

    fn read(&self, path: &Path, len_max: u64) -> io::Result<Vec<u8>> {
        self.call(Call::Read, path, |files| {
            let bytes = files.bytes(files.find(path)?)?;
            if bytes.len() as u64 > len_max {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            Ok(bytes.to_vec())
        })
    }

    fn read_range(&self, path: &Path, offset: u64, len: u64) -> io::Result<Vec<u8>> {
        self.call(Call::Read, path, |files| {
            let bytes = files.bytes(files.find(path)?)?;
            let end = offset
                .checked_add(len)
                .and_then(|end| usize::try_from(end).ok());
            let range = end.and_then(|end| bytes.get(offset as usize..end));
            range
                .map(<[u8]>::to_vec)
                .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
        })
    }

    fn size(&self, path: &Path) -> io::Result<u64> {
        self.call(Call::Stat, path, |files| {
            files.stat(path).map(|stat| stat.size)
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let ino = self.open_lock(path, true)?;
        let number = self.machine.take_lock(self.pid, ino, true)?;
        number
            .map(|number| self.guard(number))
            .ok_or_else(|| io::Error::other("a lock that was waited for is not held"))
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let ino = self.open_lock(path, false)?;
        let number = self.machine.take_lock(self.pid, ino, false)?;
        Ok(number.map(|number| self.guard(number)))
    }
}
