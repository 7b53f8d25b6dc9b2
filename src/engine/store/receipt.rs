//! Receipts: when this place first received a snapshot, by its own clock.
//!
//! Retention trusts them rather than the time a source claims. Each receipt names the hash of
//! the one before it in its chain, so that none can be taken out or moved unnoticed. A copy of
//! a repository keeps the chains it was copied from beside its own.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Folder, StoreError, StoreName};
use crate::engine::format::FORMAT;
use crate::engine::hex;
use crate::engine::line::{self, LineError};

/// Says when a place received a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The format's number.
    pub format: u32,
    /// The place that received it: 16 hexadecimal digits.
    pub chain: String,
    /// The receipt's position in its chain, from 1.
    pub number: u64,
    /// The manifest's name.
    pub snapshot: String,
    /// BLAKE3 of the manifest's bytes, in hexadecimal.
    pub manifest: String,
    /// When it was received, in nanoseconds since 1970 by the receiver's clock.
    pub received: i64,
    /// BLAKE3 of the receipt before this one; zeros for the first.
    pub previous: String,
}

/// Says why bytes are no receipt.
#[derive(Debug, Error)]
#[error("not a receipt")]
pub struct ReceiptError(#[source] LineError);

impl Receipt {
    /// Makes the receipt that follows `previous` in a chain.
    pub fn after(
        previous: Option<(&Self, &[u8])>,
        chain: &str,
        snapshot: &StoreName,
        manifest: &[u8],
        received: i64,
    ) -> Self {
        let (number, hash) = match previous {
            Some((receipt, bytes)) => (receipt.number + 1, *blake3::hash(bytes).as_bytes()),
            None => (1, [0; 32]),
        };
        Self {
            format: FORMAT,
            chain: chain.to_owned(),
            number,
            snapshot: snapshot.to_string(),
            manifest: blake3::hash(manifest).to_hex().to_string(),
            received,
            previous: hex::encode(&hash),
        }
    }

    /// Returns the receipt's bytes: one line of JSON with its check.
    pub fn encode(&self) -> Vec<u8> {
        line::encode(self)
    }

    /// Reads a receipt's bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, ReceiptError> {
        let receipt: Self = line::decode(bytes).map_err(ReceiptError)?;
        if receipt.format == FORMAT {
            Ok(receipt)
        } else {
            let error = serde::de::Error::custom("it is of another format");
            Err(ReceiptError(LineError::Form(error)))
        }
    }

    /// Returns the receipt's name in the store.
    pub fn name(&self) -> Result<StoreName, StoreError> {
        StoreName::within(
            Folder::Receipts,
            &[&self.chain, &format!("{:012}", self.number)],
        )
    }
}

/// Returns the chain that a place with this marker writes: the first half of the repository's id.
pub(super) fn chain_of(marker: Option<&[u8]>) -> String {
    #[derive(Deserialize)]
    struct Marker {
        repository: String,
    }
    let id = marker
        .and_then(|bytes| serde_json::from_slice::<Marker>(bytes).ok())
        .and_then(|marker| hex::decode::<16>(&marker.repository));
    hex::encode(&id.unwrap_or_default()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_form_a_chain_by_hash() {
        let name = StoreName::parse("snapshots/a/b").expect("a good name");
        let first = Receipt::after(None, "0011223344556677", &name, b"m", 5);
        let bytes = first.encode();
        assert_eq!(Receipt::decode(&bytes).expect("a receipt"), first);
        let second = Receipt::after(Some((&first, &bytes)), &first.chain, &name, b"n", 6);
        assert_eq!(second.number, 2);
        assert_eq!(second.previous, blake3::hash(&bytes).to_hex().to_string());
        assert_eq!(
            second.name().expect("a name").as_str(),
            "receipts/0011223344556677/000000000002"
        );
    }

    #[test]
    fn a_place_without_a_marker_has_the_zero_chain() {
        assert_eq!(chain_of(None), "0000000000000000");
        assert_eq!(
            chain_of(Some(b"{\"repository\":\"../x\"}")),
            "0000000000000000"
        );
        assert_eq!(
            chain_of(Some(
                b"{\"repository\":\"00112233aabbccdd0000000000000000\"}"
            )),
            "00112233aabbccdd"
        );
    }
}
