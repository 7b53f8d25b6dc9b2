//! `bkpctl store verify`: is everything there and what it was.

use std::path::Path;

use serde_json::json;

use super::{open, shown};
use crate::cli::args::StoreVerify;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::engine::{Budget, Coverage, Level, VerifyOptions, VerifyReport, verify_with};
use crate::model::{ByteSize, Period};
use crate::run::message::Fault;
use crate::run::meter::Meter;

/// Checks as much as the arguments and the key allow.
pub(super) fn run(context: &Context, args: &StoreVerify) -> Outcome {
    let budget = args.budget.as_deref().map(budget).transpose()?;
    // Whoever has no key can still check every hash.
    let (repository, key) = open::with_or_without_key(&args.store, &args.secret)?;
    let level = match (args.read_data || budget.is_some(), &key) {
        (false, _) => Level::Structure,
        (true, None) => Level::Packs,
        (true, Some(_)) => Level::Full,
    };
    let options = VerifyOptions {
        budget,
        ..VerifyOptions::new(level)
    };
    let words = |made: &VerifyReport| words(made, &options);
    let label = (args.store.as_path(), "verify");
    let report = shown(context, label, words, |tell, cancel| {
        let meter = Meter::new(tell, None);
        verify_with(&repository, &options, &meter, cancel).map_err(|error| Fault::engine(&error))
    })?;
    if let (Some(_), Some(reason)) = (budget, &report.forgotten) {
        context.warn(&format!(
            "what was checked could not be noted, the next run begins again: {reason}"
        ));
    }
    print(context, &report, args.secret.json)?;
    if report.is_clean() {
        Ok(Exit::Ok)
    } else {
        Err(damaged(&args.store, &report))
    }
}

/// Reads a length of time or a size; a bare `m` means minutes.
fn budget(text: &str) -> Result<Budget, Failure> {
    let spelled = match text.strip_suffix('m') {
        Some(number) => format!("{number}min"),
        None => text.to_owned(),
    };
    if let Ok(Period(seconds)) = spelled.parse() {
        return Ok(Budget::Time(seconds.saturating_mul(1_000_000_000)));
    }
    match text.parse() {
        Ok(ByteSize(bytes)) => Ok(Budget::Bytes(bytes)),
        Err(_) => Err(Failure::new(format!("{text:?} is no budget"))
            .help("a time such as 90s, 10m or 2h, or a size such as 20GiB")),
    }
}

fn words(made: &VerifyReport, options: &VerifyOptions) -> String {
    let depth = match options.level {
        Level::Structure => "structure checked, no pack was read",
        Level::Packs => "every byte checked by hash, without a key",
        Level::Full => "every byte decrypted and checked",
    };
    let (snapshots, read) = (made.snapshots, ByteSize(made.bytes));
    match (options.budget, &made.coverage) {
        (Some(_), Some(coverage)) => format!(
            "{} of {} packs, {read} read: {depth}; {}",
            made.read,
            made.packs,
            covered(coverage, options)
        ),
        _ => format!(
            "{snapshots} snapshots, {} packs, {read} read: {depth}",
            made.packs
        ),
    }
}

fn covered(coverage: &Coverage, options: &VerifyOptions) -> String {
    let share = (coverage.lately * 100)
        .checked_div(coverage.packs)
        .unwrap_or(100);
    let lately = Period(options.lately / 1_000_000_000);
    format!("{share} % of packs checked within {lately}")
}

fn print(context: &Context, report: &VerifyReport, json: bool) -> Result<(), Failure> {
    let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    if !json {
        for finding in &findings {
            context.print(&format!("✗ {finding}"));
        }
        return Ok(());
    }
    let coverage = report.coverage.map(|coverage| {
        json!({
            "packs": coverage.packs,
            "checked_lately": coverage.lately,
            "never_checked": coverage.never,
        })
    });
    context.print_json(&json!({
        "clean": report.is_clean(),
        "snapshots": report.snapshots,
        "packs": report.packs,
        "packs_read": report.read,
        "bytes": report.bytes,
        "coverage": coverage,
        "findings": findings,
    }))
}

fn damaged(store: &Path, report: &VerifyReport) -> Failure {
    let message = format!("{} is damaged in {} places", store.display(), report.total);
    Failure::new(message).help(format!(
        "snapshots that need no damaged file still restore; bkpctl store repair {} saves what is \
         good and lets the next backup store the rest anew; sync from another datastore of the \
         same key brings packs back",
        store.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_times_or_sizes() {
        let minute = 60_000_000_000;
        for (text, expected) in [
            ("10m", Some(Budget::Time(10 * minute))),
            ("10min", Some(Budget::Time(10 * minute))),
            ("2h", Some(Budget::Time(120 * minute))),
            ("20GiB", Some(Budget::Bytes(20 << 30))),
            ("512 MiB", Some(Budget::Bytes(512 << 20))),
            ("", None),
            ("m", None),
            ("fast", None),
        ] {
            assert_eq!(budget(text).ok(), expected, "{text:?}");
        }
    }
}
