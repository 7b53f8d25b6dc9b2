//! `bkpctl store cat`: one file of a snapshot, on standard output.

use std::io::{BufWriter, IsTerminal, Write};

use super::open::{reader, secret};
use super::{engine, inner};
use crate::cli::args::StoreCat;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::engine::files::Entry;
use crate::engine::{EngineError, OpenSnapshot};

/// Writes the file's bytes and nothing else; its holes are zeros.
pub(super) fn run(args: &StoreCat) -> Outcome {
    let repository = reader(&args.store, &secret(&args.secret, false)?)?;
    let snapshot = repository.find_snapshot(&args.snapshot).map_err(engine)?;
    let opened = OpenSnapshot::open(&repository, &snapshot).map_err(engine)?;
    let entry = chosen(&opened, args.path.as_deref())?;
    let out = std::io::stdout().lock();
    if out.is_terminal() {
        return Err(Failure::new(
            "standard output is a terminal, which a file's bytes could confuse",
        )
        .help("send it to a file or a program: bkpctl store cat … > FILE"));
    }
    let mut out = BufWriter::with_capacity(1 << 20, out);
    let written = opened.write_content(&entry, &mut out).and_then(|()| {
        out.flush().map_err(|source| EngineError::Io {
            doing: "write the output",
            source,
        })
    });
    written.map_err(engine)?;
    Ok(Exit::Ok)
}

/// Finds the file of a path, or the only one.
pub(super) fn chosen(
    opened: &OpenSnapshot,
    path: Option<&std::path::Path>,
) -> Result<Entry, Failure> {
    let entry = match path {
        Some(_) => opened.file(&inner(path)?),
        None => opened.only_file(),
    };
    entry.map_err(engine)
}
