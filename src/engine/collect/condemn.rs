//! Announces what is to go, and waits for those who may use it.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use super::run::Collection;
use crate::engine::crypto::CryptoError;
use crate::engine::error::EngineError;
use crate::engine::hex;
use crate::engine::progress::Event;
use crate::engine::store::{Folder, SessionId, StoreName};

impl Collection<'_> {
    /// Writes the list of packs that no new writer may build on.
    pub(super) fn condemn(&self, packs: &HashSet<[u8; 32]>) -> Result<StoreName, EngineError> {
        let id: [u8; 8] = self.env.random().map_err(CryptoError::Entropy)?;
        let name = StoreName::within(Folder::Gc, &[&hex::encode(&id)])?;
        let sorted: BTreeSet<_> = packs.iter().collect();
        let mut text = String::with_capacity(packs.len() * 65);
        for hash in sorted {
            text.push_str(&hex::encode(hash));
            text.push('\n');
        }
        if let Err(error) = self.store.put(&name, text.as_bytes()) {
            // Whether it is there is not known, and without it nothing may be deleted.
            drop(self.store.remove(&name));
            return Err(error.into());
        }
        Ok(name)
    }

    /// Waits until every session that is open now has ended, or ends it after the limit.
    pub(super) fn wait_for_sessions(&mut self) -> Result<(), EngineError> {
        let mut waited = Duration::ZERO;
        let mut waiting = self.others()?;
        while !waiting.is_empty() || waited < self.options.grace {
            self.check_cancel()?;
            let limit = self.options.expire_after;
            if limit.is_some_and(|limit| waited >= limit) {
                for session in std::mem::take(&mut waiting) {
                    self.store.expire_session(&session)?;
                    self.report.expired += 1;
                }
                continue;
            }
            self.observer.event(Event::Waiting {
                sessions: waiting.len() as u64,
            });
            std::thread::sleep(self.options.pause);
            // Counted and not read from a clock, which may jump.
            waited += self.options.pause.max(Duration::from_millis(1));
            let open = self.others()?;
            waiting.retain(|session| open.contains(session));
        }
        Ok(())
    }

    /// Returns the sessions of others that are open.
    fn others(&self) -> Result<BTreeSet<SessionId>, EngineError> {
        let open = self.store.list_sessions()?.into_iter();
        let others = open.map(|open| open.id).filter(|id| *id != self.session);
        Ok(others.collect())
    }
}
