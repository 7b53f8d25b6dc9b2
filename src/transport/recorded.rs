//! Answers recorded on a real machine, for tests and for plans made from saved facts.

use std::sync::{Mutex, PoisonError};

use crate::transport::{Channel, Launch, Output, Script, Transport, TransportError};

/// Runs scripts on a real transport and keeps what they answered.
pub struct Recorder<T> {
    inner: T,
    kept: Mutex<Vec<(String, Output)>>,
}

impl<T: Transport> Recorder<T> {
    /// Creates a recorder over this transport.
    pub fn new(inner: T) -> Self {
        Self {
            inner,
            kept: Mutex::default(),
        }
    }

    /// Returns a transport that answers as this one did.
    pub fn finish(self) -> Recorded {
        let answers = self
            .kept
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        Recorded::new(self.inner.describe(), answers)
    }
}

impl<T: Transport> Transport for Recorder<T> {
    fn run(&self, script: &Script) -> Result<Output, TransportError> {
        let output = self.inner.run(script)?;
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((script.text.clone(), output.clone()));
        Ok(output)
    }

    fn open(&self, launch: &Launch) -> Result<Channel, TransportError> {
        self.inner.open(launch)
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

/// Answers each script with what was recorded for the same text.
pub struct Recorded {
    name: String,
    answers: Vec<(String, Output)>,
}

impl Recorded {
    /// Creates a transport from pairs of a script's text and its answer.
    pub fn new(name: impl Into<String>, answers: Vec<(String, Output)>) -> Self {
        Self {
            name: name.into(),
            answers,
        }
    }

    /// Returns the recorded pairs.
    pub fn answers(&self) -> &[(String, Output)] {
        &self.answers
    }

    fn missing(&self, what: &str) -> TransportError {
        TransportError::Unsupported {
            host: self.name.clone(),
            what: format!("{what} is not part of the recording"),
            next: "record it again with the same topology".to_owned(),
        }
    }
}

impl Transport for Recorded {
    fn run(&self, script: &Script) -> Result<Output, TransportError> {
        self.answers
            .iter()
            .find(|(text, _)| *text == script.text)
            .map(|(_, output)| output.clone())
            .ok_or_else(|| self.missing("this script"))
    }

    fn open(&self, launch: &Launch) -> Result<Channel, TransportError> {
        Err(self.missing(launch.program()))
    }

    fn describe(&self) -> String {
        self.name.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Local;

    #[test]
    fn a_recording_answers_as_the_machine_did() {
        let recorder = Recorder::new(Local::new());
        let script = Script::new("echo one; exit 3");
        let live = recorder.run(&script).expect("it runs");
        let recorded = recorder.finish();
        assert_eq!(recorded.run(&script).expect("it was recorded"), live);
        let unknown = recorded.run(&Script::new("echo two"));
        assert_eq!(unknown.map_err(|error| error.kind()), Err("unsupported"));
    }
}
