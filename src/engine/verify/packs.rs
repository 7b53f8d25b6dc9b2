//! Reads packs from end to end: several at once, each in one pass and in bounded memory.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::ledger::{Entry, Ledger};
use super::{Budget, Coverage, Level, Problem, Verification, VerifyOptions};
use crate::engine::compress::Codec;
use crate::engine::crypto::{ReadingKey, SessionKey, WriterKey};
use crate::engine::error::EngineError;
use crate::engine::index::{Index, PackInfo, Place};
use crate::engine::manifest::codec;
use crate::engine::pack::{
    BlobKind, HEADER_BYTES, Header, PREFIX_BYTES, PackError, PackView, parse_sessions,
};
use crate::engine::progress::{Event, Observer};
use crate::engine::store::{Store, StoreError};
use crate::engine::writer::lock;

/// How much of a pack is read with one call.
const WINDOW_BYTES: u64 = 4 << 20;
/// How many packs are read at once at most.
const THREADS_MAX: usize = 16;

/// Is what was found in one pack.
#[derive(Default)]
struct Checked {
    bytes: u64,
    problems: Vec<Problem>,
    /// Whether it cannot be read or taken apart.
    is_bad: bool,
    /// Whether a collection removed it meanwhile, as it had announced.
    is_collected: bool,
    bad_blobs: Vec<[u8; 32]>,
}

impl Verification<'_> {
    /// Reads packs, those that were not read for longest first, until the budget is used up.
    pub(super) fn read_packs(
        &mut self,
        mut packs: Vec<PackInfo>,
        options: &VerifyOptions,
    ) -> Result<(), EngineError> {
        let level = options.level;
        let mut ledger = Ledger::read(self.store)?;
        // What was bad is looked at first, as it may have been brought back.
        let last_good = |pack: &PackInfo| {
            let last = ledger.last(&pack.hash, level);
            last.filter(|entry| entry.is_good).map(|entry| entry.at)
        };
        packs.sort_by_cached_key(|pack| (last_good(pack), pack.hash));
        let bytes = packs.iter().map(|pack| pack.size).sum();
        self.observer.event(Event::Expected {
            bytes: match options.budget {
                Some(Budget::Bytes(budget)) => budget.min(bytes),
                _ => bytes,
            },
        });
        let clock = &self.repository.env.clock;
        let run = Run {
            store: self.store,
            index: &self.index,
            counts: &self.counts,
            condemned: &self.condemned,
            key: self.key.filter(|_| level == Level::Full),
            observer: self.observer,
            started: clock.now_ns(),
            next: AtomicUsize::new(0),
            begun_bytes: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            done: Mutex::default(),
        };
        let ended = self.read_all(&run, &packs, options.budget);
        let done = run.done.into_inner();
        let done = done.unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut noted = Vec::new();
        for (pack, checked, at) in done {
            let is_good = checked.problems.is_empty();
            if !checked.is_collected {
                noted.push((pack.hash, Entry { level, is_good, at }));
            }
            self.take(&pack, checked);
        }
        let now = clock.now_ns();
        let there: HashSet<[u8; 32]> = packs.iter().map(|pack| pack.hash).collect();
        let written = ledger.write(self.store, now, &noted, |hash| there.contains(hash));
        self.report.forgotten = written.err().map(|error| error.to_string());
        self.report.coverage = Some(coverage(&ledger, &packs, options, now));
        ended
    }

    fn read_all(
        &self,
        run: &Run<'_>,
        packs: &[PackInfo],
        budget: Option<Budget>,
    ) -> Result<(), EngineError> {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let threads = cores.max(self.store.calls_at_once()).min(THREADS_MAX);
        let clock = &self.repository.env.clock;
        let may_begin = || {
            let begun = run.begun_bytes.load(Ordering::Relaxed);
            let in_budget = match budget {
                None => true,
                Some(Budget::Bytes(bytes)) => begun < bytes,
                Some(Budget::Time(time)) => {
                    clock.now_ns().saturating_sub(run.started) < time.cast_signed()
                }
            };
            in_budget && !run.stop.load(Ordering::Relaxed) && !self.cancel.is_cancelled()
        };
        let work = || -> Result<(), EngineError> {
            let mut codec = codec()?;
            while may_begin() {
                let Some(pack) = packs.get(run.next.fetch_add(1, Ordering::Relaxed)) else {
                    break;
                };
                run.begun_bytes.fetch_add(pack.size, Ordering::Relaxed);
                let checked = run.check(pack, &mut codec)?;
                lock(&run.done).push((*pack, checked, clock.now_ns()));
            }
            Ok(())
        };
        let failed = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|_| {
                    scope.spawn(|| {
                        let done = work();
                        if done.is_err() {
                            run.stop.store(true, Ordering::Relaxed);
                        }
                        done
                    })
                })
                .collect();
            let ends = workers.into_iter().map(|worker| {
                let joined = worker.join();
                joined.unwrap_or(Err(EngineError::Panicked))
            });
            ends.fold(Ok(()), Result::and)
        });
        failed.and_then(|()| self.check_cancel())
    }

    /// Adds what was found in a pack to the report.
    fn take(&mut self, pack: &PackInfo, checked: Checked) {
        self.report.read += 1;
        self.report.bytes += checked.bytes;
        if checked.is_bad {
            self.bad_packs.insert(pack.hash);
        }
        for problem in checked.problems {
            self.report.add(pack.name(), problem);
        }
        let blobs = checked.bad_blobs.into_iter();
        self.bad_blobs.extend(blobs.map(|id| (pack.hash, id)));
    }
}

fn coverage(ledger: &Ledger, packs: &[PackInfo], options: &VerifyOptions, now: i64) -> Coverage {
    let since = now.saturating_sub_unsigned(options.lately);
    let mut coverage = Coverage {
        packs: packs.len() as u64,
        ..Coverage::default()
    };
    for pack in packs {
        match ledger.last(&pack.hash, options.level) {
            Some(entry) if entry.is_good && entry.at >= since => coverage.lately += 1,
            Some(_) => {}
            None => coverage.never += 1,
        }
    }
    coverage
}

/// Is what the threads of one verification share.
struct Run<'a> {
    store: &'a dyn Store,
    index: &'a Index,
    counts: &'a HashMap<[u8; 32], usize>,
    /// Packs that a collection may remove at any time.
    condemned: &'a HashSet<[u8; 32]>,
    key: Option<&'a ReadingKey>,
    observer: &'a dyn Observer,
    started: i64,
    next: AtomicUsize,
    begun_bytes: AtomicU64,
    stop: AtomicBool,
    done: Mutex<Vec<(PackInfo, Checked, i64)>>,
}

/// Keeps what opens the sealed blobs of one pack.
#[derive(Default)]
struct Sessions(HashMap<[u8; 16], (SessionKey, WriterKey)>);

/// Says why a pack was not read to its end.
enum Halt {
    Store(StoreError),
    Form(PackError),
}

impl Run<'_> {
    /// Reads one pack; that the store as a whole is gone is an error.
    fn check(&self, pack: &PackInfo, codec: &mut Codec) -> Result<Checked, EngineError> {
        let mut checked = Checked::default();
        let mut stream = PackStream::new(self, pack);
        let mut places = Vec::new();
        let mut taken = self.take_apart(&mut stream, codec, &mut places, &mut checked);
        if let Err(Halt::Form(_)) = &taken {
            // The rest is read for the hash alone.
            taken = match stream.skip_rest() {
                Err(error) => Err(Halt::Store(error)),
                Ok(()) => taken,
            };
        }
        checked.bytes = stream.at;
        let is_intact = stream.hasher.finalize() == pack.hash;
        match taken {
            Err(Halt::Store(error @ StoreError::Closed { .. })) => return Err(error.into()),
            Err(Halt::Store(error)) => {
                checked.is_bad = true;
                if error.is_not_found() && self.condemned.contains(&pack.hash) {
                    checked.is_collected = true;
                    return Ok(checked);
                }
                checked.problems = vec![Problem::Unreadable(error.to_string())];
                return Ok(checked);
            }
            Err(Halt::Form(error)) => {
                checked.is_bad = true;
                checked.problems = vec![if is_intact {
                    Problem::Form(error.to_string())
                } else {
                    Problem::Hash
                }];
                return Ok(checked);
            }
            Ok(()) => {}
        }
        if !is_intact {
            checked.problems.insert(0, Problem::Hash);
        }
        self.compare_with_index(pack, &places, &mut checked);
        Ok(checked)
    }

    fn take_apart(
        &self,
        stream: &mut PackStream<'_>,
        codec: &mut Codec,
        places: &mut Vec<Place>,
        checked: &mut Checked,
    ) -> Result<(), Halt> {
        let sessions = self.sessions(stream, checked)?;
        let mut forged = 0_u64;
        while !stream.is_at_end() {
            let offset = stream.offset();
            let no_blob = || Halt::Form(PackError::Blob(offset as usize));
            let header = stream.look(HEADER_BYTES).map_err(Halt::Store)?;
            let header = header.and_then(<[u8]>::first_chunk::<HEADER_BYTES>);
            let header = header.and_then(Header::decode).ok_or_else(no_blob)?;
            let len = HEADER_BYTES + header.payload_len as usize;
            let blob = stream.look(len).map_err(Halt::Store)?.ok_or_else(no_blob)?;
            let payload = &blob[HEADER_BYTES..];
            if header.hash_with(payload) != header.hash {
                checked.bad_blobs.push(header.id);
            } else if self.key.is_some() && !sessions.opens(&header, payload, codec) {
                checked.bad_blobs.push(header.id);
                forged += 1;
            }
            places.push(Place::new(&header, offset as u32));
            stream.pass(len);
        }
        if forged > 0 {
            let reason = format!("{forged} chunks in it are not what they claim to be");
            checked.problems.push(Problem::Forged(reason));
        }
        Ok(())
    }

    /// Reads the session records, and opens them if there is a key.
    fn sessions(
        &self,
        stream: &mut PackStream<'_>,
        checked: &mut Checked,
    ) -> Result<Sessions, Halt> {
        let cut = || Halt::Form(PackError::Sessions);
        let prefix = stream.look(PREFIX_BYTES).map_err(Halt::Store)?;
        let prefix = prefix.and_then(<[u8]>::first_chunk::<PREFIX_BYTES>);
        let prefix = *prefix.ok_or(Halt::Form(PackError::Magic))?;
        let records_len = PackView::records_len(&prefix).map_err(Halt::Form)?;
        let all = stream.look(PREFIX_BYTES + records_len);
        let all = all.map_err(Halt::Store)?.ok_or_else(cut)?;
        let sealed = parse_sessions(&prefix, &all[PREFIX_BYTES..]).map_err(Halt::Form)?;
        stream.pass(PREFIX_BYTES + records_len);
        let mut sessions = Sessions::default();
        let Some(key) = self.key else {
            return Ok(sessions);
        };
        for sealed in sealed {
            if let (Ok(session), Ok(writer)) = (sealed.open(key), key.writer(&sealed.label)) {
                sessions.0.insert(sealed.id, (session, writer));
            } else {
                let reason = "a session's key in it cannot be opened".to_owned();
                checked.problems.push(Problem::Forged(reason));
            }
        }
        Ok(sessions)
    }

    /// Checks that the index says of a pack what is in it.
    fn compare_with_index(&self, pack: &PackInfo, found: &[Place], checked: &mut Checked) {
        let agrees = |place: &&Place| {
            let mut places = self.index.find(&place.id);
            places.any(|(known, info)| info.hash == pack.hash && known == **place)
        };
        let agreeing = found.iter().filter(agrees).count();
        if self.counts.get(&pack.hash) == Some(&agreeing) {
            return;
        }
        let there: HashSet<_> = found.iter().collect();
        let wrong: Vec<[u8; 32]> = self
            .index
            .places()
            .filter(|(place, info)| info.hash == pack.hash && !there.contains(place))
            .map(|(place, _)| place.id)
            .collect();
        if !wrong.is_empty() {
            let reason = format!("the index places {} chunks in it wrongly", wrong.len());
            checked.problems.push(Problem::Form(reason));
        }
        checked.bad_blobs.extend(wrong);
    }
}

impl Sessions {
    /// Tells whether a blob opens to what its id says; those in the clear are checked from
    /// their snapshot.
    fn opens(&self, header: &Header, payload: &[u8], codec: &mut Codec) -> bool {
        if header.cipher.is_none() {
            return true;
        }
        let Some((session, writer)) = self.0.get(&header.session) else {
            return false;
        };
        let plain = header.open(payload, Some(session), codec);
        header.kind != BlobKind::Refs
            && plain.is_ok_and(|plain| writer.id(header.kind as u8, &plain) == header.id)
    }
}

/// Reads a pack from its beginning to its end in pieces, and hashes all of it on the way.
struct PackStream<'a> {
    run: &'a Run<'a>,
    pack: &'a PackInfo,
    /// How many bytes were read.
    at: u64,
    buffer: Vec<u8>,
    /// How many bytes of the buffer were passed.
    passed: usize,
    hasher: blake3::Hasher,
}

impl<'a> PackStream<'a> {
    fn new(run: &'a Run<'a>, pack: &'a PackInfo) -> Self {
        Self {
            run,
            pack,
            at: 0,
            buffer: Vec::new(),
            passed: 0,
            hasher: blake3::Hasher::new(),
        }
    }

    /// Returns where in the pack the next byte is.
    fn offset(&self) -> u64 {
        self.at - (self.buffer.len() - self.passed) as u64
    }

    fn is_at_end(&self) -> bool {
        self.offset() == self.pack.size
    }

    /// Returns the next bytes and stays before them; none if the pack ends earlier.
    fn look(&mut self, len: usize) -> Result<Option<&[u8]>, StoreError> {
        while self.buffer.len() - self.passed < len && self.at < self.pack.size {
            self.buffer.drain(..self.passed);
            self.passed = 0;
            let window = self.window()?;
            self.buffer.extend_from_slice(&window);
        }
        Ok(self.buffer.get(self.passed..self.passed + len))
    }

    fn pass(&mut self, len: usize) {
        self.passed += len;
    }

    /// Reads the rest for its hash alone.
    fn skip_rest(&mut self) -> Result<(), StoreError> {
        while self.at < self.pack.size {
            self.window()?;
        }
        Ok(())
    }

    fn window(&mut self) -> Result<Vec<u8>, StoreError> {
        let len = WINDOW_BYTES.min(self.pack.size - self.at);
        let window = self.run.store.get_range(&self.pack.name(), self.at, len)?;
        self.hasher.update(&window);
        self.at += len;
        self.run.observer.event(Event::Checked { bytes: len });
        Ok(window)
    }
}
