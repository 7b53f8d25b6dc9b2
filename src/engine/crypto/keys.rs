//! The reading key of a domain and the writer keys derived from it.

use std::fmt;

use hpke::kem::X25519HkdfSha256;
use hpke::{Kem, Serializable};
use zeroize::{Zeroize, Zeroizing};

use super::CryptoError;
use crate::engine::env::Env;
use crate::engine::format::{WRITER_KEY_MAGIC, context};
use crate::engine::hex;

/// The longest label of a writer, in bytes.
pub(super) const LABEL_BYTES_MAX: usize = 64;

/// Names a key domain: all repositories that one reading key opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DomainId(pub [u8; 32]);

impl fmt::Display for DomainId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&hex::encode(&self.0))
    }
}

/// Opens everything of its key domain.
///
/// It is one seed of 32 bytes; the recipient's key pair and the root of all writer keys follow
/// from it, so that a printed code of moderate length is the whole key.
#[derive(Clone)]
pub struct ReadingKey {
    seed: Zeroizing<[u8; 32]>,
    root: Zeroizing<[u8; 32]>,
    public: [u8; 32],
    domain: DomainId,
}

impl ReadingKey {
    /// Makes a new key.
    pub fn generate(env: &Env) -> Result<Self, CryptoError> {
        let seed = Zeroizing::new(env.random().map_err(CryptoError::Entropy)?);
        Ok(Self::from_seed(&seed))
    }

    /// Returns the key of a seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let root = Zeroizing::new(blake3::derive_key(context::ROOT, seed));
        let (_, public) = key_pair(seed);
        let public: [u8; 32] = public.to_bytes().into();
        let mut hasher = blake3::Hasher::new_derive_key(context::DOMAIN);
        hasher.update(&public);
        hasher.update(&blake3::derive_key(context::ROOT_CHECK, &*root));
        Self {
            seed: Zeroizing::new(*seed),
            root,
            public,
            domain: DomainId(*hasher.finalize().as_bytes()),
        }
    }

    /// Returns the seed, from which the whole key follows: as secret as the key.
    pub fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// Returns the id of the key domain, which is no secret.
    pub fn domain(&self) -> DomainId {
        self.domain
    }

    /// Returns the recipient's public key.
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    pub(super) fn private(&self) -> <X25519HkdfSha256 as Kem>::PrivateKey {
        key_pair(&self.seed).0
    }

    /// Derives the key with which one source writes.
    ///
    /// Sources that share a label share chunks, and trust each other not to poison them.
    pub fn writer(&self, label: &str) -> Result<WriterKey, CryptoError> {
        check_label(label)?;
        Ok(WriterKey {
            domain: self.domain,
            recipient: self.public,
            label: label.to_owned(),
            id_key: self.derive(context::ID, label),
            mac_key: self.derive(context::MAC, label),
        })
    }

    /// Returns the code that proves that a holder of this key wrote `bytes`.
    pub fn mac_proof(&self, bytes: &[u8]) -> [u8; 32] {
        let key = self.derive(context::PROOF, "");
        *blake3::keyed_hash(&key, bytes).as_bytes()
    }

    fn derive(&self, context: &str, label: &str) -> Zeroizing<[u8; 32]> {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(&*self.root);
        hasher.update(label.as_bytes());
        let key = Zeroizing::new(*hasher.finalize().as_bytes());
        hasher.zeroize();
        key
    }
}

fn key_pair(
    seed: &[u8; 32],
) -> (
    <X25519HkdfSha256 as Kem>::PrivateKey,
    <X25519HkdfSha256 as Kem>::PublicKey,
) {
    let material = Zeroizing::new(blake3::derive_key(context::PRIVATE, seed));
    X25519HkdfSha256::derive_keypair(&*material)
}

impl fmt::Debug for ReadingKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ReadingKey")
            .field("domain", &self.domain.to_string())
            .finish_non_exhaustive()
    }
}

/// Lets one source write: names chunks, signs manifests, seals to the recipient.
#[derive(Clone)]
pub struct WriterKey {
    domain: DomainId,
    recipient: [u8; 32],
    label: String,
    id_key: Zeroizing<[u8; 32]>,
    mac_key: Zeroizing<[u8; 32]>,
}

impl WriterKey {
    /// Returns the id of the key domain.
    pub fn domain(&self) -> DomainId {
        self.domain
    }

    /// Returns the public key that session keys are sealed to.
    pub fn recipient(&self) -> &[u8; 32] {
        &self.recipient
    }

    /// Returns the label that the key was derived for.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Returns the name of a piece of plain data: the keyed hash of its kind and bytes.
    pub fn id(&self, kind: u8, plain: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.id_key);
        hasher.update(plain);
        hasher.update(&[kind]);
        *hasher.finalize().as_bytes()
    }

    /// Returns the code that authenticates the clear part of a manifest.
    pub fn mac(&self, bytes: &[u8]) -> [u8; 32] {
        *blake3::keyed_hash(&self.mac_key, bytes).as_bytes()
    }

    /// Derives a key for files that stay on the writer's machine.
    pub(super) fn derive_local(&self, context: &str, parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(&*self.id_key);
        hasher.update(&*self.mac_key);
        for part in [self.domain.0.as_slice(), self.label.as_bytes()]
            .iter()
            .chain(parts)
        {
            // Lengths keep neighbouring parts apart.
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let key = Zeroizing::new(*hasher.finalize().as_bytes());
        hasher.zeroize();
        key
    }

    /// Returns the key's bytes, for sending it to the machine that writes.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(8 + 4 * 32 + LABEL_BYTES_MAX));
        bytes.extend_from_slice(WRITER_KEY_MAGIC);
        for part in [
            &self.domain.0,
            &self.recipient,
            &*self.id_key,
            &*self.mac_key,
        ] {
            bytes.extend_from_slice(part);
        }
        bytes.extend_from_slice(self.label.as_bytes());
        bytes
    }

    /// Reads what [`WriterKey::encode`] returned.
    pub fn decode(bytes: &[u8]) -> Result<Self, CryptoError> {
        let rest = bytes.strip_prefix(WRITER_KEY_MAGIC);
        let rest = rest.ok_or(CryptoError::WriterKey)?;
        let (parts, label) = rest
            .split_at_checked(4 * 32)
            .ok_or(CryptoError::WriterKey)?;
        let part = |index: usize| {
            let mut part = [0; 32];
            part.copy_from_slice(&parts[index * 32..][..32]);
            part
        };
        let label = std::str::from_utf8(label).map_err(|_| CryptoError::WriterKey)?;
        check_label(label)?;
        Ok(Self {
            domain: DomainId(part(0)),
            recipient: part(1),
            label: label.to_owned(),
            id_key: Zeroizing::new(part(2)),
            mac_key: Zeroizing::new(part(3)),
        })
    }
}

impl fmt::Debug for WriterKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("WriterKey")
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

/// Checks the label of a writer: 1 to 64 letters, digits, `.`, `_`, `-`, not starting with a dot.
pub fn check_label(label: &str) -> Result<(), CryptoError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let good = !label.is_empty()
        && label.len() <= LABEL_BYTES_MAX
        && !label.starts_with('.')
        && label.bytes().all(plain);
    if good {
        Ok(())
    } else {
        Err(CryptoError::Label(label.chars().take(80).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_key_survives_its_encoding() {
        let writer = ReadingKey::from_seed(&[7; 32]).writer("pve1").expect("ok");
        let again = WriterKey::decode(&writer.encode()).expect("its own bytes");
        assert_eq!(again.id(1, b"x"), writer.id(1, b"x"));
        assert_eq!(again.mac(b"x"), writer.mac(b"x"));
        assert_eq!((again.label(), again.domain()), ("pve1", writer.domain()));
        let bytes = writer.encode();
        for len in 0..=bytes.len() - "pve1".len() {
            assert!(WriterKey::decode(&bytes[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn labels_kinds_and_seeds_tell_keys_apart() {
        let key = ReadingKey::from_seed(&[7; 32]);
        let (one, two) = (key.writer("a").expect("ok"), key.writer("b").expect("ok"));
        assert_ne!(one.id(1, b"x"), two.id(1, b"x"));
        assert_ne!(one.id(1, b"x"), one.id(2, b"x"));
        assert_ne!(one.mac(b"x"), two.mac(b"x"));
        assert_ne!(ReadingKey::from_seed(&[8; 32]).domain(), key.domain());
        for label in ["", ".a", "a/b", "ü", &"a".repeat(65)] {
            assert!(key.writer(label).is_err(), "{label}");
        }
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let key = ReadingKey::from_seed(&[7; 32]);
        let text = format!("{key:?} {:?}", key.writer("a").expect("ok"));
        assert!(!text.contains("7, 7") && !text.contains("0707"), "{text}");
    }

    #[test]
    fn derived_values_are_part_of_the_format() {
        let key = ReadingKey::from_seed(&[7; 32]);
        let writer = key.writer("pve1").expect("a good label");
        let values = [
            hex::encode(key.public()),
            key.domain().to_string(),
            hex::encode(&writer.id(1, b"bkpctl")),
            hex::encode(&writer.mac(b"bkpctl")),
            hex::encode(&key.mac_proof(b"bkpctl")),
        ];
        assert_eq!(
            values,
            [
                "d59d553d004b46f058e1faa246b486e78d2133538dd2bb896c5b90b18ff28a6a",
                "755cc2dec137f202bb9301523312f4b707558f81247003bc0c9a422a48536556",
                "07554d3e4e120fdadf8c01a68a46a5034361df4ba30bca75a6805a66bca48781",
                "476d537a8d88bfb7bf2bc70bb9929609ae39a27326f5407a7b339252cea16597",
                "044d3ff9622f0a1fd748ee173d0eb7fc7d29a840b12fd1da6fc32afce942cc01"
            ]
        );
    }
}
