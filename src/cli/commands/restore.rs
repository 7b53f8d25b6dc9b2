//! `bkpctl restore`: get a snapshot back, whole or by path.

use std::os::unix::ffi::OsStrExt;

use serde::Serialize;

use crate::apply::outcome::{Ended, Observer};
use crate::cli::args::Restore;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::progress::{Display, Label};
use crate::cli::signal;
use crate::model::ByteSize;
use crate::run::job::Progress;
use crate::run::message::{Fault, FaultKind};
use crate::run::restore::{Wanted, restore};

/// What `restore --json` prints.
#[derive(Debug, Serialize)]
struct Report {
    snapshot: String,
    files: u64,
    bytes: u64,
    notes: Vec<String>,
}

/// Restores and says what came back.
pub fn run(context: &Context, args: &Restore) -> Outcome {
    let look = context.look(&args.place.topology, &args.reach)?;
    let topology = &look.plan.topology;
    if !topology.datastores.contains_key(args.from.as_str()) {
        return Err(Failure::unknown(
            "datastore",
            &args.from,
            topology.datastores.keys(),
        ));
    }
    let label = Label {
        place: args.source.clone(),
        subject: format!("from {}", args.from),
        data: true,
    };
    let display = Display::new(vec![label], context.quiet);
    let cancel = signal::stop_on_interrupt();
    let wanted = Wanted {
        source: &args.source,
        from: &args.from,
        at: &args.at,
        to: &args.to,
        paths: args
            .paths
            .iter()
            .map(|p| p.as_os_str().as_bytes().to_vec())
            .collect(),
    };
    display.started(0);
    let start = std::time::Instant::now();
    let progress = |progress: Progress| display.progress(0, progress);
    let restored = restore(&look.fleet, &wanted, &progress, &cancel);
    let report = match restored {
        Ok(report) => report,
        Err(fault) => {
            display.clear(0);
            return Err(failure(fault).help(format!(
                "bkpctl snapshots --from {} lists what there is",
                args.from
            )));
        }
    };
    let words = format!(
        "{} entries, {} restored to {}",
        report.files,
        ByteSize(report.bytes),
        args.to.display()
    );
    display.ended(
        0,
        &Ended::Done {
            words,
            took: start.elapsed(),
        },
    );
    for note in &report.notes {
        display.note(&look.fleet.topology.name, note);
    }
    if args.json {
        context.print_json(&Report {
            snapshot: report.snapshot,
            files: report.files,
            bytes: report.bytes,
            notes: report.notes,
        })?;
    }
    Ok(Exit::Ok)
}

fn failure(fault: Fault) -> Failure {
    let exit = match fault.kind {
        FaultKind::Stopped => Exit::Interrupted,
        FaultKind::Lost => Exit::Incomplete,
        _ => Exit::Error,
    };
    Failure::new(fault.message).exit(exit)
}
