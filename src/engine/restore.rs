//! Puts a snapshot, or parts of it, back below a directory.
//!
//! One thread places entries in path order, others fill files. A file whose data cannot be
//! had is taken away again and named; the rest is restored.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::env::Cancel;
use super::error::EngineError;
use super::files::{Entry, Existing, Kind, Notes, Placed, PlacedFile, RelPath, Target};
use super::progress::{Event, Observer};
use super::snapshot::OpenSnapshot;
use super::store::StoreError;
use super::writer::lock;

/// How many failed files a report names.
const FAILED_MAX: usize = 1000;
/// How many placed files wait open for a thread.
const WAITING_MAX: usize = 32;

/// Says what to restore and how.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// The paths to restore with all below them; none for everything.
    pub paths: Vec<RelPath>,
    /// What to do with what is in the target already.
    pub existing: Existing,
    /// How many threads fill files.
    pub threads: usize,
}

impl Default for RestoreOptions {
    fn default() -> Self {
        Self {
            paths: Vec::new(),
            existing: Existing::Refuse,
            threads: std::thread::available_parallelism().map_or(2, usize::from) + 2,
        }
    }
}

/// Says what a restore did.
#[derive(Debug, Default)]
pub struct RestoreReport {
    /// How many entries were placed.
    pub entries: u64,
    /// How many of them are files.
    pub files: u64,
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
    let target = Target::open(target, options.existing)?;
    let job = Restore {
        snapshot,
        target: &target,
        observer,
        cancel,
        stop: AtomicBool::new(false),
        fatal: Mutex::new(None),
        bytes: AtomicU64::new(0),
        failed: Mutex::new(Failed::default()),
    };
    let mut report = job.run(options)?;
    let failed = job.failed.into_inner();
    let failed = failed.unwrap_or_else(std::sync::PoisonError::into_inner);
    report.bytes = job.bytes.load(Ordering::Relaxed);
    report.failed = failed.named;
    report.failed_total = failed.paths.len() as u64;
    // A disk that fails late must not make a restore look good.
    target.sync().map_err(|source| EngineError::Io {
        doing: "write the restored files to the disk",
        source,
    })?;
    report.notes = target.finish();
    Ok(report)
}

#[derive(Default)]
struct Failed {
    paths: HashSet<RelPath>,
    named: Vec<(RelPath, String)>,
}

struct Restore<'a> {
    snapshot: &'a OpenSnapshot,
    target: &'a Target,
    observer: &'a dyn Observer,
    cancel: &'a Cancel,
    stop: AtomicBool,
    fatal: Mutex<Option<EngineError>>,
    bytes: AtomicU64,
    failed: Mutex<Failed>,
}

type Job = (PlacedFile, Entry);

impl Restore<'_> {
    fn run(&self, options: &RestoreOptions) -> Result<RestoreReport, EngineError> {
        let placed = std::thread::scope(|scope| {
            let (jobs, waiting) = bounded::<Job>(WAITING_MAX);
            for _ in 0..options.threads.clamp(1, 64) {
                let waiting = waiting.clone();
                scope.spawn(move || self.fill_all(&waiting));
            }
            // Kept, it would let the sender wait for threads that are gone.
            drop(waiting);
            let placed = self.place_all(&options.paths, &jobs);
            if placed.is_err() {
                self.stop.store(true, Ordering::Relaxed);
            }
            placed
        });
        match lock(&self.fatal).take() {
            Some(error) => Err(error),
            None => placed,
        }
    }

    fn place_all(
        &self,
        paths: &[RelPath],
        jobs: &Sender<Job>,
    ) -> Result<RestoreReport, EngineError> {
        let mut report = RestoreReport::default();
        let mut wanted = Wanted::new(paths);
        for entry in self.snapshot.entries()? {
            if self.cancel.is_cancelled() {
                return Err(EngineError::Cancelled);
            }
            if self.stop.load(Ordering::Relaxed) {
                return Ok(report);
            }
            let Some(entry) = wanted.select(entry?) else {
                continue;
            };
            let entry = self.renamed(entry);
            self.observer.event(Event::Entry {
                path: &entry.path,
                bytes: entry.kind.size(),
            });
            report.entries += 1;
            report.files += u64::from(matches!(entry.kind, Kind::File { .. }));
            self.place(entry, jobs)?;
        }
        Ok(report)
    }

    /// Gives a single file that was backed up as the root its own name.
    fn renamed(&self, mut entry: Entry) -> Entry {
        if entry.path.is_root() && !entry.kind.is_dir() {
            entry.path = self.snapshot.root_file_name();
        }
        entry
    }

    fn place(&self, entry: Entry, jobs: &Sender<Job>) -> Result<(), EngineError> {
        if let Kind::Hardlink { to } = &entry.kind
            && lock(&self.failed).paths.contains(to)
        {
            self.fail(&entry.path, format!("its other name {to} was not restored"));
            return Ok(());
        }
        match self.target.place(&entry)? {
            Placed::Done | Placed::Skipped => Ok(()),
            // Its other names must not appear before it is known to be whole.
            Placed::File(file) if entry.meta.links > 1 => self.fill(file, &entry),
            Placed::File(file) => {
                // Nobody takes it only if all threads ended on a fatal error, which is kept.
                drop(jobs.send((file, entry)));
                Ok(())
            }
        }
    }

    fn fill_all(&self, waiting: &Receiver<Job>) {
        for (file, entry) in waiting {
            if self.stop.load(Ordering::Relaxed) || self.cancel.is_cancelled() {
                // An empty file must not pass for the one it would have been.
                drop(self.target.discard(file));
                continue;
            }
            if let Err(error) = self.fill(file, &entry) {
                self.stop.store(true, Ordering::Relaxed);
                lock(&self.fatal).get_or_insert(error);
            }
        }
    }

    /// Fills a file; one whose data cannot be had is taken away.
    fn fill(&self, file: PlacedFile, entry: &Entry) -> Result<(), EngineError> {
        let written = self.snapshot.for_each_piece(entry, &mut |offset, bytes| {
            if self.cancel.is_cancelled() {
                return Err(EngineError::Cancelled);
            }
            file.write_at(bytes, offset)?;
            let bytes = bytes.len() as u64;
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            self.observer.event(Event::Written { bytes });
            Ok(())
        });
        match written {
            Ok(()) => {
                self.target.finish_file(file);
                Ok(())
            }
            Err(error) => {
                self.target.discard(file)?;
                if is_about_one_file(&error) {
                    self.fail(&entry.path, error.to_string());
                    Ok(())
                } else {
                    Err(error)
                }
            }
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

/// Tells whether other files can still be restored after an error.
fn is_about_one_file(error: &EngineError) -> bool {
    match error {
        EngineError::Damaged { .. } | EngineError::MissingBlob { .. } => true,
        EngineError::Store(error) => !matches!(error, StoreError::Closed { .. }),
        _ => false,
    }
}

/// Selects entries by path.
struct Wanted<'a> {
    paths: &'a [RelPath],
    /// First names of hard links that were not selected, for other names that are.
    first_names: HashMap<RelPath, Entry>,
    /// Which selected name stands in for a first name.
    stand_ins: HashMap<RelPath, RelPath>,
}

impl<'a> Wanted<'a> {
    fn new(paths: &'a [RelPath]) -> Self {
        Self {
            paths,
            first_names: HashMap::new(),
            stand_ins: HashMap::new(),
        }
    }

    /// Returns the entry if it is wanted, on the way to what is wanted, or a stand-in.
    fn select(&mut self, entry: Entry) -> Option<Entry> {
        if self.paths.is_empty() {
            return Some(entry);
        }
        let mut paths = self.paths.iter();
        let is_wanted = paths.any(|path| entry.path.starts_with(path));
        let on_the_way =
            entry.kind.is_dir() && self.paths.iter().any(|path| path.starts_with(&entry.path));
        if on_the_way {
            return Some(entry);
        }
        if is_wanted {
            return Some(self.with_first_name(entry));
        }
        if entry.meta.links > 1 && matches!(entry.kind, Kind::File { .. }) {
            self.first_names.insert(entry.path.clone(), entry);
        }
        None
    }

    fn with_first_name(&mut self, mut entry: Entry) -> Entry {
        let Kind::Hardlink { to } = &entry.kind else {
            return entry;
        };
        if let Some(stand_in) = self.stand_ins.get(to) {
            entry.kind = Kind::Hardlink {
                to: stand_in.clone(),
            };
        } else if let Some(first) = self.first_names.get(to) {
            self.stand_ins.insert(to.clone(), entry.path.clone());
            entry.kind = first.kind.clone();
            entry.spans.clone_from(&first.spans);
        }
        entry
    }
}
