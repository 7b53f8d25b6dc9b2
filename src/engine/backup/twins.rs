//! Small files that were read before in the same backup.
//!
//! Small files share chunks with their neighbours, so that a file which is there twice would
//! be in two chunks. Whole trees of sources and packages hold a tenth of such data.

use std::collections::HashMap;

use crate::engine::files::Span;

/// Smaller files save too little to be remembered.
const BYTES_MIN: u64 = 4096;
/// So many files are remembered, at some hundred bytes each; later ones are not.
const FILES_MAX: usize = 1 << 17;

/// Numbers a file whose data others may share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Twin(u32);

/// Remembers small files by the hash of their data.
#[derive(Debug, Default)]
pub(super) struct Twins {
    numbers: HashMap<[u8; 32], Twin>,
    /// Where their data is, once that is known.
    spans: Vec<Option<Box<[Span]>>>,
}

/// What is known of a file's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// It was read before.
    Before(Twin),
    /// It is new, and others may share it.
    New(Twin),
    /// It is not worth remembering.
    Passed,
}

impl Twins {
    /// Looks data of this length and hash up, and remembers it if it is new.
    pub(super) fn look_up(&mut self, len: u64, hash: [u8; 32]) -> Seen {
        if len < BYTES_MIN {
            return Seen::Passed;
        }
        if let Some(twin) = self.numbers.get(&hash) {
            return Seen::Before(*twin);
        }
        if self.spans.len() == FILES_MAX {
            return Seen::Passed;
        }
        let twin = Twin(self.spans.len() as u32);
        self.numbers.insert(hash, twin);
        self.spans.push(None);
        Seen::New(twin)
    }

    /// Notes where a file's data is.
    pub(super) fn settle(&mut self, twin: Twin, spans: &[Span]) {
        self.spans[twin.0 as usize] = Some(spans.into());
    }

    /// Returns where a file's data is; nothing as long as the file itself waits.
    pub(super) fn spans(&self, twin: Twin) -> Option<&[Span]> {
        self.spans[twin.0 as usize].as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart_by_their_data() {
        let mut twins = Twins::default();
        let Seen::New(first) = twins.look_up(5000, [1; 32]) else {
            panic!("it was not there before");
        };
        assert!(matches!(twins.look_up(5000, [2; 32]), Seen::New(twin) if twin != first));
        assert_eq!(twins.look_up(5000, [1; 32]), Seen::Before(first));
        assert_eq!(twins.look_up(4095, [1; 32]), Seen::Passed);
        assert_eq!(twins.spans(first), None);
        let span = Span {
            chunk: [7; 32],
            offset: 3,
            len: 5000,
        };
        twins.settle(first, &[span]);
        assert_eq!(twins.spans(first), Some(&[span][..]));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut twins = Twins::default();
        let mut hash = [0; 32];
        let mut passed = 0;
        for number in 0..FILES_MAX as u64 + 10 {
            hash[..8].copy_from_slice(&number.to_le_bytes());
            passed += usize::from(twins.look_up(BYTES_MIN, hash) == Seen::Passed);
        }
        assert_eq!(passed, 10);
    }
}
