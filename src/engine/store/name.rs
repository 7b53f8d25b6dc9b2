//! Names of files in a store: a known folder and checked parts, never a free path.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::StoreError;
use crate::engine::hex;

/// The longest part of a name, in bytes.
pub const PART_BYTES_MAX: usize = 128;

/// Names a folder of the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Folder {
    /// The repository's root, which holds the marker alone.
    Root,
    /// Key slots.
    Keys,
    /// Data packs.
    Packs,
    /// Packs of trees and refs.
    Meta,
    /// Index segments.
    Index,
    /// Manifests.
    Snapshots,
    /// When each snapshot was received.
    Receipts,
    /// Lists of condemned packs.
    Gc,
    /// Ledgers of verification.
    Verify,
    /// Proofs of drills.
    Proofs,
    /// What is needed to start again from nothing.
    Recovery,
    /// What a repair set aside.
    Damaged,
}

impl Folder {
    /// Every folder.
    pub const ALL: [Self; 12] = [
        Self::Root,
        Self::Keys,
        Self::Packs,
        Self::Meta,
        Self::Index,
        Self::Snapshots,
        Self::Receipts,
        Self::Gc,
        Self::Verify,
        Self::Proofs,
        Self::Recovery,
        Self::Damaged,
    ];

    /// Returns the folder's name on disk; empty for the root.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "",
            Self::Keys => "keys",
            Self::Packs => "packs",
            Self::Meta => "meta",
            Self::Index => "index",
            Self::Snapshots => "snapshots",
            Self::Receipts => "receipts",
            Self::Gc => "gc",
            Self::Verify => "verify",
            Self::Proofs => "proofs",
            Self::Recovery => "recovery",
            Self::Damaged => "damaged",
        }
    }

    /// Returns how many folders lie between this one and its files.
    pub fn depth(self) -> usize {
        match self {
            Self::Packs
            | Self::Meta
            | Self::Snapshots
            | Self::Receipts
            | Self::Proofs
            | Self::Damaged => 1,
            _ => 0,
        }
    }

    /// Tells whether files here are named by the hash of their bytes.
    pub fn is_content_named(self) -> bool {
        matches!(self, Self::Packs | Self::Meta | Self::Index)
    }
}

/// Names one file of the repository: checked once, safe to join to a path.
///
/// A name is a [`Folder`] and one or two parts of letters, digits, `.`, `_` and `-`, where no
/// part starts with a dot. Content-named folders take a BLAKE3 hash in hexadecimal; packs lie
/// in a folder of their first two digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StoreName {
    text: String,
    folder: Folder,
}

impl StoreName {
    /// Reads a name such as `packs/ab/ab12…`.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        Self::check(text).ok_or_else(|| StoreError::BadName {
            name: text.chars().take(200).collect(),
        })
    }

    fn check(text: &str) -> Option<Self> {
        if text == "bkpctl.json" {
            return Some(Self::marker());
        }
        let (first, rest) = text.split_once('/')?;
        let folder = *Folder::ALL
            .iter()
            .find(|folder| !folder.as_str().is_empty() && folder.as_str() == first)?;
        let parts: Vec<&str> = rest.split('/').collect();
        let fits = parts.len() == folder.depth() + 1 && parts.iter().all(|part| is_part(part));
        let last = parts.last()?;
        let hashed = !folder.is_content_named() || hex::decode::<32>(last).is_some();
        let fanned = !matches!(folder, Folder::Packs | Folder::Meta)
            || (parts[0].len() == 2 && last.starts_with(parts[0]));
        (fits && hashed && fanned).then(|| Self {
            text: text.to_owned(),
            folder,
        })
    }

    /// Returns the name of the repository's marker.
    pub fn marker() -> Self {
        Self {
            text: "bkpctl.json".to_owned(),
            folder: Folder::Root,
        }
    }

    /// Returns the name of the data pack with this hash.
    pub fn pack(hash: &[u8; 32]) -> Self {
        Self::fanned(Folder::Packs, hash)
    }

    /// Returns the name of the metadata pack with this hash.
    pub fn meta(hash: &[u8; 32]) -> Self {
        Self::fanned(Folder::Meta, hash)
    }

    /// Returns the name of the index segment with this hash.
    pub fn index(hash: &[u8; 32]) -> Self {
        Self {
            text: format!("index/{}", hex::encode(hash)),
            folder: Folder::Index,
        }
    }

    /// Returns the name of a file for recovery: what it is, the hash of its bytes, an ending.
    pub(in crate::engine) fn recovery(what: &str, ending: &str, bytes: &[u8]) -> Self {
        let hash = blake3::hash(bytes).to_hex();
        Self {
            text: format!("recovery/{what}-{hash}.{ending}"),
            folder: Folder::Recovery,
        }
    }

    fn fanned(folder: Folder, hash: &[u8; 32]) -> Self {
        let hash = hex::encode(hash);
        Self {
            text: format!("{}/{}/{hash}", folder.as_str(), &hash[..2]),
            folder,
        }
    }

    /// Returns the name of a file in `folder` below the given parts.
    pub fn within(folder: Folder, parts: &[&str]) -> Result<Self, StoreError> {
        Self::parse(&format!("{}/{}", folder.as_str(), parts.join("/")))
    }

    /// Returns the name that a damaged file gets; `taken` names were taken before it.
    ///
    /// A file that is set aside again, after it was stored anew, gets a number behind its name.
    #[must_use]
    pub fn aside(&self, taken: u32) -> Self {
        let mut parts = self.parts().collect::<Vec<_>>();
        if parts.len() < 2 {
            parts.insert(0, self.folder.as_str());
        }
        // A part that is as long as a name may be has no room for the number.
        let file = &parts[1][..parts[1].len().min(PART_BYTES_MAX - 11)];
        let mut text = format!("damaged/{}/{file}", parts[0]);
        if taken > 0 {
            text = format!("{text}.{taken}");
        }
        Self {
            text,
            folder: Folder::Damaged,
        }
    }

    /// Returns the folder.
    pub fn folder(&self) -> Folder {
        self.folder
    }

    /// Returns the whole name.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the parts below the folder.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        let skip = usize::from(self.folder != Folder::Root);
        self.text.split('/').skip(skip)
    }

    /// Returns the last part.
    pub fn file_name(&self) -> &str {
        self.text.rsplit('/').next().unwrap_or(&self.text)
    }

    /// Returns the hash that the file's bytes must have, for names that hold one.
    pub fn content_hash(&self) -> Option<[u8; 32]> {
        if self.folder.is_content_named() {
            return hex::decode(self.file_name());
        }
        if self.folder != Folder::Recovery {
            return None;
        }
        let (_, rest) = self.file_name().split_once('-')?;
        hex::decode(rest.split('.').next()?)
    }

    /// Checks that `bytes` may be stored under this name.
    pub fn check_bytes(&self, bytes: &[u8]) -> Result<(), StoreError> {
        match self.content_hash() {
            Some(hash) if *blake3::hash(bytes).as_bytes() != hash => Err(StoreError::WrongHash {
                name: self.text.clone(),
            }),
            _ => Ok(()),
        }
    }
}

fn is_part(part: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !part.is_empty()
        && part.len() <= PART_BYTES_MAX
        && !part.starts_with('.')
        && part.bytes().all(plain)
}

impl fmt::Display for StoreName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl FromStr for StoreName {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for StoreName {
    type Error = StoreError;

    fn try_from(text: String) -> Result<Self, StoreError> {
        Self::parse(&text)
    }
}

impl From<StoreName> for String {
    fn from(name: StoreName) -> Self {
        name.text
    }
}

/// Names one session of a writer or reader: 16 random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SessionId([u8; 16]);

impl SessionId {
    /// Makes the id of these bytes.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&hex::encode(&self.0))
    }
}

impl TryFrom<String> for SessionId {
    type Error = StoreError;

    fn try_from(text: String) -> Result<Self, StoreError> {
        match hex::decode(&text) {
            Some(bytes) => Ok(Self(bytes)),
            None => Err(StoreError::BadName { name: text }),
        }
    }
}

impl From<SessionId> for String {
    fn from(id: SessionId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_folders_and_plain_parts() {
        let hash = hex::encode(&[0xab; 32]);
        let good = [
            "bkpctl.json".to_owned(),
            format!("packs/ab/{hash}"),
            format!("meta/ab/{hash}"),
            format!("index/{hash}"),
            "keys/passphrase-12".to_owned(),
            "snapshots/pve1/20261123T051400.123Z-0a1b2c3d".to_owned(),
            "receipts/00/000000000001".to_owned(),
        ];
        for text in good {
            let name = StoreName::parse(&text).expect("a good name");
            assert_eq!(name.as_str(), text);
        }
        let long = format!("keys/{}", "a".repeat(PART_BYTES_MAX + 1));
        let bad = [
            "",
            "keys",
            "keys/",
            "/keys/a",
            "keys/../a",
            "keys/.a",
            "keys/a/b",
            "keys/a b",
            "keys/ü",
            "other/a",
            "managed.json",
            "sessions/a",
            "packs/ab/12",
            "index/zz",
            "snapshots/a",
            &format!("packs/ac/{hash}"),
            &format!("packs/{hash}"),
            &long,
        ];
        for text in bad {
            assert!(StoreName::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_set_aside_keeps_its_name_below_another_folder() {
        let pack = StoreName::pack(&[0xab; 32]);
        let hash = hex::encode(&[0xab; 32]);
        let long = format!("keys/{}", "a".repeat(PART_BYTES_MAX));
        let cases = [
            (pack.as_str(), 0, format!("damaged/ab/{hash}")),
            (pack.as_str(), 2, format!("damaged/ab/{hash}.2")),
            ("snapshots/web/a", 0, "damaged/web/a".to_owned()),
            ("keys/a", 1, "damaged/keys/a.1".to_owned()),
            (
                &*long,
                u32::MAX,
                format!("damaged/keys/{}.{}", "a".repeat(117), u32::MAX),
            ),
        ];
        for (text, taken, aside) in cases {
            let name = StoreName::parse(text).expect("a good name").aside(taken);
            assert_eq!(name.as_str(), aside);
            assert_eq!(StoreName::parse(&aside), Ok(name));
        }
    }

    #[test]
    fn content_names_accept_their_bytes_alone() {
        let name = StoreName::pack(blake3::hash(b"bytes").as_bytes());
        assert_eq!(name.check_bytes(b"bytes"), Ok(()));
        assert!(matches!(
            name.check_bytes(b"other"),
            Err(StoreError::WrongHash { .. })
        ));
        assert_eq!(StoreName::marker().check_bytes(b"any"), Ok(()));
        let name = StoreName::recovery("format", "md", b"bytes");
        assert_eq!(StoreName::parse(name.as_str()), Ok(name.clone()));
        assert_eq!(name.check_bytes(b"bytes"), Ok(()));
        assert!(name.check_bytes(b"other").is_err());
        let other = StoreName::parse("recovery/topology.sealed").expect("a good name");
        assert_eq!(other.content_hash(), None);
    }
}
