//! bkpctl treats a backup topology as code.
//!
//! The folders read as a sentence: `config` turns KDL into a [`model::Topology`],
//! `observe` reads the live state of every node, `plan` compares the two, and
//! `apply` carries the result out with the help of `run` (a job now) and
//! `engine` (the repository of chunks). `transport` reaches machines, `cli` is the
//! only place that prints.
//!
//! Imports point down only:
//!
//! | folder | may import | reads clock, environment, disk, network |
//! |---|---|---|
//! | [`model`] | nothing of ours | never |
//! | [`config`] | `model` | never; files come through a function passed in |
//! | [`plan`] | `model` | never; the time is an argument |
//! | [`engine`] | nothing of ours | its stores and disks do |
//! | [`transport`] | nothing of ours | yes |
//! | [`observe`] | `model`, `transport` | through transports |
//! | [`run`] | `model`, `engine`, `transport` | yes |
//! | [`apply`] | `model`, `plan`, `transport`, `run` | yes |
//! | [`cli`] | everything | yes |
//!
//! `tests/it/architecture.rs` enforces this table.

pub mod apply;
pub mod cli;
pub mod config;
pub mod engine;
#[doc(hidden)]
pub mod fuzz;
pub mod model;
pub mod observe;
pub mod plan;
pub mod run;
pub mod transport;
