//! Each trouble has its own message and exit code, and leaves nothing half-written.

use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::os::unix::process::CommandExt;

use crate::support::loop_mount::LoopMount;
use crate::support::sandbox::{Ran, Sandbox};
use crate::support::skip;
use crate::support::tree::{assert_same, each_below, noise};

const KEY: [&str; 2] = ["--key-file", "lab.key"];

fn store(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    let all: Vec<&str> = ["store"]
        .iter()
        .chain(arguments)
        .chain(&KEY)
        .copied()
        .collect();
    sandbox.run(&all)
}

#[test]
fn a_full_filesystem_is_said_so_and_shows_no_new_snapshot() {
    let sandbox = Sandbox::new();
    let Some(disk) = LoopMount::new(sandbox.path(), "disk", 48) else {
        return;
    };
    std::fs::remove_dir(disk.path().join("lost+found")).expect("an empty folder");
    sandbox.write("data/small", "fits");
    store(&sandbox, &["init", "disk"]).exits(0);
    store(&sandbox, &["backup", "disk", "data"]).exits(0);
    sandbox.write("data/large", noise(96 << 20, 5));
    store(&sandbox, &["backup", "disk", "data"])
        .exits(1)
        .says("no space left");
    let list = store(&sandbox, &["snapshots", "disk", "--json"])
        .exits(0)
        .stdout;
    let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    assert_eq!(
        list["snapshots"].as_array().expect("a list").len(),
        1,
        "{list}"
    );
    store(&sandbox, &["verify", "disk", "--read-data"]).exits(0);
    // Not even where there is no room for a folder more.
    for (number, size) in [1 << 20, 1 << 12, 1].into_iter().enumerate() {
        let file = disk.path().join(format!("fill{number}"));
        let mut file = std::fs::File::create(file).expect("there is room for a name");
        while file.write_all(&vec![1; size]).is_ok() {}
    }
    let more = std::fs::create_dir(disk.path().join("more"));
    let full = more.expect_err("the disk is full").kind();
    assert_eq!(full, std::io::ErrorKind::StorageFull);
    store(&sandbox, &["restore", "disk", "latest", "back"]).exits(0);
    std::fs::remove_file(sandbox.join("data/large")).expect("a file");
    let small = std::fs::read(sandbox.join("back/small")).expect("it came back");
    assert_eq!(small, b"fits");
}

#[test]
fn a_plan_foretells_that_a_copy_does_not_fit() {
    let sandbox = Sandbox::new();
    let Some(disk) = LoopMount::new(sandbox.path(), "disk", 32) else {
        return;
    };
    sandbox.write("data/large", noise(64 << 20, 6));
    sandbox.write("topology.kdl", topology("disk/store"));
    sandbox.run(&["plan"]).exits(1).says("free");
    sandbox.run(&["apply", "--auto-approve"]).exits(1);
    let packs = disk.path().join("store/packs");
    let count = std::fs::read_dir(packs).map_or(0, Iterator::count);
    assert_eq!(count, 0, "nothing was written that could not fit");
}

#[test]
fn a_read_only_datastore_is_called_read_only() {
    let sandbox = Sandbox::new();
    let Some(disk) = LoopMount::new(sandbox.path(), "disk", 48) else {
        return;
    };
    sandbox.write("data/file", "x");
    sandbox.write("topology.kdl", topology("disk/store"));
    sandbox.run(&["apply", "--auto-approve"]).exits(0);
    disk.remount("ro");
    sandbox.write("data/file", "y");
    sandbox.run(&["plan"]).exits(1).says("os error 30");
    sandbox.run(&["run", "nightly"]).exits(1).says("read-only");
    disk.remount("rw");
    sandbox.run(&["run", "nightly"]).exits(0);
    let to = sandbox.join("back");
    let to = to.to_str().expect("a plain path");
    sandbox
        .run(&["restore", "--source", "data", "--from", "store", "--to", to])
        .exits(0);
    assert_same(&sandbox.join("data"), &sandbox.join("back"));
}

fn topology(store: &str) -> String {
    format!(
        r#"
topology "trouble" id="trouble001"
node "here" {{ local; agent path="state" }}
key "lab" {{ file "lab.key"; create }}
datastore "store" {{ place "here" path="{store}"; keep last=3 }}
source "data" on="here" {{ path "data" }}
phase "baseline" {{ backup "nightly" {{ source "data"; to "store"; at "02:00" }} }}
"#
    )
}

#[test]
fn a_second_apply_at_the_same_time_is_told_who_holds_the_lock() {
    let sandbox = Sandbox::new();
    sandbox.write("data/file", "x");
    sandbox.write("topology.kdl", topology("store"));
    std::fs::create_dir_all(sandbox.join("state/trouble/here")).expect("a folder");
    let lock = std::fs::File::create(sandbox.join("state/trouble/here/lock")).expect("a lock file");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("the lock");
    sandbox
        .run(&["apply", "--auto-approve"])
        .exits(7)
        .says("held by");
    drop(lock);
    sandbox.run(&["apply", "--auto-approve"]).exits(0);
}

#[test]
fn hostile_topologies_are_refused_within_a_second_and_never_abort() {
    let sandbox = Sandbox::new();
    let inputs = [
        "{".repeat(1 << 20),
        "a {\n".repeat(50_000),
        "/- ".repeat(5_000),
        "/*".repeat(100_000),
        "\"".repeat(1 << 20),
        "(".repeat(1 << 20),
        "#".repeat(1 << 20),
        "a ".repeat(400_000),
        "/- a {\n".repeat(2_000),
        "\u{0}\u{1b}]0;x\u{7}".to_owned(),
    ];
    for (index, input) in inputs.iter().enumerate() {
        sandbox.write("topology.kdl", input);
        let start = std::time::Instant::now();
        // The tests' build is not optimised; the release build is far below this.
        let ran = sandbox.run_within(3, &["validate"]);
        let took = start.elapsed();
        assert_eq!(ran.code, 1, "input {index}: {}{}", ran.stdout, ran.stderr);
        // Waiting for something uses no processor time and would be as wrong.
        assert!(took.as_secs() < 30, "input {index} took {took:?}");
        assert!(
            !ran.stdout.contains('\u{1b}'),
            "input {index} reached the terminal"
        );
    }
}

#[test]
fn an_unreadable_file_makes_the_copy_incomplete_and_nothing_is_called_protected() {
    if !rustix::process::geteuid().is_root() {
        skip("only root can make a file that the test's own user may not read");
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.write("data/open", "x");
    let closed = sandbox.write("data/closed", "y");
    sandbox.write("topology.kdl", topology("store"));
    each_below(sandbox.path(), &mut |path, _| {
        lchown(path, Some(1000), Some(1000)).expect("an owner");
    });
    lchown(&closed, Some(0), Some(0)).expect("an owner");
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    let as_user = |arguments: &[&str]| {
        let mut command = sandbox.command(arguments);
        command.uid(1000).gid(1000);
        command.output().map(|output| Ran::of(&output))
    };
    let Ok(applied) = as_user(&["apply", "--auto-approve"]) else {
        skip("another user may not run the test's binary where it lies");
        return;
    };
    applied
        .exits(6)
        .says("closed could not be read")
        .says("not complete");
    as_user(&["status"]).expect("it ran before").says("✗");
    as_user(&["run", "nightly"])
        .expect("it ran before")
        .exits(6)
        .says("closed");
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o644)).expect("a mode");
    as_user(&["apply", "--auto-approve"])
        .expect("it ran before")
        .exits(0)
        .says("protected");
}

#[test]
fn a_datastore_that_vanished_is_not_made_anew_without_a_yes() {
    let sandbox = Sandbox::new();
    sandbox.write("data/file", "x");
    sandbox.write("topology.kdl", topology("store"));
    sandbox.run(&["apply", "--auto-approve"]).exits(0);
    std::fs::rename(sandbox.join("store"), sandbox.join("unmounted")).expect("it is moved away");
    sandbox.run(&["plan"]).says("datastore.store:recreate");
    sandbox
        .run(&["apply", "--auto-approve"])
        .exits(1)
        .says("recreate");
    assert!(
        !sandbox.join("store").exists(),
        "nothing was written where the disk was"
    );
    std::fs::rename(sandbox.join("unmounted"), sandbox.join("store")).expect("it is back");
    sandbox.run(&["plan", "--detailed-exitcode"]).exits(0);
}

#[test]
fn a_truncated_pack_is_brought_back_by_a_sync_from_a_whole_copy() {
    let sandbox = Sandbox::new();
    sandbox.write("data/file", noise(2 << 20, 3));
    store(&sandbox, &["init", "one"]).exits(0);
    store(&sandbox, &["backup", "one", "data"]).exits(0);
    store(&sandbox, &["sync", "one", "two"]).exits(0);
    let mut cut = 0;
    each_below(&sandbox.join("two/packs"), &mut |path, meta| {
        if meta.is_file() {
            let file = std::fs::OpenOptions::new()
                .write(true)
                .open(path)
                .expect("a pack");
            file.set_len(meta.len() / 2).expect("cut");
            cut += 1;
        }
    });
    assert!(cut > 0);
    store(&sandbox, &["verify", "two", "--read-data"]).exits(1);
    store(&sandbox, &["sync", "one", "two"])
        .exits(0)
        .says("brought back");
    store(&sandbox, &["verify", "two", "--read-data"]).exits(0);
    store(&sandbox, &["restore", "two", "latest", "back"]).exits(0);
    assert_same(&sandbox.join("data"), &sandbox.join("back"));
}

#[test]
fn a_backup_leaves_out_the_repository_it_goes_into() {
    let sandbox = Sandbox::new();
    sandbox.write("tree/file", "x");
    store(&sandbox, &["init", "tree/repository"]).exits(0);
    store(&sandbox, &["backup", "tree/repository", "tree"]).exits(0);
    store(&sandbox, &["restore", "tree/repository", "latest", "back"]).exits(0);
    assert!(sandbox.join("back/file").exists() && !sandbox.join("back/repository/packs").exists());
}
