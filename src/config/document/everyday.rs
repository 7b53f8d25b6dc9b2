//! Reads what topologies are written in every day; the `kdl` crate reads the rest.
//!
//! The crate takes some thousand instructions for each byte, which would be a third of a second
//! for five hundred nodes. Names, plain texts, whole numbers, keywords and blocks need none of
//! that. A file with anything else in it, or with a mistake, is left to the crate as a whole:
//! what a text means is never decided here alone, and tests hold the two to each other.

use std::sync::Arc;

use super::atom::{is_keyword, looks_like_number};
use super::cursor::{is_newline, is_space, is_word};
use super::tree::{Entry, Node, Span, Value, Word};

/// How many digits a number has that surely fits.
const DIGITS_MAX: usize = 30;

/// Reads the plain copy of a text; none if the `kdl` crate has to.
///
/// `broken` is where statements were left out, sorted. The scan has bounded how deep blocks nest.
pub(super) fn nodes(plain: &str, broken: &[Span], file: u32) -> Option<Vec<Node>> {
    let mut reader = Reader {
        plain,
        at: 0,
        broken,
        file,
    };
    reader.nodes(false)
}

/// Tells whether a range has a part that was left out.
pub(super) fn hides(broken: &[Span], span: Span) -> bool {
    let first_after = broken.partition_point(|broken| broken.start < span.start);
    let next = broken.get(first_after);
    next.is_some_and(|broken| broken.start < span.start + span.len)
}

struct Reader<'a> {
    plain: &'a str,
    at: usize,
    broken: &'a [Span],
    file: u32,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.plain[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let len = rest.find(|c| !fits(c)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    fn span(&self, start: usize) -> Span {
        Span {
            file: self.file,
            start: start as u32,
            len: (self.at - start) as u32,
        }
    }

    /// Reads nodes up to the end of the text or, inside a block, past its `}`.
    fn nodes(&mut self, inside: bool) -> Option<Vec<Node>> {
        let mut nodes = Vec::new();
        loop {
            self.take_while(|c| is_space(c) || is_newline(c));
            match self.peek() {
                None => return (!inside).then_some(nodes),
                Some('}') => {
                    self.at += 1;
                    return inside.then_some(nodes);
                }
                Some(_) => nodes.push(self.node()?),
            }
        }
    }

    fn node(&mut self) -> Option<Node> {
        let start = self.at;
        let Value::Text(text) = self.value()? else {
            return None;
        };
        let name = Word {
            text,
            span: self.span(start),
        };
        let (mut entries, mut children) = (Vec::new(), None);
        let mut span = name.span;
        loop {
            let is_apart = !self.take_while(is_space).is_empty();
            match self.peek() {
                None | Some('}') => break,
                Some(c) if c == ';' || is_newline(c) => {
                    self.at += c.len_utf8();
                    break;
                }
                Some(_) if children.is_some() => return None,
                Some('{') => {
                    self.at += 1;
                    children = Some(self.nodes(true)?);
                }
                Some(_) if is_apart => entries.push(self.entry()?),
                Some(_) => return None,
            }
            span = self.span(start);
        }
        Some(Node {
            name,
            entries,
            children,
            span,
            broken: hides(self.broken, span),
        })
    }

    /// Reads an argument or a property.
    fn entry(&mut self) -> Option<Entry> {
        let start = self.at;
        let value = self.value()?;
        let span = self.span(start);
        self.take_while(is_space);
        if self.peek() != Some('=') {
            self.at = start + span.len as usize;
            return Some(Entry {
                name: None,
                value,
                span,
            });
        }
        self.at += 1;
        self.take_while(is_space);
        let Value::Text(text) = value else {
            return None;
        };
        let start = self.at;
        let value = self.value()?;
        Some(Entry {
            name: Some(Word { text, span }),
            value,
            span: self.span(start),
        })
    }

    fn value(&mut self) -> Option<Value> {
        match self.peek()? {
            '"' => self.text(),
            '#' => {
                self.at += 1;
                match self.take_while(is_word) {
                    "true" => Some(Value::Bool(true)),
                    "false" => Some(Value::Bool(false)),
                    "null" => Some(Value::Null),
                    _ => None,
                }
            }
            _ => match self.take_while(is_word) {
                "" => None,
                word if looks_like_number(word) => whole_number(word),
                word if is_keyword(word) => None,
                word => Some(Value::Text(word.into())),
            },
        }
    }

    /// Reads a text in quotes that is on one line.
    fn text(&mut self) -> Option<Value> {
        let inside = &self.rest()[1..];
        if inside.starts_with("\"\"") {
            return None;
        }
        let end = inside.find(|c| c == '"' || c == '\\' || is_newline(c))?;
        if inside.as_bytes()[end] == b'"' {
            self.at += 1 + end + 1;
            return Some(Value::Text(inside[..end].into()));
        }
        self.text_with_escapes(inside)
    }

    fn text_with_escapes(&mut self, inside: &str) -> Option<Value> {
        let mut text = String::new();
        let mut chars = inside.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.at += 1 + at + 1;
                    return Some(Value::Text(Arc::from(text)));
                }
                '\\' => text.push(match chars.next()?.1 {
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    's' => ' ',
                    '\\' => '\\',
                    '"' => '"',
                    _ => return None,
                }),
                c if is_newline(c) => return None,
                c => text.push(c),
            }
        }
        None
    }
}

fn whole_number(word: &str) -> Option<Value> {
    let digits = word.strip_prefix(['+', '-']).unwrap_or(word);
    let is_plain = digits.len() <= DIGITS_MAX && digits.bytes().all(|b| b.is_ascii_digit());
    let number = is_plain.then(|| word.parse().ok())?;
    number.map(Value::Integer)
}
