//! Disks and stores that lie, each in one way that must not go unnoticed.
//!
//! They prove that the checks of this simulation can fail. Each is what the engine would be if
//! one step of it were left out: a sync, a lock, the order of a commit, the care with errors.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bkpctl::engine::store::{
    Folder, Listed, OpenSession, Put, Receipt, SessionId, SessionKind, Store, StoreError, StoreName,
};

/// Says what a disk or a store lies about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    Nothing,
    /// Syncing a folder does nothing.
    FoldersAreNotSynced,
    /// Syncing a file does nothing.
    FilesAreNotSynced,
    /// A sync that failed is reported as done.
    SyncsHideErrors,
    /// Every lock is free.
    LocksAreFree,
    /// A writer's packs and segments are put after its snapshot is committed.
    CommitsComeFirst,
    /// An error after the snapshot showed is given to the caller.
    CommitsFailLate,
}

/// Every lie, with the words for a report.
pub(crate) const LIES: &[(Lie, &str)] = &[
    (Lie::FoldersAreNotSynced, "folders are not synced"),
    (Lie::FilesAreNotSynced, "files are not synced"),
    (Lie::SyncsHideErrors, "a failed sync is reported as done"),
    (Lie::LocksAreFree, "every lock is free"),
    (Lie::CommitsComeFirst, "packs are put after the commit"),
    (Lie::CommitsFailLate, "a commit fails after it showed"),
];

/// Wraps a store and lies about what the disk below does not know of.
pub(crate) struct Lying<S> {
    inner: S,
    lie: Lie,
    late: Mutex<Vec<(StoreName, Vec<u8>)>>,
}

impl<S: Store> Lying<S> {
    pub(crate) fn new(inner: S, lie: Lie) -> Self {
        Self {
            inner,
            lie,
            late: Mutex::default(),
        }
    }

    fn late(&self) -> MutexGuard<'_, Vec<(StoreName, Vec<u8>)>> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Store> Store for Lying<S> {
    fn place(&self) -> String {
        self.inner.place()
    }

    fn put(&self, name: &StoreName, bytes: &[u8]) -> Result<Put, StoreError> {
        if self.lie == Lie::CommitsComeFirst && name.content_hash().is_some() {
            self.late().push((name.clone(), bytes.to_vec()));
            return Ok(Put::Stored);
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

    fn open_session(&self, session: &SessionId, kind: SessionKind) -> Result<(), StoreError> {
        self.inner.open_session(session, kind)
    }

    fn commit(
        &self,
        session: &SessionId,
        manifest: &StoreName,
        bytes: &[u8],
    ) -> Result<Receipt, StoreError> {
        let receipt = self.inner.commit(session, manifest, bytes)?;
        if self.lie == Lie::CommitsFailLate {
            // As an engine would do that counts the end of its session among the commit.
            self.inner.get_managed()?;
        }
        for (name, bytes) in std::mem::take(&mut *self.late()) {
            self.inner.put(&name, &bytes)?;
        }
        Ok(receipt)
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
