//! What came to a datastore day by day, as far as it was seen.

use std::collections::BTreeMap;

use crate::model::observed::{DatastoreFacts, DayFacts};
use crate::model::retention::Keep;
use crate::model::{ByteSize, Name, Timestamp};
use crate::plan::draft::World;

const DAY: i64 = 86_400;
/// How many days back count; what was longer ago says little of tomorrow.
const BACK: i64 = 60;
/// How many snapshots a day are told apart; more make no difference to when space runs out.
const PER_DAY_MAX: u64 = 6;

/// The days of a datastore that were measured, the oldest first, the last one yesterday.
#[derive(Debug, Default)]
pub(super) struct Series {
    pub(super) days: Vec<Day>,
    pub(super) snapshots: u64,
    /// How many snapshots a source gets on a day.
    pub(super) per_day: u64,
    pub(super) keep: Option<Keep>,
}

/// What came on one day.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Day {
    /// What the sources grew by, which stays.
    pub(super) grown: u64,
    /// What took the place of something else, and goes with its snapshots.
    pub(super) replaced: u64,
}

impl Series {
    /// Measures a datastore.
    pub(super) fn of(world: World<'_>, name: &Name) -> Self {
        let Some((datastore, _, _, facts)) = world.served(name) else {
            return Self::default();
        };
        let today = world.now.seconds().div_euclid(DAY);
        let mut by_day: BTreeMap<i64, Day> = BTreeMap::new();
        let (mut snapshots, mut busy) = (0, 0);
        let mut sources: Vec<&Name> = facts.snapshots.keys().chain(facts.history.keys()).collect();
        sources.sort();
        sources.dedup();
        for source in sources {
            let days = history(facts, source);
            for pair in days.windows(2) {
                let (before, day) = (&pair[0], &pair[1]);
                let at = day.day.seconds().div_euclid(DAY);
                if at >= today || at < today - BACK {
                    continue;
                }
                let stored = day.stored.0.saturating_mul(day.snapshots);
                let grown = day.bytes.0.saturating_sub(before.bytes.0).min(stored);
                let sum = by_day.entry(at).or_default();
                sum.grown = sum.grown.saturating_add(grown);
                sum.replaced = sum.replaced.saturating_add(stored - grown);
                snapshots += day.snapshots;
                busy += 1;
            }
        }
        let first = by_day.keys().next().copied().unwrap_or(today);
        let days = (first..today).map(|at| by_day.get(&at).copied().unwrap_or_default());
        Self {
            days: days.collect(),
            snapshots,
            per_day: (snapshots / u64::max(busy, 1)).clamp(1, PER_DAY_MAX),
            keep: datastore.keep.clone().filter(|keep| !keep.is_empty()),
        }
    }

    /// Returns how much came on a day, on average.
    pub(super) fn daily(&self) -> u64 {
        let sum: u64 = self.days.iter().map(|day| day.grown + day.replaced).sum();
        sum / u64::max(self.days.len() as u64, 1)
    }
}

/// Returns the days of a source, the oldest first.
///
/// The oldest one only says from where the next one grew: with a first copy in it, all of
/// the source would be taken for growth. Where no days were counted, the newest snapshots do.
fn history(facts: &DatastoreFacts, source: &Name) -> Vec<DayFacts> {
    if let Some(days) = facts.history.get(source) {
        let mut days = days.clone();
        days.sort_by_key(|day| day.day);
        return days;
    }
    let mut by_day: BTreeMap<i64, Vec<_>> = BTreeMap::new();
    for head in facts.snapshots.get(source).into_iter().flatten() {
        let day = head.started.seconds().div_euclid(DAY);
        by_day.entry(day).or_default().push(head);
    }
    let days = by_day.into_iter().filter_map(|(day, heads)| {
        let newest = heads.iter().max_by_key(|head| head.started)?;
        let stored: u64 = heads.iter().map(|head| head.stored_bytes.0).sum();
        Some(DayFacts {
            day: Timestamp::from_seconds(day * DAY),
            snapshots: heads.len() as u64,
            stored: ByteSize(stored / heads.len() as u64),
            bytes: newest.bytes,
        })
    });
    days.collect()
}
