//! What `prune` keeps of a source's snapshots.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many snapshots to keep, by rule.
///
/// The rules work one after the other as in Proxmox Backup Server: each skips the
/// periods that an earlier rule already covered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Keep {
    /// The newest snapshots, whatever their age.
    pub last: Option<u32>,
    /// One for each of so many hours.
    pub hourly: Option<u32>,
    /// One for each of so many days.
    pub daily: Option<u32>,
    /// One for each of so many ISO weeks.
    pub weekly: Option<u32>,
    /// One for each of so many months.
    pub monthly: Option<u32>,
    /// One for each of so many years.
    pub yearly: Option<u32>,
}

impl Keep {
    /// Returns whether no rule keeps anything.
    pub fn is_empty(&self) -> bool {
        [
            self.last,
            self.hourly,
            self.daily,
            self.weekly,
            self.monthly,
            self.yearly,
        ]
        .iter()
        .all(|rule| rule.unwrap_or(0) == 0)
    }
}
