//! What is foretold of containers, against this machine's own kernel.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bkpctl::model::IdMap;
use bkpctl::model::observed::{
    Component, ComponentKind, ContainerFacts, NodeFacts, NodeState, Outcome, PathFacts,
};
use bkpctl::model::{Name, Observed};
use bkpctl::plan::chain::{Role, Verdict, chains};

use crate::access_cases::topology_of;

const STANDARD: [&str; 2] = ["u 0 100000 65536", "g 0 100000 65536"];
const PUNCHED: [&str; 6] = [
    "u 0 100000 34",
    "u 34 34 1",
    "u 35 100035 65501",
    "g 0 100000 34",
    "g 34 34 1",
    "g 35 100035 65501",
];

#[expect(
    clippy::print_stderr,
    reason = "what cannot run here is reported as skipped"
)]
fn missing() -> bool {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: id maps of several ranges are root's to write");
        return true;
    }
    let made = Command::new("unshare")
        .args(["--user", "--keep-caps", "true"])
        .output();
    let absent = !made.is_ok_and(|output| output.status.success());
    if absent {
        eprintln!("skipped: user namespaces can't be made here");
    }
    absent
}

/// A process in a user namespace of its own, which runs a script as somebody inside.
struct Inside(Child);

impl Inside {
    /// Starts `script` as this user and group, with `$1` as its argument.
    fn start(lines: &[&str], id: u32, script: &str, argument: &Path) -> Self {
        let wait_and_run = format!(
            "read go && exec setpriv --reuid={id} --regid={id} --clear-groups \
             --inh-caps=-all --ambient-caps=-all sh -c \"$2\" sh \"$1\""
        );
        let child = Command::new("unshare")
            // Until it is mapped it is nobody inside, and an exec would take its rights away.
            .args(["--user", "--keep-caps", "sh", "-c", &wait_and_run, "sh"])
            .arg(argument)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("unshare starts");
        let mut inside = Self(child);
        inside.map(lines);
        inside
    }

    /// Writes the maps once the process has left our namespace, and lets it go on.
    fn map(&mut self, lines: &[&str]) {
        let proc = format!("/proc/{}", self.0.id());
        let ours = fs::read_link("/proc/self/ns/user").expect("a namespace");
        let started = Instant::now();
        while fs::read_link(format!("{proc}/ns/user")).is_ok_and(|theirs| theirs == ours) {
            assert!(started.elapsed() < Duration::from_secs(10), "it never left");
            std::thread::sleep(Duration::from_millis(1));
        }
        for (kind, file) in [("u ", "uid_map"), ("g ", "gid_map")] {
            let ranges = lines.iter().filter_map(|line| line.strip_prefix(kind));
            let text = ranges.collect::<Vec<_>>().join("\n");
            fs::write(format!("{proc}/{file}"), text + "\n").expect("root may map");
        }
        let stdin = self.0.stdin.as_mut().expect("it is piped");
        stdin.write_all(b"go\n").expect("it waits");
    }

    /// Returns the script's output if it ended well.
    fn output(self) -> Option<String> {
        let output = self.0.wait_with_output().expect("it ends");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success().then_some(text)
    }
}

/// Looks at a folder and those above it as somebody inside sees them.
fn components(lines: &[&str], folder: &Path) -> Vec<Component> {
    let mut all: Vec<&Path> = folder.ancestors().collect();
    all.reverse();
    let see = |path: &&Path| {
        let script = "stat -c '%a %u %g' \"$1\"";
        let said = Inside::start(lines, 0, script, path)
            .output()
            .expect("it is seen");
        let words: Vec<&str> = said.split_whitespace().collect();
        Component {
            path: path.display().to_string(),
            kind: ComponentKind::Directory,
            mode: u32::from_str_radix(words[0], 8).expect("octal"),
            acl: None,
            uid: words[1].parse().expect("a number"),
            gid: words[2].parse().expect("a number"),
        }
    };
    all.iter().map(see).collect()
}

fn foretold(map: &IdMap, components: Vec<Component>, folder: &Path) -> [bool; 2] {
    let path = folder.to_str().expect("a plain path");
    let topology = topology_of(&format!(
        r#"
topology "lab" id="LAB1"
service-user "backup" uid=34 gid=34
node "host" {{ ssh "root@10.0.0.12" }}
node "ct" {{ ssh "root@10.0.0.15"; container 7 on="host" kind="unprivileged" }}
key "lab" {{ file "lab.key" }}
datastore "main" {{ place "ct" path="{path}"; owner "backup"; keep daily=7 }}
"#
    ));
    let mut observed = Observed::default();
    let container = ContainerFacts {
        running: true,
        map: map.clone(),
        may_mount_nfs: false,
        asked_map: None,
    };
    let host = NodeFacts {
        containers: [(7, container)].into(),
        ..NodeFacts::default()
    };
    let mut ct = NodeFacts::default();
    ct.login.privileged = true;
    let facts = PathFacts {
        outcome: Outcome::Ok,
        components,
        mount: None,
        space: None,
        empty: Some(true),
    };
    ct.paths.insert(path.to_owned(), facts);
    for (node, facts) in [("host", host), ("ct", ct)] {
        let name = Name::new(node).expect("a name");
        let state = NodeState::Reached(Box::new(facts));
        observed.nodes.insert(name, state);
    }
    let chains = chains(&topology, &observed, "main");
    [Role::Making, Role::Writing].map(|role| {
        let chain = chains.iter().find(|chain| chain.role == role);
        match &chain.expect("both are followed").verdict {
            Verdict::MayWrite => true,
            Verdict::Denied(_) => false,
            Verdict::Unknown(why) => panic!("{why}"),
        }
    })
}

#[test]
fn who_may_write_in_a_container_is_foretold_as_this_kernel_judges() {
    if missing() {
        return;
    }
    let dir = tempfile::Builder::new()
        .prefix("bkpctl-userns-")
        .tempdir_in("/var/tmp")
        .expect("a temporary folder");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("opened");
    let mut seen = [0, 0];
    for lines in [&STANDARD[..], &PUNCHED[..]] {
        let map = IdMap::from_lxc(lines.iter().copied()).expect("a map");
        for owner in [0, 34, 100_000, 100_034] {
            for mode in [0o750, 0o755, 0o770, 0o777, 0o300] {
                let folder = dir.path().join(format!("{owner}-{mode:o}"));
                fs::create_dir_all(&folder).expect("a folder");
                chown(&folder, Some(owner), Some(owner)).expect("given away");
                fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).expect("set");
                let foretold = foretold(&map, components(lines, &folder), &folder);
                for (id, foretold) in [0, 34].into_iter().zip(foretold) {
                    let script = "mkdir \"$1/new\" && rmdir \"$1/new\"";
                    let really = Inside::start(lines, id, script, &folder).output().is_some();
                    assert_eq!(
                        foretold,
                        really,
                        "uid {id} in {}, maps {lines:?}",
                        folder.display()
                    );
                    seen[usize::from(really)] += 1;
                }
            }
        }
    }
    assert!(
        seen.iter().all(|count| *count > 10),
        "both happen: {seen:?}"
    );
}
