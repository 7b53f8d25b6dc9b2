//! The pure vocabulary: names, sizes, times, the declared topology and the observed state.
//!
//! Nothing here reads a clock, the environment, a disk or the network, and nothing
//! of ours is imported. Every other folder speaks in these words; `docs/words.md`
//! explains them to people.

pub mod acl;
pub mod address;
pub mod discovered;
pub mod export;
pub mod facts;
pub mod idmap;
pub mod journal;
pub mod log;
pub mod lvm;
pub mod markers;
pub mod mounts;
pub mod name;
pub mod observed;
pub mod pbs;
pub mod pve;
pub mod retention;
pub mod schedule;
pub mod size;
pub mod snapshot;
pub mod system_files;
pub mod time;
pub mod topology;
pub mod truenas;
pub mod zfs;

pub use address::Address;
pub use export::Export;
pub use facts::Facts;
pub use idmap::IdMap;
pub use journal::JournalLine;
pub use name::Name;
pub use observed::Observed;
pub use size::{Amount, ByteSize};
pub use time::{Period, Timestamp};
pub use topology::Topology;
