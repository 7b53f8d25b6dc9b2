//! Checks snapshots: what they need, and with a key what they hold.

use std::collections::{BTreeSet, HashSet};

use super::{Level, Problem, Verification};
use crate::engine::crypto::WriterKey;
use crate::engine::error::EngineError;
use crate::engine::files::{Entry, Kind, RelPath};
use crate::engine::hex;
use crate::engine::index::Place;
use crate::engine::manifest::{Authentic, Manifest};
use crate::engine::pack::BlobKind;
use crate::engine::reader::{BlobReader, check_first, check_node, out_of_order};
use crate::engine::repository::{Snapshot, Snapshots};
use crate::engine::store::{StoreError, StoreName};
use crate::engine::sync::read_refs;
use crate::engine::tree::{Node, Refs};

/// Remembers what snapshots share, so that it is checked once.
#[derive(Default)]
struct Seen {
    refs: HashSet<[u8; 32]>,
    blobs: HashSet<[u8; 32]>,
    trees: HashSet<[u8; 32]>,
}

/// Is a node or leaf of a tree, and what its parent says of it.
struct Part {
    id: [u8; 32],
    /// How far it is above the leaves; unknown for the root.
    level: Option<u8>,
    /// The path of its first entry; the root's is not asked for.
    first: RelPath,
    /// The path that all of its entries come before.
    end: Option<RelPath>,
}

impl Part {
    fn root(id: [u8; 32]) -> Self {
        Self {
            id,
            level: None,
            first: RelPath::root(),
            end: None,
        }
    }

    /// Names the part and what is asked of it, as what is right in one place is wrong in another.
    fn key(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.id);
        hasher.update(&[self.level.map_or(0, |level| level + 1)]);
        hasher.update(self.first.as_bytes());
        *hasher.finalize().as_bytes()
    }

    /// Checks the node that this part is and returns what is below it.
    fn below(&self, node: Node) -> Result<Vec<Self>, EngineError> {
        if let Some(level) = self.level {
            check_node(&node, level, &self.first)?;
        }
        let last = node.children.last().map(|child| &child.first);
        if self.end.as_ref().is_some_and(|end| last >= Some(end)) {
            return Err(out_of_order());
        }
        let ends = node.children.iter().skip(1);
        let ends: Vec<_> = ends.map(|child| Some(child.first.clone())).collect();
        let ends = ends.into_iter().chain([self.end.clone()]);
        let parts = node.children.into_iter().zip(ends);
        Ok(parts
            .map(|(child, end)| Self {
                id: child.id,
                level: Some(node.level - 1),
                first: child.first,
                end,
            })
            .collect())
    }
}

impl Verification<'_> {
    pub(super) fn check_snapshots(
        &mut self,
        listed: Snapshots,
        level: Level,
    ) -> Result<(), EngineError> {
        for (name, reason) in listed.damaged {
            self.report.add(name, Problem::Form(reason));
        }
        let reader = match level {
            Level::Full => Some(BlobReader::open(self.repository)?),
            _ => None,
        };
        let mut seen = Seen::default();
        for snapshot in listed.found {
            self.check_cancel()?;
            self.report.snapshots += 1;
            if snapshot.authentic == Authentic::No {
                let reason = "it was changed".to_owned();
                self.report.add(&snapshot.name, Problem::Forged(reason));
                continue;
            }
            self.check_needs(&snapshot, reader.as_ref(), &mut seen)?;
            if let Some(reader) = &reader {
                self.check_tree(&snapshot, reader, &mut seen)?;
            }
        }
        self.report_absent(&seen);
        Ok(())
    }

    /// Reports packs that are not there, as far as a snapshot needs something that is nowhere else.
    ///
    /// Others are no loss: an expired writer or an interrupted collection leaves them in the
    /// index until the next collection, and a later backup may have stored the same anew.
    fn report_absent(&mut self, seen: &Seen) {
        if self.absent.is_empty() {
            return;
        }
        let is_needed = |id: &[u8; 32]| seen.blobs.contains(id) || seen.refs.contains(id);
        let missed: BTreeSet<StoreName> = self
            .index
            .places()
            .filter(|(place, pack)| self.absent.contains(&pack.hash) && is_needed(&place.id))
            .filter(|(place, _)| !self.is_intact(&place.id))
            .map(|(_, pack)| pack.name())
            .filter(|name| !self.is_condemned(name))
            .collect();
        for name in missed {
            self.report.add(name, Problem::Missing);
        }
    }

    /// Checks that every blob a snapshot refers to is intact as far as is known.
    fn check_needs(
        &mut self,
        snapshot: &Snapshot,
        reader: Option<&BlobReader>,
        seen: &mut Seen,
    ) -> Result<(), EngineError> {
        let writer = self
            .key
            .and_then(|key| key.writer(&snapshot.clear.writer).ok());
        let Some(root) = snapshot.clear.refs_root() else {
            let reason = "it names no references".to_owned();
            self.report.add(&snapshot.name, Problem::Form(reason));
            return Ok(());
        };
        let mut waiting = vec![root];
        while let Some(id) = waiting.pop() {
            if !seen.refs.insert(id) {
                continue;
            }
            self.check_cancel()?;
            let refs = match (reader, &writer) {
                (Some(reader), Some(writer)) => {
                    reader.read(writer, BlobKind::Refs, &id).and_then(|bytes| {
                        Refs::decode(&bytes).map_err(|error| EngineError::damaged("refs", error))
                    })
                }
                _ => read_refs(self.store, &self.index, &id),
            };
            match refs {
                Ok(refs) if refs.level > 0 => waiting.extend(refs.ids),
                Ok(refs) => {
                    for id in refs.ids {
                        if seen.blobs.insert(id) && !self.is_intact(&id) {
                            self.report.add(&snapshot.name, Problem::Needs { id });
                        }
                    }
                }
                Err(error) => self.snapshot_failed(&snapshot.name, error)?,
            }
        }
        Ok(())
    }

    fn snapshot_failed(&mut self, name: &StoreName, error: EngineError) -> Result<(), EngineError> {
        match error {
            EngineError::Cancelled | EngineError::Store(StoreError::Closed { .. }) => Err(error),
            error => {
                self.report.add(name, Problem::Form(error.to_string()));
                Ok(())
            }
        }
    }

    /// Reads a snapshot's tree and checks each entry's data against the index.
    fn check_tree(
        &mut self,
        snapshot: &Snapshot,
        reader: &BlobReader,
        seen: &mut Seen,
    ) -> Result<(), EngineError> {
        let name = &snapshot.name;
        let Some(key) = self.key else {
            return Ok(());
        };
        let opened = self
            .store
            .get(name)
            .map_err(EngineError::from)
            .and_then(|bytes| Manifest::decode(name, &bytes))
            .and_then(|manifest| manifest.open(name, key));
        let sealed = match opened {
            Ok(sealed) => sealed,
            Err(error) => return self.snapshot_failed(name, error),
        };
        let writer = key.writer(&snapshot.clear.writer)?;
        let Some(root) = hex::decode(&sealed.tree) else {
            let reason = "it names no tree".to_owned();
            self.report.add(name, Problem::Form(reason));
            return Ok(());
        };
        let mut waiting = vec![Part::root(root)];
        while let Some(part) = waiting.pop() {
            if !seen.trees.insert(part.key()) {
                continue;
            }
            self.check_cancel()?;
            let checked = match part.level {
                Some(0) => self.check_leaf(name, reader, &writer, &part, seen),
                _ => reader
                    .node(&writer, &part.id)
                    .and_then(|node| part.below(node))
                    .map(|below| waiting.extend(below)),
            };
            if let Err(error) = checked {
                self.snapshot_failed(name, error)?;
            }
        }
        Ok(())
    }

    fn check_leaf(
        &mut self,
        name: &StoreName,
        reader: &BlobReader,
        writer: &WriterKey,
        part: &Part,
        seen: &Seen,
    ) -> Result<(), EngineError> {
        let entries = reader.leaf(writer, &part.id)?;
        check_first(entries.first().map(|entry| &entry.path), &part.first)?;
        let last = entries.last().map(|entry| &entry.path);
        if part.end.as_ref().is_some_and(|end| last >= Some(end)) {
            return Err(out_of_order());
        }
        for entry in entries {
            if let Some(reason) = self.fault_of(&entry, seen) {
                let reason = format!("{}: {reason}", entry.path);
                self.report.add(name, Problem::Form(reason));
            }
        }
        Ok(())
    }

    fn fault_of(&self, entry: &Entry, seen: &Seen) -> Option<&'static str> {
        if matches!(entry.kind, Kind::File { .. }) && entry.span_bytes() != entry.kind.data_bytes()
        {
            return Some("its chunks do not fill it");
        }
        for span in &entry.spans {
            let end = u64::from(span.offset) + u64::from(span.len);
            let holds =
                |place: &Place| place.kind == BlobKind::Chunk && u64::from(place.plain_len) >= end;
            if !self.index.find(&span.chunk).all(|(place, _)| holds(&place)) {
                return Some("a piece of it lies outside its chunk");
            }
            if !seen.blobs.contains(&span.chunk) {
                return Some("its snapshot does not refer to one of its chunks");
            }
        }
        None
    }
}
