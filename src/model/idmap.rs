//! Which numbers a container's users have on its host.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the kernel shows where a number has no counterpart.
pub const OVERFLOW_ID: u32 = 65_534;

/// The first host number and the count that Proxmox VE gives an unprivileged container.
const PVE_DEFAULT: (u32, u32) = (100_000, 65_536);

/// The most lines of what root was granted that are kept.
const RUNS_MAX: usize = 1000;

/// A run of numbers inside a container and their counterparts on its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IdRange {
    /// The first number inside.
    pub inside: u32,
    /// The first number on the host.
    pub outside: u32,
    /// How many there are.
    pub count: u32,
}

/// A run of numbers of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IdRun {
    /// The first number.
    pub first: u32,
    /// How many there are.
    pub count: u32,
}

/// What a host's root may give to containers: its own lines of `/etc/subuid` and `/etc/subgid`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IdGrants {
    /// User ids.
    pub uids: Vec<IdRun>,
    /// Group ids.
    pub gids: Vec<IdRun>,
}

/// The user and group numbers of a container, as ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IdMap {
    /// User ids.
    pub uids: Vec<IdRange>,
    /// Group ids.
    pub gids: Vec<IdRange>,
}

impl IdMap {
    /// Returns the map of a privileged container: every number is itself.
    pub fn identity() -> Self {
        Self::both(IdRange {
            inside: 0,
            outside: 0,
            count: u32::MAX,
        })
    }

    /// Returns the map that Proxmox VE gives an unprivileged container without lines of its own.
    pub fn unprivileged() -> Self {
        let (outside, count) = PVE_DEFAULT;
        Self::both(IdRange {
            inside: 0,
            outside,
            count,
        })
    }

    fn both(range: IdRange) -> Self {
        Self {
            uids: vec![range],
            gids: vec![range],
        }
    }

    /// Reads lines as `lxc.idmap` has them (`u 0 100000 65536`), see lxc.container.conf(5).
    ///
    /// None if a line can't be read.
    pub fn from_lxc<'a>(lines: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut map = Self::default();
        for line in lines {
            let mut words = line.split_ascii_whitespace();
            let kind = words.next()?;
            let range = range(&mut words)?;
            match kind {
                "u" => map.uids.push(range),
                "g" => map.gids.push(range),
                "b" => {
                    map.uids.push(range);
                    map.gids.push(range);
                }
                _ => return None,
            }
        }
        Some(map)
    }

    /// Reads `/proc/PID/uid_map` and `gid_map`, see user_namespaces(7).
    pub fn from_proc(uids: &str, gids: &str) -> Option<Self> {
        let read = |text: &str| {
            text.lines()
                .map(|line| range(&mut line.split_ascii_whitespace()))
                .collect::<Option<Vec<_>>>()
                .filter(|ranges| !ranges.is_empty())
        };
        Some(Self {
            uids: read(uids)?,
            gids: read(gids)?,
        })
    }

    /// Returns the host's number of a user inside; none if it has none.
    pub fn uid(&self, inside: u32) -> Option<u32> {
        outside(&self.uids, inside)
    }

    /// Returns the host's number of a group inside; none if it has none.
    pub fn gid(&self, inside: u32) -> Option<u32> {
        outside(&self.gids, inside)
    }

    /// Returns this map as processes inside see it, who know of nobody else.
    ///
    /// What has no number inside is shown as [`OVERFLOW_ID`], which is therefore nobody's here.
    #[must_use]
    pub fn from_inside(&self) -> Self {
        let seen = |ranges: &[IdRange]| {
            let all = ranges.iter().map(|range| (range.inside, range.count));
            all.flat_map(around_overflow).collect()
        };
        Self {
            uids: seen(&self.uids),
            gids: seen(&self.gids),
        }
    }

    /// Tells whether a user of the host is one of those inside.
    pub fn holds_uid(&self, on_host: u32) -> bool {
        holds(&self.uids, on_host)
    }

    /// Tells whether a group of the host is one of those inside.
    pub fn holds_gid(&self, on_host: u32) -> bool {
        holds(&self.gids, on_host)
    }

    /// Tells whether every number is itself, so that there is no namespace to speak of.
    pub fn is_identity(&self) -> bool {
        *self == Self::identity()
    }
}

impl IdGrants {
    /// Reads the lines of one file that are root's, by name or by number, see subuid(5).
    ///
    /// Lines that make no sense are left out, as newuidmap leaves them.
    pub fn runs(file: &str) -> Vec<IdRun> {
        let run = |line: &str| {
            let (owner, run) = line.split_once(':')?;
            let (first, count) = run.split_once(':')?;
            let (first, count) = (first.parse().ok()?, count.trim_end().parse().ok()?);
            ["root", "0"]
                .contains(&owner)
                .then_some(IdRun { first, count })
        };
        file.lines().filter_map(run).take(RUNS_MAX).collect()
    }
}

impl IdRun {
    fn end(self) -> u64 {
        u64::from(self.first) + u64::from(self.count)
    }
}

/// Returns what of a range's numbers on the host is in none of some runs.
///
/// Runs count together: a range may begin in one and end in the next.
pub fn not_granted(range: &IdRange, granted: &[IdRun]) -> Vec<IdRun> {
    // Whoever runs newuidmap may map the number that it has itself.
    if (range.outside, range.count) == (0, 1) {
        return Vec::new();
    }
    let mut granted = granted.to_vec();
    granted.sort_by_key(|run| run.first);
    let end = u64::from(range.outside) + u64::from(range.count);
    let mut at = u64::from(range.outside);
    let mut missing = Vec::new();
    let whole = IdRun {
        first: u32::MAX,
        count: u32::MAX,
    };
    for run in granted.into_iter().chain([whole]) {
        let until = u64::from(run.first).min(end);
        if until > at
            && let (Ok(first), Ok(count)) = (u32::try_from(at), u32::try_from(until - at))
        {
            missing.push(IdRun { first, count });
        }
        at = at.max(run.end());
        if at >= end {
            break;
        }
    }
    missing
}

fn outside(ranges: &[IdRange], inside: u32) -> Option<u32> {
    ranges.iter().find_map(|range| {
        let step = inside.checked_sub(range.inside)?;
        (step < range.count).then(|| range.outside.checked_add(step))?
    })
}

/// Leaves the one number out of a run that stands for all others.
fn around_overflow((first, count): (u32, u32)) -> Vec<IdRange> {
    let end = first.saturating_add(count);
    let parts = [
        (first, end.min(OVERFLOW_ID)),
        (first.max(OVERFLOW_ID + 1), end),
    ];
    let kept = parts.into_iter().filter(|(from, to)| from < to);
    kept.map(|(from, to)| IdRange {
        inside: from,
        outside: from,
        count: to - from,
    })
    .collect()
}

fn holds(ranges: &[IdRange], on_host: u32) -> bool {
    let within = |range: &IdRange| {
        let step = on_host.checked_sub(range.outside);
        step.is_some_and(|step| step < range.count)
    };
    ranges.iter().any(within)
}

fn range<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<IdRange> {
    let mut number = || words.next()?.parse().ok();
    Some(IdRange {
        inside: number()?,
        outside: number()?,
        count: number()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_mapped_as_the_kernel_maps_them() {
        let punched = [
            "u 0 100000 34",
            "u 34 34 1",
            "u 35 100035 65501",
            "g 0 100000 65536",
        ];
        let punched = IdMap::from_lxc(punched).expect("well-formed");
        let standard = IdMap::from_proc("         0     100000      65536\n", "0 100000 65536\n");
        let standard = standard.expect("well-formed");
        assert_eq!(standard, IdMap::unprivileged());
        for (map, inside, uid, gid) in [
            (&IdMap::identity(), 34, Some(34), Some(34)),
            (&standard, 0, Some(100_000), Some(100_000)),
            (&standard, 34, Some(100_034), Some(100_034)),
            (&standard, 65_535, Some(165_535), Some(165_535)),
            (&standard, 65_536, None, None),
            (&punched, 33, Some(100_033), Some(100_033)),
            (&punched, 34, Some(34), Some(100_034)),
            (&punched, 35, Some(100_035), Some(100_035)),
        ] {
            assert_eq!((map.uid(inside), map.gid(inside)), (uid, gid), "{inside}");
        }
    }

    #[test]
    fn from_inside_nobody_else_is_there() {
        let inside = IdMap::unprivileged().from_inside();
        for (id, there) in [(0, true), (34, true), (65_533, true), (65_534, false)] {
            assert_eq!(inside.holds_uid(id), there, "{id}");
        }
        assert!(inside.holds_gid(65_535) && !inside.holds_gid(65_536));
        let outside = IdMap::unprivileged();
        assert!(outside.holds_uid(100_034) && !outside.holds_uid(34));
    }

    #[test]
    fn what_is_no_map_is_none() {
        for line in ["", "u", "u 0 1", "x 0 1 2", "u 0 -1 2", "u 0 1 99999999999"] {
            assert_eq!(IdMap::from_lxc([line]), None, "{line}");
        }
        assert_eq!(IdMap::from_proc("", "0 0 1"), None);
        let both = IdMap::from_lxc(["b 0 7 1"]).expect("well-formed");
        assert_eq!((both.uid(0), both.gid(0)), (Some(7), Some(7)));
    }

    // Synthetic, after subuid(5); the rules are those of newuidmap(1).
    #[test]
    fn what_root_was_not_granted_is_told_number_by_number() {
        let file = "root:100000:65536\nroot:34:1\nother:5:9\n0:35:2\nroot:x:1\nroot:9\n\n";
        let granted = IdGrants::runs(file);
        assert_eq!(granted.len(), 3, "{granted:?}");
        for (outside, count, missing) in [
            (100_000, 65_536, &[][..]),
            (100_001, 10, &[]),
            (34, 3, &[]),
            (33, 3, &[(33, 1)]),
            (0, 1, &[]),
            (0, 2, &[(0, 2)]),
            (33, 5, &[(33, 1), (37, 1)]),
            (165_535, 2, &[(165_536, 1)]),
            (5, 9, &[(5, 9)]),
        ] {
            let range = IdRange {
                inside: 0,
                outside,
                count,
            };
            let found: Vec<_> = not_granted(&range, &granted)
                .iter()
                .map(|run| (run.first, run.count))
                .collect();
            assert_eq!(found, missing, "{outside} {count}");
        }
        assert!(IdGrants::runs("").is_empty());
    }

    proptest! {
        #[test]
        fn a_number_is_missing_or_granted_and_never_both(
            outside in 0_u32..60, count in 0_u32..30,
            runs in proptest::collection::vec((0_u32..60, 0_u32..20), 0..6),
        ) {
            let granted: Vec<IdRun> =
                runs.into_iter().map(|(first, count)| IdRun { first, count }).collect();
            let range = IdRange { inside: 7, outside, count };
            let missing = not_granted(&range, &granted);
            let is_in = |runs: &[IdRun], id: u32| {
                runs.iter().any(|run| id >= run.first && u64::from(id) < run.end())
            };
            if (outside, count) != (0, 1) {
                for id in 0..100 {
                    let asked = id >= outside && id < outside + count;
                    prop_assert_eq!(is_in(&missing, id), asked && !is_in(&granted, id), "{}", id);
                }
            }
        }

        #[test]
        fn the_largest_numbers_overflow_nothing(outside: u32, count: u32, first: u32, many: u32) {
            let range = IdRange { inside: 0, outside, count };
            let _ = not_granted(&range, &[IdRun { first, count: many }]);
        }

        #[test]
        fn no_number_is_mapped_out_of_range(inside: u32, first: u32, outside: u32, count: u32) {
            let map = IdMap { uids: vec![IdRange { inside: first, outside, count }], gids: vec![] };
            if let Some(mapped) = map.uid(inside) {
                prop_assert_eq!(mapped - outside, inside - first);
                prop_assert!(mapped - outside < count);
            }
        }
    }
}
