//! What a machine has that no topology asked for yet: room, repositories, other backup tools.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::markers::{Managed, RepositoryMarker};
use super::observed::{MountFacts, Space};

/// What was found on a node by looking around.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Discovered {
    /// Filesystems that could keep something, or that come from a server.
    pub filesystems: Vec<Filesystem>,
    /// Folders that are exported, or that hold a repository.
    pub folders: Vec<FoundFolder>,
    /// Programs, timers and tables of other backup tools, by name or path.
    pub tools: Vec<String>,
}

/// A mounted filesystem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Filesystem {
    /// The mount.
    pub mount: MountFacts,
    /// Its space, if it answered in time.
    pub space: Option<Space>,
}

/// A folder and who owns it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FoundFolder {
    /// The folder.
    pub path: String,
    /// The numeric user id.
    pub uid: u32,
    /// The numeric group id.
    pub gid: u32,
    /// The permission bits.
    pub mode: u32,
    /// The repository's marker, if there is a repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marker: Option<RepositoryMarker>,
    /// What planning wrote there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed: Option<Managed>,
}
