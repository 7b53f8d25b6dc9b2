//! From the root file to a topology, or to everything that is wrong with it.

use super::build::build;
use super::check::{MISTAKES_MAX, check};
use super::diagnostic::{Diagnostic, Mistake, Place, Related, Severity};
use super::document::Span;
use super::files::{Files, SourceFile, Sources, read_all};
use super::names::Names;
use super::rules;
use super::secrets;
use super::templates::expand;
use crate::model::Topology;

/// What reading a topology came to.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The topology, unless there is an error.
    pub topology: Option<Topology>,
    /// Errors and warnings, in the order of the files; with a topology, warnings only.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts that were read, for showing the places.
    pub sources: Sources,
}

impl Loaded {
    /// Returns how many errors there are.
    pub fn errors(&self) -> usize {
        let is_error = |d: &&Diagnostic| d.severity == Severity::Error;
        self.diagnostics.iter().filter(is_error).count()
    }
}

/// Reads a topology and reports every mistake at once.
///
/// `root` is the root file relative to the topology's folder, `folder` that folder's
/// absolute path, from which relative paths of `local` nodes start.
pub fn load(root: &str, folder: &str, files: &mut dyn Files) -> Loaded {
    let mut documents = read_all(root, files);
    let mut mistakes = std::mem::take(&mut documents.mistakes);
    let unread: Vec<Span> = mistakes.iter().map(|mistake| mistake.span).collect();
    let secrets = secrets::find(&documents.nodes, &documents.files);
    expand(&mut documents.nodes, &mut mistakes);
    check(&documents.nodes, &mut mistakes);
    let names = Names::collect(&documents.nodes, &mut mistakes);
    // What a broken file declares is unknown: references into it would all look wrong.
    if !documents.partial {
        names.check(&documents.nodes, &documents.files, &mut mistakes);
    }
    let shape_ok = mistakes.is_empty();
    let topology = build(&documents, &names, folder, &mut mistakes);
    if let Some(topology) = &topology {
        rules::check(
            topology,
            &names,
            shape_ok && mistakes.is_empty(),
            &mut mistakes,
        );
    }
    // What the text itself got wrong is not reported again for what it was taken for.
    let mut later = mistakes.split_off(unread.len());
    later.retain(|mistake| !unread.iter().any(|span| span.overlaps(mistake.span)));
    mistakes.append(&mut later);
    // Nothing else is said of a secret: the words might repeat it.
    mistakes.retain(|mistake| {
        !secrets
            .iter()
            .any(|secret| secret.span.overlaps(mistake.span))
    });
    let hidden: Vec<Span> = secrets.iter().map(|secret| secret.span).collect();
    mistakes.extend(secrets);
    let failed = mistakes.iter().any(|m| m.severity == Severity::Error);
    Loaded {
        topology: topology.filter(|_| !failed),
        diagnostics: finished(mistakes, &documents.files),
        sources: shown(documents.files, &hidden),
    }
}

/// Returns the texts for showing places in them, with stars where secrets are.
fn shown(files: Vec<SourceFile>, hidden: &[Span]) -> Sources {
    let text = |(number, file): (usize, SourceFile)| {
        let mut text = file.text;
        for span in hidden.iter().filter(|span| span.file as usize == number) {
            let start = span.start as usize;
            secrets::mask(&mut text, start..start + span.len as usize);
        }
        (file.path, text)
    };
    files.into_iter().enumerate().map(text).collect()
}

/// Sorts mistakes by place, drops repetitions and puts places into words.
pub(super) fn finished(mut mistakes: Vec<Mistake>, files: &[SourceFile]) -> Vec<Diagnostic> {
    mistakes.sort_by_key(|mistake| (mistake.span, mistake.code));
    // A template's mistakes show up in each node that uses it.
    mistakes.dedup_by(|a, b| a.span == b.span && a.code == b.code && a.message == b.message);
    mistakes.truncate(MISTAKES_MAX);
    let place = |span: Span| -> Place { files[span.file as usize].place(span) };
    mistakes
        .into_iter()
        .map(|mistake| Diagnostic {
            code: mistake.code.as_str().to_owned(),
            severity: mistake.severity,
            // Words of a file that a message repeats may be a secret somewhere else in it.
            message: secrets::masked(&mistake.message),
            place: place(mistake.span),
            label: mistake.label.as_deref().map(secrets::masked),
            help: mistake.help.as_deref().map(secrets::masked),
            related: mistake
                .related
                .into_iter()
                .map(|(span, text)| Related {
                    place: place(span),
                    text: secrets::masked(&text),
                })
                .collect(),
        })
        .collect()
}
