//! The node's clock, asked for last.

use crate::model::Timestamp;
use crate::observe::records::Records;

pub(super) const COMMAND: &str = r#"
out clock "$(date '+%s %N')"
"#;

/// Reads the clock and how far it is ahead of ours when the answer arrived.
pub(super) fn parse(records: &Records<'_>, after: Timestamp) -> Option<(Timestamp, i64)> {
    let text = records.text("clock")?;
    let (seconds, nanos) = text.split_once(' ').unwrap_or((&text, ""));
    let seconds: i64 = seconds.parse().ok()?;
    // Some systems know no fraction and print nothing, or the letter.
    let nanos = nanos
        .parse::<i64>()
        .ok()
        .filter(|nanos| (0..1_000_000_000).contains(nanos));
    let clock = Timestamp(
        Timestamp::from_seconds(seconds)
            .0
            .saturating_add(nanos.unwrap_or(0)),
    );
    let ahead_ms = clock.0.saturating_sub(after.0) / 1_000_000;
    // Without a fraction the clock shows the past second.
    let skew_ms = match nanos {
        None if (-1000..=0).contains(&ahead_ms) => 0,
        _ => ahead_ms,
    };
    Some((clock, skew_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_with_and_without_fractions_are_read() {
        let after = Timestamp(100_500_000_000);
        let skew = |text: &str| {
            let record = format!("clock {}\n{text}\n", text.len());
            parse(
                &Records::read(record.as_bytes()).expect("well-formed"),
                after,
            )
            .map(|(_, skew)| skew)
        };
        assert_eq!(skew("100 490000000"), Some(-10));
        assert_eq!(skew("100"), Some(0));
        assert_eq!(skew("100 N"), Some(0));
        assert_eq!(skew("160 0"), Some(59_500));
        assert_eq!(skew("9223372036854775807 5"), Some(9_223_371_936_354));
        assert_eq!(skew("soon"), None);
    }
}
