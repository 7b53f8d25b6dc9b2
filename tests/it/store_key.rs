//! `store key`: passphrases come and go, and the repository is never shut for good.

use std::os::unix::fs::PermissionsExt;

use crate::support::sandbox::{Ran, Sandbox};

fn with(sandbox: &Sandbox, variables: &[(&str, &str)], arguments: &[&str]) -> Ran {
    let mut command = sandbox.command(&[&["store"], arguments].concat());
    command.envs(variables.iter().copied());
    Ran::of(&command.output().expect("the binary runs"))
}

fn ids(sandbox: &Sandbox) -> Vec<String> {
    let listed = with(sandbox, &[], &["key", "list", "repo", "--json"]).exits(0);
    let listed: serde_json::Value = serde_json::from_str(&listed.stdout).expect("JSON");
    let slots = listed["slots"].as_array().expect("slots").iter();
    slots
        .map(|slot| slot["id"].as_str().expect("an id").to_owned())
        .collect()
}

#[test]
fn passphrases_are_added_changed_and_revoked_but_the_last_way_in_stays() {
    let sandbox = Sandbox::new();
    sandbox.write("data/file", "content");
    let old = ("BKPCTL_PASSPHRASE", "old");
    let new = ("BKPCTL_NEW_PASSPHRASE", "new");
    with(&sandbox, &[old], &["init", "repo"]).exits(0);
    with(&sandbox, &[old], &["backup", "repo", "data"]).exits(0);
    let first = ids(&sandbox);
    assert_eq!(first.len(), 1);

    with(&sandbox, &[old], &["key", "revoke", "repo", &first[0]])
        .exits(1)
        .says("last slot")
        .says("--key-file");
    with(&sandbox, &[old], &["key", "add", "repo"])
        .exits(1)
        .says("BKPCTL_NEW_PASSPHRASE");
    let wrong = ("BKPCTL_PASSPHRASE", "wrong");
    with(
        &sandbox,
        &[wrong, new],
        &["key", "change-passphrase", "repo"],
    )
    .exits(1)
    .says("wrong passphrase");
    assert_eq!(ids(&sandbox), first);

    with(&sandbox, &[old, new], &["key", "change-passphrase", "repo"]).exits(0);
    let changed = ids(&sandbox);
    assert_eq!(changed.len(), 1);
    assert_ne!(changed, first);
    with(&sandbox, &[old], &["snapshots", "repo"])
        .exits(1)
        .says("wrong passphrase");
    let new_now = ("BKPCTL_PASSPHRASE", "new");
    with(&sandbox, &[new_now], &["snapshots", "repo"]).exits(0);
}

#[test]
fn a_recovery_sheet_makes_a_key_file_which_lets_the_last_slot_go() {
    let sandbox = Sandbox::new();
    let pass = ("BKPCTL_PASSPHRASE", "only one");
    with(&sandbox, &[pass], &["init", "repo"]).exits(0);
    with(&sandbox, &[pass], &["key", "recovery", "repo"])
        .exits(1)
        .says("terminal");
    let sheet = ["key", "recovery", "repo", "--sheet", "sheet"];
    with(&sandbox, &[pass], &sheet).exits(0);
    with(&sandbox, &[pass], &sheet).exits(1).says("exists");
    sandbox
        .run(&["key", "recover", "sheet", "lab.key"])
        .exits(0);
    for secret in ["sheet", "lab.key"] {
        let mode = std::fs::metadata(sandbox.join(secret)).expect("a file");
        assert_eq!(mode.permissions().mode() & 0o777, 0o600, "{secret}");
    }
    let id = ids(&sandbox).remove(0);
    let revoke = ["key", "revoke", "repo", &id[..6], "--key-file", "lab.key"];
    with(&sandbox, &[], &revoke)
        .exits(0)
        .says("may have kept the key");
    assert!(ids(&sandbox).is_empty());
    with(&sandbox, &[], &revoke).exits(1).says("key list");
    with(
        &sandbox,
        &[],
        &["snapshots", "repo", "--key-file", "lab.key"],
    )
    .exits(0);
    with(&sandbox, &[pass], &["snapshots", "repo"])
        .exits(1)
        .says("no passphrase slot");
}

#[test]
fn slots_that_are_damaged_or_ask_too_much_are_refused_by_name() {
    let sandbox = Sandbox::new();
    let pass = ("BKPCTL_PASSPHRASE", "x");
    with(&sandbox, &[], &["init", "repo", "--key-file", "lab.key"]).exits(0);
    let slot = |memory: u64| {
        let zeros = |count: usize| "0".repeat(count);
        let content = format!(
            "{{\"format\":{},\"kind\":\"passphrase\",\"domain\":\"{}\",\"argon2id\":\
             {{\"memory_kib\":{memory},\"passes\":3}},\"salt\":\"{}\",\"commitment\":\"{}\",\
             \"sealed\":\"{}\"",
            bkpctl::engine::format::FORMAT,
            zeros(64),
            zeros(32),
            zeros(64),
            zeros(96)
        );
        let check = &blake3::hash(content.as_bytes()).to_hex()[..32];
        format!("{content},\"check\":\"{check}\"}}\n")
    };
    let name = "repo/keys/passphrase-0000000000000000";
    for (memory, reason) in [
        (1, "outside the allowed range"),
        (4 << 30, "key slot is damaged"),
    ] {
        sandbox.write(name, slot(memory));
        with(&sandbox, &[pass], &["snapshots", "repo"])
            .exits(1)
            .says(reason);
        with(&sandbox, &[], &["key", "list", "repo"])
            .exits(1)
            .says(reason);
    }
    sandbox.write(name, "no JSON");
    with(&sandbox, &[pass], &["snapshots", "repo"])
        .exits(1)
        .says("key slot is damaged");
    with(
        &sandbox,
        &[],
        &["snapshots", "repo", "--key-file", "lab.key"],
    )
    .exits(0);
}

#[test]
fn a_repository_of_a_newer_format_is_refused_with_both_numbers() {
    let sandbox = Sandbox::new();
    let key = ["--key-file", "lab.key"];
    with(&sandbox, &[], &[&["init", "repo"], &key[..]].concat()).exits(0);
    let marker = std::fs::read_to_string(sandbox.join("repo/bkpctl.json")).expect("a marker");
    let number = bkpctl::engine::format::FORMAT;
    let newer = marker.replace(
        &format!("\"format\":{number}"),
        &format!("\"format\":{}", number + 1),
    );
    sandbox.write("repo/bkpctl.json", newer);
    with(&sandbox, &[], &[&["snapshots", "repo"], &key[..]].concat())
        .exits(1)
        .says(&format!("format {}", number + 1))
        .says(&format!("knows format {number}"));
}
