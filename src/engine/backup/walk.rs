//! Walks a live tree and feeds its data to the pipeline.

use std::collections::VecDeque;

use super::Counts;
use super::cache::{CacheWriter, DataHash};
use super::pipeline::{Piece, Pipeline, Reading, Ticket};
use super::previous::{Kept, Previous, PreviousWalk};
use super::shared::{OWN_CHUNKS_FROM_BYTES, Shared};
use super::stats::Stage;
use super::tree_writer::{Roots, TreeWriter};
use super::twins::{Seen, Twin, Twins};
use crate::engine::env::Cancel;
use crate::engine::error::EngineError;
use crate::engine::files::{Entry, Found, Kind, Note, Notes, OpenFile, Scan, Scanned, Span, What};
use crate::engine::progress::{Event, Observer};
use crate::engine::writer::Writer;

/// A shared chunk ends after this many files, so that few entries wait for it.
const FILES_PER_CHUNK_MAX: usize = 8192;
/// It ends too when so much other data was read meanwhile: what waits is not remembered yet,
/// and would be read again after an interruption.
const OWN_BYTES_PER_CHUNK_MAX: u64 = 32 << 20;
/// Of files with so much data it is remembered how far they were read, and nothing waits for
/// them: the chunk that small files before them share ends.
const PARTS_FROM_BYTES: u64 = 128 << 20;
/// So much data of a file is between two places where reading can go on.
const PART_BYTES: u64 = 32 << 20;
/// More entries than this do not wait.
const WAITING_MAX: usize = 2 * FILES_PER_CHUNK_MAX;

/// Is an entry that waits for the ids of its chunks.
struct Waiting {
    entry: Entry,
    data: Data,
    /// The hash of a small file's data, if it was read.
    hash: Option<DataHash>,
}

enum Data {
    /// There is none, or its spans are known.
    Settled,
    /// It has chunks of its own, the first of which may be known from before.
    Own(Vec<Span>, Vec<Piece>),
    /// It is a range of the stream of small files, which later ones may share.
    Shared {
        start: u64,
        end: u64,
        twin: Option<Twin>,
    },
    /// It is that of a file before it.
    Twin(Twin),
}

/// A chunk of the stream of small files.
struct SharedChunk {
    start: u64,
    end: u64,
    ticket: Ticket,
}

pub(super) struct Walk<'a, 'p> {
    writer: &'a Writer<'a>,
    pipeline: &'a mut Pipeline<'p>,
    previous: Previous,
    /// Where the next backup finds what this one read.
    cache: Option<&'a mut CacheWriter>,
    observer: &'a dyn Observer,
    cancel: &'a Cancel,
    tree: TreeWriter<'a>,
    waiting: VecDeque<Waiting>,
    gathered: Shared,
    /// How many bytes of small files were pushed, and how many of them were cut.
    pushed: u64,
    cut: u64,
    uncut_files: usize,
    /// How much data of other files was read since the first of those.
    own_since: u64,
    shared: VecDeque<SharedChunk>,
    twins: Twins,
    counts: Counts,
    notes: Notes,
}

impl<'a, 'p> Walk<'a, 'p> {
    pub(super) fn new(
        writer: &'a Writer<'a>,
        pipeline: &'a mut Pipeline<'p>,
        previous: Previous,
        cache: Option<&'a mut CacheWriter>,
        observer: &'a dyn Observer,
        cancel: &'a Cancel,
    ) -> Result<Self, EngineError> {
        Ok(Self {
            writer,
            pipeline,
            previous,
            cache,
            observer,
            cancel,
            tree: TreeWriter::new(writer)?,
            waiting: VecDeque::new(),
            gathered: Shared::default(),
            pushed: 0,
            cut: 0,
            uncut_files: 0,
            own_since: 0,
            shared: VecDeque::new(),
            twins: Twins::default(),
            counts: Counts::default(),
            notes: Notes::default(),
        })
    }

    /// Walks to the end and returns the roots of the snapshot.
    pub(super) fn run(mut self, mut scan: Scan) -> Result<(Roots, Counts, Notes), EngineError> {
        let mut previous = std::mem::take(&mut self.previous);
        let mut old = previous.walk();
        while let Some(found) = scan.next() {
            if self.cancel.is_cancelled() {
                return Err(EngineError::Cancelled);
            }
            match found {
                Found::Note(note) => self.note(note),
                Found::Entry(mut scanned) => {
                    if let Err(note) = self.take(&mut scanned, &mut old)? {
                        scan.withdraw(&scanned);
                        self.note(note);
                    }
                }
            }
            self.settle(false)?;
        }
        self.settle_all()?;
        let roots = self.tree.finish()?;
        Ok((roots, self.counts, self.notes))
    }

    fn note(&mut self, note: Note) {
        self.observer.event(Event::Note(&note));
        self.notes.push(note);
    }

    /// Takes one entry in; a note says why it could not be.
    fn take(
        &mut self,
        scanned: &mut Scanned,
        old: &mut PreviousWalk<'_>,
    ) -> Result<Result<(), Note>, EngineError> {
        let taken = if matches!(scanned.entry.kind, Kind::File { .. }) {
            self.take_file(scanned, old)?
        } else {
            Ok((Data::Settled, None))
        };
        let (data, hash) = match taken {
            Ok(taken) => taken,
            Err(note) => return Ok(Err(note)),
        };
        let entry = scanned.take_entry();
        self.observer.event(Event::Entry {
            path: &entry.path,
            bytes: entry.kind.size(),
        });
        self.counts.entries += 1;
        self.counts.files += u64::from(matches!(entry.kind, Kind::File { .. }));
        self.counts.bytes += entry.kind.size();
        self.waiting.push_back(Waiting { entry, data, hash });
        Ok(Ok(()))
    }

    /// Keeps what is known of a file that did not change, and reads any other.
    fn take_file(
        &mut self,
        scanned: &mut Scanned,
        old: &mut PreviousWalk<'_>,
    ) -> Result<Result<Taken, Note>, EngineError> {
        let writer = self.writer;
        match old.keep(&mut scanned.entry, writer) {
            Kept::Whole(origin) => {
                let bytes = scanned.entry.kind.data_bytes();
                self.observer.event(Event::Kept { bytes });
                self.counts.keep(bytes, origin);
                Ok(Ok((Data::Settled, None)))
            }
            kept => writer
                .stages
                .time(Stage::Read, || self.read(scanned, old, kept)),
        }
    }

    fn read(
        &mut self,
        scanned: &mut Scanned,
        old: &mut PreviousWalk<'_>,
        kept: Kept,
    ) -> Result<Result<Taken, Note>, EngineError> {
        if scanned.entry.kind.size() == 0 {
            return Ok(Ok((Data::Settled, None)));
        }
        let file = match scanned.open() {
            Ok(file) => file,
            Err(note) => return Ok(Err(note)),
        };
        let kind = scanned.entry.kind.clone();
        let outcome = if kind.data_bytes() < OWN_CHUNKS_FROM_BYTES {
            self.read_shared(&file, &kind, kept)?
        } else {
            let known = old.part(&scanned.entry, self.writer);
            self.read_own(&file, &scanned.entry, known)?
        };
        let Read {
            data,
            hash,
            bytes: read,
            failure,
        } = outcome;
        match failure {
            None => {}
            // The file shrank: what was read is kept, and the note below says so.
            Some(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                scanned.entry.kind = kind.cut_to(read);
            }
            Some(error) => {
                return Ok(Err(Note {
                    path: scanned.entry.path.clone(),
                    what: What::FileUnreadable,
                    os_code: error.raw_os_error(),
                }));
            }
        }
        if scanned.entry.kind != kind || file.has_changed().unwrap_or(true) {
            self.counts.changed += 1;
            self.note(Note::new(scanned.entry.path.clone(), What::Changed));
        }
        Ok(Ok((data, hash)))
    }

    /// Reads a file from behind what is `known` of it from an interrupted backup.
    fn read_own(
        &mut self,
        file: &OpenFile,
        entry: &Entry,
        known: Vec<Span>,
    ) -> Result<Read, EngineError> {
        let mut stream = file.data(&entry.kind);
        let skipped = span_bytes(&known);
        stream.skip_data(skipped);
        self.note_resumed(skipped);
        let in_parts = entry.kind.data_bytes() >= PARTS_FROM_BYTES;
        if in_parts {
            // What comes before it is remembered first.
            self.settle_all()?;
            self.remember_part(entry, &known);
        }
        let mut reading = Reading::start(self.pipeline);
        let mut remembered = 0;
        while reading.step(self.pipeline, &mut stream, self.observer, self.cancel)? {
            self.settle(false)?;
            if in_parts {
                remembered += self.remember_known(entry, &reading.pieces[remembered..])?;
            }
        }
        let (pieces, read) = reading.finish(self.pipeline)?;
        let bytes = skipped + pieces.iter().map(|piece| u64::from(piece.len)).sum::<u64>();
        if self.uncut_files > 0 {
            self.own_since += bytes;
            if self.own_since >= OWN_BYTES_PER_CHUNK_MAX {
                self.end_shared()?;
            }
        }
        Ok(Read {
            data: Data::Own(known, pieces),
            hash: None,
            bytes,
            failure: read.err(),
        })
    }

    fn note_resumed(&mut self, bytes: u64) {
        if bytes > 0 {
            self.observer.event(Event::Kept { bytes });
            self.counts.resumed_bytes += bytes;
        }
    }

    /// Remembers the chunks of a file that are stored, if they are worth it, and returns how many.
    fn remember_known(&mut self, entry: &Entry, pieces: &[Piece]) -> Result<usize, EngineError> {
        let is_known = |piece: &&Piece| self.pipeline.is_known(piece.ticket);
        let known = pieces.iter().take_while(is_known);
        let (count, bytes) = known.fold((0, 0), |(count, bytes), piece| {
            (count + 1, bytes + u64::from(piece.len))
        });
        if bytes < PART_BYTES {
            return Ok(0);
        }
        let spans = self.pipeline.resolve(&pieces[..count])?;
        self.remember_part(entry, &spans);
        Ok(count)
    }

    fn remember_part(&mut self, entry: &Entry, spans: &[Span]) {
        if let Some(cache) = &mut self.cache {
            cache.push_part(entry, spans);
        }
    }

    /// Reads a small file; what it was `kept` as counts if its data has that hash.
    fn read_shared(
        &mut self,
        file: &OpenFile,
        kind: &Kind,
        kept: Kept,
    ) -> Result<Read, EngineError> {
        let (len, read) = self.gathered.read(&mut file.data(kind), kind.data_bytes());
        let failure = read.err();
        let is_kept = failure
            .as_ref()
            .is_none_or(|error| error.kind() == std::io::ErrorKind::UnexpectedEof);
        let start = self.pushed;
        self.observer.event(Event::Read { bytes: len });
        if !is_kept {
            self.gathered.take_back(len);
        }
        let read = |data, hash| Read {
            data,
            hash,
            bytes: len,
            failure,
        };
        if !is_kept || len == 0 {
            return Ok(read(Data::Settled, None));
        }
        let hash = *blake3::hash(self.gathered.last(len)).as_bytes();
        if let Kept::IfSame(doubt) = kept
            && (&doubt.kind, doubt.hash) == (kind, hash)
        {
            self.gathered.take_back(len);
            return Ok(read(Data::Own(doubt.spans, Vec::new()), Some(hash)));
        }
        let twin = match self.twins.look_up(len, hash) {
            Seen::Before(twin) => {
                self.gathered.take_back(len);
                return Ok(read(Data::Twin(twin), Some(hash)));
            }
            Seen::New(twin) => Some(twin),
            Seen::Passed => None,
        };
        self.pushed += len;
        self.uncut_files += 1;
        let ends = self.gathered.ends_behind(len, &hash);
        if ends || self.uncut_files >= FILES_PER_CHUNK_MAX {
            self.end_shared()?;
        }
        let end = start + len;
        Ok(read(Data::Shared { start, end, twin }, Some(hash)))
    }

    fn note_shared(&mut self, len: usize, ticket: Ticket) {
        let start = self.cut;
        self.cut += len as u64;
        (self.uncut_files, self.own_since) = (0, 0);
        self.shared.push_back(SharedChunk {
            start,
            end: self.cut,
            ticket,
        });
    }

    fn end_shared(&mut self) -> Result<(), EngineError> {
        if let Some(chunk) = self.gathered.take(self.pipeline.spare()) {
            let (len, ticket) = (chunk.len(), self.pipeline.hand_over(chunk)?);
            self.note_shared(len, ticket);
        }
        (self.uncut_files, self.own_since) = (0, 0);
        Ok(())
    }

    /// Moves everything that waits into the tree.
    fn settle_all(&mut self) -> Result<(), EngineError> {
        self.end_shared()?;
        self.settle(true)
    }

    /// Moves entries whose chunks are known into the tree, in order; all of them at the end.
    fn settle(&mut self, all: bool) -> Result<(), EngineError> {
        self.pipeline.collect()?;
        while let Some(first) = self.waiting.front() {
            let is_cut = match &first.data {
                Data::Shared { end, .. } => *end <= self.cut,
                _ => true,
            };
            let must = all || self.waiting.len() > WAITING_MAX;
            if !is_cut && must {
                self.end_shared()?;
            } else if !is_cut {
                return Ok(());
            }
            let Some(first) = self.waiting.front() else {
                return Ok(());
            };
            let pieces = self.pieces(&first.data);
            let is_known = pieces
                .iter()
                .all(|piece| self.pipeline.is_known(piece.ticket));
            if !is_known && !must {
                return Ok(());
            }
            self.settle_first(&pieces)?;
        }
        Ok(())
    }

    fn settle_first(&mut self, pieces: &[Piece]) -> Result<(), EngineError> {
        let Some(mut first) = self.waiting.pop_front() else {
            return Ok(());
        };
        if !matches!(first.data, Data::Settled) {
            first.entry.spans = self.pipeline.resolve(pieces)?;
        }
        match &first.data {
            Data::Settled => {}
            Data::Own(known, pieces) => {
                first.entry.spans.splice(..0, known.iter().copied());
                for piece in pieces {
                    self.pipeline.forget(piece.ticket);
                }
            }
            Data::Twin(twin) => {
                let spans = self.twins.spans(*twin);
                let spans = spans.expect("entries are settled in order, and that file came before");
                first.entry.spans = spans.to_vec();
            }
            Data::Shared { end, twin, .. } => {
                if let Some(twin) = twin {
                    self.twins.settle(*twin, &first.entry.spans);
                }
                while self.shared.front().is_some_and(|chunk| chunk.end <= *end) {
                    if let Some(chunk) = self.shared.pop_front() {
                        self.pipeline.forget(chunk.ticket);
                    }
                }
            }
        }
        self.tree.push(&mut first.entry)?;
        if let Some(cache) = &mut self.cache {
            cache.push(&first.entry, first.hash.as_ref());
        }
        Ok(())
    }

    fn pieces(&self, data: &Data) -> Vec<Piece> {
        match data {
            Data::Settled | Data::Twin(_) => Vec::new(),
            Data::Own(_, pieces) => pieces.clone(),
            Data::Shared { start, end, .. } => self
                .shared
                .iter()
                .skip_while(|chunk| chunk.end <= *start)
                .take_while(|chunk| chunk.start < *end)
                .map(|chunk| {
                    let from = chunk.start.max(*start);
                    Piece {
                        ticket: chunk.ticket,
                        offset: (from - chunk.start) as u32,
                        len: (chunk.end.min(*end) - from) as u32,
                    }
                })
                .collect(),
        }
    }
}

fn span_bytes(spans: &[Span]) -> u64 {
    spans.iter().map(|span| u64::from(span.len)).sum()
}

/// Is where a file's data is, with its hash if it is small and was read.
type Taken = (Data, Option<DataHash>);

/// Is what came of reading a file.
struct Read {
    data: Data,
    /// The hash of a small file's data.
    hash: Option<DataHash>,
    bytes: u64,
    failure: Option<std::io::Error>,
}
