//! What a scan or a placement has to say about one path without failing as a whole.

use std::fmt;
use std::io;

use rustix::io::Errno;

use super::path::{Printable, RelPath};

/// How many notes a [`Notes`] keeps in full.
const KEPT_MAX: usize = 1000;

/// Says that something about one path did not go as it should, or was left out on purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The path below the root or the target.
    pub path: RelPath,
    /// What happened.
    pub what: What,
    /// The operating system's error number, if a call failed.
    pub os_code: Option<i32>,
}

/// Names what a [`Note`] is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// A socket is no data and is left out.
    SocketSkipped,
    /// Something of a kind the repository does not know is left out.
    KindSkipped,
    /// A directory on another file system is kept, but not entered.
    OtherFileSystem,
    /// A tagged cache directory is kept, but not its contents.
    CacheSkipped,
    /// The repository's own directory is left out.
    RepositoryLeftOut,
    /// The folder with bkpctl's own cache is left out.
    OwnCacheLeftOut,
    /// It was gone when its turn came.
    Vanished,
    /// Its metadata could not be read, so it is left out.
    Unreadable,
    /// A file's data could not be read.
    FileUnreadable,
    /// A directory could not be listed, so what is in it is left out.
    DirUnreadable,
    /// Some extended attributes could not be read.
    XattrsUnreadable,
    /// Its path is longer than the repository takes.
    PathTooLong,
    /// It changed while it was read.
    Changed,
    /// The owner could not be set.
    OwnerNotSet,
    /// The set-user and set-group bits were dropped, because the owner could not be set.
    SetIdDropped,
    /// The mode could not be set.
    ModeNotSet,
    /// An extended attribute could not be set.
    XattrNotSet(Vec<u8>),
    /// The times could not be set.
    TimesNotSet,
    /// A device node could not be created.
    DeviceNotCreated,
}

impl What {
    /// Tells whether the result has less than it was asked for.
    ///
    /// What is left out by rule, or was deleted meanwhile, is no loss.
    pub fn is_loss(&self) -> bool {
        !matches!(
            self,
            Self::SocketSkipped
                | Self::OtherFileSystem
                | Self::CacheSkipped
                | Self::RepositoryLeftOut
                | Self::OwnCacheLeftOut
                | Self::Vanished
        )
    }

    /// Says it in words that follow a path.
    fn words(&self) -> &'static str {
        match self {
            Self::SocketSkipped => "is a socket and was skipped",
            Self::KindSkipped => "is of an unknown kind and was skipped",
            Self::OtherFileSystem => "is on another file system and was not entered",
            Self::CacheSkipped => "is a tagged cache, its contents were skipped",
            Self::RepositoryLeftOut => "was left out: it is the repository itself",
            Self::OwnCacheLeftOut => "was left out: it is the cache of bkpctl",
            Self::Vanished => "vanished meanwhile",
            Self::Unreadable => "could not be examined",
            Self::FileUnreadable => "could not be read",
            Self::DirUnreadable => "could not be listed",
            Self::XattrsUnreadable => "has extended attributes that could not be read",
            Self::PathTooLong => "has a path that is too long",
            Self::Changed => "changed while it was read",
            Self::OwnerNotSet => "did not get its owner",
            Self::SetIdDropped => {
                "lost its set-user and set-group bits, as its owner could not be set"
            }
            Self::ModeNotSet => "did not get its mode",
            Self::XattrNotSet(_) => "did not get an extended attribute",
            Self::TimesNotSet => "did not get its times",
            Self::DeviceNotCreated => "is a device node that could not be created",
        }
    }
}

impl Note {
    /// Makes a note without a failed call.
    pub fn new(path: RelPath, what: What) -> Self {
        Self {
            path,
            what,
            os_code: None,
        }
    }

    /// Makes a note about a failed call.
    pub(super) fn failed(path: RelPath, what: What, errno: Errno) -> Self {
        Self {
            path,
            what,
            os_code: Some(errno.raw_os_error()),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path, self.what.words())?;
        if let What::XattrNotSet(name) = &self.what {
            write!(f, " ({})", Printable(name))?;
        }
        match self.os_code {
            Some(code) => write!(f, ": {}", io::Error::from_raw_os_error(code)),
            None => Ok(()),
        }
    }
}

/// Collects notes in bounded memory: the first in full, the rest as a number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    kept: Vec<Note>,
    total: u64,
    losses: u64,
}

impl Notes {
    /// Adds one note.
    pub fn push(&mut self, note: Note) {
        self.total += 1;
        self.losses += u64::from(note.what.is_loss());
        if self.kept.len() < KEPT_MAX {
            self.kept.push(note);
        }
    }

    /// Returns the first notes, at most a thousand.
    pub fn kept(&self) -> &[Note] {
        &self.kept
    }

    /// Returns how many notes there were, kept or not.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Returns how many of them say that something is missing from the result.
    pub fn losses(&self) -> u64 {
        self.losses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_read_as_sentences() {
        let path = RelPath::new("etc/shadow").expect("a valid path");
        let denied = Note::failed(path.clone(), What::FileUnreadable, Errno::ACCESS);
        assert_eq!(
            denied.to_string(),
            "etc/shadow could not be read: Permission denied (os error 13)"
        );
        let label = Note::new(path, What::XattrNotSet(b"security.x".to_vec()));
        assert_eq!(
            label.to_string(),
            "etc/shadow did not get an extended attribute (security.x)"
        );
    }

    #[test]
    fn a_flood_of_notes_is_counted_but_not_kept() {
        let mut notes = Notes::default();
        for _ in 0..5000 {
            notes.push(Note::new(RelPath::root(), What::SocketSkipped));
        }
        notes.push(Note::new(RelPath::root(), What::Changed));
        assert_eq!(
            (notes.kept().len(), notes.total(), notes.losses()),
            (KEPT_MAX, 5001, 1)
        );
    }
}
