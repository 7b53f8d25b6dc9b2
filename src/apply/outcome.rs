//! How an apply ended, action by action.

use std::time::Duration;

use crate::model::Name;
use crate::run::message::{Fault, FaultKind};

/// How one action ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It was carried out.
    Done {
        /// What came out, in words.
        words: String,
        /// How long it took.
        took: Duration,
    },
    /// It failed.
    Failed {
        /// Why.
        fault: Fault,
        /// How long it took.
        took: Duration,
    },
    /// It was not tried, since an action that it needs did not succeed.
    Skipped {
        /// The action it waited for.
        needed: usize,
    },
    /// What it would bring about is there already.
    Already,
    /// It is put off.
    Deferred {
        /// Why.
        reason: String,
    },
    /// It was not tried, since somebody asked to stop.
    Stopped,
}

/// How an apply ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How each action of the plan ended, by its id.
    pub ended: Vec<Ended>,
}

impl Outcome {
    /// Returns how many actions were carried out.
    pub fn done(&self) -> usize {
        self.ended
            .iter()
            .filter(|e| matches!(e, Ended::Done { .. }))
            .count()
    }

    /// Returns how many actions were passed over, as what they would bring about is there.
    pub fn already(&self) -> usize {
        let is = |e: &&Ended| matches!(e, Ended::Already);
        self.ended.iter().filter(is).count()
    }

    /// Returns how many actions failed.
    pub fn failed(&self) -> usize {
        self.ended
            .iter()
            .filter(|e| matches!(e, Ended::Failed { .. }))
            .count()
    }

    /// Returns how many actions were not tried because something before them failed or stopped.
    pub fn skipped(&self) -> usize {
        let left = |e: &&Ended| matches!(e, Ended::Skipped { .. } | Ended::Stopped);
        self.ended.iter().filter(left).count()
    }

    /// Returns how many actions the plan had put off.
    pub fn deferred(&self) -> usize {
        self.ended
            .iter()
            .filter(|e| matches!(e, Ended::Deferred { .. }))
            .count()
    }

    /// Returns whether any action failed in this way.
    pub fn failed_with(&self, kind: FaultKind) -> bool {
        self.ended
            .iter()
            .any(|e| matches!(e, Ended::Failed { fault, .. } if fault.kind == kind))
    }

    /// Returns whether somebody asked to stop before the end.
    pub fn stopped(&self) -> bool {
        self.ended.iter().any(|e| matches!(e, Ended::Stopped))
            || self.failed_with(FaultKind::Stopped)
    }
}

/// Takes part in an apply by listening; only the command line prints.
pub trait Observer: Send + Sync {
    /// These nodes are locked, and nothing was changed yet.
    fn locked(&self, nodes: &[Name]);
    /// An action begins.
    fn started(&self, action: usize);
    /// An action has come so far.
    fn progress(&self, action: usize, progress: crate::run::job::Progress);
    /// An action has ended.
    fn ended(&self, action: usize, ended: &Ended);
    /// Something worth a line happened on a node.
    fn note(&self, node: &Name, text: &str);
}
