//! The log: what was done on nodes, as their journals tell it.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::TcpListener;

use bkpctl::cli::commands::schema;
use serde_json::Value;

use crate::support::sandbox::Sandbox;
use crate::support::schema::assert_fits;
use crate::support::tree::make_tree;

const TOPOLOGY: &str = r#"
topology "told" id="told00001"
node "here" { local; agent path="state" }
key "demo" { file "demo.key"; create }
datastore "first" { place "here" path="first"; keep last=3 }
source "data" on="here" { path "data" }
phase "baseline" {
    backup "nightly" { source "data"; to "first"; at "02:00" }
    drill "proof" { source "data"; from "first"; every "7d" }
}
policy { copies 1; rpo "26h"; drill-within "30d" }
"#;

const JOURNAL: &str = "state/told/here/journal.ndjson";

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("topology.kdl", TOPOLOGY);
    fs::create_dir(sandbox.join("data")).expect("a folder");
    make_tree(&sandbox.join("data"));
    sandbox
}

fn log(sandbox: &Sandbox, more: &[&str]) -> Value {
    let ran = sandbox.run(&[&["log", "--json"], more].concat()).exits(0);
    let log: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let text = schema::text("log.v1").expect("the schema of logs");
    assert_fits(&log, &serde_json::from_str(&text).expect("a schema"));
    log
}

/// Returns address and event of each entry.
fn told(log: &Value) -> Vec<(String, String)> {
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let entries = log["entries"].as_array().expect("entries").iter();
    entries
        .map(|entry| (text(entry, "address"), text(entry, "event")))
        .collect()
}

fn pair(address: &str, event: &str) -> (String, String) {
    (address.to_owned(), event.to_owned())
}

#[test]
fn each_action_of_an_apply_and_each_piece_of_a_job_is_told_with_its_beginning_and_end() {
    let sandbox = sandbox();
    sandbox.run(&["log"]).exits(0).says("Nothing");
    sandbox.run(&["apply", "--auto-approve"]).exits(0);
    let all = told(&log(&sandbox, &[]));
    for address in [
        "key.demo",
        "datastore.first",
        "copy.data/first",
        "drill.proof/data",
    ] {
        for event in ["begin", "done"] {
            assert!(
                all.contains(&pair(address, event)),
                "{address} {event}: {all:?}"
            );
        }
    }
    let count = |event: &str| all.iter().filter(|(_, told)| told == event).count();
    let steps = (all.len() - 2) / 2;
    assert_eq!((count("begin"), count("done")), (steps, steps));
    assert_eq!((count("opened"), count("closed")), (1, 1));

    sandbox.run(&["run", "nightly"]).exits(0);
    let copies = log(&sandbox, &["--address", "copy.data/first"]);
    let by_job: Vec<_> = copies["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .collect();
    assert_eq!(by_job.len(), 4, "{copies}");
    assert!(by_job[1]["plan"].is_string() && by_job[1]["took_ms"].is_u64());
    assert_eq!(by_job[3]["job"], "nightly");
    let plan = by_job[1]["plan"].as_str().expect("a digest");
    assert_eq!(
        told(&log(&sandbox, &["--plan", &plan[..12]])).len(),
        all.len()
    );
    assert_eq!(told(&log(&sandbox, &["--source", "data"])).len(), 6);
    assert_eq!(told(&log(&sandbox, &["--since", "2200-01-01"])).len(), 0);

    let lines = sandbox
        .run(&["log", "--ndjson", "--source", "data"])
        .exits(0)
        .stdout;
    assert_eq!(lines.lines().count(), 6);
    sandbox
        .run(&["log", "--source", "data"])
        .exits(0)
        .says("run nightly")
        .says("✓ here  drill.proof/data");
    sandbox.run(&["log", "--node", "nas"]).exits(1).says("here");
}

#[test]
fn a_job_that_fails_is_told_with_its_reason() {
    let sandbox = sandbox();
    sandbox.run(&["apply", "--auto-approve"]).exits(0);
    fs::remove_dir_all(sandbox.join("data")).expect("removed");
    let ran = sandbox.run(&["run", "nightly"]);
    assert_ne!(ran.code, 0);
    let all = log(&sandbox, &["--address", "copy.data/first"]);
    let last = all["entries"]
        .as_array()
        .and_then(|all| all.last())
        .expect("an entry");
    assert_eq!(
        (last["event"].as_str(), last["job"].as_str()),
        (Some("failed"), Some("nightly"))
    );
    sandbox
        .run(&["log"])
        .exits(0)
        .says("✗ here  copy.data/first")
        .says("1 failed");
}

#[test]
fn what_is_no_line_is_counted_and_can_do_nothing_to_a_terminal() {
    let sandbox = sandbox();
    sandbox.run(&["apply", "--auto-approve"]).exits(0);
    let before = told(&log(&sandbox, &[])).len();
    let mut journal = OpenOptions::new()
        .append(true)
        .open(sandbox.join(JOURNAL))
        .expect("a journal");
    let hostile = r#"{"v":7,"time":"2026-01-02T03:04:05Z","event":"\u001b[2Jgone","words":"\u001b]0;x\u0007\u202e","address":"copy.data/first","more":{}}"#;
    writeln!(journal, "\x1b[31mno line\n{hostile}").expect("written");
    write!(journal, "{{\"v\":1,\"time\"").expect("written");
    let after = log(&sandbox, &[]);
    assert_eq!(told(&after).len(), before + 1);
    assert_eq!(after["nodes"][0]["broken"], 1);
    assert_eq!(after["nodes"][0]["torn"], true);
    let ran = sandbox
        .run(&["log"])
        .exits(0)
        .says("1 line of its journal makes no sense");
    assert!(
        !ran.stdout.contains(['\x1b', '\x07', '\u{202e}']),
        "{}",
        ran.stdout
    );
}

#[test]
fn a_node_that_can_not_be_reached_is_named() {
    let sandbox = sandbox();
    sandbox.run(&["apply", "--auto-approve"]).exits(0);
    // Nobody listens on the port of a listener that is gone.
    let port = TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("its number")
        .port();
    let gone = format!("{TOPOLOGY}node \"gone\" {{ ssh \"root@127.0.0.1\" port={port} }}\n");
    sandbox.write("topology.kdl", gone);
    sandbox
        .run(&["log"])
        .exits(3)
        .says("gone: its journal was not read")
        .says("copy.data/first");
    let ran = sandbox.run(&["log", "--ndjson"]).exits(3);
    assert!(ran.stderr.contains("gone: "), "{}", ran.stderr);
    assert!(!ran.stdout.is_empty());
    sandbox.run(&["log", "--node", "here"]).exits(0);
}
