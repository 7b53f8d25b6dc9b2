//! The files of a cache: their names, their lock, and which of them is whose.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags};

use super::record::{Beginning, Header};
use super::{CacheError, CacheReader, CacheWriter};
use crate::engine::crypto::{
    Cipher, CryptoError, LOCAL_SALT_BYTES, LocalKey, WriterKey, local_name,
};
use crate::engine::env::Env;
use crate::engine::hex;

/// A cache that was not used for this long is of a source that is gone.
const UNUSED_MAX: Duration = Duration::from_hours(24 * 100);
const NEW: &str = "new";
const PART: &str = "part";
const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n# This is the cache of bkpctl. It can be removed at any time; the next backup then reads every file.\n";

/// Says what a cache is of, and with which key it is sealed.
#[derive(Debug, Clone)]
pub(in crate::engine::backup) struct Scope {
    /// The writer's key.
    pub(in crate::engine::backup) writer: WriterKey,
    /// The repository's id.
    pub(in crate::engine::backup) repository: String,
    /// The source.
    pub(in crate::engine::backup) source: String,
    /// The machine that is read.
    pub(in crate::engine::backup) machine: String,
}

impl Scope {
    fn parts(&self) -> [&[u8]; 3] {
        [&self.repository, &self.source, &self.machine].map(String::as_bytes)
    }

    /// Derives the key of one file.
    pub(super) fn key(&self, header: Header) -> LocalKey {
        LocalKey::new(&self.writer, header.cipher, &self.parts(), &header.salt)
    }

    fn name(&self) -> String {
        hex::encode(&local_name(&self.writer, &self.parts()))
    }
}

/// Is where the cache of one scope lies.
#[derive(Debug)]
pub(in crate::engine::backup) struct Place {
    folder: PathBuf,
    scope: Scope,
    name: String,
}

impl Place {
    /// Makes the folder, for the user alone, if it is not there.
    pub(in crate::engine::backup) fn open(folder: &Path, scope: Scope) -> Result<Self, CacheError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(CacheError::io("make the folder of the cache"))?;
        Ok(Self {
            folder: folder.to_owned(),
            name: scope.name(),
            scope,
        })
    }

    fn path(&self, kind: &str) -> PathBuf {
        match kind {
            "" => self.folder.join(&self.name),
            kind => self.folder.join(format!("{}.{kind}", self.name)),
        }
    }

    /// Takes the lock and starts a new file; what was interrupted before is put aside.
    pub(in crate::engine::backup) fn create(
        &self,
        env: &Env,
        started: i64,
        snapshot: [u8; 16],
        bytes_max: u64,
    ) -> Result<CacheWriter, CacheError> {
        let failed = CacheError::io("open the cache");
        let (new, part) = (self.path(NEW), self.path(PART));
        if let Some(left) = open_existing(&new).map_err(&failed)? {
            lock(&left)?;
            keep_longer(&new, &part).map_err(&failed)?;
        }
        let file = create_new(&new).map_err(&failed)?;
        lock(&file)?;
        tidy(&self.folder, &file);
        let file = NewFile {
            file,
            new,
            part,
            last: self.path(""),
        };
        let salt: [u8; LOCAL_SALT_BYTES] = env.random().map_err(CryptoError::Entropy)?;
        let header = Header {
            cipher: Cipher::for_this_machine(),
            salt,
        };
        let beginning = Beginning { started, snapshot };
        CacheWriter::open(file, &self.scope, header, beginning, bytes_max)
    }

    /// Opens what an interrupted backup left, once [`Place::create`] has put it aside.
    pub(in crate::engine::backup) fn interrupted(&self) -> Option<CacheReader> {
        self.read(PART)
    }

    /// Opens what the last backup left that ended well.
    pub(in crate::engine::backup) fn complete(&self) -> Option<CacheReader> {
        self.read("")
    }

    /// A cache that cannot be read is like none.
    fn read(&self, kind: &str) -> Option<CacheReader> {
        let file = open_existing(&self.path(kind)).ok()??;
        CacheReader::open(file, &self.scope).ok()
    }
}

/// Is the file of a running backup; its lock is held as long as this is there.
#[derive(Debug)]
pub(super) struct NewFile {
    file: File,
    new: PathBuf,
    part: PathBuf,
    last: PathBuf,
}

impl NewFile {
    /// Returns the file to write to.
    pub(super) fn try_clone(&self) -> Result<File, CacheError> {
        self.file
            .try_clone()
            .map_err(CacheError::io("open the cache"))
    }

    /// Makes it what the next backup begins with.
    ///
    /// Nothing is synced: after a power loss it may be lost, which costs time alone.
    pub(super) fn publish(&self) -> Result<(), CacheError> {
        fs::rename(&self.new, &self.last).map_err(CacheError::io("rename the cache"))?;
        // It says nothing that the new one does not.
        drop(fs::remove_file(&self.part));
        Ok(())
    }

    /// Removes what was written so far.
    pub(super) fn remove(&self) {
        drop(fs::remove_file(&self.new));
    }
}

fn open_existing(path: &Path) -> io::Result<Option<File>> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed() | OFlags::NONBLOCK.bits().cast_signed())
        .open(path);
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

fn lock(file: &File) -> Result<(), CacheError> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(CacheError::Busy),
        Err(errno) => Err(CacheError::io("lock the cache")(errno.into())),
    }
}

/// Keeps of two interrupted backups the one that came further.
///
/// Both go along the same tree, so that the longer one knows what the shorter one does.
fn keep_longer(new: &Path, part: &Path) -> io::Result<()> {
    let len = |path: &Path| fs::symlink_metadata(path).map_or(0, |meta| meta.len());
    if len(new) > len(part) {
        fs::rename(new, part)
    } else {
        fs::remove_file(new)
    }
}

/// Removes caches that nobody used for long, and marks the folder as a cache.
fn tidy(folder: &Path, new: &File) {
    // The file system's own clock is the one that its times are compared with.
    let Ok(now) = new.metadata().and_then(|meta| meta.modified()) else {
        return;
    };
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let modified = entry.metadata().and_then(|meta| meta.modified());
        let age = modified.ok().and_then(|time| now.duration_since(time).ok());
        if is_ours(&entry.file_name()) && age.is_some_and(|age| age > UNUSED_MAX) {
            drop(fs::remove_file(entry.path()));
        }
    }
    if let Ok(mut tag) = create_new(&folder.join("CACHEDIR.TAG")) {
        drop(tag.write_all(TAG.as_bytes()));
    }
}

fn is_ours(name: &std::ffi::OsStr) -> bool {
    let Some(name) = name.to_str() else {
        return false;
    };
    let (name, kind) = name.split_once('.').unwrap_or((name, ""));
    ["", NEW, PART].contains(&kind)
        && name.len() == 32
        && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}
