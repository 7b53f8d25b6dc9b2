//! Which pseudonym stands for which text.

use std::collections::{BTreeMap, BTreeSet};

/// Gives each text one pseudonym, and counts.
#[derive(Debug)]
pub(super) struct Pseudonyms {
    key: [u8; 32],
    by_text: BTreeMap<String, String>,
    counts: Counts,
}

/// How many texts were replaced, by what they were, and which words stayed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// How many distinct texts got pseudonyms, by the word that these begin with.
    pub replaced: BTreeMap<String, usize>,
    /// The words that stayed.
    pub kept: BTreeSet<String>,
}

impl Pseudonyms {
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self {
            key,
            by_text: BTreeMap::new(),
            counts: Counts::default(),
        }
    }

    pub(super) fn counts(self) -> Counts {
        self.counts
    }

    /// Numbers texts of a class in their own order, so that sorting gives the same order after.
    pub(super) fn register(&mut self, class: &str, mut texts: Vec<&str>) {
        texts.sort_unstable();
        let digits = texts.len().to_string().len();
        for text in texts {
            if !self.by_text.contains_key(text) {
                let number = self.count(class);
                let pseudonym = format!("{class}-{number:0digits$}");
                self.by_text.insert(text.to_owned(), pseudonym);
            }
        }
    }

    /// Returns the pseudonym of a text; a new one says that it is of this class.
    pub(super) fn of(&mut self, class: &str, text: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        if let Some(known) = self.by_text.get(text) {
            return known.clone();
        }
        let pseudonym = format!("{class}-{}", self.count(class));
        self.by_text.insert(text.to_owned(), pseudonym.clone());
        pseudonym
    }

    /// Returns what stands for a text already.
    pub(super) fn known(&self, text: &str) -> Option<String> {
        self.by_text.get(text).cloned()
    }

    /// Says what stands for a text that was made of others.
    pub(super) fn set(&mut self, text: String, replaced: String) {
        self.by_text.entry(text).or_insert(replaced);
    }

    /// Returns hexadecimal digits, as many as the text has.
    pub(super) fn hex(&mut self, text: &str) -> String {
        if let Some(known) = self.by_text.get(text) {
            return known.clone();
        }
        self.count("id");
        let mut bytes = vec![0; text.len().div_ceil(2)];
        let mut hash = blake3::Hasher::new_keyed(&self.key);
        hash.update(b"id").update(text.as_bytes());
        hash.finalize_xof().fill(&mut bytes);
        let mut digits = crate::engine::hex::encode(&bytes);
        digits.truncate(text.len());
        self.by_text.insert(text.to_owned(), digits.clone());
        digits
    }

    /// Returns a bit that depends on the key and on what stands before it.
    pub(super) fn bit(&self, before: &[u8]) -> bool {
        let hash = blake3::keyed_hash(&self.key, before);
        hash.as_bytes()[0] & 1 == 1
    }

    /// Notes that an address was replaced.
    pub(super) fn address(&mut self, original: &str, replaced: String) -> String {
        if !self.by_text.contains_key(original) {
            self.count("address");
            self.by_text.insert(original.to_owned(), replaced.clone());
        }
        replaced
    }

    /// Notes that a word stays.
    pub(super) fn keep(&mut self, word: &str) -> String {
        if !word.is_empty() {
            self.counts.kept.insert(word.to_owned());
        }
        word.to_owned()
    }

    fn count(&mut self, class: &str) -> usize {
        let count = self.counts.replaced.entry(class.to_owned()).or_default();
        *count += 1;
        *count
    }
}
