//! `bkpctl store backup`: what it leaves out, what it does not read again, and kills.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::support::sandbox::{Ran, Sandbox};
use crate::support::skip;
use crate::support::tree::{assert_same, each_below, noise};

const KEY: [&str; 2] = ["--key-file", "lab.key"];

/// A file changed this shortly before a backup is read again by the next one.
const SETTLED: Duration = Duration::from_millis(2100);

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    store(&sandbox, &["init", "repo"]).exits(0);
    sandbox
}

fn with_key<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&["store"], arguments, &KEY].concat()
}

fn store(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    sandbox.run(&with_key(arguments))
}

fn json(ran: Ran) -> Value {
    serde_json::from_str(&ran.exits(0).stdout).expect("JSON")
}

fn listed(sandbox: &Sandbox) -> Vec<String> {
    let listing = json(store(sandbox, &["ls", "repo", "--json"]));
    let entries = listing["entries"].as_array().expect("entries").iter();
    entries
        .map(|entry| entry["path"].as_str().expect("a path").to_owned())
        .collect()
}

fn backup(sandbox: &Sandbox, more: &[&str]) -> Value {
    let all = [
        &["backup", "repo", "data", "--pack-size", "1", "--json"],
        more,
    ]
    .concat();
    json(store(sandbox, &all))
}

fn number(report: &Value, field: &str) -> u64 {
    report[field].as_u64().expect("a number")
}

fn packs(folder: &Path) -> usize {
    let mut count = 0;
    if folder.exists() {
        each_below(folder, &mut |_, meta| count += usize::from(meta.is_file()));
    }
    count
}

/// Makes 112 MiB of files of all sizes.
fn make_data(sandbox: &Sandbox) -> u64 {
    let mut total = 0;
    let mut file = |path: String, len: usize, seed: usize| {
        sandbox.write(&path, noise(len, seed as u64));
        total += len as u64;
    };
    for n in 0..90 {
        file(format!("data/d{n:02}/large"), 1_200_000 + n, n);
        for small in 0..10 {
            let len = 500 + 2000 * small;
            file(format!("data/d{n:02}/small-{small}"), len, 100 * n + small);
        }
    }
    file("data/e/huge".to_owned(), 6 << 20, 9999);
    total
}

#[test]
fn a_killed_backup_goes_on_where_it_was() {
    let sandbox = sandbox();
    let total = make_data(&sandbox);
    std::thread::sleep(SETTLED);
    let folder = sandbox.join("repo/packs");
    let mut least = 0;
    for stop_at in [8, 40, 80] {
        let arguments = ["backup", "repo", "data", "--pack-size", "1"];
        let mut child = sandbox.spawn(&with_key(&arguments));
        while packs(&folder) < stop_at && child.try_wait().expect("a state").is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        // SIGKILL: nothing of the process gets a chance to tidy up.
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
        least = stop_at as u64;
        if packs(&folder) > 100 {
            // A fast machine was done before the kill.
            break;
        }
    }
    let report = backup(&sandbox, &[]);
    let (read, resumed) = (
        number(&report, "read_bytes"),
        number(&report, "resumed_files"),
    );
    // Read and not yet kept: small files that wait for a chunk and what follows them, a pack
    // that is not full, chunks in the pool.
    let lost = (32 + 16) << 20;
    assert!(
        read < total - (least << 20) + lost,
        "{read} of {total}: {report}"
    );
    assert!(resumed > 0 || read == 0, "{report}");
    store(&sandbox, &["verify", "repo", "--read-data"]).exits(0);
    store(&sandbox, &["restore", "repo", "latest", "back"]).exits(0);
    assert_same(&sandbox.join("data"), &sandbox.join("back"));
    let again = backup(&sandbox, &[]);
    assert_eq!(number(&again, "read_bytes"), 0, "{again}");
    assert_eq!(number(&again, "unchanged_files"), 90 * 11 + 1);
    assert_eq!(number(&again, "stored_bytes"), 0);
}

#[test]
fn unchanged_files_are_not_read_and_the_cache_can_be_removed() {
    let sandbox = sandbox();
    let total = make_data(&sandbox);
    std::thread::sleep(SETTLED);
    let first = backup(&sandbox, &[]);
    assert_eq!(number(&first, "read_bytes"), total);
    assert!(first["ratio"].as_f64().expect("a ratio") > 0.9, "{first}");
    for stage in ["walk", "read", "seal", "store", "commit"] {
        assert!(first["stages_ms"][stage].is_u64(), "{first}");
    }
    sandbox.write("data/d07/large", noise(100_000, 1));
    assert_eq!(number(&backup(&sandbox, &[]), "read_bytes"), 100_000);
    std::thread::sleep(SETTLED);
    backup(&sandbox, &[]);
    assert_eq!(
        number(&backup(&sandbox, &["--read-all"]), "unchanged_files"),
        0
    );
    // The snapshot itself says the same to whoever holds the reading key.
    fs::remove_dir_all(sandbox.join("home/.cache/bkpctl")).expect("the cache");
    assert_eq!(number(&backup(&sandbox, &[]), "read_bytes"), 0);
    fs::remove_dir_all(sandbox.join("home/.cache/bkpctl")).expect("the cache");
    fs::write(sandbox.join("home/.cache/bkpctl"), "in the way").expect("a file");
    let report = backup(&sandbox, &[]);
    assert_eq!(number(&report, "read_bytes"), 0);
    let warnings = report["warnings"].as_array().expect("warnings");
    assert_eq!(warnings.len(), 1, "{report}");
}

#[test]
fn what_is_left_out_is_what_was_asked_for() {
    let sandbox = sandbox();
    for file in [
        "keep",
        "a/keep.tmp",
        "a/x.tmp",
        "build/out",
        "a/build/out",
        "cache/big",
    ] {
        sandbox.write(&format!("data/{file}"), "x");
    }
    let tag = "Signature: 8a477f597d28d172789f06886806bc55\n";
    sandbox.write("data/cache/CACHEDIR.TAG", tag);
    let _socket = UnixListener::bind(sandbox.join("data/socket")).expect("a socket");
    backup(
        &sandbox,
        &[
            "--exclude",
            "*.tmp",
            "--exclude",
            "!keep.tmp",
            "--exclude",
            "/build/",
            "--skip-caches",
        ],
    );
    assert_eq!(
        listed(&sandbox),
        [
            ".",
            "a",
            "a/build",
            "a/build/out",
            "a/keep.tmp",
            "cache",
            "cache/CACHEDIR.TAG",
            "keep"
        ]
    );
    backup(&sandbox, &[]);
    assert_eq!(listed(&sandbox).len(), 12);
    store(&sandbox, &["backup", "repo", "data", "--exclude", "[a"])
        .exits(1)
        .says("bad exclude pattern '[a'");
}

#[test]
fn other_file_systems_are_left_out_on_request() {
    let device = |path: &str| fs::metadata(path).map(|meta| meta.dev()).ok();
    let (dev, shm) = (device("/dev"), device("/dev/shm"));
    if shm.is_none() || dev == shm {
        skip("/dev/shm is no file system of its own");
        return;
    }
    let inside = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let name = inside
        .path()
        .file_name()
        .expect("a name")
        .to_str()
        .expect("ASCII");
    let sandbox = sandbox();
    let excludes = ["--exclude", "/*", "--exclude", "!/shm"];
    for (more, is_there) in [(vec![], true), (vec!["--one-file-system"], false)] {
        let all = [
            vec!["backup", "repo", "/dev", "--json"],
            excludes.to_vec(),
            more,
        ]
        .concat();
        store(&sandbox, &all).exits(0);
        let listed = listed(&sandbox);
        assert!(listed.contains(&"shm".to_owned()), "{listed:?}");
        assert_eq!(listed.contains(&format!("shm/{name}")), is_there);
    }
}
