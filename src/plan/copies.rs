//! Copies: which are young enough, and what it takes to make the others.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::model::snapshot::SnapshotHead;
use crate::model::{Address, Name};
use crate::plan::capacity::{self, Bytes, Lasting, Spot};
use crate::plan::change::{CopyState, Finding, Gate, GateKind, Protection, Step};
use crate::plan::demand::Demand;
use crate::plan::draft::{Draft, Goal, Proposal, World};
use crate::plan::mount;
use crate::plan::source;

/// Judges a demanded copy as it is now.
pub(super) fn protection(world: World<'_>, demand: &Demand<'_>, open: bool) -> Protection {
    let newest = source::newest(world, demand.source, demand.datastore);
    let age = newest.map(|head| world.now.since(head.started));
    let state = if !open || demand.barred.is_some() {
        CopyState::Waiting
    } else if world.served(demand.datastore).is_none() || mount::hides(world, demand.datastore) {
        CopyState::Unknown
    } else {
        match (age, demand.rpo) {
            (None, _) => CopyState::Missing,
            (Some(age), Some(rpo)) if age > rpo => CopyState::Late,
            _ => CopyState::Fresh,
        }
    };
    Protection {
        source: demand.source.clone(),
        datastore: demand.datastore.clone(),
        job: demand.job.clone(),
        newest: newest.map(|head| head.started),
        age,
        rpo: demand.rpo,
        state,
    }
}

/// Tells whether a copy is to be made; what is on a disk that is not mounted is asked for as if
/// it were not there.
pub(super) fn is_due(world: World<'_>, protection: &Protection) -> bool {
    matches!(protection.state, CopyState::Missing | CopyState::Late)
        || (protection.state == CopyState::Unknown && mount::hides(world, &protection.datastore))
}

/// Plans the copies that sources make themselves.
pub(super) fn copies(world: World<'_>, demands: &[&Demand<'_>], draft: &mut Draft) {
    let mut changed: BTreeSet<&Name> = BTreeSet::new();
    let mut told: BTreeSet<Name> = BTreeSet::new();
    for demand in demands {
        let protection = protection(world, demand, true);
        let newest = source::newest(world, demand.source, demand.datastore);
        let nature = newest.and_then(|head| source::changed_machine(world, demand.source, head));
        if let Some((before, now)) = nature
            && changed.insert(demand.source)
        {
            draft.find(changed_nature(demand.source, before, now));
        }
        incomplete(world, demand, draft);
        if is_due(world, &protection) {
            new_program(
                world,
                demand.source,
                "if that is what should run,",
                &mut told,
                draft,
            );
            copy(world, demand, &protection, newest, nature.is_some(), draft);
        }
    }
    // Whoever reviews a change sees it now, and not only once a copy is due.
    for demand in demands {
        let when = "once its next copy is due,";
        new_program(world, demand.source, when, &mut told, draft);
    }
}

fn changed_nature(source: &Name, before: &str, now: &str) -> Finding {
    Finding::warning(
        "BK410",
        Address::new("source", source),
        "it is read from another machine than its newest snapshot".to_owned(),
    )
    .because(vec![
        format!("snapshot: machine {before}, now: machine {now}"),
        "a machine that was set up anew must not replace the good copies of the old one".to_owned(),
    ])
    .fix(format!(
        "restore it first, or allow it with --allow source.{source}:nature"
    ))
}

/// Says, once a source, which program would run that was not allowed before.
fn new_program(
    world: World<'_>,
    name: &Name,
    when: &str,
    told: &mut BTreeSet<Name>,
    draft: &mut Draft,
) {
    let Some((now, before)) = source::new_program(world, name) else {
        return;
    };
    let can_run = draft.obstacle(&Goal::Source(name.clone())).is_none();
    if !can_run || !told.insert(name.clone()) {
        return;
    }
    let on = world.topology.sources.get(name).map(|source| &source.on);
    let on = on.map_or("its node", |on| on.as_str());
    let mut because = vec![format!("it runs on {on}: {now}")];
    because.extend(before.map(|before| format!("allowed before: {before}")));
    let message = "its program was not allowed to run there before".to_owned();
    draft.find(
        Finding::warning("BK411", Address::new("source", name), message)
            .because(because)
            .fix(format!(
                "{when} allow it with --allow source.{name}:command"
            )),
    );
}

/// Says that the newest snapshot left something out.
fn incomplete(world: World<'_>, demand: &Demand<'_>, draft: &mut Draft) {
    let Some((_, _, _, store)) = world.served(demand.datastore) else {
        return;
    };
    let heads = store.snapshots.get(demand.source);
    let Some(head) = heads.and_then(|heads| heads.iter().max_by_key(|head| head.started)) else {
        return;
    };
    if head.complete {
        return;
    }
    let message = format!(
        "its newest snapshot in {} is incomplete: {} of its entries could not be read",
        demand.datastore, head.skipped
    );
    let on = world.topology.sources.get(demand.source);
    let on = on.map_or("its node", |source| source.on.as_str());
    draft.find(
        Finding::warning("BK422", Address::new("source", demand.source), message)
            .because(vec![
                "an incomplete snapshot can be restored, and does not count as a copy".to_owned(),
            ])
            .fix(format!(
                "look on {on} for what its login can't read there, then make it readable or exclude it"
            )),
    );
}

/// Says why a copy is made.
pub(super) fn reason(world: World<'_>, protection: &Protection) -> String {
    if let (Some(age), Some(rpo)) = (protection.age, protection.rpo) {
        return format!("newest is {age} old, allowed {rpo}");
    }
    let any = world
        .served(&protection.datastore)
        .and_then(|(_, _, _, store)| store.snapshots.get(&protection.source))
        .is_some_and(|heads| !heads.is_empty());
    if any {
        "no complete copy".to_owned()
    } else {
        "first copy".to_owned()
    }
}

fn copy(
    world: World<'_>,
    demand: &Demand<'_>,
    protection: &Protection,
    newest: Option<&SnapshotHead>,
    changed: bool,
    draft: &mut Draft,
) {
    let (Some((datastore, place, _, _)), Some(read)) = (
        world.served(demand.datastore),
        world.topology.sources.get(demand.source),
    ) else {
        return;
    };
    let address = Address::with_part("copy", demand.source, demand.datastore);
    let mut needs = vec![
        Goal::Source(demand.source.clone()),
        Goal::Binary(read.on.clone()),
        Goal::Binary(place.node.clone()),
        Goal::Key(datastore.key.clone()),
        Goal::Repository(demand.datastore.clone()),
        Goal::Managed(demand.datastore.clone()),
    ];
    if newest.is_none() {
        needs.push(Goal::Sealed(datastore.key.clone()));
    }
    let estimate = source::estimate(world, demand.source).or(newest.map(|head| head.bytes));
    let bytes = match newest {
        None => Bytes::first(estimate),
        Some(head) => Bytes::later(estimate, head.bytes),
    };
    let spot = Spot::of(world, demand.datastore, place, datastore.reserve);
    let program = source::new_program(world, demand.source);
    let kind = match (changed, &program) {
        (true, _) => Some(GateKind::Nature),
        (false, Some(_)) => Some(GateKind::Command),
        (false, None) => None,
    };
    let gate = kind.map(|kind| Gate {
        address: Address::new("source", demand.source),
        kind,
    });
    let mut reason = reason(world, protection);
    if let Some((now, _)) = &program {
        let _ = write!(reason, "; runs for the first time: {now}");
    }
    let step = Step::Copy {
        job: demand.job.clone(),
        source: demand.source.clone(),
        datastore: demand.datastore.clone(),
    };
    let after = format!("a copy of {} in {}", demand.source, demand.datastore);
    let proposal = Proposal {
        before: protection.age.map(|age| format!("newest is {age} old")),
        reason,
        needs,
        gives: vec![Goal::Copy {
            source: demand.source.clone(),
            datastore: demand.datastore.clone(),
        }],
        gate,
        reads: estimate,
        ..Proposal::new(address, &place.node, step, after)
    };
    propose_bytes(world, proposal, spot, bytes, draft);
}

/// Proposes an action that brings bytes to stay; it is deferred where they do not fit.
pub(super) fn propose_bytes(
    world: World<'_>,
    mut proposal: Proposal,
    spot: Spot<'_>,
    bytes: Bytes,
    draft: &mut Draft,
) {
    let landing = draft.ledger.look(world, spot, bytes);
    let possible = proposal.deferred.is_none()
        && draft.takes(&proposal)
        && draft.first_obstacle(&proposal.needs).is_none();
    if possible && landing.fits == Some(false) {
        let must_fit = bytes.must_fit.unwrap_or_default();
        draft.find(capacity::too_big(
            proposal.address.clone(),
            &landing,
            must_fit,
            Lasting::Kept,
        ));
        proposal.deferred = Some(format!("it does not fit on {}:{}", spot.node, spot.path));
    } else if possible {
        draft
            .findings
            .extend(capacity::tight(proposal.address.clone(), &landing));
        draft.ledger.spend(world, &landing);
    }
    proposal.landing = vec![landing];
    draft.propose(proposal);
}
