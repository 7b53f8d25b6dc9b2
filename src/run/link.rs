//! A conversation with a bkpctl that was started for it, on this machine or another.

use std::sync::{Arc, Mutex};

use crate::run::message::{Call, Fault, Reply};
use crate::run::node::{Held, NodeCall, NodeReply, carry_out};
use crate::run::peer::{Conversation, Handler, Peer, converse};
use crate::transport::{Channel, Launch, Process, Transport, TransportError};

/// A started bkpctl and the conversation with it; both end when this is dropped.
#[derive(Debug)]
pub struct Link {
    conversation: Conversation,
    // Dropped after the conversation: the other end sees its input end before it is killed.
    _process: Mutex<Process>,
}

impl Link {
    /// Starts a program and greets it.
    pub fn open(
        transport: &dyn Transport,
        launch: &Launch,
        handler: Arc<dyn Handler>,
    ) -> Result<Self, Fault> {
        let Channel {
            stdin,
            stdout,
            process,
        } = transport
            .open(launch)
            .map_err(|error| not_started(&error))?;
        let killer = process.killer();
        match converse(stdout, stdin, handler, move || killer.kill()) {
            Ok(conversation) => Ok(Self {
                conversation,
                _process: Mutex::new(process),
            }),
            Err(fault) => Err(explain(transport, process, &fault)),
        }
    }

    /// Returns our end of the conversation.
    pub fn peer(&self) -> &Arc<Peer> {
        &self.conversation.peer
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.conversation.peer.close();
    }
}

/// Adds what the program said on its way out to the fault that it caused.
fn explain(transport: &dyn Transport, process: Process, fault: &Fault) -> Fault {
    let said = match process.wait() {
        Ok(exit) if !exit.complaint().is_empty() => exit.complaint(),
        Ok(exit) => format!("it ended with status {}", exit.status),
        Err(error) => return transport_fault(&error),
    };
    Fault::new(
        fault.kind,
        format!("bkpctl on {} did not start: {said}", transport.describe()),
    )
}

/// Says why bkpctl was not started; what is not there yet, an apply places.
fn not_started(error: &TransportError) -> Fault {
    match error {
        TransportError::NoSuchProgram { host, .. } => Fault::refused(format!(
            "this version of bkpctl is not on {host}; bkpctl apply places it"
        )),
        error => transport_fault(error),
    }
}

/// Turns a failure of a transport into a fault, keeping its words.
pub fn transport_fault(error: &TransportError) -> Fault {
    Fault::lost(format!("failed to {error}"))
}

/// The hands that change one node.
#[derive(Debug)]
pub enum Hands {
    /// This process itself, for `local` nodes.
    Here(Held),
    /// An agent on the node.
    There(Link),
}

impl Hands {
    /// Carries one small change out, or asks one question.
    pub fn ask(&self, call: NodeCall) -> Result<NodeReply, Fault> {
        match self {
            Self::Here(held) => carry_out(&call, held),
            Self::There(link) => match link.peer().ask(Call::Node(call), &[])? {
                (Reply::Node(reply), _) => Ok(reply),
                _ => Err(Fault::lost(
                    "the agent answered another question than the one asked",
                )),
            },
        }
    }
}
