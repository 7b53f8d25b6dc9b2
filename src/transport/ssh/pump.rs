//! Moves the bytes of one channel between two pipes and a session of its own.

use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use super::exec::read_some;
use super::link::{Link, SILENCE_MAX, Stopped};
use crate::transport::channel::Tail;
use crate::transport::error::{printable_tail, sudo_refusal};
use crate::transport::frame::{find, nonce};
use crate::transport::launcher::{COMMAND, SUDO_PREFIX, Verdict, preamble, verdict};
use crate::transport::process::{nonblocking, timespec, would_block};
use crate::transport::question;
use crate::transport::{
    Channel, ChannelReader, ChannelWriter, Exit, Killer, Launch, Process, TransportError,
};

/// What may be under way towards us; it bounds memory and, with the round trip, speed.
const WINDOW: u32 = 8 << 20;
const PACKET: u32 = 32 << 10;

/// How many bytes are moved at a time.
const BLOCK: usize = 256 << 10;

/// What a login shell may print before the program starts.
const NOISE_MAX: usize = 64 << 10;

/// How often a quiet peer is asked whether it is there.
const ASK_AFTER: Duration = Duration::from_secs(10);

/// The status that stands for a killed program.
const KILLED: i32 = 137;

/// Starts a program over its own link and leaves a thread in charge of it.
pub(super) fn open(
    link: Link,
    launch: &Launch,
    sudo: bool,
    within: Duration,
) -> Result<Channel, TransportError> {
    let host = link.name().to_owned();
    let nonce = nonce(&host)?;
    let lines = preamble(launch, &nonce, &host)?;
    let doing = format!("start {}", printable_tail(launch.program().as_bytes(), 200));
    let until = Instant::now() + within;
    let stopped = |stopped: Stopped| match stopped {
        Stopped::Late => TransportError::timeout(&host, &doing, within),
        Stopped::Broken(detail) => TransportError::cut(&host, &doing, detail),
    };
    let command = if sudo {
        format!("{SUDO_PREFIX}{COMMAND}")
    } else {
        COMMAND.to_owned()
    };
    let session = link.session();
    let mut channel = link
        .eventually(until, || {
            session.channel_open("session", WINDOW, PACKET, None)
        })
        .map_err(stopped)?;
    link.eventually(until, || channel.exec(&command))
        .map_err(stopped)?;
    let mut pump = Pump {
        link,
        channel,
        stderr: Tail::default(),
        nonce,
        doing,
        to_program: lines,
        sent: 0,
        to_app: Vec::new(),
        given: 0,
    };
    pump.await_start(until, within, sudo, launch)?;
    pump.spawn(&host)
}

struct Pump {
    // Dropped before the link, whose session it belongs to.
    channel: ssh2::Channel,
    link: Link,
    stderr: Tail,
    nonce: String,
    doing: String,
    to_program: Vec<u8>,
    sent: usize,
    to_app: Vec<u8>,
    given: usize,
}

/// The ends of the pipes that the pump holds.
struct Ends {
    from_app: Option<PipeReader>,
    to_app: Option<PipeWriter>,
    wake: PipeReader,
    killed: Arc<AtomicBool>,
}

impl Pump {
    /// Sends the arguments and waits for the launcher's answer.
    fn await_start(
        &mut self,
        until: Instant,
        within: Duration,
        sudo: bool,
        launch: &Launch,
    ) -> Result<(), TransportError> {
        let answer = format!("{}\n", self.nonce);
        let mut noise = Vec::new();
        let mut buf = vec![0; 16 << 10];
        loop {
            self.send().map_err(|error| self.lost(&error))?;
            let count =
                read_some(&mut self.channel, &mut buf).map_err(|error| self.lost(&error))?;
            noise.extend_from_slice(&buf[..count]);
            if let Some(at) = find(&noise, answer.as_bytes()) {
                self.to_app = noise.split_off(at + answer.len());
                return Ok(());
            }
            let more = self
                .read_stderr(&mut buf)
                .map_err(|error| self.lost(&error))?;
            if self.channel.eof() {
                return Err(self.did_not_start(sudo, launch));
            }
            if noise.len() > NOISE_MAX {
                let host = self.link.name().to_owned();
                return Err(TransportError::TooMuchOutput {
                    host,
                    doing: self.doing.clone(),
                    limit: NOISE_MAX,
                });
            }
            if Instant::now() >= until {
                return Err(TransportError::timeout(
                    self.link.name(),
                    &self.doing,
                    within,
                ));
            }
            if count == 0 && !more {
                self.link.wait(until).map_err(|error| self.lost(&error))?;
            }
        }
    }

    fn did_not_start(&self, sudo: bool, launch: &Launch) -> TransportError {
        let host = self.link.name().to_owned();
        let stderr = self.stderr.as_bytes();
        if let Some((Verdict::NoProgram, _)) = verdict(stderr, &self.nonce) {
            return TransportError::NoSuchProgram {
                host,
                program: launch.program().to_owned(),
            };
        }
        if let Some(detail) = question::refused(stderr) {
            return TransportError::refused(&host, &self.doing, detail);
        }
        if let Some(detail) = sudo_refusal(stderr).filter(|_| sudo) {
            return TransportError::Denied { host, detail };
        }
        let detail = printable_tail(stderr, 400);
        let detail = if detail.is_empty() {
            "the login shell ended without a word".to_owned()
        } else {
            detail
        };
        TransportError::cut(&host, &self.doing, detail)
    }

    fn spawn(self, host: &str) -> Result<Channel, TransportError> {
        let io_error = |error: io::Error| TransportError::io(host, "make a pipe", error);
        let (from_app, stdin) = wide_pipe().map_err(io_error)?;
        let (stdout, to_app) = wide_pipe().map_err(io_error)?;
        let (wake, waker) = io::pipe().map_err(io_error)?;
        for fd in [
            from_app.as_fd(),
            to_app.as_fd(),
            wake.as_fd(),
            waker.as_fd(),
        ] {
            nonblocking(Some(fd)).map_err(io_error)?;
        }
        let killed = Arc::new(AtomicBool::new(false));
        let ends = Ends {
            from_app: Some(from_app),
            to_app: Some(to_app),
            wake,
            killed: Arc::clone(&killed),
        };
        let running = thread::Builder::new()
            .name("ssh-channel".to_owned())
            .spawn(move || self.run(ends))
            .map_err(io_error)?;
        let killer = Killer::new(move || {
            killed.store(true, Ordering::Release);
            // A full pipe wakes as well as one more byte, and a closed one has ended.
            let _ = (&waker).write(&[0]);
        });
        let host = host.to_owned();
        let process = Process::new(killer, move || {
            running.join().unwrap_or_else(|_| {
                Err(TransportError::cut(
                    &host,
                    "move bytes",
                    "the thread that moved them failed",
                ))
            })
        });
        Ok(Channel {
            stdin: ChannelWriter::new(stdin),
            stdout: ChannelReader::new(stdout),
            process,
        })
    }

    fn run(mut self, mut ends: Ends) -> Result<Exit, TransportError> {
        let result = self.move_all(&mut ends);
        // Both pipes end with `ends`, so the application sees the end of the stream.
        if ends.killed.load(Ordering::Acquire) {
            self.link.cut();
            return Ok(Exit {
                status: KILLED,
                stderr: self.stderr.into_bytes(),
            });
        }
        if let Err(error) = result {
            let lost = self.lost(&error);
            self.link.cut();
            return Err(lost);
        }
        match verdict(self.stderr.as_bytes(), &self.nonce) {
            Some((Verdict::Ended(status), stderr)) => Ok(Exit { status, stderr }),
            Some((Verdict::NoProgram, _)) | None => {
                let said = printable_tail(self.stderr.as_bytes(), 400);
                let detail = if said.is_empty() {
                    "no end line arrived".to_owned()
                } else {
                    said
                };
                Err(TransportError::cut(self.link.name(), &self.doing, detail))
            }
        }
    }

    /// Moves bytes until the program has ended and the application has all of its output.
    fn move_all(&mut self, ends: &mut Ends) -> io::Result<()> {
        let mut buf = vec![0; BLOCK];
        let mut eof_sent = false;
        let mut heard = Instant::now();
        let mut asked = heard;
        self.link.session().set_keepalive(true, 1);
        loop {
            if ends.killed.load(Ordering::Acquire) {
                return Ok(());
            }
            let mut moved = self.take_from_app(ends, &mut buf)?;
            moved |= self.send()?;
            if ends.from_app.is_none() && self.to_program.is_empty() && !eof_sent {
                eof_sent = match self.channel.send_eof().map_err(io::Error::from) {
                    Ok(()) => true,
                    Err(error) if would_block(&error) => false,
                    Err(error) => return Err(error),
                };
            }
            moved |= self.receive(&mut buf)?;
            moved |= self.read_stderr(&mut buf)?;
            moved |= self.give_to_app(ends);
            if self.channel.eof() && self.to_app.is_empty() {
                return Ok(());
            }
            if moved {
                heard = Instant::now();
                asked = heard;
                continue;
            }
            if self.wait(ends)? {
                heard = Instant::now();
                asked = heard;
            } else if heard.elapsed() > SILENCE_MAX {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the machine fell silent",
                ));
            } else if asked.elapsed() > ASK_AFTER && self.link.wanted() == PollFlags::IN {
                // Only with nothing half-sent: libssh2 could never finish a cut keepalive.
                self.link.session().keepalive_send()?;
                asked = Instant::now();
            }
        }
    }

    /// Waits for any side; tells whether the peer was heard.
    fn wait(&self, ends: &Ends) -> io::Result<bool> {
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.link.socket().as_fd(), self.link.wanted()),
            PollFd::from_borrowed_fd(ends.wake.as_fd(), PollFlags::IN),
        ];
        if let Some(from_app) = ends
            .from_app
            .as_ref()
            .filter(|_| self.to_program.is_empty())
        {
            fds.push(PollFd::from_borrowed_fd(from_app.as_fd(), PollFlags::IN));
        }
        if let Some(to_app) = ends.to_app.as_ref().filter(|_| !self.to_app.is_empty()) {
            fds.push(PollFd::from_borrowed_fd(to_app.as_fd(), PollFlags::OUT));
        }
        match poll(&mut fds, Some(&timespec(ASK_AFTER / 2))) {
            Ok(_) => Ok(fds[0]
                .revents()
                .intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR)),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the next block from the application once the last one is through.
    fn take_from_app(&mut self, ends: &mut Ends, buf: &mut [u8]) -> io::Result<bool> {
        let Some(from_app) = ends
            .from_app
            .as_mut()
            .filter(|_| self.to_program.is_empty())
        else {
            return Ok(false);
        };
        match from_app.read(buf) {
            Ok(0) => ends.from_app = None,
            Ok(count) => self.to_program.extend_from_slice(&buf[..count]),
            Err(error) if would_block(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Sends what is pending; libssh2 wants an unfinished write repeated as it was.
    fn send(&mut self) -> io::Result<bool> {
        let mut moved = false;
        while self.sent < self.to_program.len() {
            match self.channel.write(&self.to_program[self.sent..]) {
                Ok(0) => break,
                Ok(count) => {
                    self.sent += count;
                    moved = true;
                }
                Err(error) if would_block(&error) => break,
                // The program closed its input, which its own end line explains.
                Err(_) if self.channel.eof() => self.sent = self.to_program.len(),
                Err(error) => return Err(error),
            }
        }
        if self.sent == self.to_program.len() {
            self.to_program.clear();
            self.sent = 0;
        }
        Ok(moved)
    }

    /// Receives a block unless the application is behind.
    fn receive(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        if self.to_app.len() - self.given >= BLOCK {
            return Ok(false);
        }
        let count = read_some(&mut self.channel, buf)?;
        self.to_app.extend_from_slice(&buf[..count]);
        Ok(count > 0)
    }

    /// Reads stderr, which also takes all that waits on the socket.
    fn read_stderr(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        let count = read_some(&mut self.channel.stderr(), buf)?;
        self.stderr.push(&buf[..count]);
        Ok(count > 0)
    }

    /// Gives the application what its pipe takes; without a reader it is dropped.
    fn give_to_app(&mut self, ends: &mut Ends) -> bool {
        let mut moved = false;
        while self.given < self.to_app.len() {
            let Some(to_app) = ends.to_app.as_mut() else {
                self.given = self.to_app.len();
                break;
            };
            match to_app.write(&self.to_app[self.given..]) {
                Ok(count) => {
                    self.given += count;
                    moved = true;
                }
                Err(error) if would_block(&error) => break,
                Err(_) => ends.to_app = None,
            }
        }
        if self.given == self.to_app.len() {
            self.to_app.clear();
            self.given = 0;
        }
        moved
    }

    fn lost(&self, error: &io::Error) -> TransportError {
        TransportError::cut(
            self.link.name(),
            &self.doing,
            format!("the connection was lost: {error}"),
        )
    }
}

/// Makes a pipe that holds a mebibyte where the system allows it.
fn wide_pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    // A smaller pipe is only slower.
    let _ = rustix::pipe::fcntl_setpipe_size(&reader, 1 << 20);
    Ok((reader, writer))
}
