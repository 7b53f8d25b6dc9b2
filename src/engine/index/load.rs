//! Reads all segments of a store, while others may merge them.

use std::collections::HashSet;

use super::segment::{Segment, entries_max};
use super::table::Index;
use crate::engine::store::{Folder, Listed, Store, StoreError, StoreName};

/// Is what the segments of a store say.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The index, sorted.
    pub index: Index,
    /// Segments that make no sense, and why.
    pub damaged: Vec<(StoreName, String)>,
    /// The segments that are there, damaged ones included.
    pub segments: Vec<Listed>,
}

/// Reads the index; a segment that is damaged is left out and named.
///
/// Whoever merges puts the new segment before the old ones go. So a listing holds every entry
/// as long as nothing is merged meanwhile, and this lists again until two listings agree: a
/// segment that is gone is never just left out.
pub fn load(store: &dyn Store) -> Result<Loaded, StoreError> {
    let mut loaded = Loaded {
        segments: store.list(Folder::Index)?,
        ..Loaded::default()
    };
    let bytes = loaded.segments.iter().map(|file| file.size).sum();
    loaded.index.reserve(entries_max(bytes));
    let mut read = HashSet::new();
    loop {
        let mut missed = Vec::new();
        for file in &loaded.segments {
            if read.contains(&file.name) {
                continue;
            }
            match store.get(&file.name) {
                Err(error) if error.is_not_found() => missed.push(file.name.clone()),
                bytes => {
                    add(&mut loaded.index, &file.name, &bytes?).unwrap_or_else(|reason| {
                        loaded.damaged.push((file.name.clone(), reason));
                    });
                    read.insert(file.name.clone());
                }
            }
        }
        let listed = store.list(Folder::Index)?;
        if listed == loaded.segments {
            let reason = "it is listed and is not there".to_owned();
            let missed = missed.into_iter().map(|name| (name, reason.clone()));
            loaded.damaged.extend(missed);
            break;
        }
        loaded.segments = listed;
    }
    loaded.index.sort();
    Ok(loaded)
}

fn add(index: &mut Index, name: &StoreName, bytes: &[u8]) -> Result<(), String> {
    name.check_bytes(bytes).map_err(|error| error.to_string())?;
    let segment = Segment::parse(bytes).map_err(|error| error.to_string())?;
    index.add_segment(&segment);
    Ok(())
}
