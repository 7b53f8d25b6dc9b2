//! Finds what is still good in the bytes of a damaged pack.

use super::{Header, PREFIX_BYTES, PackView, check_payload, parse_sessions, split_blob};
use crate::engine::crypto::SealedSession;

/// How often the bytes of a pack may be hashed in vain before the search ends.
const HASHED_TIMES_MAX: usize = 64;

/// Is what a damaged pack still holds.
#[derive(Debug)]
pub struct Salvage<'a> {
    /// The session records at its beginning, unless they make no sense; nothing vouches for
    /// them but the seal that they carry.
    pub sessions: Vec<SealedSession>,
    /// Each blob that hashes to what its header says, with its offset.
    pub blobs: Vec<(Header, usize, &'a [u8])>,
}

impl<'a> Salvage<'a> {
    /// Searches bytes for blobs, and goes on at the next beginning of one where there is none.
    pub fn search(bytes: &'a [u8]) -> Self {
        let mut blobs = Vec::new();
        let mut offset = 0;
        // Bytes that were made to look like many long blobs must not take forever.
        let mut left = bytes.len().saturating_mul(HASHED_TIMES_MAX);
        while let Some(start) = next_blob(bytes, offset) {
            offset = start + 1;
            let Some((header, payload)) = split_blob(&bytes[start..]) else {
                continue;
            };
            if check_payload(&header, payload) {
                offset = start + header.blob_len();
                blobs.push((header, start, payload));
            } else if left < payload.len() {
                break;
            } else {
                left -= payload.len();
            }
        }
        Self {
            sessions: sessions(bytes).unwrap_or_default(),
            blobs,
        }
    }
}

/// Returns where the next bytes lie that begin like a blob.
fn next_blob(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += bytes
            .get(at..)?
            .iter()
            .position(|byte| *byte == Header::MAGIC[0])?;
        if bytes[at..].starts_with(Header::MAGIC) {
            return Some(at);
        }
        at += 1;
    }
}

fn sessions(bytes: &[u8]) -> Option<Vec<SealedSession>> {
    let prefix: &[u8; PREFIX_BYTES] = bytes.first_chunk()?;
    let len = PackView::records_len(prefix).ok()?;
    let records = bytes.get(PREFIX_BYTES..PREFIX_BYTES + len)?;
    parse_sessions(prefix, records).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::crypto::ReadingKey;
    use crate::engine::pack::{BlobKind, PackBuilder, Sealer};

    fn pack() -> Vec<u8> {
        let writer = ReadingKey::from_seed(&[1; 32]);
        let writer = writer.writer("web").expect("a good label");
        let mut builder = PackBuilder::new([5; 8]);
        for n in 0..20_u8 {
            // The payloads look like blobs themselves.
            let plain = [Header::MAGIC.as_slice(), &vec![n; usize::from(n) * 9]].concat();
            let blob = Sealer::clear(&writer, BlobKind::Refs, &plain).expect("a blob");
            builder.push(&blob.header, &blob.payload, None);
        }
        builder.finish(false).0
    }

    #[test]
    fn nothing_is_lost_of_an_intact_pack() {
        let bytes = pack();
        let view = PackView::parse(&bytes).expect("a pack");
        let salvage = Salvage::search(&bytes);
        assert_eq!(salvage.blobs, view.blobs);
        assert_eq!(salvage.sessions, view.sessions);
    }

    proptest! {
        #[test]
        fn only_what_was_hit_is_lost(
            flips in proptest::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..6),
            cut in proptest::option::of(any::<prop::sample::Index>()),
        ) {
            let whole = pack();
            let mut bytes = whole.clone();
            for (at, flip) in flips {
                bytes[at.index(whole.len())] ^= flip;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(whole.len()));
            }
            let view = PackView::parse(&whole).expect("a pack");
            let is_whole = |(header, offset, _): &&(Header, usize, &[u8])| {
                let range = *offset..*offset + header.blob_len();
                bytes.get(range.clone()) == Some(&whole[range])
            };
            let kept: Vec<_> = view.blobs.iter().filter(is_whole).cloned().collect();
            prop_assert_eq!(Salvage::search(&bytes).blobs, kept);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            prop_assert!(Salvage::search(&bytes).blobs.is_empty());
        }
    }

    #[test]
    fn bytes_that_pretend_to_be_blobs_end_the_search() {
        let writer = ReadingKey::from_seed(&[1; 32]);
        let writer = writer.writer("web").expect("a good label");
        let blob = Sealer::clear(&writer, BlobKind::Refs, &vec![0; 1 << 20]).expect("a blob");
        let mut header = blob.header.encode();
        header[100] ^= 1;
        let bytes = [header.repeat(20_000), vec![0; 1 << 20]].concat();
        assert!(Salvage::search(&bytes).blobs.is_empty());
    }
}
