//! Finds copies that can go because the same bytes lie in another pack.
//!
//! An interrupted collection leaves such copies, and so do writers that saved blobs from packs
//! that were condemned. Without a key nothing but equal bytes proves that two copies are worth
//! the same, and the one that stays is read and checked before the other counts as dead.

use std::cmp::Reverse;
use std::collections::HashSet;

use super::survey::Survey;
use crate::engine::env::Cancel;
use crate::engine::error::EngineError;
use crate::engine::pack::{HEADER_BYTES, Header, check_payload, split_blob};
use crate::engine::store::{Store, StoreError};

impl Survey {
    /// Marks copies as spare; what stays is preferably not in packs that are to go.
    pub(super) fn find_spares(
        &mut self,
        store: &dyn Store,
        going: &HashSet<[u8; 32]>,
        cancel: &Cancel,
    ) -> Result<(), EngineError> {
        let mut position = 0;
        while position < self.index.len() {
            let end = self.end_of(position);
            let copies: Vec<usize> = (position..end).filter(|at| self.live.is_set(*at)).collect();
            if copies.len() > 1 {
                if cancel.is_cancelled() {
                    return Err(EngineError::Cancelled);
                }
                self.compare(store, going, &copies)?;
            }
            position = end;
        }
        self.count();
        Ok(())
    }

    fn compare(
        &self,
        store: &dyn Store,
        going: &HashSet<[u8; 32]>,
        copies: &[usize],
    ) -> Result<(), EngineError> {
        let mut known: Vec<(usize, [u8; 32])> = Vec::new();
        for position in copies {
            if let Some(header) = self.header(store, *position)? {
                known.push((*position, header.hash));
            }
        }
        known.sort_by_key(|(position, hash)| (*hash, self.rank(*position, going)));
        for same in known.chunk_by(|(_, one), (_, other)| one == other) {
            let [(best, _), others @ ..] = same else {
                continue;
            };
            if !others.is_empty() && self.is_intact(store, *best)? {
                for (position, _) in others {
                    self.spare.set(*position);
                }
            }
        }
        Ok(())
    }

    /// Orders copies: first those whose pack stays and has the least to lose.
    fn rank(&self, position: usize, going: &HashSet<[u8; 32]>) -> (bool, Reverse<u64>, usize) {
        let number = self.index.pack_at(position);
        let (pack, info) = (&self.packs[number], &self.index.packs()[number]);
        let per_mille = pack.live * 1000 / pack.size.unwrap_or(0).max(1);
        (going.contains(&info.hash), Reverse(per_mille), number)
    }

    /// Reads a blob's header; none if it is not what the index says.
    fn header(&self, store: &dyn Store, position: usize) -> Result<Option<Header>, EngineError> {
        let (place, pack) = self.index.at(position);
        let bytes = read(store.get_range(&pack.name(), place.offset.into(), HEADER_BYTES as u64))?;
        let header = bytes
            .as_deref()
            .and_then(|bytes| Header::decode(bytes.as_array()?));
        let fits =
            |header: &Header| header.id == place.id && u64::from(place.len) == blob_bytes(header);
        Ok(header.filter(fits))
    }

    fn is_intact(&self, store: &dyn Store, position: usize) -> Result<bool, EngineError> {
        let (place, pack) = self.index.at(position);
        let bytes = read(store.get_range(&pack.name(), place.offset.into(), place.len.into()))?;
        let blob = bytes.as_deref().and_then(split_blob);
        Ok(blob.is_some_and(|(header, payload)| check_payload(&header, payload)))
    }
}

/// Returns the length of a blob's header and payload.
pub(super) fn blob_bytes(header: &Header) -> u64 {
    HEADER_BYTES as u64 + u64::from(header.payload_len)
}

/// Takes a copy that cannot be read for one that proves nothing, unless the store is gone.
fn read(bytes: Result<Vec<u8>, StoreError>) -> Result<Option<Vec<u8>>, EngineError> {
    match bytes {
        Err(error @ StoreError::Closed { .. }) => Err(error.into()),
        bytes => Ok(bytes.ok()),
    }
}
