//! What a TrueNAS says of its NFS shares, from which it writes its exports.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An NFS share as `sharing.nfs.query` of TrueNAS SCALE gives it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TrueNasShare {
    /// The exported path.
    pub path: String,
    /// Whether it is switched on.
    pub enabled: bool,
    /// Whether its dataset is locked, which drops the export.
    pub locked: bool,
    /// Whether nobody may write.
    pub read_only: bool,
    /// Hosts and networks that may mount it; empty for everybody.
    pub clients: Vec<String>,
    /// The user that root becomes, if one is set.
    pub maproot: Option<String>,
    /// The user that everybody becomes, if one is set.
    pub mapall: Option<String>,
}
