//! The digest that says whether two plans would do the same.

use serde::Serialize;

use crate::model::{Address, Name, Timestamp};
use crate::plan::change::{Action, Gate, Step};

/// What of an action counts: no times, no free bytes, no wording.
#[derive(Serialize)]
struct Essence<'a> {
    address: &'a Address,
    node: &'a Name,
    step: Step,
    after: Vec<usize>,
    gate: Option<&'a Gate>,
    deferred: bool,
}

/// Returns the BLAKE3 digest in hex of what some actions would do.
pub(super) fn digest(actions: &[Action]) -> String {
    let essence: Vec<Essence<'_>> = actions.iter().map(essence).collect();
    let json = serde_json::to_vec(&essence).expect("names, numbers and texts always serialise");
    blake3::hash(&json).to_hex().to_string()
}

fn essence(action: &Action) -> Essence<'_> {
    Essence {
        address: &action.address,
        node: &action.node,
        step: timeless(action.step.clone()),
        after: action.after.iter().copied().collect(),
        gate: action.gate.as_ref(),
        deferred: action.deferred.is_some(),
    }
}

/// Sets to zero what differs between two plans made one after the other.
fn timeless(mut step: Step) -> Step {
    match &mut step {
        Step::WriteManaged { managed, .. } => {
            managed
                .phases
                .values_mut()
                .for_each(|at| *at = Timestamp(0));
        }
        // Files come and go below a folder while people review.
        Step::SetOwner { entries, .. } => *entries = 0,
        _ => {}
    }
    step
}
