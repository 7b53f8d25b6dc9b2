//! Each kind of fact that a plan relies on: where it changed, the plan is stale and says how.

use std::collections::{BTreeMap, BTreeSet};

use bkpctl::model::observed::{
    Component, ComponentKind, KeyState, MountFacts, NodeFacts, NodeState, Outcome, PathFacts,
};
use bkpctl::model::topology::Content;
use bkpctl::model::{Address, ByteSize, Name, Observed, Topology};
use bkpctl::plan::need::{Fact, Must};
use bkpctl::plan::plan;
use bkpctl::plan::readiness::{Readiness, readiness};

use crate::plan_cases::cases;

fn node<'o>(observed: &'o mut Observed, name: &Name) -> Option<&'o mut NodeFacts> {
    match observed.nodes.get_mut(name) {
        Some(NodeState::Reached(facts)) => Some(facts),
        _ => None,
    }
}

fn path<'o>(observed: &'o mut Observed, on: &Name, path: &str) -> Option<&'o mut PathFacts> {
    node(observed, on)?.paths.get_mut(path)
}

/// Lets a folder be another one than it was, or be there where it was not.
fn appear(seen: &mut PathFacts, path: &str) {
    if seen.outcome == Outcome::Missing {
        seen.components.push(Component {
            path: path.to_owned(),
            kind: ComponentKind::Directory,
            uid: 0,
            gid: 0,
            mode: 0o755,
            acl: None,
        });
        seen.outcome = Outcome::Ok;
        seen.empty = Some(true);
    }
}

fn stores(
    observed: &mut Observed,
    name: &Name,
    change: impl Fn(&mut bkpctl::model::observed::DatastoreFacts),
) {
    for state in observed.nodes.values_mut() {
        if let NodeState::Reached(facts) = state
            && let Some(store) = facts.datastores.get_mut(name)
        {
            change(store);
        }
    }
}

/// Changes a fact in what was seen.
fn change(fact: &Fact, topology: &Topology, observed: &mut Observed) -> Option<()> {
    match fact {
        Fact::Machine { node: on } => {
            node(observed, on)?.machine_id = Some("another machine".to_owned());
        }
        Fact::Owner { node: on, path: at } => {
            let seen = path(observed, on, at)?;
            appear(seen, at);
            seen.components.last_mut()?.uid += 4321;
        }
        Fact::Mode { node: on, path: at } => {
            let seen = path(observed, on, at)?;
            appear(seen, at);
            seen.components.last_mut()?.mode ^= 0o007;
        }
        Fact::Content { node: on, path: at } => {
            let seen = path(observed, on, at)?;
            appear(seen, at);
            seen.empty = Some(seen.empty != Some(true));
        }
        Fact::Strangers { datastore } => stores(observed, datastore, |store| {
            let some = store.foreign_entries.is_some_and(|count| count > 0);
            store.foreign_entries = Some(u64::from(!some));
        }),
        Fact::File { node: on, path: at } => {
            let text = "# written by somebody else\n".to_owned();
            node(observed, on)?.files.insert(at.clone(), text);
        }
        Fact::Quota { node: on, dataset } => {
            let zfs = node(observed, on)?.zfs.as_mut()?;
            let dataset = zfs
                .datasets
                .iter_mut()
                .find(|known| known.name == *dataset)?;
            dataset.quota = Some(ByteSize(4321));
        }
        Fact::Mounted { node: on, path: at } => {
            path(observed, on, at)?.mount = Some(MountFacts {
                target: at.clone(),
                source: "/dev/other".to_owned(),
                fstype: "ext4".to_owned(),
                device: "9:9".to_owned(),
                read_only: false,
                smb: None,
            });
        }
        Fact::Registry { node: on } => {
            let state = &mut node(observed, on)?.state;
            let other: Address = "datastore.other".parse().expect("an address");
            let registry = state.registry.get_or_insert_default();
            registry
                .objects
                .insert(other, "repository in /other".to_owned());
        }
        Fact::Room { node: on, path: at } => {
            path(observed, on, at)?.space.as_mut()?.free = ByteSize(0);
        }
        Fact::Key { key } => {
            let other = KeyState::Present {
                domain: "another domain".to_owned(),
                recovery_confirmed: true,
            };
            observed.keys.insert(key.clone(), other);
        }
        Fact::Repository { datastore } => {
            let mut changed = false;
            for state in observed.nodes.values_mut() {
                if let NodeState::Reached(facts) = state
                    && let Some(store) = facts.datastores.get_mut(datastore)
                    && let Some(marker) = &mut store.marker
                {
                    "another repository".clone_into(&mut marker.id);
                    changed = true;
                }
            }
            return changed.then_some(());
        }
        Fact::Marker { datastore } => {
            let managed = observed.nodes.values().find_map(|state| match state {
                NodeState::Reached(facts) => {
                    facts.datastores.values().find_map(|s| s.managed.clone())
                }
                NodeState::Unreachable(_) => None,
            })?;
            stores(observed, datastore, |store| {
                let mut other = managed.clone();
                other.generation += 4321;
                store.managed = Some(other);
            });
        }
        Fact::Left {
            node: on,
            datastore,
        } => {
            let store = node(observed, on)?.datastores.get_mut(datastore)?;
            "another repository".clone_into(&mut store.marker.as_mut()?.id);
        }
        Fact::Source { source } => {
            let source = topology.sources.get(source)?;
            let at = match &source.content {
                Content::Paths { paths, .. } => paths.first()?.clone(),
                Content::Volume { device, .. } => device.clone(),
                _ => return None,
            };
            path(observed, &source.on, &at)?.outcome = Outcome::Missing;
        }
        // A plan relies on no copy's time, as a younger one is what it wants, nor on a unit that it
        // enables anyway; the others no case has.
        Fact::Newest { .. }
        | Fact::Proven { .. }
        | Fact::Enabled { .. }
        | Fact::Binary { .. }
        | Fact::ThinRoom { .. } => {
            return None;
        }
    }
    Some(())
}

fn kind(fact: &Fact) -> String {
    let json = serde_json::to_value(fact).expect("a fact");
    let kinds = json.as_object().expect("one kind");
    kinds.keys().next().expect("one kind").clone()
}

#[test]
fn each_kind_of_fact_makes_what_relies_on_it_stale() {
    let mut tried: BTreeMap<String, u32> = BTreeMap::new();
    for case in cases() {
        let plan = plan(&case.topology, &case.observed, case.now);
        let facts: BTreeSet<&Fact> = plan
            .pending()
            .flat_map(|action| action.needs.iter().map(|need| &need.fact))
            .collect();
        for fact in facts {
            let mut observed = case.observed.clone();
            if change(fact, &case.topology, &mut observed).is_none() || observed == case.observed {
                continue;
            }
            let ready = readiness(&plan, &observed);
            let relies = |id: usize| plan.actions[id].needs.iter().any(|need| need.fact == *fact);
            let stale: Vec<usize> = (0..ready.len())
                .filter(|id| matches!(ready[*id], Readiness::Stale(_)))
                .collect();
            // What the plan itself brings about is no surprise to it.
            let brings = |id: &usize| plan.actions[*id].done.iter().any(|need| need.fact == *fact);
            let surprised = (0..ready.len()).any(|id| {
                relies(id)
                    && plan.actions[id].deferred.is_none()
                    && !(0..ready.len()).any(|by| brings(&by))
            });
            if surprised {
                assert!(
                    !stale.is_empty(),
                    "{}: {fact:?} changed unnoticed",
                    case.name
                );
            }
            for id in &stale {
                let Readiness::Stale(changed) = &ready[*id] else {
                    continue;
                };
                for one in changed {
                    assert_ne!(one.planned, one.now, "{}: {fact:?}", case.name);
                }
            }
            if !stale.is_empty() {
                *tried.entry(kind(fact)).or_default() += 1;
            }
        }
    }
    let kinds: Vec<&str> = tried.keys().map(String::as_str).collect();
    let expected = [
        "content",
        "file",
        "key",
        "left",
        "machine",
        "marker",
        "mode",
        "mounted",
        "owner",
        "quota",
        "registry",
        "repository",
        "room",
        "source",
    ];
    for kind in expected {
        assert!(kinds.contains(&kind), "no case changes a {kind}: {tried:?}");
    }
}

#[test]
fn what_must_be_so_is_said_in_words() {
    for (must, words) in [
        (Must::Be("0:0".to_owned()), "0:0"),
        (Must::BeThere, "there"),
        (Must::BeOurs, "one under the declared key"),
        (Must::BeAtLeast(ByteSize(1 << 20)), "1.0 MiB or more"),
    ] {
        assert_eq!(must.to_string(), words);
    }
}
