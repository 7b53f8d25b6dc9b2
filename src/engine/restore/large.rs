//! Large files, filled in parts by several threads: new, in place, or only compared.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::Restore;
use super::chunks::{Known, Source, bytes_of};
use super::patch;
use crate::engine::error::EngineError;
use crate::engine::files::{Entry, LiveFile, Parents, PlaceError, PlacedFile, Target};
use crate::engine::pieces::{Piece, Pieces};
use crate::engine::writer::lock;

/// Is a large file whose parts are on their way.
pub(super) struct Large {
    pub(super) entry: Entry,
    how: How,
    /// Parts that are not done, and one for who hands them out.
    left: AtomicUsize,
    has_changed: AtomicBool,
    failure: Mutex<Option<String>>,
}

/// Says what is done to the file.
enum How {
    /// It is new; all of it is written.
    New(PlacedFile),
    /// It was there; what differs is written.
    InPlace(PlacedFile),
    /// It was there and must not be written to; if it differs, it is replaced at the end.
    Compare(LiveFile),
}

impl Large {
    /// Opens what is there, or creates the file.
    pub(super) fn open(target: &Target, entry: Entry) -> Result<Self, PlaceError> {
        let mut parents = Parents::default();
        let live = target.live_file(&mut parents, &entry)?;
        let mut has_other_size = false;
        let how = match live {
            None => How::New(target.place_file(&mut parents, &entry)?),
            Some(live) => {
                has_other_size = live.size() != entry.kind.size();
                match target.write_in_place(&live, &entry)? {
                    Some(placed) => How::InPlace(placed),
                    None => How::Compare(live),
                }
            }
        };
        Ok(Self {
            entry,
            how,
            left: AtomicUsize::new(1),
            has_changed: AtomicBool::new(has_other_size),
            failure: Mutex::default(),
        })
    }

    /// Tells whether something was there before.
    pub(super) fn had_contents(&self) -> bool {
        !matches!(self.how, How::New(_))
    }

    /// Announces one more part.
    pub(super) fn add_part(&self) {
        self.left.fetch_add(1, Ordering::Relaxed);
    }

    /// Remembers why the file cannot be restored.
    pub(super) fn fail(&self, reason: String) {
        lock(&self.failure).get_or_insert(reason);
    }

    fn patch(&self) -> Patch<'_> {
        match &self.how {
            How::New(file) => Patch::New(file),
            How::InPlace(file) => Patch::InPlace(file),
            How::Compare(live) => Patch::Compare(live.file()),
        }
    }

    fn is_known_to_differ(&self) -> bool {
        matches!(self.how, How::Compare(_)) && self.has_changed.load(Ordering::Relaxed)
    }
}

/// Is where pieces go.
pub(super) enum Patch<'a> {
    /// Into a new file.
    New(&'a PlacedFile),
    /// Over what a file holds.
    InPlace(&'a PlacedFile),
    /// Over what a device holds.
    Device(&'a File),
    /// Nowhere; they are only compared.
    Compare(&'a File),
}

impl Patch<'_> {
    /// Returns what is there already.
    fn live(&self) -> Option<&File> {
        match self {
            Self::New(_) => None,
            Self::InPlace(placed) => Some(placed.file()),
            Self::Device(file) | Self::Compare(file) => Some(file),
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), EngineError> {
        match self {
            Self::New(placed) | Self::InPlace(placed) => Ok(placed.write_at(bytes, offset)?),
            Self::Device(file) => {
                file.write_all_at(bytes, offset)
                    .map_err(|source| EngineError::Io {
                        doing: "write to the device",
                        source,
                    })
            }
            Self::Compare(_) => Ok(()),
        }
    }

    fn only_compares(&self) -> bool {
        matches!(self, Self::Compare(_))
    }
}

/// Says what became of some pieces.
#[derive(Default)]
pub(super) struct Patched {
    /// Whether something differed from what was there.
    pub(super) has_changed: bool,
    /// Why some of them cannot be had.
    pub(super) failure: Option<String>,
}

impl Source<'_> {
    /// Writes those of some pieces that differ from what is there.
    pub(super) fn patch(
        &self,
        patch: &Patch<'_>,
        pieces: &[Piece],
    ) -> Result<Patched, EngineError> {
        let read = |piece: &Piece| {
            let mut bytes = vec![0; piece.len as usize];
            let read = patch.live()?.read_exact_at(&mut bytes, piece.offset);
            read.is_ok().then_some(bytes)
        };
        let local: Vec<Option<Vec<u8>>> = pieces.iter().map(read).collect();
        let known: Vec<Known<'_>> = pieces
            .iter()
            .zip(&local)
            .map(|(piece, bytes)| (*piece, bytes.as_deref()))
            .collect();
        let chunks = self.chunks(&known)?;
        let mut patched = Patched::default();
        for (piece, local) in known {
            self.check_cancel()?;
            match bytes_of(&chunks, &piece) {
                Err(reason) => patched.failure = Some(reason),
                Ok(bytes) if local == Some(bytes) => self.count_kept(bytes.len() as u64),
                Ok(bytes) => {
                    patched.has_changed = true;
                    if !patch.only_compares() {
                        patch.write_at(bytes, piece.offset)?;
                        self.count_written(bytes.len() as u64);
                    }
                }
            }
        }
        Ok(patched)
    }

    /// Makes a range read as zeros; tells whether it did not.
    pub(super) fn clear(&self, patch: &Patch<'_>, from: u64, to: u64) -> Result<bool, EngineError> {
        let failed = |source| EngineError::Io {
            doing: "clear what the snapshot has no data for",
            source,
        };
        let Some(file) = patch.live() else {
            return Ok(false);
        };
        if patch.only_compares() {
            return Ok(!patch::is_zero(file, from, to).map_err(failed)?);
        }
        let cleared = patch::clear(file, from, to).map_err(failed)?;
        if cleared > 0 {
            self.count_written(cleared);
        }
        self.count_kept(to - from - cleared);
        Ok(cleared > 0)
    }
}

impl Restore<'_> {
    /// Writes a part of a large file.
    pub(super) fn fill_part(&self, large: &Large, pieces: &[Piece]) -> Result<(), EngineError> {
        let mut done = Ok(());
        if !self.is_stopped() && !large.is_known_to_differ() {
            // It is noted before anything is written that a thread may die over.
            match self.source.patch(&large.patch(), pieces) {
                Ok(patched) => {
                    large
                        .has_changed
                        .fetch_or(patched.has_changed, Ordering::Relaxed);
                    if let Some(reason) = patched.failure {
                        large.fail(reason);
                    }
                }
                Err(error) => {
                    large.has_changed.store(true, Ordering::Relaxed);
                    done = Err(error);
                }
            }
        }
        self.part_ended(large, done)
    }

    /// Clears a range of a large file.
    pub(super) fn clear_hole(&self, large: &Large, from: u64, to: u64) -> Result<(), EngineError> {
        let mut done = Ok(());
        if !self.is_stopped() && !large.is_known_to_differ() {
            match self.source.clear(&large.patch(), from, to) {
                Ok(changed) => drop(large.has_changed.fetch_or(changed, Ordering::Relaxed)),
                Err(error) => {
                    large.has_changed.store(true, Ordering::Relaxed);
                    done = Err(error);
                }
            }
        }
        self.part_ended(large, done)
    }

    /// Ends a part; an error is known to all before the file is ended.
    fn part_ended(&self, large: &Large, done: Result<(), EngineError>) -> Result<(), EngineError> {
        if let Err(error) = done {
            self.give_up(error);
        }
        self.part_done(large)
    }

    /// Takes note that a part is done, and ends the file after the last one.
    pub(super) fn part_done(&self, large: &Large) -> Result<(), EngineError> {
        if large.left.fetch_sub(1, Ordering::AcqRel) > 1 {
            return Ok(());
        }
        let path = &large.entry.path;
        let failure = lock(&large.failure).take();
        let has_changed = large.has_changed.load(Ordering::Relaxed);
        match (&large.how, failure) {
            (How::New(file), None) if !self.is_stopped() => Ok(self.target.finish_file(file)?),
            (How::New(file), reason) => {
                // A part of a file must not pass for the whole.
                self.target.discard(file)?;
                if let Some(reason) = reason {
                    self.fail(path, reason);
                }
                Ok(())
            }
            (How::InPlace(file), None) if !self.is_stopped() => {
                Ok(self.target.finish_file(file)?)
            }
            (How::InPlace(_), None) => {
                if has_changed {
                    lock(&self.half_written).push(path.clone());
                }
                Ok(())
            }
            (How::InPlace(_), Some(reason)) => {
                let state = if has_changed {
                    "; the file is in part old and in part new now"
                } else {
                    "; the file is as it was"
                };
                self.fail(path, format!("{reason}{state}"));
                Ok(())
            }
            (How::Compare(_), _) if self.is_stopped() => Ok(()),
            (How::Compare(live), None) if !has_changed => {
                self.target.keep(live, &large.entry);
                Ok(())
            }
            (How::Compare(_), _) => self.replace(&large.entry),
        }
    }

    /// Writes a large file anew, beside the one that is there.
    fn replace(&self, entry: &Entry) -> Result<(), EngineError> {
        let file = self.target.place_file(&mut Parents::default(), entry)?;
        match self.write_whole(entry, &file) {
            Ok(None) => Ok(self.target.finish_file(&file)?),
            Ok(Some(reason)) => {
                self.target.discard(&file)?;
                self.fail(&entry.path, reason);
                Ok(())
            }
            Err(error) => {
                self.target.discard(&file)?;
                Err(error)
            }
        }
    }

    fn write_whole(&self, entry: &Entry, file: &PlacedFile) -> Result<Option<String>, EngineError> {
        let mut pieces = Pieces::of(entry)?;
        loop {
            let group = self.snapshot.group(&mut pieces);
            if group.is_empty() {
                return Ok(None);
            }
            let patched = self.source.patch(&Patch::New(file), &group)?;
            if patched.failure.is_some() {
                return Ok(patched.failure);
            }
        }
    }
}
