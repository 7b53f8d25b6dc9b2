//! Words and texts in the scan: where they end, and what people write by habit.

use super::cursor::{Lost, is_newline, is_space, is_word};
use super::scan::{ATOMS_MAX, Scanner, old_language};
use crate::config::codes::Code;
use crate::config::diagnostic::Mistake;
use crate::config::document::Span;

/// The longest text, with or without quotes.
const TEXT_MAX: usize = 16 << 10;
/// The longest number; longer ones mean nothing to anybody.
const NUMBER_MAX: usize = 40;

impl Scanner<'_> {
    /// Goes over a value; says whether it is text, as names must be.
    pub(super) fn atom(&mut self, expected: &str) -> Result<bool, Lost> {
        self.count()?;
        match self.cursor.peek() {
            Some('"') => self.string().map(|()| true),
            Some('#') if self.cursor.rest().trim_start_matches('#').starts_with('"') => {
                self.string().map(|()| true)
            }
            Some('#') => self.keyword().map(|()| false),
            _ => self.word(expected),
        }
    }

    /// Stops where a topology is too long to be read in a moment.
    fn count(&mut self) -> Result<(), Lost> {
        if let Some(left) = self.atoms.checked_sub(1) {
            self.atoms = left;
            return Ok(());
        }
        let span = self.cursor.here();
        self.cursor.stop();
        let message = format!("a topology has at most {ATOMS_MAX} names and values");
        let mistake = Mistake::new(Code::Limit, span, message);
        Err(self.cursor.mistake(mistake.label("one too many")))
    }

    /// Goes over a text and lets the reader of the language judge what is in it.
    fn string(&mut self) -> Result<(), Lost> {
        let start = self.cursor.at;
        self.any_string()?;
        let span = self.cursor.span(start);
        let text = &self.cursor.text[start..self.cursor.at];
        if text.len() > TEXT_MAX {
            return Err(self.too_long(span));
        }
        let plain = !text.contains('\\') && !text.contains("\"\"\"");
        if plain || kdl::KdlEntry::parse(text).is_ok() {
            return Ok(());
        }
        let (message, help) = if text.contains("\"\"\"") {
            (
                "a text in triple quotes begins and ends on lines of its own, and no line is indented less than its end",
                "put a line end after the opening quotes and before the closing ones",
            )
        } else {
            (
                "an escape in this text is unknown",
                "a backslash itself is written \\\\; there are \\n \\r \\t \\s \\b \\f \\\" and \\u{1F512}; #\"…\"# takes everything as it is",
            )
        };
        let mistake = Mistake::new(Code::Syntax, span, message);
        Err(self
            .cursor
            .mistake(mistake.label("can't be read").help(help)))
    }

    fn too_long(&mut self, span: Span) -> Lost {
        let message = format!("a text has at most {TEXT_MAX} bytes");
        let mistake = Mistake::new(Code::Limit, span, message);
        self.cursor.mistake(mistake.label("too long"))
    }

    /// Goes over a text of any kind, or over hashes that begin none.
    pub(super) fn any_string(&mut self) -> Result<(), Lost> {
        let start = self.cursor.at;
        let hashes = self.cursor.take_while(|c| c == '#');
        if self.cursor.peek() != Some('"') {
            return Ok(());
        }
        let lines = self.cursor.starts("\"\"\"");
        let quote = if lines { "\"\"\"" } else { "\"" };
        self.cursor.at += quote.len();
        let body = self.cursor.at;
        if lines || !hashes.is_empty() {
            self.until(start, &format!("{quote}{hashes}"), hashes.is_empty())?;
            let text = &self.cursor.text[body..self.cursor.at];
            return match text.find(is_newline).filter(|_| !lines) {
                None => Ok(()),
                Some(newline) => {
                    self.cursor.at = body + newline;
                    Err(self.unclosed(start, body))
                }
            };
        }
        loop {
            match self.cursor.bump() {
                Some('"') => return Ok(()),
                // An escaped line end swallows the space after it.
                Some('\\')
                    if self
                        .cursor
                        .peek()
                        .is_some_and(|c| is_space(c) || is_newline(c)) =>
                {
                    self.cursor.take_while(|c| is_space(c) || is_newline(c));
                }
                Some('\\') => drop(self.cursor.bump()),
                Some(c) if is_newline(c) => {
                    self.cursor.at -= c.len_utf8();
                    return Err(self.unclosed(start, body));
                }
                Some(_) => {}
                None => return Err(self.unclosed(start, body)),
            }
        }
    }

    /// Goes past a closing text.
    fn until(&mut self, start: usize, closing: &str, escapes: bool) -> Result<(), Lost> {
        let body = self.cursor.at;
        while !self.cursor.eat(closing) {
            match self.cursor.bump() {
                Some('\\') if escapes => drop(self.cursor.bump()),
                Some(_) => {}
                None => {
                    let span = self.cursor.span_of(start, body);
                    let mistake = Mistake::new(Code::Syntax, span, "this text is never closed");
                    let help = format!("close it with {closing}");
                    return Err(self.cursor.mistake(mistake.label("opened here").help(help)));
                }
            }
        }
        Ok(())
    }

    fn unclosed(&mut self, start: usize, body: usize) -> Lost {
        let span = self.cursor.span_of(start, body);
        let mistake = Mistake::new(Code::Syntax, span, "this text is not closed on its line");
        self.cursor
            .mistake(mistake.label("opened here").help("add the closing quote"))
    }

    fn keyword(&mut self) -> Result<(), Lost> {
        let start = self.cursor.at;
        self.cursor.bump();
        let word = self.cursor.take_while(is_word);
        if is_keyword(word) {
            return Ok(());
        }
        let span = self.cursor.span(start);
        let mistake = Mistake::new(Code::Syntax, span, "a text with # in front needs quotes");
        Err(self
            .cursor
            .mistake(mistake.label("needs quotes").help("comments begin with //")))
    }

    /// Goes over a word without quotes; says whether it is text.
    fn word(&mut self, expected: &str) -> Result<bool, Lost> {
        let start = self.cursor.at;
        let word = self.cursor.take_while(is_word);
        if word.len() > TEXT_MAX {
            let span = self.cursor.span(start);
            return Err(self.too_long(span));
        }
        let rest = self.cursor.rest();
        if word == "r" && rest.starts_with(['"', '#']) {
            let span = self.cursor.span(start);
            let mistake = old_language(span, "a raw text is written #\"…\"#, without the r");
            return Err(self.cursor.mistake(mistake));
        }
        let runs_into_slash = rest.starts_with('/') && !begins_comment(rest);
        if word.is_empty() || runs_into_slash {
            return self.bare(start, expected);
        }
        if looks_like_number(word) {
            if word.len() <= NUMBER_MAX && kdl::KdlEntry::parse(word).is_ok() {
                return Ok(false);
            }
            return self.bare(start, expected);
        }
        if is_keyword(word) {
            let span = self.cursor.span(start);
            let message = format!("a bare {word} means nothing here");
            self.cursor.mistake(old_language(span, message));
            // As a text it goes on, and one mistake hides no other.
            self.mends.push((start, b'_'));
        }
        Ok(true)
    }

    /// Reports a text without the quotes it needs, and goes on as if it had them.
    fn bare(&mut self, start: usize, expected: &str) -> Result<bool, Lost> {
        let whole = &self.cursor.text[start..];
        let whole = &whole[..whole.find(ends_loosely).unwrap_or(whole.len())];
        let quotable = whole.len() <= 200
            && whole.chars().all(|c| is_word(c) || c == '/')
            && whole.chars().any(char::is_alphanumeric);
        if !quotable {
            return Err(self.expected(expected));
        }
        self.cursor.at = start + whole.len();
        let span = self.cursor.span(start);
        self.needs_quotes(whole, span);
        let first = whole.chars().next().map_or(0, char::len_utf8);
        let slashes = whole.match_indices('/').map(|(at, _)| start + at);
        let stand_ins = (start..start + first).chain(slashes);
        self.mends.extend(stand_ins.map(|at| (at, b'_')));
        Ok(true)
    }

    fn needs_quotes(&mut self, whole: &str, span: Span) {
        let label = if whole.contains('/') {
            "a slash can begin a comment"
        } else {
            "not a number, so it is text"
        };
        self.cursor.mistake(
            Mistake::new(Code::NeedsQuotes, span, format!("{whole} needs quotes"))
                .label(label)
                .help(format!("write \"{whole}\"")),
        );
    }

    fn expected(&mut self, expected: &str) -> Lost {
        let found = match self.cursor.peek() {
            None => "the end of the file".to_owned(),
            Some(c) if is_newline(c) => "the end of the line".to_owned(),
            Some(c) => format!("{c:?}"),
        };
        let span = self.cursor.here();
        let message = format!("expected {expected}, found {found}");
        self.cursor
            .mistake(Mistake::new(Code::Syntax, span, message).label("here"))
    }
}

/// Returns whether a word means something with a # in front, and nothing without.
pub(super) fn is_keyword(word: &str) -> bool {
    matches!(word, "true" | "false" | "null" | "inf" | "-inf" | "nan")
}

/// Returns whether a word begins like a number, so that it can't be a text without quotes.
pub(super) fn looks_like_number(word: &str) -> bool {
    let unsigned = word.strip_prefix(['+', '-']).unwrap_or(word);
    let digits = unsigned.strip_prefix('.').unwrap_or(unsigned);
    digits.starts_with(|c: char| c.is_ascii_digit())
}

fn ends_loosely(c: char) -> bool {
    is_space(c) || is_newline(c) || matches!(c, ';' | '{' | '}' | '"' | '=' | '#')
}

fn begins_comment(text: &str) -> bool {
    ["//", "/*", "/-"]
        .iter()
        .any(|begin| text.starts_with(begin))
}
