//! Deletes packs that nobody needs, and leaves them out of the index.

use std::collections::HashSet;

use super::run::Collection;
use super::spares::blob_bytes;
use super::survey::{PackState, Survey};
use crate::engine::error::EngineError;
use crate::engine::index::{self, PackInfo};
use crate::engine::pack::{HEADER_BYTES, Header, PREFIX_BYTES, PackView};
use crate::engine::store::{Folder, Listed, Store, StoreError, StoreName};

impl Collection<'_> {
    /// Deletes those of the condemned packs of which nothing is needed; returns their hashes.
    pub(super) fn delete(
        &mut self,
        survey: &Survey,
        condemned: &HashSet<[u8; 32]>,
    ) -> Result<HashSet<[u8; 32]>, EngineError> {
        let mut gone = HashSet::new();
        for (number, state) in survey.packs.iter().enumerate() {
            let pack = survey.index.packs()[number];
            let (true, Some(size)) = (condemned.contains(&pack.hash), state.size) else {
                continue;
            };
            self.check_cancel()?;
            if state.live > 0 {
                self.report.taken_back += 1;
                continue;
            }
            let doubt = doubt(self.store, survey, number, &pack, state);
            match self.or_leave(&pack.name(), doubt)? {
                None => continue,
                Some(Some(reason)) => {
                    self.leave(&pack.name(), &reason);
                    continue;
                }
                Some(None) => {}
            }
            self.store.remove(&pack.name())?;
            self.report.deleted_packs += 1;
            self.report.deleted_bytes += size;
            gone.insert(pack.hash);
        }
        Ok(gone)
    }

    /// Replaces the index segments that name packs which are gone by ones that do not.
    pub(super) fn leave_out(&self, gone: &HashSet<[u8; 32]>) -> Result<(), EngineError> {
        if gone.is_empty() {
            return Ok(());
        }
        for Listed { name, .. } in self.store.list(Folder::Index)? {
            let bytes = match self.store.get(&name) {
                Err(error) if error.is_not_found() => continue,
                bytes => bytes?,
            };
            // A segment that makes no sense names nothing; a repair replaces it.
            let (Ok(()), Ok(mut packs)) = (name.check_bytes(&bytes), index::decode(&bytes)) else {
                continue;
            };
            let before = packs.len();
            packs.retain(|pack| !gone.contains(&pack.hash));
            if packs.len() == before {
                continue;
            }
            index::put_segments(self.store, &packs)?;
            self.store.remove(&name)?;
        }
        Ok(())
    }
}

/// Says why a pack should stay although the index makes it look dead, from the pack itself.
///
/// Anybody who may write can put an index segment, and one that lies must not get others'
/// packs deleted. So every header in a pack is read before it goes.
fn doubt(
    store: &dyn Store,
    survey: &Survey,
    number: usize,
    pack: &PackInfo,
    state: &PackState,
) -> Result<Option<String>, EngineError> {
    let name = pack.name();
    let size = state.size.unwrap_or(0);
    let Some(mut offset) = first_blob(store, &name, size)? else {
        return Ok(Some("it does not begin like a pack".to_owned()));
    };
    while offset + HEADER_BYTES as u64 <= size {
        let bytes = store.get_range(&name, offset, HEADER_BYTES as u64)?;
        let Some(header) = bytes.as_array().and_then(Header::decode) else {
            return Ok(Some(format!("the bytes at {offset} are no blob")));
        };
        let is_here = |position: &usize| {
            let (place, _) = survey.index.at(*position);
            survey.index.pack_at(*position) == number && u64::from(place.offset) == offset
        };
        let known = survey.positions(&header.id).find(is_here);
        // One that is cut off at the end of the file is worth nothing to anybody.
        let is_whole = offset + blob_bytes(&header) <= size;
        if is_whole && known.is_none_or(|position| survey.is_needed(position)) {
            let reason = "the index does not say what is in it".to_owned();
            return Ok(Some(reason));
        }
        offset += blob_bytes(&header);
    }
    Ok(None)
}

/// Returns where a pack's first blob begins.
fn first_blob(store: &dyn Store, name: &StoreName, size: u64) -> Result<Option<u64>, StoreError> {
    if size < PREFIX_BYTES as u64 {
        return Ok(None);
    }
    let prefix = store.get_range(name, 0, PREFIX_BYTES as u64)?;
    let len = prefix
        .as_array()
        .and_then(|prefix| PackView::records_len(prefix).ok());
    Ok(len.map(|len| (PREFIX_BYTES + len) as u64))
}
