//! Circles in what a restore needs: something that only what is to be restored would give back.
//!
//! After a loss, what can be had again is worked out from what is left: a copy needs its key and
//! whoever serves it, a key needs its file or its sheet, a lost source needs one of its copies.
//! Whatever can't be had although a copy of it is left either waits for itself, in a circle, or
//! for something that nobody has.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::demand::{Demand, Demands};
use super::disaster::{Loss, Scene};
use super::draft::World;
use super::{source, words};
use crate::model::Name;
use crate::model::observed::KeyState;
use crate::model::topology::{Content, Source};

/// Sources of which a copy is left that can't be restored, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct RestoreCycle {
    /// The sources that can't be restored.
    pub sources: Vec<Name>,
    /// What waits for what, in words.
    pub words: String,
    /// What breaks the circle.
    pub fix: String,
    /// Whether nothing but luck would help; else it can be broken by hand, with some work.
    pub is_certain: bool,
}

/// Something that a restore needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Thing<'a> {
    /// A source's data.
    Source(&'a Name),
    /// A copy of a source in a datastore.
    Copy(&'a Name, &'a Name),
    /// A reading key.
    Key(&'a Name),
    /// A node that serves a datastore whose bytes lie elsewhere.
    Server(&'a Name),
}

/// Returns every circle that the loss of a node or a failure domain would lay open.
pub(super) fn every(world: World<'_>, demands: &Demands<'_>) -> Vec<RestoreCycle> {
    let topology = world.topology;
    let serves_others = |name: &Name| {
        let mut stores = topology.datastores.keys();
        stores.any(|store| {
            let ground = topology.ground(store).map(|(node, _)| node);
            world.home(store) == Some(name) && ground != Some(name)
        })
    };
    // Only these take along what a restore elsewhere may need.
    let critical: Vec<&Name> = topology
        .nodes
        .keys()
        .filter(|name| topology.is_local(name.as_str()) || serves_others(name))
        .collect();
    let mut losses: Vec<Loss> = critical
        .iter()
        .map(|name| Loss::Node((*name).clone()))
        .collect();
    let hosts = critical
        .iter()
        .filter_map(|name| topology.nodes[*name].container.as_ref());
    losses.extend(hosts.map(|container| Loss::Node(container.on.clone())));
    let domains: BTreeSet<(&String, &String)> = critical
        .iter()
        .flat_map(|name| &topology.nodes[*name].domain)
        .collect();
    losses.extend(domains.into_iter().map(|(key, value)| Loss::Domain {
        key: key.clone(),
        value: value.clone(),
    }));
    let mut all = BTreeSet::new();
    for lost in losses {
        let scene = Scene::new(world, true, &lost);
        all.extend(Web::new(&scene, &demands.copies).cycles());
    }
    // The larger loss says no more about the same circle.
    let mut told = BTreeSet::new();
    let mut all: Vec<RestoreCycle> = all.into_iter().collect();
    all.sort_by_key(|cycle| (!cycle.is_certain, cycle.words.clone()));
    all.retain(|cycle| told.insert(cycle.words.clone()));
    all
}

/// What needs what after a loss.
pub(super) struct Web<'s, 'a> {
    scene: &'s Scene<'a>,
    /// The lost sources of which copies are left, and where.
    copies: BTreeMap<&'a Name, Vec<&'a Name>>,
}

impl<'s, 'a> Web<'s, 'a> {
    pub(super) fn new(scene: &'s Scene<'a>, demands: &[Demand<'a>]) -> Self {
        let mut copies: BTreeMap<&Name, Vec<&Name>> = BTreeMap::new();
        for demand in demands {
            let is_lost = |source: &Source| scene.nodes.contains(&source.on);
            let source = scene.world.topology.sources.get(demand.source);
            let is_seen = || source::newest(scene.world, demand.source, demand.datastore).is_some();
            if source.is_some_and(is_lost)
                && !scene.datastores.contains(demand.datastore)
                && (!scene.as_seen || is_seen())
            {
                copies
                    .entry(demand.source)
                    .or_default()
                    .push(demand.datastore);
            }
        }
        Self { scene, copies }
    }

    /// Returns the sources that can't be restored although a copy is left.
    pub(super) fn locked(&self) -> BTreeSet<&'a Name> {
        self.unmet(false)
            .into_iter()
            .filter_map(|thing| match thing {
                Thing::Source(name) => Some(name),
                _ => None,
            })
            .collect()
    }

    /// Returns the keys that nobody has any more, nor will by a restore.
    pub(super) fn lost_keys(&self) -> Vec<Name> {
        self.unmet(false)
            .into_iter()
            .filter_map(|thing| match thing {
                Thing::Key(name) => Some(name.clone()),
                _ => None,
            })
            .collect()
    }

    /// Returns what keeps them from it, each reason once.
    pub(super) fn cycles(&self) -> Vec<RestoreCycle> {
        let hard = self.explain(false, &BTreeSet::new());
        let told: BTreeSet<Name> = hard.iter().flat_map(|c| c.sources.clone()).collect();
        let soft = self.explain(true, &told);
        hard.into_iter().chain(soft).collect()
    }

    /// Returns what can't be had again. With `by_itself`, a node that serves a datastore and
    /// is a source too is to come back by a restore, and not by hand.
    fn unmet(&self, by_itself: bool) -> BTreeSet<Thing<'a>> {
        let topology = self.scene.world.topology;
        let mut unmet: BTreeSet<Thing<'a>> = BTreeSet::new();
        for (source, datastores) in &self.copies {
            unmet.insert(Thing::Source(source));
            unmet.extend(datastores.iter().map(|store| Thing::Copy(source, store)));
        }
        unmet.extend(topology.keys.keys().map(Thing::Key));
        unmet.extend(topology.nodes.keys().map(Thing::Server));
        loop {
            let still: BTreeSet<Thing<'a>> = unmet
                .iter()
                .filter(|thing| !self.is_had(**thing, &unmet, by_itself))
                .copied()
                .collect();
            if still.len() == unmet.len() {
                return still;
            }
            unmet = still;
        }
    }

    /// Tells whether something can be had, given what can't be yet.
    fn is_had(&self, thing: Thing<'a>, unmet: &BTreeSet<Thing<'a>>, by_itself: bool) -> bool {
        match thing {
            Thing::Source(_) | Thing::Copy(..) => {
                let needs = self.needs(thing);
                let is_unmet = |need: &Thing<'a>| unmet.contains(need);
                match thing {
                    Thing::Source(_) => !needs.iter().all(is_unmet),
                    _ => !needs.iter().any(is_unmet),
                }
            }
            Thing::Key(key) => {
                self.is_there(key) || self.needs(thing).iter().any(|need| !unmet.contains(need))
            }
            Thing::Server(node) => {
                if !by_itself || !self.scene.nodes.contains(node) {
                    return true;
                }
                let needs = self.needs(thing);
                needs.is_empty() || !needs.iter().all(|need| unmet.contains(need))
            }
        }
    }

    /// Returns what something needs: a copy all of it, everything else one of it.
    fn needs(&self, thing: Thing<'a>) -> Vec<Thing<'a>> {
        let topology = self.scene.world.topology;
        match thing {
            Thing::Source(source) => {
                let stores = self.copies.get(source).into_iter().flatten();
                stores.map(|store| Thing::Copy(source, store)).collect()
            }
            Thing::Copy(_, store) => {
                let key = topology.datastores.get(store).map(|store| &store.key);
                let server = self.scene.world.home(store);
                let server = server.map(Thing::Server);
                key.map(Thing::Key).into_iter().chain(server).collect()
            }
            Thing::Key(key) => self.lost(|_, source| self.holds(source, key)),
            Thing::Server(node) => {
                let container = topology.nodes[node].container.as_ref();
                self.lost(|_, source| match source.content {
                    Content::Guest(id) => {
                        container.is_some_and(|is| is.on == source.on && is.id == id)
                    }
                    _ => source.on == *node,
                })
            }
        }
    }

    /// Returns the lost sources of some kind of which copies are left.
    fn lost(&self, is_it: impl Fn(&Name, &Source) -> bool) -> Vec<Thing<'a>> {
        let sources = &self.scene.world.topology.sources;
        let of_kind = self
            .copies
            .keys()
            .filter(|name| is_it(name, &sources[**name]));
        of_kind.map(|name| Thing::Source(name)).collect()
    }

    /// Tells whether a key survives: its file, or its sheet as far as anybody said so.
    pub(super) fn is_there(&self, key: &Name) -> bool {
        let world = self.scene.world;
        let mut nodes = self.scene.nodes.iter();
        if !nodes.any(|node| world.topology.is_local(node.as_str())) {
            return true;
        }
        if !self.scene.as_seen {
            return world.topology.keys.get(key).is_none_or(|key| !key.create);
        }
        // What is missing already is told elsewhere, and no loss makes it worse.
        !matches!(
            world.observed.keys.get(key),
            Some(KeyState::Present {
                recovery_confirmed: false,
                ..
            })
        )
    }

    /// Tells whether a source's paths hold a key's file.
    fn holds(&self, source: &Source, key: &Name) -> bool {
        let topology = self.scene.world.topology;
        let Content::Paths { paths, .. } = &source.content else {
            return false;
        };
        let Some(key) = topology.keys.get(key) else {
            return false;
        };
        let facts = self.scene.world.observed.reached(source.on.as_str());
        let user = facts.map_or("root", |facts| facts.login.user.as_str());
        let home = match user {
            "root" => "/root".to_owned(),
            user => format!("/home/{user}"),
        };
        let file = match key.file.strip_prefix('~') {
            Some(rest) => format!("{home}{rest}"),
            None => key.file.clone(),
        };
        topology.is_local(source.on.as_str())
            && paths.iter().any(|path| words::is_below(&file, path))
    }

    fn explain(&self, by_itself: bool, told: &BTreeSet<Name>) -> Vec<RestoreCycle> {
        let unmet = self.unmet(by_itself);
        let mut web: DiGraphMap<Thing<'a>, ()> = DiGraphMap::new();
        for thing in &unmet {
            web.add_node(*thing);
            for need in self.needs(*thing).into_iter().filter(|n| unmet.contains(n)) {
                web.add_edge(*thing, need, ());
            }
        }
        // The parts come with what is needed before what needs it; each circle, and each thing
        // that nobody has, is where it begins.
        let mut reasons = Vec::new();
        let mut blamed: BTreeMap<Thing<'a>, usize> = BTreeMap::new();
        for part in tarjan_scc(&web) {
            let is_circle = part.len() > 1;
            let is_lacking = matches!(part[0], Thing::Key(_)) && self.needs(part[0]).is_empty();
            let mut beyond = part.iter().flat_map(|thing| web.neighbors(*thing));
            let known = beyond.find_map(|need| blamed.get(&need)).copied();
            let reason = match known {
                Some(reason) => reason,
                None if is_circle || is_lacking => {
                    reasons.push(BTreeSet::new());
                    reasons.len() - 1
                }
                None => continue,
            };
            for thing in part {
                blamed.insert(thing, reason);
                if let Thing::Source(name) = thing
                    && !told.contains(name)
                {
                    reasons[reason].insert(name);
                }
            }
        }
        let cycles = reasons.iter().filter_map(|sources| {
            let first = sources.first()?;
            let (words, fix, is_certain) = self.tell(first, &unmet);
            Some(RestoreCycle {
                sources: sources.iter().map(|name| (*name).clone()).collect(),
                words,
                fix,
                is_certain,
            })
        });
        cycles.collect()
    }

    /// Follows what a source needs until it comes back to where it was, or to where nothing is.
    fn path(&self, first: &'a Name, unmet: &BTreeSet<Thing<'a>>) -> Vec<Hop<'a>> {
        let mut hops: Vec<Hop<'a>> = Vec::new();
        let mut at = Some(first);
        while let Some(source) = at {
            let stores = self.copies.get(source).cloned().unwrap_or_default();
            let Some(store) = stores.first().copied() else {
                break;
            };
            let mut needs = self.needs(Thing::Copy(source, store)).into_iter();
            let Some(need) = needs.find(|need| unmet.contains(need)) else {
                break;
            };
            let home = self.needs(need).into_iter().find_map(|thing| match thing {
                Thing::Source(name) if unmet.contains(&thing) => Some(name),
                _ => None,
            });
            let is_known = hops.iter().any(|hop| hop.need == need);
            hops.push(Hop {
                source,
                stores,
                need,
                home,
            });
            at = home.filter(|_| !is_known);
        }
        hops
    }

    fn tell(&self, first: &'a Name, unmet: &BTreeSet<Thing<'a>>) -> (String, String, bool) {
        let topology = self.scene.world.topology;
        let nodes = topology.nodes.keys();
        let local = nodes.into_iter().find(|n| topology.is_local(n.as_str()));
        let local = local.map_or("this machine", |name| name.as_str());
        let path = self.path(first, unmet);
        let source = path
            .first()
            .and_then(|hop| topology.sources.get(hop.source));
        let on = source.map_or("its node", |source| source.on.as_str());
        let mut parts = vec![format!("to restore {first} on {on} you need ")];
        for (number, hop) in path.iter().enumerate() {
            let is_known = path[..number].iter().any(|other| other.need == hop.need);
            parts.push(hop.words(number == 0, is_known, local));
        }
        let is_demo = |hop: &Hop<'_>| match hop.need {
            Thing::Key(key) => topology.keys.get(key).is_some_and(|key| key.create),
            _ => true,
        };
        let is_certain = !path.iter().any(is_demo);
        let fix = path.last().map(Hop::fix).unwrap_or_default();
        (parts.concat(), fix, is_certain)
    }
}

/// One step from a source to what its copies need, and on to where that is.
struct Hop<'a> {
    source: &'a Name,
    /// Where the copies of the source are.
    stores: Vec<&'a Name>,
    need: Thing<'a>,
    /// The source that would bring it back.
    home: Option<&'a Name>,
}

impl Hop<'_> {
    fn words(&self, is_first: bool, is_known: bool, local: &str) -> String {
        let only = match self.stores.as_slice() {
            [store] => format!(", which is only in datastore {store}"),
            stores => format!(", which is only in datastores {}", words::list(stores)),
        };
        let (need, home) = match (self.need, is_first) {
            (Thing::Key(key), _) => {
                let home = match self.home {
                    Some(home) => format!(", whose file lies on {local} in source {home}"),
                    None => format!(", whose file lies on {local} and nowhere else"),
                };
                let need = if is_first {
                    format!("key {key}")
                } else {
                    format!("{only}, which is encrypted for {key}")
                };
                (need, home)
            }
            (Thing::Server(node), is_first) => {
                let home = self
                    .home
                    .map(|home| format!(" and is restored from source {home}"));
                let need = if is_first {
                    format!("{node}, which serves {}", words::list(&self.stores))
                } else {
                    format!("{only}, which {node} serves")
                };
                (need, home.unwrap_or_default())
            }
            (Thing::Source(_) | Thing::Copy(..), _) => return String::new(),
        };
        if is_known { need } else { need + &home }
    }

    fn fix(&self) -> String {
        match self.need {
            Thing::Key(key) => format!(
                "keep the recovery sheet of {key} apart from the machines, then bkpctl key confirm {key}"
            ),
            _ => format!(
                "copy {} to a datastore that another node serves, too",
                self.source
            ),
        }
    }
}
