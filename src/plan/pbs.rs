//! Proxmox Backup Server: what locks its service user out, though its datastore is in order.
//!
//! Nothing of it is written by bkpctl, so what mends it is a command to run by hand.

use std::collections::BTreeMap;

use crate::model::observed::{Component, NodeFacts, Outcome, PathFacts};
use crate::model::pbs::{PLACES, USER, Use, is_its_own};
use crate::model::topology::{Datastore, Place};
use crate::model::{Address, Name};
use crate::plan::access::{self, Identity};
use crate::plan::change::Finding;
use crate::plan::draft::{Draft, World};
use crate::plan::smb::{Judged, Spot};
use crate::plan::words::shell_word;

/// The right to read a file.
const READ: u32 = 0o4;

/// Looks at every node that a datastore of Proxmox Backup Server is on, and at those datastores.
pub(super) fn report(world: World<'_>, draft: &mut Draft) {
    for node in world.topology.nodes.keys() {
        let Some(facts) = world.observed.reached(node.as_str()) else {
            continue;
        };
        // By name, as the service itself looks its user up; only the number counts.
        let Some(user) = facts.users.get(USER) else {
            continue;
        };
        let who = Identity::numbers(USER, user.uid, user.gid);
        let mut stores = world.topology.datastores_of_pbs(node).peekable();
        if let Some((first, ..)) = stores.peek() {
            draft.findings.extend(locked_out(first, node, facts, &who));
        }
        for (name, datastore, place) in stores {
            let on_smb = on_smb(world, (name, datastore, place), facts, &who);
            draft.findings.extend(on_smb);
        }
    }
}

/// Says which of its own folders and files the service user has no right to.
fn locked_out(datastore: &Name, node: &Name, facts: &NodeFacts, who: &Identity) -> Option<Finding> {
    let seen = |(path, used): (&str, Use)| closed(facts.paths.get(path)?, used, who);
    // A folder that several places lie in is told of once.
    let closed: BTreeMap<&str, Closed<'_>> = PLACES
        .into_iter()
        .filter_map(seen)
        .map(|closed| (closed.at.path.as_str(), closed))
        .collect();
    let first = closed.values().next()?;
    let message = format!(
        "Proxmox Backup Server on {node} would fail with \"Permission denied (os error 13)\", however right its datastore is: {} can't {} {}",
        who.words(),
        first.verb,
        first.at.path
    );
    let because = closed
        .values()
        .map(|closed| {
            let by = who.by_acl(closed.at, closed.rights);
            format!(
                "{}: no right to {}{by}",
                access::words(closed.at),
                closed.verb
            )
        })
        .collect();
    let commands: Vec<String> = closed.values().map(|closed| closed.mend(who)).collect();
    let address = Address::new("datastore", datastore);
    Some(
        Finding::error("BK109", address, message)
            .because(because)
            .fix(format!("on {node}, as root: {}", commands.join("; "))),
    )
}

/// A component that somebody has no right to.
struct Closed<'a> {
    at: &'a Component,
    rights: u32,
    verb: &'static str,
}

/// Returns what on the way to a place, or of it, is closed to somebody; nothing where that was not
/// seen.
fn closed<'a>(seen: &'a PathFacts, used: Use, who: &Identity) -> Option<Closed<'a>> {
    let (above, last) = match (seen.outcome, seen.components.split_last()) {
        (Outcome::Ok, Some((last, above))) => (above, Some(last)),
        (Outcome::Missing, _) => (seen.components.as_slice(), None),
        _ => return None,
    };
    if let Some(at) = access::first_closed(above, who) {
        return Some(Closed {
            at,
            rights: access::PASS,
            verb: "pass",
        });
    }
    let (rights, verb) = match used {
        Use::Writes => (access::WRITE, "write to"),
        Use::Reads => (READ, "read"),
    };
    let at = last.filter(|last| !who.may(last, rights))?;
    Some(Closed { at, rights, verb })
}

impl Closed<'_> {
    /// Returns the command that gives the right back, as the service itself would have it.
    fn mend(&self, who: &Identity) -> String {
        let Identity { uid, gid, .. } = who;
        let path = shell_word(&self.at.path);
        if let Some(enter) = who.enter(self.at, self.rights) {
            return format!("{enter} {path}");
        }
        if !is_its_own(&self.at.path) {
            return format!("chmod o+x {path}");
        }
        if self.rights == READ {
            return format!("chown 0:{gid} {path} && chmod 640 {path}");
        }
        let mut commands = Vec::new();
        if self.at.uid != *uid {
            commands.push(format!("chown {uid}:{gid} {path}"));
        }
        if self.at.mode & 0o700 != 0o700 {
            commands.push(format!("chmod u+rwx {path}"));
        }
        commands.join(" && ")
    }
}

/// Says that a datastore of it is on a mount over SMB that gives everything to somebody else.
fn on_smb(
    world: World<'_>,
    (name, datastore, place): (&Name, &Datastore, &Place),
    facts: &NodeFacts,
    who: &Identity,
) -> Option<Finding> {
    let spot = Spot {
        world,
        address: Address::new("datastore", name),
        node: &place.node,
        path: &place.path,
        seen: facts.paths.get(&place.path)?,
        writer: who,
        mode: datastore.mode,
    };
    // What works there is as its server wants it.
    match spot.judge()? {
        Judged::Fails(finding) => Some(*finding),
        Judged::Works(_) => None,
    }
}
