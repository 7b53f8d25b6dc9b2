//! Sessions of a folder store, and the commit that can lose to an expiry.
//!
//! A session is the folder `sessions/<id>/` with a file `write`, `read` or `collect` that its
//! process holds locked. A manifest is written into that folder, synced, and published from there in
//! one rename. A collector expires a session by renaming the folder away; whichever rename
//! comes first wins, so a writer that was stopped for a day cannot commit afterwards.

use std::io;
use std::path::PathBuf;

use super::dir::{Dir, SESSIONS, is_absent};
use super::memory::check_manifest;
use super::receipt::chain_of;
use super::{
    Folder, OpenSession, Put, Receipt, SessionId, SessionKind, Store, StoreError, StoreName,
};
use crate::engine::disk::Lock;

const EXPIRED_PREFIX: &str = "expired-";

/// A session that this process holds.
pub(super) struct HeldSession {
    kind: SessionKind,
    folder: PathBuf,
    _lock: Box<dyn Lock>,
}

fn lock_name(kind: SessionKind) -> &'static str {
    match kind {
        SessionKind::Write => "write",
        SessionKind::Read => "read",
        SessionKind::Collect => "collect",
    }
}

const KINDS: [SessionKind; 3] = [SessionKind::Write, SessionKind::Read, SessionKind::Collect];

impl Dir {
    pub(super) fn start_session(
        &self,
        session: &SessionId,
        kind: SessionKind,
    ) -> Result<(), StoreError> {
        if self.sessions().contains_key(session) {
            return Ok(());
        }
        let parent = self.root.join(SESSIONS);
        let folder = parent.join(session.to_string());
        let _gate = self.at(SESSIONS, |_| self.gate())?;
        if kind != SessionKind::Read {
            self.remove_dead_sessions()?;
        }
        if kind == SessionKind::Collect
            && self.living_sessions()?.iter().any(|open| open.kind == kind)
        {
            return Err(StoreError::Collecting);
        }
        let lock = self.at(SESSIONS, |disk| {
            disk.make_folder(&folder)?;
            let lock = disk.lock(&folder.join(lock_name(kind)))?;
            disk.sync_folder(&folder)?;
            disk.sync_folder(&parent)?;
            if kind != SessionKind::Read {
                // Whoever put the marker may have died before it was durable.
                disk.sync_folder(&self.root)?;
            }
            Ok(lock)
        })?;
        let held = HeldSession {
            kind,
            folder,
            _lock: lock,
        };
        self.sessions().insert(*session, held);
        Ok(())
    }

    pub(super) fn end_session(&self, session: &SessionId) -> Result<(), StoreError> {
        let Some(open) = self.sessions().remove(session) else {
            return Ok(());
        };
        self.at(SESSIONS, |_| self.remove_folder(&open.folder))
    }

    pub(super) fn commit_session(
        &self,
        session: &SessionId,
        manifest: &StoreName,
        bytes: &[u8],
    ) -> Result<Receipt, StoreError> {
        check_manifest(manifest)?;
        let expired = || StoreError::SessionExpired {
            session: session.to_string(),
        };
        let folder = match self.sessions().get(session) {
            Some(open) if open.kind == SessionKind::Write => open.folder.clone(),
            _ => return Err(expired()),
        };
        let path = self.path(manifest);
        let taken = self.disk.size(&path).is_ok();
        if taken {
            // The answer to an earlier commit was lost, or somebody else has the name.
            self.same(manifest, bytes)?;
        }
        let temp = folder.join("manifest");
        if !taken {
            drop(self.disk.remove(&temp));
            self.write_new(&temp, bytes).map_err(|error| {
                if is_absent(&error) {
                    expired()
                } else {
                    StoreError::from_io(manifest.as_str(), &error)
                }
            })?;
        }
        let receipt = self.write_receipt(manifest, bytes)?;
        if !taken {
            self.publish_manifest(&temp, manifest, bytes, &expired)?;
        }
        Ok(receipt)
    }

    fn publish_manifest(
        &self,
        temp: &std::path::Path,
        manifest: &StoreName,
        bytes: &[u8],
        expired: &dyn Fn() -> StoreError,
    ) -> Result<Put, StoreError> {
        let path = self.path(manifest);
        let folder = path.parent().expect("manifests lie in a source's folder");
        let name = manifest.as_str();
        self.at(name, |disk| disk.make_folder(folder))?;
        self.settle_folder(folder)?;
        match self.disk.publish(temp, &path) {
            Ok(()) => match self.sync(folder) {
                Ok(()) => Ok(Put::Stored),
                Err(error) => {
                    // A backup that fails shows no snapshot, if that can be had at all.
                    drop(self.disk.remove(&path));
                    drop(self.sync(folder));
                    Err(error)
                }
            },
            Err(error) if is_absent(&error) => Err(expired()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.same(manifest, bytes)
            }
            Err(error) => Err(StoreError::from_io(name, &error)),
        }
    }

    /// Writes the receipt before the snapshot shows, so that none ever lacks one.
    ///
    /// A commit that fails after this leaves a receipt for nothing, which readers skip.
    fn write_receipt(&self, manifest: &StoreName, bytes: &[u8]) -> Result<Receipt, StoreError> {
        let chain = chain_of(self.marker()?.as_deref());
        let lock_path = self.root.join(Folder::Receipts.as_str()).join("lock");
        let _lock = self.at("receipts", |disk| disk.lock(&lock_path))?;
        let listed = self.list(Folder::Receipts)?;
        let ours = |name: &StoreName| name.parts().next() == Some(&chain);
        let last = listed.iter().rev().find(|file| ours(&file.name));
        let last = match last {
            Some(file) => Some(self.read_receipt(&file.name)?),
            None => None,
        };
        if let Some((receipt, _)) = &last
            && receipt.snapshot == manifest.as_str()
            && receipt.manifest == blake3::hash(bytes).to_hex().as_str()
        {
            return Ok(receipt.clone());
        }
        let previous = last.as_ref().map(|(receipt, old)| (receipt, &**old));
        let now = self.env.clock.now_ns();
        let receipt = Receipt::after(previous, &chain, manifest, bytes, now);
        self.write_file(&receipt.name()?, &receipt.encode())?;
        Ok(receipt)
    }

    fn read_receipt(&self, name: &StoreName) -> Result<(Receipt, Vec<u8>), StoreError> {
        let bytes = self.get(name)?;
        match Receipt::decode(&bytes) {
            Ok(receipt) => Ok((receipt, bytes)),
            Err(error) => Err(StoreError::Damaged {
                name: name.to_string(),
                reason: std::error::Error::source(&error)
                    .map_or_else(String::new, ToString::to_string),
            }),
        }
    }

    /// Lists the sessions whose processes live, and removes the others.
    pub(super) fn open_sessions(&self) -> Result<Vec<OpenSession>, StoreError> {
        let _gate = self.at(SESSIONS, |_| self.gate())?;
        self.remove_dead_sessions()?;
        self.living_sessions()
    }

    /// Lists the sessions that are there; the caller holds the gate.
    fn living_sessions(&self) -> Result<Vec<OpenSession>, StoreError> {
        let parent = self.root.join(SESSIONS);
        let mut open = Vec::new();
        for item in self.at(SESSIONS, |disk| disk.list(&parent))? {
            let folder = parent.join(&item.name);
            let Ok(id) = SessionId::try_from(item.name) else {
                continue;
            };
            let files = match self.disk.list(&folder) {
                // It ended at this moment.
                Err(error) if is_absent(&error) => continue,
                files => files.map_err(|error| StoreError::from_io(SESSIONS, &error))?,
            };
            let is_of = |kind: &SessionKind| files.iter().any(|file| file.name == lock_name(*kind));
            if let Some(kind) = KINDS.into_iter().find(is_of) {
                open.push(OpenSession { id, kind });
            }
        }
        Ok(open)
    }

    /// Expires a session by renaming it away, then removes it.
    ///
    /// The collector decides when; of this and a commit exactly one wins.
    pub(super) fn move_session_away(&self, session: &SessionId) -> Result<(), StoreError> {
        let parent = self.root.join(SESSIONS);
        let away = parent.join(format!("{EXPIRED_PREFIX}{session}"));
        match self.disk.rename(&parent.join(session.to_string()), &away) {
            Err(error) if is_absent(&error) => return Ok(()),
            renamed => renamed.map_err(|error| StoreError::from_io(SESSIONS, &error))?,
        }
        self.sync(&parent)?;
        self.at(SESSIONS, |_| self.remove_folder(&away))
    }

    /// Removes the sessions of processes that are gone: their locks are free.
    fn remove_dead_sessions(&self) -> Result<(), StoreError> {
        let parent = self.root.join(SESSIONS);
        for item in self.at(SESSIONS, |disk| disk.list(&parent))? {
            let folder = parent.join(&item.name);
            if item.name.starts_with(EXPIRED_PREFIX) {
                self.at(SESSIONS, |_| self.remove_folder(&folder))?;
                continue;
            }
            let Ok(session) = SessionId::try_from(item.name) else {
                continue;
            };
            if !self.is_alive(&folder)? {
                self.move_session_away(&session)?;
            }
        }
        Ok(())
    }

    fn is_alive(&self, folder: &std::path::Path) -> Result<bool, StoreError> {
        for kind in KINDS {
            match self.disk.try_lock(&folder.join(lock_name(kind))) {
                Ok(None) => return Ok(true),
                Err(error) if !is_absent(&error) => {
                    return Err(StoreError::from_io(SESSIONS, &error));
                }
                _ => {}
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::disk::RealDisk;
    use crate::engine::env::fixed;
    use crate::engine::store::{DirOptions, conformance};

    fn options(root: &std::path::Path) -> DirOptions {
        DirOptions {
            root: root.to_owned(),
            machine: "machine-a".to_owned(),
        }
    }

    fn create(root: &std::path::Path) -> Result<Dir, StoreError> {
        Dir::create(Arc::new(RealDisk::default()), fixed::env(1), &options(root))
    }

    #[test]
    fn a_folder_keeps_the_promises_of_a_store() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let count = std::cell::Cell::new(0);
        let make = || {
            count.set(count.get() + 1);
            let root = folder.path().join(format!("deep/{}", count.get()));
            create(&root).expect("a new store")
        };
        conformance::check(&make);
    }

    #[test]
    fn opening_needs_a_marker_and_the_home_machine() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let open = |machine: &str| {
            let options = DirOptions {
                machine: machine.to_owned(),
                ..options(folder.path())
            };
            Dir::open(Arc::new(RealDisk::default()), fixed::env(2), &options).map(|_| ())
        };
        assert!(matches!(
            open("machine-a"),
            Err(StoreError::NoRepository { .. })
        ));
        let store = create(folder.path()).expect("a new store");
        store
            .put(&StoreName::marker(), b"{\"home\":\"machine-a\"}")
            .expect("a put");
        assert_eq!(open("machine-a"), Ok(()));
        assert_eq!(
            open("machine-b"),
            Err(StoreError::WrongHome {
                home: "machine-a".to_owned(),
                here: "machine-b".to_owned()
            })
        );
        assert!(matches!(
            create(folder.path()).map(|_| ()),
            Err(StoreError::NotEmpty { .. })
        ));
    }

    #[test]
    fn what_a_dead_process_left_is_cleaned() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path();
        let store = create(root).expect("a new store");
        std::fs::create_dir(root.join("tmp/dead")).expect("a folder");
        std::fs::write(root.join("tmp/dead/lock"), b"").expect("a file");
        std::fs::write(root.join("tmp/dead/0"), b"half").expect("a file");
        let dead = SessionId::new([4; 16]);
        std::fs::create_dir(root.join(format!("sessions/{dead}"))).expect("a folder");
        let alive = SessionId::new([5; 16]);
        store
            .open_session(&alive, SessionKind::Write)
            .expect("a session");
        assert!(!root.join(format!("sessions/{dead}")).exists());
        store
            .put(&StoreName::marker(), b"{}")
            .expect("a put makes the process's own folder");
        assert!(!root.join("tmp/dead").exists());
        assert!(root.join(format!("sessions/{alive}")).exists());
        drop(store);
        let left = std::fs::read_dir(root.join("tmp")).expect("a folder");
        assert_eq!(left.count(), 1, "only the gate's lock file stays");
    }

    #[test]
    fn a_damaged_file_is_replaced_by_the_bytes_of_its_name() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = create(folder.path()).expect("a new store");
        let name = StoreName::pack(blake3::hash(b"whole").as_bytes());
        store.put(&name, b"whole").expect("a put");
        std::fs::write(store.path(&name), b"who").expect("damage");
        assert_eq!(store.put(&name, b"whole"), Ok(Put::Stored));
        assert_eq!(store.get(&name), Ok(b"whole".to_vec()));
    }

    #[test]
    fn a_full_disk_is_its_own_error_and_leaves_no_file() {
        let error = StoreError::from_io("packs/x", &io::Error::from_raw_os_error(28));
        assert_eq!(
            error,
            StoreError::NoSpace {
                name: "packs/x".to_owned()
            }
        );
        let error = StoreError::from_io("packs/x", &io::Error::from_raw_os_error(30));
        assert!(matches!(error, StoreError::ReadOnly { .. }));
    }
}
