//! This machine.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::channel::Tail;
use super::frame::{Gathered, missing_trailer, nonce, wrap};
use super::launcher::SCRIPT_COMMAND;
use crate::transport::{
    Channel, ChannelReader, ChannelWriter, Exit, Killer, Launch, Output, Process, Script,
    Transport, TransportError,
};

const HOST: &str = "local";

/// How long stderr may trail behind the end of a script.
pub(super) const GRACE: Duration = Duration::from_millis(200);

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
        let mut command = if self.needs_sudo(privileged) {
            let mut command = Command::new("sudo");
            command.args(["-n", "--", program]);
            command
        } else {
            Command::new(program)
        };
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        command
    }

    fn needs_sudo(&self, privileged: bool) -> bool {
        privileged && self.sudo && !rustix::process::geteuid().is_root()
    }

    fn spawn(mut command: Command, program: &str) -> Result<Child, TransportError> {
        command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => TransportError::NoSuchProgram {
                host: HOST.to_owned(),
                program: program.to_owned(),
            },
            _ => TransportError::io(HOST, &format!("start {program}"), error),
        })
    }
}

impl Transport for Local {
    fn run(&self, script: &Script) -> Result<Output, TransportError> {
        let nonce = nonce(HOST)?;
        let text = wrap(script, &nonce);
        let command = self.command(SCRIPT_COMMAND, script.privileged);
        let mut group = Group(Self::spawn(command, SCRIPT_COMMAND)?);
        let mut talk = Talk {
            script,
            input: text.as_bytes(),
            gathered: Gathered::new(&nonce, script.output_max),
            stderr: Tail::default(),
            deadline: Instant::now() + script.deadline,
        };
        talk.run(&mut group.0)?;
        let sudo = self.needs_sudo(script.privileged);
        let status = group.finish(talk.deadline);
        match (talk.gathered.finish(), status) {
            (Ok((stdout, status)), Some(exit)) if exit.signal().is_none() => Ok(Output {
                stdout,
                stderr: talk.stderr.into_bytes(),
                status,
            }),
            (Ok(_), Some(exit)) => {
                Err(TransportError::cut(HOST, &script.purpose, exit.to_string()))
            }
            (Ok(_), None) => Err(TransportError::timeout(
                HOST,
                &script.purpose,
                script.deadline,
            )),
            (Err(stdout), _) => {
                let stderr = talk.stderr.as_bytes();
                Err(missing_trailer(HOST, script, sudo, &stdout, stderr))
            }
        }
    }

    fn open(&self, launch: &Launch) -> Result<Channel, TransportError> {
        super::launcher::preamble(launch, "", HOST)?;
        let program = launch.program();
        let mut command = self.command(program, launch.privileged);
        command.args(&launch.argv[1..]);
        let mut child = Self::spawn(command, program)?;
        let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(mut stderr)) = streams else {
            unreachable!("all three streams are piped");
        };
        let tail = std::thread::spawn(move || {
            let mut tail = Tail::default();
            let mut buf = [0; 4096];
            while let Ok(count @ 1..) = stderr.read(&mut buf) {
                tail.push(&buf[..count]);
            }
            tail
        });
        let alive = Arc::new(Mutex::new(Some(Pid::from_child(&child))));
        let killer = {
            let alive = Arc::clone(&alive);
            Killer::new(move || {
                if let Some(pid) = *alive.lock().unwrap_or_else(PoisonError::into_inner) {
                    // It may have ended already; then there is nothing to kill.
                    let _ = kill_process_group(pid, Signal::KILL);
                }
            })
        };
        let process = Process::new(killer, move || {
            let ended = wait_and_reap(&mut child, &alive)
                .map_err(|error| TransportError::io(HOST, "wait for a program", error))?;
            let tail = tail.join().unwrap_or_default();
            Ok(Exit {
                status: status_number(ended),
                stderr: tail.into_bytes(),
            })
        });
        Ok(Channel {
            stdin: ChannelWriter::new(stdin),
            stdout: ChannelReader::new(stdout),
            process,
        })
    }

    fn describe(&self) -> String {
        HOST.to_owned()
    }
}

/// Waits without reaping, then forgets the process id before it can be used again.
fn wait_and_reap(child: &mut Child, alive: &Mutex<Option<Pid>>) -> io::Result<ExitStatus> {
    let pid = Pid::from_child(child);
    waitid(
        WaitId::Pid(pid),
        WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
    )?;
    let mut alive = alive.lock().unwrap_or_else(PoisonError::into_inner);
    *alive = None;
    child.wait()
}

fn status_number(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// A child whose whole process group dies with this value unless it was finished.
struct Group(Child);

impl Group {
    /// Waits for the shell itself, which has nothing left to do once its streams ended.
    fn finish(&mut self, deadline: Instant) -> Option<ExitStatus> {
        let mut pause = Duration::from_micros(200);
        loop {
            if let Ok(Some(status)) = self.0.try_wait() {
                return Some(status);
            }
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A child that was reaped keeps its status here, so no stranger is killed.
        if !matches!(self.0.try_wait(), Ok(Some(_))) {
            let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
            let _ = self.0.wait();
        }
    }
}

/// One script's conversation with its shell.
struct Talk<'a> {
    script: &'a Script,
    input: &'a [u8],
    gathered: Gathered,
    stderr: Tail,
    deadline: Instant,
}

impl Talk<'_> {
    fn run(&mut self, child: &mut Child) -> Result<(), TransportError> {
        let fail = |error: io::Error| TransportError::io(HOST, &self.script.purpose, error);
        let (mut stdin, mut stdout, mut stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        nonblocking(stdin.as_ref().map(AsFd::as_fd)).map_err(fail)?;
        nonblocking(stdout.as_ref().map(AsFd::as_fd)).map_err(fail)?;
        nonblocking(stderr.as_ref().map(AsFd::as_fd)).map_err(fail)?;
        let mut buf = vec![0; 64 << 10];
        let mut until = self.deadline;
        let mut trailing = false;
        while stdout.is_some() || stderr.is_some() {
            if self.gathered.ended() && !trailing {
                trailing = true;
                until = until.min(Instant::now() + GRACE);
            }
            let ready = wait_ready(
                [
                    stdin.as_ref().map(AsFd::as_fd),
                    stdout.as_ref().map(AsFd::as_fd),
                    stderr.as_ref().map(AsFd::as_fd),
                ],
                until,
            )
            .map_err(|error| TransportError::io(HOST, &self.script.purpose, error))?;
            let Some([write, read_out, read_err]) = ready else {
                if trailing {
                    break;
                }
                let after = self.script.deadline;
                return Err(TransportError::timeout(HOST, &self.script.purpose, after));
            };
            if write {
                self.feed(&mut stdin);
            }
            if read_out {
                drain(&mut stdout, &mut buf, |chunk| self.gathered.push(chunk))
                    .then_some(())
                    .ok_or_else(|| TransportError::TooMuchOutput {
                        host: HOST.to_owned(),
                        doing: self.script.purpose.clone(),
                        limit: self.script.output_max,
                    })?;
            }
            if read_err {
                drain(&mut stderr, &mut buf, |chunk| {
                    self.stderr.push(chunk);
                    true
                });
            }
        }
        Ok(())
    }

    /// Writes what fits; a shell that ended early has said why on stderr.
    fn feed<W: Write>(&mut self, stdin: &mut Option<W>) {
        let Some(open) = stdin else { return };
        match open.write(self.input) {
            Ok(count) => self.input = &self.input[count..],
            Err(error) if would_block(&error) => return,
            Err(_) => self.input = &[],
        }
        if self.input.is_empty() {
            *stdin = None;
        }
    }
}

/// Reads one chunk; closes the stream at its end. Tells what `take` told.
fn drain<R: Read>(
    stream: &mut Option<R>,
    buf: &mut [u8],
    mut take: impl FnMut(&[u8]) -> bool,
) -> bool {
    let Some(open) = stream else { return true };
    match open.read(buf) {
        Ok(count @ 1..) => take(&buf[..count]),
        Err(error) if would_block(&error) => true,
        Ok(_) | Err(_) => {
            *stream = None;
            true
        }
    }
}

pub(super) fn would_block(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

pub(super) fn nonblocking(fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    fd.map_or(Ok(()), |fd| Ok(rustix::io::ioctl_fionbio(fd, true)?))
}

/// Waits until the first can be written to or the others read; `None` at the deadline.
fn wait_ready(fds: [Option<BorrowedFd<'_>>; 3], until: Instant) -> io::Result<Option<[bool; 3]>> {
    let mut polled = Vec::with_capacity(3);
    let mut places = Vec::with_capacity(3);
    for (place, fd) in fds.iter().enumerate() {
        if let Some(fd) = fd {
            let flags = if place == 0 {
                PollFlags::OUT
            } else {
                PollFlags::IN
            };
            polled.push(PollFd::from_borrowed_fd(*fd, flags));
            places.push(place);
        }
    }
    let left = until.saturating_duration_since(Instant::now());
    match poll(&mut polled, Some(&timespec(left))) {
        Ok(0) => return Ok(None),
        Ok(_) => {}
        Err(rustix::io::Errno::INTR) => return Ok(Some([false; 3])),
        Err(error) => return Err(error.into()),
    }
    let mut ready = [false; 3];
    for (fd, place) in polled.iter().zip(places) {
        ready[place] = !fd.revents().is_empty();
    }
    Ok(Some(ready))
}

pub(super) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs().min(86_400) as i64,
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

#[cfg(test)]
mod tests;
