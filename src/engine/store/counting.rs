//! A wrapper that counts calls and bytes.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{
    Folder, Listed, OpenSession, Put, Receipt, SessionId, SessionKind, Store, StoreError, StoreName,
};

/// Names a kind of call, with the folder it worked on where that tells calls apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Call {
    /// [`Store::put`] that stored something.
    Put(Folder),
    /// [`Store::put`] of what was there.
    PutAgain(Folder),
    /// [`Store::get`] and [`Store::get_range`].
    Get(Folder),
    /// [`Store::size`].
    Size(Folder),
    /// [`Store::list`].
    List(Folder),
    /// [`Store::remove`].
    Remove(Folder),
    /// [`Store::set_aside`].
    SetAside(Folder),
    /// [`Store::settle`] and [`Store::settle_removals`].
    Settle(Folder),
    /// [`Store::open_session`].
    OpenSession,
    /// [`Store::commit`].
    Commit,
    /// [`Store::close_session`].
    CloseSession,
    /// [`Store::list_sessions`].
    ListSessions,
    /// [`Store::expire_session`].
    ExpireSession,
    /// [`Store::put_managed`] and [`Store::get_managed`].
    Managed,
}

/// Counts calls of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// How often it was called with success.
    pub calls: u64,
    /// How many bytes it moved.
    pub bytes: u64,
}

/// Wraps a store and counts what succeeds.
#[derive(Debug)]
pub struct Counting<S> {
    inner: S,
    counts: Mutex<BTreeMap<Call, Tally>>,
}

impl<S: Store> Counting<S> {
    /// Wraps a store.
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            counts: Mutex::default(),
        }
    }

    /// Returns the store inside.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// Returns the count of one kind of call.
    pub fn tally(&self, call: Call) -> Tally {
        self.counts().get(&call).copied().unwrap_or_default()
    }

    /// Returns all counts and starts again from zero.
    pub fn take(&self) -> BTreeMap<Call, Tally> {
        std::mem::take(&mut *self.counts())
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<Call, Tally>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count<T>(&self, call: Call, bytes: usize, result: T) -> T {
        let mut counts = self.counts();
        let tally = counts.entry(call).or_default();
        tally.calls += 1;
        tally.bytes += bytes as u64;
        result
    }
}

impl<S: Store> Store for Counting<S> {
    fn place(&self) -> String {
        self.inner.place()
    }

    fn calls_at_once(&self) -> usize {
        self.inner.calls_at_once()
    }

    fn put(&self, name: &StoreName, bytes: &[u8]) -> Result<Put, StoreError> {
        let put = self.inner.put(name, bytes)?;
        let call = match put {
            Put::Stored => Call::Put(name.folder()),
            Put::AlreadyThere => Call::PutAgain(name.folder()),
        };
        Ok(self.count(call, bytes.len(), put))
    }

    fn get(&self, name: &StoreName) -> Result<Vec<u8>, StoreError> {
        let bytes = self.inner.get(name)?;
        Ok(self.count(Call::Get(name.folder()), bytes.len(), bytes))
    }

    fn get_range(&self, name: &StoreName, offset: u64, len: u64) -> Result<Vec<u8>, StoreError> {
        let bytes = self.inner.get_range(name, offset, len)?;
        Ok(self.count(Call::Get(name.folder()), bytes.len(), bytes))
    }

    fn size(&self, name: &StoreName) -> Result<u64, StoreError> {
        let size = self.inner.size(name)?;
        Ok(self.count(Call::Size(name.folder()), 0, size))
    }

    fn list(&self, folder: Folder) -> Result<Vec<Listed>, StoreError> {
        let listed = self.inner.list(folder)?;
        Ok(self.count(Call::List(folder), 0, listed))
    }

    fn remove(&self, name: &StoreName) -> Result<(), StoreError> {
        self.inner.remove(name)?;
        self.count(Call::Remove(name.folder()), 0, ());
        Ok(())
    }

    fn set_aside(&self, name: &StoreName) -> Result<(), StoreError> {
        self.inner.set_aside(name)?;
        self.count(Call::SetAside(name.folder()), 0, ());
        Ok(())
    }

    fn settle(&self, name: &StoreName) -> Result<(), StoreError> {
        self.inner.settle(name)?;
        self.count(Call::Settle(name.folder()), 0, ());
        Ok(())
    }

    fn settle_removals(&self, folder: Folder) -> Result<(), StoreError> {
        self.inner.settle_removals(folder)?;
        self.count(Call::Settle(folder), 0, ());
        Ok(())
    }

    fn open_session(&self, session: &SessionId, kind: SessionKind) -> Result<(), StoreError> {
        self.inner.open_session(session, kind)?;
        self.count(Call::OpenSession, 0, ());
        Ok(())
    }

    fn commit(
        &self,
        session: &SessionId,
        manifest: &StoreName,
        bytes: &[u8],
    ) -> Result<Receipt, StoreError> {
        let receipt = self.inner.commit(session, manifest, bytes)?;
        Ok(self.count(Call::Commit, bytes.len(), receipt))
    }

    fn close_session(&self, session: &SessionId) -> Result<(), StoreError> {
        self.inner.close_session(session)?;
        self.count(Call::CloseSession, 0, ());
        Ok(())
    }

    fn list_sessions(&self) -> Result<Vec<OpenSession>, StoreError> {
        let open = self.inner.list_sessions()?;
        Ok(self.count(Call::ListSessions, 0, open))
    }

    fn expire_session(&self, session: &SessionId) -> Result<(), StoreError> {
        self.inner.expire_session(session)?;
        self.count(Call::ExpireSession, 0, ());
        Ok(())
    }

    fn put_managed(&self, bytes: &[u8]) -> Result<(), StoreError> {
        self.inner.put_managed(bytes)?;
        self.count(Call::Managed, bytes.len(), ());
        Ok(())
    }

    fn get_managed(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let bytes = self.inner.get_managed()?;
        let len = bytes.as_ref().map_or(0, Vec::len);
        Ok(self.count(Call::Managed, len, bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::env::fixed;
    use crate::engine::store::{Memory, conformance};

    #[test]
    fn counting_keeps_the_promises_and_counts() {
        let make = || Arc::new(Counting::new(Memory::new(fixed::env(0).clock)));
        conformance::check(&|| make());
        let store = make();
        let name = StoreName::parse("keys/a").expect("a good name");
        for _ in 0..2 {
            store.put(&name, b"abc").expect("memory takes it");
        }
        assert_eq!(
            store.tally(Call::Put(Folder::Keys)),
            Tally { calls: 1, bytes: 3 }
        );
        assert_eq!(store.take().len(), 2);
        assert_eq!(store.tally(Call::PutAgain(Folder::Keys)), Tally::default());
    }
}
