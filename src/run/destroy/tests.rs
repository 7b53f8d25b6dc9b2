use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::thread::CapabilitySet;

use super::*;
use crate::run::message::FaultKind;

const HASH: &str = "ab00000000000000000000000000000000000000000000000000000000000000";
const ID: &str = "7f3a01";

/// A repository with something of every kind in its folder, and things of others in and beside it.
struct Scene {
    _folder: tempfile::TempDir,
    root: PathBuf,
    outside: PathBuf,
}

fn put(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
    fs::write(path, content).expect("a file");
}

fn managed(change: impl Fn(&mut Managed)) -> String {
    let mut managed = Managed {
        topology: TopologyId("01JD".to_owned()),
        object: Name::new("old").expect("a name"),
        generation: 3,
        guard: false,
        phases: BTreeMap::new(),
        removing: None,
    };
    change(&mut managed);
    serde_json::to_string(&managed).expect("it serialises")
}

fn scene() -> Scene {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("old");
    let outside = folder.path().join("outside");
    put(&outside.join("packs/ab").join(HASH), "not ours");
    put(&root.join("managed.json"), &managed(|_| {}));
    put(
        &root.join("bkpctl.json"),
        &format!(r#"{{"format":1,"repository":"{ID}","home":"m","domain":"d"}}"#),
    );
    for file in [
        "snapshots/etc/2026-01-01",
        "receipts/etc/2026-01-01",
        "receipts/lock",
        "proofs/drill/2026-01-01",
        "sessions/s1/shared",
        "tmp/lock",
        "tmp/t1/0",
    ] {
        put(&root.join(file), "ours");
    }
    put(&root.join("packs/ab").join(HASH), "ours");
    put(&root.join("meta/ab").join(HASH), "ours");
    put(&root.join("index").join(HASH), "ours");
    // What others put there: a note, a photo among packs, links out.
    put(&root.join("note.txt"), "theirs");
    put(&root.join("packs/photo.jpg"), "theirs");
    symlink(&outside, root.join("keys")).expect("a link");
    symlink(outside.join("packs"), root.join("meta/cd")).expect("a link");
    Scene {
        _folder: folder,
        root,
        outside,
    }
}

impl Scene {
    fn run(&self, go_on: &mut dyn FnMut() -> Result<(), Fault>) -> Result<NodeReply, Fault> {
        self.run_for(ID, go_on)
    }

    fn run_for(
        &self,
        repository: &str,
        go_on: &mut dyn FnMut() -> Result<(), Fault>,
    ) -> Result<NodeReply, Fault> {
        let target = Target {
            folder: self.root.to_str().expect("a plain path"),
            topology: &TopologyId("01JD".to_owned()),
            object: &Name::new("old").expect("a name"),
            repository,
        };
        destroy_step_by_step(&target, go_on)
    }

    /// Lists everything below the folder, links not followed.
    fn rest(&self) -> Vec<String> {
        fn below(folder: &Path, root: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                let shown = path.strip_prefix(root).expect("below").display();
                found.push(shown.to_string());
                if path.is_dir() && !path.is_symlink() {
                    below(&path, root, found);
                }
            }
        }
        let mut found = Vec::new();
        below(&self.root, &self.root, &mut found);
        found.sort();
        found
    }

    fn is_outside_whole(&self) -> bool {
        let file = self.outside.join("packs/ab").join(HASH);
        fs::read_to_string(file).is_ok_and(|text| text == "not ours")
    }
}

const THEIRS: [&str; 5] = ["keys", "meta", "meta/cd", "note.txt", "packs"];

fn theirs() -> Vec<String> {
    let photo = ["packs/photo.jpg"];
    let all = THEIRS.into_iter().chain(photo);
    all.map(str::to_owned).collect()
}

#[test]
fn only_the_repositorys_own_files_are_removed() {
    let scene = scene();
    let reply = scene.run(&mut || Ok(())).expect("it is removed");
    assert_eq!(scene.rest(), theirs());
    assert!(scene.is_outside_whole());
    let NodeReply::Text(words) = reply else {
        panic!("it says what it did");
    };
    assert!(
        words.contains("2 that are not the repository's own stay"),
        "{words}"
    );
}

#[test]
fn wherever_it_is_broken_off_the_rest_is_known_and_goes_when_it_is_called_again() {
    let mut steps = 0;
    scene()
        .run(&mut || {
            steps += 1;
            Ok(())
        })
        .expect("it is removed");
    assert!(steps > 15, "{steps} steps");
    for stop in 0..steps {
        let scene = scene();
        let mut at = 0;
        let broken = scene.run(&mut || {
            at += 1;
            if at > stop {
                return Err(Fault::lost("the power is gone"));
            }
            Ok(())
        });
        assert_eq!(broken.expect_err("it is broken off").kind, FaultKind::Lost);
        let left = fs::read_to_string(scene.root.join("managed.json")).expect("the marker is left");
        let left: Managed = serde_json::from_str(&left).expect("it is whole");
        let whole = scene.root.join("bkpctl.json").exists();
        assert!(
            whole || left.removing.as_deref() == Some(ID),
            "after {stop} steps nothing says that it is being removed"
        );
        // Nobody else's call goes on with it.
        if !whole {
            let other = scene.run_for("another", &mut || Ok(()));
            assert_eq!(other.expect_err("it is another").kind, FaultKind::Stale);
        }
        scene.run(&mut || Ok(())).expect("it goes on");
        assert_eq!(scene.rest(), theirs(), "after {stop} steps");
        assert!(scene.is_outside_whole(), "after {stop} steps");
        scene
            .run(&mut || Ok(()))
            .expect("there is nothing left to do");
    }
}

#[test]
fn what_is_not_what_was_planned_is_left_as_it_is() {
    let refused = |change: &dyn Fn(&Scene)| {
        let scene = scene();
        change(&scene);
        let before = scene.rest();
        let fault = scene.run(&mut || Ok(())).expect_err("it is refused");
        assert_eq!(scene.rest(), before, "{}", fault.message);
        fault.message
    };
    let mark = |change: fn(&mut Managed)| {
        move |scene: &Scene| put(&scene.root.join("managed.json"), &managed(change))
    };
    let message = refused(&mark(|m| m.guard = true));
    assert!(message.contains("guarded"), "{message}");
    let message = refused(&mark(|m| m.topology = TopologyId("OTHER".to_owned())));
    assert!(message.contains("of topology OTHER"), "{message}");
    let message = refused(&mark(|m| m.object = Name::new("primary").expect("a name")));
    assert!(message.contains("datastore.primary"), "{message}");
    let message = refused(&|scene| {
        fs::remove_file(scene.root.join("managed.json")).expect("it is removed");
    });
    assert!(message.contains("not marked"), "{message}");
    let message = refused(&|scene| {
        put(
            &scene.root.join("bkpctl.json"),
            r#"{"format":1,"repository":"beef","home":"m","domain":"d"}"#,
        );
    });
    assert!(message.contains("another repository"), "{message}");
    refused(&|scene| {
        let marker = scene.root.join("managed.json");
        fs::rename(&marker, scene.outside.join("managed.json")).expect("it is moved");
        symlink(scene.outside.join("managed.json"), marker).expect("a link");
    });
}

#[test]
fn a_repository_that_somebody_works_with_stays_whole() {
    let scene = scene();
    let session = fs::File::open(scene.root.join("sessions/s1/shared")).expect("a file");
    session.lock().expect("it is locked");
    let before = scene.rest();
    let fault = scene.run(&mut || Ok(())).expect_err("it is in use");
    assert_eq!(fault.kind, FaultKind::Locked);
    assert_eq!(scene.rest(), before);
}

#[test]
fn a_folder_that_is_a_link_is_not_followed() {
    let scene = scene();
    let link = scene.outside.join("link");
    symlink(&scene.root, &link).expect("a link");
    let target = Target {
        folder: link.to_str().expect("a plain path"),
        topology: &TopologyId("01JD".to_owned()),
        object: &Name::new("old").expect("a name"),
        repository: ID,
    };
    assert!(destroy(&target).is_err());
    assert!(scene.root.join("bkpctl.json").exists());
}

#[test]
#[expect(
    clippy::print_stderr,
    reason = "what cannot be tried here is reported as skipped"
)]
fn where_root_is_nobody_the_owner_of_the_folder_removes_it() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give files away");
        return;
    }
    let scene = scene();
    let status = Command::new("chown")
        .args(["-R", "34:34"])
        .arg(&scene.root)
        .status();
    assert!(status.expect("chown runs").success());
    let closed = |mode| fs::Permissions::from_mode(mode);
    let above = scene.root.parent().expect("a folder above");
    fs::set_permissions(above, closed(0o755)).expect("it is opened");
    fs::set_permissions(&scene.root, closed(0o700)).expect("it is closed");
    // As an NFS server sees the root of its clients: without a right of its own.
    let squashed = || {
        let mut sets = rustix::thread::capabilities(None).expect("ours are known");
        let rights = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
        sets.effective -= rights;
        sets.permitted -= rights;
        rustix::thread::set_capabilities(None, sets).expect("they can be given up");
        assert!(fs::read_dir(&scene.root).is_err(), "root is nobody here");
        let target = Target {
            folder: scene.root.to_str().expect("a plain path"),
            topology: &TopologyId("01JD".to_owned()),
            object: &Name::new("old").expect("a name"),
            repository: ID,
        };
        let ended = destroy(&target);
        let us = here::effective_uid();
        (ended, us)
    };
    let ended = std::thread::scope(|scope| scope.spawn(squashed).join());
    let (reply, us) = ended.expect("no panic");
    reply.expect("it is removed");
    assert_eq!(us, 0, "only the removal ran as another");
    assert_eq!(scene.rest(), theirs());
    assert!(scene.is_outside_whole());
}
