//! Packs: files of blobs that describe themselves.
//!
//! A pack begins with [`MAGIC`], a salt of 8 bytes, the length of the session records as
//! `u32`, their count as `u16`, and the records themselves. Blobs follow until the end.
//! Numbers are little endian. Whoever has no key can still list, check, move and index what is
//! inside. The salt is random, so that blobs which are stored anew never end up in a pack of
//! the same name as one that a collector is about to delete.

mod blob;
mod builder;
mod salvage;
mod scan;
mod size;

pub use self::blob::{BlobKind, HEADER_BYTES, Header, PLAIN_BYTES_MAX, SealedBlob, Sealer};
pub use self::builder::PackBuilder;
pub use self::salvage::Salvage;
pub use self::scan::{PackError, PackView, check_payload, parse_sessions, split_blob};
pub use self::size::PackSize;

/// The first bytes of every pack.
pub const MAGIC: &[u8; 8] = crate::engine::format::PACK_MAGIC;

/// The length of what comes before the session records.
pub const PREFIX_BYTES: usize = 22;

/// The length of a pack's salt.
pub const SALT_BYTES: usize = 8;

/// The most session records that one pack holds.
pub const SESSIONS_MAX: usize = 4096;
