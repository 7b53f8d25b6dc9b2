//! What a person is told about a mistake, with its place.

use schemars::JsonSchema;
use serde::Serialize;

use super::codes::Code;
use super::document::Span;

/// One thing that is wrong, or doubtful, in a topology.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Diagnostic {
    /// The stable code, such as `BK021`; `bkpctl explain BK021` says more.
    pub code: String,
    /// Whether it stops everything.
    pub severity: Severity,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// Where.
    pub place: Place,
    /// What the marked text is.
    pub label: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
    /// Other places that have to do with it.
    pub related: Vec<Related>,
}

/// Whether a diagnostic stops everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing is done before it is put right.
    Error,
    /// It is worth a look.
    Warning,
}

/// A range of text in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct Place {
    /// The file, relative to the topology's folder.
    pub file: String,
    /// The first byte, from 0.
    pub offset: usize,
    /// How many bytes.
    pub len: usize,
    /// The line, from 1.
    pub line: u32,
    /// The character in the line, from 1.
    pub column: u32,
}

/// Another place that has to do with a diagnostic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Related {
    /// Where.
    pub place: Place,
    /// What is there.
    pub text: String,
}

/// A diagnostic before its place has been put into words.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mistake {
    pub(crate) code: Code,
    pub(crate) severity: Severity,
    pub(crate) span: Span,
    pub(crate) message: String,
    pub(crate) label: Option<String>,
    pub(crate) help: Option<String>,
    pub(crate) related: Vec<(Span, String)>,
}

impl Mistake {
    /// Makes an error.
    pub(crate) fn new(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            span,
            message: message.into(),
            label: None,
            help: None,
            related: Vec::new(),
        }
    }

    /// Makes it a warning.
    pub(crate) fn warning(self) -> Self {
        Self {
            severity: Severity::Warning,
            ..self
        }
    }

    /// Says what the marked text is.
    pub(crate) fn label(self, text: impl Into<String>) -> Self {
        Self {
            label: Some(text.into()),
            ..self
        }
    }

    /// Says what to do.
    pub(crate) fn help(self, text: impl Into<String>) -> Self {
        Self {
            help: Some(text.into()),
            ..self
        }
    }

    /// Says what to do, if anything is known.
    pub(crate) fn maybe_help(self, text: Option<String>) -> Self {
        Self { help: text, ..self }
    }

    /// Points at another place.
    pub(crate) fn related(mut self, span: Span, text: impl Into<String>) -> Self {
        self.related.push((span, text.into()));
        self
    }
}
