//! The process that serves one datastore on standard input and output.
//!
//! It may start as root, since service users have no shell, and becomes the datastore's
//! owner before it reads anything. It holds no key.

use std::path::PathBuf;
use std::sync::Arc;

use rustix::process::{DumpableBehavior, Resource, Rlimit};

use crate::engine::store::Store;
use crate::model::Amount;
use crate::run::here;
use crate::run::message::{Call, Fault, Reply};
use crate::run::mounted::MustMount;
use crate::run::peer::{Handler, Peer, converse};
use crate::run::store_call::{Allowed, answer};
use crate::run::users;

/// What is served, as whom and to do what.
#[derive(Debug, Clone)]
pub struct Service {
    /// The datastore's folder.
    pub datastore: PathBuf,
    /// The numeric user and group to become.
    pub owner: Option<(u32, u32)>,
    /// What the other end may do.
    pub allowed: Allowed,
    /// What must stay free.
    pub reserve: Option<Amount>,
    /// What must be mounted there.
    pub mounted: Option<MustMount>,
    /// Whether a new repository is made there.
    pub create: bool,
}

/// Answers the store calls of a conversation from one store.
pub struct StoreServer {
    /// The store.
    pub store: Arc<dyn Store>,
    /// What the other end may do.
    pub allowed: Allowed,
}

impl std::fmt::Debug for StoreServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreServer")
            .field("allowed", &self.allowed)
            .finish_non_exhaustive()
    }
}

impl Handler for StoreServer {
    fn call(&self, _: &Arc<Peer>, call: Call, body: Vec<u8>) -> Result<(Reply, Vec<u8>), Fault> {
        match call {
            Call::Store(call) => {
                let (reply, body) = answer(self.store.as_ref(), self.allowed, &call, &body);
                Ok((Reply::Store(reply), body))
            }
            _ => Err(Fault::refused(
                "this process serves a store and does nothing else",
            )),
        }
    }
}

/// Serves until the other end hangs up.
pub fn serve(service: &Service) -> Result<(), Fault> {
    if let Some((uid, gid)) = service.owner {
        users::become_for_good(uid, gid)?;
    }
    keep_secrets_in_memory();
    let path = service.datastore.to_str().ok_or_else(|| {
        Fault::refused(format!("{} is no UTF-8 path", service.datastore.display()))
    })?;
    if let Some(mounted) = &service.mounted {
        mounted.check(path)?;
    }
    let store = if service.create {
        here::create_directory(path, service.reserve)?
    } else {
        here::open_directory(path, service.reserve)?
    };
    let server = Arc::new(StoreServer {
        store,
        allowed: service.allowed,
    });
    let hang_up = || std::process::exit(1);
    let (input, output) = here::standard_streams()?;
    let conversation = converse(input, output, server, hang_up)?;
    conversation
        .wait()
        .map_err(|error| Fault::lost(error.to_string()))
}

/// Forbids core files, so that nothing of this process's memory reaches a disk.
///
/// Best effort: a system that refuses this is no reason not to make a backup.
pub fn keep_secrets_in_memory() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = rustix::process::setrlimit(Resource::Core, none);
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
}
