//! What a topology may say and this version does not carry out.
//!
//! Each is resolved and named plainly; nothing is planned that would pretend.

use crate::model::topology::{Agent, Content, Datastore, DatastoreKind, Topology, Work, is_plain};
use crate::model::{Address, Name};
use crate::plan::change::Finding;
use crate::plan::draft::Draft;
use crate::plan::words;

/// Returns why copies of a source are not made, if so.
pub(super) fn source(topology: &Topology, name: &Name) -> Option<String> {
    let Some(source) = topology.sources.get(name) else {
        return Some("groups of guests are not carried out by this version".to_owned());
    };
    match content(&source.content) {
        Some((_, what)) => Some(format!("{what} not carried out by this version")),
        None => node(topology, &source.on),
    }
}

/// Returns the code and the words of what keeps a source's content from being copied.
fn content(content: &Content) -> Option<(&'static str, &'static str)> {
    match content {
        Content::Paths { .. } | Content::Command { .. } => None,
        Content::Volume { via, .. } => match via.as_deref() {
            via if is_plain(via) => None,
            Some("lvm-thin") => Some(("BK504", "volumes via lvm-thin are")),
            Some("zfs") => Some(("BK504", "volumes via zfs are")),
            Some("qcow2") => Some(("BK504", "volumes via qcow2 are")),
            _ => Some(("BK504", "such volumes are")),
        },
        Content::Guest(_) => Some(("BK506", "guests are")),
    }
}

/// Returns why a datastore is not made or written, if so.
pub(super) fn datastore(topology: &Topology, name: &Name) -> Option<String> {
    let datastore = topology.datastores.get(name)?;
    if let Some((_, what)) = datastore_feature(datastore) {
        return Some(format!("{what} not carried out by this version"));
    }
    node(topology, &datastore.first_place()?.node)
}

/// Returns why a job is not carried out, if so.
pub(super) fn job(work: &Work) -> Option<String> {
    match work {
        Work::Cloud { .. } => Some("cloud jobs are not carried out by this version".to_owned()),
        _ => None,
    }
}

/// Returns why nothing is placed on a node, if so.
fn node(topology: &Topology, name: &Name) -> Option<String> {
    let node = topology.nodes.get(name)?;
    (node.agent == Agent::None)
        .then(|| format!("{name} has agent \"none\", which is not carried out by this version"))
}

/// Returns the code and the words of what keeps a datastore from being carried out.
fn datastore_feature(datastore: &Datastore) -> Option<(&'static str, &'static str)> {
    match &datastore.kind {
        DatastoreKind::S3(_) => Some(("BK507", "S3 buckets are")),
        _ if datastore.pbs => Some(("BK512", "datastores of Proxmox Backup Server are")),
        DatastoreKind::Directory { places } => {
            let [place] = places.as_slice() else {
                return Some(("BK509", "several places of one datastore are"));
            };
            let from_phase = place.from_phase.is_some();
            from_phase.then_some(("BK509", "places from a phase on are"))
        }
    }
}

/// Says once for each thing declared what this version leaves undone.
pub(super) fn report(topology: &Topology, draft: &mut Draft) {
    for (name, node) in &topology.nodes {
        if node.agent == Agent::None {
            let message =
                "reading a node without placing anything is not carried out by this version";
            draft.find(
                warning("BK511", "node", name, message)
                    .fix("remove agent \"none\", or leave its sources to a later version"),
            );
        }
    }
    for (name, datastore) in &topology.datastores {
        if let Some((code, what)) = datastore_feature(datastore) {
            let message =
                format!("{what} not carried out by this version; nothing is planned for it");
            draft.find(
                warning(code, "datastore", name, &message)
                    .fix("for now, use a datastore with one place and a plain path"),
            );
        }
    }
    sources(topology, draft);
    jobs(topology, draft);
    for removed in &topology.removed {
        let kind = removed.address.kind();
        if removed.destroy && !["datastore", "share"].contains(&kind) {
            let message = format!("there is nothing that a {kind} leaves and destroy would remove");
            draft.find(
                Finding::warning("BK513", removed.address.clone(), message)
                    .fix("leave out destroy: only what a datastore or a share left is destroyed"),
            );
        }
    }
}

fn sources(topology: &Topology, draft: &mut Draft) {
    for (name, source) in &topology.sources {
        let Some((code, what)) = content(&source.content) else {
            continue;
        };
        let message = format!("{what} not carried out by this version; no copy is planned");
        let fix = if code == "BK504" {
            "leave via out to copy it as it lies there, best while nothing writes to it; or keep the backup you have for it"
        } else {
            "until then, keep the backup you have for it"
        };
        draft.find(warning(code, "source", name, &message).fix(fix));
    }
    for name in topology.guests.keys() {
        let message = "groups of guests are not carried out by this version; no copy is planned";
        draft.find(
            warning("BK506", "guests", name, message)
                .fix("until then, keep the backup you have for them"),
        );
    }
}

fn jobs(topology: &Topology, draft: &mut Draft) {
    let mut timed = Vec::new();
    for (_, job) in topology.jobs() {
        if matches!(job.work, Work::Cloud { .. }) {
            let message = "cloud jobs are not carried out by this version";
            draft.find(
                warning("BK508", "job", &job.name, message)
                    .fix("until then, copy it off site by other means"),
            );
        }
        if job.at.is_some() {
            timed.push(job.name.clone());
        }
    }
    if let Some(first) = timed.first() {
        let message = format!(
            "no timer is installed by this version for {}; the times only judge how old copies may get",
            words::list(&timed)
        );
        draft.find(
            Finding::note("BK520", Address::new("job", first), message)
                .fix(format!("let cron or a CI job call bkpctl run {first}")),
        );
    }
    let kept: Vec<Name> = topology
        .datastores
        .iter()
        .filter(|(_, datastore)| datastore.keep.is_some())
        .map(|(name, _)| name.clone())
        .collect();
    if let Some(first) = kept.first() {
        let message = format!(
            "nothing is pruned by this version: {} every snapshot for now",
            if kept.len() == 1 {
                format!("{first} keeps")
            } else {
                format!("{} keep", words::list(&kept))
            }
        );
        draft.find(Finding::note(
            "BK521",
            Address::new("datastore", first),
            message,
        ));
    }
}

fn warning(code: &str, kind: &str, name: &Name, message: &str) -> Finding {
    Finding::warning(code, Address::new(kind, name), message.to_owned())
}
