//! When datastores fill up: measured growth and declared retention, carried forward.
//!
//! What came day by day is drawn from again and again, with replacement, and each drawing
//! is carried forward a day at a time while `keep` lets go of old snapshots. The dates
//! between which most drawings reach the limit are the answer: a range, since a handful of
//! days is no law. The drawings are the same each time, so the same facts give the same dates.
//!
//! Of what a snapshot stored, as much as its source grew stays for good; the rest took the
//! place of something else, and goes when the snapshot does. What others write to the same
//! filesystem is not foreseen.

mod measure;
mod walk;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::topology::DatastoreKind;
use crate::model::{ByteSize, Name, Observed, Timestamp, Topology};
use crate::plan::capacity::{self, Spot};
use crate::plan::draft::World;
use measure::Series;

/// The version of a forecast's JSON form.
pub const FORECAST_FORMAT: u32 = 1;

/// How many whole days must be seen before anything is said.
const DAYS_MIN: usize = 7;
/// How many snapshots must be seen before anything is said.
const SNAPSHOTS_MIN: u64 = 5;

/// When the filesystems of datastores reach their limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Forecast {
    /// The version of this form, see [`FORECAST_FORMAT`].
    pub format: u32,
    /// The time it is made for.
    pub at: Timestamp,
    /// Each filesystem that holds datastores.
    pub filesystems: Vec<ForecastLine>,
}

/// When one filesystem reaches its limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ForecastLine {
    /// The node.
    pub node: Name,
    /// The mount point; the datastore's path where that was not seen.
    pub mount: String,
    /// The datastores on it.
    pub datastores: Vec<Name>,
    /// Its size, if it was seen.
    pub total: Option<ByteSize>,
    /// What is free there, if it was seen.
    pub free: Option<ByteSize>,
    /// What must stay free; the limit is there, or where nothing is free.
    pub reserve: ByteSize,
    /// How many whole days were measured.
    pub days: u64,
    /// How many snapshots came in them.
    pub snapshots: u64,
    /// How much came on a day, on average.
    pub daily: Option<ByteSize>,
    /// When the limit is reached.
    pub outlook: ForecastOutlook,
}

/// When a limit is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ForecastOutlook {
    /// It is reached already.
    Reached,
    /// Between two days, most likely.
    Between {
        /// One drawing in ten reaches it earlier.
        earliest: Timestamp,
        /// One drawing in ten reaches it later; left out where that is beyond the horizon.
        latest: Option<Timestamp>,
    },
    /// Not before this day, which is as far as is looked.
    NotBefore(Timestamp),
    /// It can't be told, and why.
    Unknown(String),
}

/// Foretells when each filesystem with datastores reaches its reserve, or is full.
pub fn forecast(topology: &Topology, observed: &Observed, now: Timestamp) -> Forecast {
    let world = World {
        topology,
        observed,
        now,
    };
    Forecast {
        format: FORECAST_FORMAT,
        at: now,
        filesystems: lines(world),
    }
}

/// Returns a line for each filesystem, those first that say when.
pub(super) fn lines(world: World<'_>) -> Vec<ForecastLine> {
    let mut grounds: BTreeMap<(Name, String), Vec<&Name>> = BTreeMap::new();
    for (name, datastore) in &world.topology.datastores {
        let is_directory = matches!(datastore.kind, DatastoreKind::Directory { .. });
        if let Some((node, path)) = world.topology.ground(name)
            && is_directory
        {
            let mount = Spot::seen(world, name)
                .and_then(|(_, seen, _)| Some(seen.mount.as_ref()?.target.as_str()));
            let mount = mount.unwrap_or(path).to_owned();
            grounds.entry((node.clone(), mount)).or_default().push(name);
        }
    }
    let mut schedules = walk::Schedules::default();
    let mut lines: Vec<_> = grounds
        .into_iter()
        .map(|(key, names)| line(world, key, &names, &mut schedules))
        .collect();
    lines.sort_by_key(|line| match &line.outlook {
        ForecastOutlook::Reached => (0, Timestamp(0)),
        ForecastOutlook::Between { earliest, .. } => (1, *earliest),
        ForecastOutlook::NotBefore(day) => (2, *day),
        ForecastOutlook::Unknown(_) => (3, Timestamp(0)),
    });
    lines
}

fn line(
    world: World<'_>,
    (node, mount): (Name, String),
    names: &[&Name],
    schedules: &mut walk::Schedules,
) -> ForecastLine {
    let seen: Vec<_> = names
        .iter()
        .filter_map(|name| Spot::seen(world, name))
        .collect();
    let reserve = seen
        .iter()
        .map(|(spot, facts, space)| capacity::reserve(world, *spot, Some(facts), Some(*space)))
        .max();
    let reserve = reserve.unwrap_or_default();
    let space = seen.first().map(|(_, _, space)| *space);
    let series: Vec<Series> = names.iter().map(|name| Series::of(world, name)).collect();
    let days = series.iter().map(|series| series.days.len()).min();
    let snapshots: u64 = series.iter().map(|series| series.snapshots).sum();
    let days = days.unwrap_or(0);
    let outlook = match space {
        None => ForecastOutlook::Unknown(unseen(world, &node)),
        Some(space) if space.free <= reserve => ForecastOutlook::Reached,
        Some(_) if days < DAYS_MIN || snapshots < SNAPSHOTS_MIN => {
            ForecastOutlook::Unknown(too_little(days, snapshots))
        }
        Some(space) => walk::outlook(
            &series,
            ByteSize(space.free.0 - reserve.0),
            world.now,
            schedules,
        ),
    };
    let daily: u64 = series.iter().map(Series::daily).sum();
    ForecastLine {
        node,
        mount,
        datastores: names.iter().map(|name| (*name).clone()).collect(),
        total: space.map(|space| space.total),
        free: space.map(|space| space.free),
        reserve,
        days: days as u64,
        snapshots,
        daily: (days > 0).then_some(ByteSize(daily)),
        outlook,
    }
}

fn unseen(world: World<'_>, node: &Name) -> String {
    match world.observed.reached(node.as_str()) {
        None => format!("{node} was not reached"),
        Some(_) => "its free space was not seen".to_owned(),
    }
}

fn too_little(days: usize, snapshots: u64) -> String {
    if days < DAYS_MIN {
        format!("it takes {DAYS_MIN} whole days of snapshots, {days} seen")
    } else {
        format!("it takes {SNAPSHOTS_MIN} snapshots, {snapshots} seen")
    }
}
