//! Reading keys: without one nothing can be sealed.

use std::collections::BTreeSet;

use crate::model::observed::KeyState;
use crate::model::topology::{Key, Reach};
use crate::model::{Address, Name};
use crate::plan::change::{Finding, Step};
use crate::plan::draft::{Draft, Goal, Proposal, World};
use crate::plan::{registry, words};

/// Plans the keys that some datastores need.
pub(super) fn keys(world: World<'_>, datastores: &[&Name], draft: &mut Draft) {
    let used: BTreeSet<&Name> = datastores
        .iter()
        .filter_map(|name| world.topology.datastores.get(*name))
        .map(|datastore| &datastore.key)
        .collect();
    for name in used {
        if let Some(key) = world.topology.keys.get(name) {
            one(world, draft, name, key, datastores);
        }
    }
}

/// Returns the node whose state changes where bkpctl itself runs.
pub(super) fn controller(world: World<'_>) -> Name {
    let local = |node: &&Name| matches!(world.topology.nodes[*node].reach, Reach::Local);
    match world.topology.nodes.keys().find(local) {
        Some(node) => node.clone(),
        None => Name::new("controller").expect("it is a name"),
    }
}

fn one(world: World<'_>, draft: &mut Draft, name: &Name, key: &Key, datastores: &[&Name]) {
    let goal = Goal::Key(name.clone());
    let address = Address::new("key", name);
    match world.observed.keys.get(name) {
        Some(KeyState::Present {
            recovery_confirmed, ..
        }) => {
            if !recovery_confirmed && !key.create {
                unconfirmed(draft, name, address);
            }
        }
        Some(KeyState::Missing) => missing(world, draft, name, key, datastores),
        Some(KeyState::Unusable(why)) => {
            let finding = Finding::error(
                "BK402",
                address,
                format!("{} can't be used: {why}", key.file),
            )
            .fix(format!(
                "put the right file there, or restore it from the recovery sheet of {name}"
            ));
            draft.refuse(goal, format!("key {name} can't be used"), finding);
        }
        None => {
            let finding = Finding::error("BK402", address, "it was not looked at".to_owned())
                .fix("observe again");
            draft.refuse(goal, format!("key {name} was not looked at"), finding);
        }
    }
}

fn unconfirmed(draft: &mut Draft, name: &Name, address: Address) {
    let message =
        "its recovery sheet was not confirmed; the first backup waits until it is".to_owned();
    let finding = Finding::warning("BK403", address, message)
        .because(vec![
            "whoever loses the key file and the sheet loses every snapshot sealed for it"
                .to_owned(),
        ])
        .fix(format!(
            "print the sheet, put it in a safe place, then bkpctl key confirm {name}"
        ));
    let reason = format!("the recovery sheet of key {name} is not confirmed");
    draft.refuse(Goal::Sealed(name.clone()), reason, finding);
}

fn missing(world: World<'_>, draft: &mut Draft, name: &Name, key: &Key, datastores: &[&Name]) {
    let goal = Goal::Key(name.clone());
    let address = Address::new("key", name);
    let sealed: Vec<&Name> = datastores
        .iter()
        .filter(|store| {
            world.served(store).is_some_and(|(datastore, _, _, facts)| {
                datastore.key == *name
                    && (facts.marker.is_some() || registry::listed(world, store).is_some())
            })
        })
        .copied()
        .collect();
    if !sealed.is_empty() {
        let message = format!(
            "{} is missing, and {} sealed for it: another key can't read what is there",
            key.file,
            words::list(&sealed) + if sealed.len() == 1 { " is" } else { " are" },
        );
        let finding = Finding::error("BK404", address, message).fix(format!(
            "put the key file back, from its copy or from the recovery sheet of {name}"
        ));
        draft.refuse(goal, format!("key {name} is missing"), finding);
    } else if key.create {
        let proposal = Proposal {
            reason: "it is missing, and the topology allows to create it".to_owned(),
            gives: vec![goal],
            ..Proposal::new(
                address,
                &controller(world),
                Step::CreateKey { key: name.clone() },
                format!("a new reading key in {}", key.file),
            )
        };
        draft.propose(proposal);
    } else {
        let finding = Finding::error("BK401", address, format!("{} is missing", key.file))
            .fix(format!("bkpctl key new {name}"));
        draft.refuse(goal, format!("key {name} is missing"), finding);
    }
}
