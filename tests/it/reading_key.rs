//! A reading key's life: made with its sheet, confirmed, lost, and made again from the sheet.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::sandbox::Sandbox;
use crate::support::tree::{assert_same, make_tree};

const TOPOLOGY: &str = r#"
topology "keys" id="keysofone1"
node "here" { local; agent path="state" }
key "main" { file "main.key" }
datastore "first" { place "here" path="first"; keep last=3 }
source "data" on="here" { path "data" }
phase "baseline" { backup "nightly" { source "data"; to "first"; at "02:00" } }
"#;

#[test]
fn a_key_is_made_with_its_sheet_and_comes_back_from_it() {
    let sandbox = Sandbox::new();
    sandbox.write("topology.kdl", TOPOLOGY);
    fs::create_dir(sandbox.join("data")).expect("a folder");
    make_tree(&sandbox.join("data"));
    sandbox.run(&["plan"]).exits(1).says("bkpctl key new main");
    // Nothing makes the only key silently, and no log keeps it.
    sandbox.run(&["apply", "--auto-approve"]).exits(1);
    sandbox
        .run(&["key", "new", "main"])
        .exits(1)
        .says("--sheet FILE");
    sandbox
        .run(&["key", "new", "man"])
        .exits(1)
        .says("the topology declares: main");
    assert!(!sandbox.join("main.key").exists());

    let new = ["key", "new", "main", "--sheet", "sheet"];
    sandbox.run(&new).exits(0).says("bkpctl key confirm main");
    for secret in ["main.key", "sheet"] {
        let mode = fs::metadata(sandbox.join(secret)).expect("it was made");
        assert_eq!(mode.permissions().mode() & 0o777, 0o600, "{secret}");
    }
    sandbox
        .run(&new)
        .exits(1)
        .says("already; it was not touched");

    // The first backup waits until somebody showed that the sheet was kept.
    sandbox.run(&["plan"]).says("bkpctl key confirm main");
    sandbox.write("other", "0000-0000\n");
    let confirm = |file: &str| sandbox.run(&["key", "confirm", "main", "--code-file", file]);
    confirm("other").exits(1).says("not the code on the sheet");
    confirm("sheet").exits(0).says("bkpctl plan");
    sandbox.run(&["apply", "--auto-approve"]).exits(0);

    let key = fs::read(sandbox.join("main.key")).expect("the key");
    fs::remove_file(sandbox.join("main.key")).expect("lost");
    sandbox.run(&new).exits(1).says("bkpctl key recover");
    let restore = [
        "restore", "--source", "data", "--from", "first", "--to", "back",
    ];
    sandbox
        .run(&restore)
        .exits(1)
        .says("bkpctl key recover CODE-FILE");
    sandbox
        .run(&["key", "recover", "sheet", "main.key"])
        .exits(0);
    let again = fs::read(sandbox.join("main.key")).expect("the key");
    assert_eq!(again, key, "it is the same key");
    sandbox.run(&restore).exits(0);
    assert_same(&sandbox.join("data"), &sandbox.join("back"));
}
