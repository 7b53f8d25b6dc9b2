use std::io::{Read as _, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use super::*;

fn run(script: &Script) -> Result<Output, &'static str> {
    Local::new().run(script).map_err(|error| error.kind())
}

#[test]
fn a_script_returns_output_and_status() {
    let output = run(&Script::new("echo out; echo err >&2; exit 7")).expect("it runs");
    assert_eq!(
        (output.stdout.as_slice(), output.status),
        (&b"out\n"[..], 7)
    );
    assert_eq!(output.complaint(), "err");
    assert!(!output.success());
}

#[test]
fn a_script_has_an_empty_stdin() {
    let output = run(&Script::new("cat; echo done")).expect("it runs");
    assert_eq!(output.stdout, b"done\n");
}

#[test]
fn a_long_script_with_long_output_does_not_block() {
    let mut text = "echo 0123456789abcdef0123456789abcdef\n".repeat(20_000);
    text.push_str("echo end >&2");
    let output = run(&Script::new(text)).expect("it runs");
    assert_eq!(output.stdout.len(), 20_000 * 33);
    assert_eq!(output.complaint(), "end");
}

#[test]
fn a_killed_script_is_not_a_success() {
    assert_eq!(run(&Script::new("echo half; kill -9 $$")), Err("cut"));
    assert_eq!(run(&Script::new("if")), Err("cut"));
}

#[test]
fn a_deadline_ends_the_script_and_its_children() {
    let started = Instant::now();
    let script = Script::new("sleep 30; echo late").deadline(Duration::from_millis(200));
    assert_eq!(run(&script), Err("timeout"));
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn an_abandoned_child_that_holds_the_streams_does_not_delay_the_result() {
    let started = Instant::now();
    let output = run(&Script::new("sleep 5 & echo done")).expect("it runs");
    assert_eq!(output.stdout, b"done\n");
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[test]
fn output_over_the_limit_is_refused() {
    let script =
        Script::new("while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done").output_max(1000);
    assert_eq!(run(&script), Err("too-much-output"));
}

#[test]
fn a_channel_is_duplex_and_knows_its_end() {
    let Channel {
        mut stdin,
        mut stdout,
        process,
    } = Local::new()
        .open(&Launch::new(["cat"]))
        .expect("cat starts");
    let writer = thread::spawn(move || {
        let block = vec![7_u8; 1 << 20];
        for _ in 0..4 {
            stdin.write_all(&block).expect("cat reads");
        }
    });
    let mut echoed = Vec::new();
    stdout.read_to_end(&mut echoed).expect("cat writes");
    writer.join().expect("the writer ends");
    assert_eq!(echoed.len(), 4 << 20);
    assert!(process.wait().expect("cat ends").success());
}

#[test]
fn a_failing_program_says_why() {
    let channel = Local::new()
        .open(&Launch::new(["sh", "-c", "echo no >&2; exit 3"]))
        .expect("sh starts");
    let exit = channel.process.wait().expect("sh ends");
    assert_eq!((exit.status, exit.complaint().as_str()), (3, "no"));
}

#[test]
fn dropping_or_killing_a_channel_ends_the_program() {
    let started = Instant::now();
    let channel = Local::new()
        .open(&Launch::new(["sleep", "30"]))
        .expect("sleep starts");
    drop(channel);
    let channel = Local::new()
        .open(&Launch::new(["sleep", "30"]))
        .expect("sleep starts");
    let killer = channel.process.killer();
    let waiter = thread::spawn(move || channel.process.wait());
    killer.kill();
    let exit = waiter.join().expect("no panic").expect("it ends");
    assert_eq!(exit.status, 137);
    killer.kill();
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn an_absent_program_is_named() {
    let refused = Local::new().open(&Launch::new(["/no/such/program"]));
    assert_eq!(
        refused.map(|_| ()).map_err(|error| error.kind()),
        Err("no-such-program")
    );
}
