//! What snapshots lack: by their references, and with the reading key by path.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::manifests::Manifests;
use super::{Lacking, Repair};
use crate::engine::crypto::{ReadingKey, WriterKey};
use crate::engine::error::EngineError;
use crate::engine::hex;
use crate::engine::index::Index;
use crate::engine::manifest::{Clear, Manifest};
use crate::engine::reader::BlobReader;
use crate::engine::store::{StoreError, StoreName};
use crate::engine::sync::read_refs;
use crate::engine::tree::Child;

/// How many paths of a snapshot are named.
const PATHS_MAX: usize = 1000;

/// Is what one list of references leads to that is lost.
#[derive(Debug, Clone, Default)]
struct Lost {
    blobs: BTreeSet<[u8; 32]>,
    references: bool,
}

impl Lost {
    fn is_none(&self) -> bool {
        self.blobs.is_empty() && !self.references
    }

    fn add(&mut self, other: &Self) {
        self.blobs.extend(&other.blobs);
        self.references |= other.references;
    }
}

/// Follows references of all snapshots; each list is read once.
struct Follower<'a> {
    index: &'a Index,
    /// Lists from which nothing is lost, as most.
    whole: HashSet<[u8; 32]>,
    lost: HashMap<[u8; 32], Lost>,
}

impl Repair<'_> {
    /// Finds what snapshots lack.
    pub(super) fn find_lacking(
        &mut self,
        manifests: &Manifests,
        index: &Index,
    ) -> Result<(), EngineError> {
        let mut follower = Follower {
            index,
            whole: HashSet::new(),
            lost: HashMap::new(),
        };
        let mut reader = None;
        for (name, clear) in &manifests.good {
            let lost = match clear.refs_root() {
                Some(root) => follower.follow(self, &root, u8::MAX)?,
                None => Lost {
                    references: true,
                    ..Lost::default()
                },
            };
            if lost.is_none() {
                continue;
            }
            let mut lacking = Lacking {
                name: name.to_string(),
                blobs: lost.blobs.len() as u64,
                references: lost.references,
                paths: Vec::new(),
                paths_total: 0,
            };
            if let Some(key) = self.repository.reading_key() {
                if reader.is_none() {
                    reader = Some(BlobReader::open(self.repository)?);
                }
                if let Some(reader) = &reader {
                    self.find_paths(&mut lacking, reader, (name, clear, key), index)?;
                }
            }
            self.report.lacking.push(lacking);
        }
        Ok(())
    }

    fn find_paths(
        &self,
        lacking: &mut Lacking,
        reader: &BlobReader,
        (name, clear, key): (&StoreName, &Clear, &ReadingKey),
        index: &Index,
    ) -> Result<(), EngineError> {
        let bytes = self.store.get(name)?;
        let sealed = Manifest::decode(name, &bytes)?.open(name, key)?;
        let mut paths = Paths {
            reader,
            writer: &key.writer(&clear.writer)?,
            index,
            lacking,
        };
        match hex::decode(&sealed.tree) {
            Some(root) => paths.below_node(self, &root, "/"),
            None => Err(EngineError::damaged(name, "it names no tree")),
        }
    }
}

impl Follower<'_> {
    /// Returns what is lost below a list; `level` is one more than it may have.
    fn follow(
        &mut self,
        repair: &Repair<'_>,
        id: &[u8; 32],
        level: u8,
    ) -> Result<Lost, EngineError> {
        if self.whole.contains(id) {
            return Ok(Lost::default());
        }
        if let Some(lost) = self.lost.get(id) {
            return Ok(lost.clone());
        }
        repair.check_cancel()?;
        let mut lost = Lost::default();
        match read_refs(repair.store, self.index, id) {
            // Levels fall on the way down, so that every way ends.
            Ok(refs) if refs.level < level => {
                for below in &refs.ids {
                    if refs.level > 0 {
                        lost.add(&self.follow(repair, below, refs.level)?);
                    } else if self.index.position(below).is_none() {
                        lost.blobs.insert(*below);
                    }
                }
            }
            Err(EngineError::Store(error @ StoreError::Closed { .. })) => return Err(error.into()),
            _ => {
                lost.blobs.insert(*id);
                lost.references = true;
            }
        }
        if lost.is_none() {
            self.whole.insert(*id);
        } else {
            self.lost.insert(*id, lost.clone());
        }
        Ok(lost)
    }
}

/// Finds the paths of a snapshot that cannot be restored.
struct Paths<'a> {
    reader: &'a BlobReader,
    writer: &'a WriterKey,
    index: &'a Index,
    lacking: &'a mut Lacking,
}

impl Paths<'_> {
    fn below_node(
        &mut self,
        repair: &Repair<'_>,
        id: &[u8; 32],
        first: &str,
    ) -> Result<(), EngineError> {
        repair.check_cancel()?;
        let Some(node) = known(self.reader.node(self.writer, id))? else {
            self.add(&format!("{first} and what follows it"));
            return Ok(());
        };
        for Child { id, first } in &node.children {
            let first = first.to_string();
            if node.level > 1 {
                self.below_node(repair, id, &first)?;
            } else {
                self.in_leaf(id, &first)?;
            }
        }
        Ok(())
    }

    fn in_leaf(&mut self, id: &[u8; 32], first: &str) -> Result<(), EngineError> {
        let Some(entries) = known(self.reader.leaf(self.writer, id))? else {
            self.add(&format!("{first} and what follows it"));
            return Ok(());
        };
        for entry in entries {
            let is_lost = |chunk: &[u8; 32]| self.index.position(chunk).is_none();
            if entry.spans.iter().any(|span| is_lost(&span.chunk)) {
                self.add(&entry.path.to_string());
            }
        }
        Ok(())
    }

    fn add(&mut self, path: &str) {
        self.lacking.paths_total += 1;
        if self.lacking.paths.len() < PATHS_MAX {
            self.lacking.paths.push(path.to_owned());
        }
    }
}

/// Takes what cannot be read as lost, unless the store itself is gone.
fn known<T>(read: Result<T, EngineError>) -> Result<Option<T>, EngineError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error @ (EngineError::Cancelled | EngineError::Store(StoreError::Closed { .. }))) => {
            Err(error)
        }
        Err(_) => Ok(None),
    }
}
