//! Compares two snapshots: what was added, removed or changed between them.
//!
//! Parts of the two trees that have the same id are the same and are not read.

use super::env::Cancel;
use super::error::EngineError;
use super::files::{Difference, Entry, RelPath, compare};
use super::pieces::{Piece, Pieces};
use super::reader::{check_first, check_node, touches};
use super::snapshot::OpenSnapshot;

/// Says how a path differs between two snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The newer snapshot alone has it.
    Added(Box<Entry>),
    /// The older snapshot alone has it.
    Removed(Box<Entry>),
    /// It is something else, or holds something else.
    Content {
        /// The newer entry.
        entry: Box<Entry>,
        /// In what the entries differ besides data, the older value first.
        differences: Vec<Difference>,
    },
    /// It holds the same, and its owner, mode, times or attributes differ.
    Metadata {
        /// The newer entry.
        entry: Box<Entry>,
        /// In what the entries differ, the older value first.
        differences: Vec<Difference>,
    },
}

impl Change {
    /// Returns the entry it is about; the newer one if there are two.
    pub fn entry(&self) -> &Entry {
        match self {
            Self::Added(entry)
            | Self::Removed(entry)
            | Self::Content { entry, .. }
            | Self::Metadata { entry, .. } => entry,
        }
    }

    /// Returns the change's name: `added`, `removed`, `changed` or `metadata`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Added(_) => "added",
            Self::Removed(_) => "removed",
            Self::Content { .. } => "changed",
            Self::Metadata { .. } => "metadata",
        }
    }

    /// Returns in what the entries differ besides data.
    pub fn differences(&self) -> &[Difference] {
        match self {
            Self::Added(_) | Self::Removed(_) => &[],
            Self::Content { differences, .. } | Self::Metadata { differences, .. } => differences,
        }
    }
}

/// Takes the changes one by one, in path order.
pub type TakeChange<'a> = dyn FnMut(Change) -> Result<(), EngineError> + 'a;

/// Compares two snapshots at and below a path, and hands each change to `take`.
pub fn diff(
    old: &OpenSnapshot,
    new: &OpenSnapshot,
    path: &RelPath,
    cancel: &Cancel,
    take: &mut TakeChange<'_>,
) -> Result<(), EngineError> {
    let (mut left, mut right) = (Side::open(old, path), Side::open(new, path));
    let same_names = old.writer.label() == new.writer.label();
    loop {
        if cancel.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        match (left.stack.last(), right.stack.last()) {
            (None, None) => return Ok(()),
            (Some(Item::Part(one)), Some(Item::Part(other))) => {
                if same_names && one.id == other.id {
                    left.stack.pop();
                    right.stack.pop();
                    continue;
                }
                let (expand_left, expand_right) = whom_to_expand(one, other);
                if expand_left {
                    left.expand()?;
                }
                if expand_right {
                    right.expand()?;
                }
            }
            (Some(Item::Entry(one)), Some(Item::Entry(other))) => match one.path.cmp(&other.path) {
                std::cmp::Ordering::Less => left.take_all(Change::Removed, take)?,
                std::cmp::Ordering::Greater => right.take_all(Change::Added, take)?,
                std::cmp::Ordering::Equal => {
                    if let Some(change) = compare_entries((old, one), (new, other))? {
                        take(change)?;
                    }
                    left.stack.pop();
                    right.stack.pop();
                }
            },
            (Some(Item::Part(part)), Some(Item::Entry(entry))) => {
                // A part begins with the smallest of its paths.
                if entry.path < part.first {
                    right.take_all(Change::Added, take)?;
                } else {
                    left.expand()?;
                }
            }
            (Some(Item::Entry(entry)), Some(Item::Part(part))) => {
                if entry.path < part.first {
                    left.take_all(Change::Removed, take)?;
                } else {
                    right.expand()?;
                }
            }
            (Some(Item::Part(_)), None) => left.expand()?,
            (None, Some(Item::Part(_))) => right.expand()?,
            (Some(Item::Entry(_)), None) => left.take_all(Change::Removed, take)?,
            (None, Some(Item::Entry(_))) => right.take_all(Change::Added, take)?,
        }
    }
}

/// Is a part of a tree that was not read yet.
struct Part {
    id: [u8; 32],
    /// How far it is above the entries: 0 for a leaf, unknown for a root.
    level: Option<u8>,
    first: RelPath,
}

enum Item {
    Part(Part),
    Entry(Box<Entry>),
}

struct Side<'a> {
    snapshot: &'a OpenSnapshot,
    path: &'a RelPath,
    /// What comes next is last.
    stack: Vec<Item>,
}

/// Chooses what to read so that equal parts meet: the higher, or else the earlier one.
fn whom_to_expand(left: &Part, right: &Part) -> (bool, bool) {
    let height = |part: &Part| part.level.unwrap_or(u8::MAX);
    match height(left).cmp(&height(right)) {
        std::cmp::Ordering::Greater => (true, false),
        std::cmp::Ordering::Less => (false, true),
        std::cmp::Ordering::Equal => (left.first <= right.first, right.first <= left.first),
    }
}

impl<'a> Side<'a> {
    fn open(snapshot: &'a OpenSnapshot, path: &'a RelPath) -> Self {
        let root = Part {
            id: snapshot.tree,
            level: None,
            first: RelPath::root(),
        };
        Self {
            snapshot,
            path,
            stack: vec![Item::Part(root)],
        }
    }

    /// Replaces the next part by what it consists of.
    fn expand(&mut self) -> Result<(), EngineError> {
        let Some(Item::Part(part)) = self.stack.pop() else {
            return Ok(());
        };
        let (reader, writer) = (&self.snapshot.reader, &self.snapshot.writer);
        if part.level == Some(0) {
            let entries = reader.leaf(writer, &part.id)?;
            check_first(entries.first().map(|entry| &entry.path), &part.first)?;
            let entries = entries.into_iter().rev();
            let entries = entries.filter(|entry| entry.path.starts_with(self.path));
            self.stack
                .extend(entries.map(|entry| Item::Entry(Box::new(entry))));
            return Ok(());
        }
        let node = reader.node(writer, &part.id)?;
        if let Some(level) = part.level {
            check_node(&node, level, &part.first)?;
        }
        let mut end: Option<RelPath> = None;
        for child in node.children.into_iter().rev() {
            let first = child.first;
            if touches(&first, end.as_ref(), self.path) {
                self.stack.push(Item::Part(Part {
                    id: child.id,
                    level: Some(node.level - 1),
                    first: first.clone(),
                }));
            }
            end = Some(first);
        }
        Ok(())
    }

    fn take_all(
        &mut self,
        make: impl Fn(Box<Entry>) -> Change,
        take: &mut TakeChange<'_>,
    ) -> Result<(), EngineError> {
        match self.stack.pop() {
            Some(Item::Entry(entry)) => take(make(entry)),
            other => {
                self.stack.extend(other);
                Ok(())
            }
        }
    }
}

fn compare_entries(
    (old, one): (&OpenSnapshot, &Entry),
    (new, other): (&OpenSnapshot, &Entry),
) -> Result<Option<Change>, EngineError> {
    let mut differences = compare(one, other);
    differences.retain(|difference| !difference.is_informational());
    let has_content = differences.iter().any(|difference| {
        matches!(
            difference,
            Difference::Kind(..)
                | Difference::Size(..)
                | Difference::LinkTarget(..)
                | Difference::HardlinkTo(..)
                | Difference::Device(..)
        )
    });
    let entry = || Box::new(other.clone());
    if has_content || !same_data((old, one), (new, other))? {
        let entry = entry();
        return Ok(Some(Change::Content { entry, differences }));
    }
    Ok((!differences.is_empty()).then(|| Change::Metadata {
        entry: entry(),
        differences,
    }))
}

/// Tells whether two files of one length hold the same, reading as little as possible.
fn same_data(
    (old, one): (&OpenSnapshot, &Entry),
    (new, other): (&OpenSnapshot, &Entry),
) -> Result<bool, EngineError> {
    let same_names = old.writer.label() == new.writer.label();
    if same_names && one.spans == other.spans && one.kind == other.kind {
        return Ok(true);
    }
    let is_whole = |snapshot: &OpenSnapshot, piece: &Piece| {
        piece.start == 0 && snapshot.reader.plain_len(&piece.chunk) == Some(piece.len)
    };
    let (mut left, mut right) = (Pieces::of(one)?, Pieces::of(other)?);
    loop {
        match (left.next(), right.next()) {
            // Other keys give other names.
            _ if !same_names => break,
            (None, None) => return Ok(true),
            (Some(piece), Some(found)) if piece == found => {}
            // Whole chunks of one place and length with other names are other bytes.
            (Some(piece), Some(found))
                if (piece.offset, piece.len) == (found.offset, found.len)
                    && is_whole(old, &piece)
                    && is_whole(new, &found) =>
            {
                return Ok(false);
            }
            _ => break,
        }
    }
    Ok(content_hash(old, one)? == content_hash(new, other)?)
}

/// Hashes what a file holds, whatever its chunks and holes are.
fn content_hash(snapshot: &OpenSnapshot, entry: &Entry) -> Result<[u8; 32], EngineError> {
    const BLOCK: u64 = 4096;
    let mut hasher = blake3::Hasher::new();
    let mut block = [0_u8; BLOCK as usize];
    let mut number = 0;
    let mut end_block = |number: u64, block: &mut [u8; BLOCK as usize]| {
        // Zeros count for nothing, stored or not.
        if block.iter().any(|byte| *byte != 0) {
            hasher.update(&number.to_le_bytes());
            hasher.update(block);
            block.fill(0);
        }
    };
    snapshot.for_each_piece(entry, &mut |mut offset, mut bytes| {
        while !bytes.is_empty() {
            if offset / BLOCK != number {
                end_block(number, &mut block);
                number = offset / BLOCK;
            }
            let start = (offset % BLOCK) as usize;
            let len = bytes.len().min(block.len() - start);
            let (now, rest) = bytes.split_at(len);
            block[start..start + len].copy_from_slice(now);
            offset += len as u64;
            bytes = rest;
        }
        Ok(())
    })?;
    end_block(number, &mut block);
    Ok(*hasher.finalize().as_bytes())
}
