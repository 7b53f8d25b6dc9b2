//! Has the disk write while data is put back, so that the end need not wait for all of it.
//!
//! The kernel leaves written data in memory for half a minute before it begins. In a restore
//! that takes less the disk would stand idle, and then have everything to do.

use std::io;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

/// After how many bytes the disk is set to work.
const FLUSHED_BYTES: u64 = 128 << 20;
/// How often somebody looks how much was written.
const LOOKED: Duration = Duration::from_millis(50);

/// Calls `flush` for every 128 MiB that `written` grows by, until `working` is let go.
///
/// Fails with what the disk says, at once.
pub(super) fn flush_along(
    working: &Receiver<()>,
    written: impl Fn() -> u64,
    flush: impl Fn() -> io::Result<()>,
) -> io::Result<()> {
    let mut flushed = 0;
    while working.recv_timeout(LOOKED) == Err(RecvTimeoutError::Timeout) {
        let written = written();
        if written - flushed >= FLUSHED_BYTES {
            flushed = written;
            flush()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use crossbeam_channel::bounded;

    use super::*;

    /// Lets what is written grow by a step a look, and returns at which amounts was flushed.
    fn flushed_at(steps: &[u64]) -> Vec<u64> {
        let (working, ended) = bounded(0);
        let working = Cell::new(Some(working));
        let (looks, now) = (Cell::new(0), Cell::new(0));
        let flushed = RefCell::new(Vec::new());
        let written = || {
            let look = looks.replace(looks.get() + 1);
            now.set(steps[look]);
            if look + 1 == steps.len() {
                working.take();
            }
            now.get()
        };
        let flush = || {
            flushed.borrow_mut().push(now.get());
            Ok(())
        };
        flush_along(&ended, written, flush).expect("nothing fails");
        flushed.into_inner()
    }

    #[test]
    fn the_disk_is_set_to_work_for_every_so_many_bytes() {
        let full = FLUSHED_BYTES;
        let cases: [(&[u64], &[u64]); 4] = [
            (&[0], &[]),
            (&[full - 1, full - 1], &[]),
            (&[full, full + 1, 2 * full - 1, 2 * full], &[full, 2 * full]),
            (&[0, 5 * full, 6 * full - 1], &[5 * full]),
        ];
        for (steps, expected) in cases {
            assert_eq!(flushed_at(steps), expected);
        }
    }

    #[test]
    fn a_disk_that_fails_is_told_at_once() {
        let (_working, ended) = bounded(0);
        let failed = flush_along(
            &ended,
            || FLUSHED_BYTES,
            || Err(io::Error::other("bad disk")),
        );
        assert!(failed.is_err(), "and it did not wait for the work to end");
    }
}
