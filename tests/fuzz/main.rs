//! Runs every decoder over its corpus and over mutations of it: no panic, bounded memory.
//!
//! `BKPCTL_FUZZ_SECONDS` says how long each decoder is tried (0.5), `BKPCTL_FUZZ_SEED` with
//! what. `BKPCTL_UPDATE=1` adds what is missing in the corpora: `real-…` comes from real files
//! and must be accepted; bytes that once did harm are kept beside them under a telling name.

mod memory;
mod mutate;
mod seeds;

use std::collections::BTreeMap;
use std::fs;
use std::panic::catch_unwind;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bkpctl::fuzz::{TARGETS, Target};

use self::memory::peak_of;
use self::mutate::Mutator;

/// The most memory that a decoder may take at once.
const PEAK_BYTES_MAX: usize = 256 << 20;
/// The longest that one input may take, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(10);
/// No input gets longer than this by mutation.
const INPUT_BYTES_MAX: usize = 1 << 20;

fn corpus(target: &Target) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/fuzz/corpus").join(target.name)
}

fn inputs(target: &Target) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(corpus(target)).expect("every decoder has a corpus");
    files
        .map(|file| file.expect("an item").path())
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy();
            (name.into_owned(), fs::read(&path).expect("a file"))
        })
        .collect()
}

/// Runs one input and returns whether it was accepted, and how much memory that took.
fn run(target: &Target, input: &[u8], what: &str) -> (bool, usize) {
    let began = Instant::now();
    let (accepted, peak) = peak_of(|| catch_unwind(|| (target.run)(input)));
    let accepted = accepted.unwrap_or_else(|_| fail(target, input, what, "panics"));
    if peak > PEAK_BYTES_MAX {
        fail(
            target,
            input,
            what,
            &format!("takes {peak} bytes of memory"),
        );
    }
    if began.elapsed() > PATIENCE {
        fail(target, input, what, &format!("takes {:?}", began.elapsed()));
    }
    (accepted, peak)
}

/// Keeps the input for a closer look, and for the corpus.
fn fail(target: &Target, input: &[u8], what: &str, why: &str) -> ! {
    let name = format!("found-{}-{}", target.name, blake3::hash(input).to_hex());
    let path = std::env::temp_dir().join(name);
    fs::write(&path, input).expect("the input can be kept");
    panic!(
        "{} {why} on {what}; the input is kept at {}",
        target.name,
        path.display()
    );
}

#[test]
fn real_bytes_are_accepted_and_no_corpus_is_empty() {
    if std::env::var_os("BKPCTL_UPDATE").is_some() {
        update();
    }
    for target in TARGETS {
        let mut real = 0;
        for (name, input) in inputs(target) {
            let (accepted, _) = run(target, &input, &name);
            if name.starts_with("real-") {
                assert!(
                    accepted,
                    "{} refuses {name}: BKPCTL_UPDATE=1 makes the corpora of a new format",
                    target.name
                );
                real += 1;
            }
        }
        assert!(real > 0, "{} has no real input", target.name);
    }
}

#[test]
#[expect(
    clippy::print_stdout,
    reason = "how far a run got is worth knowing with --show-output"
)]
fn no_mutation_makes_a_decoder_panic_or_swell() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<f64>().ok())
    };
    let seconds = Duration::from_secs_f64(number("BKPCTL_FUZZ_SECONDS").unwrap_or(0.5));
    let seed = number("BKPCTL_FUZZ_SEED").unwrap_or(1.0) as u64;
    for target in TARGETS {
        let inputs: Vec<Vec<u8>> = inputs(target).into_values().collect();
        let mut mutator = Mutator::new(seed);
        let (mut runs, mut accepted, mut peak) = (0_u64, 0_u64, 0);
        let began = Instant::now();
        while began.elapsed() < seconds {
            let input = mutator.input(&inputs, INPUT_BYTES_MAX);
            let what = format!("mutation {runs} of seed {seed}");
            let (fits, bytes) = run(target, &input, &what);
            runs += 1;
            accepted += u64::from(fits);
            peak = peak.max(bytes);
        }
        println!(
            "{}: {runs} inputs, {accepted} accepted, at most {} KiB of memory",
            target.name,
            peak >> 10
        );
    }
}

fn update() {
    for (name, inputs) in seeds::all() {
        let target = TARGETS.iter().find(|target| target.name == name);
        let target = target.expect("seeds are for decoders that there are");
        let folder = corpus(target);
        fs::create_dir_all(&folder).expect("a folder");
        let is_current = |path: &PathBuf| {
            let bytes = fs::read(path).expect("a file");
            (target.run)(&bytes)
        };
        let files = fs::read_dir(&folder).expect("a folder");
        let real = files
            .map(|file| file.expect("an item").path())
            .filter(|path| {
                let name = path.file_name().expect("a name").to_string_lossy();
                name.starts_with("real-")
            });
        let real: Vec<_> = real.collect();
        if !real.is_empty() && real.iter().all(is_current) {
            continue;
        }
        for path in real {
            fs::remove_file(path).expect("a file of an earlier format");
        }
        for (number, input) in inputs.iter().enumerate() {
            fs::write(folder.join(format!("real-{number}")), input).expect("a file");
        }
    }
}
