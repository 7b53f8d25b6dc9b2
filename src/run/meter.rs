//! Adds the engine's many small events up to progress that people can read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::engine::{Event, Observer};
use crate::run::job::Progress;

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(80);

/// Adds events up and tells how far the work has come, now and then.
pub struct Meter<'a> {
    tell: &'a (dyn Fn(Progress) + Send + Sync),
    total: AtomicU64,
    bytes: AtomicU64,
    files: AtomicU64,
    stored: AtomicU64,
    told: Mutex<Option<Instant>>,
}

impl std::fmt::Debug for Meter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meter")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl<'a> Meter<'a> {
    /// Starts at nothing; `total` is what the work is expected to come to, if known.
    pub fn new(tell: &'a (dyn Fn(Progress) + Send + Sync), total: Option<u64>) -> Self {
        Self {
            tell,
            total: AtomicU64::new(total.unwrap_or(0)),
            bytes: AtomicU64::new(0),
            files: AtomicU64::new(0),
            stored: AtomicU64::new(0),
            told: Mutex::new(None),
        }
    }

    fn tell(&self) {
        // Whoever is telling right now tells for everybody.
        let Ok(mut told) = self.told.try_lock() else {
            return;
        };
        if told.is_some_and(|told| told.elapsed() < TELL_EVERY) {
            return;
        }
        *told = Some(Instant::now());
        let total = self.total.load(Ordering::Relaxed);
        (self.tell)(Progress {
            bytes: self.bytes.load(Ordering::Relaxed),
            total: (total > 0).then_some(total),
            files: self.files.load(Ordering::Relaxed),
            stored: self.stored.load(Ordering::Relaxed),
        });
    }
}

impl Observer for Meter<'_> {
    fn event(&self, event: Event<'_>) {
        let (counter, by) = match event {
            Event::Entry { .. } => (&self.files, 1),
            Event::Read { bytes }
            | Event::Kept { bytes }
            | Event::Written { bytes }
            | Event::Checked { bytes } => (&self.bytes, bytes),
            Event::Stored { bytes } => (&self.stored, bytes),
            Event::Expected { bytes } => (&self.total, bytes),
            Event::Note(_) | Event::Waiting { .. } => return,
        };
        counter.fetch_add(by, Ordering::Relaxed);
        self.tell();
    }
}

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        // The last word is always told.
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.tell();
    }
}
