//! Ages: how old copies and proofs may get, and whether the schedule can keep to it.

use super::{Judged, Outlook, worse};
use crate::model::schedule::Calendar;
use crate::model::{Address, Name, Period};
use crate::plan::change::{CopyState, Finding, ProofState, Verdict};
use crate::plan::draft::{Draft, Goal};
use crate::plan::words;

impl Outlook<'_> {
    /// Returns whether a copy is young enough after the plan, wherever it comes from.
    fn fresh_after(&self, draft: &Draft, source: &Name, datastore: &Name, left: usize) -> bool {
        let at = self
            .demands
            .copies
            .iter()
            .position(|d| d.source == source && d.datastore == datastore);
        let Some((demand, protection)) =
            at.map(|at| (&self.demands.copies[at], &self.protection[at]))
        else {
            return false;
        };
        if protection.state == CopyState::Fresh {
            return true;
        }
        let goal = Goal::Copy {
            source: source.clone(),
            datastore: datastore.clone(),
        };
        draft.will(&goal)
            && demand
                .from
                .is_none_or(|from| left > 0 && self.fresh_after(draft, source, from, left - 1))
    }

    /// Returns the longest time that a job's snapshots took to read, as far as they were seen.
    fn longest_run(&self, job: &Name) -> Period {
        let own = self.demands.copies.iter().filter(|demand| {
            // A copy of a copy says how long the first one took.
            demand.job == job && demand.from.is_none()
        });
        let heads = own.filter_map(|demand| {
            let (_, _, _, store) = self.world.served(demand.datastore)?;
            store.snapshots.get(demand.source)
        });
        let runs = heads
            .flatten()
            .map(|head| head.finished.since(head.started));
        runs.max().unwrap_or_default()
    }

    pub(super) fn rpo(&self, draft: &mut Draft, rpo: Period) -> Judged {
        let mut verdict = Verdict::Pass;
        let mut short = Vec::new();
        for job in self.world.topology.jobs().map(|(_, job)| job) {
            let gap = job.at.as_ref().and_then(Calendar::longest_gap);
            let makes_copies = job.work.kind() != "drill";
            // Until a run is over, the copy before it is the newest one.
            let run = self.longest_run(&job.name);
            let over = |gap: &Period| gap.0.saturating_add(run.0) >= rpo.0;
            if let Some(gap) = gap.filter(|gap| makes_copies && over(gap)) {
                let took = if gap < rpo {
                    format!(" and took up to {run}")
                } else {
                    String::new()
                };
                let message =
                    format!("it runs up to {gap} apart{took}, and no copy may be older than {rpo}");
                draft.find(
                    Finding::error("BK611", Address::new("job", &job.name), message).fix(format!(
                        "run it more often, or allow an rpo longer than {gap} and the time of a run"
                    )),
                );
                short.push(format!("{} runs up to {gap} apart", job.name));
                verdict = Verdict::Deny;
            }
        }
        for (demand, protection) in self.demands.copies.iter().zip(self.protection) {
            let own = match protection.state {
                CopyState::Fresh | CopyState::Waiting => continue,
                CopyState::Unknown => Verdict::Unknown,
                CopyState::Late | CopyState::Missing => {
                    let left = self.demands.copies.len();
                    if self.fresh_after(draft, &protection.source, &protection.datastore, left) {
                        continue;
                    }
                    if draft.leaves_copy(self.world.topology, demand) {
                        Verdict::LeftOut
                    } else if self.out_of_sight(&protection.source) {
                        Verdict::Unknown
                    } else {
                        Verdict::Short
                    }
                }
            };
            short.push(match protection.age {
                Some(age) => format!(
                    "{} in {} is {age} old",
                    protection.source, protection.datastore
                ),
                None => format!(
                    "{} in {} is not there",
                    protection.source, protection.datastore
                ),
            });
            verdict = worse(verdict, own);
        }
        let detail = if short.is_empty() {
            format!("{rpo}")
        } else {
            format!(
                "{rpo}, {} short",
                words::count(short.len() as u64, "copy", "copies")
            )
        };
        Judged::new(verdict, detail, short)
    }

    pub(super) fn drill_within(&self, draft: &Draft, within: Period) -> Judged {
        let mut verdict = Verdict::Pass;
        let mut short = Vec::new();
        for proof in self.proofs {
            let goal = Goal::Proof {
                drill: proof.drill.clone(),
                source: proof.source.clone(),
            };
            let own = match proof.state {
                CopyState::Waiting => Verdict::Warn,
                CopyState::Unknown => Verdict::Unknown,
                _ if draft.will(&goal) || proof.age.is_some_and(|age| age <= within) => continue,
                _ if draft.leaves_proof(self.world.topology, &proof.drill, &proof.source) => {
                    Verdict::LeftOut
                }
                _ if self.restorer_out_of_sight(proof) => Verdict::Unknown,
                _ => Verdict::Short,
            };
            short.push(match proof.age {
                Some(age) => format!("{} of {} passed {age} ago", proof.drill, proof.source),
                None => format!("{} of {} never passed", proof.drill, proof.source),
            });
            verdict = worse(verdict, own);
        }
        if self.proofs.is_empty() {
            verdict = Verdict::Deny;
            short.push("no phase has a drill".to_owned());
        }
        let detail = match short.len() {
            0 => format!("{within}"),
            n => format!(
                "{within}, {} short",
                words::count(n as u64, "proof", "proofs")
            ),
        };
        Judged::new(verdict, detail, short)
    }

    /// Returns whether a proof waits for a node that was not reached.
    fn restorer_out_of_sight(&self, proof: &ProofState) -> bool {
        let unseen = |node: &Name| self.world.observed.reached(node.as_str()).is_none();
        let missing = proof.passed.is_none() && self.out_of_sight(&proof.source);
        let on = self
            .demands
            .proofs
            .iter()
            .find(|demand| *demand.drill == proof.drill)
            .and_then(|demand| demand.on);
        missing || on.is_some_and(unseen)
    }
}
