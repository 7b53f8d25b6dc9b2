//! Saved plans: read before they are carried out, carried out once, and refused when what they
//! rely on has changed.

use std::fs;

use serde_json::Value;

use crate::support::loop_mount::LoopMount;
use crate::support::one_machine::{self, ONE_MACHINE};
use crate::support::sandbox::{Ran, Sandbox};
use crate::support::tree::noise;

fn sandbox() -> Sandbox {
    one_machine::sandbox(ONE_MACHINE)
}

fn json(ran: Ran) -> Value {
    serde_json::from_str(&ran.exits(0).stdout).expect("JSON")
}

fn apply_saved(sandbox: &Sandbox) -> Ran {
    sandbox.run(&["apply", "saved.json", "--auto-approve"])
}

#[test]
fn a_saved_plan_is_carried_out_once() {
    let sandbox = sandbox();
    sandbox
        .run(&["plan", "-o", "saved.json"])
        .exits(0)
        .says("bkpctl apply saved.json");
    sandbox
        .run(&["show", "saved.json"])
        .exits(0)
        .says("Saved plan")
        .says("first copy");
    apply_saved(&sandbox).exits(0).says("1 source is protected");
    apply_saved(&sandbox)
        .exits(5)
        .says("carried out before")
        .says("came to its end");
    // What was carried out can be looked at all the same.
    sandbox.run(&["show", "saved.json"]).exits(0);
    let snapshots = json(sandbox.run(&["snapshots", "--from", "first", "--json"]));
    assert_eq!(snapshots["snapshots"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_plan_that_was_changed_in_its_file_is_not_carried_out() {
    let sandbox = sandbox();
    sandbox.run(&["plan", "-o", "saved.json"]).exits(0);
    let text = fs::read_to_string(sandbox.join("saved.json")).expect("the plan");
    let other = sandbox.join("elsewhere").display().to_string();
    let first = sandbox.join("first").display().to_string();
    for (changed, complaint) in [
        (text.replace(&first, &other), "changed after it was saved"),
        (
            text[..text.len() / 2].to_owned(),
            "neither a topology nor a whole plan",
        ),
        (
            text.replacen("\"format\": 1", "\"format\": 9", 1),
            "format 9",
        ),
        ("{}".to_owned(), "neither a topology nor a saved plan"),
    ] {
        sandbox.write("saved.json", changed);
        apply_saved(&sandbox).exits(1).says(complaint);
        assert!(!sandbox.join("state").exists(), "{complaint}");
    }
    let printed = sandbox.run(&["plan", "--json"]).exits(0).stdout;
    sandbox.write("saved.json", printed);
    apply_saved(&sandbox).exits(1).says("bkpctl plan -o FILE");
}

#[test]
fn only_the_plan_that_was_reviewed_is_carried_out_where_its_digest_is_expected() {
    let sandbox = sandbox();
    let digest = json(sandbox.run(&["plan", "--json"]))["digest"]
        .as_str()
        .expect("a digest")
        .to_owned();
    let expecting = |digest: &str| sandbox.run(&["apply", "--auto-approve", "--expect", digest]);
    expecting(&digest[..15]).exits(1).says("16 or more");
    expecting("0123456789abcdef").exits(5).says(&digest);
    assert!(!sandbox.join("state").exists());
    // A change of the topology after the review is another plan.
    sandbox.write("topology.kdl", ONE_MACHINE.replace("second", "third"));
    expecting(&digest)
        .exits(5)
        .says("not the one that is expected");
    assert!(!sandbox.join("state").exists());
    sandbox.write("topology.kdl", ONE_MACHINE);
    expecting(&digest[..16]).exits(0);
}

/// What changes between a plan and its apply, and what is said about it.
type Change = (&'static str, fn(&Sandbox), &'static str);

#[test]
fn a_fact_that_changed_since_makes_a_saved_plan_stale_with_what_it_was_and_is() {
    let changes: [Change; 4] = [
        (
            "a folder appears",
            |sandbox| fs::create_dir(sandbox.join("first")).expect("a folder"),
            "/first: planned for nothing, now ",
        ),
        (
            "a source goes",
            |sandbox| fs::rename(sandbox.join("data"), sandbox.join("gone")).expect("a rename"),
            "source data: planned for ",
        ),
        (
            "somebody else's repository appears",
            |sandbox| {
                let mut init = sandbox.command(&["store", "init", "first"]);
                let ran = init.env("BKPCTL_PASSPHRASE", "secret").output();
                Ran::of(&ran.expect("the binary runs")).exits(0);
            },
            "under another key",
        ),
        (
            "another apply manages something there",
            |sandbox| {
                let registry = r#"{"objects":{"datastore.other":"repository in /srv/other"}}"#;
                sandbox.write("state/one/here/registry.json", registry);
            },
            "what bkpctl manages on here: planned for nothing, now ",
        ),
    ];
    for (what, change, complaint) in changes {
        let sandbox = sandbox();
        sandbox.run(&["plan", "-o", "saved.json"]).exits(0);
        change(&sandbox);
        let before = sandbox.join("second").exists();
        let ran = apply_saved(&sandbox);
        assert_eq!(ran.code, 5, "{what}: {}{}", ran.stdout, ran.stderr);
        ran.says(complaint).says("nothing was changed");
        assert_eq!(sandbox.join("second").exists(), before, "{what}");
        assert!(
            !sandbox.join("state/one/here/journal.ndjson").exists(),
            "{what}"
        );
    }
}

#[test]
fn a_plan_is_stale_once_a_key_or_a_repository_was_exchanged() {
    let sandbox = sandbox();
    sandbox.run(&["apply", "--auto-approve"]).exits(0);
    let more = "source \"more\" on=\"here\" { path \"data\" }\nphase \"baseline\" { backup \"other\" { source \"more\"; to \"first\"; at \"03:00\" }";
    sandbox.write(
        "topology.kdl",
        ONE_MACHINE.replace("phase \"baseline\" {", more),
    );
    sandbox.run(&["plan", "-o", "saved.json"]).exits(0);
    let stale = |complaint: &str| {
        apply_saved(&sandbox)
            .exits(5)
            .says(complaint)
            .says("nothing was changed");
    };
    let swap = |a: &str, b: &str| {
        fs::rename(sandbox.join(a), sandbox.join("aside")).expect("a rename");
        fs::rename(sandbox.join(b), sandbox.join(a)).expect("a rename");
        fs::rename(sandbox.join("aside"), sandbox.join(b)).expect("a rename");
    };
    let other = Sandbox::new();
    other.write("topology.kdl", ONE_MACHINE);
    let key = other.run(&["key", "new", "demo", "--sheet", "sheet"]);
    key.exits(0);
    fs::copy(other.join("demo.key"), sandbox.join("other.key")).expect("a copy");
    swap("demo.key", "other.key");
    stale("reading key demo: planned for ");
    swap("demo.key", "other.key");
    swap("first", "second");
    stale("the repository in datastore first: planned for ");
    swap("first", "second");
    apply_saved(&sandbox).exits(0);
}

#[test]
fn what_a_plan_does_not_rely_on_may_change() {
    let sandbox = sandbox();
    sandbox.run(&["plan", "-o", "saved.json"]).exits(0);
    sandbox.write("data/more", noise(5000, 1));
    sandbox.write("unrelated/file", "x");
    // The topology in the folder is not the one of the plan any more.
    sandbox.write("topology.kdl", "topology \"other\" id=\"other1\"");
    let ran = apply_saved(&sandbox).exits(0);
    ran.says("1 source is protected");
}

#[test]
fn room_that_was_taken_since_makes_a_plan_stale() {
    let sandbox = Sandbox::new();
    let Some(disk) = LoopMount::new(sandbox.path(), "disk", 64) else {
        return;
    };
    let topology = ONE_MACHINE
        .replace("path=\"first\"", "path=\"disk/first\"")
        .replace("path=\"second\"", "path=\"disk/second\"");
    sandbox.write("topology.kdl", topology);
    fs::create_dir(sandbox.join("scratch")).expect("a folder");
    sandbox.write("data/file", noise(12 << 20, 1));
    sandbox.run(&["plan", "-o", "saved.json"]).exits(0);
    fs::write(disk.path().join("other"), noise(40 << 20, 2)).expect("room is taken");
    apply_saved(&sandbox)
        .exits(5)
        .says("the room at here:")
        .says("or more, now");
    fs::remove_file(disk.path().join("other")).expect("room again");
    apply_saved(&sandbox).exits(0);
}
