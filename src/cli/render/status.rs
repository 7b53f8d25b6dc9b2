//! The state of protection as a table: how old each copy is, and how well it is proven.

use crate::cli::render::forecast;
use crate::cli::render::text::{self, Page, Style, Tone, escape, pad};
use crate::model::Name;
use crate::plan::change::{CopyState, Finding, Plan, ProofState, Protection, Severity};
use crate::plan::forecast::ForecastOutlook;

/// A cell of the table: its text and how it is to be seen.
struct Cell {
    text: String,
    tone: Option<Tone>,
}

/// Returns the state of every copy and proof of a plan as text for people.
pub fn render_status(plan: &Plan, style: &Style) -> String {
    let mut page = Page::new(style);
    if plan.protection.is_empty() {
        page.line("No job copies anything yet.");
    } else {
        let rows = table(plan);
        if wanted_columns(&rows) <= style.columns() {
            wide(&mut page, &rows, style);
        } else {
            narrow(&mut page, plan, style);
        }
    }
    space(&mut page, plan, style);
    lost(&mut page, plan, style);
    page.hanging("", 0, &format!("Next: {}", next(plan)), Some(Tone::Heading));
    page.finish()
}

/// Returns items in the order in which they first appear.
fn distinct<'a>(items: impl Iterator<Item = &'a Name>) -> Vec<&'a Name> {
    let mut seen: Vec<&Name> = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}

fn table(plan: &Plan) -> Vec<Vec<Cell>> {
    let stores = distinct(plan.protection.iter().map(|copy| &copy.datastore));
    let sources = distinct(plan.protection.iter().map(|copy| &copy.source));
    let heading = |text: &str| Cell {
        text: text.to_owned(),
        tone: Some(Tone::Heading),
    };
    let mut head = vec![heading("source")];
    head.extend(stores.iter().map(|store| heading(store.as_str())));
    head.push(heading("proof"));
    let mut rows = vec![head];
    for source in sources {
        let mut row = vec![Cell {
            text: source.to_string(),
            tone: None,
        }];
        row.extend(stores.iter().map(|store| {
            let copy = plan
                .protection
                .iter()
                .find(|copy| copy.source == *source && copy.datastore == **store);
            copy.map_or_else(nothing, copy_cell)
        }));
        row.push(proof_cell(plan, source));
        rows.push(row);
    }
    rows
}

fn nothing() -> Cell {
    Cell {
        text: "–".to_owned(),
        tone: Some(Tone::Quiet),
    }
}

fn copy_cell(copy: &Protection) -> Cell {
    let age = copy.age.map_or_else(String::new, |age| age.to_string());
    let (text, tone) = match copy.state {
        CopyState::Fresh => (format!("{age} ✓"), Some(Tone::Good)),
        CopyState::Late => {
            let allowed = copy.rpo.map_or_else(String::new, |rpo| format!(" ({rpo})"));
            (format!("✗ {age}{allowed}"), Some(Tone::Bad))
        }
        CopyState::Missing => ("✗ none".to_owned(), Some(Tone::Bad)),
        CopyState::Unknown => ("? not seen".to_owned(), Some(Tone::Caution)),
        CopyState::Waiting if age.is_empty() => ("later".to_owned(), Some(Tone::Quiet)),
        CopyState::Waiting => (format!("{age}, later"), Some(Tone::Quiet)),
    };
    Cell { text, tone }
}

/// Returns the newest proof of a source, or the worst news about it.
fn proof_cell(plan: &Plan, source: &Name) -> Cell {
    let of: Vec<&ProofState> = plan.proofs.iter().filter(|p| p.source == *source).collect();
    let Some(proof) = of
        .iter()
        .copied()
        .max_by_key(|proof| (proof.passed, proof.state != CopyState::Waiting))
    else {
        return nothing();
    };
    let Some(age) = proof.age else {
        let (text, tone) = match proof.state {
            CopyState::Waiting => ("later", Tone::Quiet),
            CopyState::Unknown => ("? not seen", Tone::Caution),
            _ => ("✗ never", Tone::Bad),
        };
        return Cell {
            text: text.to_owned(),
            tone: Some(tone),
        };
    };
    let restored = format!(
        "restored {}, {}",
        proof.bytes,
        text::count(proof.files as usize, "entry", "entries")
    );
    if proof.state == CopyState::Late {
        let within = proof.within.map_or_else(String::new, |w| format!(" ({w})"));
        Cell {
            text: format!("✗ {age}{within} {restored}"),
            tone: Some(Tone::Bad),
        }
    } else {
        Cell {
            text: format!("{age} ✓ {restored}"),
            tone: Some(Tone::Good),
        }
    }
}

fn widths(rows: &[Vec<Cell>]) -> Vec<usize> {
    let columns = rows.first().map_or(0, Vec::len);
    (0..columns)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells
                .map(|cell| text::columns(&cell.text))
                .max()
                .unwrap_or(0)
        })
        .collect()
}

fn wanted_columns(rows: &[Vec<Cell>]) -> usize {
    let widths = widths(rows);
    widths.iter().sum::<usize>() + 3 * widths.len().saturating_sub(1)
}

fn wide(page: &mut Page<'_>, rows: &[Vec<Cell>], style: &Style) {
    let widths = widths(rows);
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| {
                // The last column is not filled, so that no line ends in spaces.
                let last = column + 1 == row.len();
                let filled = pad(&cell.text, if last { 0 } else { *width });
                match cell.tone {
                    Some(tone) => style.paint(tone, &filled),
                    None => filled,
                }
            })
            .collect();
        page.line(&cells.join("   "));
    }
}

/// Lists the table's cells one a line, for narrow terminals and many datastores.
fn narrow(page: &mut Page<'_>, plan: &Plan, style: &Style) {
    for source in distinct(plan.protection.iter().map(|copy| &copy.source)) {
        page.line(&style.paint(Tone::Heading, source.as_str()));
        let copies = plan.protection.iter().filter(|c| c.source == *source);
        let mut cells: Vec<(&str, Cell)> = copies
            .map(|copy| (copy.datastore.as_str(), copy_cell(copy)))
            .collect();
        cells.push(("proof", proof_cell(plan, source)));
        let width = cells.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, cell) in cells {
            let lead = format!("  {}  ", pad(name, width));
            page.hanging(&lead, width + 4, &cell.text, cell.tone);
        }
    }
}

fn space(page: &mut Page<'_>, plan: &Plan, style: &Style) {
    let lines: Vec<String> =
        plan.capacity
            .iter()
            .filter(|line| line.total.0 > 0)
            .map(|line| {
                let used = line.total.0.saturating_sub(line.free_before.0);
                let percent = u128::from(used) * 100 / u128::from(line.total.0);
                let short = if line.free_before < line.reserve {
                    format!(", below its reserve of {}", line.reserve)
                } else {
                    String::new()
                };
                let foreseen = plan.forecast.iter().find(|foreseen| {
                    (&foreseen.node, &foreseen.mount) == (&line.node, &line.mount)
                });
                let foreseen = foreseen
                    .filter(|seen| !matches!(seen.outlook, ForecastOutlook::Unknown(_)))
                    .filter(|_| short.is_empty())
                    .map(|seen| format!(", {}", forecast::when(seen, plan.now)));
                let foreseen = foreseen.unwrap_or_default();
                format!(
                    "{}:{} {percent} % used, {} free{short}{foreseen}",
                    line.node,
                    escape(&line.mount),
                    line.free_before
                )
            })
            .collect();
    if !lines.is_empty() {
        page.gap();
        let label = style.paint(Tone::Heading, &pad("Space", 10));
        page.hanging(&label, 10, &lines.join(" · "), None);
    }
}

fn lost(page: &mut Page<'_>, plan: &Plan, style: &Style) {
    for node in &plan.nodes {
        if let Some(why) = &node.unreachable {
            let label = style.paint(Tone::Caution, &pad("Not seen", 10));
            let words = format!("{}: {}", node.name, escape(why));
            page.hanging(&label, 10, &words, None);
        }
    }
}

fn next(plan: &Plan) -> String {
    let open = |finding: &&Finding| finding.severity == Severity::Error && finding.is_open();
    let (rules, causes): (Vec<&Finding>, Vec<&Finding>) = plan
        .findings
        .iter()
        .filter(open)
        .partition(|finding| finding.address.kind() == "policy");
    // A rule that is broken says less than what waits, and what waits less than why.
    if let Some(finding) = causes.first() {
        return finding_words(finding);
    }
    let waiting = plan
        .actions
        .iter()
        .find_map(|action| action.deferred.as_ref());
    match (plan.pending().count(), waiting, rules.first()) {
        (0, None, None) => "nothing to do".to_owned(),
        (0, None, Some(rule)) => finding_words(rule),
        (0, Some(why), _) => format!("{} · bkpctl plan says more", escape(why)),
        (n, _, _) => format!(
            "bkpctl plan shows {} to do, bkpctl apply does {}",
            text::count(n, "thing", "things"),
            if n == 1 { "it" } else { "them" }
        ),
    }
}

fn finding_words(finding: &Finding) -> String {
    format!(
        "{}: {} · bkpctl plan says more",
        finding.address,
        escape(&finding.message)
    )
}
