//! A transport that fails on purpose, for tests of what must survive failures.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::transport::{
    Channel, ChannelReader, ChannelWriter, Killer, Launch, Output, Process, Script, Transport,
    TransportError,
};

/// Says how a [`Faulty`] transport fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Cuts the connection once this many bytes went through channels, both ways together.
    CutAfterBytes(u64),
    /// Carries out the script, then loses its answer, from this run (counted from 0) on.
    LoseAnswerFrom(u64),
    /// Waits this long before every call.
    Delay(Duration),
}

/// Wraps a transport and fails as told; for tests.
pub struct Faulty<T> {
    inner: T,
    fault: Fault,
    runs: AtomicU64,
    left: Arc<AtomicU64>,
}

impl<T: Transport> Faulty<T> {
    /// Creates a transport over `inner` with this fault.
    pub fn new(inner: T, fault: Fault) -> Self {
        let left = match fault {
            Fault::CutAfterBytes(bytes) => bytes,
            Fault::LoseAnswerFrom(_) | Fault::Delay(_) => u64::MAX,
        };
        Self {
            inner,
            fault,
            runs: AtomicU64::new(0),
            left: Arc::new(AtomicU64::new(left)),
        }
    }

    fn delay(&self) {
        if let Fault::Delay(pause) = self.fault {
            thread::sleep(pause);
        }
    }
}

impl<T: Transport> Transport for Faulty<T> {
    fn run(&self, script: &Script) -> Result<Output, TransportError> {
        self.delay();
        let output = self.inner.run(script)?;
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        match self.fault {
            Fault::LoseAnswerFrom(first) if run >= first => Err(TransportError::cut(
                &self.describe(),
                &script.purpose,
                "fault on purpose",
            )),
            _ => Ok(output),
        }
    }

    fn open(&self, launch: &Launch) -> Result<Channel, TransportError> {
        self.delay();
        let Channel {
            stdin,
            stdout,
            process,
        } = self.inner.open(launch)?;
        let killer = process.killer();
        let cut = |killer: Killer| Cut {
            left: Arc::clone(&self.left),
            killer,
        };
        let (host, left) = (self.describe(), Arc::clone(&self.left));
        Ok(Channel {
            stdin: ChannelWriter::new(CutStream {
                stream: stdin,
                cut: cut(killer.clone()),
            }),
            stdout: ChannelReader::new(CutStream {
                stream: stdout,
                cut: cut(killer.clone()),
            }),
            process: Process::new(killer, move || {
                let exit = process.wait()?;
                if left.load(Ordering::Relaxed) == 0 {
                    return Err(TransportError::cut(
                        &host,
                        "run a program",
                        "fault on purpose",
                    ));
                }
                Ok(exit)
            }),
        })
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

struct Cut {
    left: Arc<AtomicU64>,
    killer: Killer,
}

impl Cut {
    /// Takes at most `wanted` bytes from what may still pass.
    fn take(&self, wanted: usize) -> io::Result<usize> {
        let before = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                Some(left.saturating_sub(wanted as u64))
            })
            .unwrap_or_else(|left| left);
        if before == 0 && wanted > 0 {
            self.killer.kill();
            return Err(io::Error::new(
                io::ErrorKind::ConnectionReset,
                "fault on purpose",
            ));
        }
        Ok(usize::try_from(before).unwrap_or(usize::MAX).min(wanted))
    }

    fn give_back(&self, unused: usize) {
        if self.left.load(Ordering::Relaxed) > 0 {
            self.left.fetch_add(unused as u64, Ordering::Relaxed);
        }
    }
}

struct CutStream<S> {
    stream: S,
    cut: Cut,
}

impl<S: Read> Read for CutStream<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buf)?;
        self.cut.take(count)
    }
}

impl<S: Write> Write for CutStream<S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let allowed = self.cut.take(buf.len())?;
        let written = self.stream.write(&buf[..allowed])?;
        self.cut.give_back(allowed - written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Local;

    #[test]
    fn a_cut_shows_on_the_stream_and_at_the_end() {
        let faulty = Faulty::new(Local::new(), Fault::CutAfterBytes(1000));
        let mut channel = faulty
            .open(&Launch::new(["sh", "-c", "while :; do echo x; done"]))
            .expect("starts");
        let mut bytes = Vec::new();
        let error = channel.stdout.read_to_end(&mut bytes).expect_err("cut");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(bytes.len(), 1000);
        let end = channel.process.wait();
        assert_eq!(end.map_err(|error| error.kind()), Err("cut"));
    }

    #[test]
    fn a_lost_answer_comes_after_the_deed() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("made");
        let text = format!(
            "{}: >\"$f\"",
            crate::transport::shell_assign("f", file.as_os_str().as_encoded_bytes())
        );
        let faulty = Faulty::new(Local::new(), Fault::LoseAnswerFrom(1));
        assert!(faulty.run(&Script::new("true")).is_ok());
        assert!(faulty.run(&Script::new(text)).is_err());
        assert!(file.exists());
    }
}
