//! Collection: deletes what no snapshot needs, while backups go on. It holds no key.
//!
//! The order is that of `docs/invariants.md`: [`survey`] marks what snapshots need, [`plan`]
//! chooses packs, [`repack`] moves what is needed out of those that are mostly dead, [`condemn`]
//! announces what is to go and waits for those who may use it; then everything is marked again,
//! and [`delete`] removes what is still not needed. Killed anywhere, it leaves nothing that the
//! next collection does not finish.

mod condemn;
mod delete;
mod plan;
mod repack;
mod run;
mod spares;
mod survey;

use std::time::Duration;

use super::pack::PackSize;

pub use self::run::collect;

/// Says how a collection is to work.
#[derive(Debug, Clone)]
pub struct CollectOptions {
    /// Whether only to say what would go.
    pub dry_run: bool,
    /// How many bytes are moved out of packs that are mostly dead; none for all.
    pub max_repack: Option<u64>,
    /// After how much waiting the sessions of others are ended; none to wait for them.
    pub expire_after: Option<Duration>,
    /// How long to wait at least before anything is deleted.
    pub grace: Duration,
    /// How long to wait between two looks at the sessions.
    pub pause: Duration,
    /// How large the packs are that are written.
    pub pack_size: PackSize,
}

impl Default for CollectOptions {
    fn default() -> Self {
        Self {
            dry_run: false,
            max_repack: None,
            expire_after: None,
            grace: Duration::ZERO,
            pause: Duration::from_millis(200),
            pack_size: PackSize::Usual,
        }
    }
}

/// Says what a collection found and did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CollectReport {
    /// How many snapshots there are.
    pub snapshots: u64,
    /// How many packs there were.
    pub packs: u64,
    /// How many bytes they had.
    pub bytes: u64,
    /// How many bytes of blobs snapshots need.
    pub live_bytes: u64,
    /// How many bytes of blobs no snapshot needs, or are elsewhere too.
    pub dead_bytes: u64,
    /// How many packs went, those that were moved included.
    pub deleted_packs: u64,
    /// How many bytes they had.
    pub deleted_bytes: u64,
    /// Out of how many packs blobs were moved.
    pub repacked_packs: u64,
    /// How many bytes of packs were written for that.
    pub written_bytes: u64,
    /// How many packs were condemned and are needed after all.
    pub taken_back: u64,
    /// How many packs are mostly dead and wait for another collection.
    pub postponed_packs: u64,
    /// How many dead bytes are in them.
    pub postponed_bytes: u64,
    /// How many sessions were ended because they took too long.
    pub expired: u64,
    /// How many blobs snapshots need that are in no pack.
    pub lost: u64,
    /// Packs that were left alone, and why.
    pub doubtful: Vec<(String, String)>,
}

impl CollectReport {
    /// Returns how many bytes are free that were not before.
    pub fn freed_bytes(&self) -> u64 {
        self.deleted_bytes.saturating_sub(self.written_bytes)
    }
}
