//! `bkpctl simulate`: what would be left if something were lost, reaching no machine.

use crate::cli::args;
use crate::cli::commands::observe;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::load::load;
use crate::cli::render::render_disaster;
use crate::plan::disaster::disaster;

/// Works out what a loss leaves, and shows it.
pub fn run(context: &Context, args: &args::Simulate) -> Outcome {
    let topology = load(context, &args.place.topology)?;
    let facts = match &args.facts {
        Some(file) => Some(observe::read(file, &topology.id)?),
        None => None,
    };
    let seen = facts.as_ref().map(|facts| (&facts.observed, facts.at));
    let disaster = disaster(&topology, seen, &args.lose).ok_or_else(|| {
        Failure::new(format!("nothing in {} is {}", topology.name, args.lose))
            .help("name a node, or a failure domain as the topology has it, for example site=home")
    })?;
    if args.json {
        context.print_json(&disaster)?;
    } else {
        let style = context.style(false);
        context.print(&render_disaster(&disaster, &topology, args.rate, &style));
    }
    Ok(Exit::Ok)
}
