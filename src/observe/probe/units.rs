//! The systemd units that bkpctl keeps: whether they come back at the next start, and which failed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::model::observed::UnitFacts;
use crate::model::system_files::unit_of_file;
use crate::observe::records::Records;
use crate::transport::shell_assign;

/// `is-enabled` reads links anew, where `show` may tell what was before the last reload. What
/// systemd itself does not answer to is not told: there it does not run.
const FUNCTION: &str = r#"
unit() {
    [ -f "$2" ] || return 0
    a=$($within systemctl show -p ActiveState -- "$3" 2>/dev/null)
    [ -n "$a" ] || return 0
    out "unit.$1.state" "$a"
    out "unit.$1.enabled" "$($within systemctl is-enabled -- "$3" 2>/dev/null)"
}
"#;

pub(super) fn command(files: &[String]) -> String {
    let mut units = units(files).peekable();
    if units.peek().is_none() {
        return String::new();
    }
    let mut text = format!("{FUNCTION}if command -v systemctl >/dev/null 2>&1; then\n");
    for (index, file, unit) in units {
        text.push_str(&shell_assign("p", file));
        text.push_str(&shell_assign("u", unit));
        writeln!(text, "unit {index} \"$p\" \"$u\"").expect("writing to a String never fails");
    }
    text.push_str("fi\n");
    text
}

fn units(files: &[String]) -> impl Iterator<Item = (usize, &String, &str)> {
    let files = files.iter().enumerate();
    files.filter_map(|(index, file)| Some((index, file, unit_of_file(file)?)))
}

pub(super) fn parse(records: &Records<'_>, files: &[String]) -> BTreeMap<String, UnitFacts> {
    let facts = |(index, file, _): (usize, &String, &str)| {
        let state = records.text(&format!("unit.{index}.state"))?;
        let enabled = records.text(&format!("unit.{index}.enabled"));
        let facts = UnitFacts {
            enabled: enabled.as_deref().and_then(is_enabled),
            failed: state.lines().any(|line| line == "ActiveState=failed"),
        };
        Some((file.clone(), facts))
    };
    units(files).filter_map(facts).collect()
}

/// Reads what `systemctl is-enabled` says, see systemctl(1).
///
/// What is enabled for now only is gone after a restart, as is what is only linked.
fn is_enabled(word: &str) -> Option<bool> {
    match word {
        "enabled" | "alias" => Some(true),
        "disabled" | "enabled-runtime" | "linked" | "linked-runtime" | "masked"
        | "masked-runtime" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: &str = "/etc/systemd/system/mnt-a.mount";

    // Synthetic, in the words of systemctl(1).
    #[test]
    fn a_unit_says_whether_it_comes_back_and_whether_it_failed() {
        let files = ["/etc/exports.d/bkpctl-a-b.exports", UNIT].map(str::to_owned);
        for (state, enabled, expected) in [
            ("active", "enabled", (Some(true), false)),
            ("active", "disabled", (Some(false), false)),
            ("active", "enabled-runtime", (Some(false), false)),
            ("failed", "enabled", (Some(true), true)),
            ("inactive", "static", (None, false)),
            ("inactive", "", (None, false)),
        ] {
            let state = format!("ActiveState={state}");
            let answer = format!(
                "unit.1.state {}\n{state}\nunit.1.enabled {}\n{enabled}\n",
                state.len(),
                enabled.len()
            );
            let records = Records::read(answer.as_bytes()).expect("well-formed");
            let units = parse(&records, &files);
            assert_eq!(units.len(), 1, "exports are no unit");
            let unit = units[UNIT];
            assert_eq!((unit.enabled, unit.failed), expected, "{state} {enabled}");
        }
        assert!(parse(&Records::default(), &files).is_empty());
    }

    #[test]
    fn nothing_is_asked_where_no_unit_is_ours() {
        assert_eq!(
            command(&["/etc/exports.d/bkpctl-a-b.exports".to_owned()]),
            ""
        );
        assert!(command(&[UNIT.to_owned()]).contains("mnt-a.mount"));
    }
}
