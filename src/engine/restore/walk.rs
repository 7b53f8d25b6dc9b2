//! Walks the snapshot's tree: places what is no file, and hands files out.

use std::sync::Arc;

use crossbeam_channel::Sender;

use super::fill::Job;
use super::large::Large;
use super::patch::holes;
use super::sweep::Sweep;
use super::wanted::{Selected, Wanted};
use super::{Restore, RestoreReport};
use crate::engine::error::EngineError;
use crate::engine::files::{Entry, Existing, Kind, Placed, RelPath};
use crate::engine::pieces::{GROUP_BYTES_MAX, Pieces, Weight};
use crate::engine::progress::Event;

/// How many files are handed out together at most.
const BATCH_FILES_MAX: usize = 1024;
/// How long a range without data is that one thread looks through.
const HOLE_BYTES_MAX: u64 = 256 << 20;

/// Holds further names of files until the files are whole.
pub(super) type Links = Vec<Entry>;

/// Collects small files that share chunks.
#[derive(Default)]
struct Batch {
    entries: Vec<Entry>,
    weight: Weight,
    bytes: u64,
}

/// Goes once along the tree.
pub(super) struct Walk<'a> {
    restore: &'a Restore<'a>,
    wanted: Wanted<'a>,
    sweep: Sweep<'a>,
    /// The parts of the machine that were backed up, where the snapshot has several roots.
    roots: Vec<RelPath>,
    batch: Batch,
    links: Links,
    report: RestoreReport,
}

impl<'a> Walk<'a> {
    pub(super) fn new(restore: &'a Restore<'a>) -> Self {
        let paths = &restore.snapshot.sealed().paths;
        let mut roots = Vec::new();
        if paths.len() > 1 {
            let paths = paths.iter().map(std::path::Path::new);
            roots.extend(paths.filter_map(|path| RelPath::from_absolute(path).ok()));
        }
        Self {
            restore,
            wanted: Wanted::new(restore.snapshot, &restore.options.paths),
            sweep: Sweep::new(restore.target, restore.options.existing),
            roots,
            batch: Batch::default(),
            links: Links::new(),
            report: RestoreReport::default(),
        }
    }

    /// Places everything but files, and sends those; ends early if the restore was stopped.
    pub(super) fn run(&mut self, jobs: &Sender<Job>) -> Result<(), EngineError> {
        let restore = self.restore;
        for entry in restore.snapshot.entries_near(&restore.options.paths)? {
            restore.source.check_cancel()?;
            if restore.is_stopped() {
                return Ok(());
            }
            match self.wanted.select(entry?)? {
                Selected::Whole(entry) => self.whole(entry, jobs)?,
                Selected::OnTheWay(entry) => self.on_the_way(&entry)?,
                Selected::No => {}
            }
        }
        self.send_batch(jobs);
        self.report.deleted = self.sweep.finish()?;
        Ok(())
    }

    /// Returns the report so far and the names that wait.
    pub(super) fn finish(self) -> (RestoreReport, Links) {
        (self.report, self.links)
    }

    fn on_the_way(&mut self, entry: &Entry) -> Result<(), EngineError> {
        self.report.entries += 1;
        self.restore.target.place_on_the_way(entry)?;
        Ok(())
    }

    fn whole(&mut self, mut entry: Entry, jobs: &Sender<Job>) -> Result<(), EngineError> {
        if entry.path.is_root() && !entry.kind.is_dir() {
            // A single file that was backed up as the root gets its own name.
            entry.path = self.restore.snapshot.root_file_name();
        }
        self.restore.source.observer().event(Event::Entry {
            path: &entry.path,
            bytes: entry.kind.size(),
        });
        self.report.entries += 1;
        self.report.files += u64::from(matches!(entry.kind, Kind::File { .. }));
        self.sweep.pass(&entry.path)?;
        match &entry.kind {
            Kind::File { .. } if entry.kind.data_bytes() > GROUP_BYTES_MAX => {
                self.send_large(entry, jobs)
            }
            Kind::File { .. } => {
                self.push(entry, jobs);
                Ok(())
            }
            Kind::Hardlink { .. } => {
                self.links.push(entry);
                Ok(())
            }
            _ => self.place(&entry),
        }
    }

    fn place(&mut self, entry: &Entry) -> Result<(), EngineError> {
        let restore = self.restore;
        let placed = match restore.target.place(entry) {
            Ok(placed) => placed,
            Err(error) => return restore.place_failed(&entry.path, error),
        };
        let existed = matches!(placed, Placed::Unchanged) || entry.path.is_root();
        let may_hold_more = restore.options.existing != Existing::Refuse && existed;
        if entry.kind.is_dir() && may_hold_more && self.is_covered(&entry.path) {
            self.sweep.enter(&entry.path)?;
        }
        Ok(())
    }

    /// Tells whether the snapshot knows all that belongs into a directory.
    ///
    /// Of directories above several roots it holds only the way to those.
    fn is_covered(&self, path: &RelPath) -> bool {
        let several = self.restore.snapshot.sealed().paths.len() > 1;
        !several || self.roots.iter().any(|root| path.starts_with(root))
    }

    fn push(&mut self, entry: Entry, jobs: &Sender<Job>) {
        let reader = &self.restore.snapshot.reader;
        for span in &entry.spans {
            let plain_len = || reader.plain_len(&span.chunk);
            self.batch.weight.add(&span.chunk, plain_len);
        }
        self.batch.bytes += entry.kind.data_bytes();
        self.batch.entries.push(entry);
        let is_full = self.batch.weight.is_full()
            || self.batch.bytes >= GROUP_BYTES_MAX
            || self.batch.entries.len() >= BATCH_FILES_MAX;
        if is_full {
            self.send_batch(jobs);
        }
    }

    fn send_batch(&mut self, jobs: &Sender<Job>) {
        let batch = std::mem::take(&mut self.batch);
        if !batch.entries.is_empty() {
            // Nobody takes it only if all threads ended on an error, which is kept.
            drop(jobs.send(Job::Files(batch.entries)));
        }
    }

    /// Hands a large file out in parts.
    fn send_large(&mut self, entry: Entry, jobs: &Sender<Job>) -> Result<(), EngineError> {
        let restore = self.restore;
        let path = entry.path.clone();
        let large = match Large::open(restore.target, entry) {
            Ok(large) => Arc::new(large),
            Err(error) => return restore.place_failed(&path, error),
        };
        let sent = Self::send_parts(restore, &large, jobs);
        if let Err(error) = &sent {
            large.fail(error.to_string());
        }
        restore.part_done(&large)?;
        match sent {
            Err(error) if !error.is_about_one_blob() => Err(error),
            _ => Ok(()),
        }
    }

    fn send_parts(
        restore: &Restore<'_>,
        large: &Arc<Large>,
        jobs: &Sender<Job>,
    ) -> Result<(), EngineError> {
        let mut pieces = Pieces::of(&large.entry)?;
        loop {
            let group = restore.snapshot.group(&mut pieces);
            if group.is_empty() || restore.is_stopped() {
                break;
            }
            large.add_part();
            if jobs.send(Job::Part(Arc::clone(large), group)).is_err() {
                return Ok(());
            }
        }
        if !large.had_contents() {
            return Ok(());
        }
        for (from, to) in holes(&large.entry.kind) {
            let mut at = from;
            while at < to && !restore.is_stopped() {
                let end = to.min(at + HOLE_BYTES_MAX);
                large.add_part();
                if jobs.send(Job::Hole(Arc::clone(large), at, end)).is_err() {
                    return Ok(());
                }
                at = end;
            }
        }
        Ok(())
    }
}
