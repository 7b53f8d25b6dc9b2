//! The plain copy of a text becomes our tree: here where it is plain enough, else by the `kdl`
//! crate.

use kdl::{KdlDocument, KdlEntry, KdlError, KdlNode, KdlValue};

use super::everyday::{self, hides};
use super::old::from_v1;
use super::scan::{ATOMS_MAX, Scan, scan};
use super::tree::{Entry, Node, Span, Value, Word};
use crate::config::codes::Code;
use crate::config::diagnostic::Mistake;

/// Reads a text as KDL 2; what could be read comes with the mistakes.
///
/// `atoms` is how many names and values may still come, over all files.
pub(crate) fn parse(text: &str, file: u32, atoms: &mut usize) -> (Vec<Node>, Vec<Mistake>) {
    let Scan {
        plain,
        broken,
        mut mistakes,
    } = scan(text, file, atoms);
    let old = old_file(text, &mistakes);
    let reader = Reader {
        plain: &plain,
        broken: &broken,
        file,
    };
    let nodes = everyday::nodes(&plain, &broken, file).map_or_else(|| reader.nodes(), Ok);
    let nodes = match nodes {
        Ok(nodes) => nodes,
        Err(error) => {
            mistakes.extend(error.diagnostics.iter().take(10).map(|d| reader.mistake(d)));
            Vec::new()
        }
    };
    match old {
        None => (nodes, mistakes),
        // What was made of it would be judged by what nobody wrote.
        Some(mistake) => {
            let includes = nodes.into_iter().filter(|n| &*n.name.text == "include");
            (includes.collect(), vec![mistake])
        }
    }
}

/// Reads a text both ways, where it can be read in the plain way at all.
#[cfg(test)]
pub(super) fn both_ways(text: &str) -> Option<(Vec<Node>, Vec<Node>)> {
    let Scan { plain, broken, .. } = scan(text, 0, &mut ATOMS_MAX.clone());
    let reader = Reader {
        plain: &plain,
        broken: &broken,
        file: 0,
    };
    let ours = everyday::nodes(&plain, &broken, 0)?;
    Some((ours, reader.nodes().unwrap_or_default()))
}

/// Returns one mistake that stands for all, if they are all that KDL 1 is not KDL 2.
fn old_file(text: &str, mistakes: &[Mistake]) -> Option<Mistake> {
    let first = mistakes.iter().find(|m| m.code == Code::OldLanguage)?;
    let says_new = text.lines().next()?.contains("kdl-version 2");
    let converted = from_v1(text).filter(|_| !says_new)?;
    let left = scan(&converted, 0, &mut ATOMS_MAX.clone()).mistakes;
    left.iter().all(is_harmless).then(|| {
        let message = "this file reads as KDL 1, and topologies are KDL 2";
        Mistake::new(Code::OldLanguage, first.span, message)
            .label("first seen here")
            .help("bkpctl fmt --from-v1 converts it, comments and all; a switch such as `reader` is on by being there and takes no true or false")
    })
}

/// Returns whether a text is KDL all the same: a (type) only means nothing in a topology.
fn is_harmless(mistake: &Mistake) -> bool {
    mistake.code == Code::TypeAnnotation
}

/// Returns whether a text is KDL 2 from beginning to end.
pub(crate) fn is_sound(text: &str) -> bool {
    let (_, mistakes) = parse(text, 0, &mut ATOMS_MAX.clone());
    mistakes.iter().all(is_harmless)
}

struct Reader<'a> {
    plain: &'a str,
    broken: &'a [Span],
    file: u32,
}

impl Reader<'_> {
    /// Has the `kdl` crate read it.
    fn nodes(&self) -> Result<Vec<Node>, KdlError> {
        let document = KdlDocument::parse(self.plain)?;
        let nodes = document.nodes().iter();
        Ok(nodes.map(|node| self.node(node)).collect())
    }

    fn span(&self, start: usize, len: usize) -> Span {
        Span {
            file: self.file,
            start: start as u32,
            len: len as u32,
        }
    }

    fn node(&self, node: &KdlNode) -> Node {
        let name = Word {
            text: node.name().value().into(),
            span: self.span(node.name().span().offset(), node.name().span().len()),
        };
        // The reader counts the space around a node in.
        let end = node.span().offset() + node.span().len();
        let end = self.plain[..end].trim_end().trim_end_matches(';').len();
        let start = name.span.start as usize;
        let span = self.span(start, end.saturating_sub(start));
        let children = node.children().map(|block| {
            let nodes = block.nodes().iter();
            nodes.map(|child| self.node(child)).collect()
        });
        Node {
            name,
            entries: node
                .entries()
                .iter()
                .map(|entry| self.entry(entry))
                .collect(),
            children,
            span,
            broken: hides(self.broken, span),
        }
    }

    fn entry(&self, entry: &KdlEntry) -> Entry {
        let end = entry.span().offset() + entry.span().len();
        let written = entry
            .format()
            .map_or(entry.span().len(), |format| format.value_repr.len());
        Entry {
            name: entry.name().map(|name| Word {
                text: name.value().into(),
                span: self.span(name.span().offset(), name.span().len()),
            }),
            value: match entry.value() {
                KdlValue::String(text) => Value::Text(text.as_str().into()),
                KdlValue::Integer(n) => Value::Integer(*n),
                KdlValue::Float(_) => Value::OtherNumber,
                KdlValue::Bool(b) => Value::Bool(*b),
                KdlValue::Null => Value::Null,
            },
            span: self.span(end - written, written),
        }
    }

    /// Passes on what the scan did not see; it should see everything.
    fn mistake(&self, d: &kdl::KdlDiagnostic) -> Mistake {
        let start = (d.span.offset()..=self.plain.len())
            .find(|at| self.plain.is_char_boundary(*at))
            .unwrap_or(self.plain.len());
        let line = self.plain[start..].lines().next().map_or(0, str::len);
        let span = self.span(start, line.min(d.span.len()));
        let span = if self.plain.is_char_boundary(start + span.len as usize) {
            span
        } else {
            self.span(start, line)
        };
        let message = d.message.as_deref().unwrap_or("this is not KDL");
        let message = message.trim_end_matches('.').to_lowercase();
        Mistake::new(Code::Syntax, span, message)
            .label("here")
            .maybe_help(d.help.clone())
    }
}
