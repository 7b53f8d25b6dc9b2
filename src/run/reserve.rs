//! A store that never fills its filesystem: it stops taking data at the reserve.

use std::path::PathBuf;

use crate::engine::store::{
    Folder, Listed, OpenSession, Put, Receipt, SessionId, SessionKind, Store, StoreError, StoreName,
};
use crate::model::{Amount, ByteSize};

/// Free inodes that are left alone, so that others on the filesystem can go on.
const INODES_LEFT: u64 = 128;

/// A store on a filesystem of which some part must stay free.
#[derive(Debug)]
pub struct Reserved<S> {
    inner: S,
    path: PathBuf,
    reserve: Amount,
}

impl<S: Store> Reserved<S> {
    /// Wraps a store whose files lie below `path`.
    pub fn new(inner: S, path: PathBuf, reserve: Amount) -> Self {
        Self {
            inner,
            path,
            reserve,
        }
    }

    fn check(&self, name: &StoreName, len: usize) -> Result<(), StoreError> {
        let stat = rustix::fs::statvfs(&self.path)
            .map_err(|e| StoreError::from_io(name.as_str(), &e.into()))?;
        let total = ByteSize(stat.f_blocks.saturating_mul(stat.f_frsize));
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let needed = self.reserve.of(total).0.saturating_add(len as u64);
        let inodes_fit = stat.f_files == 0 || stat.f_favail > INODES_LEFT;
        if free >= needed && inodes_fit {
            return Ok(());
        }
        Err(StoreError::NoSpace {
            name: format!(
                "{name} (the reserve of {} on {} would be eaten into, {} is free)",
                self.reserve,
                self.path.display(),
                ByteSize(free)
            ),
        })
    }
}

impl<S: Store> Store for Reserved<S> {
    fn place(&self) -> String {
        self.inner.place()
    }

    fn put(&self, name: &StoreName, bytes: &[u8]) -> Result<Put, StoreError> {
        // A collector's list is what frees space, so it is let through.
        if name.folder() != Folder::Gc {
            self.check(name, bytes.len())?;
        }
        self.inner.put(name, bytes)
    }

    fn get(&self, name: &StoreName) -> Result<Vec<u8>, StoreError> {
        self.inner.get(name)
    }

    fn get_range(&self, name: &StoreName, offset: u64, len: u64) -> Result<Vec<u8>, StoreError> {
        self.inner.get_range(name, offset, len)
    }

    fn size(&self, name: &StoreName) -> Result<u64, StoreError> {
        self.inner.size(name)
    }

    fn list(&self, folder: Folder) -> Result<Vec<Listed>, StoreError> {
        self.inner.list(folder)
    }

    fn remove(&self, name: &StoreName) -> Result<(), StoreError> {
        self.inner.remove(name)
    }

    fn set_aside(&self, name: &StoreName) -> Result<(), StoreError> {
        self.inner.set_aside(name)
    }

    fn settle(&self, name: &StoreName) -> Result<(), StoreError> {
        self.inner.settle(name)
    }

    fn settle_removals(&self, folder: Folder) -> Result<(), StoreError> {
        self.inner.settle_removals(folder)
    }

    fn open_session(&self, session: &SessionId, kind: SessionKind) -> Result<(), StoreError> {
        self.inner.open_session(session, kind)
    }

    fn commit(
        &self,
        session: &SessionId,
        manifest: &StoreName,
        bytes: &[u8],
    ) -> Result<Receipt, StoreError> {
        // The data is there already; a manifest is small and finishes what was begun.
        self.inner.commit(session, manifest, bytes)
    }

    fn close_session(&self, session: &SessionId) -> Result<(), StoreError> {
        self.inner.close_session(session)
    }

    fn list_sessions(&self) -> Result<Vec<OpenSession>, StoreError> {
        self.inner.list_sessions()
    }

    fn expire_session(&self, session: &SessionId) -> Result<(), StoreError> {
        self.inner.expire_session(session)
    }

    fn put_managed(&self, bytes: &[u8]) -> Result<(), StoreError> {
        self.inner.put_managed(bytes)
    }

    fn get_managed(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.get_managed()
    }
}
