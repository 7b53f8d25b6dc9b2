//! `bkpctl test`: what a topology plans from saved states, against what was expected of it.
//!
//! A state is a file of facts, `NAME.facts.json`; what is expected is the plan's text beside it,
//! `NAME.plan.txt`. Both are kept with the topology, so a change to it shows in a change request
//! as the change to its plans. No node is reached.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::args::Test;
use crate::cli::commands::observe;
use crate::cli::context::Context;
use crate::cli::documents::unreadable;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::load::load;
use crate::cli::render::plan::render;
use crate::cli::render::text::{Style, count};
use crate::model::Topology;
use crate::run::node::replace_file;

const FACTS: &str = ".facts.json";
const PLAN: &str = ".plan.txt";
/// How wide expected plans are; the terminal must not matter.
const WIDTH: usize = 100;

/// What the tests came to.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Report {
    /// The version of this form.
    format: u32,
    /// Each state, by name.
    cases: Vec<Case>,
}

/// A saved state and what became of it.
#[derive(Debug, Serialize, JsonSchema)]
struct Case {
    /// The file's name without its ending.
    name: String,
    /// How it went.
    verdict: Verdict,
    /// From the expected plan to the one that was made, line by line.
    #[serde(skip_serializing_if = "Option::is_none")]
    diff: Option<String>,
    /// Why no plan could be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// How a test went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// The plan is the expected one.
    AsExpected,
    /// The plan differs.
    Differs,
    /// Nothing was written down that could be expected.
    New,
    /// The expectation was written.
    Written,
    /// The facts can't be used.
    Unusable,
}

/// Plans from each saved state, and compares or writes; fails unless all are as expected.
pub fn run(context: &Context, args: &Test) -> Outcome {
    let topology = load(context, &args.place.topology)?;
    let folder = folder(args);
    let mut cases = Vec::new();
    for name in names(&folder)? {
        cases.push(case(&topology, &folder, name, args.update)?);
    }
    if cases.is_empty() {
        return Err(
            Failure::new(format!("there is no saved state in {}", folder.display())).help(format!(
                "bkpctl observe --save {}",
                folder.join(format!("NAME{FACTS}")).display()
            )),
        );
    }
    let failed = cases.iter().filter(|case| case.has_failed()).count();
    let exit = if failed == 0 { Exit::Ok } else { Exit::Error };
    if args.json {
        context.print_json(&Report { format: 1, cases })?;
        return Ok(exit);
    }
    for case in &cases {
        context.print(&case.words());
    }
    let good = cases.len() - failed;
    let states = count(cases.len(), "state", "states");
    context.print(&format!("\n{good} of {states} as expected"));
    if cases
        .iter()
        .any(|case| matches!(case.verdict, Verdict::Differs | Verdict::New))
    {
        context.print("Read the plans above; bkpctl test --update expects them from now on");
    }
    Ok(exit)
}

/// Returns where states are kept: as told, or in `tests` beside the topology.
fn folder(args: &Test) -> PathBuf {
    if let Some(folder) = &args.folder {
        return folder.clone();
    }
    let topology = &args.place.topology;
    let beside = match topology.parent() {
        _ if topology.is_dir() => topology,
        Some(parent) => parent,
        None => Path::new("."),
    };
    beside.join("tests")
}

/// Lists the states in a folder by name.
fn names(folder: &Path) -> Result<Vec<String>, Failure> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(folder, error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry
            .map_err(|error| unreadable(folder, error))?
            .file_name();
        let name = name.to_str().and_then(|name| name.strip_suffix(FACTS));
        names.extend(name.map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

fn case(topology: &Topology, folder: &Path, name: String, update: bool) -> Result<Case, Failure> {
    let facts = match observe::read(&folder.join(format!("{name}{FACTS}")), &topology.id) {
        Ok(facts) => facts,
        Err(failure) => {
            return Ok(Case {
                name,
                verdict: Verdict::Unusable,
                diff: None,
                problem: Some(failure.to_string()),
            });
        }
    };
    let style = Style {
        color: false,
        width: WIDTH,
        detail: true,
        took: None,
        next: false,
    };
    let made = render(
        &crate::plan::plan(topology, &facts.observed, facts.at),
        &style,
    );
    let file = folder.join(format!("{name}{PLAN}"));
    let expected = match std::fs::read_to_string(&file) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(unreadable(&file, error)),
    };
    let verdict = match &expected {
        Some(expected) if *expected == made => Verdict::AsExpected,
        _ if update => {
            replace_file(&file, made.as_bytes(), 0o644).map_err(|error| {
                Failure::new(format!("failed to write {}: {error}", file.display()))
            })?;
            Verdict::Written
        }
        Some(_) => Verdict::Differs,
        None => Verdict::New,
    };
    let differs = verdict != Verdict::AsExpected;
    Ok(Case {
        name,
        verdict,
        diff: differs.then(|| diff(&expected.unwrap_or_default(), &made)),
        problem: None,
    })
}

fn diff(expected: &str, made: &str) -> String {
    similar::TextDiff::from_lines(expected, made)
        .unified_diff()
        .context_radius(2)
        .to_string()
}

impl Case {
    fn has_failed(&self) -> bool {
        !matches!(self.verdict, Verdict::AsExpected | Verdict::Written)
    }

    fn words(&self) -> String {
        let sign = if self.has_failed() { '✗' } else { '✓' };
        let what = match self.verdict {
            Verdict::AsExpected => "",
            Verdict::Differs => "  the plan differs",
            Verdict::New => "  no plan is expected yet",
            Verdict::Written => "  written",
            Verdict::Unusable => "  can't be used",
        };
        let more = self.diff.as_ref().or(self.problem.as_ref());
        let more = more.map(|text| {
            let lines = text.lines().map(|line| format!("\n    {line}"));
            lines.collect::<String>()
        });
        format!(" {sign} {}{what}{}", self.name, more.unwrap_or_default())
    }
}
