//! Mistakes of a topology, for people.

use std::fmt::{self, Write as _};

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents,
    SourceCode, SourceSpan, SpanContents,
};

use schemars::JsonSchema;
use serde::Serialize;

use crate::config::{Diagnostic, Severity, Sources};

/// What `bkpctl validate --json` says; `schemas/validate.v1.json` describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Validation {
    /// The version of this form.
    pub format: u32,
    /// Whether there is no error.
    pub valid: bool,
    /// How many errors there are.
    pub errors: usize,
    /// How many warnings there are.
    pub warnings: usize,
    /// Everything that was found, in the order of the files.
    pub diagnostics: Vec<Diagnostic>,
}

impl Validation {
    /// Sums up what reading a topology came to.
    pub fn new(diagnostics: Vec<Diagnostic>) -> Self {
        let errors = of(&diagnostics, Severity::Error);
        Self {
            format: 1,
            valid: errors == 0,
            errors,
            warnings: of(&diagnostics, Severity::Warning),
            diagnostics,
        }
    }
}

fn of(all: &[Diagnostic], severity: Severity) -> usize {
    all.iter().filter(|d| d.severity == severity).count()
}

/// The longest line of a topology that is shown.
const LINE_LEN_MAX: usize = 400;

/// Returns diagnostics as text: what, where in the file, what to do, and a count at the end.
pub fn diagnostics(all: &[Diagnostic], sources: &Sources, color: bool, width: usize) -> String {
    let mut out = String::new();
    for diagnostic in all {
        one(&mut out, diagnostic, sources, color, width);
        out.push('\n');
    }
    out.push_str(&closing(all));
    out
}

fn one(out: &mut String, d: &Diagnostic, sources: &Sources, color: bool, width: usize) {
    let (word, paint) = match d.severity {
        Severity::Error => ("error", anstyle::AnsiColor::Red.on_default().bold()),
        Severity::Warning => ("warning", anstyle::AnsiColor::Yellow.on_default().bold()),
    };
    let message = visible(&d.message);
    if color {
        let _ = writeln!(out, "{paint}{word}[{}]{paint:#}: {message}", d.code);
    } else {
        let _ = writeln!(out, "{word}[{}]: {message}", d.code);
    }
    if let Some(snippet) = snippet(d, sources, color, width) {
        out.push_str(&snippet);
    } else {
        let p = &d.place;
        let _ = writeln!(out, "  at {}:{}:{}", visible(&p.file), p.line, p.column);
    }
    for related in &d.related {
        let p = &related.place;
        let _ = writeln!(
            out,
            "  see {}:{}: {}",
            visible(&p.file),
            p.line,
            visible(&related.text)
        );
    }
    if let Some(help) = &d.help {
        let _ = writeln!(out, "  help: {}", visible(help));
    }
}

/// Draws the line with its mark; `None` where there is nothing to draw, or far too much.
fn snippet(d: &Diagnostic, sources: &Sources, color: bool, width: usize) -> Option<String> {
    let text = sources.get(&d.place.file)?;
    let before = text.get(..d.place.offset)?;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let end = text[d.place.offset..]
        .find('\n')
        .map_or(text.len(), |at| d.place.offset + at);
    if end - start > LINE_LEN_MAX || text.is_empty() {
        return None;
    }
    // A mark over several lines says no more than one on the first.
    let len = d.place.len.min(end - d.place.offset);
    let report = Report {
        line: Line {
            file: visible(&d.place.file),
            text: visible(&text[start..end]),
            start,
            number: d.place.line as usize,
            column: d.place.column as usize,
        },
        label: LabeledSpan::new(d.label.as_deref().map(visible), d.place.offset, len),
    };
    let theme = if color {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(width.max(40))
        .with_context_lines(1)
        .without_syntax_highlighting();
    let mut drawn = String::new();
    handler.render_report(&mut drawn, &report).ok()?;
    // The first line is the handler's own heading, which says nothing here.
    drawn
        .split_once('\n')
        .map(|(_, picture)| picture.to_owned())
}

/// One line of a file, which is all that is shown of it.
#[derive(Debug)]
struct Line {
    file: String,
    text: String,
    /// Where it begins in the file.
    start: usize,
    /// Its number, from 1.
    number: usize,
    /// The column of the mark, from 1.
    column: usize,
}

impl SourceCode for Line {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        _: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        // Without context the handler asks for the mark, to print its place.
        let (span, column) = if lines_before == 0 {
            (*span, self.column - 1)
        } else {
            (SourceSpan::new(self.start.into(), self.text.len()), 0)
        };
        let range = span.offset() - self.start..span.offset() - self.start + span.len();
        let data = self
            .text
            .as_bytes()
            .get(range)
            .ok_or(MietteError::OutOfBounds)?;
        Ok(Box::new(MietteSpanContents::new_named(
            self.file.clone(),
            data,
            span,
            self.number - 1,
            column,
            1,
        )))
    }
}

/// What the handler needs to know: a line and one mark in it.
#[derive(Debug)]
struct Report {
    line: Line,
    label: LabeledSpan,
}

impl fmt::Display for Report {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl std::error::Error for Report {}

impl miette::Diagnostic for Report {
    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        Some(&self.line)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(std::iter::once(self.label.clone())))
    }
}

/// Replaces characters that a terminal obeys by visible ones of the same length, so that
/// places still fit.
fn visible(text: &str) -> String {
    let replaced = |c: char| match c {
        '\n' | '\t' => c,
        c if c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}') =>
        {
            match c.len_utf8() {
                1 => '?',
                2 => '¿',
                _ => '\u{fffd}',
            }
        }
        c => c,
    };
    text.chars().map(replaced).collect()
}

fn closing(all: &[Diagnostic]) -> String {
    let plural = |n: usize, word: &str| match n {
        0 => None,
        1 => Some(format!("1 {word}")),
        n => Some(format!("{n} {word}s")),
    };
    let counts: Vec<String> = [
        plural(of(all, Severity::Error), "error"),
        plural(of(all, Severity::Warning), "warning"),
    ]
    .into_iter()
    .flatten()
    .collect();
    match all.first() {
        None => String::new(),
        Some(first) => format!(
            "{}.   More about one: bkpctl explain {}\n",
            counts.join(", "),
            first.code
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Place;

    fn diagnostic(offset: usize, len: usize) -> Diagnostic {
        Diagnostic {
            code: "BK021".to_owned(),
            severity: Severity::Error,
            message: "sync \"second\" copies to a datastore that does not exist".to_owned(),
            place: Place {
                file: "topology.kdl".to_owned(),
                offset,
                len,
                line: 2,
                column: 6,
            },
            label: Some("no datastore is called \"aray\"".to_owned()),
            help: Some("did you mean \"array\"?".to_owned()),
            related: Vec::new(),
        }
    }

    fn sources(text: &str) -> Sources {
        [("topology.kdl".to_owned(), text.to_owned())].into()
    }

    #[test]
    fn an_error_shows_what_where_and_what_to_do() {
        let all = [diagnostic(7, 6)];
        let text = diagnostics(&all, &sources("a\nsync \"aray\"\nb\n"), false, 100);
        assert_eq!(
            text,
            "\
error[BK021]: sync \"second\" copies to a datastore that does not exist
   ╭─[topology.kdl:2:6]
 2 │ sync \"aray\"
   ·      ───┬──
   ·         ╰── no datastore is called \"aray\"
   ╰────
  help: did you mean \"array\"?

1 error.   More about one: bkpctl explain BK021
"
        );
    }

    #[test]
    fn nothing_in_a_file_reaches_the_terminal_as_a_command() {
        let text = "a\nnode \"\u{1b}]52;c;x\u{7}\u{202e}\u{9b}31m\"\n";
        for color in [false, true] {
            let shown = diagnostics(&[diagnostic(7, 5)], &sources(text), color, 80);
            assert!(
                !shown.contains(['\u{7}', '\u{202e}', '\u{9b}']),
                "{shown:?}"
            );
            assert!(!shown.contains("\u{1b}]"), "{shown:?}");
        }
    }

    #[test]
    fn a_line_without_end_is_not_shown() {
        let long = format!("a\n{}", "x".repeat(100_000));
        let shown = diagnostics(&[diagnostic(7, 6)], &sources(&long), false, 80);
        assert!(shown.contains("at topology.kdl:2:6") && shown.len() < 1_000);
    }

    /// Set `BKPCTL_UPDATE=1` to write the schema anew.
    #[test]
    fn the_json_form_is_the_one_its_schema_describes() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = root.join("schemas/validate.v1.json");
        let schema = schemars::schema_for!(Validation);
        let fresh = serde_json::to_string_pretty(&schema).expect("a schema is JSON") + "\n";
        if std::env::var_os("BKPCTL_UPDATE").is_some() {
            std::fs::write(&path, &fresh).expect("a writable checkout");
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(written == fresh, "schemas/validate.v1.json is stale");
        let said = Validation::new(vec![diagnostic(0, 1)]);
        assert_eq!((said.valid, said.errors, said.warnings), (false, 1, 0));
    }
}
