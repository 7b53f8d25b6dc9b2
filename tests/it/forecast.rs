//! `bkpctl forecast`: a range of dates, said only where enough was measured.

use std::path::Path;

use bkpctl::cli::render::render_forecast;
use bkpctl::model::observed::{DayFacts, NodeState};
use bkpctl::model::retention::Keep;
use bkpctl::model::{ByteSize, Name, Observed, Timestamp, Topology};
use bkpctl::plan::forecast::{ForecastOutlook, forecast};
use proptest::prelude::*;

use crate::plan_cases;
use crate::support::sandbox::Sandbox;

const DAY: i64 = 86_400;
const GIB: u64 = 1 << 30;

/// `tests/cases/plan/CASE/forecast.txt` is what a person sees; `BKPCTL_UPDATE=1` writes it anew.
#[test]
fn each_forecast_says_when_or_why_it_does_not_know() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/plan");
    let is_shown = |name: &str| name.starts_with("forecast") || name == "reserve-reached";
    let mut problems = Vec::new();
    for case in plan_cases::cases() {
        if is_shown(&case.name) || case.name == "standing-unseen" {
            let made = forecast(&case.topology, &case.observed, case.now);
            let text = render_forecast(&made, &plan_cases::style(false));
            let file = folder.join(&case.name).join("forecast.txt");
            problems.extend(plan_cases::expect(&file, &text).err());
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// What came on one day, in MiB, and what the source grew by then.
type Measured = (u64, u64);

fn world(keep: Option<Keep>, days: &[Measured], factor: u64, free: u64) -> (Topology, Observed) {
    let (mut topology, mut observed) = plan_cases::base();
    let name = |text: &str| Name::new(text).expect("a name");
    let primary = topology.datastores.get_mut("primary").expect("the base's");
    (primary.keep, primary.reserve) = (keep, None);
    let today = plan_cases::now().seconds().div_euclid(DAY);
    let mut bytes = 1000 * GIB;
    let mut history = Vec::new();
    for (at, (stored, grown)) in days.iter().enumerate() {
        bytes += (grown.min(stored) << 20) * factor;
        let ago = (days.len() - at) as i64;
        history.push(DayFacts {
            day: Timestamp::from_seconds((today - ago) * DAY),
            snapshots: 1,
            stored: ByteSize((stored << 20) * factor),
            bytes: ByteSize(bytes),
        });
    }
    let Some(NodeState::Reached(facts)) = observed.nodes.get_mut("nas") else {
        panic!("the base reaches nas");
    };
    for path in facts.paths.values_mut() {
        if let Some(space) = &mut path.space {
            space.free = ByteSize(free);
        }
    }
    let store = facts.datastores.get_mut("primary").expect("the base's");
    store.history.insert(name("www"), history);
    (topology, observed)
}

/// Returns when the limit is reached at the earliest and at the latest, far away for never.
fn dates((topology, observed): &(Topology, Observed)) -> (i64, i64) {
    let made = forecast(topology, observed, plan_cases::now());
    let primary = |line: &&bkpctl::plan::forecast::ForecastLine| {
        line.datastores.iter().any(|name| name == "primary")
    };
    let line = made
        .filesystems
        .iter()
        .find(primary)
        .expect("it has a line");
    match &line.outlook {
        ForecastOutlook::Between { earliest, latest } => {
            (earliest.0, latest.map_or(i64::MAX, |latest| latest.0))
        }
        ForecastOutlook::NotBefore(_) => (i64::MAX, i64::MAX),
        ForecastOutlook::Reached => (0, 0),
        ForecastOutlook::Unknown(why) => panic!("{why}"),
    }
}

fn measured() -> impl Strategy<Value = Vec<Measured>> {
    proptest::collection::vec((0_u64..20_000, 0_u64..20_000), 9..25)
}

fn rules() -> impl Strategy<Value = [u32; 6]> {
    // A repository that keeps something keeps its last one.
    [1_u32..4, 0..5, 0..12, 0..6, 0..6, 0..3]
}

fn keep(rules: [u32; 6]) -> Keep {
    let [last, hourly, daily, weekly, monthly, yearly] = rules.map(Some);
    Keep {
        last,
        hourly,
        daily,
        weekly,
        monthly,
        yearly,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn more_growth_is_never_full_later(days in measured(), rules in rules(), free in 1_u64..4000) {
        let slow = dates(&world(Some(keep(rules)), &days, 1, free * GIB));
        let fast = dates(&world(Some(keep(rules)), &days, 2, free * GIB));
        prop_assert!(fast.0 <= slow.0 && fast.1 <= slow.1, "{fast:?} {slow:?}");
        prop_assert!(slow.0 <= slow.1);
    }

    // A wider rule may keep another day of a month than the rules after it kept before, so that
    // only where all days are alike it keeps no less.
    #[test]
    fn what_keeps_more_days_of_one_size_is_never_full_later(
        day in (0_u64..20_000, 0_u64..20_000),
        count in 9_usize..25,
        rules in rules(),
        rule in 0_usize..6,
        more in 1_u32..10,
        free in 1_u64..4000,
    ) {
        let days = vec![day; count];
        let mut wider = rules;
        wider[rule] += more;
        let less = dates(&world(Some(keep(rules)), &days, 1, free * GIB));
        let longer = dates(&world(Some(keep(wider)), &days, 1, free * GIB));
        prop_assert!(longer.0 <= less.0 && longer.1 <= less.1, "{longer:?} {less:?}");
    }

    #[test]
    fn what_keeps_everything_is_never_full_later(
        days in measured(),
        rules in rules(),
        free in 1_u64..4000,
    ) {
        let some = dates(&world(Some(keep(rules)), &days, 1, free * GIB));
        let all = dates(&world(None, &days, 1, free * GIB));
        prop_assert!(all.0 <= some.0 && all.1 <= some.1, "{all:?} {some:?}");
    }

    #[test]
    fn less_room_is_never_full_later(days in measured(), rules in rules(), free in 2_u64..4000) {
        let wide = dates(&world(Some(keep(rules)), &days, 1, free * GIB));
        let narrow = dates(&world(Some(keep(rules)), &days, 1, free / 2 * GIB));
        prop_assert!(narrow.0 <= wide.0 && narrow.1 <= wide.1, "{narrow:?} {wide:?}");
    }
}

#[test]
fn a_steady_source_fills_a_disk_on_the_day_that_arithmetic_says() {
    let days = vec![(1024, 1024); 15];
    // A GiB a day into 100 GiB, today included: the hundredth day is 99 days from now.
    let (earliest, latest) = dates(&world(Some(keep([1; 6])), &days, 1, 100 * GIB));
    let today = plan_cases::now().seconds().div_euclid(DAY);
    let ahead = |nanos: i64| Timestamp(nanos).seconds().div_euclid(DAY) - today;
    assert_eq!((ahead(earliest), ahead(latest)), (99, 99));
}

#[test]
fn a_source_that_only_changes_levels_off_and_is_never_full() {
    let days = vec![(1024, 0); 15];
    let seven = Keep {
        daily: Some(7),
        ..Keep::default()
    };
    let pruned = dates(&world(Some(seven), &days, 1, 100 * GIB));
    assert_eq!(pruned, (i64::MAX, i64::MAX));
    let kept = dates(&world(None, &days, 1, 100 * GIB));
    assert!(kept.1 < i64::MAX, "{kept:?}");
}

#[test]
fn the_command_foretells_from_what_is_there_and_says_when_it_does_not_know() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "topology.kdl",
        r#"
topology "small" id="small00001"
node "here" { local }
key "demo" { file "demo.key"; create }
datastore "first" { place "here" path="first"; keep daily=7 }
source "etc" on="here" { path "etc" }
phase "baseline" { backup "nightly" { source "etc"; to "first" } }
"#,
    );
    sandbox.write("etc/hosts", "127.0.0.1 localhost\n");
    sandbox
        .run(&["forecast"])
        .exits(0)
        .says("first")
        .says("no forecast");
    let shown = sandbox.run(&["forecast", "--json"]).exits(0).stdout;
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("a document");
    assert_eq!(shown["filesystems"][0]["datastores"][0], "first");
    assert!(shown["filesystems"][0]["outlook"]["unknown"].is_string());
}
