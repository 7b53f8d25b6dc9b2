//! Gets a snapshot of a datastore back, to a folder of this machine.

use std::path::Path;

use crate::engine::files::{Existing, RelPath};
use crate::engine::{Access, OpenSnapshot, Repository, RestoreOptions, RestoreReport, Snapshot};
use crate::model::Timestamp;
use crate::run::Cancel;
use crate::run::backup::Tell;
use crate::run::fleet::{Fleet, Rights};
use crate::run::message::{Fault, FaultKind};
use crate::run::meter::Meter;
use crate::run::{here, keys, repository};

/// How many problems of single entries are told in words.
const PROBLEMS_MAX: usize = 20;

/// What is wanted back, and where to.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// The source.
    pub source: &'a str,
    /// The datastore.
    pub from: &'a str,
    /// `latest`, a time in RFC 3339, or the beginning of an id.
    pub at: &'a str,
    /// The folder to restore to.
    pub to: &'a Path,
    /// Only these paths, as raw bytes; none for everything.
    pub paths: Vec<Vec<u8>>,
}

/// Where a snapshot is put, and how.
#[derive(Debug, Clone, Copy)]
pub struct Destination<'a> {
    /// The folder.
    pub folder: &'a Path,
    /// What to do with what is there.
    pub existing: Existing,
    /// Whether to wait until the disk has everything.
    pub sync: bool,
}

/// What came back.
#[derive(Debug)]
pub struct Restored {
    /// The snapshot's id in hex.
    pub snapshot: String,
    /// How many entries were restored.
    pub files: u64,
    /// How many of them were right before.
    pub unchanged: u64,
    /// How many names were removed because the snapshot lacks them.
    pub deleted: u64,
    /// How many bytes of the repository were read.
    pub read: u64,
    /// How many bytes were written.
    pub bytes: u64,
    /// What could not be set on the way, in words.
    pub notes: Vec<String>,
}

/// Restores what is wanted.
pub fn restore(
    fleet: &Fleet,
    wanted: &Wanted<'_>,
    tell: Tell<'_>,
    cancel: &Cancel,
) -> Result<Restored, Fault> {
    let datastore = fleet.datastore(wanted.from)?;
    let key = keys::read(&fleet.topology, &datastore.key)?;
    let store = fleet.store_named(wanted.from, Rights::Get)?;
    let repository = repository::open(store, Access::Reader(key))?;
    let snapshot = choose(&repository, wanted)?;
    let to = Destination {
        folder: wanted.to,
        existing: Existing::Refuse,
        sync: true,
    };
    restore_snapshot(&repository, &snapshot, to, &wanted.paths, tell, cancel)
}

/// Restores a snapshot, whole or by path; a file that can't be restored is an error.
pub fn restore_snapshot(
    repository: &Repository,
    snapshot: &Snapshot,
    to: Destination<'_>,
    paths: &[Vec<u8>],
    tell: Tell<'_>,
    cancel: &Cancel,
) -> Result<Restored, Fault> {
    let opened = OpenSnapshot::open(repository, snapshot).map_err(|error| Fault::engine(&error))?;
    let paths = paths
        .iter()
        .map(|path| inner_path(path))
        .collect::<Result<_, _>>()?;
    let report = restore_opened(&opened, to, paths, tell, cancel)?;
    if !report.is_whole() {
        let named: Vec<String> = failures(&report)
            .into_iter()
            .map(|failure| format!("\n  {failure}"))
            .collect();
        return Err(Fault::new(
            FaultKind::Engine,
            format!(
                "{} of {} files could not be restored; what is in {} is whole otherwise:{}",
                report.failed_total,
                report.files.max(report.failed_total),
                to.folder.display(),
                named.concat()
            ),
        ));
    }
    let notes = report.notes.kept().iter().take(PROBLEMS_MAX);
    Ok(Restored {
        snapshot: snapshot.clear.id.clone(),
        files: report.entries,
        unchanged: report.unchanged,
        deleted: report.deleted,
        read: report.read,
        bytes: report.bytes,
        notes: notes.map(ToString::to_string).collect(),
    })
}

/// Restores an opened snapshot; the report tells which files could not be had.
pub(super) fn restore_opened(
    opened: &OpenSnapshot,
    to: Destination<'_>,
    paths: Vec<RelPath>,
    tell: Tell<'_>,
    cancel: &Cancel,
) -> Result<RestoreReport, Fault> {
    let usual = RestoreOptions::default();
    let options = RestoreOptions {
        paths,
        existing: to.existing,
        sync: to.sync,
        threads: here::threads().unwrap_or(usual.threads),
    };
    let meter = Meter::new(tell, None);
    crate::engine::restore(opened, to.folder, &options, &meter, cancel)
        .map_err(|error| Fault::engine(&error))
}

/// Names some of the files that could not be restored, with the reason.
pub(super) fn failures(report: &RestoreReport) -> Vec<String> {
    let named = report.failed.iter().take(PROBLEMS_MAX);
    named.map(|(path, why)| format!("{path}: {why}")).collect()
}

/// Turns a path as people write it into one inside a snapshot.
pub fn inner_path(path: &[u8]) -> Result<RelPath, Fault> {
    let mut bare = path;
    while let Some(rest) = bare.strip_prefix(b"/").or_else(|| bare.strip_prefix(b"./")) {
        bare = rest;
    }
    while let Some(rest) = bare.strip_suffix(b"/") {
        bare = rest;
    }
    RelPath::new(bare)
        .map_err(|error| Fault::refused(format!("{:?}: {error}", String::from_utf8_lossy(path))))
}

/// Finds the newest complete snapshot of a source, started at a time or before.
pub fn newest(
    repository: &Repository,
    source: &str,
    until: Option<Timestamp>,
) -> Result<Snapshot, Fault> {
    let listed = repository
        .snapshots(Some(source))
        .map_err(|error| Fault::engine(&error))?;
    let in_time = |s: &Snapshot| until.is_none_or(|until| s.clear.started <= until.0);
    let trusted = |s: &Snapshot| s.authentic != crate::engine::manifest::Authentic::No;
    let whole = |s: &Snapshot| s.clear.complete;
    let newest = |found: &mut dyn Iterator<Item = Snapshot>| found.max_by_key(|s| s.clear.started);
    let mut usable: Vec<Snapshot> = listed
        .found
        .into_iter()
        .filter(|s| in_time(s) && trusted(s))
        .collect();
    // An incomplete one is better than none, but never better than a complete one.
    if usable.iter().any(whole) {
        usable.retain(whole);
    }
    newest(&mut usable.into_iter()).ok_or_else(|| {
        let when = until.map_or_else(String::new, |until| format!(" from {until} or before"));
        Fault::refused(format!("there is no snapshot of {source}{when}"))
    })
}

fn choose(repository: &Repository, wanted: &Wanted<'_>) -> Result<Snapshot, Fault> {
    if wanted.at == "latest" {
        return newest(repository, wanted.source, None);
    }
    if let Ok(time) = wanted.at.parse::<jiff::Timestamp>() {
        let until = i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX);
        return newest(repository, wanted.source, Some(Timestamp(until)));
    }
    repository
        .find_snapshot(&format!("{}/{}", wanted.source, wanted.at))
        .map_err(|error| Fault::engine(&error))
}
