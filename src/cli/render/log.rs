//! The log as text: a day is a heading, an event is a line.

use std::fmt::Write;
use std::time::Duration;

use crate::cli::render::text::{Page, Style, Tone, columns, count, escape, pad, took};
use crate::model::journal::{Event, JournalLine};
use crate::model::log::{Log, LogEntry, LogNode};

/// The longest text of one event that is shown without `--detail`.
const WORDS_MAX: usize = 400;

/// How much of a plan's digest is shown; `--plan` takes as much.
const PLAN_CHARS: usize = 12;

/// Returns a log as text for people.
///
/// A beginning whose end is there too says nothing more than the end, so it is left to the
/// details.
pub fn render_log(log: &Log, style: &Style) -> String {
    let mut page = Page::new(style);
    let shown: Vec<&LogEntry> = log
        .entries
        .iter()
        .filter(|entry| {
            style.detail || entry.line.event != Event::Begin || entry.ended != Some(true)
        })
        .collect();
    let widest = |text: &dyn Fn(&LogEntry) -> String| {
        let widths = shown.iter().map(|entry| columns(&text(entry)));
        widths.max().unwrap_or(0)
    };
    let widths = (widest(&|e| e.node.to_string()), widest(&address));
    let mut day = String::new();
    for entry in &shown {
        let time = entry.line.time.to_string();
        let (date, clock) = time.split_once('T').unwrap_or((&time, ""));
        if date != day {
            date.clone_into(&mut day);
            page.heading(&format!("{day} UTC"));
        }
        event(&mut page, entry, clock.trim_end_matches('Z'), widths, style);
    }
    page.gap();
    for node in &log.nodes {
        for (tone, words) in notes(node) {
            let lead = match tone {
                Tone::Bad => "✗ ",
                _ => "⚠ ",
            };
            page.hanging(&style.paint(tone, lead), 2, &escape(&words), None);
        }
    }
    page.line(&style.paint(Tone::Quiet, &summary(log, shown.len())));
    page.finish()
}

fn event(
    page: &mut Page<'_>,
    entry: &LogEntry,
    clock: &str,
    widths: (usize, usize),
    style: &Style,
) {
    let line = &entry.line;
    let (mark, tone) = match &line.event {
        Event::Done | Event::Closed => ("✓", Some(Tone::Good)),
        Event::Failed | Event::BrokenOff => ("✗", Some(Tone::Bad)),
        Event::Opened | Event::Begin if entry.ended == Some(false) => ("…", Some(Tone::Caution)),
        Event::Opened | Event::Begin | Event::Other(_) => ("·", Some(Tone::Quiet)),
    };
    let lead = format!(
        "  {}  {} {}  {}  ",
        style.paint(Tone::Quiet, &pad(clock, 8)),
        tone.map_or_else(|| mark.to_owned(), |tone| style.paint(tone, mark)),
        pad(entry.node.as_str(), widths.0),
        pad(&address(entry), widths.1),
    );
    // Two, the time, two, the mark, and the gaps after it, after the node and the address.
    let lead_columns = 2 + 8 + 2 + 1 + 1 + widths.0 + 2 + widths.1 + 2;
    let tone = (line.event == Event::Failed).then_some(Tone::Bad);
    let words = words(entry, style.detail);
    // Where addresses are long the words go below, so that they have room.
    if lead_columns + 30 > style.columns() {
        page.line(&lead);
        page.hanging("            ", 12, &words, tone);
    } else {
        page.hanging(&lead, lead_columns, &words, tone);
    }
}

fn address(entry: &LogEntry) -> String {
    let address = entry.line.address.as_ref();
    address.map_or_else(String::new, |address| escape(&address.to_string()))
}

fn words(entry: &LogEntry, detail: bool) -> String {
    let line = &entry.line;
    let mut words = match &line.event {
        Event::Opened => opening(line),
        _ => escape(&line.words),
    };
    if !detail && words.chars().count() > WORDS_MAX {
        words = words.chars().take(WORDS_MAX).collect();
        words.push('…');
    }
    let prefix = match &line.event {
        Event::Done => String::new(),
        Event::Failed => "failed: ".to_owned(),
        Event::Closed => "apply ended: ".to_owned(),
        Event::BrokenOff => "apply broken off: ".to_owned(),
        Event::Opened if entry.ended == Some(false) => {
            "apply began, and no end is written: ".to_owned()
        }
        Event::Opened => "apply begins: ".to_owned(),
        Event::Begin if entry.ended == Some(false) => "began, and no end is written: ".to_owned(),
        Event::Begin => "begins: ".to_owned(),
        Event::Other(word) => format!("{}: ", escape(word)),
    };
    let mut parts = vec![format!("{prefix}{words}")];
    parts.extend(entry.took_ms.map(|ms| took(Duration::from_millis(ms))));
    parts.extend(line.job.as_ref().map(|job| format!("run {job}")));
    if let Some(plan) = line.plan.as_ref().filter(|_| detail) {
        let start: String = plan.chars().take(PLAN_CHARS).collect();
        parts.push(format!("plan {}", escape(&start)));
    }
    parts.join(" · ")
}

/// Says who carries out how much, and what was said yes to.
fn opening(line: &JournalLine) -> String {
    let mut words = count(line.actions.len(), "change", "changes");
    if let Some(holder) = &line.holder {
        let _ = write!(words, ", by {}", escape(holder));
    }
    if !line.allowed.is_empty() {
        let _ = write!(words, ", allowed {}", escape(&line.allowed.join(", ")));
    }
    words
}

/// Says what of a node's journal is not told.
fn notes(node: &LogNode) -> Vec<(Tone, String)> {
    let name = &node.name;
    let mut notes = Vec::new();
    if let Some(why) = &node.unreachable {
        notes.push((
            Tone::Bad,
            format!("{name}: its journal was not read: {why}"),
        ));
    }
    if node.broken > 0 {
        let lines = count(node.broken, "line", "lines");
        let verbs = if node.broken == 1 {
            "makes no sense and is"
        } else {
            "make no sense and are"
        };
        let words = format!("{name}: {lines} of its journal {verbs} left out");
        notes.push((Tone::Caution, words));
    }
    if node.torn {
        let words =
            "its journal's last line has no end, as after a power loss or while it is written";
        notes.push((Tone::Caution, format!("{name}: {words}")));
    }
    if let Some(since) = &node.only_since {
        let words = format!("{name}: only the end of its journal was read, from {since} on");
        notes.push((Tone::Caution, words));
    }
    notes
}

fn summary(log: &Log, shown: usize) -> String {
    if shown == 0 {
        return "Nothing that fits is in the journals; bkpctl apply and bkpctl run write there."
            .to_owned();
    }
    let events = count(shown, "event", "events");
    let nodes = count(log.nodes.len(), "node", "nodes");
    let failed = log.entries.iter().filter(|e| e.line.event == Event::Failed);
    match failed.count() {
        0 => format!("{events}, {nodes}."),
        failed => format!("{events}, {failed} failed, {nodes}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::journal::{Journal, JournalLine};
    use crate::model::log::merge;
    use crate::model::{Name, Timestamp};

    const STYLE: Style = Style {
        color: false,
        width: 100,
        detail: false,
        took: None,
        next: true,
    };

    fn line(seconds: i64, event: Event, words: &str) -> JournalLine {
        JournalLine {
            address: "copy.etc/primary".parse().ok(),
            action: Some(1),
            ..JournalLine::new(Timestamp::from_seconds(seconds), event, words)
        }
    }

    #[test]
    fn a_log_shows_ends_what_has_none_and_what_is_missing() {
        let name = |text| Name::new(text).expect("a name");
        let lines = vec![
            line(86_398, Event::Begin, "etc in primary"),
            line(86_399, Event::Done, "stored 3 MiB"),
            line(86_401, Event::Begin, "etc in primary"),
            line(86_402, Event::Failed, "no \u{1b}[2J space"),
            line(86_403, Event::Begin, "etc in primary"),
        ];
        let journal = Journal {
            lines,
            broken: 2,
            torn: true,
            cut: true,
            ..Journal::default()
        };
        let journals = [
            (name("nas"), Ok(journal)),
            (name("pbs"), Err("timed out".to_owned())),
        ];
        let log = merge(&name("t"), journals.into());
        let text = render_log(&log, &STYLE);
        assert_eq!(
            text,
            "1970-01-01 UTC
  23:59:59  ✓ nas  copy.etc/primary  stored 3 MiB · 1.0 s

1970-01-02 UTC
  00:00:02  ✗ nas  copy.etc/primary  failed: no \\x1b[2J space · 1.0 s
  00:00:03  … nas  copy.etc/primary  began, and no end is written: etc in primary

⚠ nas: 2 lines of its journal make no sense and are left out
⚠ nas: its journal's last line has no end, as after a power loss or while it is written
⚠ nas: only the end of its journal was read, from 1970-01-01T23:59:58Z on
✗ pbs: its journal was not read: timed out
3 events, 1 failed, 2 nodes.
"
        );
        let detailed = Style {
            detail: true,
            ..STYLE
        };
        assert!(render_log(&log, &detailed).contains("begins: etc in primary"));
    }
}
