//! Walks the entries of a snapshot's tree, all of them or those on the way to some paths.

use super::{BlobReader, FETCHED_AT_ONCE};
use crate::engine::crypto::WriterKey;
use crate::engine::error::EngineError;
use crate::engine::files::{Entry, RelPath};
use crate::engine::pack::BlobKind;
use crate::engine::tree::{Child, Node};

/// Walks the entries of a snapshot's tree in path order.
pub(in crate::engine) struct Entries<'a> {
    reader: &'a BlobReader,
    writer: &'a WriterKey,
    /// Only what lies at, below or above one of these paths is of interest; none for all.
    paths: Vec<RelPath>,
    stack: Vec<Level>,
    leaves: std::vec::IntoIter<([u8; 32], Vec<u8>)>,
    leaf: std::vec::IntoIter<Entry>,
    failed: bool,
}

struct Level {
    level: u8,
    children: std::vec::IntoIter<Child>,
}

impl BlobReader {
    /// Returns the entries of a tree in path order.
    pub(in crate::engine) fn entries<'a>(
        &'a self,
        writer: &'a WriterKey,
        root: [u8; 32],
    ) -> Result<Entries<'a>, EngineError> {
        self.entries_near(writer, root, &[])
    }

    /// Returns the entries of a tree in path order; parts of it that hold nothing at, below or
    /// above `paths` are left out as far as that can be told without reading them.
    pub(in crate::engine) fn entries_near<'a>(
        &'a self,
        writer: &'a WriterKey,
        root: [u8; 32],
        paths: &[RelPath],
    ) -> Result<Entries<'a>, EngineError> {
        let mut entries = Entries {
            reader: self,
            writer,
            paths: paths.to_vec(),
            stack: Vec::new(),
            leaves: Vec::new().into_iter(),
            leaf: Vec::new().into_iter(),
            failed: false,
        };
        entries.descend(&root, None)?;
        Ok(entries)
    }

    /// Returns the entry of a path by the way down to it alone.
    pub(in crate::engine) fn find_entry(
        &self,
        writer: &WriterKey,
        root: [u8; 32],
        path: &RelPath,
    ) -> Result<Option<Entry>, EngineError> {
        let mut node = self.node(writer, &root)?;
        loop {
            let after = node.children.partition_point(|child| child.first <= *path);
            let Some(child) = after.checked_sub(1).and_then(|at| node.children.get(at)) else {
                return Ok(None);
            };
            if node.level == 1 {
                let mut entries = self.leaf(writer, &child.id)?.into_iter();
                return Ok(entries.find(|entry| entry.path == *path));
            }
            let below = self.node(writer, &child.id)?;
            check_level(&below, node.level - 1)?;
            node = below;
        }
    }
}

/// Checks that levels fall by one on the way down, so that every way ends.
pub(in crate::engine) fn check_level(node: &Node, level: u8) -> Result<(), EngineError> {
    if node.level == level {
        Ok(())
    } else {
        Err(EngineError::damaged("a tree", "a node has the wrong level"))
    }
}

impl Entries<'_> {
    fn descend(&mut self, id: &[u8; 32], level: Option<u8>) -> Result<(), EngineError> {
        let node = self.reader.node(self.writer, id)?;
        if let Some(level) = level {
            check_level(&node, level)?;
        }
        self.stack.push(Level {
            level: node.level,
            children: self.of_interest(node.children).into_iter(),
        });
        Ok(())
    }

    fn of_interest(&self, children: Vec<Child>) -> Vec<Child> {
        if self.paths.is_empty() {
            return children;
        }
        let ends: Vec<Option<RelPath>> = children
            .iter()
            .skip(1)
            .map(|child| Some(child.first.clone()))
            .chain([None])
            .collect();
        let pairs = children.into_iter().zip(ends);
        pairs
            .filter(|(child, end)| {
                let mut paths = self.paths.iter();
                paths.any(|path| touches(&child.first, end.as_ref(), path))
            })
            .map(|(child, _)| child)
            .collect()
    }

    fn step(&mut self) -> Result<Option<Entry>, EngineError> {
        loop {
            if let Some(entry) = self.leaf.next() {
                return Ok(Some(entry));
            }
            if let Some((id, bytes)) = self.leaves.next() {
                self.leaf = self
                    .reader
                    .decode_leaf(self.writer, &id, &bytes)?
                    .into_iter();
                continue;
            }
            let Some(top) = self.stack.last_mut() else {
                return Ok(None);
            };
            if top.level == 1 {
                let ids: Vec<_> = top
                    .children
                    .by_ref()
                    .take(FETCHED_AT_ONCE)
                    .map(|child| child.id)
                    .collect();
                if ids.is_empty() {
                    self.stack.pop();
                    continue;
                }
                let leaves = self.reader.read_all(self.writer, BlobKind::Leaf, &ids)?;
                self.leaves = ids.into_iter().zip(leaves).collect::<Vec<_>>().into_iter();
            } else {
                let level = top.level - 1;
                match top.children.next() {
                    Some(child) => self.descend(&child.id, Some(level))?,
                    None => drop(self.stack.pop()),
                }
            }
        }
    }
}

/// Tells whether the paths from `first` up to `end` can hold `path`, something below it, or a
/// folder above it.
fn touches(first: &RelPath, end: Option<&RelPath>, path: &RelPath) -> bool {
    let holds = |path: &RelPath| first <= path && end.is_none_or(|end| path < end);
    first.starts_with(path)
        || holds(path)
        || std::iter::successors(path.parent(), RelPath::parent).any(|above| holds(&above))
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let entry = self.step();
        self.failed = entry.is_err();
        entry.transpose()
    }
}
