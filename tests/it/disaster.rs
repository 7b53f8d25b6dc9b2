//! `bkpctl simulate`: what a loss leaves, and what it takes to be whole again.

use std::collections::BTreeSet;
use std::path::Path;

use bkpctl::cli::render::render_disaster;
use bkpctl::model::{ByteSize, Name, Topology};
use bkpctl::plan::disaster::{Disaster, Fate, Loss, RecoveryStep, disaster};
use serde_json::json;

use crate::plan_cases;
use crate::support::sandbox::Sandbox;

const RATE: ByteSize = ByteSize(110 << 20);

/// `tests/cases/disaster/NAME.txt` is what a person sees; `BKPCTL_UPDATE=1` writes them anew.
#[test]
fn each_loss_says_what_is_left_and_what_to_do() {
    let (topology, observed) = plan_cases::base();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/disaster");
    let mut problems = Vec::new();
    for (file, lost, with_facts) in [
        ("nas", "nas", true),
        ("nas-as-declared", "nas", false),
        ("web", "web", true),
        ("here", "here", true),
        ("home", "site=home", true),
    ] {
        let lost: Loss = lost.parse().expect("a loss");
        let facts = with_facts.then(|| (&observed, plan_cases::now()));
        let disaster = disaster(&topology, facts, &lost).expect("it is declared");
        let text = render_disaster(&disaster, &topology, RATE, &plan_cases::style(false));
        problems.extend(plan_cases::expect(&folder.join(file).with_extension("txt"), &text).err());
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// What can't be restored although copies are left is told apart, with what waits for what.
#[test]
fn a_restore_that_waits_for_itself_is_told_with_its_whole_way() {
    let declared = json!({"file": "topology.kdl", "line": 30});
    let home = json!({"on": "here", "declared": declared,
        "content": {"paths": {"paths": ["/root"], "exclude": [], "one_file_system": false}}});
    let nightly = json!({"name": "more", "declared": declared,
        "work": {"backup": {"sources": ["home"], "to": ["primary"]}}, "at": "03:00"});
    let with_home = |more: &serde_json::Value| {
        let mut document = serde_json::to_value(plan_cases::base().0).expect("a document");
        let jobs = document["phases"][0]["jobs"].as_array_mut().expect("jobs");
        jobs.push(nightly.clone());
        plan_cases::merge(&mut document, &json!({"sources": {"home": home}}));
        plan_cases::merge(&mut document, more);
        serde_json::from_value::<Topology>(document).expect("a topology")
    };
    // The key of a demonstration has no sheet, and its file is in what it is to decrypt.
    let key = with_home(&json!({"keys": {"lab": {"create": true}}}));
    // The server is a container, and is copied only into what it serves.
    let server = with_home(&json!({
        "nodes": {"attic": {"container": {"id": 105, "on": "web", "privileged": true, "idmap": []}}},
        "shares": {
            "pool": {"on": "nas", "export": "/pool", "squash": "root", "declared": declared},
        },
        "datastores": {
            "primary": {"kind": {"directory": {"places": [
                {"node": "attic", "path": "/data/primary", "mount": {"what": {"share": "pool"}}},
            ]}}},
        },
        "sources": {"home": {"on": "attic"}},
        "phases": [{"name": "baseline", "declared": declared, "jobs": [nightly]}],
    }));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/disaster");
    let mut problems = Vec::new();
    for (file, topology, lost) in [
        ("key-in-a-circle", &key, "here"),
        ("server-in-a-circle", &server, "web"),
    ] {
        let disaster = lose(topology, lost);
        assert_eq!(disaster.cycles.len(), 1, "{:?}", disaster.cycles);
        let text = render_disaster(&disaster, topology, RATE, &plan_cases::style(false));
        problems.extend(plan_cases::expect(&folder.join(file).with_extension("txt"), &text).err());
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    // One copy that is sealed for another key, with a sheet, breaks the circle.
    let other = json!({"lab": {"create": true},
        "safe": {"file": "~/safe.key", "create": false, "declared": declared}});
    let broken = with_home(&json!({"keys": other, "datastores": {"second": {"key": "safe"}}}));
    let disaster = lose(&broken, "here");
    assert_eq!(disaster.cycles, []);
    let fate = disaster.sources.iter().find(|fate| fate.source == "home");
    assert_eq!(fate.expect("it is a source").fate, Fate::ToRestore);
}

fn names(topology: &Topology) -> BTreeSet<&Name> {
    topology
        .sources
        .keys()
        .chain(topology.guests.keys())
        .collect()
}

#[test]
fn every_copy_is_lost_or_left_and_a_larger_loss_is_never_milder() {
    let mut tried = 0;
    for case in plan_cases::cases() {
        let topology = &case.topology;
        let of = |lost: &Loss| disaster(topology, Some((&case.observed, case.now)), lost);
        let whole = of(&"site=home".parse().expect("a domain"));
        for node in topology.nodes.keys() {
            let Some(small) = of(&Loss::Node(node.clone())) else {
                continue;
            };
            tried += 1;
            let fates: BTreeSet<_> = small.sources.iter().map(|fate| &fate.source).collect();
            assert_eq!(fates, names(topology));
            for fate in &small.sources {
                let is_lost = |copy: &&bkpctl::plan::disaster::CopyLeft| {
                    small.datastores.contains(&copy.datastore)
                };
                assert!(fate.lost.iter().all(|copy| is_lost(&copy)), "{fate:?}");
                assert!(!fate.left.iter().any(|copy| is_lost(&copy)), "{fate:?}");
                let restored = small.steps.iter().any(|step| {
                    matches!(step, RecoveryStep::Restore { source, .. } if *source == fate.source)
                });
                assert_eq!(restored, fate.fate == Fate::ToRestore, "{fate:?}");
                let Some(whole) = &whole else { continue };
                let larger = whole
                    .sources
                    .iter()
                    .find(|other| other.source == fate.source);
                let larger = larger.expect("the same sources");
                if whole.nodes.contains(node) {
                    assert!(larger.fate <= fate.fate, "{node}: {fate:?}, {larger:?}");
                }
                let copies =
                    |fate: &bkpctl::plan::disaster::SourceFate| fate.lost.len() + fate.left.len();
                assert_eq!(copies(fate), copies(larger));
            }
        }
    }
    assert!(tried > 60, "{tried}");
}

fn patched(patch: &serde_json::Value) -> Topology {
    let (base, _) = plan_cases::base();
    let mut document = serde_json::to_value(base).expect("a document");
    plan_cases::merge(&mut document, patch);
    serde_json::from_value(document).expect("a topology")
}

fn lose(topology: &Topology, lost: &str) -> Disaster {
    let lost = lost.parse().expect("a loss");
    disaster(topology, None, &lost).expect("it is declared")
}

#[test]
fn a_lost_host_takes_its_containers_and_a_lost_server_what_is_mounted_from_it() {
    let declared = json!({"file": "t", "line": 1});
    let topology = patched(&json!({
        "nodes": {
            "attic": {"container": {"id": 105, "on": "web", "privileged": true, "idmap": []}},
        },
        "shares": {
            "pool": {"on": "nas", "export": "/pool", "squash": "root", "declared": declared},
        },
        "datastores": {
            "second": {"kind": {"directory": {"places": [
                {"node": "attic", "path": "/data/second", "mount": {"what": {"share": "pool"}}},
            ]}}},
        },
    }));
    let host = lose(&topology, "web");
    let text = |names: &[Name]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(text(&host.nodes), ["web", "attic"]);
    // Its files are on the server, whoever mounts them.
    assert_eq!(text(&host.datastores), [""; 0]);
    let server = lose(&topology, "nas");
    assert_eq!(text(&server.nodes), ["nas"]);
    assert_eq!(text(&server.datastores), ["primary", "second"]);
    assert!(
        server
            .sources
            .iter()
            .all(|fate| fate.fate == Fate::Unprotected)
    );
}

#[test]
fn datastores_are_filled_in_the_order_in_which_they_feed_each_other() {
    let filled = |lost: &Disaster| -> Vec<_> {
        let steps = lost.steps.iter().filter_map(|step| match step {
            RecoveryStep::Refill { datastore, .. } => Some(datastore.to_string()),
            _ => None,
        });
        steps.collect()
    };
    let elsewhere = json!({"nodes": {"web": {"domain": {"site": "office"}}}});
    let home = lose(&patched(&elsewhere), "site=home");
    assert_eq!(filled(&home), ["primary", "second"]);
    assert!(
        home.sources
            .iter()
            .all(|fate| fate.fate == Fate::Unprotected)
    );
    let names: Vec<_> = home.jobs.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["nightly", "copy", "proof"]);
    // What is gone fills nothing.
    let all = lose(&patched(&json!({})), "site=home");
    assert!(all.sources.iter().all(|fate| fate.fate == Fate::Gone));
    assert_eq!(filled(&all), [""; 0]);
}

#[test]
fn the_command_needs_no_machine_and_knows_what_is_declared() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "topology.kdl",
        r#"
topology "small" id="small00001"
node "here" { local }
node "nas" { ssh "root@192.0.2.1"; domain site="home" }
key "demo" { file "demo.key"; create }
datastore "first" { place "nas" path="/srv/first"; keep daily=7 }
source "etc" on="here" { path "/etc" }
phase "baseline" { backup "nightly" { source "etc"; to "first" } }
"#,
    );
    sandbox
        .run(&["simulate", "--lose", "nas"])
        .exits(0)
        .says("If nas is lost")
        .says("without a copy");
    let shown = sandbox
        .run(&["simulate", "--lose", "site=home", "--json"])
        .exits(0)
        .stdout;
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("a document");
    assert_eq!(shown["sources"][0]["fate"], "unprotected");
    sandbox
        .run(&["simulate", "--lose", "attic"])
        .exits(1)
        .says("nothing in small is attic")
        .says("site=home");
    for wrong in ["=home", "site=", "no name"] {
        sandbox
            .run(&["simulate", "--lose", wrong])
            .says("neither a node's name nor");
    }
}
