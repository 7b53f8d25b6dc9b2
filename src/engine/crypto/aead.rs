//! Authenticated encryption of blobs with counter nonces.

use ring::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::CryptoError;

/// How many bytes a ciphertext is longer than its plaintext.
pub const TAG_BYTES: usize = 16;

/// Names how a blob is encrypted; the number is in the blob's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Cipher {
    /// ChaCha20-Poly1305, fast on every processor.
    ChaCha20Poly1305 = 1,
    /// AES-256-GCM, faster where the processor has instructions for it.
    Aes256Gcm = 2,
}

impl Cipher {
    /// Returns the cipher of a number in a header.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::ChaCha20Poly1305),
            2 => Some(Self::Aes256Gcm),
            _ => None,
        }
    }

    /// Returns the cipher that is faster on this machine.
    pub fn for_this_machine() -> Self {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("aes")
            && std::arch::is_x86_feature_detected!("pclmulqdq")
        {
            return Self::Aes256Gcm;
        }
        Self::ChaCha20Poly1305
    }

    pub(super) fn key(self, key: &[u8; 32]) -> LessSafeKey {
        let algorithm = match self {
            Self::ChaCha20Poly1305 => &CHACHA20_POLY1305,
            Self::Aes256Gcm => &AES_256_GCM,
        };
        LessSafeKey::new(UnboundKey::new(algorithm, key).expect("both ciphers take 32 bytes"))
    }
}

/// Returns the nonce of a counter: four zero bytes, then the counter in little endian.
fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// Encrypts in place and appends the tag. No counter may come twice for one key.
pub(super) fn seal(
    key: &LessSafeKey,
    counter: u64,
    bound: &[u8],
    bytes: &mut Vec<u8>,
) -> Result<(), CryptoError> {
    key.seal_in_place_append_tag(nonce(counter), Aad::from(bound), bytes)
        .map_err(|_| CryptoError::Changed)
}

/// Decrypts in place and cuts the tag off.
pub(super) fn open(
    key: &LessSafeKey,
    counter: u64,
    bound: &[u8],
    bytes: &mut Vec<u8>,
) -> Result<(), CryptoError> {
    let plain = key
        .open_in_place(nonce(counter), Aad::from(bound), bytes)
        .map_err(|_| CryptoError::Changed)?
        .len();
    bytes.truncate(plain);
    Ok(())
}
