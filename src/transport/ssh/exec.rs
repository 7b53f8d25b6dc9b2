//! Runs one script over a session.

use std::io::{self, Read, Write as _};
use std::time::{Duration, Instant};

use ssh2::Channel;

use super::link::{Link, Stopped};
use crate::transport::channel::Tail;
use crate::transport::frame::{Gathered, missing_trailer, nonce, wrap};
use crate::transport::launcher::{SCRIPT_COMMAND, SUDO_PREFIX};
use crate::transport::process::{GRACE, would_block};
use crate::transport::{Output, Script, TransportError};

/// libssh2's own sizes for a channel.
const WINDOW: u32 = 2 << 20;
const PACKET: u32 = 32 << 10;

/// Starts the constant command that reads the script; nothing of the script ran yet.
pub(super) fn start(
    link: &Link,
    script: &Script,
    sudo: bool,
    within: Duration,
) -> Result<Channel, TransportError> {
    let until = Instant::now() + within;
    let stopped = |stopped: Stopped| match stopped {
        Stopped::Late => TransportError::timeout(link.name(), &script.purpose, within),
        Stopped::Broken(detail) => TransportError::cut(link.name(), &script.purpose, detail),
    };
    let command = if sudo {
        format!("{SUDO_PREFIX}{SCRIPT_COMMAND}")
    } else {
        SCRIPT_COMMAND.to_owned()
    };
    let session = link.session();
    let mut channel = link
        .eventually(until, || {
            session.channel_open("session", WINDOW, PACKET, None)
        })
        .map_err(stopped)?;
    link.eventually(until, || channel.exec(&command))
        .map_err(stopped)?;
    Ok(channel)
}

/// Sends the script and gathers what it prints.
pub(super) fn run(
    link: &Link,
    channel: Channel,
    script: &Script,
    sudo: bool,
) -> Result<Output, TransportError> {
    let nonce = nonce(link.name())?;
    let text = wrap(script, &nonce);
    let mut talk = Talk {
        link,
        script,
        channel,
        input: text.as_bytes(),
        gathered: Gathered::new(&nonce, script.output_max),
        stderr: Tail::default(),
        until: Instant::now() + script.deadline,
    };
    if let Err(error) = talk.run() {
        // What still runs over there must not keep this side waiting.
        link.cut();
        return Err(error);
    }
    let signal = talk
        .channel
        .exit_signal()
        .ok()
        .and_then(|signal| signal.exit_signal);
    let closed = link.eventually(Instant::now() + GRACE, || talk.channel.close());
    let stderr = talk.stderr;
    match (talk.gathered.finish(), signal) {
        (Ok((stdout, status)), None) => {
            // A channel that does not close is left behind with its session.
            if closed.is_err() {
                link.cut();
            }
            Ok(Output {
                stdout,
                stderr: stderr.into_bytes(),
                status,
            })
        }
        (_, Some(signal)) => {
            let detail = format!("ended by signal {}", signal.escape_debug());
            Err(TransportError::cut(link.name(), &script.purpose, detail))
        }
        (Err(stdout), None) => Err(missing_trailer(
            link.name(),
            script,
            sudo,
            &stdout,
            stderr.as_bytes(),
        )),
    }
}

struct Talk<'a> {
    link: &'a Link,
    script: &'a Script,
    channel: Channel,
    input: &'a [u8],
    gathered: Gathered,
    stderr: Tail,
    until: Instant,
}

impl Talk<'_> {
    fn run(&mut self) -> Result<(), TransportError> {
        let mut buf = vec![0; 64 << 10];
        let mut until = self.until;
        let mut trailing = false;
        let mut eof_sent = false;
        loop {
            self.feed().map_err(|error| self.lost(&error))?;
            if self.input.is_empty() && !eof_sent {
                eof_sent = match self.channel.send_eof().map_err(io::Error::from) {
                    Ok(()) => true,
                    Err(error) if would_block(&error) => false,
                    Err(error) => return Err(self.lost(&error)),
                };
            }
            self.gather(&mut buf)?;
            if self.channel.eof() {
                return Ok(());
            }
            if self.gathered.ended() && !trailing {
                trailing = true;
                until = until.min(Instant::now() + GRACE);
            }
            if Instant::now() >= until {
                return if trailing {
                    Ok(())
                } else {
                    Err(TransportError::timeout(
                        self.link.name(),
                        &self.script.purpose,
                        self.script.deadline,
                    ))
                };
            }
            self.link.wait(until).map_err(|error| self.lost(&error))?;
        }
    }

    fn feed(&mut self) -> io::Result<()> {
        while !self.input.is_empty() {
            match self.channel.write(self.input) {
                Ok(count) => self.input = &self.input[count..],
                Err(error) if would_block(&error) => return Ok(()),
                // A shell that ended early says why on stderr.
                Err(_) if self.channel.eof() => self.input = &[],
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn gather(&mut self, buf: &mut [u8]) -> Result<(), TransportError> {
        loop {
            match read_some(&mut self.channel, buf).map_err(|error| self.lost(&error))? {
                0 => break,
                count if self.gathered.push(&buf[..count]) => {}
                _ => {
                    return Err(TransportError::TooMuchOutput {
                        host: self.link.name().to_owned(),
                        doing: self.script.purpose.clone(),
                        limit: self.script.output_max,
                    });
                }
            }
            if Instant::now() >= self.until {
                return Ok(());
            }
        }
        loop {
            match read_some(&mut self.channel.stderr(), buf).map_err(|error| self.lost(&error))? {
                0 => return Ok(()),
                count => self.stderr.push(&buf[..count]),
            }
            if Instant::now() >= self.until {
                return Ok(());
            }
        }
    }

    fn lost(&self, error: &io::Error) -> TransportError {
        TransportError::cut(
            self.link.name(),
            &self.script.purpose,
            format!("the connection was lost: {error}"),
        )
    }
}

/// Reads what is there; 0 if there is nothing now.
pub(super) fn read_some(stream: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    match stream.read(buf) {
        Err(error) if would_block(&error) => Ok(0),
        other => other,
    }
}
