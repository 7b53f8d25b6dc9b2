//! Jobs go to places that can take them, often enough, and drills can find what they prove.

use std::collections::{BTreeMap, BTreeSet};

use super::Judge;
use crate::config::codes::Code;
use crate::config::diagnostic::Mistake;
use crate::config::document::Node;
use crate::config::schema::Kind;
use crate::model::topology::{DatastoreKind, Job, Work};
use crate::model::{Name, Period, Topology};

impl Judge<'_> {
    pub(super) fn jobs(&mut self) {
        let topology = self.topology;
        for (_, job) in topology.jobs() {
            match &job.work {
                Work::Backup { to, .. } => to.iter().for_each(|to| self.writable(job, to)),
                Work::Sync { to, .. } | Work::Cloud { to, .. } => {
                    self.right_verb(job, to);
                    self.writable(job, to);
                }
                Work::Drill { on: Some(on), .. } => self.drill_node(job, on),
                Work::Drill { on: None, .. } => {}
            }
        }
        self.freshness();
    }

    /// Refuses what can be said only once everything else is right.
    pub(super) fn absences(&mut self) {
        self.drilled_copies();
        self.unprotected();
    }

    fn writable(&mut self, job: &Job, to: &Name) {
        let name = job.name.as_str();
        if self.topology.datastores.get(to).is_some_and(|d| d.pbs) {
            let span = self.arg(Kind::Job, name, "to", to.as_str());
            self.mistakes.push(
                Mistake::new(
                    Code::WrongKind,
                    span,
                    format!(
                        "{} {name:?} writes to a datastore that is only read",
                        job.work.kind()
                    ),
                )
                .label("is Proxmox Backup Server's")
                .help("copy to another datastore; this one goes on as it is")
                .related(self.at(Kind::Datastore, to.as_str(), "pbs"), "said here"),
            );
        }
    }

    fn right_verb(&mut self, job: &Job, to: &Name) {
        let Some(datastore) = self.topology.datastores.get(to) else {
            return;
        };
        let bucket = matches!(datastore.kind, DatastoreKind::S3(_));
        let (message, help) = match (&job.work, bucket) {
            (Work::Sync { .. }, true) => (
                "sync copies to a directory, and this is a bucket",
                "use `cloud` for it",
            ),
            (Work::Cloud { .. }, false) => (
                "cloud copies to a bucket, and this is a directory",
                "use `sync` for it",
            ),
            _ => return,
        };
        let name = job.name.as_str();
        let span = self.at(Kind::Job, name, "to");
        let declared = self.head(Kind::Datastore, to.as_str());
        self.mistakes.push(
            Mistake::new(Code::WrongKind, span, message)
                .label(format!("in {} {name:?}", job.work.kind()))
                .help(help)
                .related(declared, "declared here"),
        );
    }

    fn drill_node(&mut self, job: &Job, on: &Name) {
        let may_read = self
            .topology
            .nodes
            .get(on)
            .is_none_or(|node| node.reader || self.topology.is_local(on.as_str()));
        if may_read {
            return;
        }
        let name = job.name.as_str();
        let span = self.at(Kind::Job, name, "on");
        let declared = self.head(Kind::Node, on.as_str());
        self.mistakes.push(
            Mistake::new(
                Code::DrillCannotRead,
                span,
                format!("drill {name:?} restores on a node that may not hold a reading key"),
            )
            .label("is neither local nor a reader")
            .help(format!(
                "leave `on` out to restore where bkpctl runs, or write `reader` in node {:?}",
                on.as_str()
            ))
            .related(declared, "declared here"),
        );
    }

    /// Compares each source's most frequent backup with the policy's promise.
    fn freshness(&mut self) {
        let Some(rpo) = self.topology.policy.rpo else {
            return;
        };
        let topology = self.topology;
        let mut best: BTreeMap<&Name, (Period, &Job)> = BTreeMap::new();
        for (_, job) in topology.jobs() {
            let (Work::Backup { sources, .. }, Some(at)) = (&job.work, &job.at) else {
                continue;
            };
            let Some(gap) = at.longest_gap() else {
                continue;
            };
            for source in sources {
                best.entry(source)
                    .and_modify(|known| {
                        if gap < known.0 {
                            *known = (gap, job);
                        }
                    })
                    .or_insert((gap, job));
            }
        }
        let mut late: BTreeMap<&Name, (Period, Vec<&str>)> = BTreeMap::new();
        for (source, (gap, job)) in best {
            if gap > rpo {
                let entry = late.entry(&job.name).or_insert((gap, Vec::new()));
                entry.1.push(source.as_str());
            }
        }
        let policy = self.names.policy();
        let promise = policy
            .and_then(|policy| policy.child("rpo"))
            .map(Node::head);
        for (job, (gap, sources)) in late {
            let span = self.at(Kind::Job, job.as_str(), "at");
            let shown: Vec<String> = sources.iter().take(5).map(|s| format!("{s:?}")).collect();
            let more = if sources.len() > 5 { ", …" } else { "" };
            let mistake = Mistake::new(
                Code::RpoTooShort,
                span,
                format!(
                    "backup {:?} leaves gaps of {gap}, but no copy may be older than {rpo}",
                    job.as_str()
                ),
            )
            .label(format!(
                "the only schedule that backs up {}{more}",
                shown.join(", ")
            ))
            .help("run it more often, or raise the rpo; the time that a run takes comes on top");
            self.mistakes.push(match promise {
                Some(span) => mistake.related(span, "promised here"),
                None => mistake,
            });
        }
    }

    /// Reports drills of sources that no chain of jobs brings to their datastore.
    fn drilled_copies(&mut self) {
        let topology = self.topology;
        let held = held(topology);
        for (_, job) in topology.jobs() {
            let Work::Drill { sources, from, .. } = &job.work else {
                continue;
            };
            let there = held.get(from);
            for source in sources {
                if there.is_some_and(|there| there.contains(source)) {
                    continue;
                }
                let name = job.name.as_str();
                let span = self.arg(Kind::Job, name, "source", source.as_str());
                let homes: Vec<String> = held
                    .iter()
                    .filter(|(_, sources)| sources.contains(source))
                    .map(|(name, _)| format!("{:?}", name.as_str()))
                    .collect();
                let help = if homes.is_empty() {
                    "no job backs it up: add it to a backup".to_owned()
                } else {
                    format!(
                        "it goes to {}: drill from there, or bring it here",
                        homes.join(", ")
                    )
                };
                self.mistakes.push(
                    Mistake::new(
                        Code::DrillWithoutCopy,
                        span,
                        format!(
                            "drill {name:?} restores {:?} from {:?}, where no job puts it",
                            source.as_str(),
                            from.as_str()
                        ),
                    )
                    .label("never gets there")
                    .help(help),
                );
            }
        }
    }

    /// Warns of sources that no job copies.
    fn unprotected(&mut self) {
        let topology = self.topology;
        let backed_up: BTreeSet<&Name> = topology
            .jobs()
            .filter_map(|(_, job)| match &job.work {
                Work::Backup { sources, .. } => Some(sources),
                _ => None,
            })
            .flatten()
            .collect();
        let declared = topology.sources.keys().chain(topology.guests.keys());
        for name in declared.filter(|name| !backed_up.contains(name)) {
            let span = self.head(Kind::Source, name.as_str());
            self.mistakes.push(
                Mistake::new(
                    Code::NeverBackedUp,
                    span,
                    format!("source {:?} is in no backup job", name.as_str()),
                )
                .warning()
                .label("nothing copies it")
                .help(format!(
                    "add `source {:?}` to a backup in a phase",
                    name.as_str()
                )),
            );
        }
    }
}

/// Returns which sources come to each datastore, directly or through copies of copies.
fn held(topology: &Topology) -> BTreeMap<&Name, BTreeSet<&Name>> {
    let mut held: BTreeMap<&Name, BTreeSet<&Name>> = BTreeMap::new();
    let mut copies: Vec<(&Name, &Name)> = Vec::new();
    for (_, job) in topology.jobs() {
        match &job.work {
            Work::Backup { sources, to } => {
                for to in to {
                    held.entry(to).or_default().extend(sources);
                }
            }
            Work::Sync { from, to } | Work::Cloud { from, to } => copies.push((from, to)),
            Work::Drill { .. } => {}
        }
    }
    // Each round brings sources one copy further, so there are at most as many as copies.
    for _ in 0..copies.len().min(64) {
        let mut grew = false;
        for (from, to) in &copies {
            let arriving = held.get(from).cloned().unwrap_or_default();
            let there = held.entry(to).or_default();
            let before = there.len();
            there.extend(arriving);
            grew |= there.len() > before;
        }
        if !grew {
            break;
        }
    }
    held
}
