//! What in a changed topology a reviewer should look at first.
//!
//! Each of these can lose copies, run code or open a door, and none of them needs the live state
//! to be seen.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::retention::Keep;
use crate::model::topology::{Content, Datastore, Node, Policy, Reach, Source, Topology, Work};
use crate::model::{Address, Name, Period};

/// A change that deserves a second look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hazard {
    /// What changes.
    pub address: Address,
    /// What that may come to, in one line.
    pub message: String,
}

/// Returns the hazards of going from one topology to another, by address.
pub(super) fn hazards(before: &Topology, after: &Topology) -> Vec<Hazard> {
    let mut found = Found(Vec::new());
    if before.id != after.id {
        let address = Address::new("topology", &after.name);
        found.add(
            address,
            "another id: markers and snapshots of the old one belong to nobody",
        );
    }
    for (name, old) in &before.nodes {
        let address = Address::new("node", name);
        match after.nodes.get(name) {
            Some(new) => node(&address, old, new, &mut found),
            None => found.add(address, "gone: its own files stay there until bkpctl leave"),
        }
    }
    for (name, old) in &before.datastores {
        let address = Address::new("datastore", name);
        match after.datastores.get(name) {
            Some(new) => datastore(&address, old, new, &mut found),
            None => found.add(address, "gone: its snapshots stay, and no new ones come"),
        }
    }
    for (name, old) in &before.keys {
        let address = Address::new("key", name);
        match after.keys.get(name) {
            Some(new) if new.file == old.file => {}
            Some(_) => found.add(
                address,
                "another file: what the old key sealed may not open",
            ),
            None => found.add(address, "gone: nothing it sealed can be read without it"),
        }
    }
    for (name, old) in &before.sources {
        let address = Address::new("source", name);
        match after.sources.get(name) {
            Some(new) => source(&address, old, new, &mut found),
            None => found.add(address, "gone: not protected any more"),
        }
    }
    for (name, new) in &after.sources {
        if !before.sources.contains_key(name) {
            commands(
                &Address::new("source", name),
                None,
                Some(&new.content),
                &new.on,
                &mut found,
            );
        }
    }
    jobs(before, after, &mut found);
    let address = Address::new("topology", &after.name);
    policy(&address, &before.policy, &after.policy, &mut found);
    for removed in after.removed.iter().filter(|removed| removed.destroy) {
        if !before.removed.contains(removed) {
            found.add(
                removed.address.clone(),
                "may be destroyed: removed { destroy }",
            );
        }
    }
    found
        .0
        .sort_by(|a, b| (&a.address, &a.message).cmp(&(&b.address, &b.message)));
    found.0
}

struct Found(Vec<Hazard>);

impl Found {
    fn add(&mut self, address: Address, message: impl Into<String>) {
        self.0.push(Hazard {
            address,
            message: message.into(),
        });
    }

    fn add_if(&mut self, applies: bool, address: &Address, message: impl Into<String>) {
        if applies {
            self.add(address.clone(), message);
        }
    }
}

fn node(address: &Address, old: &Node, new: &Node, found: &mut Found) {
    if let (Reach::Ssh(was), Reach::Ssh(is)) = (&old.reach, &new.reach) {
        let endpoint = (&was.host, was.port, &was.jump) != (&is.host, is.port, &is.jump);
        found.add_if(
            endpoint,
            address,
            "another machine may answer under this name",
        );
        found.add_if(
            was.host_keys != is.host_keys,
            address,
            "other host keys are trusted",
        );
        found.add_if(!was.sudo && is.sudo, address, "works as root from now on");
    } else {
        let changed = old.reach != new.reach;
        found.add_if(changed, address, "another machine answers under this name");
    }
    found.add_if(
        !old.reader && new.reader,
        address,
        "may hold a key that reads everything",
    );
    found.add_if(
        old.container != new.container,
        address,
        "another container, or other ids in it",
    );
}

fn datastore(address: &Address, old: &Datastore, new: &Datastore, found: &mut Found) {
    found.add_if(
        old.kind != new.kind,
        address,
        "in another place, which starts without snapshots",
    );
    found.add_if(
        old.key != new.key,
        address,
        "sealed for another key from now on",
    );
    found.add_if(
        old.owner != new.owner,
        address,
        "another owner: existing files are given away",
    );
    for less in kept_less(old.keep.as_ref(), new.keep.as_ref()) {
        found.add(address.clone(), less);
    }
    found.add_if(
        old.verify_every.is_some() && new.verify_every.is_none(),
        address,
        "not verified regularly any more",
    );
}

/// Says what a change of `keep` would give up.
fn kept_less(old: Option<&Keep>, new: Option<&Keep>) -> Vec<String> {
    let Some(new) = new else { return Vec::new() };
    let Some(old) = old else {
        return vec!["keeps a part from now on, where it kept everything".to_owned()];
    };
    let rules = [
        ("last", old.last, new.last),
        ("hourly", old.hourly, new.hourly),
        ("daily", old.daily, new.daily),
        ("weekly", old.weekly, new.weekly),
        ("monthly", old.monthly, new.monthly),
        ("yearly", old.yearly, new.yearly),
    ];
    rules
        .into_iter()
        .filter(|(_, old, new)| new.unwrap_or(0) < old.unwrap_or(0))
        .map(|(rule, old, new)| {
            format!(
                "keeps less: {rule} {} → {}",
                old.unwrap_or(0),
                new.unwrap_or(0)
            )
        })
        .collect()
}

fn source(address: &Address, old: &Source, new: &Source, found: &mut Found) {
    found.add_if(
        old.on != new.on,
        address,
        "read from another machine under the same name",
    );
    commands(
        address,
        Some(&old.content),
        Some(&new.content),
        &new.on,
        found,
    );
    match (&old.content, &new.content) {
        (
            Content::Paths {
                paths: was,
                exclude: left_out,
                one_file_system: stayed,
            },
            Content::Paths {
                paths,
                exclude,
                one_file_system,
            },
        ) => {
            let gone: Vec<_> = was.iter().filter(|path| !paths.contains(path)).collect();
            for path in gone {
                found.add(address.clone(), format!("{path} is not copied any more"));
            }
            for glob in exclude.iter().filter(|glob| !left_out.contains(glob)) {
                found.add(address.clone(), format!("leaves {glob} out from now on"));
            }
            let crosses = !stayed && *one_file_system;
            found.add_if(
                crosses,
                address,
                "other filesystems below are not copied any more",
            );
        }
        (old, new) => {
            let other = std::mem::discriminant(old) != std::mem::discriminant(new);
            found.add_if(
                other,
                address,
                "something of another nature under the same name",
            );
        }
    }
}

/// Notes a program that would run and did not before.
fn commands(
    address: &Address,
    old: Option<&Content>,
    new: Option<&Content>,
    on: &Name,
    found: &mut Found,
) {
    if let Some(Content::Command { argv, run_as, .. }) = new {
        let same = matches!(
            old,
            Some(Content::Command { argv: was, run_as: by, .. }) if (was, by) == (argv, run_as)
        );
        let message = format!("runs on {on}: {}", argv.join(" "));
        found.add_if(!same, address, message);
    }
}

fn jobs(before: &Topology, after: &Topology, found: &mut Found) {
    for (_, old) in before.jobs() {
        let address = Address::new("job", &old.name);
        let Some(new) = after.job(&old.name) else {
            found.add(
                address,
                "gone: what it copied or proved is not copied or proven by it any more",
            );
            continue;
        };
        found.add_if(
            old.at.is_some() && new.at.is_none(),
            &address,
            "runs on demand only from now on",
        );
    }
    for (_, new) in after.jobs() {
        let Work::Drill { command, .. } = &new.work else {
            continue;
        };
        let was = before.job(&new.name).map(|old| &old.work);
        let same = matches!(was, Some(Work::Drill { command: was, .. }) if was == command);
        let message = format!("runs after each restore: {}", command.join(" "));
        found.add_if(
            !command.is_empty() && !same,
            &Address::new("job", &new.name),
            message,
        );
    }
}

fn policy(address: &Address, old: &Policy, new: &Policy, found: &mut Found) {
    let counts = [
        ("copies", old.copies, new.copies),
        ("media", old.media, new.media),
        ("offsite", old.offsite, new.offsite),
        ("beyond-reach", old.beyond_reach, new.beyond_reach),
    ];
    for (rule, old, new) in counts {
        let (old, new) = (old.unwrap_or(0), new.unwrap_or(0));
        let message = format!("asks for less: {rule} {old} → {new}");
        found.add_if(new < old, address, message);
    }
    let ages = [
        ("rpo", old.rpo, new.rpo),
        ("drill-within", old.drill_within, new.drill_within),
    ];
    for (rule, old, new) in ages {
        let Some(old) = old else { continue };
        let looser = new.is_none_or(|new| new > old);
        let words =
            |age: Option<Period>| age.map_or_else(|| "any age".to_owned(), |age| age.to_string());
        let message = format!("asks for less: {rule} {old} → {}", words(new));
        found.add_if(looser, address, message);
    }
    found.add_if(
        old.covered && !new.covered,
        address,
        "guests may go without a copy unseen",
    );
    for waiver in &new.waivers {
        let known = old
            .waivers
            .iter()
            .any(|was| was.rule == waiver.rule && was.until >= waiver.until);
        let message = format!(
            "sets {} aside until {}: {}",
            waiver.rule, waiver.until, waiver.reason
        );
        found.add_if(!known, address, message);
    }
}
