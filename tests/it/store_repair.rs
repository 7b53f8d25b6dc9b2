//! `bkpctl store repair`: damage on a real disk, and what heals it.

use std::fs;
use std::path::PathBuf;

use crate::support::sandbox::{Ran, Sandbox};
use crate::support::tree::{assert_same, noise};

fn run(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    let mut command = sandbox.command(arguments);
    command.env("BKPCTL_KEY_FILE", "key");
    Ran::of(&command.output().expect("the binary runs"))
}

/// Finds the only pack of file data.
fn pack(sandbox: &Sandbox) -> PathBuf {
    let entry = |path: PathBuf| {
        let mut entries = fs::read_dir(path).expect("a folder");
        entries.next().expect("an entry").expect("an entry").path()
    };
    entry(entry(sandbox.join("store/packs")))
}

#[test]
fn a_changed_byte_is_found_repaired_and_healed_by_the_next_backup() {
    let sandbox = Sandbox::new();
    run(&sandbox, &["store", "init", "store"]).exits(0);
    sandbox.write("data/other", "stays");
    fs::write(sandbox.join("data/big"), noise(3_000_000, 1)).expect("a file");
    run(&sandbox, &["store", "backup", "store", "data"]).exits(0);
    run(&sandbox, &["store", "repair", "store"])
        .exits(0)
        .says("nothing is damaged");
    let pack = pack(&sandbox);
    let mut bytes = fs::read(&pack).expect("a pack");
    bytes[1000] ^= 1;
    fs::write(&pack, &bytes).expect("damage");
    run(&sandbox, &["store", "verify", "store", "--read-data"])
        .exits(1)
        .says("store repair store");
    // Neither looking nor repairing needs a key.
    sandbox
        .run(&["store", "repair", "store", "--dry-run"])
        .exits(1)
        .says("nothing was changed");
    assert!(pack.exists());
    sandbox
        .run(&["store", "repair", "store"])
        .exits(6)
        .says("set aside")
        .says("lacks 1 chunk")
        .says("back up the same sources again");
    assert!(!pack.exists());
    let report = run(&sandbox, &["store", "repair", "store", "--json"]).exits(6);
    let report: serde_json::Value = serde_json::from_str(&report.stdout).expect("a document");
    assert_eq!(report["lacking"][0]["paths_total"], 1, "{report}");
    run(&sandbox, &["store", "backup", "store", "data"]).exits(0);
    run(&sandbox, &["store", "verify", "store", "--read-data"]).exits(0);
    run(&sandbox, &["store", "repair", "store"]).exits(0);
    run(&sandbox, &["store", "restore", "store", "latest", "back"]).exits(0);
    assert_same(&sandbox.join("data"), &sandbox.join("back"));
}
