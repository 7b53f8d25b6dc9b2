//! The tree that KDL text becomes.

use std::sync::Arc;

/// A range of bytes in one of the files that were read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Span {
    pub(crate) file: u32,
    pub(crate) start: u32,
    pub(crate) len: u32,
}

impl Span {
    /// Returns the range from the start of this one to the end of another.
    pub(crate) fn to(self, end: Self) -> Self {
        let len = (end.start + end.len).saturating_sub(self.start);
        Self { len, ..self }
    }

    /// Returns whether two ranges have a byte in common.
    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.file == other.file
            && self.start < other.start + other.len
            && other.start < self.start + self.len
    }
}

/// A text with its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Word {
    pub(crate) text: Arc<str>,
    pub(crate) span: Span,
}

/// A value as KDL knows it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Text(Arc<str>),
    Integer(i128),
    /// A number with a fraction or an exponent; topologies have no use for it.
    OtherNumber,
    Bool(bool),
    Null,
}

/// An argument, or a property if it has a name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) name: Option<Word>,
    pub(crate) value: Value,
    pub(crate) span: Span,
}

/// A node: its name, its entries and its children.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) name: Word,
    pub(crate) entries: Vec<Entry>,
    pub(crate) children: Option<Vec<Node>>,
    pub(crate) span: Span,
    /// Whether a syntax mistake hid a part of it, so that nothing can be said to be missing.
    pub(crate) broken: bool,
}

impl Node {
    /// Returns the arguments in order.
    pub(crate) fn args(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.name.is_none())
    }

    /// Returns the property of that name.
    pub(crate) fn prop(&self, name: &str) -> Option<&Entry> {
        self.entries
            .iter()
            .find(|entry| entry.name.as_ref().is_some_and(|word| &*word.text == name))
    }

    /// Returns the children, none if there is no block.
    pub(crate) fn children(&self) -> &[Node] {
        self.children.as_deref().unwrap_or_default()
    }

    /// Returns the children of that name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Node> {
        self.children()
            .iter()
            .filter(move |child| &*child.name.text == name)
    }

    /// Returns the first child of that name.
    pub(crate) fn child(&self, name: &str) -> Option<&Node> {
        self.children()
            .iter()
            .find(|child| &*child.name.text == name)
    }

    /// Returns the text of the argument at that position.
    pub(crate) fn text(&self, index: usize) -> Option<&str> {
        self.args().nth(index).and_then(Entry::text)
    }

    /// Returns the place of the first argument, or of the name if there is none.
    pub(crate) fn head(&self) -> Span {
        self.args().next().map_or(self.name.span, |arg| arg.span)
    }
}

impl Entry {
    /// Returns the value if it is text.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the value if it is a whole number that fits.
    pub(crate) fn number<T: TryFrom<i128>>(&self) -> Option<T> {
        match self.value {
            Value::Integer(n) => T::try_from(n).ok(),
            _ => None,
        }
    }
}
