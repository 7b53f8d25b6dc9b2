//! Phases: which are open, which are complete, and when that is written down.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::markers::Managed;
use crate::model::topology::{DatastoreKind, Phase, Work};
use crate::model::{Address, Name, Timestamp, Topology};
use crate::plan::change::{PhaseLine, PhaseState, Step};
use crate::plan::demand::{Demands, phases_in_order};
use crate::plan::draft::{Draft, Goal, Proposal, World};
use crate::plan::drill;
use crate::plan::source;
use crate::plan::words;

/// How the phases stand before the plan.
pub(super) struct Survey<'a> {
    /// Phases whose jobs count; a complete phase stays open.
    pub(super) open: BTreeSet<&'a Name>,
    recorded: BTreeMap<&'a Name, Option<Timestamp>>,
    complete: BTreeSet<&'a Name>,
}

impl Survey<'_> {
    /// Tells whether a phase was recorded as complete, itself or by a later one.
    pub(super) fn was_complete(&self, phase: &Name) -> bool {
        self.recorded.contains_key(phase)
    }
}

/// Looks at which phases are open.
pub(super) fn survey<'a>(world: World<'a>, demands: &Demands<'_>) -> Survey<'a> {
    let recorded = recorded(world);
    let mut survey = Survey {
        open: BTreeSet::new(),
        complete: recorded.keys().copied().collect(),
        recorded,
    };
    for phase in phases_in_order(world.topology) {
        let opened = phase
            .after
            .as_ref()
            .is_none_or(|after| survey.complete.contains(after));
        if opened || survey.complete.contains(&phase.name) {
            survey.open.insert(&phase.name);
            if is_met(world, demands, phase) {
                survey.complete.insert(&phase.name);
            }
        }
    }
    survey
}

/// Returns the phases that were recorded as complete, and those that came before them.
fn recorded(world: World<'_>) -> BTreeMap<&Name, Option<Timestamp>> {
    let topology = world.topology;
    let mut recorded: BTreeMap<&Name, Option<Timestamp>> = BTreeMap::new();
    for name in topology.datastores.keys() {
        let managed = world
            .served(name)
            .and_then(|(_, _, _, store)| store.managed.as_ref())
            .filter(|managed| managed.topology == topology.id);
        for (phase, at) in managed.into_iter().flat_map(|managed| &managed.phases) {
            if let Some(phase) = find(topology, phase) {
                let earliest = recorded.entry(&phase.name).or_insert(Some(*at));
                *earliest = (*earliest).min(Some(*at));
            }
        }
    }
    // A record may be on a node that can't be reached now; a later one vouches for it.
    let mut todo: Vec<&Name> = recorded.keys().copied().collect();
    while let Some(name) = todo.pop() {
        let before = find(topology, name).and_then(|phase| phase.after.as_ref());
        if let Some(phase) = before.and_then(|before| find(topology, before))
            && !recorded.contains_key(&phase.name)
        {
            recorded.insert(&phase.name, None);
            todo.push(&phase.name);
        }
    }
    recorded
}

fn find<'a>(topology: &'a Topology, name: &Name) -> Option<&'a Phase> {
    topology.phases.iter().find(|phase| phase.name == *name)
}

/// Returns whether every copy of a phase exists and every drill of it passed once.
fn is_met(world: World<'_>, demands: &Demands<'_>, phase: &Phase) -> bool {
    let copies = demands
        .copies
        .iter()
        .filter(|demand| *demand.phase == phase.name)
        .all(|d| d.barred.is_none() && source::newest(world, d.source, d.datastore).is_some());
    let proofs = demands
        .proofs
        .iter()
        .filter(|proof| *proof.phase == phase.name)
        .all(|proof| proof.barred.is_none() && drill::passed(world, proof).is_some());
    copies && proofs && move_of(world.topology, phase).is_none()
}

/// Returns the datastore that a phase moves to a new place, if it does.
fn move_of<'a>(topology: &'a Topology, phase: &Phase) -> Option<&'a Name> {
    let moves = |kind: &DatastoreKind| match kind {
        DatastoreKind::Directory { places } => places
            .iter()
            .any(|place| place.from_phase.as_ref() == Some(&phase.name)),
        DatastoreKind::S3(_) => false,
    };
    topology
        .datastores
        .iter()
        .find(|(_, datastore)| moves(&datastore.kind))
        .map(|(name, _)| name)
}

/// Plans the records of phases that this plan completes, and says how each stands.
pub(super) fn record(
    world: World<'_>,
    demands: &Demands<'_>,
    survey: &Survey<'_>,
    draft: &mut Draft,
) -> Vec<PhaseLine> {
    phases_in_order(world.topology)
        .into_iter()
        .map(|phase| {
            let (state, reason) = line(world, demands, survey, phase, draft);
            PhaseLine {
                name: phase.name.clone(),
                state,
                reason,
            }
        })
        .collect()
}

fn line(
    world: World<'_>,
    demands: &Demands<'_>,
    survey: &Survey<'_>,
    phase: &Phase,
    draft: &mut Draft,
) -> (PhaseState, String) {
    match survey.recorded.get(&phase.name) {
        Some(Some(at)) => {
            let day: String = at.to_string().chars().take(10).collect();
            return (PhaseState::Complete, format!("since {day}"));
        }
        Some(None) => {
            let reason = "a later phase is complete".to_owned();
            return (PhaseState::Complete, reason);
        }
        None => {}
    }
    if !survey.open.contains(&phase.name) {
        let after = phase.after.as_ref().map_or("another", Name::as_str);
        return (PhaseState::Blocked, format!("waits for {after}"));
    }
    if let Some(reason) = hindrance(world, demands, phase, draft) {
        return (PhaseState::Next, reason);
    }
    if phase.jobs.is_empty() {
        return (PhaseState::Complete, "it has no jobs".to_owned());
    }
    let done = survey.complete.contains(&phase.name);
    let goals = goals(demands, phase);
    let Some(datastore) = keeper(phase, draft) else {
        let reason = "no datastore of it can keep the record now".to_owned();
        return (PhaseState::Next, reason);
    };
    let is_recorded = write(world, phase, datastore, &goals, draft);
    if done {
        let reason = "its copies exist and its drills passed".to_owned();
        return (PhaseState::Complete, reason);
    }
    let mut reason = format!("complete after {}", work(draft, &goals));
    if !is_recorded {
        reason.push_str(", and recorded by a later one");
    }
    (PhaseState::Next, reason)
}

/// Returns why a phase can't be completed by this plan, if it can't.
fn hindrance(
    world: World<'_>,
    demands: &Demands<'_>,
    phase: &Phase,
    draft: &Draft,
) -> Option<String> {
    if let Some(datastore) = move_of(world.topology, phase) {
        return Some(format!(
            "moving {datastore} is not carried out by this version"
        ));
    }
    for demand in demands.copies.iter().filter(|d| *d.phase == phase.name) {
        if let Some(barred) = &demand.barred {
            return Some(format!("{}: {barred}", demand.job));
        }
        let goal = Goal::Copy {
            source: demand.source.clone(),
            datastore: demand.datastore.clone(),
        };
        if source::newest(world, demand.source, demand.datastore).is_none() && !draft.will(&goal) {
            return Some(wants(
                world,
                draft,
                &goal,
                demand.datastore,
                [demand.source, demand.datastore],
            ));
        }
    }
    for proof in demands.proofs.iter().filter(|p| *p.phase == phase.name) {
        if let Some(barred) = &proof.barred {
            return Some(format!("{}: {barred}", proof.drill));
        }
        let goal = Goal::Proof {
            drill: proof.drill.clone(),
            source: proof.source.clone(),
        };
        if drill::passed(world, proof).is_none() && !draft.will(&goal) {
            return Some(wants(
                world,
                draft,
                &goal,
                proof.from,
                [proof.source, proof.drill],
            ));
        }
    }
    None
}

fn wants(
    world: World<'_>,
    draft: &Draft,
    goal: &Goal,
    datastore: &Name,
    [source, target]: [&Name; 2],
) -> String {
    match (draft.obstacle(goal), world.home(datastore)) {
        (Some(why), _) => format!("{source} → {target} waits: {why}"),
        (None, Some(home)) if world.observed.reached(home.as_str()).is_none() => {
            format!("{source} → {target} is not known: {home} was not reached")
        }
        (None, _) => format!("{source} → {target} has nothing to come from"),
    }
}

/// Returns what must exist before a phase is recorded.
fn goals(demands: &Demands<'_>, phase: &Phase) -> Vec<Goal> {
    let copies = demands
        .copies
        .iter()
        .filter(|demand| *demand.phase == phase.name)
        .map(|demand| Goal::Copy {
            source: demand.source.clone(),
            datastore: demand.datastore.clone(),
        });
    let proofs = demands
        .proofs
        .iter()
        .filter(|proof| *proof.phase == phase.name)
        .map(|proof| Goal::Proof {
            drill: proof.drill.clone(),
            source: proof.source.clone(),
        });
    copies.chain(proofs).collect()
}

/// Returns the first datastore of a phase that can keep its record.
fn keeper<'a>(phase: &'a Phase, draft: &Draft) -> Option<&'a Name> {
    let named = phase.jobs.iter().flat_map(|job| match &job.work {
        Work::Backup { to, .. } => to.iter().collect(),
        Work::Sync { to, .. } | Work::Cloud { to, .. } => vec![to],
        Work::Drill { from, .. } => vec![from],
    });
    let usable = |name: &&Name| {
        draft.managed.contains_key(*name)
            && draft
                .first_obstacle(&[
                    Goal::Repository((*name).clone()),
                    Goal::Managed((*name).clone()),
                ])
                .is_none()
    };
    named.into_iter().find(usable)
}

/// Proposes the record of a phase, and returns whether this plan writes it.
fn write(
    world: World<'_>,
    phase: &Phase,
    datastore: &Name,
    goals: &[Goal],
    draft: &mut Draft,
) -> bool {
    let (Some(before), Some(home)) = (draft.managed.get(datastore), world.home(datastore)) else {
        return false;
    };
    let mut phases = before.phases.clone();
    phases.insert(phase.name.clone(), world.now);
    let managed = Managed {
        generation: before.generation + 1,
        phases,
        ..before.clone()
    };
    let mut needs = vec![
        Goal::Binary(home.clone()),
        Goal::Repository(datastore.clone()),
        Goal::Managed(datastore.clone()),
    ];
    needs.extend(goals.iter().filter(|goal| draft.will(goal)).cloned());
    // Records of one plan are written one after the other.
    needs.extend(
        world
            .topology
            .phases
            .iter()
            .map(|p| Goal::Phase(p.name.clone())),
    );
    let step = Step::WriteManaged {
        datastore: datastore.clone(),
        managed: managed.clone(),
    };
    draft.managed.insert(datastore.clone(), managed);
    draft.propose(Proposal {
        reason: "its copies exist and its drills passed".to_owned(),
        needs,
        gives: vec![Goal::Phase(phase.name.clone())],
        ..Proposal::new(
            Address::new("phase", &phase.name),
            home,
            step,
            format!("recorded as complete in {datastore}"),
        )
    })
}

/// Says what of this plan a phase waits for.
fn work(draft: &Draft, goals: &[Goal]) -> String {
    let of = |kind: fn(&Goal) -> bool| {
        goals
            .iter()
            .filter(|goal| kind(goal) && draft.will(goal))
            .count() as u64
    };
    let copies = of(|goal| matches!(goal, Goal::Copy { .. }));
    let drills = of(|goal| matches!(goal, Goal::Proof { .. }));
    let mut parts = Vec::new();
    if copies > 0 {
        parts.push(words::count(copies, "copy", "copies"));
    }
    if drills > 0 {
        parts.push(words::count(drills, "drill", "drills"));
    }
    format!("{} of this plan", words::list(&parts))
}
