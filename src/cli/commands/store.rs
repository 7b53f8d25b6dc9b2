//! `bkpctl store`: the engine on a folder, without a topology.

mod backup;
mod cat;
mod diff;
mod entry;
mod forget;
mod gc;
mod key;
mod ls;
mod open;
mod repair;
mod restore;
mod verify;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;

use self::backup::{How, What};
use self::open::{Secret, create, open_store, reader, secret};
use crate::apply::outcome::{Ended, Observer};
use crate::cli::args::Store as Verb;
use crate::cli::commands::snapshots::aligned;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::progress::{Display, Label};
use crate::cli::render::text::count;
use crate::cli::signal;
use crate::engine::PackSize;
use crate::engine::crypto::CryptoError;
use crate::engine::env::Env;
use crate::engine::files::RelPath;
use crate::engine::{EngineError, Selection, Snapshot};
use crate::model::{ByteSize, Timestamp};
use crate::run::Cancel;
use crate::run::job::Progress;
use crate::run::message::{Fault, FaultKind};
use crate::run::meter::Meter;
use crate::run::restore::inner_path;

/// Does what the verb says.
pub fn run(context: &Context, verb: &Verb) -> Outcome {
    match verb {
        Verb::Init {
            store,
            secret: args,
        } => {
            let words = create(store, &secret(args, true)?)?;
            context.print(&words);
            Ok(Exit::Ok)
        }
        Verb::Backup {
            store,
            paths,
            exclude,
            one_file_system,
            skip_caches,
            read_all,
            pack_size,
            image,
            command,
            stdin_name,
            source,
            argv,
            secret: args,
        } => {
            let what = match (image, command, stdin_name.as_deref()) {
                (Some(path), ..) => What::Image(path),
                (None, true, name) => What::Output { argv, name },
                (None, false, Some(name)) => What::Stdin { name },
                (None, false, None) => What::Trees {
                    paths,
                    exclude,
                    one_file_system: *one_file_system,
                    skip_caches: *skip_caches,
                },
            };
            let how = How {
                source,
                read_all: *read_all,
                pack_size: pack_size
                    .map_or(PackSize::Usual, |mib| PackSize::Fixed((mib as usize) << 20)),
            };
            backup::run(
                context,
                (store, &secret(args, false)?),
                &how,
                &what,
                args.json,
            )
        }
        Verb::Restore(args) => restore::run(context, args),
        Verb::Snapshots {
            store,
            secret: args,
        } => snapshots(context, store, &secret(args, false)?, args.json),
        Verb::Ls(args) => ls::run(context, args),
        Verb::Cat(args) => cat::run(args),
        Verb::Diff(args) => diff::run(context, args),
        Verb::Verify(args) => verify::run(context, args),
        Verb::Key(verb) => key::run(context, verb),
        Verb::Forget {
            store,
            snapshots,
            keep,
            source,
            allow_empty,
            dry_run,
            json,
        } => {
            let wanted = forget::Wanted {
                snapshots,
                keep,
                sources: source,
                allow_empty: *allow_empty,
                dry_run: *dry_run,
            };
            forget::run(context, store, &wanted, *json)
        }
        Verb::Gc {
            store,
            dry_run,
            max_repack,
            expire_after,
            json,
        } => {
            let options = gc::options(*dry_run, *max_repack, *expire_after);
            gc::run(context, store, &options, *json)
        }
        Verb::Repair {
            store,
            dry_run,
            secret: args,
        } => repair::run(context, store, *dry_run, args),
        Verb::Sync {
            from,
            to,
            secret: args,
        } => sync(context, from, to, args.json),
    }
}

/// Reads a path as people write it into one inside a snapshot; none means the root.
fn inner(path: Option<&Path>) -> Result<RelPath, Failure> {
    use std::os::unix::ffi::OsStrExt;
    let bytes = path.map_or(&b""[..], |path| path.as_os_str().as_bytes());
    inner_path(bytes).map_err(failure)
}

/// Turns an engine's error into a failure.
#[expect(clippy::needless_pass_by_value, reason = "the shape map_err wants")]
fn engine(error: EngineError) -> Failure {
    let help = match &error {
        EngineError::NoSnapshot(_) | EngineError::Ambiguous(_) => {
            Some("bkpctl store snapshots STORE lists them")
        }
        EngineError::NoPath(_) => Some("bkpctl store ls STORE SNAPSHOT lists what it holds"),
        EngineError::Crypto(CryptoError::WrongPassphrase) => {
            Some("the passphrase is the one in BKPCTL_PASSPHRASE; --key-file opens it with a key")
        }
        EngineError::NoSlot => Some("it was made with a key file: name that with --key-file"),
        _ => None,
    };
    let failure = failure(Fault::engine(&error));
    match help {
        Some(help) => failure.help(help),
        None => failure,
    }
}

fn failure(fault: Fault) -> Failure {
    let exit = match fault.kind {
        FaultKind::Stopped => Exit::Interrupted,
        FaultKind::Locked => Exit::Locked,
        _ => Exit::Error,
    };
    Failure::new(fault.message).exit(exit)
}

/// Shows one piece of work while it runs.
fn shown<T>(
    context: &Context,
    label: (&Path, &str),
    words: impl Fn(&T) -> String,
    work: impl FnOnce(&(dyn Fn(Progress) + Send + Sync), &Cancel) -> Result<T, Fault>,
) -> Result<T, Failure> {
    let label = Label {
        place: label.0.display().to_string(),
        subject: label.1.to_owned(),
        data: true,
    };
    let display = Display::new(vec![label], context.quiet);
    let cancel = signal::stop_on_interrupt();
    display.started(0);
    let start = Instant::now();
    let tell = |progress: Progress| display.progress(0, progress);
    match work(&tell, &cancel) {
        Ok(made) => {
            display.ended(
                0,
                &Ended::Done {
                    words: words(&made),
                    took: start.elapsed(),
                },
            );
            Ok(made)
        }
        Err(fault) => {
            display.clear(0);
            Err(failure(fault))
        }
    }
}

fn snapshots(context: &Context, store: &Path, key: &Secret, json: bool) -> Outcome {
    let repository = reader(store, key)?;
    let listed = repository.snapshots(None).map_err(engine)?;
    for (name, reason) in &listed.damaged {
        context.warn(&format!("{name} is damaged: {reason}"));
    }
    if json {
        let clear: Vec<_> = listed
            .found
            .iter()
            .map(|snapshot| &snapshot.clear)
            .collect();
        context.print_json(&json!({ "snapshots": clear }))?;
    } else if listed.found.is_empty() {
        context.print("There are no snapshots.");
    } else {
        context.print(&table(&listed.found));
    }
    Ok(if listed.damaged.is_empty() {
        Exit::Ok
    } else {
        Exit::Error
    })
}

fn table(snapshots: &[Snapshot]) -> String {
    let head = ["id", "source", "started", "entries", "size", "stored", ""];
    let mut rows = vec![head.map(str::to_owned)];
    for Snapshot {
        clear, authentic, ..
    } in snapshots
    {
        let note = match (clear.complete, authentic) {
            (_, crate::engine::manifest::Authentic::No) => "forged or damaged: not its writer's",
            (false, _) => "incomplete",
            (true, _) => "",
        };
        rows.push([
            clear.id.chars().take(8).collect(),
            clear.source.clone(),
            Timestamp(clear.started).to_string(),
            clear.entries.to_string(),
            ByteSize(clear.bytes).to_string(),
            ByteSize(clear.stored_bytes).to_string(),
            note.to_owned(),
        ]);
    }
    aligned(&rows)
}

fn sync(context: &Context, from: &Path, to: &Path, json: bool) -> Outcome {
    let source = open_store(from)?;
    let target = open::open_or_create_like(to, source.as_ref())?;
    let words = |made: &crate::engine::SyncReport| {
        format!(
            "{} new, {} there before, {} packs, {} copied, {} lost or cut files brought back",
            count(made.snapshots.len(), "snapshot", "snapshots"),
            made.had,
            made.packs,
            ByteSize(made.bytes),
            made.healed
        )
    };
    let report = shown(
        context,
        (from, &format!("⇉ {}", to.display())),
        words,
        |tell, cancel| {
            let meter = Meter::new(tell, None);
            let (source, target) = (Arc::clone(&source), Arc::clone(&target));
            crate::engine::sync(
                &source,
                &target,
                &Env::system(),
                &Selection::default(),
                &meter,
                cancel,
            )
            .map_err(|error| Fault::engine(&error))
        },
    )?;
    if json {
        context.print_json(&json!({
            "snapshots": report.snapshots.len(),
            "had": report.had,
            "packs": report.packs,
            "bytes": report.bytes,
            "healed": report.healed,
            "lost": report.lost,
        }))?;
    }
    if report.lost > 0 {
        return Err(Failure::new(format!(
            "{} files that snapshots need are in neither repository; what could be copied was",
            report.lost
        ))
        .exit(Exit::Partial)
        .help(format!("bkpctl store verify {}", to.display())));
    }
    Ok(Exit::Ok)
}
