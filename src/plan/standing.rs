//! How a plan stands as a whole: what it would do, what it asks for, and what is against it.

use std::collections::BTreeSet;

use crate::model::{Address, Name};
use crate::plan::change::{Action, Finding, Gate, Plan, Severity, Verdict};
use crate::plan::selection::MENDED_BY_THE_REST;

impl Finding {
    /// Tells whether it is a matter of the plan and stays after it.
    pub fn is_open(&self) -> bool {
        !self.fixed_by_plan && !self.left_out
    }

    /// Tells whether what it is about is left out, and the rest of the plan does not mend it.
    pub fn is_beside(&self) -> bool {
        self.left_out && self.fix.as_deref() != Some(MENDED_BY_THE_REST)
    }
}

impl Plan {
    /// Returns the actions that would be carried out now.
    pub fn pending(&self) -> impl Iterator<Item = &Action> {
        self.actions
            .iter()
            .filter(|action| action.deferred.is_none())
    }

    /// Returns whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// Returns whether a rule of the policy would not hold after it.
    pub fn denied(&self) -> bool {
        self.policy.iter().any(|line| line.verdict == Verdict::Deny)
    }

    /// Returns what a person mends first where a rule denies the plan: what keeps the rule from
    /// holding if that is known, or else the broken rule itself.
    pub fn first_to_mend(&self) -> Option<&Finding> {
        let open = |finding: &&Finding| finding.is_open() && finding.severity != Severity::Note;
        let is_rule = |finding: &&Finding| finding.address.kind() == "policy";
        let found = || self.findings.iter().filter(open);
        found()
            .find(|finding| !is_rule(finding) && finding.fix.is_some())
            .or_else(|| found().find(is_rule))
    }

    /// Returns whether a node was not reached, so that part of the state is not known.
    pub fn incomplete(&self) -> bool {
        let part = self.part.as_ref();
        let is_left_alone = |node: &Name| {
            let address = Address::new("node", node);
            part.is_some_and(|part| part.selection.exclude.contains(&address))
        };
        let mut lost = self.nodes.iter().filter(|node| node.unreachable.is_some());
        lost.any(|node| !is_left_alone(&node.name))
    }

    /// Returns how many changes the whole plan would make besides.
    pub fn left_out(&self) -> usize {
        self.part.as_ref().map_or(0, |part| part.left_out.len())
    }

    /// Returns whether some finding is an error that no pending action mends.
    ///
    /// That a node was not reached makes a plan incomplete, not wrong; a broken rule denies
    /// it. Both have an exit code of their own.
    pub fn has_errors(&self) -> bool {
        let unreached = |finding: &Finding| {
            finding.address.kind() == "node"
                && self
                    .nodes
                    .iter()
                    .any(|node| node.unreachable.is_some() && node.name == *finding.address.name())
        };
        self.findings.iter().any(|finding| {
            finding.severity == Severity::Error
                && finding.is_open()
                && finding.address.kind() != "policy"
                && !unreached(finding)
        })
    }

    /// Returns every gate of the actions that would be carried out, sorted, each once.
    pub fn gates(&self) -> BTreeSet<&Gate> {
        self.pending()
            .filter_map(|action| action.gate.as_ref())
            .collect()
    }
}
