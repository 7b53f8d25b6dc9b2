//! The pool that names, seals and stores chunks while the walk goes on.
//!
//! The thread that walks lends a hand: a chunk that nobody in the pool has room for it seals
//! itself. So there are no more threads than processors, and none of them finds its caches
//! emptied by another one.

use std::collections::HashMap;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::stats::{Stage, waiting};
use crate::engine::chunk::{ChunkSizes, Chunker};
use crate::engine::compress::{Codec, empty_for, worth_keeping};
use crate::engine::env::Cancel;
use crate::engine::error::EngineError;
use crate::engine::files::Span;
use crate::engine::manifest::codec;
use crate::engine::pack::BlobKind;
use crate::engine::progress::{Event, Observer};
use crate::engine::writer::Writer;

/// How many chunks wait for a thread: enough to keep it busy while the one that walks seals a
/// large one itself.
const WAITING_PER_THREAD: usize = 6;
const READ_BYTES: u64 = 1 << 20;

/// Names a chunk that was handed to the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket(u64);

/// Names a piece of a chunk whose id may not be known yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub(super) ticket: Ticket,
    pub(super) offset: u32,
    pub(super) len: u32,
}

type Job = (Ticket, Vec<u8>);
/// A chunk's id, and its buffer to be filled again.
type Done = Result<(Ticket, [u8; 32], Vec<u8>), EngineError>;

/// Hands chunks to the pool and collects their ids.
pub(super) struct Pipeline<'w> {
    hand: Hand<'w>,
    jobs: Sender<Job>,
    done: Receiver<Done>,
    next: u64,
    ids: HashMap<u64, [u8; 32]>,
    spare: Vec<Vec<u8>>,
    /// Cuts streams with chunks of their own, one after the other, so that its buffer is one.
    chunker: Option<Chunker>,
}

/// One thread's end of the pool.
#[derive(Clone)]
pub(super) struct Worker<'w> {
    writer: &'w Writer<'w>,
    jobs: Receiver<Job>,
    done: Sender<Done>,
}

impl Worker<'_> {
    /// Works until the pipeline is dropped.
    pub(super) fn run(self) {
        let mut hand = match Hand::new(self.writer) {
            Ok(hand) => hand,
            Err(error) => {
                // Whoever waits for a chunk learns why there is none.
                drop(self.done.send(Err(error)));
                return;
            }
        };
        for (ticket, chunk) in &self.jobs {
            let id = hand.seal(&chunk);
            let goes_on = !matches!(id, Err(EngineError::Panicked));
            let sent = self.done.send(id.map(|id| (ticket, id, chunk)));
            if sent.is_err() || !goes_on {
                return;
            }
        }
    }
}

/// Seals and stores chunks on one thread.
struct Hand<'w> {
    writer: &'w Writer<'w>,
    codec: Codec,
}

impl<'w> Hand<'w> {
    fn new(writer: &'w Writer<'w>) -> Result<Self, EngineError> {
        let codec = codec()?;
        Ok(Self { writer, codec })
    }

    /// Stores a chunk unless it is there, and returns its id.
    ///
    /// Whoever waits for this chunk would wait forever if a panic took its id along.
    fn seal(&mut self, chunk: &[u8]) -> Result<[u8; 32], EngineError> {
        let put = || self.writer.put(BlobKind::Chunk, chunk, &mut self.codec);
        let put = AssertUnwindSafe(|| self.writer.stages.time(Stage::Seal, put));
        catch_unwind(put).unwrap_or(Err(EngineError::Panicked))
    }
}

impl<'w> Pipeline<'w> {
    /// Makes a pipeline for a pool of so many threads, and the worker to clone for each.
    pub(super) fn new(
        writer: &'w Writer<'w>,
        pool: usize,
    ) -> Result<(Self, Worker<'w>), EngineError> {
        let (jobs, take_jobs) = bounded(pool * WAITING_PER_THREAD);
        let (give_done, done) = unbounded();
        let pipeline = Self {
            hand: Hand::new(writer)?,
            jobs,
            done,
            next: 0,
            ids: HashMap::new(),
            spare: Vec::new(),
            chunker: None,
        };
        let worker = Worker {
            writer,
            jobs: take_jobs,
            done: give_done,
        };
        Ok((pipeline, worker))
    }

    /// Returns a buffer whose bytes are not needed any more.
    pub(super) fn spare(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// Hands over a copy of a chunk.
    pub(super) fn submit(&mut self, bytes: &[u8]) -> Result<Ticket, EngineError> {
        self.collect()?;
        let mut chunk = self.spare();
        empty_for(&mut chunk, bytes.len());
        chunk.extend_from_slice(bytes);
        self.hand_over(chunk)
    }

    /// Hands over a chunk, or seals it here when enough of them wait for the pool.
    pub(super) fn hand_over(&mut self, chunk: Vec<u8>) -> Result<Ticket, EngineError> {
        self.collect()?;
        let ticket = Ticket(self.next);
        self.next += 1;
        if let Err(refused) = self.jobs.try_send((ticket, chunk)) {
            // If the whole pool has ended, the first of it left its error to be collected.
            let (ticket, chunk) = refused.into_inner();
            let id = self.hand.seal(&chunk)?;
            self.keep(ticket, id, chunk);
        }
        Ok(ticket)
    }

    /// Takes the ids that are known by now.
    pub(super) fn collect(&mut self) -> Result<(), EngineError> {
        while let Ok(done) = self.done.try_recv() {
            let (ticket, id, chunk) = done?;
            self.keep(ticket, id, chunk);
        }
        Ok(())
    }

    /// Waits for one more id.
    pub(super) fn wait(&mut self) -> Result<(), EngineError> {
        let done = waiting(|| self.done.recv());
        let (ticket, id, chunk) = done.unwrap_or(Err(EngineError::Cancelled))?;
        self.keep(ticket, id, chunk);
        Ok(())
    }

    /// Notes a chunk's id, and its buffer to be filled again.
    fn keep(&mut self, ticket: Ticket, id: [u8; 32], chunk: Vec<u8>) {
        if worth_keeping(&chunk) {
            self.spare.push(chunk);
        }
        self.ids.insert(ticket.0, id);
    }

    /// Tells whether a chunk's id is known.
    pub(super) fn is_known(&self, ticket: Ticket) -> bool {
        self.ids.contains_key(&ticket.0)
    }

    /// Returns the spans of pieces, waiting for ids that are not known yet.
    pub(super) fn resolve(&mut self, pieces: &[Piece]) -> Result<Vec<Span>, EngineError> {
        let mut spans = Vec::with_capacity(pieces.len());
        for piece in pieces {
            while !self.is_known(piece.ticket) {
                self.wait()?;
            }
            spans.push(Span {
                chunk: self.ids[&piece.ticket.0],
                offset: piece.offset,
                len: piece.len,
            });
        }
        Ok(spans)
    }

    /// Forgets chunks that no entry needs any more.
    pub(super) fn forget(&mut self, ticket: Ticket) {
        self.ids.remove(&ticket.0);
    }

    /// Reads a stream to its end as chunks of its own.
    pub(super) fn read_all(
        &mut self,
        stream: &mut dyn Read,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<Vec<Piece>, EngineError> {
        let mut reading = Reading::start(self);
        while reading.step(self, stream, observer, cancel)? {}
        let (pieces, read) = reading.finish(self)?;
        read.map(|()| pieces).map_err(|source| EngineError::Io {
            doing: "read the stream",
            source,
        })
    }

    fn submit_whole(&mut self, chunk: &[u8]) -> Result<Piece, EngineError> {
        let len = chunk.len() as u32;
        Ok(Piece {
            ticket: self.submit(chunk)?,
            offset: 0,
            len,
        })
    }
}

/// Reads a stream as chunks of its own, a step at a time.
pub(super) struct Reading {
    chunker: Chunker,
    /// What was cut so far.
    pub(super) pieces: Vec<Piece>,
    outcome: io::Result<()>,
}

impl Reading {
    pub(super) fn start(pipeline: &mut Pipeline<'_>) -> Self {
        let chunker = pipeline.chunker.take();
        Self {
            chunker: chunker.unwrap_or_else(|| Chunker::new(ChunkSizes::FILES)),
            pieces: Vec::new(),
            outcome: Ok(()),
        }
    }

    /// Reads on and hands over what can be cut; tells whether there may be more.
    pub(super) fn step(
        &mut self,
        pipeline: &mut Pipeline<'_>,
        stream: &mut dyn Read,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<bool, EngineError> {
        if cancel.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        let (bytes, outcome) = self.chunker.push_from(stream, READ_BYTES);
        observer.event(Event::Read { bytes });
        self.outcome = outcome;
        if bytes == 0 || self.outcome.is_err() {
            return Ok(false);
        }
        while let Some(chunk) = self.chunker.cut() {
            self.pieces.push(pipeline.submit_whole(chunk)?);
        }
        Ok(true)
    }

    /// Hands over the rest; what was read before an error of the stream is kept.
    pub(super) fn finish(
        mut self,
        pipeline: &mut Pipeline<'_>,
    ) -> Result<(Vec<Piece>, io::Result<()>), EngineError> {
        while let Some(chunk) = self.chunker.finish() {
            self.pieces.push(pipeline.submit_whole(chunk)?);
        }
        // All of it was cut, so that it is empty.
        pipeline.chunker = Some(self.chunker);
        Ok((self.pieces, self.outcome))
    }
}
