//! What the repository keeps of one file: plain data, checked by [`Entry::check`].
//!
//! An entry holds nothing that changes while the file stays the same: no access time, no
//! device number of the file system. Equal trees therefore have equal bytes.

use std::sync::Arc;

use thiserror::Error;

use super::path::RelPath;

/// The permission bits with set-user, set-group and sticky.
pub const MODE_MASK: u32 = 0o7777;

/// The longest target of a symbolic link, in bytes; Linux stops at 4095.
pub const LINK_TARGET_BYTES_MAX: usize = 65_535;

/// Describes one file, directory or special file of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it lies below the tree's root.
    pub path: RelPath,
    /// What it is.
    pub kind: Kind,
    /// Owner, mode, times and attributes.
    pub meta: Meta,
    /// Where a file's data is: the concatenation of these pieces fills its extents in order.
    pub spans: Vec<Span>,
}

/// Says what an entry is, with what only that kind has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Dir,
    /// A regular file.
    File {
        /// Its length, holes included.
        size: u64,
        /// The parts that hold data, in order, never touching; the rest reads as zeros.
        extents: Vec<Extent>,
    },
    /// A symbolic link.
    Symlink {
        /// The bytes it holds, unchecked beyond length and NUL.
        target: Vec<u8>,
    },
    /// Another name of a file that came earlier in the tree.
    Hardlink {
        /// That earlier name.
        to: RelPath,
    },
    /// A character device.
    CharDevice {
        /// The driver's number.
        major: u32,
        /// The device's number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// The driver's number.
        major: u32,
        /// The device's number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// Names a range of a file that holds data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The first byte.
    pub offset: u64,
    /// The number of bytes, at least one.
    pub len: u64,
}

/// Holds what the file system knows of a file besides its data.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meta {
    /// The permission and special bits, [`MODE_MASK`] at most.
    pub mode: u32,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// The owner's name on the source machine, if it had one.
    pub user: Option<Arc<[u8]>>,
    /// The group's name on the source machine, if it had one.
    pub group: Option<Arc<[u8]>>,
    /// When the data changed.
    pub mtime: Time,
    /// When anything about the file changed; tells whether a file must be read again.
    pub ctime: Time,
    /// The inode number; tells whether a file must be read again.
    pub inode: u64,
    /// The number of names.
    pub links: u64,
    /// The extended attributes, POSIX ACLs and security labels included, sorted by name.
    pub xattrs: Vec<Xattr>,
}

/// Holds one extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Xattr {
    /// The full name, such as `user.comment`.
    pub name: Vec<u8>,
    /// The value, opaque.
    pub value: Vec<u8>,
}

/// Names a moment as the file system stores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time {
    /// Seconds since 1970, negative before.
    pub seconds: i64,
    /// Nanoseconds after the second, below one thousand million.
    pub nanos: u32,
}

/// Names a piece of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The chunk's id.
    pub chunk: [u8; 32],
    /// The first byte within the chunk.
    pub offset: u32,
    /// The number of bytes, at least one.
    pub len: u32,
}

/// Says why an entry makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EntryError {
    /// The mode has bits beyond [`MODE_MASK`].
    #[error("mode has unknown bits")]
    Mode,
    /// An owner's or group's number is the one that means "leave as it is" to the kernel.
    #[error("owner or group has no valid number")]
    Owner,
    /// A time has a second's worth of nanoseconds or more.
    #[error("time has too many nanoseconds")]
    Nanos,
    /// An extended attribute's name is empty or contains NUL.
    #[error("extended attribute has a bad name")]
    XattrName,
    /// Extended attributes are not sorted by name, or one comes twice.
    #[error("extended attributes are not sorted")]
    XattrOrder,
    /// Extents are empty, touch, go backwards or leave the file.
    #[error("extents are not in order within the file")]
    Extents,
    /// A symbolic link's target is empty, too long or contains NUL.
    #[error("symbolic link has a bad target")]
    LinkTarget,
    /// A hard link names itself, the root or a later path.
    #[error("hard link does not name an earlier path")]
    HardlinkTarget,
    /// The root is neither a directory nor a single file.
    #[error("root of the tree cannot be a hard link")]
    Root,
    /// A span is empty or leaves the largest chunk.
    #[error("span is empty or too long")]
    Span,
    /// Something without data has spans.
    #[error("only files have spans")]
    SpansWithoutData,
}

impl Entry {
    /// Makes an entry whose data has no place yet.
    pub fn new(path: RelPath, kind: Kind, meta: Meta) -> Self {
        Self {
            path,
            kind,
            meta,
            spans: Vec::new(),
        }
    }

    /// Returns how many bytes the spans name in total.
    pub fn span_bytes(&self) -> u64 {
        self.spans.iter().map(|span| u64::from(span.len)).sum()
    }

    /// Checks that every field is in range and the parts agree.
    ///
    /// Whether the spans fill the extents is not asked: an entry has no spans until its data
    /// is stored. Compare [`Entry::span_bytes`] with [`Kind::data_bytes`] for that.
    pub fn check(&self) -> Result<(), EntryError> {
        self.meta.check()?;
        self.check_kind()?;
        if !self.spans.is_empty() && !matches!(self.kind, Kind::File { .. }) {
            return Err(EntryError::SpansWithoutData);
        }
        let bad = |span: &Span| span.len == 0 || span.offset.checked_add(span.len).is_none();
        if self.spans.iter().any(bad) {
            Err(EntryError::Span)
        } else {
            Ok(())
        }
    }

    fn check_kind(&self) -> Result<(), EntryError> {
        match &self.kind {
            Kind::File { size, extents } => check_extents(*size, extents),
            Kind::Symlink { target } => {
                let good = !target.is_empty()
                    && target.len() <= LINK_TARGET_BYTES_MAX
                    && !target.contains(&0);
                if good {
                    Ok(())
                } else {
                    Err(EntryError::LinkTarget)
                }
            }
            Kind::Hardlink { .. } if self.path.is_root() => Err(EntryError::Root),
            Kind::Hardlink { to } if to.is_root() || *to >= self.path => {
                Err(EntryError::HardlinkTarget)
            }
            Kind::Hardlink { .. }
            | Kind::Dir
            | Kind::CharDevice { .. }
            | Kind::BlockDevice { .. }
            | Kind::Fifo => Ok(()),
        }
    }
}

impl Kind {
    /// Makes a file without holes.
    pub fn dense_file(size: u64) -> Self {
        let extents = if size == 0 {
            Vec::new()
        } else {
            vec![Extent {
                offset: 0,
                len: size,
            }]
        };
        Self::File { size, extents }
    }

    /// Returns the bytes that hold data: a file's length without its holes, else 0.
    pub fn data_bytes(&self) -> u64 {
        match self {
            Self::File { extents, .. } => extents.iter().map(|extent| extent.len).sum(),
            _ => 0,
        }
    }

    /// Returns a file cut to its first `data_bytes` of data, as when it shrank while it was read.
    #[must_use]
    pub fn cut_to(&self, data_bytes: u64) -> Self {
        let Self::File { size, extents } = self else {
            return self.clone();
        };
        let mut left = data_bytes;
        let mut kept = Vec::new();
        for extent in extents {
            let len = extent.len.min(left);
            if len > 0 {
                kept.push(Extent {
                    offset: extent.offset,
                    len,
                });
            }
            if len < extent.len {
                let size = kept.last().map_or(0, Extent::end);
                return Self::File {
                    size,
                    extents: kept,
                };
            }
            left -= len;
        }
        Self::File {
            size: *size,
            extents: kept,
        }
    }

    /// Returns the length in bytes as a reader sees it: holes included, 0 for what is no file.
    pub fn size(&self) -> u64 {
        match self {
            Self::File { size, .. } => *size,
            _ => 0,
        }
    }

    /// Tells whether this is a directory.
    pub fn is_dir(&self) -> bool {
        matches!(self, Self::Dir)
    }

    /// Returns the kind's name for people.
    pub fn noun(&self) -> &'static str {
        match self {
            Self::Dir => "directory",
            Self::File { .. } => "file",
            Self::Symlink { .. } => "symbolic link",
            Self::Hardlink { .. } => "hard link",
            Self::CharDevice { .. } => "character device",
            Self::BlockDevice { .. } => "block device",
            Self::Fifo => "fifo",
        }
    }
}

impl Extent {
    /// Returns the first byte after the range.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.len)
    }
}

impl Meta {
    /// Checks that every field is in range.
    pub fn check(&self) -> Result<(), EntryError> {
        if self.mode & !MODE_MASK != 0 {
            return Err(EntryError::Mode);
        }
        if self.uid == u32::MAX || self.gid == u32::MAX {
            return Err(EntryError::Owner);
        }
        if !(self.mtime.is_valid() && self.ctime.is_valid()) {
            return Err(EntryError::Nanos);
        }
        if self
            .xattrs
            .iter()
            .any(|xattr| xattr.name.is_empty() || xattr.name.contains(&0))
        {
            return Err(EntryError::XattrName);
        }
        let sorted = self
            .xattrs
            .windows(2)
            .all(|pair| pair[0].name < pair[1].name);
        if sorted {
            Ok(())
        } else {
            Err(EntryError::XattrOrder)
        }
    }
}

impl Time {
    /// Returns the moment as nanoseconds since 1970, at the limits if it lies beyond them.
    pub fn as_nanos(self) -> i64 {
        let nanos = i128::from(self.seconds) * 1_000_000_000 + i128::from(self.nanos);
        i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
    }

    fn is_valid(self) -> bool {
        self.nanos < 1_000_000_000
    }
}

fn check_extents(size: u64, extents: &[Extent]) -> Result<(), EntryError> {
    let mut free_from = 0;
    for (index, extent) in extents.iter().enumerate() {
        let end = extent
            .offset
            .checked_add(extent.len)
            .ok_or(EntryError::Extents)?;
        let touches = index > 0 && extent.offset <= free_from;
        if extent.len == 0 || touches || end > size {
            return Err(EntryError::Extents);
        }
        free_from = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, kind: Kind) -> Entry {
        Entry::new(
            RelPath::new(path).expect("a valid path"),
            kind,
            Meta::default(),
        )
    }

    fn file(size: u64, extents: &[(u64, u64)]) -> Kind {
        let extents = extents
            .iter()
            .map(|&(offset, len)| Extent { offset, len })
            .collect();
        Kind::File { size, extents }
    }

    #[test]
    fn extents_stay_in_order_within_the_file() {
        type Case = (u64, &'static [(u64, u64)], bool);
        let cases: &[Case] = &[
            (0, &[], true),
            (10, &[], true),
            (10, &[(0, 10)], true),
            (10, &[(0, 2), (3, 2)], true),
            (10, &[(0, 2), (2, 2)], false),
            (10, &[(4, 2), (0, 2)], false),
            (10, &[(4, 0)], false),
            (10, &[(9, 2)], false),
            (10, &[(u64::MAX, 2)], false),
        ];
        for (size, extents, good) in cases {
            assert_eq!(
                entry("a", file(*size, extents)).check().is_ok(),
                *good,
                "{extents:?}"
            );
        }
    }

    #[test]
    fn links_name_something_that_came_before() {
        let link = |path: &str, to: &str| {
            entry(
                path,
                Kind::Hardlink {
                    to: RelPath::new(to).expect("a valid path"),
                },
            )
            .check()
        };
        assert_eq!(link("b", "a"), Ok(()));
        assert_eq!(link("b", "b"), Err(EntryError::HardlinkTarget));
        assert_eq!(link("b", "c"), Err(EntryError::HardlinkTarget));
        assert_eq!(link("b", ""), Err(EntryError::HardlinkTarget));
        assert_eq!(
            entry("l", Kind::Symlink { target: Vec::new() }).check(),
            Err(EntryError::LinkTarget)
        );
    }

    #[test]
    fn only_files_have_spans() {
        let span = Span {
            chunk: [0; 32],
            offset: 0,
            len: 1,
        };
        let mut dir = entry("d", Kind::Dir);
        dir.spans.push(span);
        assert_eq!(dir.check(), Err(EntryError::SpansWithoutData));
        let mut small = entry("f", Kind::dense_file(1));
        small.spans.push(span);
        assert_eq!(
            (small.check(), small.span_bytes(), small.kind.data_bytes()),
            (Ok(()), 1, 1)
        );
        small.spans[0].len = 0;
        assert_eq!(small.check(), Err(EntryError::Span));
    }

    #[test]
    fn a_shrunk_file_keeps_what_was_read() {
        let sparse = file(100, &[(0, 10), (20, 10)]);
        assert_eq!(sparse.cut_to(20), sparse);
        assert_eq!(sparse.cut_to(15), file(25, &[(0, 10), (20, 5)]));
        assert_eq!(sparse.cut_to(10), file(10, &[(0, 10)]));
        assert_eq!(sparse.cut_to(0), file(0, &[]));
    }

    #[test]
    fn far_times_stop_at_the_limits() {
        assert_eq!(
            Time {
                seconds: 1,
                nanos: 5
            }
            .as_nanos(),
            1_000_000_005
        );
        assert_eq!(
            Time {
                seconds: -1,
                nanos: 999_999_999
            }
            .as_nanos(),
            -1
        );
        assert_eq!(
            Time {
                seconds: i64::MIN,
                nanos: 0
            }
            .as_nanos(),
            i64::MIN
        );
    }
}
