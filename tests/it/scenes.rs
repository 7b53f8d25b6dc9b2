//! Whole installations as people have them, and the plan each of them is shown.
//!
//! In `tests/cases/scenes`, `NAME.json` says in few words what world a topology meets, `NAME.kdl`
//! is the topology where it is not that of the scene this one is like, and `NAME.txt` the plan. Where the cases in `tests/cases/plan` change one thing each, a scene is
//! for the eye: whoever sees it for the first time must know within seconds what will happen.
//! `BKPCTL_UPDATE=1` rewrites the plans: read what changed before accepting it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bkpctl::cli::render::render;
use bkpctl::config::{Files, FilesError, load};
use bkpctl::model::markers::Registry;
use bkpctl::model::observed::{
    Binary, Component, ComponentKind, DatastoreFacts, KeyState, MountFacts, NfsFacts, Outcome,
    SourceFacts, Space, Unreachable, UnreachableKind, UserFacts,
};
use bkpctl::model::observed::{Login, NodeFacts, NodeState, PathFacts, StateFacts};
use bkpctl::model::{ByteSize, Name, Observed, Timestamp, Topology};
use bkpctl::observe::{Wanted, wanted};
use bkpctl::plan::{lint, plan, simulate};
use serde::Deserialize;
use serde_json::Value;

use crate::plan_cases;

fn document(name: &str) -> Value {
    let path = folder().join(name).with_added_extension("json");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The world that a topology meets.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct World {
    /// What the scene is for.
    #[expect(dead_code, reason = "it is for whoever reads the case")]
    why: String,
    /// The scene that this one differs from (JSON Merge Patch, RFC 7396).
    like: Option<String>,
    nodes: BTreeMap<Name, Machine>,
    /// What happened until now, one after the other.
    #[serde(default)]
    then: Vec<Happening>,
    #[serde(default)]
    detail: bool,
}

/// A machine, or why it does not answer.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Machine {
    Silent(String),
    Answers(Box<There>),
}

/// What there is on a machine.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct There {
    via: String,
    os: String,
    /// Filesystems by where they are mounted: device, type, size, and what is free.
    disks: BTreeMap<String, [String; 4]>,
    /// Folders with their owner and mode, `0:0 755`; those above them are root's.
    #[serde(default)]
    folders: BTreeMap<String, String>,
    /// Users, `34:34`.
    #[serde(default)]
    users: BTreeMap<String, String>,
    /// How much the sources hold.
    #[serde(default)]
    sources: BTreeMap<Name, String>,
    /// Its addresses.
    #[serde(default)]
    addresses: Vec<core::net::IpAddr>,
    /// Programs that are not there.
    #[serde(default)]
    lacks: Vec<String>,
    /// Everything else, patched into the facts.
    #[serde(default)]
    facts: Value,
}

/// Something that happened.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Happening {
    /// The topology was applied, or another one before it.
    Applied(Option<String>),
    /// Hours went by.
    Hours(i64),
    /// The world changed (JSON Merge Patch, RFC 7396).
    Changed(Value),
}

const HOUR: i64 = 3_600_000_000_000;
const BINARY: &str = "b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/scenes")
}

/// A folder with one topology in it.
struct OneFile(String);

impl Files for OneFile {
    fn read(&mut self, _: &str) -> Result<String, FilesError> {
        Ok(self.0.clone())
    }

    fn list(&mut self, _: &str) -> Result<Vec<String>, FilesError> {
        Ok(Vec::new())
    }
}

/// Reads a topology as the program does.
fn topology(file: &str) -> Topology {
    let path = folder().join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let loaded = load(file, "/home/ops/backup", &mut OneFile(text));
    assert_eq!(loaded.errors(), 0, "{file}: {:?}", loaded.diagnostics);
    loaded.topology.expect("it has no mistakes")
}

fn pair(text: &str) -> (u32, u32) {
    let (uid, gid) = text.split_once(':').expect("uid:gid");
    let number = |text: &str| text.parse().expect("a number");
    (number(uid), number(gid))
}

fn size(text: &str) -> ByteSize {
    text.parse().expect("a size")
}

impl There {
    fn path(&self, path: &str) -> PathFacts {
        let mut components = Vec::new();
        let mut outcome = Outcome::Ok;
        let mut ends: Vec<usize> = path.match_indices('/').map(|(at, _)| at).collect();
        ends.push(path.len());
        for end in ends {
            let part = if end == 0 { "/" } else { &path[..end] };
            let Some(component) = self.component(part) else {
                outcome = Outcome::Missing;
                break;
            };
            components.push(component);
        }
        let below = |mount: &str| mount == "/" || Path::new(path).starts_with(mount);
        let (target, [source, fstype, total, free]) = self
            .disks
            .iter()
            .filter(|(mount, _)| below(mount))
            .max_by_key(|(mount, _)| mount.len())
            .expect("something is mounted at /");
        let number = self.disks.keys().position(|mount| mount == target);
        PathFacts {
            outcome,
            components,
            mount: Some(MountFacts {
                target: target.clone(),
                source: source.clone(),
                fstype: fstype.clone(),
                device: format!("8:{}", number.unwrap_or_default() + 1),
                read_only: false,
                smb: None,
            }),
            space: Some(Space {
                total: size(total),
                free: size(free),
                inodes_total: 0,
                inodes_free: 0,
            }),
            empty: (outcome == Outcome::Ok).then_some(true),
        }
    }

    fn component(&self, path: &str) -> Option<Component> {
        let below = |other: &String| Path::new(other).starts_with(path);
        let (owner, mode) = match self.folders.get(path) {
            Some(text) => text.split_once(' ').expect("an owner and a mode"),
            None if self.folders.keys().chain(self.disks.keys()).any(below) => ("0:0", "755"),
            None => return None,
        };
        let (uid, gid) = pair(owner);
        Some(Component {
            path: path.to_owned(),
            kind: if path.starts_with("/dev/") && self.folders.contains_key(path) {
                ComponentKind::BlockDevice
            } else {
                ComponentKind::Directory
            },
            uid,
            gid,
            mode: u32::from_str_radix(mode, 8).expect("a mode"),
            acl: None,
        })
    }

    fn facts(&self, name: &Name, wanted: &Wanted) -> NodeFacts {
        let (user, _) = self.via.split_once('@').unwrap_or(("ops", ""));
        let uid = if user == "root" { 0 } else { 1000 };
        let folder = wanted.folder.as_ref().map(|folder| {
            let base = folder.base.as_deref().unwrap_or("/var/lib/bkpctl");
            format!("{base}/{}/{}", folder.topology, folder.node)
        });
        let facts = NodeFacts {
            via: self.via.clone(),
            hostname: name.to_string(),
            machine_id: Some(format!("{name}-id")),
            os: Some(self.os.clone()),
            arch: "x86_64".to_owned(),
            clock: plan_cases::now(),
            login: Login {
                user: user.to_owned(),
                uid,
                gid: uid,
                groups: vec![uid],
                privileged: uid == 0 || wanted.sudo,
                only_looks: false,
            },
            users: self
                .users
                .iter()
                .map(|(name, numbers)| {
                    let (uid, gid) = pair(numbers);
                    let facts = UserFacts {
                        uid,
                        gid,
                        user: None,
                    };
                    (name.clone(), facts)
                })
                .collect(),
            tools: wanted
                .tools
                .iter()
                .map(|tool| (tool.clone(), !self.lacks.contains(tool)))
                .collect(),
            paths: wanted
                .paths
                .iter()
                .map(|path| (path.clone(), self.path(path)))
                .collect(),
            state: StateFacts {
                folder: folder.unwrap_or_default(),
                binaries: Vec::new(),
                registry: None::<Registry>,
            },
            datastores: wanted
                .datastores
                .iter()
                .map(|datastore| (datastore.name.clone(), DatastoreFacts::default()))
                .collect(),
            sources: wanted
                .sources
                .iter()
                .map(|source| {
                    let facts = SourceFacts {
                        bytes: self.sources.get(&source.name).map(|text| size(text)),
                        readable: Some(true),
                    };
                    (source.name.clone(), facts)
                })
                .collect(),
            addresses: self.addresses.clone(),
            nfs: wanted.exports.then(NfsFacts::default),
            routes: wanted
                .routes
                .iter()
                .filter_map(|server| Some((server.clone(), *self.addresses.first()?)))
                .collect(),
            ..NodeFacts::default()
        };
        let mut document = serde_json::to_value(&facts).expect("facts serialise");
        if !self.facts.is_null() {
            plan_cases::merge(&mut document, &self.facts);
        }
        serde_json::from_value(document).unwrap_or_else(|e| panic!("{name}: {e}"))
    }
}

impl World {
    fn read(name: &str) -> Self {
        let world = document(name);
        let like = world["like"].as_str().map(document);
        let mut whole = like.unwrap_or(Value::Null);
        plan_cases::merge(&mut whole, &world);
        serde_json::from_value(whole).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Returns the file of the topology that a scene is about.
    fn topology(&self, name: &str) -> String {
        let own = format!("{name}.kdl");
        match &self.like {
            Some(like) if !folder().join(&own).exists() => format!("{like}.kdl"),
            _ => own,
        }
    }

    /// Returns what is seen of it before anything happened.
    fn observed(&self, topology: &Topology) -> Observed {
        let mut wanted = wanted(topology);
        let node = |(name, machine): (&Name, &Machine)| {
            let state = match machine {
                Machine::Silent(message) => NodeState::Unreachable(Unreachable {
                    kind: UnreachableKind::Connect,
                    message: message.clone(),
                }),
                Machine::Answers(there) => {
                    let wanted = wanted.remove(name).expect("a node of the topology");
                    NodeState::Reached(Box::new(there.facts(name, &wanted)))
                }
            };
            (name.clone(), state)
        };
        let nodes: BTreeMap<Name, NodeState> = self.nodes.iter().map(node).collect();
        assert!(
            nodes.keys().eq(topology.nodes.keys()),
            "the world has the nodes of the topology"
        );
        Observed {
            nodes,
            keys: topology
                .keys
                .keys()
                .map(|key| {
                    let present = KeyState::Present {
                        domain: "d0d0cafe".to_owned(),
                        recovery_confirmed: true,
                    };
                    (key.clone(), present)
                })
                .collect(),
            binary: Some(Binary {
                hash: BINARY.to_owned(),
                arch: "x86_64".to_owned(),
                size: ByteSize(9 << 20),
            }),
        }
    }

    /// Lets everything happen that did, and returns what is seen at the end, and when that is.
    fn now(&self, topology: &Topology) -> (Observed, Timestamp) {
        // What was applied first is what was looked for first, and may be left behind.
        let first = self.then.iter().find_map(|happening| match happening {
            Happening::Applied(before) => before.as_deref().map(self::topology),
            _ => None,
        });
        let mut observed = self.observed(first.as_ref().unwrap_or(topology));
        let mut now = plan_cases::now();
        for happening in &self.then {
            match happening {
                Happening::Applied(before) => {
                    let before = before.as_deref().map(self::topology);
                    let plan = plan(before.as_ref().unwrap_or(topology), &observed, now);
                    observed = simulate(&observed, &plan);
                }
                Happening::Hours(hours) => {
                    now = Timestamp(now.0 + hours * HOUR);
                    for state in observed.nodes.values_mut() {
                        if let NodeState::Reached(facts) = state {
                            facts.clock = now;
                        }
                    }
                }
                Happening::Changed(patch) => {
                    let mut document = serde_json::to_value(&observed).expect("it serialises");
                    plan_cases::merge(&mut document, patch);
                    observed = serde_json::from_value(document).expect("it was observed");
                }
            }
        }
        (observed, now)
    }
}

#[test]
fn each_installation_shows_its_plan() {
    let mut names: Vec<String> = fs::read_dir(folder())
        .expect("the scenes are in the source tree")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "json"))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    assert!(names.len() >= 12, "{names:?}");
    let mut problems = Vec::new();
    for name in names {
        let world = World::read(&name);
        let topology = topology(&world.topology(&name));
        let (observed, now) = world.now(&topology);
        let plan = plan(&topology, &observed, now);
        assert_eq!(lint(&plan), Vec::<String>::new(), "{name}");
        let text = render(&plan, &plan_cases::style(world.detail));
        let path = folder().join(&name).with_added_extension("txt");
        problems.extend(plan_cases::expect(&path, &text).err());
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
