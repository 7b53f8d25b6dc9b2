//! Forgets snapshots: removes their manifests. What only they needed goes with the next
//! collection.

use std::collections::HashMap;

use super::error::EngineError;
use super::features::Deed;
use super::manifest::{Authentic, Manifest};
use super::repository::{Repository, Snapshot};
use super::store::{Folder, Listed, Receipt, Store, StoreError, StoreName};

/// Is a snapshot with the time at which it was first received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dated {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// The earliest receipt of its manifest, in nanoseconds since 1970; none if there is no
    /// receipt.
    pub received: Option<i64>,
}

/// Is what a listing with receipts found.
#[derive(Debug, Default)]
pub struct DatedSnapshots {
    /// The snapshots, by source and time.
    pub found: Vec<Dated>,
    /// Manifests and receipts that make no sense, and why.
    pub damaged: Vec<(StoreName, String)>,
}

/// Lists all snapshots with the times at which they were received.
///
/// A copy keeps the receipts of where it was copied from, so the earliest one counts. A receipt
/// that does not fit the manifest's bytes says nothing about it.
pub fn dated_snapshots(repository: &Repository) -> Result<DatedSnapshots, EngineError> {
    let store = &*repository.store;
    let mut dated = DatedSnapshots::default();
    // Snapshots first: each has its receipt before it shows.
    let names = store.list(Folder::Snapshots)?;
    let received = received(store, &mut dated.damaged)?;
    for Listed { name, .. } in names {
        let bytes = match store.get(&name) {
            // Forgotten between the listing and now.
            Err(error) if error.is_not_found() => continue,
            bytes => bytes?,
        };
        match Manifest::decode(&name, &bytes) {
            Ok(manifest) => dated.found.push(Dated {
                received: received.get(blake3::hash(&bytes).as_bytes()).copied(),
                snapshot: Snapshot {
                    authentic: match repository.reading_key() {
                        None => Authentic::Unknown,
                        key => manifest.authentic(key),
                    },
                    clear: manifest.clear,
                    name,
                },
            }),
            Err(error) => dated.damaged.push((name, error.to_string())),
        }
    }
    Ok(dated)
}

/// Returns the earliest receipt of each manifest, by the hash of its bytes.
fn received(
    store: &dyn Store,
    damaged: &mut Vec<(StoreName, String)>,
) -> Result<HashMap<[u8; 32], i64>, EngineError> {
    let mut earliest = HashMap::new();
    for Listed { name, .. } in store.list(Folder::Receipts)? {
        let receipt = Receipt::decode(&store.get(&name)?);
        let decoded = receipt
            .ok()
            .filter(|receipt| receipt.name().as_ref() == Ok(&name))
            .and_then(|receipt| Some((super::hex::decode(&receipt.manifest)?, receipt.received)));
        let Some((manifest, time)) = decoded else {
            let reason = "it is no receipt of its name".to_owned();
            damaged.push((name, reason));
            continue;
        };
        let known = earliest.entry(manifest).or_insert(time);
        *known = time.min(*known);
    }
    Ok(earliest)
}

/// Removes manifests, one after the other; one that is gone already is no error.
///
/// Needs no key. An interruption leaves the later ones, and doing it again goes on.
pub fn forget(repository: &Repository, names: &[StoreName]) -> Result<(), EngineError> {
    repository.marker.check(Deed::Collect)?;
    for name in names {
        if name.folder() != Folder::Snapshots {
            let name = name.to_string();
            return Err(StoreError::BadName { name }.into());
        }
    }
    for name in names {
        repository.store.remove(name)?;
    }
    Ok(())
}
