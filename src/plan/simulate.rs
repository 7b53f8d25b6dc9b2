//! The state after a plan: a model of what carrying it out does.

use std::collections::BTreeMap;

use crate::model::markers::{Proof, RepositoryMarker};
use crate::model::observed::{
    Component, ComponentKind, DatastoreFacts, KeyState, NodeFacts, NodeState, Outcome,
};
use crate::model::snapshot::SnapshotHead;
use crate::model::{ByteSize, Name, Observed, Timestamp};
use crate::plan::change::{Action, Plan, Step};

/// The domain that a simulated new key gets.
const NEW_DOMAIN: &str = "00000000000000000000000000000000";

/// Returns what would be seen after every action of a plan that is not deferred succeeded.
pub fn simulate(observed: &Observed, plan: &Plan) -> Observed {
    let mut after = observed.clone();
    for action in plan.pending() {
        step(&mut after, plan, action);
    }
    after
}

fn step(after: &mut Observed, plan: &Plan, action: &Action) {
    match &action.step {
        Step::CreateKey { key } => {
            let made = KeyState::Present {
                domain: NEW_DOMAIN.to_owned(),
                recovery_confirmed: false,
            };
            after.keys.insert(key.clone(), made);
        }
        Step::PlaceBinary { hash, .. } => {
            if let Some(node) = node(after, &action.node) {
                node.state.binaries.push(hash.clone());
            }
        }
        Step::MakeFolder {
            path,
            uid,
            gid,
            mode,
        } => {
            if let Some(node) = node(after, &action.node) {
                make_folder(node, path, (*uid, *gid), *mode);
                set_owner(node, action.address.name(), path, (*uid, *gid));
            }
        }
        Step::SetOwner { path, uid, gid, .. } => {
            if let Some(node) = node(after, &action.node) {
                set_owner(node, action.address.name(), path, (*uid, *gid));
            }
        }
        Step::SetMode { path, mode } => {
            if let Some(last) = last(after, &action.node, path) {
                last.mode = *mode;
            }
        }
        Step::MakeRepository { datastore } => make_repository(after, plan, &action.node, datastore),
        Step::WriteManaged { datastore, managed } => {
            if let Some(store) = store(after, &action.node, datastore) {
                store.managed = Some(managed.clone());
            }
        }
        Step::Register { registry } => {
            if let Some(node) = node(after, &action.node) {
                node.state.registry = Some(registry.clone());
            }
        }
        Step::Copy {
            source, datastore, ..
        } => copy(after, plan, action, source, datastore),
        Step::Sync {
            from, to, sources, ..
        } => sources
            .iter()
            .for_each(|source| sync(after, plan, &action.node, source, from, to)),
        Step::Drill {
            job, source, from, ..
        } => drill(after, plan, job, source, from),
    }
}

fn node<'a>(after: &'a mut Observed, name: &Name) -> Option<&'a mut NodeFacts> {
    match after.nodes.get_mut(name) {
        Some(NodeState::Reached(facts)) => Some(facts),
        _ => None,
    }
}

fn store<'a>(
    after: &'a mut Observed,
    on: &Name,
    datastore: &Name,
) -> Option<&'a mut DatastoreFacts> {
    Some(
        node(after, on)?
            .datastores
            .entry(datastore.clone())
            .or_default(),
    )
}

fn last<'a>(after: &'a mut Observed, on: &Name, path: &str) -> Option<&'a mut Component> {
    node(after, on)?.paths.get_mut(path)?.components.last_mut()
}

fn home(plan: &Plan, datastore: &Name) -> Option<Name> {
    let place = plan.topology.datastores.get(datastore)?.first_place()?;
    Some(place.node.clone())
}

fn make_folder(node: &mut NodeFacts, path: &str, (uid, gid): (u32, u32), mode: u32) {
    let Some(facts) = node.paths.get_mut(path) else {
        return;
    };
    facts.outcome = Outcome::Ok;
    facts.empty = Some(true);
    facts.components.push(Component {
        path: path.to_owned(),
        kind: ComponentKind::Directory,
        uid,
        gid,
        mode,
    });
}

fn set_owner(node: &mut NodeFacts, datastore: &Name, path: &str, (uid, gid): (u32, u32)) {
    if let Some(last) = node
        .paths
        .get_mut(path)
        .and_then(|facts| facts.components.last_mut())
    {
        (last.uid, last.gid) = (uid, gid);
    }
    let store = node.datastores.entry(datastore.clone()).or_default();
    store.foreign_entries = Some(0);
    store.foreign_example = None;
    store.owner_may_write = Some(true);
}

fn make_repository(after: &mut Observed, plan: &Plan, on: &Name, datastore: &Name) {
    let declared = plan.topology.datastores.get(datastore);
    let domain = declared.and_then(|declared| match after.keys.get(&declared.key) {
        Some(KeyState::Present { domain, .. }) => Some(domain.clone()),
        _ => None,
    });
    let Some(node) = node(after, on) else { return };
    if let Some(path) = declared
        .and_then(|declared| declared.first_place())
        .and_then(|place| node.paths.get_mut(&place.path))
    {
        path.empty = Some(false);
    }
    let home = node.machine_id.clone().unwrap_or_default();
    let store = node.datastores.entry(datastore.clone()).or_default();
    // Everything in it was made as the owner.
    store.foreign_entries = Some(store.foreign_entries.unwrap_or(0));
    store.marker = Some(RepositoryMarker {
        format: 1,
        id: format!("repository of {datastore}"),
        home,
        domain: domain.unwrap_or_else(|| NEW_DOMAIN.to_owned()),
    });
}

fn copy(after: &mut Observed, plan: &Plan, action: &Action, source: &Name, datastore: &Name) {
    let on = plan.topology.sources.get(source).map(|source| &source.on);
    let machine = on
        .and_then(|on| after.reached(on.as_str()))
        .and_then(|facts| facts.machine_id.clone())
        .unwrap_or_default();
    let writer = on.map(|on| plan.topology.writer_label(on).to_string());
    let head = SnapshotHead {
        id: format!("{source} {}", plan.now),
        source: source.clone(),
        writer: writer.unwrap_or_default(),
        started: plan.now,
        finished: plan.now,
        complete: true,
        files: 0,
        bytes: action.reads.unwrap_or_default(),
        new_bytes: ByteSize(0),
        stored_bytes: ByteSize(0),
        machine,
        skipped: 0,
    };
    if let Some(store) = store(after, &action.node, datastore) {
        add_snapshot(store, head);
    }
}

fn add_snapshot(store: &mut DatastoreFacts, head: SnapshotHead) {
    *store.counts.entry(head.source.clone()).or_default() += 1;
    let heads = store.snapshots.entry(head.source.clone()).or_default();
    heads.push(head);
    heads.sort_by_key(|head| std::cmp::Reverse(head.started));
}

fn sync(after: &mut Observed, plan: &Plan, on: &Name, source: &Name, from: &Name, to: &Name) {
    let there: BTreeMap<String, SnapshotHead> = home(plan, from)
        .and_then(|home| store(after, &home, from))
        .and_then(|store| store.snapshots.get(source))
        .into_iter()
        .flatten()
        .map(|head| (head.id.clone(), head.clone()))
        .collect();
    let Some(target) = store(after, on, to) else {
        return;
    };
    for (id, head) in there {
        let heads = target.snapshots.get(source);
        if !heads.is_some_and(|heads| heads.iter().any(|have| have.id == id)) {
            add_snapshot(target, head);
        }
    }
}

fn drill(after: &mut Observed, plan: &Plan, job: &Name, source: &Name, from: &Name) {
    let Some(store) = home(plan, from).and_then(|home| store(after, &home, from)) else {
        return;
    };
    let Some(head) = store
        .snapshots
        .get(source)
        .and_then(|heads| heads.iter().find(|head| head.complete))
    else {
        return;
    };
    let proof = Proof {
        drill: job.clone(),
        source: source.clone(),
        snapshot: head.id.clone(),
        at: Timestamp(plan.now.0),
        passed: true,
        files: head.files,
        bytes: head.bytes.0,
        took_ms: 0,
        problems: Vec::new(),
        mac: String::new(),
    };
    store.proofs.insert(0, proof);
}
