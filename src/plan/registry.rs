//! The registry of what is managed on each node, so that removals are visible.

use std::collections::BTreeMap;

use crate::model::markers::{Kept, Registry};
use crate::model::observed::NodeFacts;
use crate::model::topology::{Datastore, Place, Source};
use crate::model::{Address, Name};
use crate::plan::change::Step;
use crate::plan::draft::{Draft, Goal, Proposal, World};
use crate::plan::orphan::{self, is_declared};
use crate::plan::part::Registering;
use crate::plan::{mount, share, source, words};

/// The kind of address under which a source's program is listed.
const PROGRAM_OF: &str = "source";

/// Plans the registry of every node that has something managed.
pub(super) fn registries(world: World<'_>, datastores: &[&Name], draft: &mut Draft) {
    let by_node = by_node(world, datastores);
    for node in world.topology.nodes.keys() {
        if let Some(facts) = world.observed.reached(node.as_str()) {
            let here = by_node.get(node).unwrap_or(&NOTHING);
            registry(world, node, facts, here, draft);
        }
    }
}

/// What may be listed in one node's registry.
#[derive(Default)]
struct Here<'a> {
    /// Datastores that are served there.
    served: Vec<&'a Name>,
    /// Datastores for which something is mounted there.
    mounted: Vec<&'a Name>,
    shares: Vec<&'a Name>,
    sources: Vec<(&'a Name, &'a Source)>,
}

static NOTHING: Here<'static> = Here {
    served: Vec::new(),
    mounted: Vec::new(),
    shares: Vec::new(),
    sources: Vec::new(),
};

fn by_node<'a>(world: World<'a>, datastores: &[&'a Name]) -> BTreeMap<&'a Name, Here<'a>> {
    let topology = world.topology;
    let mut nodes: BTreeMap<&Name, Here<'_>> = BTreeMap::new();
    for name in datastores {
        let Some(place) = topology
            .datastores
            .get(*name)
            .and_then(Datastore::first_place)
        else {
            continue;
        };
        nodes.entry(&place.node).or_default().served.push(name);
        if let Some(mount) = &place.mount {
            let (on, _) = place.mount_point(mount);
            nodes.entry(on).or_default().mounted.push(name);
        }
    }
    for (name, share) in &topology.shares {
        nodes.entry(&share.on).or_default().shares.push(name);
    }
    for (name, source) in &topology.sources {
        let here = nodes.entry(&source.on).or_default();
        here.sources.push((name, source));
    }
    nodes
}

/// Returns what the registry of its node says of a datastore, under its name or one it had.
///
/// The registry only ever lists datastores that carried their marker, so one that is
/// listed was there, whatever is to be seen of it now.
pub(super) fn listed<'a>(world: World<'a>, datastore: &Name) -> Option<&'a str> {
    let facts = world.observed.reached(world.home(datastore)?.as_str())?;
    let objects = &facts.state.registry.as_ref()?.objects;
    let address = Address::new("datastore", datastore);
    let moved = world.topology.moved.iter();
    let earlier = moved.filter(|m| m.to == address).map(|m| &m.from);
    std::iter::once(&address)
        .chain(earlier)
        .find_map(|address| objects.get(address))
        .map(String::as_str)
}

/// Says of a datastore what the registry keeps.
pub(super) fn entry(place: &Place) -> String {
    Kept::Repository(&place.path).to_string()
}

fn registry(world: World<'_>, node: &Name, facts: &NodeFacts, here: &Here<'_>, draft: &mut Draft) {
    let before = facts.state.registry.clone().unwrap_or_default();
    let list = |draft: &Draft| listing(world, node, facts, &before, here, draft);
    let (objects, needs) = match draft.registering(node) {
        Registering::Whole => list(draft),
        Registering::Change => {
            let (after, needs) = list(draft);
            let (without, _) = list(&draft.without_actions());
            (changed(&before, &without, &after), needs)
        }
        Registering::Not => return,
    };
    let after = Registry { objects };
    if after == before {
        return;
    }
    let count = after.objects.len() as u64;
    let words = words::count(
        count,
        "thing bkpctl manages here",
        "things bkpctl manages here",
    );
    draft.propose(Proposal {
        before: facts
            .state
            .registry
            .as_ref()
            .map(|before| format!("{}", before.objects.len())),
        reason: "so that a later removal is noticed".to_owned(),
        needs,
        ..Proposal::new(
            Address::new("node", node),
            node,
            Step::Register { registry: after },
            format!("lists {words}"),
        )
    });
}

/// Returns a registry with what two listings differ in, and all else as it was.
fn changed(
    before: &Registry,
    without: &BTreeMap<Address, String>,
    with: &BTreeMap<Address, String>,
) -> BTreeMap<Address, String> {
    let mut objects = before.objects.clone();
    for address in without.keys().chain(with.keys()) {
        let after = with.get(address);
        if without.get(address) == after {
            continue;
        }
        match after {
            Some(words) => drop(objects.insert(address.clone(), words.clone())),
            None => drop(objects.remove(address)),
        }
    }
    objects
}

/// Returns what a node's registry is to list, and what has to be done for that first.
fn listing(
    world: World<'_>,
    node: &Name,
    facts: &NodeFacts,
    before: &Registry,
    here: &Here<'_>,
    draft: &Draft,
) -> (BTreeMap<Address, String>, Vec<Goal>) {
    let mut objects: BTreeMap<Address, String> = BTreeMap::new();
    let mut needs = Vec::new();
    for (address, words) in &before.objects {
        if address.kind() == PROGRAM_OF {
            continue;
        }
        let gone = Goal::Gone(address.clone());
        if draft.will(&gone) {
            needs.push(gone);
        } else if is_declared(world, node, address) || !orphan::is_forgotten(world, node, address) {
            objects.insert(address.clone(), words.clone());
        }
    }
    for name in &here.served {
        let Some((_, place, _, store)) = world.served(name) else {
            continue;
        };
        // Only what carries its marker is listed: what is listed and not there was lost.
        let goals = [
            Goal::Repository((*name).clone()),
            Goal::Managed((*name).clone()),
        ];
        let usable = draft.first_obstacle(&goals).is_none();
        let there = store.marker.is_some() || draft.will(&goals[0]);
        if usable && there {
            let known = objects.insert(Address::new("datastore", name), entry(place));
            // What is listed already, and stays so, need not wait for anything.
            if known != Some(entry(place)) {
                needs.extend(goals);
            }
        }
    }
    keep_renamed(world, node, before, &mut objects);
    needs.extend(system_files(world, here, draft, &mut objects));
    programs(here, before, draft, &mut objects);
    let binary = Goal::Binary(node.clone());
    if draft.will(&binary) || !facts.state.binaries.is_empty() {
        objects.insert(
            Address::new("node", node),
            format!("bkpctl in {}", facts.state.folder),
        );
        if draft.will(&binary) {
            needs.push(binary);
        }
    }
    (objects, needs)
}

/// Lists the exports and mounts that bkpctl keeps on a node, and returns what has to be done
/// for that first.
fn system_files(
    world: World<'_>,
    here: &Here<'_>,
    draft: &Draft,
    objects: &mut BTreeMap<Address, String>,
) -> Vec<Goal> {
    let mut needs = Vec::new();
    let mut list = |address: Address, words: String, kept: bool, goal: Goal| {
        let made = draft.will(&goal);
        if kept || made {
            objects.insert(address, words);
            needs.extend(made.then_some(goal));
        }
    };
    for name in &here.shares {
        if let Some((file, kept)) = share::kept_file(world, name) {
            let goal = Goal::Exported((*name).clone());
            list(
                Address::new("share", name),
                Kept::Export(&file).to_string(),
                kept,
                goal,
            );
        }
    }
    for name in &here.mounted {
        if let Some((file, kept)) = mount::kept_unit(world, name) {
            let goal = Goal::Mounted((*name).clone());
            list(
                Address::new("mount", name),
                Kept::Mount(&file).to_string(),
                kept,
                goal,
            );
        }
    }
    needs
}

/// Lists the programs that sources run on a node: those allowed before, and those that a copy
/// of this plan runs, which is carried out only after a yes.
fn programs(
    here: &Here<'_>,
    before: &Registry,
    draft: &Draft,
    objects: &mut BTreeMap<Address, String>,
) {
    for (name, source) in &here.sources {
        let address = Address::new(PROGRAM_OF, name);
        // A sync brings a copy too, and runs no program.
        let runs = || {
            let mut pending = draft.proposals.iter().filter(|p| p.deferred.is_none());
            pending.any(|p| matches!(&p.step, Step::Copy { source, .. } if source == *name))
        };
        let allowed = before.objects.get(&address).cloned();
        let words = match source::program(source) {
            Some(now) if runs() => Some(now),
            Some(_) => allowed,
            None => None,
        };
        objects.extend(words.map(|words| (address, words)));
    }
}

/// Keeps the old name of a datastore that was renamed until its new one is listed.
fn keep_renamed(
    world: World<'_>,
    node: &Name,
    before: &Registry,
    objects: &mut BTreeMap<Address, String>,
) {
    for moved in &world.topology.moved {
        if let Some(words) = before.objects.get(&moved.from)
            && is_declared(world, node, &moved.to)
            && !objects.contains_key(&moved.to)
        {
            objects.insert(moved.from.clone(), words.clone());
        }
    }
}
