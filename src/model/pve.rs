//! What a Proxmox VE node's own files say: storages, guests and the jobs of vzdump.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::observed::{MountFacts, Space};
use super::size::ByteSize;

/// The inventory of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PveFacts {
    /// The storages of its cluster.
    pub storages: Vec<Storage>,
    /// The jobs of its cluster's vzdump.
    pub jobs: Vec<DumpJob>,
    /// What `/etc/vzdump.conf` says where a job says nothing.
    pub defaults: DumpSettings,
    /// The guests on this node.
    pub guests: Vec<Guest>,
    /// The folders that dumps and temporary files could go to.
    pub folders: Vec<FolderFacts>,
}

/// A storage, see `/etc/pve/storage.cfg`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Storage {
    /// Its name.
    pub id: String,
    /// Its kind, such as `dir` or `lvmthin`.
    pub kind: String,
    /// Where its files are, if it keeps files.
    pub path: Option<String>,
    /// The LVM group, if it is on LVM.
    pub group: Option<String>,
    /// The thin pool in that group.
    pub thin_pool: Option<String>,
    /// The ZFS dataset that its volumes are below, if it is on ZFS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// The nodes that have it; none for all.
    pub nodes: Vec<String>,
    /// Whether it is switched off.
    pub disabled: bool,
    /// Whether it is used only while something is mounted at its path.
    pub wants_mount: bool,
}

/// A job of vzdump, see `/etc/pve/jobs.cfg`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DumpJob {
    /// Its name.
    pub id: String,
    /// Whether it runs.
    pub enabled: bool,
    /// The node it is for; none for each.
    pub node: Option<String>,
    /// When it runs.
    pub schedule: Option<String>,
    /// Which guests it is for.
    pub guests: DumpedGuests,
    /// What it says itself.
    pub settings: DumpSettings,
}

/// Which guests a job is for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DumpedGuests {
    /// All but some.
    AllBut(Vec<u32>),
    /// These.
    These(Vec<u32>),
    /// Those of a pool, which is not looked into.
    #[default]
    Unknown,
}

/// Settings of a job, or of the node for all jobs, see vzdump(1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DumpSettings {
    /// The storage that dumps go to.
    pub storage: Option<String>,
    /// The folder that dumps go to.
    pub dumpdir: Option<String>,
    /// The folder for temporary files.
    pub tmpdir: Option<String>,
    /// The mode: `snapshot`, `suspend` or `stop`.
    pub mode: Option<String>,
    /// The storage that takes what guests overwrite meanwhile.
    pub fleecing: Option<String>,
    /// How many dumps of a guest are kept, at most; none where all are.
    pub keep: Option<u32>,
}

/// A guest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Guest {
    /// Its number.
    pub id: u32,
    /// Whether it is a container.
    pub is_container: bool,
    /// Its name.
    pub name: Option<String>,
    /// What it stores.
    pub disks: Vec<Disk>,
    /// Whether a container's users have other numbers on the node.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unprivileged: bool,
    /// Which numbers, where that is not the usual way: lines of `lxc.idmap`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub idmap: Vec<String>,
}

/// A guest's disk or a container's volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Disk {
    /// Its place in the guest, such as `scsi0` or `rootfs`.
    pub slot: String,
    /// The storage it is on.
    pub storage: String,
    /// Its name there.
    pub volume: String,
    /// Its size.
    pub size: Option<ByteSize>,
    /// Whether vzdump reads it.
    pub dumped: bool,
}

/// A folder that dumps or temporary files could go to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FolderFacts {
    /// The folder.
    pub path: String,
    /// The mount that it is on, or would be on.
    pub mount: Option<MountFacts>,
    /// The space of that filesystem.
    pub space: Option<Space>,
}

impl PveFacts {
    /// Returns a storage by its name.
    pub fn storage(&self, id: &str) -> Option<&Storage> {
        self.storages.iter().find(|storage| storage.id == id)
    }

    /// Returns a folder that was looked at.
    pub fn folder(&self, path: &str) -> Option<&FolderFacts> {
        self.folders.iter().find(|folder| folder.path == path)
    }
}

impl DumpJob {
    /// Tells whether the job dumps a guest; none if that is not known.
    pub fn dumps(&self, guest: u32) -> Option<bool> {
        match &self.guests {
            DumpedGuests::AllBut(except) => Some(!except.contains(&guest)),
            DumpedGuests::These(these) => Some(these.contains(&guest)),
            DumpedGuests::Unknown => None,
        }
    }
}

impl DumpSettings {
    /// Fills in what a job leaves to its node.
    ///
    /// A job that names where dumps go takes neither folder nor storage from the node.
    #[must_use]
    pub fn or(&self, defaults: &Self) -> Self {
        let own =
            |own: &Option<String>, other: &Option<String>| own.clone().or_else(|| other.clone());
        let names_target = self.storage.is_some() || self.dumpdir.is_some();
        let target = if names_target { self } else { defaults };
        Self {
            storage: target.storage.clone(),
            dumpdir: target.dumpdir.clone(),
            tmpdir: own(&self.tmpdir, &defaults.tmpdir),
            mode: own(&self.mode, &defaults.mode),
            fleecing: own(&self.fleecing, &defaults.fleecing),
            keep: self.keep.or(defaults.keep),
        }
    }
}
