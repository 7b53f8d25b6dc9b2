//! A text in its smallest parts, with everything that reading leaves out: comments, line
//! ends, and what a `/-` stands before.

use super::cursor::{Cursor, is_space, is_word};
use super::scan::Scanner;

/// What a part of a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A name or a value, quotes and all.
    Atom,
    /// `// …`, without the end of its line.
    LineComment,
    /// `/* … */`
    BlockComment,
    /// The end of a line.
    Newline,
    /// `\` in front of the end of a line that goes on.
    Escape,
    /// `/-`
    SlashDash,
    /// `{`
    Open,
    /// `}`
    Close,
    /// `(`
    TypeOpen,
    /// `)`
    TypeClose,
    /// `=`
    Equals,
    /// `;`
    Semicolon,
}

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    pub(crate) text: &'a str,
}

/// Takes apart a text in which the scan found no mistake; none if there is one.
pub(crate) fn tokens(text: &str) -> Option<Vec<Token<'_>>> {
    let mut scanner = Scanner::new(text, 0, 0);
    scanner.cursor.eat("\u{feff}");
    let mut tokens = Vec::new();
    loop {
        scanner.cursor.take_while(is_space);
        let start = scanner.cursor.at;
        let Some(c) = scanner.cursor.peek() else {
            return Some(tokens);
        };
        let kind = match c {
            '"' | '#' => {
                scanner.any_string().ok()?;
                // Hashes without quotes begin a keyword.
                scanner.cursor.take_while(is_word);
                Kind::Atom
            }
            c if is_word(c) => {
                scanner.cursor.take_while(is_word);
                Kind::Atom
            }
            _ => mark(&mut scanner.cursor)?,
        };
        let text = &text[start..scanner.cursor.at];
        tokens.push(Token { kind, text });
    }
}

/// Goes past what is neither a name nor a value.
fn mark(cursor: &mut Cursor<'_>) -> Option<Kind> {
    if cursor.starts("//") {
        cursor.skip_line_comment();
        return Some(Kind::LineComment);
    }
    if cursor.starts("/*") {
        cursor.skip_block_comment().ok()?;
        return Some(Kind::BlockComment);
    }
    if cursor.eat("/-") {
        return Some(Kind::SlashDash);
    }
    if cursor.eat_newline() {
        return Some(Kind::Newline);
    }
    match cursor.bump()? {
        '\\' => Some(Kind::Escape),
        '{' => Some(Kind::Open),
        '}' => Some(Kind::Close),
        '(' => Some(Kind::TypeOpen),
        ')' => Some(Kind::TypeClose),
        '=' => Some(Kind::Equals),
        ';' => Some(Kind::Semicolon),
        _ => None,
    }
}
