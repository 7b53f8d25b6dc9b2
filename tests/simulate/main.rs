//! Plays the engine on a simulated machine: many seeds, each with faults of its own.
//!
//! After each fault a full verification must find nothing, every acknowledged snapshot must
//! hold what was backed up, a failed command must have shown none, and the command that failed
//! must succeed when it is run again, without anybody's help. `BKPCTL_SIM_SEEDS=N` says how
//! many seeds are played, `BKPCTL_SIM_FIRST=N` from where, and `BKPCTL_SIM_SEED=N` plays one
//! alone and shows every call to the disk, under the lie with the number in
//! `BKPCTL_SIM_LIE` if there is one.

#![allow(clippy::print_stdout, reason = "its findings are for whoever runs it")]

mod disk;
mod files;
mod machine;
mod mutants;
mod rng;
mod sources;
mod story;
mod world;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use self::mutants::{LIES, Lie};
use self::sources::Sources;
use self::story::play;

const SEEDS: u64 = 2000;
/// How many seeds that fail are told of.
const FAILURES_MAX: usize = 5;
/// How much of a trace is shown.
const TRACE_LINES: usize = 400;
/// One in so many seeds is played twice, to see that it plays the same.
const TWICE: u64 = 50;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn main() -> ExitCode {
    let sources = match Sources::new() {
        Ok(sources) => Arc::new(sources),
        Err(error) => {
            println!("the trees to back up cannot be made: {error}");
            return ExitCode::FAILURE;
        }
    };
    if let Some(seed) = number("BKPCTL_SIM_SEED") {
        return alone(seed, &sources);
    }
    let first = number("BKPCTL_SIM_FIRST").unwrap_or(0);
    let count = number("BKPCTL_SIM_SEEDS").unwrap_or(SEEDS);
    let honest = all(first, count, &sources);
    let lies = lies(first, count, &sources);
    if honest && lies {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Plays one seed and shows what happened.
fn alone(seed: u64, sources: &Arc<Sources>) -> ExitCode {
    let lie = number("BKPCTL_SIM_LIE").and_then(|number| LIES.get(number as usize));
    let told = play(seed, sources, lie.map_or(Lie::Nothing, |lie| lie.0), true);
    for line in &told.trace {
        println!("{line}");
    }
    match told.wrong {
        None => {
            println!(
                "seed {seed}: {} of {} faults struck, and all is well",
                told.struck, told.armed
            );
            ExitCode::SUCCESS
        }
        Some(wrong) => {
            println!("seed {seed}: {wrong}");
            ExitCode::FAILURE
        }
    }
}

/// Plays seeds on all processors; returns the lowest that fails, if any.
fn search(first: u64, count: u64, visit: &(dyn Fn(u64) -> bool + Sync)) {
    let next = AtomicU64::new(first);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count || !visit(seed) {
                        return;
                    }
                }
            });
        }
    });
}

/// Plays all seeds on an honest disk.
fn all(first: u64, count: u64, sources: &Arc<Sources>) -> bool {
    let begin = Instant::now();
    let (armed, struck) = (AtomicU64::new(0), AtomicU64::new(0));
    let failures = Mutex::new(Vec::new());
    let fail = |seed: u64, wrong: String| {
        let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.push((seed, wrong));
        failures.len() < FAILURES_MAX
    };
    search(first, count, &|seed| {
        let told = play(seed, sources, Lie::Nothing, false);
        armed.fetch_add(told.armed, Ordering::Relaxed);
        struck.fetch_add(told.struck, Ordering::Relaxed);
        if let Some(wrong) = told.wrong {
            return fail(seed, wrong);
        }
        if seed % TWICE == 0 && play(seed, sources, Lie::Nothing, false).print != told.print {
            return fail(seed, "it does not play the same twice".to_owned());
        }
        true
    });
    let (armed, struck) = (armed.into_inner(), struck.into_inner());
    println!(
        "{count} seeds from {first}: {struck} of {armed} faults struck, {:.1} s",
        begin.elapsed().as_secs_f64()
    );
    let mut failures = failures
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    failures.sort();
    for (seed, wrong) in &failures {
        let told = play(*seed, sources, Lie::Nothing, true);
        let skip = told.trace.len().saturating_sub(TRACE_LINES);
        println!("\nseed {seed}: {wrong}");
        if told.wrong.as_ref() != Some(wrong) {
            println!("but played again: {:?}", told.wrong);
        }
        for line in &told.trace[skip..] {
            println!("  {line}");
        }
        println!("seed {seed}: {wrong}");
        println!("to see it again: BKPCTL_SIM_SEED={seed} cargo test --test simulate");
    }
    // A run whose faults miss proves nothing.
    let strikes = armed < 20 || struck * 2 > armed;
    if !strikes {
        println!("most faults missed: the counts of calls they are chosen by are wrong");
    }
    failures.is_empty() && strikes
}

/// Checks that every lie is found out.
fn lies(first: u64, count: u64, sources: &Arc<Sources>) -> bool {
    let mut all_found = true;
    for (lie, words) in LIES {
        let found = Mutex::new(None);
        search(first, count, &|seed| {
            let wrong = play(seed, sources, *lie, false).wrong;
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            if let (Some(wrong), None) = (wrong, &*found) {
                *found = Some((seed, wrong));
            }
            found.is_none()
        });
        let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        all_found &= found.is_some();
        if let Some((seed, wrong)) = found {
            println!("{words}: found by seed {seed}: {wrong}");
        } else {
            println!("{words}: NOT found by {count} seeds");
        }
    }
    all_found
}
