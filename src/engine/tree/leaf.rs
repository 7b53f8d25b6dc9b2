//! Leaves: a run of entries, and where the spans are of files that have too many.
//!
//! A leaf is a `u32` count, as many items of an entry's position in the run (`u32`), a count
//! of ids (`u32`) and the ids of blobs of spans, then the run as the `files` module encodes
//! it; numbers are little endian. A blob of spans holds chunk id, offset `u32` and length
//! `u32` of each.

use super::{TreeError, cuts_after};
use crate::engine::files::{Decoder, Encoder, Entry, RelPath, Span};

/// A file with more spans than this keeps them in blobs of their own.
const INLINE_SPANS_MAX: usize = 2048;
const LEAF_BYTES_MIN: usize = 16 << 10;
const LEAF_BYTES_MAX: usize = 256 << 10;
/// A leaf ends when its entries' whole paths have this many bytes, however few are written.
const LEAF_PATH_BYTES_MAX: usize = 16 << 20;
/// No file has more spans than this.
pub const FILE_SPANS_MAX: usize = 1 << 25;
const SPANS_MAX: usize = 4096;
const SPAN_BYTES: usize = 40;

/// Is a list of spans encoded for a blob of its own.
pub type SpanList = Vec<u8>;

/// Collects entries until a leaf is full.
#[derive(Debug, Default)]
pub struct LeafBuilder {
    encoder: Encoder,
    spilled: Vec<(u32, Vec<[u8; 32]>)>,
    count: u32,
    path_bytes: usize,
    first: Option<RelPath>,
    is_full: bool,
}

impl LeafBuilder {
    /// Starts an empty leaf.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the lists that an entry's spans must be stored as before it is pushed, in order.
    pub fn span_lists(entry: &Entry) -> Vec<SpanList> {
        if entry.spans.len() <= INLINE_SPANS_MAX {
            return Vec::new();
        }
        let mut lists = Vec::new();
        let mut list = Vec::new();
        for span in &entry.spans {
            list.extend_from_slice(&span.chunk);
            list.extend_from_slice(&span.offset.to_le_bytes());
            list.extend_from_slice(&span.len.to_le_bytes());
            let ends_here = cuts_after(&span.chunk, 10);
            if ends_here || list.len() >= SPANS_MAX * SPAN_BYTES {
                lists.push(std::mem::take(&mut list));
            }
        }
        if !list.is_empty() {
            lists.push(list);
        }
        lists
    }

    /// Appends an entry whose spans were stored as `spilled`, if they are too many.
    ///
    /// The entry is as it was afterwards.
    pub fn push(&mut self, entry: &mut Entry, spilled: Vec<[u8; 32]>) -> Result<(), TreeError> {
        if entry.spans.len() > FILE_SPANS_MAX {
            return Err(TreeError::TooManySpans);
        }
        if spilled.is_empty() {
            self.encoder.push(entry)?;
        } else {
            self.spilled.push((self.count, spilled));
            let spans = std::mem::take(&mut entry.spans);
            let pushed = self.encoder.push(entry);
            entry.spans = spans;
            pushed?;
        }
        self.count += 1;
        self.path_bytes += entry.path.as_bytes().len();
        if self.first.is_none() {
            self.first = Some(entry.path.clone());
        }
        let len = self.encoder.len() + self.spilled.len() * 40;
        self.is_full = len >= LEAF_BYTES_MAX
            || self.path_bytes >= LEAF_PATH_BYTES_MAX
            || (len >= LEAF_BYTES_MIN && ends_at(&entry.path));
        Ok(())
    }

    /// Tells whether the leaf should end here.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// Ends the leaf: returns the path of its first entry and its bytes, and starts the next.
    pub fn take(&mut self) -> Option<(RelPath, Vec<u8>)> {
        let done = std::mem::take(self);
        let first = done.first?;
        let mut bytes = (done.spilled.len() as u32).to_le_bytes().to_vec();
        for (index, ids) in &done.spilled {
            bytes.extend_from_slice(&index.to_le_bytes());
            bytes.extend_from_slice(&(ids.len() as u32).to_le_bytes());
            bytes.extend_from_slice(ids.as_flattened());
        }
        bytes.extend_from_slice(&done.encoder.finish());
        Some((first, bytes))
    }
}

/// Tells whether a leaf may end after this path: one path in 512.
fn ends_at(path: &RelPath) -> bool {
    cuts_after(blake3::hash(path.as_bytes()).as_bytes(), 9)
}

/// Is a leaf's content.
#[derive(Debug)]
pub struct Leaf {
    /// The entries, in order; those that spilled have no spans yet.
    pub entries: Vec<Entry>,
    /// Positions of entries and the ids of the blobs that hold their spans.
    pub spilled: Vec<(u32, Vec<[u8; 32]>)>,
}

impl Leaf {
    /// Reads a leaf's bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, TreeError> {
        let (spilled, run) = decode_spilled(bytes).ok_or(TreeError::Spilled)?;
        let entries = decode_run(run)?;
        let fits = |(index, lists): &(u32, Vec<_>)| {
            let entry = entries.get(*index as usize);
            !lists.is_empty() && entry.is_some_and(|entry| entry.spans.is_empty())
        };
        let ascending = spilled.windows(2).all(|pair| pair[0].0 < pair[1].0);
        if ascending && spilled.iter().all(fits) {
            Ok(Self { entries, spilled })
        } else {
            Err(TreeError::Spilled)
        }
    }
}

/// Reads the entries of a leaf, as far as an honest leaf goes on: few bytes can stand for
/// very long paths and very many entries.
fn decode_run(run: &[u8]) -> Result<Vec<Entry>, TreeError> {
    let mut decoder = Decoder::new(run);
    let mut entries = Vec::new();
    let mut path_bytes = 0;
    loop {
        let at = run.len() - decoder.bytes_left();
        let Some(entry) = decoder.next().transpose()? else {
            return Ok(entries);
        };
        if at >= LEAF_BYTES_MAX || path_bytes >= LEAF_PATH_BYTES_MAX {
            return Err(TreeError::Endless);
        }
        if entry.spans.len() > INLINE_SPANS_MAX {
            return Err(TreeError::TooManySpans);
        }
        path_bytes += entry.path.as_bytes().len();
        entries.push(entry);
    }
}

type Spilled = Vec<(u32, Vec<[u8; 32]>)>;

fn decode_spilled(bytes: &[u8]) -> Option<(Spilled, &[u8])> {
    let (count, mut rest) = bytes.split_first_chunk::<4>()?;
    let mut spilled = Vec::new();
    for _ in 0..u32::from_le_bytes(*count) {
        let (index, after) = rest.split_first_chunk::<4>()?;
        let (len, after) = after.split_first_chunk::<4>()?;
        let len = u32::from_le_bytes(*len) as usize;
        let (ids, after) = after.split_at_checked(len.checked_mul(32)?)?;
        spilled.push((u32::from_le_bytes(*index), ids.as_chunks().0.to_vec()));
        rest = after;
    }
    Some((spilled, rest))
}

/// Reads a blob of spans.
pub fn decode_spans(bytes: &[u8]) -> Result<Vec<Span>, TreeError> {
    let (spans, rest) = bytes.as_chunks::<SPAN_BYTES>();
    if !rest.is_empty() || spans.len() > SPANS_MAX {
        return Err(TreeError::Spans);
    }
    spans
        .iter()
        .map(|bytes| {
            let (chunk, rest) = bytes.split_first_chunk::<32>().ok_or(TreeError::Spans)?;
            let (offset, len) = rest.split_first_chunk::<4>().ok_or(TreeError::Spans)?;
            let len = len.first_chunk::<4>().ok_or(TreeError::Spans)?;
            let span = Span {
                chunk: *chunk,
                offset: u32::from_le_bytes(*offset),
                len: u32::from_le_bytes(*len),
            };
            let good = span.len > 0 && span.offset.checked_add(span.len).is_some();
            if good {
                Ok(span)
            } else {
                Err(TreeError::Spans)
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::files::{Kind, Meta};

    fn file(name: usize, spans: usize) -> Entry {
        let path = RelPath::new(format!("{name:08}")).expect("a valid path");
        let mut entry = Entry::new(path, Kind::dense_file(spans as u64), Meta::default());
        entry.spans = (0..spans)
            .map(|n| Span {
                chunk: *blake3::hash(&n.to_le_bytes()).as_bytes(),
                offset: 0,
                len: 1,
            })
            .collect();
        entry
    }

    fn leaves(names: impl Iterator<Item = usize>) -> Vec<Vec<u8>> {
        let mut builder = LeafBuilder::new();
        let mut leaves = Vec::new();
        for name in names {
            builder.push(&mut file(name, 0), Vec::new()).expect("ok");
            if builder.is_full() {
                leaves.push(builder.take().expect("an entry").1);
            }
        }
        leaves.extend(builder.take().map(|(_, bytes)| bytes));
        leaves
    }

    #[test]
    fn a_change_leaves_other_leaves_as_they_were() {
        let old = leaves(0..40_000);
        let new = leaves((0..40_000).filter(|name| *name != 20_000));
        assert!(old.len() > 10, "{}", old.len());
        let same = old.iter().filter(|leaf| new.contains(leaf)).count();
        assert!(same + 2 >= old.len(), "{same} of {}", old.len());
    }

    #[test]
    fn a_file_with_many_spans_keeps_them_in_blobs_of_their_own() {
        let mut entry = file(1, 20_000);
        let spans = entry.spans.clone();
        let lists = LeafBuilder::span_lists(&entry);
        let decoded: Vec<_> = lists
            .iter()
            .flat_map(|list| decode_spans(list).expect("its own bytes"))
            .collect();
        assert_eq!(decoded, spans);
        let ids: Vec<_> = (0..lists.len()).map(|n| [n as u8; 32]).collect();
        let mut builder = LeafBuilder::new();
        builder.push(&mut file(0, 3), Vec::new()).expect("ok");
        builder.push(&mut entry, ids.clone()).expect("ok");
        let (first, bytes) = builder.take().expect("two entries");
        assert_eq!(first.as_bytes(), b"00000000");
        let leaf = Leaf::decode(&bytes).expect("its own bytes");
        assert_eq!(leaf.spilled, [(1, ids)]);
        assert_eq!(leaf.entries[0].spans.len(), 3);
        assert!(builder.take().is_none());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Leaf::decode(&bytes);
            let _ = decode_spans(&bytes);
            let _ = super::super::Node::decode(&bytes);
            let _ = super::super::Refs::decode(&bytes);
        }
    }
}
