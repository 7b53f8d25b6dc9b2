//! Rules over the whole system, judged by how it stands after the plan.
//!
//! A plan that cures a violation is not denied by it. What only a later phase makes
//! good is a warning, and what can't be seen is unknown.

use std::collections::BTreeSet;

use crate::model::schedule::Calendar;
use crate::model::topology::DatastoreKind;
use crate::model::{Address, Name, Period};
use crate::plan::change::{CopyState, Finding, PolicyLine, ProofState, Protection, Verdict};
use crate::plan::demand::Demands;
use crate::plan::draft::{Draft, Goal, World};
use crate::plan::words;

/// What the rules look at.
pub(super) struct Outlook<'a> {
    pub(super) world: World<'a>,
    pub(super) demands: &'a Demands<'a>,
    pub(super) protection: &'a [Protection],
    pub(super) proofs: &'a [ProofState],
}

/// When a datastore holds a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum When {
    /// Now, or once this plan was carried out.
    After,
    /// It can't be seen.
    Unseen,
    /// In a later phase, or with a later version.
    Later,
}

/// A rule's figures: the verdict, the words and who falls short.
struct Judged {
    verdict: Verdict,
    detail: String,
    short: Vec<String>,
}

/// Judges every rule that the policy states.
pub(super) fn policy(outlook: &Outlook<'_>, draft: &mut Draft) -> Vec<PolicyLine> {
    let policy = &outlook.world.topology.policy;
    let mut judged: Vec<(&str, &str, Judged)> = Vec::new();
    if let Some(n) = policy.copies {
        judged.push(("copies", "BK601", outlook.copies(draft, n)));
    }
    if let Some(n) = policy.media {
        judged.push(("media", "BK602", outlook.media(draft, n)));
    }
    if let Some(n) = policy.offsite {
        judged.push(("offsite", "BK603", outlook.offsite(draft, n)));
    }
    if let Some(n) = policy.beyond_reach {
        judged.push(("beyond-reach", "BK604", outlook.beyond_reach(n)));
    }
    if let Some(rpo) = policy.rpo {
        judged.push(("rpo", "BK605", outlook.rpo(draft, rpo)));
    }
    if let Some(within) = policy.drill_within {
        judged.push(("drill-within", "BK606", outlook.drill_within(draft, within)));
    }
    if policy.covered {
        judged.push(("covered", "BK607", outlook.covered()));
    }
    judged
        .into_iter()
        .map(|(rule, code, judged)| line(outlook.world, rule, code, judged, draft))
        .collect()
}

/// Applies waivers to a rule and explains it where it does not hold.
fn line(world: World<'_>, rule: &str, code: &str, judged: Judged, draft: &mut Draft) -> PolicyLine {
    let waiver = world
        .topology
        .policy
        .waivers
        .iter()
        .find(|w| w.rule == rule);
    let address = Address::new(
        "policy",
        &Name::new(rule).expect("rules are named by words"),
    );
    if let Some(waiver) = waiver {
        let today: String = world.now.to_string().chars().take(10).collect();
        // Days are written YYYY-MM-DD, so their order is that of their texts.
        if today < waiver.until {
            return PolicyLine {
                rule: rule.to_owned(),
                verdict: Verdict::Waived,
                detail: format!(
                    "{}, waived until {}: {}",
                    judged.detail, waiver.until, waiver.reason
                ),
            };
        }
        let message = format!("its waiver ended on {}", waiver.until);
        draft.find(
            Finding::warning("BK608", address.clone(), message).fix(format!(
                "remove it at {}, or renew it with a reason",
                waiver.declared
            )),
        );
    }
    if judged.verdict == Verdict::Deny {
        let mut short: Vec<String> = judged.short.iter().take(3).cloned().collect();
        let more = judged.short.len() - short.len();
        if more > 0 {
            short.push(format!("{more} more"));
        }
        let message = format!("it would not hold after this plan: {}", words::list(&short));
        draft.find(Finding::error(code, address, message));
    }
    PolicyLine {
        rule: rule.to_owned(),
        verdict: judged.verdict,
        detail: judged.detail,
    }
}

impl Outlook<'_> {
    /// Returns the datastores that are meant to hold a source, with when they do.
    fn holdings(&self, draft: &Draft, source: &Name) -> Vec<(&Name, When)> {
        self.demands
            .copies
            .iter()
            .zip(self.protection)
            .filter(|(demand, _)| demand.source == source)
            .filter_map(|(demand, protection)| {
                let goal = Goal::Copy {
                    source: source.clone(),
                    datastore: demand.datastore.clone(),
                };
                let when = match protection.state {
                    CopyState::Fresh | CopyState::Late => When::After,
                    CopyState::Missing if draft.will(&goal) => When::After,
                    CopyState::Missing if self.out_of_sight(source) => When::Unseen,
                    CopyState::Missing => return None,
                    CopyState::Unknown => When::Unseen,
                    CopyState::Waiting if protection.newest.is_some() => When::After,
                    CopyState::Waiting => When::Later,
                };
                Some((demand.datastore, when))
            })
            .collect()
    }

    /// Returns whether a source is on a node that was not reached.
    ///
    /// What can't be done for that reason alone is unknown rather than a violation.
    fn out_of_sight(&self, source: &Name) -> bool {
        self.world
            .topology
            .sources
            .get(source)
            .is_some_and(|source| self.world.observed.reached(source.on.as_str()).is_none())
    }

    /// Counts something for every source and says whether each has enough of it.
    fn enough(&self, draft: &Draft, wanted: u32, count: impl Fn(&Name, &[&Name]) -> u32) -> Judged {
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
            } else if up_to(When::Later) >= wanted {
                Verdict::Warn
            } else {
                Verdict::Deny
            };
            short.push(format!("{source} has {have} of {wanted}"));
            verdict = worse(verdict, own);
        }
        Judged {
            verdict,
            detail: format!("{} of {wanted}", fewest.unwrap_or(0).min(wanted)),
            short,
        }
    }

    fn copies(&self, draft: &Draft, wanted: u32) -> Judged {
        self.enough(draft, wanted, |_, datastores| datastores.len() as u32)
    }

    fn media(&self, draft: &Draft, wanted: u32) -> Judged {
        self.enough(draft, wanted, |_, datastores| {
            let media: BTreeSet<String> = datastores
                .iter()
                .map(|name| medium(self.world, name))
                .collect();
            media.len() as u32
        })
    }

    fn offsite(&self, draft: &Draft, wanted: u32) -> Judged {
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

    fn beyond_reach(&self, wanted: u32) -> Judged {
        let locked = self.world.topology.datastores.values().any(|datastore| {
            matches!(&datastore.kind, DatastoreKind::S3(s3) if s3.object_lock.is_some())
        });
        let detail = if locked {
            format!("{wanted} wanted, buckets are not looked at yet")
        } else {
            format!("{wanted} wanted, no bucket has an object-lock")
        };
        Judged {
            verdict: Verdict::NotChecked,
            detail,
            short: Vec::new(),
        }
    }

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

    fn rpo(&self, draft: &mut Draft, rpo: Period) -> Judged {
        let mut verdict = Verdict::Pass;
        let mut short = Vec::new();
        for job in self.world.topology.jobs().map(|(_, job)| job) {
            let gap = job.at.as_ref().and_then(Calendar::longest_gap);
            let makes_copies = job.work.kind() != "drill";
            if let Some(gap) = gap.filter(|gap| makes_copies && *gap >= rpo) {
                let message =
                    format!("it runs up to {gap} apart, and no copy may be older than {rpo}");
                draft.find(
                    Finding::error("BK611", Address::new("job", &job.name), message).fix(format!(
                        "run it more often, or allow an rpo longer than {gap} and the time of a run"
                    )),
                );
                short.push(format!("{} runs up to {gap} apart", job.name));
                verdict = Verdict::Deny;
            }
        }
        for protection in self.protection {
            let own = match protection.state {
                CopyState::Fresh | CopyState::Waiting => continue,
                CopyState::Unknown => Verdict::Unknown,
                CopyState::Late | CopyState::Missing => {
                    let left = self.demands.copies.len();
                    if self.fresh_after(draft, &protection.source, &protection.datastore, left) {
                        continue;
                    }
                    if self.out_of_sight(&protection.source) {
                        Verdict::Unknown
                    } else {
                        Verdict::Deny
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
        Judged {
            verdict,
            detail,
            short,
        }
    }

    fn drill_within(&self, draft: &Draft, within: Period) -> Judged {
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
                _ if self.restorer_out_of_sight(proof) => Verdict::Unknown,
                _ => Verdict::Deny,
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
        Judged {
            verdict,
            detail,
            short,
        }
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

    fn covered(&self) -> Judged {
        let none = self.world.topology.guests.is_empty();
        Judged {
            verdict: if none {
                Verdict::Pass
            } else {
                Verdict::NotChecked
            },
            detail: if none {
                "no guests declared".to_owned()
            } else {
                "guests are not counted yet".to_owned()
            },
            short: Vec::new(),
        }
    }
}

/// Returns the worse of two verdicts of one rule.
fn worse(a: Verdict, b: Verdict) -> Verdict {
    let rank = |verdict: Verdict| match verdict {
        Verdict::Deny => 3,
        Verdict::Unknown => 2,
        Verdict::Warn => 1,
        _ => 0,
    };
    if rank(b) > rank(a) { b } else { a }
}

/// Returns what would be lost together with a datastore's disk.
///
/// Two paths on one filesystem of one machine are one medium, whatever their nodes are
/// called; a network mount is the medium behind it.
fn medium(world: World<'_>, datastore: &Name) -> String {
    let Some(home) = world.home(datastore) else {
        return format!("bucket of {datastore}");
    };
    let Some(ground) = world.ground(datastore) else {
        return format!("unseen {home} {datastore}");
    };
    let facts = world.observed.reached(ground.node.as_str());
    let machine = facts.and_then(|facts| facts.machine_id.as_deref());
    let machine = machine.unwrap_or(ground.node.as_str());
    let mount = ground.seen.and_then(|seen| seen.mount.as_ref());
    match mount {
        Some(mount) if mount.fstype.starts_with("nfs") || mount.fstype == "cifs" => {
            mount.source.clone()
        }
        Some(mount) => format!("{machine} {}", mount.device),
        None => format!("{machine} unknown"),
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

/// Says which declared sources no job protects, and which datastores grow for ever.
pub(super) fn gaps(outlook: &Outlook<'_>, draft: &mut Draft) {
    let topology = outlook.world.topology;
    for name in topology.sources.keys() {
        if !outlook.demands.copies.iter().any(|d| d.source == name) {
            draft.find(
                Finding::warning(
                    "BK610",
                    Address::new("source", name),
                    "no job copies it anywhere".to_owned(),
                )
                .fix("add it to a backup job, or remove it"),
            );
        }
    }
    let endless: Vec<&Name> = topology
        .datastores
        .iter()
        .filter(|(_, datastore)| datastore.keep.is_none() && !datastore.pbs)
        .map(|(name, _)| name)
        .collect();
    if let Some(first) = endless.first() {
        let message = format!(
            "{} no keep: every snapshot stays, and space runs out one day",
            if endless.len() == 1 {
                format!("{first} has")
            } else {
                format!("{} have", words::list(&endless))
            }
        );
        draft.find(
            Finding::note("BK612", Address::new("datastore", first), message)
                .fix("add for example: keep last=3 daily=7 weekly=4"),
        );
    }
}
