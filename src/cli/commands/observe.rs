//! `bkpctl observe`: what there is, without a plan; and files of it.

use std::path::Path;

use crate::cli::args;
use crate::cli::commands::collect::{self, Bundle};
use crate::cli::context::Context;
use crate::cli::documents::{self, unreadable};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::load::load;
use crate::model::facts::{FACTS_FORMAT, Facts};
use crate::model::observed::NodeState;
use crate::model::topology::{Topology, TopologyId};

/// Looks, and prints or saves what was seen; exits with 3 if a node was not reached.
pub fn run(context: &Context, args: &args::Observe) -> Outcome {
    let (_, facts) = facts(context, &args.nodes, None)?;
    let nodes = &facts.observed.nodes;
    let missed: Vec<&str> = nodes
        .iter()
        .filter(|(_, state)| matches!(state, NodeState::Unreachable(_)))
        .map(|(name, _)| name.as_str())
        .collect();
    match &args.save {
        None => context.print_json(&facts)?,
        Some(file) => {
            documents::write(file, &facts)?;
            context.print(&format!(
                "Saved what was seen of {} of {} nodes. Next: bkpctl plan --facts {}",
                nodes.len() - missed.len(),
                nodes.len(),
                file.display()
            ));
        }
    }
    if missed.is_empty() {
        Ok(Exit::Ok)
    } else {
        context.warn(&format!("not reached: {}", missed.join(", ")));
        Ok(Exit::Incomplete)
    }
}

/// Loads a topology and returns it with facts about its nodes: from a file, or seen now.
pub fn facts(
    context: &Context,
    nodes: &args::Nodes,
    file: Option<&Path>,
) -> Result<(Topology, Facts), Failure> {
    let saved = file.map(Saved::read).transpose()?;
    if let Some(Saved::Bundle(bundle)) = saved {
        context.warn(&format!(
            "this is the state of {} in a bundle without names; no node was reached",
            bundle.facts.at
        ));
        return Ok((bundle.topology, bundle.facts));
    }
    let topology = load(context, &nodes.place.topology)?;
    let facts = if let (Some(file), Some(Saved::Facts(facts))) = (file, saved) {
        let facts = belonging(*facts, file, &topology.id)?;
        context.warn(&format!(
            "this is the state of {}, from {}; no node was reached",
            facts.at,
            file.display()
        ));
        facts
    } else {
        let (at, observed) = context.observe(topology.clone(), &nodes.reach)?;
        Facts {
            format: FACTS_FORMAT,
            topology: topology.id.clone(),
            at,
            observed,
        }
    };
    Ok((topology, facts))
}

/// A file of facts: alone, or in a bundle, which has the topology in it.
enum Saved {
    Facts(Box<Facts>),
    Bundle(Box<Bundle>),
}

impl Saved {
    fn read(file: &Path) -> Result<Self, Failure> {
        let bytes = documents::read(file)?;
        // Facts of many nodes are large, so they are read in one go. What that does not
        // understand is looked at part by part, to say what it is.
        match serde_json::from_slice::<Facts>(&bytes) {
            Ok(facts) if facts.format == FACTS_FORMAT => return Ok(Self::Facts(Box::new(facts))),
            _ => {}
        }
        let value: serde_json::Value = serde_json::from_slice(&bytes)
            .map_err(|error| unreadable(file, format!("it is no JSON: {error}")))?;
        match collect::read(file, &value) {
            Some(bundle) => bundle.map(|bundle| Self::Bundle(Box::new(bundle))),
            None => understood(file, value).map(|facts| Self::Facts(Box::new(facts))),
        }
    }
}

/// Reads facts of a topology's nodes.
pub fn read(file: &Path, topology: &TopologyId) -> Result<Facts, Failure> {
    match Saved::read(file)? {
        Saved::Facts(facts) => belonging(*facts, file, topology),
        Saved::Bundle(_) => Err(no_facts(file)),
    }
}

fn no_facts(file: &Path) -> Failure {
    let why =
        format!("it holds no facts of format {FACTS_FORMAT}, as bkpctl observe --save writes them");
    unreadable(file, why).help("look again with this version: bkpctl observe --save FILE")
}

fn understood(file: &Path, value: serde_json::Value) -> Result<Facts, Failure> {
    let format = value.get("format").and_then(serde_json::Value::as_u64);
    if format != Some(u64::from(FACTS_FORMAT)) || value.get("observed").is_none() {
        return Err(no_facts(file));
    }
    serde_json::from_value(value).map_err(|error| {
        unreadable(
            file,
            format!("it holds no facts that this version wrote: {error}"),
        )
    })
}

/// Demands that facts are those of a topology.
fn belonging(facts: Facts, file: &Path, topology: &TopologyId) -> Result<Facts, Failure> {
    if facts.topology == *topology {
        Ok(facts)
    } else {
        let (theirs, ours) = (&facts.topology.0, &topology.0);
        let why = format!("it holds facts of the topology {theirs}, and this one is {ours}");
        Err(unreadable(file, why).help("name the topology that they were saved for"))
    }
}
