//! `bkpctl plan`: read the live state and show what would change, and why.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::cli::args;
use crate::cli::commands::observe;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::render;
use crate::cli::{commit_files, documents, part};
use crate::model::Observed;
use crate::plan::Plan;
use crate::plan::change::Action;
use crate::plan::saved::SavedPlan;

pub mod save_load;

/// Looks, plans, shows.
pub fn run(context: &Context, args: &args::Plan) -> Outcome {
    context.telling("plan", args.ndjson, |context| plan(context, args))
}

fn plan(context: &Context, args: &args::Plan) -> Outcome {
    let (plan, observed) = make(context, &args.nodes, args.facts.as_deref())?;
    let plan = &part::narrow(plan, &observed, &args.part.asked())?;
    let saved = args.out.as_ref().map(|file| save(args, plan, file));
    let saved = saved.transpose()?;
    if let Some(events) = &context.events {
        events.plan(plan);
    } else if args.json {
        context.print_json(plan)?;
    } else if args.md {
        context.print(&render::render_markdown(plan));
    } else {
        context.print(&render::plan::render(plan, &context.style(args.detail)));
        if let (Some(file), Some(saved)) = (&args.out, &saved) {
            context.print(&render::plan::render_kept(saved, file));
        }
    }
    Ok(verdict(plan, args.detailed_exitcode))
}

/// Plans from what is there now, or from what was seen before, and says what that was.
pub(super) fn make(
    context: &Context,
    nodes: &args::Nodes,
    facts: Option<&Path>,
) -> Result<(Plan, Observed), Failure> {
    if facts.is_none() {
        let look = context.look(&nodes.place.topology, &nodes.reach)?;
        return Ok((look.plan, look.fleet.observed.clone()));
    }
    let (topology, facts) = observe::facts(context, nodes, facts)?;
    let plan = crate::plan::plan(&topology, &facts.observed, facts.at);
    Ok((plan, facts.observed))
}

/// Saves a plan, with the commit that its topology is from.
fn save(args: &args::Plan, plan: &Plan, file: &Path) -> Result<SavedPlan, Failure> {
    let commit = commit_files::standing(&folder_of(&args.nodes.place.topology));
    let saved = SavedPlan::new(plan.clone(), env!("CARGO_PKG_VERSION"), commit);
    documents::write(file, &saved)?;
    Ok(saved)
}

/// Returns the folder that a topology is in.
fn folder_of(topology: &Path) -> PathBuf {
    if topology.is_dir() {
        return topology.to_owned();
    }
    let parent = topology.parent();
    parent
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
        .to_owned()
}

/// Judges a plan: 1 > 4 > 3 > 2.
fn verdict(plan: &Plan, detailed: bool) -> Exit {
    if plan.has_errors() {
        Exit::Error
    } else if plan.denied() {
        Exit::Policy
    } else if plan.incomplete() {
        Exit::Incomplete
    } else if detailed && !plan.is_empty() {
        Exit::Changes
    } else {
        Exit::Ok
    }
}

/// Returns the gates of some actions that nobody has said yes to, each once.
///
/// A yes to something that is no gate any more is no error: the same command line must
/// work again once it has succeeded.
pub fn unmet_gates<'a>(
    actions: impl Iterator<Item = &'a Action>,
    allowed: &[String],
) -> BTreeSet<String> {
    let gates = actions.filter_map(|action| action.gate.as_ref());
    let gates = gates.map(ToString::to_string);
    gates.filter(|gate| !allowed.contains(gate)).collect()
}
