//! Keys that may only look: what they see, and that they can do nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use bkpctl::model::{Timestamp, Topology};
use bkpctl::observe::{ObserveOptions, observe};
use bkpctl::transport::{
    Fake, Launch, Output, Script, Ssh, SshTarget, Transport as _, TransportError,
};
use serde_json::Value;

use crate::access_cases::topology_of;
use crate::support::private_root::PrivateRoot;
use crate::support::sandbox::{Ran, Sandbox};
use crate::support::skip;
use crate::support::sshd::{Sshd, SshdOptions, keygen, login_name, missing, public_line};
use crate::support::tree::make_tree;

const PROGRAM: &str = env!("CARGO_BIN_EXE_bkpctl");

/// A machine that lets in one key for everything and one that may only look.
struct Machine {
    sandbox: Sandbox,
    sshd: Sshd,
}

impl Machine {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let options = SshdOptions {
            config: "Subsystem sftp internal-sftp\n".to_owned(),
            ..SshdOptions::default()
        };
        let sshd = Sshd::start(&sandbox.join("nas"), &options);
        keygen(&sandbox.join("look"), "ed25519", "");
        let machine = Self { sandbox, sshd };
        for (file, key) in [
            ("full.kdl", machine.sshd.identity()),
            ("look.kdl", machine.look_key()),
        ] {
            machine.sandbox.write(file, machine.topology(&key));
        }
        let line = machine.bootstrap("full.kdl", &[])["authorized_key"].take();
        let keys = machine.sandbox.join("nas/authorized_keys");
        let both = format!(
            "{}\n{}\n",
            fs::read_to_string(&keys).expect("the full key").trim_end(),
            line.as_str().expect("a line")
        );
        fs::write(keys, both).expect("written");
        fs::create_dir(machine.sandbox.join("data")).expect("a folder");
        make_tree(&machine.sandbox.join("data"));
        machine
    }

    fn look_key(&self) -> PathBuf {
        self.sandbox.join("look")
    }

    fn bootstrap(&self, topology: &str, more: &[&str]) -> Value {
        let words = [
            "bootstrap",
            "nas",
            topology,
            "--json",
            "--key",
            "look.pub",
            "--at",
            PROGRAM,
        ];
        let ran = self.sandbox.run(&[&words[..], more].concat()).exits(0);
        serde_json::from_str(&ran.stdout).expect("JSON")
    }

    fn topology(&self, key: &Path) -> String {
        format!(
            r#"topology "one" id="onlylooks1"
node "nas" {{
    ssh "{}@127.0.0.1" port={} {{ host-key "{}"; identity-file "{}" }}
    agent path="{}"
}}
node "here" {{ local; agent path="state-here" }}
key "lab" {{ file "lab.key"; create }}
datastore "primary" {{ place "nas" path="{}"; keep last=3 }}
source "data" on="nas" {{ path "{}" }}
phase "baseline" {{ backup "nightly" {{ source "data"; to "primary"; at "02:00" }} }}
policy {{ copies 1; rpo "26h" }}
"#,
            login_name(),
            self.sshd.address().port(),
            self.sshd.host_key(),
            key.display(),
            self.sandbox.join("state-nas").display(),
            self.sandbox.join("store").display(),
            self.sandbox.join("data").display(),
        )
    }

    /// Looks, and leaves out what differs between any two looks.
    fn facts(&self, topology: &str) -> Value {
        let ran = self.sandbox.run(&["observe", topology]).exits(0);
        let mut facts: Value = serde_json::from_str(&ran.stdout).expect("JSON");
        let mut nas = facts["observed"]["nodes"]["nas"]["reached"].take();
        for (_, path) in nas["paths"].as_object_mut().expect("paths") {
            path["space"].take();
        }
        nas["clock"].take();
        nas["skew_ms"].take();
        nas
    }

    fn target(&self) -> SshTarget {
        SshTarget {
            identity_file: Some(self.look_key()),
            ..self.sshd.target()
        }
    }

    /// Runs the `ssh` program with the key that may only look.
    fn ssh(&self, options: &[&str], command: &[&str], input: &str) -> Ran {
        use std::io::Write as _;
        let key = self.sshd.host_key();
        let known = format!("[127.0.0.1]:{} {key}\n", self.sshd.address().port());
        let known = self.sandbox.write("known", known);
        let mut child = Command::new("ssh")
            .args([
                "-F",
                "/dev/null",
                "-o",
                "BatchMode=yes",
                "-o",
                "IdentitiesOnly=yes",
            ])
            .arg(format!("-oUserKnownHostsFile={}", known.display()))
            .args(["-i".as_ref(), self.look_key().as_os_str()])
            .args(["-p", &self.sshd.address().port().to_string()])
            .args(options)
            .arg(format!("{}@127.0.0.1", login_name()))
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ssh is installed with sshd");
        let mut stdin = child.stdin.take().expect("it is piped");
        // What refuses may be gone before it has read everything.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        Ran::of(&child.wait_with_output().expect("it ends"))
    }
}

#[test]
fn it_sees_what_the_other_key_sees_and_plans_the_same() {
    if missing() {
        return;
    }
    let machine = Machine::new();
    let mut looked = machine.facts("look.kdl");
    assert_eq!(looked["login"]["only_looks"], true);
    looked["login"]
        .as_object_mut()
        .expect("facts")
        .remove("only_looks");
    assert_eq!(looked, machine.facts("full.kdl"));

    let refused = machine
        .sandbox
        .run(&["apply", "look.kdl", "--auto-approve"])
        .exits(1);
    refused.says("the key that nas let us in with may only look; nothing was changed");
    for made in ["store", "state-nas", "lab.key"] {
        assert!(!machine.sandbox.join(made).exists(), "{made}");
    }
    let plans = |names: [&str; 2]| {
        names.map(|name| {
            let ran = machine
                .sandbox
                .run(&["plan", name, "--json", "--detailed-exitcode"]);
            let plan: Value = serde_json::from_str(&ran.stdout).expect("JSON");
            (ran.code, plan["digest"].clone())
        })
    };
    let [looked, full] = plans(["look.kdl", "full.kdl"]);
    assert_eq!(looked, full);
    machine
        .sandbox
        .run(&["apply", "full.kdl", "--auto-approve"])
        .exits(0);
    machine
        .sandbox
        .run(&["plan", "look.kdl", "--detailed-exitcode"])
        .exits(0)
        .says("In sync");
    machine
        .sandbox
        .run(&["status", "look.kdl"])
        .exits(0)
        .says("data");
    machine
        .sandbox
        .run(&["apply", "look.kdl", "--auto-approve"])
        .exits(0);
    let said = machine
        .sandbox
        .run(&["run", "nightly", "look.kdl"])
        .exits(1);
    said.says("may only look");
    let said = machine
        .sandbox
        .run(&["leave", "nas", "look.kdl", "--auto-approve"]);
    assert_ne!(said.code, 0);
    said.says("may only look");
    let to = machine.sandbox.join("back").display().to_string();
    let restore = [
        "restore", "look.kdl", "--source", "data", "--from", "primary", "--to", &to,
    ];
    for words in [&restore[..], &["snapshots", "look.kdl"]] {
        let said = machine.sandbox.run(words);
        assert_ne!(said.code, 0, "{words:?}");
        said.says("may only look");
    }
    assert!(machine.sandbox.join("state-nas/one/nas").exists());
}

#[test]
fn it_is_told_the_journal_and_nothing_else_of_the_file() {
    if missing() {
        return;
    }
    let machine = Machine::new();
    let sandbox = &machine.sandbox;
    sandbox
        .run(&["apply", "full.kdl", "--auto-approve"])
        .exits(0);
    let journal = sandbox.join("state-nas/one/nas/journal.ndjson");
    let mut text = fs::read_to_string(&journal).expect("a journal");
    text.push_str("a line that says secret\n");
    fs::write(&journal, text).expect("written");
    let full = sandbox.run(&["log", "full.kdl", "--json"]).exits(0).stdout;
    let look = sandbox.run(&["log", "look.kdl", "--json"]).exits(0).stdout;
    assert_eq!(full, look);
    let log: Value = serde_json::from_str(&look).expect("JSON");
    assert!(look.contains("copy.data/primary") && !look.contains("secret"));
    assert_eq!(log["nodes"][1]["broken"], 1, "{look}");
}

#[test]
fn nothing_that_is_asked_of_it_runs() {
    if missing() {
        return;
    }
    let machine = Machine::new();
    let canary = machine.sandbox.join("canary");
    let touch = format!("touch {}", canary.display());
    let untouched = |what: &str| assert!(!canary.exists(), "{what}");
    for command in [&[][..], &[touch.as_str()], &["sh"], &["bkpctl", "agent"]] {
        let ran = machine.ssh(&[], command, &format!("{touch}\n"));
        assert_eq!(ran.code, 1, "{command:?}: {}", ran.stderr);
        untouched("a command of the ssh program");
        ran.says("this key may only look");
    }
    let sftp = machine.ssh(&["-s"], &["sftp"], "\0\0\0\u{5}\u{1}\0\0\0\u{3}");
    assert_eq!(sftp.code, 1, "a subsystem");
    let forward = machine.ssh(&["-W", &machine.sshd.address().to_string()], &[], "");
    assert_ne!(forward.code, 0, "a forwarding");
    assert!(!forward.stdout.contains("SSH-2"), "{}", forward.stdout);

    let ssh = Ssh::new(&machine.target()).expect("well-formed");
    let kind = |error: TransportError| error.kind();
    assert_eq!(
        ssh.run(&Script::new(touch.clone())).map_err(kind),
        Err("refused")
    );
    let launch = Launch::new(["sh", "-c", &touch]);
    assert_eq!(ssh.open(&launch).map(|_| ()).map_err(kind), Err("refused"));
    let upload = ssh.upload(canary.to_str().expect("utf-8"), 0o755, false, b"x");
    assert_eq!(upload.map_err(kind), Err("refused"));
    untouched("a script, a program, a file");
}

/// Returns the question that a look at the machine asks.
fn question(topology: &Topology) -> String {
    let heard = Arc::new(Mutex::new(String::new()));
    let (inside, options) = (Arc::clone(&heard), ObserveOptions::default());
    observe(
        topology,
        &move |_, _| {
            let heard = Arc::clone(&inside);
            Ok(Arc::new(Fake::new("x", move |script| {
                // Of the machine here nothing is of interest.
                let text = script.question.clone().unwrap_or_default();
                if text.contains("/store\"") {
                    *heard.lock().expect("no panic") = text;
                }
                Ok(Output::default())
            })))
        },
        &|| Timestamp(0),
        &options,
    );
    let text = heard.lock().expect("no panic").clone();
    assert!(text.contains("\"wanted\""), "{text}");
    text
}

#[test]
fn a_question_asks_for_facts_and_for_nothing_else() {
    if missing() {
        return;
    }
    let machine = Machine::new();
    let canary = machine.sandbox.join("canary");
    let touch = format!("touch {}", canary.display());
    let good = question(&topology_of(&machine.topology(&machine.look_key())));
    let ssh = Ssh::new(&machine.target()).expect("well-formed");
    let ask = |question: String| ssh.run(&Script::new(touch.clone()).question(question));

    let output = ask(good.clone()).expect("answered");
    assert!(
        output.stdout.starts_with(b"facts "),
        "the script behind it did not run"
    );
    let store = machine.sandbox.join("store").display().to_string();
    for (bad, why) in [
        (good.replace(&store, "store"), "is no path from the root"),
        (good.replace(&store, "/a\\n"), "is no path from the root"),
        (
            good.replace("\"manner\":\"", "\"manner\":\"x"),
            "as bkpctl bootstrap says",
        ),
        (
            good.replace("\"sudo\"", "\"script\":\"id\",\"sudo\""),
            "not understood",
        ),
        ("{".repeat(100_000), "not understood"),
        (String::new(), "not understood"),
        ("x".repeat(5 << 20), "too long"),
    ] {
        let error = ask(bad).expect_err(why);
        assert_eq!(error.kind(), "refused", "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
    let hostile = format!("/x'`{touch}`$({touch})\\\";{touch};");
    ask(good.replace(&store, &hostile)).expect("only a strange path");
    assert!(!canary.exists());
    let error = ssh
        .run(&Script::new("true"))
        .expect_err("no question")
        .to_string();
    assert!(error.contains("may only look"), "{error}");
}

#[test]
fn a_machine_between_lets_it_through_to_those_behind_and_nowhere_else() {
    if missing() {
        return;
    }
    let machine = Machine::new();
    let inner = Sshd::start(&machine.sandbox.join("inner"), &SshdOptions::default());
    let other = Sshd::start(&machine.sandbox.join("other"), &SshdOptions::default());
    let topology = format!(
        "{}node \"inner\" {{ ssh \"{}@127.0.0.1\" port={} {{ host-key \"{}\"; identity-file \"look\"; jump \"nas\" }} }}\n",
        machine.topology(&machine.look_key()),
        login_name(),
        inner.address().port(),
        inner.host_key(),
    );
    machine.sandbox.write("both.kdl", topology);
    let words = ["--key", "look.pub", "--at", PROGRAM, "--json"];
    for (node, keys) in [
        ("nas", "nas/authorized_keys"),
        ("inner", "inner/authorized_keys"),
    ] {
        let ran = machine
            .sandbox
            .run(&[&["bootstrap", node, "both.kdl"], &words[..]].concat());
        let printed: Value = serde_json::from_str(&ran.exits(0).stdout).expect("JSON");
        let line = printed["authorized_key"].as_str().expect("a line");
        machine.sandbox.write(keys, format!("{line}\n"));
    }
    let ran = machine.sandbox.run(&["observe", "both.kdl"]).exits(0);
    let facts: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let login = &facts["observed"]["nodes"]["inner"]["reached"]["login"];
    assert_eq!(login["only_looks"], true, "{login}");

    let hello = |to: &Sshd| {
        machine
            .ssh(&["-W", &to.address().to_string()], &[], "")
            .stdout
    };
    assert!(hello(&inner).contains("SSH-2"));
    assert!(!hello(&other).contains("SSH-2"));
    let listen = [
        "-N",
        "-oExitOnForwardFailure=yes",
        "-R",
        "127.0.0.1:0:127.0.0.1:9",
    ];
    assert_eq!(machine.ssh(&listen, &[], "").code, 255);
}

#[test]
fn a_look_becomes_root_by_the_line_that_bootstrap_prints_and_gets_no_further() {
    if missing() {
        return;
    }
    if !Path::new("/usr/bin/sudo").exists() {
        skip("/usr/bin/sudo is not installed");
        return;
    }
    let sandbox = Sandbox::new();
    let scratch = sandbox.join("overlay");
    fs::create_dir(&scratch).expect("a folder");
    let Some(private) = PrivateRoot::new(&scratch) else {
        return;
    };
    // The login that copies is there before anything else is.
    private
        .sh("useradd --create-home --shell /bin/sh --password '*' ci")
        .exits(0);
    let options = SshdOptions {
        config: "Match User ci\n AuthorizedKeysFile .ssh/authorized_keys\n".to_owned(),
        ..SshdOptions::default()
    };
    let sshd = Sshd::start_by(&sandbox.join("nas"), &options, |sshd| private.command(sshd));
    keygen(&sandbox.join("look"), "ed25519", "");
    let secret = sandbox.write("secret/store/file", "x");
    let hidden = secret.parent().and_then(Path::parent).expect("a folder");
    std::os::unix::fs::chown(hidden, Some(0), Some(0)).expect("root's");
    fs::set_permissions(hidden, std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .expect("a mode");
    let topology = format!(
        r#"topology "one" id="onlylooks1"
node "nas" {{
    ssh "ci@127.0.0.1" port={} {{ host-key "{}"; identity-file "look"; become "sudo" }}
    agent "none"
}}
source "data" on="nas" {{ path "{}" }}
"#,
        sshd.address().port(),
        sshd.host_key(),
        hidden.join("store").display(),
    );
    sandbox.write("topology.kdl", topology);
    let text = sandbox
        .run(&["bootstrap", "nas", "--key", "look.pub"])
        .exits(0)
        .stdout;
    assert!(text.contains(&public_line(&sandbox.join("look"))), "{text}");

    // What it prints for the node is run there as it stands; scp is done by hand.
    private.sh(&format!("cp {PROGRAM} ~ci/bkpctl.new")).exits(0);
    let step = |number: usize| {
        let from = text
            .match_indices("\n(set -eu\n")
            .nth(number)
            .expect("a step")
            .0;
        let to = text[from..].find("\n)\n").expect("its end") + from;
        text[from..to + 3].to_owned()
    };
    private.sh(&step(0)).exits(0).says("parsed OK");
    private.sh(&step(0)).says("bkpctl.new");

    let look = || {
        let ran = sandbox.run(&["observe"]).exits(0);
        let facts: Value = serde_json::from_str(&ran.stdout).expect("JSON");
        facts["observed"]["nodes"]["nas"]["reached"].clone()
    };
    let facts = look();
    let login = &facts["login"];
    assert_eq!(
        (&login["user"], &login["only_looks"]),
        (&"ci".into(), &true.into())
    );
    assert_eq!(
        (&login["privileged"], login["uid"] == 0),
        (&true.into(), false),
        "{login}"
    );
    assert_eq!(facts["sources"]["data"]["readable"], true);
    for words in [
        "-n sh -c id",
        "-n /usr/local/lib/bkpctl/bkpctl agent",
        "-n /usr/local/lib/bkpctl/bkpctl look",
        "-n /usr/local/lib/bkpctl/bkpctl look --root x",
    ] {
        let ran = private.sh(&format!("su ci -c 'sudo {words}'"));
        assert_ne!(ran.code, 0, "{words}");
        assert!(
            ran.stderr.contains("password is required"),
            "{words}: {}",
            ran.stderr
        );
    }
    private
        .sh("su ci -c '/usr/local/lib/bkpctl/bkpctl look --root </dev/null'")
        .exits(1);
    private.sh("rm /etc/sudoers.d/bkpctl-look").exits(0);
    let facts = look();
    assert_eq!(
        facts["login"]["privileged"], false,
        "it looks on without root's rights"
    );
    assert_eq!(facts["sources"]["data"]["readable"], false);
    private.sh(&step(1)).exits(0).says("parsed OK");
    private.sh("su ci -c 'sudo -n sh -c true'").exits(0);
}
