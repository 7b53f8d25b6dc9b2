//! Keeps segments few: small ones are merged when a writer ends.
//!
//! The new segment is put before the old ones are removed, and every segment that goes is
//! contained in one that was put before. So any number may merge at once and be killed anywhere:
//! what stays too many says nothing wrong, and the next writer merges it.

use std::collections::{BTreeMap, HashSet};

use super::{PackEntries, decode, encode};
use crate::engine::store::{Folder, Listed, SessionKind, Store, StoreError, StoreName};

/// The most entries of a segment, unless one pack has more.
pub const SEGMENT_ENTRIES_MAX: usize = 1 << 19;
/// How many segments are few enough to be left alone.
pub const SEGMENTS_FEW: usize = 8;
/// A segment of so many bytes is as good as full.
const FULL_BYTES: u64 = (SEGMENT_ENTRIES_MAX as u64) * 48 / 2;

/// Splits packs into runs of a segment each.
pub fn in_segments(packs: &[PackEntries]) -> impl Iterator<Item = &[PackEntries]> {
    let mut entries = packs.first().map_or(0, |pack| pack.places.len());
    packs.chunk_by(move |_, next| {
        entries += next.places.len();
        let fits = entries <= SEGMENT_ENTRIES_MAX;
        if !fits {
            entries = next.places.len();
        }
        fits
    })
}

/// Merges small segments if there are many, and returns how many were merged.
///
/// The caller holds a write session: a collection or repair that begins now waits for it before
/// it replaces segments, and one that began before is left alone.
pub fn merge(store: &dyn Store) -> Result<usize, StoreError> {
    let run = choose(store.list(Folder::Index)?);
    if run.is_empty() || !may_replace(store)? {
        return Ok(0);
    }
    let mut packs = BTreeMap::new();
    let mut old = Vec::new();
    for file in run {
        let bytes = match store.get(&file.name) {
            // Somebody else merges at this moment.
            Err(error) if error.is_not_found() => return Ok(0),
            bytes => bytes?,
        };
        // What makes no sense is for a repair to replace.
        if let (Ok(()), Ok(found)) = (file.name.check_bytes(&bytes), decode(&bytes)) {
            packs.extend(found.into_iter().map(|pack| (pack.hash, pack)));
            old.push(file.name);
        }
    }
    if old.len() < 2 {
        return Ok(0);
    }
    let packs: Vec<PackEntries> = packs.into_values().collect();
    let new = put_segments(store, &packs)?;
    for name in old.iter().filter(|name| !new.contains(*name)) {
        store.remove(name)?;
    }
    Ok(old.len())
}

/// Puts segments about these packs and returns their names.
pub fn put_segments(
    store: &dyn Store,
    packs: &[PackEntries],
) -> Result<HashSet<StoreName>, StoreError> {
    let mut names = HashSet::new();
    for packs in in_segments(packs) {
        let bytes = encode(packs);
        let name = StoreName::index(blake3::hash(&bytes).as_bytes());
        store.put(&name, &bytes)?;
        names.insert(name);
    }
    Ok(names)
}

/// Tells whether segments may be replaced now.
fn may_replace(store: &dyn Store) -> Result<bool, StoreError> {
    match store.list_sessions() {
        Ok(open) => Ok(open.iter().all(|open| open.kind != SessionKind::Collect)),
        // Who may not look may not remove either: the merged segment would come on top.
        Err(StoreError::Denied { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Chooses the smaller segments, so that each of the others has twice what is below it.
fn choose(mut files: Vec<Listed>) -> Vec<Listed> {
    files.retain(|file| file.size < FULL_BYTES);
    if files.len() <= SEGMENTS_FEW {
        return Vec::new();
    }
    files.sort_by_key(|file| file.size);
    let is_steep = |pair: &[Listed]| pair[1].size >= 2 * pair[0].size;
    let Some(last) = files.windows(2).rposition(|pair| !is_steep(pair)) else {
        return Vec::new();
    };
    let mut bytes = 0;
    let mut count = 0;
    for file in &files {
        let is_below = count < last + 2 || file.size < 2 * bytes;
        if !is_below || bytes > 2 * FULL_BYTES {
            break;
        }
        bytes += file.size;
        count += 1;
    }
    files.truncate(count);
    files
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::env::fixed;
    use crate::engine::index::{Place, load};
    use crate::engine::pack::BlobKind;
    use crate::engine::store::{Memory, SessionId};

    /// Makes a pack of one blob that nothing else knows.
    fn pack(number: u64) -> PackEntries {
        let hash = *blake3::hash(&number.to_le_bytes()).as_bytes();
        let place = Place {
            id: *blake3::hash(&hash).as_bytes(),
            kind: BlobKind::Chunk,
            offset: 22,
            len: 200,
            plain_len: 80,
        };
        PackEntries {
            hash,
            size: 222,
            is_data: true,
            places: vec![place],
        }
    }

    fn memory() -> Memory {
        Memory::new(fixed::env(0).clock)
    }

    fn count(store: &dyn Store) -> usize {
        store.list(Folder::Index).expect("a listing").len()
    }

    fn assert_complete(store: &dyn Store, packs: u64) {
        let index = load(store).expect("an index").index;
        assert_eq!(index.len(), packs as usize);
        for number in 0..packs {
            assert!(index.has_pack(&pack(number).hash), "{number}");
        }
    }

    #[test]
    fn however_many_writers_end_segments_stay_few_and_say_all() {
        let store = memory();
        let mut rewritten = 0;
        for number in 0..1000 {
            put_segments(&store, &[pack(number)]).expect("a put");
            rewritten += merge(&store).expect("a merge");
            assert!(count(&store) <= 16, "{number}: {}", count(&store));
        }
        assert!(rewritten < 2000, "{rewritten}");
        assert_complete(&store, 1000);
    }

    #[test]
    fn a_merge_waits_for_a_collection_to_end() {
        let store = memory();
        for number in 0..20 {
            put_segments(&store, &[pack(number)]).expect("a put");
        }
        let collector = SessionId::new([1; 16]);
        let opened = store.open_session(&collector, SessionKind::Collect);
        opened.expect("a session");
        assert_eq!(merge(&store), Ok(0));
        store.close_session(&collector).expect("a session ends");
        assert_eq!(merge(&store), Ok(20));
        assert_eq!(count(&store), 1);
        assert_complete(&store, 20);
    }

    #[test]
    fn segments_that_make_no_sense_are_left_for_a_repair() {
        let store = memory();
        for number in 0..20 {
            put_segments(&store, &[pack(number)]).expect("a put");
        }
        let first = store.list(Folder::Index).expect("a listing").remove(0);
        store.damage(&first.name, |bytes| bytes[30] ^= 1);
        assert_eq!(merge(&store), Ok(19));
        assert_eq!(count(&store), 2);
        let loaded = load(&store).expect("an index");
        assert_eq!(loaded.damaged.len(), 1);
        assert_eq!(loaded.index.len(), 19);
    }

    proptest! {
        #[test]
        fn what_is_left_alone_is_steep(sizes in proptest::collection::vec(1_u64..1_000_000, 0..40)) {
            let file = |(number, size): (usize, &u64)| Listed {
                name: StoreName::index(&pack(number as u64).hash),
                size: *size,
            };
            let files: Vec<_> = sizes.iter().enumerate().map(file).collect();
            let chosen = choose(files.clone());
            prop_assert_ne!(chosen.len(), 1);
            let mut left: Vec<u64> = files
                .iter()
                .filter(|file| !chosen.contains(file))
                .map(|file| file.size)
                .collect();
            left.sort_unstable();
            if files.len() > SEGMENTS_FEW {
                let merged: u64 = chosen.iter().map(|file| file.size).sum();
                let all = [&[merged], &*left].concat();
                prop_assert!(all.windows(2).all(|pair| pair[1] >= 2 * pair[0]), "{all:?}");
            } else {
                prop_assert!(chosen.is_empty());
            }
        }
    }
}
