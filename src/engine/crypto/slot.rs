//! A key slot that a passphrase opens.
//!
//! Argon2id turns the passphrase into 64 bytes: a key that wraps the reading key, and a
//! commitment that says whether the passphrase was right before anything is unwrapped.

use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::aead::{self, Cipher};
use super::{CryptoError, DomainId, ReadingKey};
use crate::engine::env::Env;
use crate::engine::format::FORMAT;
use crate::engine::hex;
use crate::engine::line;
use crate::engine::store::{Folder, StoreError, StoreName};

const MEMORY_KIB_MIN: u32 = 19 * 1024;
const MEMORY_KIB_MAX: u32 = 2 * 1024 * 1024;
const PASSES_MAX: u32 = 16;

/// Says how much time and memory a guess of a passphrase costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArgonCost {
    /// The memory in KiB: 19 MiB to 2 GiB.
    pub memory_kib: u32,
    /// The passes over it: 1 to 16.
    pub passes: u32,
}

impl Default for ArgonCost {
    fn default() -> Self {
        Self {
            memory_kib: 256 * 1024,
            passes: 3,
        }
    }
}

impl ArgonCost {
    /// The smallest cost that the format allows, for tests.
    pub const LEAST: Self = Self {
        memory_kib: MEMORY_KIB_MIN,
        passes: 1,
    };

    fn check(self) -> Result<(), CryptoError> {
        let memory = (MEMORY_KIB_MIN..=MEMORY_KIB_MAX).contains(&self.memory_kib);
        if memory && (1..=PASSES_MAX).contains(&self.passes) {
            Ok(())
        } else {
            Err(CryptoError::Cost {
                memory_kib: self.memory_kib,
                passes: self.passes,
            })
        }
    }
}

/// Wraps a reading key under a passphrase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassphraseSlot {
    domain: DomainId,
    cost: ArgonCost,
    salt: [u8; 16],
    commitment: [u8; 32],
    sealed: [u8; 48],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    format: u32,
    kind: String,
    domain: String,
    argon2id: ArgonCost,
    salt: String,
    commitment: String,
    sealed: String,
}

impl PassphraseSlot {
    /// Wraps a key.
    pub fn wrap(
        env: &Env,
        key: &ReadingKey,
        passphrase: &[u8],
        cost: ArgonCost,
    ) -> Result<Self, CryptoError> {
        let salt = env.random().map_err(CryptoError::Entropy)?;
        let derived = derive(passphrase, &salt, cost)?;
        let (wrapping, commitment) = halves(&derived);
        let mut sealed = Zeroizing::new(Vec::with_capacity(48));
        sealed.extend_from_slice(key.seed());
        // The wrapping key is fresh with the salt, so one fixed nonce is used once.
        let cipher = Cipher::ChaCha20Poly1305.key(wrapping);
        aead::seal(&cipher, 0, &key.domain().0, &mut sealed)?;
        Ok(Self {
            domain: key.domain(),
            cost,
            salt,
            commitment: *commitment,
            sealed: sealed
                .as_slice()
                .try_into()
                .expect("32 bytes of seed and 16 of tag are 48"),
        })
    }

    /// Unwraps the key.
    pub fn unwrap_with(&self, passphrase: &[u8]) -> Result<ReadingKey, CryptoError> {
        let derived = derive(passphrase, &self.salt, self.cost)?;
        let (wrapping, commitment) = halves(&derived);
        if !bool::from(commitment.ct_eq(&self.commitment)) {
            return Err(CryptoError::WrongPassphrase);
        }
        let mut seed = Zeroizing::new(self.sealed.to_vec());
        let cipher = Cipher::ChaCha20Poly1305.key(wrapping);
        aead::open(&cipher, 0, &self.domain.0, &mut seed)?;
        let seed: &[u8; 32] = seed
            .as_slice()
            .try_into()
            .map_err(|_| CryptoError::Changed)?;
        let key = ReadingKey::from_seed(seed);
        if key.domain() == self.domain {
            Ok(key)
        } else {
            Err(CryptoError::Slot("it holds a key of another domain".into()))
        }
    }

    /// Returns the key domain that the slot belongs to.
    pub fn domain(&self) -> DomainId {
        self.domain
    }

    /// Returns what a guess of its passphrase costs.
    pub fn cost(&self) -> ArgonCost {
        self.cost
    }

    /// Returns the slot's bytes: one line of JSON with its check.
    pub fn encode(&self) -> Vec<u8> {
        let form = Form {
            format: FORMAT,
            kind: "passphrase".to_owned(),
            domain: self.domain.to_string(),
            argon2id: self.cost,
            salt: hex::encode(&self.salt),
            commitment: hex::encode(&self.commitment),
            sealed: hex::encode(&self.sealed),
        };
        line::encode(&form)
    }

    /// Reads a slot's bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, CryptoError> {
        let form: Form =
            line::decode(bytes).map_err(|error| CryptoError::Slot(error.to_string()))?;
        let field = |name: &str| CryptoError::Slot(format!("`{name}` has a bad value"));
        if form.format != FORMAT || form.kind != "passphrase" {
            return Err(field("kind"));
        }
        form.argon2id.check()?;
        Ok(Self {
            domain: DomainId(hex::decode(&form.domain).ok_or_else(|| field("domain"))?),
            cost: form.argon2id,
            salt: hex::decode(&form.salt).ok_or_else(|| field("salt"))?,
            commitment: hex::decode(&form.commitment).ok_or_else(|| field("commitment"))?,
            sealed: hex::decode(&form.sealed).ok_or_else(|| field("sealed"))?,
        })
    }

    /// Returns the slot's name in a store.
    pub fn name(&self) -> Result<StoreName, StoreError> {
        StoreName::within(
            Folder::Keys,
            &[&format!("passphrase-{}", hex::encode(&self.salt[..8]))],
        )
    }
}

fn derive(
    passphrase: &[u8],
    salt: &[u8; 16],
    cost: ArgonCost,
) -> Result<Zeroizing<[u8; 64]>, CryptoError> {
    cost.check()?;
    let failed = |error: argon2::Error| CryptoError::Derive(error.to_string());
    let params = Params::new(cost.memory_kib, cost.passes, 1, Some(64)).map_err(failed)?;
    let mut derived = Zeroizing::new([0; 64]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase, salt, &mut *derived)
        .map_err(failed)?;
    Ok(derived)
}

fn halves(derived: &[u8; 64]) -> (&[u8; 32], &[u8; 32]) {
    let (first, rest) = derived
        .split_first_chunk::<32>()
        .expect("64 bytes are twice 32");
    let second = rest.first_chunk::<32>().expect("64 bytes are twice 32");
    (first, second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::env::fixed;

    #[test]
    fn the_right_passphrase_opens_a_slot_and_a_wrong_one_says_so() {
        let key = ReadingKey::from_seed(&[3; 32]);
        let slot = PassphraseSlot::wrap(&fixed::env(0), &key, b"correct", ArgonCost::LEAST)
            .expect("a slot");
        let slot = PassphraseSlot::decode(&slot.encode()).expect("its own bytes");
        let opened = slot.unwrap_with(b"correct").expect("the passphrase");
        assert_eq!(opened.seed(), key.seed());
        assert!(matches!(
            slot.unwrap_with(b"Correct"),
            Err(CryptoError::WrongPassphrase)
        ));
        let mut changed = slot.clone();
        changed.sealed[0] ^= 1;
        assert!(matches!(
            changed.unwrap_with(b"correct"),
            Err(CryptoError::Changed)
        ));
    }

    #[test]
    fn a_slot_cannot_ask_for_any_amount_of_memory() {
        let slot = |memory_kib: u64, passes: u64| {
            let text = format!(
                "{{\"format\":{FORMAT},\"kind\":\"passphrase\",\"domain\":\"{}\",\"argon2id\":\
                 {{\"memory_kib\":{memory_kib},\"passes\":{passes}}},\"salt\":\"{}\",\
                 \"commitment\":\"{}\",\"sealed\":\"{}\"}}",
                "00".repeat(32),
                "00".repeat(16),
                "00".repeat(32),
                "00".repeat(48)
            );
            let form: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            PassphraseSlot::decode(&line::encode(&form))
        };
        assert!(slot(262_144, 3).is_ok());
        for (memory_kib, passes) in [(1024, 3), (4_000_000, 3), (262_144, 17), (262_144, 0)] {
            assert!(matches!(
                slot(memory_kib, passes),
                Err(CryptoError::Cost { .. })
            ));
        }
        assert!(slot(1 << 40, 3).is_err());
        assert!(PassphraseSlot::decode(b"{}").is_err());
    }
}
