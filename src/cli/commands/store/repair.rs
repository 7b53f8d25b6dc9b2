//! `bkpctl store repair`: saves what is good, sets aside what is damaged.

use std::path::Path;

use serde_json::{Value, json};

use super::{open, shown};
use crate::cli::args::Secret;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::render::text::count;
use crate::engine::{Lacking, RepairOptions, RepairReport, repair};
use crate::model::ByteSize;
use crate::run::message::Fault;
use crate::run::meter::Meter;

/// How many lost paths of a snapshot are shown; JSON has more.
const PATHS_SHOWN: usize = 20;

/// Repairs a repository and says what came of it.
pub(super) fn run(context: &Context, store: &Path, dry_run: bool, args: &Secret) -> Outcome {
    let (repository, key) = open::with_or_without_key(store, args)?;
    let report = shown(context, (store, "repair"), words, |tell, cancel| {
        let meter = Meter::new(tell, None);
        repair(&repository, RepairOptions { dry_run }, &meter, cancel)
            .map_err(|error| Fault::engine(&error))
    })?;
    if args.json {
        context.print_json(&document(&report, dry_run))?;
    } else {
        for line in lines(&report, dry_run) {
            context.print(&line);
        }
    }
    outcome(store, &report, dry_run, key.is_some())
}

fn words(report: &RepairReport) -> String {
    let state = if report.is_clean() {
        "nothing is damaged"
    } else {
        "damage was found"
    };
    format!(
        "{}, {}, {} read: {state}",
        count(report.snapshots as usize, "snapshot", "snapshots"),
        count(report.packs as usize, "pack", "packs"),
        ByteSize(report.bytes),
    )
}

fn lines(report: &RepairReport, dry_run: bool) -> Vec<String> {
    let (is, are) = if dry_run {
        ("would be", "would be")
    } else {
        ("is", "are")
    };
    let mut lines = Vec::new();
    for pack in &report.damaged {
        lines.push(format!(
            "✗ {}: {}; {} whole in it, {} of them nowhere else and {are} in a new pack; it {is} set aside",
            pack.name,
            pack.reason,
            count(pack.good as usize, "chunk is", "chunks are"),
            pack.salvaged,
        ));
    }
    for name in &report.missing {
        lines.push(format!("✗ {name} is missing"));
    }
    for (name, reason) in &report.manifests {
        lines.push(format!("✗ {name}: {reason}; it {is} set aside"));
    }
    for (name, reason) in &report.unreadable {
        lines.push(format!("! {name} stays as it is: {reason}"));
    }
    for name in &report.segments {
        lines.push(format!("• {name} was wrong and {is} replaced"));
    }
    for snapshot in &report.lacking {
        lines.extend(lost(snapshot));
    }
    lines
}

fn lost(snapshot: &Lacking) -> Vec<String> {
    let mut lines = vec![format!(
        "✗ {} lacks {}{}",
        snapshot.name,
        count(snapshot.blobs as usize, "chunk", "chunks"),
        if snapshot.references {
            ", lists of chunks among them: it may lack more"
        } else {
            ""
        }
    )];
    let shown = snapshot.paths.iter().take(PATHS_SHOWN);
    lines.extend(shown.map(|path| format!("    {path}")));
    let more = snapshot.paths_total.saturating_sub(PATHS_SHOWN as u64);
    if more > 0 {
        lines.push(format!("    and {more} more"));
    }
    lines
}

fn document(report: &RepairReport, dry_run: bool) -> Value {
    let named = |list: &[(String, String)]| -> Vec<Value> {
        let one = |(name, reason): &(String, String)| json!({ "name": name, "reason": reason });
        list.iter().map(one).collect()
    };
    let damaged: Vec<Value> = report
        .damaged
        .iter()
        .map(|pack| {
            json!({
                "name": pack.name,
                "reason": pack.reason,
                "good": pack.good,
                "salvaged": pack.salvaged,
            })
        })
        .collect();
    let lacking: Vec<Value> = report
        .lacking
        .iter()
        .map(|snapshot| {
            json!({
                "name": snapshot.name,
                "chunks": snapshot.blobs,
                "references": snapshot.references,
                "paths": snapshot.paths,
                "paths_total": snapshot.paths_total,
            })
        })
        .collect();
    json!({
        "clean": report.is_clean(),
        "dry_run": dry_run,
        "packs": report.packs,
        "bytes": report.bytes,
        "damaged_packs": damaged,
        "missing_packs": report.missing,
        "damaged_manifests": named(&report.manifests),
        "left_alone": named(&report.unreadable),
        "replaced_segments": report.segments,
        "indexed_packs": report.indexed,
        "snapshots": report.snapshots,
        "lacking": lacking,
    })
}

fn outcome(store: &Path, report: &RepairReport, dry_run: bool, has_key: bool) -> Outcome {
    let place = store.display();
    if dry_run && !report.is_clean() {
        let failure = Failure::new(format!("{place} is damaged, and nothing was changed"));
        return Err(failure.help(format!("bkpctl store repair {place} repairs it")));
    }
    if report.is_whole() && report.unreadable.is_empty() {
        return Ok(Exit::Ok);
    }
    let lost = report.lacking.len() + report.manifests.len();
    let mut help = "back up the same sources again: what they still have is stored anew and makes \
                    old snapshots whole too; sync from another datastore of the same key does as well"
        .to_owned();
    if !has_key && !report.lacking.is_empty() {
        help.push_str("; with the key, repair names the files");
    }
    let message = if lost == 0 {
        format!("some files in {place} could not be judged, see above")
    } else {
        let snapshots = count(lost, "snapshot lacks", "snapshots lack");
        format!("{place} is repaired as far as it goes: {snapshots} something")
    };
    Err(Failure::new(message).exit(Exit::Partial).help(help))
}
