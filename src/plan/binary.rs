//! The static binary on nodes that are reached over SSH.

use std::collections::BTreeSet;

use crate::model::observed::{Binary, NodeFacts};
use crate::model::{Address, Name};
use crate::plan::capacity::{Bytes, Spot};
use crate::plan::change::{Finding, Step};
use crate::plan::demand::Demands;
use crate::plan::draft::{Draft, Goal, Proposal, World};
use crate::plan::{mount, share};

/// Plans the binary for every node that has to run it.
pub(super) fn binaries(
    world: World<'_>,
    demands: &Demands<'_>,
    open: &BTreeSet<&Name>,
    datastores: &[&Name],
    draft: &mut Draft,
) {
    for node in users(world, demands, open, datastores) {
        if world.topology.is_local(node.as_str()) {
            continue;
        }
        match world.observed.reached(node.as_str()) {
            None => {
                let reason = format!("{node} was not reached");
                draft.block(Goal::Binary(node.clone()), reason);
            }
            Some(facts) => place(world, draft, node, facts),
        }
    }
}

/// Returns the nodes that serve, are read from or restore, and those where a share or a mount
/// changes.
fn users<'a>(
    world: World<'a>,
    demands: &Demands<'a>,
    open: &BTreeSet<&Name>,
    datastores: &[&Name],
) -> BTreeSet<&'a Name> {
    let serving = datastores.iter().filter_map(|name| world.home(name));
    let read = demands
        .copies
        .iter()
        .filter(|demand| open.contains(demand.phase) && demand.barred.is_none())
        .filter_map(|demand| world.topology.sources.get(demand.source))
        .map(|source| &source.on);
    let restoring = demands
        .proofs
        .iter()
        .filter(|proof| open.contains(proof.phase) && proof.barred.is_none())
        .filter_map(|proof| proof.on);
    let shares = world.topology.shares.iter();
    let changing = shares.filter(|(name, _)| share::is_changed(world, name));
    let exporting = changing.map(|(_, share)| &share.on);
    let mounted = datastores
        .iter()
        .filter(|name| mount::is_changed(world, name));
    let mounting = mounted.filter_map(|name| {
        let place = world.topology.datastores.get(*name)?.first_place()?;
        Some(place.mount_point(place.mount.as_ref()?).0)
    });
    let others = exporting.chain(mounting);
    serving.chain(read).chain(restoring).chain(others).collect()
}

fn place(world: World<'_>, draft: &mut Draft, node: &Name, facts: &NodeFacts) {
    let goal = Goal::Binary(node.clone());
    let address = Address::new("node", node);
    let Some(binary) = &world.observed.binary else {
        let message = format!("{node} needs bkpctl, and there is no static binary to place there");
        let finding = Finding::error("BK321", address, message)
            .fix("build a static binary and name it with --agent-binary FILE");
        return draft.refuse(goal, "there is no binary to place", finding);
    };
    if facts.state.binaries.contains(&binary.hash) {
        return;
    }
    let mut proposal = proposal(world, draft, node, facts, binary);
    if facts.arch != binary.arch {
        let message = format!(
            "it is a machine of type {}, and the binary at hand runs on {}",
            facts.arch, binary.arch
        );
        draft.find(Finding::error("BK320", address, message).fix(format!(
            "name a binary for {} with --agent-binary FILE",
            facts.arch
        )));
        proposal.deferred = Some(format!("there is no binary for {}", facts.arch));
    }
    draft.propose(proposal);
}

fn proposal(
    world: World<'_>,
    draft: &mut Draft,
    node: &Name,
    facts: &NodeFacts,
    binary: &Binary,
) -> Proposal {
    let folder = facts.state.folder.clone();
    let spot = Spot {
        node,
        path: &folder,
        reserve: None,
    };
    let landing = draft.ledger.look(world, spot, Bytes::exactly(binary.size));
    let older = facts.state.binaries.len();
    let step = Step::PlaceBinary {
        hash: binary.hash.clone(),
        folder: folder.clone(),
    };
    let proposal = Proposal {
        before: (older > 0).then(|| "another version".to_owned()),
        reason: if older > 0 {
            "its version differs from this one".to_owned()
        } else {
            "it is not there yet".to_owned()
        },
        gives: vec![Goal::Binary(node.clone())],
        landing: vec![landing],
        ..Proposal::new(
            Address::new("node", node),
            node,
            step,
            format!("bkpctl in {folder}, {}", binary.size),
        )
    };
    if draft.takes(&proposal) {
        for landing in &proposal.landing {
            draft.ledger.spend(world, landing);
        }
    }
    proposal
}
