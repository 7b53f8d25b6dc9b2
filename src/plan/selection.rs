//! Which part of a plan is wanted: by what it changes, by what it leaves alone, by node.
//!
//! A target stands for itself and takes along what it needs; what is excluded takes along what
//! stands on it, whether or not the plan has anything to do for it. So the same words mean the
//! same however much is done already.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::topology::DatastoreKind;
use crate::model::{Address, Name, Topology};
use crate::plan::Plan;
use crate::plan::change::{Action, Step};

/// The part of a plan that is wanted; the whole where nothing is named.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Selection {
    /// What is wanted, with what it needs; everything if left out.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub targets: BTreeSet<Address>,
    /// What is left alone, with all that stands on it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub exclude: BTreeSet<Address>,
    /// The nodes that it is about, with what that needs elsewhere; all if left out.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub nodes: BTreeSet<Name>,
    /// The changes that an apply was begun with, by label, where it is gone on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<BTreeSet<String>>,
}

/// Which part of a whole plan a plan is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanPart {
    /// What it was chosen by.
    pub selection: Selection,
    /// What the whole plan would do besides.
    pub left_out: Vec<LeftOut>,
}

/// A change of the whole plan that is not, or not all of it, in a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftOut {
    /// What it would change.
    pub address: Address,
    /// The node whose state would change.
    pub node: Name,
    /// What of it would change, such as `owner`.
    pub what: String,
}

/// What helps against a finding that the rest of a plan mends.
pub const MENDED_BY_THE_REST: &str = "what is left out of this part mends it";

/// The words that somebody chose a part by, not looked up yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// After `--target`.
    pub targets: Vec<String>,
    /// After `--exclude`.
    pub exclude: Vec<String>,
    /// After `--node`.
    pub nodes: Vec<String>,
}

/// Why a part can't be told from what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unclear {
    /// A word names nothing.
    Unknown {
        /// The option that it came after.
        option: &'static str,
        /// The word.
        word: String,
        /// What could have been named there.
        known: Vec<String>,
    },
    /// One thing is wanted and left alone.
    Both {
        /// The thing.
        address: Address,
    },
    /// All that is wanted stands on what is left alone.
    NothingLeft {
        /// The option and the word of which nothing is left.
        wanted: String,
        /// The options and words that take it all away.
        excluded: String,
    },
}

impl Asked {
    /// Tells whether the whole is asked for.
    pub fn is_whole(&self) -> bool {
        self.targets.is_empty() && self.exclude.is_empty() && self.nodes.is_empty()
    }

    /// Looks up every word in the whole plan and its topology.
    ///
    /// # Errors
    ///
    /// A word names nothing there, or one is wanted and left alone.
    pub fn look_up(&self, whole: &Plan) -> Result<Selection, Unclear> {
        let known = known(whole);
        let address = |option: &'static str, word: &String| {
            let address = word.parse::<Address>().ok();
            address
                .filter(|address| known.contains(address))
                .ok_or_else(|| Unclear::Unknown {
                    option,
                    word: word.clone(),
                    known: known.iter().map(ToString::to_string).collect(),
                })
        };
        let nodes = &whole.topology.nodes;
        let node = |word: &String| {
            let name = Name::new(word.as_str()).ok();
            name.filter(|name| nodes.contains_key(name))
                .ok_or_else(|| Unclear::Unknown {
                    option: "--node",
                    word: word.clone(),
                    known: nodes.keys().map(ToString::to_string).collect(),
                })
        };
        let of = |option, words: &[String]| -> Result<BTreeSet<Address>, Unclear> {
            words.iter().map(|word| address(option, word)).collect()
        };
        let selection = Selection {
            targets: of("--target", &self.targets)?,
            exclude: of("--exclude", &self.exclude)?,
            nodes: self.nodes.iter().map(node).collect::<Result<_, _>>()?,
            begun: None,
        };
        let named = selection
            .nodes
            .iter()
            .map(|node| Address::new("node", node));
        let mut wanted = selection.targets.iter().cloned().chain(named);
        match wanted.find(|address| selection.exclude.contains(address)) {
            Some(address) => Err(Unclear::Both { address }),
            None => Ok(selection),
        }
    }
}

impl Selection {
    /// Tells whether it is the whole.
    pub fn is_whole(&self) -> bool {
        self.targets.is_empty()
            && self.exclude.is_empty()
            && self.nodes.is_empty()
            && self.begun.is_none()
    }

    /// Returns the options that choose it, as they are written on a command line.
    pub fn options(&self) -> Vec<String> {
        let of = |option: &str, words: &BTreeSet<Address>| -> Vec<String> {
            let words = words.iter();
            words.map(|word| format!("{option} {word}")).collect()
        };
        let nodes = self.nodes.iter().map(|node| format!("--node {node}"));
        let mut options = of("--target", &self.targets);
        options.extend(of("--exclude", &self.exclude));
        options.extend(nodes);
        options
    }

    /// Tells whether it names something by what it is called.
    pub(super) fn wants(&self, label: &str, names: &BTreeSet<Address>) -> bool {
        let any_of = |words: &BTreeSet<Address>| words.iter().any(|word| names.contains(word));
        let on = |node: &Name| names.contains(&Address::new("node", node));
        let begun = self.begun.as_ref();
        begun.is_none_or(|begun| begun.contains(label))
            && (self.targets.is_empty() || any_of(&self.targets))
            && (self.nodes.is_empty() || self.nodes.iter().any(on))
    }

    /// Tells whether it leaves something alone, given what that stands on.
    pub(super) fn leaves_alone(&self, uses: &BTreeSet<Address>) -> bool {
        self.exclude.iter().any(|word| uses.contains(word))
    }

    /// Tells whether it names some things only.
    pub(super) fn is_narrow(&self) -> bool {
        !self.targets.is_empty() || !self.nodes.is_empty() || self.begun.is_some()
    }

    /// Tells whether it is about a thing of a topology, which a job may have brought about.
    ///
    /// What the thing needs is not asked for, so this is narrower than a part of a plan.
    pub fn is_about(&self, topology: &Topology, address: &Address, job: Option<&Name>) -> bool {
        let of_job = || job.map_or_else(Vec::new, |job| of_job(topology, job));
        let mut names = named_by(topology, address);
        let mut uses = stands_on(topology, address);
        uses.extend(of_job());
        names.extend(of_job());
        names.extend(uses.iter().filter(|of| of.kind() == "node").cloned());
        self.wants("", &names) && !self.leaves_alone(&uses)
    }
}

/// Returns everything that a person may name: what is declared, and what the plan speaks of.
fn known(whole: &Plan) -> BTreeSet<Address> {
    let topology = &whole.topology;
    let mut known = BTreeSet::new();
    let mut add = |kind: &str, names: &mut dyn Iterator<Item = &Name>| {
        known.extend(names.map(|name| Address::new(kind, name)));
    };
    add("node", &mut topology.nodes.keys());
    add("share", &mut topology.shares.keys());
    add("datastore", &mut topology.datastores.keys());
    add("mount", &mut topology.mounts().map(|(name, ..)| name));
    add("source", &mut topology.sources.keys());
    add("guests", &mut topology.guests.keys());
    add("key", &mut topology.keys.keys());
    add(
        "phase",
        &mut topology.phases.iter().map(|phase| &phase.name),
    );
    known.extend(topology.removed.iter().map(|gone| gone.address.clone()));
    for (_, job) in topology.jobs() {
        known.insert(Address::new(job.work.kind(), &job.name));
        known.insert(Address::new("job", &job.name));
    }
    known.extend(
        whole
            .protection
            .iter()
            .map(|copy| copy_of(&copy.source, &copy.datastore)),
    );
    let proofs = whole.proofs.iter();
    known.extend(proofs.map(|proof| Address::with_part("drill", &proof.drill, &proof.source)));
    known.extend(whole.actions.iter().map(|action| action.address.clone()));
    known
}

/// Returns the address of a copy, however it comes there.
pub(super) fn copy_of(source: &Name, datastore: &Name) -> Address {
    Address::with_part("copy", source, datastore)
}

/// Returns everything that an action is called by: its address, its job and phase, the source
/// whose copies it is about, and the nodes that it happens on.
pub(super) fn names(
    topology: &Topology,
    action: &Action,
    source: Option<&Name>,
) -> BTreeSet<Address> {
    let mut names = named_by(topology, &action.address);
    match &action.step {
        Step::Copy { job, source, .. } | Step::Drill { job, source, .. } => {
            names.extend(of_job(topology, job));
            names.insert(Address::new("source", source));
        }
        Step::Sync { job, to, .. } => {
            names.extend(of_job(topology, job));
            if let Some(source) = source {
                names.insert(Address::new("source", source));
                names.insert(copy_of(source, to));
            }
        }
        Step::Mount { datastore, .. } => {
            names.insert(Address::new("mount", datastore));
        }
        _ => {}
    }
    let uses = uses(topology, action, source).into_iter();
    names.extend(uses.filter(|address| address.kind() == "node"));
    names
}

/// Returns everything that an action stands on: take one of these away, and it can't be.
pub(super) fn uses(
    topology: &Topology,
    action: &Action,
    source: Option<&Name>,
) -> BTreeSet<Address> {
    let mut uses = stands_on(topology, &action.address);
    uses.insert(Address::new("node", &action.node));
    let datastore = |name: &Name| stands_on(topology, &Address::new("datastore", name));
    match &action.step {
        Step::Copy { job, .. } => uses.extend(of_job(topology, job)),
        Step::Drill { job, from, .. } => {
            uses.extend(of_job(topology, job));
            uses.extend(datastore(from));
        }
        Step::Sync { job, from, to, .. } => {
            uses.extend(of_job(topology, job));
            uses.extend(datastore(from));
            uses.extend(datastore(to));
            if let Some(source) = source {
                // Not its node: what is there already is carried without it.
                uses.insert(Address::new("source", source));
                uses.insert(copy_of(source, to));
            }
        }
        Step::Mount { datastore: of, .. } => {
            uses.insert(Address::new("mount", of));
        }
        Step::WriteManaged { datastore: of, .. } => uses.extend(datastore(of)),
        Step::DestroyRepository { datastore: of, .. } => {
            uses.insert(Address::new("datastore", of));
        }
        _ => {}
    }
    uses
}

/// Returns what else a thing is called by: a copy by its source, say.
fn named_by(topology: &Topology, address: &Address) -> BTreeSet<Address> {
    let mut names = BTreeSet::from([address.clone()]);
    match (address.kind(), address.part()) {
        ("copy", Some(_)) => {
            names.insert(Address::new("source", address.name()));
        }
        ("drill", Some(source)) => {
            names.extend(of_job(topology, address.name()));
            names.insert(Address::new("source", source));
        }
        ("job" | "sync" | "backup" | "cloud" | "drill", None) => {
            names.extend(of_job(topology, address.name()));
        }
        _ => {}
    }
    names
}

/// Returns a thing with everything that it stands on in a topology.
pub(super) fn stands_on(topology: &Topology, address: &Address) -> BTreeSet<Address> {
    let mut all = named_by(topology, address);
    let name = address.name();
    let other = |kind: &str, name: &Name| stands_on(topology, &Address::new(kind, name));
    match (address.kind(), address.part()) {
        ("datastore", _) => of_datastore(topology, name, &mut all),
        ("mount", _) => {
            all.insert(Address::new("datastore", name));
            of_datastore(topology, name, &mut all);
        }
        ("share", _) => {
            let share = topology.shares.get(name);
            all.extend(share.map(|share| Address::new("node", &share.on)));
        }
        ("source", _) => {
            let source = topology.sources.get(name);
            all.extend(source.map(|source| Address::new("node", &source.on)));
        }
        ("copy", Some(datastore)) => {
            all.extend(other("source", name));
            all.extend(other("datastore", datastore));
        }
        _ => {}
    }
    all
}

fn of_datastore(topology: &Topology, name: &Name, all: &mut BTreeSet<Address>) {
    let Some(datastore) = topology.datastores.get(name) else {
        return;
    };
    all.insert(Address::new("key", &datastore.key));
    let DatastoreKind::Directory { places } = &datastore.kind else {
        return;
    };
    for place in places {
        all.insert(Address::new("node", &place.node));
        let Some(mount) = &place.mount else { continue };
        all.insert(Address::new("mount", name));
        all.insert(Address::new("node", place.mount_point(mount).0));
        if let Some(share) = mount.share() {
            all.extend(stands_on(topology, &Address::new("share", share)));
        }
    }
}

/// Returns what a job is called, and its phase.
fn of_job(topology: &Topology, name: &Name) -> Vec<Address> {
    let mut jobs = topology.jobs();
    let found = jobs.find(|(_, job)| job.name == *name);
    found.map_or_else(Vec::new, |(phase, job)| {
        vec![
            Address::new(job.work.kind(), name),
            Address::new("job", name),
            Address::new("phase", &phase.name),
        ]
    })
}
