//! What can go wrong in a store, as plain data that travels over a wire.

use std::io;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Says what went wrong in a store.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreError {
    /// There is no such file.
    #[error("`{name}` is not in the store")]
    NotFound {
        /// What was asked for.
        name: String,
    },
    /// A file of that name has other bytes.
    #[error("`{name}` is in the store already, with other bytes")]
    Different {
        /// The name that is taken.
        name: String,
    },
    /// The bytes do not hash to the name they came under.
    #[error("the bytes sent as `{name}` do not match that name")]
    WrongHash {
        /// The name that was claimed.
        name: String,
    },
    /// The name is no name of this format.
    #[error("`{name}` is no name of a repository file")]
    BadName {
        /// The text that was sent.
        name: String,
    },
    /// Permission was refused by the system, or the right was not given.
    #[error("permission denied for `{name}`")]
    Denied {
        /// What was asked for.
        name: String,
    },
    /// The disk or the quota is full.
    #[error("no space left for `{name}`")]
    NoSpace {
        /// What was being written.
        name: String,
    },
    /// The file system is read-only.
    #[error("`{name}` lies on a read-only file system")]
    ReadOnly {
        /// What was being written.
        name: String,
    },
    /// The system reported another error.
    #[error("`{name}`: {message}")]
    Io {
        /// What was being worked on.
        name: String,
        /// The system's words.
        message: String,
        /// The system's error number, if there was one.
        code: Option<i32>,
    },
    /// The session ended or was expired, so nothing was committed.
    #[error("session {session} has expired")]
    SessionExpired {
        /// The session's id.
        session: String,
    },
    /// A collection is running already.
    #[error("another collection is running")]
    Collecting,
    /// The repository belongs to another machine.
    #[error("the repository's home is {home}, this machine is {here}")]
    WrongHome {
        /// The machine the marker names.
        home: String,
        /// The machine that tried.
        here: String,
    },
    /// There is no repository at this place.
    #[error("`{place}` holds no repository")]
    NoRepository {
        /// Where was looked.
        place: String,
    },
    /// The place for a new repository holds other files.
    #[error("`{place}` is not empty")]
    NotEmpty {
        /// Where was looked.
        place: String,
    },
    /// A file of the store's own bookkeeping makes no sense.
    #[error("`{name}` is damaged: {reason}")]
    Damaged {
        /// The file.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The connection or process behind the store is gone.
    #[error("the store is closed: {reason}")]
    Closed {
        /// What ended it.
        reason: String,
    },
}

impl StoreError {
    /// Turns a system error into the kind that fits, about `name`.
    pub fn from_io(name: &str, error: &io::Error) -> Self {
        let name = name.to_owned();
        match error.kind() {
            io::ErrorKind::NotFound => Self::NotFound { name },
            io::ErrorKind::PermissionDenied => Self::Denied { name },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { name },
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { name },
            _ => Self::Io {
                name,
                message: error.to_string(),
                code: error.raw_os_error(),
            },
        }
    }

    /// Tells whether the file is just not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}
