use proptest::prelude::*;

use super::*;

/// Tells whether two snapshots are of the same period.
type Same<'a> = Box<dyn Fn(&Candidate, &Candidate) -> bool + 'a>;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

fn at(text: &str) -> Timestamp {
    let time: jiff::Timestamp = text.parse().expect("RFC 3339");
    Timestamp::from_seconds(time.as_second())
}

fn snapshot(name: &str, received: Timestamp) -> Candidate {
    Candidate {
        name: name.to_owned(),
        received: Some(received),
        complete: true,
        protected: false,
    }
}

fn keep(text: &str) -> Keep {
    let mut keep = Keep::default();
    for part in text.split_whitespace() {
        let (rule, count) = part.split_once('=').expect("rule=count");
        let count = Some(count.parse().expect("a number"));
        match rule {
            "last" => keep.last = count,
            "hourly" => keep.hourly = count,
            "daily" => keep.daily = count,
            "weekly" => keep.weekly = count,
            "monthly" => keep.monthly = count,
            "yearly" => keep.yearly = count,
            _ => panic!("{rule} is no rule"),
        }
    }
    keep
}

fn judge(snapshots: &[Candidate], rules: &str) -> Vec<(String, String)> {
    let now = at("2100-01-01T00:00:00Z");
    verdicts(snapshots, &keep(rules), &TimeZone::UTC, now)
        .expect("verdicts")
        .into_iter()
        .map(|verdict| (verdict.name, verdict.reason.to_string()))
        .collect()
}

/// Checks the reasons of snapshots that were received at these times, newest first.
fn check(times: &[&str], rules: &str, reasons: &[&str]) {
    let snapshots: Vec<_> = times.iter().map(|time| snapshot(time, at(time))).collect();
    let wanted: Vec<_> = times
        .iter()
        .zip(reasons)
        .map(|(time, reason)| ((*time).to_owned(), (*reason).to_owned()))
        .collect();
    assert_eq!(judge(&snapshots, rules), wanted, "{rules}");
}

#[test]
fn each_rule_keeps_the_newest_of_its_periods_and_skips_what_others_covered() {
    let times = [
        "2026-11-23T12:30:00Z",
        "2026-11-23T12:10:00Z",
        "2026-11-23T11:00:00Z",
        "2026-11-22T23:00:00Z",
        "2026-11-22T01:00:00Z",
        "2026-11-15T01:00:00Z",
        "2026-10-31T01:00:00Z",
        "2025-12-31T01:00:00Z",
    ];
    check(
        &times,
        "last=1 hourly=1 daily=1 weekly=1 monthly=1 yearly=1",
        &[
            "the last",
            "no rule keeps it",
            "newest of hour 2026-11-23 11:00",
            "newest of day 2026-11-22",
            "no rule keeps it",
            "newest of week 2026-W46",
            "newest of month 2026-10",
            "newest of year 2025",
        ],
    );
    check(
        &times,
        "last=2 yearly=2",
        &[
            "one of the last 2",
            "one of the last 2",
            "no rule keeps it",
            "no rule keeps it",
            "no rule keeps it",
            "no rule keeps it",
            "no rule keeps it",
            "newest of year 2025",
        ],
    );
}

#[test]
fn what_one_rule_drops_no_later_rule_keeps() {
    // 30 November and 1 December of 2026 lie in one week.
    check(
        &[
            "2026-12-01T12:00:00Z",
            "2026-11-30T12:00:00Z",
            "2026-11-20T12:00:00Z",
        ],
        "weekly=1 monthly=1",
        &[
            "newest of week 2026-W49",
            "no rule keeps it",
            "newest of month 2026-11",
        ],
    );
}

#[test]
fn weeks_are_those_of_iso_8601() {
    check(
        &["2027-01-03T12:00:00Z", "2026-12-28T12:00:00Z"],
        "weekly=5",
        &["newest of week 2026-W53", "no rule keeps it"],
    );
}

#[test]
fn an_incomplete_snapshot_stays_only_while_nothing_newer_is_there() {
    let incomplete = |name: &str, hour: i64| Candidate {
        complete: false,
        ..snapshot(name, Timestamp::from_seconds(hour * HOUR))
    };
    let complete = |name: &str, hour: i64| snapshot(name, Timestamp::from_seconds(hour * HOUR));
    let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        let pair = |(name, reason): &(&str, &str)| ((*name).to_owned(), (*reason).to_owned());
        pairs.iter().map(pair).collect()
    };
    assert_eq!(
        judge(
            &[incomplete("d", 4), incomplete("c", 3), complete("b", 2)],
            "last=1"
        ),
        own(&[
            ("d", "incomplete, but nothing newer is there"),
            ("c", "incomplete, and something newer is there"),
            ("b", "the last"),
        ])
    );
    assert_eq!(
        judge(&[complete("d", 4), incomplete("c", 3)], "last=9"),
        own(&[
            ("d", "one of the last 9"),
            ("c", "incomplete, and something newer is there"),
        ])
    );
}

#[test]
fn what_is_protected_or_lacks_a_receipt_stays_and_counts_for_nothing() {
    let protected = Candidate {
        protected: true,
        ..snapshot("protected", Timestamp::from_seconds(9 * DAY))
    };
    let lacking = Candidate {
        received: None,
        ..snapshot("lacking", Timestamp::default())
    };
    let plain = snapshot("plain", Timestamp::from_seconds(8 * DAY));
    let old = snapshot("old", Timestamp::from_seconds(7 * DAY));
    assert_eq!(
        judge(&[lacking, old, plain, protected], "last=1"),
        [
            ("protected", "protected"),
            ("plain", "the last"),
            ("old", "no rule keeps it"),
            ("lacking", "no receipt says when it came"),
        ]
        .map(|(name, reason)| (name.to_owned(), reason.to_owned()))
    );
}

#[test]
fn days_are_those_of_the_zone() {
    let times = ["2026-11-23T02:00:00Z", "2026-11-22T22:00:00Z"];
    let snapshots: Vec<_> = times.iter().map(|time| snapshot(time, at(time))).collect();
    let now = at("2026-11-24T00:00:00Z");
    for (hours, kept) in [(0, 2), (5, 1), (-5, 1)] {
        let zone = TimeZone::fixed(jiff::tz::offset(hours));
        let found = verdicts(&snapshots, &keep("daily=5"), &zone, now).expect("verdicts");
        let count = found.iter().filter(|verdict| verdict.reason.keeps());
        assert_eq!(count.count(), kept, "{hours}");
    }
}

#[test]
fn nothing_is_decided_without_rules_or_by_a_clock_that_jumped_back() {
    let received = at("2026-11-23T12:00:00Z");
    let snapshots = [snapshot("a", received)];
    let now = at("2026-11-23T11:59:59Z");
    assert_eq!(
        verdicts(&snapshots, &keep("last=1"), &TimeZone::UTC, now),
        Err(RetentionError::ClockBehind {
            now,
            name: "a".to_owned(),
            received
        })
    );
    assert_eq!(
        verdicts(&snapshots, &keep("last=0"), &TimeZone::UTC, received),
        Err(RetentionError::NoRules)
    );
}

#[test]
fn sources_that_would_be_left_empty_are_named() {
    let fates = [
        ("b", false),
        ("a", false),
        ("c", true),
        ("a", true),
        ("c", false),
    ];
    assert_eq!(emptied(fates), ["b"]);
    assert!(emptied([]).is_empty());
}

/// Says the same as [`verdicts`] in another way: by trying every snapshot against every rule.
fn model(snapshots: &[Candidate], keep: &Keep) -> Vec<String> {
    let mut left: Vec<&Candidate> = snapshots.iter().filter(|s| s.received.is_some()).collect();
    left.sort_by_key(|s| (s.received, &s.name));
    let mut stays: Vec<String> = snapshots
        .iter()
        .filter(|s| s.protected || s.received.is_none())
        .map(|s| s.name.clone())
        .collect();
    if let Some(newest) = left.last()
        && !newest.complete
    {
        stays.push(newest.name.clone());
    }
    left.retain(|s| s.complete && !s.protected);
    let mut chosen: Vec<&Candidate> = Vec::new();
    let date = |s: &Candidate| {
        let seconds = s.received.expect("it has one").seconds();
        let time = jiff::Timestamp::from_second(seconds).expect("a time");
        time.to_zoned(TimeZone::UTC)
    };
    let week = |s: &Candidate| date(s).date().iso_week_date();
    let rules: [(Option<u32>, Same<'_>); 6] = [
        (keep.last, Box::new(|a, b| a.name == b.name)),
        (
            keep.hourly,
            Box::new(|a, b| date(a).date() == date(b).date() && date(a).hour() == date(b).hour()),
        ),
        (
            keep.daily,
            Box::new(|a, b| date(a).date() == date(b).date()),
        ),
        (
            keep.weekly,
            Box::new(|a, b| (week(a).year(), week(a).week()) == (week(b).year(), week(b).week())),
        ),
        (
            keep.monthly,
            Box::new(|a, b| (date(a).year(), date(a).month()) == (date(b).year(), date(b).month())),
        ),
        (
            keep.yearly,
            Box::new(|a, b| date(a).year() == date(b).year()),
        ),
    ];
    for (count, same) in rules {
        // Of those in no period that is covered, the newest of each period, newest first.
        let open: Vec<&Candidate> = left
            .iter()
            .rev()
            .copied()
            .filter(|s| !chosen.iter().any(|c| same(c, s)))
            .collect();
        let mut firsts: Vec<&Candidate> = Vec::new();
        for s in &open {
            if !firsts.iter().any(|first| same(first, s)) {
                firsts.push(s);
            }
        }
        firsts.truncate(count.unwrap_or(0) as usize);
        let end = open.iter().position(|s| {
            firsts.len() == count.unwrap_or(0) as usize && !firsts.iter().any(|f| same(f, s))
        });
        for s in &open[..end.unwrap_or(open.len())] {
            left.retain(|other| other.name != s.name);
        }
        chosen.extend(firsts);
    }
    stays.extend(chosen.iter().map(|s| s.name.clone()));
    stays.sort();
    stays.dedup();
    stays
}

fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let one = (0_i64..800 * 24, 0_u8..20);
    proptest::collection::vec(one, 0..60).prop_map(|all| {
        let candidate = |(number, (hours, luck)): (usize, (i64, u8))| Candidate {
            name: format!("{number:03}"),
            received: (luck != 0).then_some(Timestamp::from_seconds(1_700_000_000 + hours * HOUR)),
            complete: luck != 1 && luck != 2,
            protected: luck == 3,
        };
        all.into_iter().enumerate().map(candidate).collect()
    })
}

proptest! {
    #[test]
    fn the_rules_keep_what_a_plain_model_keeps(
        snapshots in candidates(),
        counts in proptest::array::uniform6(proptest::option::of(0_u32..6)),
    ) {
        let [last, hourly, daily, weekly, monthly, yearly] = counts;
        let keep = Keep { last, hourly, daily, weekly, monthly, yearly };
        prop_assume!(!keep.is_empty());
        let found = verdicts(&snapshots, &keep, &TimeZone::UTC, at("2100-01-01T00:00:00Z"));
        let found = found.expect("verdicts");
        prop_assert_eq!(found.len(), snapshots.len());
        let mut stays: Vec<String> = found
            .iter()
            .filter(|verdict| verdict.reason.keeps())
            .map(|verdict| verdict.name.clone())
            .collect();
        stays.sort();
        prop_assert_eq!(&stays, &model(&snapshots, &keep));
        prop_assert!(snapshots.is_empty() || !stays.is_empty());
        // Applied again, the rules change nothing.
        let left: Vec<_> = snapshots
            .iter()
            .filter(|snapshot| stays.contains(&snapshot.name))
            .cloned()
            .collect();
        let again = verdicts(&left, &keep, &TimeZone::UTC, at("2100-01-01T00:00:00Z"));
        let idempotent = again.expect("verdicts").iter().all(|verdict| verdict.reason.keeps());
        let week_reaches_into_a_month = keep.weekly.is_some_and(|count| count > 0);
        prop_assert!(idempotent || week_reaches_into_a_month || left.iter().any(|s| !s.complete));
    }
}
