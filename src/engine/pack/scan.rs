//! Reads packs without a key.

use thiserror::Error;

use super::{HEADER_BYTES, Header, MAGIC, PREFIX_BYTES, SALT_BYTES, SESSIONS_MAX};
use crate::engine::crypto::SealedSession;
use crate::engine::index::{PackEntries, Place};

/// Says why bytes are no pack or no blob.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PackError {
    /// It does not begin like a pack.
    #[error("it does not begin like a pack")]
    Magic,
    /// The session records are cut off or make no sense.
    #[error("its session records make no sense")]
    Sessions,
    /// The bytes at an offset are no blob.
    #[error("the bytes at {0} are no blob")]
    Blob(usize),
    /// The blob at an offset does not hash to what its header says.
    #[error("the blob at {0} has changed")]
    Hash(usize),
}

/// Is a pack taken apart.
#[derive(Debug)]
pub struct PackView<'a> {
    /// The sealed keys of the sessions whose blobs it holds.
    pub sessions: Vec<SealedSession>,
    /// Each blob's header, its offset and its payload.
    pub blobs: Vec<(Header, usize, &'a [u8])>,
    bytes: &'a [u8],
}

impl<'a> PackView<'a> {
    /// Takes a pack apart; checks its form, not the hashes.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PackError> {
        let prefix: &[u8; PREFIX_BYTES] = bytes.first_chunk().ok_or(PackError::Magic)?;
        let records_len = records_len(prefix)?;
        let start = PREFIX_BYTES + records_len;
        let records = bytes.get(PREFIX_BYTES..start).ok_or(PackError::Sessions)?;
        let sessions = parse_sessions(prefix, records)?;
        let mut blobs = Vec::new();
        let mut offset = start;
        while offset < bytes.len() {
            let (header, payload) = split_blob(&bytes[offset..]).ok_or(PackError::Blob(offset))?;
            let len = HEADER_BYTES + payload.len();
            blobs.push((header, offset, payload));
            offset += len;
        }
        Ok(Self {
            sessions,
            blobs,
            bytes,
        })
    }

    /// Checks every blob's hash.
    pub fn check(&self) -> Result<(), PackError> {
        for (header, offset, payload) in &self.blobs {
            if !check_payload(header, payload) {
                return Err(PackError::Hash(*offset));
            }
        }
        Ok(())
    }

    /// Returns what the index says of this pack.
    pub fn entries(&self, is_data: bool) -> PackEntries {
        PackEntries {
            hash: *blake3::hash(self.bytes).as_bytes(),
            size: self.bytes.len() as u64,
            is_data,
            places: self
                .blobs
                .iter()
                .map(|(header, offset, _)| Place::new(header, *offset as u32))
                .collect(),
        }
    }
}

/// Returns the length of the session records that a pack's prefix announces.
fn records_len(prefix: &[u8; PREFIX_BYTES]) -> Result<usize, PackError> {
    let rest = prefix.strip_prefix(MAGIC).ok_or(PackError::Magic)?;
    let len: &[u8; 4] = rest[SALT_BYTES..].first_chunk().ok_or(PackError::Magic)?;
    Ok(u32::from_le_bytes(*len) as usize)
}

impl PackView<'_> {
    /// Returns how many bytes of session records follow a pack's prefix, within bounds.
    pub fn records_len(prefix: &[u8; PREFIX_BYTES]) -> Result<usize, PackError> {
        let len = records_len(prefix)?;
        if len <= SESSIONS_MAX * 256 {
            Ok(len)
        } else {
            Err(PackError::Sessions)
        }
    }
}

/// Reads the session records that follow a pack's prefix.
pub fn parse_sessions(
    prefix: &[u8; PREFIX_BYTES],
    records: &[u8],
) -> Result<Vec<SealedSession>, PackError> {
    let count = u16::from_le_bytes([prefix[PREFIX_BYTES - 2], prefix[PREFIX_BYTES - 1]]);
    let mut sessions = Vec::new();
    let mut rest = records;
    for _ in 0..count {
        let (session, left) = SealedSession::decode(rest).ok_or(PackError::Sessions)?;
        sessions.push(session);
        rest = left;
    }
    if rest.is_empty() && sessions.len() <= SESSIONS_MAX {
        Ok(sessions)
    } else {
        Err(PackError::Sessions)
    }
}

/// Splits one blob off: its header and its payload.
pub fn split_blob(bytes: &[u8]) -> Option<(Header, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let header = Header::decode(header)?;
    let payload = rest.get(..header.payload_len as usize)?;
    Some((header, payload))
}

/// Tells whether header and payload are those that were sealed, as far as one sees without a key.
pub fn check_payload(header: &Header, payload: &[u8]) -> bool {
    header.hash_with(payload) == header.hash
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::compress::Codec;
    use crate::engine::crypto::{Cipher, ReadingKey, SessionKey};
    use crate::engine::env::fixed;
    use crate::engine::pack::{BlobKind, PackBuilder, Sealer};

    fn pack() -> (Vec<u8>, PackEntries, ReadingKey) {
        let key = ReadingKey::from_seed(&[1; 32]);
        let writer = key.writer("web").expect("a good label");
        let (session, sealed) = SessionKey::generate(&fixed::env(0), &writer).expect("a session");
        let mut codec = Codec::new().expect("contexts");
        let mut builder = PackBuilder::new([5; SALT_BYTES]);
        let sealer = Sealer {
            session: &session,
            cipher: Cipher::ChaCha20Poly1305,
        };
        for plain in [vec![7; 5000], b"short".to_vec(), Vec::new()] {
            let id = writer.id(1, &plain);
            let blob = sealer
                .seal(BlobKind::Chunk, &id, &plain, &mut codec)
                .expect("a blob");
            builder.push(&blob.header, &blob.payload, Some(&sealed));
        }
        let refs = Sealer::clear(&writer, BlobKind::Refs, &[9; 64]).expect("a blob");
        builder.push(&refs.header, &refs.payload, None);
        let (bytes, entries) = builder.finish(true);
        (bytes, entries, key)
    }

    #[test]
    fn a_pack_tells_without_a_key_what_the_index_says() {
        let (bytes, entries, key) = pack();
        let view = PackView::parse(&bytes).expect("a pack");
        assert_eq!(view.check(), Ok(()));
        assert_eq!(view.entries(true), entries);
        assert_eq!(view.blobs.len(), 4);
        assert!(view.blobs[0].2.len() < 100, "it was compressed");
        let session = view.sessions[0].open(&key).expect("the right key");
        let mut codec = Codec::new().expect("contexts");
        let (header, _, payload) = &view.blobs[0];
        let plain = header
            .open(payload, Some(&session), &mut codec)
            .expect("it opens");
        assert_eq!(plain, vec![7; 5000]);
        let (header, _, payload) = &view.blobs[3];
        let plain = header.open(payload, None, &mut codec).expect("it is clear");
        assert_eq!(plain, [9; 64]);
    }

    #[test]
    fn the_bytes_of_a_pack_are_these() {
        // Compressed bytes may differ between versions of zstd, so this blob is too short.
        let key = ReadingKey::from_seed(&[1; 32]);
        let writer = key.writer("web").expect("a good label");
        let (session, sealed) = SessionKey::generate(&fixed::env(0), &writer).expect("a session");
        let mut codec = Codec::new().expect("contexts");
        let mut builder = PackBuilder::new([5; SALT_BYTES]);
        for cipher in [Cipher::ChaCha20Poly1305, Cipher::Aes256Gcm] {
            let sealer = Sealer {
                session: &session,
                cipher,
            };
            let id = writer.id(1, b"bkpctl");
            let blob = sealer
                .seal(BlobKind::Chunk, &id, b"bkpctl", &mut codec)
                .expect("a blob");
            builder.push(&blob.header, &blob.payload, Some(&sealed));
        }
        let (bytes, entries) = builder.finish(true);
        assert_eq!(bytes.len(), 22 + 100 + 2 * (104 + 6 + 16));
        let hash = "b0a1c02b6f7434c5cfb908195880b1483b54f59cc4384a4d25b7f49de45885cf";
        assert_eq!(crate::engine::hex::encode(&entries.hash), hash);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found_without_a_key() {
        let (bytes, entries, _) = pack();
        let intact = |bytes: &[u8]| {
            PackView::parse(bytes)
                .is_ok_and(|view| view.check().is_ok() && view.entries(true) == entries)
        };
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 0x10;
            assert!(!intact(&changed), "flip at {index}");
            assert!(!intact(&bytes[..index]), "cut at {index}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(mut bytes: Vec<u8>, magic: bool) {
            if magic {
                bytes.splice(..0, *MAGIC);
            }
            let _ = PackView::parse(&bytes).map(|view| view.check());
        }
    }
}
