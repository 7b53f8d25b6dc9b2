//! The plan as data: what would change, where, and why.
//!
//! A plan can be printed, saved, compared and carried out. It holds no secret: keys
//! and logins are in it as references only. Whoever carries it out makes no choices.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::markers::{Managed, Registry};
use crate::model::topology::Topology;
use crate::model::{Address, ByteSize, Name, Period, Timestamp};
use crate::plan::forecast::ForecastLine;
use crate::plan::need::Need;
use crate::plan::selection::PlanPart;

/// The version of the plan's JSON form; a reader refuses a higher one.
pub const PLAN_FORMAT: u32 = 1;

/// Everything that `plan` found out and proposes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// The version of this form, see [`PLAN_FORMAT`].
    pub format: u32,
    /// The digest of what would be done: addresses, steps and gates; no times, no free bytes.
    pub digest: String,
    /// The time it was made for.
    pub now: Timestamp,
    /// The topology it was made from.
    pub topology: Topology,
    /// The nodes, seen or not.
    pub nodes: Vec<NodeLine>,
    /// What a person should know: causes before the rules they break, the worst first.
    pub findings: Vec<Finding>,
    /// What would be done, in an order that respects `after`.
    pub actions: Vec<Action>,
    /// Every copy that is demanded, fresh or not.
    pub protection: Vec<Protection>,
    /// Every proof that is demanded, fresh or not.
    pub proofs: Vec<ProofState>,
    /// The phases.
    pub phases: Vec<PhaseLine>,
    /// The rules and how they stand after the plan.
    pub policy: Vec<PolicyLine>,
    /// Where bytes would land and what would be free after.
    pub capacity: Vec<CapacityLine>,
    /// When filesystems with datastores reach their limits.
    #[serde(default)]
    pub forecast: Vec<ForecastLine>,
    /// Which part of the whole it is, and what is not in it; left out where it is the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<PlanPart>,
}

/// A node as the plan's header shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeLine {
    /// The node.
    pub name: Name,
    /// How it was reached; left out if it was not.
    pub via: Option<String>,
    /// Why it was not reached.
    pub unreachable: Option<String>,
}

/// How much a finding matters.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It will fail, or data is at risk.
    Error,
    /// It works, and should be different.
    Warning,
    /// Good to know.
    Note,
}

/// Something a person should know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// The stable code, such as `BK113`.
    pub code: String,
    /// How much it matters.
    pub severity: Severity,
    /// What it is about.
    pub address: Address,
    /// What is wrong, in one line; quotes the symptom that a user would have seen.
    pub message: String,
    /// How that comes about, line by line.
    pub because: Vec<String>,
    /// What mends it.
    pub fix: Option<String>,
    /// Whether an action of this plan mends it.
    pub fixed_by_plan: bool,
    /// Whether it is no matter of this plan, which is a part: what it is about is left out, or
    /// what mends it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left_out: bool,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Action {
    /// Its number in this plan, from 0; `after` refers to it.
    pub id: usize,
    /// What it changes.
    pub address: Address,
    /// The node whose state changes.
    pub node: Name,
    /// Exactly what to do.
    pub step: Step,
    /// The state before, in words; left out where there was nothing.
    pub before: Option<String>,
    /// The state after, in words.
    pub after_words: String,
    /// Why.
    pub reason: String,
    /// The actions that must have succeeded first.
    pub after: BTreeSet<usize>,
    /// The explicit yes it wants, if any.
    pub gate: Option<Gate>,
    /// Why it can't be done now, if it can't.
    pub deferred: Option<String>,
    /// What it relies on; a saved plan is stale where one of these changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Need>,
    /// How one sees that it is done; it is passed over where all of these hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub done: Vec<Need>,
    /// How many bytes would be read, as far as can be told.
    pub reads: Option<ByteSize>,
    /// Every place where bytes would land.
    pub landing: Vec<Landing>,
}

/// Exactly what an action does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Makes a reading key in its file, for demonstrations only.
    CreateKey {
        /// The key.
        key: Name,
    },
    /// Places the static binary on a node.
    PlaceBinary {
        /// Its BLAKE3 hash in hex; the file's name on the node.
        hash: String,
        /// Our folder on the node.
        folder: String,
    },
    /// Makes a folder whose parent exists.
    MakeFolder {
        /// The folder.
        path: String,
        /// The owner.
        uid: u32,
        /// The group.
        gid: u32,
        /// The mode.
        mode: u32,
    },
    /// Changes the owner of a path, and of everything below it that belongs to somebody else.
    SetOwner {
        /// The path.
        path: String,
        /// The owner to be.
        uid: u32,
        /// The group to be.
        gid: u32,
        /// Whether entries below are changed too.
        recursive: bool,
        /// How many entries would change, up to the probe's bound.
        entries: u64,
    },
    /// Changes the mode of a folder.
    SetMode {
        /// The folder.
        path: String,
        /// The mode to be.
        mode: u32,
    },
    /// Sets the most that a ZFS dataset may hold with all below it.
    SetQuota {
        /// The dataset.
        dataset: String,
        /// The quota to be.
        quota: ByteSize,
    },
    /// Lets machines mount a share: writes the file that says so, and has the NFS server read it.
    Export {
        /// The file, in `/etc/exports.d`.
        file: String,
        /// Its whole content.
        content: String,
        /// What is in it now, if it is there.
        was: Option<String>,
    },
    /// Mounts something now and at every start, by a systemd unit.
    Mount {
        /// The datastore that it is for.
        datastore: Name,
        /// The mount point.
        path: String,
        /// The unit's file.
        file: String,
        /// Its whole content.
        content: String,
        /// What is in it now, if it is there.
        was: Option<String>,
    },
    /// Makes a repository in a datastore's folder.
    MakeRepository {
        /// The datastore.
        datastore: Name,
    },
    /// Writes what planning may change into a datastore's `managed.json`.
    WriteManaged {
        /// The datastore.
        datastore: Name,
        /// Its whole content.
        managed: Managed,
    },
    /// Writes a node's registry of what is managed there.
    Register {
        /// Its whole content.
        registry: Registry,
    },
    /// Removes a repository that is no longer declared, and nothing else in its folder.
    DestroyRepository {
        /// The datastore that it was.
        datastore: Name,
        /// Its folder.
        path: String,
        /// The repository's id in hex.
        repository: String,
    },
    /// Takes back an export or a mount that is no longer declared, with the file that keeps it.
    Withdraw {
        /// The file, in `/etc/exports.d` or `/etc/systemd/system`.
        file: String,
        /// What is in it.
        was: String,
    },
    /// Copies a source into a datastore.
    Copy {
        /// The job that demands it.
        job: Name,
        /// The source.
        source: Name,
        /// The datastore.
        datastore: Name,
    },
    /// Copies what is missing from one datastore to another.
    Sync {
        /// The job that demands it.
        job: Name,
        /// Where snapshots come from.
        from: Name,
        /// Where they go.
        to: Name,
        /// The sources that are late or missing there.
        sources: Vec<Name>,
    },
    /// Restores a source's newest snapshot to a scratch place, compares and removes it.
    Drill {
        /// The job that demands it.
        job: Name,
        /// The source.
        source: Name,
        /// The datastore.
        from: Name,
        /// The scratch folder on the action's node; left out, the system's temporary folder.
        scratch: Option<String>,
    },
}

/// A change that wants an explicit yes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gate {
    /// The address in `--allow ADDRESS:kind`.
    pub address: Address,
    /// The kind in `--allow ADDRESS:kind`.
    pub kind: GateKind,
}

/// The kinds of changes that want an explicit yes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum GateKind {
    /// Destroying what is no longer declared.
    Destroy,
    /// Taking away what keeps a datastore from being destroyed.
    Unguard,
    /// Marking a repository that was there already as this topology's.
    Adopt,
    /// A recursive change of owner over entries that exist.
    Owner,
    /// A first write into a path that holds something already.
    NonEmpty,
    /// A source's machine changed, or it lost most of its files.
    Nature,
    /// A change of mode or owner outside a datastore's own folder.
    Ancestor,
    /// Making a datastore anew, empty, that was there before.
    Recreate,
    /// A source's program that is new or changed, which runs code on its node.
    Command,
}

/// A place where an action's bytes land.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Landing {
    /// The node.
    pub node: Name,
    /// The path.
    pub path: String,
    /// What it lies on: a disk, a pool or a server's export, as the node calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
    /// The most that can land there, assuming nothing is shared or compressed.
    pub bytes_max: Option<ByteSize>,
    /// What has to fit for the action to go ahead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub must_fit: Option<ByteSize>,
    /// The most that other actions, planned before it, put on the same filesystem.
    #[serde(default, skip_serializing_if = "ByteSize::is_zero")]
    pub besides: ByteSize,
    /// The most that they take from the same thin pool.
    #[serde(default, skip_serializing_if = "ByteSize::is_zero")]
    pub besides_in_pool: ByteSize,
    /// What is free there now.
    pub free: Option<ByteSize>,
    /// What must stay free there.
    pub reserve: ByteSize,
    /// Whether it fits, if both are known.
    pub fits: Option<bool>,
    /// Why it does not fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
}

/// A limit that something would break where it lands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Fewer bytes are free.
    Bytes,
    /// Less than the reserve would be left.
    Reserve,
    /// The thin pool below the filesystem has less than the filesystem.
    ThinPool {
        /// The pool.
        pool: String,
        /// What no volume of it has taken.
        free: ByteSize,
    },
    /// Fewer inodes are free.
    Inodes {
        /// How many are needed.
        needed: u64,
        /// How many there are.
        free: u64,
    },
}

/// A copy that the phases demand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Protection {
    /// The source.
    pub source: Name,
    /// The datastore.
    pub datastore: Name,
    /// The job that makes it.
    pub job: Name,
    /// When its newest complete snapshot was started.
    pub newest: Option<Timestamp>,
    /// How old that is.
    pub age: Option<Period>,
    /// How old it may get.
    pub rpo: Option<Period>,
    /// How it stands.
    pub state: CopyState,
}

/// How a demanded copy or proof stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CopyState {
    /// Young enough.
    Fresh,
    /// There, and too old.
    Late,
    /// Not there.
    Missing,
    /// Its node was not reached.
    Unknown,
    /// Its phase is not open yet, or it is not carried out by this version.
    Waiting,
}

/// A proof that the phases demand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProofState {
    /// The drill.
    pub drill: Name,
    /// The source.
    pub source: Name,
    /// The datastore.
    pub datastore: Name,
    /// When it last passed.
    pub passed: Option<Timestamp>,
    /// How old that is.
    pub age: Option<Period>,
    /// How old it may get.
    pub within: Option<Period>,
    /// Entries that were compared then.
    pub files: u64,
    /// Bytes that were compared then.
    pub bytes: ByteSize,
    /// How it stands.
    pub state: CopyState,
}

/// A phase as the plan shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseLine {
    /// Its name.
    pub name: Name,
    /// How it stands.
    pub state: PhaseState,
    /// Why it stands so.
    pub reason: String,
}

/// How a phase stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PhaseState {
    /// Its copies exist and its drills passed once.
    Complete,
    /// This plan works on it.
    Next,
    /// It waits for another phase.
    Blocked,
}

/// A rule and how it stands once the plan was carried out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyLine {
    /// The rule, such as `copies`.
    pub rule: String,
    /// How it stands.
    pub verdict: Verdict,
    /// The figures, such as `1 of 3`.
    pub detail: String,
    /// Whether it counts whatever the policy states.
    #[serde(default)]
    pub standing: bool,
}

/// How a rule stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It holds.
    Pass,
    /// It does not hold yet, and a later phase of this topology makes it hold.
    Warn,
    /// It does not hold, and could not as this topology is declared.
    Deny,
    /// It does not hold, and would if nothing kept what is declared from being done.
    Short,
    /// It can't be told.
    Unknown,
    /// It does not hold after this part of a plan, and what is left out of it is why.
    LeftOut,
    /// It is set aside until a date.
    Waived,
    /// This version can't judge it.
    NotChecked,
}

/// Where bytes would land in sum, and what would be free after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CapacityLine {
    /// The node.
    pub node: Name,
    /// The mount point.
    pub mount: String,
    /// The filesystem's size.
    pub total: ByteSize,
    /// What is free now.
    pub free_before: ByteSize,
    /// What is free after, at worst; left out where an estimate is missing.
    pub free_after: Option<ByteSize>,
    /// What must stay free.
    pub reserve: ByteSize,
}

impl Action {
    /// Names what it does, in the same way in every plan that wants it: `owner datastore.primary`.
    pub fn label(&self) -> String {
        self.step.label(&self.address)
    }

    /// Returns the word for what it changes.
    pub fn word(&self) -> &'static str {
        match (&self.step, self.address.kind()) {
            (Step::WriteManaged { .. }, "phase") => "phase",
            (Step::DestroyRepository { .. }, _) => "repository",
            (Step::Withdraw { .. }, "share") => "export",
            (Step::Withdraw { .. }, _) => "mount",
            (step, _) => step.word(),
        }
    }
}

impl Step {
    /// Names what it does to something.
    pub(super) fn label(&self, address: &Address) -> String {
        format!("{} {address}", self.word())
    }

    /// Tells whether it copies or proves data, and changes nothing else.
    pub fn moves_data(&self) -> bool {
        matches!(
            self,
            Self::Copy { .. } | Self::Sync { .. } | Self::Drill { .. }
        )
    }

    /// Returns the word for what it does.
    fn word(&self) -> &'static str {
        match self {
            Self::CreateKey { .. } => "key",
            Self::PlaceBinary { .. } => "binary",
            Self::MakeFolder { .. } => "folder",
            Self::SetOwner { .. } => "owner",
            Self::SetMode { .. } => "mode",
            Self::SetQuota { .. } => "quota",
            Self::Export { .. } => "export",
            Self::Mount { .. } => "mount",
            Self::MakeRepository { .. } => "repository",
            Self::WriteManaged { .. } => "marker",
            Self::Register { .. } => "registry",
            Self::DestroyRepository { .. } => "destroy",
            Self::Withdraw { .. } => "withdraw",
            Self::Copy { .. } => "copy",
            Self::Sync { .. } => "sync",
            Self::Drill { .. } => "drill",
        }
    }
}

/// What destroys something comes first.
impl Ord for Gate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let rank = |gate: &Self| gate.kind != GateKind::Destroy;
        let by_rank = rank(self).cmp(&rank(other));
        by_rank.then_with(|| (&self.address, self.kind).cmp(&(&other.address, other.kind)))
    }
}

impl PartialOrd for Gate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl std::fmt::Display for GateKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Destroy => "destroy",
            Self::Unguard => "unguard",
            Self::Adopt => "adopt",
            Self::Owner => "owner",
            Self::NonEmpty => "non-empty",
            Self::Nature => "nature",
            Self::Ancestor => "ancestor",
            Self::Recreate => "recreate",
            Self::Command => "command",
        })
    }
}

impl std::fmt::Display for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.address, self.kind)
    }
}
