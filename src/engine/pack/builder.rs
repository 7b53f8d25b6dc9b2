//! Collects blobs into the bytes of a pack.

use super::{Header, MAGIC, PREFIX_BYTES, SALT_BYTES};
use crate::engine::crypto::SealedSession;
use crate::engine::index::{PackEntries, Place};

/// Collects blobs until there are enough for a pack.
///
/// The bytes are laid out as they will be stored, so that a pack of one session, as writers
/// make them, is never copied.
#[derive(Debug, Default)]
pub struct PackBuilder {
    sessions: Vec<SealedSession>,
    /// How many of the session records are in front of the first blob already.
    placed: usize,
    places: Vec<Place>,
    bytes: Vec<u8>,
}

impl PackBuilder {
    /// Starts an empty pack.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts an empty pack in a buffer whose bytes are not needed any more.
    pub fn in_buffer(mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        Self {
            bytes,
            ..Self::default()
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
            self.bytes.resize(PREFIX_BYTES, 0);
            for session in &self.sessions {
                session.encode(&mut self.bytes);
            }
            self.placed = self.sessions.len();
        }
        let place = Place::new(header, self.bytes.len() as u32);
        self.places.push(place);
        self.bytes.extend_from_slice(&header.encode());
        self.bytes.extend_from_slice(payload);
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
    pub fn finish(mut self, is_data: bool, salt: [u8; SALT_BYTES]) -> (Vec<u8>, PackEntries) {
        self.place_late_sessions();
        let blobs_at = self
            .places
            .first()
            .map_or(PREFIX_BYTES, |place| place.offset as usize);
        let records = (blobs_at - PREFIX_BYTES) as u32;
        self.bytes.resize(self.bytes.len().max(PREFIX_BYTES), 0);
        let mut prefix = Vec::with_capacity(PREFIX_BYTES);
        prefix.extend_from_slice(MAGIC);
        prefix.extend_from_slice(&salt);
        prefix.extend_from_slice(&records.to_le_bytes());
        prefix.extend_from_slice(&(self.sessions.len() as u16).to_le_bytes());
        self.bytes[..PREFIX_BYTES].copy_from_slice(&prefix);
        let entries = PackEntries {
            hash: *blake3::hash(&self.bytes).as_bytes(),
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
        if let (Some(first), false) = (self.places.first(), records.is_empty()) {
            let at = first.offset as usize;
            let len = records.len() as u32;
            self.bytes.splice(at..at, records);
            for place in &mut self.places {
                place.offset += len;
            }
        }
    }
}
