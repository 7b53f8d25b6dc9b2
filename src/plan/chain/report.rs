//! Datastores on shares that their writers could not write to, said beforehand.

use std::collections::BTreeSet;

use super::{Chain, Hop, Role, Verdict, chains};
use crate::model::topology::Share;
use crate::model::{Address, Name, Observed};
use crate::plan::change::{Finding, Step};
use crate::plan::draft::{Draft, Goal, World};
use crate::plan::registry;
use crate::plan::simulate::{Done, carry_out};

/// Says which datastores on shares their writers could not write to.
///
/// What the plan mends is told apart from what stays: the same is judged again in the state that
/// its shares bring about. That something new is not there or not exported yet is no trouble of
/// its own; then it is judged as if only that were done.
pub(in crate::plan) fn report(world: World<'_>, datastores: &[&Name], draft: &mut Draft) {
    let is_new = |step: &Step| matches!(step, Step::Export { .. } | Step::MakeFolder { .. });
    for name in datastores {
        let Some((share_name, share)) = world.topology.share_of(name) else {
            continue;
        };
        let writing = |observed: &Observed| {
            let chains = chains(world.topology, observed, name.as_str());
            chains.into_iter().find(|chain| chain.role == Role::Writing)
        };
        let is_first = registry::listed(world, name).is_none();
        let now = writing(world.observed);
        let now =
            now.filter(|now| !(is_first && (now.lacks_export() || is_made(draft, share_name))));
        // A state is large: it is made for the nodes on the way, and where there is trouble.
        let now = now.or_else(|| writing(&after_shares(world, draft, name, is_new)));
        let now = now.filter(|now| matches!(now.verdict, Verdict::Denied(_)));
        let then = || writing(&after_shares(world, draft, name, |_| true));
        if let Some((now, then)) = now.and_then(|now| Some((now, then()?))) {
            // Why it can't be exported was said, and keeps it from being mounted.
            let said = draft
                .obstacle(&Goal::Exported(share_name.clone()))
                .is_some();
            if !(said && now.lacks_export()) {
                denied(name, &now, &then, draft);
            }
        }
        if world.checks_subtrees(share) {
            let message =
                "its share's export has subtree_check, which brings stray errors after renames";
            let address = Address::new("datastore", name);
            draft.find(
                Finding::warning("BK126", address, message.to_owned())
                    .fix("export the root of the filesystem with no_subtree_check"),
            );
        }
    }
}

/// Tells whether the plan makes a share's folder.
fn is_made(draft: &Draft, share: &Name) -> bool {
    let made = draft.proposals.iter();
    let made = made.filter(|proposal| matches!(proposal.step, Step::MakeFolder { .. }));
    let address = Address::new("share", share);
    made.into_iter().any(|proposal| proposal.address == address)
}

/// Reports a writer who may not write now, and blocks the datastore if that stays so.
fn denied(name: &Name, now: &Chain, then: &Chain, draft: &mut Draft) {
    let Verdict::Denied(denial) = &now.verdict else {
        return;
    };
    let message = format!(
        "writes would fail with \"{}\": {}",
        denial.symptom, denial.at
    );
    let finding = Finding::error(denial.code, Address::new("datastore", name), message)
        .because(now.hops.iter().map(Hop::words).collect());
    let Verdict::Denied(left) = &then.verdict else {
        return draft.find(finding.fix(denial.fix.clone()).fixed(true));
    };
    let reason = format!("writes to {name} would fail: {}", left.at);
    // What still stands in the way is what has to be mended by hand.
    draft.refuse(
        Goal::Repository(name.clone()),
        reason,
        finding.fix(left.fix.clone()),
    );
}

/// Returns the state that some steps bring about which are proposed for shares so far, of the
/// nodes between a datastore's writer and its bytes.
fn after_shares(
    world: World<'_>,
    draft: &Draft,
    datastore: &Name,
    counts: impl Fn(&Step) -> bool,
) -> Observed {
    let between = between(world, datastore).into_iter();
    let nodes = between.filter_map(|name| world.observed.nodes.get_key_value(name));
    let mut after = Observed {
        nodes: nodes
            .map(|(name, state)| (name.clone(), state.clone()))
            .collect(),
        ..Observed::default()
    };
    let proposals = draft.proposals.iter();
    let pending = proposals.filter(|proposal| {
        proposal.deferred.is_none() && proposal.address.kind() == "share" && counts(&proposal.step)
    });
    for proposal in pending {
        let done = Done {
            node: &proposal.node,
            step: &proposal.step,
            reads: None,
        };
        carry_out(&mut after, world.topology, world.now, &done);
    }
    after
}

/// Returns the nodes that a datastore's writer goes through: its own, whatever that runs on, and
/// the server.
fn between<'a>(world: World<'a>, datastore: &Name) -> BTreeSet<&'a Name> {
    let topology = world.topology;
    let served = topology.datastores.get(datastore);
    let place = served.and_then(|datastore| datastore.first_place());
    let mount = place.and_then(|place| Some(place.mount_point(place.mount.as_ref()?).0));
    let share = topology.share_of(datastore).map(|(_, share)| &share.on);
    let ends = place.map(|place| &place.node).into_iter();
    let mut nodes: BTreeSet<&Name> = ends.chain(mount).chain(share).collect();
    let host = |name: &&Name| Some(&topology.nodes.get(*name)?.container.as_ref()?.on);
    let hosts: Vec<&Name> = nodes.iter().filter_map(host).collect();
    nodes.extend(hosts);
    nodes
}

impl World<'_> {
    fn checks_subtrees(&self, share: &Share) -> bool {
        let facts = self.observed.reached(share.on.as_str());
        let exports = facts.and_then(|facts| facts.nfs.as_ref());
        exports.is_some_and(|nfs| {
            let mut exports = nfs.exports.iter();
            exports.any(|export| export.path == share.export && export.subtree_check)
        })
    }
}
