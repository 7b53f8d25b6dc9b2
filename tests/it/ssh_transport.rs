//! Scripts and channels against real OpenSSH servers.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use bkpctl::transport::{
    Channel, Launch, Output, Script, Ssh, SshTarget, Transport, TransportError, shell_assign,
};

use crate::support::relay::Relay;
use crate::support::sshd::{self, Sshd, SshdOptions};

fn kind<T>(result: Result<T, TransportError>) -> &'static str {
    result.map_or_else(|error| error.kind(), |_| "ok")
}

fn through_relay(server: &Sshd) -> (Relay, Ssh) {
    let relay = Relay::to(server.address());
    let target = SshTarget {
        host: "127.0.0.1".into(),
        port: Some(relay.port()),
        connect_within: Duration::from_secs(5),
        ..server.target()
    };
    let ssh = Ssh::new(&target).expect("the target is well-formed");
    (relay, ssh)
}

/// Bytes that neither compress nor repeat, the same for the same seed.
fn noise(len: usize, mut seed: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        bytes.extend_from_slice(&seed.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

#[test]
fn scripts_return_output_status_and_complaints() {
    if sshd::missing() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let server = Sshd::start(dir.path(), &SshdOptions::default());
    let ssh = server.ssh();
    let awkward = "a 'b' \"c\" $(id) `id` \\ !x\nü";
    let text = format!(
        "{}printf %s \"$x\"; cat; echo oops >&2; exit 5",
        shell_assign("x", awkward)
    );
    let output = ssh.run(&Script::new(text)).expect("it runs");
    assert_eq!(
        output,
        Output {
            stdout: awkward.into(),
            stderr: b"oops\n".to_vec(),
            status: 5
        }
    );

    let long = "echo 0123456789abcdef0123456789abcdef\n".repeat(60_000);
    let output = ssh
        .run(&Script::new(long).output_max(4 << 20))
        .expect("it runs");
    assert_eq!(output.stdout.len(), 60_000 * 33);
    let expected = format!("{}@{}", sshd::login_name(), server.address());
    assert_eq!(ssh.describe(), expected);
}

#[test]
fn what_ended_early_is_never_a_success() {
    if sshd::missing() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let server = Sshd::start(dir.path(), &SshdOptions::default());
    let ssh = server.ssh();
    assert_eq!(kind(ssh.run(&Script::new("echo half; kill -9 $$"))), "cut");
    assert_eq!(
        kind(ssh.run(&Script::new("kill -9 $PPID; kill -9 $$"))),
        "cut"
    );
    assert_eq!(kind(ssh.run(&Script::new("echo $("))), "cut");
    let flood = Script::new("while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done")
        .output_max(1000);
    assert_eq!(kind(ssh.run(&flood)), "too-much-output");
    let started = Instant::now();
    let slow = Script::new("sleep 20; echo late").deadline(Duration::from_millis(400));
    assert_eq!(kind(ssh.run(&slow)), "timeout");
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(
        kind(ssh.run(&Script::new("true"))),
        "ok",
        "the next script gets a new session"
    );
}

#[test]
fn a_lost_connection_is_an_error_for_scripts_and_channels() {
    if sshd::missing() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let server = Sshd::start(dir.path(), &SshdOptions::default());
    let (relay, ssh) = through_relay(&server);
    assert_eq!(kind(ssh.run(&Script::new("true"))), "ok");
    relay.cut();
    assert_eq!(
        kind(ssh.run(&Script::new("true"))),
        "ok",
        "an idle session is opened again"
    );

    let mut channel = ssh.open(&Launch::new(["cat"])).expect("it starts");
    thread::scope(|scope| {
        let running = scope.spawn(|| ssh.run(&Script::new("sleep 5")));
        thread::sleep(Duration::from_millis(500));
        relay.cut();
        assert_eq!(kind(running.join().expect("no panic")), "cut");
    });
    let mut rest = Vec::new();
    channel
        .stdout
        .read_to_end(&mut rest)
        .expect("the stream ends");
    assert_eq!(kind(channel.process.wait()), "cut");
    drop(channel.stdin);
}

#[test]
fn a_frozen_connection_is_left_at_the_deadline() {
    if sshd::missing() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let server = Sshd::start(dir.path(), &SshdOptions::default());
    let (relay, ssh) = through_relay(&server);
    assert_eq!(kind(ssh.run(&Script::new("true"))), "ok");
    relay.freeze();
    let started = Instant::now();
    let script = Script::new("true").deadline(Duration::from_millis(500));
    let error = ssh.run(&script);
    assert!(["timeout", "cut"].contains(&kind(error)));
    assert!(started.elapsed() < Duration::from_secs(25));
}

#[test]
fn a_login_shell_that_prints_disturbs_nothing() {
    if sshd::missing() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let shell = dir.path().join("shell");
    let text = "#!/bin/bash\necho 'Welcome! Today is a good day'\necho 'and to you' >&2\nbash -c \"$SSH_ORIGINAL_COMMAND\"\nrc=$?\necho bye\nexit $rc\n";
    fs::write(&shell, text).expect("written");
    fs::set_permissions(&shell, fs::Permissions::from_mode(0o755)).expect("changed");
    let banner = dir.path().join("banner");
    fs::write(&banner, "*** authorised use only ***\n").expect("written");
    let options = SshdOptions {
        config: format!(
            "ForceCommand {}\nBanner {}\n",
            shell.display(),
            banner.display()
        ),
        ..SshdOptions::default()
    };
    let server = Sshd::start(&dir.path().join("sshd"), &options);
    let ssh = server.ssh();
    let output = ssh.run(&Script::new("echo fact; exit 3")).expect("it runs");
    assert_eq!(
        (output.stdout.as_slice(), output.status),
        (&b"fact\n"[..], 3)
    );
    let channel = ssh
        .open(&Launch::new(["echo", "a fact"]))
        .expect("it starts");
    drop(channel.stdin);
    let mut bytes = String::new();
    { channel.stdout }
        .read_to_string(&mut bytes)
        .expect("it is text");
    assert_eq!(
        bytes, "a fact\nbye\n",
        "noise before the program is dropped; after it, it cannot be told apart"
    );
    assert!(channel.process.wait().expect("it ends").success());
}

#[test]
fn fifty_megabytes_come_back_unchanged_both_ways_at_once() {
    if sshd::missing() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let server = Sshd::start(dir.path(), &SshdOptions::default());
    let Channel {
        mut stdin,
        mut stdout,
        process,
    } = server.ssh().open(&Launch::new(["cat"])).expect("it starts");
    let sent = noise(50 << 20, 7);
    let digest = blake3::hash(&sent);
    let writer = thread::spawn(move || {
        stdin.write_all(&sent).expect("cat reads");
        // Dropping the writing half here is what ends cat.
    });
    let mut hasher = blake3::Hasher::new();
    std::io::copy(&mut stdout, &mut hasher).expect("cat writes");
    writer.join().expect("no panic");
    assert_eq!(hasher.finalize(), digest);
    assert!(process.wait().expect("cat ends").success());
}

#[test]
fn a_reader_that_waits_loses_nothing() {
    if sshd::missing() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let server = Sshd::start(dir.path(), &SshdOptions::default());
    let launch = Launch::new(["sh", "-c", "head -c 30000000 /dev/zero; echo done >&2"]);
    let mut channel = server.ssh().open(&launch).expect("it starts");
    thread::sleep(Duration::from_millis(600));
    let mut bytes = Vec::new();
    channel.stdout.read_to_end(&mut bytes).expect("it ends");
    assert_eq!(bytes.len(), 30_000_000);
    let exit = channel.process.wait().expect("it ends");
    assert_eq!((exit.status, exit.complaint().as_str()), (0, "done"));
}

#[test]
fn programs_get_their_arguments_and_tell_their_end() {
    if sshd::missing() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let server = Sshd::start(dir.path(), &SshdOptions::default());
    let ssh = server.ssh();
    let args = ["printf", "%s|", "two words", "", "$(id)", "'\"\\!", "*"];
    let mut channel = ssh.open(&Launch::new(args)).expect("it starts");
    let mut text = String::new();
    channel
        .stdout
        .read_to_string(&mut text)
        .expect("it is text");
    assert_eq!(text, "two words||$(id)|'\"\\!|*|");
    assert!(channel.process.wait().expect("it ends").success());

    let channel = ssh
        .open(&Launch::new(["sh", "-c", "echo why >&2; exit 9"]))
        .expect("it starts");
    let exit = channel.process.wait().expect("it ends");
    assert_eq!((exit.status, exit.complaint().as_str()), (9, "why"));

    let absent = ssh.open(&Launch::new(["/opt/no such program"]));
    assert_eq!(kind(absent), "no-such-program");

    let started = Instant::now();
    let channel = ssh.open(&Launch::new(["sleep", "30"])).expect("it starts");
    let killer = channel.process.killer();
    let waiter = thread::spawn(move || channel.process.wait());
    killer.kill();
    assert!(!waiter.join().expect("no panic").expect("it ends").success());
    drop(ssh.open(&Launch::new(["sleep", "30"])).expect("it starts"));
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn files_are_placed_whole() {
    if sshd::missing() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let server = Sshd::start(&dir.path().join("sshd"), &SshdOptions::default());
    let ssh = server.ssh();
    let path = dir.path().join("bin dir/agent");
    let name = path.to_str().expect("utf-8");
    for data in [noise(7_000_001, 3), b"small".to_vec()] {
        ssh.upload(name, 0o750, true, &data).expect("it is placed");
        assert_eq!(fs::read(&path).expect("readable"), data);
        assert_eq!(
            fs::metadata(&path).expect("there").permissions().mode() & 0o7777,
            0o750
        );
    }
    let folder = dir.path().to_str().expect("utf-8");
    let error = ssh
        .upload(folder, 0o644, false, b"x")
        .expect_err("a folder is in the way");
    assert!(
        error.to_string().contains("a folder has that name"),
        "{error}"
    );
    assert!(Path::new(folder).is_dir());
}

#[test]
fn scripts_run_while_a_channel_is_open() {
    if sshd::missing() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let server = Sshd::start(dir.path(), &SshdOptions::default());
    let ssh = server.ssh();
    let mut channel = ssh.open(&Launch::new(["cat"])).expect("it starts");
    for round in 0_u8..10 {
        assert_eq!(kind(ssh.run(&Script::new("true"))), "ok");
        channel.stdin.write_all(&[round]).expect("cat reads");
        let mut byte = [0];
        channel.stdout.read_exact(&mut byte).expect("cat writes");
        assert_eq!(byte, [round]);
    }
}
