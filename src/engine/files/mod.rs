//! File trees: what an entry is, how a tree is read, and how it is put back.
//!
//! [`entry`], [`path`] and [`codec`] are pure: the vocabulary of a tree and its bytes in
//! the repository. [`scan`] walks live directories into path-sorted entries, [`place`]
//! creates entries below a target directory and never outside it, and [`compare`] says in
//! words where a live file differs from its entry. Content belongs to the caller: a scan
//! hands out open files, a placement takes bytes at offsets.
//!
//! Nothing here knows of chunks beyond the [`Span`] type, and nothing follows a symbolic
//! link below a root or a target.

mod attributes;
mod beneath;
pub mod codec;
pub mod compare;
pub mod content;
pub mod entry;
pub mod exclude;
pub mod image;
mod listing;
mod metadata;
pub mod note;
pub mod owners;
pub mod path;
pub mod place;
pub mod scan;
#[cfg(test)]
mod support;
mod xattrs;

pub use codec::{DecodeError, Decoder, EncodeError, Encoder};
pub use compare::{Difference, TreeDifference, TreeDifferences, compare, compare_trees};
pub use content::{DataReader, OpenFile};
pub use entry::{Entry, EntryError, Extent, Kind, Meta, Span, Time, Xattr};
pub use exclude::{ExcludeError, Excludes};
pub use image::{Image, ImageError};
pub use note::{Note, Notes, What};
pub use owners::Owners;
pub use path::{PathError, Printable, RelPath};
pub use place::{
    Existing, LiveFile, LiveNames, Parents, PlaceError, Placed, PlacedFile, Target, is_temporary,
};
pub use scan::{Found, Scan, ScanError, ScanOptions, Scanned};

#[cfg(test)]
pub(in crate::engine) use support::skipped;
