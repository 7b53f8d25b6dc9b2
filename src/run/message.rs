//! What the two ends of a conversation say to each other.

use std::fmt::Write;
use std::io;

use serde::{Deserialize, Serialize};

use crate::engine::EngineError;
use crate::engine::store::StoreError;

use super::job::{BackupJob, BackupReport, DrillJob, DrillReport, Progress};
use super::node::{NodeCall, NodeReply};
use super::store_call::{StoreCall, StoreReply};

/// A question or an order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// Do something to a store that this end serves; a body may follow.
    Store(StoreCall),
    /// Do something small to the machine.
    Node(NodeCall),
    /// Back a source up into the caller's store.
    Backup(Box<BackupJob>),
    /// Restore from the caller's store to a scratch place, compare and remove.
    Drill(Box<DrillJob>),
    /// Stop the backup or drill that is going on.
    Stop,
}

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To [`Call::Store`]; a body may follow.
    Store(StoreReply),
    /// To [`Call::Node`].
    Node(NodeReply),
    /// To [`Call::Backup`].
    Backup(Box<BackupReport>),
    /// To [`Call::Drill`].
    Drill(Box<DrillReport>),
    /// To [`Call::Stop`].
    Stopping,
}

/// Something worth knowing while a call is worked on.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// How far a backup or drill has come.
    Progress(Progress),
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// The kind, for whoever has to act on it.
    pub kind: FaultKind,
    /// What failed, where and why.
    pub message: String,
}

/// The kinds of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The connection ended or went silent.
    Lost,
    /// The other end may not or will not do that.
    Refused,
    /// What was planned no longer fits what is there.
    Stale,
    /// Somebody else holds the lock.
    Locked,
    /// The system said no: input, output or rights.
    Io,
    /// Stopped on request.
    Stopped,
    /// A full disk or quota, or the reserve.
    NoSpace,
    /// A snapshot was made, and something is missing from it.
    Incomplete,
    /// The engine failed.
    Engine,
}

impl Fault {
    /// Makes a fault of a kind.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// Says that the connection is gone.
    pub fn lost(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Lost, message)
    }

    /// Says that this will not be done.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Refused, message)
    }

    /// Says that the world changed since the plan was made.
    pub fn stale(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Stale, message)
    }

    /// Says who holds a lock.
    pub fn locked(path: &str, holder: &str) -> Self {
        let holder = if holder.is_empty() {
            "somebody"
        } else {
            holder
        };
        Self::new(
            FaultKind::Locked,
            format!("{path} is held by {holder}; wait for it to end, then try again"),
        )
    }

    /// Says what a store refused or failed at.
    pub fn store(error: &StoreError) -> Self {
        let kind = match error {
            StoreError::Closed { .. } => FaultKind::Lost,
            StoreError::NoSpace { .. } => FaultKind::NoSpace,
            StoreError::Collecting => FaultKind::Locked,
            StoreError::Denied { .. } | StoreError::ReadOnly { .. } | StoreError::Io { .. } => {
                FaultKind::Io
            }
            _ => FaultKind::Engine,
        };
        Self::new(kind, error.to_string())
    }

    /// Says what the engine failed at, with every cause.
    pub fn engine(error: &EngineError) -> Self {
        match error {
            EngineError::Store(error) => Self::store(error),
            EngineError::Busy { .. } => Self::new(FaultKind::Locked, error.to_string()),
            EngineError::Cancelled => Self::new(FaultKind::Stopped, error.to_string()),
            _ => {
                let mut message = error.to_string();
                let mut cause = std::error::Error::source(error);
                while let Some(because) = cause {
                    let _ = write!(message, ": {because}");
                    cause = because.source();
                }
                Self::new(FaultKind::Engine, message)
            }
        }
    }

    /// Says which action of ours the system refused.
    pub fn io(action: &str, error: &io::Error) -> Self {
        Self::new(FaultKind::Io, format!("failed to {action}: {error}"))
    }
}

impl Call {
    /// Returns whether the call takes long and makes calls back while it is worked on.
    pub fn waits(&self) -> bool {
        matches!(self, Self::Backup(_) | Self::Drill(_))
    }
}
