//! The format's number, and every constant of the bytes that carries it.
//!
//! A repository of another number is another format: all that would have to change with the
//! number stands here. What the bytes mean is in `docs/format.md`.

use super::error::EngineError;

/// The number of the format that this program reads and writes.
pub const FORMAT: u32 = 1;

/// The version in the header of every blob.
pub(super) const BLOB_VERSION: u8 = 1;
/// The first bytes of every pack.
pub(super) const PACK_MAGIC: &[u8; 8] = b"bkppack1";
/// The first bytes of every index segment.
pub(super) const INDEX_MAGIC: &[u8; 8] = b"bkpindx1";
/// The first bytes of a writer's key.
pub(super) const WRITER_KEY_MAGIC: &[u8; 8] = b"bkpwrit1";
/// The first line of a key file.
pub(super) const KEY_FILE_HEADER: &str = "bkpctl-reading-key 1";

/// The texts that tell the uses of a secret apart when keys are derived from it.
pub(super) mod context {
    /// From the seed: the input of the recipient's key pair.
    pub(in crate::engine) const PRIVATE: &str = "bkpctl format 1 recipient private key";
    /// From the seed: the root of all writers' keys.
    pub(in crate::engine) const ROOT: &str = "bkpctl format 1 root secret";
    /// From the root: what the domain's id says of it.
    pub(in crate::engine) const ROOT_CHECK: &str = "bkpctl format 1 root check";
    /// From public key and root check: the domain's id.
    pub(in crate::engine) const DOMAIN: &str = "bkpctl format 1 key domain id";
    /// From the root and a label: the key of ids.
    pub(in crate::engine) const ID: &str = "bkpctl format 1 writer id key";
    /// From the root and a label: the key of manifests' codes.
    pub(in crate::engine) const MAC: &str = "bkpctl format 1 writer mac key";
    /// From the root: the key of proofs' codes.
    pub(in crate::engine) const PROOF: &str = "bkpctl format 1 proof mac key";
    /// From the seed: the check in key files and recovery codes.
    pub(in crate::engine) const KEY_TEXT: &str = "bkpctl format 1 key text check";
    /// The info of the HPKE context that seals a session's key.
    pub(in crate::engine) const SESSION: &[u8] = b"bkpctl format 1 session key";
}

/// Refuses a number that is not this program's, and says which of the two is newer.
pub(super) fn check_number(found: u32) -> Result<(), EngineError> {
    match found.cmp(&FORMAT) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Less => Err(EngineError::PreRelease { found }),
        std::cmp::Ordering::Greater => Err(EngineError::Newer { found }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_constant_carries_the_number() {
        let number = FORMAT.to_string();
        let digit = number.as_bytes()[0];
        for magic in [PACK_MAGIC, INDEX_MAGIC, WRITER_KEY_MAGIC] {
            assert_eq!(magic.last(), Some(&digit));
        }
        assert_eq!(u32::from(BLOB_VERSION), FORMAT);
        assert!(KEY_FILE_HEADER.ends_with(&format!(" {number}")));
        let session = std::str::from_utf8(context::SESSION).expect("text");
        for text in [
            context::PRIVATE,
            context::ROOT,
            context::ROOT_CHECK,
            context::DOMAIN,
            context::ID,
            context::MAC,
            context::PROOF,
            context::KEY_TEXT,
            session,
        ] {
            assert!(
                text.starts_with(&format!("bkpctl format {number} ")),
                "{text}"
            );
        }
    }

    #[test]
    fn a_newer_number_and_an_older_one_get_an_error_each() {
        assert!(check_number(FORMAT).is_ok());
        let newer = check_number(FORMAT + 1)
            .expect_err("it is newer")
            .to_string();
        assert!(newer.contains(&FORMAT.to_string()), "{newer}");
        assert!(newer.contains(&(FORMAT + 1).to_string()), "{newer}");
        assert!(newer.contains("newer bkpctl"), "{newer}");
        let older = check_number(FORMAT - 1)
            .expect_err("it is older")
            .to_string();
        assert!(older.contains("pre-release"), "{older}");
    }
}
