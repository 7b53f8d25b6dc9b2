//! `bkpctl help`: topics that are no commands, and the help of commands.

use std::fmt::Write;

use clap::CommandFactory;

use crate::cli::args::Cli;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure, Outcome, TABLE};

/// Prints the help of a command or the text of a topic.
pub fn run(context: &Context, topic: Option<&str>) -> Outcome {
    let mut command = Cli::command();
    let text = match topic {
        None => command.render_long_help().to_string(),
        Some("exit-codes") => exit_codes(),
        Some(name) => command
            .find_subcommand_mut(name)
            .map(|found| found.render_long_help().to_string())
            .ok_or_else(|| {
                Failure::new(format!("there is no command and no topic called {name:?}"))
                    .help("bkpctl help lists the commands; the other topic is exit-codes")
            })?,
    };
    context.print(&text);
    Ok(Exit::Ok)
}

fn exit_codes() -> String {
    let mut text = String::from("Exit codes, the same in every version:\n");
    for (exit, meaning) in TABLE {
        let _ = writeln!(text, "{:>5}  {meaning}", exit as u8);
    }
    text.push_str("Where several apply, 1 comes before 4, 4 before 3, and 3 before 2.\n");
    text
}
