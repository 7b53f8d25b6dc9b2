//! `bkpctl drift`: show what on the hosts is no longer as it was put there.

use crate::cli::args;
use crate::cli::commands::plan;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Outcome};
use crate::cli::part;
use crate::cli::render;
use crate::plan::drift::{Drift, drift};

/// Looks, compares, shows; changes nothing.
pub fn run(context: &Context, args: &args::Drift) -> Outcome {
    let (plan, observed) = plan::make(context, &args.nodes, args.facts.as_deref())?;
    let selection = part::look_up(&plan, &args.part.asked())?;
    let drift = drift(&plan, &observed, &selection);
    if args.json {
        context.print_json(&drift)?;
    } else {
        context.print(&render::drift::render(&drift, &context.style(false)));
    }
    Ok(verdict(&drift, args.detailed_exitcode))
}

fn verdict(drift: &Drift, detailed: bool) -> Exit {
    if !drift.unreachable.is_empty() {
        Exit::Incomplete
    } else if detailed && !drift.is_none() {
        Exit::Changes
    } else {
        Exit::Ok
    }
}
