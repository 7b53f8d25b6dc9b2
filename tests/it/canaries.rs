//! Secrets stay where they are: none in a plan, a log, an argument, an environment, a journal, a
//! repository, or what a process leaves when it dies.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::sandbox::{Ran, Sandbox};
use crate::support::skip;
use crate::support::sshd::{Sshd, SshdOptions, missing};
use crate::support::tree::each_below;

/// What must be nowhere, and what it is.
struct Canaries(Vec<(&'static str, String)>);

/// Words that no text holds by chance.
fn canary(nth: usize) -> String {
    format!(
        "canary{nth:02}Zq7Xw{:x}",
        0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(nth as u64 + 1)
    )
}

impl Canaries {
    fn plain(&self) -> &[(&'static str, String)] {
        &self.0
    }

    /// Returns what of all secrets is found in some bytes.
    fn in_bytes(&self, bytes: &[u8]) -> Vec<&'static str> {
        let finder = |text: &str| {
            let needle = text.as_bytes();
            bytes.windows(needle.len()).any(|part| part == needle)
        };
        let found = self.0.iter().filter(|(_, text)| finder(text));
        found.map(|(what, _)| *what).collect()
    }

    #[track_caller]
    fn are_not_in(&self, place: &str, bytes: &[u8]) {
        let found = self.in_bytes(bytes);
        assert!(found.is_empty(), "{place} holds {}", found.join(", "));
    }
}

/// A controller, a machine with a source and a datastore on it, and secrets all over.
struct Scene {
    sandbox: Sandbox,
    _host: Sshd,
    canaries: Canaries,
}

/// The names of variables that hold secrets where bkpctl runs.
const VARIABLES: [&str; 5] = [
    "BKPCTL_PASSPHRASE",
    "AWS_SECRET_ACCESS_KEY",
    "GITHUB_TOKEN",
    "PGPASSWORD",
    "SOME_SECRET",
];

impl Scene {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let host = Sshd::start(&sandbox.join("host"), &SshdOptions::default());
        let mut canaries: Vec<(&'static str, String)> = Vec::new();
        let mut next = |what: &'static str| {
            let text = canary(canaries.len());
            canaries.push((what, text.clone()));
            text
        };
        for variable in VARIABLES {
            next(variable);
        }
        let content = next("a file's content");
        sandbox.write("data/file", format!("{content}\n").repeat(9000));
        sandbox.write("home/.aws/credentials", next("cloud credentials"));
        sandbox.write("home/.netrc", next("logins of other programs"));
        let output = next("a program's output");
        sandbox.write(
            "program",
            format!("#!/bin/sh\ntouch running; sleep 3; echo {output}\n"),
        );
        fs::set_permissions(
            sandbox.join("program"),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .expect("a mode");
        let ssh_key = fs::read_to_string(host.identity()).expect("the login's key");
        let ssh_key = ssh_key
            .lines()
            .nth(2)
            .expect("a line of the key")
            .to_owned();
        canaries.push(("the login's key", ssh_key));
        sandbox.run(&["key", "new", "--help"]).exits(0);
        let topology = format!(
            r#"topology "secrets" id="secrets01"
node "host" {{
    ssh "root@{}" port={} {{ host-key "{}"; identity-file "{}" }}
    agent path="{}"
}}
node "here" {{ local; agent path="state-here" }}
key "lab" {{ file "lab.key" }}
datastore "store" {{ place "host" path="{}"; keep last=3 }}
source "data" on="host" {{ path "{}" }}
source "dump" on="host" {{ command "{}"; name "out" }}
phase "baseline" {{
    backup "nightly" {{ source "data" "dump"; to "store"; at "02:00" }}
    drill "proof" {{ source "data"; from "store"; on "here"; every "7d" }}
}}
"#,
            host.address().ip(),
            host.address().port(),
            host.host_key(),
            host.identity().display(),
            sandbox.join("state").display(),
            sandbox.join("store").display(),
            sandbox.join("data").display(),
            sandbox.join("program").display(),
        );
        sandbox.write("topology.kdl", topology);
        let scene = Self {
            sandbox,
            _host: host,
            canaries: Canaries(canaries),
        };
        scene.with_reading_key()
    }

    fn with_reading_key(mut self) -> Self {
        self.run(&["key", "new", "lab", "--sheet", "sheet.txt"])
            .exits(0);
        let sheet = fs::read_to_string(self.sandbox.join("sheet.txt")).expect("the sheet");
        let is_code = |line: &&str| {
            let groups: Vec<&str> = line.trim().split('-').collect();
            groups.len() >= 2 && groups.iter().all(|group| group.len() == 7)
        };
        let code: Vec<&str> = sheet.lines().filter(is_code).map(str::trim).collect();
        assert!(!code.is_empty(), "no code on the sheet:\n{sheet}");
        self.sandbox.write("code.txt", code.join("-"));
        self.run(&["key", "confirm", "lab", "--code-file", "code.txt"])
            .exits(0);
        self.canaries
            .0
            .push(("the recovery code", code[0].to_owned()));
        let key = fs::read_to_string(self.sandbox.join("lab.key")).expect("the reading key");
        let secret = key
            .split(|c: char| c.is_whitespace() || "\":,".contains(c))
            .filter(|word| word.len() >= 40)
            .map(str::to_owned)
            .collect::<Vec<_>>();
        let domain = self.run(&["plan", "--json"]).stdout;
        let secret = secret
            .into_iter()
            .filter(|word| !domain.contains(word.as_str()));
        let before = self.canaries.0.len();
        self.canaries
            .0
            .extend(secret.map(|word| ("the reading key", word)));
        assert!(
            self.canaries.0.len() > before,
            "no secret in the key file: {key}"
        );
        self
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = self.sandbox.command(arguments);
        for (name, (_, value)) in VARIABLES.iter().zip(self.canaries.plain()) {
            command.env(name, value);
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&self.command(arguments).output().expect("the binary runs"))
    }

    fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts")
    }
}

/// Looks at the arguments of all processes, and at the environments of those that bkpctl started.
fn watch(controller: u32, canaries: &Canaries, until: &AtomicBool) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    while !until.load(Ordering::Relaxed) {
        for entry in fs::read_dir("/proc").expect("proc").flatten() {
            let Ok(id) = entry.file_name().to_string_lossy().parse::<u32>() else {
                continue;
            };
            // The test itself, and what it was told, are not what is looked for.
            if id == std::process::id() {
                continue;
            }
            let read = |what: &str| fs::read(entry.path().join(what)).unwrap_or_default();
            let arguments = read("cmdline");
            let mut note = |place: &str, bytes: &[u8]| {
                for what in canaries.in_bytes(bytes) {
                    let program = String::from_utf8_lossy(&arguments).replace('\0', " ");
                    found.insert(format!("{what} in the {place} of {program}"));
                }
            };
            note("arguments", &arguments);
            // What a person gave to the controller is there, as whoever started it knows.
            if id != controller {
                note("environment", &read("environ"));
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
    found
}

#[test]
fn no_secret_is_in_a_plan_a_log_an_argument_an_environment_a_journal_or_a_repository() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root sees the environments of other users' processes");
    }
    if missing() {
        return;
    }
    let scene = Scene::new();
    assert!(scene.canaries.plain().len() >= 12);
    let mut said = Vec::new();
    let mut say = |ran: Ran| said.extend([ran.stdout, ran.stderr]);
    say(scene.run(&["plan", "--detail", "-o", "plan.json"]));
    say(scene.run(&["plan", "--json"]));
    say(scene.run(&["plan", "--md"]));
    say(scene.run(&["observe"]));
    say(scene.run(&["collect", "--out", "bundle.json"]));
    let apply = scene.start(&[
        "apply",
        "plan.json",
        "--auto-approve",
        "--allow",
        "source.dump:command",
    ]);
    let over = AtomicBool::new(false);
    let controller = apply.id();
    let (ran, seen) = thread::scope(|scope| {
        let watching = scope.spawn(|| watch(controller, &scene.canaries, &over));
        let ran = Ran::of(&apply.wait_with_output().expect("it ends"));
        over.store(true, Ordering::Relaxed);
        (ran, watching.join().expect("it watched"))
    });
    let ran = ran.exits(0);
    assert_eq!(seen, BTreeSet::new());
    let mut say = |ran: Ran| said.extend([ran.stdout, ran.stderr]);
    say(ran);
    for arguments in [
        &["log", "--detail"][..],
        &["log", "--json"],
        &["status", "--json"],
        &["snapshots", "--json"],
        &["run", "nightly", "--json"],
    ] {
        say(scene.run(arguments));
    }
    scene
        .canaries
        .are_not_in("what was printed", said.concat().as_bytes());
    for file in ["plan.json", "bundle.json"] {
        let bytes = fs::read(scene.sandbox.join(file)).expect("it was written");
        scene.canaries.are_not_in(file, &bytes);
    }
    for folder in ["state", "state-here", "store"] {
        let mut files = 0;
        each_below(&scene.sandbox.join(folder), &mut |path: &Path, meta| {
            // The binary is no secret, and is long.
            if meta.is_file() && !path.to_string_lossy().contains("/bin/bkpctl-") {
                let bytes = fs::read(path).expect("a readable file");
                scene
                    .canaries
                    .are_not_in(&path.display().to_string(), &bytes);
                files += 1;
            }
        });
        assert!(files > 0, "{folder} holds nothing to look at");
    }
}

#[test]
fn a_process_that_holds_secrets_leaves_no_core_when_it_dies() {
    if missing() {
        return;
    }
    let scene = Scene::new();
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-c", "ulimit -c unlimited; exec \"$@\"", "sh"])
        .arg(env!("CARGO_BIN_EXE_bkpctl"))
        .args(["apply", "--auto-approve", "--allow", "source.dump:command"])
        .current_dir(scene.sandbox.path())
        .env("HOME", scene.sandbox.join("home"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut apply = shell.spawn().expect("it starts");
    let id = i32::try_from(apply.id()).expect("a process id");
    let id = rustix::process::Pid::from_raw(id).expect("a process id");
    thread::sleep(Duration::from_millis(1500));
    // Whatever it does by then, it must not be readable by others of its user, nor leave a core.
    let limits = fs::read_to_string(format!("/proc/{}/limits", apply.id()));
    if let Ok(limits) = limits {
        let core = limits
            .lines()
            .find(|line| line.starts_with("Max core file size"));
        assert!(core.is_some_and(|line| line.contains(" 0 ")), "{limits}");
    }
    let _ = rustix::process::kill_process(id, rustix::process::Signal::ABORT);
    let _ = apply.wait();
    let mut cores = Vec::new();
    each_below(scene.sandbox.path(), &mut |path: &Path, _| {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with("core") {
            cores.push(name);
        }
    });
    assert_eq!(cores, Vec::<String>::new());
}
