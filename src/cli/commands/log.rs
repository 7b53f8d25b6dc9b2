//! `bkpctl log`: what was done on the nodes, from their journals.

use crate::cli::args;
use crate::cli::context::{Context, connect, now};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::load::load;
use crate::cli::render::render_log;
use crate::cli::render::text::escape_json;
use crate::model::log::{Log, Wish, merge};
use crate::model::{Name, Topology};
use crate::observe::journals;
use crate::run::fleet::transport;

/// Reads the journals and shows them; exits with 3 if one could not be read.
pub fn run(context: &Context, args: &args::Log) -> Outcome {
    let topology = load(context, &args.nodes.place.topology)?;
    check(&topology, &args.node)?;
    let connect = connect(&args.nodes.reach);
    let wanted =
        |name: &Name| args.node.is_empty() || args.node.iter().any(|node| *name == node.as_str());
    let read = journals(
        &topology,
        &|name, node| transport(&topology, name, node, &connect),
        &wanted,
    );
    let mut log = merge(&topology.name, read);
    let wish = Wish {
        plan: args.plan.clone(),
        source: args.source.clone(),
        address: args.address.as_ref().map(ToString::to_string),
        since: args.since.map(|since| since.before(now())),
    };
    log.entries.retain(|entry| wish.fits(entry));
    if args.json {
        context.print_json(&log)?;
    } else if args.ndjson {
        lines(context, &log)?;
    } else {
        context.print(&render_log(&log, &context.style(args.detail)));
    }
    let is_whole = log.nodes.iter().all(|node| node.unreachable.is_none());
    Ok(if is_whole { Exit::Ok } else { Exit::Incomplete })
}

fn check(topology: &Topology, named: &[String]) -> Result<(), Failure> {
    let unknown = named
        .iter()
        .find(|node| !topology.nodes.contains_key(node.as_str()));
    match unknown {
        Some(node) => Err(Failure::unknown("node", node, topology.nodes.keys())),
        None => Ok(()),
    }
}

/// Prints one entry a line, and what is missing on standard error.
fn lines(context: &Context, log: &Log) -> Result<(), Failure> {
    let lines: Result<Vec<String>, _> = log.entries.iter().map(serde_json::to_string).collect();
    let lines = lines.map_err(|error| Failure::new(format!("failed to write JSON: {error}")))?;
    if !lines.is_empty() {
        context.print(&escape_json(&lines.join("\n")));
    }
    for node in &log.nodes {
        if let Some(why) = &node.unreachable {
            context.warn(&format!("{}: {why}", node.name));
        }
    }
    Ok(())
}
