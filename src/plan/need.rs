//! What an action relies on, fact by fact, so that a plan read yesterday can be judged today.
//!
//! Needs are taken from the state that the plan was made from, and nothing else counts: a
//! machine that changed elsewhere does not make a plan stale. What an action brings about
//! is told by the model of what carrying it out does ([`simulate`]), so there is no second
//! table of effects to keep in step.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::observed::{Component, DatastoreFacts, KeyState, NodeFacts, Outcome, PathFacts};
use crate::model::topology::Content;
use crate::model::{ByteSize, Name, Observed, Timestamp, Topology};
use crate::plan::capacity;
use crate::plan::change::{Action, Landing, Step};
use crate::plan::draft::World;
use crate::plan::simulate::{self, Done};
use crate::plan::{source, words};

/// A fact, and what it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Need {
    /// What is looked at.
    pub fact: Fact,
    /// What it must be.
    pub must: Must,
}

/// Something that can be seen, and that an action may rely on or change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// Which machine answers under a node's name: its `/etc/machine-id`.
    Machine {
        /// The node.
        node: Name,
    },
    /// The owner and group of a path, by number.
    Owner {
        /// The node.
        node: Name,
        /// The path.
        path: String,
    },
    /// The permission bits of a path.
    Mode {
        /// The node.
        node: Name,
        /// The path.
        path: String,
    },
    /// Whether a folder is absent, empty or holds something.
    Content {
        /// The node.
        node: Name,
        /// The folder.
        path: String,
    },
    /// Whether entries below a datastore belong to somebody else than its owner.
    Strangers {
        /// The datastore.
        datastore: Name,
    },
    /// The text of a file of the system.
    File {
        /// The node.
        node: Name,
        /// The file.
        path: String,
    },
    /// The quota of a ZFS dataset.
    Quota {
        /// The node.
        node: Name,
        /// The dataset.
        dataset: String,
    },
    /// What is mounted at a path.
    Mounted {
        /// The node.
        node: Name,
        /// The path.
        path: String,
    },
    /// Whether a binary of ours is on a node.
    Binary {
        /// The node.
        node: Name,
        /// The binary's BLAKE3 hash in hex.
        hash: String,
    },
    /// What a node's registry lists.
    Registry {
        /// The node.
        node: Name,
    },
    /// What bytes may still land at a path.
    Room {
        /// The node.
        node: Name,
        /// The path.
        path: String,
    },
    /// What the thin pool below a path's filesystem may still give it.
    ThinRoom {
        /// The node.
        node: Name,
        /// The path.
        path: String,
    },
    /// Which reading key is in its file.
    Key {
        /// The key.
        key: Name,
    },
    /// Which repository is in a datastore.
    Repository {
        /// The datastore.
        datastore: Name,
    },
    /// What planning wrote into a datastore's marker.
    Marker {
        /// The datastore.
        datastore: Name,
    },
    /// Which repository is left of a datastore that is no longer declared, and whose it is.
    Left {
        /// The node.
        node: Name,
        /// The datastore that it was.
        datastore: Name,
    },
    /// Whether a source's paths are there, and what they lie on.
    Source {
        /// The source.
        source: Name,
    },
    /// When a source's newest complete snapshot in a datastore was begun.
    Newest {
        /// The source.
        source: Name,
        /// The datastore.
        datastore: Name,
    },
    /// When a drill last passed for a source.
    Proven {
        /// The drill.
        drill: Name,
        /// The source.
        source: Name,
        /// The datastore.
        datastore: Name,
    },
}

/// What a fact must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Must {
    /// Exactly this.
    Be(String),
    /// Anything but nothing.
    BeThere,
    /// A repository under the reading key that is declared for it.
    BeOurs,
    /// So many bytes or more.
    BeAtLeast(ByteSize),
    /// This time or later.
    BeSince(Timestamp),
}

/// What a fact is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// There is none.
    Nothing,
    /// In words.
    Text(String),
    /// A repository's id, and whether it is under the declared reading key.
    Repository {
        /// The id in hex.
        id: String,
        /// Whether its key is the declared one.
        ours: bool,
    },
    /// A number of bytes.
    Bytes(ByteSize),
    /// A point in time.
    Time(Timestamp),
}

/// Writes into each action that would be carried out what it relies on and how one sees that
/// it is done, given the state that the plan was made from.
pub(super) fn record(world: World<'_>, actions: &mut [Action]) {
    let mut after = world.observed.clone();
    for action in actions
        .iter_mut()
        .filter(|action| action.deferred.is_none())
    {
        let changes = changed_by(world.topology, &action.node, &action.step);
        let now = |fact: &Fact| read(world, fact);
        action.needs = relied_on(world.topology, action)
            .into_iter()
            .chain(changes.iter().filter(|fact| !fact.is_a_time()).cloned())
            .filter_map(|fact| {
                let must = now(&fact)?.must();
                Some(Need { fact, must })
            })
            .chain(
                action
                    .landing
                    .iter()
                    .flat_map(|landing| room(world, landing)),
            )
            .collect();
        let before: Vec<_> = changes
            .iter()
            .map(|fact| read(world.seeing(&after), fact))
            .collect();
        let done = Done {
            node: &action.node,
            step: &action.step,
            reads: action.reads,
        };
        simulate::carry_out(&mut after, world.topology, world.now, &done);
        action.done = changes
            .into_iter()
            .zip(before)
            .filter_map(|(fact, before)| {
                let value = read(world.seeing(&after), &fact)?;
                // What looks the same before and after says nothing about whether it was done.
                let must = (before.as_ref() != Some(&value)).then(|| fact.reached(value))?;
                Some(Need { fact, must })
            })
            .collect();
    }
}

/// Returns the nodes that must be seen to judge a plan's actions and to carry them out.
pub fn nodes<'a>(
    topology: &'a Topology,
    actions: impl IntoIterator<Item = &'a Action>,
) -> BTreeSet<Name> {
    let mut nodes = BTreeSet::new();
    for action in actions {
        let facts = action.needs.iter().chain(&action.done);
        nodes.extend(facts.flat_map(|need| need.fact.nodes(topology)));
        nodes.extend(action.landing.iter().map(|landing| &landing.node));
        nodes.insert(&action.node);
    }
    nodes
        .into_iter()
        .filter(|node| topology.nodes.contains_key(*node))
        .cloned()
        .collect()
}

/// Returns what a step changes.
fn changed_by(topology: &Topology, node: &Name, step: &Step) -> Vec<Fact> {
    let on = || node.clone();
    match step {
        Step::CreateKey { key } => vec![Fact::Key { key: key.clone() }],
        Step::PlaceBinary { hash, .. } => vec![Fact::Binary {
            node: on(),
            hash: hash.clone(),
        }],
        Step::MakeFolder { path, .. } => {
            let path = || path.clone();
            vec![
                Fact::Owner {
                    node: on(),
                    path: path(),
                },
                Fact::Mode {
                    node: on(),
                    path: path(),
                },
                Fact::Content {
                    node: on(),
                    path: path(),
                },
            ]
        }
        Step::SetOwner {
            path, recursive, ..
        } => {
            let mut facts = vec![Fact::Owner {
                node: on(),
                path: path.clone(),
            }];
            let lying_there = topology
                .datastores
                .keys()
                .filter(|name| *recursive && topology.ground(name) == Some((node, path.as_str())));
            facts.extend(lying_there.map(|name| Fact::Strangers {
                datastore: name.clone(),
            }));
            facts
        }
        Step::SetMode { path, .. } => vec![Fact::Mode {
            node: on(),
            path: path.clone(),
        }],
        Step::SetQuota { dataset, .. } => vec![Fact::Quota {
            node: on(),
            dataset: dataset.clone(),
        }],
        Step::Export { file, .. } | Step::Withdraw { file, .. } => vec![Fact::File {
            node: on(),
            path: file.clone(),
        }],
        Step::Mount { path, file, .. } => vec![
            Fact::File {
                node: on(),
                path: file.clone(),
            },
            Fact::Mounted {
                node: on(),
                path: path.clone(),
            },
        ],
        Step::MakeRepository { datastore } => {
            let repository = Fact::Repository {
                datastore: datastore.clone(),
            };
            let ground = topology.ground(datastore);
            let content = ground.map(|(node, path)| Fact::Content {
                node: node.clone(),
                path: path.to_owned(),
            });
            std::iter::once(repository).chain(content).collect()
        }
        Step::WriteManaged { datastore, .. } => vec![Fact::Marker {
            datastore: datastore.clone(),
        }],
        Step::DestroyRepository { datastore, .. } => vec![Fact::Left {
            node: on(),
            datastore: datastore.clone(),
        }],
        Step::Register { .. } => vec![Fact::Registry { node: on() }],
        Step::Copy {
            source, datastore, ..
        } => vec![newest(source, datastore)],
        Step::Sync { to, sources, .. } => sources.iter().map(|source| newest(source, to)).collect(),
        Step::Drill {
            job, source, from, ..
        } => vec![Fact::Proven {
            drill: job.clone(),
            source: source.clone(),
            datastore: from.clone(),
        }],
    }
}

fn newest(source: &Name, datastore: &Name) -> Fact {
    Fact::Newest {
        source: source.clone(),
        datastore: datastore.clone(),
    }
}

/// Returns what an action relies on besides what it changes.
fn relied_on(topology: &Topology, action: &Action) -> Vec<Fact> {
    let machine = |node: &Name| Fact::Machine { node: node.clone() };
    let mut facts = vec![machine(&action.node)];
    let store = |datastore: &Name| {
        let key = topology.datastores.get(datastore).map(|d| d.key.clone());
        let repository = Fact::Repository {
            datastore: datastore.clone(),
        };
        [Some(repository), key.map(|key| Fact::Key { key })]
            .into_iter()
            .flatten()
    };
    match &action.step {
        Step::MakeRepository { datastore } => {
            facts.extend(store(datastore).skip(1));
            if let Some((node, path)) = topology.ground(datastore) {
                facts.push(Fact::Owner {
                    node: node.clone(),
                    path: path.to_owned(),
                });
            }
        }
        Step::WriteManaged { datastore, .. } => facts.extend(store(datastore).take(1)),
        Step::Copy {
            source, datastore, ..
        } => {
            facts.extend(
                topology
                    .sources
                    .get(source)
                    .map(|source| machine(&source.on)),
            );
            facts.push(Fact::Source {
                source: source.clone(),
            });
            facts.extend(store(datastore));
        }
        Step::Sync { from, to, .. } => {
            facts.extend(store(from));
            facts.extend(store(to));
        }
        Step::Drill { from, .. } => facts.extend(store(from)),
        _ => {}
    }
    facts.sort();
    facts.dedup();
    facts
}

/// Returns the room that an action needs where its bytes land, as far as both are known.
fn room(world: World<'_>, landing: &Landing) -> Vec<Need> {
    let Some(bytes) = landing.must_fit.filter(|bytes| bytes.0 > 0) else {
        return Vec::new();
    };
    let (node, path) = (landing.node.clone(), landing.path.clone());
    let reserved = ByteSize(bytes.0.saturating_add(landing.reserve.0));
    let room = capacity::room(world, &node, &path);
    let thin = capacity::thin_room(world, &node, &path);
    let of_filesystem = room.map(|_| Need {
        fact: Fact::Room {
            node: node.clone(),
            path: path.clone(),
        },
        must: Must::BeAtLeast(reserved),
    });
    // The reserve is of the filesystem, not of the pool.
    let of_pool = thin.map(|_| Need {
        fact: Fact::ThinRoom { node, path },
        must: Must::BeAtLeast(bytes),
    });
    of_filesystem.into_iter().chain(of_pool).collect()
}

impl Fact {
    /// Tells whether the fact is a time, of which only "late enough" counts.
    fn is_a_time(&self) -> bool {
        matches!(self, Self::Newest { .. } | Self::Proven { .. })
    }

    /// Says what the fact must be for an action that brings this value about to be done.
    fn reached(&self, value: Value) -> Must {
        match self {
            // What gets a random number is known only once it is there.
            Self::Repository { .. } => Must::BeOurs,
            Self::Key { .. } => Must::BeThere,
            _ => value.must(),
        }
    }

    /// Returns the nodes that must be seen to know the fact.
    fn nodes<'a>(&'a self, topology: &'a Topology) -> Vec<&'a Name> {
        let of_store = |datastore: &Name| {
            let place = topology.datastores.get(datastore);
            let place = place.and_then(|datastore| datastore.first_place());
            let ground = topology.ground(datastore).map(|(node, _)| node);
            place
                .map(|place| &place.node)
                .into_iter()
                .chain(ground)
                .collect()
        };
        match self {
            Self::Machine { node }
            | Self::Owner { node, .. }
            | Self::Mode { node, .. }
            | Self::Content { node, .. }
            | Self::File { node, .. }
            | Self::Quota { node, .. }
            | Self::Mounted { node, .. }
            | Self::Binary { node, .. }
            | Self::Registry { node }
            | Self::Left { node, .. }
            | Self::Room { node, .. }
            | Self::ThinRoom { node, .. } => vec![node],
            Self::Key { .. } => Vec::new(),
            Self::Strangers { datastore }
            | Self::Repository { datastore }
            | Self::Marker { datastore }
            | Self::Newest { datastore, .. }
            | Self::Proven { datastore, .. } => of_store(datastore),
            Self::Source { source } => {
                let source = topology.sources.get(source);
                source.map(|source| &source.on).into_iter().collect()
            }
        }
    }

    /// Names the fact in words.
    pub fn words(&self) -> String {
        match self {
            Self::Machine { node } => format!("the machine that answers as {node}"),
            Self::Owner { node, path } => format!("the owner of {node}:{path}"),
            Self::Mode { node, path } => format!("the mode of {node}:{path}"),
            Self::Content { node, path } => format!("what {node}:{path} holds"),
            Self::Strangers { datastore } => {
                format!("entries of others in datastore {datastore}")
            }
            Self::File { node, path } => format!("the file {node}:{path}"),
            Self::Quota { node, dataset } => format!("the quota of {dataset} on {node}"),
            Self::Mounted { node, path } => format!("what is mounted at {node}:{path}"),
            Self::Binary { node, .. } => format!("bkpctl's binary on {node}"),
            Self::Registry { node } => format!("what bkpctl manages on {node}"),
            Self::Room { node, path } => format!("the room at {node}:{path}"),
            Self::ThinRoom { node, path } => format!("the thin pool below {node}:{path}"),
            Self::Key { key } => format!("reading key {key}"),
            Self::Repository { datastore } => format!("the repository in datastore {datastore}"),
            Self::Marker { datastore } => format!("the marker of datastore {datastore}"),
            Self::Left { node, datastore } => {
                format!("what is left of datastore {datastore} on {node}")
            }
            Self::Source { source } => format!("source {source}"),
            Self::Newest { source, datastore } => {
                format!("the newest snapshot of {source} in {datastore}")
            }
            Self::Proven {
                drill,
                source,
                datastore,
            } => format!("drill {drill} of {source} from {datastore}"),
        }
    }
}

impl Must {
    /// Tells whether a value is what it must be.
    pub(super) fn holds(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Be(must), Value::Text(text)) => must == text,
            (Self::Be(must), Value::Nothing) => must == NOTHING,
            (Self::Be(must), Value::Repository { id, .. }) => must == id,
            (Self::BeThere, value) => *value != Value::Nothing,
            (Self::BeOurs, Value::Repository { ours, .. }) => *ours,
            (Self::BeAtLeast(least), Value::Bytes(bytes)) => bytes >= least,
            (Self::BeSince(since), Value::Time(time)) => time >= since,
            _ => false,
        }
    }
}

impl std::fmt::Display for Must {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Be(text) => f.write_str(text),
            Self::BeThere => f.write_str("there"),
            Self::BeOurs => f.write_str("one under the declared key"),
            Self::BeAtLeast(bytes) => write!(f, "{bytes} or more"),
            Self::BeSince(time) => write!(f, "{time} or later"),
        }
    }
}

/// The word for what is not there.
const NOTHING: &str = "nothing";

impl Value {
    fn must(self) -> Must {
        match self {
            Self::Nothing => Must::Be(NOTHING.to_owned()),
            Self::Text(text) | Self::Repository { id: text, .. } => Must::Be(text),
            Self::Bytes(bytes) => Must::BeAtLeast(bytes),
            Self::Time(time) => Must::BeSince(time),
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => f.write_str(NOTHING),
            Self::Text(text) => f.write_str(text),
            Self::Repository { id, ours: true } => f.write_str(id),
            Self::Repository { id, ours: false } => write!(f, "{id}, under another key"),
            Self::Bytes(bytes) => write!(f, "{bytes}"),
            Self::Time(time) => write!(f, "{time}"),
        }
    }
}

/// Returns what a fact is; none where it can't be told.
pub(super) fn read(world: World<'_>, fact: &Fact) -> Option<Value> {
    let on = |node: &Name| world.observed.reached(node.as_str());
    match fact {
        Fact::Machine { node } => on(node)?.machine_id.clone().map(Value::Text),
        Fact::Owner { node, path } => component(on(node)?, path, |last| {
            Value::Text(format!("{}:{}", last.uid, last.gid))
        }),
        Fact::Mode { node, path } => component(on(node)?, path, |last| {
            Value::Text(format!("{:04o}", last.mode))
        }),
        Fact::Content { node, path } => {
            let seen = on(node)?.paths.get(path)?;
            Some(match (seen.outcome, seen.empty) {
                (Outcome::Missing, _) => Value::Nothing,
                (_, Some(true)) => Value::Text("an empty folder".to_owned()),
                (_, Some(false)) => Value::Text("something".to_owned()),
                (_, None) => return None,
            })
        }
        Fact::File { node, path } => on(node)?
            .files
            .get(path)
            .map_or(Some(Value::Nothing), |text| {
                Some(Value::Text(digest(text.trim_end_matches('\n'))))
            }),
        Fact::Quota { node, dataset } => {
            let dataset = on(node)?.zfs.as_ref()?.dataset(dataset)?;
            Some(text_or_nothing(dataset.quota))
        }
        Fact::Mounted { node, path } => {
            let seen = on(node)?.paths.get(path)?;
            let here =
                |mount: &&crate::model::observed::MountFacts| words::same_path(&mount.target, path);
            let mount = seen.mount.as_ref().filter(here);
            Some(text_or_nothing(mount.map(|mount| &mount.source)))
        }
        Fact::Binary { node, hash } => {
            let placed = on(node)?.state.binaries.contains(hash);
            Some(text_or_nothing(placed.then_some("placed")))
        }
        Fact::Registry { node } => Some(document(on(node)?.state.registry.as_ref())),
        Fact::Room { node, path } => capacity::room(world, node, path).map(Value::Bytes),
        Fact::ThinRoom { node, path } => {
            capacity::thin_room(world, node, path).map(|(_, free)| Value::Bytes(free))
        }
        Fact::Key { key } => Some(match world.observed.keys.get(key)? {
            KeyState::Present { domain, .. } => Value::Text(domain.clone()),
            KeyState::Missing => Value::Nothing,
            KeyState::Unusable(why) => Value::Text(format!("unusable: {why}")),
        }),
        Fact::Strangers { datastore } => {
            let (.., store) = world.served(datastore)?;
            let count = store.foreign_entries?;
            Some(text_or_nothing((count > 0).then_some("some")))
        }
        Fact::Repository { datastore } => {
            let (.., store) = world.served(datastore)?;
            if let Some(problem) = &store.marker_problem {
                return Some(Value::Text(format!("unreadable: {problem}")));
            }
            let Some(marker) = &store.marker else {
                return Some(Value::Nothing);
            };
            let key = &world.topology.datastores.get(datastore)?.key;
            let ours = matches!(
                world.observed.keys.get(key),
                Some(KeyState::Present { domain, .. }) if *domain == marker.domain
            );
            let id = marker.id.clone();
            Some(Value::Repository { id, ours })
        }
        Fact::Marker { datastore } => {
            let (.., store) = world.served(datastore)?;
            Some(document(store.managed.as_ref()))
        }
        Fact::Left { node, datastore } => Some(left(on(node)?.datastores.get(datastore)?)),
        Fact::Source { source } => state_of_source(world, source),
        Fact::Newest { source, datastore } => {
            world.served(datastore)?;
            let newest = source::newest(world, source, datastore);
            Some(newest.map_or(Value::Nothing, |head| Value::Time(head.started)))
        }
        Fact::Proven {
            drill,
            source,
            datastore,
        } => {
            let (.., store) = world.served(datastore)?;
            let passed = store
                .proofs
                .iter()
                .filter(|proof| proof.passed && proof.drill == *drill && proof.source == *source);
            let newest = passed.map(|proof| proof.at).max();
            Some(newest.map_or(Value::Nothing, Value::Time))
        }
    }
}

/// Says which repository is left, and whose it is; the same while it is being removed.
fn left(store: &DatastoreFacts) -> Value {
    if let Some(problem) = &store.marker_problem {
        return Value::Text(format!("unreadable: {problem}"));
    }
    let managed = store.managed.as_ref();
    let removing = managed.and_then(|managed| managed.removing.as_ref());
    let id = store.marker.as_ref().map(|marker| &marker.id).or(removing);
    if id.is_none() && managed.is_none() {
        return Value::Nothing;
    }
    let id = id.map_or("none", String::as_str);
    let whose = managed.map_or_else(
        || "nobody's".to_owned(),
        |managed| {
            let guard = if managed.guard { ", guarded" } else { "" };
            format!("{} of {}{guard}", managed.object, managed.topology.0)
        },
    );
    Value::Text(format!("repository {id}, {whose}"))
}

/// Reads something of a path's component, wherever on the way to a path it was seen.
fn component(facts: &NodeFacts, path: &str, value: impl Fn(&Component) -> Value) -> Option<Value> {
    if let Some(seen) = facts.paths.get(path) {
        return match seen.outcome {
            Outcome::Ok => seen.components.last().map(value),
            Outcome::Missing => Some(Value::Nothing),
            Outcome::Denied | Outcome::Timeout => None,
        };
    }
    let mut on_the_way = facts.paths.values().flat_map(|seen| &seen.components);
    on_the_way
        .find(|component| component.path == path)
        .map(value)
}

/// Says of a source whether its paths are there, and on what.
fn state_of_source(world: World<'_>, name: &Name) -> Option<Value> {
    let source = world.topology.sources.get(name)?;
    let facts = world.observed.reached(source.on.as_str())?;
    let paths = match &source.content {
        Content::Paths { paths, .. } => paths.as_slice(),
        Content::Volume { device, .. } => std::slice::from_ref(device),
        Content::Command { .. } | Content::Guest(_) => return None,
    };
    let states: Vec<String> = paths
        .iter()
        .filter_map(|path| facts.paths.get(path).map(|seen| state_of_path(path, seen)))
        .collect();
    Some(Value::Text(states.join(", ")))
}

fn state_of_path(path: &str, seen: &PathFacts) -> String {
    match (seen.outcome, &seen.mount) {
        (Outcome::Ok, Some(mount)) => format!("{path} on {}", mount.source),
        (Outcome::Ok, None) => format!("{path} there"),
        (Outcome::Missing, _) => format!("{path} missing"),
        (Outcome::Denied, _) => format!("{path} denied"),
        (Outcome::Timeout, _) => format!("{path} not answering"),
    }
}

fn text_or_nothing(text: Option<impl ToString>) -> Value {
    text.map_or(Value::Nothing, |text| Value::Text(text.to_string()))
}

fn document(document: Option<&impl Serialize>) -> Value {
    let Some(document) = document else {
        return Value::Nothing;
    };
    let json = serde_json::to_string(document).expect("names, numbers and texts always serialise");
    Value::Text(digest(&json))
}

/// Stands for a text that is too long to show.
fn digest(text: &str) -> String {
    let hash = blake3::hash(text.as_bytes()).to_hex();
    format!("{} bytes with digest {}", text.len(), &hash[..16])
}

impl<'a> World<'a> {
    /// Returns this world with another state.
    fn seeing(self, observed: &'a Observed) -> Self {
        Self { observed, ..self }
    }
}
