//! What people see at the end of an apply: what was done, and what is true now.

use std::fmt::Write;

use crate::apply::outcome::{Ended, Outcome};
use crate::cli::progress::labels;
use crate::cli::render::plan::left_out;
use crate::cli::render::text::escape;
use crate::plan::Plan;
use crate::plan::change::CopyState;

/// Draws the end table: counts, and each action that did not succeed with its reason.
pub fn end_table(plan: &Plan, outcome: &Outcome) -> String {
    let labels = labels(plan);
    let mut text = String::new();
    for (id, ended) in outcome.ended.iter().enumerate() {
        let (mark, why) = match ended {
            Ended::Done { .. } | Ended::Already => continue,
            Ended::Failed { fault, .. } => ("✗ failed  ", escape(&fault.message)),
            Ended::Skipped { needed } => (
                "– skipped ",
                format!(
                    "needs {} on {}",
                    labels[*needed].subject, labels[*needed].place
                ),
            ),
            Ended::Deferred { reason } => ("◷ deferred", escape(reason)),
            Ended::Stopped => ("– stopped ", "a stop was asked for".to_owned()),
        };
        let label = &labels[id];
        let _ = writeln!(text, "  {mark}  {}  {}: {why}", label.place, label.subject);
    }
    let counts = [
        (outcome.done(), "done"),
        (outcome.already(), "there already"),
        (outcome.failed(), "failed"),
        (outcome.skipped(), "skipped"),
        (outcome.deferred(), "deferred"),
    ];
    let counts: Vec<String> = counts
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, word)| format!("{n} {word}"))
        .collect();
    let _ = writeln!(text, "\n{}.", counts.join(", "));
    text
}

/// Says whether a new look agrees with what was meant, and what is protected now.
///
/// After a part it says so of the part, and what there is besides.
pub fn convergence(outcome: &Outcome, after: &Plan) -> String {
    let words = converged(outcome, after);
    match left_out(after).filter(|_| after.left_out() > 0) {
        Some(rest) => format!("{words}\n{rest}"),
        None => words,
    }
}

fn converged(outcome: &Outcome, after: &Plan) -> String {
    let open = after.actions.len();
    if outcome.failed() > 0 || outcome.skipped() > 0 {
        return format!(
            "A new look finds {open} {} left to do. Next: mend what failed, then bkpctl apply again; it goes on from what is there.",
            plural(open, "change", "changes")
        );
    }
    if open > 0 {
        return format!(
            "A new look finds {open} {} left to do. Next: bkpctl plan",
            plural(open, "change", "changes")
        );
    }
    if after.left_out() > 0 {
        return "A new look agrees: nothing is left to do now of this part.".to_owned();
    }
    let fresh = after
        .protection
        .iter()
        .filter(|p| p.state == CopyState::Fresh)
        .count();
    let proven = after
        .proofs
        .iter()
        .filter(|p| p.state == CopyState::Fresh)
        .count();
    let all = after.protection.len() + after.proofs.len() == fresh + proven;
    if !all || fresh == 0 {
        return "A new look agrees: nothing is left to do now. Not everything is protected yet, see above.".to_owned();
    }
    let mut sources: Vec<_> = after.protection.iter().map(|p| &p.source).collect();
    sources.sort();
    sources.dedup();
    format!(
        "A new look agrees: {} {} protected, {fresh} {}, {proven} {}.",
        sources.len(),
        plural(sources.len(), "source is", "sources are"),
        plural(fresh, "fresh copy", "fresh copies"),
        plural(proven, "proof by restore", "proofs by restore"),
    )
}

fn plural<'a>(n: usize, one: &'a str, many: &'a str) -> &'a str {
    if n == 1 { one } else { many }
}
