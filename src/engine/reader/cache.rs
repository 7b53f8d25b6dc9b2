//! Chunks that were decoded a moment ago, and those that somebody is about to decode.
//!
//! Files next to each other share chunks, and threads work on files next to each other.
//! Whoever claims a chunk reads it; others wait for the result. Claims are resolved before
//! anybody waits, so that no two threads wait for each other.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// How many bytes of chunks are kept.
const CACHED_BYTES_MAX: usize = 32 << 20;

type Id = [u8; 32];
type Chunk = Arc<Vec<u8>>;

/// Keeps chunks for all threads of one reader.
#[derive(Default)]
pub(super) struct Cache {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    slots: HashMap<Id, Slot>,
    /// Chunks that are there, oldest first.
    order: VecDeque<Id>,
    bytes: usize,
}

enum Slot {
    Claimed,
    Ready(Chunk),
}

/// Says what a thread that wants some chunks has to do for them.
#[derive(Default)]
pub(super) struct Wanted {
    /// These are there.
    pub(super) ready: Vec<(Id, Chunk)>,
    /// These are read by other threads.
    pub(super) others: Vec<Id>,
}

/// Holds claims; what was not resolved when it is dropped becomes free again.
pub(super) struct Claims<'a> {
    cache: &'a Cache,
    open: Vec<Id>,
}

impl Cache {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is whole before the lock is released.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what is there and claims what nobody reads yet.
    pub(super) fn claim(&self, ids: &[Id]) -> (Wanted, Claims<'_>) {
        let mut state = self.lock();
        let mut wanted = Wanted::default();
        let mut open = Vec::new();
        for id in ids {
            match state.slots.get(id) {
                Some(Slot::Ready(chunk)) => wanted.ready.push((*id, chunk.clone())),
                Some(Slot::Claimed) => wanted.others.push(*id),
                None => {
                    state.slots.insert(*id, Slot::Claimed);
                    open.push(*id);
                }
            }
        }
        (wanted, Claims { cache: self, open })
    }

    /// Waits until a chunk that another thread claimed is there; none if that came to nothing.
    pub(super) fn wait(&self, id: &Id) -> Option<Chunk> {
        let mut state = self.lock();
        loop {
            match state.slots.get(id) {
                Some(Slot::Ready(chunk)) => return Some(chunk.clone()),
                Some(Slot::Claimed) => {
                    state = self
                        .changed
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner);
                }
                None => return None,
            }
        }
    }
}

impl Claims<'_> {
    /// Returns what was claimed and is not resolved yet.
    pub(super) fn ids(&self) -> Vec<Id> {
        self.open.clone()
    }

    /// Hands a claimed chunk to all who wait for it.
    pub(super) fn resolve(&mut self, id: &Id, chunk: &Chunk) {
        self.open.retain(|open| open != id);
        let mut state = self.cache.lock();
        state.slots.insert(*id, Slot::Ready(chunk.clone()));
        state.order.push_back(*id);
        state.bytes += chunk.len();
        while state.bytes > CACHED_BYTES_MAX {
            let Some(oldest) = state.order.pop_front() else {
                break;
            };
            if let Some(Slot::Ready(chunk)) = state.slots.remove(&oldest) {
                state.bytes -= chunk.len();
            }
        }
        drop(state);
        self.cache.changed.notify_all();
    }
}

impl Drop for Claims<'_> {
    fn drop(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let mut state = self.cache.lock();
        for id in &self.open {
            state.slots.remove(id);
        }
        drop(state);
        self.cache.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_reads_and_the_others_get_it() {
        let cache = Cache::default();
        let (wanted, mut claims) = cache.claim(&[[1; 32], [2; 32]]);
        assert!(wanted.ready.is_empty() && wanted.others.is_empty());
        let (other, none) = cache.claim(&[[1; 32]]);
        assert_eq!(other.others, [[1; 32]]);
        assert!(none.ids().is_empty());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| cache.wait(&[1; 32]));
            claims.resolve(&[1; 32], &Arc::new(vec![7]));
            let got = waiting.join().expect("it ends");
            assert_eq!(got.as_deref(), Some(&vec![7]));
        });
        drop(claims);
        assert!(cache.wait(&[2; 32]).is_none(), "given up");
        let (wanted, _claims) = cache.claim(&[[1; 32]]);
        assert_eq!(wanted.ready.len(), 1);
    }

    #[test]
    fn the_oldest_chunks_make_room() {
        let cache = Cache::default();
        let chunk = Arc::new(vec![0; 4 << 20]);
        for n in 0..10 {
            let (_, mut claims) = cache.claim(&[[n; 32]]);
            claims.resolve(&[n; 32], &chunk);
        }
        assert!(cache.wait(&[1; 32]).is_none());
        assert!(cache.wait(&[9; 32]).is_some());
        assert_eq!(cache.lock().bytes, CACHED_BYTES_MAX);
    }
}
