//! A position in a text, and what KDL calls space.

use std::ops::Range;

use super::tree::Span;
use crate::config::codes::Code;
use crate::config::diagnostic::Mistake;

/// The deepest nesting of block comments.
const COMMENT_DEPTH_MAX: usize = 16;

/// A position in a text, with the mistakes found so far.
pub(super) struct Cursor<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
    pub(super) file: u32,
    pub(super) mistakes: Vec<Mistake>,
    /// What the plain copy leaves out, as ranges of bytes.
    pub(super) blanks: Vec<Range<usize>>,
}

/// Says that a mistake was recorded and the caller must find its way back.
#[derive(Debug)]
pub(super) struct Lost;

pub(super) fn is_newline(c: char) -> bool {
    matches!(
        c,
        '\n' | '\r' | '\u{85}' | '\u{b}' | '\u{c}' | '\u{2028}' | '\u{2029}'
    )
}

pub(super) fn is_space(c: char) -> bool {
    matches!(
        c,
        '\t' | ' ' | '\u{a0}' | '\u{1680}' | '\u{2000}'
            ..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}'
    )
}

/// Returns whether a character may not appear in KDL text: controls and direction marks.
pub(super) fn is_disallowed(c: char) -> bool {
    matches!(c,
        '\0'..='\u{8}' | '\u{e}'..='\u{1f}' | '\u{7f}' | '\u{200e}' | '\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Returns whether a character may be in a word without quotes.
pub(super) fn is_word(c: char) -> bool {
    !is_space(c)
        && !is_newline(c)
        && !is_disallowed(c)
        && !matches!(
            c,
            '\\' | '/' | '(' | ')' | '{' | '}' | ';' | '[' | ']' | '"' | '#' | '='
        )
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str, file: u32) -> Self {
        Self {
            text,
            at: 0,
            file,
            mistakes: Vec::new(),
            blanks: Vec::new(),
        }
    }

    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(super) fn starts(&self, prefix: &str) -> bool {
        self.rest().starts_with(prefix)
    }

    /// Goes past the next character and returns it.
    pub(super) fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    /// Goes past a text if it comes next.
    pub(super) fn eat(&mut self, prefix: &str) -> bool {
        let found = self.starts(prefix);
        if found {
            self.at += prefix.len();
        }
        found
    }

    /// Goes past characters while they fit and returns them.
    pub(super) fn take_while(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let len = rest.find(|c| !fits(c)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    /// Goes past one newline; CRLF is one.
    pub(super) fn eat_newline(&mut self) -> bool {
        if self.eat("\r\n") {
            return true;
        }
        let found = self.peek().is_some_and(is_newline);
        if found {
            self.bump();
        }
        found
    }

    /// Gives up on the rest of the text.
    pub(super) fn stop(&mut self) {
        self.at = self.text.len();
    }

    pub(super) fn span(&self, start: usize) -> Span {
        self.span_of(start, self.at)
    }

    pub(super) fn span_of(&self, start: usize, end: usize) -> Span {
        Span {
            file: self.file,
            start: start as u32,
            len: end.saturating_sub(start) as u32,
        }
    }

    /// Returns the place of the next character.
    pub(super) fn here(&self) -> Span {
        let len = self.peek().map_or(0, char::len_utf8);
        self.span_of(self.at, self.at + len)
    }

    pub(super) fn mistake(&mut self, mistake: Mistake) -> Lost {
        self.mistakes.push(mistake);
        Lost
    }

    /// Goes past spaces, block comments and escaped line ends; says whether there were any.
    pub(super) fn skip_space(&mut self) -> Result<bool, Lost> {
        let start = self.at;
        loop {
            self.take_while(is_space);
            let begin = self.at;
            if self.starts("/*") {
                self.skip_block_comment()?;
            } else if self.starts("\\") {
                self.skip_escaped_line_end()?;
            } else {
                return Ok(self.at > start);
            }
            self.blanks.push(begin..self.at);
        }
    }

    /// Goes past everything that separates nodes.
    pub(super) fn skip_lines(&mut self) -> Result<(), Lost> {
        loop {
            self.skip_space()?;
            if self.starts("//") {
                self.skip_line_comment();
            } else if !self.eat_newline() {
                return Ok(());
            }
        }
    }

    pub(super) fn skip_line_comment(&mut self) {
        let start = self.at;
        self.take_while(|c| !is_newline(c));
        self.blanks.push(start..self.at);
    }

    pub(super) fn skip_block_comment(&mut self) -> Result<(), Lost> {
        let start = self.at;
        let mut depth = 0;
        loop {
            if self.eat("/*") {
                depth += 1;
                if depth > COMMENT_DEPTH_MAX {
                    let span = self.span_of(self.at - 2, self.at);
                    self.stop();
                    return Err(self.mistake(
                        Mistake::new(
                            Code::Limit,
                            span,
                            format!("comments are nested deeper than {COMMENT_DEPTH_MAX}"),
                        )
                        .label("one level too deep")
                        .help("use // on each line, or /- before a node, to leave things out"),
                    ));
                }
            } else if self.eat("*/") {
                depth -= 1;
                if depth == 0 {
                    return Ok(());
                }
            } else if self.bump().is_none() {
                return Err(self.mistake(
                    Mistake::new(
                        Code::Syntax,
                        self.span_of(start, start + 2),
                        "this comment is never closed",
                    )
                    .label("opened here")
                    .help("end it with */"),
                ));
            }
        }
    }

    fn skip_escaped_line_end(&mut self) -> Result<(), Lost> {
        let start = self.at;
        self.bump();
        self.take_while(is_space);
        while self.starts("/*") {
            self.skip_block_comment()?;
            self.take_while(is_space);
        }
        if self.starts("//") {
            self.skip_line_comment();
        }
        if self.eat_newline() || self.peek().is_none() {
            return Ok(());
        }
        Err(self.mistake(
            Mistake::new(
                Code::Syntax,
                self.span_of(start, start + 1),
                "a backslash outside quotes continues a line and must be the last thing on it",
            )
            .label("something follows on this line")
            .help("put text with a backslash into quotes, written as \\\\"),
        ))
    }
}
