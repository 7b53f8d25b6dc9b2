//! How entries of a snapshot look: as a line for people, as fields for programs.

use serde::Serialize;

use crate::cli::render::text::escape;
use crate::engine::files::{Entry, Kind};
use crate::engine::hex;
use crate::model::{ByteSize, Timestamp};

/// One entry in JSON.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    /// The path as text; bytes that are no UTF-8 are replaced.
    path: String,
    /// The path's bytes in hex, where the text is not exact.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    kind: &'static str,
    mode: String,
    uid: u32,
    gid: u32,
    size: u64,
    mtime_seconds: i64,
    mtime_nanos: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

fn target(kind: &Kind) -> Option<String> {
    match kind {
        Kind::Symlink { target } => Some(String::from_utf8_lossy(target).into_owned()),
        Kind::Hardlink { to } => Some(String::from_utf8_lossy(to.as_bytes()).into_owned()),
        _ => None,
    }
}

fn path(entry: &Entry) -> String {
    if entry.path.is_root() {
        ".".to_owned()
    } else {
        String::from_utf8_lossy(entry.path.as_bytes()).into_owned()
    }
}

/// Returns the entry's path, safe for a terminal.
pub(super) fn name(entry: &Entry) -> String {
    escape(&path(entry))
}

/// Returns the entry's fields.
pub(super) fn line(entry: &Entry) -> Line {
    let exact = std::str::from_utf8(entry.path.as_bytes()).is_ok();
    Line {
        path: path(entry),
        path_hex: (!exact).then(|| hex::encode(entry.path.as_bytes())),
        kind: entry.kind.noun(),
        mode: format!("{:04o}", entry.meta.mode),
        uid: entry.meta.uid,
        gid: entry.meta.gid,
        size: entry.kind.size(),
        mtime_seconds: entry.meta.mtime.seconds,
        mtime_nanos: entry.meta.mtime.nanos,
        target: target(&entry.kind),
    }
}

/// Returns the entry with mode, owner, size and time, safe for a terminal.
pub(super) fn row(entry: &Entry) -> String {
    let meta = &entry.meta;
    let arrow = target(&entry.kind).map_or_else(String::new, |to| format!(" → {}", escape(&to)));
    format!(
        "{:04o} {:>5}:{:<5} {:>9}  {}  {}{arrow}",
        meta.mode,
        meta.uid,
        meta.gid,
        ByteSize(entry.kind.size()).to_string(),
        Timestamp::from_seconds(meta.mtime.seconds),
        name(entry),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::files::{Meta, RelPath};

    #[test]
    fn names_do_nothing_to_a_terminal_and_stay_exact_for_programs() {
        let path = RelPath::new(&b"a\x1b[31m\n\xff"[..]).expect("a path");
        let kind = Kind::Symlink {
            target: b"\x07".to_vec(),
        };
        let entry = Entry::new(path, kind, Meta::default());
        let row = row(&entry);
        assert!(!row.contains(['\x1b', '\n', '\x07']), "{row:?}");
        let json = serde_json::to_value(line(&entry)).expect("JSON");
        assert_eq!(json["path_hex"], "611b5b33316d0aff");
    }
}
