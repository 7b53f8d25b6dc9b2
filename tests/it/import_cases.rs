//! What is written of what was found: cases as data, and laws over anything a host may say.
//!
//! A case in `tests/cases/import` lists machines, each with what differs from a plain one, and
//! the topology that comes of them. `BKPCTL_UPDATE=1` rewrites the topologies.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bkpctl::config::{Found, Host, Loaded, ShownKey, Way, format_text, load};
use bkpctl::model::discovered::{Discovered, Filesystem, FoundFolder};
use bkpctl::model::export::{Export, SquashOf, Squashing};
use bkpctl::model::lvm::{LogicalVolume, LvmFacts, Percent, VolumeKind};
use bkpctl::model::markers::RepositoryMarker;
use bkpctl::model::observed::{
    MountFacts, NfsFacts, NodeFacts, NodeState, Space, Unreachable, UnreachableKind, UserFacts,
};
use bkpctl::model::pve::{Guest, PveFacts};
use bkpctl::model::topology::TopologyId;
use bkpctl::model::zfs::{ZfsDataset, ZfsFacts};
use bkpctl::model::{Address, ByteSize, Name};
use proptest::prelude::*;
use serde_json::Value;

use crate::plan_cases::{base, expect, merge};
use crate::support::text::Text;

fn loaded(text: &str) -> Loaded {
    load("topology.kdl", "/srv/imported", &mut Text(text.to_owned()))
}

/// Returns everything that is wrong or doubtful, but that nothing is copied and kept yet.
fn doubts(loaded: &Loaded) -> Vec<String> {
    let diagnostics = loaded.diagnostics.iter();
    // How long copies are kept, and by which job, is for a person to choose.
    let others =
        diagnostics.filter(|diagnostic| !["BK031", "BK036"].contains(&diagnostic.code.as_str()));
    others
        .map(|diagnostic| format!("line {}: {}", diagnostic.place.line, diagnostic.message))
        .collect()
}

fn found(hosts: Vec<Host>) -> Found {
    Found {
        name: Name::new("imported").expect("a name"),
        id: TopologyId("01JD4Z9K3TNEW".to_owned()),
        hosts,
        aside: BTreeMap::new(),
    }
}

fn text_of(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

fn host(plain: &Value, case: &Value) -> Host {
    let way = &case["way"];
    let way = if way == "local" {
        Way::Local
    } else {
        Way::Ssh {
            login: text_of(way, "login"),
            port: way["port"].as_u64().and_then(|port| port.try_into().ok()),
            key: way.get("key").map(|key| ShownKey {
                line: text_of(key, "line"),
                fingerprint: text_of(key, "fingerprint"),
                known: key["known"] == true,
            }),
        }
    };
    let state = match case.get("facts") {
        None => unreachable(&text_of(case, "unreachable")),
        Some(patch) => {
            let mut facts = plain.clone();
            merge(&mut facts, patch);
            let facts = serde_json::from_value(facts).expect("a case says facts");
            NodeState::Reached(Box::new(facts))
        }
    };
    Host { way, state }
}

fn unreachable(message: &str) -> NodeState {
    NodeState::Unreachable(Unreachable {
        kind: UnreachableKind::Connect,
        message: message.to_owned(),
    })
}

/// Returns the facts of a machine that has nothing yet.
fn plain() -> NodeFacts {
    let (_, observed) = base();
    let web = observed.reached("web").expect("the base has it");
    NodeFacts {
        paths: BTreeMap::new(),
        sources: BTreeMap::new(),
        ..web.clone()
    }
}

fn cases() -> Vec<(PathBuf, Found)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/import");
    let plain = serde_json::to_value(plain()).expect("facts serialise");
    let files = fs::read_dir(folder).expect("the cases are in the source tree");
    let files = files.map(|entry| entry.expect("a readable folder").path());
    let files = files.filter(|path| path.extension().is_some_and(|ending| ending == "json"));
    files
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a case");
            let case: Value = serde_json::from_str(&text).expect("a case is JSON");
            let hosts = case["hosts"].as_array().expect("a case has machines");
            let hosts = hosts.iter().map(|case| host(&plain, case)).collect();
            (path.with_extension("kdl"), found(hosts))
        })
        .collect()
}

#[test]
fn each_case_gives_its_topology_which_is_valid_and_in_form() {
    let mut problems = Vec::new();
    for (file, found) in cases() {
        let text = found.text();
        problems.extend(expect(&file, &text).err());
        let read = loaded(&text);
        let wrong = doubts(&read);
        assert!(wrong.is_empty(), "{}: {wrong:?}\n{text}", file.display());
        assert!(read.topology.is_some(), "{}", file.display());
        let formatted = format_text("topology.kdl", &text, false);
        assert_eq!(formatted.files[0].after.as_deref(), Some(text.as_str()));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn what_is_set_aside_is_proposed_with_the_reason_and_the_rest_keeps_its_names() {
    let (_, mut found) = cases()
        .into_iter()
        .find(|(file, _)| file.ends_with("homelab.kdl"))
        .expect("the case is there");
    let before = loaded(&found.text()).topology.expect("it is valid");
    let primary = Name::new("primary").expect("a name");
    assert!(before.datastores.contains_key(&primary));
    let reason = "its owner would change".to_owned();
    found
        .aside
        .insert(Address::new("datastore", &primary), reason);
    let text = found.text();
    let after = loaded(&text).topology.expect("it is valid");
    assert!(text.contains("// datastore.primary is not declared: its owner would change"));
    let mut kept: Vec<Name> = after.datastores.keys().cloned().collect();
    kept.push(primary);
    kept.sort();
    assert!(kept.iter().eq(before.datastores.keys()));
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-c]{1,3}",
        1 => "\\PC{0,40}",
        1 => any::<String>(),
        1 => Just("x\u{1b}[2J\n}\" \\ { // \u{202e} /- ".to_owned()),
        1 => "y{200}",
    ]
}

fn path() -> impl Strategy<Value = String> {
    prop_oneof![4 => word().prop_map(|word| format!("/{word}")), 1 => word()]
}

fn export() -> impl Strategy<Value = Export> {
    let of = prop_oneof![
        Just(SquashOf::Nobody),
        Just(SquashOf::Root),
        Just(SquashOf::All)
    ];
    let numbers = prop_oneof![Just((65_534, 65_534)), any::<(u32, u32)>()];
    (
        path(),
        prop_oneof![Just("*".to_owned()), word()],
        of,
        numbers,
        any::<bool>(),
    )
        .prop_map(|(path, clients, of, (uid, gid), read_only)| Export {
            path,
            clients,
            squashing: Squashing { of, uid, gid },
            read_only,
            subtree_check: false,
            security: Vec::new(),
        })
}

fn folder() -> impl Strategy<Value = FoundFolder> {
    let numbers = prop_oneof![Just((34, 34)), Just((0, 0)), any::<(u32, u32)>()];
    let marker = proptest::option::of((word(), word(), word()));
    (path(), numbers, any::<u32>(), marker).prop_map(|(path, (uid, gid), mode, marker)| {
        FoundFolder {
            path,
            uid,
            gid,
            mode,
            marker: marker.map(|(id, home, domain)| RepositoryMarker {
                format: 1,
                id,
                home,
                domain,
            }),
            managed: None,
        }
    })
}

fn filesystem() -> impl Strategy<Value = Filesystem> {
    (path(), word(), any::<u64>(), any::<bool>()).prop_map(|(target, source, free, remote)| {
        Filesystem {
            mount: MountFacts {
                target,
                source,
                fstype: if remote { "nfs4" } else { "ext4" }.to_owned(),
                device: free.to_string(),
                read_only: false,
                smb: None,
            },
            space: Some(Space {
                total: ByteSize(free),
                free: ByteSize(free),
                inodes_total: 0,
                inodes_free: 0,
            }),
        }
    })
}

fn guest() -> impl Strategy<Value = Guest> {
    (
        any::<u32>(),
        any::<bool>(),
        proptest::option::of(word()),
        any::<bool>(),
        proptest::collection::vec(word(), 0..2),
    )
        .prop_map(|(id, is_container, name, unprivileged, idmap)| Guest {
            id,
            is_container,
            name,
            disks: Vec::new(),
            unprivileged,
            idmap,
        })
}

fn facts() -> impl Strategy<Value = NodeFacts> {
    use proptest::collection::vec;
    let discovered = (
        vec(filesystem(), 0..4),
        vec(folder(), 0..5),
        vec(word(), 0..3),
    );
    let volumes = vec((word(), word(), any::<bool>()), 0..3);
    let datasets = vec((word(), proptest::option::of(path())), 0..3);
    let pve = proptest::option::of(vec(guest(), 0..3));
    (
        word(),
        vec(export(), 0..4),
        discovered,
        volumes,
        datasets,
        pve,
        any::<Option<(u32, u32)>>(),
    )
        .prop_map(
            |(
                hostname,
                exports,
                (filesystems, folders, tools),
                volumes,
                datasets,
                guests,
                backup,
            )| NodeFacts {
                os: Some(hostname.clone()),
                hostname,
                users: backup
                    .map(|(uid, gid)| {
                        (
                            "backup".to_owned(),
                            UserFacts {
                                uid,
                                gid,
                                user: None,
                            },
                        )
                    })
                    .into_iter()
                    .collect(),
                nfs: Some(NfsFacts {
                    exports,
                    ..NfsFacts::default()
                }),
                discovered: Some(Discovered {
                    filesystems,
                    folders,
                    tools,
                }),
                lvm: Some(LvmFacts {
                    volumes: volumes
                        .into_iter()
                        .map(|(group, name, is_pool)| LogicalVolume {
                            group,
                            name,
                            size: ByteSize(1 << 30),
                            kind: if is_pool {
                                VolumeKind::Pool {
                                    data: Percent(1),
                                    metadata: Percent(1),
                                    fails_at_once: false,
                                    health: None,
                                }
                            } else {
                                VolumeKind::Thick
                            },
                        })
                        .collect(),
                    ..LvmFacts::default()
                }),
                zfs: Some(ZfsFacts {
                    datasets: datasets
                        .into_iter()
                        .map(|(name, mountpoint)| ZfsDataset {
                            name,
                            mountpoint,
                            ..ZfsDataset::default()
                        })
                        .collect(),
                }),
                pve: guests.map(|guests| PveFacts {
                    guests,
                    ..PveFacts::default()
                }),
                ..plain()
            },
        )
}

fn hosts() -> impl Strategy<Value = Vec<Host>> {
    let state = prop_oneof![
        4 => facts().prop_map(|facts| NodeState::Reached(Box::new(facts))),
        1 => word().prop_map(|message| unreachable(&message)),
    ];
    proptest::collection::vec(state, 1..4).prop_map(|states| {
        let hosts = states.into_iter().enumerate();
        hosts
            .map(|(number, state)| Host {
                way: match number {
                    0 => Way::Local,
                    _ => Way::Ssh {
                        login: format!("root@10.0.0.{number}"),
                        port: None,
                        key: None,
                    },
                },
                state,
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_hosts_say_gives_a_valid_topology_in_form(hosts in hosts()) {
        let found = found(hosts);
        let text = found.text();
        let read = loaded(&text);
        let mistakes = doubts(&read);
        prop_assert!(mistakes.is_empty(), "{:?}\n{}", mistakes, text);
        let topology = read.topology.expect("without a mistake there is one");
        let reached = found.hosts.iter().filter(|host| matches!(host.state, NodeState::Reached(_)));
        prop_assert_eq!(topology.nodes.len(), reached.count());
        prop_assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
        let formatted = format_text("topology.kdl", &text, false);
        prop_assert_eq!(formatted.files[0].after.as_deref(), Some(text.as_str()));
    }
}
