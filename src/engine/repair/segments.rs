//! Index segments: what they claim, and which of it is true.

use std::collections::HashMap;

use super::packs::Packs;
use super::{Read, Repair};
use crate::engine::error::EngineError;
use crate::engine::index::{self, Index, PackEntries};
use crate::engine::store::{Folder, StoreName};

/// Is a hash over all that a segment says of a pack.
pub(super) type Digest = [u8; 32];

/// Is a segment, and what it says of each pack.
type Said = (StoreName, Vec<([u8; 32], Digest)>);

/// Is what the segments say of packs, as hashes: the entries themselves would fill the memory.
#[derive(Default)]
pub(super) struct Claims {
    segments: Vec<Said>,
    /// Packs by name, and where they are said to lie.
    packs: HashMap<[u8; 32], (Vec<Digest>, StoreName)>,
}

/// Returns the hash over all that is known of a pack.
pub(super) fn digest(pack: &PackEntries) -> Digest {
    *blake3::hash(&index::encode(std::slice::from_ref(pack))).as_bytes()
}

impl Claims {
    pub(super) fn read(repair: &mut Repair<'_>) -> Result<Self, EngineError> {
        let mut claims = Self::default();
        for file in repair.store.list(Folder::Index)? {
            repair.check_cancel()?;
            let name = file.name;
            let read = repair.store.get(&name);
            let Read::There(bytes) = repair.readable(&name, read)? else {
                continue;
            };
            match decode(&name, &bytes) {
                Some(packs) => claims.add(name, &packs),
                None => repair.report.segments.push(name.to_string()),
            }
        }
        Ok(claims)
    }

    fn add(&mut self, name: StoreName, packs: &[PackEntries]) {
        let mut said = Vec::with_capacity(packs.len());
        for pack in packs {
            let digest = digest(pack);
            said.push((pack.hash, digest));
            let known = self.packs.entry(pack.hash);
            let (digests, _) = known.or_insert_with(|| (Vec::new(), pack.info().name()));
            if !digests.contains(&digest) {
                digests.push(digest);
            }
        }
        self.segments.push((name, said));
    }

    /// Tells whether a segment says this of a pack.
    pub(super) fn say(&self, hash: &[u8; 32], digest: &Digest) -> bool {
        let known = self.packs.get(hash);
        known.is_some_and(|(digests, _)| digests.contains(digest))
    }

    /// Finds the segments that say something wrong, notes them and the packs that are gone,
    /// and adds what is true to the index.
    ///
    /// Returns what is true in segments that are to be replaced.
    pub(super) fn judge(
        &self,
        repair: &mut Repair<'_>,
        packs: &Packs,
        index: &mut Index,
    ) -> Result<Vec<PackEntries>, EngineError> {
        for (hash, (_, name)) in &self.packs {
            if !packs.is_there(hash) {
                repair.report.missing.push(name.to_string());
            }
        }
        repair.report.missing.sort();
        let is_true = |(hash, digest): &([u8; 32], Digest)| packs.agree(hash, digest);
        let (good, bad): (Vec<_>, Vec<_>) = self
            .segments
            .iter()
            .partition(|(_, said)| said.iter().all(is_true));
        for (name, _) in good {
            add_true(repair, packs, index, name, None)?;
        }
        let mut kept = Vec::new();
        for (name, _) in bad {
            add_true(repair, packs, index, name, Some(&mut kept))?;
            repair.report.segments.push(name.to_string());
        }
        Ok(kept)
    }
}

/// Adds to the index what is true of a segment and not yet known.
fn add_true(
    repair: &Repair<'_>,
    packs: &Packs,
    index: &mut Index,
    name: &StoreName,
    mut added: Option<&mut Vec<PackEntries>>,
) -> Result<(), EngineError> {
    repair.check_cancel()?;
    let bytes = repair.store.get(name)?;
    let listed = decode(name, &bytes).ok_or_else(|| {
        EngineError::damaged(name, "it changed while it was read; run the repair again")
    })?;
    for pack in listed {
        if packs.agree(&pack.hash, &digest(&pack)) && !index.has_pack(&pack.hash) {
            index.add(&pack);
            if let Some(added) = &mut added {
                added.push(pack);
            }
        }
    }
    Ok(())
}

fn decode(name: &StoreName, bytes: &[u8]) -> Option<Vec<PackEntries>> {
    name.check_bytes(bytes).ok()?;
    index::decode(bytes).ok()
}
