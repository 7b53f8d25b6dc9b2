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
    /// A listing that fails is an empty one.
    FailedListsAreEmpty,
    /// A collector's list of what is condemned is not written.
    NothingIsCondemned,
    /// A collector waits for nobody.
    NobodyIsWaitedFor,
    /// A collector marks by the snapshots that it found first.
    MarksAreNotRenewed,
    /// A writer whose session was ended opens another one and commits.
    ExpiredSessionsCommit,
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
    (Lie::FailedListsAreEmpty, "a failed listing is an empty one"),
    (Lie::NothingIsCondemned, "what goes is not condemned before"),
    (Lie::NobodyIsWaitedFor, "a collector waits for nobody"),
    (
        Lie::MarksAreNotRenewed,
        "a collector marks once and not again",
    ),
    (
        Lie::ExpiredSessionsCommit,
        "a session that was ended commits",
    ),
    (Lie::CommitsFailLate, "a commit fails after it showed"),
];

/// Wraps a store and lies about what the disk below does not know of.
pub(crate) struct Lying<S> {
    inner: S,
    lie: Lie,
    late: Mutex<Vec<(StoreName, Vec<u8>)>>,
    listed: Mutex<Option<Vec<Listed>>>,
}

impl<S: Store> Lying<S> {
    pub(crate) fn new(inner: S, lie: Lie) -> Self {
        Self {
            inner,
            lie,
            late: Mutex::default(),
            listed: Mutex::default(),
        }
    }

    /// Lists a folder the first time, and says the same ever after.
    fn list_once(&self, folder: Folder) -> Result<Vec<Listed>, StoreError> {
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        if listed.is_none() {
            *listed = Some(self.inner.list(folder)?);
        }
        Ok(listed.clone().unwrap_or_default())
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
        if self.lie == Lie::NothingIsCondemned && name.folder() == Folder::Gc {
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
        if self.lie == Lie::MarksAreNotRenewed && folder == Folder::Snapshots {
            return self.list_once(folder);
        }
        match self.inner.list(folder) {
            Err(StoreError::Io { .. }) if self.lie == Lie::FailedListsAreEmpty => Ok(Vec::new()),
            listed => listed,
        }
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
        let receipt = match self.inner.commit(session, manifest, bytes) {
            Err(StoreError::SessionExpired { .. }) if self.lie == Lie::ExpiredSessionsCommit => {
                self.inner.close_session(session)?;
                self.inner.open_session(session, SessionKind::Write)?;
                self.inner.commit(session, manifest, bytes)?
            }
            committed => committed?,
        };
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
        let open = self.inner.list_sessions()?;
        match self.lie {
            Lie::NobodyIsWaitedFor => Ok(Vec::new()),
            _ => Ok(open),
        }
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
