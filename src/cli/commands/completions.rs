//! `bkpctl completions` and `bkpctl man`: what shells and readers of manuals want.

use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::args::Cli;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure, Outcome};

/// Prints completions for a shell.
pub fn run(context: &Context, shell: Shell) -> Outcome {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "bkpctl", &mut text);
    context.print(&String::from_utf8_lossy(&text));
    Ok(Exit::Ok)
}

/// Writes a manual page for each command into a folder.
pub fn man(context: &Context, folder: &Path) -> Outcome {
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
        .map_err(|e| {
            Failure::new(format!(
                "failed to write manual pages to {}: {e}",
                folder.display()
            ))
        })?;
    context.print(&format!(
        "Manual pages are in {}; read one with: man -l {}/bkpctl.1",
        folder.display(),
        folder.display()
    ));
    Ok(Exit::Ok)
}
