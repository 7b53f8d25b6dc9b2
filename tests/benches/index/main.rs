//! What the index costs: memory for a chunk, time to load, time of a look-up.
//!
//! `cargo bench --bench index` prints the figures for ten million chunks, beside those of the
//! maps of the standard library; `cargo bench --bench index -- 1000000` takes as many as named.
#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bkpctl::engine::disk::RealDisk;
use bkpctl::engine::env::Env;
use bkpctl::engine::index::{self, PackEntries, Place};
use bkpctl::engine::pack::BlobKind;
use bkpctl::engine::store::{Dir, DirOptions};

const CHUNKS_A_PACK: u64 = 60;
const LOOKUPS: u64 = 1_000_000;

/// The value that a plain map would have for an id.
type Value = (u32, u32, u32, u32);

fn id(number: u64) -> [u8; 32] {
    *blake3::hash(&number.to_le_bytes()).as_bytes()
}

fn pack(number: u64, chunks: u64) -> PackEntries {
    let places = (0..chunks).map(|at| Place {
        id: id(number * CHUNKS_A_PACK + at),
        kind: BlobKind::Chunk,
        offset: at as u32 * 1_000_000,
        len: 1_000_000,
        plain_len: 1 << 20,
    });
    PackEntries {
        hash: id(u64::MAX - number),
        size: 1_000_000 * chunks,
        is_data: true,
        places: places.collect(),
    }
}

/// Returns a line of `/proc/self/status` in bytes.
fn status(line: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let value = status.lines().find_map(|text| text.strip_prefix(line));
    let kib = value.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

/// Runs a step and prints how long it took and what memory it added, at its peak and for good.
fn measured<T>(what: &str, chunks: u64, step: impl FnOnce() -> T) -> T {
    // The kernel starts the peak anew.
    drop(fs::write("/proc/self/clear_refs", "5"));
    let before = status("VmRSS:");
    let start = Instant::now();
    let made = step();
    let took = start.elapsed().as_secs_f64();
    let a_chunk = |line: &str| status(line).saturating_sub(before) as f64 / chunks as f64;
    println!(
        "{what:<28}{took:>8.2} s {:>8.1} B a chunk kept {:>8.1} B a chunk at the peak",
        a_chunk("VmRSS:"),
        a_chunk("VmHWM:")
    );
    made
}

fn look_ups(what: &str, chunks: u64, find: impl Fn(&[u8; 32]) -> bool) {
    for (kind, base) in [("present", 0), ("absent", chunks)] {
        let ids: Vec<_> = (0..LOOKUPS).map(|n| id(base + n * 7919 % chunks)).collect();
        let start = Instant::now();
        let found = ids.iter().filter(|id| black_box(find(id))).count() as u64;
        let ns = start.elapsed().as_nanos() / u128::from(LOOKUPS);
        assert_eq!(found, if base == 0 { LOOKUPS } else { 0 }, "{what}");
        println!("{:<28}{ns:>8} ns", format!("  look-up, {kind}"));
    }
}

fn main() {
    let wanted = std::env::args().find_map(|word| word.parse::<u64>().ok());
    let packs = wanted.unwrap_or(10_000_000).div_ceil(CHUNKS_A_PACK);
    let chunks = packs * CHUNKS_A_PACK;
    println!("{chunks} chunks in {packs} packs");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let options = DirOptions {
        root: folder.path().join("store"),
        machine: "bench".to_owned(),
    };
    let store = Dir::create(Arc::new(RealDisk::default()), Env::system(), &options);
    let store = store.expect("a new store");
    let a_segment = index::SEGMENT_ENTRIES_MAX as u64 / CHUNKS_A_PACK;
    for first in (0..packs).step_by(a_segment as usize) {
        let run = first..packs.min(first + a_segment);
        let run: Vec<_> = run.map(|number| pack(number, CHUNKS_A_PACK)).collect();
        index::put_segments(&store, &run).expect("a put");
    }
    let loaded = measured("index, from its segments", chunks, || {
        index::load(&store).expect("an index").index
    });
    assert_eq!(loaded.len() as u64, chunks);
    look_ups("index", chunks, |id| loaded.position(id).is_some());
    drop(loaded);
    let value = |n: u64| -> Value { (n as u32, 0, 0, 0) };
    let map: HashMap<[u8; 32], Value> = measured("yardstick: HashMap", chunks, || {
        (0..chunks).map(|n| (id(n), value(n))).collect()
    });
    look_ups("hash map", chunks, |id| map.contains_key(id));
    drop(map);
    let map: BTreeMap<[u8; 32], Value> = measured("yardstick: BTreeMap", chunks, || {
        let mut map = BTreeMap::new();
        for n in 0..chunks {
            map.insert(id(n), value(n));
        }
        map
    });
    look_ups("tree map", chunks, |id| map.contains_key(id));
}
