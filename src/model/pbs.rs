//! What Proxmox Backup Server keeps for itself beside its datastores.
//!
//! Read in its sources, `proxmox-backup-api.rs`, `auth_helpers.rs` and `config.rs`: its own folders
//! are made by root and given to the user that its proxy and its tasks run as, and its public key
//! is root's and may be read by that user's group.

use super::name::Name;
use super::topology::{Datastore, DatastoreKind, Place, Topology};

/// The user that Proxmox Backup Server's proxy and tasks run as, whatever its number.
pub const USER: &str = "backup";

/// What that user does somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It makes entries in a folder.
    Writes,
    /// It reads a file.
    Reads,
}

/// The places of its own that it can't work without, deep enough to tell of the folders above.
pub const PLACES: [(&str, Use); 4] = [
    ("/run/proxmox-backup", Use::Writes),
    ("/var/lib/proxmox-backup/jobstates", Use::Writes),
    ("/var/log/proxmox-backup/tasks", Use::Writes),
    ("/etc/proxmox-backup/authkey.pub", Use::Reads),
];

/// Tells whether something is Proxmox Backup Server's own.
pub fn is_its_own(path: &str) -> bool {
    let mut parts = path.split('/');
    parts.any(|part| part == "proxmox-backup")
}

impl Topology {
    /// Returns the datastores of Proxmox Backup Server that have a place on a node.
    pub fn datastores_of_pbs(
        &self,
        node: &Name,
    ) -> impl Iterator<Item = (&Name, &Datastore, &Place)> {
        let datastores = self.datastores.iter();
        datastores.filter_map(move |(name, datastore)| {
            let DatastoreKind::Directory { places } = &datastore.kind else {
                return None;
            };
            let place = places.iter().find(|place| place.node == *node)?;
            datastore.pbs.then_some((name, datastore, place))
        })
    }
}
