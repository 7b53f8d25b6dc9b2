//! Going on with an apply that was broken off.
//!
//! There is no state file: what was begun is in the journals of the nodes, and what is left is
//! what a plan of now still wants. Only what was part of the broken-off plan is done; the gates
//! that were said yes to then stay open for it.

use std::collections::BTreeSet;

use super::prepare::{Prepared, as_planned};
use crate::cli::args::Apply;
use crate::cli::context::{Context, Look};
use crate::cli::exit::Failure;
use crate::model::Name;
use crate::plan::selection::Selection;
use crate::run::journal::Opening;
use crate::run::message::Fault;
use crate::run::node::{NodeCall, NodeReply};

/// Finds what was broken off and makes the rest of it ready; none if nothing was.
pub(super) fn resume(
    context: &Context,
    args: &Apply,
    mut look: Look,
) -> Result<Option<Prepared>, Failure> {
    let openings = openings(&look)?;
    let newest = openings.iter().max_by_key(|(_, opening)| opening.line.time);
    let Some((_, newest)) = newest else {
        context.print("Nothing to resume: no apply was broken off. Next: bkpctl plan");
        return Ok(None);
    };
    let (id, since) = (
        newest.line.plan.clone().unwrap_or_default(),
        newest.line.time,
    );
    let of_it: Vec<_> = openings
        .iter()
        .filter(|(_, opening)| opening.line.plan.as_deref() == Some(id.as_str()))
        .collect();
    let lines = || of_it.iter().map(|(_, opening)| &opening.line);
    let was_planned: BTreeSet<String> = lines()
        .flat_map(|line| line.actions.iter().cloned())
        .collect();
    let allowed_then: BTreeSet<&String> = lines().flat_map(|line| &line.allowed).collect();
    let done: u64 = of_it.iter().map(|(_, opening)| opening.done).sum();
    context.print(&format!(
        "Resumes what was begun at {since}: {done} of {} changes were done.{}\n",
        was_planned.len(),
        if allowed_then.is_empty() {
            String::new()
        } else {
            let allowed: Vec<&str> = allowed_then.iter().map(|gate| gate.as_str()).collect();
            format!(" Allowed then, and so now: {}.", allowed.join(", "))
        }
    ));
    look.go_on_with(&Selection {
        begun: Some(was_planned),
        ..Selection::default()
    });
    let allowed = args.allow.iter().chain(allowed_then).cloned().collect();
    let resumes = of_it.iter().map(|(node, _)| node.clone()).collect();
    Ok(Some(Prepared {
        id,
        readiness: as_planned(&look.plan),
        allowed,
        resumes: Some(resumes),
        look,
    }))
}

/// Asks every node that was reached, and where bkpctl is, for what was broken off there.
fn openings(look: &Look) -> Result<Vec<(Name, Opening)>, Failure> {
    let fleet = &look.fleet;
    let mut found = Vec::new();
    for node in fleet.topology.nodes.keys() {
        let Some(facts) = fleet.observed.reached(node.as_str()) else {
            continue;
        };
        let binary = fleet.observed.binary.as_ref();
        let is_there = fleet.topology.is_local(node)
            || binary.is_some_and(|binary| facts.state.binaries.contains(&binary.hash));
        if !is_there {
            continue;
        }
        let call = NodeCall::Plans {
            folder: facts.state.folder.clone(),
            plan: None,
        };
        let reply = fleet.hands(node).and_then(|hands| hands.ask(call));
        let NodeReply::Plans(plans) = reply.map_err(super::not_begun)? else {
            let fault = Fault::lost("the agent answered another question than the one asked");
            return Err(super::not_begun(fault));
        };
        found.extend(plans.opening.map(|opening| (node.clone(), opening)));
    }
    Ok(found)
}
