//! A tree of lines becomes text again.

use unicode_width::UnicodeWidthStr;

use super::tree::{Block, Body, Gap, Line, Node, Trivia};

/// How wide a block may be on one line.
const WIDTH: usize = 100;
const INDENT: &str = "    ";

/// Prints a whole text.
pub(super) fn print(block: &Block<'_>) -> String {
    let mut page = Page::default();
    page.rows(block.lines.iter().flat_map(|line| rows(line, 0)).collect());
    page.text
}

/// Returns a block on one line, if that is where it belongs and fits.
pub(super) fn one_line(block: &Block<'_>) -> Option<String> {
    if block.head.is_empty() && block.lines.is_empty() {
        return Some("{}".to_owned());
    }
    let [line] = block.lines.as_slice() else {
        return None;
    };
    if block.broken || !block.head.is_empty() || line.tail.is_some() {
        return None;
    }
    let mut page = Page::default();
    page.push("{ ");
    page.together(line, 0).then(|| {
        page.push(" }");
        page.text
    })
}

/// A text that knows where its last line ends.
#[derive(Default)]
struct Page {
    text: String,
    column: usize,
    /// Whether more than one line was begun.
    broken: bool,
}

impl Page {
    /// Begins a line of its own.
    fn at(depth: usize) -> Self {
        let text = INDENT.repeat(depth);
        Self {
            column: text.len(),
            text,
            broken: false,
        }
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        match text.rsplit_once('\n') {
            Some((_, last)) => {
                self.column = last.width();
                self.broken = true;
            }
            None => self.column += text.width(),
        }
    }

    fn begin_line(&mut self, depth: usize) {
        self.push("\n");
        self.push(&INDENT.repeat(depth));
    }

    /// Prints rows, each with its end.
    fn rows(&mut self, mut rows: Vec<Row<'_>>) {
        align(&mut rows);
        for row in rows {
            if row.apart {
                self.text.push('\n');
            }
            self.text.push_str(&row.text);
            if let Some(tail) = row.tail {
                self.text.extend(std::iter::repeat_n(' ', row.pad));
                self.text.push_str(trimmed(tail));
            }
            self.text.push('\n');
        }
        self.column = 0;
        self.broken = true;
    }

    /// Prints what is on a line beside each other; says whether it is one line and fits.
    fn together(&mut self, line: &Line<'_>, depth: usize) -> bool {
        // Printing a block to see that it does not fit would be done again on each level.
        if line.nodes.iter().any(has_long_block) {
            return false;
        }
        self.push(&line.comments.join(" "));
        for (at, node) in line.nodes.iter().enumerate() {
            if at > 0 {
                self.push("; ");
            }
            self.node(node, depth);
            if self.broken || self.column > WIDTH {
                return false;
            }
        }
        !self.broken && self.column <= WIDTH
    }

    fn node(&mut self, node: &Node<'_>, depth: usize) {
        for comment in &node.before {
            self.push(comment);
            self.push(" ");
        }
        if let Some(gap) = &node.left_out {
            self.left_out(gap, depth);
            if gap.is_empty() && says_version(node) {
                self.push(" ");
            }
        }
        for (at, part) in node.parts.iter().enumerate() {
            if at > 0 {
                self.push(" ");
                self.gap(&part.gap, "\\", depth);
            }
            if let Some(gap) = &part.left_out {
                self.left_out(gap, depth);
            }
            match &part.body {
                Body::Entry(words) => self.entry(words, depth),
                Body::Block(block) => self.block(block, depth),
            }
        }
        for comment in &node.after {
            self.push(" ");
            self.push(comment);
        }
    }

    fn entry(&mut self, words: &[(Gap<'_>, &str)], depth: usize) {
        for (gap, word) in words {
            if !gap.is_empty() {
                self.push(" ");
                self.gap(gap, "\\", depth);
            }
            self.push(word);
        }
    }

    /// Prints a `/-` and what follows it up to what is left out.
    fn left_out(&mut self, gap: &Gap<'_>, depth: usize) {
        self.push("/-");
        if !gap.is_empty() {
            self.push(" ");
            self.gap(gap, "", depth);
        }
    }

    /// Prints comments and ends of lines between two words; `escape` lets a line go on.
    fn gap(&mut self, gap: &Gap<'_>, escape: &str, depth: usize) {
        for trivia in gap {
            match trivia {
                Trivia::Comment(text) => {
                    self.push(text);
                    self.push(" ");
                }
                Trivia::Break(comment) => {
                    self.push(escape);
                    if let Some(comment) = comment {
                        self.push(if escape.is_empty() { "" } else { " " });
                        self.push(trimmed(comment));
                    }
                    self.begin_line(depth + 1);
                }
            }
        }
    }

    fn block(&mut self, block: &Block<'_>, depth: usize) {
        if let Some(inline) = &block.inline
            && self.column + inline.width() <= WIDTH
        {
            return self.push(inline);
        }
        self.push("{");
        for comment in &block.head {
            self.push(" ");
            self.push(trimmed(comment));
        }
        self.push("\n");
        let lines = block.lines.iter();
        // What stood on one line and does not fit gets a line for each statement.
        let how = if block.broken { rows } else { rows_apart };
        self.rows(lines.flat_map(|line| how(line, depth + 1)).collect());
        self.push(&INDENT.repeat(depth));
        self.push("}");
    }
}

/// What is printed on a line, or on several if a block is in it.
struct Row<'a> {
    apart: bool,
    text: String,
    tail: Option<&'a str>,
    /// How many spaces there are in front of the tail.
    pad: usize,
}

/// Prints the statements of a line beside each other, or below each other if that does not fit.
fn rows<'a>(line: &Line<'a>, depth: usize) -> Vec<Row<'a>> {
    if line.nodes.len() > 1 {
        let mut page = Page::at(depth);
        if page.together(line, depth) {
            return vec![Row::new(line, page.text)];
        }
    }
    rows_apart(line, depth)
}

/// Prints each statement of a line on a line of its own.
fn rows_apart<'a>(line: &Line<'a>, depth: usize) -> Vec<Row<'a>> {
    let Some((last, others)) = line.nodes.split_last() else {
        let text = if line.comments.is_empty() {
            String::new()
        } else {
            Page::at(depth).text + &line.comments.join(" ")
        };
        let own = INDENT.repeat(depth);
        return vec![match line.tail {
            // A comment that stands alone begins where statements do.
            Some(tail) if text.is_empty() => Row {
                tail: None,
                ..Row::new(line, own + trimmed(tail))
            },
            _ => Row::new(line, text),
        }];
    };
    let text = |node: &Node<'_>| {
        let mut page = Page::at(depth);
        page.node(node, depth);
        page.text
    };
    let mut rows: Vec<Row<'a>> = others
        .iter()
        .map(|node| Row {
            tail: None,
            ..Row::new(line, text(node))
        })
        .collect();
    rows.push(Row::new(line, text(last)));
    for row in rows.iter_mut().skip(1) {
        row.apart = false;
    }
    rows
}

impl<'a> Row<'a> {
    fn new(line: &Line<'a>, text: String) -> Self {
        Self {
            apart: line.apart,
            text,
            tail: line.tail,
            pad: 1,
        }
    }

    /// Returns whether its comment is one of a column of comments.
    fn aligns(&self) -> bool {
        self.tail.is_some() && !self.text.contains('\n')
    }
}

/// Makes comments at the ends of lines that follow each other begin in one column.
fn align(rows: &mut [Row<'_>]) {
    for run in rows.chunk_by_mut(|a, b| a.aligns() && b.aligns() && !b.apart) {
        let widest = run.iter().map(|row| row.text.width()).max().unwrap_or(0);
        for row in run {
            row.pad = widest - row.text.width() + 1;
        }
    }
}

/// Returns whether a statement has a block that takes more than one line.
fn has_long_block(node: &Node<'_>) -> bool {
    let long = |body: &Body<'_>| matches!(body, Body::Block(block) if block.inline.is_none());
    node.parts.iter().any(|part| long(&part.body))
}

/// Returns whether a statement that is left out is the marker of the language's version.
fn says_version(node: &Node<'_>) -> bool {
    let [name, ..] = node.parts.as_slice() else {
        return false;
    };
    matches!(&name.body, Body::Entry(words) if matches!(words.as_slice(), [(_, "kdl-version")]))
}

/// Returns a comment without the spaces at its end.
fn trimmed(comment: &str) -> &str {
    comment.trim_end()
}
