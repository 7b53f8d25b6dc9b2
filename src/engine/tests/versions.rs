//! What a repository of another number or with unknown features lets a program do.

use std::sync::Arc;

use super::support::{assert_restores, back_up, create, env, key, memory, noise, reader, tree};
use crate::engine::env::Cancel;
use crate::engine::format::FORMAT;
use crate::engine::line;
use crate::engine::store::{Folder, Memory, Store, StoreName};
use crate::engine::{
    Access, Deed, EngineError, Level, Marker, Repository, Selection, Silent, sync, verify,
};

/// Returns a copy of a store whose marker was changed.
fn with_marker(store: &dyn Store, change: impl Fn(&mut serde_json::Value)) -> Arc<Memory> {
    let copy = Arc::new(Memory::new(env().clock));
    for folder in Folder::ALL {
        for file in store.list(folder).expect("a listing") {
            if folder != Folder::Root && folder != Folder::Snapshots {
                let bytes = store.get(&file.name).expect("a file");
                copy.put(&file.name, &bytes).expect("stored");
            }
        }
    }
    let bytes = store.get(&StoreName::marker()).expect("a marker");
    let mut marker: serde_json::Value = line::decode(&bytes).expect("a line");
    change(&mut marker);
    copy.put(&StoreName::marker(), &line::encode(&marker))
        .expect("stored");
    copy
}

fn with_feature(store: &dyn Store, need: &str) -> Arc<Memory> {
    with_marker(store, |marker| {
        marker["features"] = serde_json::json!({ "parity": need });
    })
}

#[test]
fn a_newer_number_is_refused_with_both_numbers_even_if_nothing_else_makes_sense() {
    let store = Memory::new(env().clock);
    let newer = format!("{{\"format\":{},\"all\":[\"else\"]}}\n", FORMAT + 1);
    store
        .put(&StoreName::marker(), newer.as_bytes())
        .expect("stored");
    let error = Marker::read(&store).expect_err("it is newer");
    assert!(matches!(error, EngineError::Newer { found } if found == FORMAT + 1));
    let text = error.to_string();
    for number in [FORMAT, FORMAT + 1] {
        assert!(text.contains(&format!("format {number}")), "{text}");
    }
}

#[test]
fn an_unknown_feature_forbids_what_it_names_and_no_more() {
    let (_folder, tree) = tree();
    let plain = memory();
    back_up(&reader(plain.clone()), &tree).expect("a snapshot");
    for need in ["read", "whatever"] {
        let opened = Repository::open(with_feature(&*plain, need), env(), Access::Keyless);
        let error = opened.expect_err("it may not be read");
        assert!(matches!(error, EngineError::Features { .. }), "{error}");
        assert!(error.to_string().contains("parity"), "{error}");
    }

    let unwritable = reader(with_feature(&*plain, "write"));
    let report = verify(&unwritable, Level::Packs, &Silent, &Cancel::new()).expect("it is read");
    assert!(report.is_clean(), "{:?}", report.findings);
    let refused = |result: Result<(), EngineError>| {
        assert!(matches!(result, Err(EngineError::Features { .. })));
    };
    refused(back_up(&unwritable, &tree).map(|_| ()));
    refused(
        unwritable
            .add_slot(b"x", crate::engine::crypto::ArgonCost::LEAST)
            .map(|_| ()),
    );
    let target: Arc<dyn Store> = unwritable.store().clone();
    let from: Arc<dyn Store> = plain.clone();
    let copied = sync(
        &from,
        &target,
        &env(),
        &Selection::default(),
        &Silent,
        &Cancel::new(),
    );
    refused(copied.map(|_| ()));
    let new = Memory::new(env().clock);
    refused(Repository::create_like(&new, &env(), "there", &*target).map(|_| ()));

    let uncollectable = reader(with_feature(&*plain, "collect"));
    back_up(&uncollectable, &tree).expect("it may be written");
    assert_restores(&uncollectable, &tree);
    refused(uncollectable.marker().check(Deed::Collect));
}

#[test]
fn a_damaged_marker_is_said_so_and_its_copy_replaces_it() {
    let store = Memory::new(env().clock);
    create(&store);
    let bytes = store.get(&StoreName::marker()).expect("a marker");
    for at in (0..bytes.len()).step_by(7) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let damaged = Memory::new(env().clock);
        damaged.put(&StoreName::marker(), &changed).expect("stored");
        assert!(Marker::read(&damaged).is_err(), "{at}");
    }
    let files = store.list(Folder::Recovery).expect("a listing");
    let copies: Vec<_> = files
        .iter()
        .filter(|file| store.get(&file.name).expect("a file") == bytes)
        .collect();
    assert_eq!((files.len(), copies.len()), (2, 1));
}

#[test]
fn damage_to_slots_and_to_what_is_for_recovery_is_found() {
    let find = |folder: Folder| {
        let store = Arc::new(Memory::new(env().clock));
        create(&*store);
        let repository = reader(store.clone());
        let cost = crate::engine::crypto::ArgonCost::LEAST;
        repository.add_slot(b"x", cost).expect("a slot");
        let name = store.list(folder).expect("a listing")[0].name.clone();
        store.damage(&name, |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        });
        let report = verify(&repository, Level::Structure, &Silent, &Cancel::new());
        report.expect("a verification").findings.len()
    };
    assert_eq!((find(Folder::Keys), find(Folder::Recovery)), (1, 1));
}

#[test]
fn a_changed_byte_anywhere_in_a_manifest_is_seen_with_the_key() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("file"), noise(1000, 1)).expect("a file");
    let store = memory();
    let repository = reader(store);
    let made = back_up(&repository, folder.path()).expect("a snapshot");
    let bytes = repository.store().get(&made.name).expect("a manifest");
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let decoded = crate::engine::manifest::Manifest::decode(&made.name, &changed);
        let opened = decoded.and_then(|manifest| manifest.open(&made.name, &key()));
        assert!(opened.is_err(), "{at}");
    }
}
