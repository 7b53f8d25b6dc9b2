//! Text for terminals: escaped, padded by what is seen, wrapped, coloured when asked.

use std::fmt::Write as _;
use std::time::Duration;

use anstyle::{AnsiColor, Effects};
use unicode_width::UnicodeWidthStr;

/// How text is to look.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// Whether colours may be used.
    pub color: bool,
    /// How many columns there are.
    pub width: usize,
    /// Whether everything is shown.
    pub detail: bool,
    /// How long looking at the nodes took.
    pub took: Option<Duration>,
    /// Whether a plan ends with the command that comes next.
    pub next: bool,
}

/// What a piece of text is, as far as colour can say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// A heading.
    Heading,
    /// Good.
    Good,
    /// Worth a look.
    Caution,
    /// Bad.
    Bad,
    /// Less important than the rest.
    Quiet,
}

/// The narrowest layout; below it lines run over rather than become unreadable.
const WIDTH_MIN: usize = 40;

impl Style {
    /// Returns the columns to lay out for.
    pub fn columns(&self) -> usize {
        self.width.max(WIDTH_MIN)
    }

    /// Colours a text, if colours may be used.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        if !self.color || text.is_empty() {
            return text.to_owned();
        }
        let style = match tone {
            Tone::Heading => anstyle::Style::new().effects(Effects::BOLD),
            Tone::Good => AnsiColor::Green.on_default(),
            Tone::Caution => AnsiColor::Yellow.on_default(),
            Tone::Bad => AnsiColor::Red.on_default(),
            Tone::Quiet => anstyle::Style::new().effects(Effects::DIMMED),
        };
        format!("{style}{text}{style:#}")
    }
}

/// Returns a text from a host so that it can do nothing to a terminal or a reader.
///
/// Control characters and those that turn the direction of writing become visible.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\t' => safe.push_str("\\t"),
            '\r' => safe.push_str("\\r"),
            c if c.is_control() => {
                let _ = write!(safe, "\\x{:02x}", c as u32);
            }
            c if is_unseen(c) => {
                let _ = write!(safe, "\\u{{{:x}}}", c as u32);
            }
            c => safe.push(c),
        }
    }
    safe
}

/// Returns JSON that means the same and can do nothing to a terminal or a reader either.
pub fn escape_json(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        // Line ends between its parts are the only ones that JSON has as they are.
        if c != '\n' && (c.is_control() || is_unseen(c)) {
            let _ = write!(safe, "\\u{:04x}", c as u32);
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Tells whether a character has no shape, or turns the direction of writing.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Returns how many columns a text without colours takes.
pub fn columns(text: &str) -> usize {
    text.width()
}

/// Says how long something took: `0.4 s`, `12 s`, `3 min`, `2 h`.
pub fn took(time: Duration) -> String {
    match time.as_secs() {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        seconds @ 10..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

/// Fills a text with spaces up to some columns.
pub fn pad(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(columns(text));
    format!("{text}{}", " ".repeat(missing))
}

/// Breaks a text into lines of at most some columns, at spaces.
///
/// Two spaces or more in a row are kept where the line is not broken. A word longer
/// than a line stays whole, so that paths and commands can be copied.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut gap = String::new();
    for piece in text.split_inclusive(' ') {
        let word = piece.trim_end_matches(' ');
        let fits = columns(&line) + columns(&gap) + columns(word) <= width;
        if !word.is_empty() {
            if line.is_empty() || fits {
                line.push_str(&gap);
            } else {
                lines.push(std::mem::take(&mut line));
            }
            gap.clear();
            line.push_str(word);
        }
        gap.push_str(&piece[word.len()..]);
    }
    lines.push(line);
    lines
}

/// Counts something: `1 change`, `3 changes`.
pub fn count(n: usize, one: &str, many: &str) -> String {
    if n == 1 {
        format!("1 {one}")
    } else {
        format!("{n} {many}")
    }
}

/// A growing text of lines with hanging indents.
pub struct Page<'a> {
    style: &'a Style,
    text: String,
}

impl<'a> Page<'a> {
    /// Starts an empty page.
    pub fn new(style: &'a Style) -> Self {
        Self {
            style,
            text: String::new(),
        }
    }

    /// Adds a line as it is.
    pub fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// Adds an empty line, unless there is one or the page is empty.
    pub fn gap(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
    }

    /// Adds a heading after an empty line.
    pub fn heading(&mut self, heading: &str) {
        self.gap();
        let heading = self.style.paint(Tone::Heading, heading);
        self.line(&heading);
    }

    /// Adds a text after a lead; further lines are indented to where the text began.
    ///
    /// The lead is given with its width, since colours in it take no columns.
    pub fn hanging(&mut self, lead: &str, lead_columns: usize, text: &str, tone: Option<Tone>) {
        let room = self.style.columns().saturating_sub(lead_columns).max(20);
        for (number, piece) in wrap(text, room).iter().enumerate() {
            let piece = match tone {
                Some(tone) => self.style.paint(tone, piece),
                None => piece.clone(),
            };
            if number == 0 {
                self.line(&format!("{lead}{piece}"));
            } else {
                self.line(&format!("{}{piece}", " ".repeat(lead_columns)));
            }
        }
    }

    /// Returns the text.
    pub fn finish(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_a_host_reaches_the_terminal_as_a_command() {
        for (text, safe) in [
            ("plain äöü 日本", "plain äöü 日本"),
            ("a\u{1b}[31mred", "a\\x1b[31mred"),
            ("two\nlines\r", "two\\nlines\\r"),
            ("c1 \u{9b}31m", "c1 \\x9b31m"),
            ("turned \u{202e}txt.exe", "turned \\u{202e}txt.exe"),
        ] {
            assert_eq!(escape(text), safe);
        }
    }

    #[test]
    fn json_for_programs_means_the_same_and_drives_no_terminal_either() {
        let text = "a\u{1b}[1m\n\u{9b}31m \u{202e}b ä";
        let json = serde_json::to_string_pretty(&[text]).expect("JSON");
        let safe = escape_json(&json);
        assert_eq!(safe, "[\n  \"a\\u001b[1m\\n\\u009b31m \\u202eb ä\"\n]");
        let back: [String; 1] = serde_json::from_str(&safe).expect("JSON");
        assert_eq!(back[0], text);
    }

    #[test]
    fn lines_break_at_spaces_and_words_stay_whole() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(
            wrap("a /very/long/path b", 6),
            ["a", "/very/long/path", "b"]
        );
        assert_eq!(wrap("a   b", 10), ["a   b"]);
        assert_eq!(wrap("", 10), [""]);
    }

    #[test]
    fn padding_counts_what_is_seen() {
        assert_eq!(pad("→", 3), "→  ");
        assert_eq!(columns(&pad("日本", 6)), 6);
        assert_eq!(pad("longer", 3), "longer");
    }
}
