//! KDL 2 text becomes a tree of nodes with exact places.
//!
//! The `kdl` crate says what the language is. A topology may come from a stranger's change
//! request, though, and that crate recurses on nesting and on mistakes, and takes
//! exponential time on some comments. So a scan goes first, in linear time and bounded
//! depth: it finds every mistake in the text's structure, in our words, and hands on a
//! plain copy, byte for byte as long, in which comments and broken statements are blank.
//! `docs/decisions/` has the measurements. What is plain enough in that copy, which most of it
//! is, [`everyday`] reads in a fraction of the crate's time.

mod atom;
mod cursor;
mod everyday;
mod old;
mod read;
mod scan;
mod tokens;
mod tree;

pub(crate) use old::from_v1;
pub(crate) use read::{is_sound, parse};
pub(crate) use scan::ATOMS_MAX;
pub(crate) use tokens::{Kind, Token, tokens};
pub(crate) use tree::{Entry, Node, Span, Value, Word};

#[cfg(test)]
mod tests;
