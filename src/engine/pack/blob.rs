//! One blob: a header of fixed length that tells everything but the plain bytes.
//!
//! | offset | length | field |
//! |---|---|---|
//! | 0 | 4 | `bkpb` |
//! | 4 | 1 | version, the number of the format |
//! | 5 | 1 | kind |
//! | 6 | 1 | cipher: 0 clear, 1 ChaCha20-Poly1305, 2 AES-256-GCM |
//! | 7 | 1 | compression: 0 none, 1 zstd |
//! | 8 | 32 | id: keyed BLAKE3 of the plain bytes and the kind |
//! | 40 | 4 | length of the plain bytes |
//! | 44 | 4 | length of the payload |
//! | 48 | 16 | session whose key seals it; zeros in the clear |
//! | 64 | 8 | counter within the session |
//! | 72 | 32 | BLAKE3 of the 72 bytes before and the payload |
//! | 104 | | payload |
//!
//! The first 72 bytes and the key domain's id are bound to the ciphertext.

use crate::engine::compress::{Codec, empty_for};
use crate::engine::crypto::{Cipher, SessionKey, TAG_BYTES, WriterKey};
use crate::engine::error::EngineError;
use crate::engine::format::BLOB_VERSION;

/// The length of a blob's header.
pub const HEADER_BYTES: usize = 104;
const BOUND_BYTES: usize = 72;
const MAGIC: &[u8; 4] = b"bkpb";
const COMPRESSED: u8 = 1;

/// The longest plain blob, in bytes.
pub const PLAIN_BYTES_MAX: usize = (1 << 24) - 1;

/// Says what a blob holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum BlobKind {
    /// A piece of file data.
    Chunk = 1,
    /// A run of a tree's entries.
    Leaf = 2,
    /// A list of a tree's leaves or of such lists.
    Node = 3,
    /// Spans of an entry that has too many to keep inline.
    Spans = 4,
    /// A list of blob ids in the clear.
    Refs = 5,
    /// The sealed part of a manifest.
    Manifest = 6,
}

impl BlobKind {
    /// Returns the kind of a number in a header.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Chunk),
            2 => Some(Self::Leaf),
            3 => Some(Self::Node),
            4 => Some(Self::Spans),
            5 => Some(Self::Refs),
            6 => Some(Self::Manifest),
            _ => None,
        }
    }
}

/// Describes a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What it holds.
    pub kind: BlobKind,
    /// How it is encrypted; none in the clear.
    pub cipher: Option<Cipher>,
    /// Whether it is compressed.
    pub compressed: bool,
    /// Its name.
    pub id: [u8; 32],
    /// The length of the plain bytes.
    pub plain_len: u32,
    /// The length of the payload.
    pub payload_len: u32,
    /// The session whose key seals it.
    pub session: [u8; 16],
    /// The counter within the session.
    pub counter: u64,
    /// The hash of header and payload.
    pub hash: [u8; 32],
}

impl Header {
    /// The bytes that every blob begins with.
    pub const MAGIC: &[u8; 4] = MAGIC;

    /// Returns the length of header and payload.
    pub fn blob_len(&self) -> usize {
        HEADER_BYTES + self.payload_len as usize
    }

    /// Reads a header; checks form and lengths, not the hash.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<4>()?;
        let ([version, kind, cipher, compression], rest) = rest.split_first_chunk::<4>()?;
        let (id, rest) = rest.split_first_chunk::<32>()?;
        let (plain_len, rest) = rest.split_first_chunk::<4>()?;
        let (payload_len, rest) = rest.split_first_chunk::<4>()?;
        let (session, rest) = rest.split_first_chunk::<16>()?;
        let (counter, rest) = rest.split_first_chunk::<8>()?;
        let hash = rest.first_chunk::<32>()?;
        let known = magic == MAGIC && *version == BLOB_VERSION && *compression <= COMPRESSED;
        let cipher = match cipher {
            0 => None,
            number => Some(Cipher::from_number(*number)?),
        };
        let header = Self {
            kind: BlobKind::from_number(*kind)?,
            cipher,
            compressed: *compression == COMPRESSED,
            id: *id,
            plain_len: u32::from_le_bytes(*plain_len),
            payload_len: u32::from_le_bytes(*payload_len),
            session: *session,
            counter: u64::from_le_bytes(*counter),
            hash: *hash,
        };
        (known && header.lengths_fit()).then_some(header)
    }

    fn lengths_fit(&self) -> bool {
        let (plain, payload) = (self.plain_len as usize, self.payload_len as usize);
        let tag = if self.cipher.is_some() { TAG_BYTES } else { 0 };
        let fits = if self.compressed {
            (tag..plain + tag).contains(&payload)
        } else {
            payload == plain + tag
        };
        plain <= PLAIN_BYTES_MAX && fits
    }

    fn bound(&self) -> [u8; BOUND_BYTES] {
        let mut bytes = [0; BOUND_BYTES];
        bytes[..4].copy_from_slice(MAGIC);
        bytes[4] = BLOB_VERSION;
        bytes[5] = self.kind as u8;
        bytes[6] = self.cipher.map_or(0, |cipher| cipher as u8);
        bytes[7] = u8::from(self.compressed);
        bytes[8..40].copy_from_slice(&self.id);
        bytes[40..44].copy_from_slice(&self.plain_len.to_le_bytes());
        bytes[44..48].copy_from_slice(&self.payload_len.to_le_bytes());
        bytes[48..64].copy_from_slice(&self.session);
        bytes[64..].copy_from_slice(&self.counter.to_le_bytes());
        bytes
    }

    /// Returns the header's bytes; the payload follows them.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..BOUND_BYTES].copy_from_slice(&self.bound());
        bytes[BOUND_BYTES..].copy_from_slice(&self.hash);
        bytes
    }

    /// Computes the hash over header and payload.
    pub fn hash_with(&self, payload: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.bound());
        hasher.update(payload);
        *hasher.finalize().as_bytes()
    }

    /// Returns the plain bytes of a payload; `session` is needed unless it is in the clear.
    ///
    /// The caller checks the id with the right writer's key.
    pub fn open(
        &self,
        payload: &[u8],
        session: Option<&SessionKey>,
        codec: &mut Codec,
    ) -> Result<Vec<u8>, EngineError> {
        let mut plain = Vec::new();
        self.open_into(payload, session, codec, &mut plain)?;
        Ok(plain)
    }

    /// Puts the plain bytes of a payload into `plain`.
    fn open_into(
        &self,
        payload: &[u8],
        session: Option<&SessionKey>,
        codec: &mut Codec,
        plain: &mut Vec<u8>,
    ) -> Result<(), EngineError> {
        let mut clear = std::mem::take(&mut codec.scratch);
        empty_for(&mut clear, payload.len());
        clear.extend_from_slice(payload);
        if let Some(cipher) = self.cipher {
            let session = session.ok_or(EngineError::NeedsReadingKey("open a blob"))?;
            session.open(cipher, self.counter, &self.bound(), &mut clear)?;
        }
        if self.compressed {
            let len = self.plain_len as usize;
            let opened = codec.decompress(&clear, len, plain);
            opened.map_err(|source| EngineError::Io {
                doing: "decompress a blob",
                source,
            })?;
        } else {
            std::mem::swap(&mut clear, plain);
        }
        codec.scratch = clear;
        Ok(())
    }
}

/// Is a blob ready for a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedBlob {
    /// What it is.
    pub header: Header,
    /// What follows the header.
    pub payload: Vec<u8>,
}

/// Compresses, seals and checks blobs of one session.
#[derive(Debug, Clone, Copy)]
pub struct Sealer<'a> {
    /// The session's key.
    pub session: &'a SessionKey,
    /// The cipher to use.
    pub cipher: Cipher,
}

impl Sealer<'_> {
    /// Makes a blob of plain bytes, and decodes and compares it before it is trusted.
    pub fn seal(
        &self,
        kind: BlobKind,
        id: &[u8; 32],
        plain: &[u8],
        codec: &mut Codec,
    ) -> Result<SealedBlob, EngineError> {
        let mut payload = codec.buffer(plain.len() + TAG_BYTES);
        let compressed = codec.compress(plain, &mut payload);
        let compressed = compressed.map_err(|source| EngineError::Io {
            doing: "compress a blob",
            source,
        })?;
        if !compressed {
            payload.clear();
            payload.extend_from_slice(plain);
        }
        let mut header = Header {
            kind,
            cipher: Some(self.cipher),
            compressed,
            id: *id,
            plain_len: plain_len(plain)?,
            payload_len: (payload.len() + TAG_BYTES) as u32,
            session: *self.session.id(),
            counter: self.session.next_counter(),
            hash: [0; 32],
        };
        self.session
            .seal(self.cipher, header.counter, &header.bound(), &mut payload)?;
        header.hash = header.hash_with(&payload);
        let mut opened = std::mem::take(&mut codec.plain);
        header.open_into(&payload, Some(self.session), codec, &mut opened)?;
        if opened != plain {
            return Err(EngineError::damaged(
                "a new blob",
                "it does not decode to what was encoded; this machine's memory may be bad",
            ));
        }
        codec.plain = opened;
        Ok(SealedBlob { header, payload })
    }

    /// Makes a blob in the clear, named with the writer's key.
    pub fn clear(
        writer: &WriterKey,
        kind: BlobKind,
        plain: &[u8],
    ) -> Result<SealedBlob, EngineError> {
        let len = plain_len(plain)?;
        let mut header = Header {
            kind,
            cipher: None,
            compressed: false,
            id: writer.id(kind as u8, plain),
            plain_len: len,
            payload_len: len,
            session: [0; 16],
            counter: 0,
            hash: [0; 32],
        };
        header.hash = header.hash_with(plain);
        Ok(SealedBlob {
            header,
            payload: plain.to_vec(),
        })
    }
}

fn plain_len(plain: &[u8]) -> Result<u32, EngineError> {
    if plain.len() > PLAIN_BYTES_MAX {
        return Err(EngineError::TooLarge {
            what: "a blob",
            size: plain.len() as u64,
        });
    }
    Ok(plain.len() as u32)
}
