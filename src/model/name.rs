//! Names that people give to things in a topology.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A checked name: `[A-Za-z0-9][A-Za-z0-9._-]*`, at most 64 bytes.
///
/// A name never starts with `-` and never holds a slash, a space or a control
/// byte, so it is safe as a file name, in a message and after an option.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// The longest name in bytes.
pub const NAME_LEN_MAX: usize = 64;

/// Says why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("a name must not be empty")]
    Empty,
    /// The text is longer than [`NAME_LEN_MAX`] bytes.
    #[error("a name has at most {NAME_LEN_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// The text has a character that names may not have at that position.
    #[error("{0:?} is not allowed in a name; names match [A-Za-z0-9][A-Za-z0-9._-]*")]
    BadCharacter(char),
}

impl Name {
    /// Checks a text and makes it a name.
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > NAME_LEN_MAX {
            return Err(NameError::TooLong(text.len()));
        }
        for (index, c) in text.chars().enumerate() {
            let allowed = c.is_ascii_alphanumeric() || (index > 0 && matches!(c, '.' | '_' | '-'));
            if !allowed {
                return Err(NameError::BadCharacter(c));
            }
        }
        Ok(Self(text))
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Deref for Name {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_people_write_are_accepted() {
        for text in ["pve1", "vm-201", "a", "three-two-one", "10.0.0.1", "A_b"] {
            assert!(Name::new(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn names_that_could_become_options_paths_or_escapes_are_refused() {
        for text in [
            "",
            "-oProxyCommand=x",
            "../x",
            "a/b",
            ".x",
            "a b",
            "a\u{1b}[0m",
            "é",
        ] {
            assert!(Name::new(text).is_err(), "{text:?}");
        }
        assert_eq!(Name::new("x".repeat(65)), Err(NameError::TooLong(65)));
    }
}
