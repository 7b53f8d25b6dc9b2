//! A machine made of closures, for tests of the layers above.

use std::io::{PipeReader, PipeWriter};
use std::sync::{Arc, Mutex, PoisonError};
use std::{io, thread};

use crate::transport::{
    Channel, ChannelReader, ChannelWriter, Exit, Killer, Launch, Output, Process, Script,
    Transport, TransportError,
};

type OnRun = dyn Fn(&Script) -> Result<Output, TransportError> + Send + Sync;
type OnOpen = dyn Fn(&Launch, PipeReader, PipeWriter) -> Exit + Send + Sync;

/// Answers scripts and programs with closures; for tests.
pub struct Fake {
    name: String,
    on_run: Box<OnRun>,
    on_open: Option<Arc<OnOpen>>,
    asked: Mutex<Vec<Script>>,
}

impl Fake {
    /// Creates a machine that answers every script with this closure.
    pub fn new(
        name: impl Into<String>,
        on_run: impl Fn(&Script) -> Result<Output, TransportError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            on_run: Box::new(on_run),
            on_open: None,
            asked: Mutex::default(),
        }
    }

    /// Creates a machine that never answers.
    pub fn unreachable(name: impl Into<String>, why: impl Into<String>) -> Self {
        let (name, why) = (name.into(), why.into());
        let host = name.clone();
        Self::new(name, move |_| {
            Err(TransportError::Unreachable {
                host: host.clone(),
                why: why.clone(),
            })
        })
    }

    /// Runs this closure, on a thread of its own, as every program that is started.
    #[must_use]
    pub fn on_open(
        mut self,
        on_open: impl Fn(&Launch, PipeReader, PipeWriter) -> Exit + Send + Sync + 'static,
    ) -> Self {
        self.on_open = Some(Arc::new(on_open));
        self
    }

    /// Returns the scripts asked for so far.
    pub fn asked(&self) -> Vec<Script> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Transport for Fake {
    fn run(&self, script: &Script) -> Result<Output, TransportError> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(script.clone());
        (self.on_run)(script)
    }

    fn open(&self, launch: &Launch) -> Result<Channel, TransportError> {
        let Some(program) = self.on_open.clone() else {
            return Err(TransportError::NoSuchProgram {
                host: self.name.clone(),
                program: launch.program().to_owned(),
            });
        };
        let pipes =
            || io::pipe().map_err(|error| TransportError::io(&self.name, "make a pipe", error));
        let ((their_in, our_in), (our_out, their_out)) = (pipes()?, pipes()?);
        let launch = launch.clone();
        let host = self.name.clone();
        let running = thread::spawn(move || program(&launch, their_in, their_out));
        // A thread cannot be killed; it ends when its pipes do.
        let process = Process::new(Killer::new(|| ()), move || {
            running
                .join()
                .map_err(|_| TransportError::cut(&host, "run a program", "it panicked"))
        });
        Ok(Channel {
            stdin: ChannelWriter::new(our_in),
            stdout: ChannelReader::new(our_out),
            process,
        })
    }

    fn describe(&self) -> String {
        self.name.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn closures_answer_scripts_and_programs() {
        let fake =
            Fake::new("nas", |_| Ok(Output::default())).on_open(|_, mut stdin, mut stdout| {
                let copied = io::copy(&mut stdin, &mut stdout).is_ok();
                Exit {
                    status: i32::from(!copied),
                    stderr: vec![],
                }
            });
        assert!(fake.run(&Script::new("true")).expect("answers").success());
        assert_eq!(fake.asked().len(), 1);
        let mut channel = fake.open(&Launch::new(["cat"])).expect("starts");
        channel.stdin.write_all(b"ping").expect("reads");
        drop(channel.stdin);
        let mut echoed = String::new();
        channel.stdout.read_to_string(&mut echoed).expect("writes");
        assert_eq!(echoed, "ping");
        assert!(channel.process.wait().expect("ends").success());
    }
}
