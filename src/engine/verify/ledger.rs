//! Remembers when each pack was last checked, in small records that are merged.
//!
//! A record is text: a first line, then a line for each pack with its hash, how deep it was
//! checked, what came of it and when, and last the hash of all that. Records never change;
//! several are merged into one and then removed. The ledger is advice: a record that is lost
//! or damaged means that packs are checked again.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::Level;
use crate::engine::error::EngineError;
use crate::engine::hex;
use crate::engine::manifest::compact_time;
use crate::engine::store::{Folder, Store, StoreError, StoreName};

const FIRST_LINE: &str = "bkpctl-verified 0";
/// How many records there may be before they are merged.
const RECORDS_MAX: usize = 8;

/// Says what was found when a pack was last checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// How deep it was checked.
    pub(super) level: Level,
    /// Whether it was intact.
    pub(super) is_good: bool,
    /// When, in nanoseconds since 1970.
    pub(super) at: i64,
}

/// Knows the last check of each pack, by depth.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: HashMap<([u8; 32], Level), Entry>,
    names: Vec<StoreName>,
}

impl Ledger {
    /// Reads what can be read of the records.
    pub(super) fn read(store: &dyn Store) -> Result<Self, StoreError> {
        let mut ledger = Self::default();
        for file in store.list(Folder::Verify)? {
            match store.get(&file.name) {
                Ok(bytes) => {
                    for (hash, entry) in decode(&bytes).unwrap_or_default() {
                        ledger.note(hash, entry);
                    }
                    ledger.names.push(file.name);
                }
                Err(error @ StoreError::Closed { .. }) => return Err(error),
                // It was merged by another verification, or cannot be read.
                Err(_) => {}
            }
        }
        Ok(ledger)
    }

    /// Takes note of a check; an older one of the same depth is forgotten.
    pub(super) fn note(&mut self, hash: [u8; 32], entry: Entry) {
        let known = self.entries.entry((hash, entry.level)).or_insert(entry);
        if entry.at >= known.at {
            *known = entry;
        }
    }

    /// Returns the last check of a pack at a depth or a greater one.
    pub(super) fn last(&self, hash: &[u8; 32], level: Level) -> Option<Entry> {
        [Level::Packs, Level::Full]
            .into_iter()
            .filter(|depth| *depth >= level)
            .filter_map(|depth| self.entries.get(&(*hash, depth)).copied())
            .max_by_key(|entry| entry.at)
    }

    /// Stores what was checked now; merges the records if there are many, without the packs
    /// that are gone.
    pub(super) fn write(
        &mut self,
        store: &dyn Store,
        now: i64,
        checked: &[([u8; 32], Entry)],
        is_there: impl Fn(&[u8; 32]) -> bool,
    ) -> Result<(), EngineError> {
        for (hash, entry) in checked {
            self.note(*hash, *entry);
        }
        if checked.is_empty() {
            return Ok(());
        }
        if self.names.len() < RECORDS_MAX {
            return put(store, now, checked);
        }
        let mut all: Vec<([u8; 32], Entry)> = self
            .entries
            .iter()
            .filter(|((hash, _), _)| is_there(hash))
            .map(|((hash, _), entry)| (*hash, *entry))
            .collect();
        all.sort_unstable_by_key(|(hash, entry)| (*hash, entry.level));
        put(store, now, &all)?;
        for name in &self.names {
            store.remove(name)?;
        }
        Ok(())
    }
}

fn put(store: &dyn Store, now: i64, entries: &[([u8; 32], Entry)]) -> Result<(), EngineError> {
    let text = encode(entries);
    let hash = hex::encode(blake3::hash(text.as_bytes()).as_bytes());
    let name = format!("{}-{}", compact_time(now), &hash[..8]);
    let name = StoreName::within(Folder::Verify, &[&name])?;
    store.put(&name, text.as_bytes())?;
    Ok(())
}

fn encode(entries: &[([u8; 32], Entry)]) -> String {
    let mut text = format!("{FIRST_LINE}\n");
    for (hash, entry) in entries {
        let depth = if entry.level == Level::Full {
            "full"
        } else {
            "hash"
        };
        let result = if entry.is_good { "good" } else { "bad" };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{} {depth} {result} {}", hex::encode(hash), entry.at);
    }
    let check = hex::encode(blake3::hash(text.as_bytes()).as_bytes());
    let _ = writeln!(text, "check {check}");
    text
}

pub(super) fn decode(bytes: &[u8]) -> Option<Vec<([u8; 32], Entry)>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (body, check) = text.strip_suffix('\n')?.rsplit_once("check ")?;
    if hex::decode(check)? != *blake3::hash(body.as_bytes()).as_bytes() {
        return None;
    }
    let mut lines = body.lines();
    if lines.next()? != FIRST_LINE {
        return None;
    }
    lines.map(decode_line).collect()
}

fn decode_line(line: &str) -> Option<([u8; 32], Entry)> {
    let mut words = line.split(' ');
    let hash = hex::decode(words.next()?)?;
    let level = match words.next()? {
        "full" => Level::Full,
        "hash" => Level::Packs,
        _ => return None,
    };
    let is_good = match words.next()? {
        "good" => true,
        "bad" => false,
        _ => return None,
    };
    let at = words.next()?.parse().ok()?;
    let entry = Entry { level, is_good, at };
    words.next().is_none().then_some((hash, entry))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::env::fixed;
    use crate::engine::store::Memory;

    fn entry(level: Level, at: i64) -> Entry {
        Entry {
            level,
            is_good: at % 2 == 0,
            at,
        }
    }

    #[test]
    fn records_survive_and_damaged_ones_are_left_aside() {
        let entries = [
            ([1; 32], entry(Level::Packs, 5)),
            ([2; 32], entry(Level::Full, -6)),
        ];
        let text = encode(&entries);
        assert_eq!(decode(text.as_bytes()), Some(entries.to_vec()));
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] ^= 4;
            assert_eq!(decode(&changed), None, "{at}");
            assert_eq!(decode(&text.as_bytes()[..at]), None, "{at}");
        }
    }

    #[test]
    fn records_are_merged_and_packs_that_are_gone_are_forgotten() {
        let store = Memory::new(fixed::env(0).clock);
        for n in 0..20_u8 {
            let mut ledger = Ledger::read(&store).expect("a ledger");
            let checked = [([n; 32], entry(Level::Packs, i64::from(n) + 1))];
            ledger
                .write(&store, i64::from(n) << 32, &checked, |hash| hash[0] != 3)
                .expect("a record");
        }
        let ledger = Ledger::read(&store).expect("a ledger");
        assert!(ledger.names.len() <= RECORDS_MAX);
        assert_eq!(ledger.last(&[3; 32], Level::Packs), None);
        for n in (0..20_u8).filter(|n| *n != 3) {
            let last = ledger.last(&[n; 32], Level::Packs);
            assert_eq!(last.map(|entry| entry.at), Some(i64::from(n) + 1));
            assert_eq!(ledger.last(&[n; 32], Level::Full), None);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }
}
