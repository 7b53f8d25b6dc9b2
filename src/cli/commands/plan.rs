//! `bkpctl plan`: read the live state and show what would change, and why.

use crate::cli::args;
use crate::cli::commands::observe;
use crate::cli::context::Context;
use crate::cli::documents;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::render;
use crate::plan::Plan;

pub mod save_load;

/// Looks, plans, shows.
pub fn run(context: &Context, args: &args::Plan) -> Outcome {
    let plan = &make(context, args)?;
    if let Some(file) = &args.out {
        documents::write(file, plan)?;
    }
    if args.json {
        context.print_json(plan)?;
    } else if args.md {
        context.print(&render::render_markdown(plan));
    } else {
        context.print(&render::plan::render(plan, &context.style(args.detail)));
        if let Some(file) = &args.out {
            context.print(&format!("Saved. Next: bkpctl apply {}", file.display()));
        }
    }
    Ok(verdict(plan, args.detailed_exitcode))
}

/// Plans from what is there now, or from what was seen before.
fn make(context: &Context, args: &args::Plan) -> Result<Plan, Failure> {
    if args.facts.is_none() {
        return Ok(context
            .look(&args.nodes.place.topology, &args.nodes.reach)?
            .plan);
    }
    let (topology, facts) = observe::facts(context, &args.nodes, args.facts.as_deref())?;
    Ok(crate::plan::plan(&topology, &facts.observed, facts.at))
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

/// Returns the gates that nobody has said yes to.
///
/// A yes to something that is no gate any more is no error: the same command line must
/// work again once it has succeeded.
pub fn unmet_gates(plan: &Plan, allow: &[String]) -> Vec<String> {
    let gates = plan.gates().into_iter().map(ToString::to_string);
    gates.filter(|gate| !allow.contains(gate)).collect()
}
