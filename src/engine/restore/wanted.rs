//! Selects entries by path.

use std::collections::HashMap;

use crate::engine::error::EngineError;
use crate::engine::files::{Entry, Kind, RelPath};
use crate::engine::snapshot::OpenSnapshot;

/// Selects entries by path.
pub(super) struct Wanted<'a> {
    snapshot: &'a OpenSnapshot,
    paths: &'a [RelPath],
    /// Which selected name stands in for the first name of a file that was not selected.
    stand_ins: HashMap<RelPath, RelPath>,
}

/// Says what an entry of the tree is to a restore.
pub(super) enum Selected {
    /// It is to be restored.
    Whole(Entry),
    /// It is a directory above something that is to be restored.
    OnTheWay(Entry),
    /// It is of no interest.
    No,
}

impl<'a> Wanted<'a> {
    pub(super) fn new(snapshot: &'a OpenSnapshot, paths: &'a [RelPath]) -> Self {
        Self {
            snapshot,
            paths,
            stand_ins: HashMap::new(),
        }
    }

    pub(super) fn select(&mut self, entry: Entry) -> Result<Selected, EngineError> {
        if self.is_wanted(&entry.path) {
            return Ok(Selected::Whole(self.with_first_name(entry)?));
        }
        let mut paths = self.paths.iter();
        let on_the_way = entry.kind.is_dir() && paths.any(|path| path.starts_with(&entry.path));
        Ok(if on_the_way {
            Selected::OnTheWay(entry)
        } else {
            Selected::No
        })
    }

    fn is_wanted(&self, path: &RelPath) -> bool {
        self.paths.is_empty() || self.paths.iter().any(|wanted| path.starts_with(wanted))
    }

    /// Makes the first selected name of a file stand for its first name, if that is not wanted.
    fn with_first_name(&mut self, mut entry: Entry) -> Result<Entry, EngineError> {
        let Kind::Hardlink { to } = &entry.kind else {
            return Ok(entry);
        };
        if self.is_wanted(to) {
            return Ok(entry);
        }
        if let Some(stand_in) = self.stand_ins.get(to) {
            entry.kind = Kind::Hardlink {
                to: stand_in.clone(),
            };
        } else if let Some(first) = self.snapshot.entry(to)? {
            self.stand_ins.insert(to.clone(), entry.path.clone());
            entry.kind = first.kind;
            entry.spans = first.spans;
        }
        Ok(entry)
    }
}
