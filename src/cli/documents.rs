//! JSON documents in files: written whole or not at all, and read up to a bound.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use serde::Serialize;

use crate::cli::exit::Failure;
use crate::run::node::replace_file;

/// The largest document that is read.
const LEN_MAX: u64 = 256 << 20;

/// Writes a document, replacing the file in one step.
///
/// It names users, paths and addresses, so nobody else reads it.
pub fn write(file: &Path, document: &impl Serialize) -> Result<(), Failure> {
    let failed = |why: String| Failure::new(format!("failed to write {}: {why}", file.display()));
    let json = serde_json::to_vec_pretty(document).map_err(|error| failed(error.to_string()))?;
    replace_file(file, &json, 0o600).map_err(|error| failed(error.to_string()))
}

/// Writes a text to a file that must not exist.
pub fn create(file: &Path, text: &str) -> std::io::Result<()> {
    let mut new = File::create_new(file)?;
    new.write_all(text.as_bytes())
        .and_then(|()| new.sync_all())
        // Half a text would stand in the way of the next try.
        .inspect_err(|_| drop(fs::remove_file(file)))
}

/// Reads the bytes of a file that should hold a document.
pub fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let length = std::fs::metadata(file)
        .map_err(|error| unreadable(file, error))?
        .len();
    if length > LEN_MAX {
        return Err(unreadable(file, "it is too large for what it should be"));
    }
    std::fs::read(file).map_err(|error| unreadable(file, error))
}

/// Says why a file can't be used.
pub fn unreadable(file: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::new(format!("failed to read {}: {why}", file.display()))
}
