//! Rules that count whatever the policy states.

use std::collections::{BTreeMap, BTreeSet};

use super::counted::locked;
use super::{Judged, Outlook, worse};
use crate::model::observed::KeyState;
use crate::model::retention::Keep;
use crate::model::topology::Work;
use crate::model::{Address, Name, Period};
use crate::plan::change::Verdict;
use crate::plan::cycle;
use crate::plan::draft::Draft;
use crate::plan::forecast::ForecastOutlook;
use crate::plan::words;

/// How far ahead a full filesystem is worth a warning.
const SOON: Period = Period(90 * 86_400);

impl Outlook<'_> {
    /// Nothing that a restore needs is only in what is to be restored.
    pub(super) fn restore(&self) -> Option<Judged> {
        let cycles = cycle::every(self.world, self.demands);
        let first = cycles.first()?;
        let verdict = cycles.iter().fold(Verdict::Pass, |verdict, cycle| {
            let own = if cycle.is_certain {
                Verdict::Deny
            } else {
                Verdict::Warn
            };
            worse(verdict, own)
        });
        let locked: BTreeSet<&Name> = cycles.iter().flat_map(|c| &c.sources).collect();
        let count = words::count(locked.len() as u64, "source", "sources");
        let count = format!("{count} locked out");
        let fix = first.fix.clone();
        let short = cycles.into_iter().map(|cycle| cycle.words).collect();
        Some(Judged::new(verdict, count, short).explained(Vec::new(), fix))
    }

    /// Every repository is sealed for the key that the topology names.
    pub(super) fn encryption(&self, draft: &Draft) -> Option<Judged> {
        let topology = self.world.topology;
        let (mut verdict, mut short, mut sealed) = (Verdict::Pass, Vec::new(), 0);
        for (name, datastore) in &topology.datastores {
            let key = self.world.observed.keys.get(&datastore.key);
            let seen = self.world.served(name).map(|(_, _, _, facts)| facts);
            let own = match (seen, key) {
                _ if datastore.pbs => Verdict::Unknown,
                (Some(facts), Some(KeyState::Present { domain, .. })) => match &facts.marker {
                    Some(marker) if marker.domain != *domain => {
                        let address = Address::new("datastore", name);
                        if draft.leaves_thing(topology, &address) {
                            Verdict::LeftOut
                        } else {
                            Verdict::Deny
                        }
                    }
                    // Where none is yet, one is made that is sealed for its key.
                    _ => Verdict::Pass,
                },
                (Some(facts), _) if facts.marker.is_none() => Verdict::Pass,
                _ => Verdict::Unknown,
            };
            match own {
                Verdict::Pass => sealed += 1,
                Verdict::Deny | Verdict::LeftOut => {
                    short.push(format!("{name} is not sealed for key {}", datastore.key));
                }
                _ => {}
            }
            verdict = worse(verdict, own);
        }
        let detail = format!("{sealed} of {}", topology.datastores.len());
        (!topology.datastores.is_empty()).then(|| {
            Judged::new(verdict, detail, short).explained(
                vec![
                    "whoever holds the other key reads what is in it, and this topology can't"
                        .to_owned(),
                ],
                "name the key it was made for, or another folder",
            )
        })
    }

    /// What is locked stays locked until more comes.
    pub(super) fn immutability(&self) -> Option<Judged> {
        let topology = self.world.topology;
        let locks: Vec<_> = topology
            .datastores
            .keys()
            .filter_map(|name| Some((name, locked(self.world, name)?)))
            .collect();
        let short: Vec<String> = locks
            .iter()
            .filter_map(|(name, (lock, gap))| {
                let gap = gap.filter(|gap| gap >= lock)?;
                Some(format!(
                    "{name} is locked for {lock}, and its job runs up to {gap} apart"
                ))
            })
            .collect();
        let (verdict, detail) = match short.len() {
            0 => (
                Verdict::Pass,
                words::count(locks.len() as u64, "lock", "locks"),
            ),
            n => (Verdict::Warn, format!("{n} of {} too short", locks.len())),
        };
        (!locks.is_empty()).then(|| {
            Judged::new(verdict, detail, short).explained(
                vec!["between the two even the newest copy can be deleted".to_owned()],
                "lock for longer, or run the job more often",
            )
        })
    }

    /// A copy of a copy is kept as long as the one it comes from.
    pub(super) fn retention(&self) -> Option<Judged> {
        let topology = self.world.topology;
        let syncs = topology.jobs().filter_map(|(_, job)| match &job.work {
            Work::Sync { from, to } | Work::Cloud { from, to } => Some((from, to)),
            _ => None,
        });
        let syncs: BTreeSet<(&Name, &Name)> = syncs.collect();
        let reach = |name: &Name| {
            let datastore = topology.datastores.get(name)?;
            Some(reach(datastore.keep.as_ref()))
        };
        let mut short = Vec::new();
        for (from, to) in &syncs {
            let (Some(before), Some(after)) = (reach(from), reach(to)) else {
                continue;
            };
            let is_shorter = match (before, after) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(before), Some(after)) => after < before,
            };
            if is_shorter {
                let before = before.map_or_else(|| "for ever".to_owned(), |p| format!("for {p}"));
                let after = after.unwrap_or_default();
                short.push(format!("{to} keeps for {after} what {from} keeps {before}"));
            }
        }
        let all = syncs.len();
        let (verdict, detail) = match short.len() {
            0 => (Verdict::Pass, words::count(all as u64, "copy", "copies")),
            n => (
                Verdict::Warn,
                format!(
                    "{n} of {} shorter",
                    words::count(all as u64, "copy", "copies")
                ),
            ),
        };
        (all > 0).then(|| {
            Judged::new(verdict, detail, short).explained(
                vec!["whoever loses the first loses the older snapshots with it".to_owned()],
                "keep at least as long in the copy, or waive \"retention\" with a reason",
            )
        })
    }

    /// Every datastore has room, now and for a while.
    pub(super) fn room(&self) -> Option<Judged> {
        let (mut verdict, mut short) = (Verdict::Pass, Vec::new());
        // That a reserve is reached already is a finding of its own.
        let mut reached = 0;
        for line in self.forecast {
            let names = words::list(&line.datastores);
            let own = match &line.outlook {
                ForecastOutlook::Reached => {
                    reached += 1;
                    Verdict::Warn
                }
                ForecastOutlook::Between { earliest, .. }
                    if earliest.since(self.world.now) < SOON =>
                {
                    let day: String = earliest.to_string().chars().take(10).collect();
                    let what = if line.reserve.0 > 0 {
                        "may reach its reserve"
                    } else {
                        "may be full"
                    };
                    short.push(format!("{names} {what} from {day} on"));
                    Verdict::Warn
                }
                _ if line.free.is_none() => Verdict::Unknown,
                _ => Verdict::Pass,
            };
            verdict = worse(verdict, own);
        }
        for line in self.capacity {
            let at_worst = line.free_after.filter(|after| *after < line.reserve);
            let is_told = line.free_before < line.reserve;
            if let Some(after) = at_worst.filter(|_| !is_told) {
                short.push(format!(
                    "{}:{} may be left with {after} by this plan, its reserve is {}",
                    line.node, line.mount, line.reserve
                ));
                verdict = worse(verdict, Verdict::Warn);
            }
        }
        let detail = match short.len() + reached {
            0 => words::count(self.forecast.len() as u64, "filesystem", "filesystems"),
            n => words::count(n as u64, "shortage", "shortages"),
        };
        (!self.forecast.is_empty()).then(|| {
            Judged::new(verdict, detail, short).explained(
                Vec::new(),
                "bkpctl forecast says more; free some space, or keep less",
            )
        })
    }

    /// A number that owns copies is one user's, and that of no other.
    pub(super) fn users(&self) -> Option<Judged> {
        let topology = self.world.topology;
        let mut by_number: BTreeMap<u32, Vec<&Name>> = BTreeMap::new();
        for (name, user) in &topology.users {
            by_number.entry(user.uid).or_default().push(name);
        }
        let mut short: Vec<String> = by_number
            .iter()
            .filter(|(_, names)| names.len() > 1)
            .map(|(uid, names)| {
                let all = if names.len() == 2 { "both" } else { "all" };
                format!("{} are {all} uid {uid}", words::list(names))
            })
            .collect();
        let mut verdict = Verdict::Pass;
        let mut owned: Vec<(&Name, &Name, u32)> = Vec::new();
        for (name, datastore) in &topology.datastores {
            if let (Some(owner), Some((node, _))) = (&datastore.owner, topology.ground(name)) {
                owned.push((node, &owner.user, owner.uid));
            }
        }
        owned.sort();
        owned.dedup();
        for (node, user, uid) in &owned {
            let Some(facts) = self.world.observed.reached(node.as_str()) else {
                verdict = worse(verdict, Verdict::Unknown);
                continue;
            };
            let by_number = facts.users.get(&uid.to_string());
            let other = by_number.and_then(|seen| seen.user.as_ref());
            if let Some(other) = other.filter(|other| *other != user.as_str()) {
                short.push(format!("uid {uid} of {user} is {other} on {node}"));
            }
        }
        if !short.is_empty() {
            verdict = worse(verdict, Verdict::Warn);
        }
        let detail = match short.len() {
            0 => words::count(topology.users.len() as u64, "number", "numbers"),
            n => words::count(n as u64, "shared number", "shared numbers"),
        };
        (!topology.users.is_empty()).then(|| {
            Judged::new(verdict, detail, short).explained(
                vec![
                    "files carry numbers, so whoever has the number can change the copies"
                        .to_owned(),
                ],
                "give the service user a number that nobody else has, on every node",
            )
        })
    }
}

/// Returns how far back the rules of `keep` reach; none for ever.
fn reach(keep: Option<&Keep>) -> Option<Period> {
    const DAY: u64 = 86_400;
    let keep = keep.filter(|keep| !keep.is_empty())?;
    let of = |count: Option<u32>, unit: u64| u64::from(count.unwrap_or(0)) * unit;
    let reach = [
        // How far the last ones reach depends on the schedule; a day each is what most have.
        of(keep.last, DAY),
        of(keep.hourly, 3_600),
        of(keep.daily, DAY),
        of(keep.weekly, 7 * DAY),
        of(keep.monthly, 30 * DAY),
        of(keep.yearly, 365 * DAY),
    ];
    reach.into_iter().max().map(Period)
}
