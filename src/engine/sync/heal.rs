//! Brings back what the target lost of snapshots that it had before.
//!
//! Presence and lengths tell, as a listing shows them; bytes that changed in place are for a
//! verification to find.

use super::{Copy, Needed, Packs, info};
use crate::engine::error::EngineError;
use crate::engine::store::{StoreError, StoreName};

impl Copy<'_> {
    /// Makes damaged segments again, as far as the target's packs or the source allow it.
    pub(super) fn heal_segments(&mut self) -> Result<(), EngineError> {
        if self.bad_segments.is_empty() {
            return Ok(());
        }
        // The packs that one segment named give the same bytes again.
        self.put_segment(0)?;
        for name in self.bad_segments.clone() {
            let hash = name.content_hash();
            if hash.is_some_and(|hash| self.healed.contains(&hash)) {
                continue;
            }
            // What can be derived can be lost: without these bytes nothing is missing.
            if let Ok(bytes) = self.from.get(&name)
                && name.check_bytes(&bytes).is_ok()
            {
                self.to.put(&name, &bytes)?;
                self.healed.extend(hash);
            }
        }
        Ok(())
    }

    /// Copies again what is missing of snapshots that both have.
    ///
    /// What the source cannot give either is counted and no error: it must not keep newer
    /// snapshots from being copied.
    pub(super) fn heal(&mut self, had: &[StoreName]) -> Result<(), EngineError> {
        if had.is_empty() || !self.may_lack() {
            return Ok(());
        }
        let mut needed = Needed::default();
        for name in had {
            let manifest = self.from.get(name).map_err(EngineError::from);
            let followed =
                manifest.and_then(|bytes| self.follow_snapshot(name, &bytes, &mut needed));
            self.or_lost(followed)?;
        }
        let packs = self.lacking(&needed);
        self.expect(&packs);
        for pack in packs {
            self.check_cancel()?;
            let pack = info(pack);
            let fetched = self.fetch(&pack);
            if let Some(bytes) = self.or_lost(fetched)? {
                self.store(&pack, &bytes)?;
                self.healed.insert(pack.hash);
            }
        }
        self.put_segment(0)
    }

    /// Tells whether the source has blobs that are in no whole pack of the target.
    ///
    /// If it has none, no snapshot lacks anything, and no reference needs to be followed.
    fn may_lack(&self) -> bool {
        let mut elsewhere = self
            .source
            .places()
            .filter(|(_, pack)| !self.is_whole(pack));
        elsewhere.any(|(place, _)| self.target.find(&place.id).next().is_none())
    }

    /// Returns the packs to copy for what was missing when the copy began.
    fn lacking(&mut self, needed: &Needed) -> Packs {
        let mut packs = Packs::new();
        for id in &needed.blobs {
            let mut places = self.source.find(id).map(|(_, pack)| pack);
            let first = self.at_source(id);
            let is_there =
                self.target.find(id).next().is_some() || places.any(|pack| self.is_whole(&pack));
            match first {
                _ if is_there => {}
                None => self.report.lost += 1,
                Some(pack) if self.copied.contains(&pack.hash) => {
                    self.healed.insert(pack.hash);
                }
                Some(pack) => {
                    packs.insert((!pack.is_data, pack.hash, pack.size));
                }
            }
        }
        packs
    }

    /// Counts what the source cannot give; other errors stay errors.
    fn or_lost<T>(&mut self, read: Result<T, EngineError>) -> Result<Option<T>, EngineError> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(EngineError::Damaged { .. } | EngineError::MissingBlob { .. }) => {
                self.report.lost += 1;
                Ok(None)
            }
            Err(EngineError::Store(error)) if !matches!(error, StoreError::Closed { .. }) => {
                self.report.lost += 1;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
