//! What a backup remembers on its own machine: which files it read, and where their data is.
//!
//! A writer cannot read its own snapshots, so that without this it would read every file each
//! time; and a backup that was interrupted would begin again. Both follow from one file for
//! each repository, source, label and machine: a stream of sealed records with the entries
//! that are finished, in path order. It can be lost, cut or damaged at any time, which costs
//! nothing but reading again, and it is never asked whether a chunk still exists: only the
//! repository's index is.
//!
//! | file | what it is |
//! |---|---|
//! | `<name>` | the last backup that ended well |
//! | `<name>.part` | the interrupted one after it that came furthest |
//! | `<name>.new` | the one that is running, or that was interrupted last |
//!
//! Of a small file that changed shortly before the backup the data's hash is kept: it is read
//! again, as it may have changed in the same tick, and if it did not its data is where it was.
//!
//! A running backup holds a lock on its `.new`; another one of the same source goes without.

mod place;
mod reader;
mod record;
mod writer;

use thiserror::Error;

pub(super) use self::place::{Place, Scope};
pub(super) use self::reader::CacheReader;
pub(crate) use self::record::is_known;
pub(super) use self::writer::CacheWriter;
use crate::engine::crypto::CryptoError;
use crate::engine::files::Entry;

/// A file changed this shortly before a backup may change again unseen in the same tick.
const SETTLED_NS: i64 = 2_000_000_000;

/// Is the BLAKE3 hash of a small file's data.
pub(super) type DataHash = [u8; 32];

/// Is an entry, with its data's hash if the times alone will not tell that it is the same.
pub(super) type Known = (Entry, Option<DataHash>);

/// Tells whether a file had not changed shortly before a backup that `started` then.
pub(super) fn is_settled(entry: &Entry, started: i64) -> bool {
    entry.meta.ctime.as_nanos() < started.saturating_sub(SETTLED_NS)
}

/// Says why something is not remembered; a backup goes on without.
#[derive(Debug, Error)]
pub(super) enum CacheError {
    /// The system said no.
    #[error("failed to {doing}")]
    Io {
        doing: &'static str,
        #[source]
        source: std::io::Error,
    },
    /// A record could not be sealed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// The file has no beginning that makes sense to this key.
    #[error("the cache is of another key, or damaged")]
    Beginning,
    /// Another backup of the same source is at work.
    #[error("another backup of the same source is at work")]
    Busy,
    /// It has become as large as it may.
    #[error("the cache has reached its limit of {} MiB", .0 >> 20)]
    Full(u64),
    /// The thread that writes it ended in an unforeseen way.
    #[error("the thread that writes the cache failed in an unforeseen way")]
    Panicked,
}

impl CacheError {
    /// Makes an error of what was being done.
    fn io(doing: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }
}

#[cfg(test)]
mod tests;
