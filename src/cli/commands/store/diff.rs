//! `bkpctl store diff`: what changed from one snapshot to another.

use serde::Serialize;
use serde_json::json;

use super::entry::{Line, line, name};
use super::open::{reader, secret};
use super::{engine, inner};
use crate::cli::args::StoreDiff;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Outcome};
use crate::cli::render::text::{count, escape};
use crate::cli::signal;
use crate::engine::{Change, OpenSnapshot, diff};

/// One change in JSON.
#[derive(Debug, Serialize)]
struct Row {
    change: &'static str,
    entry: Line,
    /// In what the entries differ besides data, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    differences: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
struct Totals {
    added: usize,
    removed: usize,
    changed: usize,
    metadata: usize,
}

/// Prints each change and how many there are.
pub(super) fn run(context: &Context, args: &StoreDiff) -> Outcome {
    let repository = reader(&args.store, &secret(&args.secret, false)?)?;
    let open = |wanted: &str| {
        let snapshot = repository.find_snapshot(wanted)?;
        OpenSnapshot::open(&repository, &snapshot)
    };
    let (old, new) = (
        open(&args.old).map_err(engine)?,
        open(&args.new).map_err(engine)?,
    );
    let path = inner(args.path.as_deref())?;
    let mut totals = Totals::default();
    let mut rows = Vec::new();
    diff(
        &old,
        &new,
        &path,
        &signal::stop_on_interrupt(),
        &mut |change| {
            totals.count(&change);
            if args.secret.json {
                rows.push(row(&change));
            } else {
                context.print(&text(&change));
            }
            Ok(())
        },
    )
    .map_err(engine)?;
    if args.secret.json {
        let (from, to) = (&old.clear().id, &new.clear().id);
        context
            .print_json(&json!({ "from": from, "to": to, "totals": totals, "changes": rows }))?;
    } else if !context.quiet {
        context.print(&format!(
            "{} added, {} removed, {} changed, {} in metadata alone",
            totals.added,
            totals.removed,
            count(totals.changed, "entry", "entries"),
            totals.metadata
        ));
    }
    Ok(Exit::Ok)
}

impl Totals {
    fn count(&mut self, change: &Change) {
        *match change {
            Change::Added(_) => &mut self.added,
            Change::Removed(_) => &mut self.removed,
            Change::Content { .. } => &mut self.changed,
            Change::Metadata { .. } => &mut self.metadata,
        } += 1;
    }
}

fn words(change: &Change) -> Vec<String> {
    change
        .differences()
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn row(change: &Change) -> Row {
    Row {
        change: change.word(),
        entry: line(change.entry()),
        differences: words(change),
    }
}

fn text(change: &Change) -> String {
    let sign = match change {
        Change::Added(_) => '+',
        Change::Removed(_) => '-',
        Change::Content { .. } => '~',
        Change::Metadata { .. } => '·',
    };
    let name = name(change.entry());
    let words = words(change);
    if words.is_empty() {
        format!("{sign} {name}")
    } else {
        format!("{sign} {name}  ({})", escape(&words.join(", ")))
    }
}
