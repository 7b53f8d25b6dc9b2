//! The names in one directory, read once and sorted by their bytes.

use std::os::fd::BorrowedFd;

use rustix::fs::RawDir;
use rustix::io::Errno;

/// How much the kernel may hand over in one call.
const BUFFER_BYTES: usize = 64 * 1024;

/// Holds a directory's names in one allocation, smallest first.
#[derive(Debug, Default)]
pub(super) struct Listing {
    bytes: Vec<u8>,
    /// Start and length of each name.
    names: Vec<(u32, u32)>,
    next: usize,
}

impl Listing {
    /// Makes a listing of the given names.
    pub(super) fn of<'a>(names: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut listing = Self::default();
        for name in names {
            listing.push(name);
        }
        listing.sort();
        listing
    }

    /// Reads an open directory; what was read before a failure is kept.
    pub(super) fn read(dir: BorrowedFd<'_>, buffer: &mut Vec<u8>) -> (Self, Option<Errno>) {
        let mut listing = Self::default();
        buffer.clear();
        buffer.reserve(BUFFER_BYTES);
        let mut entries = RawDir::new(dir, buffer.spare_capacity_mut());
        let mut failure = None;
        while let Some(entry) = entries.next() {
            match entry {
                Ok(entry) => match entry.file_name().to_bytes() {
                    b"." | b".." => {}
                    name => listing.push(name),
                },
                Err(errno) => {
                    failure = Some(errno);
                    break;
                }
            }
        }
        listing.sort();
        (listing, failure)
    }

    pub(super) fn contains(&self, name: &[u8]) -> bool {
        self.names
            .binary_search_by(|&range| self.name(range).cmp(name))
            .is_ok()
    }

    /// Returns the next name, once each.
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        let range = *self.names.get(self.next)?;
        self.next += 1;
        Some(self.name(range))
    }

    /// Returns the next name and stays before it.
    pub(super) fn peek(&self) -> Option<&[u8]> {
        self.names.get(self.next).map(|range| self.name(*range))
    }

    /// Goes past the next name.
    pub(super) fn advance(&mut self) {
        self.next += 1;
    }

    fn push(&mut self, name: &[u8]) {
        // Four GiB of names in one directory is beyond what a file system holds.
        let Ok(start) = u32::try_from(self.bytes.len()) else {
            return;
        };
        self.bytes.extend_from_slice(name);
        self.names.push((start, name.len() as u32));
    }

    fn sort(&mut self) {
        let mut names = std::mem::take(&mut self.names);
        names.sort_unstable_by(|&left, &right| self.name(left).cmp(self.name(right)));
        // A name can come twice while the directory changes under its reader.
        names.dedup_by(|left, right| self.name(*left) == self.name(*right));
        self.names = names;
    }

    fn name(&self, (start, len): (u32, u32)) -> &[u8] {
        &self.bytes[start as usize..start as usize + len as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn names_come_sorted_and_once() {
        let mut listing = Listing::of([b"b".as_slice(), b"\xff", b"a", b"B", b"a"]);
        assert!(listing.contains(b"B") && !listing.contains(b"c"));
        let mut seen = Vec::new();
        while let Some(name) = listing.next() {
            seen.push(name.to_vec());
        }
        assert_eq!(seen, [b"B".as_slice(), b"a", b"b", b"\xff"]);
    }

    #[test]
    fn a_large_directory_is_read_whole() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for number in 0..3000 {
            std::fs::write(dir.path().join(format!("{number:040}")), "").expect("written");
        }
        let fd = std::fs::File::open(dir.path()).expect("it can be opened");
        let (listing, failure) = Listing::read(fd.as_fd(), &mut Vec::new());
        assert_eq!((listing.names.len(), failure), (3000, None));
    }
}
