//! What was seen, as a file keeps it for plans that are made elsewhere or later.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::observed::Observed;
use super::time::Timestamp;
use super::topology::TopologyId;

/// The format of files of facts that this version writes and reads.
pub const FACTS_FORMAT: u32 = 1;

/// What was seen of a topology's nodes in one look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Facts {
    /// The format of this document.
    pub format: u32,
    /// Whose nodes they are.
    pub topology: TopologyId,
    /// When they were looked at; a plan made from them is made for that time.
    pub at: Timestamp,
    /// What was seen.
    pub observed: Observed,
}
