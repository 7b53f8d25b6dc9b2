//! Files that are one line of JSON and carry a check of themselves.
//!
//! The line's last member is `check`: the first half of the BLAKE3 hash, in hexadecimal, of
//! the bytes before its comma. It finds damage without a key; it is no protection against
//! somebody who means harm, who can compute it too.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::hex;

const BEFORE: &[u8] = b",\"check\":\"";
const AFTER: &[u8] = b"\"}\n";
const CHECK_BYTES: usize = 16;
/// How long the end of a line is, from the comma before `check` on.
const END_BYTES: usize = BEFORE.len() + 2 * CHECK_BYTES + AFTER.len();

/// Says why bytes are no such line.
#[derive(Debug, Error)]
pub(super) enum LineError {
    /// It has no check, or one that does not fit.
    #[error("its check does not fit its content")]
    Check,
    /// It is no JSON of the expected members.
    #[error("{0}")]
    Form(#[source] serde_json::Error),
}

/// Returns the bytes of a JSON object with at least one member, closed by its check.
pub(super) fn encode(object: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(object).expect("strings and numbers have a JSON form");
    bytes.pop();
    let check = check(&bytes);
    bytes.extend_from_slice(BEFORE);
    bytes.extend_from_slice(check.as_bytes());
    bytes.extend_from_slice(AFTER);
    bytes
}

/// Reads a line if its check fits; the object is read without the member `check`.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, LineError> {
    let start = bytes.len().checked_sub(END_BYTES).ok_or(LineError::Check)?;
    let (content, end) = bytes.split_at(start);
    let expected = [BEFORE, check(content).as_bytes(), AFTER].concat();
    if end != expected {
        return Err(LineError::Check);
    }
    serde_json::from_slice(&[content, b"}"].concat()).map_err(LineError::Form)
}

fn check(content: &[u8]) -> String {
    hex::encode(&blake3::hash(content).as_bytes()[..CHECK_BYTES])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_change_of_a_line_is_seen() {
        let object = BTreeMap::from([("a", "1"), ("b", "2")]);
        let bytes = encode(&object);
        assert!(bytes.starts_with(b"{\"a\":\"1\",\"b\":\"2\",\"check\":\""));
        let read: BTreeMap<String, String> = decode(&bytes).expect("its own bytes");
        assert_eq!(read.len(), 2);
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 1;
            assert!(
                decode::<BTreeMap<String, String>>(&changed).is_err(),
                "{index}"
            );
            assert!(decode::<BTreeMap<String, String>>(&bytes[..index]).is_err());
        }
        let longer = [bytes.as_slice(), b"\n"].concat();
        assert!(decode::<BTreeMap<String, String>>(&longer).is_err());
    }
}
