//! The index against a map that is obviously right.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::engine::index::encode;

/// Is one thing that happens to an index.
#[derive(Debug, Clone)]
enum Step {
    Add(PackEntries),
    /// Adds some of the packs that came before, and new ones, as a segment does.
    AddSegment(Vec<PackEntries>, usize),
    /// Leaves out every pack whose name has this remainder.
    Drop(u8),
}

/// Does the same as an index, with a map.
#[derive(Default)]
struct Model {
    known: BTreeSet<[u8; 32]>,
    /// Places by id, with the names of their packs.
    places: BTreeMap<[u8; 32], BTreeSet<([u8; 32], Place)>>,
}

impl Model {
    fn add(&mut self, pack: &PackEntries) {
        if self.known.insert(pack.hash) {
            for place in &pack.places {
                let places = self.places.entry(place.id).or_default();
                places.insert((pack.hash, *place));
            }
        }
    }

    fn drop_packs(&mut self, remainder: u8) {
        for places in self.places.values_mut() {
            places.retain(|(pack, _)| pack[0] % 5 != remainder);
        }
        self.places.retain(|_, places| !places.is_empty());
    }
}

/// Makes ids that often come twice, and some that differ in their last byte alone.
fn id() -> impl Strategy<Value = [u8; 32]> {
    let common = (0..6_u8).prop_map(|n| [n.wrapping_mul(50); 32]);
    let close = (0..4_u8).prop_map(|n| {
        let mut id = [9; 32];
        id[31] = n;
        id
    });
    prop_oneof![common, close, any::<[u8; 32]>()]
}

fn pack() -> impl Strategy<Value = PackEntries> {
    let blob = (id(), 1_u8..=6, 0_u32..5000);
    let blobs = proptest::collection::vec(blob, 0..12);
    (any::<[u8; 32]>(), any::<bool>(), blobs).prop_map(|(hash, is_data, blobs)| {
        let mut offset = 22;
        let mut places = Vec::new();
        for (id, kind, plain_len) in blobs {
            let kind = BlobKind::from_number(kind).expect("1 to 6 are kinds");
            let len = plain_len + 120;
            places.push(Place {
                id,
                kind,
                offset,
                len,
                plain_len,
            });
            offset += len;
        }
        PackEntries {
            hash,
            size: u64::from(offset),
            is_data,
            places,
        }
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => pack().prop_map(Step::Add),
        3 => (proptest::collection::vec(pack(), 0..4), 0_usize..3)
            .prop_map(|(packs, again)| Step::AddSegment(packs, again)),
        1 => (0_u8..5).prop_map(Step::Drop),
    ]
}

fn found(index: &Index, id: &[u8; 32]) -> BTreeSet<([u8; 32], Place)> {
    let places: Vec<_> = index.find(id).collect();
    let distinct: BTreeSet<_> = places
        .iter()
        .map(|(place, pack)| (pack.hash, *place))
        .collect();
    assert_eq!(places.len(), distinct.len(), "a place was found twice");
    distinct
}

proptest! {
    #[test]
    fn an_index_finds_what_a_map_finds(
        steps in proptest::collection::vec(step(), 1..12),
        strangers in proptest::collection::vec(id(), 0..4),
    ) {
        let mut model = Model::default();
        let mut index = Index::new();
        let mut added: Vec<PackEntries> = Vec::new();
        for step in steps {
            match step {
                Step::Add(pack) => {
                    model.add(&pack);
                    index.add(&pack);
                    added.push(pack);
                }
                Step::AddSegment(mut packs, again) => {
                    packs.extend(added.iter().rev().take(again).cloned());
                    for pack in &packs {
                        model.add(pack);
                    }
                    let bytes = encode(&packs);
                    index.add_segment(&Segment::parse(&bytes).expect("its own bytes"));
                    added.extend(packs);
                }
                Step::Drop(remainder) => {
                    model.drop_packs(remainder);
                    index.sort();
                    index = index.filtered(|pack| pack.hash[0] % 5 != remainder);
                }
            }
            index.sort();
            for id in strangers.iter().chain(model.places.keys()) {
                let expected = model.places.get(id).cloned().unwrap_or_default();
                prop_assert_eq!(found(&index, id), expected);
                let position = index.position(id);
                prop_assert_eq!(position.is_some(), model.places.contains_key(id));
                if let Some(position) = position {
                    prop_assert_eq!(index.at(position).0.id, *id);
                    prop_assert!(position == 0 || index.at(position - 1).0.id < *id);
                }
            }
            let total: usize = model.places.values().map(BTreeSet::len).sum();
            prop_assert_eq!(index.len(), total);
            prop_assert_eq!(index.places().count(), total);
            prop_assert_eq!(index.counts().values().sum::<usize>(), total);
            prop_assert!(index.places().is_sorted_by_key(|(place, _)| place.id));
            prop_assert_eq!(index.packs().len(), model.known.len());
            prop_assert!(model.known.iter().all(|hash| index.has_pack(hash)));
        }
    }
}

#[test]
fn an_index_of_ids_that_all_begin_alike_still_finds_them() {
    let mut index = Index::new();
    let places = (0..5000_u32).map(|number| {
        let mut id = [7; 32];
        id[28..].copy_from_slice(&number.to_be_bytes());
        Place {
            id,
            kind: BlobKind::Chunk,
            offset: number,
            len: 1,
            plain_len: 0,
        }
    });
    let places: Vec<_> = places.rev().collect();
    index.add(&PackEntries {
        hash: [1; 32],
        size: 1 << 20,
        is_data: true,
        places: places.clone(),
    });
    index.sort();
    for place in &places {
        assert_eq!(found(&index, &place.id).len(), 1);
    }
    for id in [[0; 32], [7; 32], [8; 32], [255; 32]] {
        assert_eq!(index.find(&id).count(), 0);
    }
}
