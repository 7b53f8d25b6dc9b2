//! Manifests: which make sense, and which sessions they name.

use std::collections::HashMap;

use super::{Read, Repair};
use crate::engine::crypto::SealedSession;
use crate::engine::error::EngineError;
use crate::engine::manifest::{Clear, Manifest};
use crate::engine::store::{Folder, Receipt, StoreError, StoreName};

/// Is the manifests of a repository.
#[derive(Default)]
pub(super) struct Manifests {
    pub(super) good: Vec<(StoreName, Clear)>,
    damaged: Vec<StoreName>,
    sessions: Vec<SealedSession>,
}

impl Manifests {
    pub(super) fn read(repair: &mut Repair<'_>) -> Result<Self, EngineError> {
        let mut manifests = Self::default();
        let received = received(repair)?;
        for file in repair.store.list(Folder::Snapshots)? {
            repair.check_cancel()?;
            let name = file.name;
            let read = repair.store.get(&name);
            let Read::There(bytes) = repair.readable(&name, read)? else {
                continue;
            };
            match check(repair, &name, &bytes) {
                Ok((clear, sessions)) => {
                    if is_as_received(repair, &received, &name, &bytes) {
                        manifests.sessions.extend(sessions);
                    }
                    manifests.good.push((name, clear));
                }
                Err(error) => {
                    let reason = match error {
                        EngineError::Damaged { reason, .. } => reason,
                        error => error.to_string(),
                    };
                    repair.report.manifests.push((name.to_string(), reason));
                    manifests.damaged.push(name);
                }
            }
        }
        repair.report.snapshots = manifests.good.len() as u64;
        Ok(manifests)
    }

    /// Returns the session records of those manifests that are as they were written.
    pub(super) fn sessions(&self) -> &[SealedSession] {
        &self.sessions
    }

    pub(super) fn set_aside(&self, repair: &Repair<'_>) -> Result<(), EngineError> {
        for name in &self.damaged {
            repair.store.set_aside(name)?;
        }
        Ok(())
    }
}

/// Returns the hashes of manifests that receipts name.
fn received(repair: &Repair<'_>) -> Result<HashMap<String, Vec<String>>, EngineError> {
    let mut received: HashMap<String, Vec<String>> = HashMap::new();
    for file in repair.store.list(Folder::Receipts)? {
        // Receipts only vouch for more: what cannot be read of them vouches for nothing.
        let receipt = match repair.store.get(&file.name) {
            Err(error @ StoreError::Closed { .. }) => return Err(error.into()),
            read => read.ok().and_then(|bytes| Receipt::decode(&bytes).ok()),
        };
        if let Some(receipt) = receipt {
            let hashes = received.entry(receipt.snapshot).or_default();
            hashes.push(receipt.manifest);
        }
    }
    Ok(received)
}

/// Tells whether a manifest that makes sense is known to be unchanged, and notes if receipts
/// say that it is not.
fn is_as_received(
    repair: &mut Repair<'_>,
    received: &HashMap<String, Vec<String>>,
    name: &StoreName,
    bytes: &[u8],
) -> bool {
    if repair.repository.reading_key().is_some() {
        return true;
    }
    let Some(hashes) = received.get(name.as_str()) else {
        return false;
    };
    let hash = blake3::hash(bytes).to_hex();
    let known = hashes.iter().any(|known| *known == *hash.as_str());
    if !known {
        let reason = "its receipt is about other bytes; a repair with the reading key tells \
                      which of them changed";
        let unsure = (name.to_string(), reason.to_owned());
        repair.report.unreadable.push(unsure);
    }
    known
}

/// Checks a manifest: all that shows without a key, and with it everything.
fn check(
    repair: &Repair<'_>,
    name: &StoreName,
    bytes: &[u8],
) -> Result<(Clear, Vec<SealedSession>), EngineError> {
    let manifest = Manifest::decode(name, bytes)?;
    let sessions = manifest.check(name)?;
    if let Some(key) = repair.repository.reading_key() {
        manifest.open(name, key)?;
    }
    Ok((manifest.clear, sessions))
}
