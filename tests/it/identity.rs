//! Things that were managed and are gone, renamed, adopted or changed behind bkpctl's back.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bkpctl::cli::commands::schema;
use serde_json::Value;

use crate::support::sandbox::Sandbox;
use crate::support::schema::assert_fits;
use crate::support::tree::make_tree;

const HEAD: &str = r#"
topology "one" id="onemachine1"
node "here" { local; agent path="state"; scratch "scratch" }
key "demo" { file "demo.key"; create }
datastore "first" { place "here" path="first"; keep last=3 }
source "data" on="here" { path "data" }
"#;

const TWO: &str = r#"
datastore "second" { place "here" path="second"; keep last=3; GUARD }
phase "baseline" {
    backup "nightly" { source "data"; to "first" "second"; at "02:00" }
}
"#;

const ONE: &str = r#"
phase "baseline" {
    backup "nightly" { source "data"; to "first"; at "02:00" }
}
"#;

const DESTROY: &str = r#"removed "datastore.second" { destroy }"#;

impl Sandbox {
    fn declare(&self, rest: &str) {
        self.write("topology.kdl", format!("{HEAD}{rest}"));
    }
}

fn two(guard: &str) -> String {
    TWO.replace("GUARD", guard)
}

/// Returns a machine with two datastores that hold a copy each.
fn applied(guard: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.declare(&two(guard));
    fs::create_dir(sandbox.join("scratch")).expect("a folder");
    fs::create_dir(sandbox.join("data")).expect("a folder");
    make_tree(&sandbox.join("data"));
    sandbox.run(&["apply", "--auto-approve"]).exits(0);
    sandbox
}

fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn what_is_gone_from_the_file_stays_until_it_is_given_up_by_name() {
    let sandbox = applied("");
    sandbox.write("second/note.txt", "somebody's");
    sandbox.declare(ONE);
    sandbox
        .run(&["plan", "--detail"])
        .exits(0)
        .says("BK190")
        .says(r#"removed "datastore.second" { destroy }"#)
        .says("1 snapshot of data");
    sandbox.run(&["apply", "--auto-approve"]).exits(0);
    assert!(sandbox.join("second/bkpctl.json").exists());

    sandbox.declare(&format!("{ONE}{DESTROY}"));
    sandbox
        .run(&["plan"])
        .exits(0)
        .says("DESTROY second on here: 1 snapshot of data")
        .says("--allow datastore.second:destroy");
    sandbox
        .run(&["apply", "--auto-approve"])
        .exits(1)
        .says("needs an explicit yes");
    assert!(sandbox.join("second/bkpctl.json").exists());
    let allow = [
        "apply",
        "--auto-approve",
        "--allow",
        "datastore.second:destroy",
    ];
    sandbox.run(&allow).exits(0);
    assert_eq!(entries(&sandbox.join("second")), ["note.txt"]);
    sandbox
        .run(&["plan", "--detailed-exitcode"])
        .exits(0)
        .says("In sync");
    let left = sandbox.run(&["snapshots"]).exits(0);
    assert!(left.stdout.contains("first"), "{}", left.stdout);
}

#[test]
fn a_guard_outlives_its_declaration() {
    let sandbox = applied("guard");
    sandbox.declare(&format!("{ONE}{DESTROY}"));
    let allow = [
        "apply",
        "--auto-approve",
        "--allow",
        "datastore.second:destroy",
    ];
    sandbox
        .run(&["plan"])
        .exits(1)
        .says("BK191")
        .says("unguard");
    sandbox.run(&allow);
    assert!(sandbox.join("second/bkpctl.json").exists());

    sandbox.declare(&two(""));
    sandbox
        .run(&["apply", "--auto-approve"])
        .exits(1)
        .says("datastore.second:unguard");
    sandbox
        .run(&[
            "apply",
            "--auto-approve",
            "--allow",
            "datastore.second:unguard",
        ])
        .exits(0);
    sandbox.declare(&format!("{ONE}{DESTROY}"));
    sandbox.run(&allow).exits(0);
    assert!(entries(&sandbox.join("second")).is_empty());
}

#[test]
fn a_renamed_datastore_is_neither_made_anew_nor_left_behind() {
    let sandbox = applied("");
    let renamed = two("").replace("\"second\" {", "\"vault\" {");
    let renamed = renamed.replace("\"first\" \"second\"", "\"first\" \"vault\"");
    sandbox.declare(&renamed);
    let line = r#"moved from="datastore.second" to="datastore.vault""#;
    let plan = sandbox.run(&["plan"]).exits(1).says("BK134").says(line);
    assert!(!plan.stdout.contains("BK190"), "{}", plan.stdout);

    sandbox.declare(&format!("{renamed}{line}"));
    let plan = sandbox.run(&["plan"]).exits(0);
    assert!(!plan.stdout.contains("copy"), "{}", plan.stdout);
    sandbox.run(&["apply", "--auto-approve"]).exits(0);
    // Once that is done the line has done its work.
    sandbox.declare(&renamed);
    sandbox
        .run(&["plan", "--detailed-exitcode"])
        .exits(0)
        .says("In sync");
}

#[test]
fn a_repository_that_was_there_is_adopted_by_a_yes_alone() {
    let sandbox = applied("");
    fs::remove_file(sandbox.join("second/managed.json")).expect("a marker");
    fs::remove_file(sandbox.join("state/one/here/registry.json")).expect("a registry");
    sandbox
        .run(&["plan", "--detail"])
        .exits(0)
        .says("BK137")
        .says("bkpctl adopt second");
    sandbox
        .run(&["apply", "--auto-approve"])
        .exits(1)
        .says("datastore.second:adopt");
    sandbox
        .run(&["adopt", "second"])
        .exits(1)
        .says("1 snapshot, declared")
        .says("--auto-approve");
    assert!(!sandbox.join("second/managed.json").exists());
    sandbox
        .run(&["adopt", "second", "--auto-approve"])
        .exits(0)
        .says("this topology's now");
    sandbox.run(&["adopt", "second"]).exits(0).says("already");
    sandbox.run(&["adopt", "third"]).exits(1).says("third");
    sandbox.run(&["apply", "--auto-approve"]).exits(0);
    sandbox.run(&["plan", "--detailed-exitcode"]).exits(0);
}

#[test]
fn drift_is_what_somebody_changed_and_not_what_the_file_newly_wants() {
    let sandbox = applied("");
    let drift = ["drift", "--detailed-exitcode"];
    sandbox.run(&drift).exits(0).says("No drift");
    let third = r#"datastore "third" { place "here" path="third"; keep last=1 }"#;
    sandbox.declare(&format!("{}{third}", two("")));
    sandbox
        .run(&drift)
        .exits(0)
        .says("No drift")
        .says("nothing has yet");
    let closed = fs::Permissions::from_mode(0o700);
    fs::set_permissions(sandbox.join("second"), closed).expect("a mode");
    sandbox
        .run(&drift)
        .exits(2)
        .says("datastore.second mode")
        .says("700 → ");
    let json = sandbox.run(&["drift", "--json"]).exits(0);
    let text = schema::text("drift.v1").expect("the schema of drift");
    let schema: Value = serde_json::from_str(&text).expect("a schema");
    let value: Value = serde_json::from_str(&json.stdout).expect("one JSON document");
    assert_fits(&value, &schema);
    assert_eq!(value["changed"][0]["what"], "mode");
    sandbox.run(&["apply", "--auto-approve"]).exits(0);
    sandbox.run(&drift).exits(0);
}
