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
    leaves: std::vec::IntoIter<(Child, Vec<u8>)>,
    leaf: std::vec::IntoIter<Entry>,
    /// The last path of the leaf before.
    last: Option<RelPath>,
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
            last: None,
            failed: false,
        };
        entries.enter_node(self.node(writer, &root)?);
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
            check_node(&below, node.level - 1, &child.first)?;
            node = below;
        }
    }
}

/// Checks that a node is what its parent says: one level below, and beginning where it should.
///
/// Every way down therefore ends, and every entry comes once, whatever the nodes share.
pub(in crate::engine) fn check_node(
    node: &Node,
    level: u8,
    first: &RelPath,
) -> Result<(), EngineError> {
    if node.level != level {
        return Err(EngineError::damaged("a tree", "a node has the wrong level"));
    }
    check_first(node.children.first().map(|child| &child.first), first)
}

/// Checks that a node or leaf begins with the path that its parent says.
pub(in crate::engine) fn check_first(
    found: Option<&RelPath>,
    first: &RelPath,
) -> Result<(), EngineError> {
    if found == Some(first) {
        Ok(())
    } else {
        Err(out_of_order())
    }
}

pub(in crate::engine) fn out_of_order() -> EngineError {
    EngineError::damaged("a tree", "its paths are not in ascending order")
}

impl Entries<'_> {
    fn descend(&mut self, child: &Child, level: u8) -> Result<(), EngineError> {
        let node = self.reader.node(self.writer, &child.id)?;
        check_node(&node, level, &child.first)?;
        self.enter_node(node);
        Ok(())
    }

    fn enter_node(&mut self, node: Node) {
        self.stack.push(Level {
            level: node.level,
            children: self.of_interest(node.children).into_iter(),
        });
    }

    fn enter_leaf(&mut self, child: &Child, bytes: &[u8]) -> Result<(), EngineError> {
        let leaf = self.reader.decode_leaf(self.writer, &child.id, bytes)?;
        check_first(leaf.first().map(|entry| &entry.path), &child.first)?;
        if self.last.as_ref().is_some_and(|last| *last >= child.first) {
            return Err(out_of_order());
        }
        self.last = leaf.last().map(|entry| entry.path.clone());
        self.leaf = leaf.into_iter();
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
            if let Some((child, bytes)) = self.leaves.next() {
                self.enter_leaf(&child, &bytes)?;
                continue;
            }
            let Some(top) = self.stack.last_mut() else {
                return Ok(None);
            };
            if top.level == 1 {
                let children: Vec<_> = top.children.by_ref().take(FETCHED_AT_ONCE).collect();
                let ids: Vec<_> = children.iter().map(|child| child.id).collect();
                if ids.is_empty() {
                    self.stack.pop();
                    continue;
                }
                let leaves = self.reader.read_all(self.writer, BlobKind::Leaf, &ids)?;
                let leaves: Vec<_> = children.into_iter().zip(leaves).collect();
                self.leaves = leaves.into_iter();
            } else {
                let level = top.level - 1;
                match top.children.next() {
                    Some(child) => self.descend(&child, level)?,
                    None => drop(self.stack.pop()),
                }
            }
        }
    }
}

/// Tells whether the paths from `first` up to `end` can hold `path`, something below it, or a
/// folder above it.
pub(in crate::engine) fn touches(first: &RelPath, end: Option<&RelPath>, path: &RelPath) -> bool {
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
