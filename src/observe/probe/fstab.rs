//! What is mounted at every start; of its table only the mount points are told.

use crate::model::system_files::fstab_targets;
use crate::observe::records::Records;

pub(super) const COMMAND: &str = "
show fstab /etc/fstab 262144
";

/// The most mount points that are kept.
const TARGETS_MAX: usize = 4096;

pub(super) fn parse(records: &Records<'_>) -> Vec<String> {
    let table = records.get("fstab").unwrap_or_default();
    let table = String::from_utf8_lossy(table);
    fstab_targets(&table).take(TARGETS_MAX).collect()
}
