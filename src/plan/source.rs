//! Sources: whether they are there, can be read and are still the machine they were.

use crate::model::lvm::LogicalVolume;
use crate::model::observed::{ComponentKind, NodeFacts, Outcome, PathFacts};
use crate::model::snapshot::SnapshotHead;
use crate::model::topology::{Content, Source};
use crate::model::{Address, ByteSize, Name};
use crate::plan::change::Finding;
use crate::plan::demand::Demand;
use crate::plan::draft::{Draft, Goal, World};
use crate::plan::words;

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
    match &source.content {
        Content::Paths { paths, .. } => check_paths(draft, name, source, paths, facts),
        Content::Volume { device, .. } => {
            check_paths(draft, name, source, std::slice::from_ref(device), facts);
            check_volume(draft, name, source, device, facts);
        }
        Content::Command { argv, run_as, .. } => {
            if let Some((message, fix)) = obstacle(source, argv, run_as.as_deref(), facts) {
                let address = Address::new("source", name);
                let finding = Finding::error("BK334", address, message.clone()).fix(fix);
                draft.refuse(Goal::Source(name.clone()), message, finding);
            }
        }
        Content::Guest(_) => {}
    }
}

fn check_volume(draft: &mut Draft, name: &Name, source: &Source, device: &str, facts: &NodeFacts) {
    let seen = facts.paths.get(device).and_then(PathFacts::last);
    let Some(seen) = seen else { return };
    if matches!(seen.kind, ComponentKind::BlockDevice | ComponentKind::File) {
        return;
    }
    let message = format!(
        "{device} on {} is neither a block device nor a file",
        source.on
    );
    let finding = Finding::error("BK333", Address::new("source", name), message)
        .fix("name the device, or use path for a folder");
    draft.refuse(
        Goal::Source(name.clone()),
        format!("{device} is no volume"),
        finding,
    );
}

/// Returns why a source's program can't be run, and what helps.
fn obstacle(
    source: &Source,
    argv: &[String],
    run_as: Option<&str>,
    facts: &NodeFacts,
) -> Option<(String, String)> {
    let on = &source.on;
    let program = argv.first()?;
    if facts.tools.get(program) == Some(&false) {
        return Some((
            format!("there is no program {program} on {on}"),
            "install it there, or name it with its whole path".to_owned(),
        ));
    }
    let user = run_as.filter(|user| *user != facts.login.user)?;
    if !facts.users.contains_key(user) {
        return Some((
            format!("there is no user {user} on {on} for {program} to run as"),
            format!("make the user, or correct as=\"{user}\""),
        ));
    }
    (!facts.login.privileged).then(|| {
        (
            format!(
                "{} on {on} can't run {program} as {user}: only root may",
                facts.login.user
            ),
            "log in as root, or add become \"sudo\" to the node".to_owned(),
        )
    })
}

fn check_paths(
    draft: &mut Draft,
    name: &Name,
    source: &Source,
    paths: &[String],
    facts: &NodeFacts,
) {
    let goal = Goal::Source(name.clone());
    let address = Address::new("source", name);
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
    if let Some(path) = paths.iter().find(|path| !facts.paths.contains_key(*path)) {
        let message = format!("{path} on {} was not looked at", source.on);
        let finding = Finding::error("BK335", address, message.clone()).fix("observe again");
        return draft.refuse(goal, message, finding);
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

/// Says of a source's program what its node's registry keeps; nothing for other sources.
pub(crate) fn program(source: &Source) -> Option<String> {
    let Content::Command { argv, run_as, .. } = &source.content else {
        return None;
    };
    let argv: Vec<String> = argv.iter().map(|word| words::shell_word(word)).collect();
    let user = run_as.as_ref().map(|user| format!(" as {user}"));
    Some(format!("{}{}", argv.join(" "), user.unwrap_or_default()))
}

/// Returns a source's program, and what it was before, if it was not allowed yet.
pub(super) fn new_program(world: World<'_>, name: &Name) -> Option<(String, Option<String>)> {
    let source = world.topology.sources.get(name)?;
    let now = program(source)?;
    let facts = world.observed.reached(source.on.as_str())?;
    let registry = facts.state.registry.as_ref();
    let address = Address::new("source", name);
    let allowed = registry.and_then(|registry| registry.objects.get(&address));
    (allowed != Some(&now)).then(|| (now, allowed.cloned()))
}

/// Returns how many bytes a source holds, as far as that is known.
///
/// What a thin volume was never given reads as zeros, and zeros take no room in a copy.
pub(super) fn estimate(world: World<'_>, name: &Name) -> Option<ByteSize> {
    let source = world.topology.sources.get(name)?;
    let facts = world.observed.reached(source.on.as_str())?;
    let seen = facts.sources.get(name)?.bytes;
    let Content::Volume { device, .. } = &source.content else {
        return seen;
    };
    let thin = facts.lvm.as_ref().and_then(|lvm| lvm.at(device));
    let on_zfs = facts.zfs.as_ref().and_then(|zfs| zfs.at(device));
    let allocated = thin.map(LogicalVolume::allocated);
    match allocated.or(on_zfs.map(|volume| volume.logical)) {
        Some(allocated) => Some(seen.map_or(allocated, |seen| seen.min(allocated))),
        None => seen,
    }
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
