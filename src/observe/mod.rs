//! Reads the live state of nodes through transports.
//!
//! [`observe`] looks at every node at once: [`wanted`] says what a topology needs to
//! know of each, `probe` writes that as one read-only POSIX `sh` script, runs it in one
//! exec and reads the answer. A node that can't be reached is a value in the result,
//! never an error.
//!
//! Invariants, as absences:
//! - A probe writes nothing on a node, not even a temporary file.
//! - A mount that hangs holds up neither the other facts nor the other nodes: every
//!   path is touched in a child that is left behind at its deadline.
//! - A key that may only look gets facts and starts nothing but a probe that the node itself
//!   makes; see `question`.
//! - No text of a node is trusted: answers are length-prefixed, bounded, and a wrong
//!   one makes the node unreachable rather than half-known.
//! - The clock is an argument.

mod journal;
mod look;
mod probe;
mod question;
mod records;
mod wanted;

pub use journal::journals;
pub use look::{Connect, ObserveOptions, Watch, discover, observe, observe_watched};
pub use question::{NoAnswer, answer};
pub use wanted::{Folder, Wanted, WantedDatastore, WantedSource, wanted};
