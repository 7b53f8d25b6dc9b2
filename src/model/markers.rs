//! The small files that carry identity on hosts, since there is no state file.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::address::Address;
use super::name::Name;
use super::time::Timestamp;
use super::topology::TopologyId;

/// What bkpctl's marker in a datastore says, `managed.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Managed {
    /// The topology it belongs to.
    pub topology: TopologyId,
    /// The datastore's name there.
    pub object: Name,
    /// How often planning changed it.
    pub generation: u64,
    /// Whether it may not be destroyed.
    #[serde(default)]
    pub guard: bool,
    /// Phases that were completed, with the time.
    #[serde(default)]
    pub phases: BTreeMap<Name, Timestamp>,
    /// The id in hex of the repository whose removal has begun: what is left of it is no copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removing: Option<String>,
}

/// The clear facts of a repository's own marker, `bkpctl.json`.
///
/// A reader of the marker ignores fields it does not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RepositoryMarker {
    /// The version of the format.
    pub format: u32,
    /// The repository's id in hex.
    #[serde(rename = "repository")]
    pub id: String,
    /// The machine id of the host that may open it by path.
    pub home: String,
    /// The key domain's id in hex: packs move verbatim inside one domain.
    pub domain: String,
}

/// What bkpctl manages on a node, `registry.json` in its folder there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Registry {
    /// The managed things by address, with a short description each.
    pub objects: BTreeMap<Address, String>,
}

/// What a registry says of a thing that can be found again by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept<'a> {
    /// A repository in this folder.
    Repository(&'a str),
    /// An export by this file.
    Export(&'a str),
    /// A mount by this unit's file.
    Mount(&'a str),
}

impl<'a> Kept<'a> {
    /// Reads back what a registry says of a thing.
    pub fn read(words: &'a str) -> Option<Self> {
        let after = |start: &str| words.strip_prefix(start);
        after(REPOSITORY)
            .map(Self::Repository)
            .or_else(|| after(EXPORT).map(Self::Export))
            .or_else(|| after(MOUNT).map(Self::Mount))
    }
}

const REPOSITORY: &str = "repository in ";
const EXPORT: &str = "exported by ";
const MOUNT: &str = "mounted by ";

impl std::fmt::Display for Kept<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Repository(folder) => write!(f, "{REPOSITORY}{folder}"),
            Self::Export(file) => write!(f, "{EXPORT}{file}"),
            Self::Mount(file) => write!(f, "{MOUNT}{file}"),
        }
    }
}

/// The record of a drill that succeeded or failed, written into the datastore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Proof {
    /// The drill's name.
    pub drill: Name,
    /// The source that was restored.
    pub source: Name,
    /// The snapshot's id in hex.
    pub snapshot: String,
    /// When the drill ended.
    pub at: Timestamp,
    /// Whether everything agreed.
    pub passed: bool,
    /// How many entries were restored and compared.
    pub files: u64,
    /// How many bytes were restored and compared.
    pub bytes: u64,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// What did not agree, in words; empty when it passed.
    #[serde(default)]
    pub problems: Vec<String>,
    /// MAC over all other fields by a key derived from the reading key, in hex.
    #[serde(default)]
    pub mac: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_registry_says_is_read_back() {
        for kept in [
            Kept::Repository("/srv/in a folder"),
            Kept::Export("/etc/exports.d/bkpctl-a-b.exports"),
            Kept::Mount("/etc/systemd/system/mnt-a.mount"),
        ] {
            assert_eq!(Kept::read(&kept.to_string()), Some(kept));
        }
        assert_eq!(Kept::read("bkpctl in /var/lib/bkpctl"), None);
    }
}
