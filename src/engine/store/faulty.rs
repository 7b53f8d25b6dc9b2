//! A wrapper that fails on purpose.

use std::sync::{Mutex, PoisonError};

use super::{
    Folder, Listed, OpenSession, Put, Receipt, SessionId, SessionKind, Store, StoreError, StoreName,
};

/// Describes a fault to come.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Which calls count: `put`, `get`, `size`, `list`, `remove`, `settle`, `open_session`, `commit`,
    /// `close_session`, `list_sessions`, `expire_session`, `managed`, or `any`.
    pub call: &'static str,
    /// How many such calls succeed first.
    pub after: u64,
    /// Whether every later one fails too.
    pub for_good: bool,
    /// Whether the call takes effect before it fails, as when an answer is lost.
    pub takes_effect: bool,
    /// The error.
    pub error: StoreError,
}

/// Wraps a store and fails some calls.
#[derive(Debug)]
pub struct Faulty<S> {
    inner: S,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    fault: Option<Fault>,
    seen: u64,
    failed: u64,
}

impl<S: Store> Faulty<S> {
    /// Wraps a store that works until [`Faulty::arm`].
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            state: Mutex::default(),
        }
    }

    /// Returns the store inside.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// Sets the fault to come; none lets all calls through.
    pub fn arm(&self, fault: Option<Fault>) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State {
            fault,
            ..State::default()
        };
    }

    /// Returns how many calls failed since the last [`Faulty::arm`].
    pub fn failures(&self) -> u64 {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .failed
    }

    fn strike(&self, call: &str) -> Option<Fault> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = state.fault.clone()?;
        if fault.call != "any" && fault.call != call {
            return None;
        }
        state.seen += 1;
        let due = state.seen == fault.after + 1 || (fault.for_good && state.seen > fault.after);
        if due {
            state.failed += 1;
        }
        due.then_some(fault)
    }

    fn run<T>(
        &self,
        call: &str,
        work: impl FnOnce(&S) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match self.strike(call) {
            None => work(&self.inner),
            Some(fault) => {
                if fault.takes_effect {
                    work(&self.inner)?;
                }
                Err(fault.error)
            }
        }
    }
}

impl<S: Store> Store for Faulty<S> {
    fn place(&self) -> String {
        self.inner.place()
    }

    fn calls_at_once(&self) -> usize {
        self.inner.calls_at_once()
    }

    fn put(&self, name: &StoreName, bytes: &[u8]) -> Result<Put, StoreError> {
        self.run("put", |inner| inner.put(name, bytes))
    }

    fn get(&self, name: &StoreName) -> Result<Vec<u8>, StoreError> {
        self.run("get", |inner| inner.get(name))
    }

    fn get_range(&self, name: &StoreName, offset: u64, len: u64) -> Result<Vec<u8>, StoreError> {
        self.run("get", |inner| inner.get_range(name, offset, len))
    }

    fn size(&self, name: &StoreName) -> Result<u64, StoreError> {
        self.run("size", |inner| inner.size(name))
    }

    fn list(&self, folder: Folder) -> Result<Vec<Listed>, StoreError> {
        self.run("list", |inner| inner.list(folder))
    }

    fn remove(&self, name: &StoreName) -> Result<(), StoreError> {
        self.run("remove", |inner| inner.remove(name))
    }

    fn set_aside(&self, name: &StoreName) -> Result<(), StoreError> {
        self.run("set_aside", |inner| inner.set_aside(name))
    }

    fn settle(&self, name: &StoreName) -> Result<(), StoreError> {
        self.run("settle", |inner| inner.settle(name))
    }

    fn settle_removals(&self, folder: Folder) -> Result<(), StoreError> {
        self.run("settle", |inner| inner.settle_removals(folder))
    }

    fn open_session(&self, session: &SessionId, kind: SessionKind) -> Result<(), StoreError> {
        self.run("open_session", |inner| inner.open_session(session, kind))
    }

    fn commit(
        &self,
        session: &SessionId,
        manifest: &StoreName,
        bytes: &[u8],
    ) -> Result<Receipt, StoreError> {
        self.run("commit", |inner| inner.commit(session, manifest, bytes))
    }

    fn close_session(&self, session: &SessionId) -> Result<(), StoreError> {
        self.run("close_session", |inner| inner.close_session(session))
    }

    fn list_sessions(&self) -> Result<Vec<OpenSession>, StoreError> {
        self.run("list_sessions", Store::list_sessions)
    }

    fn expire_session(&self, session: &SessionId) -> Result<(), StoreError> {
        self.run("expire_session", |inner| inner.expire_session(session))
    }

    fn put_managed(&self, bytes: &[u8]) -> Result<(), StoreError> {
        self.run("managed", |inner| inner.put_managed(bytes))
    }

    fn get_managed(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.run("managed", Store::get_managed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::env::fixed;
    use crate::engine::store::{Memory, conformance};

    #[test]
    fn faulty_keeps_the_promises_until_it_is_armed() {
        conformance::check(&|| Arc::new(Faulty::new(Memory::new(fixed::env(0).clock))));
    }

    #[test]
    fn faulty_fails_the_call_it_was_told_to() {
        let store = Faulty::new(Memory::new(fixed::env(0).clock));
        let full = StoreError::NoSpace {
            name: "x".to_owned(),
        };
        let name = |text: &str| StoreName::parse(text).expect("a good name");
        let fault = Fault {
            call: "put",
            after: 1,
            for_good: false,
            takes_effect: false,
            error: full.clone(),
        };
        store.arm(Some(fault.clone()));
        assert_eq!(store.put(&name("keys/a"), b"1"), Ok(Put::Stored));
        assert_eq!(store.put(&name("keys/b"), b"1"), Err(full.clone()));
        assert_eq!(store.put(&name("keys/b"), b"1"), Ok(Put::Stored));
        store.arm(Some(Fault {
            for_good: true,
            takes_effect: true,
            after: 0,
            ..fault
        }));
        assert_eq!(store.put(&name("keys/c"), b"1"), Err(full.clone()));
        assert_eq!(store.put(&name("keys/c"), b"1"), Err(full));
        assert_eq!(store.get(&name("keys/c")), Ok(b"1".to_vec()));
    }
}
