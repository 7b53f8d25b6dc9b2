//! Disks that may be plugged in or not, by the UUID of the filesystem on them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::observe::records::Records;
use crate::transport::shell_assign;

const FUNCTION: &str = r#"
disk() { if [ -e "/dev/disk/by-uuid/$2" ]; then out "disk.$1" "$(readlink -f "/dev/disk/by-uuid/$2")"; fi; }
"#;

pub(super) fn command(disks: &[String]) -> String {
    if disks.is_empty() {
        return String::new();
    }
    let mut text = FUNCTION.to_owned();
    for (index, uuid) in disks.iter().enumerate() {
        text.push_str(&shell_assign("u", uuid));
        writeln!(text, "disk {index} \"$u\"").expect("writing to a String never fails");
    }
    text
}

pub(super) fn parse(records: &Records<'_>, disks: &[String]) -> BTreeMap<String, String> {
    let device = |(index, uuid): (usize, &String)| {
        let device = records.text(&format!("disk.{index}"))?;
        Some((uuid.clone(), device))
    };
    disks.iter().enumerate().filter_map(device).collect()
}
