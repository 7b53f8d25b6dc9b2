//! What can be told of a snapshot without a key.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::name::Name;
use super::size::ByteSize;
use super::time::Timestamp;

/// The clear first line of a snapshot's manifest.
///
/// The engine writes it, and a test holds the two to each other. It is a claim until
/// someone with the key has checked its MAC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotHead {
    /// The snapshot's id in hex.
    pub id: String,
    /// The source's name.
    pub source: Name,
    /// The label under which its chunk ids were made.
    pub writer: String,
    /// When reading began.
    pub started: Timestamp,
    /// When reading ended.
    pub finished: Timestamp,
    /// Whether everything that was asked for could be read.
    pub complete: bool,
    /// How many files it holds.
    pub files: u64,
    /// How many bytes a restore gives.
    pub bytes: ByteSize,
    /// How many bytes were new to the datastore, before compression.
    pub new_bytes: ByteSize,
    /// How many bytes were stored for it.
    pub stored_bytes: ByteSize,
    /// The identity of the machine that was read.
    pub machine: String,
    /// How many entries could not be read.
    pub skipped: u64,
}
