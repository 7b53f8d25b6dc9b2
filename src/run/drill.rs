//! A restore to a scratch place that is compared, removed and recorded as a proof.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::FlockOperation;

use crate::engine::crypto::ReadingKey;
use crate::engine::env::Env;
use crate::engine::files::Existing;
use crate::engine::store::{Folder, Store, StoreName};
use crate::engine::{Access, CompareOptions, OpenSnapshot, Repository, Snapshot, compare, hex};
use crate::model::markers::Proof;
use crate::model::observed::NodeState;
use crate::model::topology::{Reach, Work};
use crate::model::{Name, Observed, Timestamp, Topology};
use crate::run::backup::{Tell, ask_agent, reading_key};
use crate::run::fleet::{Fleet, Rights};
use crate::run::job::{DrillJob, DrillReport, KeyMaterial, Progress};
use crate::run::message::{Call, Fault, FaultKind, Reply};
use crate::run::meter::Meter;
use crate::run::restore::{Destination, failures, newest, restore_opened};
use crate::run::store_call::Allowed;
use crate::run::{Cancel, here, keys};

/// The name that stands for the machine bkpctl runs on, where no node is declared for it.
pub const CONTROLLER: &str = "controller";

/// How many differences a report tells in words.
const PROBLEMS_MAX: usize = 20;

/// How drills' folders begin, so that leftovers are known as ours.
const FOLDER_PREFIX: &str = "bkpctl-drill-";

/// Which drill, of what, from where, on which node.
#[derive(Debug)]
pub struct Order<'a> {
    /// The drill's name.
    pub drill: &'a Name,
    /// The source.
    pub source: &'a Name,
    /// The datastore.
    pub from: &'a Name,
    /// The node that restores.
    pub node: &'a Name,
    /// The scratch folder there; the system's temporary folder if left out.
    pub scratch: Option<&'a str>,
}

/// Makes a drill and writes its proof into the datastore, passed or not.
pub fn drill(
    fleet: &Fleet,
    order: &Order<'_>,
    tell: Tell<'_>,
    cancel: &Cancel,
) -> Result<DrillReport, Fault> {
    let key = keys::read(&fleet.topology, &fleet.datastore(order.from)?.key)?;
    let command = match fleet.topology.job(order.drill).map(|job| &job.work) {
        Some(Work::Drill { command, .. }) => command.clone(),
        _ => Vec::new(),
    };
    let job = DrillJob {
        source: order.source.to_string(),
        reader: KeyMaterial(key.seed().to_vec()),
        scratch: order.scratch.map(str::to_owned),
        command,
    };
    let store = fleet.store(order.from, Rights::Admin)?;
    let start = Instant::now();
    let elsewhere = fleet
        .topology
        .nodes
        .get(order.node)
        .is_some_and(|node| !matches!(node.reach, Reach::Local));
    let report = if elsewhere {
        let allowed = Allowed {
            put: false,
            get: true,
            admin: false,
        };
        let call = Call::Drill(Box::new(job));
        match ask_agent(
            fleet,
            order.node,
            Arc::clone(&store),
            allowed,
            call,
            tell,
            cancel,
        )? {
            Reply::Drill(report) => *report,
            _ => {
                return Err(Fault::lost(
                    "the agent answered another question than the one asked",
                ));
            }
        }
    } else {
        prove(Arc::clone(&store), &job, tell, cancel)?
    };
    record(store.as_ref(), &key, order, &report, start)?;
    if report.problems.is_empty() {
        return Ok(report);
    }
    Err(Fault::new(
        FaultKind::Engine,
        format!(
            "the restored {} is not what the snapshot says: {}",
            order.source,
            report.problems.join("; ")
        ),
    ))
}

/// Restores the newest complete snapshot of a source to a scratch folder, compares, removes.
///
/// A snapshot that can't be restored is a drill that did not pass, and the report says so;
/// an error means that nothing can be said about the snapshot.
pub fn prove(
    store: Arc<dyn Store>,
    job: &DrillJob,
    tell: Tell<'_>,
    cancel: &Cancel,
) -> Result<DrillReport, Fault> {
    let access = Access::Reader(reading_key(&job.reader)?);
    let repository =
        Repository::open(store, Env::system(), access).map_err(|error| Fault::engine(&error))?;
    let snapshot = newest(&repository, &job.source, None)?;
    let parent = job
        .scratch
        .as_ref()
        .map_or_else(std::env::temp_dir, PathBuf::from);
    remove_leftovers(&parent);
    let scratch = Scratch::new(&parent)?;
    let mut report = DrillReport {
        snapshot: snapshot.clear.id.clone(),
        files: 0,
        bytes: 0,
        problems: Vec::new(),
    };
    let target = scratch.path.join("restored");
    match examine(&repository, &snapshot, &target, &mut report, tell, cancel) {
        Ok(()) => report.problems.extend(judge(&job.command, &target)?),
        Err(fault) if fault.kind == FaultKind::Engine => report.problems.push(fault.message),
        Err(fault) => return Err(fault),
    }
    Ok(report)
}

/// Restores a snapshot and compares what came back with what it says.
fn examine(
    repository: &Repository,
    snapshot: &Snapshot,
    target: &Path,
    report: &mut DrillReport,
    tell: Tell<'_>,
    cancel: &Cancel,
) -> Result<(), Fault> {
    let engine = |error| Fault::engine(&error);
    let opened = OpenSnapshot::open(repository, snapshot).map_err(engine)?;
    let restored = restore_opened(
        &opened,
        Destination {
            folder: target,
            existing: Existing::Refuse,
            // It is compared and removed: nobody needs it on the disk.
            sync: false,
        },
        Vec::new(),
        tell,
        cancel,
    )?;
    report.problems.extend(failures(&restored));
    let silent = |_: Progress| {};
    let meter = Meter::new(&silent, None);
    let options = CompareOptions {
        ignore_owners: here::effective_uid() != 0,
    };
    let found = compare(&opened, target, options, &meter, cancel).map_err(engine)?;
    report.files = found.compared;
    report.bytes = found.bytes;
    let entries = found.entries.iter().map(ToString::to_string);
    let content = found
        .content
        .iter()
        .map(|path| format!("{path}: other content"));
    report.problems.extend(entries.chain(content));
    if report.problems.len() > PROBLEMS_MAX {
        report.problems.truncate(PROBLEMS_MAX);
        report
            .problems
            .push(format!("{} differences in all", found.total));
    }
    Ok(())
}

/// Runs the drill's own program in the restored folder; its complaint is a problem.
fn judge(command: &[String], target: &Path) -> Result<Option<String>, Fault> {
    let Some((program, arguments)) = command.split_first() else {
        return Ok(None);
    };
    let output = Command::new(program)
        .args(arguments)
        .current_dir(target)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Fault::io(&format!("start {program}, which judges the drill"), &error))?;
    if output.status.success() {
        return Ok(None);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let tail: String = said
        .trim()
        .chars()
        .rev()
        .take(300)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .collect();
    Ok(Some(format!(
        "{program} ended with {}: {tail}",
        output.status
    )))
}

/// A folder of a drill's own, removed with everything in it when dropped.
///
/// A lock in it says that its drill is alive; what a killed drill left has none.
struct Scratch {
    path: PathBuf,
    _lock: fs::File,
}

impl Scratch {
    fn new(parent: &Path) -> Result<Self, Fault> {
        let failed =
            |e: &io::Error| Fault::io(&format!("make a scratch folder in {}", parent.display()), e);
        let random: [u8; 8] = Env::system().random().map_err(|e| failed(&e))?;
        let path = parent.join(format!("{FOLDER_PREFIX}{}", hex::encode(&random)));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|e| failed(&e))?;
        let lock = fs::File::create_new(path.join("lock")).map_err(|e| failed(&e))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|e| failed(&e.into()))?;
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.path));
    }
}

/// Removes what drills left that were killed: folders of ours whose lock nobody holds.
fn remove_leftovers(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let ours = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(FOLDER_PREFIX));
        // Somebody else's folder of that name has no lock file that we may open.
        let lock = ours
            .then(|| fs::File::open(entry.path().join("lock")).ok())
            .flatten();
        let free = |lock: &fs::File| {
            rustix::fs::flock(lock, FlockOperation::NonBlockingLockExclusive).is_ok()
        };
        if lock.as_ref().is_some_and(free) {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

fn record(
    store: &dyn Store,
    key: &ReadingKey,
    order: &Order<'_>,
    report: &DrillReport,
    start: Instant,
) -> Result<(), Fault> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let at = Timestamp(i64::try_from(now.as_nanos()).unwrap_or(i64::MAX));
    let mut proof = Proof {
        drill: order.drill.clone(),
        source: order.source.clone(),
        snapshot: report.snapshot.clone(),
        at,
        passed: report.problems.is_empty(),
        files: report.files,
        bytes: report.bytes,
        took_ms: start.elapsed().as_millis() as u64,
        problems: report.problems.clone(),
        mac: String::new(),
    };
    proof.mac = mac(key, &proof);
    let json = serde_json::to_vec(&proof).expect("a proof is plain data");
    let file = file_name(at, &report.snapshot);
    let name = StoreName::within(Folder::Proofs, &[order.drill, &file])
        .map_err(|error| Fault::store(&error))?;
    store
        .put(&name, &json)
        .map(drop)
        .map_err(|error| Fault::store(&error))
}

/// Returns the file of a proof; the order of names is that of time.
///
/// To the second two tries of one snapshot would share a name, and the later one, which may have
/// failed, would not be written.
fn file_name(at: Timestamp, snapshot: &str) -> String {
    let stamp = at.to_string().replace(['-', ':', 'Z'], "");
    let nanos = at.0.rem_euclid(1_000_000_000);
    let short = snapshot.get(..8).unwrap_or(snapshot);
    format!("{stamp}.{nanos:09}Z-{short}.json")
}

/// Returns the code over everything else in a proof.
fn mac(key: &ReadingKey, proof: &Proof) -> String {
    let bare = Proof {
        mac: String::new(),
        ..proof.clone()
    };
    let json = serde_json::to_vec(&bare).expect("a proof is plain data");
    hex::encode(&key.mac_proof(&json))
}

/// Returns whether a proof was written by a holder of the reading key.
fn is_authentic(key: &ReadingKey, proof: &Proof) -> bool {
    // Both sides are known to whoever could measure the time, so no constant time is needed.
    mac(key, proof) == proof.mac
}

/// Leaves out every proof that no holder of the reading key wrote, where the key is at hand.
///
/// Whoever can write into a datastore could otherwise claim that its copies were proven.
pub fn drop_forged(topology: &Topology, observed: &mut Observed) {
    for state in observed.nodes.values_mut() {
        let NodeState::Reached(facts) = state else {
            continue;
        };
        for (name, seen) in &mut facts.datastores {
            let key = topology.datastores.get(name).map(|declared| &declared.key);
            if let Some(key) = key.and_then(|key| keys::read(topology, key).ok()) {
                seen.proofs.retain(|proof| is_authentic(&key, proof));
            }
        }
    }
}

/// Returns the node that a drill runs on: the declared one, else the machine bkpctl runs on.
pub fn place(topology: &Topology, on: Option<&Name>) -> Name {
    on.cloned()
        .or_else(|| {
            let local = |(_, node): &(&Name, &crate::model::topology::Node)| {
                matches!(node.reach, Reach::Local)
            };
            topology
                .nodes
                .iter()
                .find(local)
                .map(|(name, _)| name.clone())
        })
        .unwrap_or_else(|| Name::new(CONTROLLER).expect("the word is a name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_tries_within_a_second_are_two_proofs_in_their_order() {
        let second = 1_795_410_000_000_000_000;
        let names = [
            second,
            second + 5,
            second + 999_999_999,
            second + 1_000_000_000,
        ]
        .map(|at| file_name(Timestamp(at), "abcdef0123"));
        assert_eq!(names[1], "20261123T050000.000000005Z-abcdef01.json");
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
    }

    #[test]
    fn a_proof_counts_only_as_its_writer_left_it() {
        let key = ReadingKey::from_seed(&[3; 32]);
        let name = |text: &str| Name::new(text).expect("a name");
        let mut proof = Proof {
            drill: name("proof"),
            source: name("etc"),
            snapshot: "ab".to_owned(),
            at: Timestamp(5),
            passed: false,
            files: 1,
            bytes: 2,
            took_ms: 3,
            problems: vec!["etc/fstab: other content".to_owned()],
            mac: String::new(),
        };
        proof.mac = mac(&key, &proof);
        assert!(is_authentic(&key, &proof));
        let forged = Proof {
            passed: true,
            ..proof.clone()
        };
        assert!(!is_authentic(&key, &forged));
        assert!(!is_authentic(&ReadingKey::from_seed(&[4; 32]), &proof));
    }

    #[test]
    fn what_a_killed_drill_left_is_removed_and_what_a_living_one_uses_is_not() {
        let parent = tempfile::tempdir().expect("a folder");
        let alive = Scratch::new(parent.path()).expect("a scratch folder");
        let dead = parent.path().join(format!("{FOLDER_PREFIX}0123"));
        fs::create_dir(&dead).expect("a folder");
        fs::write(dead.join("lock"), "").expect("a lock");
        let foreign = parent.path().join(format!("{FOLDER_PREFIX}mine"));
        fs::create_dir(&foreign).expect("a folder");
        remove_leftovers(parent.path());
        assert!(alive.path.exists() && foreign.exists() && !dead.exists());
        let path = alive.path.clone();
        drop(alive);
        assert!(!path.exists());
    }
}
