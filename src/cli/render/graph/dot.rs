//! The graph for Graphviz.

use std::fmt::Write as _;

use super::sketch::{Arrow, Card, Sketch, containers, groups, roots};
use crate::cli::render::text::escape;
use crate::plan::graph::{FlowKind, Graph, ThingKind};

/// The colours of phases, which Graphviz knows by these names.
const COLORS: [&str; 5] = [
    "royalblue3",
    "darkorange3",
    "purple3",
    "darkcyan",
    "violetred3",
];

/// Writes a graph in the DOT language.
pub fn render(graph: &Graph) -> String {
    let sketch = Sketch::new(graph);
    let mut text = String::new();
    let name = quote(graph.topology.as_str());
    let _ = writeln!(text, "digraph {name} {{");
    text.push_str("  rankdir=LR; fontname=\"sans-serif\"; fontsize=12; labeljust=l;\n");
    text.push_str("  node [shape=box, fontname=\"sans-serif\", fontsize=11];\n");
    text.push_str("  edge [fontname=\"sans-serif\", fontsize=10];\n");
    for (number, group) in groups(graph).into_iter().enumerate() {
        match group {
            Some(name) => {
                let label = quote(&format!("{} {name}", graph.grouped_by));
                let _ = writeln!(
                    text,
                    "  subgraph cluster_g{number} {{\n    label={label}; color=gray70; style=dashed;"
                );
                roots(graph, group).for_each(|root| machine(&mut text, &sketch, root, 2));
                text.push_str("  }\n");
            }
            None => roots(graph, group).for_each(|root| machine(&mut text, &sketch, root, 1)),
        }
    }
    for arrow in &sketch.arrows {
        edges(&mut text, &sketch, arrow);
    }
    text.push_str("}\n");
    text
}

fn machine(text: &mut String, sketch: &Sketch<'_>, number: usize, depth: usize) {
    let machine = &sketch.graph.machines[number];
    let space = "  ".repeat(depth);
    let label = label(&[&machine.name, &machine.words]);
    let _ = writeln!(
        text,
        "{space}subgraph cluster_m{number} {{\n{space}  label={label}; color=gray40; style=solid;"
    );
    let mut is_empty = true;
    for (card_number, card) in sketch
        .cards
        .iter()
        .enumerate()
        .filter(|(_, card)| card.at == number)
    {
        let label = card_label(card);
        let look = look(card);
        let _ = writeln!(text, "{space}  c{card_number} [label={label}{look}];");
        is_empty = false;
    }
    if is_empty {
        // Graphviz draws no cluster that holds nothing.
        let _ = writeln!(
            text,
            "{space}  m{number} [style=invis, label=\"\", width=0, height=0];"
        );
    }
    for inner in containers(sketch.graph, machine) {
        self::machine(text, sketch, inner, depth + 1);
    }
    let _ = writeln!(text, "{space}}}");
}

fn card_label(card: &Card<'_>) -> String {
    let lines: Vec<String> = card
        .lines
        .iter()
        .map(|line| {
            [line.name.as_str(), line.words.as_str()]
                .join("  ")
                .trim_end()
                .to_owned()
        })
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    label(&lines)
}

fn look(card: &Card<'_>) -> String {
    let look = match card.kind {
        ThingKind::Source | ThingKind::Guests => "",
        ThingKind::Datastore => ", shape=cylinder",
        ThingKind::Share => ", shape=folder",
        ThingKind::Drill => ", style=rounded",
    };
    let later = if card.later { ", style=dashed" } else { "" };
    format!("{look}{later}")
}

fn edges(text: &mut String, sketch: &Sketch<'_>, arrow: &Arrow) {
    let color = match (arrow.kind, arrow.phase) {
        (FlowKind::Mount, _) | (_, None) => "gray50",
        (_, Some(phase)) => COLORS[phase % COLORS.len()],
    };
    let style = match arrow.kind {
        FlowKind::Backup | FlowKind::Sync | FlowKind::Cloud => "solid",
        FlowKind::Drill | FlowKind::Move => "dashed",
        FlowKind::Mount => "dotted",
    };
    for (number, from) in arrow.from.iter().enumerate() {
        let mut said = String::new();
        if number == 0 {
            let label = quote(&sketch.numbered(arrow));
            let _ = write!(said, ", label={label}");
        }
        let to = arrow.to;
        let _ = writeln!(
            text,
            "  c{from} -> c{to} [color={color}, style={style}{said}];"
        );
    }
}

/// Makes a label of lines that stand one below the other, at the left.
fn label(lines: &[&str]) -> String {
    let lines = lines.iter().filter(|line| !line.is_empty());
    let lines: Vec<String> = lines.map(|line| inner(line) + "\\l").collect();
    format!("\"{}\"", lines.concat())
}

fn quote(text: &str) -> String {
    format!("\"{}\"", inner(text))
}

/// Makes a text safe inside quotes; Graphviz also reads entities as HTML has them.
fn inner(text: &str) -> String {
    escape(text)
        .replace('&', "&amp;")
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
}
