//! The files of a topology: the root and what it includes.

use std::collections::BTreeMap;

use super::codes::Code;
use super::diagnostic::{Mistake, Place};
use super::document::{ATOMS_MAX, Node, Span, parse};
use super::secrets::masked;

/// How deep includes may go.
const INCLUDE_DEPTH_MAX: usize = 8;
/// How many files a topology may have.
const FILES_MAX: usize = 200;

/// How many bytes a topology may have in all its files.
const TOTAL_MAX: usize = 2 << 20;

/// Gives the files of a topology's folder; paths are relative to that folder.
///
/// The reader of a real folder must not follow links out of it.
pub trait Files {
    /// Returns the text of a file.
    fn read(&mut self, path: &str) -> Result<String, FilesError>;
    /// Returns the names of the files directly in a folder, `""` for the topology's own.
    fn list(&mut self, folder: &str) -> Result<Vec<String>, FilesError>;
}

/// Says why a file of a topology can't be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilesError {
    /// There is no such file or folder.
    #[error("there is no such file")]
    NotFound,
    /// It is not UTF-8 text.
    #[error("it is not UTF-8 text")]
    NotText,
    /// It is larger than a topology's file may be.
    #[error("it is larger than 1 MiB")]
    TooLarge,
    /// It lies outside the topology's folder.
    #[error("it lies outside the topology's folder")]
    Outside,
    /// The system said no.
    #[error("{0}")]
    Denied(String),
}

/// The texts that were read, by path relative to the topology's folder.
pub type Sources = BTreeMap<String, String>;

/// One file that was read.
pub(crate) struct SourceFile {
    pub(crate) path: String,
    pub(crate) text: String,
    line_starts: Vec<u32>,
}

/// Everything that was read, and what was wrong with it.
#[derive(Default)]
pub(crate) struct Documents {
    pub(crate) files: Vec<SourceFile>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) mistakes: Vec<Mistake>,
    /// Whether a part could not be read, so that names may be missing.
    pub(crate) partial: bool,
}

impl Documents {
    /// Returns the texts that were read, for people to see.
    pub(crate) fn sources(self) -> Sources {
        let files = self.files.into_iter();
        files.map(|file| (file.path, masked(&file.text))).collect()
    }
}

impl SourceFile {
    fn new(path: String, text: String) -> Self {
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at as u32 + 1))
            .collect();
        Self {
            path,
            text,
            line_starts,
        }
    }

    /// Returns the line of a byte, from 1.
    pub(crate) fn line(&self, offset: u32) -> u32 {
        self.line_starts.partition_point(|start| *start <= offset) as u32
    }

    /// Puts a range into words.
    pub(crate) fn place(&self, span: Span) -> Place {
        let line = self.line(span.start);
        let line_start = self.line_starts[line as usize - 1] as usize;
        let before = self.text.get(line_start..span.start as usize);
        Place {
            file: self.path.clone(),
            offset: span.start as usize,
            len: span.len as usize,
            line,
            column: before.map_or(0, |text| text.chars().count()) as u32 + 1,
        }
    }
}

/// Reads the root and everything it includes, as deep as allowed.
pub(crate) fn read_all(root: &str, files: &mut dyn Files) -> Documents {
    let mut reader = Reader {
        files,
        out: Documents::default(),
        open: Vec::new(),
        bytes: 0,
        atoms: ATOMS_MAX,
    };
    reader.read(root, None);
    reader.out
}

/// Reads one text and follows no include.
pub(crate) fn read_one(path: &str, text: String) -> Documents {
    let (nodes, mistakes) = parse(&text, 0, &mut ATOMS_MAX.clone());
    Documents {
        files: vec![SourceFile::new(path.to_owned(), text)],
        nodes,
        mistakes,
        partial: false,
    }
}

struct Reader<'a> {
    files: &'a mut dyn Files,
    out: Documents,
    /// The files that lead to the one being read.
    open: Vec<String>,
    /// How many bytes were read.
    bytes: usize,
    /// How many names and values may still come.
    atoms: usize,
}

impl Reader<'_> {
    fn mistake(&mut self, mistake: Mistake) {
        self.out.partial = true;
        self.out.mistakes.push(mistake);
    }

    /// Reads one file; `from` is the include that names it.
    fn read(&mut self, path: &str, from: Option<Span>) {
        let text = match self.files.read(path) {
            Ok(text) => text,
            Err(error) => {
                let span = from.unwrap_or_else(|| {
                    self.out
                        .files
                        .push(SourceFile::new(path.to_owned(), String::new()));
                    Span::default()
                });
                let code = match error {
                    FilesError::Outside => Code::BadInclude,
                    _ => Code::Unreadable,
                };
                let mistake = Mistake::new(code, span, format!("{path} can't be read: {error}"));
                let mistake = match from {
                    Some(_) => mistake.label("included here"),
                    None => {
                        mistake.help("name a topology's file, or a folder that has a topology.kdl")
                    }
                };
                return self.mistake(mistake);
            }
        };
        let id = self.out.files.len() as u32;
        self.bytes += text.len();
        let (nodes, mistakes) = parse(&text, id, &mut self.atoms);
        self.out.files.push(SourceFile::new(path.to_owned(), text));
        // A value that lacks its quotes takes its own statement with it and hides no name.
        self.out.partial |= mistakes
            .iter()
            .any(|mistake| mistake.code != Code::NeedsQuotes);
        self.out.mistakes.extend(mistakes);
        self.open.push(path.to_owned());
        for node in nodes {
            if &*node.name.text == "include" {
                self.include(path, &node);
            }
            self.out.nodes.push(node);
        }
        self.open.pop();
    }

    fn include(&mut self, from: &str, node: &Node) {
        let folder = from.rsplit_once('/').map_or("", |(folder, _)| folder);
        for entry in node.args() {
            let Some(pattern) = entry.text().filter(|text| !text.is_empty()) else {
                continue;
            };
            let found = match target(folder, pattern) {
                Ok(path) => self.matches(&path),
                Err(reason) => Err(Mistake::new(Code::BadInclude, entry.span, reason)
                    .label("not inside the topology's folder")
                    .help("includes are paths relative to the file that names them")),
            };
            match found {
                Err(mistake) => self.mistake(Mistake {
                    span: entry.span,
                    ..mistake
                }),
                Ok(paths) => {
                    for path in paths {
                        self.follow(&path, entry.span);
                    }
                }
            }
        }
    }

    fn follow(&mut self, path: &str, span: Span) {
        if self.open.iter().any(|open| open == path) {
            let circle = [self.open.join(" → "), path.to_owned()].join(" → ");
            return self.mistake(
                Mistake::new(Code::BadInclude, span, "this include goes in a circle")
                    .label("is being read already")
                    .help(circle),
            );
        }
        // Two files may include the same third one; it is read once.
        if self.out.files.iter().any(|file| file.path == path) {
            return;
        }
        let too_many = self.out.files.len() >= FILES_MAX || self.bytes > TOTAL_MAX;
        if self.open.len() > INCLUDE_DEPTH_MAX || too_many {
            return self.mistake(
                Mistake::new(
                    Code::Limit,
                    span,
                    format!("a topology has at most {FILES_MAX} files with 2 MiB, {INCLUDE_DEPTH_MAX} includes deep"),
                )
                .label("not followed"),
            );
        }
        self.read(path, Some(span));
    }

    /// Returns the files that a path stands for, which may have `*` in its last part.
    fn matches(&mut self, path: &str) -> Result<Vec<String>, Mistake> {
        let (folder, last) = path.rsplit_once('/').unwrap_or(("", path));
        let bad = |message: String| Mistake::new(Code::BadInclude, Span::default(), message);
        if folder.contains('*') {
            return Err(
                bad("* may stand in the last part of a path only".to_owned())
                    .label("too far to the left"),
            );
        }
        if !last.contains('*') {
            return Ok(vec![path.to_owned()]);
        }
        let names = self.files.list(folder).map_err(|error| {
            bad(format!("the folder {folder:?} can't be read: {error}")).label("included here")
        })?;
        let mut paths: Vec<String> = names
            .into_iter()
            .filter(|name| fits(last, name))
            .map(|name| join(folder, &name))
            .filter(|path| !self.open.contains(path))
            .collect();
        paths.sort();
        if paths.is_empty() {
            return Err(bad("no file fits this pattern".to_owned())
                .label("nothing there")
                .help("check the folder's name, or leave the include out"));
        }
        Ok(paths)
    }
}

/// Resolves an include against the folder of the file that names it.
fn target(folder: &str, pattern: &str) -> Result<String, String> {
    if pattern.contains("://") {
        return Err("nothing is included from the network".to_owned());
    }
    if pattern.starts_with(['/', '~']) {
        return Err("an include is a relative path".to_owned());
    }
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts
                    .pop()
                    .ok_or("this include leaves the topology's folder")?;
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.to_owned()
    } else {
        format!("{folder}/{name}")
    }
}

/// Returns whether a name fits a pattern in which `*` stands for anything.
fn fits(pattern: &str, name: &str) -> bool {
    let hidden = name.starts_with('.') && !pattern.starts_with('.');
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first).filter(|_| !hidden) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything_but_a_leading_dot() {
        for (pattern, name, expected) in [
            ("*.kdl", "pve1.kdl", true),
            ("*.kdl", ".kdl", false),
            ("*.kdl", "pve1.kdl.orig", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "aXc", false),
            ("a*a", "a", false),
            ("*", "anything", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn includes_stay_inside_the_folder() {
        assert_eq!(target("site", "../nodes/a.kdl"), Ok("nodes/a.kdl".into()));
        for (folder, pattern) in [
            ("", "../x.kdl"),
            ("a", "../../x.kdl"),
            ("", "/etc/passwd"),
            ("", "~/x.kdl"),
            ("", "https://example.net/x.kdl"),
        ] {
            assert!(target(folder, pattern).is_err(), "{pattern}");
        }
    }
}
