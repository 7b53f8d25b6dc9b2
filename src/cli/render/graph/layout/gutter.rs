//! Where arrows turn between two columns, and where several become one.

use super::CORNER;

/// Is an arrow in a gutter: from heights on the left to one on the right, by a track.
pub(super) struct Turn {
    pub(super) arrow: usize,
    pub(super) left: Vec<i64>,
    pub(super) right: i64,
    pub(super) track: Option<usize>,
}

impl Turn {
    fn is_straight(&self) -> bool {
        self.left.iter().all(|y| *y == self.right)
    }

    fn span(&self) -> (i64, i64) {
        let all = self.left.iter().copied().chain([self.right]);
        let (low, high) = (all.clone().min(), all.max());
        (low.unwrap_or(self.right), high.unwrap_or(self.right))
    }

    /// Counts where this one, on a track left of another, meets it.
    fn meets(&self, other: &Self) -> usize {
        let within = |y: &i64, (low, high): (i64, i64)| low <= *y && *y <= high;
        let into = other.left.iter().filter(|y| within(y, self.span())).count();
        into + usize::from(within(&self.right, other.span()))
    }
}

/// Gives every arrow that turns in a gutter a track, so that few cross.
pub(super) fn give_tracks(turns: &mut [Turn]) {
    let mut order: Vec<usize> = (0..turns.len())
        .filter(|turn| !turns[*turn].is_straight())
        .collect();
    let meet = |order: &[usize]| -> usize {
        let pairs = order.iter().enumerate().flat_map(|(at, one)| {
            let right = order[at + 1..].iter();
            right.map(move |other| (one, other))
        });
        pairs
            .map(|(one, other)| turns[*one].meets(&turns[*other]))
            .sum()
    };
    // Neighbours change places while that helps; each change helps, so it ends.
    let mut best = meet(&order);
    let mut helped = true;
    while helped {
        helped = false;
        for at in 1..order.len() {
            order.swap(at - 1, at);
            let now = meet(&order);
            if now < best {
                (best, helped) = (now, true);
            } else {
                order.swap(at - 1, at);
            }
        }
    }
    for (track, turn) in order.into_iter().enumerate() {
        turns[turn].track = Some(track);
    }
}

/// Ends lines that have joined another where they join it, so that nothing is drawn twice.
///
/// All turn on one track in the first gutter. The line whose tail is nearest to where they go
/// stays whole; each of the others ends where the next one has turned.
pub(super) fn join(lines: &mut Vec<Vec<(i64, i64)>>) {
    let [.., _, _] = lines.as_slice() else { return };
    // The nearest come first; a straight one is the nearest of all.
    let goal = lines[0][2].1;
    lines.sort_by_key(|line| ((line[0].1 - goal).abs(), line[0].1));
    for number in 1..lines.len() {
        let (x, y) = lines[number][1];
        let is_above = y < goal;
        let same_side =
            |line: &&Vec<(i64, i64)>| line[0].1 != goal && (line[0].1 < goal) == is_above;
        let next = lines[..number]
            .iter()
            .rev()
            .find(same_side)
            .map(|line| line[0].1);
        lines[number].truncate(2);
        match next {
            Some(next) => {
                let turned = (goal - next).abs().min(CORNER);
                lines[number].push((x, next + turned * (goal - next).signum()));
            }
            None => lines[number].extend([(x, goal), (x + CORNER, goal)]),
        }
    }
}
