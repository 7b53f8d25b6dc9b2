//! Verification within a budget goes on where the last one ended.

use std::sync::Arc;

use super::support::*;
use crate::engine::env::Cancel;
use crate::engine::store::{Call, Counting, Folder, Memory, Store};
use crate::engine::{
    Access, Budget, Level, Repository, Silent, VerifyOptions, VerifyReport, verify_with,
};

fn check(store: Arc<dyn Store>, level: Level, budget: Option<Budget>) -> VerifyReport {
    let repository = match level {
        Level::Full => reader(store),
        _ => Repository::open(store, env(), Access::Keyless).expect("it opens"),
    };
    let options = VerifyOptions {
        budget,
        ..VerifyOptions::new(level)
    };
    verify_with(&repository, &options, &Silent, &Cancel::new()).expect("a verification")
}

fn filled() -> (Arc<Memory>, u64) {
    let (_folder, root) = tree();
    let store = memory();
    back_up(&writer(store.clone()), &root).expect("a backup");
    let count = |folder| store.list(folder).expect("a listing").len() as u64;
    let packs = count(Folder::Packs) + count(Folder::Meta);
    assert!(packs > 5, "{packs}");
    (store, packs)
}

#[test]
fn budgets_add_up_to_everything() {
    for level in [Level::Packs, Level::Full] {
        let (store, packs) = filled();
        let (mut read, mut runs) = (0, 0);
        loop {
            let report = check(store.clone(), level, Some(Budget::Bytes(1)));
            assert!(report.is_clean(), "{:?}", report.findings);
            assert!(report.read > 0);
            read += report.read;
            runs += 1;
            let coverage = report.coverage.expect("packs were read");
            assert_eq!((coverage.packs, coverage.lately), (packs, read));
            assert_eq!(coverage.never, packs - read);
            if read == packs {
                break;
            }
            assert!(runs < 40);
        }
        assert!(runs > 2, "{runs}");
        // A shallow look does not count for a deep one.
        let report = check(store, Level::Full, Some(Budget::Bytes(1)));
        let lately = report.coverage.expect("packs were read").lately;
        let expected = if level == Level::Full {
            packs
        } else {
            report.read
        };
        assert_eq!(lately, expected);
    }
}

#[test]
fn time_is_a_budget_and_a_whole_pack_is_the_least() {
    let (store, packs) = filled();
    let report = check(store.clone(), Level::Packs, Some(Budget::Time(1)));
    assert!(report.read <= 1, "the clock moves a second at every look");
    // Each pack takes a few looks at the clock.
    let report = check(store, Level::Packs, Some(Budget::Time(6_000_000_000)));
    assert!(report.read > 0 && report.read < packs, "{}", report.read);
}

#[test]
fn a_lost_or_damaged_ledger_means_to_start_again() {
    let (store, packs) = filled();
    check(store.clone(), Level::Full, None);
    let lately = |store: &Arc<Memory>| {
        let report = check(store.clone(), Level::Packs, Some(Budget::Bytes(0)));
        assert_eq!(report.read, 0);
        report.coverage.expect("packs were read").lately
    };
    assert_eq!(lately(&store), packs);
    for file in store.list(Folder::Verify).expect("a listing") {
        store.remove(&file.name).expect("removed");
        store.put(&file.name, b"bkpctl-verified 0\n").expect("put");
    }
    assert_eq!(lately(&store), 0);
}

#[test]
fn damage_is_found_again_until_it_is_gone() {
    let (store, packs) = filled();
    let name = &store.list(Folder::Packs).expect("a listing")[0].name;
    let good = store.get(name).expect("a pack");
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    store.damage(name, |bytes| *bytes = bad);
    let found = check(store.clone(), Level::Packs, None);
    assert!(!found.is_clean());
    // The bad one comes first, whatever was checked before.
    let again = check(store.clone(), Level::Packs, Some(Budget::Bytes(1)));
    assert!(!again.is_clean());
    store.damage(name, |bytes| *bytes = good);
    let healed = check(store, Level::Packs, Some(Budget::Bytes(1)));
    assert!(healed.is_clean(), "{:?}", healed.findings);
    assert_eq!(healed.coverage.expect("packs were read").lately, packs);
}

#[test]
fn every_pack_is_read_once_and_no_more() {
    let (store, _) = filled();
    let sizes: u64 = [Folder::Packs, Folder::Meta]
        .into_iter()
        .flat_map(|folder| store.list(folder).expect("a listing"))
        .map(|file| file.size)
        .sum();
    let counting = Arc::new(Counting::new(store));
    let report = check(counting.clone(), Level::Packs, None);
    assert_eq!(report.bytes, sizes);
    let read = counting.tally(Call::Get(Folder::Packs)).bytes;
    assert!(read <= sizes, "{read} of {sizes}");
}
