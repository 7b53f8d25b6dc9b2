//! Containers: whose numbers users have outside, over whom root is root, and whether their maps
//! were granted.

use crate::model::idmap::{IdGrants, IdMap, IdRange, IdRun, not_granted};
use crate::model::observed::{Component, ContainerFacts};
use crate::model::topology::Container;
use crate::model::{Address, Name, Observed};
use crate::plan::access::Identity;
use crate::plan::change::Finding;
use crate::plan::draft::{Draft, World};

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

/// Says which containers would not start, since their id maps ask for numbers of their host that
/// its root was not granted.
///
/// Only lines of a container's own are judged. The usual range Proxmox VE gives without reading
/// what was granted, and installing it grants that range: a host whose files lack it would start
/// no unprivileged container at all, and whoever runs it knows. A map that holds the host's own
/// root is written by lxc itself, past newuidmap.
pub(super) fn report(world: World<'_>, draft: &mut Draft) {
    for (name, node) in &world.topology.nodes {
        let Some(container) = &node.container else {
            continue;
        };
        let host = world.observed.reached(container.on.as_str());
        let granted = host.and_then(|host| host.id_grants.as_ref());
        let seen = facts(world.observed, container);
        let asked = seen.and_then(|seen| Some((seen, seen.asked_map.as_ref()?)));
        let Some((granted, (seen, map))) = granted.zip(asked) else {
            continue;
        };
        if !map.holds_uid(0)
            && let Some(finding) = ungranted(name, container, seen, map, granted)
        {
            draft.find(finding);
        }
    }
}

fn ungranted(
    name: &Name,
    container: &Container,
    seen: &ContainerFacts,
    map: &IdMap,
    granted: &IdGrants,
) -> Option<Finding> {
    let kinds = [
        Kind {
            word: "uid",
            asked: &map.uids,
            granted: &granted.uids,
        },
        Kind {
            word: "gid",
            asked: &map.gids,
            granted: &granted.gids,
        },
    ];
    let symptom = kinds.iter().find_map(Kind::refusal)?;
    let (id, host) = (container.id, &container.on);
    let message = if seen.running {
        format!("container {id} runs, and would not start again: \"{symptom}\"")
    } else {
        format!("container {id} does not start: \"{symptom}\"")
    };
    let address = Address::new("node", name);
    let finding = if seen.running {
        Finding::warning(UNGRANTED, address, message)
    } else {
        Finding::error(UNGRANTED, address, message)
    };
    let lines: Vec<String> = kinds.iter().flat_map(Kind::lines).collect();
    Some(
        finding
            .because(kinds.iter().map(|kind| kind.words(host)).collect())
            .fix(format!("on {host}, as root: {}", lines.join("; "))),
    )
}

/// The code of a map that was not granted.
const UNGRANTED: &str = "BK160";

/// How many of the numbers that root may give are shown.
const SHOWN: usize = 4;

/// Users or groups: what a map asks for, and what was granted.
struct Kind<'a> {
    word: &'static str,
    asked: &'a [IdRange],
    granted: &'a [IdRun],
}

impl Kind<'_> {
    fn file(&self) -> String {
        format!("/etc/sub{}", self.word)
    }

    /// Returns what newuidmap, or newgidmap, says of the first range that it refuses.
    fn refusal(&self) -> Option<String> {
        let refused = |range: &&IdRange| !not_granted(range, self.granted).is_empty();
        let range = self.asked.iter().find(refused)?;
        let end = |first: u32| u64::from(first) + u64::from(range.count);
        let word = self.word;
        Some(format!(
            "new{word}map: {word} range [{}-{}) -> [{}-{}) not allowed",
            range.inside,
            end(range.inside),
            range.outside,
            end(range.outside),
        ))
    }

    /// Returns a command for each line that its file lacks.
    fn lines(&self) -> Vec<String> {
        let missing = self.asked.iter();
        let missing = missing.flat_map(|range| not_granted(range, self.granted));
        let line = |run: IdRun| {
            let file = self.file();
            format!("echo root:{}:{} >> {file}", run.first, run.count)
        };
        missing.map(line).collect()
    }

    fn words(&self, host: &Name) -> String {
        let shown = self.granted.iter().take(SHOWN);
        let mut runs: Vec<String> = shown
            .map(|run| format!("{}:{}", run.first, run.count))
            .collect();
        if self.granted.len() > SHOWN {
            runs.push("…".to_owned());
        }
        let runs = if runs.is_empty() {
            "nothing".to_owned()
        } else {
            runs.join(", ")
        };
        format!("{} of {host} gives root {runs}", self.file())
    }
}
