//! Two OpenSSH servers as two machines: a source on one, a datastore on the other.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::support::sandbox::Sandbox;
use crate::support::skip;
use crate::support::sshd::{Sshd, SshdOptions, missing};
use crate::support::tree::{assert_same, each_below, make_tree};

/// A sandbox with two servers, and a topology that says so.
struct TwoHosts {
    sandbox: Sandbox,
    web: Sshd,
    nas: Sshd,
}

/// Returns whether a test with service users can run here, and says why if it can't.
fn runnable() -> bool {
    if !rustix::process::geteuid().is_root() {
        skip("only root can serve a datastore as uid 34");
        return false;
    }
    !missing()
}

impl TwoHosts {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let start = |name: &str| Sshd::start(&sandbox.join(name), &SshdOptions::default());
        let (web, nas) = (start("web"), start("nas"));
        let two = Self { sandbox, web, nas };
        let topology = two.topology(two.nas.host_key());
        two.sandbox.write("topology.kdl", topology);
        fs::create_dir(two.sandbox.join("data")).expect("a folder");
        make_tree(&two.sandbox.join("data"));
        // The incident: the folder is there and belongs to root.
        fs::create_dir(two.sandbox.join("tank")).expect("a folder");
        fs::create_dir(two.sandbox.join("tank/pbs")).expect("a folder");
        two
    }

    fn topology(&self, nas_key: &str) -> String {
        let node = |name: &str, sshd: &Sshd, key: &str| {
            format!(
                "node \"{name}\" {{\n    ssh \"root@{}\" port={} {{ host-key \"{key}\"; identity-file \"{}\" }}\n    agent path=\"{}\"\n}}\n",
                sshd.address().ip(),
                sshd.address().port(),
                sshd.identity().display(),
                self.sandbox.join(&format!("state-{name}")).display(),
            )
        };
        format!(
            r#"topology "two" id="twohosts01"
service-user "backup" uid=34 gid=34
{}{}node "here" {{ local; agent path="state-here" }}
key "lab" {{ file "lab.key"; create }}
datastore "primary" {{ place "nas" path="{}"; owner "backup" mode="0750"; keep last=3 }}
source "data" on="web" {{ path "{}" }}
phase "baseline" {{
    backup "nightly" {{ source "data"; to "primary"; at "02:00" }}
    drill "proof" {{ source "data"; from "primary"; on "here"; every "7d" }}
}}
policy {{ copies 1; rpo "26h"; drill-within "30d" }}
"#,
            node("web", &self.web, self.web.host_key()),
            node("nas", &self.nas, nas_key),
            self.sandbox.join("tank/pbs").display(),
            self.sandbox.join("data").display(),
        )
    }

    fn foreign_files(&self) -> Vec<String> {
        let mut foreign = Vec::new();
        each_below(&self.sandbox.join("tank/pbs"), &mut |path, meta| {
            if (meta.uid(), meta.gid()) != (34, 34) {
                foreign.push(format!("{} {}:{}", path.display(), meta.uid(), meta.gid()));
            }
        });
        foreign
    }
}

#[test]
fn the_plan_foretells_error_13_and_the_apply_mends_it() {
    if !runnable() {
        return;
    }
    let two = TwoHosts::new();
    two.sandbox
        .run(&["plan", "--detailed-exitcode"])
        .exits(2)
        .says("Permission denied (os error 13)")
        .says("34");
    two.sandbox
        .run(&["apply", "--auto-approve"])
        .exits(0)
        .says("protected");
    assert_eq!(two.foreign_files(), Vec::<String>::new());
    two.sandbox
        .run(&["plan", "--detailed-exitcode"])
        .exits(0)
        .says("In sync");
    let to = two.sandbox.join("back");
    let arguments = [
        "restore",
        "--source",
        "data",
        "--from",
        "primary",
        "--to",
        to.to_str().expect("a path"),
    ];
    two.sandbox.run(&arguments).exits(0);
    assert_same(&two.sandbox.join("data"), &to);
}

#[test]
fn after_a_file_changed_only_its_chunks_travel() {
    if !runnable() {
        return;
    }
    let two = TwoHosts::new();
    two.sandbox.run(&["apply", "--auto-approve"]).exits(0);
    let run = || {
        let json = two
            .sandbox
            .run(&["run", "nightly", "--json"])
            .exits(0)
            .stdout;
        serde_json::from_str::<serde_json::Value>(&json).expect("JSON")
    };
    let puts = |report: &serde_json::Value, folder: &str| {
        report["copies"][0]["store_calls"][format!("put {folder}")]
            .as_u64()
            .unwrap_or(0)
    };
    let unchanged = run();
    assert_eq!(puts(&unchanged, "packs"), 0, "{unchanged}");
    assert_eq!(unchanged["copies"][0]["new_bytes"], 0, "{unchanged}");
    two.sandbox.write("data/a/small-00", "one changed line\n");
    let changed = run();
    assert_eq!(puts(&changed, "packs"), 1, "{changed}");
    // The large file, the sparse one and everything else stayed where they were.
    assert!(
        changed["copies"][0]["new_bytes"].as_u64().expect("bytes") < 1 << 20,
        "{changed}"
    );
    assert_eq!(two.foreign_files(), Vec::<String>::new());
}

#[test]
fn a_node_that_cannot_read_back_reads_no_unchanged_file_again() {
    if !runnable() {
        return;
    }
    let two = TwoHosts::new();
    // A file changed this shortly before a backup is read again by the next one.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    two.sandbox.run(&["apply", "--auto-approve"]).exits(0);
    let run = || {
        let ran = two.sandbox.run(&["run", "nightly", "--json"]).exits(0);
        serde_json::from_str::<serde_json::Value>(&ran.stdout).expect("JSON")["copies"][0].take()
    };
    let unchanged = run();
    assert_eq!(unchanged["read_bytes"], 0, "{unchanged}");
    assert!(
        unchanged["unchanged_files"].as_u64() > Some(40),
        "{unchanged}"
    );
    two.sandbox.write("data/a/small-00", "one changed line\n");
    assert_eq!(run()["read_bytes"], 17);
    // What is kept on the node is lost without harm.
    fs::remove_dir_all(two.sandbox.join("state-web/two/web/cache")).expect("the cache");
    let all = run();
    assert_eq!(all["unchanged_files"], 0, "{all}");
    assert!(all["new_bytes"].as_u64() < Some(1 << 20), "{all}");
    let to = two.sandbox.join("back");
    let to = to.to_str().expect("a path");
    let restore = [
        "restore", "--source", "data", "--from", "primary", "--to", to,
    ];
    two.sandbox.run(&restore).exits(0);
    assert_same(&two.sandbox.join("data"), &two.sandbox.join("back"));
}

#[test]
fn a_changed_host_key_keeps_a_node_out_and_says_which_key_was_shown() {
    if !runnable() {
        return;
    }
    let two = TwoHosts::new();
    let wrong = two.topology(two.web.host_key());
    two.sandbox.write("topology.kdl", wrong);
    two.sandbox
        .run(&["plan"])
        .exits(3)
        .says("host key")
        .says("SHA256:");
    two.sandbox.run(&["apply", "--auto-approve"]).exits(3);
    assert_eq!(
        fs::read_dir(two.sandbox.join("tank/pbs"))
            .expect("a folder")
            .count(),
        0
    );
}

#[test]
fn an_absent_node_defers_what_depends_on_it() {
    if !runnable() {
        return;
    }
    let two = TwoHosts::new();
    let text = fs::read_to_string(two.sandbox.join("topology.kdl")).expect("a topology");
    let port = format!("port={}", two.nas.address().port());
    two.sandbox
        .write("topology.kdl", text.replace(&port, "port=1"));
    two.sandbox
        .run(&["plan"])
        .exits(3)
        .says("nas")
        .says("refused");
}

#[test]
fn an_apply_over_ssh_that_was_killed_is_finished_by_the_next_one() {
    if !runnable() {
        return;
    }
    let two = TwoHosts::new();
    for n in 0..16 {
        let bytes = crate::support::tree::noise(4 << 20, n + 7);
        two.sandbox.write(&format!("data/more/{n}"), bytes);
    }
    for wait_ms in [300, 900, 1800, 2600] {
        let mut child = two.sandbox.spawn(&["apply", "--auto-approve"]);
        std::thread::sleep(std::time::Duration::from_millis(wait_ms));
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
    }
    // Fast machines have applied everything before the last kill: what counts is the state.
    two.sandbox.run(&["apply", "--auto-approve"]).exits(0);
    two.sandbox.run(&["plan", "--detailed-exitcode"]).exits(0);
    assert_eq!(two.foreign_files(), Vec::<String>::new());
    let store = two.sandbox.join("tank/pbs");
    let store = store.to_str().expect("a plain path");
    two.sandbox
        .run(&[
            "store",
            "verify",
            store,
            "--read-data",
            "--key-file",
            "lab.key",
        ])
        .exits(0);
}

#[test]
fn a_drill_on_a_reader_elsewhere_proves_and_leaves_nothing_there() {
    if !runnable() {
        return;
    }
    let two = TwoHosts::new();
    let scratch = two.sandbox.join("scratch-web");
    fs::create_dir(&scratch).expect("a folder");
    let reader = format!("reader\n    scratch \"{}\"\n    agent", scratch.display());
    let topology = two
        .topology(two.nas.host_key())
        .replacen("agent", &reader, 1)
        .replace("on \"here\"", "on \"web\"");
    two.sandbox.write("topology.kdl", topology);
    two.sandbox
        .run(&["apply", "--auto-approve"])
        .exits(0)
        .says("restored and compared");
    let left = fs::read_dir(&scratch).expect("the scratch folder").count();
    assert_eq!(left, 0, "a drill leaves nothing behind");
    two.sandbox.run(&["status"]).exits(0).says("restored");
}

#[test]
fn a_source_here_is_copied_to_a_datastore_elsewhere() {
    if !runnable() {
        return;
    }
    let two = TwoHosts::new();
    let topology = two
        .topology(two.nas.host_key())
        .replace("source \"data\" on=\"web\"", "source \"data\" on=\"here\"");
    two.sandbox.write("topology.kdl", topology);
    two.sandbox
        .run(&["apply", "--auto-approve"])
        .exits(0)
        .says("protected");
    assert_eq!(two.foreign_files(), Vec::<String>::new());
    two.sandbox.run(&["plan", "--detailed-exitcode"]).exits(0);
}

#[test]
fn leaving_a_node_takes_what_is_ours_and_no_snapshot() {
    if !runnable() {
        return;
    }
    let two = TwoHosts::new();
    two.sandbox.run(&["leave", "nas"]).exits(0).says("nothing");
    two.sandbox.run(&["leave", "nsa"]).exits(1).says("web");
    two.sandbox.run(&["apply", "--auto-approve"]).exits(0);
    let ours = two.sandbox.join("state-nas/two");
    two.sandbox
        .run(&["leave", "nas"])
        .exits(1)
        .says("primary stays in")
        .says("--auto-approve");
    assert!(ours.exists(), "without a yes nothing goes");
    two.sandbox
        .run(&["leave", "nas", "--auto-approve"])
        .exits(0)
        .says("Removed");
    assert!(!ours.exists());
    // What it kept is there, and an apply makes the node ours again.
    two.sandbox
        .run(&["snapshots"])
        .says("bkpctl apply places it");
    two.sandbox.run(&["status"]).exits(0).says("primary");
    two.sandbox.run(&["apply", "--auto-approve"]).exits(0);
    two.sandbox.run(&["snapshots"]).exits(0).says("data");
    assert!(ours.exists());
    two.sandbox
        .run(&["plan", "--detailed-exitcode"])
        .exits(0)
        .says("In sync");
}
