//! What in a changed topology a reviewer should look at first.
//!
//! Each of these can lose copies, run code or open a door, and none of them needs the live state
//! to be seen.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::demand::{Demands, demands};
use crate::model::retention::Keep;
use crate::model::topology::{
    Content, Datastore, DatastoreKind, Guests, Job, Node, Place, Policy, Reach, S3, Share, Source,
    Topology, Work,
};
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
    for (name, old) in &before.shares {
        let address = Address::new("share", name);
        match after.shares.get(name) {
            Some(new) => share(&address, old, new, &mut found),
            None => found.add(address, "gone: whoever mounts it still does"),
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
    for (name, old) in &before.guests {
        let address = Address::new("guests", name);
        match after.guests.get(name) {
            Some(new) => guests(&address, old, new, &mut found),
            None => found.add(address, "gone: not protected any more"),
        }
    }
    jobs(before, after, &mut found);
    unmade(before, after, &mut found);
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

fn share(address: &Address, old: &Share, new: &Share, found: &mut Found) {
    let place = (&old.on, &old.export) != (&new.on, &new.export);
    found.add_if(place, address, "another folder is exported under this name");
    let squash = old.squash != new.squash;
    found.add_if(
        squash,
        address,
        "other users are let in, or taken for others",
    );
    let owner = old.owner != new.owner;
    found.add_if(
        owner,
        address,
        "another owner: existing files are given away",
    );
    found.add_if(
        old.clients != new.clients,
        address,
        "other machines are let in",
    );
    found.add_if(
        old.address != new.address,
        address,
        "mounted from another machine, if one answers there",
    );
}

fn datastore(address: &Address, old: &Datastore, new: &Datastore, found: &mut Found) {
    let elsewhere = "in another place, which starts without snapshots";
    match (&old.kind, &new.kind) {
        (DatastoreKind::Directory { places: was }, DatastoreKind::Directory { places }) => {
            // How it is mounted may change; where its files are is the place.
            let spots = |places: &[Place]| -> Vec<_> {
                let spot = |place: &Place| {
                    let mount = place.mount.as_ref().map(|mount| mount.what.clone());
                    (
                        place.node.clone(),
                        place.path.clone(),
                        mount,
                        place.from_phase.clone(),
                    )
                };
                places.iter().map(spot).collect()
            };
            found.add_if(spots(was) != spots(places), address, elsewhere);
        }
        (DatastoreKind::S3(was), DatastoreKind::S3(is)) => {
            let bucket = |s3: &S3| (s3.endpoint.clone(), s3.bucket.clone(), s3.prefix.clone());
            found.add_if(bucket(was) != bucket(is), address, elsewhere);
            let shorter = is.object_lock < was.object_lock;
            found.add_if(
                shorter,
                address,
                "objects can be deleted sooner than before",
            );
        }
        _ => found.add(address.clone(), elsewhere),
    }
    found.add_if(
        old.key != new.key,
        address,
        "sealed for another key from now on",
    );
    let owner = old.owner != new.owner;
    found.add_if(
        owner,
        address,
        "another owner: existing files are given away",
    );
    for less in kept_less(old.keep.as_ref(), new.keep.as_ref()) {
        found.add(address.clone(), less);
    }
    let unverified = old.verify_every.is_some() && new.verify_every.is_none();
    found.add_if(unverified, address, "not verified regularly any more");
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

fn guests(address: &Address, old: &Guests, new: &Guests, found: &mut Found) {
    let narrower = old.all && !new.all;
    found.add_if(
        narrower,
        address,
        "new guests are not protected by themselves any more",
    );
    for node in old.on.iter().filter(|node| !new.on.contains(node)) {
        found.add(
            address.clone(),
            format!("guests on {node} are not protected any more"),
        );
    }
    for guest in new
        .except
        .iter()
        .filter(|guest| !old.except.contains(guest))
    {
        found.add(
            address.clone(),
            format!("leaves guest {guest} out from now on"),
        );
    }
    for guest in old
        .only
        .iter()
        .filter(|guest| !new.only.contains(guest) && !new.all)
    {
        found.add(
            address.clone(),
            format!("guest {guest} is not named any more"),
        );
    }
}

fn jobs(before: &Topology, after: &Topology, found: &mut Found) {
    for (_, old) in before.jobs() {
        let rests = |new: &Job| old.at.is_some() && new.at.is_none();
        if after.job(&old.name).is_some_and(rests) {
            let address = Address::new("job", &old.name);
            found.add(address, "runs on demand only from now on");
        }
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

/// Notes copies and proofs that the jobs made and do not make any more, whichever job it was.
///
/// Where the source or the datastore itself is gone, that says it already.
fn unmade(before: &Topology, after: &Topology, found: &mut Found) {
    let (old, new): (Demands<'_>, Demands<'_>) = (demands(before), demands(after));
    let is_there = |source: &Name, datastore: &Name| {
        let has_source = after.sources.contains_key(source) || after.guests.contains_key(source);
        has_source && after.datastores.contains_key(datastore)
    };
    for copy in &old.copies {
        let made = new.copy(copy.source, copy.datastore).is_some();
        found.add_if(
            !made && is_there(copy.source, copy.datastore),
            &Address::with_part("copy", copy.source, copy.datastore),
            "no job makes this copy any more",
        );
    }
    for proof in &old.proofs {
        let mut proven = new.proofs.iter();
        let proven = proven.any(|new| (new.source, new.from) == (proof.source, proof.from));
        found.add_if(
            !proven && is_there(proof.source, proof.from),
            &Address::with_part("drill", proof.drill, proof.source),
            "no drill proves this any more",
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
