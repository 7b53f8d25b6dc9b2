//! This machine.

use std::ffi::OsString;
use std::process::Command;

use super::launcher::SCRIPT_COMMAND;
use super::process;
use crate::transport::{Channel, Launch, Output, Script, Transport, TransportError};

const HOST: &str = "local";

/// Runs programs on this machine, each in a process group of its own.
#[derive(Debug, Clone, Default)]
pub struct Local {
    sudo: bool,
    /// All that programs find in their environment, if it is not our own.
    environment: Option<Vec<(String, OsString)>>,
}

impl Local {
    /// Creates the transport; what asks for root runs as the present user.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates the transport; what asks for root runs through `sudo -n`, unless this is root.
    pub fn with_sudo() -> Self {
        Self {
            sudo: true,
            ..Self::default()
        }
    }

    /// Creates the transport; programs find this in their environment and nothing else.
    pub fn with_environment(environment: Vec<(String, OsString)>) -> Self {
        Self {
            environment: Some(environment),
            ..Self::default()
        }
    }

    fn command(&self, program: &str, privileged: bool) -> Command {
        let mut command = if self.needs_sudo(privileged) {
            let mut command = Command::new("sudo");
            command.args(["-n", "--", program]);
            command
        } else {
            Command::new(program)
        };
        if let Some(environment) = &self.environment {
            let variables = environment.iter().map(|(name, value)| (name, value));
            command.env_clear().envs(variables);
        }
        command
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
