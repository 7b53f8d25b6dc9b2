//! Coverage: which guests and datasets were found that nobody protects.
//!
//! A guest counts as protected if it is a source, belongs to a group of guests, is a node with
//! sources of its own, or if each of its disks is a source. A dataset does if a source holds it
//! or lies in it. Datasets that hold next to nothing, a guest's disk or a datastore do not count.

use super::{Judged, Outlook};
use crate::model::observed::NodeFacts;
use crate::model::pve::{Disk, Guest, PveFacts};
use crate::model::topology::{Content, Source};
use crate::model::zfs::{ZfsDataset, ZfsFacts};
use crate::model::{Address, ByteSize, Name};
use crate::plan::change::{Finding, Verdict};
use crate::plan::draft::{Draft, World};
use crate::plan::words::{is_below, list};

/// What a dataset may hold itself before somebody would miss it.
const NOTHING: ByteSize = ByteSize(1 << 20);
/// How many names a line has room for.
const NAMES: usize = 3;

/// Something found on a node.
struct Found {
    /// Its short name, such as `vm-117`.
    name: String,
    /// Where it is, and what else it is called.
    words: String,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Covered,
    /// What covers it is on a node that was not reached, or so it seems.
    Unsure,
    Bare,
}

impl Outlook<'_> {
    pub(super) fn covered(&self) -> Judged {
        let found = found(self.world);
        let of = |state: State| -> Vec<&Found> {
            found.iter().filter(|found| found.state == state).collect()
        };
        let (bare, unsure) = (of(State::Bare), of(State::Unsure));
        let nodes = self.world.topology.nodes.keys();
        let mut unseen = nodes.filter(|node| self.world.observed.reached(node.as_str()).is_none());
        let verdict = if !bare.is_empty() {
            Verdict::Deny
        } else if !unsure.is_empty() || unseen.next().is_some() {
            Verdict::Unknown
        } else {
            Verdict::Pass
        };
        let covered = found.len() - bare.len() - unsure.len();
        let detail = match (found.len(), bare.len()) {
            (0, _) => "no guest or dataset found".to_owned(),
            (all, 0) => format!("{covered} of {all}"),
            (all, _) => format!("{covered} of {all} ({})", short(&bare)),
        };
        let words = bare.iter().map(|found| found.words.clone()).collect();
        let judged = Judged {
            lead: "neither a source nor excepted",
            ..Judged::new(verdict, detail, words)
        };
        judged.explained(
            Vec::new(),
            "make each a source, or except it: in guests, or in covered for datasets",
        )
    }
}

/// Says in a note what is not protected, where no rule of the policy asks for it.
pub(super) fn note(world: World<'_>, draft: &mut Draft) {
    if world.topology.policy.covered {
        return;
    }
    let found = found(world);
    let bare: Vec<&Found> = found.iter().filter(|f| f.state == State::Bare).collect();
    if bare.is_empty() {
        return;
    }
    let message = format!(
        "{} of the {} found on the nodes {} in no source: {}",
        bare.len(),
        match found.len() {
            1 => "1 guest or dataset".to_owned(),
            all => format!("{all} guests and datasets"),
        },
        if bare.len() == 1 { "is" } else { "are" },
        short(&bare)
    );
    let covered = Name::new("covered").expect("it is a word");
    draft.find(
        Finding::note("BK613", Address::new("policy", &covered), message)
            .fix("make them sources, or write covered in the policy and except what needs no copy"),
    );
}

fn short(found: &[&Found]) -> String {
    let mut names: Vec<String> = found.iter().take(NAMES).map(|f| f.name.clone()).collect();
    if found.len() > NAMES {
        names.push(format!("{} more", found.len() - NAMES));
    }
    list(&names)
}

/// Returns every guest and every dataset that somebody would miss.
fn found(world: World<'_>) -> Vec<Found> {
    let mut all = Vec::new();
    for (node, declared) in &world.topology.nodes {
        let Some(facts) = world.observed.reached(node.as_str()) else {
            continue;
        };
        let inventory = facts.pve.as_ref();
        for guest in inventory.into_iter().flat_map(|pve| &pve.guests) {
            all.push(Found {
                name: name_of(guest),
                words: match &guest.name {
                    Some(name) => format!("{} ({name}) on {node}", name_of(guest)),
                    None => format!("{} on {node}", name_of(guest)),
                },
                state: guest_state(world, node, facts, guest),
            });
        }
        // A container sees its host's datasets, and its host is asked for them.
        if let Some(zfs) = facts.zfs.as_ref().filter(|_| declared.container.is_none()) {
            let held = zfs.datasets.iter();
            let held = held.filter(|dataset| counts(world, node, facts, zfs, dataset));
            all.extend(held.map(|dataset| Found {
                name: dataset.name.clone(),
                words: format!("dataset {} on {node}", dataset.name),
                state: dataset_state(world, node, zfs, dataset),
            }));
        }
    }
    all
}

fn name_of(guest: &Guest) -> String {
    let kind = if guest.is_container { "ct" } else { "vm" };
    format!("{kind}-{}", guest.id)
}

/// Returns the sources on a node.
fn sources_on<'a>(world: World<'a>, node: &'a Name) -> impl Iterator<Item = &'a Source> {
    let sources = world.topology.sources.values();
    sources.filter(move |source| source.on == *node)
}

fn guest_state(world: World<'_>, node: &Name, facts: &NodeFacts, guest: &Guest) -> State {
    let topology = world.topology;
    let groups = topology.guests.values().filter(|group| {
        let names_it = group.only.contains(&guest.id) || group.except.contains(&guest.id);
        names_it || (group.all && group.on.contains(node))
    });
    let groups = groups.flat_map(|group| &group.on);
    let sources = topology.sources.values();
    let named = sources
        .filter(|source| matches!(source.content, Content::Guest(id) if id == guest.id))
        .map(|source| &source.on);
    let mut state = State::Bare;
    for declared in groups.chain(named) {
        match may_be_from(world, declared, node, guest.id) {
            Some(true) => return State::Covered,
            Some(false) => {}
            None => state = State::Unsure,
        }
    }
    let container = |name: &&Name| {
        let container = topology.nodes[*name].container.as_ref();
        container.is_some_and(|is| is.on == *node && is.id == guest.id)
    };
    let mut nodes = topology.nodes.keys().filter(container);
    if nodes.any(|node| sources_on(world, node).next().is_some()) {
        return State::Covered;
    }
    let Some(pve) = &facts.pve else { return state };
    let mut disks = guest.disks.iter().filter(|disk| disk.dumped).peekable();
    let is_read = |disk: &Disk| {
        let mut sources = sources_on(world, node);
        sources.any(|source| matches!(&source.content, Content::Volume { device, .. } if is_at(facts, pve, disk, device)))
    };
    if disks.peek().is_some() && disks.all(is_read) {
        return State::Covered;
    }
    state
}

/// Tells whether a guest that was declared on one node and found on another may be the same:
/// guests move within a cluster, and two nodes may use one number. None where one was not seen.
fn may_be_from(world: World<'_>, declared: &Name, found: &Name, guest: u32) -> Option<bool> {
    if declared == found {
        return Some(true);
    }
    let facts = world.observed.reached(declared.as_str())?;
    let guests = facts.pve.iter().flat_map(|pve| &pve.guests);
    Some(!guests.into_iter().any(|other| other.id == guest))
}

/// Tells whether a device is where a guest's disk is.
fn is_at(facts: &NodeFacts, pve: &PveFacts, disk: &Disk, device: &str) -> bool {
    let Some(storage) = pve.storage(&disk.storage) else {
        return false;
    };
    let volume = &disk.volume;
    let in_group = |group: &String| {
        let seen = facts.lvm.as_ref().and_then(|lvm| lvm.at(device));
        let is_seen = seen.is_some_and(|seen| seen.group == *group && seen.name == *volume);
        is_seen || device == format!("/dev/{group}/{volume}")
    };
    storage.group.as_ref().is_some_and(in_group)
        || storage
            .dataset
            .as_ref()
            .is_some_and(|above| device == format!("/dev/zvol/{above}/{volume}"))
        || storage
            .path
            .as_ref()
            .is_some_and(|path| device == format!("{path}/images/{volume}"))
}

/// Tells whether somebody would miss a dataset that is nothing of a guest's or a datastore's.
fn counts(
    world: World<'_>,
    node: &Name,
    facts: &NodeFacts,
    zfs: &ZfsFacts,
    dataset: &ZfsDataset,
) -> bool {
    let topology = world.topology;
    let of_guest = facts.pve.as_ref().is_some_and(|pve| {
        let mut disks = pve.guests.iter().flat_map(|guest| &guest.disks);
        disks.any(|disk| {
            let above = pve.storage(&disk.storage).and_then(|s| s.dataset.as_ref());
            above.is_some_and(|above| dataset.name == format!("{above}/{}", disk.volume))
        })
    });
    let is_it = |path: &str| zfs.holding(path).is_some_and(|on| on.name == dataset.name);
    let mut stores = topology.datastores.keys();
    let of_store = stores.any(|name| {
        let ground = topology.ground(name);
        ground.is_some_and(|(on, path)| on == node && is_it(path))
    });
    let mut shares = topology.shares.values().filter(|share| share.on == *node);
    let of_share = shares.any(|share| {
        let declared = share.dataset.as_ref();
        is_it(&share.export) || declared.is_some_and(|declared| declared.name == dataset.name)
    });
    dataset.logical >= NOTHING && !of_guest && !of_store && !of_share
}

fn dataset_state(world: World<'_>, node: &Name, zfs: &ZfsFacts, dataset: &ZfsDataset) -> State {
    let excepted = world.topology.policy.excepted.iter();
    let mut excepted = excepted
        .filter(|except| except.on.as_ref().is_none_or(|on| on == node))
        .flat_map(|except| &except.datasets);
    let is_excepted = excepted.any(|pattern| match pattern.strip_suffix("/*") {
        Some(above) => is_below(&dataset.name, above),
        None => dataset.name == *pattern,
    });
    let is_read = |source: &Source| match &source.content {
        Content::Paths {
            paths,
            one_file_system,
            ..
        } => paths.iter().any(|path| {
            let lies_in = zfs.holding(path).is_some_and(|on| on.name == dataset.name);
            let point = dataset.mountpoint.as_deref();
            let holds = !one_file_system && point.is_some_and(|point| is_below(point, path));
            lies_in || holds
        }),
        Content::Volume { device, .. } => zfs.at(device).is_some_and(|on| on.name == dataset.name),
        Content::Command { .. } | Content::Guest(_) => false,
    };
    if is_excepted || sources_on(world, node).any(is_read) {
        State::Covered
    } else {
        State::Bare
    }
}
