//! What a comparison of two snapshots says, and how little it reads for that.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use super::support::*;
use crate::engine::env::Cancel;
use crate::engine::files::RelPath;
use crate::engine::store::{Call, Counting, Folder};
use crate::engine::{OpenSnapshot, Repository, diff};

fn open(repository: &Repository, id: &str) -> OpenSnapshot {
    let snapshot = repository.find_snapshot(id).expect("a snapshot");
    OpenSnapshot::open(repository, &snapshot).expect("it opens")
}

fn changes(old: &OpenSnapshot, new: &OpenSnapshot, path: &str) -> Vec<String> {
    let path = RelPath::new(path).expect("a path");
    let mut found = Vec::new();
    diff(old, new, &path, &Cancel::new(), &mut |change| {
        found.push(format!("{} {}", change.word(), change.entry().path));
        Ok(())
    })
    .expect("a comparison");
    found
}

#[test]
fn changes_are_named_and_what_is_equal_is_not_read() {
    let (_folder, root) = tree();
    let store = Arc::new(Counting::new(memory()));
    let first = back_up(&reader(store.clone()), &root).expect("a backup");
    fs::write(root.join("etc/conf-100"), b"changed").expect("a file");
    fs::write(root.join("etc/conf-200"), noise(200 * 17, 999)).expect("a file");
    fs::write(root.join("etc/new"), b"new").expect("a file");
    fs::remove_file(root.join("etc/conf-250")).expect("removed");
    let mode = fs::Permissions::from_mode(0o600);
    fs::set_permissions(root.join("data/text"), mode).expect("a mode");
    let second = back_up(&reader(store.clone()), &root).expect("a backup");
    let repository = reader(store.clone());
    let (old, new) = (
        open(&repository, &first.clear.id),
        open(&repository, &second.clear.id),
    );
    store.take();
    assert_eq!(
        changes(&old, &new, ""),
        [
            "metadata data/text",
            "metadata etc",
            "changed etc/conf-100",
            "changed etc/conf-200",
            "removed etc/conf-250",
            "added etc/new",
            "metadata etc/text",
        ]
    );
    let data = store.tally(Call::Get(Folder::Packs)).bytes;
    assert!(data < 4 << 20, "{data}");
    assert_eq!(
        changes(&old, &new, "etc/conf-100"),
        ["changed etc/conf-100"]
    );
    assert_eq!(changes(&old, &new, "nowhere"), [""; 0]);
    store.take();
    assert_eq!(changes(&old, &old, ""), [""; 0]);
    assert_eq!(store.tally(Call::Get(Folder::Meta)).calls, 0);
}

#[test]
fn what_was_read_anew_or_by_another_writer_is_still_the_same() {
    let (_folder, root) = tree();
    let store = memory();
    let first = back_up(&writer(store.clone()), &root).expect("a backup");
    // Everything after a removed file lies elsewhere in the run of small files.
    fs::remove_file(root.join("etc/conf-001")).expect("removed");
    let second = back_up(&writer(store.clone()), &root).expect("a backup");
    let repository = reader(store);
    let other = crate::engine::BackupOptions {
        ..crate::engine::BackupOptions::new("db", "db", "machine-a")
    };
    let third = crate::engine::backup(
        &repository,
        std::slice::from_ref(&root),
        crate::engine::files::ScanOptions::default(),
        &other,
        &crate::engine::Silent,
        &Cancel::new(),
    )
    .expect("a backup");
    let open = |id: &str| open(&repository, id);
    let (first, second) = (open(&first.clear.id), open(&second.clear.id));
    let third = open(&third.clear.id);
    let removed = ["metadata etc", "removed etc/conf-001"];
    assert_eq!(changes(&first, &second, ""), removed);
    assert_eq!(changes(&first, &third, ""), removed);
    assert_eq!(changes(&second, &third, ""), [""; 0]);
}
