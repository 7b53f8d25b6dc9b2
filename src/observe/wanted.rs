//! What a topology needs to know of each node; pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::model::markers::{Kept, Registry};
use crate::model::system_files::{exports_file, may_be_kept, unit_file};
use crate::model::topology::{
    Agent, Content, DatastoreKind, Mount, Mounted, Owner, Place, Reach, Share, Squash, Work,
};
use crate::model::{Name, Topology, pbs};

/// Is what a topology needs to know of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Our folder there; none where nothing is placed.
    pub folder: Option<Folder>,
    /// Whether root rights come through `sudo`.
    pub sudo: bool,
    /// Users to look up by name.
    pub users: Vec<String>,
    /// Programs to look for.
    pub tools: Vec<String>,
    /// Absolute paths to look at, each once.
    pub paths: Vec<String>,
    /// Datastores that have a place there.
    pub datastores: Vec<WantedDatastore>,
    /// Sources there.
    pub sources: Vec<WantedSource>,
    /// Whether its addresses and what it always mounts matter, because it mounts something.
    pub addresses: bool,
    /// Whether it is to export something.
    pub exports: bool,
    /// Files of the system to read.
    pub files: Vec<String>,
    /// Servers, as they are named, on the way to which its own address matters.
    pub routes: Vec<String>,
    /// UUIDs of filesystems on disks that may be plugged in.
    pub disks: Vec<String>,
    /// Containers on it that are nodes too.
    pub containers: Vec<u32>,
    /// Whether something is stored on it or read from it, so that its volumes and guests matter.
    pub storage: bool,
    /// Whether to look around for what no topology names yet.
    pub discovery: bool,
}

/// Is where our files go on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Folder {
    /// The folder of the node's own choice; otherwise the usual one.
    pub base: Option<String>,
    /// The topology's name, a folder below it.
    pub topology: Name,
    /// The node's name, a folder below that.
    pub node: Name,
}

/// Is a datastore to look into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WantedDatastore {
    /// Its name.
    pub name: Name,
    /// Its path on this node.
    pub path: String,
    /// Who must own it; left out, the user we log in as.
    pub owner: Option<(u32, u32)>,
    /// Whether to measure how much it holds.
    #[serde(default)]
    pub measured: bool,
}

/// Is a source to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WantedSource {
    /// Its name.
    pub name: Name,
    /// Its paths; empty for what has none.
    pub paths: Vec<String>,
    /// Whether the path is that of a block device or an image.
    pub is_volume: bool,
    /// Whether other filesystems below are left out.
    pub one_file_system: bool,
}

/// Programs that every plan wants to know about.
const TOOLS: [&str; 3] = ["getent", "setpriv", "systemctl"];

/// Says what to look at on each node of a topology.
pub fn wanted(topology: &Topology) -> BTreeMap<Name, Wanted> {
    topology
        .nodes
        .keys()
        .map(|name| (name.clone(), of_node(topology, name)))
        .collect()
}

/// The most things that are no longer declared and are looked at.
const LEFT_MAX: usize = 64;

/// Says what to look at of things that a node's registry lists and the topology no longer has.
pub(super) fn left_behind(topology: &Topology, first: &Wanted, lists: &Registry) -> Option<Wanted> {
    let mut wanted = Wanted {
        sudo: first.sudo,
        ..Wanted::default()
    };
    let left = lists.objects.iter();
    let left = left.filter(|(address, _)| !topology.knows(address));
    for (address, words) in left.take(LEFT_MAX) {
        match Kept::read(words) {
            Some(Kept::Repository(folder)) if is_plain(folder) => {
                wanted.paths.push(folder.to_owned());
                wanted.datastores.push(WantedDatastore {
                    name: address.name().clone(),
                    path: folder.to_owned(),
                    owner: None,
                    measured: true,
                });
            }
            Some(Kept::Export(file) | Kept::Mount(file)) if may_be_kept(file) => {
                wanted.files.push(file.to_owned());
            }
            _ => {}
        }
    }
    wanted.paths.sort();
    wanted.paths.dedup();
    let is_empty = wanted.datastores.is_empty() && wanted.files.is_empty();
    (!is_empty).then_some(wanted)
}

/// A registry is a file on a node: not every text in it is a path.
fn is_plain(path: &str) -> bool {
    path.starts_with('/') && path.len() <= 4096 && !path.chars().any(char::is_control)
}

/// Says where our folder is on a node; none where nothing is placed.
pub(super) fn of_folder(topology: &Topology, name: &Name) -> Option<Folder> {
    let base = match &topology.nodes[name].agent {
        Agent::Default => None,
        Agent::Path(path) => Some(path.clone()),
        Agent::None => return None,
    };
    Some(Folder {
        base,
        topology: topology.name.clone(),
        node: name.clone(),
    })
}

/// Says what to look at on a node of which nothing is known yet.
pub(super) fn unknown(sudo: bool) -> Wanted {
    Wanted {
        sudo,
        users: vec!["backup".to_owned()],
        tools: TOOLS.into_iter().map(str::to_owned).collect(),
        addresses: true,
        exports: true,
        storage: true,
        discovery: true,
        ..Wanted::default()
    }
}

fn of_node(topology: &Topology, name: &Name) -> Wanted {
    let node = &topology.nodes[name];
    let datastores = datastores(topology, name);
    let sources = sources(topology, name);
    let runs_pbs = topology.datastores_of_pbs(name).next().is_some();
    let paths: BTreeSet<&str> = datastores
        .iter()
        .map(|datastore| datastore.path.as_str())
        .chain(
            sources
                .iter()
                .flat_map(|source| source.paths.iter().map(String::as_str)),
        )
        .chain(exported(topology, name).map(|(_, share)| share.export.as_str()))
        .chain(mounts(topology, name).map(|(_, _, point)| point))
        .chain(node.scratch.as_deref())
        .chain(node.reserve.keys().map(String::as_str))
        .chain(
            runs_pbs
                .then_some(pbs::PLACES)
                .into_iter()
                .flatten()
                .map(|(path, _)| path),
        )
        // Where a node is not local, `config` has refused relative paths already.
        .filter(|path| path.starts_with('/'))
        .collect();
    Wanted {
        folder: of_folder(topology, name),
        sudo: matches!(&node.reach, Reach::Ssh(ssh) if ssh.sudo),
        users: users(topology, name),
        tools: tools(topology, name),
        paths: paths.into_iter().map(str::to_owned).collect(),
        datastores,
        sources,
        addresses: mounts(topology, name).next().is_some(),
        exports: exported(topology, name).next().is_some(),
        files: files(topology, name),
        routes: routes(topology, name),
        disks: disks(topology, name),
        containers: containers(topology, name),
        storage: stores(topology, name),
        discovery: false,
    }
}

/// Tells whether a node stores anything of the topology, or is what something is read from.
fn stores(topology: &Topology, node: &Name) -> bool {
    let is_read = topology.sources.values().any(|source| source.on == *node)
        || topology
            .guests
            .values()
            .any(|guests| guests.on.contains(node));
    let keeps = topology.nodes[node].scratch.is_some()
        || !topology.nodes[node].reserve.is_empty()
        || !datastores(topology, node).is_empty()
        || exported(topology, node).next().is_some();
    // Whoever wants everything covered wants to know what is there, also where nothing is read.
    is_read || keeps || topology.policy.covered || !containers(topology, node).is_empty()
}

/// Returns the shares on a node.
fn exported<'a>(
    topology: &'a Topology,
    node: &'a Name,
) -> impl Iterator<Item = (&'a Name, &'a Share)> {
    let shares = topology.shares.iter();
    shares.filter(move |(_, share)| share.on == *node)
}

/// Returns what is mounted on a node, for itself or for a container, and where.
fn mounts<'a>(
    topology: &'a Topology,
    node: &'a Name,
) -> impl Iterator<Item = (&'a Place, &'a Mount, &'a str)> {
    let mounts = topology.mounts();
    mounts.filter_map(move |(_, place, mount)| {
        let (on, point) = place.mount_point(mount);
        (on == node).then_some((place, mount, point))
    })
}

/// Returns the files of the system that say what is exported from a node and mounted on it.
fn files(topology: &Topology, node: &Name) -> Vec<String> {
    let exports = exported(topology, node).map(|(share, _)| exports_file(&topology.name, share));
    let units = mounts(topology, node).map(|(_, _, point)| unit_file(point));
    let files: BTreeSet<String> = exports.chain(units).collect();
    files.into_iter().collect()
}

/// Returns the servers whose shares are mounted on a node.
fn routes(topology: &Topology, node: &Name) -> Vec<String> {
    let shares = mounts(topology, node).filter_map(|(_, mount, _)| mount.share());
    let servers = shares.filter_map(|share| topology.address_of(share));
    let servers: BTreeSet<String> = servers.map(str::to_owned).collect();
    servers.into_iter().collect()
}

/// Returns the disks that are mounted on a node.
fn disks(topology: &Topology, node: &Name) -> Vec<String> {
    let disks = mounts(topology, node).filter_map(|(_, mount, _)| match &mount.what {
        Mounted::Disk(disk) => Some(disk.uuid.clone()),
        Mounted::Share(_) => None,
    });
    let disks: BTreeSet<String> = disks.collect();
    disks.into_iter().collect()
}

/// Returns the numbers of the nodes that are containers on a node.
fn containers(topology: &Topology, node: &Name) -> Vec<u32> {
    let containers = topology.nodes.values();
    containers
        .filter_map(|node| node.container.as_ref())
        .filter(|container| container.on == *node)
        .map(|container| container.id)
        .collect()
}

/// Returns the datastores that have a place on a node, or lie in what it exports.
///
/// What lies on a server is looked at there: a client sees less of it, and may see it late.
fn datastores(topology: &Topology, node: &Name) -> Vec<WantedDatastore> {
    let numbers = |owner: &Owner| (owner.uid, owner.gid);
    let mut found = Vec::new();
    for (name, datastore) in &topology.datastores {
        let DatastoreKind::Directory { places } = &datastore.kind else {
            continue;
        };
        let place = places.iter().find(|place| place.node == *node);
        if let Some(place) = place.filter(|place| place.path.starts_with('/')) {
            found.push(WantedDatastore {
                name: name.clone(),
                path: place.path.clone(),
                owner: datastore.owner.as_ref().map(numbers),
                measured: false,
            });
        } else if let Some((_, share)) = topology.share_of(name)
            && share.on == *node
        {
            found.push(WantedDatastore {
                name: name.clone(),
                path: share.export.clone(),
                owner: share.owner.as_ref().map(numbers),
                measured: false,
            });
        }
    }
    found
}

/// Returns the service users, and those that sources' programs run as.
fn users(topology: &Topology, node: &Name) -> Vec<String> {
    let sources = topology.sources.values();
    let run_as = sources.filter(|source| source.on == *node);
    let run_as = run_as.filter_map(|source| match &source.content {
        Content::Command { run_as, .. } => run_as.clone(),
        _ => None,
    });
    // By name, which number it has there; and by number, who else may be behind it.
    let names = topology.users.keys().map(ToString::to_string);
    let declared = names.chain(topology.users.values().map(|user| user.uid.to_string()));
    let roots = exported(topology, node).filter_map(|(_, share)| match &share.squash {
        Squash::MapRoot { user, .. } => Some(user.clone()),
        Squash::Root | Squash::MapAll(_) => None,
    });
    let runs_pbs = topology.datastores_of_pbs(node).next().is_some();
    let pbs = runs_pbs.then(|| pbs::USER.to_owned());
    let all: BTreeSet<String> = declared.chain(run_as).chain(roots).chain(pbs).collect();
    all.into_iter().collect()
}

fn sources(topology: &Topology, node: &Name) -> Vec<WantedSource> {
    let here = topology
        .sources
        .iter()
        .filter(|(_, source)| source.on == *node);
    here.map(|(name, source)| {
        let (paths, one_file_system) = match &source.content {
            Content::Paths {
                paths,
                one_file_system,
                ..
            } => (paths.clone(), *one_file_system),
            Content::Volume { device, .. } => (vec![device.clone()], false),
            Content::Command { .. } | Content::Guest(_) => (Vec::new(), false),
        };
        WantedSource {
            name: name.clone(),
            paths: paths
                .into_iter()
                .filter(|path| path.starts_with('/'))
                .collect(),
            one_file_system,
            is_volume: matches!(source.content, Content::Volume { .. }),
        }
    })
    .collect()
}

fn tools(topology: &Topology, node: &Name) -> Vec<String> {
    let mut tools: BTreeSet<&str> = TOOLS.into_iter().collect();
    for source in topology
        .sources
        .values()
        .filter(|source| source.on == *node)
    {
        if let Content::Command { argv, .. } = &source.content {
            tools.extend(argv.first().map(String::as_str));
        }
    }
    for (_, job) in topology.jobs() {
        if let Work::Drill {
            on: Some(on),
            command,
            ..
        } = &job.work
            && on == node
        {
            tools.extend(command.first().map(String::as_str));
        }
    }
    if exported(topology, node).next().is_some() {
        tools.extend(["exportfs", "midclt"]);
    }
    if mounts(topology, node).any(|(_, mount, _)| mount.share().is_some()) {
        tools.insert("mount.nfs");
    }
    tools.into_iter().map(str::to_owned).collect()
}

impl Wanted {
    /// Returns where a path stands among the paths to look at.
    pub(super) fn index(&self, path: &str) -> Option<usize> {
        self.paths.iter().position(|known| known == path)
    }
}
