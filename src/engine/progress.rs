//! What a running operation tells those who watch it.

use super::files::{Note, RelPath};

/// Is one thing that happened.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// An entry's turn came.
    Entry {
        /// Its path below the root.
        path: &'a RelPath,
        /// Its length in bytes.
        bytes: u64,
    },
    /// Bytes of the source were read.
    Read {
        /// How many.
        bytes: u64,
    },
    /// Bytes of the source were known to be unchanged and not read.
    Kept {
        /// How many.
        bytes: u64,
    },
    /// A file was put into the store.
    Stored {
        /// Its length in bytes.
        bytes: u64,
    },
    /// Bytes were written to the target of a restore.
    Written {
        /// How many.
        bytes: u64,
    },
    /// The work ahead is known: so many bytes in all.
    Expected {
        /// How many.
        bytes: u64,
    },
    /// Bytes of the repository were copied or checked.
    Checked {
        /// How many.
        bytes: u64,
    },
    /// Others must end before the work goes on: so many sessions.
    Waiting {
        /// How many.
        sessions: u64,
    },
    /// Something about one path did not go as it should.
    Note(&'a Note),
}

/// Watches an operation; called from several threads and expected to return at once.
pub trait Observer: Send + Sync {
    /// Takes notice of an event.
    fn event(&self, event: Event<'_>);
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _: Event<'_>) {}
}
