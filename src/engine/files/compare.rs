//! Says in words where a live tree differs from the entries it came from.
//!
//! Content is not compared here. Names of owners, inode numbers and change times differ
//! between machines by nature and are not compared either.

use std::cmp::Ordering;
use std::fmt;
use std::iter::Peekable;

use super::entry::{Entry, Kind, Meta, Time};
use super::path::{Printable, RelPath};

/// Says one thing in which two entries of a path differ; the expected value comes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// They are of different kinds.
    Kind(&'static str, &'static str),
    /// The permission or special bits differ.
    Mode(u32, u32),
    /// The owner's or group's number differs.
    Owner((u32, u32), (u32, u32)),
    /// The modification time differs.
    Mtime(Time, Time),
    /// An extended attribute is missing.
    XattrMissing(Vec<u8>),
    /// An extended attribute is there that should not be.
    XattrExtra(Vec<u8>),
    /// An extended attribute has another value.
    XattrValue(Vec<u8>),
    /// The length differs.
    Size(u64, u64),
    /// Symbolic links lead elsewhere.
    LinkTarget(Vec<u8>, Vec<u8>),
    /// Hard links belong to other files.
    HardlinkTo(RelPath, RelPath),
    /// Device numbers differ.
    Device((u32, u32), (u32, u32)),
    /// Holes are elsewhere, which no reader of the file notices.
    Holes,
}

/// Says how a path of two trees differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreeDifference {
    /// The live tree lacks it.
    Missing(RelPath),
    /// The live tree has it in addition.
    Extra(RelPath),
    /// It is there and differs.
    Differs(RelPath, Vec<Difference>),
}

impl Difference {
    /// Tells whether this is worth telling but no fault.
    pub fn is_informational(&self) -> bool {
        matches!(self, Self::Holes)
    }
}

impl TreeDifference {
    /// Returns the path it is about.
    pub fn path(&self) -> &RelPath {
        match self {
            Self::Missing(path) | Self::Extra(path) | Self::Differs(path, _) => path,
        }
    }

    /// Tells whether this is worth telling but no fault.
    pub fn is_informational(&self) -> bool {
        matches!(self, Self::Differs(_, differences) if differences.iter().all(Difference::is_informational))
    }
}

/// Compares an expected entry with the live one of the same path.
pub fn compare(expected: &Entry, live: &Entry) -> Vec<Difference> {
    let mut found = Vec::new();
    compare_kinds(&expected.kind, &live.kind, &mut found);
    let is_link = matches!(expected.kind, Kind::Symlink { .. });
    compare_meta(&expected.meta, &live.meta, is_link, &mut found);
    found
}

/// Compares two path-sorted trees and yields what differs, in path order.
pub fn compare_trees<E, L>(expected: E, live: L) -> TreeDifferences<E::IntoIter, L::IntoIter>
where
    E: IntoIterator<Item = Entry>,
    L: IntoIterator<Item = Entry>,
{
    TreeDifferences {
        expected: expected.into_iter().peekable(),
        live: live.into_iter().peekable(),
    }
}

/// Walks two trees side by side; made by [`compare_trees`].
#[derive(Debug)]
pub struct TreeDifferences<E: Iterator<Item = Entry>, L: Iterator<Item = Entry>> {
    expected: Peekable<E>,
    live: Peekable<L>,
}

impl<E: Iterator<Item = Entry>, L: Iterator<Item = Entry>> Iterator for TreeDifferences<E, L> {
    type Item = TreeDifference;

    fn next(&mut self) -> Option<TreeDifference> {
        loop {
            let order = match (self.expected.peek(), self.live.peek()) {
                (None, None) => return None,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(expected), Some(live)) => expected.path.cmp(&live.path),
            };
            match order {
                Ordering::Less => {
                    return self
                        .expected
                        .next()
                        .map(|entry| TreeDifference::Missing(entry.path));
                }
                Ordering::Greater => {
                    return self
                        .live
                        .next()
                        .map(|entry| TreeDifference::Extra(entry.path));
                }
                Ordering::Equal => {}
            }
            let (expected, live) = (self.expected.next()?, self.live.next()?);
            let differences = compare(&expected, &live);
            if !differences.is_empty() {
                return Some(TreeDifference::Differs(expected.path, differences));
            }
        }
    }
}

fn compare_kinds(expected: &Kind, live: &Kind, found: &mut Vec<Difference>) {
    let difference = match (expected, live) {
        (
            Kind::File { size, .. },
            Kind::File {
                size: live_size, ..
            },
        ) if size != live_size => Difference::Size(*size, *live_size),
        (
            Kind::File { extents, .. },
            Kind::File {
                extents: live_extents,
                ..
            },
        ) if extents != live_extents => Difference::Holes,
        (
            Kind::Symlink { target },
            Kind::Symlink {
                target: live_target,
            },
        ) if target != live_target => Difference::LinkTarget(target.clone(), live_target.clone()),
        (Kind::Hardlink { to }, Kind::Hardlink { to: live_to }) if to != live_to => {
            Difference::HardlinkTo(to.clone(), live_to.clone())
        }
        (
            Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor },
            Kind::CharDevice {
                major: live_major,
                minor: live_minor,
            }
            | Kind::BlockDevice {
                major: live_major,
                minor: live_minor,
            },
        ) if expected.noun() == live.noun() && (major, minor) != (live_major, live_minor) => {
            Difference::Device((*major, *minor), (*live_major, *live_minor))
        }
        _ if expected.noun() != live.noun() => Difference::Kind(expected.noun(), live.noun()),
        _ => return,
    };
    found.push(difference);
}

fn compare_meta(expected: &Meta, live: &Meta, is_link: bool, found: &mut Vec<Difference>) {
    if expected.mode != live.mode && !is_link {
        found.push(Difference::Mode(expected.mode, live.mode));
    }
    let owners = ((expected.uid, expected.gid), (live.uid, live.gid));
    if owners.0 != owners.1 {
        found.push(Difference::Owner(owners.0, owners.1));
    }
    if expected.mtime != live.mtime {
        found.push(Difference::Mtime(expected.mtime, live.mtime));
    }
    for xattr in &expected.xattrs {
        match live.xattrs.iter().find(|other| other.name == xattr.name) {
            None => found.push(Difference::XattrMissing(xattr.name.clone())),
            Some(other) if other.value != xattr.value => {
                found.push(Difference::XattrValue(xattr.name.clone()));
            }
            Some(_) => {}
        }
    }
    let is_extra = |name: &[u8]| expected.xattrs.iter().all(|other| other.name != name);
    let extra = live.xattrs.iter().filter(|xattr| is_extra(&xattr.name));
    found.extend(extra.map(|xattr| Difference::XattrExtra(xattr.name.clone())));
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(expected, live) => write!(f, "is a {live} instead of a {expected}"),
            Self::Mode(expected, live) => write!(f, "mode is {live:04o} instead of {expected:04o}"),
            Self::Owner((uid, gid), (live_uid, live_gid)) => {
                write!(f, "owner is {live_uid}:{live_gid} instead of {uid}:{gid}")
            }
            Self::Mtime(expected, live) => {
                let (later, by) = distance(*expected, *live);
                write!(
                    f,
                    "modification time is {by} {}",
                    if later { "later" } else { "earlier" }
                )
            }
            Self::XattrMissing(name) => write!(f, "lacks attribute {}", Printable(name)),
            Self::XattrExtra(name) => write!(f, "has attribute {} in addition", Printable(name)),
            Self::XattrValue(name) => write!(f, "attribute {} has another value", Printable(name)),
            Self::Size(expected, live) => write!(f, "has {live} bytes instead of {expected}"),
            Self::LinkTarget(expected, live) => {
                write!(
                    f,
                    "leads to '{}' instead of '{}'",
                    Printable(live),
                    Printable(expected)
                )
            }
            Self::HardlinkTo(expected, live) => {
                write!(f, "is the same file as '{live}' instead of '{expected}'")
            }
            Self::Device((major, minor), (live_major, live_minor)) => {
                write!(
                    f,
                    "is device {live_major}:{live_minor} instead of {major}:{minor}"
                )
            }
            Self::Holes => f.write_str("has its holes elsewhere"),
        }
    }
}

impl fmt::Display for TreeDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(path) => write!(f, "{path} is missing"),
            Self::Extra(path) => write!(f, "{path} should not be there"),
            Self::Differs(path, differences) => {
                write!(f, "{path}")?;
                for (index, difference) in differences.iter().enumerate() {
                    write!(f, "{} {difference}", if index == 0 { "" } else { "," })?;
                }
                Ok(())
            }
        }
    }
}

/// Returns whether `live` is later, and by how much in words.
fn distance(expected: Time, live: Time) -> (bool, String) {
    let nanos = |time: Time| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
    let by = nanos(live) - nanos(expected);
    let apart = by.unsigned_abs();
    let (seconds, rest) = (apart / 1_000_000_000, apart % 1_000_000_000);
    (
        by > 0,
        if seconds == 0 {
            format!("{rest} ns")
        } else {
            format!("{seconds}.{rest:09} s")
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::files::{Extent, Xattr};

    fn entry(path: &str, kind: Kind) -> Entry {
        Entry::new(
            RelPath::new(path).expect("a valid path"),
            kind,
            Meta::default(),
        )
    }

    fn words(expected: &Entry, live: &Entry) -> Vec<String> {
        compare(expected, live)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn each_difference_has_its_words() {
        let kinds: &[(Kind, Kind, &str)] = &[
            (Kind::Dir, Kind::Fifo, "is a fifo instead of a directory"),
            (
                Kind::dense_file(3),
                Kind::dense_file(2),
                "has 2 bytes instead of 3",
            ),
            (
                Kind::Symlink {
                    target: b"a".to_vec(),
                },
                Kind::Symlink {
                    target: b"\x1b".to_vec(),
                },
                "leads to '\\u{1b}' instead of 'a'",
            ),
            (
                Kind::CharDevice { major: 1, minor: 3 },
                Kind::CharDevice { major: 1, minor: 5 },
                "is device 1:5 instead of 1:3",
            ),
            (
                Kind::CharDevice { major: 1, minor: 3 },
                Kind::BlockDevice { major: 1, minor: 3 },
                "is a block device instead of a character device",
            ),
            (
                Kind::dense_file(9),
                Kind::File {
                    size: 9,
                    extents: vec![Extent { offset: 1, len: 2 }],
                },
                "has its holes elsewhere",
            ),
        ];
        for (expected, live, text) in kinds {
            assert_eq!(
                words(&entry("x", expected.clone()), &entry("x", live.clone())),
                [*text]
            );
        }
    }

    #[test]
    fn metadata_differs_in_words() {
        let mut expected = entry("x", Kind::Dir);
        let mut live = expected.clone();
        expected.meta.mode = 0o4755;
        live.meta.mode = 0o755;
        live.meta.uid = 5;
        live.meta.mtime = Time {
            seconds: 1,
            nanos: 5,
        };
        expected.meta.xattrs = vec![Xattr {
            name: b"user.a".to_vec(),
            value: vec![1],
        }];
        live.meta.xattrs = vec![Xattr {
            name: b"user.b".to_vec(),
            value: vec![1],
        }];
        // These differ by nature.
        live.meta.inode = 77;
        live.meta.ctime = Time {
            seconds: 9,
            nanos: 9,
        };
        live.meta.links = 4;
        let expected_words = [
            "mode is 0755 instead of 4755",
            "owner is 5:0 instead of 0:0",
            "modification time is 1.000000005 s later",
            "lacks attribute user.a",
            "has attribute user.b in addition",
        ];
        assert_eq!(words(&expected, &live), expected_words);
    }

    #[test]
    fn trees_are_merged_by_path() {
        let expected = [
            entry("a", Kind::Dir),
            entry("a/b", Kind::Fifo),
            entry("c", Kind::Dir),
        ];
        let live = [
            entry("a", Kind::Dir),
            entry("b", Kind::Dir),
            entry("c", Kind::Fifo),
        ];
        let found: Vec<String> = compare_trees(expected, live)
            .map(|found| found.to_string())
            .collect();
        assert_eq!(
            found,
            [
                "a/b is missing",
                "b should not be there",
                "c is a fifo instead of a directory"
            ]
        );
    }
}
