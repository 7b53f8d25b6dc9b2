//! Whether what a plan relies on still holds, action by action.

use std::collections::BTreeMap;

use crate::model::{ByteSize, Name, Observed, Timestamp, Topology};
use crate::plan::capacity;
use crate::plan::change::{Action, Plan, Step};
use crate::plan::draft::World;
use crate::plan::need::{Fact, Must, Need, Value, read};

/// How an action of a plan stands, given what is seen now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It may be carried out.
    Ready,
    /// What it would bring about is there.
    Already,
    /// The plan had put it off, or what it needs can't be seen now.
    Deferred(String),
    /// What it relies on is not what it was.
    Stale(Vec<Changed>),
}

/// A fact that is not what a plan relies on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Changed {
    /// The fact, in words.
    pub fact: String,
    /// What the plan relies on.
    pub planned: String,
    /// What is there now.
    pub now: String,
}

/// Judges every action of a plan, in its order.
///
/// What an earlier action of the same plan brings about is no surprise to a later one: a
/// plan that was carried out halfway is still the same plan.
pub fn readiness(plan: &Plan, observed: &Observed) -> Vec<Readiness> {
    Judge::new(plan, observed).judge()
}

struct Judge<'a> {
    plan: &'a Plan,
    world: World<'a>,
    /// What the plan itself makes of facts.
    made: BTreeMap<&'a Fact, Vec<(usize, &'a Must)>>,
    /// What actions that are carried out already were expected to take from each filesystem
    /// and pool, and have taken.
    taken: BTreeMap<(Name, String), u64>,
}

impl<'a> Judge<'a> {
    fn new(plan: &'a Plan, observed: &'a Observed) -> Self {
        let mut made: BTreeMap<&Fact, Vec<(usize, &Must)>> = BTreeMap::new();
        for action in plan.pending() {
            for done in &action.done {
                let by = made.entry(&done.fact).or_default();
                by.push((action.id, &done.must));
            }
        }
        let mut judge = Self {
            plan,
            world: world(&plan.topology, observed, plan.now),
            made,
            taken: BTreeMap::new(),
        };
        for action in plan.pending() {
            if !action.landing.is_empty() && judge.is_done(action) {
                judge.has_taken(action);
            }
        }
        judge
    }

    fn judge(self) -> Vec<Readiness> {
        let plan = self.plan;
        let mut all: Vec<Readiness> = Vec::with_capacity(plan.actions.len());
        for action in &plan.actions {
            let waits_for = |id: &usize| matches!(all.get(*id), Some(Readiness::Deferred(_)));
            let standing = match &action.deferred {
                Some(reason) => Readiness::Deferred(reason.clone()),
                None => match self.standing(action) {
                    Readiness::Ready if action.after.iter().any(waits_for) => {
                        Readiness::Deferred("what it needs is put off".to_owned())
                    }
                    standing => standing,
                },
            };
            all.push(standing);
        }
        all
    }

    fn standing(&self, action: &Action) -> Readiness {
        if let Some(why) = self.out_of_sight(action) {
            return Readiness::Deferred(why);
        }
        if self.is_done(action) || self.is_mounted_over(action) {
            return Readiness::Already;
        }
        let changed: Vec<Changed> = action
            .needs
            .iter()
            .filter_map(|need| self.changed(action, need))
            .collect();
        if !changed.is_empty() {
            return Readiness::Stale(changed);
        }
        Readiness::Ready
    }

    /// Notes that an action's bytes are where they land, and no longer have to come.
    fn has_taken(&mut self, action: &Action) {
        for landing in &action.landing {
            let bytes = landing.bytes_max.map_or(0, |bytes| bytes.0);
            let (node, path) = (&landing.node, landing.path.as_str());
            let thin = capacity::thin_room(self.world, node, path).map(|(pool, _)| pool);
            let filesystem = capacity::filesystem(self.world, node, path);
            for key in std::iter::once(filesystem).chain(thin) {
                let taken = self.taken.entry(key).or_default();
                *taken = taken.saturating_add(bytes);
            }
        }
    }

    /// Tells whether what an action brings about is there, or what later actions made of it.
    fn is_done(&self, action: &Action) -> bool {
        let reached = |need: &Need| {
            let value = read(self.world, &need.fact);
            let made = self.made.get(&need.fact);
            value.is_some_and(|value| {
                let later = made
                    .into_iter()
                    .flatten()
                    .filter(|(id, _)| *id >= action.id);
                later.into_iter().any(|(_, must)| must.holds(&value))
            })
        };
        !action.done.is_empty() && action.done.iter().all(reached)
    }

    /// Tells whether an action is about a mount point that the same plan has covered: its
    /// folder can't be seen any more.
    fn is_mounted_over(&self, action: &Action) -> bool {
        let (Step::MakeFolder { path, .. }
        | Step::SetOwner { path, .. }
        | Step::SetMode { path, .. }) = &action.step
        else {
            return false;
        };
        let covers = |other: &&Action| {
            let at = matches!(&other.step, Step::Mount { path: at, .. } if at == path);
            at && other.node == action.node
        };
        let mut mounts = self.plan.pending().filter(covers);
        mounts.any(|mount| self.is_done(mount))
    }

    /// Says which node that an action needs was reached for the plan and is not now.
    fn out_of_sight(&self, action: &Action) -> Option<String> {
        let nodes = super::need::nodes(&self.plan.topology, [action]);
        let lost = nodes
            .iter()
            .filter(|node| self.world.observed.reached(node.as_str()).is_none())
            .find(|node| self.was_reached(node))?;
        let why = self.world.observed.unreachable(lost.as_str());
        let why = why.map_or("it was not looked at", |why| &why.message);
        Some(format!("{lost} is not reached now: {why}"))
    }

    fn was_reached(&self, node: &Name) -> bool {
        let mut lines = self.plan.nodes.iter();
        lines.any(|line| line.name == *node && line.unreachable.is_none())
    }

    fn changed(&self, action: &Action, need: &Need) -> Option<Changed> {
        let value = read(self.world, &need.fact);
        let made = self.made.get(&need.fact);
        let must = self.still_needed(action, need);
        let fits = |value: &Value| {
            must.holds(value)
                || made.is_some_and(|made| made.iter().any(|(_, must)| must.holds(value)))
        };
        if value.as_ref().is_some_and(fits) {
            return None;
        }
        Some(Changed {
            fact: need.fact.words(),
            planned: must.to_string(),
            now: value.map_or_else(|| "not to be seen".to_owned(), |value| value.to_string()),
        })
    }

    /// Takes from a need of room what other actions of the plan were to put there, as far as
    /// that has landed.
    fn still_needed(&self, action: &Action, need: &Need) -> Must {
        let Must::BeAtLeast(least) = &need.must else {
            return need.must.clone();
        };
        let landed = self.landed(action, &need.fact).unwrap_or_default();
        Must::BeAtLeast(ByteSize(least.0.saturating_sub(landed)))
    }

    fn landed(&self, action: &Action, room: &Fact) -> Option<u64> {
        let (Fact::Room { node, path } | Fact::ThinRoom { node, path }) = room else {
            return None;
        };
        let mut landings = action.landing.iter();
        let landing = landings.find(|landing| (&landing.node, &landing.path) == (node, path))?;
        let (key, besides) = match room {
            Fact::ThinRoom { .. } => (
                capacity::thin_room(self.world, node, path)?.0,
                landing.besides_in_pool,
            ),
            _ => (
                capacity::filesystem(self.world, node, path),
                landing.besides,
            ),
        };
        Some(self.taken.get(&key)?.min(&besides.0).to_owned())
    }
}

fn world<'a>(topology: &'a Topology, observed: &'a Observed, now: Timestamp) -> World<'a> {
    World {
        topology,
        observed,
        now,
    }
}
