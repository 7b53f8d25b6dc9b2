//! The planner itself: every rule in turn, then order, digest and the whole.

use crate::model::{Name, Observed, Timestamp, Topology};
use crate::plan::change::{Finding, PLAN_FORMAT, Plan, Severity};
use crate::plan::demand::{Demands, ProofDemand, users_of_datastores};
use crate::plan::draft::{Draft, World};
use crate::plan::part::{self, Part};
use crate::plan::phase::Survey;
use crate::plan::policy::Outlook;
use crate::plan::selection::{Asked, PlanPart, Selection, Unclear};
use crate::plan::{
    binary, capacity, chain, container, copies, dataset, datastore, demand, digest, drill,
    forecast, key, mount, need, node, order, orphan, pbs, phase, policy, registry, share, source,
    sync, thin, unsupported, vzdump,
};

/// Compares what is declared with what was seen and says what to do about it.
///
/// The same inputs always give the same plan, byte for byte.
pub fn plan(topology: &Topology, observed: &Observed, now: Timestamp) -> Plan {
    let world = World {
        topology,
        observed,
        now,
    };
    make(world, None)
}

/// Cuts a part out of a whole plan, by the words that somebody chose it with.
///
/// `observed` is what the whole was made from.
///
/// # Errors
///
/// A word names nothing, or nothing is left of what is wanted.
pub fn plan_part(whole: &Plan, observed: &Observed, asked: &Asked) -> Result<Plan, Unclear> {
    let selection = asked.look_up(whole)?;
    part::check(whole, &selection)?;
    Ok(plan_of(whole, observed, &selection))
}

/// Cuts a part out of a whole plan that was chosen before.
///
/// What it names need not be there any more: it may have been carried out.
pub fn plan_of(whole: &Plan, observed: &Observed, selection: &Selection) -> Plan {
    if selection.is_whole() {
        return whole.clone();
    }
    let world = World {
        topology: &whole.topology,
        observed,
        now: whole.now,
    };
    make(world, Some((whole, selection)))
}

/// Makes the whole plan, or a part of it.
fn make(world: World<'_>, of: Option<(&Plan, &Selection)>) -> Plan {
    let World {
        topology,
        observed: _,
        now,
    } = world;
    let demands = demand::demands(topology);
    let survey = phase::survey(world, &demands);
    let stores = wanted(topology, &survey);
    let mut draft = Draft::of(of.map(|(whole, selection)| Part::cut(whole, selection)));

    let nodes = node::nodes(world, &mut draft);
    container::report(world, &mut draft);
    unsupported::report(topology, &mut draft);
    key::keys(world, &stores, &mut draft);
    binary::binaries(world, &demands, &survey.open, &stores, &mut draft);
    share::shares(world, &mut draft);
    dataset::report(world, &mut draft);
    mount::mounts(world, &stores, &mut draft);
    chain::report(world, &stores, &mut draft);
    datastore::datastores(world, &survey, &stores, &mut draft);
    capacity::shortages(world, &stores, &mut draft);
    thin::report(world, &mut draft);
    vzdump::report(world, &mut draft);
    pbs::report(world, &mut draft);
    data(world, &demands, &survey, &mut draft);
    let phases = phase::record(world, &demands, &survey, &mut draft);
    orphan::orphans(world, &mut draft);
    registry::registries(world, &stores, &mut draft);

    let is_open = |phase: &Name| survey.open.contains(phase);
    let protection: Vec<_> = demands
        .copies
        .iter()
        .map(|demand| copies::protection(world, demand, is_open(demand.phase)))
        .collect();
    let proofs: Vec<_> = demands
        .proofs
        .iter()
        .map(|proof| drill::proof(world, proof, is_open(proof.phase)))
        .collect();
    let capacity = draft.ledger.lines(world, &stores);
    let forecast = forecast::lines(world);
    let outlook = Outlook {
        world,
        demands: &demands,
        protection: &protection,
        proofs: &proofs,
        capacity: &capacity,
        forecast: &forecast,
    };
    let policy = policy::policy(&outlook, &mut draft);
    policy::gaps(&outlook, &mut draft);

    let mut actions = order::order(draft.proposals);
    need::record(world, &mut actions);
    let part = of.zip(draft.part).map(|((whole, selection), part)| {
        part.settle(topology, &mut draft.findings, whole);
        PlanPart {
            selection: selection.clone(),
            left_out: part.left_out(whole, &actions),
        }
    });
    Plan {
        format: PLAN_FORMAT,
        digest: digest::digest(&actions),
        now,
        topology: topology.clone(),
        nodes,
        findings: sorted(draft.findings),
        actions,
        protection,
        proofs,
        phases,
        policy,
        capacity,
        forecast,
        part,
    }
}

/// Plans copies, syncs and drills of open phases, in the order in which they feed each other.
fn data(world: World<'_>, demands: &Demands<'_>, survey: &Survey<'_>, draft: &mut Draft) {
    let due: Vec<_> = demands
        .copies
        .iter()
        .filter(|demand| survey.open.contains(demand.phase) && demand.barred.is_none())
        .collect();
    let (direct, passed_on): (Vec<_>, Vec<_>) =
        due.into_iter().partition(|demand| demand.from.is_none());
    source::sources(world, &direct, draft);
    copies::copies(world, &direct, draft);
    sync::syncs(world, &passed_on, draft);
    let proofs: Vec<&ProofDemand<'_>> = demands
        .proofs
        .iter()
        .filter(|proof| survey.open.contains(proof.phase) && proof.barred.is_none())
        .collect();
    drill::drills(world, &proofs, draft);
}

/// Returns the datastores that open phases use, and those that no job uses.
fn wanted<'a>(topology: &'a Topology, survey: &Survey<'_>) -> Vec<&'a Name> {
    let users = users_of_datastores(topology);
    topology
        .datastores
        .keys()
        .filter(|name| unsupported::datastore(topology, name).is_none())
        .filter(|name| match users.get(name) {
            None => true,
            Some(phases) => phases.iter().any(|phase| survey.open.contains(phase)),
        })
        .collect()
}

/// Sorts findings: causes before the rules they break, the worst first, notes last.
fn sorted(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by_cached_key(|finding| {
        (
            finding.severity == Severity::Note,
            finding.address.kind() == "policy",
            finding.severity,
            finding.fixed_by_plan || finding.left_out,
            finding.code.clone(),
            finding.address.clone(),
            finding.message.clone(),
        )
    });
    findings
}
