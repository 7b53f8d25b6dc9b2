//! Marks what snapshots need, by following their references.
//!
//! Ids cannot be checked without a key, so every copy of a list of references is followed and
//! every copy of a blob counts: whoever stores something else under a known id adds to what is
//! kept and never takes from it. What cannot be read ends the collection.

use std::collections::{HashMap, HashSet};

use crate::engine::env::Cancel;
use crate::engine::error::EngineError;
use crate::engine::hex;
use crate::engine::index::{Index, Marks, PackInfo};
use crate::engine::manifest::Manifest;
use crate::engine::store::{Folder, Listed, Store, StoreError, StoreName};
use crate::engine::sync::read_refs_at;
use crate::engine::tree::Refs;

/// The lengths of the packs that are there, by folder and hash.
pub(super) type Sizes = HashMap<(bool, [u8; 32]), u64>;

/// Knows which places are needed, and what that makes of each pack.
pub(super) struct Survey {
    pub(super) index: Index,
    /// Along [`Index::packs`].
    pub(super) packs: Vec<PackState>,
    pub(super) snapshots: u64,
    /// Blobs that are needed and are nowhere.
    pub(super) lost: HashSet<[u8; 32]>,
    /// Packs that segments name, that are not there and that nobody misses.
    pub(super) stale: HashSet<[u8; 32]>,
    pub(super) live: Marks,
    /// Copies that are not needed because the same bytes are elsewhere.
    pub(super) spare: Marks,
}

/// Describes a pack as a collection sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PackState {
    /// Its length; none if it is not there.
    pub(super) size: Option<u64>,
    /// How many bytes of blobs in it are needed.
    pub(super) live: u64,
    /// How many are not.
    pub(super) dead: u64,
}

/// Reads which references snapshots start from; a manifest that makes no sense is an error.
pub(super) fn roots(store: &dyn Store) -> Result<Vec<(StoreName, [u8; 32])>, EngineError> {
    let mut roots = Vec::new();
    for Listed { name, .. } in store.list(Folder::Snapshots)? {
        let bytes = match store.get(&name) {
            // Forgotten between the listing and now.
            Err(error) if error.is_not_found() => continue,
            bytes => bytes?,
        };
        let manifest = Manifest::decode(&name, &bytes).map_err(|error| refuse(&name, error))?;
        let root = manifest.clear.refs_root();
        let root = root.ok_or_else(|| refuse(&name, "it names no references"))?;
        roots.push((name, root));
    }
    Ok(roots)
}

/// Lists the packs that are there.
pub(super) fn sizes(store: &dyn Store) -> Result<Sizes, EngineError> {
    let mut sizes = Sizes::new();
    for folder in [Folder::Packs, Folder::Meta] {
        for Listed { name, size } in store.list(folder)? {
            if let Some(hash) = name.content_hash() {
                sizes.insert((folder == Folder::Packs, hash), size);
            }
        }
    }
    Ok(sizes)
}

/// Says that nothing is collected because a file cannot be read.
#[expect(
    clippy::needless_pass_by_value,
    reason = "callers pass errors and texts alike"
)]
fn refuse(name: &StoreName, reason: impl ToString) -> EngineError {
    EngineError::Uncollectable {
        name: name.to_string(),
        reason: reason.to_string(),
    }
}

impl Survey {
    /// Follows the references of all snapshots through a sorted index.
    pub(super) fn make(
        store: &dyn Store,
        roots: &[(StoreName, [u8; 32])],
        index: Index,
        sizes: &Sizes,
        cancel: &Cancel,
    ) -> Result<Self, EngineError> {
        let size = |pack: &PackInfo| sizes.get(&(pack.is_data, pack.hash)).copied();
        let packs = index.packs().iter().map(|pack| PackState {
            size: size(pack),
            ..PackState::default()
        });
        let mut survey = Self {
            packs: packs.collect(),
            snapshots: roots.len() as u64,
            lost: HashSet::new(),
            stale: HashSet::new(),
            live: Marks::new(index.len()),
            spare: Marks::new(index.len()),
            index,
        };
        let mut marking = Marking {
            store,
            cancel,
            survey: &survey,
            followed: Marks::new(survey.index.len()),
            lost: HashSet::new(),
        };
        for (name, root) in roots {
            marking.follow(name, root)?;
        }
        survey.lost = marking.lost;
        survey.find_stale();
        survey.count();
        Ok(survey)
    }

    /// Adds up what is needed of each pack.
    pub(super) fn count(&mut self) {
        for pack in &mut self.packs {
            (pack.live, pack.dead) = (0, 0);
        }
        for position in 0..self.index.len() {
            if self.is_there(position) {
                let len = u64::from(self.index.at(position).0.len);
                let is_needed = self.is_needed(position);
                let pack = &mut self.packs[self.index.pack_at(position)];
                let sum = if is_needed {
                    &mut pack.live
                } else {
                    &mut pack.dead
                };
                *sum += len;
            }
        }
    }

    /// Finds packs that only the index still knows: what expired writers named too late, and
    /// what an interrupted collection deleted.
    fn find_stale(&mut self) {
        let packs = self.index.packs().iter().zip(&self.packs);
        let gone = packs.filter(|(_, state)| state.size.is_none());
        self.stale = gone.map(|(pack, _)| pack.hash).collect();
        if self.stale.is_empty() || self.lost.is_empty() {
            return;
        }
        for (place, pack) in self.index.places() {
            if self.lost.contains(&place.id) {
                self.stale.remove(&pack.hash);
            }
        }
    }

    /// Tells whether a place is within a pack that is there.
    fn is_there(&self, position: usize) -> bool {
        let (place, _) = self.index.at(position);
        let end = u64::from(place.offset) + u64::from(place.len);
        let size = self.packs[self.index.pack_at(position)].size;
        size.is_some_and(|size| end <= size)
    }

    /// Tells whether the copy at a position must stay.
    pub(super) fn is_needed(&self, position: usize) -> bool {
        self.live.is_set(position) && !self.spare.is_set(position)
    }

    /// Returns the positions of all copies of a blob, those that are gone included.
    pub(super) fn positions(&self, id: &[u8; 32]) -> std::ops::Range<usize> {
        match self.index.position(id) {
            Some(first) => first..self.end_of(first),
            None => 0..0,
        }
    }

    /// Returns the position after the copies of the blob at `first`.
    pub(super) fn end_of(&self, first: usize) -> usize {
        let id = self.index.at(first).0.id;
        let others = first + 1..self.index.len();
        let same = others.take_while(|position| self.index.at(*position).0.id == id);
        first + 1 + same.count()
    }
}

/// Marks along references; each list is read once, however many snapshots share it.
struct Marking<'a> {
    store: &'a dyn Store,
    cancel: &'a Cancel,
    survey: &'a Survey,
    /// Lists of references that were followed, by their first position.
    followed: Marks,
    lost: HashSet<[u8; 32]>,
}

impl Marking<'_> {
    fn follow(&mut self, snapshot: &StoreName, root: &[u8; 32]) -> Result<(), EngineError> {
        let mut waiting = vec![(*root, None)];
        while let Some((id, level)) = waiting.pop() {
            let first = self.survey.index.position(&id);
            if first.is_some_and(|first| !self.followed.set(first)) {
                continue;
            }
            if self.cancel.is_cancelled() {
                return Err(EngineError::Cancelled);
            }
            let lists = self.read(&id, level)?;
            if lists.is_empty() {
                let id = hex::encode(&id[..8]);
                let reason = format!("its references {id} are in no pack that is there");
                return Err(refuse(snapshot, reason));
            }
            for Refs { level, ids } in lists {
                match level.checked_sub(1) {
                    Some(below) => waiting.extend(ids.into_iter().map(|id| (id, Some(below)))),
                    None => ids.iter().for_each(|id| self.mark(id)),
                }
            }
        }
        Ok(())
    }

    /// Reads and marks every copy of a list of references.
    fn read(&self, id: &[u8; 32], level: Option<u8>) -> Result<Vec<Refs>, EngineError> {
        let mut lists = Vec::new();
        for position in self.survey.positions(id) {
            if !self.survey.is_there(position) {
                continue;
            }
            let (place, pack) = self.survey.index.at(position);
            let refs = match read_refs_at(self.store, &place, &pack) {
                Err(EngineError::Store(error @ StoreError::Closed { .. })) => {
                    return Err(error.into());
                }
                refs => refs.map_err(|error| refuse(&pack.name(), error))?,
            };
            if level.is_some_and(|level| level != refs.level) {
                let reason = "a list of references in it has the wrong level";
                return Err(refuse(&pack.name(), reason));
            }
            self.survey.live.set(position);
            lists.push(refs);
        }
        Ok(lists)
    }

    fn mark(&mut self, id: &[u8; 32]) {
        let mut found = false;
        for position in self.survey.positions(id) {
            if self.survey.is_there(position) {
                self.survey.live.set(position);
                found = true;
            }
        }
        if !found {
            self.lost.insert(*id);
        }
    }
}
