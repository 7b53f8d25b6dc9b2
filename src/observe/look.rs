//! Looks at all nodes at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::probe::{self, Limits};
use super::question;
use super::wanted::{Wanted, left_behind, unknown, wanted};
use crate::model::observed::{NodeFacts, NodeState, Observed, Unreachable, UnreachableKind};
use crate::model::topology::{Node, Reach};
use crate::model::{Name, Timestamp, Topology};
use crate::transport::{Transport, TransportError};

/// Says how to look.
#[derive(Debug, Clone)]
pub struct ObserveOptions {
    /// The nodes to look at; left out, all of them.
    pub only: Option<BTreeSet<Name>>,
    /// How many nodes are looked at at the same time.
    pub at_once: usize,
    /// How long a node may take to answer once it was reached.
    pub answer_within: Duration,
    /// How long a path may take to be touched, in whole seconds.
    pub path_within: Duration,
    /// How long sources may take to be measured; left out, they are not.
    pub estimate_within: Option<Duration>,
}

impl Default for ObserveOptions {
    fn default() -> Self {
        Self {
            only: None,
            at_once: 20,
            answer_within: Duration::from_secs(40),
            path_within: Duration::from_secs(5),
            estimate_within: Some(Duration::from_secs(2)),
        }
    }
}

/// Makes the transport to a node, or gives one that is open already.
pub type Connect<'a> =
    dyn Fn(&Name, &Node) -> Result<Arc<dyn Transport>, TransportError> + Sync + 'a;

/// Listens to a look, node by node; only the command line prints.
pub trait Watch: Send + Sync {
    /// A node is looked at.
    fn started(&self, node: &Name);
    /// A node was looked at.
    fn ended(&self, node: &Name, seen: &NodeState);
}

/// Looks at the nodes of a topology, all at once.
///
/// Reading keys and the binary are not on nodes; whoever calls adds them.
pub fn observe(
    topology: &Topology,
    connect: &Connect<'_>,
    now: &(dyn Fn() -> Timestamp + Sync),
    options: &ObserveOptions,
) -> Observed {
    observe_watched(topology, connect, now, options, None)
}

/// Looks as [`observe`] does, while somebody listens.
pub fn observe_watched(
    topology: &Topology,
    connect: &Connect<'_>,
    now: &(dyn Fn() -> Timestamp + Sync),
    options: &ObserveOptions,
    watch: Option<&dyn Watch>,
) -> Observed {
    let asked = |name: &Name| options.only.as_ref().is_none_or(|only| only.contains(name));
    let todo = wanted(topology)
        .into_iter()
        .filter(|(name, _)| asked(name))
        .collect();
    each(topology, todo, connect, now, options, watch)
}

/// Looks around on the nodes of a topology that says nothing else yet.
pub fn discover(
    topology: &Topology,
    connect: &Connect<'_>,
    now: &(dyn Fn() -> Timestamp + Sync),
    options: &ObserveOptions,
) -> Observed {
    let sudo = |node: &Node| matches!(&node.reach, Reach::Ssh(ssh) if ssh.sudo);
    let todo = topology
        .nodes
        .iter()
        .map(|(name, node)| (name.clone(), unknown(sudo(node))))
        .collect();
    each(topology, todo, connect, now, options, None)
}

#[expect(clippy::needless_pass_by_value, reason = "it is made for this")]
fn each(
    topology: &Topology,
    todo: Vec<(Name, Wanted)>,
    connect: &Connect<'_>,
    now: &(dyn Fn() -> Timestamp + Sync),
    options: &ObserveOptions,
    watch: Option<&dyn Watch>,
) -> Observed {
    let nodes = at_once(&todo, options.at_once, &|name, wanted| {
        if let Some(watch) = watch {
            watch.started(name);
        }
        let seen = look(topology, name, wanted, connect, now, options);
        let seen = seen.unwrap_or_else(|error| {
            NodeState::Unreachable(Unreachable {
                kind: kind(&error),
                message: error.to_string(),
            })
        });
        if let Some(watch) = watch {
            watch.ended(name, &seen);
        }
        seen
    });
    Observed {
        nodes,
        ..Observed::default()
    }
}

/// Does something with each of some nodes, with so many of them at the same time.
pub(super) fn at_once<W: Sync, T: Send>(
    todo: &[(Name, W)],
    how_many: usize,
    with: &(dyn Fn(&Name, &W) -> T + Sync),
) -> BTreeMap<Name, T> {
    let done = Mutex::new(BTreeMap::new());
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..how_many.clamp(1, todo.len().max(1)) {
            scope.spawn(|| {
                while let Some((name, wanted)) = todo.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = with(name, wanted);
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    done.insert(name.clone(), result);
                }
            });
        }
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Looks at a node: at what is declared, and at what is listed there and no longer declared.
fn look(
    topology: &Topology,
    name: &Name,
    wanted: &Wanted,
    connect: &Connect<'_>,
    now: &(dyn Fn() -> Timestamp + Sync),
    options: &ObserveOptions,
) -> Result<NodeState, TransportError> {
    let transport = connect(name, &topology.nodes[name])?;
    let mut facts = match ask(&*transport, wanted, now, options)? {
        Ok(facts) => facts,
        Err(state) => return Ok(state),
    };
    let registry = facts.state.registry.clone().unwrap_or_default();
    if let Some(left) = left_behind(topology, wanted, &registry)
        && let Ok(seen) = ask(&*transport, &left, now, options)?
    {
        add_left(&mut facts, *seen);
    }
    Ok(NodeState::Reached(facts))
}

/// Adds what was seen of things that are no longer declared.
fn add_left(facts: &mut NodeFacts, seen: NodeFacts) {
    for (name, store) in seen.datastores {
        // What is declared under that name was seen already, with its owner.
        facts.datastores.entry(name).or_insert(store);
    }
    for (path, seen) in seen.paths {
        facts.paths.entry(path).or_insert(seen);
    }
    facts.files.extend(seen.files);
}

/// Asks a node what is wanted of it.
fn ask(
    transport: &dyn Transport,
    wanted: &Wanted,
    now: &(dyn Fn() -> Timestamp + Sync),
    options: &ObserveOptions,
) -> Result<Result<Box<NodeFacts>, NodeState>, TransportError> {
    let limits = Limits {
        whole: options.answer_within,
        path: options.path_within,
        estimate: options.estimate_within,
    };
    let script = probe::script(wanted, limits).question(question::ask(wanted, limits));
    let output = match transport.run(&script) {
        // Without root rights there is still much to see, and the facts say they are missing.
        Err(TransportError::Denied { .. }) => transport.run(&script.privileged(false))?,
        other => other?,
    };
    let after = now();
    let via = transport.describe();
    let facts = question::facts(&output.stdout, wanted, &via, after).unwrap_or_else(|| {
        probe::parse(&output.stdout, wanted, via.clone(), after).map_err(|error| error.to_string())
    });
    match facts {
        Ok(facts) => Ok(Ok(Box::new(facts))),
        Err(error) => Ok(Err(NodeState::Unreachable(Unreachable {
            kind: UnreachableKind::Answer,
            message: format!(
                "look at the node on {via}: {error} (it said: {:?}); a POSIX sh with the usual tools is needed there",
                output.complaint()
            ),
        }))),
    }
}

fn kind(error: &TransportError) -> UnreachableKind {
    match error {
        TransportError::HostKeyMismatch { .. } | TransportError::HostKeyUnknown { .. } => {
            UnreachableKind::HostKey
        }
        TransportError::Auth { .. } => UnreachableKind::Login,
        TransportError::Timeout { .. } => UnreachableKind::Timeout,
        TransportError::Cut { .. }
        | TransportError::TooMuchOutput { .. }
        | TransportError::Denied { .. }
        | TransportError::Refused { .. }
        | TransportError::NoSuchProgram { .. } => UnreachableKind::Answer,
        TransportError::Unsupported { .. } => UnreachableKind::Unsupported,
        _ => UnreachableKind::Connect,
    }
}
