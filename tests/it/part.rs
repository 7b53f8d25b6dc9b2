//! A part of a plan with the real binary: by target, by exclusion, by node, and then the rest.

use serde_json::Value;

use crate::support::one_machine::{self, ONE_MACHINE};
use crate::support::sandbox::Sandbox;

/// Two sources, of which one can't be read, and all else of [`ONE_MACHINE`].
fn with_a_broken_source() -> String {
    let more = ONE_MACHINE
        .replace(
            "phase \"baseline\" {",
            "source \"lost\" on=\"here\" { path \"lost\" }\nphase \"baseline\" {",
        )
        .replace("source \"data\"; to", "source \"data\" \"lost\"; to");
    format!("{more}policy {{ copies 2; rpo \"26h\"; drill-within \"30d\" }}\n")
}

fn json(sandbox: &Sandbox, arguments: &[&str]) -> Value {
    let ran = sandbox.run(arguments);
    serde_json::from_str(&ran.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}{}", ran.stdout, ran.stderr))
}

/// Returns what each action of a plan is about, in its order.
fn addresses(plan: &Value) -> Vec<&str> {
    let actions = plan["actions"].as_array().expect("a plan has actions");
    let mut addresses: Vec<&str> = actions
        .iter()
        .map(|action| action["address"].as_str().expect("an address"))
        .collect();
    addresses.dedup();
    addresses
}

#[test]
fn a_target_is_planned_and_applied_with_what_it_needs_and_the_rest_is_left() {
    let sandbox = one_machine::sandbox(ONE_MACHINE);
    let whole = json(&sandbox, &["plan", "--json"]);
    assert_eq!(whole["part"], Value::Null);
    sandbox
        .run(&["plan", "--target", "copy.data/first", "--detailed-exitcode"])
        .exits(2)
        .says("part: --target copy.data/first")
        .says("more changes are left out by --target copy.data/first: bkpctl plan shows all.")
        .says("Next: bkpctl apply --target copy.data/first");
    let part = json(&sandbox, &["plan", "--json", "--target", "copy.data/first"]);
    assert_eq!(
        addresses(&part),
        [
            "key.demo",
            "datastore.first",
            "node.here",
            "copy.data/first"
        ]
    );
    let left = part["part"]["left_out"].as_array().expect("a list").len();
    let count = |plan: &Value| plan["actions"].as_array().map_or(0, Vec::len);
    assert_eq!(count(&part) + left, count(&whole));
    assert_eq!(part["part"]["selection"]["targets"][0], "copy.data/first");

    sandbox
        .run(&["apply", "--auto-approve", "--target", "copy.data/first"])
        .exits(0)
        .says("nothing is left to do now of this part")
        .says("left out by --target copy.data/first");
    assert!(sandbox.join("first/bkpctl.json").exists());
    assert!(!sandbox.join("second").exists());
    sandbox
        .run(&["plan", "--target", "copy.data/first", "--detailed-exitcode"])
        .exits(0)
        .says("Nothing to change in this part")
        .says("left out by --target copy.data/first");
    let rest = json(&sandbox, &["plan", "--json"]);
    assert_eq!(
        addresses(&rest),
        [
            "datastore.second",
            "node.here",
            "sync.again",
            "drill.proof/data",
            "phase.baseline"
        ]
    );
    sandbox
        .run(&["apply", "--auto-approve"])
        .exits(0)
        .says("1 source is protected");
    sandbox
        .run(&["plan", "--detailed-exitcode"])
        .exits(0)
        .says("In sync");
}

#[test]
fn what_is_broken_can_be_excluded_and_does_not_stand_in_the_way() {
    let sandbox = one_machine::sandbox(&with_a_broken_source());
    sandbox.run(&["plan"]).exits(1);
    // Its own error and the rules that it breaks are told, and do not stop the part.
    sandbox
        .run(&["plan", "--exclude", "source.lost"])
        .exits(0)
        .says("BK331")
        .says("left out of this part")
        .says("not by this part");
    sandbox
        .run(&["apply", "--auto-approve", "--exclude", "source.lost"])
        .exits(0)
        .says("left out by --exclude source.lost");
    let part = json(&sandbox, &["plan", "--json", "--exclude", "source.lost"]);
    assert_eq!(addresses(&part), Vec::<&str>::new());
    sandbox.run(&["plan"]).exits(1);
    let heads = json(&sandbox, &["snapshots", "--json"]);
    assert_eq!(heads["snapshots"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_rule_that_a_part_breaks_by_itself_denies_it() {
    let topology = format!("{ONE_MACHINE}policy {{ copies 3 }}\n");
    let sandbox = one_machine::sandbox(&topology);
    sandbox
        .run(&["apply", "--auto-approve", "--target", "source.data"])
        .exits(4)
        .says("nothing was changed");
    assert!(!sandbox.join("first").exists());
}

#[test]
fn an_excluded_datastore_is_left_alone_with_all_that_stands_on_it_however_much_is_done() {
    let sandbox = one_machine::sandbox(ONE_MACHINE);
    let part = json(
        &sandbox,
        &["plan", "--json", "--exclude", "datastore.first"],
    );
    assert_eq!(
        addresses(&part),
        ["key.demo", "datastore.second", "node.here"]
    );
    sandbox.run(&["apply", "--auto-approve"]).exits(0);
    sandbox.write("data/more", "something new");
    sandbox.write(
        "topology.kdl",
        ONE_MACHINE.replace(
            "sync \"again\"",
            "backup \"more\" { source \"data\"; to \"second\"; at \"05:00\" }\n    sync \"again\"",
        ),
    );
    let more = "source \"more\" on=\"here\" { path \"scratch\" }\nphase";
    let text = ONE_MACHINE
        .replace("phase", more)
        .replace("source \"data\"; to", "source \"data\" \"more\"; to");
    sandbox.write("topology.kdl", text);
    let whole = json(&sandbox, &["plan", "--json"]);
    assert!(addresses(&whole).contains(&"copy.more/first"), "{whole}");
    let part = json(
        &sandbox,
        &["plan", "--json", "--exclude", "datastore.first"],
    );
    assert_eq!(addresses(&part), Vec::<&str>::new());
}

#[test]
fn a_node_is_planned_with_what_it_needs_elsewhere() {
    let sandbox = one_machine::sandbox(ONE_MACHINE);
    let whole = json(&sandbox, &["plan", "--json"]);
    let part = json(&sandbox, &["plan", "--json", "--node", "here"]);
    assert_eq!(addresses(&part), addresses(&whole));
    assert_eq!(part["part"]["left_out"], Value::Array(Vec::new()));
    sandbox
        .run(&["plan", "--node", "here"])
        .says("The whole plan has nothing more to do.");
}

#[test]
fn a_word_that_names_nothing_is_an_error_and_never_an_empty_plan() {
    let sandbox = one_machine::sandbox(ONE_MACHINE);
    for command in ["plan", "apply", "drift"] {
        for (option, word, help) in [
            (
                "--target",
                "datastore.frist",
                "did you mean datastore.first?",
            ),
            ("--target", "first", "did you mean datastore.first?"),
            (
                "--exclude",
                "source.nothing-like-it",
                "there are source.data",
            ),
            ("--exclude", "", "there are "),
            ("--node", "hree", "did you mean here?"),
            ("--node", "a\u{1b}[2Jb", "there are here"),
        ] {
            let ran = sandbox.run(&[command, option, word]).exits(1);
            assert!(
                ran.stderr.contains(&format!("error: {option} ")),
                "{}",
                ran.stderr
            );
            assert!(ran.stderr.contains(help), "{word}: {}", ran.stderr);
            assert!(!ran.stderr.contains('\u{1b}'), "{}", ran.stderr);
            assert_eq!(ran.stdout, "");
        }
    }
}

#[test]
fn words_that_leave_nothing_are_an_error() {
    let sandbox = one_machine::sandbox(ONE_MACHINE);
    sandbox
        .run(&[
            "plan",
            "--target",
            "source.data",
            "--exclude",
            "source.data",
        ])
        .exits(1)
        .says("source.data is wanted and left alone");
    sandbox
        .run(&["plan", "--node", "here", "--exclude", "node.here"])
        .exits(1)
        .says("node.here is wanted and left alone");
    sandbox
        .run(&[
            "plan",
            "--target",
            "copy.data/first",
            "--exclude",
            "datastore.first",
        ])
        .exits(1)
        .says("nothing is left of --target copy.data/first")
        .says("--exclude datastore.first");
}

#[test]
fn a_saved_part_is_carried_out_as_it_was_read() {
    let sandbox = one_machine::sandbox(ONE_MACHINE);
    sandbox
        .run(&["plan", "--target", "datastore.first", "-o", "part.json"])
        .exits(0);
    sandbox
        .run(&["show", "part.json"])
        .exits(0)
        .says("part: --target datastore.first");
    sandbox
        .run(&[
            "apply",
            "part.json",
            "--auto-approve",
            "--exclude",
            "key.demo",
        ])
        .exits(1)
        .says("nothing was changed");
    let whole = json(&sandbox, &["plan", "--json"]);
    let digest = whole["digest"].as_str().expect("a digest");
    sandbox
        .run(&[
            "apply",
            "--auto-approve",
            "--target",
            "datastore.first",
            "--expect",
            digest,
        ])
        .exits(5);
    sandbox
        .run(&["apply", "part.json", "--auto-approve"])
        .exits(0)
        .says("nothing is left to do now of this part");
    assert!(sandbox.join("first/managed.json").exists());
    assert!(!sandbox.join("second").exists());
    sandbox
        .run(&["apply", "part.json", "--auto-approve"])
        .exits(5);
}

#[test]
fn what_a_part_lists_as_managed_is_what_it_makes() {
    let sandbox = one_machine::sandbox(ONE_MACHINE);
    sandbox
        .run(&["apply", "--auto-approve", "--target", "datastore.first"])
        .exits(0);
    let registry =
        std::fs::read_to_string(sandbox.join("state/one/here/registry.json")).expect("a registry");
    let registry: Value = serde_json::from_str(&registry).expect("JSON");
    let objects = registry["objects"].as_object().expect("objects");
    assert!(objects.contains_key("datastore.first"), "{registry}");
    assert!(!objects.contains_key("datastore.second"), "{registry}");
}

#[test]
fn a_part_does_not_pass_for_all_where_a_pull_request_is_read() {
    let sandbox = one_machine::sandbox(ONE_MACHINE);
    sandbox
        .run(&["plan", "--md", "--target", "datastore.first"])
        .exits(0)
        .says("part `--target datastore.first`")
        .says("more changes are left out");
    sandbox
        .run(&["apply", "--auto-approve", "--target", "datastore.first"])
        .exits(0);
    let ran = sandbox.run(&["plan", "--md", "--target", "datastore.first"]);
    assert!(!ran.stdout.contains('✅'), "{}", ran.stdout);
}

#[test]
fn drift_of_a_part_says_what_else_has_drifted() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = one_machine::sandbox(ONE_MACHINE);
    sandbox.run(&["apply", "--auto-approve"]).exits(0);
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(sandbox.join("second"), mode).expect("a mode");
    sandbox
        .run(&[
            "drift",
            "--target",
            "datastore.first",
            "--detailed-exitcode",
        ])
        .exits(0)
        .says("No drift in this part")
        .says("1 more thing has drifted that --target datastore.first leaves out");
    sandbox
        .run(&[
            "drift",
            "--target",
            "datastore.second",
            "--detailed-exitcode",
        ])
        .exits(2)
        .says("datastore.second mode");
    sandbox
        .run(&["drift", "--node", "here", "--detailed-exitcode"])
        .exits(2);
    sandbox
        .run(&[
            "drift",
            "--exclude",
            "datastore.second",
            "--detailed-exitcode",
        ])
        .exits(0);
}
