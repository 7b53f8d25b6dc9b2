//! The `bkpctl` binary: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    bkpctl::cli::run()
}
