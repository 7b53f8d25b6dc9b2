//! Finds names in the target that the snapshot lacks, as the walk passes them.
//!
//! A directory is listed before anything is placed in it, so that what is being written is
//! never taken for something that is too much.

use crate::engine::error::EngineError;
use crate::engine::files::{Existing, LiveNames, Parents, RelPath, Target, is_temporary};

/// Removes what the snapshot lacks, or only what a killed restore left behind.
pub(super) struct Sweep<'a> {
    target: &'a Target,
    removes_all: bool,
    parents: Parents,
    /// The directories on the way to the last entry that existed before.
    open: Vec<(RelPath, LiveNames)>,
    deleted: u64,
}

impl<'a> Sweep<'a> {
    pub(super) fn new(target: &'a Target, existing: Existing) -> Self {
        Self {
            target,
            removes_all: existing == Existing::Mirror,
            parents: Parents::default(),
            open: Vec::new(),
            deleted: 0,
        }
    }

    /// Passes an entry of the snapshot: removes what lies before it.
    pub(super) fn pass(&mut self, path: &RelPath) -> Result<(), EngineError> {
        self.leave_until(path)?;
        let parent = path.parent();
        if self.open.last().map(|(dir, _)| dir) != parent.as_ref() {
            return Ok(());
        }
        self.remove_before(Some(path.name()))
    }

    /// Begins with a directory that existed before and is restored whole.
    pub(super) fn enter(&mut self, path: &RelPath) -> Result<(), EngineError> {
        if let Some(names) = self.target.live_names(path)? {
            self.open.push((path.clone(), names));
        }
        Ok(())
    }

    /// Ends with the last directories; returns how many names were removed.
    pub(super) fn finish(&mut self) -> Result<u64, EngineError> {
        while !self.open.is_empty() {
            self.remove_before(None)?;
            self.open.pop();
        }
        Ok(self.deleted)
    }

    fn leave_until(&mut self, path: &RelPath) -> Result<(), EngineError> {
        while let Some((dir, _)) = self.open.last() {
            if path.starts_with(dir) {
                break;
            }
            self.remove_before(None)?;
            self.open.pop();
        }
        Ok(())
    }

    fn remove_before(&mut self, name: Option<&[u8]>) -> Result<(), EngineError> {
        let Some((dir, names)) = self.open.last_mut() else {
            return Ok(());
        };
        let (target, parents) = (self.target, &mut self.parents);
        let (removes_all, deleted) = (self.removes_all, &mut self.deleted);
        names.pass(name, |extra| {
            if (removes_all || is_temporary(extra))
                && let Ok(path) = dir.join(extra)
            {
                *deleted += target.remove(parents, &path)?;
            }
            Ok(())
        })
    }
}
