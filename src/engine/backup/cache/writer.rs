//! Writes a cache while a backup runs, so that little is lost when it is interrupted.

use std::fs::File;
use std::io::Write;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::place::{NewFile, Scope};
use super::record::{self, Beginning, Header, RUN_BYTES_MAX, Run, What};
use super::{CacheError, DataHash, is_settled};
use crate::engine::crypto::LocalKey;
use crate::engine::files::{Encoder, Entry, Span};

/// A record is written once its entries have so many bytes,
const RUN_BYTES: usize = 128 << 10;
/// or this time has passed since the last,
const RUN_EVERY: Duration = Duration::from_secs(3);
/// or its files hold so much data.
const RUN_DATA_BYTES: u64 = 8 << 20;
/// How many runs wait to be written.
const WAITING_MAX: usize = 4;
/// Compression is for the disk's sake, and must not cost what it saves.
const LEVEL: i32 = 1;

/// Appends finished entries to the cache of a running backup.
///
/// A thread of its own compresses, seals and writes. When that fails, the rest of the backup
/// goes unremembered.
#[derive(Debug)]
pub(in crate::engine::backup) struct CacheWriter {
    file: NewFile,
    encoder: Encoder,
    /// When the backup started.
    started: i64,
    /// How many entries the current run has, and the hashes of those that are too young.
    entries: u32,
    hashes: Vec<u8>,
    /// How much data the files of the current run hold.
    data: u64,
    last: Instant,
    runs: Option<Sender<Run>>,
    thread: Option<JoinHandle<Result<(), CacheError>>>,
}

impl CacheWriter {
    /// Writes the beginning and starts the thread.
    pub(super) fn open(
        file: NewFile,
        scope: &Scope,
        header: Header,
        beginning: Beginning,
        bytes_max: u64,
    ) -> Result<Self, CacheError> {
        let output = file.try_clone()?;
        let mut sink = Sink {
            file: output,
            key: scope.key(header),
            counter: 0,
            bytes_max,
            len: 0,
            is_full: false,
        };
        sink.write(&header.encode())?;
        sink.append(beginning.encode())?;
        let (runs, take) = bounded(WAITING_MAX);
        let thread = std::thread::Builder::new()
            .name("cache writer".to_owned())
            .spawn(move || sink.run(&take))
            .map_err(CacheError::io("start a thread"))?;
        Ok(Self {
            file,
            encoder: Encoder::new(),
            started: beginning.started,
            entries: 0,
            hashes: Vec::new(),
            data: 0,
            last: Instant::now(),
            runs: Some(runs),
            thread: Some(thread),
        })
    }

    /// Appends an entry whose data is stored or collected, with its data's hash if there is one.
    pub(in crate::engine::backup) fn push(&mut self, entry: &Entry, hash: Option<&DataHash>) {
        // Only what a run refuses is left out: it is read again.
        if self.runs.is_none() || self.encoder.push(entry).is_err() {
            return;
        }
        if let Some(hash) = hash.filter(|_| !is_settled(entry, self.started)) {
            record::push_hash(&mut self.hashes, self.entries, hash);
        }
        self.entries += 1;
        self.data += entry.span_bytes();
        // The clock is asked for files that took a while, and for a run's worth of small ones.
        let is_due = self.encoder.len() >= RUN_BYTES
            || self.data >= RUN_DATA_BYTES
            || (!entry.spans.is_empty() && self.last.elapsed() >= RUN_EVERY);
        if is_due {
            self.send();
        }
    }

    /// Appends what is known of a file that is being read: the spans after those told before.
    ///
    /// All entries before it must have been appended.
    pub(in crate::engine::backup) fn push_part(&mut self, entry: &Entry, spans: &[Span]) {
        self.send();
        let part = Entry {
            spans: spans.to_vec(),
            ..entry.clone()
        };
        let mut run = Encoder::new();
        if !spans.is_empty() && run.push(&part).is_ok() {
            self.give((What::Part, run.finish()));
        }
    }

    fn send(&mut self) {
        self.data = 0;
        self.last = Instant::now();
        self.entries = 0;
        let (hashes, run) = (std::mem::take(&mut self.hashes), self.encoder.take());
        // Hashes before a run that is left out would be taken for those of another.
        if run.len() <= RUN_BYTES_MAX {
            self.give((What::Hashes, hashes));
            self.give((What::Entries, run));
        }
    }

    fn give(&mut self, run: Run) {
        if run.1.is_empty() || run.1.len() > RUN_BYTES_MAX {
            return;
        }
        let runs = self.runs.as_ref();
        if runs.is_some_and(|runs| runs.send(run).is_err()) {
            // The thread left its error behind.
            self.runs = None;
        }
    }

    fn close(&mut self) -> Result<(), CacheError> {
        self.send();
        self.runs = None;
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(CacheError::Panicked),
        }
    }

    /// Ends the cache of a backup whose snapshot is there.
    pub(in crate::engine::backup) fn finish(mut self) -> Result<(), CacheError> {
        match self.close() {
            Ok(()) => self.file.publish(),
            // What came before the limit is of use all the same.
            Err(full @ CacheError::Full(_)) => self.file.publish().and(Err(full)),
            Err(error) => {
                // It may be the space that is missing.
                self.file.remove();
                Err(error)
            }
        }
    }
}

impl Drop for CacheWriter {
    fn drop(&mut self) {
        // What an interrupted backup leaves is a help if it is there, and no loss if not.
        if self
            .close()
            .is_err_and(|error| !matches!(error, CacheError::Full(_)))
        {
            self.file.remove();
        }
    }
}

/// The thread's end: a file that grows by records.
struct Sink {
    file: File,
    key: LocalKey,
    counter: u64,
    bytes_max: u64,
    len: u64,
    is_full: bool,
}

impl Sink {
    fn run(mut self, runs: &Receiver<Run>) -> Result<(), CacheError> {
        let failed = CacheError::io("compress the cache");
        let mut compressor = zstd::bulk::Compressor::new(LEVEL).map_err(&failed)?;
        for run in runs {
            // A record after a gap would be of no use.
            if !self.is_full {
                let plain = record::pack(&run, &mut compressor).map_err(&failed)?;
                self.append(plain)?;
            }
        }
        if self.is_full {
            Err(CacheError::Full(self.bytes_max))
        } else {
            Ok(())
        }
    }

    fn append(&mut self, plain: Vec<u8>) -> Result<(), CacheError> {
        let record = record::seal(&self.key, self.counter, plain)?;
        self.counter += 1;
        self.is_full = self.len + record.len() as u64 > self.bytes_max;
        if self.is_full {
            return Ok(());
        }
        self.write(&record)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), CacheError> {
        self.len += bytes.len() as u64;
        self.file
            .write_all(bytes)
            .map_err(CacheError::io("write the cache"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::crypto::{Cipher, ReadingKey};

    #[test]
    fn a_full_disk_is_an_error_of_the_cache() {
        let writer = ReadingKey::from_seed(&[1; 32])
            .writer("web")
            .expect("a good label");
        let sink = Sink {
            file: File::options()
                .write(true)
                .open("/dev/full")
                .expect("a device"),
            key: LocalKey::new(&writer, Cipher::ChaCha20Poly1305, &[], &[0; 16]),
            counter: 0,
            bytes_max: 1000,
            len: 0,
            is_full: false,
        };
        let (give, runs) = bounded(1);
        give.send((What::Entries, vec![1, 2, 3])).expect("room");
        drop(give);
        let failed = sink.run(&runs).expect_err("no space");
        assert!(matches!(failed, CacheError::Io { .. }), "{failed}");
    }
}
