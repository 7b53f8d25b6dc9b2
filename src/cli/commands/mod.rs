//! One file a command.

pub mod apply;
pub mod bootstrap;
pub mod collect;
pub mod completions;
pub mod diff;
pub mod explain;
pub mod graph;
pub mod help;
pub mod host_key;
pub mod key;
pub mod leave;
pub mod log;
pub mod look;
pub mod observe;
pub mod plan;
pub mod restore;
pub mod run;
pub mod schema;
pub mod serve;
pub mod show;
pub mod simulate;
pub mod snapshots;
pub mod status;
pub mod store;
pub mod test;
pub mod validate;
