//! Amounts of bytes as people write and read them.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A number of bytes.
///
/// Read from `"512"`, `"10KiB"`, `"1.5 GiB"`, `"4TB"`: binary units are powers of
/// 1024, decimal ones of 1000. Printed with three digits in binary units.
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
pub struct ByteSize(pub u64);

/// Says why a text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a size; write for example \"10GiB\", \"500MB\" or \"1.5TiB\"")]
pub struct SizeError(pub String);

const UNITS: [(&str, u64); 10] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("PiB", 1 << 50),
    ("KB", 1_000),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

impl FromStr for ByteSize {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let error = || SizeError(text.to_owned());
        let (number, factor) = UNITS
            .iter()
            .find_map(|(unit, factor)| text.strip_suffix(unit).map(|n| (n, *factor)))
            .unwrap_or_else(|| (text.strip_suffix('B').unwrap_or(text), 1));
        scaled(number.trim_end(), factor)
            .map(ByteSize)
            .ok_or_else(error)
    }
}

/// Multiplies a decimal number such as `1.5` by a factor, exactly and without overflow.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |s: &str| !s.is_empty() && s.len() <= 18 && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || (number.contains('.') && !digits(fraction)) {
        return None;
    }
    let whole: u128 = whole.parse().ok()?;
    let mut total = whole * u128::from(factor);
    if !fraction.is_empty() {
        let numerator: u128 = fraction.parse().ok()?;
        total += numerator * u128::from(factor) / 10u128.pow(fraction.len() as u32);
    }
    u64::try_from(total).ok()
}

impl ByteSize {
    /// Tells whether it is none at all; serde asks by reference.
    pub fn is_zero(&self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
        let mut value = self.0 as f64;
        let mut unit = 0;
        while value >= 999.5 && unit + 1 < NAMES.len() {
            value /= 1024.0;
            unit += 1;
        }
        let text = match (unit, value) {
            (0, v) => format!("{v:.0} {}", NAMES[unit]),
            (_, v) if v < 9.95 => format!("{v:.1} {}", NAMES[unit]),
            (_, v) => format!("{v:.0} {}", NAMES[unit]),
        };
        f.pad(&text)
    }
}

/// An amount of a filesystem: bytes, or a share of its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Amount {
    /// A fixed number of bytes.
    Bytes(ByteSize),
    /// Percent of the filesystem's size, 0 to 100.
    Percent(u8),
}

impl Amount {
    /// Returns the amount in bytes on a filesystem of that size.
    pub fn of(self, total: ByteSize) -> ByteSize {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => {
                ByteSize((u128::from(total.0) * u128::from(percent) / 100) as u64)
            }
        }
    }
}

impl FromStr for Amount {
    type Err = SizeError;
    fn from_str(text: &str) -> Result<Self, SizeError> {
        match text.strip_suffix('%') {
            None => text.parse().map(Self::Bytes),
            Some(number) => match number.trim_end().parse::<u8>() {
                Ok(percent) if percent <= 100 => Ok(Self::Percent(percent)),
                _ => Err(SizeError(text.to_owned())),
            },
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => bytes.fmt(f),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("512B", 512),
            ("10KiB", 10_240),
            ("1.5 GiB", 1_610_612_736),
            ("4TB", 4_000_000_000_000),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in [
            "",
            "GiB",
            "-1",
            "1.GiB",
            "1e3",
            "99999999999TiB",
            "1 G",
            "١GiB",
        ] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_printed_with_at_most_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1023, "1.0 KiB"),
            (1_610_612_736, "1.5 GiB"),
            (180 << 30, "180 GiB"),
            (u64::MAX, "16384 PiB"),
        ] {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
    }

    #[test]
    fn a_percentage_is_taken_of_the_whole() {
        let amount: Amount = "10%".parse().expect("a percentage");
        assert_eq!(amount.of(ByteSize(1000)), ByteSize(100));
        assert!("101%".parse::<Amount>().is_err());
    }
}
