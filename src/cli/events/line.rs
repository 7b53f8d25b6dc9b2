//! What the lines of a stream of events say.

use schemars::JsonSchema;
use serde::Serialize;

use crate::model::observed::Unreachable;
use crate::model::{Address, Name, Timestamp};
use crate::plan::change::{Action, Finding, PolicyLine};

/// The version of the form of events; a reader refuses a higher one.
pub const EVENTS_FORMAT: u32 = 1;

/// One line of the stream: an event and its time.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Line {
    /// When it happened.
    pub time: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened. The first line is `start`; the last, and no other, is `summary` or `error`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The stream begins.
    Start {
        /// The version of this form.
        format: u32,
        /// The command, `plan` or `apply`.
        command: String,
        /// The version of bkpctl.
        version: String,
    },
    /// A node is looked at.
    ObserveStarted {
        /// The node.
        node: Name,
    },
    /// A node was looked at.
    ObserveEnded {
        /// The node.
        node: Name,
        /// How long it took.
        seconds: f64,
        /// Why it was not reached, if it was not.
        unreached: Option<Unreachable>,
    },
    /// The plan says something that a person should know.
    Finding {
        /// What it says.
        finding: Finding,
    },
    /// The plan has an action.
    Action {
        /// The action.
        action: Box<Action>,
    },
    /// The plan says how a rule of the policy stands after it.
    Policy {
        /// The rule.
        rule: PolicyLine,
    },
    /// Nodes are locked, and the apply begins.
    Locked {
        /// The nodes.
        nodes: Vec<Name>,
    },
    /// An action begins.
    ActionStarted {
        /// The action's number in the plan.
        id: usize,
        /// What it changes.
        address: Address,
        /// Where.
        node: Name,
    },
    /// An action that moves data has come so far.
    Progress {
        /// The action's number in the plan.
        id: usize,
        /// What it changes.
        address: Address,
        /// Bytes read, restored or copied so far.
        bytes: u64,
        /// All bytes, if that is known.
        total: Option<u64>,
        /// Bytes stored so far.
        stored: u64,
        /// How long it has run.
        seconds: f64,
    },
    /// An action has ended, or will not be tried.
    ActionEnded {
        /// The action's number in the plan.
        id: usize,
        /// What it changes.
        address: Address,
        /// Where.
        node: Name,
        /// How it ended.
        outcome: Ending,
        /// How long it took, if it was tried.
        seconds: Option<f64>,
        /// Bytes read, restored or copied, as far as it told of them while it ran.
        bytes: Option<u64>,
        /// What came out, or why nothing did.
        words: Option<String>,
    },
    /// Something worth a line.
    Note {
        /// The node it is about, if it is about one.
        node: Option<Name>,
        /// What there is to say.
        text: String,
    },
    /// Nothing else happened for a while, and bkpctl still works.
    Heartbeat {
        /// How long the command has run.
        seconds: f64,
        /// The nodes that have not answered yet.
        nodes: Vec<Name>,
        /// The actions that run.
        actions: Vec<Address>,
    },
    /// The nodes were looked at again after the apply.
    Converged {
        /// Whether nothing is left to do.
        converged: bool,
        /// How many changes are left to do.
        left: usize,
    },
    /// The last line, where the command came to its end.
    Summary(Summary),
    /// The last line, where it did not: it failed, was refused or was interrupted.
    Error {
        /// The exit code, see `bkpctl help exit-codes`.
        exit: u8,
        /// What failed, where and why.
        message: String,
        /// What to do next.
        help: Option<String>,
    },
}

/// How an action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It was carried out.
    Done,
    /// It failed.
    Failed,
    /// It was not tried, since an action that it needs did not succeed.
    Skipped,
    /// What it would bring about is there already.
    Already,
    /// It is put off.
    Deferred,
    /// It was not tried, since somebody asked to stop.
    Stopped,
}

/// How the command ended, with counts.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Summary {
    /// The exit code, see `bkpctl help exit-codes`.
    pub exit: u8,
    /// How long the command took.
    pub seconds: f64,
    /// The plan's digest; left out where nothing was planned.
    pub digest: Option<String>,
    /// What the plan has.
    pub plan: Option<PlanCounts>,
    /// How the actions ended; left out where none was to be carried out.
    pub applied: Option<ApplyCounts>,
}

/// How much a plan has of each kind.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct PlanCounts {
    /// Its nodes.
    pub nodes: usize,
    /// Those that were not reached.
    pub unreached: usize,
    /// Findings that are errors, whether the plan mends them or not.
    pub errors: usize,
    /// Findings that are warnings.
    pub warnings: usize,
    /// Its actions.
    pub actions: usize,
    /// Actions that can't be done now.
    pub deferred: usize,
    /// Explicit yeses that it wants.
    pub gates: usize,
}

/// How many actions ended in which way.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct ApplyCounts {
    /// Carried out.
    pub done: usize,
    /// There already.
    pub already: usize,
    /// Failed.
    pub failed: usize,
    /// Not tried, since something before them failed or somebody asked to stop.
    pub skipped: usize,
    /// Put off.
    pub deferred: usize,
}
