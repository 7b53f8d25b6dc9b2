//! `bkpctl fmt`: files get their one form, or are left exactly as they are.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::sandbox::{Ran, Sandbox};

const UNTIDY: &str = "// why\nnode   \"a\" {local}\n";
const TIDY: &str = "// why\nnode \"a\" { local }\n";

fn read(sandbox: &Sandbox, name: &str) -> String {
    fs::read_to_string(sandbox.join(name)).expect("a file")
}

/// Passes a text through standard input and output.
fn pass(sandbox: &Sandbox, arguments: &[&str], text: &str) -> Ran {
    let mut child = sandbox
        .command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(text.as_bytes()).expect("it reads");
    drop(input);
    Ran::of(&child.wait_with_output().expect("it ends"))
}

#[test]
fn a_topology_and_what_it_includes_are_formatted_and_keep_their_modes() {
    let sandbox = Sandbox::new();
    sandbox.write("topology.kdl", "include  \"nodes/*.kdl\"\n");
    let file = sandbox.write("nodes/a.kdl", UNTIDY);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o664)).expect("a mode");
    sandbox.write("nodes/b.kdl", TIDY);
    let untouched = fs::metadata(sandbox.join("nodes/b.kdl")).expect("it is there");

    sandbox
        .run(&["fmt"])
        .exits(0)
        .says("formatted topology.kdl\nformatted nodes/a.kdl\n");
    assert_eq!(read(&sandbox, "topology.kdl"), "include \"nodes/*.kdl\"\n");
    assert_eq!(read(&sandbox, "nodes/a.kdl"), TIDY);
    let mode = fs::metadata(&file).expect("it is there").mode();
    assert_eq!(mode & 0o7777, 0o664);
    let now = fs::metadata(sandbox.join("nodes/b.kdl")).expect("it is there");
    assert_eq!(now.ino(), untouched.ino(), "what is in form is not written");
    sandbox.run(&["fmt"]).exits(0).says("3 files are in form");
    let left = fs::read_dir(sandbox.join("nodes")).expect("a folder");
    assert_eq!(left.count(), 2, "nothing else is left behind");
}

#[test]
fn a_check_shows_what_would_change_and_changes_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write("ours/topology.kdl", "include \"a.kdl\"\n");
    sandbox.write("ours/a.kdl", UNTIDY);
    let ran = sandbox.run(&["fmt", "--check", "ours"]).exits(1);
    assert_eq!(
        ran.stdout,
        "--- ours/a.kdl\n+++ ours/a.kdl in form\n@@ -1,2 +1,2 @@\n // why\n\
         -node   \"a\" {local}\n+node \"a\" { local }\n\n\
         1 of 2 files would change; bkpctl fmt changes them\n"
    );
    assert_eq!(read(&sandbox, "ours/a.kdl"), UNTIDY);
    let ran = sandbox.run(&["fmt", "--check", "--json", "ours"]).exits(1);
    let report: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(
        report["files"],
        json!([
            { "file": "ours/topology.kdl", "state": "in_form" },
            { "file": "ours/a.kdl", "state": "out_of_form" },
        ])
    );
    sandbox.run(&["fmt", "ours/a.kdl"]).exits(0);
    sandbox.run(&["fmt", "--check", "ours"]).exits(0);
}

#[test]
fn a_file_with_mistakes_stays_as_it_is_and_the_others_are_formatted() {
    let sandbox = Sandbox::new();
    let broken = "node   \"b\" { local\n";
    sandbox.write("topology.kdl", "include \"a.kdl\" \"b.kdl\"\n");
    sandbox.write("a.kdl", UNTIDY);
    sandbox.write("b.kdl", broken);
    sandbox
        .run(&["fmt"])
        .exits(1)
        .says("this block is never closed")
        .says("formatted a.kdl");
    assert_eq!(read(&sandbox, "b.kdl"), broken);
    assert_eq!(read(&sandbox, "a.kdl"), TIDY);
    let ran = sandbox.run(&["fmt", "--json"]).exits(1);
    let report: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(report["files"][2]["state"], "broken");
    assert_eq!(report["diagnostics"][0]["code"], "BK002");
}

#[test]
fn a_link_stays_a_link_and_nothing_outside_is_written() {
    let sandbox = Sandbox::new();
    sandbox.write("ours/topology.kdl", "include \"link.kdl\" \"out.kdl\"\n");
    sandbox.write("ours/real/a.kdl", UNTIDY);
    sandbox.write("outside.kdl", UNTIDY);
    symlink("real/a.kdl", sandbox.join("ours/link.kdl")).expect("a link");
    symlink("../outside.kdl", sandbox.join("ours/out.kdl")).expect("a link");
    let ran = sandbox.run(&["fmt", "ours"]);
    assert!(ran.stderr.contains("lies outside"), "{}", ran.stderr);
    let link = fs::symlink_metadata(sandbox.join("ours/link.kdl")).expect("it is there");
    assert!(link.is_symlink());
    assert_eq!(read(&sandbox, "ours/real/a.kdl"), TIDY);
    assert_eq!(read(&sandbox, "outside.kdl"), UNTIDY);
}

#[test]
fn an_editor_passes_a_text_through() {
    let sandbox = Sandbox::new();
    let ran = pass(&sandbox, &["fmt", "-"], UNTIDY).exits(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), (TIDY, ""));
    let ran = pass(&sandbox, &["fmt", "-"], "node \"a\" {").exits(1);
    assert_eq!(ran.stdout, "", "nothing that would replace a text");
    assert!(ran.stderr.contains("never closed"), "{}", ran.stderr);
    pass(&sandbox, &["fmt", "--check", "-"], UNTIDY)
        .exits(1)
        .says("+node \"a\" { local }");
    pass(&sandbox, &["fmt", "--check", "-"], TIDY).exits(0);
}

#[test]
fn a_file_in_kdl_1_is_one_mistake_that_names_its_remedy() {
    let sandbox = Sandbox::new();
    let old = "node \"a\" { local; /-reader true }  // r\"x\"\nkey \"k\" { file r\"C:\\k\" }\n";
    sandbox.write("topology.kdl", old);
    sandbox
        .run(&["validate"])
        .exits(1)
        .says("bkpctl fmt --from-v1");
    sandbox.run(&["fmt"]).exits(1).says("bkpctl fmt --from-v1");
    assert_eq!(read(&sandbox, "topology.kdl"), old);
    sandbox.run(&["fmt", "--from-v1"]).exits(0);
    assert_eq!(
        read(&sandbox, "topology.kdl"),
        "node \"a\" { local; /-reader #true } // r\"x\"\nkey \"k\" { file #\"C:\\k\"# }\n"
    );
}
