//! `bkpctl fmt`: give a topology's files their one form.

use std::io::Read;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::args;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::load::{Place, find};
use crate::cli::render::text::{count, escape};
use crate::cli::render::{self, file_diff};
use crate::cli::topology_files::{SIZE_MAX, text};
use crate::config::{Diagnostic, Files, Formatted, FormattedFile, Severity, format, format_text};

/// What stands for standard input, as an argument and as the name of a file.
const STDIN: &str = "-";

/// What formatting came to.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Fmt")]
pub struct Report {
    /// The version of this form.
    pub format: u32,
    /// Every file that was read.
    pub files: Vec<File>,
    /// Why files were left as they are.
    pub diagnostics: Vec<Diagnostic>,
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct File {
    /// Where it is.
    pub file: String,
    /// What became of it.
    pub state: State,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is as it should be.
    InForm,
    /// It is not, and was left so.
    OutOfForm,
    /// It was written anew.
    Formatted,
    /// It has mistakes and was left as it is.
    Broken,
}

/// Formats, or says what would change.
pub fn run(context: &Context, args: &args::Fmt) -> Outcome {
    if args.topology == [Path::new(STDIN)] {
        return pass_through(context, args);
    }
    let mut report = Report {
        format: 1,
        files: Vec::new(),
        diagnostics: Vec::new(),
    };
    let mut mistakes = String::new();
    for named in &args.topology {
        let mut place = find(named)?;
        if let Err(error) = place.files.read(&place.root) {
            return Err(
                Failure::new(format!("failed to read {}: {error}", named.display()))
                    .help("name a .kdl file or a folder with topology.kdl in it"),
            );
        }
        let formatted = format(&place.root, &mut place.files, args.from_v1);
        let base = base(named, &place);
        for file in &formatted.files {
            let shown = base.join(&file.path).display().to_string();
            let state = settle(context, args, &place, file, &shown)?;
            report.files.push(File { file: shown, state });
        }
        mistakes += &note(context, &formatted);
        report.diagnostics.extend(formatted.diagnostics);
    }
    finish(context, args, &report, &mistakes)
}

/// Formats standard input onto standard output, as editors want it.
fn pass_through(context: &Context, args: &args::Fmt) -> Outcome {
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().take(SIZE_MAX + 1);
    read_all(read, &mut bytes)?;
    let input = text(bytes)
        .map_err(|error| Failure::new(format!("failed to read standard input: {error}")))?;
    let formatted = format_text(STDIN, &input, args.from_v1);
    let mistakes = note(context, &formatted);
    let file = &formatted.files[0];
    if args.check || args.json {
        let state = state(args, file);
        if state == State::OutOfForm && !args.json {
            context.print(&file_diff(STDIN, file, &context.style(false)));
        }
        let report = Report {
            format: 1,
            files: vec![File {
                file: STDIN.to_owned(),
                state,
            }],
            diagnostics: formatted.diagnostics,
        };
        return finish(context, args, &report, &mistakes);
    }
    match &file.after {
        Some(after) => {
            context.print_exactly(after)?;
            Ok(Exit::Ok)
        }
        None => Err(left_alone(&mistakes)),
    }
}

fn read_all(mut from: impl Read, bytes: &mut Vec<u8>) -> Result<(), Failure> {
    from.read_to_end(bytes)
        .map(drop)
        .map_err(|error| Failure::new(format!("failed to read standard input: {error}")))
}

/// Returns what the names of a topology's files are shown relative to.
fn base(named: &Path, place: &Place) -> PathBuf {
    let folder = if named
        .file_name()
        .is_some_and(|name| name == place.root.as_str())
    {
        named.parent().unwrap_or(Path::new(""))
    } else {
        named
    };
    folder.strip_prefix(".").unwrap_or(folder).to_owned()
}

fn state(args: &args::Fmt, file: &FormattedFile) -> State {
    match &file.after {
        None => State::Broken,
        Some(_) if !file.changes() => State::InForm,
        Some(_) if args.check => State::OutOfForm,
        Some(_) => State::Formatted,
    }
}

/// Writes a file that changes, or shows how it would.
fn settle(
    context: &Context,
    args: &args::Fmt,
    place: &Place,
    file: &FormattedFile,
    shown: &str,
) -> Result<State, Failure> {
    let state = state(args, file);
    match (&file.after, state) {
        (Some(after), State::Formatted) => {
            place.files.replace(&file.path, after).map_err(|error| {
                Failure::new(format!("failed to write {}: {error}", escape(shown)))
            })?;
            if !args.json {
                context.print(&format!("formatted {}", escape(shown)));
            }
        }
        (Some(_), State::OutOfForm) if !args.json => {
            context.print(&file_diff(shown, file, &context.style(false)));
        }
        _ => {}
    }
    Ok(state)
}

/// Warns of what is doubtful, and draws what is wrong.
fn note(context: &Context, formatted: &Formatted) -> String {
    let (errors, warnings): (Vec<Diagnostic>, Vec<Diagnostic>) = formatted
        .diagnostics
        .iter()
        .cloned()
        .partition(|diagnostic| diagnostic.severity == Severity::Error);
    for warning in warnings {
        let place = &warning.place;
        context.warn(&format!(
            "{}:{}: {}",
            place.file, place.line, warning.message
        ));
    }
    if errors.is_empty() {
        return String::new();
    }
    render::diagnostics(&errors, &formatted.sources, context.color, context.width)
}

/// Sums up, and says by the exit code whether there is something left to do.
fn finish(context: &Context, args: &args::Fmt, report: &Report, mistakes: &str) -> Outcome {
    let with = |state: State| {
        report
            .files
            .iter()
            .filter(|file| file.state == state)
            .count()
    };
    if args.json {
        context.print_json(report)?;
    }
    if !mistakes.is_empty() {
        return if args.json {
            Ok(Exit::Error)
        } else {
            Err(left_alone(mistakes))
        };
    }
    let total = count(report.files.len(), "file", "files");
    let out = with(State::OutOfForm);
    if out > 0 {
        if !args.json {
            context.print(&format!(
                "\n{out} of {total} would change; bkpctl fmt changes them"
            ));
        }
        return Ok(Exit::Error);
    }
    if !args.json && with(State::Formatted) == 0 {
        let verb = if report.files.len() == 1 { "is" } else { "are" };
        context.print(&format!("{total} {verb} in form"));
    }
    Ok(Exit::Ok)
}

fn left_alone(mistakes: &str) -> Failure {
    Failure::new(format!(
        "a file with mistakes can't be formatted and stays as it is:\n\n{mistakes}"
    ))
}
