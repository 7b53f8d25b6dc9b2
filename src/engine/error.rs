//! What can go wrong when a repository is written or read.

use thiserror::Error;

use super::crypto::CryptoError;
use super::files::{ImageError, PlaceError, ScanError};
use super::format::FORMAT;
use super::hex;
use super::store::StoreError;

/// Says why an operation on a repository failed.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key does not fit or something sealed was changed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// The source cannot be walked.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// An image cannot be read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The target cannot be written.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A file of the repository is not what its name or its format says.
    #[error("`{name}` is damaged: {reason}")]
    Damaged {
        /// The file in the repository.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A blob is in no pack that is there.
    #[error("chunk {} is in no pack", hex::encode(&id[..8]))]
    MissingBlob {
        /// The blob's id.
        id: [u8; 32],
    },
    /// The key belongs to another key domain than the repository.
    #[error(
        "the key is of domain {given}, the repository is sealed for domain {wanted}: it was made with another key"
    )]
    WrongKey {
        /// The repository's domain, shortened.
        wanted: String,
        /// The key's domain, shortened.
        given: String,
    },
    /// The repositories of a copy belong to different key domains.
    #[error(
        "the source is sealed for domain {from}, the target for domain {to}: copies go between repositories of one key"
    )]
    OtherDomain {
        /// The source's domain, shortened.
        from: String,
        /// The target's domain, shortened.
        to: String,
    },
    /// Something that says what is needed cannot be read, so nothing is deleted.
    #[error("`{name}` cannot be read, so nothing is collected: {reason}")]
    Uncollectable {
        /// The manifest or pack.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A repository was to be copied to itself.
    #[error("`{place}` is both the source and the target of the copy")]
    SameRepository {
        /// Where it is.
        place: String,
    },
    /// The operation needs the reading key.
    #[error("the reading key is needed to {0}")]
    NeedsReadingKey(&'static str),
    /// The operation needs a writer's key.
    #[error("a key to write with is needed")]
    NeedsWriterKey,
    /// The repository has no slot that a passphrase opens.
    #[error("the repository has no passphrase slot")]
    NoSlot,
    /// No slot, or more than one, has this id.
    #[error("`{0}` names no single key slot")]
    NoSuchSlot(String),
    /// The last way into the repository was to be removed.
    #[error("that is the last slot that opens the repository")]
    LastSlot,
    /// The repository has a newer format than this program knows.
    #[error(
        "the repository has format {found}, this program knows format {FORMAT}: a newer bkpctl reads it"
    )]
    Newer {
        /// The number in the marker.
        found: u32,
    },
    /// The repository is older than the first format that was released.
    #[error(
        "the repository was made by a pre-release of bkpctl (format {found}), this program knows format {FORMAT}: restore from it with that program and make the repository anew"
    )]
    PreRelease {
        /// The number in the marker.
        found: u32,
    },
    /// The repository has features that this program does not know and may not ignore.
    #[error(
        "the repository has features this program does not know, so it must not {deed}: {names}; a newer bkpctl knows them"
    )]
    Features {
        /// Their names.
        names: String,
        /// What was wanted.
        deed: &'static str,
    },
    /// There is no such snapshot.
    #[error("there is no snapshot `{0}`")]
    NoSnapshot(String),
    /// The abbreviation fits several snapshots.
    #[error("`{0}` fits several snapshots")]
    Ambiguous(String),
    /// The snapshot has no such path.
    #[error("the snapshot has no `{0}`; a listing of it names the paths it holds")]
    NoPath(String),
    /// The path is something without data.
    #[error("`{path}` is a {kind} in the snapshot; only a file has data")]
    NoFile {
        /// The path in the snapshot.
        path: String,
        /// What it is.
        kind: &'static str,
    },
    /// No path was named and the snapshot holds more than one file.
    #[error("the snapshot holds more than one file; name the path of the one that is wanted")]
    WhichFile,
    /// What is to be written over cannot be.
    #[error("`{place}` cannot be written over: {reason}")]
    Device {
        /// The path as given.
        place: String,
        /// Why not.
        reason: String,
    },
    /// A restore stopped while it wrote into files that existed.
    #[error(
        "{source}; in part old and in part new now, until the restore is run again: {}",
        .paths.join(", ")
    )]
    HalfWritten {
        /// The files, as people read them.
        paths: Vec<String>,
        /// Why it stopped.
        source: Box<EngineError>,
    },
    /// The name that a stream is to have is no plain file name.
    #[error("the name of a stream is a plain file name, `{0}` is not")]
    StreamName(String),
    /// A value is too large for the format.
    #[error("{what} is too large: {size} bytes")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Its size.
        size: u64,
    },
    /// Reading the source or writing the output failed.
    #[error("failed to {doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// A thread of the engine panicked, so its work is missing.
    #[error("a thread of the engine failed in an unforeseen way")]
    Panicked,
    /// Backups or copies are at work that a repair must not get in the way of.
    #[error("{writers} backups or copies are writing to the repository")]
    Busy {
        /// How many.
        writers: usize,
    },
    /// Somebody asked to stop.
    #[error("stopped on request")]
    Cancelled,
}

/// Shortens a key domain for an error.
pub(super) fn short(domain: &str) -> String {
    domain.chars().take(12).collect()
}

impl EngineError {
    /// Tells whether other blobs can still be read after an error.
    pub(super) fn is_about_one_blob(&self) -> bool {
        match self {
            Self::Damaged { .. } | Self::MissingBlob { .. } => true,
            Self::Store(error) => !matches!(error, StoreError::Closed { .. }),
            _ => false,
        }
    }

    /// Says that a file of the repository is damaged.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers pass names, texts and errors alike"
    )]
    pub fn damaged(name: impl ToString, reason: impl ToString) -> Self {
        Self::Damaged {
            name: name.to_string(),
            reason: reason.to_string(),
        }
    }
}
