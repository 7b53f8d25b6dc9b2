//! The key of one session of a writer, and how it travels inside packs.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use ring::aead::LessSafeKey;
use zeroize::Zeroizing;

use super::aead::{self, Cipher};
use super::keys::{LABEL_BYTES_MAX, check_label};
use super::{CryptoError, DomainId, ReadingKey, WriterKey};
use crate::engine::env::Env;
use crate::engine::format::context;

/// The length of a session's id in bytes.
pub const ID_BYTES: usize = 16;

const SEALED_BYTES: usize = 48;

/// Encrypts and decrypts the blobs of one session.
pub struct SessionKey {
    id: [u8; ID_BYTES],
    domain: DomainId,
    chacha: LessSafeKey,
    aes: LessSafeKey,
    counter: AtomicU64,
}

/// Holds a session's key as packs carry it: only the reading key opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSession {
    /// The session's id, random.
    pub id: [u8; ID_BYTES],
    /// The label of the writer's key.
    pub label: String,
    encapped: [u8; 32],
    sealed: [u8; SEALED_BYTES],
}

impl SessionKey {
    /// Makes a fresh session key and seals it to the writer's recipient.
    pub fn generate(env: &Env, writer: &WriterKey) -> Result<(Self, SealedSession), CryptoError> {
        let id = env.random().map_err(CryptoError::Entropy)?;
        let key = Zeroizing::new(env.random::<32>().map_err(CryptoError::Entropy)?);
        let mut rng = Stream::new(env)?;
        let recipient = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(writer.recipient())
            .map_err(|_| CryptoError::WriterKey)?;
        let (encapped, sealed) =
            hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
                &OpModeS::Base,
                &recipient,
                context::SESSION,
                &*key,
                &bound(writer.domain(), &id, writer.label()),
                &mut rng,
            )
            .map_err(|_| CryptoError::WriterKey)?;
        let sealed = SealedSession {
            id,
            label: writer.label().to_owned(),
            encapped: encapped.to_bytes().into(),
            sealed: sealed
                .try_into()
                .expect("32 bytes of key and 16 of tag are 48"),
        };
        Ok((Self::new(id, writer.domain(), &key), sealed))
    }

    fn new(id: [u8; ID_BYTES], domain: DomainId, key: &[u8; 32]) -> Self {
        Self {
            id,
            domain,
            chacha: Cipher::ChaCha20Poly1305.key(key),
            aes: Cipher::Aes256Gcm.key(key),
            counter: AtomicU64::new(0),
        }
    }

    /// Returns the session's id.
    pub fn id(&self) -> &[u8; ID_BYTES] {
        &self.id
    }

    /// Returns a counter that this session has not used.
    pub fn next_counter(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }

    /// Encrypts in place, bound to `header` and the key domain.
    pub fn seal(
        &self,
        cipher: Cipher,
        counter: u64,
        header: &[u8],
        bytes: &mut Vec<u8>,
    ) -> Result<(), CryptoError> {
        let bound = [header, &self.domain.0].concat();
        aead::seal(self.key(cipher), counter, &bound, bytes)
    }

    /// Decrypts in place what [`SessionKey::seal`] made.
    pub fn open(
        &self,
        cipher: Cipher,
        counter: u64,
        header: &[u8],
        bytes: &mut Vec<u8>,
    ) -> Result<(), CryptoError> {
        let bound = [header, &self.domain.0].concat();
        aead::open(self.key(cipher), counter, &bound, bytes)
    }

    fn key(&self, cipher: Cipher) -> &LessSafeKey {
        match cipher {
            Cipher::ChaCha20Poly1305 => &self.chacha,
            Cipher::Aes256Gcm => &self.aes,
        }
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SessionKey").finish_non_exhaustive()
    }
}

impl SealedSession {
    /// Opens the session's key.
    pub fn open(&self, key: &ReadingKey) -> Result<SessionKey, CryptoError> {
        let encapped = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&self.encapped)
            .map_err(|_| CryptoError::SealedSession)?;
        let opened = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &key.private(),
            &encapped,
            context::SESSION,
            &self.sealed,
            &bound(key.domain(), &self.id, &self.label),
        )
        .map(Zeroizing::new)
        .map_err(|_| CryptoError::SealedSession)?;
        let opened: &[u8; 32] = opened
            .as_slice()
            .try_into()
            .map_err(|_| CryptoError::SealedSession)?;
        Ok(SessionKey::new(self.id, key.domain(), opened))
    }

    /// Appends the record's bytes: id, encapsulated key, sealed key, label's length, label.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.id);
        bytes.extend_from_slice(&self.encapped);
        bytes.extend_from_slice(&self.sealed);
        bytes.push(self.label.len() as u8);
        bytes.extend_from_slice(self.label.as_bytes());
    }

    /// Reads one record and returns what follows it.
    pub fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (id, rest) = bytes.split_first_chunk::<ID_BYTES>()?;
        let (encapped, rest) = rest.split_first_chunk::<32>()?;
        let (sealed, rest) = rest.split_first_chunk::<SEALED_BYTES>()?;
        let (len, rest) = rest.split_first()?;
        if usize::from(*len) > LABEL_BYTES_MAX {
            return None;
        }
        let (label, rest) = rest.split_at_checked(usize::from(*len))?;
        let label = std::str::from_utf8(label).ok()?;
        check_label(label).ok()?;
        let record = Self {
            id: *id,
            label: label.to_owned(),
            encapped: *encapped,
            sealed: *sealed,
        };
        Some((record, rest))
    }
}

fn bound(domain: DomainId, id: &[u8; ID_BYTES], label: &str) -> Vec<u8> {
    [&domain.0, id.as_slice(), label.as_bytes()].concat()
}

/// Stretches random bytes that were taken up front, since the key exchange cannot report that
/// the system has none.
struct Stream(blake3::OutputReader);

impl Stream {
    fn new(env: &Env) -> Result<Self, CryptoError> {
        let seed = Zeroizing::new(env.random::<32>().map_err(CryptoError::Entropy)?);
        let mut hasher = blake3::Hasher::new_derive_key("bkpctl key exchange randomness");
        hasher.update(&*seed);
        Ok(Self(hasher.finalize_xof()))
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill(&mut bytes);
        bytes
    }
}

impl TryRng for Stream {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(u32::from_le_bytes(self.take()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(u64::from_le_bytes(self.take()))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl TryCryptoRng for Stream {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::env::fixed;

    fn sealed() -> (ReadingKey, SessionKey, SealedSession) {
        let key = ReadingKey::from_seed(&[1; 32]);
        let writer = key.writer("web").expect("a good label");
        let (session, sealed) =
            SessionKey::generate(&fixed::env(0), &writer).expect("a session key");
        (key, session, sealed)
    }

    #[test]
    fn the_reading_key_alone_opens_a_session() {
        let (key, session, sealed) = sealed();
        let mut bytes = b"plain".to_vec();
        for cipher in [Cipher::ChaCha20Poly1305, Cipher::Aes256Gcm] {
            let counter = session.next_counter();
            session
                .seal(cipher, counter, b"header", &mut bytes)
                .expect("sealing works");
            assert_ne!(bytes, b"plain");
            let opened = sealed.open(&key).expect("the right key");
            opened
                .open(cipher, counter, b"header", &mut bytes)
                .expect("the same bytes");
            assert_eq!(bytes, b"plain");
        }
        assert!(sealed.open(&ReadingKey::from_seed(&[2; 32])).is_err());
        let renamed = SealedSession {
            label: "other".to_owned(),
            ..sealed
        };
        assert!(renamed.open(&key).is_err(), "the label is bound");
    }

    #[test]
    fn every_change_of_a_ciphertext_is_seen() {
        let (_, session, _) = sealed();
        let mut bytes = b"plain".to_vec();
        let cipher = Cipher::Aes256Gcm;
        session
            .seal(cipher, 3, b"header", &mut bytes)
            .expect("sealing works");
        let opens = |counter, header: &[u8], bytes: &[u8]| {
            session
                .open(cipher, counter, header, &mut bytes.to_vec())
                .is_ok()
        };
        assert!(opens(3, b"header", &bytes));
        assert!(!opens(4, b"header", &bytes));
        assert!(!opens(3, b"Header", &bytes));
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 1;
            assert!(!opens(3, b"header", &changed), "{index}");
        }
        assert!(!opens(3, b"header", &[]));
    }

    #[test]
    fn a_sealed_session_survives_its_encoding() {
        let (_, _, sealed) = sealed();
        let mut bytes = Vec::new();
        sealed.encode(&mut bytes);
        bytes.push(9);
        assert_eq!(SealedSession::decode(&bytes), Some((sealed, &[9][..])));
        for len in 0..bytes.len() - 1 {
            assert_eq!(SealedSession::decode(&bytes[..len]), None);
        }
    }
}
