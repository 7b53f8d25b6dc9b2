//! Programs of this machine, as scripts' shells and as channels.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::channel::Tail;
use super::frame::{Gathered, missing_trailer, nonce, wrap};
use crate::transport::{
    Channel, ChannelReader, ChannelWriter, Exit, Killer, Output, Process, Script, TransportError,
};

/// How long stderr may trail behind the end of a script.
pub(super) const GRACE: Duration = Duration::from_millis(200);

/// Runs a script in the shell that this command starts, on the machine called `host`.
pub(super) fn run(
    host: &str,
    command: Command,
    script: &Script,
    sudo: bool,
) -> Result<Output, TransportError> {
    let nonce = nonce(host)?;
    let text = wrap(script, &nonce);
    let mut group = Group(spawn(host, command)?);
    let mut talk = Talk {
        host,
        script,
        input: text.as_bytes(),
        gathered: Gathered::new(&nonce, script.output_max),
        stderr: Tail::default(),
        deadline: Instant::now() + script.deadline,
    };
    talk.run(&mut group.0)?;
    let status = group.finish(talk.deadline);
    match (talk.gathered.finish(), status) {
        (Ok((stdout, status)), Some(exit)) if exit.signal().is_none() => Ok(Output {
            stdout,
            stderr: talk.stderr.into_bytes(),
            status,
        }),
        (Ok(_), Some(exit)) => Err(TransportError::cut(host, &script.purpose, exit.to_string())),
        (Ok(_), None) => Err(TransportError::timeout(
            host,
            &script.purpose,
            script.deadline,
        )),
        (Err(stdout), _) => {
            let stderr = talk.stderr.as_bytes();
            Err(missing_trailer(host, script, sudo, &stdout, stderr))
        }
    }
}

/// A program that was started, with its streams.
pub(super) struct Started {
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
    pub(super) running: Running,
}

/// A program that runs; its whole group is killed if it is dropped before its end.
pub(super) struct Running {
    child: Child,
    host: String,
    alive: Arc<Mutex<Option<Pid>>>,
    stderr: Option<JoinHandle<Tail>>,
}

/// Starts a program and gathers the end of what it complains of.
pub(super) fn start(
    host: &str,
    command: Command,
    program: &str,
) -> Result<Started, TransportError> {
    let mut child = spawn_as(host, command, program)?;
    let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(stdin), Some(stdout), Some(mut stderr)) = streams else {
        unreachable!("all three streams are piped");
    };
    let stderr = std::thread::spawn(move || {
        let mut tail = Tail::default();
        let mut buf = [0; 4096];
        while let Ok(count @ 1..) = stderr.read(&mut buf) {
            tail.push(&buf[..count]);
        }
        tail
    });
    let alive = Arc::new(Mutex::new(Some(Pid::from_child(&child))));
    Ok(Started {
        stdin,
        stdout,
        running: Running {
            child,
            host: host.to_owned(),
            alive,
            stderr: Some(stderr),
        },
    })
}

impl Started {
    /// Turns the program into a channel whose exit is the program's own.
    pub(super) fn channel(self) -> Channel {
        let killer = self.running.killer();
        Channel {
            stdin: ChannelWriter::new(self.stdin),
            stdout: ChannelReader::new(self.stdout),
            process: Process::new(killer, move || self.running.wait()),
        }
    }
}

impl Running {
    pub(super) fn killer(&self) -> Killer {
        let alive = Arc::clone(&self.alive);
        Killer::new(move || {
            if let Some(pid) = *alive.lock().unwrap_or_else(PoisonError::into_inner) {
                // It may have ended already; then there is nothing to kill.
                let _ = kill_process_group(pid, Signal::KILL);
            }
        })
    }

    /// Waits for the program's end.
    pub(super) fn wait(mut self) -> Result<Exit, TransportError> {
        let ended = wait_and_reap(&mut self.child, &self.alive)
            .map_err(|error| TransportError::io(&self.host, "wait for a program", error))?;
        let tail = self.stderr.take().and_then(|tail| tail.join().ok());
        Ok(Exit {
            status: status_number(ended),
            stderr: tail.unwrap_or_default().into_bytes(),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that was waited for is not alive any more.
        self.killer().kill();
        if self.alive.lock().is_ok_and(|alive| alive.is_some()) {
            // It was killed, so this ends; its status means nothing.
            let _ = wait_and_reap(&mut self.child, &self.alive);
        }
    }
}

fn spawn(host: &str, command: Command) -> Result<Child, TransportError> {
    let program = command.get_program().to_string_lossy().into_owned();
    spawn_as(host, command, &program)
}

fn spawn_as(host: &str, mut command: Command, program: &str) -> Result<Child, TransportError> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => TransportError::NoSuchProgram {
            host: host.to_owned(),
            program: program.to_owned(),
        },
        _ => TransportError::io(host, &format!("start {program}"), error),
    })
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
    host: &'a str,
    script: &'a Script,
    input: &'a [u8],
    gathered: Gathered,
    stderr: Tail,
    deadline: Instant,
}

impl Talk<'_> {
    fn run(&mut self, child: &mut Child) -> Result<(), TransportError> {
        let fail = |error: io::Error| TransportError::io(self.host, &self.script.purpose, error);
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
            .map_err(|error| TransportError::io(self.host, &self.script.purpose, error))?;
            let Some([write, read_out, read_err]) = ready else {
                if trailing {
                    break;
                }
                let after = self.script.deadline;
                return Err(TransportError::timeout(
                    self.host,
                    &self.script.purpose,
                    after,
                ));
            };
            if write {
                self.feed(&mut stdin);
            }
            if read_out {
                drain(&mut stdout, &mut buf, |chunk| self.gathered.push(chunk))
                    .then_some(())
                    .ok_or_else(|| TransportError::TooMuchOutput {
                        host: self.host.to_owned(),
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
