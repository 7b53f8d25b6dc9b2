//! Compression of blobs with reused contexts and buffers.

use std::io;

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::CParameter;

const LEVEL: i32 = 3;
/// How matches are searched and blocks are cut.
///
/// The level alone takes 1 MiB of tables, which with a chunk beside them is more than stays near a
/// processor. Here long matches have 256 KiB and short ones 16 KiB, the size of what is nearest:
/// most short matches are near as well. Blocks of 128 KiB would each be searched for a better
/// place to cut them; shorter ones are not. On a tree of files all of this compresses a sixth
/// faster than larger tables and blocks do, and packs 1.7 % less.
const SEARCH: [CParameter; 3] = [
    CParameter::HashLog(16),
    CParameter::ChainLog(12),
    CParameter::MaxBlockSize(112 << 10),
];
/// Data longer than this is judged by a sample before all of it is compressed.
const SAMPLED_FROM_BYTES: usize = 128 << 10;
const SAMPLE_BYTES: usize = 8 << 10;
const SAMPLES: usize = 4;
/// A sample of so few bits a byte shrinks for sure, and need not be compressed to find out.
const PLAINLY_SHRINKS_BITS: f64 = 7.0;
/// A buffer that grew larger is not kept: chunks are rarely that long.
const KEPT_BYTES_MAX: usize = 2 << 20;

/// Compresses and decompresses; one per thread.
///
/// It keeps buffers, because fresh memory for every chunk costs as much as hashing it.
pub struct Codec {
    compressor: Compressor<'static>,
    decompressor: Decompressor<'static>,
    /// Takes ciphertexts that are decrypted in place.
    pub(super) scratch: Vec<u8>,
    /// Takes plain bytes that are compared and not kept.
    pub(super) plain: Vec<u8>,
    spare: Vec<u8>,
}

impl Codec {
    /// Makes the contexts.
    pub fn new() -> io::Result<Self> {
        let mut compressor = Compressor::new(LEVEL)?;
        for parameter in SEARCH {
            compressor.set_parameter(parameter)?;
        }
        Ok(Self {
            compressor,
            decompressor: Decompressor::new()?,
            scratch: Vec::new(),
            plain: Vec::new(),
            spare: Vec::new(),
        })
    }

    /// Returns an empty buffer with room for `len` bytes.
    pub(super) fn buffer(&mut self, len: usize) -> Vec<u8> {
        let mut buffer = std::mem::take(&mut self.spare);
        empty_for(&mut buffer, len);
        buffer
    }

    /// Takes a buffer back that is not needed any more.
    pub(super) fn give_back(&mut self, buffer: Vec<u8>) {
        if worth_keeping(&buffer) && buffer.capacity() > self.spare.capacity() {
            self.spare = buffer;
        }
        for own in [&mut self.scratch, &mut self.plain] {
            if !worth_keeping(own) {
                *own = Vec::new();
            }
        }
    }

    /// Puts the compressed bytes into `packed`; tells whether that saves a 32nd or more.
    pub fn compress(&mut self, plain: &[u8], packed: &mut Vec<u8>) -> io::Result<bool> {
        packed.clear();
        if plain.len() >= SAMPLED_FROM_BYTES && !self.sample_shrinks(plain)? {
            return Ok(false);
        }
        empty_for(packed, zstd::zstd_safe::compress_bound(plain.len()));
        self.compressor.compress_to_buffer(plain, packed)?;
        Ok(shrinks(plain.len(), packed.len()))
    }

    fn sample_shrinks(&mut self, plain: &[u8]) -> io::Result<bool> {
        let stride = plain.len() / SAMPLES;
        let parts = plain.chunks(stride).take(SAMPLES);
        let sample = parts
            .map(|part| &part[..SAMPLE_BYTES.min(part.len())])
            .collect::<Vec<_>>()
            .concat();
        if bits_per_byte(&sample) < PLAINLY_SHRINKS_BITS {
            return Ok(true);
        }
        let packed = self.compressor.compress(&sample)?;
        Ok(shrinks(sample.len(), packed.len()))
    }

    /// Puts the plain bytes, which must be exactly `len`, into `plain`.
    pub fn decompress(&mut self, packed: &[u8], len: usize, plain: &mut Vec<u8>) -> io::Result<()> {
        empty_for(plain, len);
        self.decompressor.decompress_to_buffer(packed, plain)?;
        if plain.len() == len {
            Ok(())
        } else {
            Err(io::ErrorKind::InvalidData.into())
        }
    }
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Codec")
    }
}

/// Tells whether a buffer is small enough to be kept for the next chunk.
pub(super) fn worth_keeping(buffer: &Vec<u8>) -> bool {
    buffer.capacity() <= KEPT_BYTES_MAX
}

/// Empties a buffer that is to take `len` bytes.
///
/// One that is too small is replaced, since growing would copy what it held. It gets no more
/// room than asked for, as some become chunks that are kept.
pub(super) fn empty_for(buffer: &mut Vec<u8>, len: usize) {
    buffer.clear();
    if buffer.capacity() < len {
        *buffer = Vec::with_capacity(len);
    }
}

/// Returns the entropy of single bytes: what a byte takes at least where its neighbours tell nothing.
fn bits_per_byte(sample: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in sample {
        counts[usize::from(*byte)] += 1;
    }
    let len = sample.len() as f64;
    let bits = |count: &u32| f64::from(*count) * (len / f64::from(*count)).log2();
    let bits: f64 = counts.iter().filter(|count| **count > 0).map(bits).sum();
    bits / len.max(1.0)
}

fn shrinks(plain: usize, packed: usize) -> bool {
    packed + plain / 32 < plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_of_a_byte_are_those_of_its_distribution() {
        let all: Vec<u8> = (0..=255).collect();
        let cases: [(&[u8], f64); 4] = [(b"", 0.0), (b"aaaa", 0.0), (b"abab", 1.0), (&all, 8.0)];
        for (sample, expected) in cases {
            let bits = bits_per_byte(sample);
            assert!((bits - expected).abs() < 1e-9, "{bits} of {sample:?}");
        }
    }

    #[test]
    fn what_does_not_shrink_is_left_alone() {
        let mut codec = Codec::new().expect("contexts");
        let mut noise = vec![0; 1 << 20];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        let (mut packed, mut plain) = (Vec::new(), Vec::new());
        for bytes in [&noise[..], &noise[..1000], b""] {
            assert!(!codec.compress(bytes, &mut packed).expect("it runs"));
        }
        let text = b"all work and no play ".repeat(10_000);
        assert!(codec.compress(&text, &mut packed).expect("it runs"));
        for len in [text.len() - 1, text.len() + 1] {
            assert!(codec.decompress(&packed, len, &mut plain).is_err());
        }
        codec
            .decompress(&packed, text.len(), &mut plain)
            .expect("it runs");
        assert_eq!(plain, text);
        assert!(codec.decompress(&noise, 100, &mut plain).is_err());
        assert!(plain.is_empty(), "nothing of what failed is left");
    }
}
