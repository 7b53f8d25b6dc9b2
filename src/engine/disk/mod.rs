//! The few things a store asks of a file system, so that tests can stand in for it.
//!
//! A name is durable when its file was synced and its folder was synced afterwards. Nothing
//! here overwrites: a file is created under a temporary name and then published.

mod real;

use std::io;
use std::path::Path;

pub use self::real::{Modes, RealDisk};

/// Describes one item of a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// Its name within the folder; items whose name is no UTF-8 are not the store's and left out.
    pub name: String,
    /// Whether it is a folder.
    pub is_folder: bool,
    /// Its length in bytes; 0 for folders.
    pub size: u64,
}

/// Is held while a lock is held; the lock ends with it or with the process.
pub trait Lock: Send + Sync {}

/// A new file that is being written.
pub trait NewFile: Send {
    /// Appends bytes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Returns once all bytes are on the disk. After a failure the file must not be used.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file system.
pub trait Disk: Send + Sync {
    /// Creates a file that must not exist.
    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>>;

    /// Gives the file `from` the name `to` as well or instead, atomically and never over an
    /// existing file: that is [`io::ErrorKind::AlreadyExists`].
    fn publish(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Renames a file or folder; an existing file at `to` is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Returns once the names in a folder are on the disk.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;

    /// Returns what a folder holds, sorted by name; all of it or an error.
    fn list(&self, path: &Path) -> io::Result<Vec<Item>>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes a folder and everything in it.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;

    /// Creates a folder whose parent exists; tells whether it was new.
    fn make_folder(&self, path: &Path) -> io::Result<bool>;

    /// Returns a whole file of at most `len_max` bytes.
    fn read(&self, path: &Path, len_max: u64) -> io::Result<Vec<u8>>;

    /// Returns exactly `len` bytes from `offset`, else [`io::ErrorKind::UnexpectedEof`].
    fn read_range(&self, path: &Path, offset: u64, len: u64) -> io::Result<Vec<u8>>;

    /// Returns a file's length in bytes.
    fn size(&self, path: &Path) -> io::Result<u64>;

    /// Takes the lock of a file, creating the file if it is not there; waits for it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>>;

    /// Takes the lock of a file that exists, or returns none if somebody holds it.
    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>>;
}
