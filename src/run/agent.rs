//! The process that works on a node for a controller: small changes, backups, drills.
//!
//! It holds a source's writing keys, or a reading key during a drill, in memory only,
//! and ends with the conversation: a controller that dies takes its agents with it.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use crate::engine::store::Store;
use crate::run::job::Progress;
use crate::run::message::{Call, Event, Fault, Reply};
use crate::run::node::{Held, carry_out};
use crate::run::peer::{Handler, Peer, converse};
use crate::run::remote_store::RemoteStore;
use crate::run::serve::keep_secrets_in_memory;
use crate::run::{Cancel, backup, command, drill, here};

/// How often the controller is told how far work has come.
const TELL_EVERY: Duration = Duration::from_millis(200);

#[derive(Default)]
struct Agent {
    held: Held,
    cancel: Cancel,
}

impl Handler for Agent {
    fn call(&self, peer: &Arc<Peer>, call: Call, _: Vec<u8>) -> Result<(Reply, Vec<u8>), Fault> {
        let store = || -> Arc<dyn Store> { Arc::new(RemoteStore::over(Arc::clone(peer))) };
        let reply = match call {
            Call::Node(call) => Reply::Node(carry_out(&call, &self.held)?),
            Call::Backup(job) => {
                let report = backup::copy(store(), &job, &teller(peer), &self.cancel)?;
                Reply::Backup(Box::new(report))
            }
            Call::Drill(job) => {
                let report = drill::prove(store(), &job, &teller(peer), &self.cancel)?;
                Reply::Drill(Box::new(report))
            }
            Call::Stop => {
                self.cancel.cancel();
                Reply::Stopping
            }
            Call::Store(_) => return Err(Fault::refused("an agent serves no store")),
        };
        Ok((reply, Vec::new()))
    }
}

/// Tells the controller of progress, now and then.
fn teller(peer: &Arc<Peer>) -> impl Fn(Progress) + Send + Sync + use<> {
    let peer = Arc::clone(peer);
    let last: Mutex<Option<Instant>> = Mutex::default();
    move |progress| {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= TELL_EVERY) {
            *last = Some(Instant::now());
            // If it can't be told, the work itself will notice that the peer is gone.
            drop(peer.tell(Event::Progress(progress)));
        }
    }
}

/// Works until the controller hangs up.
pub fn agent() -> Result<(), Fault> {
    keep_secrets_in_memory();
    let (input, output) = here::standard_streams()?;
    let hang_up = || exit(1);
    let conversation = converse(input, output, Arc::new(Agent::default()), hang_up)?;
    let ended = conversation.wait();
    // Work that still runs has lost its controller: nothing may be committed for it.
    exit(i32::from(ended.is_err()));
}

/// Ends this process and every program that it started.
fn exit(code: i32) -> ! {
    command::end_all();
    std::process::exit(code);
}
