//! Compares a live directory with a snapshot: metadata by entry, data byte by byte.

use std::path::Path;

use super::env::Cancel;
use super::error::EngineError;
use super::files::{
    Difference, Entry, Extent, Found, Kind, Note, OpenFile, Owners, RelPath, Scan, ScanOptions,
    Scanned, TreeDifference, compare as compare_entries,
};
use super::progress::{Event, Observer};
use super::snapshot::OpenSnapshot;

/// How many differences are named.
const NAMED_MAX: usize = 1000;

/// Says what a comparison leaves aside.
#[derive(Debug, Clone, Copy, Default)]
pub struct CompareOptions {
    /// Owners, and the special bits that go with them: only the privileged can restore those.
    pub ignore_owners: bool,
}

/// Says in what a live directory differs from a snapshot.
#[derive(Debug, Default)]
pub struct Differences {
    /// What is missing, extra or has other metadata; the first thousand.
    pub entries: Vec<TreeDifference>,
    /// Files whose data differs or cannot be read; the first thousand.
    pub content: Vec<RelPath>,
    /// How many differences there are in all.
    pub total: u64,
    /// How many entries were compared.
    pub compared: u64,
    /// How many files were compared byte by byte.
    pub files: u64,
    /// How many bytes that were.
    pub bytes: u64,
}

impl Differences {
    /// Tells whether the directory is what the snapshot says.
    pub fn is_none(&self) -> bool {
        self.total == 0
    }

    fn entry(&mut self, difference: TreeDifference) {
        self.total += 1;
        if self.entries.len() < NAMED_MAX {
            self.entries.push(difference);
        }
    }

    fn content(&mut self, path: RelPath) {
        self.total += 1;
        if self.content.len() < NAMED_MAX {
            self.content.push(path);
        }
    }
}

/// Compares everything below `dir` with a snapshot.
pub fn compare(
    snapshot: &OpenSnapshot,
    dir: &Path,
    options: CompareOptions,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Differences, EngineError> {
    let scan = Scan::new(&[dir.to_owned()], Owners::default(), ScanOptions::default())?;
    let mut comparison = Comparison {
        snapshot,
        options,
        observer,
        found: Differences::default(),
    };
    let mut live = scan.filter_map(|found| match found {
        Found::Entry(scanned) => Some(*scanned),
        // What cannot be read shows up as missing.
        Found::Note(note) => {
            observer.event(Event::Note(&note));
            None
        }
    });
    let mut next = live.next();
    for expected in snapshot.entries()? {
        if cancel.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        let mut expected = expected?;
        if expected.path.is_root() && !expected.kind.is_dir() {
            // The directory was made for the restore of this one file.
            next = live.next();
            expected.path = snapshot.root_file_name();
        }
        while let Some(extra) = next.take_if(|scanned| scanned.entry.path < expected.path) {
            comparison
                .found
                .entry(TreeDifference::Extra(extra.entry.path));
            next = live.next();
        }
        match next.take_if(|scanned| scanned.entry.path == expected.path) {
            Some(scanned) => {
                comparison.pair(&expected, scanned)?;
                next = live.next();
            }
            None => comparison
                .found
                .entry(TreeDifference::Missing(expected.path)),
        }
    }
    while let Some(extra) = next {
        comparison
            .found
            .entry(TreeDifference::Extra(extra.entry.path));
        next = live.next();
    }
    Ok(comparison.found)
}

struct Comparison<'a> {
    snapshot: &'a OpenSnapshot,
    options: CompareOptions,
    observer: &'a dyn Observer,
    found: Differences,
}

impl Comparison<'_> {
    fn pair(&mut self, expected: &Entry, mut live: Scanned) -> Result<(), EngineError> {
        self.found.compared += 1;
        let path = &expected.path;
        self.observer.event(Event::Entry {
            path,
            bytes: expected.kind.size(),
        });
        let is_file = matches!(
            (&expected.kind, &live.entry.kind),
            (Kind::File { .. }, Kind::File { .. })
        );
        let file: Option<Result<OpenFile, Note>> = is_file.then(|| live.open());
        let differences: Vec<Difference> = compare_entries(expected, &live.entry)
            .into_iter()
            .filter(|difference| !difference.is_informational() && !self.ignores(difference))
            .collect();
        let sizes_agree = expected.kind.size() == live.entry.kind.size();
        if !differences.is_empty() {
            self.found
                .entry(TreeDifference::Differs(path.clone(), differences));
        }
        match file {
            Some(Ok(file)) if sizes_agree => {
                self.found.files += 1;
                if !self.same_content(expected, &live.entry.kind, &file)? {
                    self.found.content(path.clone());
                }
            }
            Some(Err(_)) => self.found.content(path.clone()),
            _ => {}
        }
        Ok(())
    }

    fn ignores(&self, difference: &Difference) -> bool {
        const PERMISSIONS: u32 = 0o1777;
        match difference {
            Difference::Owner(..) => self.options.ignore_owners,
            Difference::Mode(expected, live) => {
                self.options.ignore_owners && expected & PERMISSIONS == live & PERMISSIONS
            }
            _ => false,
        }
    }

    fn same_content(
        &mut self,
        expected: &Entry,
        live: &Kind,
        file: &OpenFile,
    ) -> Result<bool, EngineError> {
        let mut same = holes_are_empty(&expected.kind, live, file);
        let mut buffer = Vec::new();
        let (found, observer) = (&mut self.found, self.observer);
        self.snapshot
            .for_each_piece(expected, &mut |offset, bytes| {
                buffer.resize(bytes.len(), 0);
                same = same && read_exact_at(file, &mut buffer, offset) && buffer == bytes;
                found.bytes += bytes.len() as u64;
                observer.event(Event::Read {
                    bytes: bytes.len() as u64,
                });
                Ok(())
            })?;
        Ok(same)
    }
}

fn read_exact_at(file: &OpenFile, mut buffer: &mut [u8], mut offset: u64) -> bool {
    while !buffer.is_empty() {
        match file.read_at(buffer, offset) {
            Ok(0) | Err(_) => return false,
            Ok(len) => {
                buffer = &mut buffer[len..];
                offset += len as u64;
            }
        }
    }
    true
}

/// Tells whether the live file reads as zeros wherever the expected one has a hole.
fn holes_are_empty(expected: &Kind, live: &Kind, file: &OpenFile) -> bool {
    let (Kind::File { extents, size }, Kind::File { extents: live, .. }) = (expected, live) else {
        return true;
    };
    let ends = extents.iter().map(|extent| extent.offset).chain([*size]);
    let starts = [0].into_iter().chain(extents.iter().map(Extent::end));
    let mut live = live.iter().peekable();
    for (start, end) in starts.zip(ends) {
        // Both lists ascend, so what ends before this hole is behind all that follow.
        while live.next_if(|extent| extent.end() <= start).is_some() {}
        for extent in live.clone().take_while(|extent| extent.offset < end) {
            let (from, to) = (extent.offset.max(start), extent.end().min(end));
            if !reads_as_zeros(file, from, to) {
                return false;
            }
        }
    }
    true
}

fn reads_as_zeros(file: &OpenFile, mut from: u64, to: u64) -> bool {
    let mut buffer = vec![0; 64 << 10];
    while from < to {
        let len = (to - from).min(buffer.len() as u64) as usize;
        let part = &mut buffer[..len];
        if !read_exact_at(file, part, from) || part.iter().any(|byte| *byte != 0) {
            return false;
        }
        from += len as u64;
    }
    true
}
