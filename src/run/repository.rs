//! A datastore's repository: made, marked as ours, and looked into.

use std::sync::Arc;

use crate::engine::env::Env;
use crate::engine::store::Store;
use crate::engine::{Access, CreateOptions, Repository, Snapshot};
use crate::model::markers::Managed;
use crate::model::snapshot::SnapshotHead;
use crate::model::{ByteSize, Name, Timestamp};
use crate::run::fleet::{Fleet, Rights};
use crate::run::keys;
use crate::run::message::Fault;

/// Makes a datastore's repository, sealed for its declared key.
pub fn create(fleet: &Fleet, name: &Name) -> Result<String, Fault> {
    let datastore = fleet.datastore(name)?;
    let key = keys::read(&fleet.topology, &datastore.key)?;
    let home = home(fleet, name)?;
    let store = fleet.create_store(name)?;
    let options = CreateOptions::for_key(&home, &key);
    let marker = Repository::create(store.as_ref(), &Env::system(), &options)
        .map_err(|error| Fault::engine(&error))?;
    Ok(format!(
        "{}, sealed for key {}, id {:.8}",
        store.place(),
        datastore.key,
        marker.repository
    ))
}

/// Returns the identity of the machine that a datastore is served from.
pub fn home(fleet: &Fleet, name: &Name) -> Result<String, Fault> {
    let place = fleet.datastore(name)?.first_place().ok_or_else(|| {
        Fault::refused(format!(
            "datastore {name} is a bucket and has no home machine"
        ))
    })?;
    let facts = fleet.facts(&place.node)?;
    Ok(facts
        .machine_id
        .clone()
        .unwrap_or_else(|| facts.hostname.clone()))
}

/// Replaces a datastore's `managed.json`.
pub fn write_managed(fleet: &Fleet, name: &Name, managed: &Managed) -> Result<String, Fault> {
    let json = serde_json::to_vec_pretty(managed)
        .map_err(|error| Fault::refused(format!("the marker can't be written: {error}")))?;
    fleet
        .store(name, Rights::Admin)?
        .put_managed(&json)
        .map_err(|error| Fault::store(&error))?;
    Ok(format!(
        "marked as {}'s {}, generation {}",
        fleet.topology.name, name, managed.generation
    ))
}

/// What a listing of a datastore's snapshots found.
#[derive(Debug, Default)]
pub struct Listing {
    /// The snapshots, by source and time.
    pub heads: Vec<SnapshotHead>,
    /// Manifests that make no sense, with the reason.
    pub damaged: Vec<String>,
}

/// Lists the snapshots of a datastore.
pub fn snapshots(fleet: &Fleet, name: &Name) -> Result<Listing, Fault> {
    let store = fleet.store(name, Rights::Get)?;
    let key = keys::read(&fleet.topology, &fleet.datastore(name)?.key).ok();
    let repository = open(store, key.map_or(Access::Keyless, Access::Reader))?;
    let listed = repository
        .snapshots(None)
        .map_err(|error| Fault::engine(&error))?;
    let mut listing = Listing::default();
    for snapshot in &listed.found {
        match head(snapshot) {
            Ok(head) => listing.heads.push(head),
            Err(fault) => listing
                .damaged
                .push(format!("{}: {}", snapshot.name, fault.message)),
        }
    }
    for (manifest, reason) in &listed.damaged {
        listing.damaged.push(format!("{manifest}: {reason}"));
    }
    Ok(listing)
}

/// Opens a repository.
pub fn open(store: Arc<dyn Store>, access: Access) -> Result<Repository, Fault> {
    Repository::open(store, Env::system(), access).map_err(|error| Fault::engine(&error))
}

/// Turns what the engine tells of a snapshot into the model's words.
pub fn head(snapshot: &Snapshot) -> Result<SnapshotHead, Fault> {
    let clear = &snapshot.clear;
    let source = Name::new(clear.source.clone())
        .map_err(|error| Fault::refused(format!("a snapshot's source: {error}")))?;
    Ok(SnapshotHead {
        id: clear.id.clone(),
        source,
        writer: clear.writer.clone(),
        started: Timestamp(clear.started),
        finished: Timestamp(clear.finished),
        complete: clear.complete,
        files: clear.files,
        bytes: ByteSize(clear.bytes),
        new_bytes: ByteSize(clear.new_bytes),
        stored_bytes: ByteSize(clear.stored_bytes),
        machine: clear.machine.clone(),
        skipped: clear.skipped,
    })
}

#[cfg(test)]
mod tests {
    use crate::engine::store::{Memory, StoreName};
    use crate::engine::{CreateOptions, Repository};
    use crate::model::markers::RepositoryMarker;
    use crate::model::snapshot::SnapshotHead;

    use super::*;

    /// A probe reads these files without the engine, so the two must mean the same.
    #[test]
    fn what_the_engine_writes_in_clear_is_what_the_model_reads() {
        let env = Env::system();
        let key = crate::engine::crypto::ReadingKey::from_seed(&[1; 32]);
        let store: Arc<dyn Store> = Arc::new(Memory::new(Arc::clone(&env.clock)));
        let options = CreateOptions::for_key("home", &key);
        let made = Repository::create(store.as_ref(), &env, &options).expect("a repository");
        let marker = store.get(&StoreName::marker()).expect("a marker");
        let marker: RepositoryMarker = serde_json::from_slice(&marker).expect("the model's marker");
        assert_eq!(
            (marker.format, marker.id.as_str()),
            (made.format, made.repository.as_str())
        );
        assert_eq!(
            (marker.home.as_str(), marker.domain),
            ("home", key.domain().to_string())
        );

        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("file"), "content").expect("a file");
        let repository = open(store, Access::Reader(key)).expect("it opens");
        let made = crate::engine::backup(
            &repository,
            &[folder.path().to_owned()],
            crate::engine::files::ScanOptions::default(),
            &crate::engine::BackupOptions::new("etc", "node", "machine"),
            &crate::engine::Silent,
            &crate::run::Cancel::default(),
        )
        .expect("a snapshot");
        let bytes = repository.store().get(&made.name).expect("a manifest");
        let line = bytes
            .split(|byte| *byte == b'\n')
            .next()
            .expect("a first line");
        let read: SnapshotHead = serde_json::from_slice(line).expect("the model's head");
        let listed = repository.snapshots(None).expect("a listing").found;
        assert_eq!(head(&listed[0]), Ok(read));
    }
}
