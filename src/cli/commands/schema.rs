//! `bkpctl schema`: the shapes that scripts and editors rely on.

use serde::Serialize;

use crate::cli::commands::{bootstrap, collect, fmt, run, snapshots, status, test};
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure, Outcome};

/// The names of all schemas, with what each describes.
pub const NAMES: &[(&str, &str)] = &[
    (
        "topology",
        "the topology language: blocks, their arguments, properties and children",
    ),
    ("validate.v1", "bkpctl validate --json"),
    ("plan.v1", "bkpctl plan --json"),
    (
        "saved-plan.v1",
        "the files that bkpctl plan -o writes, and bkpctl show --json",
    ),
    (
        "event.v1",
        "the lines of bkpctl plan --ndjson and bkpctl apply --ndjson",
    ),
    ("fmt.v1", "bkpctl fmt --json"),
    ("diff.v1", "bkpctl diff --json"),
    ("drift.v1", "bkpctl drift --json"),
    ("simulate.v1", "bkpctl simulate --json"),
    ("forecast.v1", "bkpctl forecast --json"),
    ("observed.v1", "the facts that a plan is made from"),
    ("facts.v1", "bkpctl observe, and the files that it saves"),
    ("status.v1", "bkpctl status --json"),
    ("snapshots.v1", "bkpctl snapshots --json"),
    ("run.v1", "bkpctl run --json"),
    (
        "log.v1",
        "bkpctl log --json; its entries are the lines of --ndjson",
    ),
    ("graph.v1", "bkpctl graph --format json"),
    ("test.v1", "bkpctl test --json"),
    ("bootstrap.v1", "bkpctl bootstrap --json"),
    ("bundle.v1", "the files that bkpctl collect writes"),
];

/// Prints a schema as JSON, or the list of their names.
pub fn run(context: &Context, name: Option<&str>) -> Outcome {
    match name {
        None => {
            let lines: Vec<String> = NAMES
                .iter()
                .map(|(name, what)| format!("{name:14}  {what}"))
                .collect();
            context.print(&lines.join("\n"));
        }
        Some(name) => match text(name) {
            Some(text) => context.print(&text),
            None => {
                return Err(Failure::new(format!("there is no schema called {name:?}"))
                    .help("bkpctl schema lists them"));
            }
        },
    }
    Ok(Exit::Ok)
}

/// Returns a schema as pretty JSON with a line's end.
pub fn text(name: &str) -> Option<String> {
    match name {
        "topology" => Some(pretty(&crate::config::schema())),
        "validate.v1" => Some(pretty(&schemars::schema_for!(
            crate::cli::render::Validation
        ))),
        "fmt.v1" => Some(pretty(&schemars::schema_for!(fmt::Report))),
        "plan.v1" => Some(pretty(&schemars::schema_for!(crate::plan::Plan))),
        "saved-plan.v1" => Some(pretty(&schemars::schema_for!(
            crate::plan::saved::SavedPlan
        ))),
        "event.v1" => Some(pretty(&schemars::schema_for!(crate::cli::events::Line))),
        "diff.v1" => Some(pretty(&schemars::schema_for!(
            crate::plan::difference::Difference
        ))),
        "drift.v1" => Some(pretty(&schemars::schema_for!(crate::plan::drift::Drift))),
        "simulate.v1" => Some(pretty(&schemars::schema_for!(
            crate::plan::disaster::Disaster
        ))),
        "forecast.v1" => Some(pretty(&schemars::schema_for!(
            crate::plan::forecast::Forecast
        ))),
        "observed.v1" => Some(pretty(&schemars::schema_for!(crate::model::Observed))),
        "facts.v1" => Some(pretty(&schemars::schema_for!(crate::model::Facts))),
        "status.v1" => Some(pretty(&schemars::schema_for!(status::Status))),
        "snapshots.v1" => Some(pretty(&schemars::schema_for!(snapshots::Snapshots))),
        "log.v1" => Some(pretty(&schemars::schema_for!(crate::model::log::Log))),
        "graph.v1" => Some(pretty(&schemars::schema_for!(crate::plan::graph::Graph))),
        "run.v1" => Some(pretty(&schemars::schema_for!(run::Report))),
        "bootstrap.v1" => Some(pretty(&schemars::schema_for!(bootstrap::Bootstrap))),
        "bundle.v1" => Some(pretty(&schemars::schema_for!(collect::Bundle))),
        "test.v1" => Some(pretty(&schemars::schema_for!(test::Report))),
        _ => None,
    }
}

fn pretty(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("a schema is plain JSON");
    text.push('\n');
    text
}
