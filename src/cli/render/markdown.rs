//! Markdown for comments on pull requests: safe words, tables, and a bound on the whole.

use std::fmt::Write as _;

use super::text::escape;

/// Comments may have 65,536 characters on GitHub; what a workflow puts around it needs some.
const BYTES_MAX: usize = 60_000;
/// What the line about parts that were left out takes at most.
const LEFT_OUT_BYTES: usize = 256;

/// Puts a comment together from parts, the first of which matter most.
///
/// What has no room is shortened or left out, and the comment says so and which command has it.
pub(super) fn comment(
    head: &str,
    parts: impl IntoIterator<Item = Option<Part>>,
    foot: &str,
    whole: &str,
) -> String {
    let mut room = BYTES_MAX.saturating_sub(head.len() + foot.len() + LEFT_OUT_BYTES);
    let mut text = head.to_owned();
    let mut left_out = Vec::new();
    for part in parts.into_iter().flatten() {
        match part.within(room) {
            Some(shown) => {
                room -= shown.len();
                text.push_str(&shown);
            }
            None => left_out.push(part.name),
        }
    }
    if !left_out.is_empty() {
        let _ = write!(
            text,
            "Left out, since a comment has no room for it: {}. `{whole}` has all.\n\n",
            left_out.join(", ")
        );
    }
    text.push_str(foot);
    text
}

/// Is a part of the comment that can be shortened by leaving rows out.
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) head: String,
    pub(super) rows: Vec<String>,
    pub(super) tail: &'static str,
    /// What a line that says how many rows are missing begins with; nothing if all are needed.
    pub(super) more: Option<&'static str>,
}

impl Part {
    /// Returns the part in at most `room` bytes; nothing if that is too little.
    fn within(&self, room: usize) -> Option<String> {
        const MORE_BYTES: usize = 40;
        let mut text = self.head.clone();
        let taken = text.len() + self.tail.len();
        let whole = taken + self.rows.iter().map(String::len).sum::<usize>();
        if whole <= room {
            text.extend(self.rows.iter().map(String::as_str));
            text.push_str(self.tail);
            return Some(text);
        }
        let more = self.more?;
        let mut left = room.checked_sub(taken + MORE_BYTES)?;
        let fitting = |row: &&String| {
            let fits = row.len() <= left;
            left = left.saturating_sub(row.len());
            fits
        };
        let shown: Vec<_> = self.rows.iter().take_while(fitting).collect();
        if shown.is_empty() {
            return None;
        }
        let missing = self.rows.len() - shown.len();
        text.extend(shown.into_iter().map(String::as_str));
        let _ = writeln!(text, "{more}… and {missing} more");
        text.push_str(self.tail);
        Some(text)
    }
}

/// Returns a table under a title; nothing without rows.
pub(super) fn table(
    name: &'static str,
    title: &str,
    columns: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> Option<Part> {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let names: Vec<String> = columns.iter().map(ToString::to_string).collect();
    let rule = vec!["---".to_owned(); columns.len()];
    let rows: Vec<_> = rows.into_iter().map(|cells| line(&cells)).collect();
    (!rows.is_empty()).then(|| Part {
        name,
        head: format!("#### {title}\n\n{}{}", line(&names), line(&rule)),
        rows,
        tail: "\n",
        more: Some("| "),
    })
}

/// Returns a list between two texts; nothing without rows.
pub(super) fn list(
    name: &'static str,
    head: &str,
    rows: Vec<String>,
    tail: &'static str,
) -> Option<Part> {
    (!rows.is_empty()).then(|| Part {
        name,
        head: head.to_owned(),
        rows,
        tail,
        more: Some("- "),
    })
}

/// Returns a text that may come from a host as plain words: no markup, link, mention or tag.
pub(super) fn prose(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let escaped = escape(text);
    for (at, c) in escaped.char_indices() {
        let rest = &escaped[at + c.len_utf8()..];
        match c {
            '&' => plain.push_str("&amp;"),
            '<' => plain.push_str("&lt;"),
            '>' => plain.push_str("&gt;"),
            // What follows would be a mention, a reference to an issue, or a link.
            '@' => plain.push_str("`@`"),
            '#' if rest.starts_with(|c: char| c.is_ascii_digit()) => plain.push_str("`#`"),
            ':' if rest.starts_with("//") => plain.push_str("`:`"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '#' | '!' | '$' => {
                plain.push('\\');
                plain.push(c);
            }
            _ => plain.push(c),
        }
    }
    plain.replace("www.", "www`.`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_from_hosts_are_words_and_nothing_else() {
        let cases = [
            ("plain words, 1:2 → nas:/srv", "plain words, 1:2 → nas:/srv"),
            ("<img src=x>", "&lt;img src=x&gt;"),
            ("@everyone see #12", "`@`everyone see `#`12"),
            ("[a](http://b.c)", "\\[a\\](http`:`//b.c)"),
            ("www.b.c", "www`.`b.c"),
            ("a|b `c` *d* _e_", "a\\|b \\`c\\` \\*d\\* \\_e\\_"),
            ("two\nlines\u{1b}[1m", "two\\\\nlines\\\\x1b\\[1m"),
            ("&amp;", "&amp;amp;"),
        ];
        for (text, wanted) in cases {
            assert_eq!(prose(text), wanted, "{text:?}");
        }
    }

    #[test]
    fn a_part_without_room_is_shortened_by_whole_rows() {
        let part = Part {
            name: "rows",
            head: "head\n".to_owned(),
            rows: (0..100).map(|n| format!("row {n}\n")).collect(),
            tail: "tail\n",
            more: Some("- "),
        };
        assert_eq!(part.within(10), None);
        let some = part.within(100).expect("there is room for some");
        assert!(some.len() <= 100, "{some}");
        assert!(some.starts_with("head\nrow 0\nrow 1\n"), "{some}");
        assert!(some.ends_with("more\ntail\n"), "{some}");
        let whole = part.within(10_000).expect("there is room for all");
        assert!(!whole.contains("more"), "{whole}");
        let picture = Part { more: None, ..part };
        assert_eq!(picture.within(100), None);
    }
}
