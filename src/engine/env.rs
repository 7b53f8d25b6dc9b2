//! What the engine takes from the world besides files: time and randomness.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Returns nanoseconds since 1970 in UTC.
    fn now_ns(&self) -> i64;
}

/// Gives random bytes that nobody can guess.
pub trait Entropy: Send + Sync {
    /// Fills the buffer.
    fn fill(&self, bytes: &mut [u8]) -> std::io::Result<()>;
}

/// Reads the machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ns(&self) -> i64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    }
}

/// Asks the kernel for random bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&self, bytes: &mut [u8]) -> std::io::Result<()> {
        getrandom::fill(bytes).map_err(|error| std::io::Error::other(error.to_string()))
    }
}

/// Bundles time and randomness.
#[derive(Clone)]
pub struct Env {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The randomness.
    pub entropy: Arc<dyn Entropy>,
}

impl Env {
    /// Returns the machine's own clock and randomness.
    pub fn system() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
        }
    }

    /// Returns `N` random bytes.
    pub fn random<const N: usize>(&self) -> std::io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.entropy.fill(&mut bytes)?;
        Ok(bytes)
    }
}

impl std::fmt::Debug for Env {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Env")
    }
}

/// Asks a running operation to stop; clones share the request.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Makes a token that nobody has used.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Tells whether somebody asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Clocks and randomness for tests: the same at every run.
#[cfg(test)]
pub(crate) mod fixed {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

    use super::{Clock, Entropy, Env};

    /// A clock that moves a second at every look, far ahead of the files that tests make.
    #[derive(Debug)]
    pub(crate) struct StepClock(AtomicI64);

    impl StepClock {
        pub(crate) fn new(seed: u64) -> Self {
            // An environment with a later seed is later by more than any test takes.
            let start = 4_000_000_000 + seed.cast_signed() * 100_000;
            Self(AtomicI64::new(start * 1_000_000_000))
        }
    }

    impl Clock for StepClock {
        fn now_ns(&self) -> i64 {
            self.0.fetch_add(1_000_000_000, Ordering::Relaxed)
        }
    }

    /// Bytes that follow from a seed and a counter.
    #[derive(Debug)]
    pub(crate) struct SeedEntropy(AtomicU64);

    impl Entropy for SeedEntropy {
        fn fill(&self, bytes: &mut [u8]) -> std::io::Result<()> {
            let count = self.0.fetch_add(1, Ordering::Relaxed);
            let mut hasher = blake3::Hasher::new();
            hasher.update(&count.to_le_bytes());
            hasher.finalize_xof().fill(bytes);
            Ok(())
        }
    }

    /// An environment whose clock steps and whose randomness follows from `seed`.
    pub(crate) fn env(seed: u64) -> Env {
        Env {
            clock: Arc::new(StepClock::new(seed)),
            entropy: Arc::new(SeedEntropy(AtomicU64::new(seed << 32))),
        }
    }
}
