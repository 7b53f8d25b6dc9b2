//! What a bundle holds and what was taken out of it, before it is written.

use crate::cli::commands::collect::Bundle;
use crate::cli::redact::Counts;
use crate::cli::render::text::{Page, Style, count};
use crate::model::observed::NodeState;

/// Draws what is in a bundle, what was replaced, and every word that stayed.
pub fn render_collected(bundle: &Bundle, counts: &Counts, style: &Style) -> String {
    let nodes = &bundle.facts.observed.nodes;
    let missed = nodes
        .values()
        .filter(|state| matches!(state, NodeState::Unreachable(_)))
        .count();
    let mut page = Page::new(style);
    let mut item = |lead: &str, text: &str| {
        page.hanging(&format!("{lead:<10}"), 10, text, None);
    };
    item(
        "In it",
        &format!(
            "the topology, facts of {} ({missed} not reached) at {}, the plan with {}, versions",
            count(nodes.len(), "node", "nodes"),
            bundle.facts.at,
            count(bundle.plan.findings.len(), "finding", "findings"),
        ),
    );
    let replaced: Vec<String> = counts
        .replaced
        .iter()
        .map(|(class, number)| format!("{class} {number}"))
        .collect();
    item(
        "Replaced",
        &format!(
            "names, addresses, ids and texts, by kind: {}",
            replaced.join(", ")
        ),
    );
    let kept: Vec<&str> = counts.kept.iter().map(String::as_str).collect();
    item("Kept", &format!("these words: {}", kept.join(", ")));
    item(
        "",
        "and numbers: times, sizes, modes, ports, numbers of users and guests",
    );
    let same = if bundle.finds_the_same {
        "the plan finds the same without names"
    } else {
        "without names the plan finds something else; the bundle says what was found before"
    };
    item("Check", same);
    page.finish()
}
