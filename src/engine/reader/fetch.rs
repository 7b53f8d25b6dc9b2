//! Reads many blobs with few calls: neighbours in a pack come in one piece.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{BlobReader, Chunks};
use crate::engine::crypto::WriterKey;
use crate::engine::error::EngineError;
use crate::engine::index::{PackInfo, Place};
use crate::engine::pack::BlobKind;
use crate::engine::store::StoreError;

/// How many bytes between two blobs are read for nothing rather than asking twice.
const GAP_BYTES_MAX: u64 = 64 << 10;
/// How many bytes one call asks for at most; a single blob may be longer.
const READ_BYTES_MAX: u64 = 8 << 20;

type Id = [u8; 32];
/// Takes a blob's plain bytes, or why it cannot be had.
type Take<'a> = dyn FnMut(&Id, Result<Vec<u8>, String>) + 'a;

impl BlobReader {
    /// Returns chunks by id, from memory if they were read a moment ago.
    ///
    /// A chunk that is damaged or lost is told in words; an error means that nothing more can
    /// be read.
    pub(in crate::engine) fn chunks(
        &self,
        writer: &WriterKey,
        ids: &HashSet<Id>,
    ) -> Result<Chunks, EngineError> {
        let ids: Vec<Id> = ids.iter().copied().collect();
        let (wanted, mut claims) = self.cache.claim(&ids);
        let mut chunks: Chunks = wanted
            .ready
            .into_iter()
            .map(|(id, chunk)| (id, Ok(chunk)))
            .collect();
        self.fetch(writer, BlobKind::Chunk, &claims.ids(), &mut |id, plain| {
            let chunk = plain.map(Arc::new);
            if let Ok(chunk) = &chunk {
                claims.resolve(id, chunk);
            }
            chunks.insert(*id, chunk);
        })?;
        // Claims are given back before anybody is waited for.
        drop(claims);
        for id in wanted.others {
            let chunk = match self.cache.wait(&id) {
                Some(chunk) => Ok(chunk),
                // Its reader failed, or it made room for others already.
                None => self
                    .read_or_word(writer, BlobKind::Chunk, &id)?
                    .map(Arc::new),
            };
            chunks.insert(id, chunk);
        }
        Ok(chunks)
    }

    /// Reads blobs that must all be there, in the order of the ids.
    pub(super) fn read_all(
        &self,
        writer: &WriterKey,
        kind: BlobKind,
        ids: &[Id],
    ) -> Result<Vec<Vec<u8>>, EngineError> {
        let mut found: HashMap<Id, Vec<u8>> = HashMap::new();
        self.fetch(writer, kind, ids, &mut |id, plain| {
            if let Ok(plain) = plain {
                found.insert(*id, plain);
            }
        })?;
        // A blob may be wanted twice, or be had only by a second, closer look.
        let read = |id| match found.get(id) {
            Some(plain) => Ok(plain.clone()),
            None => self.read(writer, kind, id),
        };
        ids.iter().map(read).collect()
    }

    fn fetch(
        &self,
        writer: &WriterKey,
        kind: BlobKind,
        ids: &[Id],
        take: &mut Take<'_>,
    ) -> Result<(), EngineError> {
        let mut places = Vec::with_capacity(ids.len());
        for id in ids {
            match self.places(id).first() {
                Some((place, pack)) => places.push((*place, *pack)),
                None => take(id, self.read_or_word(writer, kind, id)?),
            }
        }
        places.sort_unstable_by_key(|(place, pack)| (pack.hash, place.offset));
        for run in runs(&places) {
            self.fetch_run(writer, kind, &places[run], take)?;
        }
        Ok(())
    }

    /// Reads neighbours of one pack in one piece; what that does not give is read alone.
    fn fetch_run(
        &self,
        writer: &WriterKey,
        kind: BlobKind,
        run: &[(Place, PackInfo)],
        take: &mut Take<'_>,
    ) -> Result<(), EngineError> {
        let Some((first, pack)) = run.first() else {
            return Ok(());
        };
        let start = u64::from(first.offset);
        let end = run.iter().map(|(place, _)| end_of(place)).max();
        let name = pack.name();
        let bytes = match self
            .store
            .get_range(&name, start, end.unwrap_or(start) - start)
        {
            Ok(bytes) => Some(bytes),
            Err(error @ StoreError::Closed { .. }) => return Err(error.into()),
            Err(_) => None,
        };
        let read = bytes.as_ref().map_or(0, Vec::len) as u64;
        self.bytes_read.fetch_add(read, Ordering::Relaxed);
        for (place, _) in run {
            let from = (u64::from(place.offset) - start) as usize;
            let part = bytes
                .as_ref()
                .and_then(|bytes| bytes.get(from..from + place.len as usize));
            let plain = part.map(|part| self.open_placed(writer, kind, place, &name, part));
            match plain {
                Some(Ok(plain)) => take(&place.id, Ok(plain)),
                // Another pack may hold it too, and the words are those of a single read.
                _ => take(&place.id, self.read_or_word(writer, kind, &place.id)?),
            }
        }
        Ok(())
    }

    /// Reads one blob; that it is damaged or lost is told in words.
    fn read_or_word(
        &self,
        writer: &WriterKey,
        kind: BlobKind,
        id: &Id,
    ) -> Result<Result<Vec<u8>, String>, EngineError> {
        match self.read(writer, kind, id) {
            Ok(plain) => Ok(Ok(plain)),
            Err(error) if error.is_about_one_blob() => Ok(Err(error.to_string())),
            Err(error) => Err(error),
        }
    }
}

fn end_of(place: &Place) -> u64 {
    u64::from(place.offset) + u64::from(place.len)
}

/// Groups sorted places into ranges that are worth one call each.
fn runs(places: &[(Place, PackInfo)]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (at, (place, pack)) in places.iter().enumerate() {
        if let Some(run) = runs.last_mut() {
            let (first, run_pack) = &places[run.start];
            let (last, _) = &places[run.end - 1];
            let near = u64::from(place.offset) <= end_of(last) + GAP_BYTES_MAX;
            // A pack's places are sorted, but the next pack's may begin further to the front.
            let fits = end_of(place) <= u64::from(first.offset) + READ_BYTES_MAX;
            if run_pack.hash == pack.hash && near && fits {
                run.end = at + 1;
                continue;
            }
        }
        runs.push(at..at + 1);
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_read_together_and_others_apart() {
        type Case = (Vec<(Place, PackInfo)>, Vec<(usize, usize)>);
        let place = |pack: u8, offset: u32, len: u32| {
            let place = Place {
                id: [0; 32],
                kind: BlobKind::Chunk,
                offset,
                len,
                plain_len: len,
            };
            let pack = PackInfo {
                hash: [pack; 32],
                size: 1 << 30,
                is_data: true,
            };
            (place, pack)
        };
        let mega = 1 << 20;
        let cases: [Case; 6] = [
            (vec![], vec![]),
            (vec![place(0, 9, 20 * mega)], vec![(0, 1)]),
            (
                vec![place(0, 0, 10), place(0, 10, 10), place(1, 20, 10)],
                vec![(0, 2), (2, 3)],
            ),
            (
                vec![place(0, 500, 10), place(1, 0, 10)],
                vec![(0, 1), (1, 2)],
            ),
            (
                vec![place(0, 0, 10), place(0, 70_000, 10)],
                vec![(0, 1), (1, 2)],
            ),
            (
                (0..9).map(|n| place(0, n * mega, mega)).collect(),
                vec![(0, 8), (8, 9)],
            ),
        ];
        for (places, expected) in cases {
            let runs = runs(&places);
            let runs: Vec<_> = runs.iter().map(|run| (run.start, run.end)).collect();
            assert_eq!(runs, expected);
        }
    }
}
