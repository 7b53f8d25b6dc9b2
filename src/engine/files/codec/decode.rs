//! Reads runs, believing nothing.

use std::sync::Arc;

use thiserror::Error;

use super::{
    Context, DENSE, HAS_XATTRS, HEAD_MASK, KIND_MASK, Owner, SAME_OWNER, SpanForm, is_dense,
    span_end,
};
use crate::engine::files::entry::{Entry, EntryError, Extent, Kind, Meta, Span, Time, Xattr};
use crate::engine::files::path::{PATH_BYTES_MAX, PathError, RelPath};

/// Says why bytes are no run of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The bytes end within an entry.
    #[error("entry is cut short")]
    Truncated,
    /// A number is longer than needed or than its field.
    #[error("number is out of range")]
    Number,
    /// A count or length names more than the bytes left could hold.
    #[error("length goes beyond the data")]
    Length,
    /// A path shares more than the previous path has, or less than it should.
    #[error("path does not continue the previous one")]
    Shared,
    /// A path is not one.
    #[error("bad path")]
    Path(#[from] PathError),
    /// A path does not come after the previous one.
    #[error("paths are not in ascending order")]
    Order,
    /// The head byte names no kind or has bits that do not belong.
    #[error("unknown kind or flag {0:#04x}")]
    Head(u8),
    /// A field is written in a longer way than the format asks for.
    #[error("field is not in its shortest form")]
    NotCanonical,
    /// The fields make no entry.
    #[error("bad entry")]
    Entry(#[from] EntryError),
}

/// Reads the entries of one run, one at a time.
///
/// The bytes are trusted in nothing: no length is believed beyond the bytes left, so that an
/// entry's memory is bounded by the input and by [`PATH_BYTES_MAX`]. After an error there is
/// nothing more.
#[derive(Debug)]
pub struct Decoder<'a> {
    rest: &'a [u8],
    context: Context,
}

impl<'a> Decoder<'a> {
    /// Starts at the first entry of a run.
    pub fn new(run: &'a [u8]) -> Self {
        Self {
            rest: run,
            context: Context::default(),
        }
    }

    /// Returns how many bytes of the run are not read yet.
    pub fn bytes_left(&self) -> usize {
        self.rest.len()
    }

    fn entry(&mut self) -> Result<Entry, DecodeError> {
        let path = self.path()?;
        let head = self.u8()?;
        if head & !HEAD_MASK != 0 {
            return Err(DecodeError::Head(head));
        }
        let (meta, owner) = self.meta(head)?;
        let (kind, spans) = self.body(head)?;
        let entry = Entry {
            path,
            kind,
            meta,
            spans,
        };
        entry.check()?;
        self.context.advance(&entry, owner);
        Ok(entry)
    }

    fn path(&mut self) -> Result<RelPath, DecodeError> {
        let shared = self.varint()?;
        let rest = self.bytes()?;
        let previous = self.context.path.as_bytes();
        let shared = usize::try_from(shared).map_err(|_| DecodeError::Shared)?;
        let prefix = previous.get(..shared).ok_or(DecodeError::Shared)?;
        // The bound comes before the copy.
        if shared + rest.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong.into());
        }
        if !rest.is_empty() && rest.first() == previous.get(shared) {
            return Err(DecodeError::Shared);
        }
        let path = RelPath::new([prefix, rest].concat())?;
        if self.context.follows(&path) {
            Ok(path)
        } else {
            Err(DecodeError::Order)
        }
    }

    fn meta(&mut self, head: u8) -> Result<(Meta, Owner), DecodeError> {
        let mode = self.u32()?;
        let owner = self.owner(head & SAME_OWNER != 0)?;
        let mtime = self.time()?;
        let ctime = self.time()?;
        let inode = self
            .context
            .inode
            .wrapping_add(self.zigzag()?.cast_unsigned());
        let links = self.varint()?;
        let xattrs = if head & HAS_XATTRS == 0 {
            Vec::new()
        } else {
            self.xattrs()?
        };
        let Owner {
            uid,
            gid,
            user,
            group,
        } = owner.clone();
        Ok((
            Meta {
                mode,
                uid,
                gid,
                user,
                group,
                mtime,
                ctime,
                inode,
                links,
                xattrs,
            },
            owner,
        ))
    }

    fn owner(&mut self, same: bool) -> Result<Owner, DecodeError> {
        if same {
            // The first entry has no owner to repeat.
            return if self.context.started {
                Ok(self.context.owner.clone())
            } else {
                Err(DecodeError::NotCanonical)
            };
        }
        let owner = Owner {
            uid: self.u32()?,
            gid: self.u32()?,
            user: self.name()?,
            group: self.name()?,
        };
        if self.context.same_owner(&owner) {
            Err(DecodeError::NotCanonical)
        } else {
            Ok(owner)
        }
    }

    fn xattrs(&mut self) -> Result<Vec<Xattr>, DecodeError> {
        let count = self.count(2)?;
        if count == 0 {
            return Err(DecodeError::NotCanonical);
        }
        let mut xattrs = Vec::with_capacity(count);
        for _ in 0..count {
            xattrs.push(Xattr {
                name: self.bytes()?.to_vec(),
                value: self.bytes()?.to_vec(),
            });
        }
        Ok(xattrs)
    }

    fn body(&mut self, head: u8) -> Result<(Kind, Vec<Span>), DecodeError> {
        let kind = match head & KIND_MASK {
            1 => return self.file(head & DENSE != 0),
            _ if head & DENSE != 0 => return Err(DecodeError::Head(head)),
            0 => Kind::Dir,
            2 => Kind::Symlink {
                target: self.bytes()?.to_vec(),
            },
            3 => Kind::Hardlink {
                to: RelPath::new(self.bytes()?)?,
            },
            4 => Kind::CharDevice {
                major: self.u32()?,
                minor: self.u32()?,
            },
            5 => Kind::BlockDevice {
                major: self.u32()?,
                minor: self.u32()?,
            },
            6 => Kind::Fifo,
            _ => return Err(DecodeError::Head(head)),
        };
        Ok((kind, Vec::new()))
    }

    fn file(&mut self, dense: bool) -> Result<(Kind, Vec<Span>), DecodeError> {
        let size = self.varint()?;
        let kind = if dense {
            Kind::dense_file(size)
        } else {
            let extents = self.extents()?;
            if is_dense(size, &extents) {
                return Err(DecodeError::NotCanonical);
            }
            Kind::File { size, extents }
        };
        Ok((kind, self.spans()?))
    }

    fn extents(&mut self) -> Result<Vec<Extent>, DecodeError> {
        let count = self.count(2)?;
        let mut extents = Vec::with_capacity(count);
        let mut end = 0_u64;
        for _ in 0..count {
            let offset = end.checked_add(self.varint()?).ok_or(DecodeError::Number)?;
            let len = self.varint()?;
            end = offset.checked_add(len).ok_or(DecodeError::Number)?;
            extents.push(Extent { offset, len });
        }
        Ok(extents)
    }

    fn spans(&mut self) -> Result<Vec<Span>, DecodeError> {
        let count = self.count(2)?;
        let mut spans = Vec::with_capacity(count);
        let mut previous = self.context.span;
        for _ in 0..count {
            let form = SpanForm::from_byte(self.u8()?).ok_or(DecodeError::NotCanonical)?;
            let chunk = if form.has_chunk() {
                *self.take(32)?.first_chunk().ok_or(DecodeError::Truncated)?
            } else {
                previous.ok_or(DecodeError::NotCanonical)?.chunk
            };
            let offset = match form {
                SpanForm::ChunkAndOffset | SpanForm::Offset => self.u32()?,
                SpanForm::Chunk => 0,
                SpanForm::Continues => previous.and_then(span_end).ok_or(DecodeError::Number)?,
            };
            let span = Span {
                chunk,
                offset,
                len: self.u32()?,
            };
            if SpanForm::of(span, previous) != form {
                return Err(DecodeError::NotCanonical);
            }
            previous = Some(span);
            spans.push(span);
        }
        Ok(spans)
    }

    fn name(&mut self) -> Result<Option<Arc<[u8]>>, DecodeError> {
        match self.varint()? {
            0 => Ok(None),
            len => Ok(Some(self.take(len - 1)?.into())),
        }
    }

    fn time(&mut self) -> Result<Time, DecodeError> {
        Ok(Time {
            seconds: self.zigzag()?,
            nanos: self.u32()?,
        })
    }

    /// Reads a count of things that take at least `bytes_each` bytes.
    fn count(&mut self, bytes_each: usize) -> Result<usize, DecodeError> {
        let count = usize::try_from(self.varint()?).map_err(|_| DecodeError::Length)?;
        if count > self.rest.len() / bytes_each {
            Err(DecodeError::Length)
        } else {
            Ok(count)
        }
    }

    fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.varint()?;
        self.take(len)
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], DecodeError> {
        let len = usize::try_from(len).map_err(|_| DecodeError::Length)?;
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Length)?;
        self.rest = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        let (&byte, rest) = self.rest.split_first().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(byte)
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        u32::try_from(self.varint()?).map_err(|_| DecodeError::Number)
    }

    fn zigzag(&mut self) -> Result<i64, DecodeError> {
        let number = self.varint()?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit, and a last byte of zero says nothing.
            if (shift == 63 && bits > 1) || (shift > 0 && byte == 0) {
                return Err(DecodeError::Number);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(DecodeError::Number)
    }
}

impl Iterator for Decoder<'_> {
    type Item = Result<Entry, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let entry = self.entry();
        if entry.is_err() {
            self.rest = &[];
        }
        Some(entry)
    }
}
