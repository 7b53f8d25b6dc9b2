//! A part of a plan: which of its actions are in it, and what of the world it is about.
//!
//! The whole plan is made first, and cut along its needs: a target takes what it needs, an
//! exclusion takes away what needs it. Then the rules run once more without what was cut off,
//! so that room, phases, registries and policy are those of the part and not of the whole.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Address, Name, Topology};
use crate::plan::Plan;
use crate::plan::change::{Action, Finding, Step};
use crate::plan::draft::{Goal, Proposal};
use crate::plan::selection::{LeftOut, MENDED_BY_THE_REST, Selection, Unclear, names, uses};

/// What is told of a thing that waits for something outside of the part.
pub(super) const LEFT_OUT: &str = "it is left out of this part";

/// The smallest that can be cut: an action on its node, or what a sync carries of one source.
type Unit = (String, Name, Option<Name>);

/// The part that a plan is to be.
#[derive(Debug)]
pub(super) struct Part {
    selection: Selection,
    kept: BTreeSet<Unit>,
    /// Everything that what is kept is called by or stands on.
    touched: BTreeSet<Address>,
    /// What was proposed and is not in it: the addresses, and what would have come of it.
    left: BTreeSet<Address>,
    goals: BTreeSet<Goal>,
}

/// How a node's registry is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Registering {
    /// All that is to be listed.
    Whole,
    /// Only what this part changes.
    Change,
    /// Nothing.
    Not,
}

/// One unit of a whole plan, with what the selection says of it.
struct Piece<'a> {
    action: &'a Action,
    source: Option<&'a Name>,
    names: BTreeSet<Address>,
    uses: BTreeSet<Address>,
    needs: Vec<usize>,
    is_wanted: bool,
    is_out: bool,
}

impl Part {
    /// Cuts a whole plan.
    pub(super) fn cut(whole: &Plan, selection: &Selection) -> Self {
        let pieces = pieces(whole, selection);
        let mut kept: BTreeSet<usize> = BTreeSet::new();
        let wanted = pieces.iter().enumerate();
        let wanted = wanted.filter(|(_, piece)| piece.is_wanted && !piece.is_out);
        let mut todo: Vec<usize> = wanted.map(|(at, _)| at).collect();
        while let Some(at) = todo.pop() {
            if kept.insert(at) {
                todo.extend(&pieces[at].needs);
            }
        }
        let kept: Vec<&Piece<'_>> = kept.iter().map(|at| &pieces[*at]).collect();
        Self {
            selection: selection.clone(),
            touched: kept
                .iter()
                .flat_map(|piece| piece.names.union(&piece.uses))
                .cloned()
                .collect(),
            kept: kept.iter().map(|piece| piece.unit()).collect(),
            left: BTreeSet::new(),
            goals: BTreeSet::new(),
        }
    }

    /// Tells whether a proposal is in it; a registry is cut in another way.
    pub(super) fn takes(&self, proposal: &Proposal) -> bool {
        let label = proposal.step.label(&proposal.address);
        let is_kept = |source: Option<&Name>| {
            let unit = (label.clone(), proposal.node.clone(), source.cloned());
            self.kept.contains(&unit)
        };
        match &proposal.step {
            Step::Register { .. } => true,
            Step::Sync { sources, .. } => sources.iter().all(|source| is_kept(Some(source))),
            _ => is_kept(None),
        }
    }

    /// Tells whether a job's sync is to carry a source to a node.
    pub(super) fn carries(&self, job: &Name, to: &Name, source: &Name) -> bool {
        let label = format!("sync {}", Address::new("sync", job));
        let unit = (label, to.clone(), Some(source.clone()));
        self.kept.contains(&unit)
    }

    /// Notes that something was proposed and is not in it.
    pub(super) fn leave(&mut self, address: &Address, goals: &[Goal]) {
        self.left.insert(address.clone());
        self.goals.extend(goals.iter().cloned());
    }

    /// Says how a node's registry is written.
    pub(super) fn registering(&self, node: &Name) -> Registering {
        let names = BTreeSet::from([Address::new("node", node)]);
        if self.selection.leaves_alone(&names) {
            return Registering::Not;
        }
        let label = format!("registry {}", Address::new("node", node));
        if self.selection.wants(&label, &names) {
            Registering::Whole
        } else if self.selection.begun.is_some() {
            Registering::Not
        } else {
            Registering::Change
        }
    }

    /// Tells whether a copy or proof that is demanded is no matter of the part.
    pub(super) fn leaves_demand(
        &self,
        topology: &Topology,
        goal: &Goal,
        address: &Address,
        job: &Name,
    ) -> bool {
        self.goals.contains(goal)
            || !(self.touched.contains(address)
                || self.selection.is_about(topology, address, Some(job)))
    }

    /// Tells whether a thing is no matter of the part: it is left alone, or nothing that is
    /// wanted has to do with it.
    pub(super) fn leaves_thing(&self, topology: &Topology, address: &Address) -> bool {
        let is_of_all = matches!(address.kind(), "policy" | "topology");
        let is_touched = self.selection.is_narrow() && self.touched.contains(address);
        !(is_of_all || is_touched || self.selection.is_about(topology, address, None))
    }

    /// Corrects what findings say of being mended, given those of the whole plan.
    pub(super) fn settle(&self, topology: &Topology, findings: &mut [Finding], whole: &Plan) {
        for finding in findings {
            let is_same = |other: &&Finding| {
                (&other.code, &other.address) == (&finding.code, &finding.address)
            };
            let mut same = whole.findings.iter().filter(is_same);
            let is_mended_by_the_rest = if finding.fixed_by_plan {
                self.left.contains(&finding.address)
            } else {
                same.any(|other| other.fixed_by_plan)
            };
            if is_mended_by_the_rest {
                finding.fixed_by_plan = false;
                finding.fix = Some(MENDED_BY_THE_REST.to_owned());
            }
            finding.left_out = is_mended_by_the_rest
                || (!finding.fixed_by_plan && self.leaves_thing(topology, &finding.address));
        }
    }

    /// Returns what of a whole plan is not in the part that came of it.
    pub(super) fn left_out(&self, whole: &Plan, part: &[Action]) -> Vec<LeftOut> {
        let there: BTreeSet<String> = part.iter().map(Action::label).collect();
        let is_in = |action: &&Action| match &action.step {
            Step::Register { .. } => there.contains(&action.label()),
            _ => units(action).all(|unit| self.kept.contains(&unit)),
        };
        let out = whole.actions.iter().filter(|action| !is_in(action));
        out.map(|action| LeftOut {
            address: action.address.clone(),
            node: action.node.clone(),
            what: action.word().to_owned(),
        })
        .collect()
    }
}

/// Makes sure that something is left of everything that is wanted and that the plan does.
///
/// # Errors
///
/// All of it stands on what is left alone.
pub(super) fn check(whole: &Plan, selection: &Selection) -> Result<(), Unclear> {
    let pieces = pieces(whole, selection);
    let targets = selection.targets.iter();
    let targets = targets.map(|target| (format!("--target {target}"), target.clone()));
    let nodes = selection.nodes.iter();
    let nodes = nodes.map(|node| (format!("--node {node}"), Address::new("node", node)));
    for (wanted, address) in targets.chain(nodes) {
        let mut of_it = pieces
            .iter()
            .filter(|piece| piece.names.contains(&address))
            .peekable();
        if of_it.peek().is_some() && of_it.all(|piece| piece.is_out) {
            let exclude = selection.exclude.iter();
            let excluded: Vec<String> = exclude.map(|word| format!("--exclude {word}")).collect();
            return Err(Unclear::NothingLeft {
                wanted,
                excluded: excluded.join(" "),
            });
        }
    }
    Ok(())
}

fn units(action: &Action) -> impl Iterator<Item = Unit> {
    let sources: Vec<Option<Name>> = match &action.step {
        Step::Sync { sources, .. } => sources.iter().cloned().map(Some).collect(),
        _ => vec![None],
    };
    let (label, node) = (action.label(), action.node.clone());
    sources
        .into_iter()
        .map(move |source| (label.clone(), node.clone(), source))
}

/// Takes a plan apart, and says of each piece whether it is wanted and whether it is left alone.
///
/// Registries are no pieces: they list whatever is done.
fn pieces<'a>(whole: &'a Plan, selection: &Selection) -> Vec<Piece<'a>> {
    let topology = &whole.topology;
    let mut pieces: Vec<Piece<'a>> = Vec::new();
    let mut of_action: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    // Needs come first, so each piece finds those that it needs.
    for action in &whole.actions {
        let sources: Vec<Option<&Name>> = match &action.step {
            Step::Register { .. } => continue,
            Step::Sync { sources, .. } => sources.iter().map(Some).collect(),
            _ => vec![None],
        };
        for source in sources {
            let of = |id: &usize| of_action.get(id).into_iter().flatten().copied();
            let needs: Vec<usize> = action
                .after
                .iter()
                .flat_map(of)
                .filter(|at| needs(action, source, &pieces[*at]))
                .collect();
            let (names, uses) = (
                names(topology, action, source),
                uses(topology, action, source),
            );
            let is_wanted = selection.wants(&action.label(), &names);
            let is_left_alone = selection.leaves_alone(&uses)
                // What was no part of it when it was begun is none now, needed or not.
                || (selection.begun.is_some() && !is_wanted);
            let piece = Piece {
                action,
                source,
                is_wanted,
                is_out: is_left_alone || needs.iter().any(|at| pieces[*at].is_out),
                names,
                uses,
                needs,
            };
            of_action.entry(action.id).or_default().push(pieces.len());
            pieces.push(piece);
        }
    }
    pieces
}

/// Tells whether a unit of an action needs a piece that the action comes after: a sync's source
/// does not need the copies of others.
fn needs(action: &Action, source: Option<&Name>, before: &Piece<'_>) -> bool {
    let ((Step::Drill { source, .. }, _) | (Step::Sync { .. }, Some(source))) =
        (&action.step, source)
    else {
        return true;
    };
    match (&before.action.step, before.source) {
        (Step::Sync { .. }, Some(carried)) => carried == source,
        (Step::Copy { source: copied, .. }, _) => copied == source,
        _ => true,
    }
}

impl Piece<'_> {
    fn unit(&self) -> Unit {
        let node = self.action.node.clone();
        (self.action.label(), node, self.source.cloned())
    }
}
