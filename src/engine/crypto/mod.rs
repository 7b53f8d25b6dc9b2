//! Keys: who may read, who may write, and how a session's key is sealed.
//!
//! A [`ReadingKey`] opens everything of its key domain. A [`WriterKey`] is derived from it for
//! one source: it names chunks, signs manifests and seals new data, but opens nothing. Keys
//! are wiped from memory when they are dropped and never printed by `Debug`.

mod aead;
mod armour;
mod keys;
mod local;
mod session;
mod slot;

use thiserror::Error;

pub use self::aead::{Cipher, TAG_BYTES};
pub use self::armour::{KeyFile, RecoveryCode};
pub use self::keys::{DomainId, ReadingKey, WriterKey, check_label};
pub use self::local::{LOCAL_SALT_BYTES, LocalKey, local_name};
pub use self::session::{ID_BYTES, SealedSession, SessionKey};
pub use self::slot::{ArgonCost, PassphraseSlot};

/// Says what went wrong with a key.
#[derive(Debug, Error)]
pub enum CryptoError {
    /// The passphrase opens nothing here.
    #[error("wrong passphrase: it opens no key slot of the repository")]
    WrongPassphrase,
    /// A new passphrase has no letter.
    #[error("an empty passphrase protects nothing")]
    EmptyPassphrase,
    /// The text is no key file.
    #[error("not a key file: {0}")]
    KeyFile(&'static str),
    /// The text is no recovery code.
    #[error("not a recovery code: {0}")]
    RecoveryCode(&'static str),
    /// The key slot's file makes no sense.
    #[error("key slot is damaged: {0}")]
    Slot(String),
    /// The slot asks for more time or memory than is allowed.
    #[error("key slot asks for {memory_kib} KiB and {passes} passes, outside the allowed range")]
    Cost {
        /// The memory in KiB.
        memory_kib: u32,
        /// The passes over it.
        passes: u32,
    },
    /// A writer's label is empty, too long or has odd characters.
    #[error("`{0}` is no label of a writer")]
    Label(String),
    /// The bytes of a writer's key make no sense.
    #[error("not a writer key")]
    WriterKey,
    /// The session's key is not sealed to this reading key, or was changed.
    #[error("session key cannot be opened: another key domain, or damage")]
    SealedSession,
    /// The ciphertext or what it is bound to was changed.
    #[error("ciphertext was changed")]
    Changed,
    /// The system gave no random bytes.
    #[error("failed to get random bytes")]
    Entropy(#[source] std::io::Error),
    /// The key was derived with more memory than there is, or another limit of the system.
    #[error("failed to derive a key from the passphrase: {0}")]
    Derive(String),
}
