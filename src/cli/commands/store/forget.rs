//! `bkpctl store forget`: forgets snapshots by rules, or those that are named.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::json;

use super::engine;
use super::open::open_store;
use crate::cli::args::KeepRules;
use crate::cli::commands::snapshots::aligned;
use crate::cli::context::{Context, now};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::render::text::count;
use crate::engine::env::Env;
use crate::engine::store::{Folder, StoreName};
use crate::engine::{Access, Dated, Repository, dated_snapshots, forget};
use crate::model::Timestamp;
use crate::model::retention::{Candidate, Keep, RetentionError, emptied, verdicts};

/// What is to be forgotten.
pub(super) struct Wanted<'a> {
    pub(super) snapshots: &'a [String],
    pub(super) keep: &'a KeepRules,
    pub(super) sources: &'a [String],
    pub(super) allow_empty: bool,
    pub(super) dry_run: bool,
}

/// One snapshot and what becomes of it.
struct Fate {
    name: StoreName,
    id: String,
    source: String,
    received: Option<i64>,
    stays: bool,
    reason: String,
}

/// Forgets, and says of each snapshot why it stays or goes.
pub(super) fn run(context: &Context, store: &Path, wanted: &Wanted<'_>, json: bool) -> Outcome {
    let keep = rules(wanted.keep);
    check(wanted, &keep)?;
    let opened = open_store(store)?;
    let repository = Repository::open(opened, Env::system(), Access::Keyless).map_err(engine)?;
    let listed = dated_snapshots(&repository).map_err(engine)?;
    for (name, reason) in &listed.damaged {
        context.warn(&format!("{name} is damaged: {reason}"));
    }
    let mut fates = if wanted.snapshots.is_empty() {
        by_rules(&listed.found, &keep, wanted.sources)?
    } else {
        by_name(&repository, &listed.found, wanted.snapshots)?
    };
    let all = fates.iter().map(|fate| (fate.source.as_str(), fate.stays));
    let empty = emptied(all);
    if !empty.is_empty() && !wanted.allow_empty {
        let message = format!("nothing would stay of {}", empty.join(", "));
        return Err(Failure::new(message).help("with --allow-empty it is done all the same"));
    }
    // What stays is of no interest to whoever named what is to go.
    if !wanted.snapshots.is_empty() {
        fates.retain(|fate| !fate.stays);
    }
    let going: Vec<StoreName> = fates
        .iter()
        .filter(|fate| !fate.stays)
        .map(|fate| fate.name.clone())
        .collect();
    if !wanted.dry_run {
        forget(&repository, &going).map_err(engine)?;
    }
    if json {
        context.print_json(&describe(&fates, wanted.dry_run))?;
    } else {
        context.print(&table(&fates));
        context.print(&words(store, &fates, going.len(), wanted.dry_run));
    }
    Ok(Exit::Ok)
}

fn rules(rules: &KeepRules) -> Keep {
    Keep {
        last: rules.keep_last,
        hourly: rules.keep_hourly,
        daily: rules.keep_daily,
        weekly: rules.keep_weekly,
        monthly: rules.keep_monthly,
        yearly: rules.keep_yearly,
    }
}

fn check(wanted: &Wanted<'_>, keep: &Keep) -> Result<(), Failure> {
    let help =
        "bkpctl store forget STORE --keep-last 3 --keep-daily 7, or … forget STORE SNAPSHOT…";
    if wanted.snapshots.is_empty() {
        return if keep.is_empty() {
            Err(Failure::new("no rule says what stays, and no snapshot was named").help(help))
        } else {
            Ok(())
        };
    }
    if keep == &Keep::default() && wanted.sources.is_empty() {
        Ok(())
    } else {
        Err(Failure::new("either rules say what goes, or names do").help(help))
    }
}

/// Applies the rules to each source.
fn by_rules(found: &[Dated], keep: &Keep, sources: &[String]) -> Result<Vec<Fate>, Failure> {
    let mut groups: BTreeMap<&str, Vec<&Dated>> = BTreeMap::new();
    for dated in found {
        let source = dated.snapshot.clear.source.as_str();
        groups.entry(source).or_default().push(dated);
    }
    if let Some(missing) = sources.iter().find(|s| !groups.contains_key(s.as_str())) {
        return Err(Failure::new(format!("there is no snapshot of {missing:?}"))
            .help("bkpctl store snapshots STORE lists them"));
    }
    let mut fates = Vec::new();
    for (source, group) in groups {
        if sources.is_empty() || sources.iter().any(|wanted| wanted == source) {
            fates.extend(judge(&group, keep)?);
        }
    }
    Ok(fates)
}

fn judge(group: &[&Dated], keep: &Keep) -> Result<Vec<Fate>, Failure> {
    let candidates: Vec<Candidate> = group
        .iter()
        .map(|dated| Candidate {
            name: dated.snapshot.name.to_string(),
            received: dated.received.map(Timestamp),
            complete: dated.snapshot.clear.complete,
            protected: false,
        })
        .collect();
    let zone = jiff::tz::TimeZone::system();
    let judged = verdicts(&candidates, keep, &zone, now()).map_err(|error| {
        let failure = Failure::new(error.to_string());
        match error {
            RetentionError::ClockBehind { .. } => {
                failure.help("set the clock right first; nothing was forgotten")
            }
            RetentionError::NoRules => failure,
        }
    })?;
    let by_name: BTreeMap<&str, &Dated> = group
        .iter()
        .map(|dated| (dated.snapshot.name.as_str(), *dated))
        .collect();
    let fate = |verdict: &crate::model::retention::Verdict| {
        let dated = by_name[verdict.name.as_str()];
        let reason = verdict.reason.to_string();
        fate(dated, verdict.reason.keeps(), reason)
    };
    Ok(judged.iter().map(fate).collect())
}

fn fate(dated: &Dated, stays: bool, reason: String) -> Fate {
    let clear = &dated.snapshot.clear;
    Fate {
        name: dated.snapshot.name.clone(),
        id: clear.id.chars().take(8).collect(),
        source: clear.source.clone(),
        received: dated.received,
        stays,
        reason,
    }
}

/// Finds the snapshots that were named; damaged ones have to be named in full.
fn by_name(
    repository: &Repository,
    found: &[Dated],
    wanted: &[String],
) -> Result<Vec<Fate>, Failure> {
    let mut going = BTreeSet::new();
    for text in wanted {
        let name = match StoreName::parse(text) {
            Ok(name) if name.folder() == Folder::Snapshots => {
                repository
                    .store()
                    .size(&name)
                    .map_err(|error| engine(error.into()))?;
                name
            }
            _ => repository.find_snapshot(text).map_err(engine)?.name,
        };
        going.insert(name);
    }
    let mut fates: Vec<Fate> = found
        .iter()
        .map(|dated| {
            let stays = !going.remove(&dated.snapshot.name);
            fate(dated, stays, "named".to_owned())
        })
        .collect();
    // What is left is damaged, or it would be in the listing.
    fates.extend(going.into_iter().map(|name| {
        let source = name.parts().next().unwrap_or_default().to_owned();
        Fate {
            id: "damaged".to_owned(),
            source,
            received: None,
            stays: false,
            reason: "named".to_owned(),
            name,
        }
    }));
    Ok(fates)
}

fn time(received: Option<i64>) -> Option<String> {
    received.map(|received| Timestamp(received).to_string())
}

fn table(fates: &[Fate]) -> String {
    let head = ["id", "source", "received", "", "because"];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(fates.iter().map(|fate| {
        let word = if fate.stays { "keep" } else { "forget" };
        [
            fate.id.clone(),
            fate.source.clone(),
            time(fate.received).unwrap_or_else(|| "?".to_owned()),
            word.to_owned(),
            fate.reason.clone(),
        ]
    }));
    aligned(&rows)
}

fn words(store: &Path, fates: &[Fate], going: usize, dry_run: bool) -> String {
    let went = count(going, "snapshot", "snapshots");
    let rest = fates.len() - going;
    if dry_run {
        return format!("{went} would be forgotten, {rest} would stay.");
    }
    let next = if going > 0 {
        format!(
            " bkpctl store gc {} frees what only they needed.",
            store.display()
        )
    } else {
        String::new()
    };
    format!("{went} forgotten, {rest} stay.{next}")
}

fn describe(fates: &[Fate], dry_run: bool) -> serde_json::Value {
    let snapshots: Vec<_> = fates
        .iter()
        .map(|fate| {
            json!({
                "name": fate.name.as_str(),
                "id": fate.id,
                "source": fate.source,
                "received": time(fate.received),
                "keep": fate.stays,
                "reason": fate.reason,
            })
        })
        .collect();
    json!({ "dry_run": dry_run, "snapshots": snapshots })
}
