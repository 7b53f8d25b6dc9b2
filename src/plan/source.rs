//! Sources: whether they are there, can be read and are still the machine they were.

use crate::model::observed::{NodeFacts, Outcome};
use crate::model::snapshot::SnapshotHead;
use crate::model::topology::{Content, Source};
use crate::model::{Address, ByteSize, Name};
use crate::plan::change::Finding;
use crate::plan::demand::Demand;
use crate::plan::draft::{Draft, Goal, World};

/// Checks every source that some demands read.
pub(super) fn sources(world: World<'_>, demands: &[&Demand<'_>], draft: &mut Draft) {
    let mut names: Vec<&Name> = demands.iter().map(|demand| demand.source).collect();
    names.sort();
    names.dedup();
    for name in names {
        let Some(source) = world.topology.sources.get(name) else {
            continue;
        };
        match world.observed.reached(source.on.as_str()) {
            None => {
                let reason = format!("{} was not reached", source.on);
                draft.block(Goal::Source(name.clone()), reason);
            }
            Some(facts) => check(draft, name, source, facts),
        }
    }
}

fn check(draft: &mut Draft, name: &Name, source: &Source, facts: &NodeFacts) {
    let goal = Goal::Source(name.clone());
    let address = Address::new("source", name);
    let Content::Paths { paths, .. } = &source.content else {
        return;
    };
    let outcome = |path: &&String| facts.paths.get(*path).map(|seen| seen.outcome);
    if let Some(path) = paths.iter().find(|p| outcome(p) == Some(Outcome::Missing)) {
        let finding = Finding::error(
            "BK331",
            address,
            format!("{path} does not exist on {}", source.on),
        )
        .because(vec![
            "an empty copy must never become the newest good one".to_owned(),
        ])
        .fix(format!("make it, mount it, or correct {}", source.declared));
        return draft.refuse(goal, format!("{path} does not exist"), finding);
    }
    if let Some(path) = paths.iter().find(|p| outcome(p) == Some(Outcome::Timeout)) {
        let finding = Finding::error(
            "BK332",
            address,
            format!("{path} on {} did not answer in time", source.on),
        )
        .fix("look for a network mount whose server is gone");
        return draft.refuse(goal, format!("{path} does not answer"), finding);
    }
    let denied = paths.iter().any(|p| outcome(&p) == Some(Outcome::Denied));
    let readable = facts.sources.get(name).and_then(|seen| seen.readable);
    if denied || readable == Some(false) {
        let finding = Finding::error(
            "BK330",
            address,
            format!(
                "{} can't read it on {}: \"Permission denied (os error 13)\"",
                facts.login.user, source.on
            ),
        )
        .fix("log in as root, or add become \"sudo\" to the node");
        draft.refuse(goal, format!("{name} can't be read"), finding);
    }
}

/// Returns how many bytes a source holds, as far as that is known.
pub(super) fn estimate(world: World<'_>, name: &Name) -> Option<ByteSize> {
    let source = world.topology.sources.get(name)?;
    let facts = world.observed.reached(source.on.as_str())?;
    facts.sources.get(name)?.bytes
}

/// Returns the newest complete snapshot of a source in a datastore.
pub(super) fn newest<'a>(
    world: World<'a>,
    source: &Name,
    datastore: &Name,
) -> Option<&'a SnapshotHead> {
    let (_, _, _, store) = world.served(datastore)?;
    store
        .snapshots
        .get(source)?
        .iter()
        .filter(|head| head.complete)
        .max_by_key(|head| head.started)
}

/// Returns what both machines are called if a source is read from another than before.
pub(super) fn changed_machine<'a>(
    world: World<'a>,
    source: &Name,
    newest: &'a SnapshotHead,
) -> Option<(&'a str, &'a str)> {
    let on = &world.topology.sources.get(source)?.on;
    let now = world.observed.reached(on.as_str())?.machine_id.as_deref()?;
    let before = newest.machine.as_str();
    (!before.is_empty() && !now.is_empty() && before != now).then_some((before, now))
}
