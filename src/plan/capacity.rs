//! Where bytes land and whether they fit.
//!
//! Fit is decided as if nothing were shared or compressed. The first copy of a source
//! must fit as a whole. A later copy must fit by what the source grew; that everything
//! in it could have changed is said, and does not stop it: the serving side never
//! writes into the reserve.

use std::collections::BTreeMap;

use crate::model::Amount;
use crate::model::observed::{PathFacts, Space};
use crate::model::{Address, ByteSize, Name};
use crate::plan::change::{CapacityLine, Finding, Landing};
use crate::plan::draft::{Draft, World};
use crate::plan::words;

/// A place where bytes would land.
#[derive(Clone, Copy)]
pub(super) struct Spot<'a> {
    pub(super) node: &'a Name,
    pub(super) path: &'a str,
    /// What the datastore wants to stay free, besides what its node wants.
    pub(super) reserve: Option<Amount>,
}

/// How many bytes an action brings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes {
    /// The most that can land.
    pub(super) max: Option<ByteSize>,
    /// What has to fit for the action to go ahead.
    pub(super) must_fit: Option<ByteSize>,
}

/// What the actions of a plan take from each filesystem.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    spent: BTreeMap<(Name, String), Spent>,
}

#[derive(Debug, Default)]
struct Spent {
    bytes: u64,
    unknown: bool,
    reserve: ByteSize,
}

impl Bytes {
    /// Returns a known number of bytes that all have to fit.
    pub(super) fn exactly(bytes: ByteSize) -> Self {
        Self::first(Some(bytes))
    }

    /// Returns the bytes of a first copy: all of them have to fit.
    pub(super) fn first(bytes: Option<ByteSize>) -> Self {
        Self {
            max: bytes,
            must_fit: bytes,
        }
    }

    /// Returns the bytes of a later copy, given how many there are already.
    pub(super) fn later(bytes: Option<ByteSize>, there: ByteSize) -> Self {
        Self {
            max: bytes,
            must_fit: bytes.map(|bytes| ByteSize(bytes.0.saturating_sub(there.0))),
        }
    }

    /// Adds those of another source.
    pub(super) fn plus(self, other: Self) -> Self {
        let add =
            |a: Option<ByteSize>, b: Option<ByteSize>| Some(ByteSize(a?.0.saturating_add(b?.0)));
        Self {
            max: add(self.max, other.max),
            must_fit: add(self.must_fit, other.must_fit),
        }
    }
}

impl Ledger {
    /// Says what landing there would mean, after all that was spent there before.
    pub(super) fn look(&self, world: World<'_>, spot: Spot<'_>, bytes: Bytes) -> Landing {
        let seen = seen(world, spot.node, spot.path);
        let space = seen.and_then(|facts| facts.space);
        let reserve = reserve(world, spot, seen);
        let left = space.map(|space| {
            let spent = self
                .spent
                .get(&pool(seen, spot.node, spot.path))
                .map_or(0, |spent| spent.bytes);
            space.free.0.saturating_sub(spent)
        });
        let fits = match (left, bytes.must_fit) {
            // Nothing new always fits, even where the reserve is eaten into already.
            (_, Some(ByteSize(0))) => Some(true),
            (Some(left), Some(needed)) => Some(left >= needed.0.saturating_add(reserve.0)),
            _ => None,
        };
        Landing {
            node: spot.node.clone(),
            path: spot.path.to_owned(),
            bytes_max: bytes.max,
            free: space.map(|space| space.free),
            reserve,
            fits,
        }
    }

    /// Takes what an action brings from the filesystem where it lands.
    pub(super) fn spend(&mut self, world: World<'_>, landing: &Landing) {
        let seen = seen(world, &landing.node, &landing.path);
        let spent = self
            .spent
            .entry(pool(seen, &landing.node, &landing.path))
            .or_default();
        match landing.bytes_max {
            Some(bytes) => spent.bytes = spent.bytes.saturating_add(bytes.0),
            None => spent.unknown = true,
        }
        spent.reserve = spent.reserve.max(landing.reserve);
    }

    /// Returns a line for each filesystem that gets bytes or holds a datastore.
    pub(super) fn lines(&self, world: World<'_>, datastores: &[&Name]) -> Vec<CapacityLine> {
        let mut lines: BTreeMap<(Name, String), CapacityLine> = BTreeMap::new();
        for (node, facts) in world.topology.nodes.keys().filter_map(|node| {
            world
                .observed
                .reached(node.as_str())
                .map(|facts| (node, facts))
        }) {
            for (path, seen) in &facts.paths {
                let key = pool(Some(seen), node, path);
                if let (Some(space), Some(spent)) = (seen.space, self.spent.get(&key)) {
                    lines.insert(key.clone(), line(&key, space, spent));
                }
            }
        }
        for name in datastores {
            let Some((datastore, place, facts, _)) = world.served(name) else {
                continue;
            };
            let Some(seen) = facts.paths.get(&place.path) else {
                continue;
            };
            let Some(space) = seen.space else { continue };
            let spot = Spot {
                node: &place.node,
                path: &place.path,
                reserve: datastore.reserve,
            };
            let wanted = reserve(world, spot, Some(seen));
            let key = pool(Some(seen), &place.node, &place.path);
            lines
                .entry(key.clone())
                .and_modify(|line| line.reserve = line.reserve.max(wanted))
                .or_insert_with(|| {
                    let nothing = Spent {
                        reserve: wanted,
                        ..Spent::default()
                    };
                    line(&key, space, &nothing)
                });
        }
        lines.into_values().collect()
    }
}

fn line((node, mount): &(Name, String), space: Space, spent: &Spent) -> CapacityLine {
    CapacityLine {
        node: node.clone(),
        mount: mount.clone(),
        total: space.total,
        free_before: space.free,
        free_after: (!spent.unknown).then(|| ByteSize(space.free.0.saturating_sub(spent.bytes))),
        reserve: spent.reserve,
    }
}

fn seen<'a>(world: World<'a>, node: &Name, path: &str) -> Option<&'a PathFacts> {
    world.observed.reached(node.as_str())?.paths.get(path)
}

/// Returns the filesystem that a path is on, or the path itself where that is unknown.
fn pool(seen: Option<&PathFacts>, node: &Name, path: &str) -> (Name, String) {
    let mount = seen.and_then(|facts| facts.mount.as_ref());
    let target = mount.map_or(path, |mount| mount.target.as_str());
    (node.clone(), target.to_owned())
}

/// Returns what must stay free: the larger of what the datastore and its node want.
pub(super) fn reserve(world: World<'_>, spot: Spot<'_>, seen: Option<&PathFacts>) -> ByteSize {
    let total = seen
        .and_then(|facts| facts.space)
        .map_or(ByteSize(0), |space| space.total);
    let target = seen
        .and_then(|facts| facts.mount.as_ref())
        .map_or("/", |mount| mount.target.as_str());
    let of_node = world
        .topology
        .nodes
        .get(spot.node)
        .into_iter()
        .flat_map(|node| &node.reserve)
        // A reserve for / says nothing about a filesystem that is mounted below it.
        .filter(|(path, _)| words::is_below(spot.path, path) && words::is_below(path, target))
        .map(|(_, amount)| amount.of(total))
        .max();
    let of_datastore = spot.reserve.map(|amount| amount.of(total));
    of_node.max(of_datastore).unwrap_or_default()
}

/// Says that an action's bytes do not fit.
pub(super) fn too_big(address: Address, landing: &Landing, must_fit: ByteSize) -> Finding {
    let free = landing.free.unwrap_or_default();
    let place = format!("{}:{}", landing.node, landing.path);
    let message = if free.0 < must_fit.0 {
        format!("up to {must_fit} would land on {place}, where {free} is free")
    } else {
        format!(
            "up to {must_fit} would land on {place} and leave less than the reserve of {}; {free} is free",
            landing.reserve
        )
    };
    Finding::error("BK201", address, message)
        .because(vec![
            "free space is counted after the other copies of this plan".to_owned(),
            "a first copy must fit as if nothing were shared or compressed".to_owned(),
        ])
        .fix("free some space there, lower the reserve, or name another datastore")
}

/// Says that an action fits by what the source grew, and not if everything in it changed.
pub(super) fn tight(address: Address, landing: &Landing) -> Option<Finding> {
    let (max, free) = (landing.bytes_max?, landing.free?);
    if landing.fits != Some(true) || free.0 >= max.0.saturating_add(landing.reserve.0) {
        return None;
    }
    let message = format!(
        "if all of its {max} changed, it would not fit on {}:{}, where {free} is free",
        landing.node, landing.path
    );
    Some(
        Finding::warning("BK202", address, message)
            .because(vec![
                "usually little changed; writing stops at the reserve in any case".to_owned(),
            ])
            .fix("free some space there before it is needed"),
    )
}

/// Says where datastores are short of bytes or inodes already.
pub(super) fn shortages(world: World<'_>, datastores: &[&Name], draft: &mut Draft) {
    for name in datastores {
        let Some((datastore, place, facts, _)) = world.served(name) else {
            continue;
        };
        let Some(seen) = facts.paths.get(&place.path) else {
            continue;
        };
        let Some(space) = seen.space else { continue };
        let address = Address::new("datastore", name);
        let spot = Spot {
            node: &place.node,
            path: &place.path,
            reserve: datastore.reserve,
        };
        let reserve = reserve(world, spot, Some(seen));
        if reserve.0 > 0 && space.free < reserve {
            let message = format!(
                "{} is free on {}:{}, less than its reserve of {reserve}: new data is refused",
                space.free, place.node, place.path
            );
            draft.find(
                Finding::warning("BK203", address.clone(), message)
                    .fix("free some space there, or lower the reserve"),
            );
        }
        if space.inodes_total > 0 && space.inodes_free < space.inodes_total / 20 {
            let percent = u128::from(space.inodes_free) * 100 / u128::from(space.inodes_total);
            let message = format!(
                "{percent} % of the inodes are free on {}:{}; without one, writes fail with \"No space left on device (os error 28)\"",
                place.node, place.path
            );
            draft.find(
                Finding::warning("BK210", address, message)
                    .fix("remove small files there; ext4 can't get more inodes later"),
            );
        }
    }
}
