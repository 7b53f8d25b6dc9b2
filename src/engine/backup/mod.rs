//! Makes snapshots: of file trees, of images and of streams.
//!
//! One thread walks, reads and cuts; a pool names, compresses, seals, checks and stores. The
//! amount of data under way is bounded. Entries wait in order until the ids of their chunks
//! are known and then go into the tree.

mod cache;
mod image;
mod pipeline;
mod previous;
mod remembered;
mod shared;
mod stats;
mod tree_writer;
mod twins;
mod walk;

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub(crate) use self::cache::is_known as is_cache_record;
pub use self::image::backup_image;
use self::pipeline::Pipeline;
use self::previous::Origin;
use self::remembered::Remembered;
use self::stats::ReadCounter;
use self::tree_writer::TreeWriter;
use super::env::Cancel;
use super::error::EngineError;
use super::files::{Entry, Kind, Meta, Notes, Owners, RelPath, Scan, ScanOptions, Time};
use super::format::FORMAT;
use super::hex;
use super::manifest::{Clear, Sealed};
use super::pack::PackSize;
use super::progress::{Event, Observer};
use super::repository::Repository;
use super::store::{Folder, Receipt, StoreName};
use super::writer::{Packing, Writer};

pub use self::stats::{BackupStats, StageTimes};
pub(super) use self::stats::{Stage, Stages, waiting};

/// How many notes a manifest lists in full.
const NOTES_MAX: usize = 1000;
/// How much of a note a manifest keeps, in characters.
const NOTE_CHARS_MAX: usize = 500;
const MACHINE_BYTES_MAX: usize = 256;

/// Says what a snapshot is called and how it is made.
#[derive(Debug, Clone)]
pub struct BackupOptions {
    /// The name of what is backed up: the folder of its snapshots.
    pub source: String,
    /// The label of the writer's key, for a repository that was opened with the reading key.
    pub label: String,
    /// The identity of the machine that is backed up.
    pub machine: String,
    /// How large packs get.
    pub pack_size: PackSize,
    /// How many threads read and seal; if there are several, one more stores.
    pub threads: usize,
    /// Whether all files are read, even where the previous snapshot says they are unchanged.
    pub read_all: bool,
    /// After how long what was read is stored, so that an interruption costs no more.
    pub checkpoint_every: Duration,
    /// Where what was read is remembered, if anywhere.
    pub cache: Option<CacheOptions>,
    /// Directories of the repository itself: they are left out wherever the walk meets them.
    pub leave_out: Vec<PathBuf>,
}

impl BackupOptions {
    /// Returns the usual options for a source, its writer's label and a machine.
    pub fn new(source: &str, label: &str, machine: &str) -> Self {
        Self {
            source: source.to_owned(),
            label: label.to_owned(),
            machine: machine.to_owned(),
            pack_size: PackSize::Usual,
            threads: std::thread::available_parallelism().map_or(2, |all| usize::from(all).max(2)),
            read_all: false,
            checkpoint_every: Duration::from_mins(1),
            cache: None,
            leave_out: Vec::new(),
        }
    }

    /// Returns how many threads work, within reason.
    fn threads(&self) -> usize {
        self.threads.clamp(1, 64)
    }
}

/// Says where a backup remembers what it read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheOptions {
    /// The folder, which is made if it is not there; it may be removed at any time.
    pub folder: PathBuf,
    /// How large the file of one source may get, in bytes.
    pub bytes_max: u64,
}

impl CacheOptions {
    /// Returns the usual options for a folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            bytes_max: 4 << 30,
        }
    }
}

/// Says what a backup did.
#[derive(Debug)]
pub struct BackupReport {
    /// The manifest's name.
    pub name: StoreName,
    /// The manifest's clear part, with all counts.
    pub clear: Clear,
    /// When the place received it.
    pub receipt: Receipt,
    /// What was noted about single paths.
    pub notes: Notes,
    /// What was read, and where the time went.
    pub stats: BackupStats,
    /// What went wrong and costs nothing but time.
    pub warnings: Vec<String>,
}

/// Counts what goes into a snapshot.
#[derive(Debug, Default)]
struct Counts {
    entries: u64,
    files: u64,
    bytes: u64,
    changed: u64,
    unchanged_files: u64,
    unchanged_bytes: u64,
    resumed_files: u64,
    resumed_bytes: u64,
}

impl Counts {
    /// Counts a file that was not read, and its data.
    fn keep(&mut self, bytes: u64, origin: Origin) {
        self.unchanged_files += 1;
        self.unchanged_bytes += bytes;
        if origin == Origin::Interrupted {
            self.resumed_files += 1;
            self.resumed_bytes += bytes;
        }
    }
}

/// Makes a snapshot of one or several absolute paths.
///
/// With one path, that path is the snapshot's root; with several, full paths are kept. Files
/// that cannot be read are noted, and the snapshot says that it is not complete. Files that
/// change while they are read are noted and counted, but do not make it incomplete.
pub fn backup(
    repository: &Repository,
    paths: &[PathBuf],
    scan: ScanOptions,
    options: &BackupOptions,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<BackupReport, EngineError> {
    let start = Start::now(repository)?;
    let observer = &ReadCounter::new(observer);
    let scan = Scan::new(paths, Owners::of_this_machine(), scan)?
        .leaving_out(&options.leave_out, paths)?;
    let writer = open_writer(repository, options, observer)?;
    let mut remembered = Remembered::open(repository, options, &writer, &start);
    let scan = match &options.cache {
        Some(cache) => scan.leaving_out_cache(&cache.folder),
        None => scan,
    };
    let previous = remembered.previous(repository, options);
    let texts = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let cache = remembered.cache.as_mut();
    let (roots, counts, notes) = with_pipeline(&writer, options, cancel, |pipeline| {
        let walk = walk::Walk::new(&writer, pipeline, previous, cache, observer, cancel)?;
        writer.stages.time(Stage::Walk, || walk.run(scan))
    })?;
    let made = Made {
        start,
        roots,
        counts,
        notes,
        paths: texts,
        read_bytes: observer.bytes(),
    };
    let mut report = made.commit(repository, writer, options)?;
    report.warnings = remembered.finish();
    Ok(report)
}

/// Is when a backup began and what its snapshot will be called.
#[derive(Debug, Clone, Copy)]
struct Start {
    started: i64,
    snapshot: [u8; 16],
}

impl Start {
    fn now(repository: &Repository) -> Result<Self, EngineError> {
        Ok(Self {
            started: repository.env.clock.now_ns(),
            snapshot: Writer::snapshot_id(repository)?,
        })
    }
}

/// Makes a snapshot of a stream, as one file called `file_name`.
pub fn backup_stream(
    repository: &Repository,
    stream: &mut dyn Read,
    file_name: &str,
    options: &BackupOptions,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<BackupReport, EngineError> {
    let start = Start::now(repository)?;
    let observer = &ReadCounter::new(observer);
    let path = RelPath::new(file_name)
        .ok()
        .filter(|path| path.components().count() == 1)
        .ok_or_else(|| EngineError::StreamName(file_name.to_owned()))?;
    let writer = open_writer(repository, options, observer)?;
    let (roots, counts, notes) = with_pipeline(&writer, options, cancel, |pipeline| {
        let mut tree = TreeWriter::new(&writer)?;
        tree.push(&mut container(start.started))?;
        let read = || pipeline.read_all(stream, observer, cancel);
        let pieces = writer.stages.time(Stage::Read, read)?;
        let spans = pipeline.resolve(&pieces)?;
        let size = spans.iter().map(|span| u64::from(span.len)).sum();
        let meta = Meta {
            mode: 0o600,
            ..container(start.started).meta
        };
        let mut entry = Entry::new(path.clone(), Kind::dense_file(size), meta);
        entry.spans = spans;
        observer.event(Event::Entry {
            path: &path,
            bytes: size,
        });
        tree.push(&mut entry)?;
        let counts = Counts {
            entries: 2,
            files: 1,
            bytes: size,
            ..Counts::default()
        };
        Ok((tree.finish()?, counts, Notes::default()))
    })?;
    let made = Made {
        start,
        roots,
        counts,
        notes,
        paths: vec![file_name.to_owned()],
        read_bytes: observer.bytes(),
    };
    made.commit(repository, writer, options)
}

/// Returns the directory that a snapshot of a single stream or image consists of beside it.
fn container(started: i64) -> Entry {
    let time = Time {
        seconds: started.div_euclid(1_000_000_000),
        nanos: started.rem_euclid(1_000_000_000) as u32,
    };
    let meta = Meta {
        mode: 0o700,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        mtime: time,
        ctime: time,
        links: 1,
        ..Meta::default()
    };
    Entry::new(RelPath::root(), Kind::Dir, meta)
}

fn open_writer<'a>(
    repository: &'a Repository,
    options: &BackupOptions,
    observer: &'a dyn Observer,
) -> Result<Writer<'a>, EngineError> {
    // Whatever would fail at the end fails before anything is read.
    StoreName::within(Folder::Snapshots, &[&options.source, "time-id"])?;
    if options.machine.len() > MACHINE_BYTES_MAX {
        return Err(EngineError::TooLarge {
            what: "the machine's identity",
            size: options.machine.len() as u64,
        });
    }
    let key = repository.writer_key(&options.label)?;
    let packing = Packing {
        pack_size: options.pack_size,
        checkpoint_every: options.checkpoint_every,
    };
    Writer::open(repository, key, packing, observer)
}

/// Runs `work` with a pool of threads that seal what it cuts, and one that stores it.
///
/// The thread of `work` is one of those that seal; alone, it stores as well.
fn with_pipeline<T>(
    writer: &Writer<'_>,
    options: &BackupOptions,
    cancel: &Cancel,
    work: impl FnOnce(&mut Pipeline<'_>) -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    let threads = options.threads();
    writer.storing(threads, || {
        std::thread::scope(|scope| {
            let (mut pipeline, worker) = Pipeline::new(writer, threads - 1)?;
            for _ in 1..threads {
                let worker = worker.clone();
                scope.spawn(move || worker.run());
            }
            drop(worker);
            let done = work(&mut pipeline)?;
            if cancel.is_cancelled() {
                return Err(EngineError::Cancelled);
            }
            Ok(done)
        })
    })
}

/// Is a snapshot whose blobs are stored or collected.
struct Made {
    start: Start,
    roots: tree_writer::Roots,
    counts: Counts,
    notes: Notes,
    paths: Vec<String>,
    read_bytes: u64,
}

impl Made {
    fn commit(
        self,
        repository: &Repository,
        writer: Writer<'_>,
        options: &BackupOptions,
    ) -> Result<BackupReport, EngineError> {
        let stages = Arc::clone(&writer.stages);
        stages
            .time(Stage::Commit, || {
                self.commit_timed(repository, writer, options)
            })
            .map(|mut report| {
                report.stats.times = stages.times();
                report
            })
    }

    fn commit_timed(
        self,
        repository: &Repository,
        writer: Writer<'_>,
        options: &BackupOptions,
    ) -> Result<BackupReport, EngineError> {
        writer.flush()?;
        let skipped = self.notes.losses().saturating_sub(self.counts.changed);
        let clear = Clear {
            format: FORMAT,
            id: hex::encode(&self.start.snapshot),
            source: options.source.clone(),
            writer: writer.key().label().to_owned(),
            started: self.start.started,
            finished: repository.env.clock.now_ns(),
            complete: skipped == 0,
            entries: self.counts.entries,
            files: self.counts.files,
            bytes: self.counts.bytes,
            new_bytes: writer.new_bytes.load(Ordering::Relaxed),
            stored_bytes: writer.stored_bytes.load(Ordering::Relaxed),
            machine: options.machine.clone(),
            refs: hex::encode(&self.roots.refs),
            skipped,
            changed: self.counts.changed,
        };
        let stats = BackupStats {
            read_bytes: self.read_bytes,
            unchanged_files: self.counts.unchanged_files,
            unchanged_bytes: self.counts.unchanged_bytes,
            resumed_files: self.counts.resumed_files,
            resumed_bytes: self.counts.resumed_bytes,
            times: StageTimes::default(),
        };
        let (tree, paths, notes) = (self.roots.tree, self.paths, &self.notes);
        let sealed = |line| Sealed {
            clear: line,
            tree: hex::encode(&tree),
            paths,
            notes: notes
                .kept()
                .iter()
                .take(NOTES_MAX)
                .map(|note| note.to_string().chars().take(NOTE_CHARS_MAX).collect())
                .collect(),
            notes_total: notes.total(),
        };
        let (name, receipt) = writer.commit(&clear, sealed)?;
        Ok(BackupReport {
            name,
            clear,
            receipt,
            notes: self.notes,
            stats,
            warnings: Vec::new(),
        })
    }
}
