//! What `keep` rules leave of a source's snapshots, and why.
//!
//! The rules are those of Proxmox Backup Server. They work one after the other, from `last` to
//! `yearly`. Each goes from the newest snapshot to the oldest and keeps the newest of each of
//! so many periods; periods in which an earlier rule kept something already cost it nothing.
//!
//! A snapshot that is not complete is kept only if it is the newest of all. Protected snapshots
//! and those without a receipt stay and use up no period.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// How many snapshots to keep, by rule.
///
/// The rules work one after the other as in Proxmox Backup Server: each skips the
/// periods that an earlier rule already covered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Keep {
    /// The newest snapshots, whatever their age.
    pub last: Option<u32>,
    /// One for each of so many hours.
    pub hourly: Option<u32>,
    /// One for each of so many days.
    pub daily: Option<u32>,
    /// One for each of so many ISO weeks.
    pub weekly: Option<u32>,
    /// One for each of so many months.
    pub monthly: Option<u32>,
    /// One for each of so many years.
    pub yearly: Option<u32>,
}

/// Names one of the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// The newest, whatever their age.
    Last,
    /// One an hour.
    Hourly,
    /// One a day.
    Daily,
    /// One an ISO week.
    Weekly,
    /// One a month.
    Monthly,
    /// One a year.
    Yearly,
}

/// Is what the rules need to know of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub name: String,
    /// When this place or one it was copied from received it; none without a receipt.
    pub received: Option<Timestamp>,
    /// Whether everything that was asked for is in it.
    pub complete: bool,
    /// Whether somebody wants it to stay, whatever the rules say.
    pub protected: bool,
}

/// Says whether a snapshot stays, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The snapshot's name.
    pub name: String,
    /// Why it stays or goes.
    pub reason: Reason,
}

/// Says why a snapshot stays or goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It stays: somebody wants that.
    Protected,
    /// It stays: nothing says when it was received.
    NoReceipt,
    /// It stays: it is one of the last so many.
    Last(u32),
    /// It stays: it is the newest of a period.
    Newest {
        /// The rule, which is not [`Rule::Last`].
        rule: Rule,
        /// The period in the words of its rule.
        period: String,
    },
    /// It stays: it is not complete, and nothing newer is there.
    NewestIncomplete,
    /// It goes: it is not complete, and something newer is there.
    Incomplete,
    /// It goes: no rule keeps it.
    NoRule,
}

/// Says why rules were not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetentionError {
    /// No rule was given: that must not mean that everything goes.
    #[error("no rule keeps anything")]
    NoRules,
    /// The clock is behind the newest receipt, so one of the two is wrong.
    #[error("the clock says {now}, but `{name}` was received at {received}")]
    ClockBehind {
        /// What the clock says.
        now: Timestamp,
        /// The snapshot.
        name: String,
        /// When it was received.
        received: Timestamp,
    },
}

impl Keep {
    /// Returns whether no rule keeps anything.
    pub fn is_empty(&self) -> bool {
        self.rules().iter().all(|(_, count)| *count == 0)
    }

    /// Returns the rules in the order in which they work.
    fn rules(&self) -> [(Rule, u32); 6] {
        [
            (Rule::Last, self.last),
            (Rule::Hourly, self.hourly),
            (Rule::Daily, self.daily),
            (Rule::Weekly, self.weekly),
            (Rule::Monthly, self.monthly),
            (Rule::Yearly, self.yearly),
        ]
        .map(|(rule, count)| (rule, count.unwrap_or(0)))
    }
}

impl Rule {
    /// Returns the period that a time lies in, in words that differ for each period.
    fn period(self, time: Timestamp, zone: &TimeZone) -> String {
        let time = jiff::Timestamp::from_second(time.seconds());
        let time = time.unwrap_or_default().to_zoned(zone.clone());
        match self {
            Self::Last => String::new(),
            Self::Hourly => time.strftime("%Y-%m-%d %H:00").to_string(),
            Self::Daily => time.strftime("%Y-%m-%d").to_string(),
            Self::Weekly => time.strftime("%G-W%V").to_string(),
            Self::Monthly => time.strftime("%Y-%m").to_string(),
            Self::Yearly => time.strftime("%Y").to_string(),
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Last => "all",
            Self::Hourly => "hour",
            Self::Daily => "day",
            Self::Weekly => "week",
            Self::Monthly => "month",
            Self::Yearly => "year",
        }
    }
}

impl Reason {
    /// Tells whether the snapshot stays.
    pub fn keeps(&self) -> bool {
        !matches!(self, Self::Incomplete | Self::NoRule)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protected => f.pad("protected"),
            Self::NoReceipt => f.pad("no receipt says when it came"),
            Self::Last(1) => f.pad("the last"),
            Self::Last(count) => f.pad(&format!("one of the last {count}")),
            Self::Newest { rule, period } => f.pad(&format!("newest of {} {period}", rule.noun())),
            Self::NewestIncomplete => f.pad("incomplete, but nothing newer is there"),
            Self::Incomplete => f.pad("incomplete, and something newer is there"),
            Self::NoRule => f.pad("no rule keeps it"),
        }
    }
}

/// Applies the rules to the snapshots of one source; the verdicts come newest first.
///
/// Periods are those of the given zone. Snapshots without a receipt come last.
pub fn verdicts(
    snapshots: &[Candidate],
    keep: &Keep,
    zone: &TimeZone,
    now: Timestamp,
) -> Result<Vec<Verdict>, RetentionError> {
    if keep.is_empty() {
        return Err(RetentionError::NoRules);
    }
    let mut order: Vec<&Candidate> = snapshots.iter().collect();
    order.sort_by(|a, b| (b.received, &b.name).cmp(&(a.received, &a.name)));
    if let Some(newest) = order.first()
        && let Some(received) = newest.received
        && received > now
    {
        return Err(RetentionError::ClockBehind {
            now,
            name: newest.name.clone(),
            received,
        });
    }
    let mut reasons = before_rules(&order);
    for (rule, count) in keep.rules() {
        apply(rule, count, zone, &order, &mut reasons);
    }
    let verdict = |(snapshot, reason): (&Candidate, Option<Reason>)| Verdict {
        name: snapshot.name.clone(),
        reason: reason.unwrap_or(Reason::NoRule),
    };
    Ok(order.into_iter().zip(reasons).map(verdict).collect())
}

/// Returns the sources of which nothing would stay, given each snapshot's source and fate.
pub fn emptied<'a>(fates: impl IntoIterator<Item = (&'a str, bool)>) -> Vec<&'a str> {
    let mut sources: BTreeMap<&str, bool> = BTreeMap::new();
    for (source, stays) in fates {
        *sources.entry(source).or_default() |= stays;
    }
    let empty = sources.into_iter().filter(|(_, stays)| !stays);
    empty.map(|(source, _)| source).collect()
}

/// Decides what no rule decides.
fn before_rules(order: &[&Candidate]) -> Vec<Option<Reason>> {
    let mut is_newest = true;
    let mut decide = |snapshot: &Candidate| {
        let is_newest = snapshot.received.is_some() && std::mem::take(&mut is_newest);
        match snapshot {
            _ if snapshot.protected => Some(Reason::Protected),
            _ if snapshot.received.is_none() => Some(Reason::NoReceipt),
            _ if snapshot.complete => None,
            _ if is_newest => Some(Reason::NewestIncomplete),
            _ => Some(Reason::Incomplete),
        }
    };
    order.iter().map(|snapshot| decide(snapshot)).collect()
}

fn apply(
    rule: Rule,
    count: u32,
    zone: &TimeZone,
    order: &[&Candidate],
    reasons: &mut [Option<Reason>],
) {
    // Each snapshot is a period of its own for the last ones.
    let period = |snapshot: &Candidate| match rule {
        Rule::Last => snapshot.name.clone(),
        _ => rule.period(snapshot.received.unwrap_or_default(), zone),
    };
    let by_rule =
        |reason: &Option<Reason>| matches!(reason, Some(Reason::Last(_) | Reason::Newest { .. }));
    let covered: HashSet<String> = order
        .iter()
        .zip(&*reasons)
        .filter(|(_, reason)| by_rule(reason))
        .map(|(snapshot, _)| period(snapshot))
        .collect();
    let mut kept = HashSet::new();
    for (snapshot, reason) in order.iter().zip(reasons) {
        if reason.is_some() {
            continue;
        }
        let period = period(snapshot);
        if covered.contains(&period) {
            continue;
        }
        if kept.contains(&period) {
            // Decided here and for good: a week may reach into a month that lacks one yet.
            *reason = Some(Reason::NoRule);
            continue;
        }
        if kept.len() == count as usize {
            break;
        }
        kept.insert(period.clone());
        *reason = Some(match rule {
            Rule::Last => Reason::Last(count),
            _ => Reason::Newest { rule, period },
        });
    }
}

#[cfg(test)]
mod tests;
