//! The bytes of a cache: a header, then sealed records that each prove their place.
//!
//! The header is `bkpcach1`, the number of the cipher, seven zero bytes and a salt of 16
//! bytes. A record is its length (`u32`, little endian) and as many sealed bytes; its counter
//! is its position, so that records cannot be left out or swapped. Opened, it is a byte that
//! says what it is, and its content:
//!
//! | byte | content |
//! |---|---|
//! | 1 | the beginning: when the backup started (`i64`, nanoseconds since 1970), its snapshot's id (16) |
//! | 2 | a run of finished entries, after all that came before |
//! | 3 | a run of one entry: a file that is not finished, with the spans after those that the record before told of it |
//! | 4 | hashes of entries of the next run: for each its place in the run (`u32`) and the BLAKE3 hash of its data (32) |
//!
//! A run is a byte that says whether it is compressed, the length of the plain bytes (`u32`),
//! and those bytes as the module `files::codec` writes them, or a zstd frame of them.

use std::collections::HashMap;

use super::DataHash;
use crate::engine::crypto::{Cipher, LOCAL_SALT_BYTES, LocalKey, TAG_BYTES};

const MAGIC: &[u8; 8] = b"bkpcach1";
/// The length of a header.
pub(super) const HEADER_BYTES: usize = 8 + 8 + LOCAL_SALT_BYTES;
/// The longest run of entries: what one file of 1.7 TiB needs.
pub(super) const RUN_BYTES_MAX: usize = 64 << 20;
const RECORD_BYTES_MAX: usize = RUN_BYTES_MAX + 6 + TAG_BYTES;

const BEGINNING: u8 = 1;

/// Says what a run holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// Finished entries.
    Entries = 2,
    /// One file that is not finished.
    Part = 3,
    /// The hashes of some of the entries that come next.
    Hashes = 4,
}

/// Is a run of entries and what they are.
pub(super) type Run = (What, Vec<u8>);

/// Says how the records of a file are sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) cipher: Cipher,
    pub(super) salt: [u8; LOCAL_SALT_BYTES],
}

/// Says which backup a cache is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Beginning {
    /// When it started, in nanoseconds since 1970.
    pub(super) started: i64,
    /// The id of its snapshot, which was made if the file has its last name.
    pub(super) snapshot: [u8; 16],
}

impl Header {
    pub(super) fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8] = self.cipher as u8;
        bytes[16..].copy_from_slice(&self.salt);
        bytes
    }

    pub(super) fn decode(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let (head, salt) = bytes.split_first_chunk::<16>()?;
        let good = head[..8] == *MAGIC && head[9..].iter().all(|byte| *byte == 0);
        let cipher = Cipher::from_number(head[8]).filter(|_| good)?;
        Some(Self {
            cipher,
            salt: *salt.first_chunk()?,
        })
    }
}

impl Beginning {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut plain = vec![BEGINNING];
        plain.extend_from_slice(&self.started.to_le_bytes());
        plain.extend_from_slice(&self.snapshot);
        plain
    }

    pub(super) fn decode(plain: &[u8]) -> Option<Self> {
        let (started, snapshot) = plain.strip_prefix(&[BEGINNING])?.split_first_chunk()?;
        Some(Self {
            started: i64::from_le_bytes(*started),
            snapshot: snapshot.try_into().ok()?,
        })
    }
}

/// Tells whether opened bytes are a cache's header or record, for those who fuzz the decoders.
pub(crate) fn is_known(plain: &[u8]) -> bool {
    let header = plain
        .first_chunk()
        .is_some_and(|bytes| Header::decode(bytes).is_some());
    let run = zstd::bulk::Decompressor::new().ok();
    let run = run.and_then(|mut decompressor| unpack(plain, &mut decompressor));
    header || Beginning::decode(plain).is_some() || run.is_some()
}

/// Packs a run of entries into what a record holds.
pub(super) fn pack(
    (what, run): &Run,
    compressor: &mut zstd::bulk::Compressor<'_>,
) -> std::io::Result<Vec<u8>> {
    let packed = compressor.compress(run)?;
    let shrinks = packed.len() < run.len();
    let bytes = if shrinks { &packed } else { run };
    let mut plain = Vec::with_capacity(bytes.len() + 6 + TAG_BYTES);
    plain.extend_from_slice(&[*what as u8, u8::from(shrinks)]);
    plain.extend_from_slice(&(run.len() as u32).to_le_bytes());
    plain.extend_from_slice(bytes);
    Ok(plain)
}

/// Returns the run of entries in a record.
pub(super) fn unpack(plain: &[u8], decompressor: &mut zstd::bulk::Decompressor<'_>) -> Option<Run> {
    let ([what, is_packed], rest) = plain.split_first_chunk()?;
    let what = [What::Entries, What::Part, What::Hashes]
        .into_iter()
        .find(|known| *known as u8 == *what)?;
    let (len, bytes) = rest.split_first_chunk()?;
    let len = u32::from_le_bytes(*len) as usize;
    let run = match is_packed {
        0 => bytes.to_vec(),
        1 if len <= RUN_BYTES_MAX => decompressor.decompress(bytes, len).ok()?,
        _ => return None,
    };
    (run.len() == len).then_some((what, run))
}

/// Appends the hash of an entry to those of its run.
pub(super) fn push_hash(hashes: &mut Vec<u8>, place: u32, hash: &DataHash) {
    hashes.extend_from_slice(&place.to_le_bytes());
    hashes.extend_from_slice(hash);
}

/// Returns the hashes of a run's entries by their places, or nothing if they make no sense.
pub(super) fn hashes(bytes: &[u8]) -> Option<HashMap<u32, DataHash>> {
    let (hashes, rest) = bytes.as_chunks::<36>();
    let one = |bytes: &[u8; 36]| {
        let (place, hash) = bytes.split_first_chunk()?;
        Some((u32::from_le_bytes(*place), hash.try_into().ok()?))
    };
    rest.is_empty().then(|| hashes.iter().map(one).collect())?
}

/// Seals what a record holds and returns the bytes to write.
pub(super) fn seal(
    key: &LocalKey,
    counter: u64,
    mut plain: Vec<u8>,
) -> Result<Vec<u8>, crate::engine::crypto::CryptoError> {
    key.seal(counter, &mut plain)?;
    plain.splice(..0, (plain.len() as u32).to_le_bytes());
    Ok(plain)
}

/// Returns how many sealed bytes follow a record's length, if they can be so many.
pub(super) fn record_len(bytes: [u8; 4]) -> Option<usize> {
    let len = u32::from_le_bytes(bytes) as usize;
    (TAG_BYTES..=RECORD_BYTES_MAX).contains(&len).then_some(len)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_packed_comes_back(run: Vec<u8>, repeat in 1_usize..50, is_part: bool) {
            let mut compressor = zstd::bulk::Compressor::new(1).expect("a context");
            let mut decompressor = zstd::bulk::Decompressor::new().expect("a context");
            let what = if is_part { What::Part } else { What::Entries };
            let run = (what, run.repeat(repeat));
            let plain = pack(&run, &mut compressor).expect("it runs");
            prop_assert_eq!(unpack(&plain, &mut decompressor), Some(run));
        }

        #[test]
        fn hashes_come_back_by_place(wanted: HashMap<u32, [u8; 32]>, cut in 1_usize..36) {
            let mut bytes = Vec::new();
            for (place, hash) in &wanted {
                push_hash(&mut bytes, *place, hash);
            }
            prop_assert_eq!(hashes(&bytes), Some(wanted));
            bytes.extend_from_slice(&[0; 36][..cut]);
            prop_assert_eq!(hashes(&bytes), None);
        }

        #[test]
        fn arbitrary_bytes_never_panic(mut bytes: Vec<u8>, head in 0..4_u8, packed in 0..3_u8) {
            let mut decompressor = zstd::bulk::Decompressor::new().expect("a context");
            let _ = Beginning::decode(&bytes);
            bytes.splice(..0, [head, packed]);
            let _ = (Beginning::decode(&bytes), unpack(&bytes, &mut decompressor));
            if let Some(header) = bytes.first_chunk() {
                let _ = Header::decode(header);
            }
        }
    }
}
