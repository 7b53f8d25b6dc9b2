//! The live state as it was seen: facts by node, failures kept as values.
//!
//! Nothing in here was trusted on the way: texts are bounded and may hold any
//! character, so whoever prints them escapes them.

use core::net::IpAddr;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::acl::Acl;
use super::discovered::Discovered;
use super::export::Export;
use super::idmap::{IdGrants, IdMap};
use super::lvm::LvmFacts;
use super::markers::{Managed, Proof, Registry, RepositoryMarker};
use super::name::Name;
use super::pve::PveFacts;
use super::size::ByteSize;
use super::snapshot::SnapshotHead;
use super::time::Timestamp;
use super::truenas::TrueNasShare;
use super::zfs::ZfsFacts;

/// Everything that was seen in one look.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Observed {
    /// What was seen of each node that was looked at.
    pub nodes: BTreeMap<Name, NodeState>,
    /// What was seen of each declared reading key, where bkpctl runs.
    pub keys: BTreeMap<Name, KeyState>,
    /// The binary that would be placed on nodes.
    pub binary: Option<Binary>,
}

/// A node, reached or not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It answered.
    Reached(Box<NodeFacts>),
    /// It did not; what depends on it is deferred.
    Unreachable(Unreachable),
}

/// Why a node could not be seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unreachable {
    /// The kind of failure.
    pub kind: UnreachableKind,
    /// The failure in words, with what to do next.
    pub message: String,
}

/// The kind of failure that kept a node from being seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnreachableKind {
    /// Nothing answered at its address.
    Connect,
    /// It showed a host key other than the pinned one, or none is known.
    HostKey,
    /// It let us in with none of our keys.
    Login,
    /// It took longer than the deadline.
    Timeout,
    /// Its answer was cut off, too large or not understood.
    Answer,
    /// It is reached in a way that is not carried out yet.
    Unsupported,
}

/// The state of a reading key's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// It is there and readable.
    Present {
        /// The key domain's id in hex.
        domain: String,
        /// Whether its recovery sheet was confirmed.
        recovery_confirmed: bool,
    },
    /// There is no such file.
    Missing,
    /// The file can't be used, with the reason.
    Unusable(String),
}

/// The static binary that is placed on nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Binary {
    /// The BLAKE3 hash of the file in hex.
    pub hash: String,
    /// The machine architecture it runs on, as `uname -m` says it.
    pub arch: String,
    /// Its size.
    pub size: ByteSize,
}

/// What was seen of a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeFacts {
    /// How it was reached, such as `root@10.0.0.11:22`.
    pub via: String,
    /// Its own host name.
    pub hostname: String,
    /// `/etc/machine-id`, if it has one.
    pub machine_id: Option<String>,
    /// The operating system's name, such as `Debian GNU/Linux 13`.
    pub os: Option<String>,
    /// Which versions it has of what decides how it behaves.
    #[serde(default, skip_serializing_if = "Versions::is_unknown")]
    pub versions: Versions,
    /// The architecture as `uname -m` says it.
    pub arch: String,
    /// Its clock when it was asked.
    pub clock: Timestamp,
    /// Its clock minus ours, in milliseconds, give or take the round trip.
    pub skew_ms: i64,
    /// Who we are there.
    pub login: Login,
    /// Users asked for, by name.
    pub users: BTreeMap<String, UserFacts>,
    /// Programs asked for and whether they are there.
    pub tools: BTreeMap<String, bool>,
    /// Paths asked for.
    pub paths: BTreeMap<String, PathFacts>,
    /// Our folder there.
    pub state: StateFacts,
    /// Datastores served from there, by name.
    pub datastores: BTreeMap<Name, DatastoreFacts>,
    /// Sources there, by name.
    pub sources: BTreeMap<Name, SourceFacts>,
    /// Its addresses, if they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// Its NFS server, if it was asked for one and has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nfs: Option<NfsFacts>,
    /// Where `/etc/fstab` mounts something, if that was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fstab: Vec<String>,
    /// The text of files of the system that were asked for and are there, by path; empty where
    /// bkpctl does not keep them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// What systemd says of those files that are units, by path; empty where it does not run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub units: BTreeMap<String, UnitFacts>,
    /// Its own address on the way to servers that were asked for, by the server as it was named.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub routes: BTreeMap<String, IpAddr>,
    /// Disks that were asked for and are there: the device by the UUID of its filesystem.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub disks: BTreeMap<String, String>,
    /// Containers on it that were asked for and are there, by number.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub containers: BTreeMap<u32, ContainerFacts>,
    /// Which of its numbers its root may give to containers, if that was asked for and is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_grants: Option<IdGrants>,
    /// Its LVM, if it has one that we may look at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lvm: Option<LvmFacts>,
    /// Its ZFS, if it has a pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zfs: Option<ZfsFacts>,
    /// Its inventory, if it is a Proxmox VE node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pve: Option<PveFacts>,
    /// What it has that nobody asked for, if somebody looked around.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovered: Option<Discovered>,
}

/// The versions of a machine's parts, each as far as it has the part and tells.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Versions {
    /// The kernel's release, as `uname -r` says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// ZFS's kernel module, if it is loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zfs: Option<String>,
    /// TrueNAS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truenas: Option<String>,
    /// Proxmox VE, by its package `pve-manager`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxmox_ve: Option<String>,
    /// Proxmox Backup Server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxmox_backup_server: Option<String>,
}

impl Versions {
    fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

/// What systemd says of a unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnitFacts {
    /// Whether something pulls it in at the next start, if that is told.
    pub enabled: Option<bool>,
    /// Whether it failed.
    pub failed: bool,
}

/// What was seen of an NFS server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NfsFacts {
    /// What it exports now.
    pub exports: Vec<Export>,
    /// Whether it looks a user's groups up itself instead of believing the client.
    pub manages_groups: Option<bool>,
    /// What a TrueNAS makes its exports from; left out where it is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truenas: Option<Vec<TrueNasShare>>,
}

/// What was seen of a container, on its host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerFacts {
    /// Whether it runs.
    pub running: bool,
    /// Which numbers its users have on the host.
    pub map: IdMap,
    /// Whether it may mount NFS itself.
    pub may_mount_nfs: bool,
    /// The map that its file asks for by lines of its own, with which it would be started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_map: Option<IdMap>,
}

/// Who we are on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Login {
    /// The login's name.
    pub user: String,
    /// The numeric user id.
    pub uid: u32,
    /// The numeric group id.
    pub gid: u32,
    /// All numeric group ids.
    pub groups: Vec<u32>,
    /// Whether root rights are at hand: uid 0, or `sudo -n` works and the topology asks for it.
    pub privileged: bool,
    /// Whether the key that let us in may only look.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_looks: bool,
}

/// A user of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserFacts {
    /// The numeric user id.
    pub uid: u32,
    /// The numeric group id.
    pub gid: u32,
    /// Its name, where it was asked for by its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// What was seen of a path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PathFacts {
    /// The outcome of looking at it.
    pub outcome: Outcome,
    /// Every component from `/` on, as far as it exists, symbolic links followed.
    pub components: Vec<Component>,
    /// The mount it is on, or would be on.
    pub mount: Option<MountFacts>,
    /// The space of that filesystem.
    pub space: Option<Space>,
    /// Whether it is a directory without entries.
    pub empty: Option<bool>,
}

/// How looking at something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is there and was looked at.
    Ok,
    /// It is not there.
    Missing,
    /// We were not allowed to look.
    Denied,
    /// Looking took longer than its deadline.
    Timeout,
}

/// One component of a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Component {
    /// The path up to and with this component.
    pub path: String,
    /// What it is.
    pub kind: ComponentKind,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its permission bits.
    pub mode: u32,
    /// Its access control list, where that says more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acl: Option<Acl>,
}

impl Component {
    /// Changes its permission bits as `chmod` does.
    pub fn set_mode(&mut self, mode: u32) {
        self.mode = mode;
        if let Some(acl) = &mut self.acl {
            acl.set_mode(mode);
        }
    }
}

/// What a path's component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ComponentKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A block device.
    BlockDevice,
    /// Something else.
    Other,
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MountFacts {
    /// Where it is mounted.
    pub target: String,
    /// What is mounted.
    pub source: String,
    /// The filesystem's type.
    pub fstype: String,
    /// The device number as `major:minor`.
    pub device: String,
    /// Whether it is read-only.
    pub read_only: bool,
    /// How it shows owners and modes, if it is a mount over SMB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smb: Option<SmbFacts>,
}

/// How a mount over SMB shows owners and modes; of its options nothing else is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SmbFacts {
    /// The user that it says owns everything.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
    /// The permission bits that it says files have.
    pub file_mode: Option<u32>,
    /// The permission bits that it says folders have.
    pub dir_mode: Option<u32>,
    /// Whether its server tells owners and modes after all, and changes them.
    pub server_tells: bool,
    /// Whether the client leaves every judgement to the server.
    pub unchecked: bool,
}

/// The space of a filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Space {
    /// Its size.
    pub total: ByteSize,
    /// What an ordinary user may still use.
    pub free: ByteSize,
    /// All inodes; zero where the filesystem makes them as needed.
    pub inodes_total: u64,
    /// Free inodes.
    pub inodes_free: u64,
}

/// What was seen of bkpctl's own folder on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StateFacts {
    /// The folder, absolute.
    pub folder: String,
    /// The hashes of the binaries that are placed there.
    pub binaries: Vec<String>,
    /// What is managed there.
    pub registry: Option<Registry>,
}

/// What was seen of a datastore where it is served from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DatastoreFacts {
    /// The repository's marker, if there is a repository.
    pub marker: Option<RepositoryMarker>,
    /// A marker that is there but can't be read, with the reason.
    pub marker_problem: Option<String>,
    /// What planning wrote there.
    pub managed: Option<Managed>,
    /// The newest snapshots of each source, newest first.
    pub snapshots: BTreeMap<Name, Vec<SnapshotHead>>,
    /// How many snapshots there are of each source.
    pub counts: BTreeMap<Name, u64>,
    /// What came of each source, day by day, newest first; up to a bound.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub history: BTreeMap<Name, Vec<DayFacts>>,
    /// The newest proofs, newest first.
    pub proofs: Vec<Proof>,
    /// How many entries below belong to somebody else than the declared owner, up to a bound.
    pub foreign_entries: Option<u64>,
    /// One of those entries, as `path uid:gid`.
    pub foreign_example: Option<String>,
    /// Whether the declared owner could make an entry there, as the system itself judges it.
    pub owner_may_write: Option<bool>,
    /// How many bytes are allocated in it; only measured where the topology no longer has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<ByteSize>,
}

/// What came of a source to a datastore on one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DayFacts {
    /// When the day began, in UTC.
    pub day: Timestamp,
    /// How many snapshots of that day are there.
    pub snapshots: u64,
    /// How many bytes were stored for the newest of them.
    pub stored: ByteSize,
    /// How many bytes a restore of it gives.
    pub bytes: ByteSize,
}

/// What was seen of a source.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SourceFacts {
    /// How many bytes are allocated below its paths, if that could be told in time.
    pub bytes: Option<ByteSize>,
    /// Whether we may read it with the rights we have.
    pub readable: Option<bool>,
}

impl PathFacts {
    /// Returns the last component if the whole path exists.
    pub fn last(&self) -> Option<&Component> {
        match self.outcome {
            Outcome::Ok => self.components.last(),
            _ => None,
        }
    }
}

impl Observed {
    /// Returns what was seen of a node, if it was reached.
    pub fn reached(&self, node: &str) -> Option<&NodeFacts> {
        match self.nodes.get(node) {
            Some(NodeState::Reached(facts)) => Some(facts),
            _ => None,
        }
    }

    /// Returns why a node was not reached, if it was not.
    pub fn unreachable(&self, node: &str) -> Option<&Unreachable> {
        match self.nodes.get(node) {
            Some(NodeState::Unreachable(why)) => Some(why),
            _ => None,
        }
    }
}
