//! What on the hosts is no longer as it was once put there.
//!
//! bkpctl keeps no copy of what was applied last, so this is told by what is on the hosts: a
//! thing that a registry or a marker lists was in place once. What the plan would do to such a
//! thing is drift; what it would do to anything else is a change that waits to be applied. A
//! copy or proof that is late is drift, and one that is missing is so where its phase was
//! complete.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{Address, Name, Observed, Period, Timestamp};
use crate::plan::Plan;
use crate::plan::change::{Action, CopyState, PhaseState, Severity, Step};
use crate::plan::selection::{Selection, copy_of};

/// The version of drift's JSON form; a reader refuses a higher one.
pub const DRIFT_FORMAT: u32 = 1;

/// What is no longer as it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Drift {
    /// The version of this form, see [`DRIFT_FORMAT`].
    pub format: u32,
    /// The topology's name.
    pub topology: Name,
    /// The time it was judged for.
    pub now: Timestamp,
    /// Whether anything of the topology was found in place; only what is can drift.
    pub applied: bool,
    /// Managed things that are otherwise than they were put.
    pub changed: Vec<Changed>,
    /// Managed things that can't be used, which no change of a plan mends.
    pub troubles: Vec<Trouble>,
    /// Copies and proofs that were in time once, and are not.
    pub late: Vec<Late>,
    /// How many changes of the plan are no drift: the topology wants them and nothing has
    /// them yet.
    pub pending: usize,
    /// Nodes that were not reached, of which nothing is told.
    pub unreachable: Vec<Name>,
    /// Which part of the topology it is told of; left out where it is the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<DriftPart>,
}

/// The part of a topology that drift is told of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DriftPart {
    /// What it was chosen by.
    pub selection: Selection,
    /// How much else is not as it was.
    pub left_out: usize,
}

/// A managed thing that is otherwise than it was put.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Changed {
    /// The thing.
    pub address: Address,
    /// The node that it is on.
    pub node: Name,
    /// What of it changed, such as `owner`.
    pub what: String,
    /// How it is now; left out where it is gone.
    pub is: Option<String>,
    /// How the next apply would have it.
    pub should: String,
}

/// A managed thing that can't be used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Trouble {
    /// The thing.
    pub address: Address,
    /// The code of the plan's finding.
    pub code: String,
    /// What is wrong.
    pub message: String,
}

/// A copy or proof that was in time once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Late {
    /// Which it is.
    pub kind: LateKind,
    /// The job that makes it.
    pub job: Name,
    /// The source.
    pub source: Name,
    /// The datastore.
    pub datastore: Name,
    /// How old it is; left out where it is gone.
    pub age: Option<Period>,
    /// How old it may get.
    pub allowed: Option<Period>,
}

/// What is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LateKind {
    /// A copy.
    Copy,
    /// A proof that a copy can be restored.
    Proof,
}

/// Tells what on the hosts is no longer as it was, given the whole plan and the state it was made
/// from.
///
/// Of a part of the topology it is told for what is named, and not for what that needs.
pub fn drift(plan: &Plan, observed: &Observed, selection: &Selection) -> Drift {
    let topology = &plan.topology;
    let mut all = whole(plan, observed);
    if selection.is_whole() {
        return all;
    }
    let before = all.count();
    let is_about =
        |address: &Address, job: Option<&Name>| selection.is_about(topology, address, job);
    let pending = plan.actions.iter().filter(|action| {
        let is_in = is_about(&action.address, None);
        is_in && !action.step.moves_data() && !Was { plan, observed }.in_place(action)
    });
    all.pending = pending.count();
    all.changed
        .retain(|changed| is_about(&changed.address, None));
    all.troubles
        .retain(|trouble| is_about(&trouble.address, None));
    all.late
        .retain(|late| is_about(&late.address(), Some(&late.job)));
    let is_left_alone = |node: &Name| selection.exclude.contains(&Address::new("node", node));
    all.unreachable.retain(|node| !is_left_alone(node));
    all.part = Some(DriftPart {
        selection: selection.clone(),
        left_out: before - all.count(),
    });
    all
}

fn whole(plan: &Plan, observed: &Observed) -> Drift {
    let was = Was { plan, observed };
    let (drifted, pending): (Vec<&Action>, Vec<&Action>) = plan
        .actions
        .iter()
        .filter(|action| !action.step.moves_data())
        .partition(|action| was.in_place(action));
    let unreached = plan.nodes.iter().filter(|node| node.unreachable.is_some());
    Drift {
        format: DRIFT_FORMAT,
        topology: plan.topology.name.clone(),
        now: plan.now,
        applied: was.is_anything(),
        changed: drifted.into_iter().map(changed).collect(),
        troubles: was.troubles(),
        late: was.late_copies().chain(was.late_proofs()).collect(),
        pending: pending.len(),
        unreachable: unreached.map(|node| node.name.clone()).collect(),
        part: None,
    }
}

impl Late {
    fn address(&self) -> Address {
        match self.kind {
            LateKind::Copy => copy_of(&self.source, &self.datastore),
            LateKind::Proof => Address::with_part("drill", &self.job, &self.source),
        }
    }
}

impl Drift {
    /// Returns how many things are not as they were.
    fn count(&self) -> usize {
        self.changed.len() + self.troubles.len() + self.late.len()
    }

    /// Tells whether everything that was seen is as it was.
    pub fn is_none(&self) -> bool {
        self.changed.is_empty() && self.troubles.is_empty() && self.late.is_empty()
    }
}

fn changed(action: &Action) -> Changed {
    Changed {
        address: action.address.clone(),
        node: action.node.clone(),
        what: action.word().to_owned(),
        is: action.before.clone(),
        should: action.after_words.clone(),
    }
}

/// What was in place before, as far as the hosts tell.
struct Was<'a> {
    plan: &'a Plan,
    observed: &'a Observed,
}

impl Was<'_> {
    /// Tells whether what an action changes was in place once.
    fn in_place(&self, action: &Action) -> bool {
        let address = &action.address;
        let facts = self.observed.reached(action.node.as_str());
        match &action.step {
            // Another version of bkpctl brings another binary: only a lost one is drift.
            Step::PlaceBinary { .. } => {
                self.is_listed(address)
                    && facts.is_some_and(|facts| facts.state.binaries.is_empty())
            }
            Step::Mount { datastore, .. } => self.is_listed(&Address::new("mount", datastore)),
            // What the marker says otherwise, the topology newly wants; a lost one is drift.
            Step::WriteManaged { datastore, .. } => {
                address.kind() == "datastore"
                    && self.is_listed(address)
                    && !self.is_marked(datastore)
            }
            Step::Register { .. } => {
                let had_one = facts.is_some_and(|facts| {
                    let mut marked = facts.datastores.values();
                    let is_ours = |topology| topology == &self.plan.topology.id;
                    marked.any(|store| store.managed.as_ref().is_some_and(|m| is_ours(&m.topology)))
                });
                had_one && facts.is_some_and(|facts| facts.state.registry.is_none())
            }
            Step::DestroyRepository { .. } | Step::Withdraw { .. } | Step::CreateKey { .. } => {
                false
            }
            _ => self.is_managed(address),
        }
    }

    /// Tells whether a node has a registry, or a datastore a marker of the topology.
    fn is_anything(&self) -> bool {
        let topology = &self.plan.topology;
        let mut reached = topology.nodes.keys();
        let has_registry = reached.any(|node| {
            let facts = self.observed.reached(node.as_str());
            facts.is_some_and(|facts| facts.state.registry.is_some())
        });
        has_registry || topology.datastores.keys().any(|name| self.is_marked(name))
    }

    /// Tells whether a registry lists a thing, or a marker says that it is ours.
    fn is_managed(&self, address: &Address) -> bool {
        self.is_listed(address) || (address.kind() == "datastore" && self.is_marked(address.name()))
    }

    fn is_listed(&self, address: &Address) -> bool {
        let mut nodes = self.plan.topology.nodes.keys();
        nodes.any(|node| {
            let facts = self.observed.reached(node.as_str());
            let registry = facts.and_then(|facts| facts.state.registry.as_ref());
            registry.is_some_and(|registry| registry.objects.contains_key(address))
        })
    }

    fn is_marked(&self, datastore: &Name) -> bool {
        let mut nodes = self.plan.topology.nodes.keys();
        nodes.any(|node| {
            let facts = self.observed.reached(node.as_str());
            let store = facts.and_then(|facts| facts.datastores.get(datastore));
            let managed = store.and_then(|store| store.managed.as_ref());
            managed.is_some_and(|managed| {
                managed.topology == self.plan.topology.id && managed.object == *datastore
            })
        })
    }

    fn troubles(&self) -> Vec<Trouble> {
        let mended = |address: &Address| {
            let mut actions = self.plan.actions.iter();
            actions.any(|action| action.address == *address && self.in_place(action))
        };
        self.plan
            .findings
            .iter()
            .filter(|finding| finding.severity == Severity::Error && !finding.fixed_by_plan)
            .filter(|finding| self.plan.topology.knows(&finding.address))
            .filter(|finding| self.is_managed(&finding.address) && finding.address.kind() != "node")
            .filter(|finding| !mended(&finding.address))
            .map(|finding| Trouble {
                address: finding.address.clone(),
                code: finding.code.clone(),
                message: finding.message.clone(),
            })
            .collect()
    }

    /// Tells whether a copy or proof was in time once and is not.
    fn has_lapsed(&self, state: CopyState, job: &Name) -> bool {
        match state {
            CopyState::Late => true,
            CopyState::Missing => self.was_complete(job),
            CopyState::Fresh | CopyState::Unknown | CopyState::Waiting => false,
        }
    }

    fn was_complete(&self, job: &Name) -> bool {
        let mut jobs = self.plan.topology.jobs();
        let phase = jobs.find(|(_, of)| of.name == *job).map(|(phase, _)| phase);
        let line = |phase: &Name| self.plan.phases.iter().find(|line| line.name == *phase);
        phase
            .and_then(|phase| line(&phase.name))
            .is_some_and(|line| line.state == PhaseState::Complete)
    }

    fn late_copies(&self) -> impl Iterator<Item = Late> {
        let copies = self.plan.protection.iter();
        let copies = copies.filter(|copy| self.has_lapsed(copy.state, &copy.job));
        copies.map(|copy| Late {
            kind: LateKind::Copy,
            job: copy.job.clone(),
            source: copy.source.clone(),
            datastore: copy.datastore.clone(),
            age: copy.age,
            allowed: copy.rpo,
        })
    }

    fn late_proofs(&self) -> impl Iterator<Item = Late> {
        let proofs = self.plan.proofs.iter();
        let proofs = proofs.filter(|proof| self.has_lapsed(proof.state, &proof.drill));
        proofs.map(|proof| Late {
            kind: LateKind::Proof,
            job: proof.drill.clone(),
            source: proof.source.clone(),
            datastore: proof.datastore.clone(),
            age: proof.age,
            allowed: proof.within,
        })
    }
}
