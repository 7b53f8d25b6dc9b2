//! `bkpctl store backup`: trees, an image, what a program prints, or standard input.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::open::{Secret, reader};
use super::shown;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::engine::PackSize;
use crate::engine::files::{Excludes, ScanOptions};
use crate::engine::{
    BackupOptions, BackupReport, CacheOptions, Repository, backup as engine_backup, backup_image,
    backup_stream,
};
use crate::run::command::{Program, Surroundings};
use crate::run::message::Fault;
use crate::run::meter::Meter;
use crate::run::{Cancel, backup as run_backup, here};

/// What is backed up.
pub(super) enum What<'a> {
    /// Paths with all below them.
    Trees {
        paths: &'a [PathBuf],
        exclude: &'a [String],
        one_file_system: bool,
        skip_caches: bool,
    },
    /// A block device, or a file that holds an image of one.
    Image(&'a Path),
    /// What a program prints.
    Output {
        argv: &'a [OsString],
        name: Option<&'a str>,
    },
    /// Standard input.
    Stdin { name: &'a str },
}

/// How it is backed up.
pub(super) struct How<'a> {
    pub(super) source: &'a str,
    pub(super) read_all: bool,
    pub(super) pack_size: PackSize,
}

/// Makes a snapshot in the repository of a folder.
pub(super) fn run(
    context: &Context,
    (store, key): (&Path, &Secret),
    how: &How<'_>,
    what: &What<'_>,
    json: bool,
) -> Outcome {
    if matches!(what, What::Trees { paths, .. } if paths.is_empty()) {
        return Err(Failure::new("nothing to back up was named").help(
            "bkpctl store backup STORE PATH…, --image PATH, --command -- PROGRAM…, or --stdin-name NAME",
        ));
    }
    let repository = reader(store, key)?;
    let own = std::path::absolute(store)
        .map_err(|e| Failure::new(format!("failed to find the current folder: {e}")))?;
    let usual = BackupOptions::new(how.source, how.source, &here::machine_id());
    let options = BackupOptions {
        leave_out: vec![own],
        threads: here::threads().unwrap_or(usual.threads),
        pack_size: how.pack_size,
        read_all: how.read_all,
        cache: here::cache_folder().map(CacheOptions::new),
        ..usual
    };
    let report = shown(
        context,
        (store, how.source),
        run_backup::words,
        |tell, cancel| {
            let meter = Meter::new(tell, None);
            let made = make(&repository, what, &options, &meter, cancel)?;
            Ok(run_backup::report(&made))
        },
    )?;
    if json {
        context.print_json(&report)?;
    }
    for problem in report.problems.iter().chain(&report.warnings) {
        context.warn(problem);
    }
    if report.skipped > 0 {
        return Err(Failure::new(format!(
            "the snapshot is there and is not complete: {} could not be read, see above",
            report.skipped
        ))
        .exit(Exit::Partial));
    }
    Ok(Exit::Ok)
}

fn make(
    repository: &Repository,
    what: &What<'_>,
    options: &BackupOptions,
    meter: &Meter<'_>,
    cancel: &Cancel,
) -> Result<BackupReport, Fault> {
    let engine = |error| Fault::engine(&error);
    match what {
        What::Trees {
            paths,
            exclude,
            one_file_system,
            skip_caches,
        } => {
            let paths: Vec<PathBuf> = paths
                .iter()
                .map(std::path::absolute)
                .collect::<Result<_, _>>()
                .map_err(|e| Fault::io("find the current folder", &e))?;
            let excludes =
                Excludes::new(*exclude).map_err(|error| Fault::refused(error.to_string()))?;
            let scan = ScanOptions {
                one_file_system: *one_file_system,
                skip_caches: *skip_caches,
                excludes,
            };
            engine_backup(repository, &paths, scan, options, meter, cancel).map_err(engine)
        }
        What::Image(path) => {
            let path =
                std::path::absolute(path).map_err(|e| Fault::io("find the current folder", &e))?;
            backup_image(repository, &path, options, meter, cancel).map_err(engine)
        }
        What::Output { argv, name } => {
            let program = Program {
                argv: argv.to_vec(),
                run_as: None,
                timeout: None,
                surroundings: Surroundings::Ours,
            };
            let name = name.map_or_else(|| file_name(argv), str::to_owned);
            run_backup::backup_output(repository, &program, &name, options, meter, cancel)
        }
        What::Stdin { name } => {
            let mut input = std::io::stdin();
            backup_stream(repository, &mut input, name, options, meter, cancel).map_err(engine)
        }
    }
}

/// Returns the name that a program's output gets where none was given: the program's own.
fn file_name(argv: &[OsString]) -> String {
    let program = argv.first().map(Path::new);
    let name = program.and_then(Path::file_name);
    name.map_or_else(
        || "output".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}
