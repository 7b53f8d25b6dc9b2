//! What the phases demand: which source must be where, and which drill must pass.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};

use crate::model::topology::{Job, Phase, Topology, Work};
use crate::model::{Name, Period};
use crate::plan::unsupported;

/// A copy that must exist.
#[derive(Debug, Clone)]
pub(super) struct Demand<'a> {
    pub(super) phase: &'a Name,
    pub(super) job: &'a Name,
    pub(super) source: &'a Name,
    pub(super) datastore: &'a Name,
    /// The datastore it is copied from; the source itself if there is none.
    pub(super) from: Option<&'a Name>,
    /// How many datastores it went through before this one.
    pub(super) hops: u32,
    pub(super) rpo: Option<Period>,
    /// Why this version does not make it.
    pub(super) barred: Option<String>,
}

/// A proof that must exist.
#[derive(Debug, Clone)]
pub(super) struct ProofDemand<'a> {
    pub(super) phase: &'a Name,
    pub(super) drill: &'a Name,
    pub(super) source: &'a Name,
    pub(super) from: &'a Name,
    pub(super) on: Option<&'a Name>,
    pub(super) within: Option<Period>,
    /// Why this version does not make it.
    pub(super) barred: Option<String>,
}

/// Everything that the phases demand, open or not.
#[derive(Debug, Default)]
pub(super) struct Demands<'a> {
    /// The copies, each pair of source and datastore once, what is needed first before.
    pub(super) copies: Vec<Demand<'a>>,
    /// The proofs, in the order of the phases.
    pub(super) proofs: Vec<ProofDemand<'a>>,
    /// Where the copy of a source at a datastore stands in `copies`.
    by_pair: BTreeMap<(&'a Name, &'a Name), usize>,
}

/// Returns the phases so that each comes after the one it waits for.
pub(super) fn phases_in_order(topology: &Topology) -> Vec<&Phase> {
    let mut done: BTreeSet<&Name> = BTreeSet::new();
    let mut rest: Vec<&Phase> = topology.phases.iter().collect();
    let mut ordered = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        let next = rest
            .iter()
            .position(|phase| phase.after.as_ref().is_none_or(|name| done.contains(name)));
        // Phases that wait for each other are refused with the file; here they come last.
        let phase = rest.remove(next.unwrap_or(0));
        done.insert(&phase.name);
        ordered.push(phase);
    }
    ordered
}

/// Collects what all phases demand.
pub(super) fn demands(topology: &Topology) -> Demands<'_> {
    let mut demands = Demands::default();
    let mut syncs: Vec<&Job> = Vec::new();
    for phase in phases_in_order(topology) {
        for job in &phase.jobs {
            match &job.work {
                Work::Backup { sources, to } => {
                    demands.backup(topology, phase, job, sources, to);
                }
                Work::Sync { .. } | Work::Cloud { .. } => syncs.push(job),
                Work::Drill { .. } => demands.drill(topology, phase, job),
            }
        }
        demands.route(topology, phase, &syncs);
    }
    demands
}

impl<'a> Demands<'a> {
    /// Returns the demand for a source at a datastore.
    pub(super) fn copy(&self, source: &Name, datastore: &Name) -> Option<&Demand<'a>> {
        let at = self.by_pair.get(&(source, datastore))?;
        self.copies.get(*at)
    }

    fn backup(
        &mut self,
        topology: &'a Topology,
        phase: &'a Phase,
        job: &'a Job,
        sources: &'a [Name],
        to: &'a [Name],
    ) {
        for source in sources {
            for datastore in to {
                let barred = unsupported::source(topology, source)
                    .or_else(|| unsupported::datastore(topology, datastore));
                self.add(
                    Demand {
                        phase: &phase.name,
                        job: &job.name,
                        source,
                        datastore,
                        from: None,
                        hops: 0,
                        rpo: None,
                        barred,
                    },
                    topology,
                    job,
                );
            }
        }
    }

    /// Adds a demand, or tightens the one that is there for the same pair.
    fn add(&mut self, mut demand: Demand<'a>, topology: &Topology, job: &Job) {
        demand.rpo = rpo(topology, job);
        match self.by_pair.entry((demand.source, demand.datastore)) {
            Entry::Vacant(pair) => {
                pair.insert(self.copies.len());
                self.copies.push(demand);
            }
            // None means that any age will do, so it never tightens.
            Entry::Occupied(same) => {
                let other = &mut self.copies[*same.get()];
                other.rpo = [other.rpo, demand.rpo].into_iter().flatten().min();
            }
        }
    }

    fn drill(&mut self, topology: &'a Topology, phase: &'a Phase, job: &'a Job) {
        let Work::Drill {
            sources,
            from,
            on,
            every,
            ..
        } = &job.work
        else {
            return;
        };
        self.proofs.extend(sources.iter().map(|source| {
            ProofDemand {
                phase: &phase.name,
                drill: &job.name,
                source,
                from,
                on: on.as_ref(),
                within: every.or(topology.policy.drill_within),
                barred: unsupported::source(topology, source)
                    .or_else(|| unsupported::datastore(topology, from)),
            }
        }));
    }

    /// Follows the syncs until no source reaches a new datastore.
    ///
    /// A source takes the way with the fewest hops, so ways never run in circles.
    fn route(&mut self, topology: &'a Topology, phase: &'a Phase, syncs: &[&'a Job]) {
        loop {
            let mut arrived_at: BTreeMap<&Name, Vec<&Demand<'a>>> = BTreeMap::new();
            for demand in &self.copies {
                let there = arrived_at.entry(demand.datastore).or_default();
                there.push(demand);
            }
            let mut found = Vec::new();
            for job in syncs {
                let (Work::Sync { from, to } | Work::Cloud { from, to }) = &job.work else {
                    continue;
                };
                for arrived in arrived_at.get(from).into_iter().flatten() {
                    if self.copy(arrived.source, to).is_none() {
                        let barred = unsupported::job(&job.work)
                            .or_else(|| arrived.barred.clone())
                            .or_else(|| unsupported::datastore(topology, to));
                        found.push((
                            Demand {
                                phase: &phase.name,
                                job: &job.name,
                                source: arrived.source,
                                datastore: to,
                                from: Some(from),
                                hops: arrived.hops + 1,
                                rpo: None,
                                barred,
                            },
                            *job,
                        ));
                    }
                }
            }
            if found.is_empty() {
                return;
            }
            for (demand, job) in found {
                self.add(demand, topology, job);
            }
        }
    }
}

/// Returns how old the newest copy of a job may get.
fn rpo(topology: &Topology, job: &Job) -> Option<Period> {
    topology.policy.rpo.or_else(|| {
        let gap = job.at.as_ref()?.longest_gap()?;
        // A quarter of the interval is room for the run itself and for a late start.
        Some(Period(gap.0.saturating_add(gap.0 / 4)))
    })
}

/// Returns every datastore that some job names, with the phases of those jobs.
pub(super) fn users_of_datastores(topology: &Topology) -> BTreeMap<&Name, BTreeSet<&Name>> {
    let mut users: BTreeMap<&Name, BTreeSet<&Name>> = BTreeMap::new();
    for (phase, job) in topology.jobs() {
        let named: Vec<&Name> = match &job.work {
            Work::Backup { to, .. } => to.iter().collect(),
            Work::Sync { from, to } | Work::Cloud { from, to } => vec![from, to],
            Work::Drill { from, .. } => vec![from],
        };
        for datastore in named {
            users.entry(datastore).or_default().insert(&phase.name);
        }
    }
    users
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Topology {
        let text = include_str!("../../tests/cases/plan/base/topology.json");
        serde_json::from_str(text).expect("the base is a topology")
    }

    fn sync(name: &str, from: &str, to: &str) -> Job {
        let name_of = |text: &str| Name::new(text).expect("a name");
        Job {
            name: name_of(name),
            work: Work::Sync {
                from: name_of(from),
                to: name_of(to),
            },
            at: None,
            declared: crate::model::topology::Declared::default(),
        }
    }

    fn ways(topology: &Topology) -> Vec<String> {
        let way = |d: &Demand<'_>| format!("{} {} {}", d.job, d.source, d.datastore);
        demands(topology).copies.iter().map(way).collect()
    }

    #[test]
    fn a_sync_carries_what_reaches_its_origin() {
        assert_eq!(
            ways(&base()),
            [
                "nightly etc primary",
                "nightly www primary",
                "copy etc second",
                "copy www second"
            ]
        );
    }

    #[test]
    fn jobs_that_feed_each_other_demand_each_copy_once() {
        let mut topology = base();
        topology.phases[0]
            .jobs
            .push(sync("back", "second", "primary"));
        assert_eq!(ways(&topology), ways(&base()));
    }

    #[test]
    fn the_strictest_job_says_how_old_a_copy_may_get() {
        let mut topology = base();
        topology.policy.rpo = None;
        let mut hourly = topology.phases[0].jobs[0].clone();
        hourly.name = Name::new("hourly").expect("a name");
        hourly.at = Some("hourly".parse().expect("a calendar expression"));
        let rpo = |topology: &Topology| demands(topology).copies[0].rpo;
        assert_eq!(rpo(&topology), Some(Period(30 * 3_600)));
        topology.phases[0].jobs.push(hourly);
        assert_eq!(rpo(&topology), Some(Period(75 * 60)));
    }

    #[test]
    fn phases_come_after_those_they_wait_for_whatever_the_file_says() {
        let mut topology = base();
        let mut second = topology.phases[0].clone();
        second.name = Name::new("second").expect("a name");
        second.after = Some(topology.phases[0].name.clone());
        topology.phases.insert(0, second);
        let order: Vec<&str> = phases_in_order(&topology)
            .iter()
            .map(|phase| phase.name.as_str())
            .collect();
        assert_eq!(order, ["baseline", "second"]);
    }
}
