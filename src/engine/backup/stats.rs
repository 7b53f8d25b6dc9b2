//! Where the time of a backup goes, and what it read.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::engine::progress::{Event, Observer};

/// Says what a backup read, what it did not need to, and where its time went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BackupStats {
    /// Bytes of the source that were read.
    pub read_bytes: u64,
    /// Files that were not opened, because they had not changed.
    pub unchanged_files: u64,
    /// The data of those files, in bytes.
    pub unchanged_bytes: u64,
    /// How many of the unchanged files an interrupted backup had read.
    pub resumed_files: u64,
    /// The data of those files, in bytes.
    pub resumed_bytes: u64,
    /// The time that was spent.
    pub times: StageTimes,
}

/// Says how long the stages of a backup took, added up over all threads.
///
/// A stage that waits for another one does not count as working.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StageTimes {
    /// Looking at directories and entries, and writing down what was found.
    pub walk: Duration,
    /// Opening and reading files and cutting their data into chunks.
    pub read: Duration,
    /// Naming, compressing, encrypting and checking.
    pub seal: Duration,
    /// Putting packs and index segments into the store.
    pub store: Duration,
    /// Making the snapshot visible.
    pub commit: Duration,
}

/// Names what a thread of a backup is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Stage {
    Walk,
    Read,
    Seal,
    Store,
    Commit,
}

const STAGES: usize = 5;

/// Adds up how long stages take, over all threads of one backup.
#[derive(Debug, Default)]
pub(in crate::engine) struct Stages([AtomicU64; STAGES]);

thread_local! {
    /// What this thread is doing, and since when.
    static CURRENT: Cell<Option<(Stage, Instant)>> = const { Cell::new(None) };
}

impl Stages {
    /// Counts the time of `work` for a stage; the stage around it pauses meanwhile.
    pub(in crate::engine) fn time<T>(&self, stage: Stage, work: impl FnOnce() -> T) -> T {
        let _running = Running::start(self, stage);
        work()
    }

    fn add(&self, stage: Stage, since: Instant, now: Instant) {
        let nanos = now.duration_since(since).as_nanos() as u64;
        self.0[stage as usize].fetch_add(nanos, Ordering::Relaxed);
    }

    /// Returns what was added up so far.
    pub(in crate::engine) fn times(&self) -> StageTimes {
        let of =
            |stage: Stage| Duration::from_nanos(self.0[stage as usize].load(Ordering::Relaxed));
        StageTimes {
            walk: of(Stage::Walk),
            read: of(Stage::Read),
            seal: of(Stage::Seal),
            store: of(Stage::Store),
            commit: of(Stage::Commit),
        }
    }
}

/// Runs what only waits for other threads, which counts for no stage.
pub(in crate::engine) fn waiting<T>(wait: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let waited_for = wait();
    let running = CURRENT.get();
    CURRENT.set(running.map(|(stage, since)| (stage, since + start.elapsed())));
    waited_for
}

/// Is a stage that runs on this thread until it is dropped.
struct Running<'a> {
    stages: &'a Stages,
    around: Option<Stage>,
}

impl<'a> Running<'a> {
    fn start(stages: &'a Stages, stage: Stage) -> Self {
        let now = Instant::now();
        let around = CURRENT.replace(Some((stage, now)));
        if let Some((around, since)) = around {
            stages.add(around, since, now);
        }
        Self {
            stages,
            around: around.map(|(stage, _)| stage),
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        let around = self.around.map(|stage| (stage, now));
        if let Some((stage, since)) = CURRENT.replace(around) {
            self.stages.add(stage, since, now);
        }
    }
}

/// Counts the bytes that are read, and passes every event on.
pub(super) struct ReadCounter<'a> {
    observer: &'a dyn Observer,
    read: AtomicU64,
}

impl<'a> ReadCounter<'a> {
    pub(super) fn new(observer: &'a dyn Observer) -> Self {
        Self {
            observer,
            read: AtomicU64::new(0),
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

impl Observer for ReadCounter<'_> {
    fn event(&self, event: Event<'_>) {
        if let Event::Read { bytes } = event {
            self.read.fetch_add(bytes, Ordering::Relaxed);
        }
        self.observer.event(event);
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use super::*;

    #[test]
    fn a_stage_within_another_counts_once() {
        let stages = Stages::default();
        let pause = Duration::from_millis(20);
        stages.time(Stage::Seal, || {
            sleep(pause);
            stages.time(Stage::Store, || sleep(3 * pause));
            waiting(|| sleep(4 * pause));
        });
        let times = stages.times();
        assert!(times.seal >= pause && times.store >= 3 * pause, "{times:?}");
        assert!(times.seal < times.store, "{times:?}");
        assert_eq!(times.walk, Duration::ZERO);
    }

    #[test]
    fn a_stage_that_panics_ends() {
        let stages = Stages::default();
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            stages.time(Stage::Seal, || panic!("as a test"));
        }));
        assert!(caught.is_err());
        assert!(CURRENT.get().is_none());
    }
}
