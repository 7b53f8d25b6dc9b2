//! Makes a snapshot of an image: a block device, or a file that holds one.
//!
//! An image is cut into blocks of one size at multiples of that size. The threads of a pool
//! read blocks themselves and store them; this thread hands out the blocks that have data,
//! and lays out in order what came back. A block of zeros is never stored, and stretches of
//! zeros within and across blocks become holes.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::previous::Kept;
use super::remembered::Remembered;
use super::stats::{ReadCounter, Stage};
use super::tree_writer::TreeWriter;
use super::{BackupOptions, BackupReport, Counts, Made, Start, container, open_writer};
use crate::engine::chunk::IMAGE_BLOCK_BYTES;
use crate::engine::compress::Codec;
use crate::engine::env::Cancel;
use crate::engine::error::EngineError;
use crate::engine::files::{Extent, Image, Kind, Note, Notes, Owners, Span, What};
use crate::engine::manifest::codec;
use crate::engine::pack::BlobKind;
use crate::engine::progress::{Event, Observer};
use crate::engine::repository::Repository;
use crate::engine::writer::Writer;

const BLOCK: u64 = IMAGE_BLOCK_BYTES as u64;
/// Zeros are looked for in pieces of this size, which file systems rarely go below.
const PAGE: usize = 4096;
static ZEROS: [u8; PAGE] = [0; PAGE];
/// Shorter stretches of zeros are not worth a hole.
const HOLE_BYTES_MIN: u64 = 64 << 10;
/// About how many holes an image may have; large images have longer ones instead of more.
const HOLES_MAX: u64 = 1 << 20;
/// How many blocks a thread has waiting.
const WAITING_PER_THREAD: usize = 2;

/// Makes a snapshot of a block device or an image file, as one file of its name.
///
/// Whether somebody wrote to it meanwhile is noted; such a snapshot holds parts of different
/// moments. A part that cannot be read is an error, and nothing is committed.
pub fn backup_image(
    repository: &Repository,
    path: &Path,
    options: &BackupOptions,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<BackupReport, EngineError> {
    let start = Start::now(repository)?;
    let observer = &ReadCounter::new(observer);
    let image = Image::open(path)?;
    let writer = open_writer(repository, options, observer)?;
    let mut remembered = Remembered::open(repository, options, &writer, &start);
    let (mut entry, lacks) = image.entry(&Owners::of_this_machine());
    observer.event(Event::Entry {
        path: &entry.path,
        bytes: image.size(),
    });
    let mut counts = Counts {
        entries: 2,
        files: 1,
        bytes: image.size(),
        ..Counts::default()
    };
    let mut previous = remembered.previous(repository, options);
    let mut kept = Kept::No;
    if image.is_file() {
        kept = previous.walk().keep(&mut entry, &writer);
    }
    if let Kept::Whole(origin) = kept {
        let bytes = entry.kind.data_bytes();
        observer.event(Event::Kept { bytes });
        counts.keep(bytes, origin);
    } else {
        let threads = options.threads();
        let read = || read(&image, &writer, threads, observer, cancel);
        let layout = writer.storing(threads, read)?;
        entry.kind = Kind::File {
            size: image.size(),
            extents: layout.extents,
        };
        entry.spans = layout.spans;
    }
    if cancel.is_cancelled() {
        return Err(EngineError::Cancelled);
    }
    let changed = image
        .has_changed()
        .then(|| Note::new(entry.path.clone(), What::Changed));
    counts.changed = u64::from(changed.is_some());
    let mut notes = Notes::default();
    for note in [lacks, changed].into_iter().flatten() {
        observer.event(Event::Note(&note));
        notes.push(note);
    }
    let mut tree = TreeWriter::new(&writer)?;
    tree.push(&mut container(start.started))?;
    tree.push(&mut entry)?;
    if let (true, Some(cache)) = (image.is_file(), &mut remembered.cache) {
        cache.push(&entry, None);
    }
    let made = Made {
        start,
        roots: tree.finish()?,
        counts,
        notes,
        paths: vec![path.display().to_string()],
        read_bytes: observer.bytes(),
    };
    let mut report = made.commit(repository, writer, options)?;
    report.warnings = remembered.finish();
    Ok(report)
}

/// Is a block that was read.
struct Block {
    number: u64,
    /// The id of its chunk; nothing if it is all zeros.
    chunk: Option<[u8; 32]>,
    /// Where in the block its data begins and ends, without long stretches of zeros.
    runs: Vec<(u64, u64)>,
}

type Done = Result<Block, EngineError>;

/// Reads and stores an image with a pool of threads.
fn read(
    image: &Image,
    writer: &Writer<'_>,
    threads: usize,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Layout, EngineError> {
    let layout = Layout::new(image.size());
    let hole_min = layout.hole_min;
    std::thread::scope(|scope| {
        let (jobs, take_jobs) = bounded(threads * WAITING_PER_THREAD);
        let (give_done, done) = unbounded();
        let mut pool = Vec::new();
        for _ in 0..threads {
            let reader = Reader {
                image,
                writer,
                observer,
                cancel,
                hole_min,
                jobs: take_jobs.clone(),
            };
            let done = give_done.clone();
            pool.push(scope.spawn(move || reader.run(&done)));
        }
        drop((take_jobs, give_done));
        let laid_out = Foreman {
            jobs,
            done,
            handed_out: VecDeque::new(),
            early: BTreeMap::new(),
            layout,
        }
        .run(image, writer);
        let mut panicked = false;
        for thread in pool {
            panicked |= thread.join().is_err();
        }
        if panicked {
            return Err(EngineError::Panicked);
        }
        laid_out
    })
}

/// Reads and stores blocks: what one thread of the pool does.
struct Reader<'a> {
    image: &'a Image,
    writer: &'a Writer<'a>,
    observer: &'a dyn Observer,
    cancel: &'a Cancel,
    hole_min: u64,
    jobs: Receiver<u64>,
}

impl Reader<'_> {
    fn run(self, done: &Sender<Done>) {
        let failure = self.read_all(done).err();
        if let Some(error) = failure {
            drop(done.send(Err(error)));
        }
    }

    fn read_all(&self, done: &Sender<Done>) -> Result<(), EngineError> {
        let mut codec = codec()?;
        let mut buffer = vec![0; IMAGE_BLOCK_BYTES];
        for number in &self.jobs {
            if self.cancel.is_cancelled() {
                return Err(EngineError::Cancelled);
            }
            let block = self.block(number, &mut buffer, &mut codec)?;
            if done.send(Ok(block)).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn block(
        &self,
        number: u64,
        buffer: &mut [u8],
        codec: &mut Codec,
    ) -> Result<Block, EngineError> {
        let offset = number * BLOCK;
        let len = (self.image.size() - offset).min(BLOCK);
        let bytes = &mut buffer[..len as usize];
        let stages = &self.writer.stages;
        stages.time(Stage::Read, || self.image.read(bytes, offset))?;
        self.observer.event(Event::Read { bytes: len });
        let runs = data_runs(bytes, self.hole_min);
        let chunk = if runs.is_empty() {
            None
        } else {
            let put = || self.writer.put(BlobKind::Chunk, bytes, codec);
            Some(stages.time(Stage::Seal, put)?)
        };
        Ok(Block {
            number,
            chunk,
            runs,
        })
    }
}

/// Returns the parts of a block that hold data: zeros at its ends and long ones within are left out.
fn data_runs(bytes: &[u8], hole_min: u64) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    let mut from = 0;
    for page in bytes.chunks(PAGE) {
        let to = from + page.len() as u64;
        if *page != ZEROS[..page.len()] {
            match runs.last_mut() {
                Some((_, end)) if from - *end < hole_min => *end = to,
                _ => runs.push((from, to)),
            }
        }
        from = to;
    }
    runs
}

/// Hands out blocks and puts what comes back in order.
struct Foreman {
    jobs: Sender<u64>,
    done: Receiver<Done>,
    handed_out: VecDeque<u64>,
    /// Blocks that came back before one that was handed out earlier.
    early: BTreeMap<u64, Block>,
    layout: Layout,
}

impl Foreman {
    fn run(mut self, image: &Image, writer: &Writer<'_>) -> Result<Layout, EngineError> {
        let mut at = 0;
        while let Some((start, end)) = image.data_after(at) {
            // The data may begin in a block that was handed out for what is before it.
            for number in (start.max(at) / BLOCK)..end.div_ceil(BLOCK) {
                self.hand_out(number)?;
                while let Ok(done) = self.done.try_recv() {
                    self.take(done, writer)?;
                }
            }
            at = end.div_ceil(BLOCK) * BLOCK;
        }
        while !self.handed_out.is_empty() {
            let done = self.done.recv().map_err(|_| EngineError::Panicked)?;
            self.take(done, writer)?;
        }
        Ok(self.layout)
    }

    fn hand_out(&mut self, number: u64) -> Result<(), EngineError> {
        self.handed_out.push_back(number);
        if self.jobs.send(number).is_ok() {
            return Ok(());
        }
        // All threads ended, and the first of them left its error.
        loop {
            match self.done.recv() {
                Ok(Err(error)) => return Err(error),
                Ok(Ok(_)) => {}
                Err(_) => return Err(EngineError::Panicked),
            }
        }
    }

    fn take(&mut self, done: Done, writer: &Writer<'_>) -> Result<(), EngineError> {
        let block = done?;
        self.early.insert(block.number, block);
        while let Some(next) = self.handed_out.front() {
            let Some(block) = self.early.remove(next) else {
                break;
            };
            self.handed_out.pop_front();
            self.layout.push(block, writer)?;
        }
        Ok(())
    }
}

/// Collects where an image has data and which chunks hold it.
struct Layout {
    hole_min: u64,
    extents: Vec<Extent>,
    spans: Vec<Span>,
    /// The last block with data, and its chunk.
    last: Option<(u64, [u8; 32])>,
    /// The chunk of a block of zeros, once one was needed.
    zeros: Option<[u8; 32]>,
}

impl Layout {
    fn new(size: u64) -> Self {
        let hole_min = size.div_ceil(HOLES_MAX).next_power_of_two();
        Self {
            hole_min: hole_min.max(HOLE_BYTES_MIN),
            extents: Vec::new(),
            spans: Vec::new(),
            last: None,
            zeros: None,
        }
    }

    /// Appends a block; blocks come in order.
    fn push(&mut self, block: Block, writer: &Writer<'_>) -> Result<(), EngineError> {
        let Some(chunk) = block.chunk else {
            return Ok(());
        };
        let start = block.number * BLOCK;
        for (from, to) in block.runs {
            let (from, to) = (start + from, start + to);
            match self.extents.last().map(Extent::end) {
                Some(end) if from - end < self.hole_min => {
                    self.fill(end, from, (block.number, chunk), writer)?;
                }
                _ => self.extents.push(Extent {
                    offset: from,
                    len: 0,
                }),
            }
            self.append(chunk, from, to);
        }
        self.last = Some((block.number, chunk));
        Ok(())
    }

    /// Covers zeros that are too few for a hole, with those of the chunks around them.
    fn fill(
        &mut self,
        mut from: u64,
        to: u64,
        next: (u64, [u8; 32]),
        writer: &Writer<'_>,
    ) -> Result<(), EngineError> {
        while from < to {
            let number = from / BLOCK;
            let end = to.min((number + 1) * BLOCK);
            let around = [Some(next), self.last].into_iter().flatten();
            let mut around = around.filter(|(known, _)| *known == number);
            let chunk = match around.next() {
                Some((_, chunk)) => chunk,
                None => self.zero_chunk(writer)?,
            };
            self.append(chunk, from, end);
            from = end;
        }
        Ok(())
    }

    fn zero_chunk(&mut self, writer: &Writer<'_>) -> Result<[u8; 32], EngineError> {
        if let Some(id) = self.zeros {
            return Ok(id);
        }
        let id = writer.put(BlobKind::Chunk, &vec![0; IMAGE_BLOCK_BYTES], &mut codec()?)?;
        self.zeros = Some(id);
        Ok(id)
    }

    /// Lengthens the last extent up to `to`, from where it ends, by a part of one block.
    fn append(&mut self, chunk: [u8; 32], from: u64, to: u64) {
        if let Some(extent) = self.extents.last_mut() {
            extent.len = to - extent.offset;
        }
        let (offset, len) = ((from % BLOCK) as u32, (to - from) as u32);
        match self.spans.last_mut() {
            Some(span) if span.chunk == chunk && span.offset + span.len == offset => {
                span.len += len;
            }
            _ => self.spans.push(Span { chunk, offset, len }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_at_the_ends_and_long_ones_within_are_no_data() {
        const K: usize = 1 << 10;
        type Case = (usize, &'static [(usize, usize)], &'static [(u64, u64)]);
        let cases: &[Case] = &[
            (0, &[], &[]),
            (1024 * K, &[], &[]),
            (1024 * K, &[(0, 1024 * K)], &[(0, 1 << 20)]),
            (1000, &[(999, 1000)], &[(0, 1000)]),
            (64 * K, &[(8 * K, 8 * K + 1)], &[(8 << 10, 12 << 10)]),
            (
                256 * K,
                &[(0, 1), (68 * K, 68 * K + 1)],
                &[(0, 4 << 10), (68 << 10, 72 << 10)],
            ),
            (256 * K, &[(0, 1), (67 * K, 67 * K + 1)], &[(0, 68 << 10)]),
        ];
        for (len, ones, expected) in cases {
            let mut bytes = vec![0; *len];
            for (from, to) in *ones {
                bytes[*from..*to].fill(1);
            }
            assert_eq!(data_runs(&bytes, HOLE_BYTES_MIN), *expected, "{ones:?}");
        }
    }

    #[test]
    fn the_number_of_holes_is_bounded_whatever_the_size() {
        for size in [0, 1, 1 << 30, 1 << 40, 16 << 40, u64::MAX >> 1] {
            let hole_min = Layout::new(size).hole_min;
            assert!(hole_min >= HOLE_BYTES_MIN && size / hole_min <= HOLES_MAX);
        }
    }
}
