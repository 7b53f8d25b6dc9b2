//! Plan and apply as a stream of events: what a program reads while they run, and how it ends.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use bkpctl::cli::commands::schema;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::one_machine::{self, ONE_MACHINE, slow};
use crate::support::relay::Relay;
use crate::support::sandbox::{Ran, Sandbox};
use crate::support::schema::assert_fits;
use crate::support::sshd::{Sshd, SshdOptions, missing};

const ALLOWED: [&str; 5] = [
    "apply",
    "--ndjson",
    "--auto-approve",
    "--allow",
    "source.slow:command",
];

/// Reads a stream, each line by its schema, and demands that it begins and ends as it must.
#[track_caller]
fn events(stdout: &str) -> Vec<Value> {
    let schema = schema::text("event.v1").expect("the schema of events");
    let schema = serde_json::from_str(&schema).expect("a schema");
    let lines: Vec<Value> = stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect();
    for line in &lines {
        assert_fits(line, &schema);
    }
    assert!(stdout.ends_with('\n'), "the last line is whole");
    assert_eq!(lines[0]["event"], "start", "{stdout}");
    assert_eq!(lines[0]["format"], 1);
    let ends = |line: &&Value| line["event"] == "summary" || line["event"] == "error";
    assert_eq!(lines.iter().filter(ends).count(), 1, "{stdout}");
    assert!(ends(&&lines[lines.len() - 1]), "{stdout}");
    lines
}

/// Returns the lines that tell one kind of event.
fn of<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    let is_it = |event: &&Value| event["event"] == kind;
    events.iter().filter(is_it).collect()
}

fn last(events: &[Value]) -> &Value {
    events.last().expect("a last line")
}

#[track_caller]
fn told(sandbox: &Sandbox, arguments: &[&str], code: i32) -> Vec<Value> {
    let ran = sandbox.run(arguments).exits(code);
    let events = events(&ran.stdout);
    assert_eq!(last(&events)["exit"], code, "{}", ran.stdout);
    events
}

#[test]
fn a_plan_tells_nodes_findings_actions_rules_and_a_summary() {
    let topology = format!("{ONE_MACHINE}policy {{ copies 2 }}\n");
    let sandbox = one_machine::sandbox(&topology);
    let events = told(&sandbox, &["plan", "--ndjson", "--detailed-exitcode"], 2);
    assert_eq!(events[0]["command"], "plan");
    assert_eq!(of(&events, "observe_started")[0]["node"], "here");
    let seen = of(&events, "observe_ended");
    assert_eq!((seen.len(), &seen[0]["unreached"]), (1, &Value::Null));
    assert!(seen[0]["seconds"].as_f64() > Some(0.0));

    let plan = sandbox.run(&["plan", "--json"]).exits(0).stdout;
    let plan: Value = serde_json::from_str(&plan).expect("JSON");
    let all = |key: &str| plan[key].as_array().expect("a list").clone();
    let of_kind = |kind: &str, key: &str| -> Vec<Value> {
        let lines = of(&events, kind).into_iter();
        lines.map(|event| event[key].clone()).collect()
    };
    assert_eq!(of_kind("finding", "finding"), all("findings"));
    assert_eq!(of_kind("policy", "rule"), all("policy"));
    let addresses = |actions: &[Value]| -> Vec<Value> {
        actions
            .iter()
            .map(|action| action["address"].clone())
            .collect()
    };
    let actions = of_kind("action", "action");
    assert_eq!(addresses(&actions), addresses(&all("actions")));
    assert_eq!(last(&events)["digest"], plan["digest"]);
    assert_eq!(last(&events)["plan"]["actions"], actions.len());
}

#[test]
fn an_apply_tells_locks_each_action_with_its_end_and_whether_it_converged() {
    let sandbox = one_machine::sandbox(ONE_MACHINE);
    let events = told(&sandbox, &["apply", "--ndjson", "--auto-approve"], 0);
    assert_eq!(of(&events, "locked")[0]["nodes"][0], "here");
    let planned = of(&events, "action");
    let ids = |kind: &str| -> Vec<u64> {
        let lines = of(&events, kind).into_iter();
        let mut ids: Vec<u64> = lines.filter_map(|event| event["id"].as_u64()).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(ids("action_started").len(), planned.len());
    assert_eq!(ids("action_started"), ids("action_ended"));
    for ended in of(&events, "action_ended") {
        assert_eq!(ended["outcome"], "done", "{ended}");
        assert!(ended["seconds"].is_f64(), "{ended}");
        let id = ended["id"].as_u64().expect("a number") as usize;
        assert_eq!(ended["address"], planned[id]["action"]["address"]);
        // A small sync is over before it has told how far it is.
        let moves = ["copy", "drill"];
        let address = ended["address"].as_str().expect("an address");
        if moves.iter().any(|kind| address.starts_with(kind)) {
            assert!(ended["bytes"].as_u64() > Some(1 << 20), "{ended}");
        }
    }
    let converged = of(&events, "converged");
    assert_eq!((converged.len(), &converged[0]["left"]), (1, &0.into()));
    assert_eq!(last(&events)["applied"]["done"], planned.len());

    let again = told(&sandbox, &["apply", "--ndjson"], 0);
    assert_eq!(last(&again)["plan"]["actions"], 0);
}

#[test]
fn an_action_that_fails_says_so_and_so_does_what_needs_it() {
    let sandbox = slow();
    let topology = fs::read_to_string(sandbox.join("topology.kdl")).expect("a topology");
    let failing = topology.replace("i=0; while", "echo broken >&2; exit 3; while");
    sandbox.write("topology.kdl", failing);
    let events = told(&sandbox, &ALLOWED, 6);
    let outcome = |address: &str| {
        let ended = of(&events, "action_ended");
        let ended = ended.into_iter().find(|e| e["address"] == address);
        ended.map(|ended| (ended["outcome"].clone(), ended["words"].to_string()))
    };
    let (copy, why) = outcome("copy.slow/first").expect("it was tried");
    assert_eq!(copy, "failed");
    assert!(why.contains('3'), "{why}");
    let (drill, why) = outcome("drill.proof/slow").expect("it is told");
    assert_eq!(drill, "skipped");
    assert!(why.contains("copy.slow/first"), "{why}");
    assert_eq!(of(&events, "converged")[0]["converged"], false);
    assert_eq!(last(&events)["applied"]["failed"], 1);
}

#[test]
fn a_refused_apply_ends_with_the_reason_and_the_next_step() {
    let sandbox = slow();
    let events = told(&sandbox, &["apply", "--ndjson", "--auto-approve"], 1);
    let end = last(&events);
    assert_eq!(end["event"], "error");
    let text = |key: &str| end[key].as_str().unwrap_or_default().to_owned();
    assert!(text("message").contains("source.slow:command needs an explicit yes"));
    assert!(text("help").contains("--allow source.slow:command"));
    assert!(of(&events, "action_started").is_empty());
    assert!(!sandbox.join("first").exists());
    // Nobody is there to ask.
    let unasked = one_machine::sandbox(ONE_MACHINE);
    let events = told(&unasked, &["apply", "--ndjson"], 1);
    assert_eq!(last(&events)["event"], "error");
}

#[test]
fn a_saved_plan_that_is_stale_or_used_ends_with_code_5() {
    let sandbox = one_machine::sandbox(ONE_MACHINE);
    sandbox.run(&["plan", "-o", "saved.json"]).exits(0);
    fs::rename(sandbox.join("data"), sandbox.join("moved")).expect("renamed");
    let apply = ["apply", "saved.json", "--ndjson", "--auto-approve"];
    let events = told(&sandbox, &apply, 5);
    let why = last(&events)["message"]
        .as_str()
        .expect("a text")
        .to_owned();
    assert!(why.contains("no longer fits"), "{why}");
    fs::rename(sandbox.join("moved"), sandbox.join("data")).expect("renamed");
    told(&sandbox, &apply, 0);
    let events = told(&sandbox, &apply, 5);
    let why = last(&events)["message"]
        .as_str()
        .expect("a text")
        .to_owned();
    assert!(why.contains("carried out before"), "{why}");
}

#[test]
fn a_mistake_in_the_topology_ends_the_stream_too_and_no_control_character_is_in_it() {
    let sandbox = one_machine::sandbox(
        "topology \"x\" id=\"controls01\"\nnode \"\u{1b}[31mred\" { local }\n",
    );
    let ran = sandbox.run(&["plan", "--ndjson"]).exits(1);
    assert!(!ran.stdout.contains('\u{1b}'), "{:?}", ran.stdout);
    assert_eq!(last(&events(&ran.stdout))["event"], "error");
    sandbox.run(&["plan", "--ndjson", "--json"]).exits(2);
    sandbox.run(&["plan", "--ndjson", "--md"]).exits(2);
    sandbox.run(&["apply", "--ndjson", "--detail"]).exits(2);
}

#[test]
fn no_line_of_a_stream_drives_a_terminal_or_turns_the_direction_of_writing() {
    let sandbox = slow();
    let topology = fs::read_to_string(sandbox.join("topology.kdl")).expect("a topology");
    let says = r"printf 'a\\302\\23331m\\342\\200\\256b' >&2; exit 3; while";
    sandbox.write("topology.kdl", topology.replace("i=0; while", says));
    let stream = sandbox.run(&ALLOWED).exits(6).stdout;
    assert!(stream.contains("31m"), "{stream}");
    let unseen = |c: &char| (c.is_control() && *c != '\n') || ('\u{202a}'..='\u{202e}').contains(c);
    assert_eq!(stream.chars().find(unseen), None, "{stream:?}");
    events(&stream);
}

/// A command that runs, whose lines are read as they come.
struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
    read: String,
}

impl Running {
    fn start(sandbox: &Sandbox, arguments: &[&str]) -> Self {
        let mut command = sandbox.command(arguments);
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let lines = BufReader::new(child.stdout.take().expect("it is piped"));
        Self {
            child,
            lines,
            read: String::new(),
        }
    }

    /// Reads up to the first line that fits.
    #[track_caller]
    fn wait_for(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        loop {
            let mut line = String::new();
            let count = self.lines.read_line(&mut line).expect("it is read");
            assert!(count > 0, "the stream ended:\n{}", self.read);
            self.read += &line;
            let event = serde_json::from_str(&line).expect("JSON");
            if fits(&event) {
                return event;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("a process id");
        kill_process(Pid::from_raw(id).expect("a process id"), signal).expect("it runs");
    }

    /// Reads the rest.
    #[track_caller]
    fn ended(mut self, code: i32) -> Vec<Value> {
        while self.lines.read_line(&mut self.read).expect("it is read") > 0 {}
        let output = self.child.wait_with_output().expect("it ends");
        let ran = Ran::of(&output).exits(code);
        drop(ran);
        let events = events(&self.read);
        assert_eq!(last(&events)["exit"], code);
        events
    }
}

fn runs(event: &Value) -> bool {
    event["event"] == "action_started" && event["address"] == "copy.slow/first"
}

#[test]
fn an_interrupted_apply_tells_what_was_left_and_ends_with_a_summary() {
    let sandbox = slow();
    let mut running = Running::start(&sandbox, &ALLOWED);
    running.wait_for(runs);
    running.signal(Signal::INT);
    let note = running.wait_for(|event| event["event"] == "note");
    assert!(
        note["text"]
            .as_str()
            .expect("a text")
            .contains("nothing more is begun")
    );
    let progress = running.wait_for(|event| event["event"] == "progress");
    assert_eq!(progress["address"], "copy.slow/first");
    let events = running.ended(130);
    assert_eq!(last(&events)["event"], "summary");
    let left = of(&events, "action_ended");
    let stopped = left.iter().filter(|event| event["outcome"] == "stopped");
    assert!(stopped.count() > 0, "{events:?}");
}

#[test]
fn an_apply_that_is_ended_at_once_still_writes_its_last_line() {
    let sandbox = slow();
    let mut running = Running::start(&sandbox, &ALLOWED);
    running.wait_for(runs);
    let is_note = |event: &Value| event["event"] == "note";
    for _ in 0..2 {
        running.signal(Signal::INT);
        running.wait_for(is_note);
    }
    running.signal(Signal::INT);
    let events = running.ended(130);
    // It may have stopped by itself before the third one came.
    let end = &last(&events)["event"];
    assert!(end == "error" || end == "summary", "{events:?}");
}

/// A topology with a node whose server lets nobody in and says nothing.
struct Stalled {
    sandbox: Sandbox,
    _server: Sshd,
    _relay: Relay,
}

impl Stalled {
    fn new() -> Option<Self> {
        if missing() {
            return None;
        }
        let sandbox = one_machine::sandbox("");
        let server = Sshd::start(&sandbox.join("host"), &SshdOptions::default());
        let relay = Relay::to(server.address());
        relay.freeze();
        let node = format!(
            "node \"away\" {{ ssh \"root@127.0.0.1\" port={} {{ host-key \"{}\"; identity-file \"{}\" }} }}\n",
            relay.port(),
            server.host_key(),
            server.identity().display()
        );
        sandbox.write("topology.kdl", format!("{ONE_MACHINE}{node}"));
        Some(Self {
            sandbox,
            _server: server,
            _relay: relay,
        })
    }
}

#[test]
fn a_node_that_does_not_answer_is_waited_for_with_heartbeats_and_told_with_its_failure() {
    let Some(stalled) = Stalled::new() else {
        return;
    };
    let start = Instant::now();
    let events = told(
        &stalled.sandbox,
        &["plan", "--ndjson", "--timeout", "12"],
        3,
    );
    assert!(start.elapsed() > Duration::from_secs(11));
    let heartbeats = of(&events, "heartbeat");
    assert!(!heartbeats.is_empty(), "{events:?}");
    assert_eq!(heartbeats[0]["nodes"], serde_json::json!(["away"]));
    let seen = of(&events, "observe_ended");
    let away = seen.iter().find(|event| event["node"] == "away");
    let away = away.expect("its look ended");
    assert_eq!(away["unreached"]["kind"], "timeout", "{away}");
    assert!(away["seconds"].as_f64() > Some(11.0));
    assert!(away["unreached"]["message"].is_string());
    assert_eq!(last(&events)["plan"]["unreached"], 1);
}

#[test]
fn a_plan_that_is_interrupted_while_it_waits_ends_with_code_130() {
    let Some(stalled) = Stalled::new() else {
        return;
    };
    for signal in [Signal::INT, Signal::TERM] {
        let mut running = Running::start(&stalled.sandbox, &["plan", "--ndjson"]);
        running.wait_for(|event| event["event"] == "observe_started" && event["node"] == "away");
        running.signal(signal);
        let events = running.ended(130);
        assert_eq!(last(&events)["event"], "error");
        assert_eq!(last(&events)["message"], "interrupted");
    }
}
