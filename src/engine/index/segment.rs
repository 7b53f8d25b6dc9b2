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

use super::{PackEntries, Place};
use crate::engine::pack::{BlobKind, PLAIN_BYTES_MAX};

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
        bytes.extend_from_slice(&place.id);
        let kind_and_len = (place.kind as u32) << 24 | place.plain_len;
        for number in [pack, place.offset, place.len, kind_and_len] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
    }
    bytes
}

/// Reads the bytes of a segment.
pub fn decode(bytes: &[u8]) -> Result<Vec<PackEntries>, SegmentError> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(SegmentError::Magic)?;
    let (packs, rest) = rest.split_first_chunk::<4>().ok_or(SegmentError::Magic)?;
    let (entries, rest) = rest.split_first_chunk::<4>().ok_or(SegmentError::Magic)?;
    let (packs, entries) = (u32::from_le_bytes(*packs), u32::from_le_bytes(*entries));
    let packs_len = packs as usize * PACK_BYTES;
    if rest.len() != packs_len + entries as usize * ENTRY_BYTES {
        return Err(SegmentError::Length);
    }
    let (packs, entries) = rest.split_at(packs_len);
    let mut found = packs
        .chunks_exact(PACK_BYTES)
        .map(pack)
        .collect::<Option<Vec<_>>>()
        .ok_or(SegmentError::Pack)?;
    for bytes in entries.chunks_exact(ENTRY_BYTES) {
        let (place, pack) = place(bytes).ok_or(SegmentError::Entry)?;
        let pack = found.get_mut(pack as usize).ok_or(SegmentError::Entry)?;
        if u64::from(place.offset) + u64::from(place.len) > pack.size {
            return Err(SegmentError::Entry);
        }
        pack.places.push(place);
    }
    for pack in &mut found {
        pack.places.sort_unstable_by_key(|place| place.offset);
    }
    Ok(found)
}

fn pack(bytes: &[u8]) -> Option<PackEntries> {
    let (hash, rest) = bytes.split_first_chunk::<32>()?;
    let (size, rest) = rest.split_first_chunk::<8>()?;
    let is_data = match rest {
        [DATA] => true,
        [META] => false,
        _ => return None,
    };
    Some(PackEntries {
        hash: *hash,
        size: u64::from_le_bytes(*size),
        is_data,
        places: Vec::new(),
    })
}

fn place(bytes: &[u8]) -> Option<(Place, u32)> {
    let (id, rest) = bytes.split_first_chunk::<32>()?;
    let mut numbers = rest
        .as_chunks::<4>()
        .0
        .iter()
        .map(|n| u32::from_le_bytes(*n));
    let (pack, offset, len) = (numbers.next()?, numbers.next()?, numbers.next()?);
    let kind_and_len = numbers.next()?;
    let place = Place {
        id: *id,
        kind: BlobKind::from_number((kind_and_len >> 24) as u8)?,
        offset,
        len,
        plain_len: kind_and_len & PLAIN_BYTES_MAX as u32,
    };
    Some((place, pack))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Index, PackInfo};
    use super::*;

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
