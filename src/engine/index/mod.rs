//! Which blob is where: immutable segments, merged in memory.
//!
//! Segments follow from the packs and can be rebuilt from them without a key.

mod segment;

use std::collections::{HashMap, HashSet};

use super::pack::{BlobKind, HEADER_BYTES, Header};
use super::store::StoreName;

pub use self::segment::{SegmentError, decode, encode};

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

/// Finds blobs by id.
#[derive(Debug, Default)]
pub struct Index {
    packs: Vec<PackInfo>,
    known: HashSet<[u8; 32]>,
    /// Sorted by id once [`Index::sort`] ran.
    places: Vec<(Place, u32)>,
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

impl Index {
    /// Makes an empty index.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a pack unless it is known; call [`Index::sort`] before the next look-up.
    pub fn add(&mut self, pack: &PackEntries) {
        if !self.known.insert(pack.hash) {
            return;
        }
        let number = self.packs.len() as u32;
        self.packs.push(PackInfo {
            hash: pack.hash,
            size: pack.size,
            is_data: pack.is_data,
        });
        let places = pack.places.iter().map(|place| (*place, number));
        self.places.extend(places);
    }

    /// Makes what was added findable.
    pub fn sort(&mut self) {
        self.places.sort_unstable();
    }

    /// Tells whether a pack is known.
    pub fn has_pack(&self, hash: &[u8; 32]) -> bool {
        self.known.contains(hash)
    }

    /// Returns every place of a blob; several packs may hold it.
    pub fn find(&self, id: &[u8; 32]) -> impl Iterator<Item = (Place, PackInfo)> + '_ {
        let start = self.places.partition_point(|(place, _)| place.id < *id);
        let id = *id;
        self.places[start..]
            .iter()
            .take_while(move |(place, _)| place.id == id)
            .map(|(place, pack)| (*place, self.packs[*pack as usize]))
    }

    /// Returns an index of those packs alone that `keep` accepts.
    #[must_use]
    pub fn filtered(&self, keep: impl Fn(&PackInfo) -> bool) -> Self {
        let kept: Vec<bool> = self.packs.iter().map(keep).collect();
        let places = self.places.iter();
        Self {
            packs: self.packs.clone(),
            known: self.known.clone(),
            places: places
                .filter(|(_, pack)| kept[*pack as usize])
                .copied()
                .collect(),
        }
    }

    /// Returns all packs.
    pub fn packs(&self) -> &[PackInfo] {
        &self.packs
    }

    /// Returns all places with their packs, sorted by id.
    pub fn places(&self) -> impl Iterator<Item = (Place, PackInfo)> + '_ {
        self.places
            .iter()
            .map(|(place, pack)| (*place, self.packs[*pack as usize]))
    }

    /// Returns how many places each pack has.
    pub fn counts(&self) -> HashMap<[u8; 32], usize> {
        let mut counts = HashMap::with_capacity(self.packs.len());
        for (_, pack) in &self.places {
            *counts.entry(self.packs[*pack as usize].hash).or_default() += 1;
        }
        counts
    }

    /// Returns how many places there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Tells whether there is none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}
