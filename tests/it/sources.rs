//! Volumes and programs as sources, from the topology and on the command line.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::sandbox::{Ran, Sandbox};
use crate::support::skip;
use crate::support::sshd::{Sshd, SshdOptions, missing};
use crate::support::tree::noise;

const TOPOLOGY: &str = r#"
topology "sources" id="sources001"
node "here" { local; agent path="state"; scratch "scratch" }
key "demo" { file "demo.key"; create }
datastore "first" { place "here" path="first"; keep last=3 }
source "disk" on="here" { volume "VOLUME" }
source "dump" on="here" { command "sh" "-c" "SCRIPT" timeout="5min"; name "app.dump" }
phase "baseline" {
    backup "nightly" { source "disk" "dump"; to "first" }
    drill "proof" { source "disk" "dump"; from "first"; every "7d" }
}
"#;

const SCRIPT: &str = "seq 100000; echo done >&2";

fn topology(volume: &str, script: &str) -> String {
    TOPOLOGY.replace("VOLUME", volume).replace("SCRIPT", script)
}

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.join("scratch")).expect("a folder");
    let image = fs::File::create(sandbox.join("disk.img")).expect("an image");
    image.set_len(64 << 20).expect("a length");
    image
        .write_all_at(&noise(3 << 20, 1), 17_000_000)
        .expect("data");
    sandbox.write("topology.kdl", topology("disk.img", SCRIPT));
    sandbox
}

fn restore(sandbox: &Sandbox, source: &str) -> std::path::PathBuf {
    let to = sandbox.join(&format!("back-{source}"));
    drop(fs::remove_dir_all(&to));
    let to_text = to.to_str().expect("a plain path");
    let arguments = ["restore", "--source", source, "--from", "first", "--to"];
    let arguments: Vec<&str> = arguments.into_iter().chain([to_text]).collect();
    sandbox.run(&arguments).exits(0);
    to
}

fn lines(count: u32) -> String {
    let all: Vec<String> = (1..=count).map(|n| n.to_string()).collect();
    all.join("\n") + "\n"
}

#[test]
fn an_image_and_a_programs_output_are_copied_proven_and_restored() {
    let sandbox = sandbox();
    sandbox.run(&["validate"]).exits(0);
    sandbox
        .run(&["plan", "--detailed-exitcode"])
        .exits(2)
        .says("source.dump:command")
        .says("seq 100000");
    // A program runs only after somebody said yes to it.
    sandbox
        .run(&["apply", "--auto-approve"])
        .exits(1)
        .says("source.dump:command");
    assert!(!sandbox.join("first").exists());
    sandbox
        .run(&["apply", "--auto-approve", "--allow", "source.dump:command"])
        .exits(0)
        .says("protected");
    sandbox
        .run(&["plan", "--detailed-exitcode"])
        .exits(0)
        .says("In sync");
    sandbox.run(&["status"]).exits(0).says("disk").says("dump");
    let image = restore(&sandbox, "disk").join("disk.img");
    let read = |path| fs::read(path).expect("readable");
    assert!(read(image.clone()) == read(sandbox.join("disk.img")));
    assert!(image.metadata().expect("it").blocks() * 512 < 5 << 20);
    let dump = restore(&sandbox, "dump").join("app.dump");
    assert_eq!(String::from_utf8(read(dump)).expect("text"), lines(100_000));
    sandbox.run(&["run", "nightly"]).exits(0);
    sandbox.run(&["run", "proof"]).exits(0);
    // One that changed needs a yes again.
    sandbox.write("topology.kdl", topology("disk.img", "seq 5"));
    let late = topology("disk.img", "seq 5") + "policy { rpo \"1s\" }\n";
    sandbox.write("topology.kdl", late);
    std::thread::sleep(Duration::from_secs(2));
    sandbox
        .run(&["plan"])
        .says("source.dump:command")
        .says("seq 100000");
}

#[test]
fn a_program_that_fails_leaves_no_snapshot_and_says_why() {
    let sandbox = sandbox();
    sandbox.write(
        "topology.kdl",
        topology("disk.img", "echo half; echo no such table >&2; exit 3"),
    );
    sandbox
        .run(&["apply", "--auto-approve", "--allow", "source.dump:command"])
        .says("no such table");
    let list = sandbox.run(&["snapshots", "--json"]).exits(0).stdout;
    let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    let sources: Vec<_> = list["snapshots"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|snapshot| snapshot["head"]["source"].as_str().expect("a name"))
        .collect();
    assert_eq!(sources, ["disk"]);
}

#[test]
fn a_volume_that_is_a_folder_or_a_program_that_is_not_there_is_refused_in_the_plan() {
    let sandbox = sandbox();
    let text = topology("scratch", SCRIPT).replace("\"sh\" \"-c\"", "\"no-such-program\"");
    sandbox.write("topology.kdl", text);
    sandbox
        .run(&["plan"])
        .says("BK333")
        .says("BK334")
        .says("no-such-program");
    sandbox.write(
        "topology.kdl",
        topology("disk.img\" via=\"lvm-thin", SCRIPT),
    );
    sandbox.run(&["plan"]).says("BK504").says("lvm-thin");
}

fn store(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    let mut command = sandbox.command(&["store"]);
    command.args(arguments).env("BKPCTL_KEY_FILE", "key");
    Ran::of(&command.output().expect("the binary runs"))
}

#[test]
fn the_store_takes_images_programs_and_standard_input() {
    let sandbox = sandbox();
    store(&sandbox, &["init", "store"]).exits(0);
    store(&sandbox, &["backup", "store", "--image", "disk.img"]).exits(0);
    store(&sandbox, &["restore", "store", "latest", "back"]).exits(0);
    let read = |name: &str| fs::read(sandbox.join(name)).expect("readable");
    assert!(read("back/disk.img") == read("disk.img"));
    let dump = ["backup", "store", "--source", "dump", "--command"];
    let with = |rest: &[&str]| {
        let all: Vec<&str> = dump.iter().chain(rest).copied().collect();
        store(&sandbox, &all)
    };
    // What opens repositories is not for the program to see.
    with(&["--stdin-name", "dump.txt", "--", "sh", "-c", "env; seq 10"]).exits(0);
    store(&sandbox, &["restore", "store", "dump/latest", "dump"]).exits(0);
    let text = String::from_utf8(read("dump/dump.txt")).expect("text");
    assert!(
        text.ends_with(&lines(10)) && !text.contains("BKPCTL_"),
        "{text}"
    );
    with(&["--", "sh", "-c", "echo x; echo broken >&2; kill -9 $$"])
        .exits(1)
        .says("SIGKILL")
        .says("broken");
    with(&["--", "no-such-program"])
        .exits(1)
        .says("no-such-program");
    let count = |of: &str| {
        let list = store(&sandbox, &["snapshots", "store", "--json"])
            .exits(0)
            .stdout;
        list.matches(&format!("\"source\": \"{of}\"")).count()
            + list.matches(&format!("\"source\":\"{of}\"")).count()
    };
    assert_eq!(count("dump"), 1);
    let mut command = sandbox.command(&["store", "backup", "store", "--stdin-name", "zeros"]);
    command
        .env("BKPCTL_KEY_FILE", "key")
        .stdin(fs::File::open(sandbox.join("disk.img")).expect("a file"));
    Ran::of(&command.output().expect("it runs")).exits(0);
    for wrong in [
        &["backup", "store"][..],
        &["backup", "store", "--image", "scratch"],
        &["backup", "store", "--image", "/dev/null"],
        &["backup", "store", "--command"],
        &["backup", "store", "scratch", "--image", "disk.img"],
    ] {
        let ran = store(&sandbox, wrong);
        assert_ne!(ran.code, 0, "{wrong:?}");
    }
}

/// Waits until the program of a source wrote its number, and returns that.
fn started(sandbox: &Sandbox) -> String {
    let start = Instant::now();
    loop {
        let text = fs::read_to_string(sandbox.join("started")).unwrap_or_default();
        if let Some(pid) = text.strip_suffix('\n') {
            return pid.to_owned();
        }
        assert!(start.elapsed() < Duration::from_mins(1), "it never started");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_backup_that_is_stopped_ends_the_program_too() {
    let sandbox = sandbox();
    store(&sandbox, &["init", "store"]).exits(0);
    let script = "echo $$ >started; exec sleep 600";
    let mut backup = sandbox
        .command(&[
            "store",
            "backup",
            "store",
            "--command",
            "--",
            "sh",
            "-c",
            script,
        ])
        .env("BKPCTL_KEY_FILE", "key")
        .spawn()
        .expect("it starts");
    let pid = started(&sandbox);
    let own = rustix::process::Pid::from_child(&backup);
    rustix::process::kill_process(own, rustix::process::Signal::TERM).expect("it runs");
    assert_eq!(backup.wait().expect("it ends").code(), Some(130));
    assert!(!std::path::Path::new("/proc").join(&pid).exists());
    let list = store(&sandbox, &["snapshots", "store"]).exits(0);
    list.says("There are no snapshots.");
}

/// An attached loop device; detached when dropped.
struct Loop(String);

impl Loop {
    fn attach(image: &std::path::Path, options: &[&str]) -> Option<Self> {
        let output = Command::new("losetup")
            .args(["--show", "-f"])
            .args(options)
            .arg(image)
            .output();
        match output {
            Ok(output) if output.status.success() => {
                let name = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                Some(Self(name))
            }
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                skip(&format!("no loop device could be attached here: {why}"));
                None
            }
            Err(error) => {
                skip(&format!("losetup: {error}"));
                None
            }
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        drop(Command::new("losetup").args(["-d", &self.0]).status());
    }
}

#[test]
fn a_block_device_becomes_an_image() {
    let sandbox = sandbox();
    let Some(device) = Loop::attach(&sandbox.join("disk.img"), &[]) else {
        return;
    };
    let link = sandbox.join("by-name");
    std::os::unix::fs::symlink(&device.0, &link).expect("a link");
    let link = link.to_str().expect("a plain path");
    sandbox.write("topology.kdl", topology(link, SCRIPT));
    sandbox.run(&["plan"]).says("64 MiB");
    sandbox
        .run(&["apply", "--auto-approve", "--allow", "source.dump:command"])
        .exits(0)
        .says("protected");
    let image = restore(&sandbox, "disk").join("by-name");
    let same = fs::read(&image).expect("it") == fs::read(sandbox.join("disk.img")).expect("it");
    assert!(same);
    assert!(image.metadata().expect("it").blocks() * 512 < 5 << 20);
    // What is written while it is read is told.
    store(&sandbox, &["init", "store"]).exits(0);
    let writer = fs::File::options()
        .write(true)
        .open(&device.0)
        .expect("a device");
    let stop = std::sync::atomic::AtomicBool::new(false);
    let ran = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                writer.write_all_at(&[1; 4096], 1 << 20).expect("written");
                writer.sync_data().expect("synced");
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let ran = store(&sandbox, &["backup", "store", "--image", &device.0]);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        ran
    });
    ran.exits(0).says("changed while it was read");
    drop(device);
    let read_only = Loop::attach(&sandbox.join("disk.img"), &["-r"]).expect("one again");
    store(&sandbox, &["backup", "store", "--image", &read_only.0]).exits(0);
}

#[test]
fn programs_and_images_of_other_machines_are_copied_and_end_with_their_controller() {
    if !rustix::process::geteuid().is_root() {
        skip("only root can log in as root");
        return;
    }
    if missing() {
        return;
    }
    let sandbox = sandbox();
    let web = Sshd::start(&sandbox.join("web"), &SshdOptions::default());
    let write = |script: &str| {
        let disk = sandbox.join("disk.img");
        let text = topology(disk.to_str().expect("a plain path"), script).replace(
            "source \"disk\" on=\"here\"",
            &format!(
                "node \"web\" {{ ssh \"root@{}\" port={} {{ host-key \"{}\"; identity-file \"{}\" }}; agent path=\"{}\" }}\nsource \"disk\" on=\"web\"",
                web.address().ip(),
                web.address().port(),
                web.host_key(),
                web.identity().display(),
                sandbox.join("state-web").display(),
            ),
        );
        let text = text.replace("source \"dump\" on=\"here\"", "source \"dump\" on=\"web\"");
        let text = text.replace(" timeout=", " as=\"nobody\" timeout=");
        sandbox.write("topology.kdl", text);
    };
    write("id -un; pwd; seq 10");
    sandbox
        .run(&["plan"])
        .says("source.dump:command")
        .says("MiB");
    sandbox
        .run(&["apply", "--auto-approve", "--allow", "source.dump:command"])
        .exits(0)
        .says("protected");
    sandbox
        .run(&["plan", "--detailed-exitcode"])
        .exits(0)
        .says("In sync");
    let image = restore(&sandbox, "disk").join("disk.img");
    let same = fs::read(image).expect("it") == fs::read(sandbox.join("disk.img")).expect("it");
    assert!(same);
    let dump = fs::read_to_string(restore(&sandbox, "dump").join("app.dump")).expect("text");
    assert_eq!(dump, format!("nobody\n/\n{}", lines(10)));
    // A controller that dies takes what it started along, wherever that runs.
    let folder = sandbox.join("pid");
    fs::create_dir(&folder).expect("a folder");
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(&folder, everybody).expect("a mode");
    std::os::unix::fs::symlink("pid/started", sandbox.join("started")).expect("a link");
    write(&format!(
        "echo $$ >{}; exec sleep 600",
        folder.join("started").display()
    ));
    let mut controller = sandbox.spawn(&["run", "nightly"]);
    let program = std::path::Path::new("/proc").join(started(&sandbox));
    assert!(program.exists());
    controller.kill().expect("it runs");
    controller.wait().expect("it ends");
    let start = Instant::now();
    while program.exists() {
        assert!(start.elapsed() < Duration::from_secs(30), "it runs on");
        std::thread::sleep(Duration::from_millis(20));
    }
}
