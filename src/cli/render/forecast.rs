//! When filesystems fill up, as text.

use super::text::{self, Page, Style, Tone, escape};
use crate::model::{Name, Timestamp};
use crate::plan::forecast::{Forecast, ForecastLine, ForecastOutlook};

/// Days that are nearer than this are named; further off, months are.
const NEAR: i64 = 60 * 86_400;

/// Returns a forecast as text for people.
pub fn render_forecast(forecast: &Forecast, style: &Style) -> String {
    let mut page = Page::new(style);
    if forecast.filesystems.is_empty() {
        page.line("No datastore is a directory, so there is nothing to fill up.");
        return page.finish();
    }
    for (number, line) in forecast.filesystems.iter().enumerate() {
        if number > 0 {
            page.gap();
        }
        let (mark, tone) = match line.outlook {
            ForecastOutlook::Reached => ("✗", Tone::Bad),
            ForecastOutlook::Between { .. } => ("⚠", Tone::Caution),
            ForecastOutlook::NotBefore(_) => ("✓", Tone::Good),
            ForecastOutlook::Unknown(_) => ("?", Tone::Quiet),
        };
        let mark = style.paint(tone, mark);
        let words = format!("{} · {}", names(line), full(line, forecast.at));
        page.hanging(&format!("{mark} "), 2, &words, None);
        page.hanging("  ", 2, &room(line), Some(Tone::Quiet));
        if line.days > 0 {
            page.hanging("  ", 2, &measured(line), Some(Tone::Quiet));
        }
    }
    let is_drawn = |line: &ForecastLine| {
        let when = &line.outlook;
        matches!(
            when,
            ForecastOutlook::Between { .. } | ForecastOutlook::NotBefore(_)
        )
    };
    if !forecast.filesystems.iter().any(is_drawn) {
        return page.finish();
    }
    page.gap();
    let note = "If sources grow as they did, snapshots are pruned as keep says and nothing else is \
                written there. Four of five futures drawn from the measured days end in the range. \
                This version prunes nothing by itself: bkpctl store forget does.";
    page.hanging("", 0, note, Some(Tone::Quiet));
    page.finish()
}

/// Returns one line for all filesystems of a plan: those that say when, or all.
pub(super) fn short(lines: &[ForecastLine], now: Timestamp, all: bool) -> Option<String> {
    let says = |line: &&ForecastLine| {
        let when = &line.outlook;
        all || matches!(
            when,
            ForecastOutlook::Reached | ForecastOutlook::Between { .. }
        )
    };
    let lines: Vec<String> = lines
        .iter()
        .filter(says)
        .map(|line| match used(line) {
            Some(_) => format!("{} {}", names(line), full(line, now)),
            None => format!("{}: {}", names(line), full(line, now)),
        })
        .collect();
    (!lines.is_empty()).then(|| lines.join(" · "))
}

fn names(line: &ForecastLine) -> String {
    let names: Vec<&str> = line.datastores.iter().map(Name::as_str).collect();
    names.join(", ")
}

/// Says how full a filesystem is and when it reaches its limit.
fn full(line: &ForecastLine, now: Timestamp) -> String {
    match used(line) {
        Some(used) => format!("{used} %, {}", when(line, now)),
        None => when(line, now),
    }
}

fn used(line: &ForecastLine) -> Option<u128> {
    let (total, free) = (line.total?.0, line.free?.0);
    let used = u128::from(total.saturating_sub(free));
    (total > 0).then(|| used * 100 / u128::from(total))
}

/// Says when a filesystem reaches its limit.
pub(super) fn when(line: &ForecastLine, now: Timestamp) -> String {
    let has_reserve = line.reserve.0 > 0;
    let limit = if has_reserve {
        "reserve reached"
    } else {
        "full"
    };
    match &line.outlook {
        ForecastOutlook::Reached => limit.to_owned(),
        ForecastOutlook::Between {
            earliest,
            latest: Some(latest),
        } => format!("{limit} {}", range(*earliest, *latest, now)),
        ForecastOutlook::Between {
            earliest,
            latest: None,
        } => format!("{limit} in {} at the earliest", month(*earliest)),
        ForecastOutlook::NotBefore(day) => {
            let not = if has_reserve {
                "reserve not reached"
            } else {
                "not full"
            };
            format!("{not} before {}", month(*day))
        }
        ForecastOutlook::Unknown(why) => format!("no forecast: {}", escape(why)),
    }
}

/// Says a range of dates as people do: `between Mar and Jun 2027`, `on 3 Dec 2026`.
fn range(earliest: Timestamp, latest: Timestamp, now: Timestamp) -> String {
    let is_near = latest.seconds() - now.seconds() < NEAR;
    let (fine, coarse) = if is_near {
        ("%-d %b %Y", "%-d %b")
    } else {
        ("%b %Y", "%b")
    };
    let (from, to) = (format(earliest, fine), format(latest, fine));
    if from == to {
        let word = if is_near { "on" } else { "in" };
        return format!("{word} {to}");
    }
    let same_year = format(earliest, "%Y") == format(latest, "%Y");
    let from = if same_year {
        format(earliest, coarse)
    } else {
        from
    };
    format!("between {from} and {to}")
}

fn month(time: Timestamp) -> String {
    format(time, "%b %Y")
}

fn format(time: Timestamp, pattern: &str) -> String {
    let time = jiff::Timestamp::from_second(time.seconds()).unwrap_or_default();
    let time = time.to_zoned(jiff::tz::TimeZone::UTC);
    time.strftime(pattern).to_string()
}

fn room(line: &ForecastLine) -> String {
    let place = format!("{}:{}", line.node, escape(&line.mount));
    let (Some(total), Some(free)) = (line.total, line.free) else {
        return place;
    };
    let reserve = match line.reserve.0 {
        0 => String::new(),
        _ => format!(", reserve {}", line.reserve),
    };
    format!("{place}  {free} of {total} free{reserve}")
}

fn measured(line: &ForecastLine) -> String {
    let seen = format!(
        "{} in {}",
        text::count(line.snapshots as usize, "snapshot", "snapshots"),
        text::count(line.days as usize, "whole day", "whole days")
    );
    match line.daily {
        Some(daily) => format!("{daily} a day on average, {seen}"),
        None => seen,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Timestamp {
        Timestamp::of_day(text).expect("a day")
    }

    #[test]
    fn a_range_is_said_as_people_do() {
        let now = day("20261123");
        for (from, to, words) in [
            ("20270301", "20270630", "between Mar and Jun 2027"),
            ("20261201", "20270630", "between Dec 2026 and Jun 2027"),
            ("20270301", "20270330", "in Mar 2027"),
            ("20261203", "20261203", "on 3 Dec 2026"),
            ("20261203", "20261220", "between 3 Dec and 20 Dec 2026"),
        ] {
            assert_eq!(range(day(from), day(to), now), words);
        }
    }
}
