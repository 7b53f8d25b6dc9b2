//! Reads a cache as far as it is intact, a run of entries at a time.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::vec::IntoIter;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::place::Scope;
use super::record::{self, Beginning, HEADER_BYTES, Header, Run, What};
use super::{CacheError, Known};
use crate::engine::crypto::LocalKey;
use crate::engine::files::{Decoder, Entry, RelPath};

/// How many opened runs wait to be used.
const WAITING_MAX: usize = 2;
const BUFFER_BYTES: usize = 256 << 10;

/// Gives the entries of a cache in path order; it ends where the file no longer makes sense.
///
/// A thread of its own reads and opens records ahead.
#[derive(Debug)]
pub(in crate::engine::backup) struct CacheReader {
    beginning: Beginning,
    runs: Receiver<Run>,
    entries: IntoIter<Known>,
    /// The last file that was not finished, with what is known of it.
    part: Option<Entry>,
    last: Option<RelPath>,
}

impl CacheReader {
    /// Reads the beginning of a file and starts the thread that reads the rest.
    pub(super) fn open(file: File, scope: &Scope) -> Result<Self, CacheError> {
        let mut records = Records::open(file, scope)?;
        let beginning = records.next().and_then(|plain| Beginning::decode(&plain));
        let beginning = beginning.ok_or(CacheError::Beginning)?;
        let (give, runs) = bounded(WAITING_MAX);
        std::thread::Builder::new()
            .name("cache reader".to_owned())
            .spawn(move || give_runs(records, &give))
            .map_err(CacheError::io("start a thread"))?;
        Ok(Self {
            beginning,
            runs,
            entries: Vec::new().into_iter(),
            part: None,
            last: None,
        })
    }

    /// Returns when the backup started that wrote this, in nanoseconds since 1970.
    pub(in crate::engine::backup) fn started(&self) -> i64 {
        self.beginning.started
    }

    /// Takes what is known of a file that was not finished, if it is the last one before the
    /// entries that come next.
    pub(in crate::engine::backup) fn take_part(&mut self, path: &RelPath) -> Option<Entry> {
        self.part.take_if(|part| part.path == *path)
    }

    fn next_run(&mut self) -> Option<Vec<Known>> {
        let mut hashes = HashMap::new();
        loop {
            let (what, run) = self.runs.recv().ok()?;
            if what == What::Hashes {
                hashes = record::hashes(&run)?;
                continue;
            }
            let entries: Vec<Entry> = Decoder::new(&run).collect::<Result<_, _>>().ok()?;
            let first = entries.first().map(|entry| &entry.path)?;
            if self.last.as_ref().is_some_and(|last| last >= first) {
                return None;
            }
            match what {
                What::Part => entries.into_iter().for_each(|part| self.add_part(part)),
                What::Entries | What::Hashes => {
                    self.last = entries.last().map(|entry| entry.path.clone());
                    let places = 0_u32..;
                    let known = places.zip(entries);
                    return Some(known.map(|(n, entry)| (entry, hashes.remove(&n))).collect());
                }
            }
        }
    }

    fn add_part(&mut self, more: Entry) {
        match &mut self.part {
            Some(part)
                if (&part.path, &part.kind, &part.meta) == (&more.path, &more.kind, &more.meta) =>
            {
                part.spans.extend(more.spans);
            }
            part => *part = Some(more),
        }
    }
}

impl Iterator for CacheReader {
    type Item = Known;

    fn next(&mut self) -> Option<Known> {
        loop {
            if let Some(entry) = self.entries.next() {
                return Some(entry);
            }
            self.entries = self.next_run()?.into_iter();
        }
    }
}

fn give_runs(records: Records, runs: &Sender<Run>) {
    let Ok(mut decompressor) = zstd::bulk::Decompressor::new() else {
        return;
    };
    for plain in records {
        let run = record::unpack(&plain, &mut decompressor);
        if run.is_none_or(|run| runs.send(run).is_err()) {
            return;
        }
    }
}

/// Gives the opened records of a file up to the first that does not check.
#[derive(Debug)]
struct Records {
    file: BufReader<File>,
    key: LocalKey,
    counter: u64,
}

impl Records {
    fn open(file: File, scope: &Scope) -> Result<Self, CacheError> {
        let mut file = BufReader::with_capacity(BUFFER_BYTES, file);
        let mut header = [0; HEADER_BYTES];
        file.read_exact(&mut header)
            .map_err(CacheError::io("read the cache"))?;
        let header = Header::decode(&header).ok_or(CacheError::Beginning)?;
        Ok(Self {
            file,
            key: scope.key(header),
            counter: 0,
        })
    }
}

impl Iterator for Records {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut len = [0; 4];
        self.file.read_exact(&mut len).ok()?;
        let len = record::record_len(len)?;
        // Memory grows with the bytes that are there, whatever the length says.
        let mut record = Vec::new();
        let read = self.file.by_ref().take(len as u64).read_to_end(&mut record);
        if read.ok()? != len {
            return None;
        }
        self.key.open(self.counter, &mut record).ok()?;
        self.counter += 1;
        Some(record)
    }
}
