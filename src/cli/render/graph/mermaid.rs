//! The graph for Markdown, as GitHub, GitLab and Forgejo draw it.

use std::fmt::Write as _;

use super::sketch::{Arrow, Card, Sketch, containers, groups, roots};
use crate::cli::render::text::escape;
use crate::plan::graph::{FlowKind, Graph, ThingKind};

/// The colours of phases; they are seen on light and on dark.
const COLORS: [&str; 5] = ["#3f7fe0", "#c9701c", "#9060d0", "#189a90", "#cc4a80"];

/// The colour of what belongs to no phase.
const QUIET: &str = "#8792a0";

/// Writes a graph as a Mermaid flowchart.
pub fn render(graph: &Graph) -> String {
    let sketch = Sketch::new(graph);
    let mut text = "flowchart LR\n".to_owned();
    for (number, group) in groups(graph).into_iter().enumerate() {
        let depth = if let Some(name) = group {
            let label = quote(&format!("{} {name}", graph.grouped_by));
            let _ = writeln!(text, "  subgraph g{number}[{label}]");
            2
        } else {
            1
        };
        roots(graph, group).for_each(|root| machine(&mut text, &sketch, root, depth));
        if group.is_some() {
            text.push_str("  end\n");
        }
    }
    let mut links = Vec::new();
    for arrow in &sketch.arrows {
        edges(&mut text, &sketch, arrow, &mut links);
    }
    for (number, color) in links.iter().enumerate() {
        let _ = writeln!(text, "  linkStyle {number} stroke:{color}");
    }
    text
}

fn machine(text: &mut String, sketch: &Sketch<'_>, number: usize, depth: usize) {
    let machine = &sketch.graph.machines[number];
    let space = "  ".repeat(depth);
    let label = quote(&format!("{} · {}", machine.name, machine.words));
    let _ = writeln!(text, "{space}subgraph m{number}[{label}]");
    let cards = sketch
        .cards
        .iter()
        .enumerate()
        .filter(|(_, card)| card.at == number);
    for (card_number, card) in cards {
        let shape = shape(card);
        let _ = writeln!(text, "{space}  c{card_number}{shape}");
    }
    for inner in containers(sketch.graph, machine) {
        self::machine(text, sketch, inner, depth + 1);
    }
    let _ = writeln!(text, "{space}end");
}

fn shape(card: &Card<'_>) -> String {
    let lines: Vec<String> = card
        .lines
        .iter()
        .flat_map(|line| [&line.name, &line.words])
        .filter(|text| !text.is_empty())
        .map(|text| inner(text))
        .collect();
    let label = format!("\"{}\"", lines.join("<br>"));
    match card.kind {
        ThingKind::Source | ThingKind::Guests => format!("[{label}]"),
        ThingKind::Datastore => format!("[({label})]"),
        ThingKind::Share => format!("[/{label}/]"),
        ThingKind::Drill => format!("([{label}])"),
    }
}

fn edges(text: &mut String, sketch: &Sketch<'_>, arrow: &Arrow, links: &mut Vec<&'static str>) {
    let line = match arrow.kind {
        FlowKind::Backup | FlowKind::Sync | FlowKind::Cloud => "-->",
        FlowKind::Drill | FlowKind::Mount | FlowKind::Move => "-.->",
    };
    for (number, from) in arrow.from.iter().enumerate() {
        let label = match number {
            0 => format!("|{}|", quote(&sketch.numbered(arrow))),
            _ => String::new(),
        };
        let _ = writeln!(text, "  c{from} {line}{label} c{}", arrow.to);
        links.push(match (arrow.kind, arrow.phase) {
            (FlowKind::Mount, _) | (_, None) => QUIET,
            (_, Some(phase)) => COLORS[phase % COLORS.len()],
        });
    }
}

fn quote(text: &str) -> String {
    format!("\"{}\"", inner(text))
}

/// Writes what could mean something to Mermaid or to HTML as entities of Mermaid's own form.
fn inner(text: &str) -> String {
    let mut safe = String::new();
    for c in escape(text).chars() {
        if c.is_alphanumeric() || " /.,:-_·…@".contains(c) {
            safe.push(c);
        } else {
            let _ = write!(safe, "#{};", c as u32);
        }
    }
    safe
}
