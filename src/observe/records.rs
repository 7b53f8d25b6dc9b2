//! Reads an answer: a run of records, each with a key and a length before its bytes.
//!
//! The length makes the framing proof against whatever a file or a name holds.

/// The most records that are read; no honest node sends more.
const RECORDS_MAX: usize = 200_000;

/// Is a read answer.
#[derive(Debug, Default)]
pub(super) struct Records<'a> {
    list: Vec<(&'a str, &'a [u8])>,
}

/// Says where an answer stopped making sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the answer makes no sense from byte {0} on")]
pub(super) struct Malformed(pub(super) usize);

impl<'a> Records<'a> {
    /// Reads `key length`, a line break, that many bytes and a line break, over and over.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut list = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let (key, value, next) = Self::one(bytes, at).ok_or(Malformed(at))?;
            if list.len() == RECORDS_MAX {
                return Err(Malformed(at));
            }
            list.push((key, value));
            at = next;
        }
        Ok(Self { list })
    }

    fn one(bytes: &'a [u8], at: usize) -> Option<(&'a str, &'a [u8], usize)> {
        let rest = &bytes[at..];
        let line_end = rest.iter().take(256).position(|byte| *byte == b'\n')?;
        let (key, length) = std::str::from_utf8(&rest[..line_end])
            .ok()?
            .split_once(' ')?;
        let start = line_end + 1;
        let end = start.checked_add(length.parse().ok()?)?;
        let value = rest.get(start..end)?;
        (rest.get(end) == Some(&b'\n')).then_some((key, value, at + end + 1))
    }

    /// Returns the first value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&'a [u8]> {
        self.list
            .iter()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| *value)
    }

    /// Returns the first value of a key as text without surrounding blanks.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.get(key).map(text)
    }

    /// Returns the first value of a key as a number.
    pub(super) fn number<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        self.text(key)?.parse().ok()
    }

    /// Returns all records whose key is `prefix` and a dot and more, with the rest of the key.
    pub(super) fn below<'s>(
        &'s self,
        prefix: &'s str,
    ) -> impl Iterator<Item = (&'a str, &'a [u8])> + 's {
        self.list.iter().filter_map(move |(key, value)| {
            let rest = key.strip_prefix(prefix)?.strip_prefix('.')?;
            Some((rest, *value))
        })
    }
}

/// The longest text that is kept of one fact.
const TEXT_MAX: usize = 4096;

/// Makes text of a node's bytes: bounded, broken UTF-8 replaced, blanks around it cut.
pub(super) fn text(bytes: &[u8]) -> String {
    let bytes = &bytes[..bytes.len().min(TEXT_MAX)];
    String::from_utf8_lossy(bytes).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_may_hold_anything() {
        let records =
            Records::read(b"a 3\nx\ny\nb.1 0\n\nb.2 5\n\xff 1\nq\n").expect("well-formed");
        assert_eq!(records.get("a"), Some(&b"x\ny"[..]));
        let below: Vec<_> = records.below("b").collect();
        assert_eq!(below, [("1", &b""[..]), ("2", &b"\xff 1\nq"[..])]);
        assert_eq!(records.number::<u32>("a"), None);
        assert_eq!(records.get("c"), None);
    }

    #[test]
    fn an_answer_that_makes_no_sense_is_refused_with_its_place() {
        for (bytes, at) in [
            (&b"a"[..], 0),
            (b"a 3\nxy", 0),
            (b"a 1\nx\nb 99999999999999999999\n", 6),
            (b"a 2\nxyz", 0),
            (b"a -1\nx\n", 0),
            (b"a 18446744073709551615\nx\n", 0),
        ] {
            assert_eq!(
                Records::read(bytes).map(|_| ()),
                Err(Malformed(at)),
                "{bytes:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Records::read(&bytes);
        }
    }
}
