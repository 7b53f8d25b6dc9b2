//! An apply that is killed, stopped or starved: nothing is done twice, nothing is lost, and it
//! goes on where it was.

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bkpctl::model::JournalLine;
use serde_json::Value;

use crate::support::loop_mount::LoopMount;
use crate::support::one_machine::{self, ONE_MACHINE, slow};
use crate::support::sandbox::{Ran, Sandbox};
use crate::support::{skip, stride};

/// Demands that nothing is left to do, and that nothing was done twice.
#[track_caller]
fn is_done_once(sandbox: &Sandbox, after: &str) {
    sandbox
        .run(&["plan", "--detailed-exitcode"])
        .exits(0)
        .says("In sync");
    let copies = (count(sandbox, "first"), count(sandbox, "second"));
    assert_eq!(copies, (1, 1), "{after}");
}

fn count(sandbox: &Sandbox, datastore: &str) -> usize {
    let ran = sandbox.run(&["snapshots", "--from", datastore, "--json"]);
    let found: Value = serde_json::from_str(&ran.exits(0).stdout).expect("JSON");
    found["snapshots"].as_array().map_or(0, Vec::len)
}

fn journal(sandbox: &Sandbox) -> Vec<JournalLine> {
    let of = |topology: &str| sandbox.join(&format!("state/{topology}/here/journal.ndjson"));
    let text = fs::read(of("one")).or_else(|_| fs::read(of("slow")));
    let text = text.unwrap_or_default();
    text.split(|byte| *byte == b'\n')
        .filter_map(JournalLine::read)
        .collect()
}

/// Runs an apply that is killed at the nth time it writes or syncs its journal.
///
/// Returns whether it came so far.
fn killed_at(sandbox: &Sandbox, nth: usize, what: &[&str]) -> bool {
    let journal = sandbox.join("state/one/here/journal.ndjson");
    let journal = journal.to_str().expect("a plain path");
    killed(sandbox, &["-P", journal], "write,fsync", nth, what)
}

/// Runs an apply that is killed at the nth time it makes one of these system calls.
///
/// Returns whether it came so far.
fn killed(sandbox: &Sandbox, only: &[&str], calls: &str, nth: usize, what: &[&str]) -> bool {
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-qq", "-o", "/dev/null"])
        .args(only)
        .args(["-e", &format!("trace={calls}"), "-e"])
        .arg(format!("inject={calls}:signal=KILL:when={nth}"))
        .arg("--")
        .arg(env!("CARGO_BIN_EXE_bkpctl"))
        .args(["apply", "--auto-approve", "--parallel", "1"])
        .args(what)
        .current_dir(sandbox.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", sandbox.join("home"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    !strace.status().expect("strace runs").success()
}

fn has_strace() -> bool {
    let ran = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .output();
    let works = ran.is_ok_and(|output| output.status.success());
    if !works {
        skip("strace can't be run, so no apply is killed at its journal");
    }
    works
}

#[test]
fn an_apply_that_is_killed_at_any_step_of_its_journal_is_resumed_and_does_nothing_twice() {
    if !has_strace() {
        return;
    }
    let mut nth = 1;
    loop {
        let sandbox = one_machine::sandbox(ONE_MACHINE);
        if !killed_at(&sandbox, nth, &[]) {
            assert!(nth > 20, "the journal was written only {nth} times");
            break;
        }
        // A new plan that is not the old one would be new to whoever resumes.
        let began = !journal(&sandbox).is_empty();
        let ran = sandbox
            .run(&["apply", "--resume", "--auto-approve"])
            .exits(0);
        let ran = if began {
            ran.says("Resumes what was begun")
        } else {
            ran
        };
        if !began {
            ran.says("Nothing to resume");
            sandbox.run(&["apply", "--auto-approve"]).exits(0);
        }
        is_done_once(&sandbox, &format!("kill {nth}"));
        sandbox
            .run(&["apply", "--resume", "--auto-approve"])
            .exits(0)
            .says("Nothing to resume");
        for line in journal(&sandbox) {
            let again = journal(&sandbox)
                .iter()
                .filter(|other| {
                    other.event.word() == "done"
                        && line.event.word() == "done"
                        && (&other.address, &other.words) == (&line.address, &line.words)
                })
                .count();
            assert!(again <= 1, "kill {nth}: done twice: {line:?}");
        }
        nth += stride(5);
    }
}

#[test]
fn a_saved_plan_that_was_broken_off_goes_on_where_it_was() {
    if !has_strace() {
        return;
    }
    for nth in [1, 2, 9, 18] {
        let sandbox = one_machine::sandbox(ONE_MACHINE);
        sandbox.run(&["plan", "-o", "saved.json"]).exits(0);
        assert!(killed_at(&sandbox, nth, &["saved.json"]), "kill {nth}");
        if !journal(&sandbox).is_empty() {
            sandbox
                .run(&["apply", "saved.json", "--auto-approve"])
                .exits(5)
                .says("carried out before")
                .says("apply --resume");
        }
        let ran = sandbox
            .run(&["apply", "saved.json", "--resume", "--auto-approve"])
            .exits(0);
        if nth > 8 {
            ran.says("is so already");
        }
        is_done_once(&sandbox, &format!("kill {nth}"));
    }
}

#[test]
fn resuming_does_nothing_that_was_no_part_of_what_was_broken_off() {
    if !has_strace() {
        return;
    }
    let sandbox = one_machine::sandbox(ONE_MACHINE);
    assert!(killed_at(&sandbox, 9, &[]), "it was killed halfway");
    let more = ONE_MACHINE.replace(
        "phase \"baseline\" {",
        "source \"more\" on=\"here\" { path \"scratch\" }\nphase \"baseline\" {\n backup \"other\" { source \"more\"; to \"first\"; at \"03:00\" }",
    );
    sandbox.write("topology.kdl", more);
    sandbox
        .run(&["apply", "--resume", "--auto-approve"])
        .says("no part of what is resumed");
    let snapshots = sandbox
        .run(&["snapshots", "--source", "more", "--json"])
        .stdout;
    let snapshots: Value = serde_json::from_str(&snapshots).expect("JSON");
    assert_eq!(snapshots["snapshots"].as_array().map(Vec::len), Some(0));
    assert_eq!(count(&sandbox, "first"), 1);
}

#[test]
fn an_apply_that_is_killed_while_it_destroys_a_datastore_ends_that_and_touches_no_other() {
    if !has_strace() {
        return;
    }
    let gone = ONE_MACHINE
        .lines()
        .filter(|line| !line.contains("\"second\" { place") && !line.contains("sync \"again\""))
        .map(|line| line.replace("from \"second\"", "from \"first\"") + "\n")
        .collect::<String>()
        + "removed \"datastore.second\" { destroy }\n";
    let mut nth = 1;
    loop {
        let sandbox = one_machine::sandbox(ONE_MACHINE);
        sandbox.run(&["apply", "--auto-approve"]).exits(0);
        sandbox.write("second/note.txt", "somebody's");
        sandbox.write("topology.kdl", &gone);
        let allow = ["--allow", "datastore.second:destroy"];
        if !killed(&sandbox, &[], "unlink,unlinkat", nth, &allow) {
            assert!(nth > 10, "only {nth} files were removed");
            break;
        }
        sandbox
            .run(&["apply", "--resume", "--auto-approve"])
            .exits(0);
        let left: Vec<_> = fs::read_dir(sandbox.join("second"))
            .expect("the folder stays")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        assert_eq!(left, ["note.txt"], "kill {nth}");
        sandbox
            .run(&["plan", "--detailed-exitcode"])
            .exits(0)
            .says("In sync");
        assert_eq!(count(&sandbox, "first"), 1, "kill {nth}");
        let verify = [
            "store",
            "verify",
            "first",
            "--read-data",
            "--key-file",
            "demo.key",
        ];
        sandbox.run(&verify).exits(0);
        nth += stride(4);
    }
}

#[test]
fn a_part_that_was_broken_off_goes_on_as_that_part() {
    if !has_strace() {
        return;
    }
    for nth in [3, 9] {
        let sandbox = one_machine::sandbox(ONE_MACHINE);
        let part = ["--target", "copy.data/first"];
        assert!(killed_at(&sandbox, nth, &part), "kill {nth}");
        sandbox
            .run(&["apply", "--resume", "--auto-approve"])
            .exits(0)
            .says("no part of what is resumed");
        assert_eq!(count(&sandbox, "first"), 1, "kill {nth}");
        assert!(!sandbox.join("second").exists(), "kill {nth}");
        sandbox
            .run(&["apply", "--resume", "--auto-approve"])
            .exits(0)
            .says("Nothing to resume");
        sandbox.run(&["apply", "--auto-approve"]).exits(0);
        is_done_once(&sandbox, &format!("kill {nth}"));
    }
}

#[test]
fn resuming_allows_no_program_that_was_no_part_of_what_was_broken_off() {
    if !has_strace() {
        return;
    }
    let sandbox = one_machine::sandbox(ONE_MACHINE);
    assert!(killed_at(&sandbox, 5, &[]), "it was killed halfway");
    let more = ONE_MACHINE.replace(
        "phase \"baseline\" {",
        "source \"more\" on=\"here\" { command \"date\"; name \"out\" }\nphase \"baseline\" {\n backup \"other\" { source \"more\"; to \"first\"; at \"03:00\" }",
    );
    sandbox.write("topology.kdl", more);
    sandbox
        .run(&["apply", "--resume", "--auto-approve"])
        .exits(0);
    sandbox
        .run(&["apply", "--auto-approve"])
        .exits(1)
        .says("source.more:command needs an explicit yes");
}

/// Starts an apply of the slow topology and waits until its copy runs.
fn running(sandbox: &Sandbox) -> std::process::Child {
    let child = sandbox
        .command(&["apply", "--auto-approve", "--allow", "source.slow:command"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let start = Instant::now();
    while !fs::exists(sandbox.join("running")).is_ok_and(|is| is) {
        assert!(
            start.elapsed() < Duration::from_mins(1),
            "the copy never ran"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

fn signal(child: &std::process::Child, signal: rustix::process::Signal) {
    let id = i32::try_from(child.id()).expect("a process id");
    let id = rustix::process::Pid::from_raw(id).expect("a process id");
    rustix::process::kill_process(id, signal).expect("it runs");
}

fn ended(child: std::process::Child) -> Ran {
    Ran::of(&child.wait_with_output().expect("it ends"))
}

#[test]
fn the_first_interrupt_lets_what_runs_come_to_its_end_and_begins_nothing_more() {
    let sandbox = slow();
    let child = running(&sandbox);
    signal(&child, rustix::process::Signal::INT);
    ended(child)
        .exits(130)
        .says("what runs comes to its end")
        .says("stopped");
    assert_eq!(count(&sandbox, "first"), 1, "the copy that ran is complete");
    let lines = journal(&sandbox);
    let last = lines.last().expect("a journal");
    assert_eq!(last.event.word(), "broken_off", "{last:?}");
    assert!(lines.iter().all(|line| !line.words.contains("restored")));
    sandbox
        .run(&["apply", "--resume", "--auto-approve"])
        .exits(0)
        .says("Resumes what was begun")
        .says("1 proof by restore");
    assert_eq!(count(&sandbox, "first"), 1);
}

#[test]
fn the_second_interrupt_stops_what_runs_and_leaves_no_half_a_copy() {
    for signals in [
        &[rustix::process::Signal::INT, rustix::process::Signal::INT][..],
        &[rustix::process::Signal::TERM],
    ] {
        let sandbox = slow();
        let child = running(&sandbox);
        let start = Instant::now();
        for each in signals {
            signal(&child, *each);
            std::thread::sleep(Duration::from_millis(200));
        }
        ended(child).exits(130).says("stopping now");
        assert!(start.elapsed() < Duration::from_secs(30));
        assert_eq!(count(&sandbox, "first"), 0, "no copy is half there");
        // The yes to the program was given for this very plan.
        sandbox
            .run(&["apply", "--resume", "--auto-approve"])
            .exits(0)
            .says("Allowed then, and so now: source.slow:command");
        assert_eq!(count(&sandbox, "first"), 1);
    }
}

#[test]
fn of_two_applies_at_once_the_second_is_told_who_works_there_and_changes_nothing() {
    let sandbox = slow();
    let child = running(&sandbox);
    sandbox
        .run(&["apply", "--auto-approve", "--allow", "source.slow:command"])
        .exits(7)
        .says("bkpctl process")
        .says("nothing was changed");
    ended(child).exits(0);
    assert_eq!(count(&sandbox, "first"), 1);
}

#[test]
fn an_apply_that_was_asked_for_before_another_one_ended_knows_of_it() {
    let sandbox = one_machine::sandbox(ONE_MACHINE);
    let mut waiting = sandbox.open_terminal(&["apply"]);
    let mut shown = Vec::new();
    let mut stdout = waiting.stdout.take().expect("it is piped");
    while !String::from_utf8_lossy(&shown).contains("Type yes") {
        let mut some = [0; 4096];
        let n = stdout.read(&mut some).expect("it prints");
        assert!(n > 0, "{}", String::from_utf8_lossy(&shown));
        shown.extend_from_slice(&some[..n]);
    }
    sandbox.run(&["apply", "--auto-approve"]).exits(0);
    let mut stdin = waiting.stdin.take().expect("it is piped");
    stdin.write_all(b"yes\n").expect("it reads");
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).expect("it prints");
    let ended = waiting.wait().expect("it ends");
    assert_eq!(ended.code(), Some(5), "{rest}");
    assert!(
        rest.contains("another apply changed something on here"),
        "{rest}"
    );
    assert_eq!(count(&sandbox, "first"), 1);
}

#[test]
fn a_disk_that_fills_up_below_the_journal_breaks_an_apply_off_and_it_goes_on_later() {
    let sandbox = one_machine::sandbox(ONE_MACHINE);
    let Some(disk) = LoopMount::new(sandbox.path(), "state", 8) else {
        return;
    };
    let state = sandbox.join("state/one/here");
    fs::create_dir_all(&state).expect("a folder");
    fs::write(state.join("lock"), "x").expect("a file");
    fs::write(state.join("journal.ndjson"), "{}\n").expect("a file");
    let fill = disk.path().join("fill");
    let mut file = fs::File::create(&fill).expect("a file");
    let mut size = 8 << 20;
    while size > 0 {
        if file.write_all(&vec![1; size]).is_err() {
            size /= 2;
        }
    }
    drop(file);
    // What is begun can be written down, and at some step there is no room for a line any more.
    let ran = sandbox.run(&["apply", "--auto-approve"]);
    assert!([1, 6].contains(&ran.code), "{}{}", ran.stdout, ran.stderr);
    ran.says("No space left on device");
    let lines = |sandbox: &Sandbox| {
        let text = fs::read_to_string(state.join("journal.ndjson")).expect("a journal");
        let whole = text.lines().skip(1);
        assert!(text.ends_with('\n'), "{text}");
        let read: Vec<JournalLine> = whole
            .map(|line| JournalLine::read(line.as_bytes()).expect(line))
            .collect();
        let read = read.len();
        assert_eq!(read, journal(sandbox).len());
        read
    };
    let before = lines(&sandbox);
    fs::remove_file(&fill).expect("room again");
    sandbox
        .run(&["apply", "--resume", "--auto-approve"])
        .exits(0);
    sandbox.run(&["apply", "--auto-approve"]).exits(0);
    is_done_once(&sandbox, "a full disk");
    assert!(lines(&sandbox) > before);
}
