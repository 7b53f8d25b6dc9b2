//! This machine.

use std::ffi::{OsStr, OsString};
use std::process::Command;

use super::launcher::SCRIPT_COMMAND;
use super::process;
use crate::transport::{Channel, Launch, Output, Script, Transport, TransportError};

const HOST: &str = "local";

/// What programs find of our environment; the rest may hold secrets that are no business of theirs.
const KEPT: [&str; 9] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "TZ",
    "TMPDIR",
    "BKPCTL_THREADS",
];

/// The beginnings of further names that are kept: of locales, and of the user's own folders.
const KEPT_FAMILIES: [&str; 2] = ["LC_", "XDG_"];

/// Runs programs on this machine, each in a process group of its own.
#[derive(Debug, Clone, Default)]
pub struct Local {
    sudo: bool,
    /// All that programs find in their environment, if it is not what is kept of our own.
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
        command.env_clear();
        match &self.environment {
            Some(environment) => {
                command.envs(environment.iter().map(|(name, value)| (name, value)))
            }
            None => command.envs(std::env::vars_os().filter(|(name, _)| is_kept(name))),
        };
        command
    }

    fn needs_sudo(&self, privileged: bool) -> bool {
        privileged && self.sudo && !rustix::process::geteuid().is_root()
    }
}

fn is_kept(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else {
        return false;
    };
    KEPT.contains(&name) || KEPT_FAMILIES.iter().any(|family| name.starts_with(family))
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
