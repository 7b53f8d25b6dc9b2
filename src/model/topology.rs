//! The declared system: what one KDL file and its includes say, resolved and checked.
//!
//! Every reference by name in here exists: `config` refuses a topology where one
//! does not. Where a thing was declared is kept, so that messages can point at it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::name::Name;
use super::retention::Keep;
use super::schedule::Calendar;
use super::size::{Amount, ByteSize};
use super::time::{Period, Timestamp};

/// A whole declared system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Topology {
    /// The name people know it by.
    pub name: Name,
    /// The identity that markers and snapshots carry; written once.
    pub id: TopologyId,
    /// The folder that relative paths of `local` nodes start from.
    pub folder: String,
    /// Who writes, by number.
    pub users: BTreeMap<Name, ServiceUser>,
    /// Machines that are reached.
    pub nodes: BTreeMap<Name, Node>,
    /// NFS exports.
    pub shares: BTreeMap<Name, Share>,
    /// What keeps snapshots.
    pub datastores: BTreeMap<Name, Datastore>,
    /// Where reading keys are.
    pub keys: BTreeMap<Name, Key>,
    /// What is protected.
    pub sources: BTreeMap<Name, Source>,
    /// Groups of guests, each guest a source of its own.
    pub guests: BTreeMap<Name, Guests>,
    /// Ordered groups of jobs.
    pub phases: Vec<Phase>,
    /// Rules the system must satisfy.
    pub policy: Policy,
    /// Things that were declared once and may be destroyed now.
    pub removed: Vec<Removed>,
    /// Renames.
    pub moved: Vec<Moved>,
}

/// The identity of a topology: 4 to 64 letters and digits, made once by `init`.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct TopologyId(pub String);

/// The letters of an identity: those that are not taken for one another, see Crockford's base 32.
const ID_LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl TopologyId {
    /// Makes an identity of the time and of chance, in the form of a ULID.
    pub fn fresh(at: Timestamp, chance: [u8; 10]) -> Self {
        let millis = u128::try_from(at.0 / 1_000_000).unwrap_or_default();
        let chance = chance
            .iter()
            .fold(0, |number: u128, byte| number << 8 | u128::from(*byte));
        let number = millis << 80 | chance;
        let letter = |place: u32| char::from(ID_LETTERS[(number >> (5 * place) & 31) as usize]);
        Self((0..26).rev().map(letter).collect())
    }
}

/// Where in the files something was declared.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct Declared {
    /// The file, relative to the topology's folder.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
}

impl std::fmt::Display for Declared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A user that writes, with its numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceUser {
    /// The numeric user id.
    pub uid: u32,
    /// The numeric group id.
    pub gid: u32,
    /// Where it was declared.
    pub declared: Declared,
}

/// A machine or container that is reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Node {
    /// How it is reached.
    pub reach: Reach,
    /// The container it is, if it is one.
    pub container: Option<Container>,
    /// Failure domains: free keys such as `site` or `power`.
    pub domain: BTreeMap<String, String>,
    /// Free space that must never be eaten into, by path.
    pub reserve: BTreeMap<String, Amount>,
    /// Where drills and temporary files may go.
    pub scratch: Option<String>,
    /// Whether it may hold a reading key.
    pub reader: bool,
    /// Where our files go there.
    pub agent: Agent,
    /// The node whose chunk ids it shares, by choice.
    pub dedup_with: Option<Name>,
    /// Where it was declared.
    pub declared: Declared,
}

/// How a node is reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// The machine bkpctl runs on.
    Local,
    /// Over SSH.
    Ssh(SshReach),
}

/// How a node is reached over SSH.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SshReach {
    /// The host name or address, or an alias of the user's SSH configuration.
    pub host: String,
    /// The login, if the topology names it.
    pub user: Option<String>,
    /// The port, if the topology names it.
    pub port: Option<u16>,
    /// Pinned host keys, each `type base64`.
    pub host_keys: Vec<String>,
    /// The private key file to log in with, already resolved against its file.
    pub identity_file: Option<String>,
    /// The node to jump through.
    pub jump: Option<Name>,
    /// Whether root rights come through `sudo`.
    pub sudo: bool,
}

/// Which container a node is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Container {
    /// The container's number on its host.
    pub id: u32,
    /// The host.
    pub on: Name,
    /// Whether container ids equal host ids.
    pub privileged: bool,
    /// Id maps as `lxc.idmap` writes them, for unprivileged containers.
    pub idmap: Vec<String>,
}

/// Where our files go on a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Agent {
    /// `/var/lib/bkpctl`, or the user's state folder.
    Default,
    /// A folder of the node's own choice.
    Path(String),
    /// Nothing is placed; the node is read by fixed streams.
    None,
}

/// An NFS export on a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Share {
    /// The node that exports it.
    pub on: Name,
    /// The exported path.
    pub export: String,
    /// How ids are squashed.
    pub squash: Squash,
    /// Who must own it.
    pub owner: Option<Owner>,
    /// The mode it must have.
    pub mode: Option<u32>,
    /// The ZFS dataset behind it.
    pub dataset: Option<Dataset>,
    /// Who may mount it; left out, the nodes that do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<String>,
    /// The name or address that clients mount it from; left out, the node's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Where it was declared.
    pub declared: Declared,
}

/// How an NFS server replaces ids.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Squash {
    /// Root becomes nobody; others stay.
    Root,
    /// Root becomes this user and group.
    MapRoot {
        /// The user that root becomes.
        user: String,
        /// The group that root's group becomes.
        group: Option<String>,
    },
    /// Everybody becomes this user.
    MapAll(Name),
}

/// A ZFS dataset behind a share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Dataset {
    /// The dataset's name.
    pub name: String,
    /// Its quota.
    pub quota: Option<ByteSize>,
}

/// Who owns something: numbers, with the name the topology gives them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Owner {
    /// The service user's name.
    pub user: Name,
    /// The numeric user id.
    pub uid: u32,
    /// The numeric group id.
    pub gid: u32,
}

/// What keeps snapshots.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Datastore {
    /// A directory served from a node, or a bucket.
    pub kind: DatastoreKind,
    /// Who must own it; left out, the user we log in as.
    pub owner: Option<Owner>,
    /// The folder's mode.
    pub mode: u32,
    /// Free space it must leave.
    pub reserve: Option<Amount>,
    /// What `prune` keeps; left out, everything for ever.
    pub keep: Option<Keep>,
    /// How old a chunk's last verification may get.
    pub verify_every: Option<Period>,
    /// The reading key its snapshots are sealed for.
    pub key: Name,
    /// Failure domains of its own, for buckets.
    pub domain: BTreeMap<String, String>,
    /// Whether it is a Proxmox Backup Server's and only read.
    pub pbs: bool,
    /// Whether it may not be destroyed, also once it is no longer declared.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub guard: bool,
    /// Where it was declared.
    pub declared: Declared,
}

/// What a datastore is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DatastoreKind {
    /// A directory; several places say where it is served from and where it goes next.
    Directory {
        /// The places, in the order of their phases; never empty.
        places: Vec<Place>,
    },
    /// A bucket of an S3-compatible store.
    S3(S3),
}

/// Where a datastore is served from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Place {
    /// The node that serves it.
    pub node: Name,
    /// The directory; absolute once resolved.
    pub path: String,
    /// What must be mounted there.
    pub mount: Option<Mount>,
    /// The phase from which this place is the one.
    pub from_phase: Option<Name>,
}

/// What must be mounted at a place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Mount {
    /// What is mounted.
    pub what: Mounted,
    /// The mount options.
    pub options: Option<String>,
    /// The node that mounts it, when a container only binds it.
    pub on: Option<Name>,
    /// The path on that node.
    pub bind: Option<String>,
}

/// What is mounted at a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mounted {
    /// A share of this topology, over NFS.
    Share(Name),
    /// A disk of the machine itself, which may be plugged in or not.
    Disk(Disk),
}

/// A disk, known by the filesystem on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Disk {
    /// The filesystem's UUID, as in `/dev/disk/by-uuid`.
    pub uuid: String,
    /// The filesystem's type; left out, the system finds out.
    pub filesystem: Option<String>,
}

/// A bucket of an S3-compatible store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct S3 {
    /// The endpoint.
    pub endpoint: String,
    /// The bucket.
    pub bucket: String,
    /// The prefix inside the bucket.
    pub prefix: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// The environment variables' prefix that holds the credentials.
    pub credentials_env: Option<String>,
    /// The node where credentials are installed for scheduled jobs.
    pub credentials_on: Option<Name>,
    /// How long objects can't be deleted.
    pub object_lock: Option<Period>,
}

/// Where a reading key is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Key {
    /// The key file, resolved against the file that declares it; `~` is still in it.
    pub file: String,
    /// Whether `apply` may create it, for demonstrations.
    pub create: bool,
    /// Where it was declared.
    pub declared: Declared,
}

/// What is protected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// The node it is on.
    pub on: Name,
    /// What is read.
    pub content: Content,
    /// Where it was declared.
    pub declared: Declared,
}

/// What a source reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// File trees.
    Paths {
        /// The trees; absolute once resolved, never empty.
        paths: Vec<String>,
        /// Globs as in `.gitignore`.
        exclude: Vec<String>,
        /// Whether other filesystems below are left out.
        one_file_system: bool,
    },
    /// A block volume.
    Volume {
        /// The device.
        device: String,
        /// How a consistent view is made, such as `lvm-thin`.
        via: Option<String>,
    },
    /// A command's output.
    Command {
        /// The program and its arguments; never a shell line.
        argv: Vec<String>,
        /// The user it runs as.
        run_as: Option<String>,
        /// The file name the output gets; the source's name if left out.
        name: Option<String>,
        /// How long it may run.
        #[serde(default)]
        timeout: Option<Period>,
    },
    /// A PVE guest.
    Guest(u32),
}

/// Tells whether a volume is read as it lies there, without a consistent view made first.
pub fn is_plain(via: Option<&str>) -> bool {
    matches!(via, None | Some("raw"))
}

/// A group of PVE guests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Guests {
    /// The nodes they run on.
    pub on: Vec<Name>,
    /// Whether every guest found belongs to it.
    pub all: bool,
    /// Guests named one by one.
    pub only: Vec<u32>,
    /// Guests left out.
    pub except: Vec<u32>,
    /// Where it was declared.
    pub declared: Declared,
}

/// An ordered group of jobs with a gate at its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Phase {
    /// Its name.
    pub name: Name,
    /// The phase that must be complete first.
    pub after: Option<Name>,
    /// Its jobs, in the order of the file.
    pub jobs: Vec<Job>,
    /// Where it was declared.
    pub declared: Declared,
}

/// Work with a schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    /// Its name, unique among all jobs.
    pub name: Name,
    /// What it does.
    pub work: Work,
    /// When it runs; left out, only on demand.
    pub at: Option<Calendar>,
    /// Where it was declared.
    pub declared: Declared,
}

/// What a job does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Copies sources into datastores.
    Backup {
        /// Sources and groups of guests.
        sources: Vec<Name>,
        /// The datastores, never empty.
        to: Vec<Name>,
    },
    /// Copies snapshots from one datastore to another.
    Sync {
        /// Where they come from.
        from: Name,
        /// Where they go.
        to: Name,
    },
    /// Copies snapshots from a datastore to a bucket.
    Cloud {
        /// Where they come from.
        from: Name,
        /// The bucket's datastore.
        to: Name,
    },
    /// Restores to a scratch place, compares, removes.
    Drill {
        /// Sources that are proven, never empty.
        sources: Vec<Name>,
        /// The datastore that is proven.
        from: Name,
        /// The node that restores; left out, where bkpctl runs.
        on: Option<Name>,
        /// How old a proof may get before it is due again.
        every: Option<Period>,
        /// A program that judges the restored files.
        command: Vec<String>,
    },
}

impl Work {
    /// Tells whether copies go into a datastore.
    pub fn fills(&self, datastore: &Name) -> bool {
        match self {
            Self::Backup { to, .. } => to.contains(datastore),
            Self::Sync { to, .. } | Self::Cloud { to, .. } => to == datastore,
            Self::Drill { .. } => false,
        }
    }

    /// Returns the word the topology uses for this kind of job.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Backup { .. } => "backup",
            Self::Sync { .. } => "sync",
            Self::Cloud { .. } => "cloud",
            Self::Drill { .. } => "drill",
        }
    }
}

/// Rules the system must satisfy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Policy {
    /// How many datastores must hold each source.
    pub copies: Option<u32>,
    /// How many distinct media must hold each source.
    pub media: Option<u32>,
    /// How many copies must be at another site.
    pub offsite: Option<u32>,
    /// How many copies no credential of ours can delete.
    pub beyond_reach: Option<u32>,
    /// How old the newest copy may get.
    pub rpo: Option<Period>,
    /// How old the newest proof may get.
    pub drill_within: Option<Period>,
    /// Whether every guest found must be a source or excepted.
    pub covered: bool,
    /// Datasets of ZFS that nobody needs a copy of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excepted: Vec<Excepted>,
    /// Rules that are set aside for a while.
    pub waivers: Vec<Waiver>,
}

/// Datasets that need no copy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Excepted {
    /// Their names; one that ends in `/*` takes all below along.
    pub datasets: Vec<String>,
    /// The node they are on; left out, any.
    pub on: Option<Name>,
    /// Where it was declared.
    pub declared: Declared,
}

/// A rule that is set aside until a date.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Waiver {
    /// The rule's name, such as `offsite`.
    pub rule: String,
    /// The first day on which it holds again, `YYYY-MM-DD`.
    pub until: String,
    /// Why.
    pub reason: String,
    /// Where it was declared.
    pub declared: Declared,
}

/// A thing that was declared once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Removed {
    /// Its address.
    pub address: super::Address,
    /// Whether what it left may be destroyed.
    pub destroy: bool,
    /// Where it was declared.
    pub declared: Declared,
}

/// A rename.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Moved {
    /// The old address.
    pub from: super::Address,
    /// The new address.
    pub to: super::Address,
    /// Where it was declared.
    pub declared: Declared,
}

impl Topology {
    /// Returns every job with the phase it belongs to, in the order of the file.
    pub fn jobs(&self) -> impl Iterator<Item = (&Phase, &Job)> {
        self.phases
            .iter()
            .flat_map(|phase| phase.jobs.iter().map(move |job| (phase, job)))
    }

    /// Returns the job of that name.
    pub fn job(&self, name: &str) -> Option<&Job> {
        self.jobs().map(|(_, job)| job).find(|job| job.name == name)
    }

    /// Returns the name under which a node's chunk ids are made.
    ///
    /// That is the node's own name, or the name of the node it shares ids with.
    pub fn writer_label<'a>(&'a self, node: &'a Name) -> &'a Name {
        let shared = self.nodes.get(node).and_then(|n| n.dedup_with.as_ref());
        match shared {
            // Two nodes that name each other agree on the smaller name.
            Some(other)
                if self.nodes.get(other).and_then(|n| n.dedup_with.as_ref()) == Some(node) =>
            {
                other.min(node)
            }
            Some(other) => other,
            None => node,
        }
    }

    /// Returns whether a node is the machine bkpctl runs on.
    pub fn is_local(&self, node: &str) -> bool {
        matches!(
            self.nodes.get(node),
            Some(Node {
                reach: Reach::Local,
                ..
            })
        )
    }
}

impl Topology {
    /// Returns the share that is mounted at a datastore's place, if one is.
    pub fn share_of(&self, datastore: &Name) -> Option<(&Name, &Share)> {
        let place = self.datastores.get(datastore)?.first_place()?;
        self.shares.get_key_value(place.mount.as_ref()?.share()?)
    }

    /// Returns the node and the folder where the bytes of a datastore lie.
    ///
    /// That is its place, or what is exported to it; none for a bucket.
    pub fn ground(&self, datastore: &Name) -> Option<(&Name, &str)> {
        if let Some((_, share)) = self.share_of(datastore) {
            return Some((&share.on, &share.export));
        }
        let place = self.datastores.get(datastore)?.first_place()?;
        Some((&place.node, &place.path))
    }

    /// Returns the name or address that clients mount a share from: its own, or the one that
    /// its node is reached at.
    pub fn address_of(&self, share: &Name) -> Option<&str> {
        let share = self.shares.get(share)?;
        if let Some(address) = &share.address {
            return Some(address);
        }
        match &self.nodes.get(&share.on)?.reach {
            Reach::Ssh(ssh) => Some(&ssh.host),
            Reach::Local => None,
        }
    }

    /// Returns whether a datastore, its mount or a share is declared, or has another name now.
    pub fn knows(&self, address: &super::Address) -> bool {
        let name = address.name();
        let datastore = || super::Address::new("datastore", name);
        let renamed = || self.moved.iter().any(|moved| moved.from == datastore());
        match address.kind() {
            "datastore" => self.datastores.contains_key(name) || renamed(),
            "mount" => self.mounts().any(|(of, ..)| of == name) || renamed(),
            "share" => self.shares.contains_key(name),
            _ => true,
        }
    }

    /// Returns every place where something is mounted, with its datastore.
    pub fn mounts(&self) -> impl Iterator<Item = (&Name, &Place, &Mount)> {
        self.datastores.iter().flat_map(|(name, datastore)| {
            let places: &[Place] = match &datastore.kind {
                DatastoreKind::Directory { places } => places,
                DatastoreKind::S3(_) => &[],
            };
            let mounts = places.iter();
            mounts.filter_map(move |place| Some((name, place, place.mount.as_ref()?)))
        })
    }
}

impl Place {
    /// Returns the node that mounts what belongs here, and where; the place itself unless a
    /// container only binds it.
    pub fn mount_point<'a>(&'a self, mount: &'a Mount) -> (&'a Name, &'a str) {
        match (&mount.on, &mount.bind) {
            (Some(on), Some(bind)) => (on, bind),
            _ => (&self.node, &self.path),
        }
    }
}

impl Mount {
    /// Returns the share that is mounted, if it is one.
    pub fn share(&self) -> Option<&Name> {
        match &self.what {
            Mounted::Share(share) => Some(share),
            Mounted::Disk(_) => None,
        }
    }
}

impl Datastore {
    /// Returns the place it is served from before any phase moved it, if it is a directory.
    pub fn first_place(&self) -> Option<&Place> {
        match &self.kind {
            DatastoreKind::Directory { places } => places.first(),
            DatastoreKind::S3(_) => None,
        }
    }
}
