//! The data of small files that are to share a chunk.
//!
//! A chunk ends behind a file, and which file that is follows from the file's data: so the
//! same files make the same chunks wherever the walk meets them, and one that changed changes
//! its own chunk alone. The hash that finds files again decides, so that nothing is searched.

use std::io::{self, Read};

use crate::engine::chunk::ChunkSizes;

/// Files with less data share chunks with their neighbours.
pub(super) const OWN_CHUNKS_FROM_BYTES: u64 = 512 << 10;
/// No chunk ends before it has so much.
const MIN: usize = 512 << 10;
/// From there on one ends after so much, on average.
const MORE: u64 = 512 << 10;
/// The next file might be too much for the largest chunk of the format.
const MAX: usize = ChunkSizes::FILES.max - OWN_CHUNKS_FROM_BYTES as usize;
/// What most chunks have room in.
const ROOM: usize = 3 << 19;

/// Collects the data of small files.
#[derive(Debug, Default)]
pub(super) struct Shared {
    bytes: Vec<u8>,
}

impl Shared {
    /// Appends what a reader gives, at most `len_max` bytes, and returns how many it were.
    ///
    /// What came before an error of the reader is appended too.
    pub(super) fn read(&mut self, reader: &mut dyn Read, len_max: u64) -> (u64, io::Result<()>) {
        let start = self.bytes.len();
        let mut end = start;
        self.bytes.resize(start + len_max as usize, 0);
        let outcome = loop {
            match reader.read(&mut self.bytes[end..]) {
                Ok(0) => break Ok(()),
                Ok(len) => end += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.bytes.truncate(end);
        ((end - start) as u64, outcome)
    }

    /// Returns the last `len` bytes.
    pub(super) fn last(&self, len: u64) -> &[u8] {
        &self.bytes[self.bytes.len() - len as usize..]
    }

    /// Takes the last `len` bytes back.
    pub(super) fn take_back(&mut self, len: u64) {
        self.bytes.truncate(self.bytes.len() - len as usize);
    }

    /// Tells whether the chunk ends behind the last file, whose data has this length and hash.
    pub(super) fn ends_behind(&self, len: u64, hash: &[u8; 32]) -> bool {
        let chance = u64::from(u32::from_le_bytes([hash[0], hash[1], hash[2], hash[3]]));
        let chosen = chance * MORE < len << 32;
        (self.bytes.len() >= MIN && chosen) || self.bytes.len() > MAX
    }

    /// Returns the chunk, if there is any data, and goes on in an empty buffer.
    pub(super) fn take(&mut self, mut next: Vec<u8>) -> Option<Vec<u8>> {
        if self.bytes.is_empty() {
            return None;
        }
        next.clear();
        next.reserve(ROOM);
        Some(std::mem::replace(&mut self.bytes, next))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn data(seed: u64) -> Vec<u8> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        let mut stream = hasher.finalize_xof();
        let mut len = [0; 8];
        stream.fill(&mut len);
        let mut bytes = vec![0; (u64::from_le_bytes(len) % 60_000) as usize + 1];
        stream.fill(&mut bytes);
        bytes
    }

    /// Returns the chunks of these files.
    fn chunks(files: impl Iterator<Item = u64>) -> Vec<Vec<u8>> {
        let mut shared = Shared::default();
        let mut chunks = Vec::new();
        for seed in files {
            let bytes = data(seed);
            let (len, outcome) = shared.read(&mut &bytes[..], bytes.len() as u64);
            outcome.expect("memory is readable");
            let hash = blake3::hash(shared.last(len));
            if shared.ends_behind(len, hash.as_bytes()) {
                chunks.extend(shared.take(Vec::new()));
            }
        }
        chunks.extend(shared.take(Vec::new()));
        chunks
    }

    #[test]
    fn chunks_have_the_sizes_that_are_aimed_at() {
        let chunks = chunks(0..3000);
        let whole: usize = chunks.iter().map(Vec::len).sum();
        let mean = whole / chunks.len();
        assert!((900 << 10..1200 << 10).contains(&mean), "{mean}");
        let (_, ended) = chunks.split_last().expect("there are some");
        for chunk in ended {
            assert!((MIN..=ChunkSizes::FILES.max).contains(&chunk.len()));
        }
    }

    #[test]
    fn a_file_more_changes_the_chunks_around_it_alone() {
        let before = chunks(0..3000);
        let after = chunks((0..1000).chain([9_999_999]).chain(1000..3000));
        let same = after.iter().filter(|chunk| before.contains(chunk)).count();
        assert!(same + 6 > before.len(), "{same} of {}", before.len());
    }

    proptest! {
        #[test]
        fn chunks_never_outgrow_the_format(lens in prop::collection::vec(1_usize..(512 << 10), 1..40), hash: u8) {
            let mut shared = Shared::default();
            for len in lens {
                let bytes = vec![hash; len];
                shared.read(&mut &bytes[..], len as u64).1.expect("memory is readable");
                // Never chosen, so that nothing but its size ends a chunk.
                let ends = shared.ends_behind(len as u64, &[0xff; 32]);
                prop_assert!(shared.bytes.len() <= ChunkSizes::FILES.max);
                prop_assert_eq!(ends, shared.bytes.len() > MAX);
                if ends {
                    drop(shared.take(Vec::new()));
                }
            }
        }
    }
}
