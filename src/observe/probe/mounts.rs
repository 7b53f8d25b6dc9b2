//! The mount table, read before any path is touched.

use crate::model::mounts::Mounts;
use crate::observe::records::Records;

pub(super) const COMMAND: &str = r#"
out mounts "$(head -c 2097152 /proc/self/mountinfo 2>/dev/null)"
"#;

pub(super) fn parse(records: &Records<'_>) -> Mounts {
    Mounts::read(records.get("mounts").unwrap_or_default())
}
