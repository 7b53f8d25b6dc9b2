//! What is done to the machine this process runs on, one small change at a time.
//!
//! The controller does these on `local` nodes itself and asks the agent for them
//! elsewhere; the code is the same. Nothing here decides anything.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Gid, Mode, OFlags, Uid};
use serde::{Deserialize, Serialize};

use super::destroy;
use super::journal::{self, Plans};
use super::message::Fault;
use super::system::{self, SystemFile};
use crate::model::Name;
use crate::model::topology::TopologyId;

/// One small change to a machine, or one question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeCall {
    /// Asks for the BLAKE3 hash of the running binary.
    Identify,
    /// Takes the node's lock for a topology, or says who holds it.
    Lock {
        /// Our folder on the node.
        folder: String,
        /// Who we are, for the next one that comes.
        holder: String,
    },
    /// Appends one line to the journal and makes it durable.
    Journal {
        /// Our folder on the node.
        folder: String,
        /// The line, without its end.
        line: String,
    },
    /// Asks the journal when a plan was begun, or which was begun and is not at its end.
    Plans {
        /// Our folder on the node.
        folder: String,
        /// The plan's id; left out, the newest that has something left to do.
        plan: Option<String>,
    },
    /// Writes a small file of ours, replacing it in one step.
    WriteState {
        /// Our folder on the node.
        folder: String,
        /// The file's name in it.
        name: String,
        /// The whole content.
        content: String,
    },
    /// Makes a folder; its parent exists, it does not.
    MakeFolder {
        /// The folder.
        path: String,
        /// The owner.
        uid: u32,
        /// The group.
        gid: u32,
        /// The mode.
        mode: u32,
    },
    /// Changes the owner of a path, and below it if asked, on one filesystem.
    SetOwner {
        /// The path.
        path: String,
        /// The owner.
        uid: u32,
        /// The group.
        gid: u32,
        /// Whether entries below are changed too.
        recursive: bool,
    },
    /// Changes the mode of a folder.
    SetMode {
        /// The folder.
        path: String,
        /// The mode.
        mode: u32,
    },
    /// Sets the quota of a ZFS dataset.
    SetQuota {
        /// The dataset.
        dataset: String,
        /// The quota in bytes.
        bytes: u64,
    },
    /// Writes a file of exports and has the NFS server read it.
    Export {
        /// The file, in `/etc/exports.d`.
        file: String,
        /// The whole content.
        content: String,
        /// What is there now, if anything; something else there is not touched.
        was: Option<String>,
    },
    /// Removes a repository, and nothing else in its folder.
    DestroyRepository {
        /// Its folder.
        folder: String,
        /// The topology that its marker must name.
        topology: TopologyId,
        /// The datastore that its marker must name.
        object: Name,
        /// The repository's id in hex.
        repository: String,
    },
    /// Takes back an export or a mount, and removes the file that keeps it.
    Withdraw {
        /// The file.
        file: String,
        /// What is in it; something else there is not touched.
        was: String,
    },
    /// Writes the unit of a mount, and mounts it now and at every start.
    Mount {
        /// The unit's file, in `/etc/systemd/system`.
        file: String,
        /// The whole content.
        content: String,
        /// What is there now, if anything; something else there is not touched.
        was: Option<String>,
    },
}

/// What a small change gives back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeReply {
    /// It is done.
    Done,
    /// It is done, and so many entries were changed.
    Changed(u64),
    /// The answer to a question.
    Text(String),
    /// What the journal says of plans.
    Plans(Box<Plans>),
}

/// The locks that this process holds, by folder; they end with the process.
#[derive(Debug, Default)]
pub struct Held(Mutex<HashMap<PathBuf, File>>);

/// Carries one small change out on this machine.
pub fn carry_out(call: &NodeCall, held: &Held) -> Result<NodeReply, Fault> {
    match call {
        NodeCall::Identify => own_hash().map(NodeReply::Text),
        NodeCall::Lock { folder, holder } => take_lock(Path::new(folder), holder, held),
        NodeCall::Journal { folder, line } => append_journal(Path::new(folder), line),
        NodeCall::Plans { folder, plan } => {
            let plans = journal::plans(Path::new(folder), plan.as_deref())?;
            Ok(NodeReply::Plans(Box::new(plans)))
        }
        NodeCall::WriteState {
            folder,
            name,
            content,
        } => write_state(Path::new(folder), name, content),
        NodeCall::MakeFolder {
            path,
            uid,
            gid,
            mode,
        } => make_folder(path, *uid, *gid, *mode),
        NodeCall::SetOwner {
            path,
            uid,
            gid,
            recursive,
        } => set_owner(path, *uid, *gid, *recursive),
        NodeCall::SetMode { path, mode } => set_mode(path, *mode),
        NodeCall::SetQuota { dataset, bytes } => system::set_quota(dataset, *bytes),
        NodeCall::Export { file, content, was } => {
            system::export(&SystemFile::new(file, content, was.as_deref()))
        }
        NodeCall::DestroyRepository {
            folder,
            topology,
            object,
            repository,
        } => destroy::destroy(&destroy::Target {
            folder,
            topology,
            object,
            repository,
        }),
        NodeCall::Withdraw { file, was } => system::withdraw(file, was),
        NodeCall::Mount { file, content, was } => {
            system::mount(&SystemFile::new(file, content, was.as_deref()))
        }
    }
}

/// Returns the BLAKE3 hash of the running binary in hex.
pub fn own_hash() -> Result<String, Fault> {
    let read = || -> io::Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new();
        let mut file = File::open("/proc/self/exe")?;
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hasher.finalize()),
                n => drop(hasher.update(&buffer[..n])),
            }
        }
    };
    read()
        .map(|hash| hash.to_hex().to_string())
        .map_err(|e| Fault::io("read the running binary", &e))
}

fn state_folder(folder: &Path) -> Result<(), Fault> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|e| Fault::io(&format!("make {}", folder.display()), &e))
}

fn take_lock(folder: &Path, holder: &str, held: &Held) -> Result<NodeReply, Fault> {
    state_folder(folder)?;
    let path = folder.join("lock");
    let failed = |e: &io::Error| Fault::io(&format!("lock {}", path.display()), e);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|e| failed(&e))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut other = String::new();
            drop(file.take(400).read_to_string(&mut other));
            return Err(Fault::locked(&path.display().to_string(), other.trim()));
        }
        Err(error) => return Err(failed(&error.into())),
    }
    // The text is for people only; the lock itself is the kernel's.
    file.set_len(0)
        .and_then(|()| writeln!(file, "{holder}"))
        .map_err(|e| failed(&e))?;
    held.0
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(folder.to_owned(), file);
    Ok(NodeReply::Done)
}

fn append_journal(folder: &Path, line: &str) -> Result<NodeReply, Fault> {
    state_folder(folder)?;
    journal::append(folder, line)?;
    Ok(NodeReply::Done)
}

fn write_state(folder: &Path, name: &str, content: &str) -> Result<NodeReply, Fault> {
    let plain = !name.is_empty()
        && Path::new(name)
            .components()
            .all(|c| matches!(c, Component::Normal(_)))
        && !name.contains('/');
    if !plain {
        return Err(Fault::refused(format!("{name:?} is no name of a file")));
    }
    state_folder(folder)?;
    replace_file(&folder.join(name), content.as_bytes(), 0o600)
        .map_err(|e| Fault::io(&format!("write {}", folder.join(name).display()), &e))?;
    Ok(NodeReply::Done)
}

/// Replaces a file in one step: a reader sees the old or the new content, also after a crash.
pub fn replace_file(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    replace(path, content, mode, |_| Ok(()))
}

/// Replaces what is in a file in one step; its mode and its owner stay.
pub fn rewrite_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let was = fs::metadata(path)?;
    // Born closed: what the old file hid stays hidden until mode and owner are right.
    replace(path, content, 0o600, |file| {
        let is = file.metadata()?;
        if (is.uid(), is.gid()) != (was.uid(), was.gid()) {
            fchown(file, Some(was.uid()), Some(was.gid()))?;
        }
        file.set_permissions(was.permissions())
    })
}

fn replace(
    path: &Path,
    content: &[u8],
    mode: u32,
    finish: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let folder = parent.unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".tmp-{}", std::process::id()));
    let temporary = folder.join(name);
    let write = || -> io::Result<()> {
        // A link that lies there by accident or on purpose leads to something else.
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&temporary)?;
        file.write_all(content)?;
        finish(&file)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(folder)?.sync_all()
    };
    let result = write();
    if result.is_err() {
        drop(fs::remove_file(&temporary));
    }
    result
}

/// Opens a folder, following links in the way to it but not in its last component.
fn open_folder(path: &str) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

fn owner(uid: u32, gid: u32) -> Result<(Uid, Gid), Fault> {
    if uid == u32::MAX || gid == u32::MAX {
        return Err(Fault::refused("4294967295 is no user or group id"));
    }
    Ok((Uid::from_raw(uid), Gid::from_raw(gid)))
}

fn make_folder(path: &str, uid: u32, gid: u32, mode: u32) -> Result<NodeReply, Fault> {
    let (uid, gid) = owner(uid, gid)?;
    // Born closed: nobody gets in before the owner and the mode are right.
    rustix::fs::mkdir(path, Mode::RWXU).map_err(|error| match error {
        rustix::io::Errno::EXIST => {
            Fault::stale(format!("{path} has appeared since the plan was made"))
        }
        error => Fault::io(&format!("make {path}"), &error.into()),
    })?;
    let finish = || -> rustix::io::Result<()> {
        let folder = open_folder(path)?;
        let stat = rustix::fs::fstat(&folder)?;
        if (stat.st_uid, stat.st_gid) != (uid.as_raw(), gid.as_raw()) {
            rustix::fs::fchown(&folder, Some(uid), Some(gid))?;
        }
        rustix::fs::fchmod(&folder, Mode::from_raw_mode(mode))?;
        rustix::fs::fsync(&folder)
    };
    finish().map_err(|e| {
        // Nothing half-made stays behind: the folder is still empty.
        drop(fs::remove_dir(path));
        Fault::io(&format!("give {path} its owner and mode"), &e.into())
    })?;
    if let Some(parent) = Path::new(path).parent() {
        drop(File::open(parent).and_then(|f| f.sync_all()));
    }
    Ok(NodeReply::Done)
}

fn set_mode(path: &str, mode: u32) -> Result<NodeReply, Fault> {
    open_folder(path)
        .and_then(|folder| rustix::fs::fchmod(&folder, Mode::from_raw_mode(mode)))
        .map_err(|e| Fault::io(&format!("change the mode of {path}"), &e.into()))?;
    Ok(NodeReply::Done)
}

fn set_owner(path: &str, uid: u32, gid: u32, recursive: bool) -> Result<NodeReply, Fault> {
    let (uid, gid) = owner(uid, gid)?;
    let failed = |what: &str, e: rustix::io::Errno| {
        Fault::io(&format!("change the owner of {what}"), &e.into())
    };
    let folder = open_folder(path).map_err(|e| failed(path, e))?;
    let device = rustix::fs::fstat(&folder)
        .map_err(|e| failed(path, e))?
        .st_dev;
    let mut changed = 0;
    if recursive {
        chown_below(folder.as_fd(), path, (uid, gid), device, &mut changed)?;
    }
    // The folder itself last: an interrupted change is seen and finished by the next plan.
    let stat = rustix::fs::fstat(&folder).map_err(|e| failed(path, e))?;
    if (stat.st_uid, stat.st_gid) != (uid.as_raw(), gid.as_raw()) {
        rustix::fs::fchown(&folder, Some(uid), Some(gid)).map_err(|e| failed(path, e))?;
        changed += 1;
    }
    Ok(NodeReply::Changed(changed))
}

/// Changes the owner of everything below a folder, links themselves and not their targets.
fn chown_below(
    folder: rustix::fd::BorrowedFd<'_>,
    path: &str,
    (uid, gid): (Uid, Gid),
    device: u64,
    changed: &mut u64,
) -> Result<(), Fault> {
    let failed = |what: String, e: rustix::io::Errno| {
        Fault::io(&format!("change the owner of {what}"), &e.into())
    };
    let mut entries = Dir::read_from(folder).map_err(|e| failed(path.to_owned(), e))?;
    while let Some(entry) = entries.read() {
        let entry = entry.map_err(|e| failed(path.to_owned(), e))?;
        let name = entry.file_name();
        if name.to_bytes() == b"." || name.to_bytes() == b".." {
            continue;
        }
        let below = format!("{path}/{}", name.to_string_lossy());
        let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| failed(below.clone(), e))?;
        if stat.st_dev != device {
            continue;
        }
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let inner = rustix::fs::openat(folder, name, flags, Mode::empty())
                .map_err(|e| failed(below.clone(), e))?;
            chown_below(inner.as_fd(), &below, (uid, gid), device, changed)?;
        }
        if (stat.st_uid, stat.st_gid) != (uid.as_raw(), gid.as_raw()) {
            rustix::fs::chownat(
                folder,
                name,
                Some(uid),
                Some(gid),
                AtFlags::SYMLINK_NOFOLLOW,
            )
            .map_err(|e| failed(below, e))?;
            *changed += 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn path(folder: &tempfile::TempDir, name: &str) -> String {
        folder
            .path()
            .join(name)
            .to_str()
            .expect("a plain path")
            .to_owned()
    }

    fn ours() -> (u32, u32) {
        (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        )
    }

    #[test]
    fn a_folder_is_made_with_its_owner_and_exact_mode() {
        let folder = tempfile::tempdir().expect("a folder");
        let made = path(&folder, "store");
        let (uid, gid) = ours();
        let call = NodeCall::MakeFolder {
            path: made.clone(),
            uid,
            gid,
            mode: 0o2750,
        };
        assert_eq!(carry_out(&call, &Held::default()), Ok(NodeReply::Done));
        assert_eq!(
            fs::metadata(&made)
                .expect("it is there")
                .permissions()
                .mode()
                & 0o7777,
            0o2750
        );
        let again = carry_out(&call, &Held::default()).expect_err("it exists now");
        assert!(again.message.contains("has appeared"), "{}", again.message);
    }

    #[test]
    #[expect(
        clippy::print_stderr,
        reason = "this is how a test says that it was skipped"
    )]
    fn a_recursive_change_of_owner_leaves_the_targets_of_links_alone() {
        if ours().0 != 0 {
            eprintln!("skipped: only root may change owners");
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let outside = path(&folder, "outside");
        fs::write(&outside, "x").expect("a file");
        let store = path(&folder, "store");
        fs::create_dir_all(format!("{store}/a/b")).expect("folders");
        symlink(&outside, format!("{store}/a/link")).expect("a link");
        let call = NodeCall::SetOwner {
            path: store.clone(),
            uid: 34,
            gid: 34,
            recursive: true,
        };
        assert_eq!(
            carry_out(&call, &Held::default()),
            Ok(NodeReply::Changed(4))
        );
        assert_eq!(
            carry_out(&call, &Held::default()),
            Ok(NodeReply::Changed(0))
        );
        assert_eq!(fs::metadata(&outside).expect("it is there").uid(), 0);
        assert_eq!(
            fs::symlink_metadata(format!("{store}/a/link"))
                .expect("a link")
                .uid(),
            34
        );
    }

    #[test]
    fn a_second_holder_is_told_who_holds_the_lock() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = path(&folder, "state");
        let (first, second) = (Held::default(), Held::default());
        let lock = |holder: &str| NodeCall::Lock {
            folder: state.clone(),
            holder: holder.into(),
        };
        assert_eq!(carry_out(&lock("apply 1"), &first), Ok(NodeReply::Done));
        let refused = carry_out(&lock("apply 2"), &second).expect_err("it is held");
        assert!(refused.message.contains("apply 1"), "{}", refused.message);
        drop(first);
        assert_eq!(carry_out(&lock("apply 2"), &second), Ok(NodeReply::Done));
    }

    #[test]
    fn state_is_written_only_under_a_plain_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str| NodeCall::WriteState {
            folder: path(&folder, "state"),
            name: name.into(),
            content: "{}".into(),
        };
        assert!(carry_out(&write("registry.json"), &Held::default()).is_ok());
        for name in ["", "..", "../x", "a/b", "/etc/passwd"] {
            assert!(
                carry_out(&write(name), &Held::default()).is_err(),
                "{name:?}"
            );
        }
    }
}
