//! `bkpctl run`: one job now, whatever its schedule says.

use std::collections::BTreeMap;
use std::time::Instant;

use schemars::JsonSchema;
use serde::Serialize;

use crate::apply::outcome::{Ended, Observer};
use crate::cli::args::Run;
use crate::cli::context::{Context, now};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::progress::{Display, Label};
use crate::cli::signal;
use crate::model::journal::Event;
use crate::model::topology::{Job, Work};
use crate::model::{Address, ByteSize, JournalLine, Name, Topology};
use crate::run::fleet::Fleet;
use crate::run::job::Progress;
use crate::run::journals::Journals;
use crate::run::message::{Fault, FaultKind};
use crate::run::{Cancel, backup, drill, sync};

/// What `run --json` prints.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Report {
    /// The copies that were made.
    pub copies: Vec<Copied>,
    /// The syncs that were made.
    pub syncs: Vec<Synced>,
    /// The drills that were made.
    pub drills: Vec<Drilled>,
    /// What failed, in words.
    pub failed: Vec<String>,
}

/// One source in one datastore.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Copied {
    /// The source.
    pub source: Name,
    /// The datastore.
    pub datastore: Name,
    /// The snapshot's id in hex.
    pub snapshot: String,
    /// How many entries it holds.
    pub files: u64,
    /// How many bytes a restore gives.
    pub bytes: u64,
    /// How many bytes were new to the datastore.
    pub new_bytes: u64,
    /// How many bytes were stored.
    pub stored_bytes: u64,
    /// How many times larger the new data is than what was stored for it.
    pub ratio: Option<f64>,
    /// How many bytes of the source were read.
    pub read_bytes: u64,
    /// How many files were not read, because they had not changed.
    pub unchanged_files: u64,
    /// How many of those an interrupted backup had read.
    pub resumed_files: u64,
    /// How many milliseconds each stage took, added up over all threads.
    pub stages_ms: BTreeMap<String, u64>,
    /// How many entries could not be read.
    pub skipped: u64,
    /// How many files changed while they were read.
    pub changed: u64,
    /// Some of those, in words.
    pub problems: Vec<String>,
    /// What went wrong and costs nothing but time.
    pub warnings: Vec<String>,
    /// The calls that the datastore was asked, by kind and folder.
    pub store_calls: BTreeMap<String, u64>,
}

/// One datastore into another.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Synced {
    /// Where snapshots came from.
    pub from: Name,
    /// Where they went.
    pub to: Name,
    /// How many snapshots were copied.
    pub snapshots: u64,
    /// How many bytes that were.
    pub bytes: u64,
}

/// One proof.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Drilled {
    /// The source.
    pub source: Name,
    /// The snapshot's id in hex.
    pub snapshot: String,
    /// How many entries were compared.
    pub files: u64,
    /// How many bytes were compared.
    pub bytes: u64,
}

/// One piece of a job.
enum Piece<'a> {
    Copy {
        source: &'a Name,
        to: &'a Name,
    },
    Sync {
        from: &'a Name,
        to: &'a Name,
    },
    Drill {
        source: &'a Name,
        from: &'a Name,
        on: Name,
    },
}

/// Runs the job's pieces one after the other; one that fails does not stop the others.
pub fn run(context: &Context, args: &Run) -> Outcome {
    let look = context.look(&args.nodes.place.topology, &args.nodes.reach)?;
    let topology = look.fleet.topology.clone();
    let job = find(&topology, &args.job)?;
    let pieces = pieces(&topology, job)?;
    let display = Display::new(pieces.iter().map(label).collect(), context.quiet);
    let cancel = signal::stop_on_interrupt();
    let mut report = Report::default();
    let mut faults = Vec::new();
    let journals = Journals::new(&look.fleet);
    for (index, piece) in pieces.iter().enumerate() {
        display.started(index);
        let entry = Entry {
            journals: &journals,
            topology: &topology,
            job,
            index,
            piece,
        };
        let (place, subject) = words(piece);
        entry.write(&display, Event::Begin, &format!("{place} {subject}"));
        let start = Instant::now();
        let progress = |progress: Progress| display.progress(index, progress);
        let work = Piecework {
            fleet: &look.fleet,
            job,
            progress: &progress,
            cancel: &cancel,
        };
        let ended = match work.carry_out(piece, &mut report) {
            Ok(words) => Ended::Done {
                words,
                took: start.elapsed(),
            },
            Err(fault) => {
                faults.push(fault.kind);
                report.failed.push(fault.message.clone());
                Ended::Failed {
                    fault,
                    took: start.elapsed(),
                }
            }
        };
        match &ended {
            Ended::Done { words, .. } => entry.write(&display, Event::Done, words),
            Ended::Failed { fault, .. } => entry.write(&display, Event::Failed, &fault.message),
            _ => {}
        }
        display.ended(index, &ended);
        if cancel.is_cancelled() {
            faults.push(FaultKind::Stopped);
            break;
        }
    }
    if args.json {
        context.print_json(&report)?;
    }
    Ok(verdict(&faults, pieces.len()))
}

/// Judges a run by the kinds of its failures.
fn verdict(faults: &[FaultKind], pieces: usize) -> Exit {
    let all = |kind: FaultKind| faults.iter().all(|fault| *fault == kind);
    if faults.is_empty() {
        Exit::Ok
    } else if faults.contains(&FaultKind::Stopped) {
        Exit::Interrupted
    } else if faults.len() < pieces || faults.contains(&FaultKind::Incomplete) {
        Exit::Partial
    } else if all(FaultKind::Lost) {
        Exit::Incomplete
    } else {
        Exit::Error
    }
}

fn find<'t>(topology: &'t Topology, name: &str) -> Result<&'t Job, Failure> {
    topology
        .job(name)
        .ok_or_else(|| Failure::unknown("job", name, topology.jobs().map(|(_, job)| &job.name)))
}

fn pieces<'t>(topology: &'t Topology, job: &'t Job) -> Result<Vec<Piece<'t>>, Failure> {
    Ok(match &job.work {
        Work::Backup { sources, to } => sources
            .iter()
            .flat_map(|source| to.iter().map(move |to| Piece::Copy { source, to }))
            .collect(),
        Work::Sync { from, to } => vec![Piece::Sync { from, to }],
        Work::Cloud { .. } => {
            return Err(Failure::new(format!(
                "job {} copies to a bucket, which this version does not carry out",
                job.name
            )));
        }
        Work::Drill {
            sources, from, on, ..
        } => sources
            .iter()
            .map(|source| Piece::Drill {
                source,
                from,
                on: drill::place(topology, on.as_ref()),
            })
            .collect(),
    })
}

/// One piece's lines in the journal of the node that it writes to.
struct Entry<'a> {
    journals: &'a Journals<'a>,
    topology: &'a Topology,
    job: &'a Job,
    index: usize,
    piece: &'a Piece<'a>,
}

impl Entry<'_> {
    /// Writes one line. A copy is worth more than a line about it, so the job goes on without.
    fn write(&self, observer: &dyn Observer, event: Event, words: &str) {
        let Some(node) = self.node() else { return };
        let line = JournalLine {
            job: Some(self.job.name.clone()),
            action: Some(self.index),
            address: Some(self.address()),
            ..JournalLine::new(now(), event, words)
        };
        if let Err(fault) = self.journals.append(&node, &line) {
            let words = format!("the journal could not be written: {}", fault.message);
            observer.note(&node, &words);
        }
    }

    /// Returns the node that a plan would do the same on.
    fn node(&self) -> Option<Name> {
        let serving = |datastore: &Name| {
            let place = self.topology.datastores.get(datastore)?.first_place()?;
            Some(place.node.clone())
        };
        match self.piece {
            Piece::Copy { to, .. } | Piece::Sync { to, .. } => serving(to),
            Piece::Drill { on, .. } => Some(on.clone()),
        }
    }

    fn address(&self) -> Address {
        match self.piece {
            Piece::Copy { source, to } => Address::with_part("copy", source, to),
            Piece::Sync { .. } => Address::new("sync", &self.job.name),
            Piece::Drill { source, .. } => Address::with_part("drill", &self.job.name, source),
        }
    }
}

fn words(piece: &Piece<'_>) -> (String, String) {
    match piece {
        Piece::Copy { source, to } => (source.to_string(), format!("→ {to}")),
        Piece::Sync { from, to } => (from.to_string(), format!("⇉ {to}")),
        Piece::Drill { source, from, .. } => (source.to_string(), format!("drill from {from}")),
    }
}

fn label(piece: &Piece<'_>) -> Label {
    let (place, subject) = words(piece);
    Label {
        place,
        subject,
        data: true,
    }
}

struct Piecework<'a> {
    fleet: &'a Fleet,
    job: &'a Job,
    progress: &'a (dyn Fn(Progress) + Send + Sync),
    cancel: &'a Cancel,
}

impl Piecework<'_> {
    fn carry_out(&self, piece: &Piece<'_>, report: &mut Report) -> Result<String, Fault> {
        match piece {
            Piece::Copy { source, to } => {
                let made = backup::backup(self.fleet, source, to, self.progress, self.cancel)?;
                let words = backup::words(&made);
                let incomplete = backup::incomplete(&made);
                report.copies.push(Copied {
                    source: (*source).clone(),
                    datastore: (*to).clone(),
                    snapshot: made.snapshot,
                    files: made.files,
                    bytes: made.bytes,
                    new_bytes: made.new_bytes,
                    stored_bytes: made.stored_bytes,
                    ratio: made.ratio,
                    read_bytes: made.read_bytes,
                    unchanged_files: made.unchanged_files,
                    resumed_files: made.resumed_files,
                    stages_ms: made.stages_ms,
                    skipped: made.skipped,
                    changed: made.changed,
                    problems: made.problems,
                    warnings: made.warnings,
                    store_calls: made.store_calls,
                });
                incomplete.map_or(Ok(words), Err)
            }
            Piece::Sync { from, to } => {
                let made = sync::sync(self.fleet, from, to, None, self.progress, self.cancel)?;
                let words = sync::words(&made);
                report.syncs.push(Synced {
                    from: (*from).clone(),
                    to: (*to).clone(),
                    snapshots: made.snapshots,
                    bytes: made.bytes,
                });
                Ok(words)
            }
            Piece::Drill { source, from, on } => {
                let scratch = self
                    .fleet
                    .topology
                    .nodes
                    .get(on)
                    .and_then(|n| n.scratch.as_deref());
                let order = drill::Order {
                    drill: &self.job.name,
                    source,
                    from,
                    node: on,
                    scratch,
                };
                let made = drill::drill(self.fleet, &order, self.progress, self.cancel)?;
                report.drills.push(Drilled {
                    source: (*source).clone(),
                    snapshot: made.snapshot.clone(),
                    files: made.files,
                    bytes: made.bytes,
                });
                Ok(format!(
                    "{} entries and {} compared",
                    made.files,
                    ByteSize(made.bytes)
                ))
            }
        }
    }
}
