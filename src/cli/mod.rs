//! The command line, and the only place that prints.
//!
//! [`args`] is what clap reads, [`commands`] has one file a command, [`render`] turns
//! values into text, [`redact`] takes names out of them, [`progress`] shows running work, [`events`] tells it to programs, [`exit`] has the exit codes.

pub mod args;
pub mod commands;
pub mod commit_files;
pub mod context;
pub mod documents;
pub mod events;
pub mod exit;
pub mod load;
pub mod part;
pub mod progress;
pub mod redact;
pub mod render;
pub mod signal;
pub mod topology_files;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use self::args::{Cli, Command, Key};
use self::context::Context;
use self::exit::Outcome;
use crate::run::serve::keep_secrets_in_memory;

/// Reads the command line, does what it says, and returns how it went.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    // Any command may come to hold a key; a crash must not write it down.
    keep_secrets_in_memory();
    let context = Context::new(cli.quiet, cli.no_color);
    let exit = match dispatch(&context, &cli.command) {
        Ok(exit) => exit,
        Err(failure) => {
            drop(writeln!(std::io::stderr().lock(), "{failure}"));
            failure.exit
        }
    };
    ExitCode::from(exit as u8)
}

fn dispatch(context: &Context, command: &Command) -> Outcome {
    match command {
        Command::Import(args) => commands::import::run(context, args),
        Command::Init(args) => commands::init::run(context, args),
        Command::Validate(args) => commands::validate::run(context, args),
        Command::Fmt(args) => commands::fmt::run(context, args),
        Command::Observe(args) => commands::observe::run(context, args),
        Command::Plan(args) => commands::plan::run(context, args),
        Command::Diff(args) => commands::diff::run(context, args),
        Command::Apply(args) => commands::apply::run(context, args),
        Command::Drift(args) => commands::drift::run(context, args),
        Command::Adopt(args) => commands::adopt::run(context, args),
        Command::Show(args) => commands::show::run(context, args),
        Command::Run(args) => commands::run::run(context, args),
        Command::Status(args) => commands::status::run(context, args),
        Command::Snapshots(args) => commands::snapshots::run(context, args),
        Command::Log(args) => commands::log::run(context, args),
        Command::Graph(args) => commands::graph::run(context, args),
        Command::Restore(args) => commands::restore::run(context, args),
        Command::Key(Key::New { name, place, sheet }) => {
            commands::key::new(context, name, place, sheet.as_deref())
        }
        Command::Key(Key::Confirm {
            name,
            place,
            code_file,
        }) => commands::key::confirm(context, name, place, code_file.as_deref()),
        Command::Key(Key::Recover {
            code_file,
            key_file,
        }) => commands::key::recover(context, code_file, key_file),
        Command::Simulate(args) => commands::simulate::run(context, args),
        Command::Forecast(args) => commands::forecast::run(context, args),
        Command::Test(args) => commands::test::run(context, args),
        Command::Collect(args) => commands::collect::run(context, args),
        Command::Leave(args) => commands::leave::run(context, args),
        Command::Bootstrap(args) => commands::bootstrap::run(context, args),
        Command::HostKey(args) => commands::host_key::run(context, args),
        Command::Explain(args) => commands::explain::run(context, args),
        Command::Schema { name } => commands::schema::run(context, name.as_deref()),
        Command::Store(verb) => commands::store::run(context, verb),
        Command::Completions { shell } => commands::completions::run(context, *shell),
        Command::Man { folder } => commands::completions::man(context, folder),
        Command::Help { topic } => commands::help::run(context, topic.as_deref()),
        Command::Serve(args) => commands::serve::run(args),
        Command::Look { root } => commands::look::run(*root),
        Command::Agent => commands::serve::agent(),
    }
}
