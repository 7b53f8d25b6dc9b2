//! `bkpctl store gc`: deletes what no snapshot needs.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use super::open::open_store;
use super::{engine, shown};
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::render::text::count;
use crate::engine::env::Env;
use crate::engine::{
    Access, CollectOptions, CollectReport, EngineError, Event, Observer, Repository, collect,
};
use crate::model::{ByteSize, Period};
use crate::run::message::Fault;
use crate::run::meter::Meter;

/// Returns the engine's options for those of the command line.
pub(super) fn options(
    dry_run: bool,
    max_repack: Option<ByteSize>,
    expire_after: Option<Period>,
) -> CollectOptions {
    CollectOptions {
        dry_run,
        max_repack: max_repack.map(|size| size.0),
        expire_after: expire_after.map(|time| Duration::from_secs(time.0)),
        ..CollectOptions::default()
    }
}

/// Collects and says what that freed.
pub(super) fn run(
    context: &Context,
    store: &Path,
    options: &CollectOptions,
    json: bool,
) -> Outcome {
    let opened = open_store(store)?;
    let repository = Repository::open(opened, Env::system(), Access::Keyless).map_err(engine)?;
    let is_refused = AtomicBool::new(false);
    let collected = shown(
        context,
        (store, "gc"),
        |report| words(report, options.dry_run),
        |tell, cancel| {
            let observer = Waits {
                context,
                meter: Meter::new(tell, None),
                waiting: AtomicU64::new(0),
            };
            collect(&repository, options, &observer, cancel).map_err(|error| {
                let refused = matches!(error, EngineError::Uncollectable { .. });
                is_refused.store(refused, Ordering::Relaxed);
                Fault::engine(&error)
            })
        },
    );
    let report = collected.map_err(|failure| {
        if is_refused.load(Ordering::Relaxed) {
            let store = store.display();
            failure.help(format!(
                "bkpctl store verify {store} lists what is damaged; a damaged manifest can be forgotten by its name"
            ))
        } else {
            failure
        }
    })?;
    for (pack, reason) in &report.doubtful {
        context.warn(&format!("{pack} was left alone: {reason}"));
    }
    if json {
        context.print_json(&describe(&report, options.dry_run))?;
    }
    if report.lost > 0 || !report.doubtful.is_empty() {
        let lost = count(report.lost as usize, "chunk", "chunks");
        let left = count(report.doubtful.len(), "pack was", "packs were");
        let message = format!(
            "snapshots need {lost} that are lost, and {left} left alone; the rest was collected"
        );
        let help = format!("bkpctl store verify --read-data {}", store.display());
        return Err(Failure::new(message).exit(Exit::Partial).help(help));
    }
    Ok(Exit::Ok)
}

fn words(report: &CollectReport, dry_run: bool) -> String {
    let verb = if dry_run { "would be " } else { "" };
    let mut words = format!(
        "{} of {} {verb}deleted, {} {verb}freed; {} live, {} dead in {}",
        report.deleted_packs,
        count(report.packs as usize, "pack", "packs"),
        ByteSize(report.freed_bytes()),
        ByteSize(report.live_bytes),
        ByteSize(report.dead_bytes),
        count(report.snapshots as usize, "snapshot", "snapshots"),
    );
    let mut add = |number: u64, text: String| {
        if number > 0 {
            words.push_str("; ");
            words.push_str(&text);
        }
    };
    add(
        report.repacked_packs,
        format!(
            "{} {verb}moved out of {} of them",
            ByteSize(report.written_bytes),
            report.repacked_packs
        ),
    );
    add(
        report.postponed_packs,
        format!(
            "{} dead in {} left for another time",
            ByteSize(report.postponed_bytes),
            count(report.postponed_packs as usize, "pack", "packs")
        ),
    );
    add(
        report.taken_back,
        format!(
            "{} needed again by a backup meanwhile",
            count(report.taken_back as usize, "pack", "packs")
        ),
    );
    add(
        report.expired,
        format!(
            "{} ended",
            count(report.expired as usize, "session", "sessions")
        ),
    );
    words
}

fn describe(report: &CollectReport, dry_run: bool) -> serde_json::Value {
    let left: Vec<_> = report
        .doubtful
        .iter()
        .map(|(pack, reason)| json!({ "pack": pack, "reason": reason }))
        .collect();
    json!({
        "dry_run": dry_run,
        "snapshots": report.snapshots,
        "packs": report.packs,
        "bytes": report.bytes,
        "live_bytes": report.live_bytes,
        "dead_bytes": report.dead_bytes,
        "deleted_packs": report.deleted_packs,
        "deleted_bytes": report.deleted_bytes,
        "repacked_packs": report.repacked_packs,
        "written_bytes": report.written_bytes,
        "freed_bytes": report.freed_bytes(),
        "taken_back": report.taken_back,
        "postponed_packs": report.postponed_packs,
        "postponed_bytes": report.postponed_bytes,
        "expired": report.expired,
        "lost": report.lost,
        "left_alone": left,
    })
}

/// Says for whom a collection waits, each time their number changes.
struct Waits<'a> {
    context: &'a Context,
    meter: Meter<'a>,
    waiting: AtomicU64,
}

impl Observer for Waits<'_> {
    fn event(&self, event: Event<'_>) {
        if let Event::Waiting { sessions } = event {
            let before = self.waiting.swap(sessions, Ordering::Relaxed);
            if sessions != before && sessions > 0 {
                let sessions = count(
                    sessions as usize,
                    "backup, restore or copy",
                    "backups, restores or copies",
                );
                self.context
                    .warn(&format!("nothing is deleted before {sessions} ended"));
            }
        }
        self.meter.event(event);
    }
}
