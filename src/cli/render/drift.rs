//! Drift, for people: what changed, from what to what.

use crate::cli::render::text::{self, Style, Tone, escape, pad};
use crate::model::Name;
use crate::plan::drift::{Drift, Late, LateKind};

/// Writes what is no longer as it was, a line each.
pub fn render(drift: &Drift, style: &Style) -> String {
    let mut lines = Vec::new();
    let rows = rows(drift);
    let width = rows.iter().map(|(what, _)| text::columns(what)).max();
    for (what, words) in &rows {
        let what = pad(what, width.unwrap_or(0));
        lines.push(format!(
            "  {} {what}  {words}",
            style.paint(Tone::Caution, "~")
        ));
    }
    let mut head = if drift.is_none() {
        let words = match drift.part {
            Some(_) => "No drift in this part:",
            None => "No drift:",
        };
        let of = &drift.topology;
        let told = if drift.applied {
            format!("what was applied to {of} is as it was put there")
        } else {
            format!("nothing of {of} was found in place")
        };
        format!("{} {told}", style.paint(Tone::Good, words))
    } else {
        let count = text::count(rows.len(), "thing is", "things are");
        format!(
            "{} {count} not as applied to {}",
            style.paint(Tone::Bad, "Drift:"),
            drift.topology
        )
    };
    if !drift.unreachable.is_empty() {
        let nodes: Vec<&str> = drift.unreachable.iter().map(Name::as_str).collect();
        head = format!("{head}, not reached: {}", nodes.join(", "));
    }
    lines.insert(0, head);
    if drift.pending > 0 {
        let count = text::count(drift.pending, "change", "changes");
        lines.push(format!(
            "Besides, the topology wants {count} that nothing has yet: bkpctl plan"
        ));
    }
    if let Some(part) = &drift.part {
        let options = part.selection.options().join(" ");
        lines.push(match part.left_out {
            0 => format!("Nothing that {options} leaves out has drifted."),
            n => {
                let more = text::count(n, "more thing has", "more things have");
                format!("{more} drifted that {options} leaves out: bkpctl drift shows all.")
            }
        });
    }
    if !drift.is_none() {
        lines.push(
            "Next: bkpctl plan shows what puts it back; bkpctl log, what was applied".to_owned(),
        );
    }
    lines.join("\n")
}

fn rows(drift: &Drift) -> Vec<(String, String)> {
    let changed = drift.changed.iter().map(|changed| {
        let is = changed.is.as_deref().unwrap_or("gone");
        (
            format!("{} {}", changed.address, changed.what),
            format!("{} → {}", escape(is), escape(&changed.should)),
        )
    });
    let troubles = drift.troubles.iter().map(|trouble| {
        (
            trouble.address.to_string(),
            format!("{} {}", trouble.code, escape(&trouble.message)),
        )
    });
    changed
        .chain(troubles)
        .chain(drift.late.iter().map(late))
        .collect()
}

fn late(late: &Late) -> (String, String) {
    let kind = match late.kind {
        LateKind::Copy => "copy",
        LateKind::Proof => "proof",
    };
    let is = late
        .age
        .map_or_else(|| "gone".to_owned(), |age| format!("{age} old"));
    let allowed = late
        .allowed
        .map_or_else(String::new, |allowed| format!(", allowed {allowed}"));
    (
        format!("{kind} {} → {}", late.source, late.datastore),
        format!("{is}{allowed}"),
    )
}
