//! A topology of what was found: everything as it is, and proposals that are not in force.

mod body;
mod machine;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use self::body::Body;
use super::in_form;
use super::words::{Taken, as_name, quoted, remark};
use crate::model::observed::{NodeFacts, NodeState};
use crate::model::topology::TopologyId;
use crate::model::{Address, Name};

/// What a look around gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The topology's name.
    pub name: Name,
    /// The identity it gets if no repository knows its own.
    pub id: TopologyId,
    /// The machines, in the order in which they were named.
    pub hosts: Vec<Host>,
    /// What can't be declared without changing something, with the reason; proposed only.
    pub aside: BTreeMap<Address, String>,
}

/// A machine and what was seen of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Host {
    /// How it is reached.
    pub way: Way,
    /// What was seen, or why nothing was.
    pub state: NodeState,
}

/// How a machine is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// It is the one bkpctl runs on.
    Local,
    /// Over SSH.
    Ssh {
        /// `host` or `user@host`.
        login: String,
        /// The port, if one was named.
        port: Option<u16>,
        /// The key it showed, if it showed one.
        key: Option<ShownKey>,
    },
}

/// A host key that a machine showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownKey {
    /// The key as `type base64`.
    pub line: String,
    /// Type and SHA-256 fingerprint.
    pub fingerprint: String,
    /// Whether `known_hosts` let it in.
    pub known: bool,
}

impl Found {
    /// Returns the topology's text.
    pub fn text(&self) -> String {
        let mut body = Body::new(self);
        body.machines();
        body.shares();
        body.datastores();
        body.sources();
        body.rest();
        in_form(body.finish())
    }

    /// Returns a topology of nothing but the machines, with the names under which they can be
    /// looked at: `host-0` and so on.
    pub fn machines_only(&self) -> String {
        let mut text = format!(
            "topology {} id={}\n",
            quoted(&self.name),
            quoted(&self.id.0)
        );
        for (number, host) in self.hosts.iter().enumerate() {
            let reach = host.way.statement(false);
            writeln!(text, "node \"host-{number}\" {{ {reach}; agent \"none\" }}")
                .expect("writing to a String never fails");
        }
        text
    }

    /// Returns the name under which the machine with this number is looked at at first.
    pub fn first_name(number: usize) -> Name {
        as_name(&format!("host-{number}"), "host")
    }

    /// Returns the name of each machine: its own, or how it was named.
    fn names(&self) -> Vec<Name> {
        let mut taken = Taken::default();
        let own = |host: &Host| match (&host.state, &host.way) {
            (NodeState::Reached(facts), _) if !facts.hostname.is_empty() => {
                short(&facts.hostname).to_owned()
            }
            (_, Way::Ssh { login, .. }) => host_of(login).to_owned(),
            (_, Way::Local) => "here".to_owned(),
        };
        self.hosts
            .iter()
            .map(|host| taken.take(as_name(&own(host), "host")))
            .collect()
    }

    /// Returns the facts of each machine that was reached, with its name.
    fn reached(&self) -> Vec<(Name, &NodeFacts)> {
        let hosts = self.names().into_iter().zip(&self.hosts);
        hosts
            .filter_map(|(name, host)| match &host.state {
                NodeState::Reached(facts) => Some((name, &**facts)),
                NodeState::Unreachable(_) => None,
            })
            .collect()
    }

    /// Returns the identity that most repositories know, or the new one.
    fn identity(&self) -> TopologyId {
        let mut counts: BTreeMap<&TopologyId, usize> = BTreeMap::new();
        let reached = self.reached();
        let found = reached
            .iter()
            .filter_map(|(_, facts)| facts.discovered.as_ref());
        for managed in found
            .flat_map(|found| &found.folders)
            .filter_map(|f| f.managed.as_ref())
        {
            let id = &managed.topology;
            let is_one =
                (4..=64).contains(&id.0.len()) && id.0.bytes().all(|b| b.is_ascii_alphanumeric());
            if is_one {
                *counts.entry(id).or_default() += 1;
            }
        }
        let most = counts.into_iter().max_by_key(|(_, count)| *count);
        most.map_or_else(|| self.id.clone(), |(id, _)| id.clone())
    }
}

impl Way {
    /// Returns how a topology says it; a key is pinned with how to compare it, or not at all.
    fn statement(&self, pinned: bool) -> String {
        match self {
            Self::Local => "local".to_owned(),
            Self::Ssh { login, port, key } => {
                let port = port.map_or_else(String::new, |port| format!(" port={port}"));
                let head = format!("ssh {}{port}", quoted(login));
                let Some(key) = key else { return head };
                if !pinned {
                    // What known_hosts knows must not be overruled by what was just shown.
                    let line = quoted(&key.line);
                    return if key.known {
                        head
                    } else {
                        format!("{head} {{ host-key {line} }}")
                    };
                }
                let why = if key.known {
                    "known_hosts vouches for the machine"
                } else {
                    "nobody vouched for it"
                };
                format!(
                    "{head} {{\n// {why}: compare {} with `ssh-keygen -lf` on the machine\nhost-key {}\n}}",
                    remark(&key.fingerprint),
                    quoted(&key.line)
                )
            }
        }
    }
}

/// Returns a name's first part; of an address every part counts.
fn short(host: &str) -> &str {
    let is_address = host
        .bytes()
        .all(|b| b.is_ascii_digit() || b == b'.' || b == b':');
    if is_address {
        host
    } else {
        host.split('.').next().unwrap_or(host)
    }
}

fn host_of(login: &str) -> &str {
    short(login.rsplit('@').next().unwrap_or(login))
}

/// The service users that are needed, each with one name.
#[derive(Debug, Default)]
struct Users {
    names: BTreeMap<(u32, u32), Name>,
    taken: Taken,
    declared: BTreeSet<(u32, u32)>,
}

impl Users {
    /// Returns the name of the user with these numbers, and declares it unless it is a proposal.
    fn name(&mut self, uid: u32, gid: u32, in_force: bool) -> Name {
        if in_force {
            self.declared.insert((uid, gid));
        }
        let usual = match (uid, gid) {
            (0, 0) => "root".to_owned(),
            // Debian's own numbers for this user.
            (34, 34) => "backup".to_owned(),
            _ => format!("user-{uid}"),
        };
        let taken = &mut self.taken;
        self.names
            .entry((uid, gid))
            .or_insert_with(|| taken.take(as_name(&usual, "user")))
            .clone()
    }

    fn text(&self) -> String {
        let declared = self
            .names
            .iter()
            .filter(|(numbers, _)| self.declared.contains(numbers));
        let mut text = String::new();
        for ((uid, gid), name) in declared {
            writeln!(text, "service-user {} uid={uid} gid={gid}", quoted(name))
                .expect("writing to a String never fails");
        }
        text
    }
}
