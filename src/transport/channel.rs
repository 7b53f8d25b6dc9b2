//! A running program with its stdin and stdout.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use crate::transport::TransportError;

/// Is a running program: two byte streams and its end.
///
/// The halves may be used from two threads. Dropping [`Channel::stdin`] is the end of
/// input for the program; dropping [`Channel::process`] kills the program unless it
/// has been waited for.
#[derive(Debug)]
pub struct Channel {
    /// The program's standard input.
    pub stdin: ChannelWriter,
    /// The program's standard output.
    pub stdout: ChannelReader,
    /// The program itself.
    pub process: Process,
}

/// Is the writing half of a channel.
pub struct ChannelWriter(Box<dyn Write + Send>);

/// Is the reading half of a channel.
pub struct ChannelReader(Box<dyn Read + Send>);

impl ChannelWriter {
    /// Creates the half from anything that can be written to.
    pub fn new(inner: impl Write + Send + 'static) -> Self {
        Self(Box::new(inner))
    }
}

impl ChannelReader {
    /// Creates the half from anything that can be read from.
    pub fn new(inner: impl Read + Send + 'static) -> Self {
        Self(Box::new(inner))
    }
}

impl Write for ChannelWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Read for ChannelReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl fmt::Debug for ChannelWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChannelWriter")
    }
}

impl fmt::Debug for ChannelReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChannelReader")
    }
}

/// Is how a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// The exit status; 128 and the signal's number where a signal ended it.
    pub status: i32,
    /// The last part of standard error.
    pub stderr: Vec<u8>,
}

impl Exit {
    /// Tells whether the program ended with status 0.
    pub fn success(&self) -> bool {
        self.status == 0
    }

    /// Returns the end of standard error on one line, escaped for printing.
    pub fn complaint(&self) -> String {
        super::error::printable_tail(&self.stderr, 400)
    }
}

/// Ends a program from any thread.
///
/// A local program is killed with all its children. Over SSH the connection is ended:
/// the program finds its streams closed, and one that uses neither may live on.
#[derive(Clone)]
pub struct Killer(Arc<dyn Fn() + Send + Sync>);

impl Killer {
    pub(crate) fn new(kill: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(kill))
    }

    /// Kills the program; does nothing once it has ended.
    pub fn kill(&self) {
        (self.0)();
    }
}

impl fmt::Debug for Killer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Killer")
    }
}

type Wait = Box<dyn FnOnce() -> Result<Exit, TransportError> + Send>;

/// Is the program behind a channel.
pub struct Process {
    wait: Option<Wait>,
    killer: Killer,
}

impl Process {
    pub(crate) fn new(
        killer: Killer,
        wait: impl FnOnce() -> Result<Exit, TransportError> + Send + 'static,
    ) -> Self {
        Self {
            wait: Some(Box::new(wait)),
            killer,
        }
    }

    /// Waits for the program's end; a lost connection is an error, never status 0.
    ///
    /// Drop the writing half first where the program waits for the end of its input.
    pub fn wait(mut self) -> Result<Exit, TransportError> {
        let wait = self
            .wait
            .take()
            .expect("wait consumes the process, so it runs once");
        wait()
    }

    /// Returns a handle that can kill the program from another thread.
    pub fn killer(&self) -> Killer {
        self.killer.clone()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(wait) = self.wait.take() {
            self.killer.kill();
            // The killed program is reaped; how it ended interests nobody any more.
            drop(wait());
        }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Process")
    }
}

/// Keeps the last bytes of a stream.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    bytes: Vec<u8>,
}

/// How much of standard error is kept.
const TAIL_MAX: usize = 16 << 10;

impl Tail {
    pub(crate) fn push(&mut self, chunk: &[u8]) {
        let chunk = &chunk[chunk.len().saturating_sub(TAIL_MAX)..];
        let excess = (self.bytes.len() + chunk.len()).saturating_sub(TAIL_MAX);
        self.bytes.drain(..excess);
        self.bytes.extend_from_slice(chunk);
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_keeps_the_last_bytes_only() {
        let mut tail = Tail::default();
        tail.push(&vec![b'a'; TAIL_MAX - 1]);
        tail.push(b"bcd");
        assert_eq!(tail.as_bytes().len(), TAIL_MAX);
        assert!(tail.as_bytes().ends_with(b"abcd"));
        tail.push(&vec![b'z'; TAIL_MAX * 2]);
        assert_eq!(tail.into_bytes(), vec![b'z'; TAIL_MAX]);
    }
}
