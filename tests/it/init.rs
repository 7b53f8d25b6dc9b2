//! `bkpctl init`: a first topology from options or from answers, and nothing overwritten.

use std::fs;

use crate::support::sandbox::Sandbox;

#[test]
fn what_options_say_becomes_a_topology_that_plans() {
    let sandbox = Sandbox::new();
    sandbox.write("data/a", "a");
    let data = sandbox.join("data").display().to_string();
    let options = [
        "init", "lab", "--name", "home", "--source", &data, "--to", "copies", "--second", "more",
    ];
    sandbox
        .run(&options)
        .exits(0)
        .says("Wrote lab/topology.kdl. Read it, then:")
        .says("bkpctl key new main lab")
        .says("bkpctl plan lab");
    sandbox
        .run(&["validate", "lab"])
        .exits(0)
        .says("home is valid: 1 node, 2 datastores, 1 source, 3 jobs");
    sandbox.run(&["fmt", "--check", "lab"]).exits(0);
    let key = ["key", "new", "main", "lab", "--sheet", "sheet.txt"];
    sandbox.run(&key).exits(0);
    let confirm = ["key", "confirm", "main", "lab", "--code-file", "sheet.txt"];
    sandbox.run(&confirm).exits(0);
    sandbox
        .run(&["plan", "lab", "--detailed-exitcode"])
        .exits(2)
        .says("primary: in ")
        .says("second: in ")
        .says("copies 2 of 2");
}

#[test]
fn a_topology_that_is_there_is_never_touched() {
    let sandbox = Sandbox::new();
    let file = sandbox.write("topology.kdl", "mine");
    let options = ["init", "--source", "/etc", "--to", "/srv/backup"];
    sandbox.run(&options).exits(1).says("it was not touched");
    assert_eq!(fs::read_to_string(&file).expect("it is there"), "mine");
    // A link to nowhere is something too.
    fs::remove_file(&file).expect("removed");
    std::os::unix::fs::symlink("elsewhere", &file).expect("a link");
    sandbox.run(&options).exits(1).says("it was not touched");
    assert!(!sandbox.join("elsewhere").exists());
}

#[test]
fn options_that_make_no_topology_write_nothing() {
    let sandbox = Sandbox::new();
    for (options, says) in [
        (
            &["--source", "/etc", "--to", "~/b"][..],
            "write the path in full",
        ),
        (
            &["--source", "/etc", "--to", "ssh:-oProxyCommand=x:/b"],
            "begins with a dash",
        ),
        (&["--source", "/etc"], "nobody is here to be asked"),
        (&[], "bkpctl init --source /etc --to /srv/backup"),
    ] {
        let arguments = [&["init"], options].concat();
        sandbox.run(&arguments).exits(1).says(says);
    }
    let at = ["init", "--source", "/etc", "--to", "/b", "--at", "never"];
    sandbox.run(&at).exits(2).says("never");
    assert!(!sandbox.join("topology.kdl").exists());
}

#[test]
fn a_dialogue_asks_again_until_an_answer_will_do() {
    let sandbox = Sandbox::new();
    let typed =
        "my lab\nlab\n/etc\n/var/lib\n\n~/backup\ncopies\nssh:root@nas.lan:/tank\n25:00\n03:30\n";
    sandbox
        .on_terminal(&["init"], typed)
        .exits(0)
        .says("' ' is not allowed in a name")
        .says("write the path in full")
        .says("bkpctl host-key nas ");
    let text = fs::read_to_string(sandbox.join("topology.kdl")).expect("it was written");
    for part in [
        "topology \"lab\" id=\"",
        "path \"/etc\" \"/var/lib\"",
        "place \"here\" path=\"copies\"",
        "node \"nas\" { ssh \"root@nas.lan\" }",
        "place \"nas\" path=\"/tank\"",
        "at \"03:30\"",
        "at \"05:30\"",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    sandbox.run(&["validate"]).exits(0);
    sandbox.run(&["fmt", "--check"]).exits(0);
}

#[test]
fn a_dialogue_that_is_left_writes_nothing() {
    let sandbox = Sandbox::new();
    sandbox
        .on_terminal(&["init"], "lab\n/etc\n\u{4}")
        .exits(130)
        .says("nothing was written");
    assert!(!sandbox.join("topology.kdl").exists());
}
