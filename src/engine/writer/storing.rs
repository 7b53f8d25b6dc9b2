//! Hands full packs to a thread of their own, so that nobody who seals waits for the disk.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{Writer, lock};
use crate::engine::backup::waiting;
use crate::engine::error::EngineError;
use crate::engine::pack::PackBuilder;

/// Takes full packs while a thread of its own puts them.
pub(super) type Storer = Mutex<Option<Sender<FullPack>>>;

/// Is a pack that waits to be put.
pub(super) struct FullPack {
    pub(super) builder: PackBuilder,
    pub(super) is_data: bool,
}

/// Holds the buffer of the next pack, or nothing until the one before is put.
///
/// So no more than one pack waits for the disk while another is filled, which bounds memory.
pub(super) struct Spare {
    give: Mutex<Option<Sender<Vec<u8>>>>,
    take: Receiver<Vec<u8>>,
}

impl Spare {
    pub(super) fn new() -> Self {
        let (give, take) = bounded(1);
        let spare = Self {
            give: Mutex::new(Some(give)),
            take,
        };
        spare.give(Vec::new());
        spare
    }

    /// Waits until there is a buffer; none will come any more once it is closed.
    pub(super) fn take(&self) -> Option<Vec<u8>> {
        waiting(|| self.take.recv()).ok()
    }

    /// Puts a buffer back; one is enough.
    pub(super) fn give(&self, buffer: Vec<u8>) {
        if let Some(give) = &*lock(&self.give) {
            drop(give.try_send(buffer));
        }
    }

    /// Lets nobody wait any more.
    fn close(&self) {
        *lock(&self.give) = None;
    }
}

impl Writer<'_> {
    /// Runs `work` while a thread of its own puts the packs that become full.
    ///
    /// Whoever fills a pack goes on with the next one then, instead of waiting for the disk. All
    /// packs are put when this returns. An error of that thread is the cause of those that
    /// `work` met, so it goes first. A single thread puts its packs itself.
    pub(in crate::engine) fn storing<T>(
        &self,
        threads: usize,
        work: impl FnOnce() -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        if threads == 1 {
            return work();
        }
        let (storer, full) = bounded(1);
        std::thread::scope(|scope| {
            let storing = scope.spawn(move || self.store_all(&full));
            *lock(&self.storer) = Some(storer);
            let done = {
                let _leave = Leave(&self.storer);
                work()
            };
            storing.join().map_err(|_| EngineError::Panicked)??;
            done
        })
    }

    /// Puts packs until nobody brings any more, or one cannot be put.
    fn store_all(&self, packs: &Receiver<FullPack>) -> Result<(), EngineError> {
        let put_all = || packs.iter().try_for_each(|pack| self.put_pack(pack));
        let stored = catch_unwind(AssertUnwindSafe(put_all));
        let stored = stored.unwrap_or(Err(EngineError::Panicked));
        if stored.is_err() {
            self.spare.close();
        }
        stored
    }

    /// Brings a full pack to the thread that puts packs, or puts it where there is none.
    pub(super) fn bring(&self, full: FullPack) -> Result<(), EngineError> {
        let storer = lock(&self.storer).clone();
        match storer {
            Some(storer) => storer.send(full).map_err(|_| EngineError::Cancelled),
            None => self.put_pack(full),
        }
    }
}

/// Lets go of the thread that puts packs, which ends it; also when what goes on panics.
struct Leave<'a>(&'a Mutex<Option<Sender<FullPack>>>);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        *lock(self.0) = None;
    }
}
