//! What an action relies on, fact by fact, so that a plan read yesterday can be judged today.
//!
//! Needs are taken from the state that the plan was made from, and nothing else counts: a
//! machine that changed elsewhere does not make a plan stale. What an action brings about
//! is told by the model of what carrying it out does ([`simulate`]), so there is no second
//! table of effects to keep in step.

mod read;
mod steps;

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(super) use self::read::{Value, read};
pub(super) use self::steps::record;
use crate::model::{ByteSize, Name, Timestamp, Topology};
use crate::plan::change::Action;

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
    /// Whether a systemd unit is pulled in at every start.
    Enabled {
        /// The node.
        node: Name,
        /// The unit's file.
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

impl Fact {
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
            | Self::Enabled { node, .. }
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
            Self::Enabled { node, path } => format!("whether {node}:{path} counts at every start"),
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
