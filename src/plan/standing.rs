//! How a plan stands as a whole: what it would do, what it asks for, and what is against it.

use std::collections::BTreeSet;

use crate::model::{Address, Name};
use crate::plan::change::{Action, Finding, Gate, Plan, PolicyLine, Severity, Verdict};
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
        let fails = |line: &PolicyLine| matches!(line.verdict, Verdict::Deny | Verdict::Short);
        self.policy.iter().any(fails)
    }

    /// Returns whether it must not be carried out, since its topology breaks a rule.
    ///
    /// Where the topology keeps the rules and the world falls short of it, every action brings
    /// the world nearer, and refusing them would only keep it short.
    pub fn refused(&self) -> bool {
        self.policy.iter().any(|line| line.verdict == Verdict::Deny)
    }

    /// Returns what a person mends first where a rule does not hold: the rule that the topology
    /// breaks, or else what keeps the world from what is declared, as far as that is known.
    pub fn first_to_mend(&self) -> Option<&Finding> {
        self.rule_that_is(Verdict::Deny)
            .or_else(|| self.first_obstacle())
            .or_else(|| self.rule_that_is(Verdict::Short))
    }

    /// Returns what is said of the first rule that stands so.
    fn rule_that_is(&self, verdict: Verdict) -> Option<&Finding> {
        let mut rules = self.policy.iter().filter(|line| line.verdict == verdict);
        rules.find_map(|line| {
            self.findings.iter().find(|finding| {
                let address = &finding.address;
                address.kind() == "policy" && address.name().as_str() == line.rule
            })
        })
    }

    /// Returns the first error that something is to be done about and that is none of a rule, or
    /// such a warning where a rule does not hold.
    pub fn first_obstacle(&self) -> Option<&Finding> {
        let of = |severity: Severity| {
            self.findings.iter().find(move |finding| {
                finding.severity == severity
                    && finding.is_open()
                    && finding.fix.is_some()
                    && finding.address.kind() != "policy"
            })
        };
        of(Severity::Error).or_else(|| of(Severity::Warning).filter(|_| self.denied()))
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
