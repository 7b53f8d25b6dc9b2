//! Manifests: one file a snapshot, its first line in the clear.
//!
//! Line one is JSON of at most [`CLEAR_BYTES_MAX`] bytes. Line two is the keyed hash of all
//! that is not line two, under the writer's MAC key, in hexadecimal. The rest is a pack with one
//! sealed blob that only a reader opens; it repeats the hash of line one.

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::crypto::{ReadingKey, SealedSession, WriterKey};
use super::error::EngineError;
use super::format;
use super::hex;
use super::pack::PackView;
use super::store::{Folder, StoreError, StoreName};
use super::{compress::Codec, files::Time};

/// The longest clear line, in bytes.
pub const CLEAR_BYTES_MAX: usize = 4096;

/// Is what everybody may know of a snapshot: the manifest's first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clear {
    /// The format's number.
    pub format: u32,
    /// The snapshot's id: 32 hexadecimal digits.
    pub id: String,
    /// The name of what was backed up.
    pub source: String,
    /// The label of the writer's key.
    pub writer: String,
    /// When the backup began, in nanoseconds since 1970, by the writer's clock.
    pub started: i64,
    /// When it ended.
    pub finished: i64,
    /// Whether everything that was asked for is in it.
    pub complete: bool,
    /// How many entries it has.
    pub entries: u64,
    /// How many of them are files.
    pub files: u64,
    /// How many bytes its files have, holes included.
    pub bytes: u64,
    /// How many plain bytes were new to the repository.
    pub new_bytes: u64,
    /// How many bytes of packs were stored for it.
    pub stored_bytes: u64,
    /// The identity of the machine that was backed up.
    pub machine: String,
    /// The root of its references.
    pub refs: String,
    /// How many things are missing from it.
    pub skipped: u64,
    /// How many files changed while they were read; they are in it as they were read.
    pub changed: u64,
}

/// Is what only a reader may know of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// BLAKE3 of the first line, in hexadecimal.
    pub clear: String,
    /// The root of the tree.
    pub tree: String,
    /// The paths that were backed up, as text for people.
    pub paths: Vec<String>,
    /// What was noted on the way, the first of them.
    pub notes: Vec<String>,
    /// How many notes there were.
    pub notes_total: u64,
}

/// Says whether a manifest is known to be its writer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentic {
    /// The code fits.
    Yes,
    /// There was no key to check with.
    Unknown,
    /// The code does not fit: somebody changed it.
    No,
}

/// Is a manifest taken apart.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The clear part.
    pub clear: Clear,
    line: Vec<u8>,
    mac: [u8; 32],
    rest: Vec<u8>,
}

impl Clear {
    /// Returns the first line without its end.
    pub fn encode(&self) -> Result<Vec<u8>, EngineError> {
        let line = serde_json::to_vec(self).expect("strings and numbers have a JSON form");
        if line.len() <= CLEAR_BYTES_MAX {
            Ok(line)
        } else {
            Err(EngineError::TooLarge {
                what: "a manifest's clear part",
                size: line.len() as u64,
            })
        }
    }

    /// Returns the manifest's name in a store.
    pub fn name(&self) -> Result<StoreName, StoreError> {
        let short = self.id.get(..8).unwrap_or(&self.id);
        let time = compact_time(self.started);
        StoreName::within(
            Folder::Snapshots,
            &[&self.source, &format!("{time}-{short}")],
        )
    }

    /// Returns the root of the references.
    pub fn refs_root(&self) -> Option<[u8; 32]> {
        hex::decode(&self.refs)
    }
}

impl Manifest {
    /// Returns a manifest's bytes.
    pub fn encode(line: &[u8], writer: &WriterKey, rest: &[u8]) -> Vec<u8> {
        let mac = hex::encode(&code(writer, line, rest));
        [line, b"\n", mac.as_bytes(), b"\n", rest].concat()
    }

    /// Takes a manifest's bytes apart; `name` is for errors.
    pub fn decode(name: &StoreName, bytes: &[u8]) -> Result<Self, EngineError> {
        let bad = |reason: &str| EngineError::damaged(name, reason);
        let head = &bytes[..bytes.len().min(CLEAR_BYTES_MAX + 1)];
        let end = head.iter().position(|byte| *byte == b'\n');
        let end = end.ok_or_else(|| bad("its first line does not end"))?;
        let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
        let (mac, rest) = rest
            .split_first_chunk::<64>()
            .ok_or_else(|| bad("its second line is cut off"))?;
        let rest = rest
            .strip_prefix(b"\n")
            .ok_or_else(|| bad("its second line does not end"))?;
        let mac = std::str::from_utf8(mac).ok().and_then(hex::decode);
        let clear: Clear = serde_json::from_slice(line).map_err(|error| bad(&error.to_string()))?;
        format::check_number(clear.format)?;
        // A manifest under another's name would be a snapshot of something else.
        if clear.name().ok().as_ref() != Some(name) {
            return Err(bad("its name does not fit its content"));
        }
        Ok(Self {
            mac: mac.ok_or_else(|| bad("its second line is no code"))?,
            line: line.to_vec(),
            rest: rest.to_vec(),
            clear,
        })
    }

    /// Checks the manifest's code with a reading key.
    pub fn authentic(&self, key: Option<&ReadingKey>) -> Authentic {
        let Some(key) = key else {
            return Authentic::Unknown;
        };
        let good = key.writer(&self.clear.writer).is_ok_and(|writer| {
            let code = code(&writer, &self.line, &self.rest);
            bool::from(code.ct_eq(&self.mac))
        });
        if good { Authentic::Yes } else { Authentic::No }
    }

    /// Checks the form and the hash of the sealed part, without a key; returns its session's
    /// record.
    pub fn check(&self, name: &StoreName) -> Result<Vec<SealedSession>, EngineError> {
        let view = PackView::parse(&self.rest)
            .and_then(|view| view.check().map(|()| view))
            .map_err(|error| EngineError::damaged(name, error))?;
        match (&*view.blobs, &*view.sessions) {
            ([(header, ..)], [session]) if header.session == session.id => Ok(view.sessions),
            _ => Err(EngineError::damaged(
                name,
                "its sealed part is not one blob of one session",
            )),
        }
    }

    /// Opens the sealed part and checks that it belongs to the clear one.
    pub fn open(&self, name: &StoreName, key: &ReadingKey) -> Result<Sealed, EngineError> {
        let bad = |reason: &str| EngineError::damaged(name, reason);
        if self.authentic(Some(key)) != Authentic::Yes {
            return Err(bad("it was changed"));
        }
        let view = PackView::parse(&self.rest)
            .and_then(|view| view.check().map(|()| view))
            .map_err(|error| EngineError::damaged(name, error))?;
        let (Some((header, _, payload)), [session]) =
            (view.blobs.first(), view.sessions.as_slice())
        else {
            return Err(bad("its sealed part is not one blob of one session"));
        };
        let writer = key.writer(&self.clear.writer)?;
        let mut codec = codec()?;
        let plain = header.open(payload, Some(&session.open(key)?), &mut codec)?;
        if session.label != writer.label() || writer.id(header.kind as u8, &plain) != header.id {
            return Err(bad("its sealed part has another writer"));
        }
        let sealed: Sealed =
            serde_json::from_slice(&plain).map_err(|error| bad(&error.to_string()))?;
        if sealed.clear == blake3::hash(&self.line).to_hex().as_str() {
            Ok(sealed)
        } else {
            Err(bad("its sealed part belongs to another snapshot"))
        }
    }
}

/// Returns the code of a manifest: over everything but itself.
fn code(writer: &WriterKey, line: &[u8], rest: &[u8]) -> [u8; 32] {
    writer.mac(&[line, b"\n", rest].concat())
}

/// Makes the contexts for compression.
pub(super) fn codec() -> Result<Codec, EngineError> {
    Codec::new().map_err(|source| EngineError::Io {
        doing: "prepare compression",
        source,
    })
}

/// Returns a time as `20261123T051400.123Z`.
pub fn compact_time(ns: i64) -> String {
    let time = Time {
        seconds: ns.div_euclid(1_000_000_000),
        nanos: ns.rem_euclid(1_000_000_000) as u32,
    };
    let days = time.seconds.div_euclid(86_400);
    let second = time.seconds.rem_euclid(86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let millis = time.nanos / 1_000_000;
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}.{millis:03}Z")
}

/// Returns year, month and day of a day since 1970, in the Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    // Counted from 1 March of year 0, so that a leap day is the last of its year.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_compact_and_sort() {
        let cases = [
            (0, "19700101T000000.000Z"),
            (951_782_400_000_000_000, "20000229T000000.000Z"),
            (1_795_410_840_123_456_789, "20261123T051400.123Z"),
            (4_107_542_399_999_000_000, "21000228T235959.999Z"),
            (-1_000_000, "19691231T235959.999Z"),
        ];
        for (ns, text) in cases {
            assert_eq!(compact_time(ns), text);
        }
    }

    fn clear() -> Clear {
        Clear {
            format: format::FORMAT,
            id: "0a1b2c3d".repeat(4),
            source: "web".to_owned(),
            writer: "pve1".to_owned(),
            started: 1,
            finished: 2,
            complete: true,
            entries: 3,
            files: 1,
            bytes: 5,
            new_bytes: 5,
            stored_bytes: 9,
            machine: "m".to_owned(),
            refs: "00".repeat(32),
            skipped: 0,
            changed: 0,
        }
    }

    #[test]
    fn a_changed_first_line_is_seen_with_the_key() {
        let key = ReadingKey::from_seed(&[1; 32]);
        let writer = key.writer("pve1").expect("a good label");
        let name = clear().name().expect("a good name");
        let bytes = Manifest::encode(&clear().encode().expect("short"), &writer, b"");
        let manifest = Manifest::decode(&name, &bytes).expect("its own bytes");
        assert_eq!(manifest.clear, clear());
        assert_eq!(manifest.authentic(Some(&key)), Authentic::Yes);
        assert_eq!(manifest.authentic(None), Authentic::Unknown);
        let text = String::from_utf8(bytes).expect("text");
        let forged = text.replace("\"complete\":true", "\"complete\":false");
        let manifest = Manifest::decode(&name, forged.as_bytes()).expect("well formed");
        assert_eq!(manifest.authentic(Some(&key)), Authentic::No);
        let moved = text.replace("\"source\":\"web\"", "\"source\":\"db1\"");
        assert!(Manifest::decode(&name, moved.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(line in "[ -~]{0,200}", rest: Vec<u8>) {
            let name = clear().name().expect("a good name");
            let bytes = [line.as_bytes(), b"\n", &rest].concat();
            prop_assert!(Manifest::decode(&name, &bytes).is_err());
            prop_assert!(Manifest::decode(&name, &rest).is_err());
        }
    }

    #[test]
    fn cut_manifests_are_errors() {
        let key = ReadingKey::from_seed(&[1; 32]);
        let writer = key.writer("pve1").expect("a good label");
        let name = clear().name().expect("a good name");
        let bytes = Manifest::encode(&clear().encode().expect("short"), &writer, b"");
        for len in 0..bytes.len() {
            assert!(Manifest::decode(&name, &bytes[..len]).is_err(), "{len}");
        }
        assert!(Manifest::decode(&name, &vec![b' '; 100_000]).is_err());
    }
}
