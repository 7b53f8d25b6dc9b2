//! This machine.

use std::process::Command;

use super::launcher::SCRIPT_COMMAND;
use super::process;
use crate::transport::{Channel, Launch, Output, Script, Transport, TransportError};

const HOST: &str = "local";

/// Runs programs on this machine, each in a process group of its own.
#[derive(Debug, Clone, Default)]
pub struct Local {
    sudo: bool,
}

impl Local {
    /// Creates the transport; what asks for root runs as the present user.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates the transport; what asks for root runs through `sudo -n`, unless this is root.
    pub fn with_sudo() -> Self {
        Self { sudo: true }
    }

    fn command(&self, program: &str, privileged: bool) -> Command {
        if self.needs_sudo(privileged) {
            let mut command = Command::new("sudo");
            command.args(["-n", "--", program]);
            command
        } else {
            Command::new(program)
        }
    }

    fn needs_sudo(&self, privileged: bool) -> bool {
        privileged && self.sudo && !rustix::process::geteuid().is_root()
    }
}

impl Transport for Local {
    fn run(&self, script: &Script) -> Result<Output, TransportError> {
        let command = self.command(SCRIPT_COMMAND, script.privileged);
        process::run(HOST, command, script, self.needs_sudo(script.privileged))
    }

    fn open(&self, launch: &Launch) -> Result<Channel, TransportError> {
        super::launcher::preamble(launch, "", HOST)?;
        let mut command = self.command(launch.program(), launch.privileged);
        command.args(&launch.argv[1..]);
        Ok(process::start(HOST, command, launch.program())?.channel())
    }

    fn describe(&self) -> String {
        HOST.to_owned()
    }
}

#[cfg(test)]
mod tests;
