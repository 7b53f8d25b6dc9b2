//! Containers: whose numbers users have outside, and over whom root is root.

use crate::model::idmap::IdMap;
use crate::model::observed::{Component, ContainerFacts};
use crate::model::topology::Container;
use crate::model::{Name, Observed};
use crate::plan::access::Identity;
use crate::plan::draft::World;

/// Returns what the host of a container has seen of it.
pub(super) fn facts<'a>(
    observed: &'a Observed,
    container: &Container,
) -> Option<&'a ContainerFacts> {
    let host = observed.reached(container.on.as_str())?;
    host.containers.get(&container.id)
}

/// Returns a container's map and how it is known; none if what is declared makes no sense.
///
/// What runs counts more than what is declared.
pub(super) fn map_of(observed: &Observed, container: &Container) -> Option<(IdMap, String)> {
    if let Some(seen) = facts(observed, container) {
        let how = if seen.running {
            "as it runs"
        } else {
            "as its file says"
        };
        return Some((seen.map.clone(), format!("id map of the container, {how}")));
    }
    let lines = container.idmap.iter().map(String::as_str);
    let map = match (container.privileged, container.idmap.is_empty()) {
        (true, _) => IdMap::identity(),
        (false, true) => IdMap::unprivileged(),
        (false, false) => IdMap::from_lxc(lines)?,
    };
    Some((map, "id map of the container, as declared".to_owned()))
}

/// Returns somebody of a node with the rights that count there: a container's root is above
/// nobody else's files.
pub(super) fn seen_from(world: World<'_>, node: &Name, who: Identity) -> Identity {
    let container = world.topology.nodes.get(node);
    let container = container.and_then(|node| node.container.as_ref());
    let map = container.and_then(|container| map_of(world.observed, container));
    match map {
        Some((map, _)) if !map.is_identity() => who.inside(&map),
        _ => who,
    }
}

/// Tells whether a node's root is above whoever owns a folder.
pub(super) fn is_below_root(world: World<'_>, node: &Name, folder: &Component) -> bool {
    seen_from(world, node, Identity::numbers("root", 0, 0)).is_above(folder)
}

/// Returns the host of a container whose numbers are others there, with those of somebody inside.
pub(super) fn outside<'a>(
    world: World<'a>,
    node: &Name,
    who: &Identity,
) -> Option<(&'a Name, u32, u32)> {
    let container = world.topology.nodes.get(node)?.container.as_ref()?;
    let (map, _) = map_of(world.observed, container)?;
    let there = who.outside(&map).filter(|_| !map.is_identity())?;
    Some((&container.on, there.uid, there.gid))
}
