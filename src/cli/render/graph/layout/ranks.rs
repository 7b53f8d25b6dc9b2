//! The column of each card: how many steps its bytes have come.

use super::super::sketch::{Card, Sketch};
use super::is_read;

/// The column of each card.
pub(super) struct Ranks {
    pub(super) of: Vec<usize>,
    /// The arrows that would close a circle: they are laid out the other way round.
    pub(super) reversed: Vec<bool>,
}

impl Ranks {
    pub(super) fn new(sketch: &Sketch<'_>) -> Self {
        let mut reversed = vec![false; sketch.arrows.len()];
        let mut state = vec![Visit::Not; sketch.cards.len()];
        for card in 0..sketch.cards.len() {
            visit(sketch, card, &mut state, &mut reversed);
        }
        let first = |card: &Card<'_>| usize::from(!is_read(card));
        let mut of: Vec<usize> = sketch.cards.iter().map(first).collect();
        // Without circles no way is longer than there are cards.
        for _ in 0..sketch.cards.len() {
            for (arrow, reversed) in sketch.arrows.iter().zip(&reversed) {
                for from in &arrow.from {
                    let (from, to) = if *reversed {
                        (arrow.to, *from)
                    } else {
                        (*from, arrow.to)
                    };
                    of[to] = of[to].max(of[from] + 1);
                }
            }
        }
        Self { of, reversed }
    }

    pub(super) fn columns(&self) -> usize {
        self.of.iter().max().map_or(1, |last| last + 1)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Visit {
    Not,
    Open,
    Done,
}

/// Follows arrows and marks those that lead back to where they came from.
fn visit(sketch: &Sketch<'_>, card: usize, state: &mut [Visit], reversed: &mut [bool]) {
    if state[card] != Visit::Not {
        return;
    }
    state[card] = Visit::Open;
    for (number, arrow) in sketch.arrows.iter().enumerate() {
        if !arrow.from.contains(&card) || reversed[number] {
            continue;
        }
        if state[arrow.to] == Visit::Open {
            reversed[number] = true;
        } else {
            visit(sketch, arrow.to, state, reversed);
        }
    }
    state[card] = Visit::Done;
}
