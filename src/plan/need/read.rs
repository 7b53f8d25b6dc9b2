//! What a fact is in a state that was seen.

use serde::Serialize;

use super::{Fact, Must};
use crate::model::observed::{Component, DatastoreFacts, KeyState, NodeFacts, Outcome, PathFacts};
use crate::model::topology::Content;
use crate::model::{ByteSize, Name, Observed, Timestamp};
use crate::plan::draft::World;
use crate::plan::{capacity, source, words};

/// The word for what is not there.
const NOTHING: &str = "nothing";

/// What a fact is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::plan) enum Value {
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

impl Value {
    pub(super) fn must(self) -> Must {
        match self {
            Self::Nothing => Must::Be(NOTHING.to_owned()),
            Self::Text(text) | Self::Repository { id: text, .. } => Must::Be(text),
            Self::Bytes(bytes) => Must::BeAtLeast(bytes),
            Self::Time(time) => Must::BeSince(time),
        }
    }
}

impl Must {
    /// Tells whether a value is what it must be.
    pub(in crate::plan) fn holds(&self, value: &Value) -> bool {
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
pub(in crate::plan) fn read(world: World<'_>, fact: &Fact) -> Option<Value> {
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
        Fact::Enabled { node, path } => {
            let enabled = on(node)?.units.get(path)?.enabled?;
            Some(text_or_nothing(enabled.then_some("enabled")))
        }
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
    pub(super) fn seeing(self, observed: &'a Observed) -> Self {
        Self { observed, ..self }
    }
}
