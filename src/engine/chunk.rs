//! Cuts a stream into chunks where its content says so.

mod gear;

use std::io::{self, Read};

/// How large the chunks of images are: they are cut at multiples of this alone.
pub const IMAGE_BLOCK_BYTES: usize = 1 << 20;

/// Says how large chunks are, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkSizes {
    /// No chunk but the last is smaller.
    pub min: usize,
    /// What chunks aim at.
    pub avg: usize,
    /// No chunk is larger.
    pub max: usize,
}

impl ChunkSizes {
    /// The sizes of the format for files.
    pub const FILES: Self = Self {
        min: 512 << 10,
        avg: 1 << 20,
        max: 4 << 20,
    };
}

/// Cuts a stream that comes in pieces of any size.
///
/// Cuts depend on the stream's bytes alone, never on how they arrive.
#[derive(Debug)]
pub struct Chunker {
    sizes: ChunkSizes,
    buffer: Vec<u8>,
    start: usize,
}

impl Chunker {
    /// Starts an empty stream.
    pub fn new(sizes: ChunkSizes) -> Self {
        Self {
            sizes,
            buffer: Vec::new(),
            start: 0,
        }
    }

    /// Appends bytes; call [`Chunker::cut`] until it has no more.
    pub fn push(&mut self, bytes: &[u8]) {
        self.make_room();
        self.buffer.extend_from_slice(bytes);
    }

    /// Appends what a reader gives, at most `len_max` bytes, and returns how many it were.
    ///
    /// What came before an error of the reader is appended too.
    pub fn push_from(&mut self, reader: &mut dyn Read, len_max: u64) -> (u64, io::Result<()>) {
        self.make_room();
        let before = self.buffer.len();
        let outcome = reader.take(len_max).read_to_end(&mut self.buffer);
        let len = (self.buffer.len() - before) as u64;
        (len, outcome.map(|_| ()))
    }

    /// Returns the last `len` bytes that were appended and not cut.
    pub fn last(&self, len: u64) -> &[u8] {
        let len = self.pending().min(len as usize);
        &self.buffer[self.buffer.len() - len..]
    }

    /// Takes back the last `len` bytes that were appended and not cut.
    pub fn take_back(&mut self, len: u64) {
        let kept = self.pending().saturating_sub(len as usize);
        self.buffer.truncate(self.start + kept);
    }

    /// Lets go of what was cut, now and then, since the rest moves to the front.
    fn make_room(&mut self) {
        if self.start >= self.sizes.max {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
    }

    /// Returns the next chunk once enough of the stream is known to tell where it ends.
    pub fn cut(&mut self) -> Option<&[u8]> {
        if self.pending() < self.sizes.max {
            None
        } else {
            Some(self.cut_front())
        }
    }

    /// Returns the next chunk of a stream that has ended.
    pub fn finish(&mut self) -> Option<&[u8]> {
        if self.pending() == 0 {
            self.buffer.clear();
            self.start = 0;
            None
        } else {
            Some(self.cut_front())
        }
    }

    /// Returns how many bytes are not cut yet.
    pub fn pending(&self) -> usize {
        self.buffer.len() - self.start
    }

    fn cut_front(&mut self) -> &[u8] {
        let len = gear::cut(&self.buffer[self.start..], self.sizes);
        self.start += len;
        &self.buffer[self.start - len..self.start]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SMALL: ChunkSizes = ChunkSizes {
        min: 64,
        avg: 256,
        max: 1024,
    };

    fn noise(len: usize, seed: u8) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new_keyed(&[seed; 32])
            .finalize_xof()
            .fill(&mut bytes);
        bytes
    }

    fn cut(sizes: ChunkSizes, pieces: &[&[u8]]) -> Vec<usize> {
        let mut chunker = Chunker::new(sizes);
        let mut lens = Vec::new();
        for piece in pieces {
            chunker.push(piece);
            while let Some(chunk) = chunker.cut() {
                lens.push(chunk.len());
            }
        }
        while let Some(chunk) = chunker.finish() {
            lens.push(chunk.len());
        }
        lens
    }

    proptest! {
        #[test]
        fn cuts_do_not_depend_on_how_bytes_arrive(
            len in 0_usize..20_000, seed: u8, piece in 1_usize..3000
        ) {
            let bytes = noise(len, seed);
            let whole = cut(SMALL, &[&bytes]);
            let pieces: Vec<_> = bytes.chunks(piece).collect();
            prop_assert_eq!(&whole, &cut(SMALL, &pieces));
            prop_assert_eq!(whole.iter().sum::<usize>(), len);
            prop_assert!(whole.iter().all(|len| *len <= SMALL.max));
        }
    }

    #[test]
    fn cuts_are_part_of_the_format() {
        let lens = cut(ChunkSizes::FILES, &[&noise(8 << 20, 1)]);
        assert_eq!(
            lens,
            [
                723_342, 1_674_065, 1_481_688, 622_887, 1_901_114, 719_997, 1_265_515
            ]
        );
        let zeros = cut(ChunkSizes::FILES, &[&vec![0; 5 << 20]]);
        assert_eq!(zeros, [4 << 20, 1 << 20]);
    }

    #[test]
    fn an_insertion_changes_the_chunks_around_it_alone() {
        let bytes = noise(200_000, 2);
        let changed = [&noise(10, 3), &bytes[..]].concat();
        let (old, new) = (cut(SMALL, &[&bytes]), cut(SMALL, &[&changed]));
        let same = old.iter().rev().zip(new.iter().rev());
        let same = same.take_while(|(a, b)| a == b).count();
        assert!(same * 10 > old.len() * 9, "{same} of {}", old.len());
    }
}
