//! `bkpctl key`: make reading keys, and make sure that they can't be lost.

use std::fs;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::cli::args::Where;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::load::load;
use crate::cli::render;
use crate::engine::crypto::{KeyFile, RecoveryCode};
use crate::run::keys;
use crate::run::message::Fault;

/// Makes a key that the topology declares, and shows its recovery sheet once.
pub fn new(context: &Context, name: &str, place: &Where, sheet: Option<&Path>) -> Outcome {
    let topology = load(context, &place.topology)?;
    let file = keys::path(&topology, name).map_err(|fault| {
        let known: Vec<_> = topology.keys.keys().map(ToString::to_string).collect();
        failure(fault).help(format!("the topology declares: {}", known.join(", ")))
    })?;
    if file.exists() {
        return Err(Failure::new(format!(
            "there is a key at {} already; it was not touched",
            file.display()
        )));
    }
    if let Some(note) = keys::trace_of_earlier(&file) {
        return Err(Failure::new(format!(
            "a key was at {} before, and a new one can't read what was sealed for it",
            file.display()
        ))
        .help(format!(
            "make the old one again with bkpctl key recover CODE-FILE {}; if it is really of no use, remove {} first",
            file.display(),
            note.display()
        )));
    }
    // A log of a CI job would keep the key for ever.
    if sheet.is_none() && !std::io::stdout().is_terminal() {
        return Err(Failure::new(
            "the recovery sheet holds the whole key and is shown on a terminal only",
        )
        .help(format!(
            "bkpctl key new {name} --sheet FILE, then print FILE and remove it"
        )));
    }
    let key = keys::create_file(&file).map_err(failure)?;
    let text = render::sheet::render(&topology, name, &key);
    match sheet {
        Some(path) => write_sheet(path, &text).inspect_err(|_| drop(fs::remove_file(&file)))?,
        None => context.print(&text),
    }
    context.print(&format!(
        "The key is at {}. Print the sheet, put it away, then: bkpctl key confirm {name}",
        file.display()
    ));
    Ok(Exit::Ok)
}

/// Writes a secret to a new file that nobody else may read.
pub(in crate::cli) fn write_sheet(path: &Path, text: &str) -> Result<(), Failure> {
    let write = || -> std::io::Result<()> {
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|e| Failure::new(format!("failed to write the sheet {}: {e}", path.display())))
}

/// Confirms that the sheet was kept: whoever has it can type the code.
pub fn confirm(context: &Context, name: &str, place: &Where, code_file: Option<&Path>) -> Outcome {
    let topology = load(context, &place.topology)?;
    let code = match code_file {
        Some(path) => read_code(path)?,
        None => ask_for_code()?,
    };
    keys::confirm(&topology, name, &code).map_err(failure)?;
    context.print(&format!(
        "The sheet of key {name} is confirmed. Next: bkpctl plan"
    ));
    Ok(Exit::Ok)
}

/// Makes a key file from the code on a recovery sheet.
pub fn recover(context: &Context, code_file: &Path, key_file: &Path) -> Outcome {
    let code = read_code(code_file)?;
    let key = RecoveryCode::parse(&code)
        .map_err(|error| Failure::new(format!("{}: {error}", code_file.display())))?;
    write_sheet(key_file, &KeyFile::print(&key))?;
    context.print(&format!(
        "The key file is {}, domain {}",
        key_file.display(),
        key.domain()
    ));
    Ok(Exit::Ok)
}

fn read_code(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let text = fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|e| Failure::new(format!("failed to read {}: {e}", path.display())))?;
    // The whole sheet will do: the code is the one line of it that is a code.
    let line = text.lines().find(|line| RecoveryCode::parse(line).is_ok());
    Ok(Zeroizing::new(line.unwrap_or(&text).to_owned()))
}

fn ask_for_code() -> Result<Zeroizing<String>, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new("there is no terminal to type the code on")
            .help("bkpctl key confirm NAME --code-file FILE"));
    }
    rpassword::prompt_password("Recovery code from the sheet: ")
        .map(Zeroizing::new)
        .map_err(|e| Failure::new(format!("failed to read the code: {e}")))
}

fn failure(fault: Fault) -> Failure {
    Failure::new(fault.message)
}
