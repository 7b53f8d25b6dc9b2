//! Makes ranges of a file or device read as zeros, where they do not already.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{FallocateFlags, SeekFrom};
use rustix::io::Errno;

use crate::engine::files::{Extent, Kind};

/// How much is looked at in one go.
const BLOCK_BYTES: usize = 256 << 10;

/// Returns the ranges of a file that hold no data, in order.
pub(super) fn holes(kind: &Kind) -> Vec<(u64, u64)> {
    let Kind::File { size, extents } = kind else {
        return Vec::new();
    };
    let starts = [0].into_iter().chain(extents.iter().map(Extent::end));
    let ends = extents.iter().map(|extent| extent.offset).chain([*size]);
    starts
        .zip(ends)
        .filter(|(start, end)| start < end)
        .collect()
}

/// Tells whether a range reads as zeros.
pub(super) fn is_zero(file: &File, from: u64, to: u64) -> io::Result<bool> {
    let mut is_zero = true;
    each_block(file, from, to, &mut |_, block| {
        is_zero &= block.iter().all(|byte| *byte == 0);
        Ok(is_zero)
    })?;
    Ok(is_zero)
}

/// Makes a range read as zeros; returns how many bytes of it did not.
///
/// Blocks that hold zeros are left alone, allocated or not.
pub(super) fn clear(file: &File, from: u64, to: u64) -> io::Result<u64> {
    let mut cleared = 0;
    each_block(file, from, to, &mut |offset, block| {
        if block.iter().any(|byte| *byte != 0) {
            zero(file, offset, block.len())?;
            cleared += block.len() as u64;
        }
        Ok(true)
    })?;
    Ok(cleared)
}

fn zero(file: &File, offset: u64, len: usize) -> io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match rustix::fs::fallocate(file, flags, offset, len as u64) {
        Ok(()) => Ok(()),
        // Not every file system and device can, and devices only whole sectors.
        Err(_) => file.write_all_at(&vec![0; len], offset),
    }
}

type TakeBlock<'a> = dyn FnMut(u64, &[u8]) -> io::Result<bool> + 'a;

/// Reads the data in a range block by block, until `take` says that it has seen enough.
fn each_block(file: &File, from: u64, to: u64, take: &mut TakeBlock<'_>) -> io::Result<()> {
    let mut buffer = vec![0; BLOCK_BYTES];
    let mut at = from;
    while let Some((start, end)) = next_data(file, at, to)? {
        at = start;
        while at < end {
            let len = (end - at).min(BLOCK_BYTES as u64) as usize;
            let block = &mut buffer[..len];
            file.read_exact_at(block, at)?;
            if !take(at, block)? {
                return Ok(());
            }
            at += len as u64;
        }
    }
    Ok(())
}

/// Returns the next part of a range that may hold data.
fn next_data(file: &File, from: u64, to: u64) -> io::Result<Option<(u64, u64)>> {
    if from >= to {
        return Ok(None);
    }
    let start = match rustix::fs::seek(file, SeekFrom::Data(from)) {
        Ok(start) => start.max(from),
        Err(Errno::NXIO) => return Ok(None),
        // Devices and some file systems cannot tell, so that all of it is looked at.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some((from, to))),
        Err(errno) => return Err(errno.into()),
    };
    if start >= to {
        return Ok(None);
    }
    let end = match rustix::fs::seek(file, SeekFrom::Hole(start)) {
        Ok(end) if end > start => end.min(to),
        _ => to,
    };
    Ok(Some((start, end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_no_zero_is_cleared() {
        let file = tempfile::tempfile().expect("a temporary file");
        file.set_len(4 << 20).expect("a length");
        let write = |bytes: &[u8], at| file.write_all_at(bytes, at).expect("written");
        write(&[7; 5000], 1 << 20);
        write(&[0; 5000], 2 << 20);
        write(&[9; 10], (3 << 20) + 5);
        assert!(is_zero(&file, 0, 1 << 20).expect("readable"));
        assert!(!is_zero(&file, 0, (1 << 20) + 1).expect("readable"));
        assert!(is_zero(&file, 2 << 20, 3 << 20).expect("readable"));
        let cleared = clear(&file, 1000, 3 << 20).expect("writable");
        assert!(
            (5000..=2 * BLOCK_BYTES as u64).contains(&cleared),
            "{cleared}"
        );
        assert!(is_zero(&file, 0, 3 << 20).expect("readable"));
        assert_eq!(clear(&file, 0, 3 << 20).expect("writable"), 0);
        assert!(!is_zero(&file, 3 << 20, 4 << 20).expect("readable"));
    }

    #[test]
    fn holes_are_what_extents_leave() {
        let extents = [(2, 3), (9, 1)].map(|(offset, len)| Extent { offset, len });
        let kind = Kind::File {
            size: 12,
            extents: extents.to_vec(),
        };
        assert_eq!(holes(&kind), [(0, 2), (5, 9), (10, 12)]);
        assert_eq!(holes(&Kind::dense_file(5)), []);
        assert_eq!(holes(&Kind::Dir), []);
    }
}
