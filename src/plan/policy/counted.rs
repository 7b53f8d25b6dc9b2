//! Rules that count copies: how many there are, and how many are elsewhere or beyond reach.

use std::collections::BTreeSet;

use super::{Judged, Outlook, When, worse};
use crate::model::topology::{DatastoreKind, Work};
use crate::model::{Name, Period};
use crate::plan::change::{CopyState, Verdict};
use crate::plan::draft::{Draft, Goal, World};

impl Outlook<'_> {
    /// Returns the datastores that are meant to hold a source, with when they do.
    fn holdings(&self, draft: &Draft, source: &Name) -> Vec<(&Name, When)> {
        self.demands
            .copies
            .iter()
            .zip(self.protection)
            .filter(|(demand, _)| demand.source == source)
            .map(|(demand, protection)| {
                let goal = Goal::Copy {
                    source: source.clone(),
                    datastore: demand.datastore.clone(),
                };
                let when = match protection.state {
                    CopyState::Fresh | CopyState::Late => When::After,
                    CopyState::Missing if draft.will(&goal) => When::After,
                    CopyState::Missing if draft.leaves_copy(self.world.topology, demand) => {
                        When::LeftOut
                    }
                    CopyState::Missing if self.out_of_sight(source) => When::Unseen,
                    CopyState::Missing => When::Kept,
                    CopyState::Unknown => When::Unseen,
                    CopyState::Waiting if protection.newest.is_some() => When::After,
                    CopyState::Waiting => When::Later,
                };
                (demand.datastore, when)
            })
            .collect()
    }

    /// Counts something for every source and says whether each has enough of it.
    pub(super) fn enough(
        &self,
        draft: &Draft,
        wanted: u32,
        count: impl Fn(&Name, &[&Name]) -> u32,
    ) -> Judged {
        let mut verdict = Verdict::Pass;
        let mut fewest = None;
        let mut short = Vec::new();
        let guests = self.world.topology.guests.keys();
        for source in self.world.topology.sources.keys().chain(guests) {
            let holdings = self.holdings(draft, source);
            let up_to = |limit: When| {
                let datastores: Vec<&Name> = holdings
                    .iter()
                    .filter(|(_, when)| *when <= limit)
                    .map(|(datastore, _)| *datastore)
                    .collect();
                count(source, &datastores)
            };
            let have = up_to(When::After);
            fewest = Some(fewest.map_or(have, |fewest: u32| fewest.min(have)));
            let own = if have >= wanted {
                continue;
            } else if up_to(When::Unseen) >= wanted {
                Verdict::Unknown
            } else if up_to(When::LeftOut) >= wanted {
                Verdict::LeftOut
            } else if up_to(When::Later) >= wanted {
                Verdict::Warn
            } else if up_to(When::Kept) >= wanted {
                Verdict::Short
            } else {
                Verdict::Deny
            };
            short.push(format!("{source} has {have} of {wanted}"));
            verdict = worse(verdict, own);
        }
        let detail = format!("{} of {wanted}", fewest.unwrap_or(0).min(wanted));
        Judged::new(verdict, detail, short)
    }

    pub(super) fn copies(&self, draft: &Draft, wanted: u32) -> Judged {
        self.enough(draft, wanted, |_, datastores| datastores.len() as u32)
    }

    pub(super) fn offsite(&self, draft: &Draft, wanted: u32) -> Judged {
        self.enough(draft, wanted, |source, datastores| {
            let home = self
                .world
                .topology
                .sources
                .get(source)
                .and_then(|source| site_of_node(self.world, &source.on));
            let sites: BTreeSet<&str> = datastores
                .iter()
                .filter_map(|name| site(self.world, name))
                .filter(|site| home.is_some_and(|home| home != *site))
                .collect();
            sites.len() as u32
        })
    }

    pub(super) fn beyond_reach(&self, draft: &Draft, wanted: u32) -> Judged {
        self.enough(draft, wanted, |_, datastores| {
            let locked = datastores.iter().filter(|name| {
                let lock = locked(self.world, name);
                lock.is_some_and(|(lock, gap)| gap.is_none_or(|gap| lock > gap))
            });
            locked.count() as u32
        })
    }
}

/// Returns the site of a datastore: its own, or that of the node that serves it.
fn site<'a>(world: World<'a>, datastore: &Name) -> Option<&'a str> {
    let declared = world.topology.datastores.get(datastore)?;
    match declared.domain.get("site") {
        Some(site) => Some(site),
        None => site_of_node(world, world.home(datastore)?),
    }
}

fn site_of_node<'a>(world: World<'a>, node: &Name) -> Option<&'a str> {
    let node = world.topology.nodes.get(node)?;
    node.domain.get("site").map(String::as_str)
}

/// Returns how long nobody can delete what comes to a bucket, and how long it may take until
/// more comes.
pub(super) fn locked(world: World<'_>, datastore: &Name) -> Option<(Period, Option<Period>)> {
    let DatastoreKind::S3(s3) = &world.topology.datastores.get(datastore)?.kind else {
        return None;
    };
    let writes = |work: &Work| match work {
        Work::Backup { to, .. } => to.contains(datastore),
        Work::Sync { to, .. } | Work::Cloud { to, .. } => to == datastore,
        Work::Drill { .. } => false,
    };
    let jobs = world.topology.jobs().filter(|(_, job)| writes(&job.work));
    let gaps = jobs.filter_map(|(_, job)| job.at.as_ref()?.longest_gap());
    Some((s3.object_lock?, gaps.min()))
}
