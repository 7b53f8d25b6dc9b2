//! Index segments that are merged while others read or merge them, and in spite of faults.

use std::sync::{Arc, Mutex};

use super::support::*;
use crate::engine::index::{self, PackEntries, Place};
use crate::engine::pack::BlobKind;
use crate::engine::store::{
    Fault, Faulty, Folder, Listed, Memory, OpenSession, Put, Receipt, SessionId, SessionKind,
    Store, StoreError, StoreName,
};
use crate::engine::{Silent, env::Cancel};

/// Lets something happen between the calls of a reader: before each `get` of a segment.
struct Meanwhile<'a> {
    inner: &'a Memory,
    happens: Mutex<Vec<&'a (dyn Fn() + Sync)>>,
}

impl Store for Meanwhile<'_> {
    fn place(&self) -> String {
        self.inner.place()
    }
    fn put(&self, name: &StoreName, bytes: &[u8]) -> Result<Put, StoreError> {
        self.inner.put(name, bytes)
    }
    fn get(&self, name: &StoreName) -> Result<Vec<u8>, StoreError> {
        let next = self.happens.lock().expect("no test panics with it").pop();
        if let (Folder::Index, Some(next)) = (name.folder(), next) {
            next();
        }
        self.inner.get(name)
    }
    fn get_range(&self, name: &StoreName, offset: u64, len: u64) -> Result<Vec<u8>, StoreError> {
        self.inner.get_range(name, offset, len)
    }
    fn size(&self, name: &StoreName) -> Result<u64, StoreError> {
        self.inner.size(name)
    }
    fn list(&self, folder: Folder) -> Result<Vec<Listed>, StoreError> {
        self.inner.list(folder)
    }
    fn remove(&self, name: &StoreName) -> Result<(), StoreError> {
        self.inner.remove(name)
    }
    fn open_session(&self, session: &SessionId, kind: SessionKind) -> Result<(), StoreError> {
        self.inner.open_session(session, kind)
    }
    fn commit(
        &self,
        session: &SessionId,
        manifest: &StoreName,
        bytes: &[u8],
    ) -> Result<Receipt, StoreError> {
        self.inner.commit(session, manifest, bytes)
    }
    fn close_session(&self, session: &SessionId) -> Result<(), StoreError> {
        self.inner.close_session(session)
    }
    fn set_aside(&self, name: &StoreName) -> Result<(), StoreError> {
        self.inner.set_aside(name)
    }

    fn settle(&self, name: &StoreName) -> Result<(), StoreError> {
        self.inner.settle(name)
    }

    fn settle_removals(&self, folder: Folder) -> Result<(), StoreError> {
        self.inner.settle_removals(folder)
    }
    fn list_sessions(&self) -> Result<Vec<OpenSession>, StoreError> {
        self.inner.list_sessions()
    }
    fn expire_session(&self, session: &SessionId) -> Result<(), StoreError> {
        self.inner.expire_session(session)
    }
    fn put_managed(&self, bytes: &[u8]) -> Result<(), StoreError> {
        self.inner.put_managed(bytes)
    }
    fn get_managed(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.get_managed()
    }
}

const PACKS: u64 = 20;

fn pack(number: u64) -> PackEntries {
    let hash = *blake3::hash(&number.to_le_bytes()).as_bytes();
    PackEntries {
        hash,
        size: 222,
        is_data: true,
        places: vec![Place {
            id: *blake3::hash(&hash).as_bytes(),
            kind: BlobKind::Chunk,
            offset: 22,
            len: 200,
            plain_len: 80,
        }],
    }
}

/// Makes a store with a segment for each pack.
fn scattered() -> Memory {
    let store = Memory::new(env().clock);
    for number in 0..PACKS {
        index::put_segments(&store, &[pack(number)]).expect("a put");
    }
    store
}

fn segments(store: &dyn Store) -> usize {
    store.list(Folder::Index).expect("a listing").len()
}

fn assert_complete(store: &dyn Store) {
    let loaded = index::load(store).expect("an index");
    assert!(loaded.damaged.is_empty(), "{:?}", loaded.damaged);
    assert_eq!(loaded.index.len() as u64, PACKS);
}

#[test]
fn a_reader_loses_nothing_when_segments_are_merged_under_it() {
    let store = scattered();
    let merge = || assert_eq!(index::merge(&store), Ok(PACKS as usize));
    let nothing = || {};
    for calls in [0, 1, 7, 19] {
        let fresh = scattered();
        for file in store.list(Folder::Index).expect("a listing") {
            store.remove(&file.name).expect("a removal");
        }
        for file in fresh.list(Folder::Index).expect("a listing") {
            let bytes = fresh.get(&file.name).expect("a segment");
            store.put(&file.name, &bytes).expect("a put");
        }
        let mut happens: Vec<&(dyn Fn() + Sync)> = vec![&merge];
        happens.extend((0..calls).map(|_| &nothing as &(dyn Fn() + Sync)));
        let reading = Meanwhile {
            inner: &store,
            happens: Mutex::new(happens),
        };
        assert_complete(&reading);
        assert_eq!(segments(&store), 1);
    }
}

#[test]
fn a_segment_that_is_listed_and_never_there_is_named() {
    let store = scattered();
    let vanishing = Faulty::new(store);
    let absent = StoreError::NotFound {
        name: "index/x".to_owned(),
    };
    vanishing.arm(Some(Fault {
        call: "get",
        after: 3,
        for_good: false,
        takes_effect: false,
        error: absent,
    }));
    let loaded = index::load(&vanishing).expect("an index");
    assert_eq!(loaded.damaged.len(), 1);
    assert_eq!(loaded.index.len() as u64, PACKS - 1);
}

#[test]
fn a_merge_that_fails_at_any_call_loses_nothing_and_the_next_one_finishes() {
    let mut points = 0;
    for takes_effect in [false, true] {
        for for_good in [false, true] {
            for after in 0.. {
                let store = Faulty::new(scattered());
                store.arm(Some(Fault {
                    call: "any",
                    after,
                    for_good,
                    takes_effect,
                    error: StoreError::Io {
                        name: "index".to_owned(),
                        message: "Input/output error".to_owned(),
                        code: Some(5),
                    },
                }));
                let merged = index::merge(&store);
                if store.failures() == 0 {
                    break;
                }
                points += 1;
                assert!(merged.is_err(), "{after}");
                store.arm(None);
                assert_complete(&store);
                index::merge(&store).expect("the next merge");
                assert!(segments(&store) <= 8, "{after}: {}", segments(&store));
                assert_complete(&store);
            }
        }
    }
    assert!(points > 150, "{points}");
}

#[test]
fn a_merge_without_the_right_to_remove_adds_nothing() {
    let store = Faulty::new(scattered());
    store.arm(Some(Fault {
        call: "list_sessions",
        after: 0,
        for_good: true,
        takes_effect: false,
        error: StoreError::Denied {
            name: "index".to_owned(),
        },
    }));
    assert_eq!(index::merge(&store), Ok(0));
    assert_eq!(segments(&store) as u64, PACKS);
}

#[test]
fn two_that_merge_at_once_lose_nothing() {
    let store = scattered();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| index::merge(&store).expect("a merge"));
        }
        for _ in 0..4 {
            scope.spawn(|| assert_complete(&store));
        }
    });
    assert_complete(&store);
    assert!(segments(&store) < 5);
}

#[test]
fn many_backups_leave_few_segments_and_every_snapshot_restores() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = folder.path().join("tree");
    std::fs::create_dir(&root).expect("a folder");
    let store = memory();
    for number in 0..14 {
        std::fs::write(root.join(number.to_string()), noise(40_000, number)).expect("a file");
        back_up(&writer(store.clone()), &root).expect("a backup");
        assert!(segments(&*store) <= 9, "{}", segments(&*store));
    }
    assert_restores(&reader(store.clone()), &root);
    assert!(verify_all(&reader(store.clone())).is_empty());
    let copy = memory();
    let (from, to): (Arc<dyn Store>, Arc<dyn Store>) = (store, copy.clone());
    let everything = crate::engine::Selection::default();
    crate::engine::sync(&from, &to, &env(), &everything, &Silent, &Cancel::new()).expect("a copy");
    assert!(verify_all(&reader(copy)).is_empty());
}
