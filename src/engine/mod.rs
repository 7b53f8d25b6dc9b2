//! The repository: chunks, packs, index, trees, snapshots.
//!
//! A library that another program could use: it knows no topology, no SSH and no command line.
//! Time and randomness come in through [`env::Env`]; files and networks through
//! [`store::Store`] and [`disk::Disk`]. It runs on threads.
//!
//! The bytes are described in `docs/format.md`, the promises in `docs/invariants.md`.

mod backup;
pub mod chunk;
mod collect;
mod compare;
pub mod compress;
pub mod crypto;
mod diff;
pub mod disk;
pub mod env;
mod error;
mod features;
pub mod files;
mod forget;
pub mod format;
pub mod hex;
pub mod index;
mod line;
pub mod manifest;
pub mod pack;
mod pieces;
mod progress;
mod reader;
mod repair;
mod repository;
mod restore;
mod slots;
mod snapshot;
pub mod store;
mod sync;
pub mod tree;
mod verify;
mod writer;

pub(crate) use self::backup::is_cache_record;
pub use self::backup::{
    BackupOptions, BackupReport, BackupStats, CacheOptions, StageTimes, backup, backup_image,
    backup_stream,
};
pub use self::collect::{CollectOptions, CollectReport, collect};
pub use self::compare::{CompareOptions, Differences, compare};
pub use self::diff::{Change, TakeChange, diff};
pub use self::error::EngineError;
pub use self::features::Deed;
pub use self::forget::{Dated, DatedSnapshots, dated_snapshots, forget};
pub use self::pack::PackSize;
pub use self::progress::{Event, Observer, Silent};
pub use self::repair::{DamagedPack, Lacking, RepairOptions, RepairReport, repair};
pub(crate) use self::repository::condemned;
pub use self::repository::{Access, CreateOptions, Marker, Repository, Snapshot, Snapshots};
pub use self::restore::{RestoreOptions, RestoreReport, restore, restore_over};
pub use self::slots::{Slot, slots, unlock};
pub use self::snapshot::OpenSnapshot;
pub use self::sync::{Selection, SyncReport, sync};
pub(crate) use self::verify::is_ledger;
pub use self::verify::{
    Budget, Coverage, Finding, Level, Problem, VerifyOptions, VerifyReport, verify, verify_with,
};

#[cfg(test)]
mod tests;
