//! One bit for each position of an index.

use std::sync::atomic::{AtomicU64, Ordering};

/// Marks positions of an index, from several threads at once.
#[derive(Debug, Default)]
pub struct Marks(Vec<AtomicU64>);

impl Marks {
    /// Makes marks for `len` positions, none of them set.
    pub fn new(len: usize) -> Self {
        let mut words = Vec::new();
        words.resize_with(len.div_ceil(64), AtomicU64::default);
        Self(words)
    }

    /// Sets a mark; tells whether it was not set before.
    pub fn set(&self, position: usize) -> bool {
        let bit = 1 << (position % 64);
        self.0[position / 64].fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    /// Tells whether a mark is set.
    pub fn is_set(&self, position: usize) -> bool {
        self.0[position / 64].load(Ordering::Relaxed) & 1 << (position % 64) != 0
    }

    /// Returns the positions that are marked.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        let bits = |(at, word): (usize, &AtomicU64)| {
            let word = word.load(Ordering::Relaxed);
            (0..64).filter_map(move |bit| (word >> bit & 1 == 1).then_some(at * 64 + bit))
        };
        self.0.iter().enumerate().flat_map(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_marked_is_found_again_in_order() {
        let marks = Marks::new(200);
        for position in [199, 0, 63, 64, 0] {
            marks.set(position);
        }
        assert!(!marks.set(63) && marks.set(65));
        assert!(marks.is_set(199) && !marks.is_set(198));
        assert_eq!(marks.iter().collect::<Vec<_>>(), [0, 63, 64, 65, 199]);
        assert_eq!(Marks::new(0).iter().count(), 0);
    }
}
