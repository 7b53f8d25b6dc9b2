//! The pool that names, seals and stores chunks while the walk goes on.

use std::collections::HashMap;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::stats::{Stage, waiting};
use crate::engine::chunk::{ChunkSizes, Chunker};
use crate::engine::compress::{empty_for, worth_keeping};
use crate::engine::env::Cancel;
use crate::engine::error::EngineError;
use crate::engine::files::Span;
use crate::engine::manifest::codec;
use crate::engine::pack::BlobKind;
use crate::engine::progress::{Event, Observer};
use crate::engine::writer::Writer;

/// How many chunks a thread has waiting: one keeps it busy, more would only take memory.
const WAITING_PER_THREAD: usize = 1;
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
pub(super) struct Pipeline {
    jobs: Sender<Job>,
    done: Receiver<Done>,
    next: u64,
    under_way: usize,
    ids: HashMap<u64, [u8; 32]>,
    spare: Vec<Vec<u8>>,
    /// Cuts streams with chunks of their own, one after the other, so that its buffer is one.
    chunker: Option<Chunker>,
}

/// One thread's end of the pool.
#[derive(Clone)]
pub(super) struct Worker {
    jobs: Receiver<Job>,
    done: Sender<Done>,
}

impl Worker {
    /// Works until the pipeline is dropped.
    pub(super) fn run(self, writer: &Writer<'_>) {
        let mut codec = match codec() {
            Ok(codec) => codec,
            Err(error) => {
                // Whoever waits for a chunk learns why there is none.
                drop(self.done.send(Err(error)));
                return;
            }
        };
        for (ticket, chunk) in &self.jobs {
            let put = || writer.put(BlobKind::Chunk, &chunk, &mut codec);
            let put = AssertUnwindSafe(|| writer.stages.time(Stage::Seal, put));
            // Whoever waits for this chunk would wait forever if a panic took its id along.
            let (id, goes_on) = match catch_unwind(put) {
                Ok(id) => (id, true),
                Err(_) => (Err(EngineError::Panicked), false),
            };
            let sent = self.done.send(id.map(|id| (ticket, id, chunk)));
            if sent.is_err() || !goes_on {
                return;
            }
        }
    }
}

impl Pipeline {
    /// Makes a pipeline and the worker to clone for each of `threads`.
    pub(super) fn new(threads: usize) -> (Self, Worker) {
        let (jobs, take_jobs) = bounded(threads * WAITING_PER_THREAD);
        let (give_done, done) = unbounded();
        let pipeline = Self {
            jobs,
            done,
            next: 0,
            under_way: 0,
            ids: HashMap::new(),
            spare: Vec::new(),
            chunker: None,
        };
        let worker = Worker {
            jobs: take_jobs,
            done: give_done,
        };
        (pipeline, worker)
    }

    /// Returns a buffer whose bytes are not needed any more.
    pub(super) fn spare(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// Hands over a copy of a chunk; waits while too much is under way.
    pub(super) fn submit(&mut self, bytes: &[u8]) -> Result<Ticket, EngineError> {
        self.collect()?;
        let mut chunk = self.spare();
        empty_for(&mut chunk, bytes.len());
        chunk.extend_from_slice(bytes);
        self.hand_over(chunk)
    }

    /// Hands over a chunk; waits while too much is under way.
    pub(super) fn hand_over(&mut self, chunk: Vec<u8>) -> Result<Ticket, EngineError> {
        self.collect()?;
        let ticket = Ticket(self.next);
        self.next += 1;
        if waiting(|| self.jobs.send((ticket, chunk))).is_err() {
            // All threads ended, and the first of them left its error.
            return Err(self.wait().err().unwrap_or(EngineError::Cancelled));
        }
        self.under_way += 1;
        Ok(ticket)
    }

    /// Takes the ids that are known by now.
    pub(super) fn collect(&mut self) -> Result<(), EngineError> {
        while let Ok(done) = self.done.try_recv() {
            self.take(done)?;
        }
        Ok(())
    }

    /// Waits for one more id.
    pub(super) fn wait(&mut self) -> Result<(), EngineError> {
        match waiting(|| self.done.recv()) {
            Ok(done) => self.take(done),
            Err(_) => Err(EngineError::Cancelled),
        }
    }

    fn take(&mut self, done: Done) -> Result<(), EngineError> {
        let (ticket, id, chunk) = done?;
        self.under_way -= 1;
        if worth_keeping(&chunk) {
            self.spare.push(chunk);
        }
        self.ids.insert(ticket.0, id);
        Ok(())
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
    pub(super) fn start(pipeline: &mut Pipeline) -> Self {
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
        pipeline: &mut Pipeline,
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
        pipeline: &mut Pipeline,
    ) -> Result<(Vec<Piece>, io::Result<()>), EngineError> {
        while let Some(chunk) = self.chunker.finish() {
            self.pieces.push(pipeline.submit_whole(chunk)?);
        }
        // All of it was cut, so that it is empty.
        pipeline.chunker = Some(self.chunker);
        Ok((self.pieces, self.outcome))
    }
}
