//! One snapshot, opened for reading with the reading key.

use std::io::Write;

use super::crypto::WriterKey;
use super::error::EngineError;
use super::files::{Entry, Kind, RelPath};
use super::hex;
use super::manifest::{Clear, Manifest, Sealed};
use super::pieces::{Piece, Pieces, Weight};
use super::reader::BlobReader;
use super::repository::{Repository, Snapshot};
use super::writer::ReadSession;

/// Takes a piece of a file's data and its offset in the file.
pub(super) type TakePiece<'a> = dyn FnMut(u64, &[u8]) -> Result<(), EngineError> + 'a;

/// Reads one snapshot; nothing it needs is deleted meanwhile.
pub struct OpenSnapshot {
    pub(super) reader: BlobReader,
    pub(super) writer: WriterKey,
    clear: Clear,
    sealed: Sealed,
    pub(super) tree: [u8; 32],
    _session: ReadSession,
}

impl OpenSnapshot {
    /// Opens a snapshot that was listed.
    pub fn open(repository: &Repository, snapshot: &Snapshot) -> Result<Self, EngineError> {
        let key = repository.require_reading_key("read a snapshot")?;
        let session = ReadSession::open(repository)?;
        let name = &snapshot.name;
        let bytes = repository.store.get(name)?;
        let manifest = Manifest::decode(name, &bytes)?;
        let sealed = manifest.open(name, key)?;
        let tree = hex::decode(&sealed.tree)
            .ok_or_else(|| EngineError::damaged(name, "it names no tree"))?;
        Ok(Self {
            reader: BlobReader::open(repository)?,
            writer: key.writer(&manifest.clear.writer)?,
            clear: manifest.clear,
            sealed,
            tree,
            _session: session,
        })
    }

    /// Returns what everybody may know of it.
    pub fn clear(&self) -> &Clear {
        &self.clear
    }

    /// Returns what only a reader may know of it.
    pub fn sealed(&self) -> &Sealed {
        &self.sealed
    }

    /// Returns its entries in path order.
    pub fn entries(
        &self,
    ) -> Result<impl Iterator<Item = Result<Entry, EngineError>> + '_, EngineError> {
        self.reader.entries(&self.writer, self.tree)
    }

    /// Returns its entries in path order, at least those at, below and above `paths`.
    ///
    /// Parts of the tree that hold none of them are not read.
    pub(super) fn entries_near(
        &self,
        paths: &[RelPath],
    ) -> Result<impl Iterator<Item = Result<Entry, EngineError>> + '_, EngineError> {
        self.reader.entries_near(&self.writer, self.tree, paths)
    }

    /// Returns the entry of a path and all below it, in path order.
    pub fn entries_below<'a>(
        &'a self,
        path: &'a RelPath,
    ) -> Result<impl Iterator<Item = Result<Entry, EngineError>> + 'a, EngineError> {
        let near = self.entries_near(std::slice::from_ref(path))?;
        Ok(near.filter(move |entry| {
            entry
                .as_ref()
                .map_or(true, |entry| entry.path.starts_with(path))
        }))
    }

    /// Returns the entry of a path, if it has one, without reading all of them.
    pub fn entry(&self, path: &RelPath) -> Result<Option<Entry>, EngineError> {
        self.reader.find_entry(&self.writer, self.tree, path)
    }

    /// Returns the file of a path; another name of a file gives that file's data.
    pub fn file(&self, path: &RelPath) -> Result<Entry, EngineError> {
        let missing = || EngineError::NoPath(path.to_string());
        let mut entry = if let Some(entry) = self.entry(path)? {
            entry
        } else {
            // A single file that was backed up is the root and known by its name.
            let root = self.entry(&RelPath::root())?;
            let root = root.filter(|root| !root.kind.is_dir());
            root.filter(|_| self.root_file_name() == *path)
                .ok_or_else(missing)?
        };
        if let Kind::Hardlink { to } = &entry.kind {
            let first = self.entry(to)?.ok_or_else(missing)?;
            entry.kind = first.kind;
            entry.spans = first.spans;
        }
        match entry.kind {
            Kind::File { .. } => Ok(entry),
            kind => Err(EngineError::NoFile {
                path: path.to_string(),
                kind: kind.noun(),
            }),
        }
    }

    /// Returns the one file that a snapshot of an image or a stream holds.
    pub fn only_file(&self) -> Result<Entry, EngineError> {
        let mut file = None;
        for entry in self.entries()? {
            let entry = entry?;
            match entry.kind {
                Kind::Dir => {}
                Kind::File { .. } if file.is_none() => file = Some(entry),
                _ => return Err(EngineError::WhichFile),
            }
        }
        file.ok_or(EngineError::WhichFile)
    }

    /// Tells whether it has an entry of this path, without reading all of them.
    pub fn has(&self, path: &RelPath) -> Result<bool, EngineError> {
        Ok(self.entry(path)?.is_some())
    }

    /// Returns how many bytes of the repository were read for it so far.
    pub fn bytes_read(&self) -> u64 {
        self.reader.bytes_read()
    }

    /// Returns the name under which a single file is restored that was backed up as the root.
    pub(super) fn root_file_name(&self) -> RelPath {
        let path = self.sealed.paths.first().map_or("", String::as_str);
        let name = path.rsplit('/').find(|part| !part.is_empty());
        let name = name.and_then(|name| RelPath::new(name).ok());
        let name = name.filter(|name| !name.is_root());
        name.unwrap_or_else(|| RelPath::new("file").expect("a plain name is a path"))
    }

    /// Writes a file's content, holes as zeros.
    pub fn write_content(&self, entry: &Entry, out: &mut dyn Write) -> Result<(), EngineError> {
        let failed = |source| EngineError::Io {
            doing: "write the output",
            source,
        };
        let mut at = 0;
        self.for_each_piece(entry, &mut |offset, bytes| {
            write_zeros(out, offset - at).map_err(failed)?;
            out.write_all(bytes).map_err(failed)?;
            at = offset + bytes.len() as u64;
            Ok(())
        })?;
        write_zeros(out, entry.kind.size() - at).map_err(failed)?;
        out.flush().map_err(failed)
    }

    /// Calls `take` with each piece of a file's data and its offset in the file, in order.
    pub(super) fn for_each_piece(
        &self,
        entry: &Entry,
        take: &mut TakePiece<'_>,
    ) -> Result<(), EngineError> {
        let mut pieces = Pieces::of(entry)?;
        loop {
            let group = self.group(&mut pieces);
            if group.is_empty() {
                return Ok(());
            }
            self.take_group(entry, &group, take)?;
        }
    }

    /// Returns the next pieces whose chunks are read in one go.
    pub(super) fn group(&self, pieces: &mut impl Iterator<Item = Piece>) -> Vec<Piece> {
        let mut weight = Weight::default();
        let mut group = Vec::new();
        for piece in pieces {
            weight.add(&piece.chunk, || self.reader.plain_len(&piece.chunk));
            group.push(piece);
            if weight.is_full() {
                break;
            }
        }
        group
    }

    fn take_group(
        &self,
        entry: &Entry,
        group: &[Piece],
        take: &mut TakePiece<'_>,
    ) -> Result<(), EngineError> {
        let damaged = |reason| EngineError::damaged(format!("entry {}", entry.path), reason);
        let ids = group.iter().map(|piece| piece.chunk).collect();
        let chunks = self.reader.chunks(&self.writer, &ids)?;
        for piece in group {
            let bytes = match chunks.get(&piece.chunk) {
                Some(Ok(chunk)) => piece.of(chunk),
                Some(Err(reason)) => return Err(damaged(reason.clone())),
                None => None,
            };
            let outside = || damaged("a piece lies outside its chunk".to_owned());
            take(piece.offset, bytes.ok_or_else(outside)?)?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for OpenSnapshot {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("OpenSnapshot")
            .field("clear", &self.clear)
            .finish_non_exhaustive()
    }
}

fn write_zeros(out: &mut dyn Write, mut count: u64) -> std::io::Result<()> {
    let zeros = [0; 8 << 10];
    while count > 0 {
        let len = count.min(zeros.len() as u64);
        out.write_all(&zeros[..len as usize])?;
        count -= len;
    }
    Ok(())
}
