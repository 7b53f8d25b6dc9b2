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

/// How much a reader is asked for at once, in bytes.
const READ_BYTES: usize = 1 << 20;

/// Cuts a stream that comes in pieces of any size.
///
/// Cuts depend on the stream's bytes alone, never on how they arrive.
#[derive(Debug)]
pub struct Chunker {
    sizes: ChunkSizes,
    /// Its bytes are used again and again, so that they are zeroed once and not for each read.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Chunker {
    /// Starts an empty stream.
    pub fn new(sizes: ChunkSizes) -> Self {
        Self {
            sizes,
            buffer: Vec::new(),
            start: 0,
            end: 0,
        }
    }

    /// Appends bytes; call [`Chunker::cut`] until it has no more.
    pub fn push(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// Appends what a reader gives, at most `len_max` bytes, and returns how many it were.
    ///
    /// What came before an error of the reader is appended too.
    pub fn push_from(&mut self, reader: &mut dyn Read, len_max: u64) -> (u64, io::Result<()>) {
        let mut len = 0;
        while len < len_max {
            let wanted = (len_max - len).min(READ_BYTES as u64) as usize;
            match reader.read(self.room(wanted)) {
                Ok(0) => break,
                Ok(read) => {
                    self.end += read;
                    len += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (len, Err(error)),
            }
        }
        (len, Ok(()))
    }

    /// Returns room for `len` bytes behind what is there.
    ///
    /// What was cut goes, now and then, since the rest moves to the front.
    fn room(&mut self, len: usize) -> &mut [u8] {
        if self.start >= self.sizes.max {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let needed = self.end + len;
        if self.buffer.len() < needed {
            self.buffer.reserve_exact(needed - self.buffer.len());
            self.buffer.resize(needed, 0);
        }
        &mut self.buffer[self.end..needed]
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
            (self.start, self.end) = (0, 0);
            None
        } else {
            Some(self.cut_front())
        }
    }

    /// Returns how many bytes are not cut yet.
    pub fn pending(&self) -> usize {
        self.end - self.start
    }

    fn cut_front(&mut self) -> &[u8] {
        let len = gear::cut(&self.buffer[self.start..self.end], self.sizes);
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

    /// Gives a few bytes at a time, is interrupted in between, and fails in the end if asked to.
    struct Halting<'a> {
        bytes: &'a [u8],
        fails: bool,
        turn: usize,
    }

    impl Read for Halting<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.turn += 1;
            if self.turn.is_multiple_of(3) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            if self.bytes.is_empty() && self.fails {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let len = self.bytes.len().min(buffer.len()).min(7 * self.turn);
            buffer[..len].copy_from_slice(&self.bytes[..len]);
            self.bytes = &self.bytes[len..];
            Ok(len)
        }
    }

    proptest! {
        #[test]
        fn what_a_reader_gave_before_it_ended_is_there(
            len in 0_usize..5000, len_max in 0_u64..6000, fails: bool, before in 0_usize..3000,
        ) {
            let (bytes, first) = (noise(len, 5), noise(before, 6));
            let mut chunker = Chunker::new(SMALL);
            chunker.push(&first);
            let mut reader = Halting { bytes: &bytes, fails, turn: 0 };
            let (read, outcome) = chunker.push_from(&mut reader, len_max);
            let expected = len.min(len_max as usize);
            prop_assert_eq!(read as usize, expected);
            prop_assert_eq!(outcome.is_err(), fails && len_max as usize > len);
            let mut stream = Vec::new();
            while let Some(chunk) = chunker.finish() {
                stream.extend_from_slice(chunk);
            }
            prop_assert_eq!(stream, [&first[..], &bytes[..expected]].concat());
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
