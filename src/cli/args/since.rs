//! A point in time as people give it on the command line.

use std::str::FromStr;

use crate::model::{Period, Timestamp};

/// Since when: a time, or how long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// A time.
    At(Timestamp),
    /// So long before now.
    Ago(Period),
}

/// Says why a text is neither.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is no time; write for example 2026-11-23T09:00:00Z, 2026-11-23, \"26h\" or \"7d\"")]
pub struct NoTime;

impl Since {
    /// Returns the time that is meant.
    pub fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::Ago(period) => Timestamp(
                now.0
                    .saturating_sub(Timestamp::from_seconds(period.0 as i64).0),
            ),
        }
    }
}

impl FromStr for Since {
    type Err = NoTime;
    fn from_str(text: &str) -> Result<Self, NoTime> {
        if let Ok(period) = text.parse() {
            return Ok(Self::Ago(period));
        }
        let day = || {
            let date: jiff::civil::Date = text.parse().ok()?;
            Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
        };
        let time = text
            .parse::<jiff::Timestamp>()
            .ok()
            .or_else(day)
            .ok_or(NoTime)?;
        i64::try_from(time.as_nanosecond())
            .map(|nanos| Self::At(Timestamp(nanos)))
            .map_err(|_| NoTime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_days_and_lengths_are_understood() {
        let now = Timestamp::from_seconds(1_000_000);
        for (text, seconds) in [
            ("1970-01-02T00:00:01Z", 86_401),
            ("1970-01-02T01:00:00+01:00", 86_400),
            ("1970-01-02", 86_400),
            ("1d", 1_000_000 - 86_400),
        ] {
            let since: Since = text.parse().expect(text);
            assert_eq!(since.before(now).seconds(), seconds, "{text}");
        }
        for text in ["", "yesterday", "1970", "9999-12-31"] {
            assert_eq!(text.parse::<Since>(), Err(NoTime), "{text}");
        }
    }
}
