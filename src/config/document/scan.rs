//! The scan before the reading: structure, limits, and the way back after a mistake.

use super::cursor::{Cursor, Lost, is_disallowed, is_newline, is_space};
use crate::config::codes::Code;
use crate::config::diagnostic::Mistake;
use crate::config::document::Span;

/// The largest file in bytes.
pub(super) const SIZE_MAX: usize = 1 << 20;
/// The deepest nesting of children.
const DEPTH_MAX: usize = 64;
/// The most names and values in all files together: reading takes its time for each.
pub(crate) const ATOMS_MAX: usize = 60_000;
/// The most mistakes reported of one file; more are noise.
const MISTAKES_MAX: usize = 50;

/// What a scan came to.
pub(super) struct Scan {
    /// The text without comments and broken statements, each byte where it was.
    pub(super) plain: String,
    /// Where statements were left out because they are broken.
    pub(super) broken: Vec<Span>,
    pub(super) mistakes: Vec<Mistake>,
}

/// Goes through a text once; `atoms` is how many names and values may still come.
pub(super) fn scan(text: &str, file: u32, atoms: &mut usize) -> Scan {
    let mut scanner = Scanner::new(text, file, *atoms);
    if text.len() > SIZE_MAX {
        let message = format!(
            "the file has {} bytes, more than the {SIZE_MAX} that are read",
            text.len()
        );
        let mistake = Mistake::new(Code::Limit, scanner.cursor.span_of(0, 0), message);
        return Scan {
            plain: String::new(),
            broken: Vec::new(),
            mistakes: vec![mistake.help("split it with include")],
        };
    }
    if scanner.cursor.eat("\u{feff}") {
        scanner.cursor.blanks.push(0..scanner.cursor.at);
    }
    scanner.refuse_disallowed();
    scanner.nodes(false);
    *atoms = scanner.atoms;
    scanner.finish()
}

pub(super) struct Scanner<'a> {
    pub(super) cursor: Cursor<'a>,
    depth: usize,
    broken: Vec<Span>,
    /// Single bytes of the plain copy that stand for what was meant.
    pub(super) mends: Vec<(usize, u8)>,
    /// How many names and values may still come.
    pub(super) atoms: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str, file: u32, atoms: usize) -> Self {
        Self {
            cursor: Cursor::new(text, file),
            depth: 0,
            broken: Vec::new(),
            mends: Vec::new(),
            atoms,
        }
    }
}

impl Scanner<'_> {
    /// Makes the plain copy.
    fn finish(mut self) -> Scan {
        self.broken.sort();
        let mut plain = self.cursor.text.as_bytes().to_vec();
        // Mends lie in what is kept, blanks may cover them.
        for (at, byte) in self.mends {
            plain[at] = byte;
        }
        let broken = self
            .broken
            .iter()
            .map(|span| span.start as usize..(span.start + span.len) as usize);
        for range in self.cursor.blanks.into_iter().chain(broken) {
            plain[range].fill(b' ');
        }
        Scan {
            plain: String::from_utf8(plain).expect("whole characters became ASCII"),
            broken: self.broken,
            mistakes: self.cursor.mistakes,
        }
    }

    /// Reports characters that could hide text from a reviewer or drive a terminal.
    fn refuse_disallowed(&mut self) {
        let c = &mut self.cursor;
        let start = c.at;
        let found: Vec<(usize, char)> = c.text[start..]
            .char_indices()
            .filter(|(_, ch)| is_disallowed(*ch))
            .map(|(at, ch)| (start + at, ch))
            .collect();
        for &(at, ch) in found.iter().take(5) {
            let span = c.span_of(at, at + ch.len_utf8());
            let code = u32::from(ch);
            c.mistake(
                Mistake::new(
                    Code::ControlCharacter,
                    span,
                    format!("the file has a character that can't be seen, U+{code:04X}"),
                )
                .label("here")
                .help("delete it; control characters and marks of text direction are not allowed"),
            );
        }
        let blanks = found.iter().map(|&(at, ch)| at..at + ch.len_utf8());
        c.blanks.extend(blanks);
    }

    /// Goes over nodes up to the end of the text or, inside a block, up to its `}`.
    fn nodes(&mut self, inside: bool) {
        loop {
            if self.cursor.mistakes.len() >= MISTAKES_MAX {
                let rest = self.cursor.span_of(self.cursor.at, self.cursor.text.len());
                self.broken.push(rest);
                self.cursor.stop();
            }
            let start = self.cursor.at;
            if self.cursor.skip_lines().is_err() {
                // A lone backslash is the only thing that leaves text behind it.
                self.cursor.bump();
                self.broken.push(self.cursor.span(start));
                continue;
            }
            let start = self.cursor.at;
            match self.cursor.peek() {
                None => return,
                Some('}') if inside => return,
                Some('}') => {
                    self.cursor.bump();
                    let span = self.cursor.span(start);
                    // It ended the node in front of it, and what follows is the next one.
                    self.mends.push((start, b'\n'));
                    self.cursor.mistake(
                        Mistake::new(Code::Syntax, span, "this } closes nothing")
                            .label("no block is open here"),
                    );
                }
                Some(_) if self.cursor.eat("/-") => {
                    if self.cursor.skip_lines().is_ok() {
                        self.left_out_node(start);
                    }
                    self.cursor.blanks.push(start..self.cursor.at);
                }
                Some(_) => self.node(),
            }
        }
    }

    /// Goes over the node after a `/-`; only the marker of the language's version counts.
    fn left_out_node(&mut self, start: usize) {
        let body = self.cursor.at;
        if matches!(self.cursor.peek(), None | Some('}')) {
            let span = self.cursor.span_of(start, start + 2);
            self.cursor.mistake(
                Mistake::new(Code::Syntax, span, "nothing follows this /-")
                    .label("leaves out the node after it")
                    .help("delete the /-"),
            );
            return;
        }
        self.node();
        let node =
            self.cursor.text[body..self.cursor.at].trim_end_matches(|c| is_newline(c) || c == ';');
        let first = || self.cursor.text[..start].chars().all(is_blank);
        let version = node.strip_prefix("kdl-version");
        if let Some(version) = version.filter(|rest| rest.starts_with(is_space) && first())
            && version.split_whitespace().next() != Some("2")
        {
            let span = self.cursor.span_of(body, body + node.len());
            self.cursor
                .mistake(old_language(span, "this file says it is not KDL 2"));
        }
    }

    fn node(&mut self) {
        let start = self.cursor.at;
        if self.node_or_lost().is_err() {
            self.find_end();
            self.broken.push(self.cursor.span(start));
        }
    }

    fn node_or_lost(&mut self) -> Result<(), Lost> {
        self.annotation()?;
        if self.cursor.peek() == Some('{') {
            let span = self.cursor.here();
            return Err(self.cursor.mistake(
                Mistake::new(Code::Syntax, span, "a block has no name in front of it")
                    .label("whose block is this?")
                    .help("the { belongs on the same line as its node"),
            ));
        }
        let start = self.cursor.at;
        if !self.atom("a node's name")? {
            let span = self.cursor.span(start);
            return Err(self.cursor.mistake(
                Mistake::new(
                    Code::Syntax,
                    span,
                    "a node begins with its name, not with a value",
                )
                .label("not a name"),
            ));
        }
        self.rest_of_node()
    }

    fn rest_of_node(&mut self) -> Result<(), Lost> {
        let mut separated = false;
        let mut blocks = 0;
        let mut after_block = false;
        loop {
            separated |= self.cursor.skip_space()?;
            if self.cursor.starts("//") {
                self.cursor.skip_line_comment();
            }
            if self.cursor.eat_newline() || self.cursor.eat(";") {
                return Ok(());
            }
            let start = self.cursor.at;
            match self.cursor.peek() {
                None | Some('}') => return Ok(()),
                Some('{') if blocks == 0 => {
                    self.children()?;
                    blocks += 1;
                    after_block = true;
                }
                Some(_) if separated && self.cursor.eat("/-") => {
                    self.cursor.skip_lines()?;
                    if self.cursor.peek() == Some('{') {
                        self.children()?;
                        after_block = true;
                    } else if after_block {
                        return Err(self.not_separated(true));
                    } else {
                        self.entry()?;
                    }
                    self.cursor.blanks.push(start..self.cursor.at);
                    separated = false;
                }
                Some(c) if after_block => {
                    let lost = self.not_separated(true);
                    // What follows is meant as the next node, and can be read as one.
                    if separated && c != '{' && self.cursor.text.as_bytes()[start - 1] == b' ' {
                        self.mends.push((start - 1, b'\n'));
                        return Ok(());
                    }
                    return Err(lost);
                }
                Some(_) if !separated => return Err(self.not_separated(false)),
                Some(_) => {
                    self.entry()?;
                    separated = false;
                }
            }
        }
    }

    fn not_separated(&mut self, after_block: bool) -> Lost {
        let span = self.cursor.here();
        let (message, help) = if after_block {
            (
                "something follows a block on the same line",
                "begin a new line, or put a ; between",
            )
        } else {
            (
                "this is neither inside quotes nor set off by a space",
                "put a text that has / \\ ( ) { } [ ] ; = # or a quote in it into quotes",
            )
        };
        let mistake = Mistake::new(Code::Syntax, span, message);
        self.cursor.mistake(mistake.label("here").help(help))
    }

    /// Goes over `(type)`, which has no meaning in a topology.
    fn annotation(&mut self) -> Result<(), Lost> {
        let start = self.cursor.at;
        if !self.cursor.eat("(") {
            return Ok(());
        }
        self.cursor.skip_space()?;
        let is_text = self.atom("a type")?;
        self.cursor.skip_space()?;
        let closed = self.cursor.eat(")");
        let span = self.cursor.span(start);
        if !is_text || !closed {
            return Err(self.cursor.mistake(
                Mistake::new(Code::Syntax, span, "this parenthesis is not a type")
                    .label("here")
                    .help("put the text into quotes"),
            ));
        }
        self.cursor.mistake(
            Mistake::new(
                Code::TypeAnnotation,
                span,
                "a (type) means nothing in a topology",
            )
            .label("not needed")
            .help("delete it; the type of every value is known"),
        );
        self.cursor.skip_space()?;
        self.cursor.blanks.push(start..self.cursor.at);
        Ok(())
    }

    fn children(&mut self) -> Result<(), Lost> {
        let open = self.cursor.here();
        if self.depth >= DEPTH_MAX {
            self.cursor.stop();
            let message = format!("blocks are nested deeper than {DEPTH_MAX}");
            let mistake = Mistake::new(Code::Limit, open, message);
            return Err(self.cursor.mistake(mistake.label("one level too deep")));
        }
        self.cursor.bump();
        self.depth += 1;
        let before = self.cursor.mistakes.len();
        self.nodes(true);
        self.depth -= 1;
        if self.cursor.eat("}") {
            return Ok(());
        }
        // A limit or an open text swallowed the rest already; saying more would be noise.
        if self.cursor.mistakes.len() == before {
            self.cursor.mistake(
                Mistake::new(Code::Syntax, open, "this block is never closed")
                    .label("opened here")
                    .help("add a }"),
            );
        }
        Err(Lost)
    }

    /// Goes over an argument or a property.
    fn entry(&mut self) -> Result<(), Lost> {
        self.annotation()?;
        let start = self.cursor.at;
        let is_text = self.atom("a value")?;
        let after = self.cursor.at;
        let blanks = self.cursor.blanks.len();
        self.cursor.skip_space()?;
        if !self.cursor.eat("=") {
            self.cursor.at = after;
            self.cursor.blanks.truncate(blanks);
            return Ok(());
        }
        if !is_text {
            let span = self.cursor.span_of(start, after);
            return Err(self.cursor.mistake(
                Mistake::new(Code::Syntax, span, "a property's name is a word").label("not a word"),
            ));
        }
        self.cursor.skip_space()?;
        self.annotation()?;
        self.atom("a value after =").map(drop)
    }

    /// Goes to the end of a node that can't be read.
    fn find_end(&mut self) {
        loop {
            if self.cursor.starts("//") {
                self.cursor.skip_line_comment();
            }
            if self.cursor.eat_newline() || self.cursor.eat(";") {
                return;
            }
            let quiet = self.cursor.mistakes.len();
            let passed = match self.cursor.peek() {
                None | Some('}') => return,
                Some('{') => {
                    // Mistakes inside are worth a word, whatever the node around them is.
                    let _ = self.children();
                    continue;
                }
                Some('"' | '#') => self.any_string(),
                Some('/' | '\\') => self.cursor.skip_space().map(|moved| {
                    if !moved {
                        self.cursor.bump();
                    }
                }),
                Some(_) => {
                    self.cursor.bump();
                    Ok(())
                }
            };
            if passed.is_err() {
                // The line is known to be wrong: a second word about it would be noise.
                self.cursor.mistakes.truncate(quiet);
                if self.cursor.peek().is_some_and(|c| !is_newline(c)) {
                    self.cursor.bump();
                }
            }
        }
    }
}

/// Returns whether a character in front of everything changes nothing.
fn is_blank(c: char) -> bool {
    is_space(c) || is_newline(c) || c == '\u{feff}'
}

pub(super) fn old_language(span: Span, message: impl Into<String>) -> Mistake {
    Mistake::new(Code::OldLanguage, span, message)
        .label("not KDL 2")
        .help("topologies are KDL 2: put texts into quotes; a switch such as `reader` is on by being there and takes no true or false; a raw text is #\"…\"#")
}
