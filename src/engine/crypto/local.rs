//! Keys for what a writer keeps on its own machine and nobody else is to read.

use ring::aead::LessSafeKey;
use zeroize::Zeroizing;

use super::aead::{self, Cipher};
use super::{CryptoError, WriterKey};

const CONTEXT_NAME: &str = "bkpctl local file 1 name";
const CONTEXT_KEY: &str = "bkpctl local file 1 key";

/// How many random bytes tell the keys of two files apart.
pub const LOCAL_SALT_BYTES: usize = 16;

/// Seals the records of one file on this machine, each with a counter of its own.
pub struct LocalKey {
    key: LessSafeKey,
}

impl LocalKey {
    /// Derives the key of the file with this salt, for what `scope` names.
    ///
    /// No salt may come twice: the counters of every file begin at zero.
    pub fn new(
        writer: &WriterKey,
        cipher: Cipher,
        scope: &[&[u8]],
        salt: &[u8; LOCAL_SALT_BYTES],
    ) -> Self {
        let parts: Vec<&[u8]> = [salt.as_slice()].iter().chain(scope).copied().collect();
        let key: Zeroizing<[u8; 32]> = writer.derive_local(CONTEXT_KEY, &parts);
        Self {
            key: cipher.key(&key),
        }
    }

    /// Encrypts a record in place; no counter may come twice.
    pub fn seal(&self, counter: u64, record: &mut Vec<u8>) -> Result<(), CryptoError> {
        aead::seal(&self.key, counter, &[], record)
    }

    /// Decrypts a record in place, if it is the one that was sealed with this counter.
    pub fn open(&self, counter: u64, record: &mut Vec<u8>) -> Result<(), CryptoError> {
        aead::open(&self.key, counter, &[], record)
    }
}

impl std::fmt::Debug for LocalKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("LocalKey")
    }
}

/// Returns the name of a file for what `scope` names, which tells nothing without the key.
pub fn local_name(writer: &WriterKey, scope: &[&[u8]]) -> [u8; 16] {
    let name = writer.derive_local(CONTEXT_NAME, scope);
    *name.first_chunk().expect("32 bytes are more than 16")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::crypto::ReadingKey;

    #[test]
    fn a_record_opens_with_its_key_scope_salt_and_counter_alone() {
        let writer = |seed, label| {
            let key = ReadingKey::from_seed(&[seed; 32]);
            key.writer(label).expect("a good label")
        };
        let key = |writer: &WriterKey, scope: &[&[u8]], salt| {
            LocalKey::new(writer, Cipher::ChaCha20Poly1305, scope, &[salt; 16])
        };
        let web = writer(1, "web");
        let mut sealed = b"record".to_vec();
        key(&web, &[b"a", b"b"], 0)
            .seal(7, &mut sealed)
            .expect("it runs");
        let opens = |key: &LocalKey, counter| key.open(counter, &mut sealed.clone()).is_ok();
        assert!(opens(&key(&web, &[b"a", b"b"], 0), 7));
        assert!(!opens(&key(&web, &[b"a", b"b"], 0), 8));
        assert!(!opens(&key(&web, &[b"a", b"b"], 1), 7));
        // The parts of a scope are not merely joined.
        assert!(!opens(&key(&web, &[b"ab", b""], 0), 7));
        assert!(!opens(&key(&writer(1, "db"), &[b"a", b"b"], 0), 7));
        assert!(!opens(&key(&writer(2, "web"), &[b"a", b"b"], 0), 7));
        assert_ne!(local_name(&web, &[b"a"]), local_name(&web, &[b"b"]));
        assert_ne!(
            local_name(&web, &[b"a"]),
            local_name(&writer(2, "web"), &[b"a"])
        );
    }
}
