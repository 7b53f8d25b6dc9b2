//! Words of others as names, texts and comments of a topology.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::model::Name;
use crate::model::name::NAME_LEN_MAX;

/// The longest comment that is made of what somebody else said, in characters.
const COMMENT_MAX: usize = 300;

/// Tells whether a character can't be seen, or changes what is seen around it.
pub(in crate::config) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{2028}' | '\u{2029}')
}

/// Returns a text in quotes, as KDL reads it back.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if is_hidden(c) => escape(&mut quoted, c),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Returns a text as the rest of a line that is a comment: bounded, nothing hidden in it.
pub(super) fn remark(text: &str) -> String {
    let mut plain = String::new();
    for (at, c) in text.chars().enumerate() {
        if at == COMMENT_MAX {
            plain.push('…');
            break;
        }
        if c == '\n' {
            plain.push(' ');
        } else if is_hidden(c) {
            escape(&mut plain, c);
        } else {
            plain.push(c);
        }
    }
    plain.trim_end().to_owned()
}

fn escape(to: &mut String, c: char) {
    write!(to, "\\u{{{:x}}}", u32::from(c)).expect("writing to a String never fails");
}

/// Makes a name of a text, as near as names allow; `otherwise` where nothing is left.
///
/// ```
/// # use bkpctl::config::as_name;
/// assert_eq!(as_name("/srv/my data/", "data").as_str(), "srv-my-data");
/// assert_eq!(as_name("…", "data").as_str(), "data");
/// ```
pub fn as_name(text: &str, otherwise: &str) -> Name {
    let mut name = String::new();
    for c in text.chars() {
        let fits = c.is_ascii_alphanumeric() || (matches!(c, '.' | '_' | '-') && !name.is_empty());
        if fits {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
        if name.len() == NAME_LEN_MAX {
            break;
        }
    }
    let name = name.trim_end_matches(['-', '.', '_']);
    Name::new(name)
        .or_else(|_| Name::new(otherwise))
        .expect("what is named otherwise has a name")
}

/// Hands out names of one kind, each once.
#[derive(Debug, Default)]
pub(super) struct Taken(BTreeSet<Name>);

impl Taken {
    /// Returns the name, with a number behind it if it is taken.
    pub(super) fn take(&mut self, wish: Name) -> Name {
        if self.0.insert(wish.clone()) {
            return wish;
        }
        let mut numbered = (2_u32..).map(|number| {
            let suffix = format!("-{number}");
            let start = &wish.as_str()[..wish.len().min(NAME_LEN_MAX - suffix.len())];
            as_name(&format!("{start}{suffix}"), "more")
        });
        numbered
            .find(|name| self.0.insert(name.clone()))
            .expect("there are more numbers than things")
    }
}
