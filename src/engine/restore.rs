//! Puts a snapshot, or parts of it, back: below a directory, or one file over a device.
//!
//! One thread walks the tree and places directories, links and special files in path order.
//! Others take files: small ones in groups that share chunks, large ones in parts. Where the
//! target has something already, what is right is neither read from the repository nor
//! written. A file whose data cannot be had is named, and the rest is restored.
//!
//! Files up to a few MiB are written beside what they replace and renamed over it, so that a
//! name always has the old content or the new. Larger ones are written in place, where they
//! differ; what an interrupted restore leaves of those is named by its error, and running it
//! again finishes.

mod chunks;
mod device;
mod fill;
mod flush;
mod large;
mod patch;
mod sweep;
mod walk;
mod wanted;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::bounded;

use super::env::Cancel;
use super::error::EngineError;
use super::files::{Existing, Kind, Notes, PlaceError, RelPath, Target};
use super::progress::{Event, Observer};
use super::snapshot::OpenSnapshot;
use super::writer::lock;

pub use self::device::restore_over;

use self::chunks::Source;
use self::fill::Job;
use self::flush::flush_along;
use self::walk::{Links, Walk};

/// How many failed files a report names.
const FAILED_MAX: usize = 1000;
/// How many threads there are at most.
const THREADS_MAX: usize = 64;

/// Says what to restore and how.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// The paths to restore with all below them; none for everything.
    pub paths: Vec<RelPath>,
    /// What to do with what is in the target already.
    pub existing: Existing,
    /// How many threads fill files; more if the store is far away.
    pub threads: usize,
    /// Whether to wait until the disk has everything.
    pub sync: bool,
}

impl Default for RestoreOptions {
    fn default() -> Self {
        Self {
            paths: Vec::new(),
            existing: Existing::Refuse,
            threads: std::thread::available_parallelism().map_or(2, usize::from) + 2,
            sync: true,
        }
    }
}

/// Says what a restore did.
#[derive(Debug, Default)]
pub struct RestoreReport {
    /// How many entries were restored, or were right before.
    pub entries: u64,
    /// How many of them are files.
    pub files: u64,
    /// How many entries were right before and were not touched.
    pub unchanged: u64,
    /// How many names were removed because the snapshot lacks them.
    pub deleted: u64,
    /// How many bytes of the repository were read.
    pub read: u64,
    /// How many bytes of data were written.
    pub bytes: u64,
    /// Files that were not restored, and why; the first thousand.
    pub failed: Vec<(RelPath, String)>,
    /// How many files were not restored.
    pub failed_total: u64,
    /// What could not be set on the way, such as owners.
    pub notes: Notes,
}

impl RestoreReport {
    /// Tells whether every file is there.
    pub fn is_whole(&self) -> bool {
        self.failed_total == 0
    }
}

/// Restores a snapshot below `target`, and never outside it.
pub fn restore(
    snapshot: &OpenSnapshot,
    target: &Path,
    options: &RestoreOptions,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<RestoreReport, EngineError> {
    // A wrong path must not leave an empty target behind.
    for path in &options.paths {
        if !snapshot.has(path)? {
            return Err(EngineError::NoPath(path.to_string()));
        }
    }
    if options.paths.is_empty() {
        let bytes = snapshot.clear().bytes;
        observer.event(Event::Expected { bytes });
    }
    let read_before = snapshot.bytes_read();
    let target = Target::open(target, options.existing)?;
    let restore = Restore {
        snapshot,
        target: &target,
        options,
        source: Source::new(snapshot, observer, cancel),
        stop: AtomicBool::new(false),
        fatal: Mutex::new(None),
        failed: Mutex::default(),
        half_written: Mutex::default(),
    };
    let mut report = restore.run()?;
    let failed = lock(&restore.failed);
    report.bytes = restore.source.written();
    report.read = snapshot.bytes_read() - read_before;
    report.failed.clone_from(&failed.named);
    report.failed_total = failed.paths.len() as u64;
    (report.notes, report.unchanged) = target.finish();
    if options.sync {
        // A disk that fails late must not make a restore look good.
        target.sync().map_err(not_on_disk)?;
    }
    Ok(report)
}

fn not_on_disk(source: std::io::Error) -> EngineError {
    EngineError::Io {
        doing: "write the restored files to the disk",
        source,
    }
}

#[derive(Default)]
struct Failed {
    paths: HashSet<RelPath>,
    named: Vec<(RelPath, String)>,
}

/// Is what all threads of one restore share.
struct Restore<'a> {
    snapshot: &'a OpenSnapshot,
    target: &'a Target,
    options: &'a RestoreOptions,
    source: Source<'a>,
    stop: AtomicBool,
    fatal: Mutex<Option<EngineError>>,
    failed: Mutex<Failed>,
    /// Files that were being written in place when the restore stopped.
    half_written: Mutex<Vec<RelPath>>,
}

impl Restore<'_> {
    fn run(&self) -> Result<RestoreReport, EngineError> {
        let mut walk = Walk::new(self);
        let threads = self.options.threads.max(self.source.calls_at_once());
        let threads = threads.clamp(1, THREADS_MAX);
        let walked = std::thread::scope(|scope| {
            let (jobs, waiting) = bounded::<Job>(threads);
            let mut workers = Vec::new();
            for _ in 0..threads {
                let waiting = waiting.clone();
                workers.push(scope.spawn(move || self.work(&waiting)));
            }
            // Kept, it would let the sender wait for threads that are gone.
            drop(waiting);
            let (working, ended) = bounded(0);
            if self.options.sync {
                scope.spawn(move || {
                    let written = || self.source.written();
                    if let Err(source) = flush_along(&ended, written, || self.target.sync()) {
                        self.give_up(not_on_disk(source));
                    }
                });
            }
            let walked = walk.run(&jobs);
            if walked.is_err() {
                self.stop.store(true, Ordering::Relaxed);
            }
            drop(jobs);
            for worker in workers {
                if worker.join().is_err() {
                    self.give_up(EngineError::Panicked);
                }
            }
            drop(working);
            walked
        });
        let stopped = lock(&self.fatal).take();
        let done = match (stopped, walked) {
            (Some(error), _) | (None, Err(error)) => Err(error),
            (None, Ok(())) => {
                let (report, links) = walk.finish();
                self.link_all(links).map(|()| report)
            }
        };
        done.map_err(|error| self.naming_half_written(error))
    }

    /// Places further names of files; all files are whole now.
    fn link_all(&self, links: Links) -> Result<(), EngineError> {
        for entry in links {
            self.source.check_cancel()?;
            if let Kind::Hardlink { to } = &entry.kind
                && lock(&self.failed).paths.contains(to)
            {
                self.fail(&entry.path, format!("its other name {to} was not restored"));
            } else if let Err(error) = self.target.place(&entry) {
                self.place_failed(&entry.path, error)?;
            }
        }
        Ok(())
    }

    fn naming_half_written(&self, error: EngineError) -> EngineError {
        let mut paths: Vec<String> = lock(&self.half_written)
            .iter()
            .map(ToString::to_string)
            .collect();
        if paths.is_empty() {
            return error;
        }
        paths.sort();
        EngineError::HalfWritten {
            paths,
            source: Box::new(error),
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.source.check_cancel().is_err()
    }

    fn give_up(&self, error: EngineError) {
        self.stop.store(true, Ordering::Relaxed);
        lock(&self.fatal).get_or_insert(error);
    }

    /// Names an entry that something in the target keeps out; other errors end the restore.
    fn place_failed(&self, path: &RelPath, error: PlaceError) -> Result<(), EngineError> {
        match error {
            PlaceError::Exists(_) | PlaceError::Occupied(_) => {
                self.fail(path, error.to_string());
                Ok(())
            }
            error => Err(error.into()),
        }
    }

    fn fail(&self, path: &RelPath, reason: String) {
        let mut failed = lock(&self.failed);
        if failed.named.len() < FAILED_MAX {
            failed.named.push((path.clone(), reason));
        }
        failed.paths.insert(path.clone());
    }
}
