//! `bkpctl status`: the age of every copy and proof.

use crate::cli::args::Look;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Outcome};
use crate::cli::render;
use crate::plan::change::CopyState;
use serde::Serialize;

/// What `status --json` prints.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct Status {
    /// Every copy that is demanded.
    pub protection: Vec<crate::plan::change::Protection>,
    /// Every proof that is demanded.
    pub proofs: Vec<crate::plan::change::ProofState>,
    /// Nodes that could not be reached.
    pub unreachable: Vec<crate::model::Name>,
}

/// Looks and shows; exits with 3 if a node was not reached.
pub fn run(context: &Context, args: &Look) -> Outcome {
    let look = context.look(&args.nodes.place.topology, &args.nodes.reach)?;
    let plan = &look.plan;
    if args.json {
        let unreachable = plan.nodes.iter().filter(|n| n.unreachable.is_some());
        context.print_json(&Status {
            protection: plan.protection.clone(),
            proofs: plan.proofs.clone(),
            unreachable: unreachable.map(|n| n.name.clone()).collect(),
        })?;
    } else {
        context.print(&render::status::render_status(plan, &context.style(false)));
    }
    let unknown = plan
        .protection
        .iter()
        .any(|p| p.state == CopyState::Unknown);
    Ok(if unknown || plan.incomplete() {
        Exit::Incomplete
    } else {
        Exit::Ok
    })
}
