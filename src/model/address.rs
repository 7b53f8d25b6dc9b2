//! Addresses: the stable names under which a plan speaks of things.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::name::{Name, NameError};

/// The address of one thing in a topology, printed as `kind.name` or `kind.name/part`.
///
/// Examples: `node.pve1`, `datastore.primary`, `copy.etc/primary`, `drill.proof/etc`.
/// Names hold no slash, so the text form is unambiguous.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    kind: String,
    name: Name,
    part: Option<Name>,
}

/// Says why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no dot between a kind and a name.
    #[error("an address looks like kind.name, for example datastore.primary")]
    NoKind,
    /// The name in it is not a name.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl Address {
    /// Makes the address `kind.name`.
    pub fn new(kind: &str, name: &Name) -> Self {
        Self {
            kind: kind.to_owned(),
            name: name.clone(),
            part: None,
        }
    }

    /// Makes the address `kind.name/part`.
    pub fn with_part(kind: &str, name: &Name, part: &Name) -> Self {
        Self {
            kind: kind.to_owned(),
            name: name.clone(),
            part: Some(part.clone()),
        }
    }

    /// Returns the kind, such as `datastore`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Returns the name after the kind.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Returns the part after the slash, if there is one.
    pub fn part(&self) -> Option<&Name> {
        self.part.as_ref()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.part {
            None => f.pad(&format!("{}.{}", self.kind, self.name)),
            Some(part) => f.pad(&format!("{}.{}/{}", self.kind, self.name, part)),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (kind, rest) = text.split_once('.').ok_or(AddressError::NoKind)?;
        if kind.is_empty() || !kind.bytes().all(|b| b.is_ascii_lowercase() || b == b'-') {
            return Err(AddressError::NoKind);
        }
        let (name, part) = match rest.split_once('/') {
            None => (rest, None),
            Some((name, part)) => (name, Some(Name::new(part)?)),
        };
        Ok(Self {
            kind: kind.to_owned(),
            name: Name::new(name)?,
            part,
        })
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;
    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_its_text_form() {
        for text in [
            "node.pve1",
            "datastore.primary",
            "copy.etc/primary",
            "node.10.0.0.1",
        ] {
            let address: Address = text.parse().expect("a valid address");
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn texts_that_are_no_addresses_are_refused() {
        for text in [
            "",
            "primary",
            ".x",
            "datastore.",
            "datastore.a/",
            "Data.x",
            "a b.c",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
    }
}
