//! The bytes of a run of entries.
//!
//! A run is entries in ascending path order, one after the other, until the bytes end; an
//! empty run is no bytes. Runs stand alone: nothing refers to an earlier run.
//!
//! # Numbers
//!
//! `varint` is little-endian base 128: seven bits a byte, lowest first, the high bit set on
//! all but the last byte, at most ten bytes, and never longer than needed. `zigzag` is a
//! varint of a signed number `n` as `(n << 1) ^ (n >> 63)`. `bytes` is a varint length and
//! that many bytes. `u8` is one byte.
//!
//! # An entry
//!
//! | field | form | meaning |
//! |---|---|---|
//! | shared | varint | bytes its path has in common with the previous path, as many as there are; 0 for the first |
//! | rest | bytes | the path after those |
//! | head | u8 | bits 0-3 the kind, bit 4 same owner, bit 5 xattrs follow, bit 6 dense file, bit 7 zero |
//! | mode | varint | permission and special bits |
//! | owner | | absent with *same owner*: uid varint, gid varint, user name, group name |
//! | mtime | zigzag, varint | seconds since 1970, nanoseconds |
//! | ctime | zigzag, varint | likewise |
//! | inode | zigzag | difference to the previous entry's, wrapping at 64 bits; the first differs from 0 |
//! | links | varint | number of names |
//! | xattrs | | only if *xattrs follow*: varint count (at least 1), then name bytes, value bytes each |
//! | body | | by kind, below |
//!
//! A user or group name is a varint 0 for none, or its length plus one and its bytes. *Same
//! owner* means all four parts equal the previous entry's, and is set whenever they do.
//!
//! | kind | name | body |
//! |---|---|---|
//! | 0 | directory | nothing |
//! | 1 | file | size varint; unless *dense*: count varint, then each extent as gap and length; then spans |
//! | 2 | symbolic link | target bytes |
//! | 3 | hard link | path bytes of the earlier name |
//! | 4 | character device | major varint, minor varint |
//! | 5 | block device | major varint, minor varint |
//! | 6 | fifo | nothing |
//!
//! A *dense* file has one extent over its whole size, or none if it is empty; the bit is set
//! whenever that holds, and only on files. An extent's gap is the varint distance from the end
//! of the one before it (from 0 for the first).
//!
//! # Spans
//!
//! A varint count, then each span as a `u8` form, its fields and a varint length:
//!
//! | form | chunk | offset |
//! |---|---|---|
//! | 0 | 32 bytes follow | varint follows, not 0 |
//! | 1 | 32 bytes follow | 0 |
//! | 2 | that of the previous span in the run | varint follows, not where that one ended |
//! | 3 | that of the previous span in the run | where that one ended |
//!
//! There is one way to write a run, and [`Decoder`] takes no other: what it accepts encodes to
//! the same bytes again.

use std::sync::Arc;

use thiserror::Error;

pub use self::decode::{DecodeError, Decoder};
use super::entry::{Entry, EntryError, Extent, Kind, Meta, Span, Time};
use super::path::RelPath;

const SAME_OWNER: u8 = 1 << 4;
const HAS_XATTRS: u8 = 1 << 5;
const DENSE: u8 = 1 << 6;
const KIND_MASK: u8 = 0x0f;
const HEAD_MASK: u8 = KIND_MASK | SAME_OWNER | HAS_XATTRS | DENSE;

/// Says why an entry cannot join a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// The entry itself makes no sense.
    #[error("bad entry")]
    Entry(#[from] EntryError),
    /// Its path does not come after the previous one.
    #[error("paths are not in ascending order")]
    Order,
}

/// Carries what the next entry may refer to; the same on both sides.
#[derive(Debug, Default)]
struct Context {
    path: RelPath,
    started: bool,
    owner: Owner,
    inode: u64,
    span: Option<Span>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Owner {
    uid: u32,
    gid: u32,
    user: Option<Arc<[u8]>>,
    group: Option<Arc<[u8]>>,
}

impl Owner {
    fn of(meta: &Meta) -> Self {
        Self {
            uid: meta.uid,
            gid: meta.gid,
            user: meta.user.clone(),
            group: meta.group.clone(),
        }
    }
}

impl Context {
    fn follows(&self, path: &RelPath) -> bool {
        !self.started || self.path < *path
    }

    fn same_owner(&self, owner: &Owner) -> bool {
        self.started && self.owner == *owner
    }

    fn advance(&mut self, entry: &Entry, owner: Owner) {
        self.path.clone_from(&entry.path);
        self.started = true;
        self.owner = owner;
        self.inode = entry.meta.inode;
        if let Some(last) = entry.spans.last() {
            self.span = Some(*last);
        }
    }
}

/// Collects entries into the bytes of one run.
#[derive(Debug, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
    context: Context,
}

impl Encoder {
    /// Starts an empty run.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends an entry, whose path must come after the last one's.
    ///
    /// An entry that is refused leaves the run as it was.
    pub fn push(&mut self, entry: &Entry) -> Result<(), EncodeError> {
        entry.check()?;
        if !self.context.follows(&entry.path) {
            return Err(EncodeError::Order);
        }
        let owner = Owner::of(&entry.meta);
        self.put_path(&entry.path);
        self.put_meta(entry, &owner);
        self.put_body(entry);
        self.context.advance(entry, owner);
        Ok(())
    }

    /// Returns how many bytes the run has so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Tells whether no entry has been pushed.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Ends the run and returns its bytes.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// Ends the run and starts the next one, which refers to nothing of this one.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(self).finish()
    }

    fn put_path(&mut self, path: &RelPath) {
        let shared = shared_len(self.context.path.as_bytes(), path.as_bytes());
        self.put_varint(shared as u64);
        self.put_bytes(&path.as_bytes()[shared..]);
    }

    fn put_meta(&mut self, entry: &Entry, owner: &Owner) {
        let meta = &entry.meta;
        let same_owner = self.context.same_owner(owner);
        self.bytes.push(head(entry, same_owner));
        self.put_varint(u64::from(meta.mode));
        if !same_owner {
            self.put_varint(u64::from(owner.uid));
            self.put_varint(u64::from(owner.gid));
            self.put_name(owner.user.as_deref());
            self.put_name(owner.group.as_deref());
        }
        self.put_time(meta.mtime);
        self.put_time(meta.ctime);
        self.put_zigzag(meta.inode.wrapping_sub(self.context.inode).cast_signed());
        self.put_varint(meta.links);
        if !meta.xattrs.is_empty() {
            self.put_varint(meta.xattrs.len() as u64);
            for xattr in &meta.xattrs {
                self.put_bytes(&xattr.name);
                self.put_bytes(&xattr.value);
            }
        }
    }

    fn put_body(&mut self, entry: &Entry) {
        match &entry.kind {
            Kind::Dir | Kind::Fifo => {}
            Kind::File { size, extents } => {
                self.put_varint(*size);
                if !is_dense(*size, extents) {
                    self.put_extents(extents);
                }
                self.put_spans(&entry.spans);
            }
            Kind::Symlink { target } => self.put_bytes(target),
            Kind::Hardlink { to } => self.put_bytes(to.as_bytes()),
            Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                self.put_varint(u64::from(*major));
                self.put_varint(u64::from(*minor));
            }
        }
    }

    fn put_extents(&mut self, extents: &[Extent]) {
        self.put_varint(extents.len() as u64);
        let mut end = 0;
        for extent in extents {
            self.put_varint(extent.offset - end);
            self.put_varint(extent.len);
            end = extent.end();
        }
    }

    fn put_spans(&mut self, spans: &[Span]) {
        self.put_varint(spans.len() as u64);
        let mut previous = self.context.span;
        for span in spans {
            let form = SpanForm::of(*span, previous);
            self.bytes.push(form as u8);
            if form.has_chunk() {
                self.bytes.extend_from_slice(&span.chunk);
            }
            if form.has_offset() {
                self.put_varint(u64::from(span.offset));
            }
            self.put_varint(u64::from(span.len));
            previous = Some(*span);
        }
    }

    fn put_name(&mut self, name: Option<&[u8]>) {
        match name {
            None => self.put_varint(0),
            Some(name) => {
                self.put_varint(name.len() as u64 + 1);
                self.bytes.extend_from_slice(name);
            }
        }
    }

    fn put_time(&mut self, time: Time) {
        self.put_zigzag(time.seconds);
        self.put_varint(u64::from(time.nanos));
    }

    fn put_bytes(&mut self, bytes: &[u8]) {
        self.put_varint(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    fn put_zigzag(&mut self, number: i64) {
        self.put_varint(((number << 1) ^ (number >> 63)).cast_unsigned());
    }

    fn put_varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SpanForm {
    ChunkAndOffset = 0,
    Chunk = 1,
    Offset = 2,
    Continues = 3,
}

impl SpanForm {
    fn of(span: Span, previous: Option<Span>) -> Self {
        match previous.filter(|previous| previous.chunk == span.chunk) {
            Some(previous) if span_end(previous) == Some(span.offset) => Self::Continues,
            Some(_) => Self::Offset,
            None if span.offset == 0 => Self::Chunk,
            None => Self::ChunkAndOffset,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [
            Self::ChunkAndOffset,
            Self::Chunk,
            Self::Offset,
            Self::Continues,
        ]
        .get(usize::from(byte))
        .copied()
    }

    fn has_chunk(self) -> bool {
        matches!(self, Self::ChunkAndOffset | Self::Chunk)
    }

    fn has_offset(self) -> bool {
        matches!(self, Self::ChunkAndOffset | Self::Offset)
    }
}

fn span_end(span: Span) -> Option<u32> {
    span.offset.checked_add(span.len)
}

fn is_dense(size: u64, extents: &[Extent]) -> bool {
    match extents {
        [] => size == 0,
        [only] => {
            *only
                == Extent {
                    offset: 0,
                    len: size,
                }
        }
        _ => false,
    }
}

fn head(entry: &Entry, same_owner: bool) -> u8 {
    let (kind, dense) = match &entry.kind {
        Kind::Dir => (0, false),
        Kind::File { size, extents } => (1, is_dense(*size, extents)),
        Kind::Symlink { .. } => (2, false),
        Kind::Hardlink { .. } => (3, false),
        Kind::CharDevice { .. } => (4, false),
        Kind::BlockDevice { .. } => (5, false),
        Kind::Fifo => (6, false),
    };
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    kind | flag(dense, DENSE)
        | flag(same_owner, SAME_OWNER)
        | flag(!entry.meta.xattrs.is_empty(), HAS_XATTRS)
}

fn shared_len(left: &[u8], right: &[u8]) -> usize {
    left.iter().zip(right).take_while(|(l, r)| l == r).count()
}

mod decode;
#[cfg(test)]
mod tests;
