//! From a path on the command line to a checked topology.

use std::path::Path;

use crate::cli::commands::validate::{check, report};
use crate::cli::context::Context;
use crate::cli::exit::Failure;
use crate::model::Topology;

/// Loads a topology or reports every mistake in it at once.
pub fn load(context: &Context, path: &Path) -> Result<Topology, Failure> {
    let loaded = check(path)?;
    match loaded.topology {
        Some(topology) => Ok(topology),
        None => Err(Failure::new(format!(
            "the topology has mistakes, so nothing was done:\n\n{}",
            report(context, &loaded)
        ))),
    }
}
