//! `bkpctl forecast`: when the filesystems of datastores reach their reserve, or are full.

use crate::cli::args;
use crate::cli::commands::observe;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Outcome};
use crate::cli::render::render_forecast;
use crate::plan::forecast::forecast;

/// Looks, or reads what was seen, and foretells; exits with 3 if a node was not reached.
pub fn run(context: &Context, args: &args::Forecast) -> Outcome {
    let (topology, facts) = observe::facts(context, &args.nodes, args.facts.as_deref())?;
    let forecast = forecast(&topology, &facts.observed, facts.at);
    if args.json {
        context.print_json(&forecast)?;
    } else {
        context.print(&render_forecast(&forecast, &context.style(false)));
    }
    let is_unseen = |node: &crate::model::Name| facts.observed.reached(node.as_str()).is_none();
    let unseen = forecast
        .filesystems
        .iter()
        .any(|line| is_unseen(&line.node));
    Ok(if unseen { Exit::Incomplete } else { Exit::Ok })
}
