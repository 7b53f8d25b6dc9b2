//! The verbs of `bkpctl store`, through the binary.

use std::fs;

use crate::support::sandbox::{Ran, Sandbox};
use crate::support::tree::assert_same;

/// A repository with two snapshots of `data`, opened by a key file.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("data/one", "first");
    sandbox.write("data/sub/two", "second");
    sandbox.write("data/sub/three", "third");
    store(&sandbox, &["init", "store"]).exits(0);
    store(&sandbox, &["backup", "store", "data"]).exits(0);
    sandbox.write("data/sub/two", "changed");
    sandbox.write("data/four", "fourth");
    fs::remove_file(sandbox.join("data/sub/three")).expect("removed");
    store(&sandbox, &["backup", "store", "data"]).exits(0);
    sandbox
}

fn store(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    let all: Vec<&str> = ["store"]
        .into_iter()
        .chain(arguments.iter().copied())
        .collect();
    let mut command = sandbox.command(&all);
    command.env("BKPCTL_KEY_FILE", sandbox.join("key"));
    Ran::of(&command.output().expect("the binary runs"))
}

/// The ids of the two snapshots, the older first.
fn ids(sandbox: &Sandbox) -> (String, String) {
    let listed = store(sandbox, &["snapshots", "store", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed.stdout).expect("JSON");
    let id = |at: usize| {
        let id = listed["snapshots"][at]["id"].as_str();
        id.expect("an id").to_owned()
    };
    (id(0), id(1))
}

#[test]
fn a_folder_is_brought_to_a_snapshot_and_back() {
    let sandbox = sandbox();
    let (old, new) = ids(&sandbox);
    store(&sandbox, &["restore", "store", &old, "back"]).exits(0);
    store(&sandbox, &["restore", "store", &old, "hasty", "--no-sync"]).exits(0);
    assert_same(&sandbox.join("back"), &sandbox.join("hasty"));
    store(&sandbox, &["restore", "store", &new, "back"])
        .exits(1)
        .says("is not empty")
        .says("--in-place");
    store(&sandbox, &["restore", "store", &new, "back", "--delete"]).exits(2);
    store(&sandbox, &["restore", "store", &new, "back", "--in-place"]).exits(0);
    let read = |name: &str| fs::read_to_string(sandbox.join("back").join(name)).ok();
    assert_eq!(read("sub/two").as_deref(), Some("changed"));
    assert_eq!(read("four").as_deref(), Some("fourth"));
    assert_eq!(read("sub/three").as_deref(), Some("third"), "it stays");
    let arguments = ["restore", "store", &new, "back", "--in-place", "--delete"];
    store(&sandbox, &arguments).exits(0);
    assert_eq!(read("sub/three"), None);
    let with_json: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
    let again = store(&sandbox, &with_json);
    let again: serde_json::Value = serde_json::from_str(&again.stdout).expect("JSON");
    assert_eq!(again["bytes_written"], 0);
    assert_eq!(again["unchanged"], again["entries"]);
}

#[test]
fn snapshots_are_listed_printed_and_compared() {
    let sandbox = sandbox();
    let (old, new) = ids(&sandbox);
    let listed = store(&sandbox, &["ls", "store", &old, "sub"]);
    assert_eq!(listed.stdout, "sub\nsub/three\nsub/two\n");
    store(&sandbox, &["ls", "store", "latest", "-l"])
        .exits(0)
        .says("06");
    store(&sandbox, &["ls", "store", "latest", "gone"])
        .exits(1)
        .says("gone");
    let printed = store(&sandbox, &["cat", "store", &old, "sub/two"]);
    assert_eq!(printed.stdout, "second");
    store(&sandbox, &["cat", "store", &old, "sub"])
        .exits(1)
        .says("directory");
    store(&sandbox, &["cat", "store", &old])
        .exits(1)
        .says("more than one file");
    let changes = store(&sandbox, &["diff", "store", &old, &new, "--json"]);
    let changes: serde_json::Value = serde_json::from_str(&changes.stdout).expect("JSON");
    assert_eq!(changes["totals"]["added"], 1);
    assert_eq!(changes["totals"]["removed"], 1);
    assert_eq!(changes["totals"]["changed"], 1);
    store(&sandbox, &["diff", "store", &old, &new, "sub"])
        .exits(0)
        .says("- sub/three")
        .says("~ sub/two");
}

#[test]
fn an_image_goes_over_a_file_of_another_state() {
    let sandbox = sandbox();
    let (old, _) = ids(&sandbox);
    sandbox.write("device", "something else that is longer");
    let over = ["restore", "store", &old, "sub/two", "--to-device", "device"];
    store(&sandbox, &over).exits(0);
    let read = fs::read_to_string(sandbox.join("device")).expect("a file");
    assert_eq!(read, "second");
    let hasty = [&over[..], &["--no-sync"]].concat();
    store(&sandbox, &hasty).exits(2);
    let missing = ["restore", "store", &old, "one", "--to-device", "missing"];
    store(&sandbox, &missing)
        .exits(1)
        .says("cannot be written over");
}

#[test]
fn a_budget_says_how_much_was_checked() {
    let sandbox = sandbox();
    store(&sandbox, &["verify", "store", "--budget", "10m"])
        .exits(0)
        .says("100 % of packs checked within 30 d");
    store(&sandbox, &["verify", "store", "--budget", "soon"])
        .exits(1)
        .says("no budget");
}
