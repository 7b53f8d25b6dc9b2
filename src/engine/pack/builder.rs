//! Collects blobs into the bytes of a pack.

use super::{Header, MAGIC, PREFIX_BYTES, SALT_BYTES};
use crate::engine::crypto::SealedSession;
use crate::engine::index::{PackEntries, Place};

/// Collects blobs until there are enough for a pack.
///
/// The bytes are laid out as they will be stored, so that a pack of one session, as writers
/// make them, is never copied. They are hashed while they come, since they are in the
/// processor's caches then and won't be any more when the pack is full.
#[derive(Debug)]
pub struct PackBuilder {
    salt: [u8; SALT_BYTES],
    sessions: Vec<SealedSession>,
    /// How many of the session records are in front of the first blob already.
    placed: usize,
    places: Vec<Place>,
    bytes: Vec<u8>,
    hasher: blake3::Hasher,
    /// How many of the bytes the hasher has taken.
    hashed: usize,
}

/// How many bytes are hashed at once: enough to use a processor's widest instructions.
const HASHED_AT_ONCE: usize = 128 << 10;

impl PackBuilder {
    /// Starts an empty pack; two packs of one content differ by their salts.
    pub fn new(salt: [u8; SALT_BYTES]) -> Self {
        Self::in_buffer(salt, Vec::new())
    }

    /// Starts an empty pack in a buffer whose bytes are not needed any more.
    pub fn in_buffer(salt: [u8; SALT_BYTES], mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        Self {
            salt,
            sessions: Vec::new(),
            placed: 0,
            places: Vec::new(),
            bytes,
            hasher: blake3::Hasher::new(),
            hashed: 0,
        }
    }

    /// Appends a blob and, once, the key of the session that sealed it.
    pub fn push(&mut self, header: &Header, payload: &[u8], session: Option<&SealedSession>) {
        if let Some(session) = session
            && !self.sessions.iter().any(|known| known.id == session.id)
        {
            self.sessions.push(session.clone());
        }
        if self.places.is_empty() {
            self.begin();
        }
        let place = Place::new(header, self.bytes.len() as u32);
        self.places.push(place);
        self.bytes.extend_from_slice(&header.encode());
        self.bytes.extend_from_slice(payload);
        self.hash_ahead();
    }

    /// Lays out what comes before the first blob.
    fn begin(&mut self) {
        self.bytes.resize(PREFIX_BYTES, 0);
        for session in &self.sessions {
            session.encode(&mut self.bytes);
        }
        self.placed = self.sessions.len();
        self.write_prefix(self.bytes.len());
    }

    /// Writes the prefix of a pack whose blobs begin at `blobs_at`.
    fn write_prefix(&mut self, blobs_at: usize) {
        let records = (blobs_at - PREFIX_BYTES) as u32;
        let mut prefix = Vec::with_capacity(PREFIX_BYTES);
        prefix.extend_from_slice(MAGIC);
        prefix.extend_from_slice(&self.salt);
        prefix.extend_from_slice(&records.to_le_bytes());
        prefix.extend_from_slice(&(self.sessions.len() as u16).to_le_bytes());
        self.bytes[..PREFIX_BYTES].copy_from_slice(&prefix);
    }

    /// Hashes what came since the last time, in steps that a hasher takes fast.
    fn hash_ahead(&mut self) {
        let ready = self.bytes.len() / HASHED_AT_ONCE * HASHED_AT_ONCE;
        self.hasher.update(&self.bytes[self.hashed..ready]);
        self.hashed = ready;
    }

    /// Returns how many bytes there are.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Tells whether there is no blob.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Returns the pack's bytes and where each blob is in it.
    pub fn finish(mut self, is_data: bool) -> (Vec<u8>, PackEntries) {
        if self.places.is_empty() {
            self.begin();
        }
        if self.placed < self.sessions.len() {
            self.place_late_sessions();
        }
        self.hasher.update(&self.bytes[self.hashed..]);
        let entries = PackEntries {
            hash: *self.hasher.finalize().as_bytes(),
            size: self.bytes.len() as u64,
            is_data,
            places: self.places,
        };
        (self.bytes, entries)
    }

    /// Makes room for the records of sessions that came after the first blob.
    fn place_late_sessions(&mut self) {
        let mut records = Vec::new();
        for session in &self.sessions[self.placed..] {
            session.encode(&mut records);
        }
        let len = records.len();
        let at = self
            .places
            .first()
            .map_or(PREFIX_BYTES, |place| place.offset as usize);
        self.bytes.splice(at..at, records);
        for place in &mut self.places {
            place.offset += len as u32;
        }
        self.write_prefix(at + len);
        // All that was hashed has moved.
        self.hasher.reset();
        self.hashed = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::crypto::{ReadingKey, SessionKey};
    use crate::engine::env::Env;
    use crate::engine::pack::{BlobKind, HEADER_BYTES, PackView};

    /// Pushes blobs of sessions with these numbers and returns the pack.
    fn pack_of(sessions: &[u8], payload: &[u8]) -> (Vec<u8>, PackEntries) {
        let writer = ReadingKey::from_seed(&[1; 32])
            .writer("web")
            .expect("a good label");
        let session = || {
            SessionKey::generate(&Env::system(), &writer)
                .expect("a session")
                .1
        };
        let records: [SealedSession; 3] = std::array::from_fn(|_| session());
        let mut builder = PackBuilder::new(*b"saltsalt");
        for (number, session) in sessions.iter().enumerate() {
            let record = &records[usize::from(*session)];
            let mut header = Header {
                kind: BlobKind::Chunk,
                cipher: None,
                compressed: false,
                id: [number as u8; 32],
                plain_len: payload.len() as u32,
                payload_len: payload.len() as u32,
                session: record.id,
                counter: number as u64,
                hash: [0; 32],
            };
            header.hash = header.hash_with(payload);
            builder.push(&header, payload, Some(record));
        }
        builder.finish(true)
    }

    #[test]
    fn a_pack_is_named_by_its_bytes_however_they_came() {
        let payload = vec![7; HASHED_AT_ONCE - HEADER_BYTES];
        let cases: [(&[u8], &[u8]); 6] = [
            (&[], b""),
            (&[0], b"short"),
            (&[0, 0, 0], &payload),
            (&[0, 1], b"short"),
            (&[0, 0, 1, 0, 2], &payload),
            (&[2, 1, 0], &payload),
        ];
        for (sessions, payload) in cases {
            let (bytes, entries) = pack_of(sessions, payload);
            assert_eq!(
                entries.hash,
                *blake3::hash(&bytes).as_bytes(),
                "{sessions:?}"
            );
            assert_eq!(entries.size, bytes.len() as u64);
            let view = PackView::parse(&bytes).expect("a pack");
            assert_eq!(view.entries(true).places, entries.places, "{sessions:?}");
        }
    }
}
