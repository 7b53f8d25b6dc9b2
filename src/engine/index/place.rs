//! Where blobs are: what a pack holds, and what is known of a pack.

use crate::engine::pack::{BlobKind, HEADER_BYTES, Header};
use crate::engine::store::StoreName;

/// Says where one blob is within a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The blob's id.
    pub id: [u8; 32],
    /// What it holds.
    pub kind: BlobKind,
    /// Where its header begins.
    pub offset: u32,
    /// The length of header and payload.
    pub len: u32,
    /// The length of its plain bytes.
    pub plain_len: u32,
}

impl Place {
    /// Returns the place of a blob whose header begins at `offset`.
    pub fn new(header: &Header, offset: u32) -> Self {
        Self {
            id: header.id,
            kind: header.kind,
            offset,
            len: header.payload_len + HEADER_BYTES as u32,
            plain_len: header.plain_len,
        }
    }
}

/// Lists the blobs of one pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackEntries {
    /// The pack's name.
    pub hash: [u8; 32],
    /// Its length in bytes.
    pub size: u64,
    /// Whether it holds file data rather than trees and refs.
    pub is_data: bool,
    /// Its blobs, in the order of the pack.
    pub places: Vec<Place>,
}

impl PackEntries {
    /// Returns what is known of the pack itself.
    pub fn info(&self) -> PackInfo {
        PackInfo {
            hash: self.hash,
            size: self.size,
            is_data: self.is_data,
        }
    }
}

/// Describes a pack that the index knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackInfo {
    /// The pack's name.
    pub hash: [u8; 32],
    /// Its length in bytes.
    pub size: u64,
    /// Whether it holds file data.
    pub is_data: bool,
}

impl PackInfo {
    /// Returns the pack's name in a store.
    pub fn name(&self) -> StoreName {
        if self.is_data {
            StoreName::pack(&self.hash)
        } else {
            StoreName::meta(&self.hash)
        }
    }
}
