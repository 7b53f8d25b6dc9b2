//! `bkpctl validate`: check a topology and report every mistake at once.

use crate::cli::args::Validate;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Outcome};
use crate::cli::load::{check, report};
use crate::cli::render;
use crate::cli::render::text::count;

/// Checks and reports; reaches no machine.
pub fn run(context: &Context, args: &Validate) -> Outcome {
    let loaded = check(&args.place.topology)?;
    let exit = if loaded.errors() == 0 {
        Exit::Ok
    } else {
        Exit::Error
    };
    if args.json {
        context.print_json(&render::Validation::new(loaded.diagnostics))?;
        return Ok(exit);
    }
    if !loaded.diagnostics.is_empty() {
        context.print(&report(context, &loaded));
    }
    if let Some(topology) = &loaded.topology {
        let sources = topology.sources.len() + topology.guests.len();
        context.print(&format!(
            "{} is valid: {}, {}, {}, {}",
            topology.name,
            count(topology.nodes.len(), "node", "nodes"),
            count(topology.datastores.len(), "datastore", "datastores"),
            count(sources, "source", "sources"),
            count(topology.jobs().count(), "job", "jobs"),
        ));
    }
    Ok(exit)
}
