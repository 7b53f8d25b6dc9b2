//! References: which blobs a snapshot needs, in the clear.
//!
//! A blob of references is its level (`u8`) and ids. At level 0 they name blobs of any kind,
//! above that blobs of references one level below. A collector, a quota or a copy that holds
//! no key follows them from the root that the manifest names; a reader with the key checks
//! their keyed ids. They are cut along the tree's leaves, so that unchanged stretches are the
//! same blobs in the next snapshot.

use std::collections::HashSet;

use super::{TreeError, cuts_after};

const IDS_MAX: usize = 4096;

/// Is the content of a blob of references.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refs {
    /// 0 if the ids name blobs that are needed, else how far it is above those that do.
    pub level: u8,
    /// The ids.
    pub ids: Vec<[u8; 32]>,
}

impl Refs {
    /// Returns the bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + self.ids.len() * 32);
        bytes.push(self.level);
        bytes.extend_from_slice(self.ids.as_flattened());
        bytes
    }

    /// Reads the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, TreeError> {
        let (level, ids) = bytes.split_first().ok_or(TreeError::Refs)?;
        let (ids, rest) = ids.as_chunks::<32>();
        if rest.is_empty() {
            Ok(Self {
                level: *level,
                ids: ids.to_vec(),
            })
        } else {
            Err(TreeError::Refs)
        }
    }
}

/// Collects references along the tree's leaves.
#[derive(Debug, Default)]
pub struct RefsBuilder {
    ids: Vec<[u8; 32]>,
    seen: HashSet<[u8; 32]>,
    lists: Vec<Vec<[u8; 32]>>,
}

impl RefsBuilder {
    /// Starts with no references.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a blob that what comes next up in the tree needs.
    pub fn push(&mut self, id: [u8; 32]) {
        if self.seen.insert(id) {
            self.ids.push(id);
            // One huge file has more chunks than a blob has room for.
            if cuts_after(&id, 10) || self.ids.len() >= IDS_MAX {
                self.cut();
            }
        }
    }

    /// Appends a tree's leaf, after all that its entries need; a list may end here.
    pub fn push_leaf(&mut self, id: [u8; 32]) {
        self.push(id);
        if cuts_after(&id, 4) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        self.seen.clear();
        let ids = std::mem::take(&mut self.ids);
        if !ids.is_empty() {
            self.lists.push(ids);
        }
    }

    /// Stores all lists with `store`, which returns the id of a list's bytes; returns the root's.
    pub fn finish<E>(
        mut self,
        mut store: impl FnMut(Vec<u8>) -> Result<[u8; 32], E>,
    ) -> Result<[u8; 32], E> {
        self.cut();
        let mut lists = self.lists;
        let mut level = 0;
        loop {
            if lists.is_empty() {
                lists.push(Vec::new());
            }
            let mut ids = Vec::with_capacity(lists.len());
            for list in lists {
                ids.push(store(Refs { level, ids: list }.encode())?);
            }
            if let [root] = ids.as_slice() {
                return Ok(*root);
            }
            level += 1;
            lists = above(ids);
        }
    }
}

/// Cuts a list after ids that say so, never into single ones, which would not end.
fn above(ids: Vec<[u8; 32]>) -> Vec<Vec<[u8; 32]>> {
    let mut lists = Vec::new();
    let mut list = Vec::new();
    for id in ids {
        list.push(id);
        if list.len() > 1 && (cuts_after(&id, 6) || list.len() >= IDS_MAX) {
            lists.push(std::mem::take(&mut list));
        }
    }
    if !list.is_empty() {
        lists.push(list);
    }
    lists
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn build(leaves: usize) -> (HashMap<[u8; 32], Vec<u8>>, [u8; 32]) {
        let mut builder = RefsBuilder::new();
        for n in 0..leaves {
            for chunk in n * 3..n * 3 + 5 {
                builder.push(*blake3::hash(&chunk.to_le_bytes()).as_bytes());
            }
            builder.push_leaf(*blake3::hash(&(n + 1_000_000).to_le_bytes()).as_bytes());
        }
        let mut blobs = HashMap::new();
        let root = builder.finish(|bytes| {
            let id = *blake3::hash(&bytes).as_bytes();
            blobs.insert(id, bytes);
            Ok::<_, ()>(id)
        });
        (blobs, root.expect("storing works"))
    }

    fn collect(blobs: &HashMap<[u8; 32], Vec<u8>>, id: &[u8; 32], into: &mut HashSet<[u8; 32]>) {
        let refs = Refs::decode(&blobs[id]).expect("its own bytes");
        for id in &refs.ids {
            if refs.level == 0 {
                into.insert(*id);
            } else {
                collect(blobs, id, into);
            }
        }
    }

    #[test]
    fn every_reference_is_found_from_the_root() {
        for leaves in [0, 1, 10, 5000] {
            let (blobs, root) = build(leaves);
            let mut found = HashSet::new();
            collect(&blobs, &root, &mut found);
            let chunks = if leaves == 0 { 0 } else { leaves * 3 + 2 };
            assert_eq!(found.len(), chunks + leaves);
        }
    }

    #[test]
    fn no_list_outgrows_its_bound_below_a_single_leaf() {
        let mut builder = RefsBuilder::new();
        for n in 0..200_000_u32 {
            builder.push(*blake3::hash(&n.to_le_bytes()).as_bytes());
        }
        builder.push_leaf([1; 32]);
        let mut longest = 0;
        builder
            .finish(|bytes| {
                longest = longest.max(Refs::decode(&bytes).expect("its own bytes").ids.len());
                Ok::<_, ()>(*blake3::hash(&bytes).as_bytes())
            })
            .expect("storing works");
        assert!(longest <= IDS_MAX, "{longest}");
    }

    #[test]
    fn a_longer_tree_shares_most_lists() {
        let ((old, _), (new, _)) = (build(5000), build(5001));
        let fresh = new.keys().filter(|id| !old.contains_key(*id)).count();
        assert!(fresh <= 4, "{fresh} of {}", new.len());
    }
}
