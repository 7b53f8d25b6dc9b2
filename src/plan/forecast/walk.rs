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
    if fits_for_ever(series, &plans, schedules, room) {
        return ForecastOutlook::NotBefore(date(HORIZON, now));
    }
    drawn(series, &plans, schedules, room, now)
}

fn drawn(
    series: &[Series],
    plans: &[Option<usize>],
    schedules: &Schedules,
    room: ByteSize,
    now: Timestamp,
) -> ForecastOutlook {
    let mut reached: Vec<usize> = (0..DRAWINGS)
        .map(|number| {
            let mut futures: Vec<Future<'_>> = series
                .iter()
                .zip(plans)
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
    let (earliest, latest) = (
        reached[DRAWINGS / 10],
        reached[DRAWINGS - 1 - DRAWINGS / 10],
    );
    if earliest == HORIZON {
        return ForecastOutlook::NotBefore(date(HORIZON, now));
    }
    ForecastOutlook::Between {
        earliest: date(earliest, now),
        latest: (latest < HORIZON).then(|| date(latest, now)),
    }
}

/// Returns the day so many days ahead.
fn date(ahead: usize, now: Timestamp) -> Timestamp {
    let today = now.seconds().div_euclid(DAY);
    Timestamp::from_seconds((today + ahead as i64) * DAY)
}

/// Tells whether the limit is not reached even if every day is like the largest measured one.
///
/// Most filesystems have that much room, and no future has to be drawn for them.
fn fits_for_ever(
    series: &[Series],
    plans: &[Option<usize>],
    schedules: &Schedules,
    room: ByteSize,
) -> bool {
    // Sums of fractions are rounded, in one future more than in another.
    let room = room.0 as f64 * 0.999;
    let largest = |of: fn(&Day) -> u64, series: &Series| {
        series.days.iter().map(of).max().unwrap_or_default() as f64
    };
    let mut all: Vec<_> = series
        .iter()
        .zip(plans)
        .map(|(series, plan)| {
            let (grown, replaced) = (
                largest(|day| day.grown, series),
                largest(|day| day.replaced, series),
            );
            (
                series,
                plan.map(|plan| &schedules.0[plan].3),
                grown,
                replaced,
                0.0,
            )
        })
        .collect();
    (0..HORIZON).all(|ahead| {
        let most = all
            .iter_mut()
            .map(|(series, schedule, grown, replaced, kept)| {
                *kept += 1.0;
                for (gone, count) in schedule.iter().flat_map(|all| &all[ahead]) {
                    // What the measured days leave behind only makes room.
                    if *gone >= series.days.len() {
                        *kept -= f64::from(*count) / series.per_day as f64;
                    }
                }
                *grown * (ahead + 1) as f64 + *replaced * *kept
            });
        most.sum::<f64>() < room
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn series(dice: &mut Draw, keep: Option<Keep>) -> Series {
        let days = 7 + dice.next() % 30;
        let mut day = || Day {
            grown: dice.next() % 1_000,
            replaced: dice.next() % 5_000,
        };
        Series {
            days: (0..days).map(|_| day()).collect(),
            snapshots: days,
            per_day: 1 + days % 3,
            keep,
        }
    }

    #[test]
    fn where_the_largest_day_every_day_fits_every_drawing_fits_too() {
        let now = Timestamp::from_seconds(1_795_410_000);
        let keep = |last, daily| Keep {
            last: Some(last),
            daily: Some(daily),
            ..Keep::default()
        };
        let mut dice = Draw(7);
        let (mut fitting, mut drawings) = (0, 0);
        for number in 0..6 {
            let keeps = [Some(keep(3, 7)), None, Some(keep(1, 30))];
            let series: Vec<Series> = (0..=number % 3)
                .map(|at| series(&mut dice, keeps[(number + at) % 3].clone()))
                .collect();
            let mut schedules = Schedules::default();
            let plans: Vec<_> = series.iter().map(|s| schedules.of(s, now)).collect();
            for room in [100_000, 1_000_000, 3_000_000, 20_000_000, 100_000_000] {
                let room = ByteSize(room);
                let drawn = drawn(&series, &plans, &schedules, room, now);
                drawings += 1;
                if fits_for_ever(&series, &plans, &schedules, room) {
                    assert_eq!(drawn, ForecastOutlook::NotBefore(date(HORIZON, now)));
                    fitting += 1;
                }
            }
        }
        assert!(fitting > 5 && fitting < drawings, "{fitting} of {drawings}");
    }
}
