//! `bkpctl store restore`: a snapshot, or parts of it, back to a folder or over a device.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde_json::json;

use super::cat::chosen;
use super::open::{reader, secret};
use super::{engine, shown};
use crate::cli::args::StoreRestore;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::engine::files::Existing;
use crate::engine::{OpenSnapshot, Repository, RestoreReport, Snapshot, restore_over};
use crate::model::ByteSize;
use crate::run::message::Fault;
use crate::run::meter::Meter;
use crate::run::restore::{Destination, Restored, restore_snapshot};

/// Restores to where the arguments say.
pub(super) fn run(context: &Context, args: &StoreRestore) -> Outcome {
    let repository = reader(&args.store, &secret(&args.secret, false)?)?;
    let wanted = match &args.source {
        Some(source) => format!("{source}/{}", args.snapshot),
        None => args.snapshot.clone(),
    };
    let snapshot = repository.find_snapshot(&wanted).map_err(engine)?;
    match (&args.to_device, &args.target) {
        (Some(device), _) => over(context, args, (&repository, &snapshot), device),
        (None, Some(target)) => below(context, args, (&repository, &snapshot), target),
        (None, None) => Err(Failure::new("there is no folder to restore to")),
    }
}

fn below(
    context: &Context,
    args: &StoreRestore,
    (repository, snapshot): (&Repository, &Snapshot),
    target: &Path,
) -> Outcome {
    let existing = match (args.in_place, args.delete) {
        (false, _) => Existing::Refuse,
        (true, false) => Existing::Update,
        (true, true) => Existing::Mirror,
    };
    let paths: Vec<Vec<u8>> = args
        .paths
        .iter()
        .map(|path| path.as_os_str().as_bytes().to_vec())
        .collect();
    let words = |made: &Restored| words(made, args.in_place, target);
    let label = (args.store.as_path(), args.snapshot.as_str());
    let restored = shown(context, label, words, |tell, cancel| {
        restore_snapshot(
            repository,
            snapshot,
            Destination {
                folder: target,
                existing,
                sync: !args.no_sync,
            },
            &paths,
            tell,
            cancel,
        )
    })
    .map_err(|failure| hint(failure, existing))?;
    for note in &restored.notes {
        context.warn(note);
    }
    if args.secret.json {
        context.print_json(&json!({
            "snapshot": restored.snapshot,
            "entries": restored.files,
            "unchanged": restored.unchanged,
            "deleted": restored.deleted,
            "bytes_read": restored.read,
            "bytes_written": restored.bytes,
            "notes": restored.notes,
        }))?;
    }
    Ok(Exit::Ok)
}

fn words(made: &Restored, in_place: bool, target: &Path) -> String {
    let (entries, bytes) = (made.files, ByteSize(made.bytes));
    let target = target.display();
    if in_place {
        format!(
            "{entries} entries, {} right before, {} removed, {bytes} written to {target}",
            made.unchanged, made.deleted
        )
    } else {
        format!("{entries} entries, {bytes} restored to {target}")
    }
}

/// Names the option for a target that holds something.
fn hint(failure: Failure, existing: Existing) -> Failure {
    let is_full = existing == Existing::Refuse && failure.message.ends_with("is not empty");
    if is_full {
        failure.help("--in-place makes what is there what the snapshot says; other files stay")
    } else {
        failure
    }
}

fn over(
    context: &Context,
    args: &StoreRestore,
    (repository, snapshot): (&Repository, &Snapshot),
    device: &Path,
) -> Outcome {
    // The first path takes the place of the folder, which is not needed here.
    if !args.paths.is_empty() {
        return Err(Failure::new("only one file can be written over a device"));
    }
    let opened = OpenSnapshot::open(repository, snapshot).map_err(engine)?;
    let entry = chosen(&opened, args.target.as_deref())?;
    let words = |made: &RestoreReport| {
        format!(
            "{} compared, {} written to {}",
            ByteSize(entry.kind.size()),
            ByteSize(made.bytes),
            device.display()
        )
    };
    let label = (args.store.as_path(), args.snapshot.as_str());
    let report = shown(context, label, words, |tell, cancel| {
        let meter = Meter::new(tell, None);
        restore_over(&opened, &entry, device, &meter, cancel).map_err(|error| Fault::engine(&error))
    })?;
    if args.secret.json {
        context.print_json(&json!({
            "snapshot": snapshot.clear.id,
            "device": device.display().to_string(),
            "size": entry.kind.size(),
            "bytes_read": report.read,
            "bytes_written": report.bytes,
        }))?;
    }
    Ok(Exit::Ok)
}
