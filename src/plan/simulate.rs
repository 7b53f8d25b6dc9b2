//! The state after a plan: a model of what carrying it out does.

use std::collections::BTreeSet;

use crate::model::markers::{Proof, RepositoryMarker};
use crate::model::observed::{
    Component, ComponentKind, DatastoreFacts, KeyState, MountFacts, NodeFacts, NodeState, Outcome,
    UnitFacts,
};
use crate::model::snapshot::SnapshotHead;
use crate::model::topology::Mounted;
use crate::model::{ByteSize, Export, Name, Observed, Timestamp, Topology};
use crate::plan::change::{Plan, Step};

/// The domain that a simulated new key gets.
const NEW_DOMAIN: &str = "00000000000000000000000000000000";

/// Returns what would be seen after every action of a plan that is not deferred succeeded.
pub fn simulate(observed: &Observed, plan: &Plan) -> Observed {
    let mut after = observed.clone();
    for action in plan.pending() {
        let done = Done {
            node: &action.node,
            step: &action.step,
            reads: action.reads,
        };
        carry_out(&mut after, &plan.topology, plan.now, &done);
    }
    after
}

/// Something that an action did.
pub(super) struct Done<'a> {
    pub(super) node: &'a Name,
    pub(super) step: &'a Step,
    pub(super) reads: Option<ByteSize>,
}

/// Changes a state as carrying a step out would.
pub(super) fn carry_out(
    after: &mut Observed,
    topology: &Topology,
    now: Timestamp,
    done: &Done<'_>,
) {
    let on = done.node;
    let scene = Scene { topology, now };
    match done.step {
        Step::CreateKey { key } => {
            let made = KeyState::Present {
                domain: NEW_DOMAIN.to_owned(),
                recovery_confirmed: false,
            };
            after.keys.insert(key.clone(), made);
        }
        Step::PlaceBinary { hash, .. } => {
            if let Some(node) = node(after, on) {
                node.state.binaries.push(hash.clone());
            }
        }
        Step::MakeFolder {
            path,
            uid,
            gid,
            mode,
        } => {
            if let Some(node) = node(after, on) {
                make_folder(node, path, (*uid, *gid), *mode);
                set_owner(node, &scene.lying_at(on, path), path, (*uid, *gid));
            }
        }
        Step::SetOwner { path, uid, gid, .. } => {
            if let Some(node) = node(after, on) {
                set_owner(node, &scene.lying_at(on, path), path, (*uid, *gid));
            }
        }
        Step::SetMode { path, mode } => {
            if let Some(node) = node(after, on) {
                set_mode(node, &scene.lying_at(on, path), path, *mode);
            }
        }
        Step::SetQuota { dataset, quota } => {
            let zfs = node(after, on).and_then(|node| node.zfs.as_mut());
            let datasets = zfs.into_iter().flat_map(|zfs| &mut zfs.datasets);
            for dataset in datasets.filter(|known| known.name == *dataset) {
                dataset.quota = Some(*quota);
            }
        }
        Step::Export { file, content, was } => {
            if let Some(node) = node(after, on) {
                export(node, content, was.as_deref());
                node.files.insert(file.clone(), content.clone());
            }
        }
        Step::Mount {
            datastore,
            path,
            file,
            content,
            ..
        } => {
            if let Some(node) = node(after, on) {
                node.files.insert(file.clone(), content.clone());
                let unit = UnitFacts {
                    enabled: Some(true),
                    failed: false,
                };
                node.units.insert(file.clone(), unit);
            }
            scene.mount(after, on, datastore, path);
        }
        Step::MakeRepository { datastore } => scene.make_repository(after, datastore),
        Step::WriteManaged { datastore, managed } => {
            scene.on_stores(after, datastore, |store| {
                store.managed = Some(managed.clone());
            });
        }
        Step::Register { registry } => {
            if let Some(node) = node(after, on) {
                node.state.registry = Some(registry.clone());
            }
        }
        Step::DestroyRepository { datastore, .. } => {
            if let Some(node) = node(after, on) {
                node.datastores
                    .insert(datastore.clone(), DatastoreFacts::default());
            }
        }
        Step::Withdraw { file, was } => {
            if let Some(node) = node(after, on) {
                node.files.remove(file);
                node.units.remove(file);
                export(node, "", Some(was));
            }
        }
        Step::Copy {
            source, datastore, ..
        } => scene.copy(after, source, datastore, done.reads),
        Step::Sync {
            from, to, sources, ..
        } => sources
            .iter()
            .for_each(|source| scene.sync(after, source, from, to)),
        Step::Drill {
            job, source, from, ..
        } => scene.drill(after, job, source, from),
    }
}

/// What steps need to know besides the state.
struct Scene<'a> {
    topology: &'a Topology,
    now: Timestamp,
}

fn node<'a>(after: &'a mut Observed, name: &Name) -> Option<&'a mut NodeFacts> {
    match after.nodes.get_mut(name) {
        Some(NodeState::Reached(facts)) => Some(facts),
        _ => None,
    }
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
        acl: None,
    });
}

fn set_owner(node: &mut NodeFacts, lying_there: &[&Name], path: &str, (uid, gid): (u32, u32)) {
    if let Some(last) = node
        .paths
        .get_mut(path)
        .and_then(|facts| facts.components.last_mut())
    {
        (last.uid, last.gid) = (uid, gid);
    }
    for datastore in lying_there {
        let store = node.datastores.entry((*datastore).clone()).or_default();
        store.foreign_entries = Some(0);
        store.foreign_example = None;
        store.owner_may_write = Some(true);
    }
}

fn set_mode(node: &mut NodeFacts, lying_there: &[&Name], path: &str, mode: u32) {
    let seen = node.paths.get_mut(path);
    if let Some(last) = seen.and_then(|facts| facts.components.last_mut()) {
        last.set_mode(mode);
    }
    // What the system said of the old mode it does not say of the new one.
    for datastore in lying_there {
        if let Some(store) = node.datastores.get_mut(*datastore) {
            store.owner_may_write = None;
        }
    }
}

/// Lets the NFS server know of one text of exports instead of another.
fn export(node: &mut NodeFacts, content: &str, was: Option<&str>) {
    let Some(nfs) = &mut node.nfs else { return };
    let before = Export::of_file(was.unwrap_or_default());
    let after = Export::of_file(content);
    nfs.exports.retain(|export| {
        let is_same =
            |other: &Export| (&other.path, &other.clients) == (&export.path, &export.clients);
        !before.iter().chain(&after).any(is_same)
    });
    nfs.exports.extend(after);
}

fn add_snapshot(store: &mut DatastoreFacts, head: SnapshotHead) {
    if store
        .snapshots
        .get(&head.source)
        .is_some_and(|heads| heads.iter().any(|have| have.id == head.id))
    {
        return;
    }
    *store.counts.entry(head.source.clone()).or_default() += 1;
    let heads = store.snapshots.entry(head.source.clone()).or_default();
    heads.push(head);
    heads.sort_by_key(|head| std::cmp::Reverse(head.started));
}

impl Scene<'_> {
    /// Returns the datastores whose bytes lie in a folder of a node.
    fn lying_at(&self, node: &Name, path: &str) -> Vec<&Name> {
        let names = self.topology.datastores.keys();
        names
            .filter(|name| self.topology.ground(name) == Some((node, path)))
            .collect()
    }

    /// Changes what is seen of a datastore, from its place and from where its bytes lie.
    fn on_stores(
        &self,
        after: &mut Observed,
        datastore: &Name,
        change: impl Fn(&mut DatastoreFacts),
    ) {
        let declared = self.topology.datastores.get(datastore);
        let place = declared.and_then(|declared| declared.first_place());
        let place = place.map(|place| &place.node);
        let ground = self.topology.ground(datastore).map(|(node, _)| node);
        let nodes: BTreeSet<&Name> = place.into_iter().chain(ground).collect();
        for name in nodes {
            if let Some(node) = node(after, name) {
                change(node.datastores.entry(datastore.clone()).or_default());
            }
        }
    }

    /// Returns what is known of a datastore where its bytes lie, or else where it is served.
    fn store<'o>(&self, after: &'o Observed, datastore: &Name) -> Option<&'o DatastoreFacts> {
        let (ground, _) = self.topology.ground(datastore)?;
        let place = self.topology.datastores.get(datastore)?.first_place()?;
        let facts = after.reached(ground.as_str());
        let facts = facts.or_else(|| after.reached(place.node.as_str()));
        facts?.datastores.get(datastore)
    }

    /// Shows at a mount point what is mounted there.
    fn mount(&self, after: &mut Observed, on: &Name, datastore: &Name, path: &str) {
        let declared = self.topology.datastores.get(datastore);
        let place = declared.and_then(|declared| declared.first_place());
        let Some(mount) = place.and_then(|place| place.mount.as_ref()) else {
            return;
        };
        let share = mount
            .share()
            .and_then(|share| self.topology.shares.get_key_value(share));
        let there = share.and_then(|(_, share)| {
            let facts = after.reached(share.on.as_str())?;
            facts.paths.get(&share.export).cloned()
        });
        let Some(node) = node(after, on) else { return };
        let (source, fstype) = match (&mount.what, share) {
            (Mounted::Share(name), Some((_, share))) => {
                let server = self.topology.address_of(name).unwrap_or_default();
                (format!("{server}:{}", share.export), "nfs4".to_owned())
            }
            (Mounted::Disk(disk), _) => {
                let device = node.disks.get(&disk.uuid).cloned().unwrap_or_default();
                let fstype = disk.filesystem.clone();
                (device, fstype.unwrap_or_else(|| "ext4".to_owned()))
            }
            (Mounted::Share(_), None) => return,
        };
        let Some(seen) = node.paths.get_mut(path) else {
            return;
        };
        // What is mounted there already only gets a unit.
        if seen
            .mount
            .as_ref()
            .is_some_and(|mount| mount.target == path)
        {
            return;
        }
        let is_whole = |last: &Component| last.path == path;
        if !seen.components.last().is_some_and(is_whole) {
            seen.components.push(Component {
                path: path.to_owned(),
                kind: ComponentKind::Directory,
                uid: 0,
                gid: 0,
                mode: 0o755,
                acl: None,
            });
        }
        if let (Some(last), Some(top)) = (
            seen.components.last_mut(),
            there.as_ref().and_then(|there| there.components.last()),
        ) {
            (last.uid, last.gid, last.mode) = (top.uid, top.gid, top.mode);
        }
        seen.outcome = Outcome::Ok;
        seen.empty = there.as_ref().and_then(|there| there.empty);
        seen.space = there.as_ref().and_then(|there| there.space);
        seen.mount = Some(MountFacts {
            target: path.to_owned(),
            source,
            fstype,
            device: format!("0:{datastore}"),
            read_only: false,
            smb: None,
        });
    }

    fn make_repository(&self, after: &mut Observed, datastore: &Name) {
        let declared = self.topology.datastores.get(datastore);
        let domain = declared.and_then(|declared| match after.keys.get(&declared.key) {
            Some(KeyState::Present { domain, .. }) => Some(domain.clone()),
            _ => None,
        });
        let place = declared.and_then(|declared| declared.first_place());
        let home = place.and_then(|place| after.reached(place.node.as_str()));
        let home = home.and_then(|facts| facts.machine_id.clone());
        let marker = RepositoryMarker {
            format: 1,
            id: format!("repository of {datastore}"),
            home: home.unwrap_or_default(),
            domain: domain.unwrap_or_else(|| NEW_DOMAIN.to_owned()),
        };
        self.on_stores(after, datastore, |store| {
            // Everything in it was made as the owner.
            store.foreign_entries = Some(store.foreign_entries.unwrap_or(0));
            store.marker = Some(marker.clone());
        });
        let spots = [
            place.map(|place| (&place.node, place.path.as_str())),
            self.topology.ground(datastore),
        ];
        for (on, path) in spots.into_iter().flatten() {
            let seen = node(after, on).and_then(|node| node.paths.get_mut(path));
            if let Some(seen) = seen {
                seen.empty = Some(false);
            }
        }
    }

    fn copy(&self, after: &mut Observed, source: &Name, datastore: &Name, reads: Option<ByteSize>) {
        let on = self.topology.sources.get(source).map(|source| &source.on);
        let machine = on
            .and_then(|on| after.reached(on.as_str()))
            .and_then(|facts| facts.machine_id.clone())
            .unwrap_or_default();
        let writer = on.map(|on| self.topology.writer_label(on).to_string());
        let head = SnapshotHead {
            id: format!("{source} {}", self.now),
            source: source.clone(),
            writer: writer.unwrap_or_default(),
            started: self.now,
            finished: self.now,
            complete: true,
            files: 0,
            bytes: reads.unwrap_or_default(),
            new_bytes: ByteSize(0),
            stored_bytes: ByteSize(0),
            machine,
            skipped: 0,
        };
        self.on_stores(after, datastore, |store| add_snapshot(store, head.clone()));
    }

    fn sync(&self, after: &mut Observed, source: &Name, from: &Name, to: &Name) {
        let there = self.store(after, from);
        let heads: Vec<SnapshotHead> = there
            .and_then(|store| store.snapshots.get(source))
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        for head in heads {
            self.on_stores(after, to, |store| add_snapshot(store, head.clone()));
        }
    }

    fn drill(&self, after: &mut Observed, job: &Name, source: &Name, from: &Name) {
        let heads = self
            .store(after, from)
            .and_then(|store| store.snapshots.get(source));
        let Some(head) = heads.and_then(|heads| heads.iter().find(|head| head.complete)) else {
            return;
        };
        let proof = Proof {
            drill: job.clone(),
            source: source.clone(),
            snapshot: head.id.clone(),
            at: self.now,
            passed: true,
            files: head.files,
            bytes: head.bytes.0,
            took_ms: 0,
            problems: Vec::new(),
            mac: String::new(),
        };
        self.on_stores(after, from, |store| store.proofs.insert(0, proof.clone()));
    }
}
