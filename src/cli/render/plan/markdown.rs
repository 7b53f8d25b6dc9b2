//! The plan as Markdown for a comment on a pull request: what matters first, the rest folded.
//!
//! The first line is a comment that nobody sees, by which a later run finds its own comment
//! and replaces it.

use std::fmt::Write as _;

use super::words::{
    change, changes_by_node, changes_space, data_words, gate_words, has_news, has_phases, kind,
    label, left_out, part, phase, summary, why,
};
use crate::cli::render::markdown::{Part, comment, list, prose, table};
use crate::cli::render::text::{Style, count};
use crate::model::Name;
use crate::plan::change::{Finding, Plan, Severity, Step, Verdict};

/// So many columns fit beside each other on a wide page.
const DETAIL_COLUMNS: usize = 110;

/// Returns a plan as Markdown, of at most 60,000 bytes.
pub fn render(plan: &Plan) -> String {
    let foot = format!("`{}` · bkpctl {}\n", plan.digest, env!("CARGO_PKG_VERSION"));
    let parts = [
        gates(plan),
        findings(plan),
        changes(plan),
        data(plan),
        capacity(plan),
        policy(plan),
        phases(plan),
        graph(plan),
        notes(plan),
        Some(whole(plan)),
    ];
    comment(&head(plan), parts, &foot, "bkpctl plan --detail")
}

fn head(plan: &Plan) -> String {
    let name = plan.topology.name.as_str();
    let lost: Vec<_> = plan
        .nodes
        .iter()
        .filter(|node| node.unreachable.is_some())
        .map(|node| format!("`{}`", node.name))
        .collect();
    let mut text = format!(
        "<!-- bkpctl plan {name} -->\n### {} `{name}`: {}\n\n",
        worst(plan),
        title(plan)
    );
    let mut parts = vec![count(plan.nodes.len(), "node", "nodes")];
    if !lost.is_empty() {
        parts.push(format!("not reached: {}", lost.join(", ")));
    }
    let errors = of_severity(plan, Severity::Error).count();
    let warnings = of_severity(plan, Severity::Warning).count();
    for (number, one, many) in [
        (errors, "error", "errors"),
        (warnings, "warning", "warnings"),
    ] {
        if number > 0 {
            parts.push(count(number, one, many));
        }
    }
    if plan.denied() {
        parts.push("policy not met".to_owned());
    }
    parts.extend(part(plan).map(|part| format!("part `{part}`")));
    let _ = write!(text, "{}\n\n", parts.join(" · "));
    if let Some(left) = left_out(plan) {
        let _ = write!(text, "{}\n\n", prose(&left));
    }
    text
}

fn title(plan: &Plan) -> String {
    let title = summary(plan);
    let title = title.trim_end_matches('.');
    let mut chars = title.chars();
    let first = chars.next().map(|first| first.to_lowercase().to_string());
    format!("{}{}", first.unwrap_or_default(), chars.as_str())
}

/// Returns the sign of the worst thing in a plan.
fn worst(plan: &Plan) -> &'static str {
    if plan.has_errors() || plan.denied() {
        "❌"
    } else if plan.incomplete()
        || !plan.gates().is_empty()
        || of_severity(plan, Severity::Warning).next().is_some()
    {
        "⚠️"
    } else if plan.is_empty() && plan.left_out() == 0 {
        "✅"
    } else {
        "🔵"
    }
}

fn of_severity(plan: &Plan, severity: Severity) -> impl Iterator<Item = &Finding> {
    let of = move |finding: &&Finding| finding.severity == severity && finding.is_open();
    plan.findings.iter().filter(of)
}

fn gates(plan: &Plan) -> Option<Part> {
    let mut rows = Vec::new();
    for gate in plan.gates() {
        let asking: Vec<_> = plan
            .pending()
            .filter(|action| action.gate.as_ref() == Some(gate))
            .map(|action| prose(&gate_words(action)))
            .collect();
        rows.push(vec![asking.join("<br>"), format!("`--allow {gate}`")]);
    }
    table(
        "gates",
        "Needs your yes",
        &["What it does", "Yes with"],
        rows,
    )
}

fn findings(plan: &Plan) -> Option<Part> {
    let rows: Vec<_> = plan
        .findings
        .iter()
        .filter(|finding| finding.severity != Severity::Note)
        .map(finding)
        .collect();
    list("findings", "#### Findings\n\n", rows, "\n")
}

fn notes(plan: &Plan) -> Option<Part> {
    let notes = plan.findings.iter();
    let notes = notes.filter(|f| f.severity == Severity::Note && !f.fixed_by_plan);
    let rows: Vec<_> = notes.map(finding).collect();
    let head = format!(
        "<details><summary>{}</summary>\n\n",
        count(rows.len(), "note", "notes")
    );
    list("notes", &head, rows, "\n</details>\n\n")
}

fn finding(finding: &Finding) -> String {
    let mark = match finding.severity {
        Severity::Error => "❌",
        Severity::Warning => "⚠️",
        Severity::Note => "ℹ️",
    };
    let mut text = format!(
        "- {mark} **{}** `{}` {}\n",
        finding.code,
        finding.address,
        prose(&finding.message)
    );
    for line in &finding.because {
        let _ = writeln!(text, "  - {}", prose(line));
    }
    match (&finding.fix, finding.fixed_by_plan) {
        (_, true) => text.push_str("  - fixed by this plan\n"),
        (Some(fix), false) => {
            let _ = writeln!(text, "  - → {}", prose(fix));
        }
        (None, false) => {}
    }
    if finding.is_beside() {
        text.push_str("  - left out of this part\n");
    }
    text
}

fn changes(plan: &Plan) -> Option<Part> {
    let mut rows = Vec::new();
    for (node, actions) in changes_by_node(plan) {
        for action in actions {
            let (sign, word) = kind(action);
            rows.push(vec![
                format!("`{node}`"),
                format!("{} {word}", if sign == "+" { "➕" } else { "✏️" }),
                prose(&change(action)),
                prose(&why(action)),
            ]);
        }
    }
    table("changes", "Changes", &["Node", "", "What", "Why"], rows)
}

fn data(plan: &Plan) -> Option<Part> {
    let rows = plan
        .actions
        .iter()
        .filter(|action| action.step.moves_data());
    let rows = rows.map(|action| {
        let (_, name) = label(action);
        let word = kind(action).1;
        vec![
            word.to_owned(),
            format!("`{name}`"),
            prose(&data_words(action)),
        ]
    });
    table("copies", "Copies", &["", "Which", "What"], rows)
}

fn capacity(plan: &Plan) -> Option<Part> {
    let lines = plan.capacity.iter().filter(|line| changes_space(line));
    let rows = lines.map(|line| {
        let after = line.free_after.map(|after| after.to_string());
        vec![
            prose(&format!("{}:{}", line.node, line.mount)),
            line.free_before.to_string(),
            after.unwrap_or_else(|| "not known".to_owned()),
            line.reserve.to_string(),
        ]
    });
    let columns = ["Where", "Free now", "Free after, at worst", "Reserve"];
    table("capacity", "Capacity", &columns, rows)
}

fn policy(plan: &Plan) -> Option<Part> {
    let shown = plan.policy.iter().filter(|line| has_news(line));
    let rows = shown.map(|line| {
        let standing = match line.verdict {
            Verdict::Pass => "✅ holds",
            Verdict::Deny | Verdict::Short => "❌ does not hold",
            Verdict::Warn if line.standing => "⚠️ worth a look",
            Verdict::Warn => "⚠️ holds after a later phase",
            Verdict::Unknown => "⚠️ not all was seen",
            Verdict::LeftOut => "⚠️ not by this part",
            Verdict::Waived => "➖ set aside",
            Verdict::NotChecked => "➖ not checked",
        };
        vec![prose(&line.rule), prose(&line.detail), standing.to_owned()]
    });
    table("policy", "Policy after this plan", &["Rule", "", ""], rows)
}

fn phases(plan: &Plan) -> Option<Part> {
    let rows = plan.phases.iter().map(|line| {
        vec![
            format!("`{}`", line.name),
            phase(line.state).to_owned(),
            prose(&line.reason),
        ]
    });
    let rows = rows.filter(|_| has_phases(plan));
    table("phases", "Phases", &["Phase", "", "Why"], rows)
}

/// Draws what would be copied, synced and restored between sources and datastores.
fn graph(plan: &Plan) -> Option<Part> {
    let mut picture = Picture::default();
    for action in plan.pending() {
        match &action.step {
            Step::Copy {
                source, datastore, ..
            } => {
                let (from, to) = (
                    picture.source(plan, source),
                    picture.datastore(plan, datastore),
                );
                picture.arrows.push(format!("  {from} -->|copy| {to}\n"));
            }
            Step::Sync { from, to, .. } => {
                let (from, to) = (picture.datastore(plan, from), picture.datastore(plan, to));
                picture.arrows.push(format!("  {from} -->|sync| {to}\n"));
            }
            Step::Drill { source, from, .. } => {
                let (from, to) = (picture.datastore(plan, from), picture.source(plan, source));
                picture.arrows.push(format!("  {from} -.->|drill| {to}\n"));
            }
            _ => {}
        }
    }
    let mut rows = picture.shapes;
    rows.extend(picture.arrows);
    (!rows.is_empty()).then(|| Part {
        name: "the picture",
        head: "```mermaid\nflowchart LR\n".to_owned(),
        rows,
        tail: "```\n\n",
        more: None,
    })
}

/// Collects the shapes and arrows of a Mermaid flowchart, each shape once.
#[derive(Default)]
struct Picture {
    known: Vec<String>,
    shapes: Vec<String>,
    arrows: Vec<String>,
}

impl Picture {
    fn source(&mut self, plan: &Plan, name: &Name) -> String {
        let node = plan.topology.sources.get(name).map(|source| &source.on);
        self.shape(&format!("source {name}"), ["([", "])"], name, node)
    }

    fn datastore(&mut self, plan: &Plan, name: &Name) -> String {
        let datastore = plan.topology.datastores.get(name);
        let place = datastore.and_then(|datastore| datastore.first_place());
        let node = place.map(|place| &place.node);
        self.shape(&format!("datastore {name}"), ["[(", ")]"], name, node)
    }

    /// Returns the id of a shape, which is drawn when it is needed first.
    fn shape(&mut self, what: &str, edge: [&str; 2], name: &Name, node: Option<&Name>) -> String {
        if let Some(number) = self.known.iter().position(|known| known == what) {
            return format!("n{number}");
        }
        let id = format!("n{}", self.known.len());
        let [open, close] = edge;
        let on = node.map_or_else(String::new, |node| format!("<br>on {node}"));
        self.shapes
            .push(format!("  {id}{open}\"{name}{on}\"{close}\n"));
        self.known.push(what.to_owned());
        id
    }
}

/// Returns the plan as the terminal has it, folded.
fn whole(plan: &Plan) -> Part {
    let style = Style {
        color: false,
        width: DETAIL_COLUMNS,
        detail: true,
        took: None,
        next: true,
    };
    let text = super::render(plan, &style);
    let fence = "`".repeat(longest_run(&text, '`').max(2) + 1);
    Part {
        name: "the plan as text",
        head: format!("<details><summary>The plan as text</summary>\n\n{fence}text\n"),
        rows: vec![text, format!("\n{fence}\n")],
        tail: "\n</details>\n\n",
        more: None,
    }
}

fn longest_run(text: &str, of: char) -> usize {
    let runs = text.split(|c| c != of);
    runs.map(str::len).max().unwrap_or(0)
}
