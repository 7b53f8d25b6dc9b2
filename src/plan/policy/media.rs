//! Media: which copies would be lost together.
//!
//! Two datastores are one medium if their bytes lie on one device or in one pool, on one
//! machine, or in one declared failure domain. A disk that can be taken away is a medium of its
//! own. Sites are left out: another rule judges them.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::unionfind::UnionFind;

use super::{Judged, Outlook};
use crate::model::Name;
use crate::model::observed::MountFacts;
use crate::model::topology::{DatastoreKind, Mounted, Reach};
use crate::plan::change::Verdict;
use crate::plan::draft::{Draft, World};

impl Outlook<'_> {
    pub(super) fn media(&self, draft: &Draft, wanted: u32) -> Judged {
        let ties: BTreeMap<&Name, BTreeSet<Tie>> = self
            .world
            .topology
            .datastores
            .keys()
            .map(|name| (name, ties(self.world, name)))
            .collect();
        let mut judged = self.enough(draft, wanted, |_, datastores| {
            count(datastores, |a, b| common(&ties, a, b).is_some())
        });
        if matches!(
            judged.verdict,
            Verdict::Deny | Verdict::Short | Verdict::Warn
        ) {
            judged.because = together(&ties);
        }
        judged
    }
}

/// What makes two datastores one medium.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Tie {
    /// A device or a pool of a machine, under the name of a node.
    Device(String, String),
    /// A machine, and the node it is known as.
    Machine(String),
    /// A server that is mounted from.
    Server(String),
    /// A bucket's provider.
    Provider(String),
    /// A failure domain other than a site.
    Domain(String, String),
}

/// Returns how many groups some datastores fall into, where two that share a tie are one.
fn count(datastores: &[&Name], tied: impl Fn(&Name, &Name) -> bool) -> u32 {
    let mut groups = UnionFind::<usize>::new(datastores.len());
    for (at, a) in datastores.iter().enumerate() {
        for (further, b) in datastores.iter().enumerate().skip(at + 1) {
            if tied(a, b) {
                groups.union(at, further);
            }
        }
    }
    let all: BTreeSet<usize> = groups.into_labeling().into_iter().collect();
    all.len() as u32
}

fn common<'a>(ties: &'a BTreeMap<&Name, BTreeSet<Tie>>, a: &Name, b: &Name) -> Option<&'a Tie> {
    ties.get(a)?.intersection(ties.get(b)?).next()
}

/// Says which datastores are one medium, and why.
fn together(ties: &BTreeMap<&Name, BTreeSet<Tie>>) -> Vec<String> {
    let names: Vec<&Name> = ties.keys().copied().collect();
    let mut lines = Vec::new();
    for (at, a) in names.iter().enumerate() {
        for b in &names[at + 1..] {
            if let Some(tie) = common(ties, a, b) {
                lines.push(format!("{a} and {b} count once: both are {}", tie.words()));
            }
        }
    }
    lines.truncate(3);
    lines
}

/// Returns what a datastore would be lost with.
fn ties(world: World<'_>, name: &Name) -> BTreeSet<Tie> {
    let topology = world.topology;
    let mut ties = BTreeSet::new();
    let Some(datastore) = topology.datastores.get(name) else {
        return ties;
    };
    let domains = |of: &BTreeMap<String, String>| -> Vec<Tie> {
        let others = of.iter().filter(|(key, _)| *key != "site");
        others
            .map(|(key, value)| Tie::Domain(key.clone(), value.clone()))
            .collect()
    };
    ties.extend(domains(&datastore.domain));
    if let DatastoreKind::S3(s3) = &datastore.kind {
        ties.insert(Tie::Provider(s3.endpoint.clone()));
    }
    let Some((node, _)) = topology.ground(name) else {
        return ties;
    };
    let machine = machine(world, node);
    let mount = world
        .ground(name)
        .and_then(|ground| ground.seen?.mount.as_ref());
    ties.extend(mount.and_then(|mount| tie_of_mount(world, &machine, mount)));
    let place = datastore.first_place();
    let declared = place.and_then(|place| place.mount.as_ref());
    let is_portable = declared.is_some_and(|mount| matches!(mount.what, Mounted::Disk(_)));
    let is_elsewhere = mount.is_some_and(|mount| mount.exported().is_some());
    // A mounted share fails with its server, whoever mounts it.
    if !is_portable && !is_elsewhere {
        ties.insert(Tie::Machine(machine.clone()));
        let host = topology.nodes.get(&host(world, node));
        let own = topology.nodes.get(node);
        for node in host.into_iter().chain(own) {
            ties.extend(domains(&node.domain));
        }
    }
    ties
}

/// Returns the device, pool or server behind a mount.
fn tie_of_mount(world: World<'_>, machine: &str, mount: &MountFacts) -> Option<Tie> {
    if mount.exported().is_some() || mount.fstype == "cifs" {
        let (server, _) = mount
            .source
            .trim_start_matches('/')
            .split_once([':', '/'])?;
        let is_it = |reach: &Reach| matches!(reach, Reach::Ssh(ssh) if ssh.host == server);
        let nodes = &world.topology.nodes;
        let node = nodes.iter().find(|(_, node)| is_it(&node.reach));
        return Some(match node {
            Some((node, _)) => Tie::Machine(self::machine(world, node)),
            None => Tie::Server(server.to_owned()),
        });
    }
    let device = match mount.fstype.as_str() {
        // Every dataset has a number of its own, and all of a pool share its disks.
        "zfs" => mount.source.split('/').next().unwrap_or_default(),
        "btrfs" => &mount.source,
        _ => &mount.device,
    };
    Some(Tie::Device(machine.to_owned(), device.to_owned()))
}

/// Returns the machine that a node is or runs on: two names of one machine give the same.
fn machine(world: World<'_>, node: &Name) -> String {
    let host = host(world, node);
    let id = |name: &Name| world.observed.reached(name.as_str())?.machine_id.clone();
    let own = id(&host);
    let nodes = world.topology.nodes.keys();
    let first = nodes
        .into_iter()
        .find(|other| own.is_some() && id(other) == own);
    first.unwrap_or(&host).to_string()
}

/// Returns the outermost host of a container, or the node itself.
fn host(world: World<'_>, node: &Name) -> Name {
    let nodes = &world.topology.nodes;
    let outer = |name: &Name| nodes.get(name)?.container.as_ref().map(|c| c.on.clone());
    // The configuration refuses containers that contain each other.
    std::iter::successors(Some(node.clone()), outer)
        .take(nodes.len() + 1)
        .last()
        .unwrap_or_else(|| node.clone())
}

impl Tie {
    fn words(&self) -> String {
        match self {
            Self::Device(machine, device) => format!("on {device} of {machine}"),
            Self::Machine(machine) => format!("on {machine}"),
            Self::Server(server) => format!("mounted from {server}"),
            Self::Provider(endpoint) => format!("at {endpoint}"),
            Self::Domain(key, value) => format!("in {key}={value}"),
        }
    }
}
