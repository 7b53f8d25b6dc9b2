//! Laws that every plan obeys, over topologies and states made up by dice.

use std::collections::{BTreeMap, BTreeSet};

use bkpctl::cli::render::{Style, render, render_status};
use bkpctl::model::export::{Export, Squashing};
use bkpctl::model::markers::{Managed, Proof, Registry, RepositoryMarker};
use bkpctl::model::observed::NfsFacts;
use bkpctl::model::observed::{
    Binary, Component, ComponentKind, DatastoreFacts, KeyState, Login, MountFacts, NodeFacts,
    NodeState, Outcome, PathFacts, SmbFacts, SourceFacts, Space, StateFacts, Unreachable,
    UnreachableKind,
};
use bkpctl::model::snapshot::SnapshotHead;
use bkpctl::model::system_files::{exports_file, heading, unit_file};
use bkpctl::model::topology::{
    Agent, Content, Dataset, Datastore, DatastoreKind, Declared, Disk, Job, Key, Mount, Mounted,
    Node, Owner, Phase, Place, Policy, Reach, Removed, Share, Source, Squash, SshReach, TopologyId,
    Work,
};
use bkpctl::model::zfs::{ZfsDataset, ZfsFacts};
use bkpctl::model::{Address, Amount, ByteSize, Name, Observed, Period, Timestamp, Topology};
use bkpctl::plan::change::{Action, CopyState, GateKind, Protection, Step};
use bkpctl::plan::readiness::{Readiness, readiness};
use bkpctl::plan::{Plan, lint, plan, simulate};
use proptest::prelude::*;

const HOUR: i64 = 3_600_000_000_000;
pub(crate) const NOW: Timestamp = Timestamp(1_795_410_000_000_000_000);
const BINARY: &str = "b1b1b1b1";

/// Draws from bytes that proptest makes, so that a failure shrinks to few and low throws.
struct Dice<'a>(&'a [u8]);

impl Dice<'_> {
    fn below(&mut self, n: usize) -> usize {
        let (throw, rest) = match self.0 {
            [] => (0, self.0),
            [throw, rest @ ..] => (*throw, rest),
        };
        self.0 = rest;
        usize::from(throw) % n
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    fn of<'b, T>(&mut self, items: &'b [T]) -> &'b T {
        &items[self.below(items.len())]
    }
}

fn name(text: impl Into<String>) -> Name {
    Name::new(text).expect("the tests use names")
}

fn names(kind: &str, count: usize) -> Vec<Name> {
    (0..count).map(|n| name(format!("{kind}{n}"))).collect()
}

fn node(dice: &mut Dice<'_>, number: usize) -> Node {
    let reach = if number == 0 {
        Reach::Local
    } else {
        Reach::Ssh(SshReach {
            host: format!("10.0.0.{number}"),
            user: None,
            port: None,
            host_keys: Vec::new(),
            identity_file: None,
            jump: None,
            sudo: false,
        })
    };
    let mut reserve = BTreeMap::new();
    if dice.one_in(4) {
        reserve.insert("/".to_owned(), Amount::Percent(5));
    }
    Node {
        reach,
        container: None,
        domain: BTreeMap::new(),
        reserve,
        scratch: dice.one_in(2).then(|| "/scratch".to_owned()),
        reader: dice.one_in(2),
        agent: Agent::Default,
        dedup_with: None,
        declared: Declared::default(),
    }
}

/// Draws what is mounted at a datastore's place: mostly nothing.
fn mount(dice: &mut Dice<'_>, share: Option<&Name>) -> Option<Mount> {
    let what = match (dice.below(6), share) {
        (5, Some(share)) => Mounted::Share(share.clone()),
        (4, _) => Mounted::Disk(Disk {
            uuid: "1b2c-3d".to_owned(),
            filesystem: None,
        }),
        _ => return None,
    };
    Some(Mount {
        what,
        options: dice.one_in(2).then(|| "hard".to_owned()),
        on: None,
        bind: None,
    })
}

fn share(dice: &mut Dice<'_>, name: &Name, nodes: &[Name]) -> Share {
    Share {
        on: dice.of(nodes).clone(),
        export: format!("/stores/{name}"),
        squash: if dice.one_in(3) {
            Squash::MapRoot {
                user: dice.of(&["root", "backup", "nobody-knows"]).to_string(),
                group: dice.one_in(2).then(|| "root".to_owned()),
            }
        } else {
            Squash::Root
        },
        owner: dice.one_in(2).then(|| Owner {
            user: self::name("backup"),
            uid: 34,
            gid: 34,
        }),
        mode: dice.one_in(2).then_some(0o755),
        dataset: dice.one_in(3).then(|| Dataset {
            name: "tank/share".to_owned(),
            quota: Some(ByteSize(1 << 30)),
        }),
        clients: if dice.one_in(4) {
            vec!["10.0.0.0/24".to_owned()]
        } else {
            Vec::new()
        },
        address: dice.one_in(3).then(|| "nas.lan".to_owned()),
        declared: Declared::default(),
    }
}

fn datastore(
    dice: &mut Dice<'_>,
    name: &Name,
    nodes: &[Name],
    share: Option<(&Name, &Share)>,
) -> Datastore {
    let node = dice.of(nodes).clone();
    // What a machine exports itself it does not mount.
    let share = share
        .filter(|(_, share)| share.on != node)
        .map(|(name, _)| name);
    let place = Place {
        mount: mount(dice, share),
        node,
        path: format!("/stores/{name}"),
        from_phase: None,
    };
    let owner = dice.one_in(2).then(|| Owner {
        user: self::name("backup"),
        uid: 34,
        gid: 34,
    });
    Datastore {
        kind: DatastoreKind::Directory {
            places: vec![place],
        },
        owner,
        mode: 0o750,
        reserve: dice.one_in(3).then_some(Amount::Percent(10)),
        keep: None,
        verify_every: None,
        key: self::name("lab"),
        domain: BTreeMap::new(),
        pbs: false,
        guard: false,
        declared: Declared::default(),
    }
}

fn some(dice: &mut Dice<'_>, items: &[Name]) -> Vec<Name> {
    let mut chosen: Vec<Name> = items.iter().filter(|_| dice.one_in(2)).cloned().collect();
    if chosen.is_empty() {
        chosen.push(dice.of(items).clone());
    }
    chosen
}

fn job(dice: &mut Dice<'_>, name: Name, sources: &[Name], stores: &[Name], nodes: &[Name]) -> Job {
    let work = match dice.below(3) {
        0 => Work::Backup {
            sources: some(dice, sources),
            to: some(dice, stores),
        },
        1 => Work::Sync {
            from: dice.of(stores).clone(),
            to: dice.of(stores).clone(),
        },
        _ => Work::Drill {
            sources: some(dice, sources),
            from: dice.of(stores).clone(),
            on: dice.one_in(2).then(|| dice.of(nodes).clone()),
            every: dice.one_in(2).then_some(Period(7 * 86_400)),
            command: Vec::new(),
        },
    };
    let at = dice
        .one_in(2)
        .then(|| "02:00".parse().expect("a calendar expression"));
    Job {
        name,
        work,
        at,
        declared: Declared::default(),
    }
}

fn topology(dice: &mut Dice<'_>) -> Topology {
    let nodes = names("node", 1 + dice.below(3));
    let stores = names("store", 1 + dice.below(4));
    let sources = names("source", 1 + dice.below(3));
    let phases = names("phase", 1 + dice.below(3));
    let mut number = 0;
    let phases = phases
        .iter()
        .enumerate()
        .map(|(at, phase)| Phase {
            name: phase.clone(),
            after: (at > 0).then(|| phases[at - 1].clone()),
            jobs: (0..dice.below(5))
                .map(|_| {
                    number += 1;
                    job(
                        dice,
                        name(format!("job{number}")),
                        &sources,
                        &stores,
                        &nodes,
                    )
                })
                .collect(),
            declared: Declared::default(),
        })
        .collect();
    let key = Key {
        file: "lab.key".to_owned(),
        create: dice.one_in(2),
        declared: Declared::default(),
    };
    let share_name = name("share0");
    let share = dice.one_in(2).then(|| share(dice, &share_name, &nodes));
    let mut shared = share.as_ref().map(|share| (&share_name, share));
    let mut datastores = BTreeMap::new();
    for store in &stores {
        let datastore = datastore(dice, store, &nodes, shared);
        // Two datastores on one share would be one folder.
        let place = datastore
            .first_place()
            .and_then(|place| place.mount.as_ref());
        if place.is_some_and(|mount| mount.share().is_some()) {
            shared = None;
        }
        datastores.insert(store.clone(), datastore);
    }
    Topology {
        name: name("lab"),
        id: TopologyId("LAB1".to_owned()),
        folder: "/lab".to_owned(),
        users: BTreeMap::new(),
        nodes: nodes
            .iter()
            .enumerate()
            .map(|(number, node)| (node.clone(), self::node(dice, number)))
            .collect(),
        shares: share
            .map(|share| (share_name.clone(), share))
            .into_iter()
            .collect(),
        datastores,
        keys: BTreeMap::from([(name("lab"), key)]),
        sources: sources
            .iter()
            .map(|source| (source.clone(), self::source(dice, source, &nodes)))
            .collect(),
        guests: BTreeMap::new(),
        phases,
        policy: Policy {
            copies: dice.one_in(2).then_some(2),
            media: dice.one_in(2).then_some(2),
            rpo: dice.one_in(2).then_some(Period(30 * 3_600)),
            drill_within: dice.one_in(2).then_some(Period(30 * 86_400)),
            ..Policy::default()
        },
        removed: removed(dice),
        moved: Vec::new(),
    }
}

fn removed(dice: &mut Dice<'_>) -> Vec<Removed> {
    let mut removed = Vec::new();
    for address in ["datastore.gone", "share.gone"] {
        if dice.one_in(2) {
            removed.push(Removed {
                address: address.parse().expect("an address"),
                destroy: !dice.one_in(4),
                declared: Declared::default(),
            });
        }
    }
    removed
}

fn source(dice: &mut Dice<'_>, name: &Name, nodes: &[Name]) -> Source {
    let content = match dice.below(6) {
        0 => Content::Volume {
            device: format!("/data/{name}"),
            via: dice.one_in(3).then(|| "zfs".to_owned()),
        },
        1 => Content::Command {
            argv: vec!["dump".to_owned(), name.to_string()],
            run_as: dice.one_in(3).then(|| "db".to_owned()),
            name: None,
            timeout: None,
        },
        _ => Content::Paths {
            paths: vec![format!("/data/{name}")],
            exclude: Vec::new(),
            one_file_system: false,
        },
    };
    Source {
        on: dice.of(nodes).clone(),
        content,
        declared: Declared::default(),
    }
}

fn component(path: &str, uid: u32, mode: u32) -> Component {
    Component {
        path: path.to_owned(),
        kind: ComponentKind::Directory,
        uid,
        gid: uid,
        mode,
        acl: None,
    }
}

fn path(dice: &mut Dice<'_>, path: &str, there: bool) -> PathFacts {
    let mut components = vec![component("/", 0, 0o755)];
    if !dice.one_in(8) {
        let mode = if dice.one_in(8) { 0o700 } else { 0o755 };
        components.push(component("/stores", 0, mode));
    }
    let whole = there || dice.one_in(3);
    if whole {
        let uid = *dice.of(&[34, 0, 1000]);
        let mode = *dice.of(&[0o750, 0o755, 0o500]);
        components.push(component(path, uid, mode));
    }
    let outcome = match dice.below(12) {
        11 => Outcome::Denied,
        10 => Outcome::Timeout,
        _ if whole => Outcome::Ok,
        _ => Outcome::Missing,
    };
    PathFacts {
        outcome,
        components,
        mount: Some(if dice.one_in(6) {
            over_smb(dice)
        } else {
            MountFacts {
                target: "/".to_owned(),
                source: "/dev/sda1".to_owned(),
                fstype: "ext4".to_owned(),
                device: "8:1".to_owned(),
                read_only: dice.one_in(12),
                smb: None,
            }
        }),
        space: (!dice.one_in(4)).then(|| Space {
            total: ByteSize(1 << 30),
            free: ByteSize(u64::try_from(dice.below(256)).expect("small") << 22),
            inodes_total: 1000,
            inodes_free: 900,
        }),
        empty: whole.then(|| !there && dice.one_in(2)),
    }
}

/// Draws a mount whose options say who owns everything, or whose server does.
fn over_smb(dice: &mut Dice<'_>) -> MountFacts {
    MountFacts {
        target: "/stores".to_owned(),
        source: "//nas/stores".to_owned(),
        fstype: "cifs".to_owned(),
        device: "0:60".to_owned(),
        read_only: false,
        smb: (!dice.one_in(4)).then(|| SmbFacts {
            server_tells: dice.one_in(4),
            unchecked: dice.one_in(4),
            ..SmbFacts::default()
        }),
    }
}

fn head(dice: &mut Dice<'_>, source: &Name) -> SnapshotHead {
    let age = i64::try_from(dice.below(60)).expect("small") * HOUR;
    let complete = !dice.one_in(5);
    SnapshotHead {
        // Two that differ have different ids, as everywhere.
        id: format!("{source}-{age}-{complete}"),
        source: source.clone(),
        writer: String::new(),
        started: Timestamp(NOW.0 - age),
        finished: Timestamp(NOW.0 - age),
        complete,
        files: 1,
        bytes: ByteSize(1 << 20),
        new_bytes: ByteSize(0),
        stored_bytes: ByteSize(0),
        machine: dice.of(&["m0", "m1", ""]).to_string(),
        skipped: 0,
    }
}

fn store(dice: &mut Dice<'_>, topology: &Topology, name: &Name, home: &str) -> DatastoreFacts {
    if dice.one_in(2) {
        return DatastoreFacts {
            foreign_entries: dice.one_in(2).then(|| dice.below(5) as u64),
            ..DatastoreFacts::default()
        };
    }
    let mut facts = DatastoreFacts {
        marker: Some(RepositoryMarker {
            format: 1,
            id: "r".to_owned(),
            home: if dice.one_in(8) { "elsewhere" } else { home }.to_owned(),
            domain: if dice.one_in(8) { "d1" } else { "d0" }.to_owned(),
        }),
        foreign_entries: Some(if dice.one_in(4) { 3 } else { 0 }),
        owner_may_write: dice.one_in(2).then(|| !dice.one_in(4)),
        ..DatastoreFacts::default()
    };
    if dice.one_in(2) {
        let guard = dice.one_in(8);
        let recorded = topology.phases.iter().filter(|_| dice.one_in(4));
        facts.managed = Some(Managed {
            topology: TopologyId("LAB1".to_owned()),
            object: name.clone(),
            generation: 1,
            guard,
            removing: None,
            phases: recorded.map(|phase| (phase.name.clone(), NOW)).collect(),
        });
    }
    for source in topology.sources.keys() {
        let heads: Vec<_> = (0..dice.below(3)).map(|_| head(dice, source)).collect();
        facts.snapshots.insert(source.clone(), heads);
    }
    for (_, job) in topology.jobs() {
        if let Work::Drill { sources, .. } = &job.work
            && dice.one_in(2)
        {
            facts.proofs.push(Proof {
                drill: job.name.clone(),
                source: sources[0].clone(),
                snapshot: String::new(),
                at: Timestamp(NOW.0 - i64::try_from(dice.below(1000)).expect("small") * HOUR),
                passed: !dice.one_in(3),
                files: 1,
                bytes: 1,
                took_ms: 1,
                problems: vec!["a\u{1b}[2J".to_owned()],
                mac: String::new(),
            });
        }
    }
    facts
}

fn registry(dice: &mut Dice<'_>, topology: &Topology) -> Registry {
    let gone = name("gone");
    let listed = topology.datastores.keys().filter(|_| dice.one_in(3));
    let objects = listed
        .chain([&gone])
        .map(|name| (Address::new("datastore", name), "repository".to_owned()));
    let mut objects: BTreeMap<Address, String> = objects.collect();
    // What is gone can be found again, or not.
    for kind in ["datastore", "mount", "share"] {
        let words = match kind {
            "datastore" => "repository in /stores/gone",
            "mount" => "mounted by /etc/systemd/system/stores-gone.mount",
            _ => "exported by /etc/exports.d/bkpctl-lab-gone.exports",
        };
        if dice.one_in(2) {
            objects.insert(Address::new(kind, &gone), words.to_owned());
        }
    }
    Registry { objects }
}

/// Returns the datastores whose making anew a plan asks a yes for.
fn recreated(plan: &Plan) -> BTreeSet<Address> {
    plan.actions
        .iter()
        .filter_map(|action| action.gate.as_ref())
        .filter(|gate| gate.kind == GateKind::Recreate)
        .map(|gate| gate.address.clone())
        .collect()
}

/// Returns whether the registry of its node lists a datastore.
fn is_listed(observed: &Observed, node: &Name, address: &Address) -> bool {
    observed
        .reached(node.as_str())
        .and_then(|facts| facts.state.registry.as_ref())
        .is_some_and(|registry| registry.objects.contains_key(address))
}

fn facts(dice: &mut Dice<'_>, topology: &Topology, number: usize, on: &Name) -> NodeFacts {
    let root = dice.one_in(2);
    let uid = if root { 0 } else { 1000 };
    let machine = format!("m{number}");
    let mut facts = NodeFacts {
        via: "somehow".to_owned(),
        machine_id: (!dice.one_in(6)).then(|| machine.clone()),
        arch: if dice.one_in(8) { "aarch64" } else { "x86_64" }.to_owned(),
        clock: NOW,
        login: Login {
            user: "somebody".to_owned(),
            uid,
            gid: uid,
            groups: vec![uid],
            privileged: root || dice.one_in(2),
            only_looks: false,
        },
        state: StateFacts {
            folder: "/var/lib/bkpctl".to_owned(),
            binaries: if dice.one_in(2) {
                vec![BINARY.to_owned()]
            } else {
                Vec::new()
            },
            registry: dice.one_in(3).then(|| registry(dice, topology)),
        },
        ..NodeFacts::default()
    };
    for (store, declared) in &topology.datastores {
        let Some(place) = declared.first_place().filter(|place| place.node == *on) else {
            continue;
        };
        let seen = self::store(dice, topology, store, &machine);
        let there = seen.marker.is_some();
        let seen_path = path(dice, &place.path, there);
        facts.paths.insert(place.path.clone(), seen_path);
        facts.datastores.insert(store.clone(), seen);
    }
    if dice.one_in(2) {
        left(dice, topology, &machine, &mut facts);
    }
    shares(dice, topology, on, &mut facts);
    mounts(dice, topology, on, &mut facts);
    for (source, declared) in &topology.sources {
        if declared.on == *on {
            let read: &[String] = match &declared.content {
                Content::Paths { paths, .. } => paths,
                Content::Volume { device, .. } => std::slice::from_ref(device),
                Content::Command { .. } | Content::Guest(_) => &[],
            };
            for source_path in read {
                if !dice.one_in(20) {
                    let seen_path = path(dice, source_path, true);
                    facts.paths.insert(source_path.clone(), seen_path);
                }
            }
            let bytes = u64::try_from(dice.below(256)).expect("small") << 20;
            let seen = SourceFacts {
                bytes: (!dice.one_in(3)).then_some(ByteSize(bytes)),
                readable: Some(!dice.one_in(6)),
            };
            facts.sources.insert(source.clone(), seen);
        }
    }
    facts
}

/// Draws what is seen of things that are no longer declared.
fn left(dice: &mut Dice<'_>, topology: &Topology, machine: &str, facts: &mut NodeFacts) {
    let gone = name("gone");
    let seen = store(dice, topology, &gone, machine);
    facts.datastores.insert(gone.clone(), seen);
    for (kind, file) in [
        ("datastore", "/etc/systemd/system/stores-gone.mount"),
        ("share", "/etc/exports.d/bkpctl-lab-gone.exports"),
    ] {
        if dice.one_in(2) {
            let kept = heading(&Address::new(kind, &gone), &topology.id);
            let text = if dice.one_in(4) { String::new() } else { kept };
            facts.files.insert(file.to_owned(), text);
        }
    }
}

/// Draws what is seen of shares where they are exported.
fn shares(dice: &mut Dice<'_>, topology: &Topology, on: &Name, facts: &mut NodeFacts) {
    for (name, share) in topology.shares.iter().filter(|(_, share)| share.on == *on) {
        let stores = topology.datastores.keys();
        let lying =
            stores.filter(|store| topology.share_of(store).is_some_and(|(of, _)| of == name));
        let mut there = false;
        for datastore in lying {
            let home = topology.datastores[datastore]
                .first_place()
                .map(|place| &place.node);
            let number = topology.nodes.keys().position(|node| Some(node) == home);
            let home = format!("m{}", number.unwrap_or_default());
            let seen = store(dice, topology, datastore, &home);
            there |= seen.marker.is_some();
            facts.datastores.insert(datastore.clone(), seen);
        }
        facts
            .paths
            .insert(share.export.clone(), path(dice, &share.export, there));
        for tool in ["exportfs", "midclt"] {
            facts
                .tools
                .insert(tool.to_owned(), tool == "exportfs" || dice.one_in(8));
        }
        let export = Export {
            path: share.export.clone(),
            clients: dice
                .of(&["10.0.0.1", "10.0.0.2", "10.0.0.0/24", "*", "x.lan"])
                .to_string(),
            squashing: Squashing::DEFAULT,
            read_only: dice.one_in(6),
            subtree_check: dice.one_in(6),
            security: Vec::new(),
        };
        facts.nfs = (!dice.one_in(6)).then(|| NfsFacts {
            exports: if dice.one_in(2) {
                vec![export]
            } else {
                Vec::new()
            },
            manages_groups: None,
            truenas: None,
        });
        if dice.one_in(3) {
            let heading = heading(&Address::new("share", name), &topology.id);
            let text = dice.of(&[heading.as_str(), "# by hand"]).to_string();
            facts
                .files
                .insert(exports_file(&topology.name, name), format!("{text}\n"));
        }
        facts.zfs = dice.one_in(2).then(|| ZfsFacts {
            datasets: vec![ZfsDataset {
                name: "tank/share".to_owned(),
                used: ByteSize(1 << dice.of(&[20, 40])),
                mountpoint: Some(share.export.clone()),
                ..ZfsDataset::default()
            }],
        });
    }
}

/// Draws what is seen of mounts where they belong.
fn mounts(dice: &mut Dice<'_>, topology: &Topology, on: &Name, facts: &mut NodeFacts) {
    for (name, place, mount) in topology.mounts().filter(|(_, place, _)| place.node == *on) {
        for tool in ["systemctl", "mount.nfs"] {
            facts.tools.insert(tool.to_owned(), !dice.one_in(8));
        }
        facts.disks = (!dice.one_in(3))
            .then(|| ("1b2c-3d".to_owned(), "/dev/sdz1".to_owned()))
            .into_iter()
            .collect();
        let server = mount.share().and_then(|share| topology.address_of(share));
        if let Some(server) = server.filter(|_| !dice.one_in(4)) {
            let own = dice
                .of(&["10.0.0.1", "10.0.0.2"])
                .parse()
                .expect("an address");
            facts.routes.insert(server.to_owned(), own);
        }
        if dice.one_in(3) {
            let heading = heading(&Address::new("datastore", name), &topology.id);
            let text = dice.of(&[heading.as_str(), "# by hand"]).to_string();
            facts
                .files
                .insert(unit_file(&place.path), format!("{text}\n"));
        }
        if dice.one_in(4) {
            facts.fstab.push(place.path.clone());
        }
        let source = match &mount.what {
            Mounted::Share(share) => format!("10.9.9.9:{}", topology.shares[share].export),
            Mounted::Disk(_) => "/dev/sdz1".to_owned(),
        };
        let fstype = if mount.share().is_some() {
            "nfs4"
        } else {
            "ext4"
        };
        let seen = facts
            .paths
            .get_mut(&place.path)
            // Nothing is mounted at a folder that is not there.
            .filter(|seen| seen.outcome != Outcome::Missing)
            .and_then(|seen| seen.mount.as_mut());
        if let Some(seen) = seen.filter(|_| dice.one_in(2)) {
            seen.target.clone_from(&place.path);
            seen.source = if dice.one_in(6) {
                "/dev/other".to_owned()
            } else {
                source
            };
            fstype.clone_into(&mut seen.fstype);
        }
    }
}

fn observed(dice: &mut Dice<'_>, topology: &Topology) -> Observed {
    let mut observed = Observed {
        binary: (!dice.one_in(8)).then(|| Binary {
            hash: BINARY.to_owned(),
            arch: "x86_64".to_owned(),
            size: ByteSize(9 << 20),
        }),
        ..Observed::default()
    };
    let key = match dice.below(4) {
        0 | 1 => KeyState::Present {
            domain: "d0".to_owned(),
            recovery_confirmed: !dice.one_in(4),
        },
        2 => KeyState::Missing,
        _ => KeyState::Unusable("not a key".to_owned()),
    };
    observed.keys.insert(name("lab"), key);
    for (number, node) in topology.nodes.keys().enumerate() {
        // The first node is the machine bkpctl runs on, which always answers.
        let state = if number > 0 && dice.one_in(8) {
            NodeState::Unreachable(Unreachable {
                kind: UnreachableKind::Connect,
                message: "timed out".to_owned(),
            })
        } else {
            NodeState::Reached(Box::new(facts(dice, topology, number, node)))
        };
        observed.nodes.insert(node.clone(), state);
    }
    if dice.one_in(3) {
        mounted_before(dice, topology, &observed)
    } else {
        observed
    }
}

/// Draws what is seen where an earlier plan mounted what is declared, whose units may have failed or
/// been disabled since.
fn mounted_before(dice: &mut Dice<'_>, topology: &Topology, observed: &Observed) -> Observed {
    let mut earlier = plan(topology, observed, NOW);
    let is_mount = |action: &Action| matches!(action.step, Step::Mount { .. });
    earlier.actions.retain(is_mount);
    let mut observed = simulate(observed, &earlier);
    for state in observed.nodes.values_mut() {
        let NodeState::Reached(facts) = state else {
            continue;
        };
        for unit in facts.units.values_mut() {
            unit.enabled = *dice.of(&[None, Some(true), Some(false)]);
            unit.failed = dice.one_in(4);
        }
    }
    observed
}

/// Returns the job that demands an action.
/// Returns whether another action brings about the same, so that either is enough.
fn is_shared(plan: &Plan, action: &Action) -> bool {
    let others = plan.actions.iter().filter(|other| other.id != action.id);
    let facts: Vec<_> = others
        .flat_map(|other| &other.done)
        .map(|need| &need.fact)
        .collect();
    action.done.iter().any(|need| facts.contains(&&need.fact))
}

/// Returns whether an action is about a folder that something has been mounted over since.
fn is_covered(plan: &Plan, done: &BTreeSet<usize>, action: &Action) -> bool {
    let (Step::MakeFolder { path, .. } | Step::SetOwner { path, .. } | Step::SetMode { path, .. }) =
        &action.step
    else {
        return false;
    };
    plan.actions.iter().any(|other| {
        matches!(&other.step, Step::Mount { path: at, .. } if at == path)
            && done.contains(&other.id)
    })
}

/// Returns the part of a plan that is carried out where some actions do not come to their end,
/// with the numbers of what was done.
fn carried_out_in_part(whole: &Plan, ends: &[bool]) -> (Plan, BTreeSet<usize>) {
    let mut done: BTreeSet<usize> = BTreeSet::new();
    let mut part = whole.clone();
    part.actions.retain(|action| {
        let is_done = action.deferred.is_none()
            && action.after.is_subset(&done)
            && ends.get(action.id) != Some(&false);
        if is_done {
            done.insert(action.id);
        }
        is_done
    });
    (part, done)
}

fn demanded_by(action: &Action) -> Option<&Name> {
    match &action.step {
        Step::Copy { job, .. } | Step::Sync { job, .. } | Step::Drill { job, .. } => Some(job),
        _ => None,
    }
}

/// Returns the sources and datastores that jobs up to a phase bring together.
fn copies_until(topology: &Topology, phase: usize) -> BTreeSet<(&Name, &Name)> {
    let mut copies = BTreeSet::new();
    loop {
        let before = copies.len();
        for job in topology.phases[..=phase].iter().flat_map(|p| &p.jobs) {
            match &job.work {
                Work::Backup { sources, to } => {
                    copies.extend(
                        sources
                            .iter()
                            .flat_map(|s| to.iter().map(move |to| (s, to))),
                    );
                }
                Work::Sync { from, to } => {
                    let there: Vec<_> = copies
                        .iter()
                        .filter(|(_, at)| *at == from)
                        .copied()
                        .collect();
                    copies.extend(there.into_iter().map(|(source, _)| (source, to)));
                }
                _ => {}
            }
        }
        if copies.len() == before {
            return copies;
        }
    }
}

pub(crate) fn world() -> impl Strategy<Value = (Topology, Observed)> {
    proptest::collection::vec(any::<u8>(), 0..400).prop_map(|bytes| {
        let mut dice = Dice(&bytes);
        let topology = topology(&mut dice);
        let observed = observed(&mut dice, &topology);
        (topology, observed)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_is_sound_and_the_same_each_time((topology, observed) in world()) {
        let first = plan(&topology, &observed, NOW);
        prop_assert_eq!(lint(&first), Vec::<String>::new());
        let again = plan(&topology, &observed, NOW);
        let bytes = |plan| serde_json::to_vec(plan).expect("a plan serialises");
        prop_assert_eq!(bytes(&first), bytes(&again));
    }

    #[test]
    fn nothing_is_left_to_do_after_a_plan((topology, observed) in world()) {
        let first = plan(&topology, &observed, NOW);
        let mut after = simulate(&observed, &first);
        // A phase opens when the one before it was recorded, so each may take a plan more.
        // What is on a disk is seen once it is mounted, which takes one too.
        for _ in 0..=topology.phases.len() {
            after = simulate(&after, &plan(&topology, &after, NOW));
        }
        let rest = plan(&topology, &after, NOW);
        let pending: Vec<_> = rest.pending().map(|action| &action.step).collect();
        prop_assert!(pending.is_empty(), "{:?}", pending);
    }

    #[test]
    fn with_one_phase_a_whole_plan_leaves_an_empty_one((mut topology, observed) in world()) {
        topology.phases.truncate(1);
        let first = plan(&topology, &observed, NOW);
        // What nobody could look at is planned for once it is mounted.
        let uncovers = |action: &Action| match &action.step {
            Step::Mount { datastore, .. } => {
                let server = topology.share_of(datastore).map(|(_, share)| &share.on);
                server.is_none_or(|server| observed.reached(server.as_str()).is_none())
            }
            _ => false,
        };
        if first.actions.iter().any(|action| action.deferred.is_some() || uncovers(action)) {
            return Ok(());
        }
        let rest = plan(&topology, &simulate(&observed, &first), NOW);
        prop_assert!(rest.is_empty(), "{:?}", rest.actions);
        let demanded = rest.protection.iter().filter(|copy| copy.newest.is_none());
        // In an open phase a copy waits only for a later version, and the plan says so.
        let is_told = |copy: &Protection| {
            let reads = topology.sources.get(&copy.source).map(|source| &source.on);
            let store = topology.datastores.get(&copy.datastore);
            let serves = store.and_then(|store| store.first_place()).map(|place| &place.node);
            let mut of = vec![
                Address::new("source", &copy.source),
                Address::new("datastore", &copy.datastore),
            ];
            of.extend([reads, serves].into_iter().flatten().map(|node| Address::new("node", node)));
            rest.findings.iter().any(|finding| {
                of.contains(&finding.address) && finding.message.contains("not carried out by this version")
            })
        };
        let lacking: Vec<_> = demanded
            .filter(|copy| match copy.state {
                CopyState::Unknown => false,
                CopyState::Waiting => !is_told(copy),
                _ => true,
            })
            .collect();
        // What lies on a node that was not reached can't be copied on.
        let is_told = rest.has_errors() || rest.incomplete();
        prop_assert!(lacking.is_empty() || is_told, "{:?}", lacking);
    }

    #[test]
    fn what_is_mounted_as_declared_waits_for_no_unit_that_is_to_be_enabled(
        (topology, observed) in world()
    ) {
        let plan = plan(&topology, &observed, NOW);
        for mount in &plan.actions {
            let Step::Mount { file, content, was, .. } = &mount.step else { continue };
            let facts = observed.reached(mount.node.as_str());
            let unit = facts.and_then(|facts| facts.units.get(file));
            let for_later = mount.before.as_ref().is_some_and(|words| words.contains("not enabled"));
            if !for_later {
                continue;
            }
            prop_assert_eq!(unit.and_then(|unit| unit.enabled), Some(false));
            prop_assert_eq!(was.as_ref(), Some(content));
            let waits = plan.actions.iter().any(|other| {
                other.after.contains(&mount.id) && !matches!(other.step, Step::Register { .. })
            });
            prop_assert!(!waits, "{:?}", plan.actions);
        }
    }

    #[test]
    fn nothing_is_done_on_a_node_that_was_not_reached((topology, observed) in world()) {
        let plan = plan(&topology, &observed, NOW);
        for action in plan.pending() {
            let known = topology.nodes.contains_key(&action.node);
            prop_assert!(!known || observed.reached(action.node.as_str()).is_some());
        }
    }

    #[test]
    fn no_owner_and_no_mode_is_changed_where_a_mount_says_what_they_are(
        (topology, observed) in world()
    ) {
        for action in plan(&topology, &observed, NOW).actions {
            let (Step::SetOwner { path, .. } | Step::SetMode { path, .. }) = &action.step else {
                continue;
            };
            let facts = observed.reached(action.node.as_str());
            let mount = facts.and_then(|facts| facts.paths.get(path)?.mount.as_ref());
            prop_assert!(!mount.is_some_and(MountFacts::invents_owners), "{:?}", action.step);
        }
    }

    #[test]
    fn existing_entries_change_owner_only_behind_a_gate((topology, observed) in world()) {
        for action in plan(&topology, &observed, NOW).actions {
            if let Step::SetOwner { recursive: true, .. } = action.step {
                prop_assert_eq!(action.gate.map(|gate| gate.kind), Some(GateKind::Owner));
            }
        }
    }

    #[test]
    fn what_was_here_is_made_anew_only_behind_a_gate((topology, observed) in world()) {
        for action in plan(&topology, &observed, NOW).actions {
            let made = matches!(action.step, Step::MakeFolder { .. } | Step::MakeRepository { .. });
            if made && is_listed(&observed, &action.node, &action.address) {
                prop_assert_eq!(action.gate.map(|gate| gate.kind), Some(GateKind::Recreate));
            }
        }
    }

    #[test]
    fn only_what_is_ours_and_unguarded_is_destroyed_and_only_behind_a_gate(
        (topology, observed) in world()
    ) {
        for action in plan(&topology, &observed, NOW).actions {
            let facts = observed.reached(action.node.as_str());
            match &action.step {
                Step::DestroyRepository { datastore, .. } => {
                    let store = facts.and_then(|facts| facts.datastores.get(datastore));
                    let managed = store.and_then(|store| store.managed.as_ref());
                    let ours = managed.is_some_and(|managed| {
                        !managed.guard && managed.topology == topology.id && managed.object == *datastore
                    });
                    prop_assert!(ours && !topology.datastores.contains_key(datastore));
                }
                Step::Withdraw { was, .. } => prop_assert!(was.ends_with("kept by bkpctl")),
                _ => continue,
            }
            let asked = topology.removed.iter().any(|removed| {
                removed.destroy && action.gate.as_ref().is_some_and(|gate| gate.address == removed.address)
            });
            prop_assert!(asked, "{}", action.address);
            prop_assert_eq!(action.gate.map(|gate| gate.kind), Some(GateKind::Destroy));
        }
    }

    #[test]
    fn a_plan_that_was_cut_off_is_taken_up_again_without_a_further_yes(
        (topology, observed) in world(),
        ends in proptest::collection::vec(any::<bool>(), 60),
    ) {
        let whole = plan(&topology, &observed, NOW);
        let (cut, _) = carried_out_in_part(&whole, &ends);
        let resumed = plan(&topology, &simulate(&observed, &cut), NOW);
        // A phase that the plan completes opens the next one, which asks for what is its own.
        let next = plan(&topology, &simulate(&observed, &whole), NOW);
        let asked = &recreated(&whole) | &recreated(&next);
        let asks = recreated(&resumed);
        prop_assert!(asks.is_subset(&asked), "{:?} and not {:?}", asks, asked);
    }

    #[test]
    fn a_plan_is_not_stale_where_it_was_made((topology, observed) in world()) {
        let plan = plan(&topology, &observed, NOW);
        for (action, ready) in plan.actions.iter().zip(readiness(&plan, &observed)) {
            let expected = match &action.deferred {
                Some(reason) => Readiness::Deferred(reason.clone()),
                None => Readiness::Ready,
            };
            prop_assert_eq!(ready, expected, "{} {:?}", &action.address, &action.step);
        }
    }

    #[test]
    fn a_plan_that_was_carried_out_in_part_goes_on_with_the_rest(
        (topology, observed) in world(),
        ends in proptest::collection::vec(any::<bool>(), 60),
    ) {
        let whole = plan(&topology, &observed, NOW);
        let (cut, done) = carried_out_in_part(&whole, &ends);
        let halfway = simulate(&observed, &cut);
        for (action, ready) in whole.actions.iter().zip(readiness(&whole, &halfway)) {
            let all: Vec<_> = whole.actions.iter().map(|a| (a.id, a.label(), &a.after)).collect();
            let words = format!(
                "{} {:?} {ready:?}\nof {all:?}\nwhere {done:?} were done",
                action.address, action.step
            );
            prop_assert!(!matches!(ready, Readiness::Stale(_)), "{words}");
            if done.contains(&action.id) && !action.done.is_empty() {
                prop_assert_eq!(ready, Readiness::Already, "{}", words);
            } else if !done.contains(&action.id) && action.deferred.is_none() {
                let covered = is_covered(&whole, &done, action);
                let excused = covered || is_shared(&whole, action);
                prop_assert!(ready != Readiness::Already || excused, "{words}");
            }
        }
    }

    #[test]
    fn a_phase_is_recorded_after_every_copy_and_drill_of_it((topology, observed) in world()) {
        let plan = plan(&topology, &observed, NOW);
        for record in plan.pending().filter(|action| action.address.kind() == "phase") {
            let at = topology.phases.iter().position(|p| p.name == *record.address.name());
            let at = at.expect("a record is of a phase");
            let jobs: Vec<&Name> = topology.phases[at].jobs.iter().map(|job| &job.name).collect();
            let copies = copies_until(&topology, at);
            for action in plan.pending().filter(|a| demanded_by(a).is_some_and(|j| jobs.contains(&j))) {
                // What a sync carries only since a later phase is of that phase.
                let counts = match &action.step {
                    Step::Sync { from, sources, .. } => {
                        sources.iter().any(|source| copies.contains(&(source, from)))
                    }
                    _ => true,
                };
                prop_assert!(
                    !counts || record.after.contains(&action.id),
                    "{} does not wait for {}", record.address, action.address
                );
            }
        }
    }

    #[test]
    fn a_drill_waits_for_the_copy_it_restores((topology, observed) in world()) {
        let plan = plan(&topology, &observed, NOW);
        for drill in &plan.actions {
            let Step::Drill { source, from, .. } = &drill.step else { continue };
            for action in &plan.actions {
                let brings = match &action.step {
                    Step::Copy { source: of, datastore, .. } => of == source && datastore == from,
                    Step::Sync { sources, to, .. } => sources.contains(source) && to == from,
                    _ => false,
                };
                prop_assert!(!brings || drill.after.contains(&action.id));
            }
        }
    }

    #[test]
    fn any_plan_can_be_shown((topology, observed) in world(), width in 0_usize..200) {
        let plan = plan(&topology, &observed, NOW);
        let style = Style { color: false, width, detail: true, took: None, next: true };
        for text in [render(&plan, &style), render_status(&plan, &style)] {
            prop_assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
            prop_assert!(text.lines().all(|line| line == line.trim_end()));
        }
    }
}
