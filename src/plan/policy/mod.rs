//! Rules over the whole system, judged by how it stands after the plan.
//!
//! A plan that cures a violation is not denied by it. What only a later phase makes
//! good is a warning, and what can't be seen is unknown. A part of a plan is judged by how the
//! system stands after the part, and is not denied for what is left out of it.
//!
//! Whether the topology itself breaks a rule or the world falls short of it is told apart: only
//! the first keeps an apply from beginning.

mod counted;
mod coverage;
mod fresh;
mod gaps;
mod media;
mod standing;

use crate::model::{Address, Name};
use crate::plan::change::{CapacityLine, Finding, PolicyLine, ProofState, Protection, Verdict};
use crate::plan::demand::Demands;
use crate::plan::draft::{Draft, World};
use crate::plan::forecast::ForecastLine;
use crate::plan::words;
pub(super) use gaps::gaps;

/// What the rules look at.
pub(super) struct Outlook<'a> {
    pub(super) world: World<'a>,
    pub(super) demands: &'a Demands<'a>,
    pub(super) protection: &'a [Protection],
    pub(super) proofs: &'a [ProofState],
    pub(super) capacity: &'a [CapacityLine],
    pub(super) forecast: &'a [ForecastLine],
}

/// When a datastore holds a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum When {
    /// Now, or once this plan was carried out.
    After,
    /// It can't be seen.
    Unseen,
    /// It is left out of this part of a plan.
    LeftOut,
    /// In a later phase, or with a later version.
    Later,
    /// Once nothing keeps it from being made.
    Kept,
}

/// A rule's figures: the verdict, the words and who falls short.
struct Judged {
    verdict: Verdict,
    detail: String,
    /// What is to be said before those who fall short.
    lead: &'static str,
    short: Vec<String>,
    /// How that comes about, line by line.
    because: Vec<String>,
    /// What mends it.
    fix: Option<String>,
}

/// A rule: its name, its code, and whether it counts whatever the policy states.
struct Rule {
    name: &'static str,
    code: &'static str,
    standing: bool,
}

/// Judges every rule that the policy states, and those that always count.
pub(super) fn policy(outlook: &Outlook<'_>, draft: &mut Draft) -> Vec<PolicyLine> {
    let policy = &outlook.world.topology.policy;
    let mut judged: Vec<(Rule, Judged)> = Vec::new();
    let mut stated = |name, code, figures| {
        let standing = false;
        let rule = Rule {
            name,
            code,
            standing,
        };
        judged.push((rule, figures));
    };
    if let Some(n) = policy.copies {
        stated("copies", "BK601", outlook.copies(draft, n));
    }
    if let Some(n) = policy.media {
        stated("media", "BK602", outlook.media(draft, n));
    }
    if let Some(n) = policy.offsite {
        stated("offsite", "BK603", outlook.offsite(draft, n));
    }
    if let Some(n) = policy.beyond_reach {
        stated("beyond-reach", "BK604", outlook.beyond_reach(draft, n));
    }
    if let Some(rpo) = policy.rpo {
        stated("rpo", "BK605", outlook.rpo(draft, rpo));
    }
    if let Some(within) = policy.drill_within {
        stated("drill-within", "BK606", outlook.drill_within(draft, within));
    }
    if policy.covered {
        stated("covered", "BK607", outlook.covered());
    }
    for (name, code, figures) in [
        ("restore", "BK619", outlook.restore()),
        ("encryption", "BK615", outlook.encryption(draft)),
        ("immutability", "BK614", outlook.immutability()),
        ("retention", "BK618", outlook.retention()),
        ("capacity", "BK616", outlook.room()),
        ("users", "BK617", outlook.users()),
    ] {
        let standing = true;
        let rule = Rule {
            name,
            code,
            standing,
        };
        judged.extend(figures.map(|figures| (rule, figures)));
    }
    judged
        .into_iter()
        .map(|(rule, judged)| line(outlook.world, &rule, judged, draft))
        .collect()
}

/// Applies waivers to a rule and explains it where it does not hold.
fn line(world: World<'_>, rule: &Rule, judged: Judged, draft: &mut Draft) -> PolicyLine {
    let waivers = &world.topology.policy.waivers;
    let waiver = waivers.iter().find(|waiver| waiver.rule == rule.name);
    let address = Address::new(
        "policy",
        &Name::new(rule.name).expect("rules are named by words"),
    );
    let shown = |verdict: Verdict, detail: String| PolicyLine {
        rule: rule.name.to_owned(),
        verdict,
        detail,
        standing: rule.standing,
    };
    if let Some(waiver) = waiver {
        let today: String = world.now.to_string().chars().take(10).collect();
        // Days are written YYYY-MM-DD, so their order is that of their texts.
        if today < waiver.until {
            let (until, reason) = (&waiver.until, &waiver.reason);
            let detail = format!("{}, waived until {until}: {reason}", judged.detail);
            return shown(Verdict::Waived, detail);
        }
        let message = format!("its waiver ended on {}", waiver.until);
        draft.find(
            Finding::warning("BK608", address.clone(), message).fix(format!(
                "remove it at {}, or renew it with a reason",
                waiver.declared
            )),
        );
    }
    draft.findings.extend(finding(rule, &judged, address));
    shown(judged.verdict, judged.detail)
}

/// Explains a rule that does not hold.
fn finding(rule: &Rule, judged: &Judged, address: Address) -> Option<Finding> {
    let mut short: Vec<String> = judged.short.iter().take(3).cloned().collect();
    let more = judged.short.len() - short.len();
    if more > 0 {
        short.push(format!("{more} more"));
    }
    let short = words::list(&short);
    let finding = match judged.verdict {
        Verdict::Deny if rule.standing => Finding::error(rule.code, address, short),
        Verdict::Deny | Verdict::Short => {
            let message = format!("{}: {short}", judged.lead);
            Finding::error(rule.code, address, message)
        }
        // What a later phase mends needs no words; what no phase mends does, unless its cause
        // has some already.
        Verdict::Warn if rule.standing && !short.is_empty() => {
            Finding::warning(rule.code, address, short)
        }
        _ => return None,
    };
    let finding = finding.because(judged.because.clone());
    Some(match &judged.fix {
        Some(fix) => finding.fix(fix),
        None => finding,
    })
}

impl Judged {
    /// Makes the figures of a rule that has no more to say.
    fn new(verdict: Verdict, detail: impl Into<String>, short: Vec<String>) -> Self {
        Self {
            verdict,
            detail: detail.into(),
            lead: "it would not hold after this plan",
            short,
            because: Vec::new(),
            fix: None,
        }
    }

    /// Says how it comes about, and what mends it.
    fn explained(self, because: Vec<String>, fix: impl Into<String>) -> Self {
        Self {
            because,
            fix: Some(fix.into()),
            ..self
        }
    }
}

impl Outlook<'_> {
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
}

/// Returns the worse of two verdicts of one rule.
fn worse(a: Verdict, b: Verdict) -> Verdict {
    let rank = |verdict: Verdict| match verdict {
        Verdict::Deny => 5,
        Verdict::Short => 4,
        Verdict::Unknown => 3,
        Verdict::LeftOut => 2,
        Verdict::Warn => 1,
        _ => 0,
    };
    if rank(b) > rank(a) { b } else { a }
}
