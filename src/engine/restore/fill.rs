//! Fills files: what each thread of a restore does.

use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::Restore;
use super::chunks::{Known, bytes_of};
use super::large::Large;
use super::patch::{holes, is_zero};
use crate::engine::error::EngineError;
use crate::engine::files::{Entry, LiveFile, Parents, PlaceError, PlacedFile};
use crate::engine::pieces::{Piece, Pieces};
use crate::engine::reader::Chunks;

/// Is something to do for a thread.
pub(super) enum Job {
    /// Small files, near to each other in the tree.
    Files(Vec<Entry>),
    /// A part of a large file.
    Part(Arc<Large>, Vec<Piece>),
    /// A range of a large file that is to read as zeros.
    Hole(Arc<Large>, u64, u64),
}

/// Is a small file on its way.
struct Work {
    entry: Entry,
    pieces: Vec<Piece>,
    live: Option<Live>,
}

/// Is what the target has in a small file's place.
struct Live {
    file: LiveFile,
    /// What it holds where each piece is to be; none where it is too short.
    bytes: Vec<Option<Vec<u8>>>,
}

impl Restore<'_> {
    /// Does jobs until there are no more.
    pub(super) fn work(&self, waiting: &Receiver<Job>) {
        let mut parents = Parents::default();
        for job in waiting {
            let done = match job {
                Job::Files(_) if self.is_stopped() => Ok(()),
                Job::Files(entries) => self.fill_files(&mut parents, entries),
                Job::Part(large, pieces) => self.fill_part(&large, &pieces),
                Job::Hole(large, from, to) => self.clear_hole(&large, from, to),
            };
            if let Err(error) = done {
                self.give_up(error);
            }
        }
    }

    fn fill_files(&self, parents: &mut Parents, entries: Vec<Entry>) -> Result<(), EngineError> {
        let mut works = Vec::with_capacity(entries.len());
        for entry in entries {
            match Pieces::of(&entry).map(Iterator::collect) {
                Ok(pieces) => works.push(self.look(parents, entry, pieces)?),
                Err(error) => self.fail(&entry.path, error.to_string()),
            }
        }
        let chunks = self.source.chunks(&known(&works))?;
        for work in works {
            self.source.check_cancel()?;
            self.fill_file(parents, &work, &chunks)?;
        }
        Ok(())
    }

    /// Reads what the target has in a file's place.
    fn look(
        &self,
        parents: &mut Parents,
        entry: Entry,
        pieces: Vec<Piece>,
    ) -> Result<Work, EngineError> {
        let live = self.target.live_file(parents, &entry)?.map(|file| {
            let read = |piece: &Piece| {
                let mut bytes = vec![0; piece.len as usize];
                file.read_exact_at(&mut bytes, piece.offset)
                    .then_some(bytes)
            };
            let bytes = pieces.iter().map(read).collect();
            Live { file, bytes }
        });
        Ok(Work {
            entry,
            pieces,
            live,
        })
    }

    fn fill_file(
        &self,
        parents: &mut Parents,
        work: &Work,
        chunks: &Chunks,
    ) -> Result<(), EngineError> {
        let entry = &work.entry;
        let mut data = Vec::with_capacity(work.pieces.len());
        for piece in &work.pieces {
            match bytes_of(chunks, piece) {
                Ok(bytes) => data.push((piece.offset, bytes)),
                Err(reason) => {
                    self.fail(&entry.path, reason);
                    return Ok(());
                }
            }
        }
        if let Some(live) = &work.live
            && is_same(entry, live, &data)
        {
            self.target.keep(&live.file, entry);
            self.source.count_kept(entry.kind.size());
            return Ok(());
        }
        let file = match self.target.place_file(parents, entry) {
            Ok(file) => file,
            Err(error) => return self.place_failed(&entry.path, error),
        };
        let written = write_all(&file, &data).and_then(|()| self.target.finish_file(&file));
        if let Err(error) = written {
            // A part of a file must not pass for the whole.
            drop(self.target.discard(&file));
            return Err(error.into());
        }
        self.source.count_written(entry.kind.data_bytes());
        self.source
            .count_kept(entry.kind.size() - entry.kind.data_bytes());
        Ok(())
    }
}

fn known(works: &[Work]) -> Vec<Known<'_>> {
    works
        .iter()
        .flat_map(|work| {
            work.pieces.iter().enumerate().map(|(at, piece)| {
                let live = work.live.as_ref();
                let bytes = live.and_then(|live| live.bytes.get(at)?.as_deref());
                (*piece, bytes)
            })
        })
        .collect()
}

/// Tells whether the file in an entry's place has its data.
fn is_same(entry: &Entry, live: &Live, data: &[(u64, &[u8])]) -> bool {
    let same =
        |(bytes, (_, wanted)): (&Option<Vec<u8>>, &(u64, &[u8]))| bytes.as_deref() == Some(*wanted);
    let mut holes = holes(&entry.kind).into_iter();
    live.file.size() == entry.kind.size()
        && live.bytes.iter().zip(data).all(same)
        && holes.all(|(from, to)| is_zero(live.file.file(), from, to).unwrap_or(false))
}

fn write_all(file: &PlacedFile, data: &[(u64, &[u8])]) -> Result<(), PlaceError> {
    data.iter()
        .try_for_each(|(offset, bytes)| file.write_at(bytes, *offset))
}
