//! Checks that any plan must pass, whatever made it.
//!
//! A saved plan comes from a file, so whoever carries one out asks here first.

use std::collections::BTreeSet;

use crate::plan::change::{PLAN_FORMAT, Plan, Step};
use crate::plan::{codes, digest};

/// Returns what is wrong with a plan, in words; nothing if it is sound.
pub fn lint(plan: &Plan) -> Vec<String> {
    let mut problems = Vec::new();
    if plan.format > PLAN_FORMAT {
        problems.push(format!(
            "its format is {}, this version knows up to {PLAN_FORMAT}",
            plan.format
        ));
    }
    for (position, action) in plan.actions.iter().enumerate() {
        if action.id != position {
            problems.push(format!("action {position} carries number {}", action.id));
        }
        if action.after.iter().any(|&needed| needed >= position) {
            problems.push(format!("action {position} comes before one it needs"));
        }
        let waits = |needed: &usize| {
            plan.actions
                .get(*needed)
                .is_some_and(|needed| needed.deferred.is_some())
        };
        if action.deferred.is_none() && action.after.iter().any(waits) {
            problems.push(format!(
                "action {position} goes ahead without one that it needs"
            ));
        }
        if action.deferred.is_none() && action.landing.iter().any(|l| l.fits == Some(false)) {
            problems.push(format!("action {position} goes ahead and does not fit"));
        }
        if action.reason.is_empty() || action.after_words.is_empty() {
            problems.push(format!("action {position} gives no reason"));
        }
    }
    problems.extend(twice(plan));
    for finding in &plan.findings {
        if codes::find(&finding.code).is_none() {
            problems.push(format!("finding {} has no explanation", finding.code));
        }
    }
    if plan.digest != digest::digest(&plan.actions) {
        problems.push("its digest is not that of its actions".to_owned());
    }
    problems
}

/// Returns a problem for each thing that two actions would do.
fn twice(plan: &Plan) -> Vec<String> {
    let mut seen = BTreeSet::new();
    plan.actions
        .iter()
        .filter_map(|action| {
            let what = match &action.step {
                Step::Copy {
                    source, datastore, ..
                } => vec![format!("copy {source} {datastore}")],
                Step::Sync { sources, to, .. } => {
                    sources.iter().map(|s| format!("copy {s} {to}")).collect()
                }
                // A datastore's marker may be written once more for each phase.
                Step::WriteManaged { .. } => vec![format!("mark {}", action.address)],
                // What a datastore left behind when it moved is on more than one node.
                step => vec![format!(
                    "{:?} {} on {}",
                    std::mem::discriminant(step),
                    action.address,
                    action.node
                )],
            };
            let again = what.into_iter().find(|what| !seen.insert(what.clone()))?;
            Some(format!("two actions would do the same: {again}"))
        })
        .collect()
}
