//! The previous snapshot of the same source, walked beside the live tree.

use crate::engine::crypto::WriterKey;
use crate::engine::files::{Entry, Kind, RelPath};
use crate::engine::hex;
use crate::engine::manifest::{Authentic, Manifest};
use crate::engine::reader::{BlobReader, Entries};
use crate::engine::repository::{Repository, Snapshot};
use crate::engine::writer::Writer;

use super::BackupOptions;

/// A file changed this shortly before a backup may change again unseen in the same tick.
const SETTLED_NS: i64 = 2_000_000_000;

/// Finds what the previous snapshot knows of a path, if it can be read at all.
pub(super) struct Previous {
    reader: BlobReader,
    writer: WriterKey,
    tree: [u8; 32],
    started: i64,
}

impl Previous {
    /// Opens the newest snapshot of the source, for those who hold the reading key.
    ///
    /// That anything is wrong with it is no error: then all files are read.
    pub(super) fn open(repository: &Repository, options: &BackupOptions) -> Option<Self> {
        if options.read_all {
            return None;
        }
        let key = repository.reading_key()?;
        let snapshots = repository.snapshots(Some(&options.source)).ok()?.found;
        let fits = |snap: &Snapshot| {
            snap.authentic == Authentic::Yes
                && snap.clear.writer == options.label
                && snap.clear.machine == options.machine
        };
        let newest = snapshots
            .into_iter()
            .filter(fits)
            .max_by_key(|snap| snap.clear.started)?;
        let bytes = repository.store.get(&newest.name).ok()?;
        let manifest = Manifest::decode(&newest.name, &bytes).ok()?;
        let sealed = manifest.open(&newest.name, key).ok()?;
        Some(Self {
            reader: BlobReader::open(repository).ok()?,
            writer: key.writer(&options.label).ok()?,
            tree: hex::decode(&sealed.tree)?,
            started: newest.clear.started,
        })
    }

    /// Starts at its first entry.
    pub(super) fn walk(&self) -> Option<PreviousWalk<'_>> {
        Some(PreviousWalk {
            entries: self.reader.entries(&self.writer, self.tree).ok()?,
            waiting: None,
            started: self.started,
        })
    }
}

/// Walks the previous snapshot's entries in step with the live ones.
pub(super) struct PreviousWalk<'a> {
    entries: Entries<'a>,
    waiting: Option<Entry>,
    started: i64,
}

impl PreviousWalk<'_> {
    /// Returns the entry of a path; paths must be asked for in order.
    fn at(&mut self, path: &RelPath) -> Option<&Entry> {
        loop {
            if self.waiting.is_none() {
                // An unreadable rest is like no rest.
                self.waiting = Some(self.entries.next()?.ok()?);
            }
            match self.waiting.as_ref()?.path.cmp(path) {
                std::cmp::Ordering::Less => self.waiting = None,
                std::cmp::Ordering::Equal => return self.waiting.as_ref(),
                std::cmp::Ordering::Greater => return None,
            }
        }
    }

    /// Fills in the data of a live file that did not change, and tells whether it could.
    pub(super) fn keep(&mut self, live: &mut Entry, writer: &Writer<'_>) -> bool {
        let started = self.started;
        let Some(old) = self.at(&live.path) else {
            return false;
        };
        let (now, then) = (&live.meta, &old.meta);
        let is_file = matches!(old.kind, Kind::File { .. });
        let is_same = old.kind.size() == live.kind.size()
            && (now.mtime, now.ctime, now.inode) == (then.mtime, then.ctime, then.inode);
        let is_settled = then.ctime.as_nanos() < started.saturating_sub(SETTLED_NS);
        let is_whole = old.span_bytes() == old.kind.data_bytes();
        if !(is_file && is_same && is_settled && is_whole) {
            return false;
        }
        if !old.spans.iter().all(|span| writer.reuse(&span.chunk)) {
            return false;
        }
        live.kind = old.kind.clone();
        live.spans.clone_from(&old.spans);
        true
    }
}
