//! `bkpctl snapshots`: list what the datastores hold.

use std::fmt::Write;

use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::args;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::render::text::{escape, pad};
use crate::model::snapshot::SnapshotHead;
use crate::model::{ByteSize, Name};
use crate::run::repository;

/// What `snapshots --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Snapshots {
    /// The snapshots, by datastore and source, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// Datastores that could not be read, with the reason.
    pub unread: Vec<Unread>,
}

/// One snapshot and where it is.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Snapshot {
    /// The datastore.
    pub datastore: Name,
    /// What its manifest says in clear.
    pub head: SnapshotHead,
}

/// A datastore that could not be read.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Unread {
    /// The datastore.
    pub datastore: Name,
    /// Why.
    pub reason: String,
}

/// Lists; exits with 3 if a datastore could not be read.
pub fn run(context: &Context, args: &args::Snapshots) -> Outcome {
    let looked = context.look(&args.place.topology, &args.reach)?;
    let known = |name: &String| looked.plan.topology.datastores.contains_key(name.as_str());
    if let Some(unknown) = args.from.as_ref().filter(|name| !known(name)) {
        let names: Vec<_> = looked
            .plan
            .topology
            .datastores
            .keys()
            .map(ToString::to_string)
            .collect();
        return Err(Failure::new(format!("no datastore is called {unknown:?}"))
            .help(format!("the topology declares: {}", names.join(", "))));
    }
    let wanted = |name: &&Name| {
        args.from
            .as_ref()
            .is_none_or(|from| **name == from.as_str())
    };
    let mut found = Snapshots {
        snapshots: Vec::new(),
        unread: Vec::new(),
    };
    for datastore in looked.plan.topology.datastores.keys().filter(wanted) {
        match repository::snapshots(&looked.fleet, datastore) {
            Ok(heads) => found.snapshots.extend(
                heads
                    .into_iter()
                    .filter(|head| {
                        args.source
                            .as_ref()
                            .is_none_or(|s| head.source == s.as_str())
                    })
                    .map(|head| Snapshot {
                        datastore: datastore.clone(),
                        head,
                    }),
            ),
            Err(fault) => {
                found.unread.push(Unread {
                    datastore: datastore.clone(),
                    reason: fault.message,
                });
            }
        }
    }
    if args.json {
        context.print_json(&found)?;
    } else {
        context.print(&table(&found));
    }
    Ok(if found.unread.is_empty() {
        Exit::Ok
    } else {
        Exit::Incomplete
    })
}

/// Draws snapshots as a table.
fn table(found: &Snapshots) -> String {
    let mut rows = vec![
        [
            "datastore",
            "source",
            "id",
            "started",
            "files",
            "size",
            "stored",
            "",
        ]
        .map(str::to_owned),
    ];
    for Snapshot { datastore, head } in &found.snapshots {
        let note = match (head.complete, head.skipped) {
            (true, 0) => String::new(),
            (true, n) => format!("{n} could not be read"),
            (false, _) => "incomplete".to_owned(),
        };
        rows.push([
            datastore.to_string(),
            head.source.to_string(),
            head.id.chars().take(8).collect(),
            head.started.to_string(),
            head.files.to_string(),
            head.bytes.to_string(),
            ByteSize(head.stored_bytes.0).to_string(),
            note,
        ]);
    }
    let mut text = String::new();
    if rows.len() == 1 {
        text.push_str("There are no snapshots.\n");
    } else {
        text.push_str(&aligned(&rows));
    }
    for Unread { datastore, reason } in &found.unread {
        let _ = writeln!(text, "✗ {datastore} could not be read: {}", escape(reason));
    }
    text
}

/// Aligns the columns of a table.
pub fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..N).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| pad(&escape(cell), *width))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}
