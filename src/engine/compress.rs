//! Compression of blobs with reused contexts.

use std::io;

use zstd::bulk::{Compressor, Decompressor};

const LEVEL: i32 = 3;
/// Data longer than this is judged by a sample before all of it is compressed.
const SAMPLED_FROM_BYTES: usize = 128 << 10;
const SAMPLE_BYTES: usize = 8 << 10;
const SAMPLES: usize = 4;

/// Compresses and decompresses; one per thread.
pub struct Codec {
    compressor: Compressor<'static>,
    decompressor: Decompressor<'static>,
}

impl Codec {
    /// Makes the contexts.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            compressor: Compressor::new(LEVEL)?,
            decompressor: Decompressor::new()?,
        })
    }

    /// Returns the compressed bytes, or none where that saves less than a 32nd.
    pub fn compress(&mut self, plain: &[u8]) -> io::Result<Option<Vec<u8>>> {
        if plain.len() >= SAMPLED_FROM_BYTES && !self.sample_shrinks(plain)? {
            return Ok(None);
        }
        let packed = self.compressor.compress(plain)?;
        Ok(shrinks(plain.len(), packed.len()).then_some(packed))
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

    /// Returns the plain bytes, which must be exactly `len`.
    pub fn decompress(&mut self, packed: &[u8], len: usize) -> io::Result<Vec<u8>> {
        let plain = self.decompressor.decompress(packed, len)?;
        if plain.len() == len {
            Ok(plain)
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
        assert_eq!(codec.compress(&noise).expect("it runs"), None);
        assert_eq!(codec.compress(&noise[..1000]).expect("it runs"), None);
        assert_eq!(codec.compress(b"").expect("it runs"), None);
        let text = b"all work and no play ".repeat(10_000);
        let packed = codec.compress(&text).expect("it runs").expect("it shrinks");
        assert_eq!(
            codec.decompress(&packed, text.len()).expect("it runs"),
            text
        );
        assert!(codec.decompress(&packed, text.len() - 1).is_err());
        assert!(codec.decompress(&packed, text.len() + 1).is_err());
        assert!(codec.decompress(&noise, 100).is_err());
    }
}
