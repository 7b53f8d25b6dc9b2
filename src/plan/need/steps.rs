//! What each step relies on, what it changes, and how one sees that it is done.

use super::read::{Value, read};
use super::{Fact, Must, Need};
use crate::model::{ByteSize, Name, Topology};
use crate::plan::change::{Action, Landing, Step};
use crate::plan::draft::World;
use crate::plan::simulate::{self, Done};

/// Writes into each action that would be carried out what it relies on and how one sees that
/// it is done, given the state that the plan was made from.
pub(in crate::plan) fn record(world: World<'_>, actions: &mut [Action]) {
    let mut after = world.observed.clone();
    for action in actions
        .iter_mut()
        .filter(|action| action.deferred.is_none())
    {
        let changes = changed_by(world.topology, &action.node, &action.step);
        let now = |fact: &Fact| read(world, fact);
        action.needs = relied_on(world.topology, action)
            .into_iter()
            .chain(changes.iter().filter(|fact| fact.matters_before()).cloned())
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
            Fact::Enabled {
                node: on(),
                path: file.clone(),
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

/// Returns the room that an action needs where its bytes land, as far as it is there now: room
/// that a new quota gives is not.
fn room(world: World<'_>, landing: &Landing) -> Vec<Need> {
    let Some(bytes) = landing.must_fit.filter(|bytes| bytes.0 > 0) else {
        return Vec::new();
    };
    let (node, path) = (landing.node.clone(), landing.path.clone());
    let sum = |parts: &[ByteSize]| {
        let sum = parts
            .iter()
            .fold(bytes.0, |sum, part| sum.saturating_add(part.0));
        Must::BeAtLeast(ByteSize(sum))
    };
    let of_filesystem = Need {
        fact: Fact::Room {
            node: node.clone(),
            path: path.clone(),
        },
        must: sum(&[landing.reserve, landing.besides]),
    };
    // The reserve is of the filesystem, not of the pool.
    let of_pool = Need {
        fact: Fact::ThinRoom { node, path },
        must: sum(&[landing.besides_in_pool]),
    };
    let is_so = |need: &Need| read(world, &need.fact).is_some_and(|value| need.must.holds(&value));
    [of_filesystem, of_pool].into_iter().filter(is_so).collect()
}

impl Fact {
    /// Tells whether an action that changes the fact relies on what it was.
    ///
    /// Of a time only "late enough" counts, and a unit is enabled whether it was or not.
    fn matters_before(&self) -> bool {
        !matches!(
            self,
            Self::Newest { .. } | Self::Proven { .. } | Self::Enabled { .. }
        )
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
}
