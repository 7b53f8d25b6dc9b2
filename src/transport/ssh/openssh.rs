//! Machines whose host certificates only OpenSSH can check, reached with the `ssh` program.
//!
//! Scripts and channels are framed as over a session of our own: a result counts only with
//! its trailer, a program only with its end line, and arguments travel on stdin.

use std::ffi::OsString;
use std::io::{self, Cursor, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use super::{Route, SshTarget};
use crate::transport::error::{printable_tail, sudo_refusal};
use crate::transport::frame::{find, nonce};
use crate::transport::launcher::{
    COMMAND, SCRIPT_COMMAND, SUDO_PREFIX, Verdict, preamble, verdict,
};
use crate::transport::process::{self, Started, timespec};
use crate::transport::question;
use crate::transport::{
    Channel, ChannelReader, ChannelWriter, Exit, Launch, Output, Process, Script, TransportError,
};

/// What a login shell may print before the program starts.
const NOISE_MAX: usize = 64 << 10;

/// Is a machine that is reached with the `ssh` program.
#[derive(Debug)]
pub(super) struct OpenSsh {
    name: String,
    argv: Vec<OsString>,
    within: Duration,
}

impl OpenSsh {
    /// Words the call; whatever the target leaves open, the user's configuration says.
    pub(super) fn new(target: &SshTarget, route: &Route) -> Result<Self, TransportError> {
        if target.jump.is_some() {
            return Err(TransportError::Unsupported {
                host: route.name.clone(),
                what: "only a @cert-authority line covers it, which the ssh program checks, and that cannot go through a node".to_owned(),
                next: "pin its host-key, or write the jump host into the SSH configuration".to_owned(),
            });
        }
        let mut argv: Vec<OsString> = ["ssh", "-T", "-e", "none"].map(OsString::from).into();
        let mut option = |text: String| argv.extend(["-o".into(), OsString::from(text)]);
        option("BatchMode=yes".to_owned());
        option("StrictHostKeyChecking=yes".to_owned());
        option("ClearAllForwardings=yes".to_owned());
        option("ControlMaster=no".to_owned());
        option(format!(
            "ConnectTimeout={}",
            route.connect_within.as_secs().max(1)
        ));
        // As long as over a session of our own, see `SILENCE_MAX`.
        option("ServerAliveInterval=10".to_owned());
        option("ServerAliveCountMax=3".to_owned());
        if let Some(files) = &target.known_hosts {
            let files: Vec<_> = files.iter().map(|file| file.to_string_lossy()).collect();
            option(format!("UserKnownHostsFile={}", files.join(" ")));
        }
        let words = [
            ("-F", target.config_file.as_ref().map(OsString::from)),
            ("-i", target.identity_file.as_ref().map(OsString::from)),
            ("-l", Some(OsString::from(&route.config.user))),
            ("-p", Some(OsString::from(route.config.port.to_string()))),
        ];
        for (word, value) in words {
            if let Some(value) = value {
                argv.extend([word.into(), value]);
            }
        }
        argv.extend(["--".into(), OsString::from(&target.host)]);
        Ok(Self {
            name: route.name.clone(),
            argv,
            within: route.connect_within,
        })
    }

    pub(super) fn run(&self, script: &Script, sudo: bool) -> Result<Output, TransportError> {
        let output = process::run(&self.name, self.command(SCRIPT_COMMAND, sudo), script, sudo);
        output.map_err(explain)
    }

    pub(super) fn open(&self, launch: &Launch, sudo: bool) -> Result<Channel, TransportError> {
        let nonce = nonce(&self.name)?;
        let lines = preamble(launch, &nonce, &self.name)?;
        let program = printable_tail(launch.program().as_bytes(), 200);
        let mut opening = Opening {
            ssh: self,
            doing: format!("start {program}"),
            nonce,
            started: process::start(&self.name, self.command(COMMAND, sudo), "ssh")
                .map_err(explain)?,
        };
        // A program that ended early says why on stderr.
        let _ = opening.started.stdin.write_all(&lines);
        match opening.await_start() {
            Ok(Some(rest)) => Ok(opening.channel(rest)),
            Ok(None) => Err(opening.did_not_start(launch, sudo)),
            Err(error) => Err(error),
        }
    }

    fn command(&self, remote: &str, sudo: bool) -> Command {
        let mut command = Command::new(&self.argv[0]);
        command.args(&self.argv[1..]);
        if sudo {
            command.arg(format!("{SUDO_PREFIX}{remote}"));
        } else {
            command.arg(remote);
        }
        command
    }
}

/// Words what the `ssh` program said as what it means.
fn explain(error: TransportError) -> TransportError {
    match error {
        TransportError::NoSuchProgram { host, .. } => TransportError::Unsupported {
            host,
            what: "only a @cert-authority line covers it, and there is no ssh program here to check host certificates".to_owned(),
            next: "install the OpenSSH client, or pin the host-key".to_owned(),
        },
        TransportError::Cut { host, doing, detail } => {
            meaning(&host, &detail).unwrap_or(TransportError::Cut { host, doing, detail })
        }
        other => other,
    }
}

/// Returns what the `ssh` program's own last words mean; it said them before anything ran.
fn meaning(host: &str, said: &str) -> Option<TransportError> {
    let host = host.to_owned();
    let unreachable = [
        "Could not resolve hostname",
        "Connection refused",
        "Connection timed out",
        "No route to host",
        "Network is unreachable",
    ];
    if said.contains("Host key verification failed") || said.contains("IDENTIFICATION HAS CHANGED")
    {
        return Some(TransportError::HostKeyMismatch {
            host,
            offered: "one that no @cert-authority line covers".to_owned(),
            expected: vec!["only a @cert-authority for it".to_owned()],
            place: "known_hosts".to_owned(),
        });
    }
    if said.contains(": Permission denied (") {
        return Some(TransportError::Auth {
            user: "the login of the SSH configuration".to_owned(),
            host,
            tried: vec![said.to_owned()],
        });
    }
    unreachable
        .iter()
        .any(|words| said.contains(words))
        .then(|| TransportError::Unreachable {
            host,
            why: said.to_owned(),
        })
}

/// A program that was asked for and has not answered yet.
struct Opening<'a> {
    ssh: &'a OpenSsh,
    doing: String,
    nonce: String,
    started: Started,
}

impl Opening<'_> {
    /// Waits for the launcher's answer; returns what came behind it, or none at the end.
    fn await_start(&mut self) -> Result<Option<Vec<u8>>, TransportError> {
        let answer = format!("{}\n", self.nonce);
        let until = Instant::now() + self.ssh.within;
        let failed = |error| TransportError::io(&self.ssh.name, &self.doing, error);
        let mut noise = Vec::new();
        let mut buf = vec![0; 16 << 10];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let stdout = self.started.stdout.as_fd();
            let mut fds = [PollFd::from_borrowed_fd(stdout, PollFlags::IN)];
            match poll(&mut fds, Some(&timespec(left))) {
                Ok(0) => {
                    let within = self.ssh.within;
                    return Err(TransportError::timeout(&self.ssh.name, &self.doing, within));
                }
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(failed(error.into())),
            }
            let count = self.started.stdout.read(&mut buf).map_err(failed)?;
            noise.extend_from_slice(&buf[..count]);
            if let Some(at) = find(&noise, answer.as_bytes()) {
                return Ok(Some(noise.split_off(at + answer.len())));
            }
            if count == 0 {
                return Ok(None);
            }
            if noise.len() > NOISE_MAX {
                return Err(TransportError::TooMuchOutput {
                    host: self.ssh.name.clone(),
                    doing: self.doing.clone(),
                    limit: NOISE_MAX,
                });
            }
        }
    }

    fn did_not_start(self, launch: &Launch, sudo: bool) -> TransportError {
        let host = self.ssh.name.clone();
        let stderr = match self.started.running.wait() {
            Ok(exit) => exit.stderr,
            Err(error) => return error,
        };
        if let Some((Verdict::NoProgram, _)) = verdict(&stderr, &self.nonce) {
            return TransportError::NoSuchProgram {
                host,
                program: launch.program().to_owned(),
            };
        }
        if let Some(detail) = question::refused(&stderr) {
            return TransportError::refused(&host, &self.doing, detail);
        }
        if let Some(detail) = sudo_refusal(&stderr).filter(|_| sudo) {
            return TransportError::Denied { host, detail };
        }
        let said = printable_tail(&stderr, 400);
        meaning(&host, &said).unwrap_or_else(|| TransportError::cut(&host, &self.doing, said))
    }

    fn channel(self, rest: Vec<u8>) -> Channel {
        let Started {
            stdin,
            stdout,
            running,
        } = self.started;
        let killer = running.killer();
        let (host, doing, nonce) = (self.ssh.name.clone(), self.doing, self.nonce);
        let ended = move || {
            let exit = running.wait()?;
            match verdict(&exit.stderr, &nonce) {
                Some((Verdict::Ended(status), stderr)) => Ok(Exit { status, stderr }),
                Some((Verdict::NoProgram, _)) | None => {
                    let said = printable_tail(&exit.stderr, 400);
                    Err(TransportError::cut(&host, &doing, said))
                }
            }
        };
        Channel {
            stdin: ChannelWriter::new(stdin),
            stdout: ChannelReader::new(io::Read::chain(Cursor::new(rest), stdout)),
            process: Process::new(killer, ended),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Said by OpenSSH 10.0 on Debian 13.
    #[test]
    fn what_the_program_says_is_told_apart() {
        for (said, kind) in [
            ("Host key verification failed.", "host-key-mismatch"),
            ("root@10.0.0.11: Permission denied (publickey).", "auth"),
            (
                "ssh: connect to host 10.0.0.11 port 22: Connection refused",
                "unreachable",
            ),
            (
                "ssh: Could not resolve hostname nas: Name or service not known",
                "unreachable",
            ),
        ] {
            let error = meaning("nas", said).expect(said);
            assert_eq!(error.kind(), kind, "{said}");
        }
        assert!(meaning("nas", "cat: x: Permission denied").is_none());
    }
}
