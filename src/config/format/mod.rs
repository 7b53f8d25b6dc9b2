//! The one form of a topology's text.
//!
//! A person's text is kept as far as it says something: comments, the order of
//! everything, which statements share a line, the spelling of every word and number. What
//! is left, spaces and the ends of lines, has one form.

mod print;
mod tree;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::codes::Code;
use super::diagnostic::{Diagnostic, Mistake};
use super::document::{from_v1, is_sound, tokens};
use super::files::{Documents, Files, FilesError, Sources, read_all, read_one};
use super::load::finished;

/// What the files of a topology come to.
#[derive(Debug, Clone)]
pub struct Formatted {
    /// The files, in the order in which they were read.
    pub files: Vec<FormattedFile>,
    /// Why files could not be formatted, and includes that lead nowhere as warnings.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts that were read, for showing the places.
    pub sources: Sources,
}

/// A file and its form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormattedFile {
    /// Where it is, relative to the topology's folder.
    pub path: String,
    /// What it says.
    pub before: String,
    /// The same in the one form; none if it has mistakes.
    pub after: Option<String>,
}

impl FormattedFile {
    /// Returns whether the form differs from what the file says.
    pub fn changes(&self) -> bool {
        self.after
            .as_ref()
            .is_some_and(|after| *after != self.before)
    }
}

/// Formats a file and everything it includes; `old` converts files in KDL 1 first.
pub fn format(root: &str, files: &mut dyn Files, old: bool) -> Formatted {
    let mut files = Converting {
        files,
        old,
        originals: BTreeMap::new(),
    };
    let documents = read_all(root, &mut files);
    formatted(documents, &files.originals)
}

/// Formats a text by itself; `old` converts it from KDL 1 first.
pub fn format_text(path: &str, text: &str, old: bool) -> Formatted {
    let mut originals = BTreeMap::new();
    let text = convert(path, text.to_owned(), old, &mut originals);
    formatted(read_one(path, text), &originals)
}

fn formatted(mut documents: Documents, originals: &BTreeMap<String, String>) -> Formatted {
    let mistakes = std::mem::take(&mut documents.mistakes);
    let diagnostics = finished(
        mistakes.into_iter().filter_map(concerns_form).collect(),
        &documents.files,
    );
    let files = documents.files.iter().map(|file| FormattedFile {
        path: file.path.clone(),
        before: originals.get(&file.path).unwrap_or(&file.text).clone(),
        after: form(&file.text),
    });
    Formatted {
        files: files.collect(),
        diagnostics,
        sources: documents.sources(),
    }
}

/// Returns a text in its one form; none if it has mistakes.
pub(super) fn form(text: &str) -> Option<String> {
    if !is_sound(text) {
        return None;
    }
    let text = text.replace("\r\n", "\n");
    tree::tree(&tokens(&text)?).map(|tree| print::print(&tree))
}

/// Leaves out what does not keep a file from being formatted.
fn concerns_form(mistake: Mistake) -> Option<Mistake> {
    match mistake.code {
        // It is KDL, and `validate` says what it is not.
        Code::TypeAnnotation => None,
        // A file may be formatted by itself, and name others from where it is included.
        Code::BadInclude => Some(mistake.warning()),
        _ => Some(mistake),
    }
}

/// Files of which those in KDL 1 are read as if they were in KDL 2.
struct Converting<'a> {
    files: &'a mut dyn Files,
    old: bool,
    /// What converted files say themselves.
    originals: BTreeMap<String, String>,
}

impl Files for Converting<'_> {
    fn read(&mut self, path: &str) -> Result<String, FilesError> {
        let text = self.files.read(path)?;
        Ok(convert(path, text, self.old, &mut self.originals))
    }

    fn list(&mut self, folder: &str) -> Result<Vec<String>, FilesError> {
        self.files.list(folder)
    }
}

fn convert(
    path: &str,
    text: String,
    old: bool,
    originals: &mut BTreeMap<String, String>,
) -> String {
    match from_v1(&text).filter(|_| old && !is_sound(&text)) {
        Some(new) => {
            originals.insert(path.to_owned(), text);
            new
        }
        None => text,
    }
}
