//! A way to a machine through another one, as a channel of a session there.

use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use super::Route;
use super::exec::read_some;
use super::link::{Link, Stopped};
use super::socket::Socket;
use crate::transport::TransportError;
use crate::transport::process::{timespec, would_block};

/// How many bytes wait in each direction.
const BLOCK: usize = 256 << 10;

/// Servers refuse logins beyond a few that are under way at once (`MaxStartups`), and many
/// machines may lie behind the same one, so one at a time logs in there.
///
/// A machine that is itself behind others has a turn of its own, by their number: whoever
/// logs in there waits for those before it.
static LOGGING_IN: [Mutex<()>; 4] = [const { Mutex::new(()) }; 4];

/// Logs in to the machine between and asks it for a connection to `host`, `port`.
pub(super) fn connect(
    between: &Route,
    host: &str,
    port: u16,
    until: Instant,
) -> Result<Socket, TransportError> {
    let link = {
        let turn = LOGGING_IN.get(between.way.machines());
        let _turn = turn.map(|turn| turn.lock().unwrap_or_else(PoisonError::into_inner));
        Link::log_in(between)?
    };
    let open = || link.session().channel_direct_tcpip(host, port, None);
    let channel = link.eventually(until, open).map_err(|stopped| match stopped {
        Stopped::Late => TransportError::timeout(
            link.name(),
            &format!("connect to {host} port {port}"),
            between.connect_within,
        ),
        Stopped::Broken(detail) => TransportError::Unreachable {
            host: format!("{host}:{port} through {}", link.name()),
            why: format!(
                "{detail}: nothing answers there, or the machine between forwards nothing (AllowTcpForwarding)"
            ),
        },
    })?;
    let made = |error| TransportError::io(link.name(), "make a pair of sockets", error);
    let (ours, theirs) = UnixStream::pair().map_err(made)?;
    ours.set_nonblocking(true).map_err(made)?;
    let name = link.name().to_owned();
    let relay = Relay {
        channel,
        link,
        ours,
        onward: Vec::new(),
        back: Vec::new(),
    };
    thread::Builder::new()
        .name("ssh-through".to_owned())
        // Both ends see the end of the connection, whatever it was.
        .spawn(move || drop(relay.run()))
        .map_err(|error| TransportError::io(&name, "start a thread", error))?;
    Ok(Socket::new(theirs))
}

struct Relay {
    // Dropped before the link, whose session it belongs to.
    channel: ssh2::Channel,
    link: Link,
    ours: UnixStream,
    /// What is on its way to the machine.
    onward: Vec<u8>,
    /// What is on its way from it.
    back: Vec<u8>,
}

impl Relay {
    /// Moves bytes until either side has closed.
    fn run(mut self) -> io::Result<()> {
        let mut buf = vec![0; BLOCK];
        loop {
            let mut moved = false;
            if self.onward.is_empty() {
                match self.ours.read(&mut buf) {
                    Ok(0) => return Ok(()),
                    Ok(count) => {
                        self.onward.extend_from_slice(&buf[..count]);
                        moved = true;
                    }
                    Err(error) if would_block(&error) => {}
                    Err(error) => return Err(error),
                }
            }
            moved |= write_some(&mut self.channel, &mut self.onward)?;
            if self.back.is_empty() {
                let count = read_some(&mut self.channel, &mut buf)?;
                self.back.extend_from_slice(&buf[..count]);
                moved |= count > 0;
            }
            moved |= write_some(&mut self.ours, &mut self.back)?;
            if self.channel.eof() && self.back.is_empty() {
                return Ok(());
            }
            if !moved {
                self.wait()?;
            }
        }
    }

    fn wait(&self) -> io::Result<()> {
        let mut flags = PollFlags::empty();
        if self.onward.is_empty() {
            flags |= PollFlags::IN;
        }
        if !self.back.is_empty() {
            flags |= PollFlags::OUT;
        }
        let mut fds = [
            PollFd::from_borrowed_fd(self.link.socket().as_fd(), self.link.wanted()),
            PollFd::from_borrowed_fd(self.ours.as_fd(), flags),
        ];
        // A peer that is gone is noticed by the system (`SILENCE_MAX`), which ends the wait.
        match poll(&mut fds, Some(&timespec(Duration::from_mins(1)))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Writes what is taken now; libssh2 wants an unfinished write repeated as it was.
fn write_some(to: &mut impl io::Write, pending: &mut Vec<u8>) -> io::Result<bool> {
    let mut sent = 0;
    while sent < pending.len() {
        match to.write(&pending[sent..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => sent += count,
            Err(error) if would_block(&error) => break,
            Err(error) => return Err(error),
        }
    }
    pending.drain(..sent);
    Ok(sent > 0)
}
