//! Where bytes land and whether they fit.
//!
//! Five limits count: bytes and inodes of the filesystem, a quota (which is what a
//! filesystem under one says is free, or what one leaves that this plan sets), the thin pool
//! below it, and the reserve.
//!
//! Fit is decided as if nothing were shared or compressed. The first copy of a source
//! must fit as a whole. A later copy must fit by what the source grew; that everything
//! in it could have changed is said, and does not stop it: the serving side never
//! writes into the reserve.

use std::collections::BTreeMap;

use crate::model::Amount;
use crate::model::lvm::VolumeKind;
use crate::model::observed::{PathFacts, Space};
use crate::model::topology::Place;
use crate::model::{Address, ByteSize, Name};
use crate::plan::change::{CapacityLine, Finding, Landing, Limit};
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

impl<'a> Spot<'a> {
    /// Returns where the bytes of a datastore land, with what it wants to stay free.
    pub(super) fn of(
        world: World<'a>,
        datastore: &Name,
        place: &'a Place,
        reserve: Option<Amount>,
    ) -> Self {
        let ground = world.ground(datastore);
        let (node, path) = ground.map_or((&place.node, place.path.as_str()), |ground| {
            (ground.node, ground.path)
        });
        Self {
            node,
            path,
            reserve,
        }
    }

    /// Returns where the bytes of a datastore land, if the room there was seen.
    pub(super) fn seen(world: World<'a>, name: &Name) -> Option<(Self, &'a PathFacts, Space)> {
        let (datastore, place, ..) = world.served(name)?;
        let seen = world.ground(name)?.seen?;
        let spot = Self::of(world, name, place, datastore.reserve);
        Some((spot, seen, seen.space?))
    }
}

/// How many bytes an action brings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes {
    /// The most that can land.
    pub(super) max: Option<ByteSize>,
    /// What has to fit for the action to go ahead.
    pub(super) must_fit: Option<ByteSize>,
    /// How many files and folders come with them; few where they go into packs.
    pub(super) entries: u64,
}

/// A node, and what has room there: a mount point, or a thin pool by its group and name.
type Key = (Name, String);

/// What the actions of a plan take from each filesystem and thin pool.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    spent: BTreeMap<Key, Spent>,
    /// What will be free where this plan sets a quota.
    limited: BTreeMap<Key, ByteSize>,
}

/// The room at a place, after all that was spent there before.
struct Room {
    bytes: Option<ByteSize>,
    inodes: Option<u64>,
    thin: Option<ByteSize>,
    reserve: ByteSize,
}

/// The thin pool that a filesystem's volume takes from.
struct ThinPool {
    key: Key,
    label: String,
    free: ByteSize,
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
            entries: 0,
        }
    }

    /// Returns the bytes of a later copy, given how many there are already.
    pub(super) fn later(bytes: Option<ByteSize>, there: ByteSize) -> Self {
        Self {
            max: bytes,
            must_fit: bytes.map(|bytes| ByteSize(bytes.0.saturating_sub(there.0))),
            entries: 0,
        }
    }

    /// Says how many files and folders come with them.
    pub(super) fn with_entries(self, entries: u64) -> Self {
        Self { entries, ..self }
    }

    /// Adds those of another source.
    pub(super) fn plus(self, other: Self) -> Self {
        let add =
            |a: Option<ByteSize>, b: Option<ByteSize>| Some(ByteSize(a?.0.saturating_add(b?.0)));
        Self {
            max: add(self.max, other.max),
            must_fit: add(self.must_fit, other.must_fit),
            entries: self.entries.saturating_add(other.entries),
        }
    }
}

impl Room {
    /// Returns the first limit that would be broken.
    fn breaks(&self, bytes: Bytes, thin: Option<&ThinPool>) -> Option<Limit> {
        let needed = bytes.must_fit.filter(|needed| needed.0 > 0);
        if let (Some(needed), Some(left)) = (needed, self.bytes) {
            if left < needed {
                return Some(Limit::Bytes);
            }
            if left.0 < needed.0.saturating_add(self.reserve.0) {
                return Some(Limit::Reserve);
            }
        }
        if let (Some(needed), Some(left), Some(thin)) = (needed, self.thin, thin)
            && left < needed
        {
            return Some(Limit::ThinPool {
                pool: thin.label.clone(),
                free: thin.free,
            });
        }
        let free = self.inodes.filter(|free| *free < bytes.entries)?;
        Some(Limit::Inodes {
            needed: bytes.entries,
            free,
        })
    }
}

impl ThinPool {
    /// Returns the pool below a filesystem, if it may run out before the filesystem does.
    ///
    /// A container's filesystems are volumes of its host. How much of what is free was written
    /// before, and would take nothing, can't be told; so all of it is taken for new.
    fn below(world: World<'_>, node: &Name, seen: Option<&PathFacts>) -> Option<Self> {
        let mount = seen?.mount.as_ref()?;
        let container = world.topology.nodes.get(node)?.container.as_ref();
        let host = container.map_or(node, |container| &container.on);
        let lvm = world.observed.reached(host.as_str())?.lvm.as_ref()?;
        let volume = lvm.at(&mount.source)?;
        let VolumeKind::Thin { pool, .. } = &volume.kind else {
            return None;
        };
        let pool = lvm.volume(&volume.group, pool)?;
        let free = pool.left();
        let label = format!("{}/{}", pool.group, pool.name);
        (volume.left() > free).then(|| Self {
            key: (host.clone(), label.clone()),
            label,
            free,
        })
    }
}

impl Ledger {
    /// Says that so much will be free on the filesystem of a path, once its quota is set.
    pub(super) fn limit(&mut self, node: &Name, path: &str, seen: &PathFacts, free: ByteSize) {
        self.limited.insert(pool(Some(seen), node, path), free);
    }

    /// Returns the space of a filesystem as it is once its quota is set.
    fn space(&self, key: &Key, seen: Space) -> Space {
        let Some(free) = self.limited.get(key) else {
            return seen;
        };
        let used = seen.total.0.saturating_sub(seen.free.0);
        Space {
            total: ByteSize(used.saturating_add(free.0)),
            free: *free,
            ..seen
        }
    }

    /// Says what landing there would mean, after all that was spent there before.
    pub(super) fn look(&self, world: World<'_>, spot: Spot<'_>, bytes: Bytes) -> Landing {
        let seen = seen(world, spot.node, spot.path);
        let own = pool(seen, spot.node, spot.path);
        let space = seen.and_then(|facts| facts.space);
        let space = space.map(|space| self.space(&own, space));
        let reserve = reserve(world, spot, seen, space);
        let thin = ThinPool::below(world, spot.node, seen);
        let spent = |key: &Key| ByteSize(self.spent.get(key).map_or(0, |spent| spent.bytes));
        let left = |key: &Key, free: ByteSize| ByteSize(free.0.saturating_sub(spent(key).0));
        let besides_in_pool = thin.as_ref().map(|thin| spent(&thin.key));
        let room = Room {
            bytes: space.map(|space| left(&own, space.free)),
            inodes: space
                .filter(|space| space.inodes_total > 0)
                .map(|space| space.inodes_free),
            thin: thin.as_ref().map(|thin| left(&thin.key, thin.free)),
            reserve,
        };
        let limit = room.breaks(bytes, thin.as_ref());
        let is_known = room.bytes.is_some() && bytes.must_fit.is_some();
        // Nothing new always fits, even where the reserve is eaten into already.
        let is_nothing = bytes.must_fit == Some(ByteSize(0));
        let free = space.map(|space| space.free);
        Landing {
            node: spot.node.clone(),
            path: spot.path.to_owned(),
            disk: disk(world, spot.node, seen),
            bytes_max: bytes.max,
            must_fit: bytes.must_fit,
            besides: spent(&own),
            besides_in_pool: besides_in_pool.unwrap_or_default(),
            free: free.map(|free| thin.map_or(free, |thin| thin.free.min(free))),
            reserve,
            fits: (is_known || is_nothing || limit.is_some()).then_some(limit.is_none()),
            limit,
        }
    }

    /// Takes what an action brings from the filesystem where it lands.
    pub(super) fn spend(&mut self, world: World<'_>, landing: &Landing) {
        let seen = seen(world, &landing.node, &landing.path);
        let own = pool(seen, &landing.node, &landing.path);
        let thin = ThinPool::below(world, &landing.node, seen).map(|thin| thin.key);
        for key in [Some(own), thin].into_iter().flatten() {
            let spent = self.spent.entry(key).or_default();
            match landing.bytes_max {
                Some(bytes) => spent.bytes = spent.bytes.saturating_add(bytes.0),
                None => spent.unknown = true,
            }
            spent.reserve = spent.reserve.max(landing.reserve);
        }
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
                    lines.insert(key.clone(), self.line(&key, space, spent));
                }
            }
        }
        for name in datastores {
            let Some((spot, seen, space)) = Spot::seen(world, name) else {
                continue;
            };
            let key = pool(Some(seen), spot.node, spot.path);
            let wanted = reserve(world, spot, Some(seen), Some(self.space(&key, space)));
            lines
                .entry(key.clone())
                .and_modify(|line| line.reserve = line.reserve.max(wanted))
                .or_insert_with(|| {
                    let nothing = Spent {
                        reserve: wanted,
                        ..Spent::default()
                    };
                    self.line(&key, space, &nothing)
                });
        }
        lines.into_values().collect()
    }

    fn line(&self, key: &Key, seen: Space, spent: &Spent) -> CapacityLine {
        let (node, mount) = key.clone();
        let free = self.space(key, seen).free;
        CapacityLine {
            node,
            mount,
            total: seen.total,
            free_before: seen.free,
            free_after: (!spent.unknown).then(|| ByteSize(free.0.saturating_sub(spent.bytes))),
            reserve: spent.reserve,
        }
    }
}

fn seen<'a>(world: World<'a>, node: &Name, path: &str) -> Option<&'a PathFacts> {
    world.observed.reached(node.as_str())?.paths.get(path)
}

/// Returns how many bytes the filesystem of a path still takes.
pub(super) fn room(world: World<'_>, node: &Name, path: &str) -> Option<ByteSize> {
    Some(seen(world, node, path)?.space?.free)
}

/// Returns the thin pool below a path's filesystem, and how many bytes it still gives.
pub(super) fn thin_room(
    world: World<'_>,
    node: &Name,
    path: &str,
) -> Option<((Name, String), ByteSize)> {
    let thin = ThinPool::below(world, node, seen(world, node, path))?;
    Some((thin.key, thin.free))
}

/// Names what a path's filesystem lies on: the pool below it, or the disk of its partition.
fn disk(world: World<'_>, node: &Name, seen: Option<&PathFacts>) -> Option<String> {
    if let Some(thin) = ThinPool::below(world, node, seen) {
        return Some(thin.label);
    }
    let mount = seen?.mount.as_ref()?;
    if mount.fstype == "zfs" {
        return mount.source.split('/').next().map(str::to_owned);
    }
    Some(whole_disk(&mount.source).to_owned())
}

/// Returns the disk that a partition is of: `/dev/sdb` for `/dev/sdb1`.
fn whole_disk(device: &str) -> &str {
    let without = device.trim_end_matches(|last: char| last.is_ascii_digit());
    if without.len() == device.len() {
        return device;
    }
    // Disks whose own names end in a digit set the partition's number off with a p.
    if device.starts_with("/dev/nvme") || device.starts_with("/dev/mmcblk") {
        return without.strip_suffix('p').unwrap_or(device);
    }
    let plain = ["/dev/sd", "/dev/vd", "/dev/xvd", "/dev/hd"];
    if plain.iter().any(|start| device.starts_with(start)) {
        return without;
    }
    device
}

/// Names the filesystem that a path is on.
pub(super) fn filesystem(world: World<'_>, node: &Name, path: &str) -> (Name, String) {
    pool(seen(world, node, path), node, path)
}

/// Returns the filesystem that a path is on, or the path itself where that is unknown.
fn pool(seen: Option<&PathFacts>, node: &Name, path: &str) -> (Name, String) {
    let mount = seen.and_then(|facts| facts.mount.as_ref());
    let target = mount.map_or(path, |mount| mount.target.as_str());
    (node.clone(), target.to_owned())
}

/// Returns what must stay free of some space: the larger of what the datastore and its node want.
pub(super) fn reserve(
    world: World<'_>,
    spot: Spot<'_>,
    seen: Option<&PathFacts>,
    space: Option<Space>,
) -> ByteSize {
    let total = space.map_or(ByteSize(0), |space| space.total);
    let target = seen
        .and_then(|facts| facts.mount.as_ref())
        .map_or("/", |mount| mount.target.as_str());
    let of_node = reserve_of_node(world, spot.node, spot.path, target, total);
    let of_datastore = spot.reserve.map(|amount| amount.of(total));
    of_node.max(of_datastore.unwrap_or_default())
}

/// Returns what a node wants to stay free where a path is, on a filesystem with this mount point
/// and size.
pub(super) fn reserve_of_node(
    world: World<'_>,
    node: &Name,
    path: &str,
    target: &str,
    total: ByteSize,
) -> ByteSize {
    let reserves = world.topology.nodes.get(node).into_iter();
    reserves
        .flat_map(|node| &node.reserve)
        // A reserve for / says nothing about a filesystem that is mounted below it.
        .filter(|(own, _)| words::is_below(path, own) && words::is_below(own, target))
        .map(|(_, amount)| amount.of(total))
        .max()
        .unwrap_or_default()
}

/// Says that an action's bytes do not fit.
pub(super) fn too_big(
    address: Address,
    landing: &Landing,
    must_fit: ByteSize,
    lasting: Lasting,
) -> Finding {
    let free = landing.free.unwrap_or_default();
    let place = format!("{}:{}", landing.node, landing.path);
    let mut because = vec!["free space is counted after the other copies of this plan".to_owned()];
    let (elsewhere, mut fix) = match lasting {
        Lasting::Kept => {
            let whole = "a first copy must fit as if nothing were shared or compressed";
            because.push(whole.to_owned());
            (
                "name another datastore",
                "free some space there, lower the reserve, or name another datastore".to_owned(),
            )
        }
        Lasting::Scratch => (
            "name another scratch place",
            "free some space there, name another scratch place, or restore a smaller source"
                .to_owned(),
        ),
    };
    let message = match &landing.limit {
        Some(Limit::Reserve) => format!(
            "up to {must_fit} would land on {place} and leave less than the reserve of {}; {free} is free",
            landing.reserve
        ),
        Some(Limit::ThinPool { pool, free }) => {
            because.push("a thin pool that is full fails every guest in it".to_owned());
            fix = format!("free some space in the pool, extend it, or {elsewhere}");
            format!(
                "up to {must_fit} would land on {place}, and thin pool {pool} below it has {free} left"
            )
        }
        Some(Limit::Inodes { needed, free }) => {
            because.clear();
            fix = String::from(
                "remove small files there, or name a scratch place with room for them",
            );
            format!(
                "{} would land on {place}, where {free} inodes are free",
                words::count(*needed, "entry", "entries")
            )
        }
        Some(Limit::Bytes) | None if free >= must_fit => format!(
            "up to {must_fit} would land on {place}, where {free} is free and others of this plan take of it"
        ),
        Some(Limit::Bytes) | None => {
            format!("up to {must_fit} would land on {place}, where {free} is free")
        }
    };
    Finding::error("BK201", address, message)
        .because(because)
        .fix(fix)
}

/// How long something stays where it lands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lasting {
    /// A copy, which is kept.
    Kept,
    /// What a drill restores, and removes again.
    Scratch,
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
        let Some((spot, seen, space)) = Spot::seen(world, name) else {
            continue;
        };
        let address = Address::new("datastore", name);
        let reserve = reserve(world, spot, Some(seen), Some(space));
        if reserve.0 > 0 && space.free < reserve {
            let message = format!(
                "{} is free on {}:{}, less than its reserve of {reserve}: new data is refused",
                space.free, spot.node, spot.path
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
                spot.node, spot.path
            );
            draft.find(
                Finding::warning("BK210", address, message)
                    .fix("remove small files there; ext4 can't get more inodes later"),
            );
        }
    }
}
