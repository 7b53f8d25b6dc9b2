//! The files of a topology on disk.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::config::{Files, FilesError};
use crate::run::node::rewrite_file;

/// The largest file that is read.
pub(super) const SIZE_MAX: u64 = 1 << 20;

/// A topology's folder; nothing outside of it is read, links included.
#[derive(Debug, Clone)]
pub struct FolderFiles {
    folder: PathBuf,
}

impl FolderFiles {
    /// Finds the folder and the root file of what a person named: a file, or a folder
    /// with a `topology.kdl`.
    pub fn find(named: &Path) -> io::Result<(Self, String)> {
        let (folder, root) = if fs::metadata(named)?.is_dir() {
            (named.to_owned(), "topology.kdl".to_owned())
        } else {
            let name = named.file_name().and_then(|name| name.to_str());
            let name = name.ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidInput, "the file's name is not text")
            })?;
            let folder = match named.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
                _ => PathBuf::from("."),
            };
            (folder, name.to_owned())
        };
        let folder = folder.canonicalize()?;
        Ok((Self { folder }, root))
    }

    /// Returns the absolute path of the folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Replaces a file's text in one step; a link stays one, and what it leads to changes.
    pub fn replace(&self, path: &str, text: &str) -> io::Result<()> {
        let file = self.resolve(path).map_err(io::Error::other)?;
        rewrite_file(&file, text.as_bytes())
    }

    fn resolve(&self, path: &str) -> Result<PathBuf, FilesError> {
        let found = self.folder.join(path).canonicalize().map_err(denied)?;
        if found.starts_with(&self.folder) {
            Ok(found)
        } else {
            Err(FilesError::Outside)
        }
    }
}

/// Returns a file's text, if it is text and no larger than a topology's file may be.
pub(super) fn text(bytes: Vec<u8>) -> Result<String, FilesError> {
    if bytes.len() as u64 > SIZE_MAX {
        return Err(FilesError::TooLarge);
    }
    String::from_utf8(bytes).map_err(|_| FilesError::NotText)
}

#[expect(clippy::needless_pass_by_value, reason = "the shape map_err wants")]
fn denied(error: io::Error) -> FilesError {
    match error.kind() {
        io::ErrorKind::NotFound => FilesError::NotFound,
        _ => FilesError::Denied(error.to_string()),
    }
}

impl Files for FolderFiles {
    fn read(&mut self, path: &str) -> Result<String, FilesError> {
        let path = self.resolve(path)?;
        // A pipe or a device would never end, or never begin.
        if !fs::metadata(&path).map_err(denied)?.is_file() {
            return Err(FilesError::Denied("it is not a regular file".to_owned()));
        }
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(SIZE_MAX + 1).read_to_end(&mut bytes))
            .map_err(denied)?;
        text(bytes)
    }

    fn list(&mut self, folder: &str) -> Result<Vec<String>, FilesError> {
        let entries = fs::read_dir(self.resolve(folder)?).map_err(denied)?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(denied)?;
            // A folder can't be included, and a name that is not text can't be written down.
            if let Ok(name) = entry.file_name().into_string()
                && !entry.path().is_dir()
            {
                names.push(name);
            }
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_topology_is_found_by_its_file_and_by_its_folder() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("topology.kdl");
        fs::write(&file, "x").expect("a file");
        for named in [dir.path(), &file] {
            let (mut files, root) = FolderFiles::find(named).expect("it is there");
            assert_eq!(root, "topology.kdl");
            assert_eq!(files.read(&root), Ok("x".to_owned()));
        }
        assert!(FolderFiles::find(&dir.path().join("absent")).is_err());
    }

    #[test]
    fn links_out_of_the_folder_are_not_followed() {
        let dir = tempfile::tempdir().expect("a folder");
        let inside = dir.path().join("inside");
        fs::create_dir(&inside).expect("a folder");
        fs::write(dir.path().join("secret.kdl"), "s").expect("a file");
        symlink("../secret.kdl", inside.join("link.kdl")).expect("a link");
        symlink("..", inside.join("up")).expect("a link");
        let (mut files, _) = FolderFiles::find(&inside).expect("it is there");
        assert_eq!(files.read("link.kdl"), Err(FilesError::Outside));
        assert_eq!(files.list("up"), Err(FilesError::Outside));
        assert_eq!(files.read("absent.kdl"), Err(FilesError::NotFound));
    }

    #[test]
    fn what_is_no_text_or_too_much_of_it_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("binary.kdl"), [0xff, 0xfe]).expect("a file");
        fs::write(dir.path().join("large.kdl"), vec![b' '; (1 << 20) + 1]).expect("a file");
        let (mut files, _) = FolderFiles::find(dir.path()).expect("it is there");
        assert_eq!(files.read("binary.kdl"), Err(FilesError::NotText));
        assert_eq!(files.read("large.kdl"), Err(FilesError::TooLarge));
        let names = files.list("").expect("a list");
        assert_eq!(names.len(), 2);
    }
}
