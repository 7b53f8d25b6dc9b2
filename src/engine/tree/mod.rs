//! The tree of a snapshot: runs of entries in leaves, and nodes above them.
//!
//! Leaves are cut where a path's hash says so, so that unchanged runs are the same blobs in
//! the next snapshot. The root is always a node.

mod leaf;
mod node;
mod refs;

use thiserror::Error;

use super::files::{DecodeError, EncodeError};

pub use self::leaf::{FILE_SPANS_MAX, Leaf, LeafBuilder, SpanList, decode_spans};
pub use self::node::{Child, Node, NodeBuilder};
pub use self::refs::{Refs, RefsBuilder};

/// Tells whether a list ends after an id: one in `1 << bits` does.
fn cuts_after(id: &[u8; 32], bits: u32) -> bool {
    let number = u64::from_le_bytes(*id.first_chunk().expect("32 bytes are more than 8"));
    number.trailing_zeros() >= bits
}

/// Says why bytes are no part of a tree.
#[derive(Debug, Error)]
pub enum TreeError {
    /// An entry cannot be written.
    #[error("an entry cannot be kept")]
    Encode(#[from] EncodeError),
    /// The entries of a leaf make no sense.
    #[error("entries of a leaf make no sense")]
    Decode(#[from] DecodeError),
    /// A leaf's list of outsourced spans makes no sense.
    #[error("a leaf's lists of spans make no sense")]
    Spilled,
    /// A leaf is longer than any writer lets it become.
    #[error("a leaf goes on where it should have ended")]
    Endless,
    /// A file has more spans than the format allows.
    #[error("a file has too many spans")]
    TooManySpans,
    /// A blob of spans makes no sense.
    #[error("a list of spans makes no sense")]
    Spans,
    /// A node makes no sense.
    #[error("a node makes no sense")]
    Node,
    /// A list of references makes no sense.
    #[error("a list of references makes no sense")]
    Refs,
}
