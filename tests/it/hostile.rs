//! Topologies from strangers: whatever they say, they are checked, shown and compared, and nothing
//! of it runs, is connected to, gets at a secret, drives a terminal or takes long.

mod cases;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bkpctl::model::facts::{FACTS_FORMAT, Facts};
use bkpctl::model::topology::TopologyId;

use self::cases::{CANARY, Case, OWNED};
use crate::plan_cases;
use crate::support::sandbox::{Ran, Sandbox};
use crate::support::skip;

const PROGRAM: &str = env!("CARGO_BIN_EXE_bkpctl");
/// What everything that a topology might start is called here; each of them leaves a trace.
const TRAPS: &[&str] = &[
    "awk",
    "bash",
    "busybox",
    "cat",
    "cp",
    "curl",
    "dash",
    "dump",
    "env",
    "find",
    "id",
    "less",
    "mkdir",
    "more",
    "nc",
    "node",
    "open",
    "pager",
    "perl",
    "pg_dump",
    "php",
    "python",
    "python3",
    "rm",
    "ruby",
    "scp",
    "sed",
    "sftp",
    "sh",
    "ssh",
    "ssh-keygen",
    "stat",
    "sudo",
    "tee",
    "touch",
    "vi",
    "wget",
    "xdg-open",
    "zsh",
];
/// Variables with secrets in them.
const VARIABLES: [&str; 3] = ["BKPCTL_PASSPHRASE", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN"];
/// The most processor time that a command may take, in an unoptimised build.
const CPU_SECONDS: u32 = 10;
/// The most time that may pass, with other tests beside it.
const WALL: Duration = Duration::from_mins(1);
/// The most memory that it may ask for, threads' stacks included.
const KIBIBYTES: u32 = 2 << 20;

/// A folder with a repository, programs that are traps, and secrets all around.
struct Scene {
    sandbox: Sandbox,
}

impl Scene {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        sandbox.write(
            "outside/secret.kdl",
            format!("node \"{CANARY}\" {CANARY}\n"),
        );
        sandbox.write("home/.ssh/id_ed25519", CANARY);
        for trap in TRAPS {
            let text = format!("#!/bin/sh\n: > \"{}\"\n", sandbox.join("trapped").display());
            let path = sandbox.write(&format!("bin/{trap}"), text);
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
        }
        let path = std::env::var_os("PATH").expect("a PATH");
        let git = std::env::split_paths(&path).map(|folder| folder.join("git"));
        let git = git.into_iter().find(|git| git.exists()).expect("git");
        symlink(git, sandbox.join("bin/git")).expect("a link");
        sandbox.write("ours/topology.kdl", cases::BASE);
        let (_, observed) = plan_cases::base();
        let facts = Facts {
            format: FACTS_FORMAT,
            topology: TopologyId("hostile001".to_owned()),
            at: plan_cases::now(),
            observed,
        };
        sandbox.write("facts.json", serde_json::to_vec(&facts).expect("JSON"));
        let scene = Self { sandbox };
        for arguments in [
            &["init", "--quiet", "--initial-branch=main"][..],
            &["add", "."],
            &["commit", "--quiet", "--message", "a state"],
        ] {
            let mut git = Command::new("git");
            git.args(["-c", "user.name=test", "-c", "user.email=test@localhost"]);
            let git = git.args(arguments).current_dir(scene.sandbox.join("ours"));
            assert!(git.status().expect("git runs").success());
        }
        scene
    }

    /// Makes a command that runs in the topology's folder.
    fn command(&self, program: &[&str], path: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program[0]);
        command
            .args(&program[1..])
            .arg(PROGRAM)
            .args(arguments)
            .current_dir(self.sandbox.join("ours"))
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.sandbox.join("home"))
            .stdin(Stdio::null());
        for variable in VARIABLES {
            command.env(variable, CANARY);
        }
        command
    }

    /// Runs a command with bounds on time and memory, where every other program is a trap.
    fn run(&self, arguments: &[&str]) -> Ran {
        let bounds = format!("ulimit -t {CPU_SECONDS}; ulimit -v {KIBIBYTES}; exec \"$@\"");
        let path = self.sandbox.join("bin");
        let path = path.to_str().expect("text");
        let mut command = self.command(&["/bin/sh", "-c", &bounds, "sh"], path, arguments);
        Ran::of(&command.output().expect("a shell runs"))
    }

    /// Returns what anything that a topology brought along has left behind.
    fn traces(&self) -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> = ["", "ours", "home", "outside"]
            .map(|folder| self.sandbox.join(folder).join(OWNED))
            .into();
        found.push(self.sandbox.join("trapped"));
        found.retain(|path| path.exists());
        found
    }
}

/// Returns what every command is asked for a case; forms of output take turns.
fn commands(number: usize) -> [Vec<&'static str>; 5] {
    let turn = |all: &[&'static str]| all[number % all.len()];
    [
        vec!["validate", turn(&["--quiet", "--json", "--no-color"])],
        vec!["fmt", "--check", turn(&["--quiet", "--no-color"])],
        vec!["diff", "HEAD", turn(&["--no-color", "--md", "--json"])],
        vec![
            "graph",
            "--format",
            turn(&["svg", "dot", "mermaid", "json"]),
        ],
        vec![
            "plan",
            "--facts",
            "../facts.json",
            turn(&["--detail", "--md", "--json", "--quiet"]),
        ],
    ]
}

/// Says what is wrong with what a command printed and how it ended.
fn complaints(ran: &Ran) -> Vec<String> {
    let mut wrong = Vec::new();
    let said = format!("{}{}", ran.stdout, ran.stderr);
    if !(0..=4).contains(&ran.code) {
        wrong.push(format!("it ended with {}", ran.code));
    }
    if said.contains("panicked") {
        wrong.push("it panicked".to_owned());
    }
    if said.to_lowercase().contains(&CANARY.to_lowercase()) {
        wrong.push("it shows a secret".to_owned());
    }
    let drives = |c: &char| {
        (c.is_control() && *c != '\n')
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if let Some(c) = said.chars().find(drives) {
        wrong.push(format!("it prints the control character {c:?}"));
    }
    if said.len() > 8 << 20 {
        wrong.push(format!("it prints {} bytes", said.len()));
    }
    wrong
}

/// Runs all commands on a case and says what went wrong.
fn judge(scene: &Scene, number: usize, case: &Case) -> Vec<String> {
    cases::lay_out(&scene.sandbox, case);
    let mut wrong = Vec::new();
    let mut valid = true;
    for (nth, arguments) in commands(number).into_iter().enumerate() {
        // What can't be read is told in the same way by all that come after: one of them is enough.
        if !valid && nth >= 2 && nth != 2 + number % 3 {
            continue;
        }
        let began = Instant::now();
        let ran = scene.run(&arguments);
        valid &= nth > 0 || ran.code == 0;
        let mut complaints = complaints(&ran);
        if began.elapsed() > WALL {
            complaints.push(format!("it took {:?}", began.elapsed()));
        }
        for trace in scene.traces() {
            complaints.push(format!("something ran and left {}", trace.display()));
            fs::remove_file(trace).expect("it goes");
        }
        for complaint in complaints {
            let said: String = format!("{}{}", ran.stdout, ran.stderr);
            let said: String = said.chars().take(600).collect();
            wrong.push(format!(
                "{} / {} / {}: {complaint}\n{}",
                case.family,
                case.name,
                arguments.join(" "),
                said.escape_debug()
            ));
        }
    }
    wrong
}

#[test]
fn no_topology_runs_anything_shows_a_secret_drives_a_terminal_or_takes_long() {
    let all = cases::all();
    let distinct: BTreeSet<_> = all.iter().map(|case| &case.files).collect();
    assert!(
        distinct.len() >= 400,
        "there are {} topologies",
        distinct.len()
    );
    let workers = thread::available_parallelism().map_or(2, usize::from);
    let wrong: Vec<String> = thread::scope(|scope| {
        let parts: Vec<_> = (0..workers)
            .map(|part| {
                let mine = all.iter().enumerate().skip(part).step_by(workers);
                scope.spawn(move || {
                    let scene = Scene::new();
                    mine.flat_map(|(number, case)| judge(&scene, number, case))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let parts = parts.into_iter();
        parts
            .flat_map(|part| part.join().expect("it ends"))
            .collect()
    });
    assert!(
        wrong.is_empty(),
        "{} of {} topologies, such as:\n{}",
        wrong.len(),
        all.len(),
        wrong[..wrong.len().min(12)].join("\n")
    );
}

#[test]
fn the_topology_that_the_cases_start_from_is_valid_and_traps_are_seen() {
    let scene = Scene::new();
    for arguments in commands(1) {
        let ran = scene.run(&arguments);
        let may_end = match arguments[0] {
            // It is not in form, and there is something to mend on machines that were seen.
            "fmt" | "plan" => 1,
            _ => 0,
        };
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!([0, may_end].contains(&ran.code), "{arguments:?}: {said}");
    }
    let ran = Command::new(scene.sandbox.join("bin/touch")).status();
    assert!(ran.expect("a trap").success());
    assert_eq!(scene.traces(), [scene.sandbox.join("trapped")]);
}

/// What may be started where no machine is to be reached.
const OFFLINE: [&str; 2] = ["bkpctl", "git"];

/// What a command started, and what it reached for on networks.
struct Traced {
    ran: Ran,
    /// The names of programs.
    started: BTreeSet<String>,
    /// Lines of strace about addresses that nobody declared.
    reached: Vec<String>,
}

/// Runs a command under strace.
fn trace(scene: &Scene, arguments: &[&str], hosts: &[&str]) -> Traced {
    let log = scene.sandbox.join("strace.log");
    let calls = "trace=execve,execveat,connect,sendto,sendmsg";
    let log_text = log.to_str().expect("text");
    let strace = [
        "strace", "-f", "-qq", "-s", "4096", "-e", calls, "-o", log_text,
    ];
    let path = std::env::var("PATH").expect("a PATH");
    let output = scene.command(&strace, &path, arguments).output();
    let mut traced = Traced {
        ran: Ran::of(&output.expect("strace runs")),
        started: BTreeSet::new(),
        reached: Vec::new(),
    };
    for line in fs::read_to_string(&log).expect("a log").lines() {
        let call = line
            .split_once(' ')
            .map_or(line, |(_, call)| call)
            .trim_start();
        if let Some(rest) = call.strip_prefix("execve(\"") {
            let program = Path::new(rest.split('"').next().unwrap_or_default());
            let name = program.file_name().unwrap_or_default().to_string_lossy();
            // What is only asked for the user's configuration goes nowhere; names come after `--`.
            let asks = rest.contains("[\"ssh\", \"-G\"") && rest.contains("\"--\"");
            let name = if asks { "ssh -G".into() } else { name };
            traced.started.insert(name.into_owned());
        } else if call.starts_with("execveat") {
            traced
                .started
                .insert("something by its descriptor".to_owned());
        } else if call.contains("sa_family=AF_INET")
            && !hosts.iter().any(|host| call.contains(host))
        {
            traced.reached.push(line.to_owned());
        }
    }
    traced
}

/// Says what a hostile topology had started and reached that it may not.
fn forbidden(scene: &Scene, traced: Traced, allowed: &BTreeSet<String>) -> Vec<String> {
    let mut wrong = complaints(&traced.ran);
    let started = traced.started.difference(allowed);
    wrong.extend(started.map(|program| format!("it started {program}")));
    wrong.extend(
        traced
            .reached
            .into_iter()
            .map(|line| format!("it reached for {line}")),
    );
    for trace in scene.traces() {
        wrong.push(format!("something ran and left {}", trace.display()));
        fs::remove_file(trace).expect("it goes");
    }
    wrong
}

#[test]
fn no_system_call_starts_or_reaches_what_a_topology_has_no_say_in() {
    let works = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .status();
    if !works.is_ok_and(|status| status.success()) {
        skip("strace can't be run, so nobody watched what hostile topologies start");
        return;
    }
    let scene = Scene::new();
    let offline = OFFLINE.map(str::to_owned).into();
    // Nothing listens at the declared hosts. What a look needs is what the harmless topology needs.
    let live = ["plan", "--timeout", "2"];
    let declared = [r#"inet_addr("127.0.0.1")"#, r#"inet_addr("127.0.0.2")"#];
    let harmless = trace(&scene, &live, &declared);
    assert_eq!(harmless.reached, [""; 0]);
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (number, case) in cases::all().iter().enumerate() {
        // Some of each family, spread over its cases.
        let count = seen.entry(case.family).or_default();
        *count += 1;
        if *count % 12 != 1 {
            continue;
        }
        cases::lay_out(&scene.sandbox, case);
        let mut note = |what: &[&str], complaints: Vec<String>| {
            let about = format!("{} / {} / {}", case.family, case.name, what.join(" "));
            wrong.extend(complaints.into_iter().map(|why| format!("{about}: {why}")));
        };
        for arguments in commands(number) {
            let traced = trace(&scene, &arguments, &[]);
            note(&arguments, forbidden(&scene, traced, &offline));
        }
        // A topology that is refused reaches not even what it declares.
        let valid = scene.run(&["validate"]).code == 0;
        let hosts: &[&str] = if valid { &declared } else { &[] };
        let allowed = if valid { &harmless.started } else { &offline };
        let traced = trace(&scene, &live, hosts);
        note(&live, forbidden(&scene, traced, allowed));
    }
    assert!(
        wrong.is_empty(),
        "{}:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(12)].join("\n")
    );
}
