//! `bkpctl diff`: what a change of the files comes to, told from git alone.

use bkpctl::model::Topology;
use bkpctl::plan::difference::{ChangeKind, difference};
use serde_json::{Value, json};

use crate::plan_cases;
use crate::support::sandbox::{Ran, Sandbox};

const TOPOLOGY: &str = r#"
topology "small" id="small00001"
node "here" { local }
include "nodes/*.kdl"
key "demo" { file "demo.key"; create }
datastore "first" { place "here" path="/srv/first"; keep daily=7 }
source "etc" on="here" { path "/etc" }
phase "baseline" { backup "nightly" { source "etc"; to "first"; at "02:00" } }
"#;

/// Is a repository with a topology and one file that it includes.
fn repository() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("ours/topology.kdl", TOPOLOGY);
    sandbox.write(
        "ours/nodes/web.kdl",
        r#"node "web" { ssh "root@192.0.2.1" }"#,
    );
    sandbox.git(&["init", "--quiet", "--initial-branch=main"]);
    commit(&sandbox);
    sandbox
}

fn commit(sandbox: &Sandbox) -> String {
    sandbox.git(&["add", "ours"]);
    sandbox.git(&["commit", "--quiet", "--message", "a state"]);
    sandbox.git(&["rev-parse", "HEAD"])
}

fn diff(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    sandbox.run(&[&["diff"], arguments].concat())
}

fn edit(sandbox: &Sandbox, from: &str, to: &str) {
    let file = sandbox.join("ours/topology.kdl");
    let text = std::fs::read_to_string(&file).expect("a topology");
    assert!(text.contains(from), "{from}");
    std::fs::write(file, text.replace(from, to)).expect("a topology");
}

#[test]
fn commits_and_files_are_compared_by_what_they_declare() {
    let sandbox = repository();
    diff(&sandbox, &["HEAD", "ours"])
        .exits(0)
        .says("nothing differs");
    // Another order, a comment and another file are no difference.
    edit(&sandbox, "node \"here\" { local }\n", "");
    sandbox.write("ours/nodes/web.kdl", "");
    sandbox.write(
        "ours/nodes/all.kdl",
        "// moved\nnode \"web\" { ssh \"root@192.0.2.1\" }\nnode \"here\" { local }\n",
    );
    diff(&sandbox, &["HEAD", "ours"])
        .exits(0)
        .says("nothing differs");
    let base = commit(&sandbox);
    edit(&sandbox, "keep daily=7", "keep daily=3");
    diff(&sandbox, &["HEAD", "ours", "--detailed-exitcode"])
        .exits(2)
        .says("! datastore.first  keeps less: daily 7 → 3")
        .says("keep daily  7 → 3")
        .says("1 changed");
    let changed = commit(&sandbox);
    diff(&sandbox, &["HEAD", "ours"])
        .exits(0)
        .says("nothing differs");
    let range = format!("{base}..{changed}");
    let shown = diff(&sandbox, &[&range, "ours", "--json"]).exits(0).stdout;
    let shown: Value = serde_json::from_str(&shown).expect("a document");
    assert_eq!(shown["changes"][0]["address"], "datastore.first");
    diff(&sandbox, &["main~1", "ours"])
        .exits(0)
        .says("keep daily");
    let md = diff(&sandbox, &["HEAD~1..", "ours", "--md"])
        .exits(0)
        .stdout;
    assert!(
        md.starts_with("<!-- bkpctl diff small -->\n### ⚠️ `small`: 1 changed"),
        "{md}"
    );
    assert!(
        md.contains("| ✏️ `datastore.first` | keep daily | 7 | 3 |"),
        "{md}"
    );
}

#[test]
fn three_dots_leave_out_what_the_other_side_did_meanwhile() {
    let sandbox = repository();
    sandbox.git(&["checkout", "--quiet", "-b", "topic"]);
    edit(&sandbox, "path \"/etc\"", "path \"/etc\" \"/srv\"");
    commit(&sandbox);
    sandbox.git(&["checkout", "--quiet", "main"]);
    edit(&sandbox, "keep daily=7", "keep daily=9");
    commit(&sandbox);
    let two = diff(&sandbox, &["main..topic", "ours"]).exits(0).stdout;
    assert!(two.contains("keep daily"), "{two}");
    let three = diff(&sandbox, &["main...topic", "ours"]).exits(0).stdout;
    assert!(three.contains("/etc → /etc, /srv"), "{three}");
    assert!(!three.contains("keep daily"), "{three}");
}

#[test]
fn a_topology_that_is_new_is_all_new_and_one_that_is_wrong_is_not_compared() {
    let sandbox = repository();
    let first = sandbox.git(&["rev-parse", "HEAD"]);
    sandbox.git(&["rm", "-r", "--quiet", "ours"]);
    sandbox.git(&["commit", "--quiet", "--message", "gone"]);
    sandbox.git(&["checkout", "--quiet", &first, "--", "ours"]);
    diff(&sandbox, &["HEAD", "ours"])
        .exits(0)
        .says("+ datastore.first")
        .says("8 added");
    commit(&sandbox);
    edit(&sandbox, "to \"first\"", "to \"frist\"");
    diff(&sandbox, &["HEAD", "ours"])
        .exits(1)
        .says("after the change has mistakes")
        .says("frist");
}

#[test]
fn what_a_revision_says_is_no_option_and_links_of_a_commit_are_not_followed() {
    let sandbox = repository();
    for revision in [
        "--output=made",
        "-h",
        "main:ours",
        "no\u{1b}such",
        "",
        "main..-x",
    ] {
        // clap wants to know that no option follows.
        let ran = diff(&sandbox, &["--", revision, "ours"])
            .exits(1)
            .says("there is no commit");
        assert!(!ran.stderr.contains('\u{1b}'), "{}", ran.stderr);
        assert!(!sandbox.join("made").exists());
    }
    sandbox.write("secret.kdl", "key \"other\" { file \"x\" }");
    std::os::unix::fs::symlink("../../secret.kdl", sandbox.join("ours/nodes/link.kdl"))
        .expect("a link");
    edit(
        &sandbox,
        "include \"nodes/*.kdl\"",
        "include \"nodes/link.kdl\"",
    );
    commit(&sandbox);
    diff(&sandbox, &["HEAD..HEAD", "ours"])
        .exits(1)
        .says("links of a commit are not followed");
}

#[test]
fn outside_of_a_repository_the_error_says_what_is_missing() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "topology.kdl",
        TOPOLOGY.replace("include \"nodes/*.kdl\"\n", ""),
    );
    diff(&sandbox, &[])
        .exits(1)
        .says("not a git repository")
        .says("bkpctl diff main..HEAD");
}

#[test]
fn every_difference_of_a_topology_shows_and_none_where_there_is_none() {
    let (base, _) = plan_cases::base();
    assert!(difference(Some(&base), &base).is_empty());
    let all = difference(None, &base);
    assert!(
        all.changes
            .iter()
            .all(|change| change.kind == ChangeKind::Added)
    );
    assert!(all.hazards.is_empty());
    // A new value in any place of the document, other than where things were declared.
    let document = serde_json::to_value(&base).expect("a document");
    let mut tried = 0;
    each_scalar(&document, &mut Vec::new(), &mut |path| {
        let last = path.last().expect("a path");
        if path
            .iter()
            .any(|part| part == "declared" || part == "folder")
        {
            return;
        }
        let mut changed = document.clone();
        let value = at(&mut changed, path);
        *value = match &value {
            Value::Number(number) => json!(number.as_u64().expect("a natural number") + 1),
            Value::Bool(bool) => json!(!bool),
            // Names of what is declared, and calendars, take no other text.
            Value::String(text) if last == "at" => json!(text.replace('2', "3")),
            Value::String(text) => json!(format!("{text}x")),
            other => (*other).clone(),
        };
        let Ok(changed) = serde_json::from_value::<Topology>(changed) else {
            return;
        };
        tried += 1;
        let difference = difference(Some(&base), &changed);
        assert!(!difference.is_empty() || changed == base, "{path:?}");
    });
    assert!(tried > 60, "{tried}");
}

fn each_scalar(value: &Value, path: &mut Vec<String>, found: &mut dyn FnMut(&[String])) {
    let inside: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), value))
            .collect(),
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.map(|(at, item)| (at.to_string(), item)).collect()
        }
        Value::Null => return,
        _ => return found(path),
    };
    for (name, value) in inside {
        path.push(name);
        each_scalar(value, path, found);
        path.pop();
    }
}

fn at<'a>(document: &'a mut Value, path: &[String]) -> &'a mut Value {
    path.iter().fold(document, |value, part| match value {
        Value::Array(items) => &mut items[part.parse::<usize>().expect("a number")],
        value => &mut value[part],
    })
}

#[test]
fn what_can_lose_copies_run_code_or_open_a_door_is_named_first() {
    // What is merged into the topology, and what a reviewer is told.
    let cases: [(Value, &[&str]); 22] = [
        (
            json!({"datastores": {"primary": {"reserve": {"percent": 20}}}}),
            &[],
        ),
        (
            json!({"datastores": {"primary": {"keep": {"daily": 8}}}}),
            &[],
        ),
        (
            json!({"datastores": {"second": {"keep": {"daily": 7, "weekly": 4}}}}),
            &["datastore.second: keeps less: daily 30 → 7"],
        ),
        (
            json!({"datastores": {"primary": {"owner": null}}}),
            &["datastore.primary: another owner: existing files are given away"],
        ),
        (
            json!({"datastores": {"primary": {"kind": {"directory": {"places": [{"node": "attic", "path": "/p"}]}}}}}),
            &["datastore.primary: in another place, which starts without snapshots"],
        ),
        (
            json!({"datastores": {"second": null}}),
            &["datastore.second: gone: its snapshots stay, and no new ones come"],
        ),
        (
            json!({"keys": {"lab": {"file": "other.key"}}}),
            &["key.lab: another file: what the old key sealed may not open"],
        ),
        (
            json!({"sources": {"www": null}}),
            &["source.www: gone: not protected any more"],
        ),
        (
            json!({"sources": {"www": {"on": "nas"}}}),
            &["source.www: read from another machine under the same name"],
        ),
        (
            json!({"sources": {"www": {"content": {"paths": {"paths": ["/srv/www/a"], "exclude": ["cache/", "*.log"]}}}}}),
            &[
                "source.www: /srv/www is not copied any more",
                "source.www: leaves *.log out from now on",
            ],
        ),
        (
            json!({"sources": {"db": {"on": "web", "content": {"command": {"argv": ["pg_dump", "app"]}}, "declared": {"file": "t", "line": 1}}}}),
            &["source.db: runs on web: pg_dump app"],
        ),
        (
            json!({"nodes": {"nas": {"reach": {"ssh": {"host": "10.0.0.21"}}}}}),
            &["node.nas: another machine may answer under this name"],
        ),
        (
            json!({"nodes": {"nas": {"reach": {"ssh": {"host_keys": [], "sudo": true}}}}}),
            &[
                "node.nas: other host keys are trusted",
                "node.nas: works as root from now on",
            ],
        ),
        (
            json!({"nodes": {"nas": {"reader": true}}}),
            &["node.nas: may hold a key that reads everything"],
        ),
        (json!({"policy": {"copies": 3, "rpo": 3600}}), &[]),
        (
            json!({"policy": {"copies": null, "rpo": 208_000}}),
            &[
                "topology.homelab: asks for less: copies 2 → 0",
                "topology.homelab: asks for less: rpo 30 h → 2 d",
            ],
        ),
        (
            json!({"policy": {"waivers": [{"rule": "media", "until": "2027-01-01", "reason": "ordered", "declared": {"file": "t", "line": 1}}]}}),
            &["topology.homelab: sets media aside until 2027-01-01: ordered"],
        ),
        (
            json!({"removed": [{"address": "datastore.old", "destroy": true, "declared": {"file": "t", "line": 1}}]}),
            &["datastore.old: may be destroyed: removed { destroy }"],
        ),
        (
            json!({"phases": []}),
            &[
                "copy.etc/primary: no job makes this copy any more",
                "copy.etc/second: no job makes this copy any more",
                "copy.www/primary: no job makes this copy any more",
                "copy.www/second: no job makes this copy any more",
                "drill.proof/etc: no drill proves this any more",
            ],
        ),
        (
            json!({"phases": [{
                "name": "baseline",
                "jobs": [
                    {"name": "nightly", "work": {"backup": {"sources": ["etc"], "to": ["primary"]}}, "at": "02:00", "declared": {"file": "t", "line": 1}},
                    {"name": "copy", "work": {"sync": {"from": "primary", "to": "second"}}, "declared": {"file": "t", "line": 1}},
                    {"name": "proof", "work": {"drill": {"sources": ["etc"], "from": "primary", "every": 604_800, "command": ["check", "--all"]}}, "declared": {"file": "t", "line": 1}},
                ],
                "declared": {"file": "t", "line": 1},
            }]}),
            &[
                "copy.www/primary: no job makes this copy any more",
                "copy.www/second: no job makes this copy any more",
                "job.copy: runs on demand only from now on",
                "job.proof: runs after each restore: check --all",
            ],
        ),
        (
            json!({"id": "01JD4Z9K3U"}),
            &[
                "topology.homelab: another id: markers and snapshots of the old one belong to nobody",
            ],
        ),
        (json!({"users": {"backup": {"uid": 35}}}), &[]),
    ];
    for (patch, wanted) in cases {
        assert_eq!(told(&json!({}), &patch), wanted, "{patch}");
    }
}

/// Returns what a reviewer is told of a change on top of what is merged into the base first.
fn told(before: &Value, change: &Value) -> Vec<String> {
    let (base, _) = plan_cases::base();
    let mut document = serde_json::to_value(&base).expect("a document");
    plan_cases::merge(&mut document, before);
    let old: Topology = serde_json::from_value(document.clone()).expect("a topology");
    plan_cases::merge(&mut document, change);
    let new: Topology = serde_json::from_value(document).expect("a topology");
    let difference = difference(Some(&old), &new);
    assert!(!difference.is_empty(), "{change}");
    let hazards = difference.hazards.iter();
    hazards
        .map(|hazard| format!("{}: {}", hazard.address, hazard.message))
        .collect()
}

#[test]
fn shares_guests_mounts_and_buckets_are_looked_at_as_well() {
    let declared = json!({"file": "t", "line": 1});
    let bucket = |lock: Value| json!({"kind": {"s3": {"endpoint": "https://s3.example.net", "bucket": "lab", "object_lock": lock}}});
    let mounted = |options: &str| {
        json!({"kind": {"directory": {"places": [
            {"node": "nas", "path": "/p", "mount": {"what": {"share": "pool"}, "options": options}},
        ]}}})
    };
    let before = json!({
        "shares": {"pool": {"on": "nas", "export": "/pool", "squash": "root", "declared": declared}},
        "guests": {"lab": {"on": ["web", "nas"], "all": true, "only": [], "except": [], "declared": declared}},
        "datastores": {
            "bucket": {"mode": 448, "key": "lab", "domain": {}, "pbs": false, "declared": declared},
            "second": mounted("hard"),
        },
    });
    let mut before = before;
    plan_cases::merge(
        &mut before["datastores"]["bucket"],
        &bucket(json!(2_592_000)),
    );
    let cases: [(Value, &[&str]); 9] = [
        (
            json!({"shares": {"pool": null}}),
            &["share.pool: gone: whoever mounts it still does"],
        ),
        (
            json!({"shares": {"pool": {"squash": {"map_all": "backup"}}}}),
            &["share.pool: other users are let in, or taken for others"],
        ),
        (
            json!({"shares": {"pool": {"export": "/other"}}}),
            &["share.pool: another folder is exported under this name"],
        ),
        (
            json!({"guests": {"lab": null}}),
            &["guests.lab: gone: not protected any more"],
        ),
        (
            json!({"guests": {"lab": {"on": ["web"], "except": [900]}}}),
            &[
                "guests.lab: guests on nas are not protected any more",
                "guests.lab: leaves guest 900 out from now on",
            ],
        ),
        (
            json!({"guests": {"lab": {"all": false, "only": [201]}}}),
            &["guests.lab: new guests are not protected by themselves any more"],
        ),
        // How it is mounted is a difference, and no other place.
        (json!({"datastores": {"second": mounted("soft")}}), &[]),
        (
            json!({"datastores": {"bucket": bucket(json!(86_400))}}),
            &["datastore.bucket: objects can be deleted sooner than before"],
        ),
        (
            json!({"datastores": {"bucket": {"kind": {"s3": {"bucket": "other"}}}}}),
            &["datastore.bucket: in another place, which starts without snapshots"],
        ),
    ];
    for (change, wanted) in cases {
        assert_eq!(told(&before, &change), wanted, "{change}");
    }
}

#[test]
fn words_that_people_choose_hide_no_difference() {
    let domain = |key: &str, value: &str| json!({"nodes": {"nas": {"domain": {key: value}}}});
    // These are fields of ours elsewhere.
    for key in ["declared", "kind", "mode", "domain", "a_b", "bytes"] {
        let all = json!({"nodes": {"nas": {"domain": {"kind": "x", "work": "y", "a b": "z"}}}});
        told(&all, &domain(key, "other"));
    }
    let command = |argv: Value| json!({"sources": {"db": {"on": "web", "content": {"command": {"argv": argv}}, "declared": {"file": "t", "line": 1}}}});
    let before = command(json!(["sh", "-c", "one, two"]));
    let after = told(&before, &command(json!(["sh", "-c", "one", "two"])));
    assert_eq!(after, ["source.db: runs on web: sh -c one two"]);
}
