//! Compression of blobs with reused contexts and buffers.

use std::io;

use zstd::bulk::{Compressor, Decompressor};

const LEVEL: i32 = 3;
/// Data longer than this is judged by a sample before all of it is compressed.
const SAMPLED_FROM_BYTES: usize = 128 << 10;
const SAMPLE_BYTES: usize = 8 << 10;
const SAMPLES: usize = 4;
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
        Ok(Self {
            compressor: Compressor::new(LEVEL)?,
            decompressor: Decompressor::new()?,
            scratch: Vec::new(),
            plain: Vec::new(),
            spare: Vec::new(),
        })
    }

    /// Returns an empty buffer with room for `len` bytes.
    pub(super) fn buffer(&mut self, len: usize) -> Vec<u8> {
        let mut buffer = std::mem::take(&mut self.spare);
        buffer.clear();
        buffer.reserve(len);
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
        packed.reserve(zstd::zstd_safe::compress_bound(plain.len()));
        self.compressor.compress_to_buffer(plain, packed)?;
        Ok(shrinks(plain.len(), packed.len()))
    }

    fn sample_shrinks(&mut self, plain: &[u8]) -> io::Result<bool> {
        let stride = plain.len() / SAMPLES;
        let sample: Vec<u8> = plain
            .chunks(stride)
            .take(SAMPLES)
            .flat_map(|part| &part[..SAMPLE_BYTES.min(part.len())])
            .copied()
            .collect();
        let packed = self.compressor.compress(&sample)?;
        Ok(shrinks(sample.len(), packed.len()))
    }

    /// Puts the plain bytes, which must be exactly `len`, into `plain`.
    pub fn decompress(&mut self, packed: &[u8], len: usize, plain: &mut Vec<u8>) -> io::Result<()> {
        plain.clear();
        plain.reserve_exact(len);
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

fn shrinks(plain: usize, packed: usize) -> bool {
    packed + plain / 32 < plain
}

#[cfg(test)]
mod tests {
    use super::*;

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
