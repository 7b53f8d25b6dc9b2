//! Points in time and lengths of time; the clock itself is always an argument.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A point in time in nanoseconds since the Unix epoch, UTC.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

const NANOS: i64 = 1_000_000_000;

impl Timestamp {
    /// Makes a timestamp from whole seconds since the epoch.
    pub fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(NANOS))
    }

    /// Returns whole seconds since the epoch, rounded down.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(NANOS)
    }

    /// Returns the beginning of a day that is written `YYYYMMDD`, in UTC.
    pub fn of_day(digits: &str) -> Option<Self> {
        if digits.len() != 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let (year, month) = (digits[..4].parse().ok()?, digits[4..6].parse().ok()?);
        let day = jiff::civil::Date::new(year, month, digits[6..].parse().ok()?).ok()?;
        let midnight = day.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        Some(Self::from_seconds(midnight.timestamp().as_second()))
    }

    /// Returns how much time passed since an earlier point; zero if it lies ahead.
    pub fn since(self, earlier: Self) -> Period {
        Period((self.seconds() - earlier.seconds()).max(0) as u64)
    }
}

impl fmt::Display for Timestamp {
    /// Prints RFC 3339 in UTC, to the second.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.seconds()) {
            Ok(time) => f.pad(&time.to_string()),
            Err(_) => f.pad("out of range"),
        }
    }
}

/// A length of time in whole seconds.
///
/// Read from `"90s"`, `"15min"`, `"26h"`, `"30d"`, `"2w"`.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(transparent)]
pub struct Period(pub u64);

/// Says why a text is not a length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a length of time; write for example \"90s\", \"15min\", \"26h\" or \"30d\"")]
pub struct PeriodError(pub String);

const PERIOD_UNITS: [(&str, u64); 6] = [
    ("min", 60),
    ("s", 1),
    ("h", 3_600),
    ("d", 86_400),
    ("w", 604_800),
    ("y", 31_557_600),
];

impl FromStr for Period {
    type Err = PeriodError;
    fn from_str(text: &str) -> Result<Self, PeriodError> {
        let error = || PeriodError(text.to_owned());
        let (number, factor) = PERIOD_UNITS
            .iter()
            .find_map(|(unit, factor)| text.strip_suffix(unit).map(|n| (n, *factor)))
            .ok_or_else(error)?;
        if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
            return Err(error());
        }
        let number: u64 = number.parse().map_err(|_| error())?;
        number
            .checked_mul(factor)
            .filter(|s| *s <= i64::MAX as u64 / NANOS as u64)
            .map(Period)
            .ok_or_else(error)
    }
}

impl fmt::Display for Period {
    /// Prints the length in its largest fitting unit: `45 s`, `12 min`, `26 h`, `30 d`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            s if s < 120 => format!("{s} s"),
            s if s < 7_200 => format!("{} min", s / 60),
            s if s < 172_800 => format!("{} h", s / 3_600),
            s => format!("{} d", s / 86_400),
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_read_and_printed() {
        for (text, seconds, printed) in [
            ("90s", 90, "90 s"),
            ("15min", 900, "15 min"),
            ("26h", 93_600, "26 h"),
            ("30d", 2_592_000, "30 d"),
            ("2w", 1_209_600, "14 d"),
        ] {
            let period: Period = text.parse().expect("a period");
            assert_eq!(period, Period(seconds));
            assert_eq!(period.to_string(), printed);
        }
        for text in ["", "h", "24", "1.5h", "-1h", "99999999999999d", "9 h"] {
            assert!(text.parse::<Period>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_time_before_the_epoch_is_still_printed() {
        assert_eq!(Timestamp(-1).to_string(), "1969-12-31T23:59:59Z");
        assert_eq!(
            Timestamp::from_seconds(i64::MAX).seconds(),
            i64::MAX / NANOS
        );
    }

    #[test]
    fn time_since_a_later_point_is_zero() {
        assert_eq!(Timestamp(0).since(Timestamp::from_seconds(5)), Period(0));
    }
}
