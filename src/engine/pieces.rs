//! The pieces of a file: which bytes of which chunk lie where in it.

use std::collections::HashSet;

use super::error::EngineError;
use super::files::{Entry, Extent, Kind, Span};

/// How many bytes of chunks are in work at a time, by one thread.
pub(super) const GROUP_BYTES_MAX: u64 = 4 << 20;
/// What a chunk counts for that the index does not know.
const CHUNK_BYTES_MAX: u64 = 4 << 20;

/// Is a run of bytes of one chunk at one offset of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// The chunk.
    pub(super) chunk: [u8; 32],
    /// The first byte within the chunk.
    pub(super) start: u32,
    /// The number of bytes.
    pub(super) len: u32,
    /// The first byte within the file.
    pub(super) offset: u64,
}

impl Piece {
    /// Returns the piece's bytes of its chunk, if the chunk is long enough.
    pub(super) fn of<'a>(&self, chunk: &'a [u8]) -> Option<&'a [u8]> {
        let start = self.start as usize;
        chunk.get(start..start.checked_add(self.len as usize)?)
    }
}

/// Lays a file's spans into its extents, piece by piece in the order of the file.
#[derive(Debug)]
pub(super) struct Pieces<'a> {
    spans: std::slice::Iter<'a, Span>,
    extents: std::slice::Iter<'a, Extent>,
    span: Option<Span>,
    extent: Extent,
}

impl<'a> Pieces<'a> {
    /// Starts at the beginning of a file whose spans fill its extents.
    pub(super) fn of(entry: &'a Entry) -> Result<Self, EngineError> {
        if entry.span_bytes() != entry.kind.data_bytes() {
            return Err(EngineError::damaged(
                format!("entry {}", entry.path),
                "its chunks do not fill it",
            ));
        }
        let extents: &[Extent] = match &entry.kind {
            Kind::File { extents, .. } => extents,
            _ => &[],
        };
        Ok(Self {
            spans: entry.spans.iter(),
            extents: extents.iter(),
            span: None,
            extent: Extent { offset: 0, len: 0 },
        })
    }
}

impl Iterator for Pieces<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let span = match self.span.take() {
            Some(span) => span,
            None => *self.spans.next()?,
        };
        if self.extent.len == 0 {
            self.extent = *self.extents.next()?;
        }
        let len = u64::from(span.len).min(self.extent.len) as u32;
        let piece = Piece {
            chunk: span.chunk,
            start: span.offset,
            len,
            offset: self.extent.offset,
        };
        self.extent.offset += u64::from(len);
        self.extent.len -= u64::from(len);
        if len < span.len {
            self.span = Some(Span {
                offset: span.offset.saturating_add(len),
                len: span.len - len,
                ..span
            });
        }
        Some(piece)
    }
}

/// Adds up the chunks that a group of pieces needs, each once.
#[derive(Debug, Default)]
pub(super) struct Weight {
    seen: HashSet<[u8; 32]>,
    bytes: u64,
}

impl Weight {
    /// Counts a chunk; `plain_len` asks for the length of one not seen yet.
    pub(super) fn add(&mut self, chunk: &[u8; 32], plain_len: impl FnOnce() -> Option<u32>) {
        if self.seen.insert(*chunk) {
            self.bytes += plain_len().map_or(CHUNK_BYTES_MAX, u64::from);
        }
    }

    /// Tells whether a group should end here.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= GROUP_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::files::{Meta, RelPath};

    #[test]
    fn spans_are_laid_into_extents_and_split_at_their_ends() {
        let extents = [(0, 3), (10, 4)].map(|(offset, len)| Extent { offset, len });
        let kind = Kind::File {
            size: 20,
            extents: extents.to_vec(),
        };
        let path = RelPath::new("f").expect("a path");
        let mut entry = Entry::new(path, kind, Meta::default());
        let span = |chunk: u8, offset, len| Span {
            chunk: [chunk; 32],
            offset,
            len,
        };
        entry.spans = vec![span(1, 5, 2), span(2, 0, 4), span(3, 9, 1)];
        let pieces: Vec<_> = Pieces::of(&entry)
            .expect("they fill it")
            .map(|piece| (piece.chunk[0], piece.start, piece.len, piece.offset))
            .collect();
        assert_eq!(
            pieces,
            [(1, 5, 2, 0), (2, 0, 1, 2), (2, 1, 3, 10), (3, 9, 1, 13)]
        );
        entry.spans.pop();
        assert!(Pieces::of(&entry).is_err());
    }
}
