//! KDL 1 becomes KDL 2, word by word: everything else is the same in both.

use std::fmt::Write as _;

use super::atom::{is_keyword, looks_like_number};
use super::cursor::{Cursor, is_disallowed, is_newline, is_space, is_word};
use super::scan::SIZE_MAX;

/// Returns a text in KDL 1 as KDL 2, with all its comments; none if it is not KDL 1.
///
/// What it returns may still have mistakes that both languages call mistakes.
pub(crate) fn from_v1(text: &str) -> Option<String> {
    // What KDL 2 takes for the end of a line KDL 1 takes for a letter.
    if text.len() > SIZE_MAX || text.contains('\u{b}') {
        return None;
    }
    let mut converter = Converter {
        cursor: Cursor::new(text, 0),
        out: String::with_capacity(text.len()),
        at_name: true,
        in_type: false,
    };
    converter.version();
    while converter.cursor.peek().is_some() {
        converter.step()?;
    }
    Some(converter.out)
}

struct Converter<'a> {
    cursor: Cursor<'a>,
    out: String,
    /// Whether the next word is a statement's name.
    at_name: bool,
    /// Whether the next word is in parentheses.
    in_type: bool,
}

impl Converter<'_> {
    /// Goes past the marker of the old version and writes that of the new one.
    fn version(&mut self) {
        self.cursor.eat("\u{feff}");
        if self.cursor.eat("/- kdl-version 1") {
            self.out.push_str("/- kdl-version 2");
        }
    }

    fn step(&mut self) -> Option<()> {
        let start = self.cursor.at;
        let c = self.cursor.peek()?;
        if self.cursor.starts("//") {
            self.cursor.skip_line_comment();
        } else if self.cursor.starts("/*") {
            self.cursor.skip_block_comment().ok()?;
        } else if self.cursor.eat("\\") {
            self.line_goes_on()?;
        } else if self.cursor.eat_newline() || matches!(c, ';' | '{' | '}') {
            self.at_name = true;
            if self.cursor.at == start {
                self.cursor.bump();
            }
        } else if matches!(c, '(' | ')') {
            self.in_type = c == '(';
            self.cursor.bump();
        } else if self.cursor.eat("/-") || self.cursor.eat("=") {
        } else if c == '\u{feff}' {
            // KDL 1 takes it for a space.
            self.out.push(' ');
            self.cursor.bump();
            return Some(());
        } else if is_space(c) {
            self.cursor.take_while(is_space);
        } else {
            return self.word();
        }
        self.out.push_str(&self.cursor.text[start..self.cursor.at]);
        Some(())
    }

    /// Goes past the end of a line that does not end the statement.
    fn line_goes_on(&mut self) -> Option<()> {
        loop {
            self.cursor.take_while(is_space);
            if self.cursor.starts("/*") {
                self.cursor.skip_block_comment().ok()?;
            } else if self.cursor.starts("//") {
                self.cursor.skip_line_comment();
            } else {
                return self.cursor.eat_newline().then_some(());
            }
        }
    }

    /// Goes past a name or a value and writes it as KDL 2 does.
    fn word(&mut self) -> Option<()> {
        let hashes = self.cursor.rest().strip_prefix('r').map(|rest| {
            let quote = rest.find(|c| c != '#').unwrap_or(rest.len());
            (quote, rest[quote..].starts_with('"'))
        });
        if let Some((hashes, true)) = hashes {
            self.raw(hashes)?;
        } else if self.cursor.eat("\"") {
            self.quoted()?;
        } else {
            self.bare()?;
        }
        self.at_name &= self.in_type;
        Some(())
    }

    fn bare(&mut self) -> Option<()> {
        let word = self.cursor.take_while(is_old_word);
        let names = self.at_name || self.in_type || self.cursor.starts("=");
        let number = word
            .trim_start_matches(['+', '-'])
            .starts_with(|c: char| c.is_ascii_digit());
        let old_keyword = matches!(word, "true" | "false" | "null");
        match () {
            () if word.is_empty() => return None,
            () if names && !number && !old_keyword => {
                if word.chars().all(is_word) && !is_keyword(word) && !looks_like_number(word) {
                    self.out.push_str(word);
                } else {
                    let _ = write!(self.out, "\"{word}\"");
                }
            }
            () if !names && number => self.out.push_str(word),
            () if !names && old_keyword => {
                let _ = write!(self.out, "#{word}");
            }
            () => return None,
        }
        Some(())
    }

    fn quoted(&mut self) -> Option<()> {
        self.out.push('"');
        loop {
            match self.cursor.bump()? {
                '"' => break,
                '\\' => match self.cursor.bump()? {
                    '/' => self.out.push('/'),
                    c @ ('"' | '\\' | 'b' | 'f' | 'n' | 'r' | 't' | 'u') => {
                        self.out.push('\\');
                        self.out.push(c);
                    }
                    _ => return None,
                },
                c => self.escaped(c),
            }
        }
        self.out.push('"');
        Some(())
    }

    fn raw(&mut self, hashes: usize) -> Option<()> {
        self.cursor.at += "r\"".len() + hashes;
        let rest = self.cursor.rest();
        let closing = format!("\"{}", "#".repeat(hashes));
        let text = &rest[..rest.find(&closing)?];
        self.cursor.at += text.len() + closing.len();
        // Three quotes would begin a text of several lines.
        let plain = !format!("\"{text}\"").starts_with("\"\"\"")
            && !text.contains(|c| is_newline(c) || is_disallowed(c));
        if plain {
            let hashes = "#".repeat(hashes.max(1));
            let _ = write!(self.out, "{hashes}\"{text}\"{hashes}");
            return Some(());
        }
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' | '\\' => {
                    self.out.push('\\');
                    self.out.push(c);
                }
                c => self.escaped(c),
            }
        }
        self.out.push('"');
        Some(())
    }

    /// Writes a character that KDL 1 lets stand in a text.
    fn escaped(&mut self, c: char) {
        match c {
            '\n' => self.out.push_str("\\n"),
            '\r' => self.out.push_str("\\r"),
            c if is_newline(c) || is_disallowed(c) => {
                let _ = write!(self.out, "\\u{{{:x}}}", u32::from(c));
            }
            c => self.out.push(c),
        }
    }
}

/// Returns whether a character may be in a word of KDL 1 without quotes.
fn is_old_word(c: char) -> bool {
    !is_space(c)
        && !is_newline(c)
        && !matches!(
            c,
            '\\' | '/'
                | '('
                | ')'
                | '{'
                | '}'
                | '<'
                | '>'
                | ';'
                | '['
                | ']'
                | '='
                | ','
                | '"'
                | '\u{feff}'
        )
}
