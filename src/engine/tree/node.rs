//! Nodes: lists of children with the first path of each.
//!
//! A node is its level (`u8`, 1 above leaves), then each child's id, the length of its first
//! path (`u32`) and the path.

use super::{TreeError, cuts_after};
use crate::engine::files::RelPath;

const NODE_BYTES_MAX: usize = 256 << 10;

/// Is one child of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// The blob's id.
    pub id: [u8; 32],
    /// The path of the first entry below it.
    pub first: RelPath,
}

/// Is a node's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// How far it is above the leaves.
    pub level: u8,
    /// What is below it, in path order.
    pub children: Vec<Child>,
}

impl Node {
    /// Returns the node's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![self.level];
        for child in &self.children {
            encode_child(child, &mut bytes);
        }
        bytes
    }

    /// Reads a node's bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, TreeError> {
        let (level, mut rest) = bytes.split_first().ok_or(TreeError::Node)?;
        let mut children = Vec::new();
        while !rest.is_empty() {
            let (child, after) = decode_child(rest).ok_or(TreeError::Node)?;
            children.push(child);
            rest = after;
        }
        let sorted = children
            .windows(2)
            .all(|pair: &[Child]| pair[0].first < pair[1].first);
        if *level > 0 && sorted {
            Ok(Self {
                level: *level,
                children,
            })
        } else {
            Err(TreeError::Node)
        }
    }
}

fn encode_child(child: &Child, bytes: &mut Vec<u8>) {
    let path = child.first.as_bytes();
    bytes.extend_from_slice(&child.id);
    bytes.extend_from_slice(&(path.len() as u32).to_le_bytes());
    bytes.extend_from_slice(path);
}

fn decode_child(bytes: &[u8]) -> Option<(Child, &[u8])> {
    let (id, rest) = bytes.split_first_chunk::<32>()?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let (path, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    let child = Child {
        id: *id,
        first: RelPath::new(path).ok()?,
    };
    Some((child, rest))
}

/// Groups children into nodes, level by level, until one is left.
#[derive(Debug, Default)]
pub struct NodeBuilder {
    children: Vec<Child>,
}

impl NodeBuilder {
    /// Starts with no leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a leaf.
    pub fn push(&mut self, child: Child) {
        self.children.push(child);
    }

    /// Stores all nodes with `store`, which returns the id of a node's bytes; returns the root's.
    pub fn finish<E>(
        self,
        mut store: impl FnMut(Vec<u8>) -> Result<[u8; 32], E>,
    ) -> Result<[u8; 32], E> {
        let mut children = self.children;
        let mut level = 1;
        loop {
            let mut above = Vec::new();
            for group in groups(children) {
                let first = group.first().map(|child| child.first.clone());
                let node = Node {
                    level,
                    children: group,
                };
                let id = store(node.encode())?;
                let first = first.unwrap_or_else(RelPath::root);
                above.push(Child { id, first });
            }
            if let [root] = above.as_slice() {
                return Ok(root.id);
            }
            children = above;
            level += 1;
        }
    }
}

/// Cuts a list after ids that say so; there is at least one group, and no single ones above it.
fn groups(children: Vec<Child>) -> Vec<Vec<Child>> {
    let mut groups = vec![Vec::new()];
    let mut bytes = 0;
    for child in children {
        bytes += 36 + child.first.as_bytes().len();
        let last = groups.last_mut().expect("there is always a group");
        // A group of one would let a level be as long as the one below it.
        let ends = (cuts_after(&child.id, 6) || bytes >= NODE_BYTES_MAX) && !last.is_empty();
        last.push(child);
        if ends {
            groups.push(Vec::new());
            bytes = 0;
        }
    }
    if groups.len() > 1 && groups.last().is_some_and(Vec::is_empty) {
        groups.pop();
    }
    groups
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn build(count: usize) -> (HashMap<[u8; 32], Vec<u8>>, [u8; 32]) {
        let mut builder = NodeBuilder::new();
        for n in 0..count {
            builder.push(Child {
                id: *blake3::hash(&n.to_le_bytes()).as_bytes(),
                first: RelPath::new(format!("{n:08}")).expect("a valid path"),
            });
        }
        let mut blobs = HashMap::new();
        let root = builder.finish(|bytes| {
            let id = *blake3::hash(&bytes).as_bytes();
            blobs.insert(id, bytes);
            Ok::<_, ()>(id)
        });
        (blobs, root.expect("storing works"))
    }

    fn leaves(blobs: &HashMap<[u8; 32], Vec<u8>>, id: &[u8; 32]) -> usize {
        let node = Node::decode(&blobs[id]).expect("its own bytes");
        let below = |child: &Child| leaves(blobs, &child.id);
        if node.level == 1 {
            node.children.len()
        } else {
            node.children.iter().map(below).sum()
        }
    }

    #[test]
    fn every_leaf_is_below_the_one_root() {
        for count in [0, 1, 2, 100, 30_000] {
            let (blobs, root) = build(count);
            assert_eq!(leaves(&blobs, &root), count);
        }
    }

    #[test]
    fn a_longer_list_shares_most_nodes() {
        let ((old, _), (new, _)) = (build(30_000), build(30_001));
        let fresh = new.keys().filter(|id| !old.contains_key(*id)).count();
        assert!(fresh <= 5, "{fresh} of {}", new.len());
    }
}
