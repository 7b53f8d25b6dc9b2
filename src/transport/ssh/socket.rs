//! The bytes under a session: a socket to the machine, to a proxy program, or through another machine.

use std::ffi::OsString;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::net::{RecvFlags, Shutdown, recv, shutdown};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::transport::channel::Tail;
use crate::transport::error::printable_tail;

/// How long a program that gave up may take to say why.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// Is this side's end of a connection; what is behind it ends with it.
pub(super) struct Socket {
    fd: OwnedFd,
    proxy: Option<Proxy>,
}

impl Socket {
    /// Wraps a connection to the machine, or one end of a pair whose other end is a thread's.
    pub(super) fn new(stream: impl Into<OwnedFd>) -> Self {
        Self {
            fd: stream.into(),
            proxy: None,
        }
    }

    /// Starts a program whose stdin and stdout are the connection.
    pub(super) fn program(argv: &[OsString]) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let theirs = OwnedFd::from(theirs);
        let (program, args) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::from(theirs.try_clone()?))
            .stdout(Stdio::from(theirs))
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let said = Arc::new(Mutex::new(Tail::default()));
        if let Some(mut stderr) = child.stderr.take() {
            let said = Arc::clone(&said);
            // It ends with the program, as nobody else holds the pipe's other end.
            thread::spawn(move || {
                let mut buf = [0; 4096];
                while let Ok(count @ 1..) = stderr.read(&mut buf) {
                    said.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(&buf[..count]);
                }
            });
        }
        Ok(Self {
            fd: ours.into(),
            proxy: Some(Proxy { child, said }),
        })
    }

    /// Returns another handle on the same connection.
    pub(super) fn handle(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }

    /// Tells whether the other side closed the connection, which does not block.
    pub(super) fn is_closed(&self) -> bool {
        match recv(&self.fd, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((_, count)) => count == 0,
            Err(error) => error != rustix::io::Errno::AGAIN,
        }
    }

    /// Ends the connection at once; all that still uses it fails.
    pub(super) fn cut(&self) {
        // A socket that is closed already is as good.
        let _ = shutdown(&self.fd, Shutdown::Both);
    }

    /// Returns what the proxy program complained of, on one line and escaped.
    pub(super) fn complaint(&self) -> Option<String> {
        let proxy = self.proxy.as_ref()?;
        // Its last words and the end of its output are two pipes.
        thread::sleep(LAST_WORDS);
        let said = proxy.said.lock().unwrap_or_else(PoisonError::into_inner);
        let said = printable_tail(said.as_bytes(), 400);
        (!said.is_empty()).then_some(said)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A program that carries the connection; it is killed with it.
struct Proxy {
    child: Child,
    said: Arc<Mutex<Tail>>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // A child that was reaped keeps its status here, so no stranger is killed.
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}
