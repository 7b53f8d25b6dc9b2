//! What the rules share: the inputs they read and the draft they write into.
//!
//! Rules run in the order of what depends on what, so a proposal knows at once whether
//! something it needs can't be had. No rule reads what another one proposed except
//! through [`Goal`]s.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use crate::model::markers::Managed;
use crate::model::observed::{DatastoreFacts, NodeFacts, PathFacts};
use crate::model::topology::{Datastore, Place};
use crate::model::{Address, ByteSize, Name, Observed, Timestamp, Topology};
use crate::plan::capacity::Ledger;
use crate::plan::change::{Finding, Gate, Landing, Severity, Step};
use crate::plan::demand::Demand;
use crate::plan::part::{LEFT_OUT, Part, Registering};
use crate::plan::selection::copy_of;

/// What is known of a datastore that nothing was seen of.
static UNSEEN: LazyLock<DatastoreFacts> = LazyLock::new(DatastoreFacts::default);

/// Where the bytes of a datastore lie, and what was seen of that folder.
#[derive(Clone, Copy)]
pub(super) struct Ground<'a> {
    pub(super) node: &'a Name,
    pub(super) path: &'a str,
    pub(super) seen: Option<&'a PathFacts>,
}

/// The inputs of a plan; nothing else is ever read.
#[derive(Clone, Copy)]
pub(super) struct World<'a> {
    pub(super) topology: &'a Topology,
    pub(super) observed: &'a Observed,
    pub(super) now: Timestamp,
}

/// A state that one action brings about and others need.
///
/// A goal that nobody gives and nobody blocked is there already.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Goal {
    /// The node can be reached.
    Node(Name),
    /// The binary is on the node.
    Binary(Name),
    /// The reading key is there.
    Key(Name),
    /// The first backup under this key may happen.
    Sealed(Name),
    /// The source can be read.
    Source(Name),
    /// The share's folder is there.
    SharedFolder(Name),
    /// The share's folder belongs to its owner and has its mode.
    SharedRights(Name),
    /// The share is exported to those who mount it.
    Exported(Name),
    /// What the datastore lies on is mounted at its place.
    Mounted(Name),
    /// The datastore's folder is there.
    Folder(Name),
    /// The datastore's folder belongs to its owner.
    Owner(Name),
    /// The datastore's folder has its mode.
    Mode(Name),
    /// The datastore can be written.
    Repository(Name),
    /// The datastore carries our marker.
    Managed(Name),
    /// The datastore holds a young copy of the source.
    Copy { source: Name, datastore: Name },
    /// The drill passed for the source.
    Proof { drill: Name, source: Name },
    /// What is no longer declared is gone.
    Gone(Address),
    /// The phase is recorded as complete.
    Phase(Name),
}

/// An action before it has a number.
pub(super) struct Proposal {
    pub(super) address: Address,
    pub(super) node: Name,
    pub(super) step: Step,
    pub(super) before: Option<String>,
    pub(super) after_words: String,
    pub(super) reason: String,
    pub(super) needs: Vec<Goal>,
    pub(super) gives: Vec<Goal>,
    pub(super) gate: Option<Gate>,
    pub(super) deferred: Option<String>,
    pub(super) reads: Option<ByteSize>,
    pub(super) landing: Vec<Landing>,
}

/// What the rules have found and proposed so far.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) findings: Vec<Finding>,
    pub(super) proposals: Vec<Proposal>,
    pub(super) ledger: Ledger,
    /// The newest content of each datastore's marker, as far as it is planned.
    pub(super) managed: BTreeMap<Name, Managed>,
    /// The part of the plan that is wanted, if it is not the whole.
    pub(super) part: Option<Part>,
    given: BTreeSet<Goal>,
    blocked: BTreeMap<Goal, String>,
}

impl<'a> World<'a> {
    /// Returns a datastore with its place and its node's facts, if all of that is known.
    pub(super) fn served(
        &self,
        name: &Name,
    ) -> Option<(&'a Datastore, &'a Place, &'a NodeFacts, &'a DatastoreFacts)> {
        let datastore = self.topology.datastores.get(name)?;
        let place = datastore.first_place()?;
        let facts = self.observed.reached(place.node.as_str())?;
        // Of what lies on a share the server knows more, and knows it first.
        let server = self.topology.share_of(name);
        let server = server.and_then(|(_, share)| self.observed.reached(share.on.as_str()));
        let store = server.unwrap_or(facts).datastores.get(name);
        Some((datastore, place, facts, store.unwrap_or(&UNSEEN)))
    }

    /// Returns where the bytes of a datastore lie: its place, or what is exported to it.
    ///
    /// A server that was not reached leaves what its client sees.
    pub(super) fn ground(&self, name: &Name) -> Option<Ground<'a>> {
        let at = |node: &'a Name, path: &'a str| {
            let facts = self.observed.reached(node.as_str())?;
            let seen = facts.paths.get(path);
            Some(Ground { node, path, seen })
        };
        if let Some((_, share)) = self.topology.share_of(name)
            && let Some(ground) = at(&share.on, &share.export)
        {
            return Some(ground);
        }
        let place = self.topology.datastores.get(name)?.first_place()?;
        at(&place.node, &place.path)
    }

    /// Returns the node a datastore is served from, if it is a directory.
    pub(super) fn home(&self, datastore: &Name) -> Option<&'a Name> {
        let datastore = self.topology.datastores.get(datastore)?;
        datastore.first_place().map(|place| &place.node)
    }
}

impl Proposal {
    /// Starts a proposal with what every action has.
    pub(super) fn new(address: Address, node: &Name, step: Step, after_words: String) -> Self {
        Self {
            address,
            node: node.clone(),
            step,
            before: None,
            after_words,
            reason: String::new(),
            needs: Vec::new(),
            gives: Vec::new(),
            gate: None,
            deferred: None,
            reads: None,
            landing: Vec::new(),
        }
    }
}

impl Draft {
    /// Begins a draft of a part, or of the whole.
    pub(super) fn of(part: Option<Part>) -> Self {
        Self {
            part,
            ..Self::default()
        }
    }

    /// Adds a finding.
    pub(super) fn find(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Says that a goal can't be had in this plan; the first reason is kept.
    pub(super) fn block(&mut self, goal: Goal, reason: impl Into<String>) {
        self.blocked.entry(goal).or_insert_with(|| reason.into());
    }

    /// Adds a finding and blocks a goal because of it.
    pub(super) fn refuse(&mut self, goal: Goal, reason: impl Into<String>, finding: Finding) {
        self.block(goal, reason);
        self.find(finding);
    }

    /// Returns why a goal can't be had, if it can't.
    pub(super) fn obstacle(&self, goal: &Goal) -> Option<&str> {
        self.blocked.get(goal).map(String::as_str)
    }

    /// Returns the first reason why one of some goals can't be had.
    pub(super) fn first_obstacle(&self, goals: &[Goal]) -> Option<String> {
        goals
            .iter()
            .find_map(|goal| self.obstacle(goal))
            .map(str::to_owned)
    }

    /// Returns whether an action of this plan, that is not deferred, brings a goal about.
    pub(super) fn will(&self, goal: &Goal) -> bool {
        self.given.contains(goal) && !self.blocked.contains_key(goal)
    }

    /// Returns whether an action of this plan, deferred or not, brings a goal about.
    pub(super) fn proposed(&self, goal: &Goal) -> bool {
        self.given.contains(goal)
    }

    /// Tells whether an action is in the part of the plan that is wanted.
    pub(super) fn takes(&self, proposal: &Proposal) -> bool {
        self.part.as_ref().is_none_or(|part| part.takes(proposal))
    }

    /// Tells whether a job's sync to a node is wanted for a source.
    pub(super) fn carries(&self, job: &Name, to: &Name, source: &Name) -> bool {
        let part = self.part.as_ref();
        part.is_none_or(|part| part.carries(job, to, source))
    }

    /// Leaves something out that was to bring some goals about: whoever needs them waits.
    pub(super) fn leave(&mut self, address: &Address, goals: &[Goal]) {
        if let Some(part) = &mut self.part {
            part.leave(address, goals);
        }
        for goal in goals {
            self.block(goal.clone(), LEFT_OUT);
        }
        self.given.extend(goals.iter().cloned());
    }

    /// Returns a draft in which nothing is done of all that was proposed.
    pub(super) fn without_actions(&self) -> Self {
        let given = self.given.iter().cloned();
        let mut blocked: BTreeMap<Goal, String> =
            given.map(|goal| (goal, LEFT_OUT.to_owned())).collect();
        blocked.extend(self.blocked.clone());
        Self {
            given: self.given.clone(),
            blocked,
            ..Self::default()
        }
    }

    /// Says how a node's registry is written.
    pub(super) fn registering(&self, node: &Name) -> Registering {
        let part = self.part.as_ref();
        part.map_or(Registering::Whole, |part| part.registering(node))
    }

    /// Tells whether a demanded copy is no matter of the part that is wanted.
    pub(super) fn leaves_copy(&self, topology: &Topology, demand: &Demand<'_>) -> bool {
        let goal = Goal::Copy {
            source: demand.source.clone(),
            datastore: demand.datastore.clone(),
        };
        let address = copy_of(demand.source, demand.datastore);
        let part = self.part.as_ref();
        part.is_some_and(|part| part.leaves_demand(topology, &goal, &address, demand.job))
    }

    /// Tells whether a demanded proof is no matter of the part that is wanted.
    pub(super) fn leaves_proof(&self, topology: &Topology, drill: &Name, source: &Name) -> bool {
        let goal = Goal::Proof {
            drill: drill.clone(),
            source: source.clone(),
        };
        let address = Address::with_part("drill", drill, source);
        let part = self.part.as_ref();
        part.is_some_and(|part| part.leaves_demand(topology, &goal, &address, drill))
    }

    /// Tells whether a thing is no matter of the part that is wanted.
    pub(super) fn leaves_thing(&self, topology: &Topology, address: &Address) -> bool {
        let part = self.part.as_ref();
        part.is_some_and(|part| part.leaves_thing(topology, address))
    }

    /// Adds an action; it is deferred if something it needs can't be had.
    ///
    /// Returns whether it would be carried out now.
    pub(super) fn propose(&mut self, mut proposal: Proposal) -> bool {
        if !self.takes(&proposal) {
            self.leave(&proposal.address, &proposal.gives);
            return false;
        }
        proposal.deferred = proposal
            .deferred
            .or_else(|| self.first_obstacle(&proposal.needs));
        if let Some(reason) = &proposal.deferred {
            for goal in &proposal.gives {
                self.blocked
                    .entry(goal.clone())
                    .or_insert_with(|| reason.clone());
            }
        }
        self.given.extend(proposal.gives.iter().cloned());
        let pending = proposal.deferred.is_none();
        self.proposals.push(proposal);
        pending
    }
}

impl Finding {
    /// Makes an error.
    pub(super) fn error(code: &str, address: Address, message: String) -> Self {
        Self::new(Severity::Error, code, address, message)
    }

    /// Makes a warning.
    pub(super) fn warning(code: &str, address: Address, message: String) -> Self {
        Self::new(Severity::Warning, code, address, message)
    }

    /// Makes a note.
    pub(super) fn note(code: &str, address: Address, message: String) -> Self {
        Self::new(Severity::Note, code, address, message)
    }

    fn new(severity: Severity, code: &str, address: Address, message: String) -> Self {
        Self {
            code: code.to_owned(),
            severity,
            address,
            message,
            because: Vec::new(),
            fix: None,
            fixed_by_plan: false,
            left_out: false,
        }
    }

    /// Says how it comes about, line by line.
    pub(super) fn because(mut self, lines: Vec<String>) -> Self {
        self.because = lines;
        self
    }

    /// Says what mends it.
    pub(super) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// Says whether an action of this plan mends it.
    pub(super) fn fixed(mut self, fixed: bool) -> Self {
        self.fixed_by_plan = fixed;
        self
    }
}
