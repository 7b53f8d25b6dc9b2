//! `bkpctl import`: real machines become a topology that changes nothing.

use std::fs;

use crate::support::loop_mount::LoopMount;
use crate::support::sandbox::Sandbox;

use crate::support::sshd::{self, Sshd, SshdOptions, login_name};

/// Demands that a plan wants nothing but files of bkpctl's own.
fn changes_nothing(sandbox: &Sandbox, options: &[&str]) {
    let arguments = [&["plan", "--json"], options].concat();
    let ran = sandbox.run(&arguments);
    let plan: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let steps = plan["actions"].as_array().expect("a list").iter();
    let steps = steps.map(|action| match &action["step"] {
        serde_json::Value::Object(step) => step.keys().next().cloned().unwrap_or_default(),
        other => other.to_string(),
    });
    let others: Vec<String> = steps
        .filter(|step| !["place_binary", "register", "write_managed"].contains(&step.as_str()))
        .collect();
    assert_eq!(others, Vec::<String>::new(), "{}", ran.stdout);
}

#[test]
fn this_machine_becomes_a_topology_that_changes_nothing() {
    let sandbox = Sandbox::new();
    sandbox
        .run(&["import", "local", "-o", "lab/topology.kdl"])
        .exits(0)
        .says("Wrote lab/topology.kdl");
    sandbox.run(&["validate", "lab"]).exits(0).says("1 node");
    sandbox.run(&["fmt", "--check", "lab"]).exits(0);
    changes_nothing(&sandbox, &["lab"]);
    sandbox
        .run(&["import", "local", "-o", "lab/topology.kdl"])
        .exits(1)
        .says("it was not touched");
}

#[test]
fn a_machine_over_ssh_is_pinned_by_the_key_it_showed_and_one_that_is_gone_is_named() {
    if sshd::missing() {
        return;
    }
    let sandbox = Sandbox::new();
    let server = Sshd::start(&sandbox.join("server"), &SshdOptions::default());
    sandbox.write(
        "ssh_config",
        format!(
            "Host box\n HostName {}\n Port {}\n User {}\n IdentityFile {}\n UserKnownHostsFile {}\nHost gone\n HostName 127.0.0.1\n Port 1\n",
            server.address().ip(),
            server.address().port(),
            login_name(),
            server.identity().display(),
            sandbox.join("known_hosts").display(),
        ),
    );
    let config = ["--ssh-config", "ssh_config"];
    let arguments = [
        &["import", "box", "gone", "-o", "topology.kdl"][..],
        &config,
    ]
    .concat();
    sandbox
        .run(&arguments)
        .exits(3)
        .says("gone was not reached");
    let text = fs::read_to_string(sandbox.join("topology.kdl")).expect("it was written");
    assert!(text.contains(server.host_key()), "{text}");
    assert!(
        text.contains("nobody vouched for it: compare ssh-ed25519 SHA256:"),
        "{text}"
    );
    assert!(text.contains("/-node \"gone\" { ssh \"gone\" }"), "{text}");
    sandbox.run(&["validate"]).exits(0);
    sandbox.run(&["fmt", "--check"]).exits(0);
    changes_nothing(&sandbox, &config);
    // A key that is known to be another one lets nobody look.
    let other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0b6iQ2vVf1yG4H1zqv0p5E3kJ8wX6m0c9r7s2t4u5v";
    let (ip, port) = (server.address().ip(), server.address().port());
    sandbox.write("known_hosts", format!("[{ip}]:{port} {other}\n"));
    let arguments = [&["import", "box"][..], &config].concat();
    sandbox.run(&arguments).exits(3).says("was not reached");
}

#[test]
fn repositories_near_the_top_of_a_filesystem_are_declared_as_they_are() {
    let sandbox = Sandbox::new();
    let Some(disk) = LoopMount::new(sandbox.path(), "disk", 64) else {
        return;
    };
    let store = disk.path().join("b/primary");
    sandbox.write("data/a", "a");
    sandbox.write(
        "first/topology.kdl",
        format!(
            "topology \"first\" id=\"first0001\"\nnode \"here\" {{ local; agent path=\"state\" }}\nkey \"k\" {{ file \"k.key\"; create }}\ndatastore \"primary\" {{ place \"here\" path=\"{}\"; keep last=3 }}\nsource \"data\" on=\"here\" {{ path \"{}\" }}\nphase \"p\" {{ backup \"b\" {{ source \"data\"; to \"primary\" }} }}\n",
            store.display(),
            sandbox.join("data").display(),
        ),
    );
    fs::create_dir(disk.path().join("b")).expect("a folder");
    sandbox.run(&["apply", "first", "--auto-approve"]).exits(0);
    sandbox
        .run(&["import", "local", "-o", "again/topology.kdl"])
        .exits(0);
    let text = fs::read_to_string(sandbox.join("again/topology.kdl")).expect("it was written");
    // What its marker says is taken up, so that it is the same topology again.
    assert!(text.contains("id=\"first0001\""), "{text}");
    assert!(text.contains("\ndatastore \"primary\" {"), "{text}");
    assert!(
        text.contains(&format!("path=\"{}\"", store.display())),
        "{text}"
    );
    sandbox.run(&["validate", "again"]).exits(0);
    changes_nothing(&sandbox, &["again"]);
}
