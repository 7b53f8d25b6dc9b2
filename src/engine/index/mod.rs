//! Which blob is where: immutable segments, merged in memory.
//!
//! Segments follow from the packs and can be rebuilt from them without a key. [`Index`] is what
//! they say in memory, at 48 bytes a blob and little more; [`load`] reads them, however many
//! are merged meanwhile, and [`merge`] keeps them few.

mod load;
mod marks;
mod merge;
mod place;
mod segment;
mod table;

pub use self::load::{Loaded, load};
pub use self::marks::Marks;
pub use self::merge::{SEGMENT_ENTRIES_MAX, SEGMENTS_FEW, in_segments, merge, put_segments};
pub use self::place::{PackEntries, PackInfo, Place};
pub use self::segment::{Segment, SegmentError, decode, encode};
pub use self::table::Index;
