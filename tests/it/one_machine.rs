//! The whole path on one machine: declare, plan, apply, prove.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use bkpctl::engine::store::Folder;

use crate::support::one_machine::{self, ONE_MACHINE};
use crate::support::sandbox::{Ran, Sandbox};
use crate::support::tree::{assert_same, each_below, noise};

fn topology() -> String {
    format!("{ONE_MACHINE}policy {{ copies 2; rpo \"26h\"; drill-within \"30d\" }}\n")
}

fn sandbox() -> Sandbox {
    one_machine::sandbox(&topology())
}

#[test]
fn one_apply_makes_two_copies_and_a_proof_and_leaves_nothing_to_do() {
    let sandbox = sandbox();
    sandbox
        .run(&["plan", "--detailed-exitcode"])
        .exits(2)
        .says("first copy");
    sandbox
        .run(&["apply", "--auto-approve"])
        .exits(0)
        .says("protected");
    sandbox
        .run(&["plan", "--detailed-exitcode"])
        .exits(0)
        .says("In sync");
    sandbox.run(&["status"]).exits(0).says("data");
    for datastore in ["first", "second"] {
        let target = sandbox.join(&format!("back-{datastore}"));
        let to = target.to_str().expect("a plain path");
        sandbox
            .run(&[
                "restore", "--source", "data", "--from", datastore, "--to", to,
            ])
            .exits(0);
        assert_same(&sandbox.join("data"), &target);
    }
    let scratch = fs::read_dir(sandbox.join("scratch")).expect("the scratch folder");
    assert_eq!(scratch.count(), 0, "a drill leaves nothing behind");
}

#[test]
fn without_a_terminal_and_without_a_flag_nothing_is_changed() {
    let sandbox = sandbox();
    sandbox.run(&["apply"]).exits(1).says("--auto-approve");
    assert!(!sandbox.join("first").exists());
    assert!(!sandbox.join("demo.key").exists());
}

#[test]
fn on_a_terminal_the_plan_is_shown_and_only_a_yes_carries_it_out() {
    let sandbox = sandbox();
    for answer in ["no\n", "\n", "y\n"] {
        sandbox
            .on_terminal(&["apply"], answer)
            .exits(1)
            .says("first copy")
            .says("Type yes to apply:")
            .says("nothing was changed");
        assert!(!sandbox.join("first").exists());
        assert!(!sandbox.join("demo.key").exists());
    }
    sandbox
        .on_terminal(&["apply"], "yes\n")
        .exits(0)
        .says("1 source is protected");
}

#[test]
fn equal_states_give_plans_with_equal_digests() {
    let sandbox = sandbox();
    let digest = || {
        let plan = sandbox.run(&["plan", "--json"]).exits(0).stdout;
        let plan: serde_json::Value = serde_json::from_str(&plan).expect("JSON");
        plan["digest"].as_str().expect("a digest").to_owned()
    };
    assert_eq!(digest(), digest());
}

#[test]
fn a_change_of_the_topology_shows_as_a_change_of_its_plans() {
    let sandbox = sandbox();
    let test = |more: &[&str]| sandbox.run(&[&["test"], more].concat());
    test(&[]).exits(1).says("observe --save");
    fs::create_dir(sandbox.join("tests")).expect("a folder");
    sandbox
        .run(&["observe", "--save", "tests/fresh.facts.json"])
        .exits(0);
    test(&[]).exits(1).says("no plan is expected yet");
    test(&["--update"]).exits(0).says("fresh  written");
    test(&[]).exits(0).says("1 of 1 state as expected");
    // What is expected lies beside the topology, wherever the tests are run.
    let place = sandbox.join("topology.kdl").display().to_string();
    test(&[&place]).exits(0).says("1 of 1 state as expected");

    let changed = topology().replace(
        "source \"data\" on=\"here\" { path \"data\" }",
        "source \"data\" on=\"here\" { path \"gone\" }",
    );
    sandbox.write("topology.kdl", changed);
    test(&[])
        .exits(1)
        .says("the plan differs")
        .says("+  ✗ BK335 source.data")
        .says("0 of 1 state as expected");
    let json = test(&["--json"]).exits(1).stdout;
    let report: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(report["cases"][0]["verdict"], "differs", "{report}");
    // Only who says so changes what is expected.
    test(&[]).exits(1);
    sandbox.write("tests/broken.facts.json", "{}");
    test(&["--update"])
        .exits(1)
        .says("can't be used")
        .says("1 of 2");
}

#[test]
fn facts_that_were_saved_give_the_same_plan_later_and_reach_no_node() {
    let sandbox = sandbox();
    sandbox
        .run(&["observe", "--save", "facts.json"])
        .exits(0)
        .says("plan --facts facts.json");
    let plan = || {
        let plan = sandbox.run(&["plan", "--facts", "facts.json", "--json"]);
        plan.exits(0).stdout
    };
    let before = plan();
    sandbox.run(&["apply", "--auto-approve"]).exits(0);
    assert_eq!(plan(), before, "it is the plan for what was seen then");
    sandbox
        .run(&["plan", "--facts", "facts.json", "--detailed-exitcode"])
        .exits(2)
        .says("first copy");
    sandbox
        .run(&["explain", "access", "first", "--facts", "facts.json"])
        .exits(0)
        .says("may write");
    let facts = fs::read_to_string(sandbox.join("facts.json")).expect("it was saved");
    for (text, complaint) in [
        (
            facts.replace("\"topology\": \"", "\"topology\": \"X"),
            "facts of the topology X",
        ),
        (
            facts.replacen("\"format\": 1", "\"format\": 7", 1),
            "no facts of format 1",
        ),
        (before, "no facts of format 1"),
        ("{".to_owned(), "no JSON"),
    ] {
        sandbox.write("other.json", text);
        sandbox
            .run(&["plan", "--facts", "other.json"])
            .exits(1)
            .says(complaint);
    }
}

#[test]
fn a_repository_that_was_hardly_begun_is_finished_without_a_further_yes() {
    let sandbox = sandbox();
    // What a process leaves that is killed before it wrote the marker.
    let folders = Folder::ALL.iter().map(|folder| folder.as_str());
    for folder in folders.chain(["sessions", "tmp"]) {
        let path = sandbox.join("first").join(folder);
        fs::create_dir_all(path).expect("a folder");
    }
    // Further on, the slots of its key and a copy of the marker are there already.
    let mut init = sandbox.command(&["store", "init", "second"]);
    let ran = init.env("BKPCTL_PASSPHRASE", "of another try").output();
    Ran::of(&ran.expect("the binary runs")).exits(0);
    fs::set_permissions(sandbox.join("second"), fs::Permissions::from_mode(0o750)).expect("a mode");
    fs::remove_file(sandbox.join("second/bkpctl.json")).expect("the marker");
    sandbox.run(&["apply", "--auto-approve"]).exits(0);
    sandbox.run(&["plan", "--detailed-exitcode"]).exits(0);
}

#[test]
fn a_repository_that_lost_its_marker_is_not_made_anew_without_a_yes() {
    let sandbox = sandbox();
    fs::create_dir_all(sandbox.join("first/packs/ab")).expect("folders");
    sandbox.write("first/packs/ab/pack", "x");
    sandbox
        .run(&["apply", "--auto-approve"])
        .exits(1)
        .says("datastore.first:non-empty needs an explicit yes");
}

#[test]
fn an_apply_that_was_killed_is_finished_by_the_next_one() {
    let sandbox = sandbox();
    for n in 0..24 {
        sandbox.write(&format!("data/more/{n}"), noise(4 << 20, n + 100));
    }
    for wait_ms in [150, 400, 700, 1100, 1600] {
        let mut child = sandbox.spawn(&["apply", "--auto-approve"]);
        std::thread::sleep(Duration::from_millis(wait_ms));
        // SIGKILL: nothing of the process gets a chance to tidy up.
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
    }
    // Fast machines have applied everything before the last kill: what counts is the state.
    sandbox.run(&["apply", "--auto-approve"]).exits(0);
    sandbox.run(&["plan", "--detailed-exitcode"]).exits(0);
    for datastore in ["first", "second"] {
        let verify = [
            "store",
            "verify",
            datastore,
            "--read-data",
            "--key-file",
            "demo.key",
        ];
        sandbox.run(&verify).exits(0);
    }
    let to = sandbox.join("back");
    let arguments = [
        "restore",
        "--source",
        "data",
        "--from",
        "second",
        "--to",
        to.to_str().expect("a path"),
    ];
    sandbox.run(&arguments).exits(0);
    assert_same(&sandbox.join("data"), &to);
}

#[test]
fn a_run_of_a_job_makes_a_snapshot_now_and_a_sync_takes_it_along() {
    let sandbox = sandbox();
    sandbox.run(&["apply", "--auto-approve"]).exits(0);
    sandbox.write("data/a/small-00", "changed");
    sandbox.run(&["run", "nightly"]).exits(0);
    sandbox.run(&["run", "again"]).exits(0);
    let list = sandbox
        .run(&["snapshots", "--from", "second", "--json"])
        .exits(0)
        .stdout;
    let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    assert_eq!(list["snapshots"].as_array().expect("a list").len(), 2);
}

#[test]
fn a_truncated_pack_is_named_and_never_restored_as_something_else() {
    let sandbox = sandbox();
    sandbox.run(&["apply", "--auto-approve"]).exits(0);
    let mut largest = (0, None);
    each_below(&sandbox.join("second/packs"), &mut |path, meta| {
        if meta.is_file() && meta.len() > largest.0 {
            largest = (meta.len(), Some(path.to_owned()));
        }
    });
    let pack = largest.1.expect("a pack");
    let file = fs::OpenOptions::new()
        .write(true)
        .open(&pack)
        .expect("a writable pack");
    file.set_len(largest.0 / 2).expect("cut");
    let name = pack.file_name().and_then(|n| n.to_str()).expect("a name");
    let verify = [
        "store",
        "verify",
        "second",
        "--read-data",
        "--key-file",
        "demo.key",
    ];
    sandbox.run(&verify).exits(1).says(&name[..12]);
    let to = sandbox.join("back");
    let arguments = [
        "restore",
        "--source",
        "data",
        "--from",
        "second",
        "--to",
        to.to_str().expect("a path"),
    ];
    sandbox.run(&arguments).exits(1);
    // A drill that did not pass is written down as such: the old proof no longer counts.
    sandbox.run(&["run", "proof"]).exits(1);
    sandbox.run(&["plan"]).exits(1).says("BK421");
    let large = fs::read(to.join("a/b/large")).unwrap_or_default();
    assert_ne!(
        large.len(),
        3 << 20,
        "a file that could not be read whole is not restored"
    );
}

#[test]
fn a_wrong_passphrase_is_called_just_that() {
    let sandbox = Sandbox::new();
    sandbox.write("data/file", "x");
    let with = |passphrase: &str, arguments: &[&str]| {
        let mut command = sandbox.command(arguments);
        command.env("BKPCTL_PASSPHRASE", passphrase);
        crate::support::sandbox::Ran::of(&command.output().expect("the binary runs"))
    };
    with("right", &["store", "init", "store"]).exits(0);
    with("right", &["store", "backup", "store", "data"]).exits(0);
    with("wrong", &["store", "snapshots", "store"])
        .exits(1)
        .says("passphrase");
    with("right", &["store", "restore", "store", "latest", "back"]).exits(0);
    assert_same(&sandbox.join("data"), &sandbox.join("back"));
    with("right", &["store", "ls", "store"])
        .exits(0)
        .says("file");
    with("right", &["store", "verify", "--read-data", "store"]).exits(0);
}

#[test]
fn a_restore_by_path_brings_that_and_nothing_else() {
    let sandbox = sandbox();
    sandbox.run(&["apply", "--auto-approve"]).exits(0);
    let to = sandbox.join("back");
    let to = to.to_str().expect("a path");
    let get = [
        "restore", ".", "--source", "data", "--from", "second", "--to", to,
    ];
    let all: Vec<&str> = get.iter().copied().chain(["a/b", "a/small-07"]).collect();
    sandbox.run(&all).exits(0);
    let read = |name: &str| fs::read(sandbox.join(name)).ok();
    assert_eq!(read("back/a/b/large"), read("data/a/b/large"));
    assert_eq!(read("back/a/small-07"), read("data/a/small-07"));
    assert!(!sandbox.join("back/a/small-08").exists());
    let wrong = [
        "restore", ".", "--source", "data", "--from", "first", "--to", "nowhere", "no/such",
    ];
    sandbox.run(&wrong).exits(1).says("no/such");
    assert!(
        !sandbox.join("nowhere").exists(),
        "nothing is made for a path that is not there"
    );
}

#[test]
fn a_broken_rule_has_its_own_exit_code_and_nothing_is_changed() {
    let sandbox = sandbox();
    sandbox.write("topology.kdl", topology().replace("copies 2", "copies 3"));
    sandbox.run(&["plan"]).exits(4).says("copies 2 of 3");
    sandbox.run(&["apply", "--auto-approve"]).exits(4);
    assert!(!sandbox.join("first").exists());
}

#[test]
fn an_apply_is_refused_where_the_topology_breaks_a_rule_and_not_where_the_world_falls_short() {
    let rules = |copies: u32| format!("{ONE_MACHINE}policy {{ copies {copies}; rpo \"26h\" }}\n");
    let sandbox = one_machine::sandbox(&rules(3));
    sandbox
        .run(&["apply", "--auto-approve"])
        .exits(4)
        .says("BK601")
        .says("nothing was changed");
    assert!(!sandbox.join("first").exists());

    // Two are declared, and something that is no folder lies where the second is to be.
    let sandbox = one_machine::sandbox(&rules(2));
    sandbox.write("second", "a file");
    sandbox
        .run(&["plan"])
        .says("copies 1 of 2 ✗")
        .says("Next: bkpctl apply; then mend");
    sandbox
        .run(&["apply", "--auto-approve"])
        .exits(1)
        .says("data → first");
    let found = sandbox.run(&["snapshots", "--from", "first"]).exits(0);
    assert!(found.stdout.contains("data"), "{}", found.stdout);
    fs::remove_file(sandbox.join("second")).expect("the file");
    sandbox.run(&["apply", "--auto-approve"]).exits(0);
    sandbox
        .run(&["plan", "--detailed-exitcode"])
        .exits(0)
        .says("copies 2 of 2 ✓");
}
