//! `bkpctl leave`: take everything of bkpctl's off a node.

use std::collections::BTreeSet;

use crate::cli::args::Leave;
use crate::cli::context::{Context, asks, confirm, connect, now};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::load::load;
use crate::cli::render::text::escape;
use crate::model::observed::NodeState;
use crate::model::topology::Topology;
use crate::model::{Address, Name};
use crate::observe::{ObserveOptions, observe};
use crate::run::fleet::transport;
use crate::run::leave::leave;
use crate::run::message::FaultKind;

/// Looks at one node, asks, and removes bkpctl's folder there.
pub fn run(context: &Context, args: &Leave) -> Outcome {
    let topology = load(context, &args.nodes.place.topology)?;
    let Some((name, node)) = topology.nodes.get_key_value(args.node.as_str()) else {
        return Err(Failure::unknown("node", &args.node, topology.nodes.keys()));
    };
    let connect = connect(&args.nodes.reach);
    let reached = transport(&topology, name.as_str(), node, &connect)
        .map_err(|error| Failure::new(format!("failed to {error}")).exit(Exit::Incomplete))?;
    let options = ObserveOptions {
        only: Some(BTreeSet::from([name.clone()])),
        estimate_within: None,
        ..ObserveOptions::default()
    };
    let seen = observe(&topology, &|_, _| Ok(reached.clone()), &now, &options);
    let facts = match seen.nodes.get(name) {
        Some(NodeState::Reached(facts)) => facts,
        Some(NodeState::Unreachable(why)) => {
            return Err(
                Failure::new(format!("{name} was not reached: {}", why.message))
                    .exit(Exit::Incomplete),
            );
        }
        None => return Err(Failure::new(format!("{name} was not looked at"))),
    };
    let folder = &facts.state.folder;
    if facts
        .paths
        .get(folder)
        .and_then(|seen| seen.last())
        .is_none()
    {
        context.print(&format!("There is nothing of bkpctl's on {name}."));
        return Ok(Exit::Ok);
    }
    context.print(&format!(
        "{name}: {} with programs, registry and journal would be removed.",
        escape(folder)
    ));
    for line in what_stays(&topology, name) {
        context.print(&line);
    }
    if !args.auto_approve {
        if !asks() {
            return Err(
                Failure::new("there is no terminal to ask on, so nothing was removed")
                    .help(format!("bkpctl leave {name} --auto-approve")),
            );
        }
        confirm("Type yes to remove it: ", "yes")?;
    }
    let privileged = facts.login.privileged;
    match leave(&reached, &topology.name, name, folder, privileged) {
        Ok(true) => context.print(&format!("Removed {} from {name}.", escape(folder))),
        Ok(false) => context.print(&format!("There is nothing of bkpctl's on {name}.")),
        Err(fault) => {
            let exit = match fault.kind {
                FaultKind::Locked => Exit::Locked,
                _ => Exit::Error,
            };
            return Err(Failure::new(fault.message).exit(exit));
        }
    }
    Ok(Exit::Ok)
}

/// Says what is not removed, and what would come back.
fn what_stays(topology: &Topology, node: &Name) -> Vec<String> {
    let served = topology.datastores.iter().filter_map(|(name, datastore)| {
        let place = datastore
            .first_place()
            .filter(|place| place.node == *node)?;
        Some(format!(
            "  {name} stays in {}, with every snapshot in it",
            place.path
        ))
    });
    let shares = topology
        .shares
        .iter()
        .filter(|(_, share)| share.on == *node);
    let exported =
        shares.map(|(name, share)| format!("  share {name} stays exported: {}", share.export));
    let mounts = topology.mounts().filter_map(|(name, place, mount)| {
        let (on, path) = place.mount_point(mount);
        (on == node).then(|| format!("  what {name} lies on stays mounted at {path}"))
    });
    let read = topology
        .sources
        .iter()
        .filter(|(_, source)| source.on == *node);
    let used = read.map(|(name, _)| Address::new("source", name).to_string());
    let used: Vec<String> = used.collect();
    let mut lines: Vec<String> = served.chain(exported).chain(mounts).collect();
    if !lines.is_empty() || !used.is_empty() {
        lines.push(format!(
            "  the topology still uses {node}: the next apply puts it back, unless that is changed first"
        ));
    }
    lines
}
