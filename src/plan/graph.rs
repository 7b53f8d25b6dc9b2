//! The topology as a graph: machines, what is on them, and what flows between.
//!
//! One truth for every way to draw it; nothing here is about drawing.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::topology::{
    Content, Datastore, DatastoreKind, Guests, Job, Node, Place, Reach, S3, Share, Work,
};
use crate::model::{Name, Topology};

/// The version of a graph's JSON form.
pub const GRAPH_FORMAT: u32 = 1;

/// A topology as machines, things on them, and flows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Graph {
    /// The version of this form, see [`GRAPH_FORMAT`].
    pub format: u32,
    /// The topology's name.
    pub topology: Name,
    /// The failure domain that machines are grouped by.
    pub grouped_by: String,
    /// Machines, containers, and stores outside.
    pub machines: Vec<Machine>,
    /// What is on them.
    pub things: Vec<Thing>,
    /// What flows between things.
    pub flows: Vec<Flow>,
    /// The phases, in their order.
    pub phases: Vec<Name>,
}

/// Is where things are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Machine {
    /// Its identity in this graph.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What it is.
    pub kind: MachineKind,
    /// The machine that it is a container on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<String>,
    /// Its failure domain, of the kind that the graph is grouped by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// How it is reached, or what it is, in words.
    pub words: String,
}

/// What a machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MachineKind {
    /// A node that is a machine.
    Machine,
    /// A node that is a container on another.
    Container,
    /// An S3-compatible store.
    Store,
    /// Where bkpctl runs, if no node is declared for that.
    Controller,
}

/// Is one thing on a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Thing {
    /// Its identity in this graph.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What it is.
    pub kind: ThingKind,
    /// The machine that it is on.
    pub at: String,
    /// What more is to be said.
    pub words: String,
    /// The phase from which on it is there; from the beginning if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_phase: Option<Name>,
}

/// What a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ThingKind {
    /// What is protected.
    Source,
    /// A group of guests that is protected.
    Guests,
    /// What keeps snapshots.
    Datastore,
    /// An NFS export.
    Share,
    /// A restore that proves.
    Drill,
}

/// Is what goes from some things to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Flow {
    /// What flows.
    pub kind: FlowKind,
    /// The job that has it flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Name>,
    /// The phase that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Name>,
    /// When, in words; left out, on demand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// The node in between, where one mounts what a container only binds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub through: Option<Name>,
    /// The things it comes from.
    pub from: Vec<String>,
    /// The thing it goes to.
    pub to: String,
}

/// What flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FlowKind {
    /// First copies.
    Backup,
    /// Copies from one datastore to another.
    Sync,
    /// Copies to a bucket.
    Cloud,
    /// Restores that prove.
    Drill,
    /// What a datastore keeps, to the share that is mounted there.
    Mount,
    /// A datastore, to where it is served from a phase on.
    Move,
}

impl FlowKind {
    /// Returns the word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Sync => "sync",
            Self::Cloud => "cloud",
            Self::Drill => "drill",
            Self::Mount => "mounts",
            Self::Move => "moves",
        }
    }
}

/// Makes the graph of a topology, its machines grouped by one kind of failure domain.
pub fn graph(topology: &Topology, by: &str) -> Graph {
    let mut graph = Graph {
        format: GRAPH_FORMAT,
        topology: topology.name.clone(),
        grouped_by: by.to_owned(),
        machines: Vec::new(),
        things: Vec::new(),
        flows: Vec::new(),
        phases: topology.phases.iter().map(|p| p.name.clone()).collect(),
    };
    for (name, node) in &topology.nodes {
        graph.machines.push(machine(topology, name, node, by));
    }
    graph.add_sources(topology);
    for (name, datastore) in &topology.datastores {
        graph.add_datastore(topology, name, datastore, by);
    }
    for (name, share) in &topology.shares {
        graph.add_share(name, share);
    }
    graph.add_mounts(topology);
    for (phase, job) in topology.jobs() {
        graph.add_job(topology, &phase.name, job);
    }
    graph
}

fn node_id(name: &Name) -> String {
    format!("node.{name}")
}

fn machine(topology: &Topology, name: &Name, node: &Node, by: &str) -> Machine {
    let reached = match &node.reach {
        Reach::Local => "the machine bkpctl runs on".to_owned(),
        Reach::Ssh(ssh) => {
            let port = ssh.port.filter(|port| *port != 22);
            let user = ssh.user.as_ref().map(|user| format!("{user}@"));
            let port = port.map(|port| format!(":{port}"));
            [
                user.unwrap_or_default(),
                ssh.host.clone(),
                port.unwrap_or_default(),
            ]
            .concat()
        }
    };
    let host = node.container.as_ref().map(|container| &container.on);
    let words = match &node.container {
        Some(container) => format!("container {} · {reached}", container.id),
        None => reached,
    };
    Machine {
        id: node_id(name),
        name: name.to_string(),
        kind: match host {
            Some(_) => MachineKind::Container,
            None => MachineKind::Machine,
        },
        on: host.map(node_id),
        group: domain(topology, name, by),
        words,
    }
}

/// Returns a node's failure domain: that of the machine it is on, where it is a container.
fn domain(topology: &Topology, name: &Name, by: &str) -> Option<String> {
    let mut node = topology.nodes.get(name)?;
    let mut own = node.domain.get(by);
    // `config` has refused circles.
    while let Some(container) = &node.container {
        node = topology.nodes.get(&container.on)?;
        own = node.domain.get(by).or(own);
    }
    own.cloned()
}

impl Graph {
    fn add_sources(&mut self, topology: &Topology) {
        for (name, source) in &topology.sources {
            self.things.push(Thing {
                id: format!("source.{name}"),
                name: name.to_string(),
                kind: ThingKind::Source,
                at: node_id(&source.on),
                words: content(&source.content, &|path| shown(topology, &source.on, path)),
                from_phase: None,
            });
        }
        for (name, guests) in &topology.guests {
            for node in &guests.on {
                self.things.push(Thing {
                    id: format!("guests.{name}/{node}"),
                    name: name.to_string(),
                    kind: ThingKind::Guests,
                    at: node_id(node),
                    words: which(guests),
                    from_phase: None,
                });
            }
        }
    }

    fn add_datastore(&mut self, topology: &Topology, name: &Name, datastore: &Datastore, by: &str) {
        match &datastore.kind {
            DatastoreKind::Directory { places } => {
                for (number, place) in places.iter().enumerate() {
                    self.things.push(Thing {
                        id: place_id(name, number, place),
                        name: name.to_string(),
                        kind: ThingKind::Datastore,
                        at: node_id(&place.node),
                        words: shown(topology, &place.node, &place.path),
                        from_phase: place.from_phase.clone(),
                    });
                }
                for (number, pair) in places.windows(2).enumerate() {
                    self.flows.push(Flow {
                        kind: FlowKind::Move,
                        job: None,
                        phase: pair[1].from_phase.clone(),
                        when: None,
                        through: None,
                        from: vec![place_id(name, number, &pair[0])],
                        to: place_id(name, number + 1, &pair[1]),
                    });
                }
            }
            DatastoreKind::S3(s3) => {
                let at = self.store(s3, datastore.domain.get(by));
                let prefix = s3.prefix.as_ref().map(|prefix| format!("/{prefix}"));
                self.things.push(Thing {
                    id: format!("datastore.{name}"),
                    name: name.to_string(),
                    kind: ThingKind::Datastore,
                    at,
                    words: format!("{}{}", s3.bucket, prefix.unwrap_or_default()),
                    from_phase: None,
                });
            }
        }
    }

    /// Returns the machine that stands for a store outside; buckets of one store share it.
    fn store(&mut self, s3: &S3, group: Option<&String>) -> String {
        let rest = s3
            .endpoint
            .split_once("://")
            .map_or(&*s3.endpoint, |(_, rest)| rest);
        let host = rest.split('/').next().unwrap_or(rest);
        let id = match group {
            Some(group) => format!("store.{host}/{group}"),
            None => format!("store.{host}"),
        };
        if self.machines.iter().all(|machine| machine.id != id) {
            self.machines.push(Machine {
                id: id.clone(),
                name: host.to_owned(),
                kind: MachineKind::Store,
                on: None,
                group: group.cloned(),
                words: "S3-compatible store".to_owned(),
            });
        }
        id
    }

    fn add_share(&mut self, name: &Name, share: &Share) {
        self.things.push(Thing {
            id: format!("share.{name}"),
            name: name.to_string(),
            kind: ThingKind::Share,
            at: node_id(&share.on),
            words: share.export.clone(),
            from_phase: None,
        });
    }

    fn add_mounts(&mut self, topology: &Topology) {
        for (name, datastore) in &topology.datastores {
            let DatastoreKind::Directory { places } = &datastore.kind else {
                continue;
            };
            for (number, place) in places.iter().enumerate() {
                let Some(mount) = &place.mount else { continue };
                let Some(share) = mount.share() else { continue };
                let (by, _) = place.mount_point(mount);
                self.flows.push(Flow {
                    kind: FlowKind::Mount,
                    job: None,
                    phase: place.from_phase.clone(),
                    when: None,
                    through: (*by != place.node).then(|| by.clone()),
                    from: vec![place_id(name, number, place)],
                    to: format!("share.{share}"),
                });
            }
        }
    }

    fn add_job(&mut self, topology: &Topology, phase: &Name, job: &Job) {
        let at = job.at.as_ref().map(ToString::to_string);
        let flow = |kind, from: Vec<String>, to: String| Flow {
            kind,
            job: Some(job.name.clone()),
            phase: Some(phase.clone()),
            when: at.clone(),
            through: None,
            from,
            to,
        };
        let stored = |name: &Name| format!("datastore.{name}");
        match &job.work {
            Work::Backup { sources, to } => {
                let from: Vec<String> = sources.iter().flat_map(|s| read(topology, s)).collect();
                let flows = to
                    .iter()
                    .map(|to| flow(FlowKind::Backup, from.clone(), stored(to)));
                self.flows.extend(flows);
            }
            Work::Sync { from, to } => {
                self.flows
                    .push(flow(FlowKind::Sync, vec![stored(from)], stored(to)));
            }
            Work::Cloud { from, to } => {
                self.flows
                    .push(flow(FlowKind::Cloud, vec![stored(from)], stored(to)));
            }
            Work::Drill {
                sources,
                from,
                on,
                every,
                ..
            } => {
                let id = format!("drill.{}", job.name);
                let names: Vec<&str> = sources.iter().map(Name::as_str).collect();
                let at = self.drilling(topology, on.as_ref());
                self.things.push(Thing {
                    id: id.clone(),
                    name: job.name.to_string(),
                    kind: ThingKind::Drill,
                    at,
                    words: format!("restores {}", names.join(", ")),
                    from_phase: None,
                });
                let every = every.map(|every| format!("every {every}"));
                let mut flow = flow(FlowKind::Drill, vec![stored(from)], id);
                flow.when = flow.when.or(every);
                self.flows.push(flow);
            }
        }
    }

    /// Returns the machine that a drill restores on: the one that is said, or where bkpctl runs.
    fn drilling(&mut self, topology: &Topology, on: Option<&Name>) -> String {
        let local = || topology.nodes.keys().find(|name| topology.is_local(name));
        if let Some(node) = on.or_else(local) {
            return node_id(node);
        }
        let id = "controller".to_owned();
        if self.machines.iter().all(|machine| machine.id != id) {
            self.machines.push(Machine {
                id: id.clone(),
                name: id.clone(),
                kind: MachineKind::Controller,
                on: None,
                group: None,
                words: "the machine bkpctl runs on".to_owned(),
            });
        }
        id
    }
}

/// Returns a path as its topology says it: in the topology's folder relative to that.
fn shown(topology: &Topology, node: &Name, path: &str) -> String {
    let folder = topology.folder.trim_end_matches('/');
    let below = path
        .strip_prefix(folder)
        .and_then(|rest| rest.strip_prefix('/'));
    below
        .filter(|_| topology.is_local(node))
        .unwrap_or(path)
        .to_owned()
}

/// Returns the identity of a datastore at one of its places; the first is the datastore itself.
fn place_id(name: &Name, number: usize, place: &Place) -> String {
    match number {
        0 => format!("datastore.{name}"),
        _ => format!("datastore.{name}/{}", place.node),
    }
}

/// Returns the things that are read for a source or a group of guests.
fn read(topology: &Topology, name: &Name) -> Vec<String> {
    match topology.guests.get(name) {
        Some(guests) if !topology.sources.contains_key(name) => {
            let on = guests.on.iter();
            on.map(|node| format!("guests.{name}/{node}")).collect()
        }
        _ => vec![format!("source.{name}")],
    }
}

fn content(content: &Content, shown: &dyn Fn(&str) -> String) -> String {
    match content {
        Content::Paths { paths, .. } => {
            let paths: Vec<String> = paths.iter().map(|path| shown(path)).collect();
            paths.join(", ")
        }
        Content::Volume { device, via } => match via {
            Some(via) => format!("{}, {via}", shown(device)),
            None => shown(device),
        },
        // Arguments may hold what is not for pictures; the program says enough.
        Content::Command { argv, .. } => {
            let program = argv.first().map_or("", String::as_str);
            format!("output of {program}")
        }
        Content::Guest(id) => format!("guest {id}"),
    }
}

fn which(guests: &Guests) -> String {
    let list = |ids: &[u32]| {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        ids.join(", ")
    };
    match (guests.all, guests.except.as_slice()) {
        (true, []) => "every guest".to_owned(),
        (true, except) => format!("every guest but {}", list(except)),
        (false, _) => format!("guests {}", list(&guests.only)),
    }
}

/// Returns the failure domains that nodes of a topology have, by their keys.
pub fn domains(topology: &Topology) -> BTreeMap<&str, usize> {
    let mut keys = BTreeMap::new();
    for node in topology.nodes.values() {
        for key in node.domain.keys() {
            *keys.entry(key.as_str()).or_insert(0) += 1;
        }
    }
    keys
}
