//! Topology, observed state and the time become a Plan.
//!
//! [`plan`] is a pure function made of one rule per kind of thing. It never reads a
//! clock, the environment, a disk or the network, and it never decides anything that
//! the same inputs would not decide again. Rules write proposals and findings into a
//! draft; [`change::Plan`] is what comes out, in an order that can be carried out.
//!
//! Laws that tests hold it to: the same inputs give the same bytes; the order respects
//! what each action needs; and a plan made from the state after a plan is empty
//! ([`simulate`] says what that state is), phase by phase.

mod access;
mod binary;
mod capacity;
pub mod chain;
pub mod change;
pub mod codes;
mod container;
mod copies;
pub mod cycle;
mod dataset;
mod datastore;
mod demand;
pub mod difference;
mod digest;
pub mod disaster;
mod draft;
pub mod drift;
mod drill;
mod export;
mod folder;
pub mod forecast;
pub mod graph;
mod hazard;
mod key;
pub mod lint;
mod lost;
mod make;
mod mount;
pub mod need;
mod node;
mod order;
mod orphan;
mod part;
mod pbs;
mod phase;
mod policy;
pub mod readiness;
mod registry;
mod repository;
pub mod saved;
pub mod selection;
mod share;
pub mod simulate;
mod smb;
mod source;
mod standing;
mod sync;
mod thin;
mod unsupported;
mod vzdump;
mod words;

pub use change::Plan;
pub use lint::lint;
pub use make::{plan, plan_of, plan_part};
pub use simulate::simulate;
pub(crate) use source::program;
pub(crate) use words::shell_word;
