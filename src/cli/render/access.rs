//! The way of each writer to a datastore, as a small picture.

use crate::cli::render::text::{Page, Style, Tone, columns, escape, pad};
use crate::plan::chain::{Chain, Role, Verdict};

/// Draws the ways; one paragraph a writer, one line a station.
pub fn render_access(datastore: &str, chains: &[Chain], style: &Style) -> String {
    let mut page = Page::new(style);
    page.heading(&format!("datastore.{datastore}: who may write, hop by hop"));
    for chain in chains {
        page.gap();
        page.line(match chain.role {
            Role::Making => "making it, as whoever logs in",
            Role::Writing => "writing backups, as its owner",
        });
        let width = |texts: &mut dyn Iterator<Item = &String>| {
            texts.map(|text| columns(&escape(text))).max().unwrap_or(0)
        };
        let places = width(&mut chain.hops.iter().map(|hop| &hop.place));
        let people = width(&mut chain.hops.iter().map(|hop| &hop.who));
        for (number, hop) in chain.hops.iter().enumerate() {
            let arrow = if number == 0 { " " } else { "↓" };
            let lead = format!(
                "  {arrow} {}  {}  ",
                pad(&escape(&hop.place), places),
                pad(&escape(&hop.who), people)
            );
            let why = escape(&hop.why);
            page.hanging(&lead, columns(&lead), &why, Some(Tone::Quiet));
        }
        let (mark, tone, text) = match &chain.verdict {
            Verdict::MayWrite => ("✓", Tone::Good, "may write".to_owned()),
            Verdict::Unknown(why) => ("?", Tone::Caution, format!("can't be told: {why}")),
            Verdict::Denied(denial) => (
                "✗",
                Tone::Bad,
                format!("{} → \"{}\" [{}]", denial.at, denial.symptom, denial.code),
            ),
        };
        let lead = format!("  {} ", style.paint(tone, mark));
        page.hanging(&lead, 4, &escape(&text), None);
        if let Verdict::Denied(denial) = &chain.verdict {
            page.hanging("    fix: ", 9, &escape(&denial.fix), None);
        }
    }
    page.finish()
}
