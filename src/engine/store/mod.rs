//! Where a repository's files lie: one trait, several places.
//!
//! Every file is immutable: it is put once and later only read or removed. A snapshot becomes
//! visible by [`Store::commit`] alone. [`Dir`] keeps files in a folder, [`Memory`] in a map;
//! [`Faulty`] and [`Counting`] wrap another store for tests. [`conformance`] is run on each.

#[doc(hidden)]
pub mod conformance;
mod counting;
mod dir;
mod dir_session;
mod error;
mod faulty;
mod memory;
mod name;
mod receipt;

use serde::{Deserialize, Serialize};

pub use self::counting::{Call, Counting, Tally};
pub use self::dir::{Dir, DirOptions};
pub use self::error::StoreError;
pub use self::faulty::{Fault, Faulty};
pub use self::memory::Memory;
pub use self::name::{Folder, PART_BYTES_MAX, SessionId, StoreName};
pub use self::receipt::{Receipt, ReceiptError};

/// The largest file that a store takes or gives in one piece, in bytes.
pub const FILE_BYTES_MAX: u64 = 1 << 30;

/// Says what [`Store::put`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Put {
    /// The bytes were stored now.
    Stored,
    /// The same bytes were there before.
    AlreadyThere,
}

/// Says what a session may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionKind {
    /// It will commit a snapshot; packs condemned before it started are not reused.
    Write,
    /// It reads; nothing it can see is deleted while it is open.
    Read,
    /// It collects; only one does at a time.
    Collect,
}

/// Describes a session that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OpenSession {
    /// Its id.
    pub id: SessionId,
    /// What it does.
    pub kind: SessionKind,
}

/// Describes one file of a listing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Listed {
    /// Its name.
    pub name: StoreName,
    /// Its length in bytes.
    pub size: u64,
}

/// Keeps the files of one repository.
///
/// Calls may come from several threads at once. A call that failed may have happened: callers
/// repeat it, and every call can be repeated. Errors never mean absence, except
/// [`StoreError::NotFound`] itself.
pub trait Store: Send + Sync {
    /// Returns where this is, in words for people.
    fn place(&self) -> String;

    /// Returns how many calls at once keep it busy; more than few where each takes long.
    fn calls_at_once(&self) -> usize {
        1
    }

    /// Stores a new file: all of it or nothing, and durable once this returns.
    ///
    /// Bytes under a content name must hash to it. A name that is taken keeps its bytes:
    /// equal ones are [`Put::AlreadyThere`], others [`StoreError::Different`]; but a file that
    /// does not hash to its content name any more is damaged and replaced. Manifests are refused, because [`Store::commit`] alone makes a snapshot visible.
    fn put(&self, name: &StoreName, bytes: &[u8]) -> Result<Put, StoreError>;

    /// Returns a whole file.
    fn get(&self, name: &StoreName) -> Result<Vec<u8>, StoreError>;

    /// Returns exactly `len` bytes from `offset`; a file that is shorter is an error.
    fn get_range(&self, name: &StoreName, offset: u64, len: u64) -> Result<Vec<u8>, StoreError>;

    /// Returns a file's length in bytes.
    fn size(&self, name: &StoreName) -> Result<u64, StoreError>;

    /// Returns every file of a folder, sorted by name.
    ///
    /// A listing that cannot be completed is an error and never a shorter list.
    fn list(&self, folder: Folder) -> Result<Vec<Listed>, StoreError>;

    /// Removes a file; one that is gone already is no error.
    fn remove(&self, name: &StoreName) -> Result<(), StoreError>;

    /// Moves a damaged file to [`StoreName::aside`], durably and never over another one; a
    /// file that is gone already is no error.
    fn set_aside(&self, name: &StoreName) -> Result<(), StoreError>;

    /// Makes a file durable that is there.
    ///
    /// What others put shows before it is durable, and they may have died in between; so it
    /// has to be settled before a snapshot builds on it. What an index segment names is.
    fn settle(&self, name: &StoreName) -> Result<(), StoreError>;

    /// Makes durable that files of a folder are gone, whoever removed them.
    ///
    /// Without this a power failure could bring back a snapshot after its packs were deleted.
    fn settle_removals(&self, folder: Folder) -> Result<(), StoreError>;

    /// Announces a writer, reader or collector, durably, before it looks at anything.
    ///
    /// A second collector is [`StoreError::Collecting`].
    fn open_session(&self, session: &SessionId, kind: SessionKind) -> Result<(), StoreError>;

    /// Makes a snapshot visible in one atomic step and returns the receipt for it.
    ///
    /// Fails with [`StoreError::SessionExpired`] and without effect if the session is not open
    /// for writing any more. The session stays open.
    fn commit(
        &self,
        session: &SessionId,
        manifest: &StoreName,
        bytes: &[u8],
    ) -> Result<Receipt, StoreError>;

    /// Ends a session; one that ended already is no error.
    fn close_session(&self, session: &SessionId) -> Result<(), StoreError>;

    /// Returns every session that is open, sorted; those of processes that are gone are ended.
    ///
    /// A session that is not among them opens later, and then sees all that was put before.
    fn list_sessions(&self) -> Result<Vec<OpenSession>, StoreError>;

    /// Ends somebody's session, so that it cannot commit; of this and a commit exactly one wins.
    fn expire_session(&self, session: &SessionId) -> Result<(), StoreError>;

    /// Replaces the planner's own record, atomically.
    fn put_managed(&self, bytes: &[u8]) -> Result<(), StoreError>;

    /// Returns the planner's own record, if there is one.
    fn get_managed(&self) -> Result<Option<Vec<u8>>, StoreError>;
}

impl<S: Store + ?Sized> Store for std::sync::Arc<S> {
    fn place(&self) -> String {
        (**self).place()
    }
    fn calls_at_once(&self) -> usize {
        (**self).calls_at_once()
    }
    fn put(&self, name: &StoreName, bytes: &[u8]) -> Result<Put, StoreError> {
        (**self).put(name, bytes)
    }
    fn get(&self, name: &StoreName) -> Result<Vec<u8>, StoreError> {
        (**self).get(name)
    }
    fn get_range(&self, name: &StoreName, offset: u64, len: u64) -> Result<Vec<u8>, StoreError> {
        (**self).get_range(name, offset, len)
    }
    fn size(&self, name: &StoreName) -> Result<u64, StoreError> {
        (**self).size(name)
    }
    fn list(&self, folder: Folder) -> Result<Vec<Listed>, StoreError> {
        (**self).list(folder)
    }
    fn remove(&self, name: &StoreName) -> Result<(), StoreError> {
        (**self).remove(name)
    }
    fn set_aside(&self, name: &StoreName) -> Result<(), StoreError> {
        (**self).set_aside(name)
    }
    fn settle(&self, name: &StoreName) -> Result<(), StoreError> {
        (**self).settle(name)
    }
    fn settle_removals(&self, folder: Folder) -> Result<(), StoreError> {
        (**self).settle_removals(folder)
    }
    fn open_session(&self, session: &SessionId, kind: SessionKind) -> Result<(), StoreError> {
        (**self).open_session(session, kind)
    }
    fn commit(
        &self,
        session: &SessionId,
        manifest: &StoreName,
        bytes: &[u8],
    ) -> Result<Receipt, StoreError> {
        (**self).commit(session, manifest, bytes)
    }
    fn close_session(&self, session: &SessionId) -> Result<(), StoreError> {
        (**self).close_session(session)
    }
    fn list_sessions(&self) -> Result<Vec<OpenSession>, StoreError> {
        (**self).list_sessions()
    }
    fn expire_session(&self, session: &SessionId) -> Result<(), StoreError> {
        (**self).expire_session(session)
    }
    fn put_managed(&self, bytes: &[u8]) -> Result<(), StoreError> {
        (**self).put_managed(bytes)
    }
    fn get_managed(&self) -> Result<Option<Vec<u8>>, StoreError> {
        (**self).get_managed()
    }
}
