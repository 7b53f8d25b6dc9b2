//! Who may write to a datastore on a share, as it is foretold from what was seen.

use bkpctl::cli::render::Style;
use bkpctl::cli::render::access::render_access;
use bkpctl::config::load;
use bkpctl::model::idmap::IdMap;
use bkpctl::model::observed::{
    Component, ComponentKind, ContainerFacts, MountFacts, NfsFacts, NodeFacts, NodeState, Outcome,
    PathFacts,
};
use bkpctl::model::{Export, Name, Observed, Timestamp, Topology};
use bkpctl::plan::chain::{Chain, Role, Verdict, chains};
use bkpctl::plan::plan;

use crate::support::text::Text;

const TOPOLOGY: &str = r#"
topology "lab" id="LAB1"
service-user "backup" uid=34 gid=34
node "pve" { ssh "root@10.0.0.12" }
node "pbs" { ssh "root@10.0.0.15"; container 105 on="pve" kind="privileged" }
node "nas" { ssh "root@10.0.0.20" }
share "pbs" on="nas" { export "/mnt/tank/pbs" }
key "lab" { file "lab.key" }
datastore "primary" {
    place "pbs" path="/mnt/datastore/primary" { mount share="pbs" on="pve" bind="/mnt/pbs" }
    owner "backup" mode="0750"
    keep daily=7
}
"#;

fn topology() -> Topology {
    topology_of(TOPOLOGY)
}

/// Reads a topology of one file that has no mistakes.
pub(crate) fn topology_of(text: &str) -> Topology {
    let loaded = load("topology.kdl", "/srv/lab", &mut Text(text.to_owned()));
    let complaints: Vec<_> = loaded.diagnostics.iter().map(|d| &d.message).collect();
    loaded.topology.unwrap_or_else(|| panic!("{complaints:?}"))
}

/// What is on the server and in the container; the right state unless a case says otherwise.
#[derive(Clone)]
struct Scene {
    exports: Vec<&'static str>,
    map: IdMap,
    folder: (u32, u32, u32),
    /// The mode of the folder above the exported one, on the server.
    above: u32,
    /// The mode of the folder above the mount, where the writer is.
    way: u32,
    read_only: bool,
}

impl Default for Scene {
    fn default() -> Self {
        Self {
            exports: vec!["10.0.0.0/24(rw,root_squash,no_subtree_check)"],
            map: IdMap::identity(),
            folder: (34, 34, 0o750),
            above: 0o755,
            way: 0o755,
            read_only: false,
        }
    }
}

/// Returns states of a share with its server and clients, good and bad ones.
pub(crate) fn states() -> Vec<(Topology, Observed)> {
    let of = |scene: Scene| (topology(), scene.observed());
    let with = |exports: &[&'static str]| Scene {
        exports: exports.to_vec(),
        ..Scene::default()
    };
    let mut all: Vec<_> = [
        &["10.0.0.0/24(rw,root_squash,no_subtree_check)"][..],
        &["10.0.1.0/24(rw,root_squash,no_subtree_check)"],
        &["10.0.0.12(rw,no_root_squash)", "10.0.0.0/8(ro,all_squash)"],
        &[
            "*.example.org(rw)",
            "*(ro,all_squash,anonuid=34,anongid=34)",
        ],
        &[],
    ]
    .map(|exports| of(with(exports)))
    .into();
    all.push(of(Scene {
        map: IdMap::unprivileged(),
        ..Scene::default()
    }));
    all.push(of(Scene {
        folder: (0, 0, 0o755),
        above: 0o700,
        ..Scene::default()
    }));
    all
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn folder(path: &str, (uid, gid, mode): (u32, u32, u32)) -> Component {
    Component {
        path: path.to_owned(),
        kind: ComponentKind::Directory,
        uid,
        gid,
        mode,
        acl: None,
    }
}

impl Scene {
    fn observed(&self) -> Observed {
        let mut observed = Observed::default();
        let mut see = |node: &str, facts: NodeFacts| {
            let state = NodeState::Reached(Box::new(facts));
            observed.nodes.insert(name(node), state);
        };
        let root = |mut facts: NodeFacts| {
            "root".clone_into(&mut facts.login.user);
            facts.login.privileged = true;
            facts
        };
        let container = ContainerFacts {
            running: true,
            map: self.map.clone(),
            may_mount_nfs: false,
            asked_map: None,
        };
        see(
            "pve",
            root(NodeFacts {
                addresses: vec!["10.0.0.12".parse().expect("an address")],
                containers: [(105, container)].into(),
                ..NodeFacts::default()
            }),
        );
        let mounted = PathFacts {
            outcome: Outcome::Ok,
            components: vec![
                folder("/", (0, 0, 0o755)),
                folder("/mnt", (0, 0, 0o755)),
                folder("/mnt/datastore", (0, 0, self.way)),
                // What a client shows of a share's owner may be old.
                folder("/mnt/datastore/primary", (0, 0, 0o700)),
            ],
            mount: None,
            space: None,
            empty: None,
        };
        see(
            "pbs",
            root(NodeFacts {
                paths: [("/mnt/datastore/primary".to_owned(), mounted)].into(),
                ..NodeFacts::default()
            }),
        );
        let exports = self.exports.iter();
        let export = |text: &&str| Export::read("/mnt/tank/pbs", text).expect("an export");
        let path = PathFacts {
            outcome: Outcome::Ok,
            components: vec![
                folder("/", (0, 0, 0o755)),
                folder("/mnt", (0, 0, 0o755)),
                folder("/mnt/tank", (0, 0, self.above)),
                folder("/mnt/tank/pbs", self.folder),
            ],
            mount: Some(MountFacts {
                target: "/mnt/tank".to_owned(),
                source: "tank".to_owned(),
                fstype: "zfs".to_owned(),
                device: "0:40".to_owned(),
                read_only: self.read_only,
                smb: None,
            }),
            space: None,
            empty: Some(true),
        };
        see(
            "nas",
            root(NodeFacts {
                nfs: Some(NfsFacts {
                    exports: exports.map(export).collect(),
                    manages_groups: Some(true),
                    ..NfsFacts::default()
                }),
                paths: [("/mnt/tank/pbs".to_owned(), path)].into(),
                ..NodeFacts::default()
            }),
        );
        observed
    }

    fn chains(&self) -> Vec<Chain> {
        chains(&topology(), &self.observed(), "primary")
    }
}

/// Returns `ok`, `?` or the code of a denial.
fn verdict(chains: &[Chain], role: Role) -> &'static str {
    let chain = chains.iter().find(|chain| chain.role == role);
    match &chain.expect("both are followed").verdict {
        Verdict::MayWrite => "ok",
        Verdict::Unknown(_) => "?",
        Verdict::Denied(denial) => denial.code,
    }
}

#[test]
fn each_cause_is_foretold_for_both_writers() {
    let punched = ["u 0 100000 34", "u 34 34 1", "g 0 100000 34", "g 34 34 1"];
    let narrow = ["u 0 100000 30", "g 0 100000 30"];
    let map = |lines: &[&'static str]| IdMap::from_lxc(lines.iter().copied()).expect("a map");
    let right = Scene::default();
    let exported = |text: &'static str| Scene {
        exports: vec![text],
        ..right.clone()
    };
    let mapped = |map: IdMap| Scene {
        map,
        ..right.clone()
    };
    let owned = |uid, mode| Scene {
        folder: (uid, uid, mode),
        ..right.clone()
    };
    for (what, scene, making, writing) in [
        ("all is right", right.clone(), "BK123", "ok"),
        (
            "the dataset belongs to root",
            owned(0, 0o755),
            "BK123",
            "BK120",
        ),
        ("open to all", owned(0, 0o777), "ok", "ok"),
        (
            // An NFS server gives out a handle of the exported folder; nobody walks above it.
            "a folder above the export is closed",
            Scene {
                above: 0o700,
                ..right.clone()
            },
            "BK123",
            "ok",
        ),
        (
            "a folder above the mount is closed",
            Scene {
                way: 0o700,
                ..right.clone()
            },
            "BK123",
            "BK106",
        ),
        (
            "unprivileged",
            mapped(IdMap::unprivileged()),
            "BK123",
            "BK120",
        ),
        ("punched through", mapped(map(&punched)), "BK123", "ok"),
        ("not mapped at all", mapped(map(&narrow)), "BK123", "BK124"),
        ("root is root", exported("*(rw,no_root_squash)"), "ok", "ok"),
        (
            "all are the owner",
            exported("*(rw,all_squash,anonuid=34,anongid=34)"),
            "ok",
            "ok",
        ),
        (
            "all are nobody",
            exported("*(rw,all_squash)"),
            "BK123",
            "BK120",
        ),
        ("to others", exported("10.0.1.0/24(rw)"), "BK121", "BK121"),
        ("read-only", exported("*(ro)"), "BK122", "BK122"),
        (
            "not at all",
            Scene {
                exports: vec![],
                ..right.clone()
            },
            "BK121",
            "BK121",
        ),
        (
            "a damaged disk",
            Scene {
                read_only: true,
                ..right.clone()
            },
            "BK110",
            "BK110",
        ),
        (
            "the closest export counts",
            Scene {
                exports: vec!["*(ro)", "10.0.0.12(rw,no_root_squash)"],
                ..right.clone()
            },
            "ok",
            "ok",
        ),
    ] {
        let chains = scene.chains();
        let found = (
            verdict(&chains, Role::Making),
            verdict(&chains, Role::Writing),
        );
        assert_eq!(found, (making, writing), "{what}: {chains:#?}");
    }
}

#[test]
fn what_was_not_seen_is_not_judged() {
    let mut observed = Scene::default().observed();
    observed.nodes.remove("nas");
    let chains = chains(&topology(), &observed, "primary");
    assert_eq!(verdict(&chains, Role::Writing), "?");
}

#[test]
fn the_plan_says_error_13_beforehand_and_how_the_server_comes_to_it() {
    let scene = Scene {
        map: IdMap::unprivileged(),
        ..Scene::default()
    };
    let plan = plan(
        &topology(),
        &scene.observed(),
        Timestamp(1_700_000_000_000_000_000),
    );
    let finding = plan.findings.iter().find(|finding| finding.code == "BK120");
    let finding = finding.expect("it is foretold");
    assert!(
        finding.message.contains("os error 13"),
        "{}",
        finding.message
    );
    let because = finding.because.join("\n");
    for words in [
        "backup 34:34",
        "outside container 105: backup 100034:100034",
        "root_squash",
    ] {
        assert!(because.contains(words), "{words}: {because}");
    }
    assert_eq!(
        finding.fix.as_deref(),
        Some("on nas, as root: chown 100034:100034 /mnt/tank/pbs")
    );
}

#[test]
fn the_way_is_drawn_hop_by_hop() {
    let style = Style {
        color: false,
        width: 100,
        detail: false,
        took: None,
        next: false,
    };
    let scene = Scene {
        map: IdMap::unprivileged(),
        ..Scene::default()
    };
    let drawn = render_access("primary", &scene.chains(), &style);
    let expected = include_str!("../cases/access/unprivileged.txt");
    assert_eq!(drawn, expected, "\n{drawn}");
}

#[test]
fn a_mount_over_smb_is_mended_by_its_options_and_not_by_a_chown() {
    let drawn = |case: &str| {
        let cases = crate::plan_cases::cases();
        let case = cases.into_iter().find(|one| one.name == case);
        let case = case.expect("the case is there");
        let chains = chains(&case.topology, &case.observed, "third");
        render_access("third", &chains, &crate::plan_cases::style(false))
    };
    let owned = drawn("smb-owned-by-root");
    assert!(owned.contains("[BK108]"), "{owned}");
    assert!(
        owned.contains("fix: unmount //nas/backup and mount it with uid=34,gid=34,dir_mode=0750"),
        "{owned}"
    );
    let unchecked = drawn("smb-unchecked");
    assert!(!unchecked.contains("BK108"), "{unchecked}");
    assert!(
        unchecked.contains("leaves every judgement to its server"),
        "{unchecked}"
    );
}
