//! Writes one file of a snapshot over a block device or an existing file, where they differ.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::chunks::Source;
use super::flush::flush_along;
use super::large::Patch;
use super::patch::holes;
use super::{RestoreReport, THREADS_MAX};
use crate::engine::env::Cancel;
use crate::engine::error::EngineError;
use crate::engine::files::{Entry, EntryError, Kind, PlaceError};
use crate::engine::pieces::{Piece, Pieces};
use crate::engine::progress::{Event, Observer};
use crate::engine::snapshot::OpenSnapshot;
use crate::engine::writer::lock;

/// How long a range without data is that one thread looks through.
const HOLE_BYTES_MAX: u64 = 256 << 20;

/// Is something to do for a thread.
enum Job {
    Part(Vec<Piece>),
    Hole(u64, u64),
}

/// Writes the data of a file of the snapshot over a block device or an existing file.
///
/// Only what differs is written, and where the file has no data the device is made to read as
/// zeros. What lies beyond the file's end on a device stays. A device that is mounted or held
/// by another user is refused.
pub fn restore_over(
    snapshot: &OpenSnapshot,
    entry: &Entry,
    device: &Path,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<RestoreReport, EngineError> {
    check(entry)?;
    let read_before = snapshot.bytes_read();
    let size = entry.kind.size();
    let file = open(device, size)?;
    observer.event(Event::Expected { bytes: size });
    let over = Over {
        source: Source::new(snapshot, observer, cancel),
        file: &file,
        stop: AtomicBool::new(false),
        fatal: Mutex::default(),
        has_changed: AtomicBool::new(false),
    };
    let done = over
        .run(entry)
        .and_then(|()| file.sync_all().map_err(not_on_disk));
    if let Err(error) = done {
        if !over.has_changed.load(Ordering::Relaxed) {
            return Err(error);
        }
        return Err(EngineError::HalfWritten {
            paths: vec![device.display().to_string()],
            source: Box::new(error),
        });
    }
    let has_changed = over.has_changed.load(Ordering::Relaxed);
    Ok(RestoreReport {
        entries: 1,
        files: 1,
        unchanged: u64::from(!has_changed),
        read: snapshot.bytes_read() - read_before,
        bytes: over.source.written(),
        ..RestoreReport::default()
    })
}

fn not_on_disk(source: io::Error) -> EngineError {
    EngineError::Io {
        doing: "write the device's data to the disk",
        source,
    }
}

fn check(entry: &Entry) -> Result<(), EngineError> {
    let checked = match entry.kind {
        Kind::File { .. } => entry.check(),
        _ => Err(EntryError::SpansWithoutData),
    };
    let path = entry.path.clone();
    Ok(checked.map_err(|source| PlaceError::Entry { path, source })?)
}

/// Opens what is written over, if nobody else uses it and it is large enough.
fn open(device: &Path, size: u64) -> Result<File, EngineError> {
    let refused = |reason: String| EngineError::Device {
        place: device.display().to_string(),
        reason,
    };
    let meta = std::fs::metadata(device).map_err(|error| refused(error.to_string()))?;
    let is_device = meta.file_type().is_block_device();
    if !is_device && !meta.is_file() {
        return Err(refused("it is no block device and no file".to_owned()));
    }
    if !is_device && backs_a_loop(device) {
        return Err(refused(
            "a loop device is made of it: detach that first".to_owned(),
        ));
    }
    // For a block device this is exclusive: whoever mounts or stacks it holds it likewise.
    let flags = if is_device {
        OFlags::EXCL
    } else {
        OFlags::empty()
    } | OFlags::NONBLOCK;
    let mut options = File::options();
    options
        .read(true)
        .write(true)
        .custom_flags(flags.bits().cast_signed());
    let mut file = options.open(device).map_err(|error| {
        refused(match Errno::from_io_error(&error) {
            Some(Errno::BUSY) => {
                "it is in use: mounted, or part of an array, a volume group or a mapping".to_owned()
            }
            _ => error.to_string(),
        })
    })?;
    let opened = file
        .metadata()
        .map_err(|error| refused(error.to_string()))?;
    if (opened.dev(), opened.ino()) != (meta.dev(), meta.ino()) {
        return Err(refused("it was exchanged at this moment".to_owned()));
    }
    if is_device {
        let room = file.seek(SeekFrom::End(0));
        let room = room.map_err(|error| refused(error.to_string()))?;
        if room < size {
            return Err(refused(format!(
                "it has {room} bytes, the file in the snapshot {size}"
            )));
        }
    } else if opened.len() != size {
        let sized = file.set_len(size);
        sized.map_err(|error| refused(error.to_string()))?;
    }
    Ok(file)
}

/// Tells whether the kernel says that a loop device uses a file.
fn backs_a_loop(path: &Path) -> bool {
    let Ok(path) = path.canonicalize() else {
        return false;
    };
    let Ok(devices) = std::fs::read_dir("/sys/block") else {
        return false;
    };
    devices.flatten().any(|device| {
        let backing = std::fs::read_to_string(device.path().join("loop/backing_file"));
        backing.is_ok_and(|backing| Path::new(backing.trim_end_matches('\n')) == path)
    })
}

struct Over<'a> {
    source: Source<'a>,
    file: &'a File,
    stop: AtomicBool,
    fatal: Mutex<Option<EngineError>>,
    has_changed: AtomicBool,
}

impl Over<'_> {
    fn run(&self, entry: &Entry) -> Result<(), EngineError> {
        let threads = std::thread::available_parallelism().map_or(2, usize::from) + 2;
        let threads = threads.max(self.source.calls_at_once()).min(THREADS_MAX);
        std::thread::scope(|scope| {
            let (jobs, waiting) = bounded::<Job>(threads);
            let mut workers = Vec::new();
            for _ in 0..threads {
                let waiting = waiting.clone();
                workers.push(scope.spawn(move || self.work(&waiting)));
            }
            drop(waiting);
            let (working, ended) = bounded(0);
            scope.spawn(move || {
                let written = || self.source.written();
                if let Err(source) = flush_along(&ended, written, || self.file.sync_data()) {
                    self.give_up(not_on_disk(source));
                }
            });
            if let Err(error) = self.send_all(entry, &jobs) {
                self.give_up(error);
            }
            drop(jobs);
            for worker in workers {
                if worker.join().is_err() {
                    self.give_up(EngineError::Panicked);
                }
            }
            drop(working);
        });
        match lock(&self.fatal).take() {
            Some(error) => Err(error),
            None => self.source.check_cancel(),
        }
    }

    fn send_all(&self, entry: &Entry, jobs: &Sender<Job>) -> Result<(), EngineError> {
        let mut pieces = Pieces::of(entry)?;
        loop {
            let group = self.source.snapshot.group(&mut pieces);
            // Nobody takes it only if all threads ended on an error, which is kept.
            if group.is_empty() || self.is_stopped() || jobs.send(Job::Part(group)).is_err() {
                break;
            }
        }
        for (from, to) in holes(&entry.kind) {
            let mut at = from;
            while at < to && !self.is_stopped() {
                let end = to.min(at + HOLE_BYTES_MAX);
                if jobs.send(Job::Hole(at, end)).is_err() {
                    break;
                }
                at = end;
            }
        }
        Ok(())
    }

    fn work(&self, waiting: &Receiver<Job>) {
        for job in waiting {
            if self.is_stopped() {
                continue;
            }
            if let Err(error) = self.carry_out(&job) {
                self.give_up(error);
            }
        }
    }

    fn carry_out(&self, job: &Job) -> Result<(), EngineError> {
        let patch = Patch::Device(self.file);
        let changed = match job {
            Job::Part(pieces) => match self.source.patch(&patch, pieces) {
                Ok(patched) => {
                    if let Some(reason) = patched.failure {
                        self.give_up(EngineError::damaged("a chunk of the file", reason));
                    }
                    Ok(patched.has_changed)
                }
                Err(error) => Err(error),
            },
            Job::Hole(from, to) => self.source.clear(&patch, *from, *to),
        };
        // What failed may have written before.
        let has_changed = *changed.as_ref().unwrap_or(&true);
        self.has_changed.fetch_or(has_changed, Ordering::Relaxed);
        changed.map(drop)
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.source.check_cancel().is_err()
    }

    fn give_up(&self, error: EngineError) {
        self.stop.store(true, Ordering::Relaxed);
        lock(&self.fatal).get_or_insert(error);
    }
}
