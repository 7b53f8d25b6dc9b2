//! Collects blobs into the bytes of a pack.

use super::{Header, MAGIC, PREFIX_BYTES, SALT_BYTES};
use crate::engine::crypto::SealedSession;
use crate::engine::index::{PackEntries, Place};

/// Collects blobs until there are enough for a pack.
#[derive(Debug, Default)]
pub struct PackBuilder {
    sessions: Vec<SealedSession>,
    blobs: Vec<Header>,
    body: Vec<u8>,
}

impl PackBuilder {
    /// Starts an empty pack.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a blob's bytes and, once, the key of the session that sealed it.
    pub fn push(&mut self, header: Header, bytes: &[u8], session: Option<&SealedSession>) {
        if let Some(session) = session
            && !self.sessions.iter().any(|known| known.id == session.id)
        {
            self.sessions.push(session.clone());
        }
        self.blobs.push(header);
        self.body.extend_from_slice(bytes);
    }

    /// Appends a blob that was taken out of another pack.
    pub fn push_parts(&mut self, header: Header, payload: &[u8], session: Option<&SealedSession>) {
        let bytes = header.with_payload(payload);
        self.push(header, &bytes, session);
    }

    /// Returns how many bytes the blobs have.
    pub fn len(&self) -> usize {
        self.body.len()
    }

    /// Tells whether there is no blob.
    pub fn is_empty(&self) -> bool {
        self.blobs.is_empty()
    }

    /// Returns the pack's bytes and where each blob is in it.
    pub fn finish(self, is_data: bool, salt: [u8; SALT_BYTES]) -> (Vec<u8>, PackEntries) {
        let mut records = Vec::new();
        for session in &self.sessions {
            session.encode(&mut records);
        }
        let mut bytes = Vec::with_capacity(PREFIX_BYTES + records.len() + self.body.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&salt);
        bytes.extend_from_slice(&(records.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&(self.sessions.len() as u16).to_le_bytes());
        bytes.extend_from_slice(&records);
        let mut offset = bytes.len();
        bytes.extend_from_slice(&self.body);
        let places = self
            .blobs
            .iter()
            .map(|header| {
                let place = Place::new(header, offset as u32);
                offset += place.len as usize;
                place
            })
            .collect();
        let entries = PackEntries {
            hash: *blake3::hash(&bytes).as_bytes(),
            size: bytes.len() as u64,
            is_data,
            places,
        };
        (bytes, entries)
    }
}
