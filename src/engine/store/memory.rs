//! A store in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::receipt::chain_of;
use super::{
    Folder, Listed, OpenSession, Put, Receipt, SessionId, SessionKind, Store, StoreError, StoreName,
};
use crate::engine::env::Clock;

/// Keeps files in memory, with the promises of a real store.
pub struct Memory {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<StoreName, Arc<[u8]>>,
    sessions: HashMap<SessionId, SessionKind>,
    managed: Option<Vec<u8>>,
}

impl Memory {
    /// Makes an empty store.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, name: &StoreName) -> Result<Arc<[u8]>, StoreError> {
        let found = self.state().files.get(name).cloned();
        found.ok_or_else(|| StoreError::NotFound {
            name: name.to_string(),
        })
    }

    /// Stores a file without any check, whatever was there before.
    pub fn plant(&self, name: &StoreName, bytes: &[u8]) {
        self.state().files.insert(name.clone(), bytes.into());
    }

    /// Replaces a file's bytes without any check, as bad memory or a bad disk would.
    pub fn damage(&self, name: &StoreName, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        if let Some(bytes) = state.files.get_mut(name) {
            let mut changed = bytes.to_vec();
            change(&mut changed);
            *bytes = changed.into();
        }
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Memory")
            .field("files", &self.state().files.len())
            .finish_non_exhaustive()
    }
}

impl State {
    fn last_receipt(&self, chain: &str) -> Option<(Receipt, Arc<[u8]>)> {
        let mut receipts = self.files.iter().rev();
        let bytes = receipts
            .find(|(name, _)| {
                name.folder() == Folder::Receipts && name.parts().next() == Some(chain)
            })
            .map(|(_, bytes)| bytes.clone())?;
        Receipt::decode(&bytes).ok().map(|receipt| (receipt, bytes))
    }

    fn insert(&mut self, name: &StoreName, bytes: &[u8]) -> Result<Put, StoreError> {
        match self.files.get(name) {
            Some(old) if **old == *bytes => Ok(Put::AlreadyThere),
            Some(old) if name.check_bytes(old).is_ok() => Err(StoreError::Different {
                name: name.to_string(),
            }),
            _ => {
                self.files.insert(name.clone(), bytes.into());
                Ok(Put::Stored)
            }
        }
    }
}

impl Store for Memory {
    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn put(&self, name: &StoreName, bytes: &[u8]) -> Result<Put, StoreError> {
        check_folder(name)?;
        name.check_bytes(bytes)?;
        self.state().insert(name, bytes)
    }

    fn get(&self, name: &StoreName) -> Result<Vec<u8>, StoreError> {
        Ok(self.file(name)?.to_vec())
    }

    fn get_range(&self, name: &StoreName, offset: u64, len: u64) -> Result<Vec<u8>, StoreError> {
        let file = self.file(name)?;
        let end = offset.checked_add(len).map(|end| end as usize);
        let range = end.and_then(|end| file.get(offset as usize..end));
        range
            .map(<[u8]>::to_vec)
            .ok_or_else(|| too_short(name, offset, len))
    }

    fn size(&self, name: &StoreName) -> Result<u64, StoreError> {
        Ok(self.file(name)?.len() as u64)
    }

    fn list(&self, folder: Folder) -> Result<Vec<Listed>, StoreError> {
        let state = self.state();
        let files = state
            .files
            .iter()
            .filter(|(name, _)| name.folder() == folder);
        Ok(files
            .map(|(name, bytes)| Listed {
                name: name.clone(),
                size: bytes.len() as u64,
            })
            .collect())
    }

    fn remove(&self, name: &StoreName) -> Result<(), StoreError> {
        self.state().files.remove(name);
        Ok(())
    }

    fn set_aside(&self, name: &StoreName) -> Result<(), StoreError> {
        let mut state = self.state();
        let free = (0..).map(|taken| name.aside(taken));
        let free = free
            .into_iter()
            .find(|aside| !state.files.contains_key(aside));
        if let (Some(aside), Some(bytes)) = (free, state.files.remove(name)) {
            state.files.insert(aside, bytes);
        }
        Ok(())
    }

    fn settle(&self, name: &StoreName) -> Result<(), StoreError> {
        self.size(name).map(|_| ())
    }

    fn settle_removals(&self, _: Folder) -> Result<(), StoreError> {
        Ok(())
    }

    fn open_session(&self, session: &SessionId, kind: SessionKind) -> Result<(), StoreError> {
        let sessions = &mut self.state().sessions;
        let is_other =
            |(id, kind): (&SessionId, &SessionKind)| *kind == SessionKind::Collect && id != session;
        if kind == SessionKind::Collect && sessions.iter().any(is_other) {
            return Err(StoreError::Collecting);
        }
        sessions.insert(*session, kind);
        Ok(())
    }

    fn commit(
        &self,
        session: &SessionId,
        manifest: &StoreName,
        bytes: &[u8],
    ) -> Result<Receipt, StoreError> {
        check_manifest(manifest)?;
        let mut state = self.state();
        if state.sessions.get(session) != Some(&SessionKind::Write) {
            return Err(StoreError::SessionExpired {
                session: session.to_string(),
            });
        }
        if let Some(old) = state.files.get(manifest)
            && **old != *bytes
        {
            return Err(StoreError::Different {
                name: manifest.to_string(),
            });
        }
        let marker = state.files.get(&StoreName::marker()).cloned();
        let chain = chain_of(marker.as_deref());
        let last = state.last_receipt(&chain);
        let previous = last.as_ref().map(|(receipt, bytes)| (receipt, &**bytes));
        let receipt = Receipt::after(previous, &chain, manifest, bytes, self.clock.now_ns());
        state.insert(&receipt.name()?, &receipt.encode())?;
        state.insert(manifest, bytes)?;
        Ok(receipt)
    }

    fn close_session(&self, session: &SessionId) -> Result<(), StoreError> {
        self.state().sessions.remove(session);
        Ok(())
    }

    fn list_sessions(&self) -> Result<Vec<OpenSession>, StoreError> {
        let state = self.state();
        let sessions = state.sessions.iter();
        let mut open: Vec<_> = sessions
            .map(|(id, kind)| OpenSession {
                id: *id,
                kind: *kind,
            })
            .collect();
        open.sort_unstable();
        Ok(open)
    }

    fn expire_session(&self, session: &SessionId) -> Result<(), StoreError> {
        self.close_session(session)
    }

    fn put_managed(&self, bytes: &[u8]) -> Result<(), StoreError> {
        self.state().managed = Some(bytes.to_vec());
        Ok(())
    }

    fn get_managed(&self) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.state().managed.clone())
    }
}

/// Refuses what no store takes as a plain file: a manifest.
pub(super) fn check_folder(name: &StoreName) -> Result<(), StoreError> {
    if name.folder() == Folder::Snapshots {
        return Err(StoreError::Denied {
            name: name.to_string(),
        });
    }
    Ok(())
}

/// Checks what every store checks before it commits a manifest.
pub(super) fn check_manifest(name: &StoreName) -> Result<(), StoreError> {
    if name.folder() == Folder::Snapshots {
        Ok(())
    } else {
        Err(StoreError::BadName {
            name: name.to_string(),
        })
    }
}

/// Says that a file ends before the range that was asked for.
pub(super) fn too_short(name: &StoreName, offset: u64, len: u64) -> StoreError {
    StoreError::Damaged {
        name: name.to_string(),
        reason: format!("{len} bytes from {offset} lie beyond its end"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::env::fixed;
    use crate::engine::store::conformance;

    #[test]
    fn memory_keeps_the_promises_of_a_store() {
        let make = || Arc::new(Memory::new(fixed::env(0).clock));
        conformance::check(&|| make());
    }
}
