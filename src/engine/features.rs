//! Features: what a repository asks of a program beyond the format's number.
//!
//! The marker maps a feature's name to what a program that does not know it must not do. This
//! program knows none: the format has everything it needs so far.

use std::collections::BTreeMap;

use super::error::EngineError;

/// The features that this program knows.
const KNOWN: &[&str] = &[];

/// How many features an error names, and how much of each name.
const NAMED_MAX: usize = 8;
const NAME_CHARS_MAX: usize = 64;

/// Names what somebody wants to do with a repository, the least demanding first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    /// Read snapshots, verify, copy from it.
    Read,
    /// Add snapshots, slots and copies.
    Write,
    /// Forget, collect, repack: whatever removes or rewrites.
    Collect,
}

impl Deed {
    /// Returns the least deed that a feature forbids to programs that do not know it.
    fn forbidden_by(need: &str) -> Self {
        match need {
            "collect" => Self::Collect,
            "write" => Self::Write,
            // A word that is not known could mean anything.
            _ => Self::Read,
        }
    }

    fn verb(self) -> &'static str {
        match self {
            Self::Read => "read it",
            Self::Write => "write to it",
            Self::Collect => "remove anything from it",
        }
    }
}

/// Refuses a deed that a feature forbids to programs which do not know it.
pub(super) fn check(features: &BTreeMap<String, String>, deed: Deed) -> Result<(), EngineError> {
    let unknown: Vec<String> = features
        .iter()
        .filter(|(name, need)| !KNOWN.contains(&name.as_str()) && Deed::forbidden_by(need) <= deed)
        .map(|(name, _)| printable(name))
        .take(NAMED_MAX)
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(EngineError::Features {
        names: unknown.join(", "),
        deed: deed.verb(),
    })
}

fn printable(name: &str) -> String {
    name.chars()
        .filter(char::is_ascii_graphic)
        .take(NAME_CHARS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_feature_forbids_what_it_says_and_all_that_asks_more() {
        let cases = [
            ("read", [false, false, false]),
            ("write", [true, false, false]),
            ("collect", [true, true, false]),
            ("something", [false, false, false]),
        ];
        for (need, allowed) in cases {
            let features = BTreeMap::from([("x".to_owned(), need.to_owned())]);
            let deeds = [Deed::Read, Deed::Write, Deed::Collect];
            let found = deeds.map(|deed| check(&features, deed).is_ok());
            assert_eq!(found, allowed, "{need}");
        }
        assert!(check(&BTreeMap::new(), Deed::Collect).is_ok());
    }

    #[test]
    fn names_in_an_error_disarm_terminals_and_stay_short() {
        let name = format!("\u{1b}[31m{}", "y".repeat(1000));
        let features = BTreeMap::from([(name, "read".to_owned())]);
        let error = check(&features, Deed::Read)
            .expect_err("unknown")
            .to_string();
        assert!(!error.contains('\u{1b}') && error.len() < 300, "{error}");
    }
}
