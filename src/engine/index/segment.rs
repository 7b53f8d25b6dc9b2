//! The bytes of an index segment.
//!
//! | length | field |
//! |---|---|
//! | 8 | `bkpindx` and the number of the format |
//! | 4 | number of packs |
//! | 4 | number of entries |
//! | 41 each | pack: name 32, length `u64`, 1 for data or 2 for metadata |
//! | 48 each | entry: id 32, pack's position `u32`, offset `u32`, length `u32`, kind in the high 8 bits and plain length in the low 24 of a `u32` |
//!
//! Numbers are little endian. Packs come in ascending order of their names; entries are sorted
//! by id, then by the rest.

use thiserror::Error;

use super::table::Entry;
use super::{PackEntries, PackInfo, Place};

const MAGIC: &[u8; 8] = crate::engine::format::INDEX_MAGIC;
const PACK_BYTES: usize = 41;
const ENTRY_BYTES: usize = 48;
const DATA: u8 = 1;
const META: u8 = 2;

/// Says why bytes are no index segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SegmentError {
    /// It does not begin like a segment.
    #[error("it does not begin like an index segment")]
    Magic,
    /// It is longer or shorter than its counts say.
    #[error("its length does not fit its counts")]
    Length,
    /// A pack's description makes no sense.
    #[error("a pack in it makes no sense")]
    Pack,
    /// An entry makes no sense.
    #[error("an entry in it makes no sense")]
    Entry,
}

/// Returns the bytes of a segment about these packs.
pub fn encode(packs: &[PackEntries]) -> Vec<u8> {
    let mut packs: Vec<&PackEntries> = packs.iter().collect();
    packs.sort_unstable_by_key(|pack| pack.hash);
    let mut entries: Vec<(&Place, u32)> = Vec::new();
    for (number, pack) in packs.iter().enumerate() {
        entries.extend(pack.places.iter().map(|place| (place, number as u32)));
    }
    entries.sort_unstable();
    let len = 16 + packs.len() * PACK_BYTES + entries.len() * ENTRY_BYTES;
    let mut bytes = Vec::with_capacity(len);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&(packs.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&(entries.len() as u32).to_le_bytes());
    for pack in packs {
        bytes.extend_from_slice(&pack.hash);
        bytes.extend_from_slice(&pack.size.to_le_bytes());
        bytes.push(if pack.is_data { DATA } else { META });
    }
    for (place, pack) in entries {
        let entry = Entry::new(place, pack);
        bytes.extend_from_slice(&entry.id);
        for number in [
            entry.pack,
            entry.offset,
            entry.len,
            entry.kind_and_plain_len,
        ] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
    }
    bytes
}

/// Is the checked bytes of a segment, not yet taken apart.
#[derive(Debug)]
pub struct Segment<'a> {
    packs: Vec<PackInfo>,
    entries: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Checks the bytes of a segment.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, SegmentError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(SegmentError::Magic)?;
        let (packs, rest) = rest.split_first_chunk::<4>().ok_or(SegmentError::Magic)?;
        let (entries, rest) = rest.split_first_chunk::<4>().ok_or(SegmentError::Magic)?;
        let (packs, entries) = (u32::from_le_bytes(*packs), u32::from_le_bytes(*entries));
        let packs_len = packs as usize * PACK_BYTES;
        if rest.len() != packs_len + entries as usize * ENTRY_BYTES {
            return Err(SegmentError::Length);
        }
        let (packs, entries) = rest.split_at(packs_len);
        let packs = packs
            .chunks_exact(PACK_BYTES)
            .map(pack)
            .collect::<Option<Vec<_>>>()
            .ok_or(SegmentError::Pack)?;
        let segment = Self { packs, entries };
        if segment.entries().all(|entry| segment.makes_sense(&entry)) {
            Ok(segment)
        } else {
            Err(SegmentError::Entry)
        }
    }

    fn makes_sense(&self, entry: &Entry) -> bool {
        let end = u64::from(entry.offset) + u64::from(entry.len);
        let pack = self.packs.get(entry.pack as usize);
        pack.is_some_and(|pack| end <= pack.size) && entry.place().is_some()
    }

    /// Returns the packs it names.
    pub fn packs(&self) -> &[PackInfo] {
        &self.packs
    }

    /// Returns how many entries it has.
    pub fn len(&self) -> usize {
        self.entries.len() / ENTRY_BYTES
    }

    /// Tells whether it has none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns its entries; their packs are positions in [`Segment::packs`].
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> + 'a {
        self.entries.as_chunks().0.iter().map(entry)
    }

    /// Lists the blobs of each pack.
    pub fn to_packs(&self) -> Vec<PackEntries> {
        let mut found: Vec<PackEntries> = self
            .packs
            .iter()
            .map(|pack| PackEntries {
                hash: pack.hash,
                size: pack.size,
                is_data: pack.is_data,
                places: Vec::new(),
            })
            .collect();
        for entry in self.entries() {
            let place = entry.place().expect("checked when it was parsed");
            found[entry.pack as usize].places.push(place);
        }
        for pack in &mut found {
            pack.places.sort_unstable_by_key(|place| place.offset);
        }
        found
    }
}

/// Reads the bytes of a segment.
pub fn decode(bytes: &[u8]) -> Result<Vec<PackEntries>, SegmentError> {
    Ok(Segment::parse(bytes)?.to_packs())
}

/// Returns at most how many entries a segment of so many bytes has.
pub(super) fn entries_max(bytes: u64) -> usize {
    (bytes / ENTRY_BYTES as u64) as usize
}

fn pack(bytes: &[u8]) -> Option<PackInfo> {
    let (hash, rest) = bytes.split_first_chunk::<32>()?;
    let (size, rest) = rest.split_first_chunk::<8>()?;
    let is_data = match rest {
        [DATA] => true,
        [META] => false,
        _ => return None,
    };
    Some(PackInfo {
        hash: *hash,
        size: u64::from_le_bytes(*size),
        is_data,
    })
}

fn entry(bytes: &[u8; ENTRY_BYTES]) -> Entry {
    let (id, numbers) = bytes
        .split_first_chunk()
        .expect("an entry begins with an id");
    let mut numbers = numbers.as_chunks().0.iter().map(|n| u32::from_le_bytes(*n));
    let mut number = || numbers.next().expect("four numbers end an entry");
    Entry {
        id: *id,
        pack: number(),
        offset: number(),
        len: number(),
        kind_and_plain_len: number(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Index;
    use super::*;
    use crate::engine::pack::BlobKind;

    fn arbitrary_pack() -> impl Strategy<Value = PackEntries> {
        let place = (any::<[u8; 32]>(), 1_u8..=6, 0_u32..1 << 20);
        let places = proptest::collection::vec(place, 0..20);
        (any::<[u8; 32]>(), any::<bool>(), places).prop_map(|(hash, is_data, places)| {
            let mut offset = 14;
            let places: Vec<_> = places
                .into_iter()
                .map(|(id, kind, len)| {
                    let place = Place {
                        id,
                        kind: BlobKind::from_number(kind).expect("1 to 6 are kinds"),
                        offset,
                        len: len + 1,
                        plain_len: len,
                    };
                    offset += place.len;
                    place
                })
                .collect();
            PackEntries {
                hash,
                size: u64::from(offset),
                is_data,
                places,
            }
        })
    }

    proptest! {
        #[test]
        fn a_segment_decodes_to_what_was_encoded(
            mut packs in proptest::collection::vec(arbitrary_pack(), 0..5)
        ) {
            packs.sort_by_key(|pack| pack.hash);
            let decoded = decode(&encode(&packs)).expect("its own bytes");
            prop_assert_eq!(&decoded, &packs);
            let mut index = Index::new();
            for pack in &packs {
                index.add(pack);
            }
            index.sort();
            for pack in &packs {
                for place in &pack.places {
                    let wanted = |(found, info): (Place, PackInfo)| {
                        found == *place && info.hash == pack.hash
                    };
                    let is_there = index.find(&place.id).any(wanted);
                    prop_assert!(is_there);
                }
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(mut bytes: Vec<u8>, magic: bool) {
            if magic {
                bytes.splice(..0, *MAGIC);
            }
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn lying_counts_are_refused_before_memory_is_taken() {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&[0xff; 8]);
        assert_eq!(decode(&bytes), Err(SegmentError::Length));
    }
}
