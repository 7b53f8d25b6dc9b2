//! Where data comes from: from the target itself if it is there already, else the repository.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::engine::crypto::WriterKey;
use crate::engine::env::Cancel;
use crate::engine::error::EngineError;
use crate::engine::pack::BlobKind;
use crate::engine::pieces::Piece;
use crate::engine::progress::{Event, Observer};
use crate::engine::reader::Chunks;
use crate::engine::snapshot::OpenSnapshot;

/// Gives the bytes of pieces, and counts what becomes of them.
pub(super) struct Source<'a> {
    pub(super) snapshot: &'a OpenSnapshot,
    observer: &'a dyn Observer,
    cancel: &'a Cancel,
    written: AtomicU64,
}

/// Is a piece, and what the target has in its place.
pub(super) type Known<'a> = (Piece, Option<&'a [u8]>);

impl<'a> Source<'a> {
    pub(super) fn new(
        snapshot: &'a OpenSnapshot,
        observer: &'a dyn Observer,
        cancel: &'a Cancel,
    ) -> Self {
        Self {
            snapshot,
            observer,
            cancel,
            written: AtomicU64::new(0),
        }
    }

    pub(super) fn calls_at_once(&self) -> usize {
        self.snapshot.reader.calls_at_once()
    }

    pub(super) fn observer(&self) -> &'a dyn Observer {
        self.observer
    }

    pub(super) fn check_cancel(&self) -> Result<(), EngineError> {
        if self.cancel.is_cancelled() {
            Err(EngineError::Cancelled)
        } else {
            Ok(())
        }
    }

    /// Returns how many bytes were written.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    pub(super) fn count_written(&self, bytes: u64) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
        self.observer.event(Event::Written { bytes });
    }

    pub(super) fn count_kept(&self, bytes: u64) {
        self.observer.event(Event::Kept { bytes });
    }

    /// Returns the chunks of some pieces.
    ///
    /// A chunk whose bytes the target holds in full is made of those, after its keyed id has
    /// shown that they are right; the others are read.
    pub(super) fn chunks(&self, pieces: &[Known<'_>]) -> Result<Chunks, EngineError> {
        let snapshot = self.snapshot;
        let plain_len = |id: &[u8; 32]| snapshot.reader.plain_len(id);
        let local = assemble(&snapshot.writer, pieces, &plain_len);
        let missing: HashSet<[u8; 32]> = pieces
            .iter()
            .map(|(piece, _)| piece.chunk)
            .filter(|id| !local.contains_key(id))
            .collect();
        let mut chunks = snapshot.reader.chunks(&snapshot.writer, &missing)?;
        chunks.extend(local.into_iter().map(|(id, chunk)| (id, Ok(chunk))));
        Ok(chunks)
    }
}

/// Returns the bytes of a piece, or says why they cannot be had.
pub(super) fn bytes_of<'a>(chunks: &'a Chunks, piece: &Piece) -> Result<&'a [u8], String> {
    match chunks.get(&piece.chunk) {
        Some(Ok(chunk)) => piece
            .of(chunk)
            .ok_or_else(|| "a piece of it lies outside its chunk".to_owned()),
        Some(Err(reason)) => Err(reason.clone()),
        None => Err("a chunk of it was not read".to_owned()),
    }
}

/// Puts chunks together from pieces of them, and keeps those that are what their id says.
fn assemble(
    writer: &WriterKey,
    pieces: &[Known<'_>],
    plain_len: &dyn Fn(&[u8; 32]) -> Option<u32>,
) -> HashMap<[u8; 32], Arc<Vec<u8>>> {
    let mut parts: HashMap<[u8; 32], Vec<(u32, &[u8])>> = HashMap::new();
    for (piece, local) in pieces {
        if let Some(local) = local {
            parts
                .entry(piece.chunk)
                .or_default()
                .push((piece.start, local));
        }
    }
    let whole = |(id, mut parts): ([u8; 32], Vec<(u32, &[u8])>)| {
        parts.sort_unstable_by_key(|(start, _)| *start);
        let chunk = join(&parts, plain_len(&id)?)?;
        (writer.id(BlobKind::Chunk as u8, &chunk) == id).then(|| (id, Arc::new(chunk)))
    };
    parts.into_iter().filter_map(whole).collect()
}

/// Joins sorted parts that may overlap, if they leave no gap before `len`.
fn join(parts: &[(u32, &[u8])], len: u32) -> Option<Vec<u8>> {
    let mut joined: Vec<u8> = Vec::new();
    for (start, bytes) in parts {
        let done = joined.len().checked_sub(*start as usize)?;
        joined.extend_from_slice(bytes.get(done..).unwrap_or_default());
    }
    (joined.len() == len as usize).then_some(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_join_only_without_gaps() {
        type Case = (&'static [(u32, &'static [u8])], u32, Option<&'static [u8]>);
        let cases: &[Case] = &[
            (&[(0, b"abc")], 3, Some(b"abc")),
            (&[(0, b"abc"), (3, b"de")], 5, Some(b"abcde")),
            (&[(0, b"abc"), (0, b"abc"), (1, b"bcd")], 4, Some(b"abcd")),
            (&[(0, b"abc"), (1, b"b")], 3, Some(b"abc")),
            (&[(0, b"abc")], 4, None),
            (&[(1, b"bc")], 3, None),
            (&[(0, b"ab"), (3, b"d")], 4, None),
        ];
        for (parts, len, expected) in cases {
            assert_eq!(join(parts, *len).as_deref(), *expected);
        }
    }
}
