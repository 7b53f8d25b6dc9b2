//! A part of a plan, as it is chosen on the command line.

use clap::Args;

use crate::plan::selection::Asked;

/// Which part of the plan.
#[derive(Debug, Clone, Default, Args)]
pub struct Part {
    /// Only this and what it needs: an address as the plan prints it, such as datastore.primary,
    /// source.etc, backup.nightly or phase.baseline; may be given more than once
    #[arg(long, value_name = "ADDRESS")]
    pub target: Vec<String>,
    /// Not this, and nothing that stands on it; may be given more than once
    #[arg(long, value_name = "ADDRESS")]
    pub exclude: Vec<String>,
    /// Only what happens on this node, and what that needs elsewhere; may be given more than once
    #[arg(long, value_name = "NODE")]
    pub node: Vec<String>,
}

impl Part {
    /// Returns the words that the part is chosen by.
    pub fn asked(&self) -> Asked {
        Asked {
            targets: self.target.clone(),
            exclude: self.exclude.clone(),
            nodes: self.node.clone(),
        }
    }
}
