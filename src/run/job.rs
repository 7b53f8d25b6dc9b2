//! Jobs as they are handed to an agent, and what comes back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Key material on its way to an agent: over stdin, into memory, never onto a disk.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct KeyMaterial(pub Vec<u8>);

impl std::fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyMaterial(secret)")
    }
}

/// A backup that an agent makes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BackupJob {
    /// The source's name.
    pub source: String,
    /// The writer's keys; a writer can't read what it wrote.
    pub writer: KeyMaterial,
    /// The identity of the machine that is read.
    pub machine: String,
    /// What is read.
    pub reading: Reading,
    /// Where to remember what was read, on the machine that is read.
    #[serde(default)]
    pub cache: Option<String>,
    /// How many bytes are expected, if that is known.
    pub expected: Option<u64>,
}

/// What a backup reads.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// File trees.
    Trees {
        /// The trees.
        paths: Vec<String>,
        /// Globs as in `.gitignore`.
        exclude: Vec<String>,
        /// Whether other filesystems below are left out.
        one_file_system: bool,
        /// Folders that are left out wherever they are met: datastores on the same machine.
        leave_out: Vec<String>,
    },
    /// A block device, or a file that holds an image of one.
    Image {
        /// Its path.
        path: String,
    },
    /// What a program prints.
    Output {
        /// The program and its arguments.
        argv: Vec<String>,
        /// The user it runs as, if not the agent's.
        run_as: Option<String>,
        /// The file name that the output gets.
        name: String,
        /// How long it may take, in seconds.
        timeout_seconds: Option<u64>,
    },
}

/// What a backup did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BackupReport {
    /// The snapshot's id in hex.
    pub snapshot: String,
    /// How many entries it holds.
    pub files: u64,
    /// How many bytes a restore gives.
    pub bytes: u64,
    /// How many bytes were new to the datastore.
    pub new_bytes: u64,
    /// How many bytes were stored.
    pub stored_bytes: u64,
    /// How many times larger the new data is than what was stored for it.
    #[serde(default)]
    pub ratio: Option<f64>,
    /// How many bytes of the source were read.
    #[serde(default)]
    pub read_bytes: u64,
    /// How many files were not read, because they had not changed.
    #[serde(default)]
    pub unchanged_files: u64,
    /// How many of those an interrupted backup had read.
    #[serde(default)]
    pub resumed_files: u64,
    /// How many milliseconds each stage took, added up over all threads.
    #[serde(default)]
    pub stages_ms: BTreeMap<String, u64>,
    /// How many entries could not be read.
    pub skipped: u64,
    /// How many files changed while they were read.
    pub changed: u64,
    /// Some of those, in words.
    pub problems: Vec<String>,
    /// What went wrong and costs nothing but time.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The calls that the datastore was asked, by kind and folder.
    #[serde(default)]
    pub store_calls: BTreeMap<String, u64>,
}

/// A drill.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DrillJob {
    /// The source whose newest complete snapshot is proven.
    pub source: String,
    /// The reading key.
    pub reader: KeyMaterial,
    /// Where to restore to; the system's temporary folder if left out.
    pub scratch: Option<String>,
    /// A program that judges the restored files, run in their folder.
    pub command: Vec<String>,
}

/// What a drill found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillReport {
    /// The snapshot's id in hex.
    pub snapshot: String,
    /// How many entries were restored and compared.
    pub files: u64,
    /// How many bytes were restored and compared.
    pub bytes: u64,
    /// What did not agree, in words; empty when the drill passed.
    pub problems: Vec<String>,
}

/// What a sync did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncReport {
    /// How many snapshots were copied.
    pub snapshots: u64,
    /// How many packs were copied for them.
    pub packs: u64,
    /// How many bytes that were.
    pub bytes: u64,
    /// How many files that the target had lost were brought back.
    pub healed: u64,
}

/// How far long work has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Bytes read, restored or copied so far.
    pub bytes: u64,
    /// All bytes, if that is known.
    pub total: Option<u64>,
    /// Entries so far.
    pub files: u64,
    /// Bytes stored so far.
    pub stored: u64,
}
