//! The search for the place where a chunk ends: FastCDC's gear hash, four places at a time.
//!
//! The hash of a place depends on the 64 bytes before it alone, as older ones were shifted
//! out. So places far apart are hashed side by side, and the processor does not wait for one
//! addition after the other, which is what limits a single hash. The cuts are those of the
//! fastcdc crate, whose tables these are and with which a test compares.

use std::ops::Range;
use std::sync::LazyLock;

use fastcdc::v2020::{Normalization, get_gear_with_seed, select_masks};

use super::ChunkSizes;

/// How many bytes a hash depends on.
const WINDOW: usize = 64;
/// How many places are hashed side by side, and how many bytes of each before anybody looks.
const LANES: usize = 4;
const LANE: usize = 4096;

static TABLE: LazyLock<[u64; 256]> = LazyLock::new(|| {
    let (table, _) = get_gear_with_seed(0);
    *table.as_array().expect("there is a number for each byte")
});

/// Returns how long the chunk is with which these bytes begin.
///
/// The bytes are the rest of the stream, or as much of it as the largest chunk holds.
pub(super) fn cut(bytes: &[u8], sizes: ChunkSizes) -> usize {
    let bytes = &bytes[..bytes.len().min(sizes.max)];
    if bytes.len() <= sizes.min {
        return bytes.len();
    }
    let (strict, loose) = select_masks(sizes.avg, Normalization::Level1);
    // The crate goes by pairs of bytes, so that an odd last one is no place to cut.
    let even = |len: usize| len / 2 * 2;
    let middle = even(sizes.avg.min(bytes.len()));
    let search = Search {
        table: &TABLE,
        bytes,
        start: sizes.min,
    };
    search
        .first(sizes.min..middle, strict)
        .or_else(|| search.first(middle..even(bytes.len()), loose))
        .unwrap_or(bytes.len())
}

struct Search<'a> {
    table: &'a [u64; 256],
    bytes: &'a [u8],
    /// Where hashing begins: bytes before count for nothing.
    start: usize,
}

impl Search<'_> {
    /// Finds the first place whose hash has none of the mask's bits.
    fn first(&self, places: Range<usize>, mask: u64) -> Option<usize> {
        let mut at = places.start;
        let mut hash = self.hash_before(at);
        while at + LANES * LANE <= places.end {
            let last = self.none_in(at, hash, mask);
            let Some(last) = last else { break };
            hash = last;
            at += LANES * LANE;
        }
        for (step, byte) in self.bytes[at..places.end.max(at)].iter().enumerate() {
            hash = self.roll(hash, *byte);
            if hash & mask == 0 {
                return Some(at + step);
            }
        }
        None
    }

    fn roll(&self, hash: u64, byte: u8) -> u64 {
        (hash << 1).wrapping_add(self.table[usize::from(byte)])
    }

    /// Returns the hash of what comes before a place.
    fn hash_before(&self, at: usize) -> u64 {
        let from = at.saturating_sub(WINDOW).max(self.start);
        let window = &self.bytes[from..at];
        window.iter().fold(0, |hash, byte| self.roll(hash, *byte))
    }

    /// Looks at all lanes from `at` on; the last hash, if no place among them is one to cut.
    ///
    /// The branch at each step is never taken but once a chunk, and keeps the compiler from
    /// packing the four hashes into one register, which is slower than four.
    fn none_in(&self, at: usize, hash: u64, mask: u64) -> Option<u64> {
        let lane = |number: usize| self.bytes[at + number * LANE..].first_chunk::<LANE>();
        let (a, b, c, d) = (lane(0)?, lane(1)?, lane(2)?, lane(3)?);
        let (mut first, mut second) = (hash, self.hash_before(at + LANE));
        let (mut third, mut fourth) = (
            self.hash_before(at + 2 * LANE),
            self.hash_before(at + 3 * LANE),
        );
        for step in 0..LANE {
            first = self.roll(first, a[step]);
            second = self.roll(second, b[step]);
            third = self.roll(third, c[step]);
            fourth = self.roll(fourth, d[step]);
            let found = |hash: u64| hash & mask == 0;
            if found(first) | found(second) | found(third) | found(fourth) {
                return None;
            }
        }
        Some(fourth)
    }
}

#[cfg(test)]
mod tests {
    use fastcdc::v2020::FastCDC;
    use proptest::prelude::*;

    use super::*;

    /// Where the crate itself cuts.
    fn crate_cut(bytes: &[u8], sizes: ChunkSizes) -> usize {
        let bytes = &bytes[..bytes.len().min(sizes.max)];
        let ChunkSizes { min, avg, max } = sizes;
        FastCDC::with_level(bytes, min, avg, max, Normalization::Level1)
            .cut(0, bytes.len())
            .1
    }

    fn noise(len: usize, seed: u64, few: bool) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.finalize_xof().fill(&mut bytes);
        if few {
            // Runs of few values, as in real files, hit masks in other places than noise.
            for byte in &mut bytes {
                *byte &= 1;
            }
        }
        bytes
    }

    proptest! {
        #[test]
        fn cuts_are_those_of_the_crate(
            len in 0_usize..150_000, seed: u64, few: bool, bits in 8_u32..17, odd in 0_usize..2
        ) {
            let avg = 1 << bits;
            let sizes = ChunkSizes { min: avg / 2, avg, max: avg * 4 };
            let bytes = noise(len + odd, seed, few);
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let len = cut(rest, sizes);
                prop_assert_eq!(len, crate_cut(rest, sizes), "{} left", rest.len());
                rest = &rest[len..];
            }
        }
    }

    #[test]
    fn cuts_of_files_are_those_of_the_crate() {
        for (seed, few) in [(1, false), (2, true)] {
            let bytes = noise(24 << 20, seed, few);
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let len = cut(rest, ChunkSizes::FILES);
                assert_eq!(len, crate_cut(rest, ChunkSizes::FILES));
                rest = &rest[len..];
            }
        }
    }
}
