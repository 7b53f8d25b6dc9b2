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
use crate::run::message::Fault;
use crate::run::repository::{self, Listing};

/// What `snapshots --json` prints.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Snapshots {
    /// The snapshots, by datastore and source, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// Snapshots that are damaged, as `datastore: manifest: reason`.
    pub damaged: Vec<String>,
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

/// Lists; exits with 3 if a datastore could not be read, with 1 if a snapshot is damaged.
pub fn run(context: &Context, args: &args::Snapshots) -> Outcome {
    let looked = context.look(&args.nodes.place.topology, &args.nodes.reach)?;
    let topology = &looked.plan.topology;
    if let Some(name) = args
        .from
        .as_ref()
        .filter(|n| !topology.datastores.contains_key(n.as_str()))
    {
        return Err(Failure::unknown(
            "datastore",
            name,
            topology.datastores.keys(),
        ));
    }
    let mut found = Snapshots::default();
    for datastore in topology.datastores.keys() {
        if args
            .from
            .as_ref()
            .is_none_or(|from| *datastore == from.as_str())
        {
            found.add(datastore, repository::snapshots(&looked.fleet, datastore));
        }
    }
    if let Some(source) = &args.source {
        found
            .snapshots
            .retain(|snapshot| snapshot.head.source == source.as_str());
        // A source that is declared no more may still have snapshots.
        if found.snapshots.is_empty() && !topology.sources.contains_key(source.as_str()) {
            return Err(Failure::unknown("source", source, topology.sources.keys()));
        }
    }
    if args.json {
        context.print_json(&found)?;
    } else {
        context.print(&table(&found));
    }
    Ok(match (found.damaged.is_empty(), found.unread.is_empty()) {
        (false, _) => Exit::Error,
        (true, false) => Exit::Incomplete,
        (true, true) => Exit::Ok,
    })
}

impl Snapshots {
    /// Adds what was found in a datastore, or why nothing could be.
    fn add(&mut self, datastore: &Name, listing: Result<Listing, Fault>) {
        match listing {
            Ok(listing) => {
                self.snapshots
                    .extend(listing.heads.into_iter().map(|head| Snapshot {
                        datastore: datastore.clone(),
                        head,
                    }));
                let damaged = listing.damaged.iter();
                self.damaged
                    .extend(damaged.map(|manifest| format!("{datastore}: {manifest}")));
            }
            Err(fault) => {
                self.unread.push(Unread {
                    datastore: datastore.clone(),
                    reason: fault.message,
                });
            }
        }
    }
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
    for damaged in &found.damaged {
        let _ = writeln!(text, "✗ damaged: {}", escape(damaged));
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
