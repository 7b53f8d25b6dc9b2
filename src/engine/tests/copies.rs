//! Copies between repositories of one key domain.

use std::sync::Arc;

use super::support::*;
use crate::engine::crypto::ReadingKey;
use crate::engine::disk::RealDisk;
use crate::engine::env::Cancel;
use crate::engine::store::{
    Call, Counting, Dir, DirOptions, Fault, Faulty, Folder, Memory, Store, StoreError, StoreName,
};
use crate::engine::{CreateOptions, EngineError, Repository, Selection, Silent, SyncReport, sync};

#[expect(
    clippy::needless_pass_by_value,
    reason = "handles of any store turn into these where they are passed"
)]
fn copy(from: Arc<dyn Store>, to: Arc<dyn Store>) -> Result<SyncReport, EngineError> {
    sync(
        &from,
        &to,
        &env(),
        &Selection::default(),
        &Silent,
        &Cancel::new(),
    )
}

fn like(from: &dyn Store) -> Arc<Memory> {
    let store = Arc::new(Memory::new(env().clock));
    Repository::create_like(&*store, &env(), "there", from).expect("a repository");
    store
}

#[test]
fn a_copy_restores_the_same_tree_without_the_original() {
    let (_folder, root) = tree();
    let from = memory();
    back_up(&writer(from.clone()), &root.join("etc")).expect("a backup");
    back_up(&writer(from.clone()), &root).expect("a backup");
    let to = Arc::new(Counting::new(like(&*from)));
    let report = copy(from.clone(), to.clone()).expect("a copy");
    assert_eq!(report.snapshots.len(), 2);
    assert_restores(&reader(to.clone()), &root);
    assert!(verify_all(&reader(to.clone())).is_empty());
    to.take();
    let again = copy(from.clone(), to.clone()).expect("a copy");
    assert_eq!((again.snapshots.len(), again.had, again.packs), (0, 2, 0));
    assert_eq!(to.tally(Call::Put(Folder::Packs)).calls, 0);
    let receipts = to.list(Folder::Receipts).expect("a listing");
    assert_eq!(receipts.len(), 4, "two of the first place, two of its own");
}

#[test]
fn an_interrupted_copy_goes_on() {
    let (_folder, root) = tree();
    let from = memory();
    back_up(&writer(from.clone()), &root).expect("a backup");
    for after in (0..40).step_by(7) {
        let to = Arc::new(Faulty::new(like(&*from)));
        to.arm(Some(Fault {
            call: "put",
            after,
            for_good: true,
            takes_effect: false,
            error: StoreError::NoSpace {
                name: "x".to_owned(),
            },
        }));
        let failed = copy(from.clone(), to.clone());
        to.arm(None);
        if failed.is_err() {
            let shown = to.list(Folder::Snapshots).expect("a listing");
            assert_eq!(shown, []);
        }
        copy(from.clone(), to.clone()).expect("the next run succeeds");
        assert!(verify_all(&reader(to.clone())).is_empty(), "{after}");
    }
}

#[test]
fn packs_condemned_at_the_target_are_copied_anew() {
    let (_folder, root) = tree();
    let from = memory();
    back_up(&writer(from.clone()), &root).expect("a backup");
    let to = like(&*from);
    copy(from.clone(), to.clone()).expect("a copy");
    let mut packs = to.list(Folder::Packs).expect("a listing");
    packs.extend(to.list(Folder::Meta).expect("a listing"));
    let list: Vec<_> = packs.iter().map(|file| file.name.file_name()).collect();
    let list = list.join(
        "
",
    );
    let condemn = StoreName::parse("gc/000001").expect("a good name");
    to.put(&condemn, list.as_bytes()).expect("a put");
    for file in to.list(Folder::Snapshots).expect("a listing") {
        to.remove(&file.name).expect("a removal");
    }
    copy(from, to.clone()).expect("a copy");
    for file in packs {
        to.remove(&file.name).expect("a removal");
    }
    assert_restores(&reader(to), &root);
}

type Harm = fn(&Memory, &StoreName);

#[test]
fn a_copy_brings_back_what_is_cut_or_gone_at_the_target() {
    let (_folder, root) = tree();
    let from = memory();
    back_up(&writer(from.clone()), &root).expect("a backup");
    let harms: [(&str, Harm); 3] = [
        ("cut", |store, name| {
            store.damage(name, |bytes| bytes.truncate(bytes.len() / 2));
        }),
        ("emptied", |store, name| store.damage(name, Vec::clear)),
        ("gone", |store, name| store.remove(name).expect("a removal")),
    ];
    for (what, harm) in harms {
        for folder in [Folder::Packs, Folder::Meta] {
            let to = like(&*from);
            copy(from.clone(), to.clone()).expect("a copy");
            let files = to.list(folder).expect("a listing");
            for file in &files {
                harm(&to, &file.name);
            }
            let report = copy(from.clone(), to.clone()).expect("a copy");
            assert_eq!((report.had, report.snapshots.len(), report.lost), (1, 0, 0));
            assert_eq!(report.healed, files.len() as u64, "{what}");
            assert_eq!(report.packs, files.len() as u64, "{what}");
            let again = copy(from.clone(), to.clone()).expect("a copy");
            assert_eq!((again.healed, again.packs), (0, 0), "{what}");
            assert_eq!(to.list(folder).expect("a listing"), files, "{what}");
            assert!(verify_all(&reader(to.clone())).is_empty(), "{what}");
            assert_restores(&reader(to), &root);
        }
    }
}

#[test]
fn a_copy_brings_back_packs_that_no_segment_names_any_more() {
    let (_folder, root) = tree();
    let from = memory();
    back_up(&writer(from.clone()), &root).expect("a backup");
    let to = like(&*from);
    copy(from.clone(), to.clone()).expect("a copy");
    let files = to.list(Folder::Packs).expect("a listing");
    to.remove(&files[0].name).expect("a removal");
    for segment in to.list(Folder::Index).expect("a listing") {
        to.remove(&segment.name).expect("a removal");
    }
    copy(from, to.clone()).expect("a copy");
    assert_eq!(to.list(Folder::Packs).expect("a listing"), files);
    assert!(verify_all(&reader(to)).is_empty());
}

#[test]
fn a_damaged_segment_at_the_target_is_made_again() {
    let (_folder, root) = tree();
    let from = memory();
    back_up(&writer(from.clone()), &root).expect("a backup");
    let to = like(&*from);
    copy(from.clone(), to.clone()).expect("a copy");
    let segments = to.list(Folder::Index).expect("a listing");
    to.damage(&segments[0].name, |bytes| bytes.truncate(20));
    let report = copy(from, to.clone()).expect("a copy");
    assert_eq!((report.healed, report.packs), (1, 0));
    assert_eq!(to.list(Folder::Index).expect("a listing"), segments);
    assert!(verify_all(&reader(to)).is_empty());
}

#[test]
fn trouble_with_old_snapshots_at_the_source_does_not_stop_new_ones() {
    let (_folder, root) = tree();
    let from = memory();
    back_up(&writer(from.clone()), &root.join("data")).expect("a backup");
    let to = like(&*from);
    copy(from.clone(), to.clone()).expect("a copy");
    // A small pack may hold nothing but what the next backup stores again.
    let files = from.list(Folder::Packs).expect("a listing");
    let largest = files.iter().max_by_key(|file| file.size);
    let largest = &largest.expect("there are packs").name;
    from.remove(largest).expect("a removal");
    to.remove(largest).expect("a removal");
    back_up(&writer(from.clone()), &root.join("etc")).expect("a backup");
    let report = copy(from, to.clone()).expect("a copy");
    assert_eq!((report.snapshots.len(), report.had), (1, 1));
    assert!(report.lost > 0 && report.healed == 0);
    assert!(!verify_all(&reader(to)).is_empty());
}

#[test]
fn a_repository_is_not_copied_to_itself() {
    let (_folder, root) = tree();
    let from = memory();
    back_up(&writer(from.clone()), &root.join("etc")).expect("a backup");
    let refused = copy(from.clone(), from).expect_err("a copy to itself");
    assert_eq!(
        refused.to_string(),
        "`memory` is both the source and the target of the copy"
    );
}

#[test]
fn a_damaged_pack_is_not_copied() {
    let (_folder, root) = tree();
    let from = memory();
    back_up(&writer(from.clone()), &root).expect("a backup");
    let packs = from.list(Folder::Packs).expect("a listing");
    from.damage(&packs[0].name, |bytes| bytes[500] ^= 1);
    let to = like(&*from);
    let failed = copy(from, to.clone());
    assert!(
        matches!(&failed, Err(EngineError::Damaged { name, .. }) if *name == packs[0].name.as_str()),
        "{failed:?}"
    );
    assert_eq!(to.list(Folder::Snapshots).expect("a listing"), []);
}

#[test]
fn another_key_domain_is_refused_and_sources_are_selected() {
    let (_folder, root) = tree();
    let from = memory();
    back_up(&writer(from.clone()), &root.join("etc")).expect("a backup");
    let other = Arc::new(Memory::new(env().clock));
    let stranger = ReadingKey::from_seed(&[1; 32]);
    Repository::create(&*other, &env(), &CreateOptions::for_key("there", &stranger))
        .expect("a repository");
    assert!(matches!(
        copy(from.clone(), other),
        Err(EngineError::OtherDomain { .. })
    ));
    back_up(&writer(from.clone()), &root.join("etc")).expect("a backup");
    let to = like(&*from);
    let select = |sources: &[&str], newest_only| {
        let selection = Selection {
            sources: sources.iter().map(|source| (*source).to_owned()).collect(),
            newest_only,
        };
        let (from, to): (Arc<dyn Store>, Arc<dyn Store>) = (from.clone(), to.clone());
        let report = sync(&from, &to, &env(), &selection, &Silent, &Cancel::new());
        report.expect("a copy").snapshots.len()
    };
    assert_eq!(select(&["db"], false), 0);
    assert_eq!(select(&["web"], true), 1);
    assert_eq!(select(&[], false), 1);
}

#[test]
fn a_repository_in_a_folder_works_like_one_in_memory() {
    let (_folder, root) = tree();
    let place = tempfile::tempdir().expect("a temporary folder");
    let options = DirOptions {
        root: place.path().join("repository"),
        machine: "here".to_owned(),
    };
    let disk = Arc::new(RealDisk::default());
    let store = Dir::create(disk.clone(), env(), &options).expect("a store");
    create(&store);
    drop(store);
    let open = || -> Arc<dyn Store> {
        Arc::new(Dir::open(disk.clone(), env(), &options).expect("its home"))
    };
    back_up(&writer(open()), &root).expect("a backup");
    let second = back_up(&reader(open()), &root).expect("a backup");
    assert_eq!(second.clear.stored_bytes, 0);
    assert_restores(&reader(open()), &root);
    assert!(verify_all(&reader(open())).is_empty());
    let left = |name: &str| {
        let items = std::fs::read_dir(options.root.join(name)).expect("a folder");
        items.count()
    };
    assert_eq!((left("sessions"), left("tmp")), (0, 1));
    let to = like(&*open());
    copy(open(), to.clone()).expect("a copy");
    assert_restores(&reader(to), &root);
}
