//! The promises of [`Store`] as checks that run on any implementation.
//!
//! They panic with the promise that was broken, so that tests in every folder can call them.
//! Nothing outside tests does.

use super::{Folder, OpenSession, Put, SessionId, SessionKind, Store, StoreError, StoreName};

/// Checks every promise on fresh, empty stores.
pub fn check<S: Store>(make: &dyn Fn() -> S) {
    puts_are_whole_and_never_overwrite(&make());
    content_names_are_checked(&make());
    ranges_are_exact(&make());
    listings_are_whole_and_sorted(&make());
    removing_twice_is_no_error(&make());
    what_is_set_aside_is_kept_and_its_name_is_free(&make());
    snapshots_appear_by_commit_alone(&make());
    receipts_form_a_chain(&make());
    open_sessions_are_listed(&make());
    one_collects_at_a_time(&make());
    an_expired_session_cannot_commit(&make());
    the_managed_record_is_replaced(&make());
}

fn an_expired_session_cannot_commit(store: &dyn Store) {
    let session = SessionId::new([9; 16]);
    let manifest = name("snapshots/late/20260101T000000.000Z-00");
    store
        .open_session(&session, SessionKind::Write)
        .expect("a session opens");
    for _ in 0..2 {
        assert_eq!(store.expire_session(&session), Ok(()));
    }
    assert_eq!(store.list_sessions(), Ok(Vec::new()));
    let late = store.commit(&session, &manifest, b"late");
    assert!(
        matches!(late, Err(StoreError::SessionExpired { .. })),
        "an expired session committed: {late:?}"
    );
    assert!(absent(store, &manifest), "an expired commit left its file");
    store
        .close_session(&session)
        .expect("closing an expired session is no error");
}

fn name(text: &str) -> StoreName {
    StoreName::parse(text).expect("the suite's names are good")
}

fn absent(store: &dyn Store, name: &StoreName) -> bool {
    matches!(store.get(name), Err(StoreError::NotFound { .. }))
}

fn pack(bytes: &[u8]) -> StoreName {
    StoreName::pack(blake3::hash(bytes).as_bytes())
}

fn puts_are_whole_and_never_overwrite(store: &dyn Store) {
    let key = name("keys/slot-1");
    assert!(absent(store, &key), "a new store holds a file");
    assert!(
        matches!(store.size(&key), Err(StoreError::NotFound { .. })),
        "an absent file has a size"
    );
    assert_eq!(store.put(&key, b"first"), Ok(Put::Stored));
    assert_eq!(store.put(&key, b"first"), Ok(Put::AlreadyThere));
    assert!(
        matches!(store.put(&key, b"other"), Err(StoreError::Different { .. })),
        "a put overwrote a file"
    );
    assert_eq!(store.get(&key), Ok(b"first".to_vec()));
    assert_eq!(store.size(&key), Ok(5));
    assert_eq!(store.settle(&key), Ok(()));
    let none = name("keys/none");
    assert!(
        matches!(store.settle(&none), Err(StoreError::NotFound { .. })),
        "an absent file was made durable"
    );
    assert_eq!(store.put(&StoreName::marker(), b""), Ok(Put::Stored));
    assert_eq!(store.get(&StoreName::marker()), Ok(Vec::new()));
}

fn content_names_are_checked(store: &dyn Store) {
    let bytes = vec![7_u8; 300_000];
    let good = pack(&bytes);
    assert_eq!(store.put(&good, &bytes), Ok(Put::Stored));
    assert_eq!(store.put(&good, &bytes), Ok(Put::AlreadyThere));
    assert_eq!(store.get(&good), Ok(bytes));
    let wrong = pack(b"wanted");
    assert!(
        matches!(
            store.put(&wrong, b"given"),
            Err(StoreError::WrongHash { .. })
        ),
        "bytes went under a name that is not their hash"
    );
    assert!(absent(store, &wrong), "a refused put left its file");
}

fn ranges_are_exact(store: &dyn Store) {
    let key = name("recovery/notes");
    store.put(&key, b"0123456789").expect("a put works");
    assert_eq!(store.get_range(&key, 0, 10), Ok(b"0123456789".to_vec()));
    assert_eq!(store.get_range(&key, 3, 4), Ok(b"3456".to_vec()));
    assert_eq!(store.get_range(&key, 10, 0), Ok(Vec::new()));
    for (offset, len) in [(0, 11), (10, 1), (u64::MAX, 1), (5, u64::MAX)] {
        assert!(
            store.get_range(&key, offset, len).is_err(),
            "a range beyond the end was given: {offset} {len}"
        );
    }
    assert!(matches!(
        store.get_range(&name("recovery/none"), 0, 0),
        Err(StoreError::NotFound { .. })
    ));
}

fn listings_are_whole_and_sorted(store: &dyn Store) {
    for folder in Folder::ALL {
        assert_eq!(store.list(folder), Ok(Vec::new()), "a new store lists");
    }
    let mut packs: Vec<_> = (0..40_u8)
        .map(|byte| {
            let bytes = vec![byte; usize::from(byte)];
            store.put(&pack(&bytes), &bytes).expect("a put works");
            (pack(&bytes), u64::from(byte))
        })
        .collect();
    packs.sort();
    let listed: Vec<_> = store
        .list(Folder::Packs)
        .expect("a listing works")
        .into_iter()
        .map(|file| (file.name, file.size))
        .collect();
    assert_eq!(listed, packs);
    assert_eq!(store.list(Folder::Meta), Ok(Vec::new()));
    store.put(&StoreName::marker(), b"{}").expect("a put works");
    assert_eq!(store.list(Folder::Root).map(|files| files.len()), Ok(1));
}

fn removing_twice_is_no_error(store: &dyn Store) {
    for folder in Folder::ALL {
        assert_eq!(store.settle_removals(folder), Ok(()), "{folder:?}");
    }
    let key = name("gc/000001");
    store.put(&key, b"x").expect("a put works");
    assert_eq!(store.remove(&key), Ok(()));
    assert!(absent(store, &key), "a removed file is there");
    assert_eq!(store.remove(&key), Ok(()));
    assert_eq!(store.list(Folder::Gc), Ok(Vec::new()));
    assert_eq!(store.put(&key, b"y"), Ok(Put::Stored));
}

fn what_is_set_aside_is_kept_and_its_name_is_free(store: &dyn Store) {
    let bytes = b"a pack".as_slice();
    let pack = pack(bytes);
    for taken in 0..3 {
        assert_eq!(store.put(&pack, bytes), Ok(Put::Stored));
        for _ in 0..2 {
            assert_eq!(store.set_aside(&pack), Ok(()));
        }
        assert!(absent(store, &pack), "what is set aside is still there");
        assert_eq!(store.get(&pack.aside(taken)), Ok(bytes.to_vec()));
    }
    assert_eq!(store.list(Folder::Packs), Ok(Vec::new()));
    let kept = store.list(Folder::Damaged).expect("a listing works");
    assert_eq!(kept.len(), 3);
    let segment = StoreName::index(blake3::hash(bytes).as_bytes());
    store.put(&segment, bytes).expect("a put works");
    assert_eq!(store.set_aside(&segment), Ok(()));
    assert_eq!(store.get(&segment.aside(0)), Ok(bytes.to_vec()));
}

fn snapshots_appear_by_commit_alone(store: &dyn Store) {
    let manifest = name("snapshots/web/20260101T000000.000Z-0a");
    assert!(
        store.put(&manifest, b"m").is_err(),
        "a put made a snapshot visible"
    );
    let writer = SessionId::new([1; 16]);
    let reader = SessionId::new([2; 16]);
    for session in [&writer, &reader] {
        let early = store.commit(session, &manifest, b"m");
        assert!(
            matches!(early, Err(StoreError::SessionExpired { .. })),
            "a commit without a session: {early:?}"
        );
    }
    store
        .open_session(&writer, SessionKind::Write)
        .expect("a session opens");
    store
        .open_session(&reader, SessionKind::Read)
        .expect("a second session opens");
    assert!(
        store.commit(&reader, &manifest, b"m").is_err(),
        "a read session committed"
    );
    assert!(
        store.commit(&writer, &name("keys/a"), b"m").is_err(),
        "a commit wrote outside the snapshots"
    );
    assert_eq!(store.list(Folder::Snapshots), Ok(Vec::new()));
    let receipt = store
        .commit(&writer, &manifest, b"m")
        .expect("an open session commits");
    assert_eq!(receipt.snapshot, manifest.as_str());
    assert_eq!(store.get(&manifest), Ok(b"m".to_vec()));
    assert!(
        matches!(
            store.commit(&writer, &manifest, b"n"),
            Err(StoreError::Different { .. })
        ),
        "a commit overwrote a snapshot"
    );
    for _ in 0..2 {
        store.close_session(&writer).expect("a session closes");
    }
    store.close_session(&reader).expect("a session closes");
    let late = store.commit(&writer, &name("snapshots/web/b"), b"m");
    assert!(
        matches!(late, Err(StoreError::SessionExpired { .. })),
        "a closed session committed"
    );
    assert_eq!(
        store.list(Folder::Snapshots).map(|files| files.len()),
        Ok(1)
    );
}

fn receipts_form_a_chain(store: &dyn Store) {
    let session = SessionId::new([3; 16]);
    store
        .open_session(&session, SessionKind::Write)
        .expect("a session opens");
    let mut previous = "0".repeat(64);
    for number in 1..=3_u64 {
        let manifest = name(&format!("snapshots/web/{number}"));
        let receipt = store
            .commit(&session, &manifest, &[number as u8])
            .expect("a session commits more than once");
        assert_eq!((receipt.number, &receipt.previous), (number, &previous));
        let bytes = store
            .get(&receipt.name().expect("a receipt has a name"))
            .expect("the receipt is in the store");
        assert_eq!(bytes, receipt.encode());
        previous = blake3::hash(&bytes).to_hex().to_string();
    }
    assert_eq!(store.list(Folder::Receipts).map(|files| files.len()), Ok(3));
    store.close_session(&session).expect("a session closes");
}

fn open_sessions_are_listed(store: &dyn Store) {
    assert_eq!(store.list_sessions(), Ok(Vec::new()));
    let kinds = [
        SessionKind::Write,
        SessionKind::Read,
        SessionKind::Collect,
        SessionKind::Write,
    ];
    let sessions: Vec<_> = (1..=4_u8)
        .zip(kinds)
        .map(|(byte, kind)| OpenSession {
            id: SessionId::new([byte; 16]),
            kind,
        })
        .collect();
    for open in &sessions {
        assert_eq!(store.open_session(&open.id, open.kind), Ok(()));
    }
    assert_eq!(store.list_sessions(), Ok(sessions.clone()));
    for (count, open) in sessions.iter().enumerate() {
        assert_eq!(store.close_session(&open.id), Ok(()));
        assert_eq!(
            store.list_sessions(),
            Ok(sessions[count + 1..].to_vec()),
            "a session that ended is listed, or one that is open is not"
        );
    }
}

fn one_collects_at_a_time(store: &dyn Store) {
    let (first, second) = (SessionId::new([1; 16]), SessionId::new([2; 16]));
    for _ in 0..2 {
        assert_eq!(store.open_session(&first, SessionKind::Collect), Ok(()));
    }
    let manifest = name("snapshots/web/c");
    assert!(
        store.commit(&first, &manifest, b"m").is_err(),
        "a collector committed"
    );
    assert_eq!(
        store.open_session(&second, SessionKind::Collect),
        Err(StoreError::Collecting)
    );
    assert_eq!(store.close_session(&first), Ok(()));
    assert_eq!(store.open_session(&second, SessionKind::Collect), Ok(()));
    assert_eq!(store.close_session(&second), Ok(()));
}

fn the_managed_record_is_replaced(store: &dyn Store) {
    assert_eq!(store.get_managed(), Ok(None));
    for text in [b"one".as_slice(), b"two"] {
        store.put_managed(text).expect("the record is written");
        assert_eq!(store.get_managed(), Ok(Some(text.to_vec())));
    }
}
