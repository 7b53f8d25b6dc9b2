//! Drills: a restore that passed is part of the desired state.

use std::cmp::Reverse;

use crate::model::markers::Proof;
use crate::model::{Address, ByteSize, Name};
use crate::plan::capacity::{self, Bytes, Lasting, Spot};
use crate::plan::change::{CopyState, Finding, ProofState, Step};
use crate::plan::demand::ProofDemand;
use crate::plan::draft::{Draft, Goal, Proposal, World};
use crate::plan::key;
use crate::plan::mount;
use crate::plan::source;
use crate::plan::words;

/// Returns the newest proof of a drill that passed.
pub(super) fn passed<'a>(world: World<'a>, demand: &ProofDemand<'_>) -> Option<&'a Proof> {
    newest(of(world, demand).filter(|proof| proof.passed))
}

fn of<'a, 'd>(
    world: World<'a>,
    demand: &'d ProofDemand<'_>,
) -> impl Iterator<Item = &'a Proof> + use<'a, 'd> {
    let (drill, source) = (demand.drill.clone(), demand.source.clone());
    world
        .served(demand.from)
        .into_iter()
        .flat_map(|(_, _, _, store)| &store.proofs)
        .filter(move |proof| proof.drill == drill && proof.source == source)
}

/// Returns the newest of some proofs, which come newest first: of equal times the first counts.
fn newest<'a>(proofs: impl Iterator<Item = &'a Proof>) -> Option<&'a Proof> {
    proofs.min_by_key(|proof| Reverse(proof.at))
}

/// Returns whether the newest try did not pass.
fn last_failed(world: World<'_>, demand: &ProofDemand<'_>) -> bool {
    newest(of(world, demand)).is_some_and(|proof| !proof.passed)
}

/// Judges a demanded proof as it is now.
pub(super) fn proof(world: World<'_>, demand: &ProofDemand<'_>, open: bool) -> ProofState {
    let passed = passed(world, demand);
    let age = passed.map(|proof| world.now.since(proof.at));
    let state = if !open || demand.barred.is_some() {
        CopyState::Waiting
    } else if world.served(demand.from).is_none() || mount::hides(world, demand.from) {
        CopyState::Unknown
    } else {
        match (age, demand.within) {
            (None, _) => CopyState::Missing,
            // An older pass says nothing once a newer try did not agree.
            (Some(_), _) if last_failed(world, demand) => CopyState::Late,
            (Some(age), Some(within)) if age > within => CopyState::Late,
            _ => CopyState::Fresh,
        }
    };
    ProofState {
        drill: demand.drill.clone(),
        source: demand.source.clone(),
        datastore: demand.from.clone(),
        passed: passed.map(|proof| proof.at),
        age,
        within: demand.within,
        files: passed.map_or(0, |proof| proof.files),
        bytes: ByteSize(passed.map_or(0, |proof| proof.bytes)),
        state,
    }
}

/// Plans the drills that are due.
pub(super) fn drills(world: World<'_>, demands: &[&ProofDemand<'_>], draft: &mut Draft) {
    for demand in demands {
        failed(world, demand, draft);
        let state = proof(world, demand, true);
        // What is on a disk that is not mounted is asked for as if it were not there.
        let due = matches!(state.state, CopyState::Missing | CopyState::Late)
            || (state.state == CopyState::Unknown && mount::hides(world, demand.from));
        if due {
            drill(world, demand, &state, draft);
        }
    }
}

/// Says that the last try did not pass.
fn failed(world: World<'_>, demand: &ProofDemand<'_>, draft: &mut Draft) {
    let Some(last) = newest(of(world, demand)) else {
        return;
    };
    if last.passed {
        return;
    }
    let message = format!(
        "its last restore of {} from {} did not agree, {} ago",
        demand.source,
        demand.from,
        world.now.since(last.at)
    );
    draft.find(
        Finding::error("BK421", address(demand), message)
            .because(last.problems.iter().take(5).cloned().collect())
            .fix(retry(world, demand)),
    );
}

/// Says how to look at a datastore before a drill is tried again.
fn retry(world: World<'_>, demand: &ProofDemand<'_>) -> String {
    let again = format!("then bkpctl run {}", demand.drill);
    match world.served(demand.from) {
        Some((_, place, _, _)) => format!(
            "on {}: bkpctl store verify --read-data {}, {again}",
            place.node,
            words::shell_word(&place.path)
        ),
        None => format!("check {} with bkpctl store verify, {again}", demand.from),
    }
}

fn address(demand: &ProofDemand<'_>) -> Address {
    Address::with_part("drill", demand.drill, demand.source)
}

fn drill(world: World<'_>, demand: &ProofDemand<'_>, state: &ProofState, draft: &mut Draft) {
    let copy = Goal::Copy {
        source: demand.source.clone(),
        datastore: demand.from.clone(),
    };
    let newest = source::newest(world, demand.source, demand.from);
    if newest.is_none() && !draft.proposed(&copy) {
        let message = format!("nothing copies {} to {}", demand.source, demand.from);
        draft.find(
            Finding::error("BK423", address(demand), message).fix(format!(
                "name a datastore that a backup or sync of {} reaches",
                demand.source
            )),
        );
        return;
    }
    let node = demand.on.cloned().unwrap_or_else(|| key::controller(world));
    let mut needs = vec![
        Goal::Node(node.clone()),
        Goal::Binary(node.clone()),
        Goal::Repository(demand.from.clone()),
        copy,
    ];
    needs.extend(
        world
            .home(demand.from)
            .map(|home| Goal::Binary(home.clone())),
    );
    if let Some(datastore) = world.topology.datastores.get(demand.from) {
        needs.push(Goal::Key(datastore.key.clone()));
    }
    let bytes = source::estimate(world, demand.source).max(newest.map(|head| head.bytes));
    let scratch = world
        .topology
        .nodes
        .get(&node)
        .and_then(|node| node.scratch.clone());
    let step = Step::Drill {
        job: demand.drill.clone(),
        source: demand.source.clone(),
        from: demand.from.clone(),
        scratch: scratch.clone(),
    };
    let after = format!(
        "{} from {} restored and compared",
        demand.source, demand.from
    );
    let mut proposal = Proposal {
        before: state.age.map(|age| format!("last passed {age} ago")),
        reason: match (state.age, state.within) {
            (Some(age), Some(within)) => format!("last passed {age} ago, allowed {within}"),
            _ => "never proven".to_owned(),
        },
        needs,
        gives: vec![Goal::Proof {
            drill: demand.drill.clone(),
            source: demand.source.clone(),
        }],
        deferred: not_a_reader(world, demand, &node, draft),
        reads: bytes,
        ..Proposal::new(address(demand), &node, step, after)
    };
    if let Some(scratch) = &scratch {
        let entries = newest.map_or(0, |head| head.files);
        let bytes = Bytes::first(bytes).with_entries(entries);
        land(world, &mut proposal, &node, scratch, bytes, draft);
    }
    draft.propose(proposal);
}

/// Checks the scratch place; what lands there is removed again, so nothing is spent.
fn land(
    world: World<'_>,
    proposal: &mut Proposal,
    node: &Name,
    scratch: &str,
    bytes: Bytes,
    draft: &mut Draft,
) {
    let spot = Spot {
        node,
        path: scratch,
        reserve: None,
    };
    let landing = draft.ledger.look(world, spot, bytes);
    let possible = proposal.deferred.is_none()
        && draft.takes(proposal)
        && draft.first_obstacle(&proposal.needs).is_none();
    if possible && landing.fits == Some(false) {
        draft.find(capacity::too_big(
            proposal.address.clone(),
            &landing,
            bytes.must_fit.unwrap_or_default(),
            Lasting::Scratch,
        ));
        proposal.deferred = Some(format!("it does not fit on {node}:{scratch}"));
    }
    proposal.landing = vec![landing];
}

/// Returns why a node must not hold a reading key, if so.
fn not_a_reader(
    world: World<'_>,
    demand: &ProofDemand<'_>,
    node: &Name,
    draft: &mut Draft,
) -> Option<String> {
    let declared = world.topology.nodes.get(node)?;
    if declared.reader || world.topology.is_local(node.as_str()) {
        return None;
    }
    let message = format!("it restores on {node}, which is not declared to hold a reading key");
    draft.find(
        Finding::error("BK420", address(demand), message)
            .because(vec![
                "whoever breaks into a node with a reading key can read every snapshot".to_owned(),
            ])
            .fix(format!(
                "add reader to node \"{node}\" at {}, or leave out on",
                declared.declared
            )),
    );
    Some(format!("{node} is not a reader"))
}
