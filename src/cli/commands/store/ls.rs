//! `bkpctl store ls`: what a snapshot holds.

use serde::Serialize;

use super::engine;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Outcome};
use crate::cli::render::text::escape;
use crate::engine::files::{Entry, Kind};
use crate::engine::{OpenSnapshot, Repository, Snapshot, hex};
use crate::model::{ByteSize, Timestamp};

/// One entry in JSON.
#[derive(Debug, Serialize)]
struct Line {
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

/// Lists every entry of a snapshot in the order of their paths.
pub(super) fn run(
    context: &Context,
    repository: &Repository,
    snapshot: &Snapshot,
    json: bool,
) -> Outcome {
    let opened = OpenSnapshot::open(repository, snapshot).map_err(engine)?;
    let mut lines = Vec::new();
    for entry in opened.entries().map_err(engine)? {
        let entry = entry.map_err(engine)?;
        if json {
            lines.push(line(&entry));
        } else {
            context.print(&row(&entry));
        }
    }
    if json {
        context
            .print_json(&serde_json::json!({ "snapshot": snapshot.clear.id, "entries": lines }))?;
    }
    Ok(Exit::Ok)
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

fn line(entry: &Entry) -> Line {
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

fn row(entry: &Entry) -> String {
    let meta = &entry.meta;
    let arrow = target(&entry.kind).map_or_else(String::new, |to| format!(" → {}", escape(&to)));
    format!(
        "{:04o} {:>5}:{:<5} {:>9}  {}  {}{arrow}",
        meta.mode,
        meta.uid,
        meta.gid,
        ByteSize(entry.kind.size()).to_string(),
        Timestamp::from_seconds(meta.mtime.seconds),
        escape(&path(entry)),
    )
}
