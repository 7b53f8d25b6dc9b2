//! Syncs: copies that come from another datastore.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Address, Name};
use crate::plan::capacity::{Bytes, Spot};
use crate::plan::change::{Protection, Step};
use crate::plan::copies;
use crate::plan::demand::Demand;
use crate::plan::draft::{Draft, Goal, Proposal, World};
use crate::plan::source;
use crate::plan::words;

/// A source that a sync would carry.
struct Cargo<'a> {
    demand: &'a Demand<'a>,
    protection: Protection,
    /// The copy this plan makes first at the datastore it comes from, if it makes one.
    waits_for: Option<Goal>,
}

/// Plans the syncs that bring late or missing copies.
pub(super) fn syncs(world: World<'_>, demands: &[&Demand<'_>], draft: &mut Draft) {
    let mut left = Left::new(demands);
    while let Some(batch) = left.next_batch() {
        sync(world, &batch, draft);
    }
}

/// The demands that no sync was planned for yet.
struct Left<'a> {
    /// Those of each job, in their order; jobs in the order of their first ones.
    jobs: Vec<Vec<(usize, &'a Demand<'a>)>>,
    /// Their datastores and sources.
    undecided: BTreeSet<(&'a Name, &'a Name)>,
}

impl<'a> Left<'a> {
    fn new(demands: &[&'a Demand<'a>]) -> Self {
        let mut at: BTreeMap<&Name, usize> = BTreeMap::new();
        let mut jobs: Vec<Vec<_>> = Vec::new();
        for (number, demand) in demands.iter().enumerate() {
            let at = *at.entry(demand.job).or_insert(jobs.len());
            if at == jobs.len() {
                jobs.push(Vec::new());
            }
            jobs[at].push((number, *demand));
        }
        let undecided = demands
            .iter()
            .map(|demand| (demand.datastore, demand.source));
        Self {
            jobs,
            undecided: undecided.collect(),
        }
    }

    /// Takes the demands of one job whose copies at its origin are all decided already.
    ///
    /// Where jobs feed each other in a circle, only those with the fewest hops are taken.
    fn next_batch(&mut self) -> Option<Vec<&'a Demand<'a>>> {
        let waits = |(_, demand): &(usize, &Demand<'a>)| {
            let origin = demand.from.map(|from| (from, demand.source));
            origin.is_some_and(|origin| self.undecided.contains(&origin))
        };
        let ready = self.jobs.iter().position(|job| !job.iter().any(waits));
        let taken = match ready {
            Some(at) => self.jobs.remove(at),
            None => self.fewest_hops()?,
        };
        for (_, demand) in &taken {
            self.undecided.remove(&(demand.datastore, demand.source));
        }
        Some(taken.into_iter().map(|(_, demand)| demand).collect())
    }

    fn fewest_hops(&mut self) -> Option<Vec<(usize, &'a Demand<'a>)>> {
        let all = self.jobs.iter().enumerate();
        let all =
            all.flat_map(|(at, job)| job.iter().map(move |(number, d)| (d.hops, *number, at)));
        let (fewest, _, at) = all.min()?;
        let job = self.jobs.remove(at);
        let (taken, rest): (Vec<_>, Vec<_>) = job
            .into_iter()
            .partition(|(_, demand)| demand.hops == fewest);
        if !rest.is_empty() {
            self.jobs.push(rest);
            self.jobs.sort_by_key(|job| job[0].0);
        }
        Some(taken)
    }
}

fn sync(world: World<'_>, batch: &[&Demand<'_>], draft: &mut Draft) {
    let cargo: Vec<Cargo<'_>> = batch
        .iter()
        .filter_map(|demand| cargo(world, demand, draft))
        .collect();
    let (cargo, left): (Vec<_>, Vec<_>) = cargo.into_iter().partition(|cargo| {
        let Demand {
            job,
            datastore,
            source,
            ..
        } = cargo.demand;
        let home = world.home(datastore);
        home.is_none_or(|home| draft.carries(job, home, source))
    });
    for Cargo { demand, .. } in left {
        let goal = Goal::Copy {
            source: demand.source.clone(),
            datastore: demand.datastore.clone(),
        };
        draft.leave(&Address::new("sync", demand.job), &[goal]);
    }
    // What can be had now does not wait for what can't.
    let (stuck, ready): (Vec<_>, Vec<_>) = cargo.into_iter().partition(|cargo| {
        cargo
            .waits_for
            .as_ref()
            .is_some_and(|goal| draft.obstacle(goal).is_some())
    });
    for part in [ready, stuck] {
        if let Some(first) = part.first().map(|cargo| cargo.demand) {
            propose(world, first, &part, draft);
        }
    }
}

/// Returns what a sync has to carry for a demand, if anything useful is there or will be.
fn cargo<'a>(world: World<'_>, demand: &'a Demand<'a>, draft: &Draft) -> Option<Cargo<'a>> {
    let from = demand.from?;
    let protection = copies::protection(world, demand, true);
    if !copies::is_due(world, &protection) {
        return None;
    }
    let there = source::newest(world, demand.source, from).map(|head| head.started);
    let newer = there > protection.newest;
    let goal = Goal::Copy {
        source: demand.source.clone(),
        datastore: from.clone(),
    };
    let planned = draft.proposed(&goal);
    let possible = draft.will(&goal);
    (newer || planned).then(|| Cargo {
        demand,
        protection,
        // A copy that can't be made now does not hold back one that is there.
        waits_for: (planned && (possible || !newer)).then_some(goal),
    })
}

fn propose(world: World<'_>, first: &Demand<'_>, part: &[Cargo<'_>], draft: &mut Draft) {
    let (Some(from), Some((datastore, place, _, _))) = (first.from, world.served(first.datastore))
    else {
        return;
    };
    let mut needs = vec![
        Goal::Binary(place.node.clone()),
        Goal::Key(datastore.key.clone()),
        Goal::Repository(from.clone()),
        Goal::Repository(first.datastore.clone()),
        Goal::Managed(first.datastore.clone()),
    ];
    if let Some(home) = world.home(from) {
        needs.push(Goal::Binary(home.clone()));
    }
    needs.extend(part.iter().filter_map(|cargo| cargo.waits_for.clone()));
    let bytes = part
        .iter()
        .map(|cargo| bytes(world, cargo.demand, from))
        .reduce(Bytes::plus)
        .unwrap_or_else(|| Bytes::first(None));
    let sources: Vec<Name> = part.iter().map(|c| c.demand.source.clone()).collect();
    let step = Step::Sync {
        job: first.job.clone(),
        from: from.clone(),
        to: first.datastore.clone(),
        sources: sources.clone(),
    };
    let after = format!("{} in {}", words::list(&sources), first.datastore);
    let spot = Spot::of(world, first.datastore, place, datastore.reserve);
    let proposal = Proposal {
        reason: reason(world, part),
        needs,
        gives: sources
            .into_iter()
            .map(|source| Goal::Copy {
                source,
                datastore: first.datastore.clone(),
            })
            .collect(),
        reads: bytes.max,
        ..Proposal::new(Address::new("sync", first.job), &place.node, step, after)
    };
    copies::propose_bytes(world, proposal, spot, bytes, draft);
}

fn bytes(world: World<'_>, demand: &Demand<'_>, from: &Name) -> Bytes {
    let there = source::newest(world, demand.source, demand.datastore).map(|head| head.bytes);
    let comes = source::newest(world, demand.source, from).map(|head| head.bytes);
    let estimate = source::estimate(world, demand.source).max(comes);
    match there {
        None => Bytes::first(estimate),
        Some(there) => Bytes::later(estimate, there),
    }
}

/// Says why it is made; each reason once.
fn reason(world: World<'_>, part: &[Cargo<'_>]) -> String {
    let mut reasons: Vec<String> = Vec::new();
    for cargo in part {
        let one = copies::reason(world, &cargo.protection);
        if !reasons.contains(&one) {
            reasons.push(one);
        }
    }
    reasons.join("; ")
}
