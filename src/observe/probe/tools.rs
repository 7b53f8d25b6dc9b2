//! Which programs are there.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::observe::records::Records;
use crate::transport::shell_assign;

const FUNCTION: &str = r#"
tool() { if command -v "$2" >/dev/null 2>&1 || [ -x "/usr/sbin/$2" ] || [ -x "/sbin/$2" ]; then out "tool.$1" y; fi; }
"#;

pub(super) fn command(names: &[String]) -> String {
    let mut text = FUNCTION.to_owned();
    for (index, name) in names.iter().enumerate() {
        text.push_str(&shell_assign("t", name));
        writeln!(text, "tool {index} \"$t\"").expect("writing to a String never fails");
    }
    text
}

pub(super) fn parse(records: &Records<'_>, names: &[String]) -> BTreeMap<String, bool> {
    let there = |index: usize| records.get(&format!("tool.{index}")).is_some();
    names
        .iter()
        .enumerate()
        .map(|(index, name)| (name.clone(), there(index)))
        .collect()
}
