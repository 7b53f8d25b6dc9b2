//! `bkpctl store ls`: what a snapshot holds.

use super::entry::{line, name, row};
use super::open::{reader, secret};
use super::{engine, inner};
use crate::cli::args::StoreLs;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Outcome};
use crate::engine::{EngineError, OpenSnapshot};

/// Lists the entries of a snapshot, or of a path in it, in the order of their paths.
pub(super) fn run(context: &Context, args: &StoreLs) -> Outcome {
    let repository = reader(&args.store, &secret(&args.secret, false)?)?;
    let snapshot = repository.find_snapshot(&args.snapshot).map_err(engine)?;
    let opened = OpenSnapshot::open(&repository, &snapshot).map_err(engine)?;
    let path = inner(args.path.as_deref())?;
    let mut lines = Vec::new();
    let mut is_there = path.is_root();
    for entry in opened.entries_below(&path).map_err(engine)? {
        let entry = entry.map_err(engine)?;
        is_there = true;
        if args.secret.json {
            lines.push(line(&entry));
        } else if args.long {
            context.print(&row(&entry));
        } else {
            context.print(&name(&entry));
        }
    }
    if !is_there {
        return Err(engine(EngineError::NoPath(path.to_string())));
    }
    if args.secret.json {
        context
            .print_json(&serde_json::json!({ "snapshot": snapshot.clear.id, "entries": lines }))?;
    }
    Ok(Exit::Ok)
}
