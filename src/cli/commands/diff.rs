//! `bkpctl diff`: what a change of the topology's files comes to, reaching no machine.

use crate::cli::args;
use crate::cli::commit_files::CommitFiles;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::load::{Place, find, report};
use crate::cli::render::text::escape;
use crate::cli::render::{difference as render, render_difference};
use crate::config::{Files, FilesError};
use crate::model::Topology;
use crate::plan::difference::difference;

/// Reads both states, compares, shows.
pub fn run(context: &Context, args: &args::Diff) -> Outcome {
    let place = find(&args.place.topology)?;
    let range = Range::read(&args.range);
    let commit = |revision: &str| {
        let found = CommitFiles::find(place.files.folder(), revision);
        found.map_err(|why| git_failure(&why))
    };
    let (mut before, mut after) = match range {
        Range::ToFolder(revision) => (commit(revision)?, None),
        Range::Between(before, after) => (commit(before)?, Some(commit(after)?)),
        Range::SinceApart(one, other) => {
            let (one, other) = (commit(one)?, commit(other)?);
            let base = CommitFiles::find_base(place.files.folder(), &one, &other);
            (base.map_err(|why| git_failure(&why))?, Some(other))
        }
    };
    let old = load(context, &place, &mut before, "before")?;
    let new = match &mut after {
        Some(commit) => load(context, &place, commit, "after")?,
        None => load(context, &place, &mut place.files.clone(), "after")?,
    };
    let new = new.ok_or_else(|| {
        Failure::new(format!("there is no {} after the change", place.root))
            .help("a topology that is gone has nothing to compare")
    })?;
    let difference = difference(old.as_ref(), &new);
    if args.json {
        context.print_json(&difference)?;
    } else if args.md {
        context.print(&render::markdown(&difference));
    } else {
        context.print(&render_difference(&difference, &context.style(false)));
    }
    Ok(if args.detailed_exitcode && !difference.is_empty() {
        Exit::Changes
    } else {
        Exit::Ok
    })
}

fn git_failure(why: &str) -> Failure {
    Failure::new(escape(why))
        .help("bkpctl diff main..HEAD compares two commits, bkpctl diff HEAD one with the files that are here")
}

/// Says which two states are compared.
#[derive(Debug, PartialEq, Eq)]
enum Range<'a> {
    /// A commit, and the files as they are now.
    ToFolder(&'a str),
    /// Two commits.
    Between(&'a str, &'a str),
    /// The commit from which two went apart, and the second of them.
    SinceApart(&'a str, &'a str),
}

impl<'a> Range<'a> {
    /// Reads `A`, `A..B` or `A...B` as git does: what is left out is `HEAD`.
    fn read(text: &'a str) -> Self {
        let or_head = |revision: &'a str| {
            if revision.is_empty() {
                "HEAD"
            } else {
                revision
            }
        };
        if let Some((one, other)) = text.split_once("...") {
            Self::SinceApart(or_head(one), or_head(other))
        } else if let Some((before, after)) = text.split_once("..") {
            Self::Between(or_head(before), or_head(after))
        } else {
            Self::ToFolder(text)
        }
    }
}

/// Loads the topology of one state; none if its root file is not there.
///
/// It is in every state in the same folder, under the same name.
fn load(
    context: &Context,
    place: &Place,
    files: &mut dyn Files,
    when: &str,
) -> Result<Option<Topology>, Failure> {
    if files.read(&place.root) == Err(FilesError::NotFound) {
        return Ok(None);
    }
    let loaded = crate::config::load(&place.root, &place.folder, files);
    match loaded.topology {
        Some(topology) => Ok(Some(topology)),
        None => Err(Failure::new(format!(
            "the topology {when} the change has mistakes, so nothing was compared:\n\n{}",
            report(context, &loaded)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_git_reads_them() {
        for (text, wanted) in [
            ("main", Range::ToFolder("main")),
            ("main..topic", Range::Between("main", "topic")),
            ("main..", Range::Between("main", "HEAD")),
            ("..topic", Range::Between("HEAD", "topic")),
            ("main...topic", Range::SinceApart("main", "topic")),
            ("main...", Range::SinceApart("main", "HEAD")),
        ] {
            assert_eq!(Range::read(text), wanted, "{text}");
        }
    }
}
