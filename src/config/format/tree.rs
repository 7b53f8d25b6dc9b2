//! A text as lines of statements, with all that a person wrote between them.

use crate::config::document::{Kind, Token};

use super::print::one_line;

/// What may stand between two parts of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trivia<'a> {
    /// A comment that ends where it says so.
    Comment(&'a str),
    /// The end of a line that does not end the statement, with its comment.
    Break(Option<&'a str>),
}

/// What stands between two parts of a statement; usually nothing.
pub(super) type Gap<'a> = Vec<Trivia<'a>>;

/// The statements between braces, or of the whole text.
#[derive(Debug, Default)]
pub(super) struct Block<'a> {
    /// Comments on the line of the opening brace.
    pub(super) head: Vec<&'a str>,
    pub(super) lines: Vec<Line<'a>>,
    /// Whether it was written on more than one line.
    pub(super) broken: bool,
    /// The block with its braces, if it was written on one line and fits there.
    pub(super) inline: Option<String>,
}

/// One line: statements or comments, and a comment up to its end.
#[derive(Debug, Default)]
pub(super) struct Line<'a> {
    /// Whether there are empty lines in front of it.
    pub(super) apart: bool,
    pub(super) nodes: Vec<Node<'a>>,
    /// Comments where there is no statement.
    pub(super) comments: Vec<&'a str>,
    pub(super) tail: Option<&'a str>,
}

/// A statement.
#[derive(Debug)]
pub(super) struct Node<'a> {
    /// Comments in front of it, on its line.
    pub(super) before: Vec<&'a str>,
    /// What follows the `/-`, if it is left out.
    pub(super) left_out: Option<Gap<'a>>,
    /// The name, the entries, the blocks.
    pub(super) parts: Vec<Part<'a>>,
    /// Comments behind it.
    pub(super) after: Vec<&'a str>,
}

/// A part of a statement.
#[derive(Debug)]
pub(super) struct Part<'a> {
    pub(super) gap: Gap<'a>,
    /// What follows the `/-`, if it is left out.
    pub(super) left_out: Option<Gap<'a>>,
    pub(super) body: Body<'a>,
}

#[derive(Debug)]
pub(super) enum Body<'a> {
    /// Words and signs that belong together, each with what stands in front of it.
    Entry(Vec<(Gap<'a>, &'a str)>),
    Block(Block<'a>),
}

/// Builds the tree of a text without mistakes; none if there is one.
pub(super) fn tree<'a>(tokens: &[Token<'a>]) -> Option<Block<'a>> {
    let mut parser = Parser { tokens };
    let block = parser.block(false)?;
    parser.tokens.is_empty().then_some(block)
}

struct Parser<'t, 'a> {
    /// What is still to come.
    tokens: &'t [Token<'a>],
}

/// The lines of a block as they come together.
#[derive(Default)]
struct Lines<'a> {
    inside: bool,
    block: Block<'a>,
    line: Line<'a>,
    /// Whether a line has ended since the opening brace.
    broken: bool,
    /// Whether the line in front was empty.
    empty: bool,
}

impl<'a> Lines<'a> {
    /// Ends a line where the text does.
    fn end_line(&mut self) {
        let first = !std::mem::replace(&mut self.broken, true);
        self.keep_line(first);
    }

    fn keep_line(&mut self, first: bool) {
        let mut line = std::mem::take(&mut self.line);
        // A comment behind the last statement belongs to it.
        if let Some(last) = line.nodes.last_mut() {
            last.after.append(&mut line.comments);
        } else if line.comments.is_empty() && line.tail.is_none() {
            self.empty = !first || !self.inside;
            return;
        } else if first && self.inside {
            self.block.head = line.comments;
            self.block.head.extend(line.tail);
            return;
        }
        line.apart = self.empty && !self.block.lines.is_empty();
        self.empty = false;
        self.block.lines.push(line);
    }

    fn finish(mut self) -> Block<'a> {
        self.keep_line(false);
        if self.inside {
            self.block.broken = self.broken;
            self.block.inline = one_line(&self.block);
        }
        self.block
    }
}

impl<'a> Parser<'_, 'a> {
    fn peek(&self) -> Option<Kind> {
        self.tokens.first().map(|token| token.kind)
    }

    fn next(&mut self) -> Option<Token<'a>> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(*first)
    }

    fn eat(&mut self, kind: Kind) -> Option<&'a str> {
        if self.peek() == Some(kind) {
            self.next().map(|token| token.text)
        } else {
            None
        }
    }

    /// Reads statements up to the end, or up to a closing brace, which is left.
    fn block(&mut self, inside: bool) -> Option<Block<'a>> {
        let mut lines = Lines {
            inside,
            ..Lines::default()
        };
        loop {
            match self.peek() {
                None | Some(Kind::Close) => return Some(lines.finish()),
                Some(Kind::Atom | Kind::TypeOpen | Kind::SlashDash) => self.node(&mut lines)?,
                Some(kind) => {
                    let text = self.next()?.text;
                    match kind {
                        Kind::Newline => lines.end_line(),
                        Kind::LineComment => lines.line.tail = Some(text),
                        Kind::BlockComment => lines.line.comments.push(text),
                        // Between statements a line ends with or without it.
                        Kind::Escape => {}
                        _ => return None,
                    }
                }
            }
        }
    }

    fn node(&mut self, lines: &mut Lines<'a>) -> Option<()> {
        let before = std::mem::take(&mut lines.line.comments);
        let left_out = self.slash_dash();
        let name = self.entry()?;
        let mut parts = vec![Part {
            gap: Gap::new(),
            left_out: None,
            body: Body::Entry(name),
        }];
        let gap = loop {
            let gap = self.gap();
            match self.peek() {
                Some(Kind::Atom | Kind::TypeOpen | Kind::SlashDash | Kind::Open) => {
                    parts.push(self.part(gap)?);
                }
                _ => break gap,
            }
        };
        lines.line.nodes.push(Node {
            before,
            left_out,
            parts,
            after: Vec::new(),
        });
        for trivia in gap {
            match trivia {
                Trivia::Comment(text) => lines.line.comments.push(text),
                // Nothing of the statement follows, so the line may as well end.
                Trivia::Break(Some(text)) => {
                    lines.line.tail = Some(text);
                    lines.end_line();
                }
                Trivia::Break(None) => {}
            }
        }
        self.eat(Kind::Semicolon);
        // A comment between a statement and its semicolon is behind it.
        if let Some(last) = lines.line.nodes.last_mut() {
            last.after.append(&mut lines.line.comments);
        }
        Some(())
    }

    fn part(&mut self, gap: Gap<'a>) -> Option<Part<'a>> {
        let left_out = self.slash_dash();
        let (gap, body) = if self.eat(Kind::Open).is_some() {
            let block = self.block(true)?;
            self.eat(Kind::Close)?;
            (tight(gap), Body::Block(block))
        } else {
            (gap, Body::Entry(self.entry()?))
        };
        Some(Part {
            gap,
            left_out,
            body,
        })
    }

    /// Reads a name, an argument or a property, with its types.
    fn entry(&mut self) -> Option<Vec<(Gap<'a>, &'a str)>> {
        let mut words = Vec::new();
        self.typed(&mut words, Gap::new())?;
        let back = self.tokens;
        let gap = self.gap();
        let Some(equals) = self.eat(Kind::Equals) else {
            self.tokens = back;
            return Some(words);
        };
        words.push((tight(gap), equals));
        let gap = tight(self.gap());
        self.typed(&mut words, gap)?;
        Some(words)
    }

    /// Reads a value with its type.
    fn typed(&mut self, words: &mut Vec<(Gap<'a>, &'a str)>, mut gap: Gap<'a>) -> Option<()> {
        if let Some(open) = self.eat(Kind::TypeOpen) {
            words.push((gap, open));
            words.push((tight(self.gap()), self.eat(Kind::Atom)?));
            words.push((tight(self.gap()), self.eat(Kind::TypeClose)?));
            gap = tight(self.gap());
        }
        words.push((gap, self.eat(Kind::Atom)?));
        Some(())
    }

    /// Reads what stands between two parts of a statement.
    fn gap(&mut self) -> Gap<'a> {
        let mut gap = Gap::new();
        loop {
            if let Some(text) = self.eat(Kind::BlockComment) {
                gap.push(Trivia::Comment(text));
            } else if self.eat(Kind::Escape).is_some() {
                while let Some(text) = self.eat(Kind::BlockComment) {
                    gap.push(Trivia::Comment(text));
                }
                let comment = self.eat(Kind::LineComment);
                self.eat(Kind::Newline);
                match (gap.last_mut(), comment) {
                    (Some(Trivia::Break(_)), None) => {}
                    (Some(Trivia::Break(last @ None)), comment) => *last = comment,
                    _ => gap.push(Trivia::Break(comment)),
                }
            } else {
                return gap;
            }
        }
    }

    /// Reads a `/-` and what follows it.
    fn slash_dash(&mut self) -> Option<Gap<'a>> {
        self.eat(Kind::SlashDash)?;
        let mut gap = Gap::new();
        loop {
            gap.append(&mut self.gap());
            if let Some(text) = self.eat(Kind::LineComment) {
                gap.push(Trivia::Break(Some(text)));
            } else if self.eat(Kind::Newline).is_none() {
                return Some(tight(gap));
            }
        }
    }
}

/// Leaves out the ends of lines that nothing asks for.
fn tight(mut gap: Gap<'_>) -> Gap<'_> {
    gap.retain(|trivia| *trivia != Trivia::Break(None));
    gap
}
