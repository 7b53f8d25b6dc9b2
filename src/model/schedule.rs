//! Calendar expressions as systemd writes them: when a job runs.
//!
//! The grammar is that of systemd.time(7), "CALENDAR EVENTS": optional weekdays, an
//! optional date, an optional time and an optional zone, for example `02:00`,
//! `Mon..Fri 22:30`, `*-*-01 04:00 Europe/Berlin` or `daily`. Left out here: `~`
//! (days from a month's end) and fractions of a second.

use std::fmt;
use std::str::FromStr;

use jiff::ToSpan;
use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::time::Period;

/// A checked calendar expression.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Calendar {
    text: String,
    weekdays: Field,
    years: Option<Vec<i16>>,
    months: Field,
    days: Field,
    hours: Field,
    minutes: Field,
    seconds: Field,
    zone: Option<String>,
}

/// Says why a text is not a calendar expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a calendar expression ({reason}); write for example \"02:00\", \"Mon..Fri 22:30\", \"*-*-01 04:00\" or \"daily\""
)]
pub struct CalendarError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A set of small numbers, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Field(u64);

const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

const WEEKDAYS_LONG: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];

const SHORTHANDS: [(&str, &str); 9] = [
    ("minutely", "*-*-* *:*:00"),
    ("hourly", "*-*-* *:00:00"),
    ("daily", "*-*-* 00:00:00"),
    ("weekly", "Mon *-*-* 00:00:00"),
    ("monthly", "*-*-01 00:00:00"),
    ("quarterly", "*-01,04,07,10-01 00:00:00"),
    ("semiannually", "*-01,07-01 00:00:00"),
    ("yearly", "*-01-01 00:00:00"),
    ("annually", "*-01-01 00:00:00"),
];

impl Field {
    fn full(low: u32, high: u32) -> Self {
        Self((low..=high).fold(0, |bits, n| bits | 1 << n))
    }

    fn has(self, n: u32) -> bool {
        self.0 & (1 << n) != 0
    }

    /// Reads `*`, `a`, `a..b`, `a/n`, `a..b/n`, `*/n` and comma lists of these.
    fn parse(text: &str, low: u32, high: u32) -> Result<Self, String> {
        let mut bits = 0;
        for part in text.split(',') {
            let (range, step) = match part.split_once('/') {
                None => (part, None),
                Some((range, step)) => (range, Some(number(step, 1, high.max(1))?)),
            };
            let (from, to) = match range {
                "*" => (low, high),
                _ => {
                    if let Some((from, to)) = range.split_once("..") {
                        (number(from, low, high)?, number(to, low, high)?)
                    } else {
                        let from = number(range, low, high)?;
                        (from, if step.is_some() { high } else { from })
                    }
                }
            };
            if from > to {
                return Err(format!("the range {range} runs backwards"));
            }
            bits |= (from..=to)
                .step_by(step.unwrap_or(1) as usize)
                .fold(0, |b, n| b | 1 << n);
        }
        Ok(Self(bits))
    }

    fn parse_weekdays(text: &str) -> Result<Self, String> {
        let mut bits = 0;
        for part in text.split(',') {
            let (from, to) = match part.split_once("..") {
                None => (weekday(part)?, weekday(part)?),
                Some((from, to)) => (weekday(from)?, weekday(to)?),
            };
            // A range such as Sat..Mon runs over the week's end.
            let mut day = from;
            loop {
                bits |= 1 << day;
                if day == to {
                    break;
                }
                day = (day + 1) % 7;
            }
        }
        Ok(Self(bits))
    }
}

fn number(text: &str, low: u32, high: u32) -> Result<u32, String> {
    let digits = !text.is_empty() && text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u32>() {
        Ok(n) if digits && (low..=high).contains(&n) => Ok(n),
        _ => Err(format!("{text:?} is not a number from {low} to {high}")),
    }
}

fn weekday(text: &str) -> Result<u32, String> {
    let lower = text.to_ascii_lowercase();
    (0..7)
        .find(|&i| lower == WEEKDAYS[i] || lower == WEEKDAYS_LONG[i])
        .map(|i| i as u32)
        .ok_or_else(|| format!("{text:?} is not a weekday"))
}

impl FromStr for Calendar {
    type Err = CalendarError;

    fn from_str(text: &str) -> Result<Self, CalendarError> {
        let trimmed = text.trim();
        let spelled = SHORTHANDS
            .iter()
            .find(|(word, _)| trimmed.eq_ignore_ascii_case(word))
            .map_or(trimmed, |(_, spelled)| spelled);
        parse(spelled)
            .map(|calendar| Self {
                text: trimmed.to_owned(),
                ..calendar
            })
            .map_err(|reason| CalendarError {
                text: text.to_owned(),
                reason,
            })
    }
}

fn parse(text: &str) -> Result<Calendar, String> {
    if text.is_empty() || text.len() > 200 {
        return Err("it is empty or too long".to_owned());
    }
    let mut calendar = Calendar {
        text: String::new(),
        weekdays: Field::full(0, 6),
        years: None,
        months: Field::full(1, 12),
        days: Field::full(1, 31),
        hours: Field(1),
        minutes: Field(1),
        seconds: Field(1),
        zone: None,
    };
    let mut words = text.split_whitespace().peekable();
    if let Some(word) = words.peek()
        && word.starts_with(|c: char| c.is_ascii_alphabetic())
    {
        calendar.weekdays = Field::parse_weekdays(word.trim_end_matches(','))?;
        words.next();
    }
    if let Some(word) = words.peek()
        && word.contains('-')
        && !word.contains(':')
    {
        parse_date(word, &mut calendar)?;
        words.next();
    }
    if let Some(word) = words.peek()
        && word.contains(':')
    {
        parse_time(word, &mut calendar)?;
        words.next();
    }
    if let Some(word) = words.next() {
        let plausible = word.starts_with(|c: char| c.is_ascii_alphabetic())
            && word
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"/_+-".contains(&b));
        if !plausible {
            return Err(format!("{word:?} is neither a date, a time nor a zone"));
        }
        calendar.zone = Some(word.to_owned());
    }
    match words.next() {
        None if calendar.longest_gap().is_none() => Err("it never happens".to_owned()),
        None => Ok(calendar),
        Some(word) => Err(format!("{word:?} is one word too many")),
    }
}

fn parse_date(word: &str, calendar: &mut Calendar) -> Result<(), String> {
    let parts: Vec<&str> = word.split('-').collect();
    let (year, month, day) = match parts[..] {
        [year, month, day] => (year, month, day),
        [month, day] => ("*", month, day),
        _ => return Err(format!("{word:?} is not a date")),
    };
    if year != "*" {
        let years: Result<Vec<i16>, String> = year
            .split(',')
            .map(|y| number(y, 1970, 2199).map(|y| y as i16))
            .collect();
        calendar.years = Some(years?);
    }
    calendar.months = Field::parse(month, 1, 12)?;
    calendar.days = Field::parse(day, 1, 31)?;
    Ok(())
}

fn parse_time(word: &str, calendar: &mut Calendar) -> Result<(), String> {
    let parts: Vec<&str> = word.split(':').collect();
    let (hour, minute, second) = match parts[..] {
        [hour, minute] => (hour, minute, "0"),
        [hour, minute, second] => (hour, minute, second),
        _ => return Err(format!("{word:?} is not a time")),
    };
    calendar.hours = Field::parse(hour, 0, 23)?;
    calendar.minutes = Field::parse(minute, 0, 59)?;
    calendar.seconds = Field::parse(second, 0, 59)?;
    Ok(())
}

impl Calendar {
    /// Returns the expression as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the longest time between two events, if it happens more than once.
    ///
    /// Four years are looked at, so that leap days count; zones are ignored, which is
    /// at most an hour off where clocks change.
    pub fn longest_gap(&self) -> Option<Period> {
        let (first, last, within) = self.day_shape()?;
        let start = self
            .years
            .as_ref()
            .and_then(|y| y.iter().min().copied())
            .unwrap_or(2024);
        let mut date = Date::new(start, 1, 1).ok()?;
        let mut previous: Option<Date> = None;
        let mut longest = within;
        let mut events = u32::from(within > 0);
        for _ in 0..=4 * 366 {
            if self.on(date) {
                if let Some(previous) = previous {
                    let days = (date - previous).get_days();
                    longest = longest.max(days as u64 * 86_400 + first - last);
                }
                events += 1;
                previous = Some(date);
            }
            date = date.checked_add(1.day()).ok()?;
        }
        match (events, longest) {
            (0, _) => None,
            // It happens once: the gap has no end.
            (_, 0) => Some(Period(u64::from(u32::MAX))),
            _ => Some(Period(longest)),
        }
    }

    /// Returns the first and last second of a day's events and the longest gap between them.
    fn day_shape(&self) -> Option<(u64, u64, u64)> {
        let mut first = None;
        let mut last: u64 = 0;
        let mut longest = 0;
        for hour in (0..24).filter(|&h| self.hours.has(h)) {
            for minute in (0..60).filter(|&m| self.minutes.has(m)) {
                for second in (0..60).filter(|&s| self.seconds.has(s)) {
                    let now = u64::from(hour * 3_600 + minute * 60 + second);
                    if first.is_some() {
                        longest = longest.max(now - last);
                    }
                    first = first.or(Some(now));
                    last = now;
                }
            }
        }
        first.map(|first| (first, last, longest))
    }

    fn on(&self, date: Date) -> bool {
        self.weekdays
            .has(date.weekday().to_monday_zero_offset() as u32)
            && self
                .years
                .as_ref()
                .is_none_or(|years| years.contains(&date.year()))
            && self.months.has(date.month() as u32)
            && self.days.has(date.day() as u32)
    }
}

impl fmt::Display for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl TryFrom<String> for Calendar {
    type Error = CalendarError;
    fn try_from(text: String) -> Result<Self, CalendarError> {
        text.parse()
    }
}

impl From<Calendar> for String {
    fn from(calendar: Calendar) -> Self {
        calendar.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read_and_their_longest_gap_is_known() {
        const HOUR: u64 = 3_600;
        for (text, seconds) in [
            ("02:00", 24 * HOUR),
            ("daily", 24 * HOUR),
            ("hourly", HOUR),
            ("*:0/15", 15 * 60),
            ("Mon..Fri 22:30", 72 * HOUR),
            ("Sat..Mon 22:30", 5 * 24 * HOUR),
            ("*-*-01 04:00 Europe/Berlin", 31 * 24 * HOUR),
        ] {
            let calendar: Calendar = text.parse().expect("a calendar expression");
            assert_eq!(calendar.longest_gap(), Some(Period(seconds)), "{text}");
            assert_eq!(calendar.to_string(), text);
        }
    }

    #[test]
    fn expressions_that_never_happen_or_make_no_sense_are_refused() {
        for text in [
            "",
            "25:00",
            "Foo 02:00",
            "02-30 00:00",
            "2 am",
            "02:00 UTC extra",
            "*-13-01",
            "22..20:00",
        ] {
            assert!(text.parse::<Calendar>().is_err(), "{text:?}");
        }
    }
}
