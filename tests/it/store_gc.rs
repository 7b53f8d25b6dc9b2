//! `bkpctl store forget` and `gc`: what stays, what goes, and what they say.

use std::fs;

use crate::support::sandbox::{Ran, Sandbox};
use crate::support::tree::{assert_same, noise};

fn run(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    let mut command = sandbox.command(arguments);
    command.env("BKPCTL_KEY_FILE", "key");
    Ran::of(&command.output().expect("the binary runs"))
}

fn json(ran: Ran) -> serde_json::Value {
    serde_json::from_str(&ran.exits(0).stdout).expect("a document")
}

/// Makes a repository with `count` snapshots of files that differ each time.
fn repository(count: u8) -> Sandbox {
    let sandbox = Sandbox::new();
    run(&sandbox, &["store", "init", "store"]).exits(0);
    for number in 0..count {
        sandbox.write("data/stays", "the same each time");
        let noise = noise(1_500_000, number.into());
        fs::write(sandbox.join("data/changes"), noise).expect("a file");
        run(&sandbox, &["store", "backup", "store", "data"]).exits(0);
    }
    sandbox
}

#[test]
fn rules_forget_with_reasons_and_a_collection_frees_the_space() {
    let sandbox = repository(3);
    run(&sandbox, &["store", "forget", "store"])
        .exits(1)
        .says("no rule");
    let rules = ["store", "forget", "store", "--keep-last", "1"];
    run(&sandbox, &[&rules[..], &["--dry-run"]].concat())
        .exits(0)
        .says("2 snapshots would be forgotten, 1 would stay");
    run(&sandbox, &rules)
        .exits(0)
        .says("no rule keeps it")
        .says("the last")
        .says("2 snapshots forgotten, 1 stay");
    // None of this needs a key.
    let keyless = |arguments: &[&str]| sandbox.run(arguments);
    keyless(&["store", "gc", "store", "--dry-run"])
        .exits(0)
        .says("would be freed");
    let freed = json(keyless(&["store", "gc", "store", "--json"]));
    assert!(freed["freed_bytes"].as_u64() > Some(2_900_000), "{freed}");
    assert_eq!(freed["snapshots"], 1);
    let again = json(keyless(&["store", "gc", "store", "--json"]));
    assert_eq!(again["deleted_packs"], 0);
    run(&sandbox, &["store", "verify", "--read-data", "store"]).exits(0);
    run(&sandbox, &["store", "restore", "store", "latest", "back"]).exits(0);
    assert_same(&sandbox.join("data"), &sandbox.join("back"));
}

#[test]
fn named_snapshots_are_forgotten_but_not_a_sources_last_one_by_accident() {
    let sandbox = repository(1);
    let listed = json(run(&sandbox, &["store", "snapshots", "store", "--json"]));
    let id = listed["snapshots"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    run(
        &sandbox,
        &["store", "forget", "store", &id, "--keep-last", "1"],
    )
    .exits(1);
    run(&sandbox, &["store", "forget", "store", &id])
        .exits(1)
        .says("nothing would stay of default");
    run(
        &sandbox,
        &["store", "forget", "store", "--allow-empty", &id],
    )
    .exits(0);
    run(&sandbox, &["store", "gc", "store"]).exits(0);
    let left: Vec<_> = fs::read_dir(sandbox.join("store/index"))
        .expect("a folder")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_damaged_manifest_stops_a_collection_and_can_be_forgotten_by_name() {
    let sandbox = repository(2);
    let folder = sandbox.join("store/snapshots/default");
    let mut names: Vec<_> = fs::read_dir(&folder)
        .expect("a folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("a name")
        })
        .collect();
    names.sort();
    fs::write(folder.join(&names[0]), b"no manifest").expect("damage");
    let name = format!("snapshots/default/{}", names[0]);
    run(&sandbox, &["store", "gc", "store"])
        .exits(1)
        .says(&name)
        .says("nothing is collected")
        .says("verify");
    run(&sandbox, &["store", "forget", "store", &name]).exits(0);
    run(&sandbox, &["store", "gc", "store"])
        .exits(0)
        .says("freed");
    run(&sandbox, &["store", "verify", "--read-data", "store"]).exits(0);
}
