//! Chooses which packs go and which are worth moving: pure.

use super::survey::PackState;

/// The share of dead bytes, in hundredths, from which on a pack is worth moving.
const DEAD_SHARE_MIN: u64 = 20;

/// Says what to do, with the numbers of packs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Nothing in them is needed.
    pub(super) dead: Vec<usize>,
    /// What is needed is moved out of them, those that gain most first.
    pub(super) repack: Vec<usize>,
    /// They would be worth moving, and it would be too much at once.
    pub(super) postponed: Vec<usize>,
}

/// Makes the plan; of packs that are worth moving at most `max_repack` bytes are moved.
pub(super) fn plan(packs: &[PackState], max_repack: Option<u64>) -> Plan {
    let mut plan = Plan::default();
    let mut worth = Vec::new();
    for (number, pack) in packs.iter().enumerate() {
        match pack.size {
            Some(_) if pack.live == 0 => plan.dead.push(number),
            Some(size) if pack.dead * 100 >= size * DEAD_SHARE_MIN => worth.push(number),
            _ => {}
        }
    }
    // What is moved for each byte that is freed decides.
    worth.sort_by_key(|number| {
        let pack = &packs[*number];
        (u128::from(pack.live) << 64) / u128::from(pack.dead.max(1))
    });
    let mut left = max_repack.unwrap_or(u64::MAX);
    for number in worth {
        match left.checked_sub(packs[number].live) {
            Some(rest) => {
                left = rest;
                plan.repack.push(number);
            }
            None => plan.postponed.push(number),
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(size: u64, live: u64, dead: u64) -> PackState {
        PackState {
            size: Some(size),
            live,
            dead,
        }
    }

    #[test]
    fn packs_go_are_moved_or_stay_by_what_is_dead_in_them() {
        let gone = PackState::default();
        let packs = [
            gone,
            pack(1000, 0, 900),
            pack(1000, 750, 199),
            pack(1000, 700, 200),
            pack(1000, 100, 800),
            pack(50, 0, 0),
        ];
        let whole = plan(&packs, None);
        assert_eq!(whole.dead, [1, 5]);
        assert_eq!(whole.repack, [4, 3]);
        assert!(whole.postponed.is_empty());
        for (max, repack, postponed) in [
            (0, vec![], vec![4, 3]),
            (100, vec![4], vec![3]),
            (799, vec![4], vec![3]),
            (800, vec![4, 3], vec![]),
        ] {
            let capped = plan(&packs, Some(max));
            assert_eq!(
                (capped.repack, capped.postponed),
                (repack, postponed),
                "{max}"
            );
        }
    }
}
