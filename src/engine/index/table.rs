//! The index in memory: one sorted table of entries of 48 bytes.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use super::{PackEntries, PackInfo, Place, Segment};
use crate::engine::pack::{BlobKind, PLAIN_BYTES_MAX};

/// About how many entries share one slot of the table's directory.
const ENTRIES_A_SLOT: usize = 8;

/// Is one place with its pack, as small as it goes: an index has millions of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: [u8; 32],
    /// The pack's position in the list of packs.
    pub(super) pack: u32,
    pub(super) offset: u32,
    pub(super) len: u32,
    /// The kind in the high 8 bits, the plain length in the low 24.
    pub(super) kind_and_plain_len: u32,
}

const _: () = assert!(size_of::<Entry>() == 48);

impl Entry {
    pub(super) fn new(place: &Place, pack: u32) -> Self {
        Self {
            id: place.id,
            pack,
            offset: place.offset,
            len: place.len,
            kind_and_plain_len: (place.kind as u32) << 24 | place.plain_len,
        }
    }

    /// Returns the place, or none if the kind is not known.
    pub(super) fn place(&self) -> Option<Place> {
        Some(Place {
            id: self.id,
            kind: BlobKind::from_number((self.kind_and_plain_len >> 24) as u8)?,
            offset: self.offset,
            len: self.len,
            plain_len: self.kind_and_plain_len & PLAIN_BYTES_MAX as u32,
        })
    }

    fn compare(&self, other: &Self) -> Ordering {
        // Ids are hashes: their beginning decides nearly always, and numbers compare fast.
        prefix(&self.id)
            .cmp(&prefix(&other.id))
            .then_with(|| self.id.cmp(&other.id))
            .then_with(|| (self.pack, self.offset).cmp(&(other.pack, other.offset)))
    }
}

fn prefix(id: &[u8; 32]) -> u64 {
    let first = id.first_chunk().expect("an id is longer than 8 bytes");
    u64::from_be_bytes(*first)
}

/// Finds blobs by id.
#[derive(Debug, Default)]
pub struct Index {
    packs: Vec<PackInfo>,
    known: HashSet<[u8; 32]>,
    /// Sorted by id once [`Index::sort`] ran.
    entries: Vec<Entry>,
    /// For each value of the highest bits of an id, where its entries begin; the end follows.
    directory: Vec<u32>,
    /// By how many bits the beginning of an id is moved to get its slot.
    shift: u32,
}

impl Index {
    /// Makes an empty index.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes memory for so many more entries at once.
    pub fn reserve(&mut self, entries: usize) {
        // A listing that lies about lengths must not end the process: then memory is taken as
        // entries come.
        drop(self.entries.try_reserve_exact(entries));
    }

    /// Adds a pack unless it is known; call [`Index::sort`] before the next look-up.
    pub fn add(&mut self, pack: &PackEntries) {
        if let Some(number) = self.add_pack(&pack.info()) {
            self.make_room(pack.places.len());
            let entries = pack.places.iter().map(|place| Entry::new(place, number));
            self.entries.extend(entries);
        }
    }

    /// Adds those packs of a segment that are not known; call [`Index::sort`] afterwards.
    pub fn add_segment(&mut self, segment: &Segment<'_>) {
        let numbers: Vec<Option<u32>> = segment
            .packs()
            .iter()
            .map(|pack| self.add_pack(pack))
            .collect();
        self.make_room(segment.len());
        for entry in segment.entries() {
            if let Some(pack) = numbers[entry.pack as usize] {
                self.entries.push(Entry { pack, ..entry });
            }
        }
    }

    fn make_room(&mut self, entries: usize) {
        if self.entries.capacity() - self.entries.len() < entries {
            // Doubling would take memory that a large index has no use for.
            let some = self.entries.len() / 16;
            self.entries.reserve_exact(entries.max(some));
        }
    }

    fn add_pack(&mut self, pack: &PackInfo) -> Option<u32> {
        if !self.known.insert(pack.hash) {
            return None;
        }
        self.packs.push(*pack);
        Some(self.packs.len() as u32 - 1)
    }

    /// Makes what was added findable.
    pub fn sort(&mut self) {
        if !self.entries.is_sorted_by(|a, b| a.compare(b).is_le()) {
            self.entries.sort_unstable_by(Entry::compare);
        }
        self.make_directory();
    }

    fn make_directory(&mut self) {
        let bits = (self.entries.len() / ENTRIES_A_SLOT).max(2).ilog2();
        self.shift = u64::BITS - bits;
        let slots = 1_usize << bits;
        self.directory.clear();
        self.directory.reserve_exact(slots + 1);
        for (position, entry) in self.entries.iter().enumerate() {
            let slot = self.slot(&entry.id);
            while self.directory.len() <= slot {
                self.directory.push(position as u32);
            }
        }
        self.directory.resize(slots + 1, self.entries.len() as u32);
    }

    fn slot(&self, id: &[u8; 32]) -> usize {
        (prefix(id) >> self.shift) as usize
    }

    /// Tells whether a pack is known.
    pub fn has_pack(&self, hash: &[u8; 32]) -> bool {
        self.known.contains(hash)
    }

    /// Returns the first of the positions of a blob, which lie side by side.
    pub fn position(&self, id: &[u8; 32]) -> Option<usize> {
        if self.entries.is_empty() {
            return None;
        }
        let slot = self.slot(id);
        let bound = |slot: usize| self.directory.get(slot).map(|at| *at as usize);
        let (start, end) = (bound(slot)?, bound(slot + 1)?);
        let before = self.entries[start..end].partition_point(|entry| entry.id < *id);
        let at = start + before;
        self.entries
            .get(at)
            .is_some_and(|entry| entry.id == *id)
            .then_some(at)
    }

    /// Returns the place at a position below [`Index::len`].
    pub fn at(&self, position: usize) -> (Place, PackInfo) {
        self.resolve(&self.entries[position])
    }

    /// Returns the number of the pack at a position, which counts along [`Index::packs`].
    pub fn pack_at(&self, position: usize) -> usize {
        self.entries[position].pack as usize
    }

    fn resolve(&self, entry: &Entry) -> (Place, PackInfo) {
        let place = entry.place().expect("only places were added");
        (place, self.packs[entry.pack as usize])
    }

    /// Returns every place of a blob; several packs may hold it.
    pub fn find(&self, id: &[u8; 32]) -> impl Iterator<Item = (Place, PackInfo)> + '_ {
        let start = self.position(id).unwrap_or(self.entries.len());
        let id = *id;
        self.entries[start..]
            .iter()
            .take_while(move |entry| entry.id == id)
            .map(|entry| self.resolve(entry))
    }

    /// Leaves out the places in packs that `keep` refuses; the packs stay known.
    #[must_use]
    pub fn filtered(mut self, keep: impl Fn(&PackInfo) -> bool) -> Self {
        let kept: Vec<bool> = self.packs.iter().map(keep).collect();
        if kept.contains(&false) {
            self.entries.retain(|entry| kept[entry.pack as usize]);
            self.make_directory();
        }
        self
    }

    /// Returns all packs.
    pub fn packs(&self) -> &[PackInfo] {
        &self.packs
    }

    /// Returns all places with their packs, sorted by id.
    pub fn places(&self) -> impl Iterator<Item = (Place, PackInfo)> + '_ {
        self.entries.iter().map(|entry| self.resolve(entry))
    }

    /// Returns how many places each pack has.
    pub fn counts(&self) -> HashMap<[u8; 32], usize> {
        let mut counts = HashMap::with_capacity(self.packs.len());
        for entry in &self.entries {
            *counts
                .entry(self.packs[entry.pack as usize].hash)
                .or_default() += 1;
        }
        counts
    }

    /// Returns how many places there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Tells whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests;
