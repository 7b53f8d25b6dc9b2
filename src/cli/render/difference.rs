//! What differs between two topologies, for a terminal and for a pull request.

use super::markdown::{Part, comment, list, prose, table};
use super::text::{Page, Style, Tone, columns, count, escape, pad};
use crate::plan::difference::{Attribute, Change, ChangeKind, Difference};

/// Returns a difference as text for people: what deserves a second look first.
pub fn render_difference(difference: &Difference, style: &Style) -> String {
    let mut page = Page::new(style);
    if difference.is_empty() {
        page.line(&format!("{}: nothing differs", difference.topology));
        return page.finish();
    }
    let hazards = &difference.hazards;
    if !hazards.is_empty() {
        page.heading("Look at these first");
        let addresses = hazards.iter().map(|hazard| hazard.address.to_string());
        let width = addresses
            .map(|address| columns(&address))
            .max()
            .unwrap_or(0);
        for hazard in hazards {
            let lead = format!(
                "  {} {}  ",
                style.paint(Tone::Caution, "!"),
                pad(&hazard.address.to_string(), width)
            );
            page.hanging(&lead, width + 6, &escape(&hazard.message), None);
        }
    }
    page.heading("Differences");
    for change in &difference.changes {
        let (sign, tone) = match change.kind {
            ChangeKind::Added => ("+", Tone::Good),
            ChangeKind::Removed => ("-", Tone::Bad),
            ChangeKind::Changed => ("~", Tone::Caution),
        };
        page.line(&format!("  {} {}", style.paint(tone, sign), change.address));
        let names = change
            .attributes
            .iter()
            .map(|attribute| columns(&escape(&attribute.name)));
        let width = names.max().unwrap_or(0).min(28);
        for attribute in &change.attributes {
            let lead = format!("      {}  ", pad(&escape(&attribute.name), width));
            let taken = columns(&lead);
            page.hanging(&lead, taken, &escape(&values(change, attribute)), None);
        }
    }
    page.gap();
    page.line(&summary(difference));
    page.finish()
}

/// Says what a value was and is.
fn values(change: &Change, attribute: &Attribute) -> String {
    let unset = || "not set".to_owned();
    let before = attribute.before.clone().unwrap_or_else(unset);
    let after = attribute.after.clone().unwrap_or_else(unset);
    match change.kind {
        ChangeKind::Added => after,
        ChangeKind::Removed => before,
        ChangeKind::Changed => format!("{before} → {after}"),
    }
}

fn summary(difference: &Difference) -> String {
    let of = |kind| {
        let changes = difference.changes.iter();
        changes.filter(|change| change.kind == kind).count()
    };
    let mut parts = Vec::new();
    for (kind, word) in [
        (ChangeKind::Added, "added"),
        (ChangeKind::Changed, "changed"),
        (ChangeKind::Removed, "removed"),
    ] {
        if of(kind) > 0 {
            parts.push(format!("{} {word}", of(kind)));
        }
    }
    if !difference.hazards.is_empty() {
        parts.push(count(
            difference.hazards.len(),
            "to look at first",
            "to look at first",
        ));
    }
    parts.join(", ")
}

/// Returns a difference as Markdown for a comment, of at most 60,000 bytes.
pub fn markdown(difference: &Difference) -> String {
    let name = &difference.topology;
    let marker = format!("<!-- bkpctl diff {name} -->\n");
    if difference.is_empty() {
        return format!("{marker}### ✅ `{name}`: nothing differs\n");
    }
    let sign = if difference.hazards.is_empty() {
        "🔵"
    } else {
        "⚠️"
    };
    let head = format!("{marker}### {sign} `{name}`: {}\n\n", summary(difference));
    let foot = format!("bkpctl {}\n", env!("CARGO_PKG_VERSION"));
    comment(
        &head,
        [hazards(difference), changes(difference)],
        &foot,
        "bkpctl diff",
    )
}

fn hazards(difference: &Difference) -> Option<Part> {
    let rows = difference.hazards.iter();
    let rows = rows.map(|hazard| format!("- ⚠️ `{}` {}\n", hazard.address, prose(&hazard.message)));
    list(
        "what to look at",
        "#### Look at these first\n\n",
        rows.collect(),
        "\n",
    )
}

fn changes(difference: &Difference) -> Option<Part> {
    let mut rows = Vec::new();
    for change in &difference.changes {
        let sign = match change.kind {
            ChangeKind::Added => "➕",
            ChangeKind::Removed => "➖",
            ChangeKind::Changed => "✏️",
        };
        let thing = format!("{sign} `{}`", change.address);
        if change.attributes.is_empty() {
            rows.push(vec![
                thing.clone(),
                String::new(),
                String::new(),
                String::new(),
            ]);
        }
        for (number, attribute) in change.attributes.iter().enumerate() {
            let value = |value: &Option<String>| value.as_deref().map(prose).unwrap_or_default();
            rows.push(vec![
                if number == 0 {
                    thing.clone()
                } else {
                    String::new()
                },
                prose(&attribute.name),
                value(&attribute.before),
                value(&attribute.after),
            ]);
        }
    }
    table(
        "differences",
        "Differences",
        &["What", "", "Before", "After"],
        rows,
    )
}
