//! An apply over SSH that loses its connection at a step of the node's journal: what ran may
//! still end there, the rest is told as not done, and the next apply goes on from the truth.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bkpctl::model::JournalLine;
use bkpctl::model::journal::Event;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::relay::Relay;
use crate::support::sandbox::{Ran, Sandbox};
use crate::support::sshd::{Sshd, SshdOptions, login_name, missing};
use crate::support::tree::make_tree;
use crate::support::{skip, stride};

/// Where in the writing of a line the agent is when its connection goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    /// The journal is open, and nothing of the line is in it.
    Before,
    /// The line is durable, and nobody has heard of it.
    After,
}

/// What becomes of the agent whose connection is gone.
#[derive(Debug, Clone, Copy)]
enum Agent {
    /// It goes on until it notices.
    LivesOn,
    /// It is gone too, as when the machine loses its power.
    Dies,
}

/// A node behind a relay, whose server and agent are watched system call by system call.
struct Far {
    sandbox: Sandbox,
    relay: Relay,
    trace: PathBuf,
    /// Makes every agent stop, so it must be gone before the next one comes.
    watcher: Child,
    point: Point,
    server: Sshd,
}

impl Far {
    /// Starts a server whose agent stops dead each time it comes to a point.
    fn stopping_at(point: Point) -> Self {
        let sandbox = Sandbox::new();
        let trace = sandbox.join("trace");
        let journal = sandbox.join("state/cut/far/journal.ndjson");
        let call = match point {
            Point::Before => "openat",
            Point::After => "fsync",
        };
        let server = Sshd::start(&sandbox.join("far"), &SshdOptions::default());
        let mut watcher = Command::new("strace")
            .args(["-f", "-o"])
            .arg(&trace)
            .arg("-P")
            .arg(&journal)
            .args(["-e", &format!("trace={call}")])
            .args(["-e", &format!("inject={call}:signal=STOP")])
            .args(["-p", &server.process().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace starts");
        let mut said = BufReader::new(watcher.stderr.take().expect("it is piped"));
        let mut line = String::new();
        while !line.contains("attached") {
            line.clear();
            let read = said.read_line(&mut line).expect("it speaks");
            assert!(read > 0, "strace ended without watching the server");
        }
        // It goes on to say which processes come and go.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        let relay = Relay::to(server.address());
        let far = Self {
            sandbox,
            relay,
            trace,
            watcher,
            point,
            server,
        };
        far.sandbox.write("topology.kdl", far.topology());
        for folder in ["data", "scratch"] {
            fs::create_dir(far.sandbox.join(folder)).expect("a folder");
        }
        make_tree(&far.sandbox.join("data"));
        far
    }

    fn topology(&self) -> String {
        let path = |name: &str| self.sandbox.join(name).display().to_string();
        format!(
            r#"topology "cut" id="cutoff0001"
node "here" {{ local; agent path="state-here" }}
node "far" {{
    ssh "{}@127.0.0.1" port={} {{ host-key "{}"; identity-file "{}" }}
    agent path="{}"
    scratch "{}"
    reader
}}
key "lab" {{ file "lab.key"; create }}
datastore "first" {{ place "far" path="{}"; keep last=3 }}
datastore "second" {{ place "far" path="{}"; keep last=3 }}
source "data" on="far" {{ path "{}" }}
phase "baseline" {{
    backup "nightly" {{ source "data"; to "first"; at "02:00" }}
    sync "again" {{ from "first"; to "second"; at "04:00" }}
    drill "proof" {{ source "data"; from "second"; on "far"; every "7d" }}
}}
"#,
            login_name(),
            self.relay.port(),
            self.server.host_key(),
            self.server.identity().display(),
            path("state"),
            path("scratch"),
            path("first"),
            path("second"),
            path("data"),
        )
    }

    fn journal(&self) -> Vec<JournalLine> {
        let path = self.sandbox.join("state/cut/far/journal.ndjson");
        let text = fs::read(path).unwrap_or_default();
        text.split(|byte| *byte == b'\n')
            .filter_map(JournalLine::read)
            .collect()
    }

    fn count(&self, datastore: &str) -> usize {
        let ran = self
            .sandbox
            .run(&["snapshots", "--from", datastore, "--json"]);
        let found: Value = serde_json::from_str(&ran.exits(0).stdout).expect("JSON");
        found["snapshots"].as_array().map_or(0, Vec::len)
    }

    /// Runs an apply whose connection is cut where the agent comes to its point for the nth time;
    /// none if it never does.
    fn cut_apply(&mut self, nth: usize, agent: Agent) -> Option<Ran> {
        let apply = self
            .sandbox
            .command(&["apply", "--auto-approve", "--parallel", "1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let stopped = self.await_stop(apply.id(), nth);
        if let Some(process) = stopped {
            self.relay.cut();
            let signal = match agent {
                Agent::LivesOn => Signal::CONT,
                Agent::Dies => Signal::KILL,
            };
            kill_process(process, signal).expect("it is stopped and not gone");
        }
        let ran = Ran::of(&apply.wait_with_output().expect("it ends"));
        self.watch_no_more();
        stopped.map(|_| ran)
    }

    /// Takes the watcher off the server, which runs on.
    fn watch_no_more(&mut self) {
        let id = i32::try_from(self.watcher.id()).expect("a process id");
        let id = Pid::from_raw(id).expect("a process id");
        // Only when asked to end does it let its processes go first.
        kill_process(id, Signal::TERM).expect("it runs");
        self.watcher.wait().expect("it ends");
    }

    /// Lets the agent go on until it stops for the nth time, and returns its id; none if the apply
    /// ends before that.
    fn await_stop(&self, apply: u32, nth: usize) -> Option<Pid> {
        let start = Instant::now();
        let mut passed = 0;
        while !has_ended(apply) {
            if let Some(process) = self.stopped(passed + 1) {
                passed += 1;
                if passed == nth {
                    return Some(process);
                }
                kill_process(process, Signal::CONT).expect("it is stopped and not gone");
            }
            assert!(
                start.elapsed() < Duration::from_mins(2),
                "the apply goes on and on"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }

    /// Returns the process that has come to the point for the nth time and stands still.
    fn stopped(&self, nth: usize) -> Option<Pid> {
        let text = fs::read_to_string(&self.trace).unwrap_or_default();
        let mut lines = text.lines();
        // Each of its threads says that it stands still, but only one got the signal.
        let signal = lines
            .by_ref()
            .filter(|line| line.contains("--- SIGSTOP {"))
            .nth(nth - 1)?;
        let process = signal.split_whitespace().next()?;
        lines.find(|line| line.contains("--- stopped by SIGSTOP ---"))?;
        Pid::from_raw(process.parse().ok()?)
    }

    /// Demands that an apply finds out what is true, and that the rest is done once.
    fn goes_on(&self, what: &str) {
        let ran = self
            .when_free(&["apply", "--resume", "--auto-approve"])
            .exits(0);
        if ran.stdout.contains("Nothing to resume") {
            // Either nothing was begun, or its end was written down and only not heard of.
            match self.journal().last() {
                None => drop(self.when_free(&["apply", "--auto-approve"]).exits(0)),
                Some(last) => assert_eq!(last.event, Event::Closed, "{what}: {}", ran.stdout),
            }
        } else {
            ran.says("Resumes what was begun");
        }
        self.sandbox
            .run(&["plan", "--detailed-exitcode"])
            .exits(0)
            .says("In sync");
        assert_eq!(
            (self.count("first"), self.count("second")),
            (1, 1),
            "{what}"
        );
        let lines = self.journal();
        let mut done: Vec<_> = lines
            .iter()
            .filter(|line| line.event.word() == "done")
            .map(|line| (&line.address, &line.words))
            .collect();
        done.sort();
        for pair in done.windows(2) {
            assert_ne!(pair[0], pair[1], "{what}: done twice");
        }
        for datastore in ["first", "second"] {
            let store = self.sandbox.join(datastore);
            let store = store.to_str().expect("a plain path");
            let verify = [
                "store",
                "verify",
                store,
                "--read-data",
                "--key-file",
                "lab.key",
            ];
            self.sandbox.run(&verify).exits(0);
        }
    }

    /// Runs a command again as long as the agent of the lost connection holds the node.
    fn when_free(&self, arguments: &[&str]) -> Ran {
        let start = Instant::now();
        loop {
            let ran = self.sandbox.run(arguments);
            if ran.code != 7 || start.elapsed() > Duration::from_secs(40) {
                return ran;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        // It is gone already, unless something failed.
        let _ = self.watcher.kill();
        let _ = self.watcher.wait();
    }
}

/// Tells whether a child of ours has ended, and leaves it to be waited for.
fn has_ended(child: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().map(str::trim_start);
    state.is_none_or(|state| state.is_empty() || state.starts_with(['Z', 'X']))
}

fn runnable() -> bool {
    if missing() {
        return false;
    }
    let ran = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "true"])
        .output();
    let works = ran.is_ok_and(|output| output.status.success());
    if !works {
        skip("strace can't be run, so no connection is cut at a step of a journal");
    }
    works
}

/// Cuts an apply at every point of a kind, or at every seventh.
fn cut_everywhere(point: Point, agent: Agent, first: usize) {
    let mut nth = first;
    loop {
        let mut far = Far::stopping_at(point);
        let what = format!("{:?} {nth}, and the agent {agent:?}", far.point);
        let Some(ran) = far.cut_apply(nth, agent) else {
            assert!(nth > 20, "{what}: the journal was written only {nth} times");
            break;
        };
        // At the last line all is done: only the end itself can be missing from the journal.
        let is_told = match ran.code {
            0 => ran.stderr.contains("the end could not be written down"),
            code => [1, 6].contains(&code),
        };
        assert!(
            is_told,
            "{what}: exit code {}\n{}\n{}",
            ran.code, ran.stdout, ran.stderr
        );
        far.goes_on(&what);
        nth += stride(7);
    }
}

#[test]
fn a_connection_lost_before_a_line_is_written_loses_nothing_and_nothing_is_done_twice() {
    if runnable() {
        cut_everywhere(Point::Before, Agent::LivesOn, 2);
    }
}

#[test]
fn a_connection_lost_after_a_line_is_durable_loses_nothing_and_nothing_is_done_twice() {
    if runnable() {
        cut_everywhere(Point::After, Agent::LivesOn, 1);
    }
}

#[test]
fn a_machine_lost_at_a_line_of_its_journal_loses_nothing_and_nothing_is_done_twice() {
    if runnable() {
        cut_everywhere(Point::Before, Agent::Dies, 4);
        cut_everywhere(Point::After, Agent::Dies, 6);
    }
}
