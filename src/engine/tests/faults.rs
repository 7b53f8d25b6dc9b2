//! Full disks, damaged packs, expired sessions: errors with names, never wrong data.

use std::sync::Arc;

use super::support::*;
use crate::engine::crypto::{ArgonCost, CryptoError, PassphraseSlot};
use crate::engine::store::{
    Call, Counting, Fault, Faulty, Folder, Memory, SessionId, SessionKind, Store, StoreError,
    StoreName,
};
use crate::engine::{CreateOptions, EngineError, Repository, unlock};

fn no_space() -> StoreError {
    StoreError::NoSpace {
        name: "x".to_owned(),
    }
}

fn snapshots(store: &dyn Store) -> usize {
    store.list(Folder::Snapshots).expect("a listing").len()
}

#[test]
fn a_full_store_at_any_put_leaves_nothing_visible_and_the_next_run_succeeds() {
    let (_folder, root) = tree();
    let counting = Arc::new(Counting::new(memory()));
    back_up(&writer(counting.clone()), &root).expect("a backup");
    let puts: u64 = Folder::ALL
        .iter()
        .map(|folder| counting.tally(Call::Put(*folder)).calls)
        .sum();
    assert!(puts > 6, "{puts}");
    for call in ["put", "commit"] {
        for after in (0..puts).step_by(if call == "put" { 2 } else { 1000 }) {
            for (for_good, takes_effect) in [(false, false), (true, false), (false, true)] {
                let store = Arc::new(Faulty::new(memory()));
                store.arm(Some(Fault {
                    call,
                    after,
                    for_good,
                    takes_effect,
                    error: no_space(),
                }));
                let failed = back_up(&writer(store.clone()), &root);
                if store.failures() == 0 {
                    // Threads fill packs as they come: this time there was one put less.
                    continue;
                }
                assert!(
                    matches!(failed, Err(EngineError::Store(StoreError::NoSpace { .. }))),
                    "{call} {after}: {failed:?}"
                );
                store.arm(None);
                let lost_answer = call == "commit" && takes_effect;
                assert_eq!(snapshots(&*store), usize::from(lost_answer));
                back_up(&writer(store.clone()), &root).expect("the next run succeeds");
                assert_eq!(snapshots(&*store), 1 + usize::from(lost_answer));
                assert!(
                    verify_all(&reader(store.clone())).is_empty(),
                    "{call} {after}"
                );
            }
        }
    }
}

#[test]
fn a_full_store_keeps_nobody_from_reading() {
    let (_folder, root) = tree();
    let store = Arc::new(Faulty::new(memory()));
    back_up(&writer(store.clone()), &root).expect("a backup");
    for takes_effect in [false, true] {
        store.arm(Some(Fault {
            call: "open_session",
            after: 0,
            for_good: true,
            takes_effect,
            error: no_space(),
        }));
        assert!(verify_all(&reader(store.clone())).is_empty());
        assert!(store.failures() > 0);
        let left = store.list_sessions().expect("a listing");
        assert!(left.is_empty(), "{left:?}");
        back_up(&writer(store.clone()), &root).expect_err("whoever writes needs room");
    }
}

#[test]
fn an_interrupted_backup_finds_its_packs_again() {
    let (_folder, root) = tree();
    let store = Arc::new(Faulty::new(Arc::new(Counting::new(memory()))));
    store.arm(Some(Fault {
        call: "put",
        after: 5,
        for_good: true,
        takes_effect: false,
        error: no_space(),
    }));
    back_up(&writer(store.clone()), &root).expect_err("the store is full");
    store.arm(None);
    let before = store.inner().tally(Call::Put(Folder::Packs)).bytes;
    assert!(before > 1 << 20, "{before}");
    back_up(&writer(store.clone()), &root).expect("a backup");
    let stored = store.inner().tally(Call::Put(Folder::Packs)).bytes;
    let fresh = memory();
    let report = back_up(&writer(fresh), &root).expect("a backup");
    assert!(
        stored < report.clear.stored_bytes + (1 << 20),
        "{stored} instead of {}",
        report.clear.stored_bytes
    );
}

fn largest_pack(store: &Memory, folder: Folder) -> StoreName {
    let packs = store.list(folder).expect("a listing");
    let largest = packs.into_iter().max_by_key(|file| file.size);
    largest.expect("a pack").name
}

type Damage = fn(&mut Vec<u8>);

#[test]
fn damaged_packs_are_found_named_and_never_restored_wrongly() {
    let (_folder, root) = tree();
    let damages: [(&str, Damage); 4] = [
        ("cut off", |bytes| bytes.truncate(bytes.len() / 2)),
        ("emptied", Vec::clear),
        ("flipped in a blob", |bytes| {
            let at = bytes.len() * 2 / 3;
            bytes[at] ^= 1;
        }),
        ("flipped in its head", |bytes| bytes[30] ^= 1),
    ];
    for (what, damage) in damages {
        for folder in [Folder::Packs, Folder::Meta] {
            let store = memory();
            back_up(&writer(store.clone()), &root).expect("a backup");
            let name = largest_pack(&store, folder);
            store.damage(&name, damage);
            let found = verify_all(&reader(store.clone()));
            assert!(
                found.iter().any(|finding| finding.contains(name.as_str())),
                "{what}: {found:?}"
            );
            let target = tempfile::tempdir().expect("a temporary folder");
            let target = target.path().join("t");
            // A flip that hits nothing a reader needs may go unseen here, but never wrong data.
            if let Ok(report) = restore_latest(&reader(store.clone()), &target) {
                assert_only_failed_files_are_missing(&report, &root, &target);
            }
            // The next backup stores what was lost, where a size tells that it was.
            if what != "flipped in a blob" && what != "flipped in its head" {
                back_up(&writer(store.clone()), &root).expect("a backup");
                assert_restores(&reader(store), &root);
            }
        }
    }
}

fn assert_only_failed_files_are_missing(
    report: &crate::engine::RestoreReport,
    root: &std::path::Path,
    target: &std::path::Path,
) {
    for path in ["data/big", "data/copy", "data/text", "data/sparse"] {
        let failed = report
            .failed
            .iter()
            .any(|(failed, _)| failed.as_bytes() == path.as_bytes());
        let restored = std::fs::read(target.join(path)).ok();
        if failed {
            assert_eq!(restored, None, "{path}");
        } else {
            assert!(restored == std::fs::read(root.join(path)).ok(), "{path}");
        }
    }
}

#[test]
fn a_damaged_index_costs_nothing_but_time() {
    let (_folder, root) = tree();
    for remove in [true, false] {
        let store = memory();
        back_up(&writer(store.clone()), &root).expect("a backup");
        for file in store.list(Folder::Index).expect("a listing") {
            if remove {
                store.remove(&file.name).expect("a removal");
            } else {
                store.damage(&file.name, |bytes| bytes[20] ^= 1);
            }
        }
        assert_restores(&reader(store.clone()), &root);
        let report = back_up(&writer(store), &root).expect("a backup");
        assert_eq!(report.clear.new_bytes, 0);
    }
}

#[test]
fn a_failed_listing_is_never_taken_for_absence() {
    let (_folder, root) = tree();
    let store = Arc::new(Faulty::new(memory()));
    back_up(&writer(store.clone()), &root).expect("a backup");
    for after in 0..4 {
        store.arm(Some(Fault {
            call: "list",
            after,
            for_good: false,
            takes_effect: false,
            error: StoreError::Io {
                name: "packs".to_owned(),
                message: "Input/output error".to_owned(),
                code: Some(5),
            },
        }));
        let failed = back_up(&writer(store.clone()), &root);
        assert!(matches!(failed, Err(EngineError::Store(_))), "{after}");
    }
}

#[test]
fn packs_condemned_before_or_meanwhile_are_not_built_on() {
    let (_folder, root) = tree();
    let store = memory();
    back_up(&writer(store.clone()), &root).expect("a backup");
    let mut names = Vec::new();
    for folder in [Folder::Packs, Folder::Meta] {
        names.extend(store.list(folder).expect("a listing"));
    }
    let list: Vec<_> = names
        .iter()
        .map(|file| format!("{}\n", file.name.file_name()))
        .collect();
    let condemn = StoreName::parse("gc/000001").expect("a good name");
    store
        .put(&condemn, list.concat().as_bytes())
        .expect("a put");
    let report = back_up(&writer(store.clone()), &root).expect("a backup");
    assert!(report.clear.new_bytes > 0);
    for file in &names {
        store.remove(&file.name).expect("a removal");
    }
    assert_restores(&reader(store), &root);
}

#[test]
fn a_commit_after_expiry_fails_and_shows_nothing() {
    let store = memory();
    let session = SessionId::new([8; 16]);
    store
        .open_session(&session, SessionKind::Write)
        .expect("a session");
    store.expire_session(&session).expect("an expiry");
    let name = StoreName::parse("snapshots/web/late").expect("a good name");
    assert!(matches!(
        store.commit(&session, &name, b"x"),
        Err(StoreError::SessionExpired { .. })
    ));
    assert_eq!(snapshots(&*store), 0);
}

#[test]
fn passphrases_open_a_repository_and_wrong_ones_say_so() {
    let store = Memory::new(env().clock);
    let slot = PassphraseSlot::wrap(&env(), &key(), b"correct", ArgonCost::LEAST).expect("a slot");
    let options = CreateOptions {
        slots: vec![slot],
        ..CreateOptions::for_key("here", &key())
    };
    Repository::create(&store, &env(), &options).expect("a repository");
    let opened = unlock(&store, b"correct").expect("the passphrase").0;
    assert_eq!(opened.domain(), key().domain());
    assert!(matches!(
        unlock(&store, b"wrong"),
        Err(EngineError::Crypto(CryptoError::WrongPassphrase))
    ));
    assert!(matches!(
        unlock(&*memory(), b"any"),
        Err(EngineError::NoSlot)
    ));
}

/// Panics once, in a thread that is not the one that backs up.
struct Panicker {
    spared: std::thread::ThreadId,
    is_armed: std::sync::atomic::AtomicBool,
}

impl crate::engine::Observer for Panicker {
    fn event(&self, event: crate::engine::Event<'_>) {
        let in_pool = std::thread::current().id() != self.spared;
        if in_pool
            && matches!(event, crate::engine::Event::Stored { .. })
            && self
                .is_armed
                .swap(false, std::sync::atomic::Ordering::Relaxed)
        {
            panic!("an observer failed, as this test wants");
        }
    }
}

#[test]
fn a_panic_in_the_pool_ends_the_backup_with_an_error() {
    let (_folder, root) = tree();
    let store = memory();
    let (tell, told) = std::sync::mpsc::channel();
    let shared = store.clone();
    std::thread::spawn(move || {
        let observer = Panicker {
            spared: std::thread::current().id(),
            is_armed: true.into(),
        };
        let failed = crate::engine::backup(
            &writer(shared),
            &[root],
            crate::engine::files::ScanOptions::default(),
            &options(),
            &observer,
            &crate::engine::env::Cancel::new(),
        );
        drop(tell.send(failed));
    });
    let failed = told
        .recv_timeout(std::time::Duration::from_mins(1))
        .expect("nobody waits for a thread that is gone");
    assert!(matches!(failed, Err(EngineError::Panicked)), "{failed:?}");
    assert_eq!(snapshots(&*store), 0);
}
