//! One snapshot, opened for reading with the reading key.

use std::io::Write;

use super::crypto::WriterKey;
use super::error::EngineError;
use super::files::{Entry, Extent, Kind, RelPath};
use super::hex;
use super::manifest::{Clear, Manifest, Sealed};
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
    tree: [u8; 32],
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

    /// Tells whether it has an entry of this path, without reading all of them.
    pub fn has(&self, path: &RelPath) -> Result<bool, EngineError> {
        self.reader.has_entry(&self.writer, self.tree, path)
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
        let damaged = |reason| EngineError::damaged(format!("entry {}", entry.path), reason);
        let extents: &[Extent] = match &entry.kind {
            Kind::File { extents, .. } => extents,
            _ => &[],
        };
        if entry.span_bytes() != entry.kind.data_bytes() {
            return Err(damaged("its chunks do not fill it"));
        }
        let mut extents = extents.iter();
        let mut left = Extent { offset: 0, len: 0 };
        for span in &entry.spans {
            let chunk = self.reader.chunk(&self.writer, &span.chunk)?;
            let (start, len) = (span.offset as usize, span.len as usize);
            let mut bytes = chunk
                .get(start..start + len)
                .ok_or_else(|| damaged("a piece lies outside its chunk"))?;
            while !bytes.is_empty() {
                if left.len == 0 {
                    left = *extents
                        .next()
                        .ok_or_else(|| damaged("it has more data than room"))?;
                }
                let (now, rest) = bytes.split_at(bytes.len().min(left.len as usize));
                take(left.offset, now)?;
                left.offset += now.len() as u64;
                left.len -= now.len() as u64;
                bytes = rest;
            }
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
