//! What would be left if a machine, or all that shares a fate, were lost.
//!
//! Answers from what is declared and, where facts are given, from what was seen: which copies go
//! along, which sources could be restored from where, and what it takes to be whole again.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cycle::{RestoreCycle, Web};
use super::demand::{Demand, demands};
use super::draft::World;
use super::source;
use crate::model::topology::{Datastore, DatastoreKind, Work};
use crate::model::{ByteSize, Name, Observed, Period, Timestamp, Topology};

/// The version of a disaster's JSON form.
pub const DISASTER_FORMAT: u32 = 1;

/// Names what is lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// One node, with the containers on it.
    Node(Name),
    /// Everything of one failure domain, such as `site=home`.
    Domain {
        /// The domain's key.
        key: String,
        /// Its value.
        value: String,
    },
}

/// What a loss would leave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Disaster {
    /// The version of this form, see [`DISASTER_FORMAT`].
    pub format: u32,
    /// What is lost.
    pub lost: Loss,
    /// Whether copies count that were seen; else those that are declared.
    pub as_seen: bool,
    /// The nodes that are lost.
    pub nodes: Vec<Name>,
    /// The datastores that are lost.
    pub datastores: Vec<Name>,
    /// The reading keys whose files are lost: their recovery sheets are needed.
    pub keys: Vec<Name>,
    /// The jobs that can't run until something is replaced.
    pub jobs: Vec<Name>,
    /// Every source, the worst first.
    pub sources: Vec<SourceFate>,
    /// What can't be restored although a copy is left, since it waits for itself.
    #[serde(default)]
    pub cycles: Vec<RestoreCycle>,
    /// The reading keys that nobody has any more: no snapshot that is sealed for one can be read.
    #[serde(default)]
    pub lost_keys: Vec<Name>,
    /// What to do, in order, to be whole again.
    pub steps: Vec<RecoveryStep>,
}

/// What becomes of a source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SourceFate {
    /// The source.
    pub source: Name,
    /// How it stands.
    pub fate: Fate,
    /// The copies that are lost.
    pub lost: Vec<CopyLeft>,
    /// The copies that are left, the youngest first.
    pub left: Vec<CopyLeft>,
    /// How much a restore of the youngest copy gives, if that is known.
    pub bytes: Option<ByteSize>,
}

/// One copy of a source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CopyLeft {
    /// The datastore that holds it.
    pub datastore: Name,
    /// The node that serves it; none for a bucket.
    pub node: Option<Name>,
    /// How old it is, if it was seen.
    pub age: Option<Period>,
}

/// How a source stands after a loss, the worst first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Its data is lost and so is every copy.
    Gone,
    /// Its data is lost, a copy is left, and nobody can read it.
    Locked,
    /// Its data is lost, and a copy is left.
    ToRestore,
    /// Its data is there, and no copy is left.
    Unprotected,
    /// Its data is there, and fewer copies are left than before.
    Weakened,
    /// Nothing of it is lost.
    Untouched,
}

/// Something to do after a loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecoveryStep {
    /// Get a reading key back from its recovery sheet.
    RecoverKey(Name),
    /// Replace a node.
    ReplaceNode(Name),
    /// Have `apply` make a datastore anew on its node.
    MakeDatastore(Name),
    /// Restore a source from a datastore.
    Restore {
        /// The source.
        source: Name,
        /// Where from.
        from: Name,
        /// How much, if that is known.
        bytes: Option<ByteSize>,
    },
    /// Fill a datastore again.
    Refill {
        /// The datastore.
        datastore: Name,
        /// The jobs that do it.
        jobs: Vec<Name>,
        /// How much, if that is known.
        bytes: Option<ByteSize>,
    },
}

/// Says why a text names no loss.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a node's name nor a failure domain such as site=home")]
pub struct LossError(String);

impl FromStr for Loss {
    type Err = LossError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || LossError(text.to_owned());
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() && !value.is_empty() => Ok(Self::Domain {
                key: key.to_owned(),
                value: value.to_owned(),
            }),
            Some(_) => Err(wrong()),
            None => text.parse().map(Self::Node).map_err(|_| wrong()),
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(name) => f.pad(name.as_str()),
            Self::Domain { key, value } => f.pad(&format!("{key}={value}")),
        }
    }
}

impl Disaster {
    /// Returns how much would have to travel, if all of that is known.
    pub fn bytes(&self) -> Option<ByteSize> {
        let of = |step: &RecoveryStep| match step {
            RecoveryStep::Restore { bytes, .. } | RecoveryStep::Refill { bytes, .. } => *bytes,
            _ => Some(ByteSize(0)),
        };
        let all: Option<Vec<_>> = self.steps.iter().map(of).collect();
        all.map(|all| ByteSize(all.iter().map(|bytes| bytes.0).sum()))
    }
}

/// Works out what a loss would leave; none if it names nothing that is declared.
///
/// With facts, a copy counts if a complete snapshot was seen; without, if a job makes it.
pub fn disaster(
    topology: &Topology,
    facts: Option<(&Observed, Timestamp)>,
    lost: &Loss,
) -> Option<Disaster> {
    let nothing = Observed::default();
    let (observed, now) = facts.unwrap_or((&nothing, Timestamp(0)));
    let world = World {
        topology,
        observed,
        now,
    };
    let scene = Scene::new(world, facts.is_some(), lost);
    if scene.nodes.is_empty() && scene.datastores.is_empty() {
        return None;
    }
    let demands = demands(topology).copies;
    let web = Web::new(&scene, &demands);
    let locked = web.locked();
    let mut sources: Vec<_> = topology
        .sources
        .keys()
        .chain(topology.guests.keys())
        .map(|name| scene.fate(name, &demands))
        .collect();
    for source in &mut sources {
        if source.fate == Fate::ToRestore && locked.contains(&source.source) {
            source.fate = Fate::Locked;
        }
    }
    sources.sort_by(|a, b| (a.fate, &a.source).cmp(&(b.fate, &b.source)));
    let keys: Vec<Name> = if scene
        .nodes
        .iter()
        .any(|node| topology.is_local(node.as_str()))
    {
        topology.keys.keys().cloned().collect()
    } else {
        Vec::new()
    };
    let sheets: Vec<Name> = keys
        .iter()
        .filter(|key| web.is_there(key))
        .cloned()
        .collect();
    let steps = scene.steps(&sheets, &sources, &demands);
    Some(Disaster {
        format: DISASTER_FORMAT,
        lost: lost.clone(),
        as_seen: facts.is_some(),
        jobs: scene.jobs(),
        cycles: web.cycles(),
        lost_keys: web.lost_keys(),
        keys,
        sources,
        steps,
        nodes: scene.in_order(),
        datastores: scene
            .datastores
            .iter()
            .map(|name| (*name).clone())
            .collect(),
    })
}

/// Is a topology with what of it is lost.
pub(super) struct Scene<'a> {
    pub(super) world: World<'a>,
    pub(super) as_seen: bool,
    pub(super) nodes: BTreeSet<&'a Name>,
    pub(super) datastores: BTreeSet<&'a Name>,
}

impl<'a> Scene<'a> {
    pub(super) fn new(world: World<'a>, as_seen: bool, lost: &Loss) -> Self {
        let topology = world.topology;
        let mut nodes: BTreeSet<&Name> = topology
            .nodes
            .iter()
            .filter(|(name, node)| match lost {
                Loss::Node(lost) => *name == lost,
                Loss::Domain { key, value } => node.domain.get(key) == Some(value),
            })
            .map(|(name, _)| name)
            .collect();
        // What runs on a lost machine is lost with it, and containers may nest.
        loop {
            let within: Vec<&Name> = topology
                .nodes
                .iter()
                .filter(|(name, node)| {
                    let host = node.container.as_ref().map(|container| &container.on);
                    !nodes.contains(name) && host.is_some_and(|host| nodes.contains(host))
                })
                .map(|(name, _)| name)
                .collect();
            if within.is_empty() {
                break;
            }
            nodes.extend(within);
        }
        let mut scene = Self {
            world,
            as_seen,
            nodes,
            datastores: BTreeSet::new(),
        };
        let is_lost = |(_, datastore): &(&Name, &Datastore)| match lost {
            Loss::Domain { key, value } if datastore.domain.get(key) == Some(value) => true,
            _ => scene.takes_along(datastore),
        };
        let datastores = topology.datastores.iter().filter(is_lost);
        scene.datastores = datastores.map(|(name, _)| name).collect();
        scene
    }

    /// Tells whether a datastore is on a lost node, or on a share that a lost node exports.
    fn takes_along(&self, datastore: &Datastore) -> bool {
        let Some(place) = datastore.first_place() else {
            return false;
        };
        let share = place.mount.as_ref().and_then(|mount| mount.share());
        let exporter = share.and_then(|share| self.world.topology.shares.get(share));
        // Where the files are decides, not who serves them; without a share both are one.
        match exporter {
            Some(share) => self.nodes.contains(&share.on),
            None => self.nodes.contains(&place.node),
        }
    }

    fn fate(&self, source: &Name, demands: &[Demand<'_>]) -> SourceFate {
        let topology = self.world.topology;
        let on = topology.sources.get(source).map(|source| &source.on);
        let is_lost = on.is_some_and(|node| self.nodes.contains(node));
        let (mut lost, mut left) = (Vec::new(), Vec::new());
        let mut bytes = None;
        let mut youngest = None;
        for demand in demands.iter().filter(|demand| demand.source == source) {
            let newest = source::newest(self.world, source, demand.datastore);
            if self.as_seen && newest.is_none() {
                continue;
            }
            let copy = CopyLeft {
                datastore: demand.datastore.clone(),
                node: self.world.home(demand.datastore).cloned(),
                age: newest.map(|head| self.world.now.since(head.started)),
            };
            if self.datastores.contains(demand.datastore) {
                lost.push(copy);
            } else {
                let started = newest.map(|head| head.started);
                if youngest.is_none() || started > youngest {
                    youngest = started;
                    bytes = newest.map(|head| head.bytes);
                }
                left.push(copy);
            }
        }
        left.sort_by_key(|copy| (copy.age, copy.datastore.clone()));
        let fate = match (is_lost, left.is_empty(), lost.is_empty()) {
            (true, true, _) => Fate::Gone,
            (true, false, _) => Fate::ToRestore,
            (false, true, false) => Fate::Unprotected,
            (false, _, false) => Fate::Weakened,
            (false, _, true) => Fate::Untouched,
        };
        SourceFate {
            source: source.clone(),
            fate,
            lost,
            left,
            bytes,
        }
    }

    /// Returns the jobs that read from or write to something that is lost.
    fn jobs(&self) -> Vec<Name> {
        let topology = self.world.topology;
        let source_is_lost = |name: &Name| {
            let on = topology.sources.get(name).map(|source| &source.on);
            on.is_some_and(|node| self.nodes.contains(node))
        };
        let stops = |work: &Work| match work {
            Work::Backup { sources, to } => {
                sources.iter().any(source_is_lost)
                    || to
                        .iter()
                        .any(|datastore| self.datastores.contains(datastore))
            }
            Work::Sync { from, to } | Work::Cloud { from, to } => {
                self.datastores.contains(from) || self.datastores.contains(to)
            }
            Work::Drill { from, on, .. } => {
                self.datastores.contains(from)
                    || on.as_ref().is_some_and(|node| self.nodes.contains(node))
            }
        };
        let jobs = topology.jobs().filter(|(_, job)| stops(&job.work));
        jobs.map(|(_, job)| job.name.clone()).collect()
    }

    /// Returns the lost nodes, hosts before the containers on them.
    fn in_order(&self) -> Vec<Name> {
        let depth = |name: &Name| {
            let nodes = &self.world.topology.nodes;
            let host = |name: &Name| nodes.get(name)?.container.as_ref().map(|c| c.on.clone());
            // The configuration refuses containers that contain each other.
            std::iter::successors(host(name), |name| host(name))
                .take(nodes.len())
                .count()
        };
        let mut nodes: Vec<Name> = self.nodes.iter().map(|name| (*name).clone()).collect();
        nodes.sort_by_key(|name| (depth(name), name.clone()));
        nodes
    }

    /// Returns what to do, in the order in which one thing needs the other.
    fn steps(
        &self,
        keys: &[Name],
        sources: &[SourceFate],
        demands: &[Demand<'_>],
    ) -> Vec<RecoveryStep> {
        // A key is got back on the machine that bkpctl runs on, and nothing works without it.
        let is_local = |name: &Name| self.world.topology.is_local(name.as_str());
        let (local, others): (Vec<_>, Vec<_>) = self.in_order().into_iter().partition(is_local);
        let mut steps: Vec<_> = local.into_iter().map(RecoveryStep::ReplaceNode).collect();
        steps.extend(keys.iter().cloned().map(RecoveryStep::RecoverKey));
        steps.extend(others.into_iter().map(RecoveryStep::ReplaceNode));
        for fate in sources.iter().filter(|fate| fate.fate == Fate::ToRestore) {
            if let Some(copy) = fate.left.first() {
                steps.push(RecoveryStep::Restore {
                    source: fate.source.clone(),
                    from: copy.datastore.clone(),
                    bytes: fate.bytes,
                });
            }
        }
        let is_bucket = |name: &Name| {
            let kind = self
                .world
                .topology
                .datastores
                .get(name)
                .map(|store| &store.kind);
            matches!(kind, Some(DatastoreKind::S3(_)))
        };
        let is_gone = |name: &Name| {
            let is_lost = |fate: &&SourceFate| matches!(fate.fate, Fate::Gone | Fate::Locked);
            let mut gone = sources.iter().filter(is_lost);
            gone.any(|fate| fate.source == *name)
        };
        // A datastore is filled from what the ones before it hold.
        let mut lost: Vec<&Name> = self.datastores.iter().copied().collect();
        let hops = |name: &Name| {
            let of_it = demands.iter().filter(|demand| demand.datastore == name);
            of_it.map(|demand| demand.hops).max().unwrap_or(0)
        };
        lost.sort_by_key(|name| (hops(name), *name));
        for name in &lost {
            if !is_bucket(name) {
                steps.push(RecoveryStep::MakeDatastore((*name).clone()));
            }
        }
        for name in lost {
            let of_it: Vec<_> = demands
                .iter()
                .filter(|demand| demand.datastore == name && !is_gone(demand.source))
                .collect();
            if of_it.is_empty() {
                continue;
            }
            let mut jobs: Vec<Name> = of_it.iter().map(|demand| demand.job.clone()).collect();
            jobs.sort();
            jobs.dedup();
            let sizes = of_it.iter().map(|demand| self.size(demand.source));
            let bytes: Option<u64> = sizes.map(|size| size.map(|size| size.0)).sum();
            steps.push(RecoveryStep::Refill {
                datastore: name.clone(),
                jobs,
                bytes: bytes.map(ByteSize),
            });
        }
        steps
    }

    /// Returns how much the newest copy of a source holds, wherever it is.
    fn size(&self, source: &Name) -> Option<ByteSize> {
        let datastores = self.world.topology.datastores.keys();
        let copies = datastores.filter_map(|store| source::newest(self.world, source, store));
        copies
            .max_by_key(|head| head.started)
            .map(|head| head.bytes)
    }
}
