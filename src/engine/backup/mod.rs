//! Makes snapshots: of file trees, of images and of streams.
//!
//! One thread walks, reads and cuts; a pool names, compresses, seals, checks and stores. The
//! amount of data under way is bounded. Entries wait in order until the ids of their chunks
//! are known and then go into the tree.

mod image;
mod pipeline;
mod previous;
mod tree_writer;
mod walk;

use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

pub use self::image::backup_image;
use self::pipeline::Pipeline;
use self::tree_writer::TreeWriter;
use super::env::Cancel;
use super::error::EngineError;
use super::files::{Entry, Kind, Meta, Notes, Owners, RelPath, Scan, ScanOptions, Time};
use super::format::FORMAT;
use super::hex;
use super::manifest::{Clear, Sealed};
use super::progress::{Event, Observer};
use super::repository::Repository;
use super::store::{Folder, Receipt, StoreName};
use super::writer::Writer;

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
    /// How large packs get, in bytes.
    pub pack_bytes: usize,
    /// How many threads seal and store.
    pub threads: usize,
    /// Whether all files are read, even where the previous snapshot says they are unchanged.
    pub read_all: bool,
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
            pack_bytes: 64 << 20,
            threads: std::thread::available_parallelism().map_or(2, usize::from) + 1,
            read_all: false,
            leave_out: Vec::new(),
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
}

/// Counts what goes into a snapshot.
#[derive(Debug, Default)]
struct Counts {
    entries: u64,
    files: u64,
    bytes: u64,
    changed: u64,
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
    let started = repository.env.clock.now_ns();
    let scan = Scan::new(paths, Owners::of_this_machine(), scan)?
        .leaving_out(&options.leave_out, paths)?;
    let writer = open_writer(repository, options, observer)?;
    let previous = previous::Previous::open(repository, options);
    let texts = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let (roots, counts, notes) = with_pipeline(&writer, options, cancel, |pipeline| {
        walk::Walk::new(&writer, pipeline, previous, observer, cancel)?.run(scan)
    })?;
    let made = Made {
        started,
        roots,
        counts,
        notes,
        paths: texts,
    };
    made.commit(repository, writer, options)
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
    let started = repository.env.clock.now_ns();
    let path = RelPath::new(file_name)
        .ok()
        .filter(|path| path.components().count() == 1)
        .ok_or_else(|| EngineError::StreamName(file_name.to_owned()))?;
    let writer = open_writer(repository, options, observer)?;
    let (roots, counts, notes) = with_pipeline(&writer, options, cancel, |pipeline| {
        let mut tree = TreeWriter::new(&writer)?;
        tree.push(container(started))?;
        let pieces = pipeline.read_all(stream, observer, cancel)?;
        let spans = pipeline.resolve(&pieces)?;
        let size = spans.iter().map(|span| u64::from(span.len)).sum();
        let meta = Meta {
            mode: 0o600,
            ..container(started).meta
        };
        let mut entry = Entry::new(path.clone(), Kind::dense_file(size), meta);
        entry.spans = spans;
        observer.event(Event::Entry {
            path: &path,
            bytes: size,
        });
        tree.push(entry)?;
        let counts = Counts {
            entries: 2,
            files: 1,
            bytes: size,
            changed: 0,
        };
        Ok((tree.finish()?, counts, Notes::default()))
    })?;
    let made = Made {
        started,
        roots,
        counts,
        notes,
        paths: vec![file_name.to_owned()],
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
    Writer::open(repository, key, options.pack_bytes, observer)
}

/// Runs `work` with a pool of threads that seal and store what it cuts.
fn with_pipeline<T>(
    writer: &Writer<'_>,
    options: &BackupOptions,
    cancel: &Cancel,
    work: impl FnOnce(&mut Pipeline) -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    let threads = options.threads.clamp(1, 64);
    std::thread::scope(|scope| {
        let (mut pipeline, worker) = Pipeline::new(threads);
        for _ in 0..threads {
            let worker = worker.clone();
            scope.spawn(move || worker.run(writer));
        }
        drop(worker);
        let done = work(&mut pipeline)?;
        if cancel.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        Ok(done)
    })
}

/// Is a snapshot whose blobs are stored or collected.
struct Made {
    started: i64,
    roots: tree_writer::Roots,
    counts: Counts,
    notes: Notes,
    paths: Vec<String>,
}

impl Made {
    fn commit(
        self,
        repository: &Repository,
        writer: Writer<'_>,
        options: &BackupOptions,
    ) -> Result<BackupReport, EngineError> {
        writer.flush()?;
        let skipped = self.notes.losses().saturating_sub(self.counts.changed);
        let clear = Clear {
            format: FORMAT,
            id: Writer::snapshot_id(repository)?,
            source: options.source.clone(),
            writer: writer.key().label().to_owned(),
            started: self.started,
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
        })
    }
}
