//! `bkpctl observe`: what there is, without a plan; and files of it.

use std::path::Path;

use crate::cli::args;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::load::load;
use crate::model::facts::{FACTS_FORMAT, Facts};
use crate::model::observed::NodeState;
use crate::model::topology::TopologyId;
use crate::run::node::replace_file;

/// The largest file of facts that is read.
const FACTS_LEN_MAX: u64 = 256 << 20;

/// Looks, and prints or saves what was seen; exits with 3 if a node was not reached.
pub fn run(context: &Context, args: &args::Observe) -> Outcome {
    let topology = load(context, &args.place.topology)?;
    let (at, observed) = context.observe(topology.clone(), &args.reach)?;
    let facts = Facts {
        format: FACTS_FORMAT,
        topology: topology.id,
        at,
        observed,
    };
    let missed: Vec<&str> = facts
        .observed
        .nodes
        .iter()
        .filter(|(_, state)| matches!(state, NodeState::Unreachable(_)))
        .map(|(name, _)| name.as_str())
        .collect();
    match &args.save {
        None => context.print_json(&facts)?,
        Some(file) => {
            save(file, &facts)?;
            let seen = facts.observed.nodes.len() - missed.len();
            context.print(&format!(
                "Saved what was seen of {seen} of {} nodes. Next: bkpctl plan --facts {}",
                facts.observed.nodes.len(),
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

/// Writes facts whole or not at all; they name users, paths and addresses, so nobody else reads them.
fn save(file: &Path, facts: &Facts) -> Result<(), Failure> {
    let json = serde_json::to_vec_pretty(facts)
        .map_err(|error| Failure::new(format!("failed to write the facts: {error}")))?;
    replace_file(file, &json, 0o600)
        .map_err(|error| Failure::new(format!("failed to write {}: {error}", file.display())))
}

/// Reads facts of a topology's nodes.
pub fn read(file: &Path, topology: &TopologyId) -> Result<Facts, Failure> {
    let failed = |why: String| Failure::new(format!("failed to read {}: {why}", file.display()));
    let length = std::fs::metadata(file)
        .map_err(|error| failed(error.to_string()))?
        .len();
    if length > FACTS_LEN_MAX {
        return Err(failed("it is too large for a file of facts".to_owned()));
    }
    let bytes = std::fs::read(file).map_err(|error| failed(error.to_string()))?;
    let value: serde_json::Value = serde_json::from_slice(&bytes)
        .map_err(|error| failed(format!("it is no JSON: {error}")))?;
    let format = value.get("format").and_then(serde_json::Value::as_u64);
    if format != Some(u64::from(FACTS_FORMAT)) || value.get("observed").is_none() {
        return Err(failed(format!(
            "it holds no facts of format {FACTS_FORMAT}, as bkpctl observe --save writes them"
        ))
        .help("look again with this version: bkpctl observe --save FILE"));
    }
    let facts: Facts = serde_json::from_value(value).map_err(|error| {
        failed(format!(
            "it holds no facts that this version wrote: {error}"
        ))
    })?;
    if facts.topology == *topology {
        Ok(facts)
    } else {
        Err(failed(format!(
            "it holds facts of the topology {}, and this one is {}",
            facts.topology.0, topology.0
        )))
    }
}
