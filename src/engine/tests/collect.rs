//! Collection beside everything else: nothing live is ever deleted, whoever comes between.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::support::{
    assert_restores, create, env, memory, noise, options, reader, verify_all, writer,
};
use crate::engine::disk::RealDisk;
use crate::engine::env::Cancel;
use crate::engine::files::ScanOptions;
use crate::engine::index;
use crate::engine::store::{
    Dir, DirOptions, Fault, Faulty, Folder, Listed, Memory, OpenSession, Put, Receipt, SessionId,
    SessionKind, Store, StoreError, StoreName,
};
use crate::engine::{
    Access, BackupOptions, BackupReport, CollectOptions, CollectReport, EngineError, PackSize,
    Repository, Selection, Silent, backup, collect, dated_snapshots, forget, sync,
};

/// Backs up in one thread, so that packs hold the same at every run: two or three files each.
fn back_up(repository: &Repository, root: &Path) -> Result<BackupReport, EngineError> {
    let options = BackupOptions {
        pack_size: PackSize::Fixed(1400 << 10),
        threads: 1,
        ..options()
    };
    let scan = ScanOptions::default();
    let cancel = Cancel::new();
    backup(
        repository,
        &[root.to_owned()],
        scan,
        &options,
        &Silent,
        &cancel,
    )
}

fn quick() -> CollectOptions {
    CollectOptions {
        pause: Duration::ZERO,
        pack_size: PackSize::Fixed(1400 << 10),
        ..CollectOptions::default()
    }
}

fn keyless(store: Arc<dyn Store>) -> Repository {
    Repository::open(store, env(), Access::Keyless).expect("a repository")
}

fn collect_with(
    store: Arc<dyn Store>,
    options: &CollectOptions,
) -> Result<CollectReport, EngineError> {
    collect(&keyless(store), options, &Silent, &Cancel::new())
}

fn collect_all(store: Arc<dyn Store>) -> CollectReport {
    collect_with(store, &quick()).expect("a collection")
}

fn forget_all_but_last(store: &Arc<dyn Store>) {
    let mut names: Vec<StoreName> = list(&**store, Folder::Snapshots);
    names.pop();
    forget(&keyless(store.clone()), &names).expect("manifests go");
}

fn list(store: &dyn Store, folder: Folder) -> Vec<StoreName> {
    let files = store.list(folder).expect("a listing").into_iter();
    files.map(|file| file.name).collect()
}

fn packs(store: &dyn Store) -> BTreeSet<StoreName> {
    let folders = [Folder::Packs, Folder::Meta].into_iter();
    folders.flat_map(|folder| list(store, folder)).collect()
}

fn bytes(store: &dyn Store) -> u64 {
    let names = packs(store).into_iter();
    names.map(|name| store.size(&name).expect("a size")).sum()
}

/// Makes a small tree whose files differ with `seed`, except for those that stay.
fn small_tree(root: &Path, seed: u64) {
    fs::create_dir_all(root).expect("a folder");
    for number in 0..4_u64 {
        let stays = number < 2;
        let seed = if stays { 77 } else { 1000 * seed };
        fs::write(
            root.join(format!("{number}")),
            noise(600 << 10, seed + number),
        )
        .expect("a file");
    }
    let text = format!("{seed}\n").repeat(5000);
    fs::write(root.join("text"), text).expect("a file");
    // The same at every making, for trees that are compared.
    let time = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seed);
    for name in ["0", "1", "2", "3", "text", ""] {
        let file = fs::File::open(root.join(name)).expect("it is there");
        file.set_modified(time).expect("a time");
    }
}

struct Trees {
    folder: tempfile::TempDir,
}

impl Trees {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { folder }
    }

    /// Returns the tree of a seed.
    fn tree(&self, seed: u64) -> std::path::PathBuf {
        let root = self.folder.path().join("tree");
        if root.exists() {
            fs::remove_dir_all(&root).expect("it goes");
        }
        small_tree(&root, seed);
        root
    }
}

/// Makes a repository with snapshots of two trees that share half, the first one forgotten.
fn half_forgotten(trees: &Trees) -> Arc<Memory> {
    let store = memory();
    for seed in [1, 2] {
        back_up(&writer(store.clone()), &trees.tree(seed)).expect("a backup");
    }
    let shared: Arc<dyn Store> = store.clone();
    forget_all_but_last(&shared);
    store
}

/// Runs work just before some calls of a store.
struct Hooked {
    inner: Arc<dyn Store>,
    state: Mutex<Hook>,
}

#[derive(Default)]
struct Hook {
    seen: u64,
    at: u64,
    work: Option<Box<dyn FnOnce() + Send>>,
}

impl Hooked {
    fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            state: Mutex::default(),
        })
    }

    /// Has `work` done before the call with this number, from 0.
    fn before(&self, call: u64, work: impl FnOnce() + Send + 'static) {
        *self.state.lock().expect("no panic") = Hook {
            seen: 0,
            at: call,
            work: Some(Box::new(work)),
        };
    }

    /// Tells whether the work was done.
    fn has_run(&self) -> bool {
        self.state.lock().expect("no panic").work.is_none()
    }

    fn calls(&self) -> u64 {
        self.state.lock().expect("no panic").seen
    }

    fn step(&self) -> &dyn Store {
        let work = {
            let mut state = self.state.lock().expect("no panic");
            let due = state.seen == state.at;
            state.seen += 1;
            if due { state.work.take() } else { None }
        };
        if let Some(work) = work {
            work();
        }
        &*self.inner
    }
}

impl Store for Hooked {
    fn place(&self) -> String {
        self.inner.place()
    }
    fn put(&self, name: &StoreName, bytes: &[u8]) -> Result<Put, StoreError> {
        self.step().put(name, bytes)
    }
    fn get(&self, name: &StoreName) -> Result<Vec<u8>, StoreError> {
        self.step().get(name)
    }
    fn get_range(&self, name: &StoreName, offset: u64, len: u64) -> Result<Vec<u8>, StoreError> {
        self.step().get_range(name, offset, len)
    }
    fn size(&self, name: &StoreName) -> Result<u64, StoreError> {
        self.step().size(name)
    }
    fn settle(&self, name: &StoreName) -> Result<(), StoreError> {
        self.step().settle(name)
    }
    fn set_aside(&self, name: &StoreName) -> Result<(), StoreError> {
        self.step().set_aside(name)
    }
    fn settle_removals(&self, folder: Folder) -> Result<(), StoreError> {
        self.step().settle_removals(folder)
    }
    fn list(&self, folder: Folder) -> Result<Vec<Listed>, StoreError> {
        self.step().list(folder)
    }
    fn remove(&self, name: &StoreName) -> Result<(), StoreError> {
        self.step().remove(name)
    }

    fn open_session(&self, session: &SessionId, kind: SessionKind) -> Result<(), StoreError> {
        self.step().open_session(session, kind)
    }
    fn commit(
        &self,
        session: &SessionId,
        manifest: &StoreName,
        bytes: &[u8],
    ) -> Result<Receipt, StoreError> {
        self.step().commit(session, manifest, bytes)
    }
    fn close_session(&self, session: &SessionId) -> Result<(), StoreError> {
        self.step().close_session(session)
    }
    fn list_sessions(&self) -> Result<Vec<OpenSession>, StoreError> {
        self.step().list_sessions()
    }
    fn expire_session(&self, session: &SessionId) -> Result<(), StoreError> {
        self.step().expire_session(session)
    }
    fn put_managed(&self, bytes: &[u8]) -> Result<(), StoreError> {
        self.step().put_managed(bytes)
    }
    fn get_managed(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.step().get_managed()
    }
}

fn assert_clean(store: &Arc<Memory>) {
    assert_eq!(list(&**store, Folder::Gc), [], "a list stayed");
    assert_eq!(store.list_sessions(), Ok(Vec::new()), "a session stayed");
    assert_eq!(verify_all(&reader(store.clone())), Vec::<String>::new());
}

#[test]
fn what_no_snapshot_needs_goes_and_the_rest_restores() {
    let trees = Trees::new();
    let store = half_forgotten(&trees);
    let before = bytes(&*store);
    let mut dry = quick();
    dry.dry_run = true;
    let foreseen = collect_with(store.clone(), &dry).expect("a dry run");
    assert_eq!(bytes(&*store), before);
    let report = collect_all(store.clone());
    assert_eq!(report.deleted_packs, foreseen.deleted_packs);
    assert_eq!(report.deleted_bytes, foreseen.deleted_bytes);
    assert_eq!(bytes(&*store), before - report.freed_bytes());
    // Two of four files went.
    assert!(report.freed_bytes() > 1 << 20, "{report:?}");
    assert_eq!((report.lost, report.doubtful.len()), (0, 0));
    assert_clean(&store);
    assert_restores(&reader(store.clone()), &trees.tree(2));
    let named: BTreeSet<StoreName> = list(&*store, Folder::Index)
        .iter()
        .flat_map(|name| index::decode(&store.get(name).expect("a segment")).expect("entries"))
        .map(|pack| pack.info().name())
        .collect();
    assert_eq!(named, packs(&*store), "the index names what is there");
    let again = collect_all(store.clone());
    assert_eq!(
        (again.deleted_packs, again.written_bytes),
        (0, 0),
        "{again:?}"
    );
}

#[test]
fn without_snapshots_nothing_stays() {
    let trees = Trees::new();
    let store = half_forgotten(&trees);
    let names = list(&*store, Folder::Snapshots);
    forget(&keyless(store.clone()), &names).expect("manifests go");
    forget(&keyless(store.clone()), &names).expect("again is no error");
    let report = collect_all(store.clone());
    assert_eq!((report.snapshots, report.live_bytes), (0, 0));
    assert!(packs(&*store).is_empty() && list(&*store, Folder::Index).is_empty());
    assert_clean(&store);
    let root = trees.tree(3);
    back_up(&writer(store.clone()), &root).expect("a backup");
    assert_restores(&reader(store), &root);
}

#[test]
fn a_cap_on_what_is_moved_is_kept_and_the_next_run_goes_on() {
    let trees = Trees::new();
    let store = half_forgotten(&trees);
    let mut options = quick();
    options.max_repack = Some(0);
    let first = collect_with(store.clone(), &options).expect("a collection");
    assert_eq!((first.repacked_packs, first.written_bytes), (0, 0));
    assert!(first.postponed_packs > 0 && first.postponed_bytes > 0);
    let second = collect_all(store.clone());
    assert_eq!(second.repacked_packs, first.postponed_packs);
    assert_eq!(second.postponed_packs, 0);
    assert_clean(&store);
    assert_restores(&reader(store), &trees.tree(2));
}

#[test]
fn only_one_collects() {
    let store = memory();
    let other = SessionId::new([1; 16]);
    store
        .open_session(&other, SessionKind::Collect)
        .expect("a session");
    let refused = collect_with(store.clone(), &quick());
    assert!(matches!(
        refused,
        Err(EngineError::Store(StoreError::Collecting))
    ));
    store.close_session(&other).expect("it ends");
    collect_all(store);
}

/// Runs `beside` at every call of a collection and checks that both come out right.
fn beside_each_step(make: impl Fn(&Trees) -> Arc<Memory>, beside: fn(&Arc<Memory>, &Path)) {
    let trees = Trees::new();
    let counting = Hooked::new(make(&trees));
    collect_all(counting.clone());
    let calls = counting.calls();
    assert!(calls > 30, "{calls}");
    // Most calls are reads of many like places, so that every third one is enough.
    for call in (0..calls)
        .step_by(3)
        .chain([calls - 3, calls - 2, calls - 1])
    {
        let store = make(&trees);
        let root = trees.tree(1);
        let hooked = Hooked::new(store.clone());
        let (shared, source) = (store.clone(), root.clone());
        hooked.before(call, move || beside(&shared, &source));
        collect_all(hooked.clone());
        if !hooked.has_run() {
            // Threads order a backup's blobs, so this time there were a few calls less.
            assert!(call + 8 > calls, "at {call} of {calls}");
            continue;
        }
        assert_eq!(list(&*store, Folder::Gc), [], "at {call}");
        let found = verify_all(&reader(store.clone()));
        assert!(found.is_empty(), "at {call}: {found:?}");
        assert_restores(&reader(store.clone()), &root);
        collect_all(store.clone());
        assert_restores(&reader(store), &root);
    }
}

#[test]
fn a_whole_backup_of_what_was_forgotten_may_run_between_any_two_steps() {
    beside_each_step(half_forgotten, |store, root| {
        back_up(&writer(store.clone()), root).expect("a backup");
    });
}

#[test]
fn a_restore_and_a_verification_may_run_between_any_two_steps() {
    let make = |trees: &Trees| {
        let store = memory();
        for seed in [2, 1] {
            back_up(&writer(store.clone()), &trees.tree(seed)).expect("a backup");
        }
        let shared: Arc<dyn Store> = store.clone();
        forget_all_but_last(&shared);
        store
    };
    beside_each_step(make, |store, root| {
        assert_restores(&reader(store.clone()), root);
        assert!(verify_all(&reader(store.clone())).is_empty());
    });
}

#[test]
fn a_copy_may_run_between_any_two_steps() {
    let make = |trees: &Trees| {
        let store = memory();
        for seed in [2, 1] {
            back_up(&writer(store.clone()), &trees.tree(seed)).expect("a backup");
        }
        let shared: Arc<dyn Store> = store.clone();
        forget_all_but_last(&shared);
        store
    };
    beside_each_step(make, |store, root| {
        let to: Arc<dyn Store> = memory();
        let from: Arc<dyn Store> = store.clone();
        let all = Selection::default();
        sync(&from, &to, &env(), &all, &Silent, &Cancel::new()).expect("a copy");
        assert_restores(&reader(to), root);
    });
}

/// Runs a whole collection at every call of a backup.
#[test]
fn a_whole_collection_may_run_between_any_two_steps_of_a_backup() {
    let trees = Trees::new();
    let counting = Hooked::new(half_forgotten(&trees));
    back_up(&writer(counting.clone()), &trees.tree(1)).expect("a backup");
    let calls = counting.calls();
    for call in 0..calls {
        for expire in [false, true] {
            let store = half_forgotten(&trees);
            let root = trees.tree(1);
            let hooked = Hooked::new(store.clone());
            let shared = store.clone();
            // A collection within the backup's own thread would wait for it for ever. So it
            // stops at its first wait, as if it was killed, or ends the session.
            hooked.before(call, move || {
                let mut options = quick();
                options.expire_after = expire.then_some(Duration::ZERO);
                let cancel = Cancel::new();
                let stop = StopAtWait(cancel.clone());
                let collected = collect(&keyless(shared), &options, &stop, &cancel);
                assert!(
                    matches!(collected, Ok(_) | Err(EngineError::Cancelled)),
                    "{collected:?}"
                );
            });
            let made = back_up(&writer(hooked.clone()), &root);
            if !hooked.has_run() {
                assert!(call + 8 > calls, "at {call} of {calls}");
                continue;
            }
            let at = format!("at {call}, expire {expire}: {made:?}");
            match &made {
                Ok(_) => assert_restores(&reader(store.clone()), &root),
                Err(error) => assert!(
                    expire && matches!(error, EngineError::Store(_) | EngineError::Damaged { .. }),
                    "{at}"
                ),
            }
            let found = verify_all(&reader(store.clone()));
            assert!(found.is_empty(), "{at}: {found:?}");
            collect_all(store.clone());
            assert_clean(&store);
            back_up(&writer(store.clone()), &root).expect("the next backup");
            assert_restores(&reader(store), &root);
        }
    }
}

/// Cancels a collection that has to wait.
struct StopAtWait(Cancel);

impl crate::engine::Observer for StopAtWait {
    fn event(&self, event: crate::engine::Event<'_>) {
        if matches!(event, crate::engine::Event::Waiting { sessions: 1.. }) {
            self.0.cancel();
        }
    }
}

/// The sequence in which Proxmox's collector lost chunks (PSA-2025-00019-1): it lists the
/// snapshots, a backup starts that builds on one of them, that one is removed, the backup ends.
#[test]
fn a_base_that_is_forgotten_under_a_backup_after_the_listing_takes_nothing_with_it() {
    let trees = Trees::new();
    let root = trees.tree(1);
    let store = memory();
    back_up(&writer(store.clone()), &root).expect("the base");
    let base = list(&*store, Folder::Snapshots);
    // Something is dead, so that there is something to condemn.
    back_up(&writer(store.clone()), &trees.tree(2)).expect("another");
    let names = list(&*store, Folder::Snapshots);
    forget(&keyless(store.clone()), &names[1..]).expect("it goes");
    let counting = Hooked::new(store.clone());
    let mut dry = quick();
    dry.dry_run = true;
    collect_with(counting.clone(), &dry).expect("a dry run");
    for call in 2..counting.calls() {
        let store = clone_of(&store);
        let root = trees.tree(1);
        let hooked = Hooked::new(store.clone());
        let (shared, source, base) = (store.clone(), root.clone(), base.clone());
        hooked.before(call, move || {
            let inner = Hooked::new(shared.clone());
            let forgetting = shared.clone();
            // The backup has announced itself and read the index when its base goes.
            inner.before(12, move || {
                forget(&keyless(forgetting), &base).expect("the base goes");
            });
            back_up(&writer(inner), &source).expect("a backup");
        });
        collect_all(hooked);
        let found = verify_all(&reader(store.clone()));
        assert!(found.is_empty(), "at {call}: {found:?}");
        assert_restores(&reader(store), &root);
    }
}

fn clone_of(store: &Memory) -> Arc<Memory> {
    let copy = Arc::new(Memory::new(env().clock));
    let session = SessionId::new([3; 16]);
    copy.open_session(&session, SessionKind::Write)
        .expect("a session");
    for folder in Folder::ALL {
        for name in list(store, folder) {
            let bytes = store.get(&name).expect("a file");
            if folder == Folder::Snapshots {
                copy.commit(&session, &name, &bytes).expect("a commit");
            } else if folder != Folder::Receipts {
                copy.put(&name, &bytes).expect("a put");
            }
        }
    }
    copy.close_session(&session).expect("it ends");
    copy
}

#[test]
fn a_fault_at_any_call_costs_nothing_and_the_next_collection_finishes() {
    let trees = Trees::new();
    let counting = Hooked::new(half_forgotten(&trees));
    collect_all(counting.clone());
    let root = trees.tree(2);
    let whole = {
        let store = half_forgotten(&trees);
        collect_all(store.clone());
        bytes(&*store)
    };
    let error = StoreError::Io {
        name: "x".to_owned(),
        message: "Input/output error".to_owned(),
        code: Some(5),
    };
    for after in 0..counting.calls() {
        for (for_good, takes_effect) in [(false, false), (true, false), (true, true)] {
            let store = half_forgotten(&trees);
            let faulty = Arc::new(Faulty::new(store.clone()));
            // Opening reads the marker, which is the first call.
            let repository = keyless(faulty.clone());
            faulty.arm(Some(Fault {
                call: "any",
                after,
                for_good,
                takes_effect,
                error: error.clone(),
            }));
            let failed = collect(&repository, &quick(), &Silent, &Cancel::new());
            faulty.arm(None);
            for open in store.list_sessions().expect("sessions") {
                // The process is gone.
                store.expire_session(&open.id).expect("it ends");
            }
            let at = format!("{after} {for_good} {takes_effect}: {failed:?}");
            let found = verify_all(&reader(store.clone()));
            assert!(found.is_empty(), "{at}: {found:?}");
            collect_all(store.clone());
            assert_clean(&store);
            assert!(bytes(&*store) <= whole + (whole >> 6), "{at}");
            if after % 16 == 0 {
                assert_restores(&reader(store), &root);
            }
        }
    }
}

#[test]
fn a_full_disk_keeps_from_moving_and_not_from_deleting() {
    let trees = Trees::new();
    let store = half_forgotten(&trees);
    back_up(&writer(store.clone()), &trees.tree(9)).expect("a backup");
    let shared: Arc<dyn Store> = store.clone();
    forget_all_but_last(&shared);
    let before = bytes(&*store);
    let full = Arc::new(NoRoomForPacks(store.clone()));
    let report = collect_all(full);
    assert!(
        report.deleted_packs > 0 && bytes(&*store) < before,
        "{report:?}"
    );
    assert_eq!((report.repacked_packs, report.written_bytes), (0, 0));
    assert!(report.postponed_packs > 0, "{report:?}");
    assert_clean(&store);
}

/// Takes small files alone.
struct NoRoomForPacks(Arc<Memory>);

impl NoRoomForPacks {
    fn inner(&self) -> &Memory {
        &self.0
    }
}

impl Store for NoRoomForPacks {
    fn place(&self) -> String {
        self.inner().place()
    }
    fn put(&self, name: &StoreName, bytes: &[u8]) -> Result<Put, StoreError> {
        if matches!(name.folder(), Folder::Packs | Folder::Meta) {
            let name = name.to_string();
            return Err(StoreError::NoSpace { name });
        }
        self.inner().put(name, bytes)
    }
    fn get(&self, name: &StoreName) -> Result<Vec<u8>, StoreError> {
        self.inner().get(name)
    }
    fn get_range(&self, name: &StoreName, offset: u64, len: u64) -> Result<Vec<u8>, StoreError> {
        self.inner().get_range(name, offset, len)
    }
    fn size(&self, name: &StoreName) -> Result<u64, StoreError> {
        self.inner().size(name)
    }
    fn settle(&self, name: &StoreName) -> Result<(), StoreError> {
        self.inner().settle(name)
    }
    fn set_aside(&self, name: &StoreName) -> Result<(), StoreError> {
        self.inner().set_aside(name)
    }
    fn settle_removals(&self, folder: Folder) -> Result<(), StoreError> {
        self.inner().settle_removals(folder)
    }
    fn list(&self, folder: Folder) -> Result<Vec<Listed>, StoreError> {
        self.inner().list(folder)
    }
    fn remove(&self, name: &StoreName) -> Result<(), StoreError> {
        self.inner().remove(name)
    }

    fn open_session(&self, session: &SessionId, kind: SessionKind) -> Result<(), StoreError> {
        self.inner().open_session(session, kind)
    }
    fn commit(
        &self,
        session: &SessionId,
        manifest: &StoreName,
        bytes: &[u8],
    ) -> Result<Receipt, StoreError> {
        self.inner().commit(session, manifest, bytes)
    }
    fn close_session(&self, session: &SessionId) -> Result<(), StoreError> {
        self.inner().close_session(session)
    }
    fn list_sessions(&self) -> Result<Vec<OpenSession>, StoreError> {
        self.inner().list_sessions()
    }
    fn expire_session(&self, session: &SessionId) -> Result<(), StoreError> {
        self.inner().expire_session(session)
    }
    fn put_managed(&self, bytes: &[u8]) -> Result<(), StoreError> {
        self.inner().put_managed(bytes)
    }
    fn get_managed(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner().get_managed()
    }
}

#[test]
fn a_manifest_or_a_list_of_references_that_is_damaged_is_named_and_nothing_goes() {
    let trees = Trees::new();
    for folder in [Folder::Snapshots, Folder::Meta] {
        let store = half_forgotten(&trees);
        let before = packs(&*store);
        let damaged = list(&*store, folder);
        for name in &damaged {
            store.damage(name, |bytes| {
                bytes.iter_mut().skip(400).for_each(|byte| *byte ^= 1);
            });
            if folder == Folder::Snapshots {
                store.damage(name, |bytes| bytes[3] ^= 1);
            }
        }
        let refused = collect_with(store.clone(), &quick());
        let Err(EngineError::Uncollectable { name, .. }) = refused else {
            panic!("{folder:?}: {refused:?}");
        };
        assert!(damaged.iter().any(|file| file.as_str() == name), "{name}");
        assert_eq!(packs(&*store), before);
        assert_eq!(list(&*store, Folder::Gc), []);
    }
}

#[test]
fn rests_of_an_interrupted_backup_and_a_lost_index_are_no_trouble() {
    let trees = Trees::new();
    let store = half_forgotten(&trees);
    let faulty = Arc::new(Faulty::new(store.clone()));
    let repository = writer(faulty.clone());
    faulty.arm(Some(Fault {
        call: "put",
        after: 1,
        for_good: true,
        takes_effect: false,
        error: StoreError::NoSpace {
            name: "x".to_owned(),
        },
    }));
    back_up(&repository, &trees.tree(5)).expect_err("the store is full");
    let root = trees.tree(2);
    let with_rests = packs(&*store).len();
    for name in list(&*store, Folder::Index) {
        store.remove(&name).expect("a removal");
    }
    let report = collect_all(store.clone());
    assert_eq!(report.packs, with_rests as u64);
    assert!(report.deleted_packs > 1);
    assert_clean(&store);
    assert_restores(&reader(store), &root);
}

/// Somebody who may write puts a segment that says nothing true about a pack that is there.
#[test]
fn a_segment_that_lies_gets_no_pack_deleted() {
    let trees = Trees::new();
    let root = trees.tree(1);
    let store = memory();
    back_up(&writer(store.clone()), &root).expect("a backup");
    let segments = list(&*store, Folder::Index);
    let mut lies = Vec::new();
    for name in &segments {
        let entries = index::decode(&store.get(name).expect("a segment")).expect("entries");
        lies.extend(entries.into_iter().filter(|pack| pack.is_data));
    }
    for pack in &mut lies {
        for place in &mut pack.places {
            place.id = *blake3::hash(&place.id).as_bytes();
        }
    }
    // The first description of a pack counts, so the lies must come alone to be believed.
    let mut others = Vec::new();
    for name in &segments {
        let entries = index::decode(&store.get(name).expect("a segment")).expect("entries");
        others.extend(entries.into_iter().filter(|pack| !pack.is_data));
        store.remove(name).expect("a removal");
    }
    for packs in [lies, others] {
        let bytes = index::encode(&packs);
        let name = StoreName::index(blake3::hash(&bytes).as_bytes());
        store.put(&name, &bytes).expect("a put");
    }
    let before = packs(&*store);
    let report = collect_all(store.clone());
    assert_eq!(packs(&*store), before);
    assert!(!report.doubtful.is_empty() && report.lost > 0);
    for name in list(&*store, Folder::Index) {
        store.remove(&name).expect("a removal");
    }
    assert_restores(&reader(store), &root);
}

#[test]
fn time_stamps_decide_nothing() {
    let trees = Trees::new();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let make = |name: &str| -> Arc<dyn Store> {
        let options = DirOptions {
            root: folder.path().join(name),
            machine: "here".to_owned(),
        };
        let store = Dir::create(Arc::new(RealDisk::default()), env(), &options);
        let store: Arc<dyn Store> = Arc::new(store.expect("a store"));
        create(&*store);
        for seed in [1, 2] {
            back_up(&writer(store.clone()), &trees.tree(seed)).expect("a backup");
        }
        forget_all_but_last(&store);
        store
    };
    let store = make("changed");
    set_times(&folder.path().join("changed"));
    let report = collect_all(store.clone());
    let plain = collect_all(make("plain"));
    assert_eq!(report.deleted_packs, plain.deleted_packs);
    assert!(report.deleted_packs > 0);
    assert!(verify_all(&reader(store.clone())).is_empty());
    assert_restores(&reader(store), &trees.tree(2));
}

/// Moves the times of all files far into the past or the future.
fn set_times(folder: &Path) {
    for (number, entry) in fs::read_dir(folder).expect("a folder").enumerate() {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            set_times(&path);
        } else {
            let seconds = if number % 2 == 0 { 0 } else { 9_000_000_000 };
            let time = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
            let times = fs::FileTimes::new().set_accessed(time).set_modified(time);
            let file = fs::File::options().write(true).open(&path).expect("a file");
            file.set_times(times).expect("times");
        }
    }
}

#[test]
fn snapshots_are_as_old_as_their_first_receipt_wherever_it_was_written() {
    let trees = Trees::new();
    let from: Arc<dyn Store> = memory();
    back_up(&writer(from.clone()), &trees.tree(1)).expect("a backup");
    let to: Arc<dyn Store> = memory();
    let all = Selection::default();
    sync(&from, &to, &env(), &all, &Silent, &Cancel::new()).expect("a copy");
    let date = |store: &Arc<dyn Store>| {
        let dated = dated_snapshots(&keyless(store.clone())).expect("a listing");
        assert!(dated.damaged.is_empty());
        dated.found[0].received
    };
    assert!(date(&from).is_some());
    assert_eq!(date(&from), date(&to));
    for name in list(&*to, Folder::Receipts) {
        to.remove(&name).expect("a removal");
    }
    assert_eq!(date(&to), None);
}

#[test]
fn only_manifests_are_forgotten() {
    let store = memory();
    let refused = forget(&keyless(store.clone()), &[StoreName::marker()]);
    assert!(matches!(
        refused,
        Err(EngineError::Store(StoreError::BadName { .. }))
    ));
    assert!(store.get(&StoreName::marker()).is_ok());
}
