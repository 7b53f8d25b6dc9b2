//! Moves what is needed out of packs that are mostly dead, unchanged and without a key.
//!
//! Blobs travel byte for byte with the records of their sessions, each checked by its hash. The
//! new packs are stored and indexed before anybody hears that the old ones are to go.

use std::collections::{HashMap, HashSet};

use super::run::Collection;
use super::spares::blob_bytes;
use super::survey::Survey;
use crate::engine::crypto::{CryptoError, SealedSession};
use crate::engine::env::Env;
use crate::engine::error::EngineError;
use crate::engine::index::{self, PackEntries, PackInfo, Place};
use crate::engine::pack::{
    Header, PREFIX_BYTES, PackBuilder, PackError, PackView, SESSIONS_MAX, check_payload,
    parse_sessions, split_blob,
};
use crate::engine::progress::Event;
use crate::engine::store::{Put, StoreError, StoreName};

/// After how many packs an index segment is put.
const SEGMENT_PACKS: usize = 16;

/// Is what has been moved and not been stored yet.
struct Filling {
    builder: PackBuilder,
    sessions: HashSet<[u8; 16]>,
    /// The packs it came from.
    from: Vec<usize>,
}

impl Filling {
    fn new(env: &Env) -> Result<Self, EngineError> {
        Ok(Self {
            builder: PackBuilder::new(env.random().map_err(CryptoError::Entropy)?),
            sessions: HashSet::new(),
            from: Vec::new(),
        })
    }
}

/// Moves blobs into new packs: one that is filled for data, one for metadata.
struct Repack<'a, 'b> {
    collection: &'b mut Collection<'a>,
    filling: [Filling; 2],
    pack_bytes: usize,
    unindexed: Vec<PackEntries>,
    /// The packs whose blobs are in those.
    stored: Vec<usize>,
    /// The packs whose blobs are in packs that a segment names.
    moved: Vec<usize>,
}

impl Collection<'_> {
    /// Moves what is needed out of these packs; returns those out of which everything was moved.
    ///
    /// A full disk ends it early, because deleting what is dead needs no space.
    pub(super) fn repack(
        &mut self,
        survey: &Survey,
        numbers: &[usize],
    ) -> Result<Vec<usize>, EngineError> {
        let mut places = needed_places(survey, numbers);
        let filling = [Filling::new(self.env)?, Filling::new(self.env)?];
        let pack_bytes = self.options.pack_size.bytes(self.report.bytes);
        let mut repack = Repack {
            collection: self,
            filling,
            pack_bytes,
            unindexed: Vec::new(),
            stored: Vec::new(),
            moved: Vec::new(),
        };
        let moved = repack.run(survey, numbers, &mut places);
        unless_full(moved)?;
        unless_full(repack.put_segment(0))?;
        Ok(repack.moved)
    }
}

fn unless_full(done: Result<(), EngineError>) -> Result<(), EngineError> {
    match done {
        Err(EngineError::Store(StoreError::NoSpace { .. })) => Ok(()),
        done => done,
    }
}

/// Returns what is needed of each of these packs, in the order of the pack.
fn needed_places(survey: &Survey, numbers: &[usize]) -> HashMap<usize, Vec<Place>> {
    let mut places: HashMap<usize, Vec<Place>> =
        numbers.iter().map(|number| (*number, Vec::new())).collect();
    for position in survey.live.iter().filter(|at| survey.is_needed(*at)) {
        if let Some(places) = places.get_mut(&survey.index.pack_at(position)) {
            places.push(survey.index.at(position).0);
        }
    }
    for places in places.values_mut() {
        places.sort_unstable_by_key(|place| place.offset);
    }
    places
}

impl Repack<'_, '_> {
    fn run(
        &mut self,
        survey: &Survey,
        numbers: &[usize],
        places: &mut HashMap<usize, Vec<Place>>,
    ) -> Result<(), EngineError> {
        for number in numbers {
            self.collection.check_cancel()?;
            let pack = survey.index.packs()[*number];
            let name = pack.name();
            let read = self.collection.store.get(&name).map_err(EngineError::from);
            let Some(bytes) = self.collection.or_leave(&name, read)? else {
                continue;
            };
            self.collection.observer.event(Event::Checked {
                bytes: bytes.len() as u64,
            });
            let needed = places.remove(number).unwrap_or_default();
            match take_out(&bytes, &needed) {
                Ok((blobs, sessions)) => self.push(*number, &pack, &blobs, &sessions)?,
                Err(error) => self.collection.leave(&name, &error.to_string()),
            }
        }
        self.put_pack(true)?;
        self.put_pack(false)
    }

    fn push(
        &mut self,
        number: usize,
        pack: &PackInfo,
        blobs: &[(Header, &[u8])],
        sessions: &[SealedSession],
    ) -> Result<(), EngineError> {
        let bytes: u64 = blobs.iter().map(|(header, _)| blob_bytes(header)).sum();
        let filling = &self.filling[usize::from(pack.is_data)];
        let is_full = filling.builder.len() as u64 + bytes > self.pack_bytes as u64
            || filling.sessions.len() + sessions.len() > SESSIONS_MAX;
        if is_full {
            self.put_pack(pack.is_data)?;
        }
        let filling = &mut self.filling[usize::from(pack.is_data)];
        for (header, payload) in blobs {
            let session = sessions.iter().find(|known| known.id == header.session);
            filling.sessions.extend(session.map(|session| session.id));
            filling.builder.push(header, payload, session);
        }
        filling.from.push(number);
        Ok(())
    }

    fn put_pack(&mut self, is_data: bool) -> Result<(), EngineError> {
        let next = Filling::new(self.collection.env)?;
        let filling = std::mem::replace(&mut self.filling[usize::from(is_data)], next);
        if filling.builder.is_empty() {
            return Ok(());
        }
        let collection = &mut *self.collection;
        let (bytes, entries) = filling.builder.finish(is_data);
        collection.put(&entries.info().name(), &bytes)?;
        collection.report.written_bytes += entries.size;
        self.unindexed.push(entries);
        self.stored.extend(filling.from);
        self.put_segment(SEGMENT_PACKS)
    }

    fn put_segment(&mut self, more_than: usize) -> Result<(), EngineError> {
        if self.unindexed.len() > more_than {
            let bytes = index::encode(&self.unindexed);
            let name = StoreName::index(blake3::hash(&bytes).as_bytes());
            self.collection.put(&name, &bytes)?;
            self.unindexed.clear();
            self.moved.append(&mut self.stored);
        }
        Ok(())
    }
}

impl Collection<'_> {
    fn put(&self, name: &StoreName, bytes: &[u8]) -> Result<(), EngineError> {
        if self.store.put(name, bytes)? == Put::Stored {
            let bytes = bytes.len() as u64;
            self.observer.event(Event::Stored { bytes });
        }
        Ok(())
    }
}

/// A blob's header and payload, within the bytes of its pack.
type Blob<'a> = (Header, &'a [u8]);

/// Takes blobs out of a pack, each checked by its hash, and the records of its sessions.
fn take_out<'a>(
    bytes: &'a [u8],
    places: &[Place],
) -> Result<(Vec<Blob<'a>>, Vec<SealedSession>), PackError> {
    let prefix: &[u8; PREFIX_BYTES] = bytes.first_chunk().ok_or(PackError::Magic)?;
    let end = PREFIX_BYTES + PackView::records_len(prefix)?;
    let records = bytes.get(PREFIX_BYTES..end).ok_or(PackError::Sessions)?;
    let sessions = parse_sessions(prefix, records)?;
    let blob = |place: &Place| {
        let offset = place.offset as usize;
        let (header, payload) = bytes
            .get(offset..)
            .and_then(split_blob)
            .filter(|(header, _)| {
                header.id == place.id && blob_bytes(header) == u64::from(place.len)
            })
            .ok_or(PackError::Blob(offset))?;
        if check_payload(&header, payload) {
            Ok((header, payload))
        } else {
            Err(PackError::Hash(offset))
        }
    };
    let blobs = places.iter().map(blob).collect::<Result<_, _>>()?;
    Ok((blobs, sessions))
}
