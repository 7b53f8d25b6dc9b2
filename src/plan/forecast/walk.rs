//! Drawing futures from measured days, and when they reach a limit.

use jiff::tz::TimeZone;

use super::ForecastOutlook;
use super::measure::{Day, Series};
use crate::model::retention::{Candidate, Keep, verdicts};
use crate::model::{ByteSize, Timestamp};

const DAY: i64 = 86_400;
/// How far ahead is looked.
const HORIZON: usize = 5 * 365;
/// How often the rules of `keep` are applied; more often makes little difference.
const PRUNE_EVERY: usize = 7;
/// How many futures are drawn.
const DRAWINGS: usize = 200;

/// Which snapshots `keep` lets go of, day by day: the same for all datastores that keep alike.
#[derive(Default)]
pub(super) struct Schedules(Vec<(Keep, u64, usize, Schedule)>);

/// For each day ahead, the days whose snapshots go then, and how many of each.
///
/// Days count from the oldest measured one.
type Schedule = Vec<Vec<(usize, u32)>>;

impl Schedules {
    fn of(&mut self, series: &Series, now: Timestamp) -> Option<usize> {
        let keep = series.keep.as_ref()?;
        let measured = series.days.len();
        let is_it = |(other, per_day, days, _): &(Keep, u64, usize, Schedule)| {
            (other, *per_day, *days) == (keep, series.per_day, measured)
        };
        if let Some(at) = self.0.iter().position(is_it) {
            return Some(at);
        }
        let schedule = schedule(keep, series.per_day, measured, now);
        self.0
            .push((keep.clone(), series.per_day, measured, schedule));
        Some(self.0.len() - 1)
    }
}

fn schedule(keep: &Keep, per_day: u64, measured: usize, now: Timestamp) -> Schedule {
    let today = now.seconds().div_euclid(DAY);
    let on_day = |day: usize| {
        let midnight = (today - measured as i64 + day as i64) * DAY;
        (0..per_day as i64).map(move |number| Candidate {
            name: day.to_string(),
            received: Some(Timestamp::from_seconds(
                midnight + number * DAY / per_day as i64,
            )),
            complete: true,
            protected: false,
        })
    };
    let mut there: Vec<Candidate> = (0..measured).flat_map(on_day).collect();
    let mut schedule = vec![Vec::new(); HORIZON];
    for (ahead, gone) in schedule.iter_mut().enumerate() {
        there.extend(on_day(measured + ahead));
        if ahead % PRUNE_EVERY != 0 {
            continue;
        }
        let end = Timestamp::from_seconds((today + ahead as i64 + 1) * DAY);
        // The verdicts come newest first, as the candidates do from behind.
        let Ok(verdicts) = verdicts(&there, keep, &TimeZone::UTC, end) else {
            continue;
        };
        let mut kept = Vec::new();
        for (candidate, verdict) in there.drain(..).rev().zip(verdicts) {
            if verdict.reason.keeps() {
                kept.push(candidate);
            } else if let Ok(day) = candidate.name.parse::<usize>() {
                match gone.last_mut() {
                    Some((last, count)) if *last == day => *count += 1,
                    _ => gone.push((day, 1)),
                }
            }
        }
        kept.reverse();
        there = kept;
    }
    schedule
}

/// Draws futures and returns when most of them reach a limit that leaves this much room.
pub(super) fn outlook(
    series: &[Series],
    room: ByteSize,
    now: Timestamp,
    schedules: &mut Schedules,
) -> ForecastOutlook {
    let plans: Vec<Option<usize>> = series
        .iter()
        .map(|series| schedules.of(series, now))
        .collect();
    let mut reached: Vec<usize> = (0..DRAWINGS)
        .map(|number| {
            let mut futures: Vec<Future<'_>> = series
                .iter()
                .zip(&plans)
                .enumerate()
                .map(|(at, (series, plan))| {
                    let schedule = plan.map(|plan| &schedules.0[plan].3);
                    let seed = (number as u64) << 16 | at as u64;
                    Future::new(series, schedule, Draw(seed))
                })
                .collect();
            let room = room.0 as f64;
            let day = (0..HORIZON).find(|day| {
                let taken: f64 = futures.iter_mut().map(|future| future.live(*day)).sum();
                taken >= room
            });
            day.unwrap_or(HORIZON)
        })
        .collect();
    reached.sort_unstable();
    let today = now.seconds().div_euclid(DAY);
    let date = |ahead: usize| Timestamp::from_seconds((today + ahead as i64) * DAY);
    let (earliest, latest) = (
        reached[DRAWINGS / 10],
        reached[DRAWINGS - 1 - DRAWINGS / 10],
    );
    if earliest == HORIZON {
        return ForecastOutlook::NotBefore(date(HORIZON));
    }
    ForecastOutlook::Between {
        earliest: date(earliest),
        latest: (latest < HORIZON).then(|| date(latest)),
    }
}

/// One datastore in one future.
struct Future<'a> {
    schedule: Option<&'a Schedule>,
    per_day: u64,
    /// The days this future is drawn from: a drawing of the measured ones.
    urn: Vec<Day>,
    /// Every day so far, from the oldest measured one.
    days: Vec<Day>,
    draw: Draw,
    taken: f64,
}

impl<'a> Future<'a> {
    fn new(series: &Series, schedule: Option<&'a Schedule>, mut draw: Draw) -> Self {
        // Drawn once as a whole, so that few measured days make futures that differ much.
        let urn = series.days.iter().map(|_| *draw.of(&series.days)).collect();
        Self {
            schedule,
            per_day: series.per_day,
            urn,
            days: series.days.clone(),
            draw,
            taken: 0.0,
        }
    }

    /// Lives through one more day, and returns how much is taken since now.
    fn live(&mut self, ahead: usize) -> f64 {
        let day = *self.draw.of(&self.urn);
        self.days.push(day);
        self.taken += day.grown as f64 + day.replaced as f64;
        for (gone, count) in self.schedule.into_iter().flat_map(|all| &all[ahead]) {
            let share = f64::from(*count) / self.per_day as f64;
            self.taken -= self.days[*gone].replaced as f64 * share;
        }
        self.taken
    }
}

/// Draws numbers that look like chance and are the same each time: SplitMix64.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        let at = self.next() % items.len() as u64;
        &items[at as usize]
    }
}
