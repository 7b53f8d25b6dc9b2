//! What earlier backups of the same source found, walked beside the live tree.
//!
//! There are up to three: the interrupted backup after the last one, the last one, both from
//! the cache of this machine; and without a cache the newest snapshot, for those who hold the
//! reading key. They say what a file was and where its data is; whether that data is still
//! there, the index alone says.

use crate::engine::crypto::WriterKey;
use crate::engine::files::{Entry, Kind, RelPath, Span};
use crate::engine::hex;
use crate::engine::manifest::{Authentic, Manifest};
use crate::engine::reader::{BlobReader, Entries};
use crate::engine::repository::{Repository, Snapshot};
use crate::engine::writer::Writer;

use super::BackupOptions;
use super::cache::{CacheReader, DataHash, Known, is_settled};

/// Says which earlier backup had read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// One that ended well.
    Complete,
    /// One that was interrupted.
    Interrupted,
}

/// Says whether a file's data is what an earlier backup read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// It is.
    Whole(Origin),
    /// It is if it has this hash: the times do not tell.
    IfSame(Doubt),
    /// It has to be read.
    No,
}

/// Is what is known of a file that may have changed in the tick in which it was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Doubt {
    pub(super) hash: DataHash,
    pub(super) kind: Kind,
    pub(super) spans: Vec<Span>,
}

/// Holds what earlier backups left.
#[derive(Default)]
pub(super) struct Previous {
    pub(super) interrupted: Option<CacheReader>,
    pub(super) complete: Option<CacheReader>,
    pub(super) snapshot: Option<PreviousSnapshot>,
}

impl Previous {
    /// Starts at the first entries.
    pub(super) fn walk(&mut self) -> PreviousWalk<'_> {
        let cached = |cache: Option<CacheReader>, origin| {
            cache.map(|cache| Old::new(origin, cache.started(), Source::Cache(cache)))
        };
        let snapshot = self.snapshot.as_ref().and_then(PreviousSnapshot::walk);
        let olds = [
            cached(self.interrupted.take(), Origin::Interrupted),
            cached(self.complete.take(), Origin::Complete),
            snapshot,
        ];
        PreviousWalk {
            olds: olds.into_iter().flatten().collect(),
            last_chunk: None,
        }
    }
}

/// The newest snapshot of the source.
pub(super) struct PreviousSnapshot {
    reader: BlobReader,
    writer: WriterKey,
    tree: [u8; 32],
    started: i64,
}

impl PreviousSnapshot {
    /// Opens the newest snapshot of the source, for those who hold the reading key.
    ///
    /// That anything is wrong with it is no error: then all files are read.
    pub(super) fn open(repository: &Repository, options: &BackupOptions) -> Option<Self> {
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

    fn walk(&self) -> Option<Old<'_>> {
        let entries = self.reader.entries(&self.writer, self.tree).ok()?;
        let source = Source::Snapshot(entries);
        Some(Old::new(Origin::Complete, self.started, source))
    }
}

/// One earlier backup's entries, from its first to its last.
struct Old<'a> {
    origin: Origin,
    started: i64,
    source: Source<'a>,
    waiting: Option<Known>,
}

enum Source<'a> {
    Cache(CacheReader),
    Snapshot(Entries<'a>),
}

impl<'a> Old<'a> {
    fn new(origin: Origin, started: i64, source: Source<'a>) -> Self {
        Self {
            origin,
            started,
            source,
            waiting: None,
        }
    }

    /// Takes the entry of a path; paths must be asked for in order.
    fn take(&mut self, path: &RelPath) -> Option<Known> {
        loop {
            let known = match self.waiting.take() {
                Some(known) => known,
                None => self.next()?,
            };
            match known.0.path.cmp(path) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => return Some(known),
                std::cmp::Ordering::Greater => {
                    self.waiting = Some(known);
                    return None;
                }
            }
        }
    }

    /// Takes what is known of a file that was not read to its end.
    fn part(&mut self, path: &RelPath) -> Option<Entry> {
        match &mut self.source {
            Source::Cache(cache) => cache.take_part(path),
            Source::Snapshot(_) => None,
        }
    }

    /// An unreadable rest is like no rest.
    fn next(&mut self) -> Option<Known> {
        match &mut self.source {
            Source::Cache(entries) => entries.next(),
            Source::Snapshot(entries) => Some((entries.next()?.ok()?, None)),
        }
    }
}

/// Walks the entries of earlier backups in step with the live ones.
pub(super) struct PreviousWalk<'a> {
    olds: Vec<Old<'a>>,
    /// Neighbours share chunks: the last one that was found need not be looked up again.
    last_chunk: Option<[u8; 32]>,
}

impl PreviousWalk<'_> {
    /// Fills in the data of a live file that did not change; paths must come in order.
    ///
    /// Says which backup had read it, or what else is known of it.
    pub(super) fn keep(&mut self, live: &mut Entry, writer: &Writer<'_>) -> Kept {
        let mut kept = Kept::No;
        for old in &mut self.olds {
            let Some((entry, hash)) = old.take(&live.path) else {
                continue;
            };
            let is_there = |chunk: &[u8; 32]| {
                let found = self.last_chunk == Some(*chunk) || writer.reuse(chunk);
                if found {
                    self.last_chunk = Some(*chunk);
                }
                found
            };
            let is_whole = entry.span_bytes() == entry.kind.data_bytes();
            let is_settled = is_settled(&entry, old.started);
            if !is_whole
                || !looks_the_same(live, &entry)
                || !(is_settled || hash.is_some())
                || !entry.spans.iter().map(|span| &span.chunk).all(is_there)
            {
                continue;
            }
            if is_settled {
                live.kind = entry.kind;
                live.spans = entry.spans;
                return Kept::Whole(old.origin);
            }
            if let Some(hash) = hash {
                kept = Kept::IfSame(Doubt {
                    hash,
                    kind: entry.kind,
                    spans: entry.spans,
                });
            }
        }
        kept
    }

    /// Returns what an interrupted backup had read of an open file, if that is still there.
    ///
    /// Chunks are cut from where the one before ends, so that the rest is cut as if all had
    /// been read.
    pub(super) fn part(&mut self, live: &Entry, writer: &Writer<'_>) -> Vec<Span> {
        let parts = self.olds.iter_mut().filter_map(|old| {
            let part = old.part(&live.path)?;
            // With other holes the same place in the data is another one in the file.
            let fits = part.kind == live.kind && is_unchanged(live, &part, old.started);
            fits.then(|| there(part.spans, writer))
        });
        parts.max_by_key(Vec::len).unwrap_or_default()
    }
}

/// Returns the beginning of a file's spans up to the first whose chunk is not there.
fn there(mut spans: Vec<Span>, writer: &Writer<'_>) -> Vec<Span> {
    let there = spans.iter().take_while(|span| writer.reuse(&span.chunk));
    spans.truncate(there.count());
    spans
}

/// Tells whether a file is what it was when a backup that `started` then read it.
fn is_unchanged(live: &Entry, old: &Entry, started: i64) -> bool {
    looks_the_same(live, old) && is_settled(old, started)
}

/// Tells whether nothing says that a file is not what it was.
fn looks_the_same(live: &Entry, old: &Entry) -> bool {
    let (now, then) = (&live.meta, &old.meta);
    let is_file = matches!(old.kind, Kind::File { .. });
    is_file
        && old.kind.size() == live.kind.size()
        && (now.mtime, now.ctime, now.inode) == (then.mtime, then.ctime, then.inode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::files::{Meta, Time};

    fn file() -> Entry {
        let path = RelPath::new("file").expect("a path");
        let mut entry = Entry::new(path, Kind::dense_file(9), Meta::default());
        entry.meta.mtime.seconds = 1000;
        entry.meta.ctime.seconds = 2000;
        entry.meta.inode = 7;
        entry.spans = vec![Span {
            chunk: [1; 32],
            offset: 0,
            len: 9,
        }];
        entry
    }

    #[test]
    fn a_file_is_unchanged_only_if_nothing_says_otherwise() {
        let started = 3_000_000_000_000;
        let live = Entry {
            spans: Vec::new(),
            ..file()
        };
        assert!(is_unchanged(&live, &file(), started));
        let change = |change: fn(&mut Entry)| {
            let mut old = file();
            change(&mut old);
            is_unchanged(&live, &old, started)
        };
        let at = |seconds, nanos| Time { seconds, nanos };
        assert!(!change(|old| old.meta.mtime.nanos = 1));
        assert!(!change(|old| old.meta.ctime.nanos = 1));
        assert!(!change(|old| old.meta.inode = 8));
        assert!(!change(|old| old.kind = Kind::Fifo));
        assert!(!change(|old| old.kind = Kind::dense_file(10)));
        // Metadata that does not tell of data may differ.
        assert!(change(|old| old.meta.mode = 0o600));
        // A change so shortly before may have been followed by another in the same tick.
        let late = |time| {
            let mut both = (live.clone(), file());
            (both.0.meta.ctime, both.1.meta.ctime) = (time, time);
            is_unchanged(&both.0, &both.1, started)
        };
        assert!(late(at(2997, 999_999_999)));
        assert!(!late(at(2998, 0)) && !late(at(2999, 0)) && !late(at(3001, 0)));
    }
}
