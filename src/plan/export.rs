//! Who may mount a share, and as whom: the file that exports it, and what is exported already.

use core::net::IpAddr;
use std::collections::BTreeSet;

use crate::model::export::{Export, SquashOf, Squashing};
use crate::model::idmap::OVERFLOW_ID;
use crate::model::system_files::{exports_word, heading};
use crate::model::topology::{Reach, Squash};
use crate::model::truenas::TrueNasShare;
use crate::plan::change::{Finding, Step};
use crate::plan::draft::{Draft, Goal, Proposal};
use crate::plan::folder::{Refusal, refusal};
use crate::plan::share::Server;
use crate::plan::words;

impl Server<'_> {
    /// Plans the file that exports the share, unless all is exported as declared already.
    pub(super) fn exports(&self, draft: &mut Draft) -> Result<(), Refusal> {
        let squashing = self.squashing()?;
        let clients = self.clients()?;
        let (file, text) = self.file();
        let content = self.text(&clients, squashing);
        let kept = match text {
            Some((text, true)) => Some(text),
            Some((_, false)) => return Err(self.not_ours(&file)),
            None => None,
        };
        let missing: Vec<&String> = clients
            .iter()
            .filter(|client| !self.serves(client, squashing))
            .collect();
        let as_declared = match kept {
            Some(text) => text == content,
            // Without anybody to mount it there is nothing to write.
            None => true,
        };
        if missing.is_empty() && as_declared {
            return Ok(());
        }
        if self.has("midclt") {
            return Err(self.truenas(&clients));
        }
        self.has_server()?;
        self.not_by_hand(&missing, kept.unwrap_or_default(), squashing)?;
        let step = Step::Export {
            file,
            content,
            was: kept.map(str::to_owned),
        };
        let to = words::list(&clients);
        draft.propose(Proposal {
            before: kept.map(before),
            reason: match (missing.is_empty(), as_declared) {
                (false, true) if kept.is_some() => "the NFS server does not know of it".to_owned(),
                (false, _) => {
                    format!("it is not exported so to {} yet", words::list(&missing))
                }
                (true, _) => "the topology declares it".to_owned(),
            },
            gives: self.gives(Goal::Exported(self.name.clone())),
            ..self.proposal(
                step,
                format!("{} to {to}, {}", self.share.export, squashing.words()),
            )
        });
        Ok(())
    }

    fn has(&self, tool: &str) -> bool {
        self.facts.tools.get(tool) == Some(&true)
    }

    fn text(&self, clients: &[String], squashing: Squashing) -> String {
        let options = squashing.options();
        let entry = |client: &String| format!("{client}(rw,sync,no_subtree_check,{options})");
        let entries: Vec<String> = clients.iter().map(entry).collect();
        let heading = heading(&self.address(), &self.world.topology.id);
        // A path without clients would be exported to everybody.
        if entries.is_empty() {
            return format!("{heading}\n");
        }
        let path = exports_word(&self.share.export);
        format!("{heading}\n{path} {}\n", entries.join(" "))
    }

    /// Returns what the server is to make of ids, by number.
    fn squashing(&self) -> Result<Squashing, Refusal> {
        let (user, group) = match &self.share.squash {
            Squash::Root => return Ok(Squashing::DEFAULT),
            Squash::MapAll(user) => {
                let user = &self.world.topology.users[user];
                return Ok(Squashing {
                    of: SquashOf::All,
                    uid: user.uid,
                    gid: user.gid,
                });
            }
            Squash::MapRoot { user, group } => (user, group),
        };
        let uid = self.number(user, |facts| facts.0)?;
        let gid = match group {
            Some(group) => self.number(group, |facts| facts.1)?,
            None => OVERFLOW_ID,
        };
        let of = if (uid, gid) == (0, 0) {
            SquashOf::Nobody
        } else {
            SquashOf::Root
        };
        let numbers = if of == SquashOf::Nobody {
            (OVERFLOW_ID, OVERFLOW_ID)
        } else {
            (uid, gid)
        };
        Ok(Squashing {
            of,
            uid: numbers.0,
            gid: numbers.1,
        })
    }

    /// Returns the number of a user or group: as it is written, declared, or known to the server.
    fn number(&self, name: &str, of: impl Fn((u32, u32)) -> u32) -> Result<u32, Refusal> {
        if name == "root" {
            return Ok(0);
        }
        if let Ok(number) = name.parse() {
            return Ok(number);
        }
        if let Some(user) = self.world.topology.users.get(name) {
            return Ok(of((user.uid, user.gid)));
        }
        if let Some(user) = self.facts.users.get(name) {
            return Ok(of((user.uid, user.gid)));
        }
        let on = &self.share.on;
        let finding = self
            .error("BK145", format!("{on} knows no user or group {name}"))
            .because(vec![
                "a server drops an export whose users it does not know, without a word".to_owned(),
            ])
            .fix(format!(
                "declare service-user \"{name}\" with its numbers, or write a number at {}",
                self.share.declared
            ));
        Err(refusal(format!("{on} knows no {name}"), finding))
    }

    /// Returns who is to mount it, sorted: as declared, or the nodes that do.
    fn clients(&self) -> Result<Vec<String>, Refusal> {
        if !self.share.clients.is_empty() {
            let declared: BTreeSet<String> = self.share.clients.iter().cloned().collect();
            return Ok(declared.into_iter().collect());
        }
        let mounts = self.world.topology.mounts();
        let mounting = mounts.filter(|(_, _, mount)| mount.share() == Some(self.name));
        let nodes: BTreeSet<_> = mounting
            .map(|(_, place, mount)| place.mount_point(mount).0)
            .collect();
        let mut clients = BTreeSet::new();
        for node in nodes {
            clients.insert(self.client(node)?.to_string());
        }
        Ok(clients.into_iter().collect())
    }

    /// Returns the address by which the server knows a node.
    fn client(&self, node: &crate::model::Name) -> Result<IpAddr, Refusal> {
        let topology = self.world.topology;
        let server = topology.address_of(self.name);
        let seen = self.world.observed.reached(node.as_str());
        let route = seen.and_then(|facts| facts.routes.get(server?)).copied();
        let literal = match topology.nodes.get(node).map(|node| &node.reach) {
            // What it is reached at is an address of it, if not always the one it goes out with.
            Some(Reach::Ssh(ssh)) if seen.is_some() => ssh.host.parse().ok(),
            _ => None,
        };
        if let Some(address) = route.or(literal) {
            return Ok(address);
        }
        if seen.is_none() {
            let reason = format!("{node} was not reached, so its address is not known");
            let finding = Finding::note("BK140", self.address(), reason.clone());
            return Err(refusal(reason, finding));
        }
        let message = format!("it can't be told under which address {node} would mount it");
        let finding = self
            .error("BK140", message)
            .because(vec![match server {
                Some(server) => format!("{node} knows no way to {server}"),
                None => format!("{} is this machine, and has no address here", self.share.on),
            }])
            .fix(format!(
                "say where it is mounted from, address \"10.0.0.20\", and by whom, clients \"10.0.0.15\", at {}",
                self.share.declared
            ));
        Err(refusal(format!("no address of {node} is known"), finding))
    }

    /// Tells whether the server lets a client in as declared.
    fn serves(&self, client: &str, squashing: Squashing) -> bool {
        self.closest(client)
            .is_some_and(|export| is_as_wanted(export, squashing))
    }

    /// Returns the export that counts for a client, if one does.
    fn closest(&self, client: &str) -> Option<&Export> {
        let exports = &self.facts.nfs.as_ref()?.exports;
        let of_path = exports.iter().filter(|e| e.path == self.share.export);
        let address: Option<IpAddr> = client.parse().ok();
        let rank =
            |export: &&Export| match address {
                _ if export.clients == client => 0,
                // A machine counts before a network, and that before everybody.
                Some(address) if export.admits(&[address]) == Some(true) => {
                    if export.clients == "*" { 2 } else { 1 }
                }
                _ => 3,
            };
        of_path.filter(|e| rank(e) < 3).min_by_key(rank)
    }

    fn not_ours(&self, file: &str) -> Refusal {
        let on = &self.share.on;
        let finding = self
            .error(
                "BK144",
                format!("{file} on {on} is not kept for this share"),
            )
            .because(vec![
                "its first line names another thing, or a person changed it".to_owned(),
            ])
            .fix(format!(
                "look at it on {on}, and move it away if nobody needs it"
            ));
        refusal(format!("{file} is somebody's"), finding)
    }

    /// Refuses to write an export that would lose against one that a person wrote.
    fn not_by_hand(
        &self,
        missing: &[&String],
        kept: &str,
        squashing: Squashing,
    ) -> Result<(), Refusal> {
        let kept = Export::of_file(kept);
        let exports = self.facts.nfs.iter().flat_map(|nfs| &nfs.exports);
        let by_hand = exports
            .filter(|export| export.path == self.share.export)
            .find(|export| {
                let is_kept = kept.iter().any(|kept| {
                    (&kept.clients, kept.squashing) == (&export.clients, export.squashing)
                });
                missing.iter().any(|client| **client == export.clients)
                    && !is_kept
                    && !is_as_wanted(export, squashing)
            });
        let Some(export) = by_hand else {
            return Ok(());
        };
        let on = &self.share.on;
        let how = if export.read_only {
            "read-only".to_owned()
        } else {
            format!("with {}", export.squashing.words())
        };
        let message = format!(
            "{on} exports it to {} {how}, by a line that a person wrote",
            export.clients
        );
        let finding = self
            .error("BK141", message)
            .because(vec![
                "of two lines for one client the NFS server takes the first it reads".to_owned(),
            ])
            .fix(format!(
                "on {on}: change that line in /etc/exports or /etc/exports.d, or remove it and plan again"
            ));
        Err(refusal(format!("{on} exports it otherwise"), finding))
    }

    fn has_server(&self) -> Result<(), Refusal> {
        if self.facts.nfs.is_some() {
            return Ok(());
        }
        let on = &self.share.on;
        let (message, fix) = if self.has("exportfs") {
            (
                format!("the NFS server of {on} does not run"),
                format!("on {on}: systemctl enable --now nfs-server"),
            )
        } else {
            (
                format!("{on} has no NFS server"),
                format!("on {on}: apt-get install nfs-kernel-server"),
            )
        };
        let finding = self.error("BK143", message.clone()).fix(fix);
        Err(refusal(message, finding))
    }

    /// Says what a TrueNAS has for the path.
    fn on_truenas(&self) -> Vec<String> {
        let shares = self.facts.nfs.as_ref().and_then(|nfs| nfs.truenas.as_ref());
        let Some(shares) = shares else {
            return Vec::new();
        };
        let export = &self.share.export;
        let of_path: Vec<String> = shares
            .iter()
            .filter(|share| share.path == *export)
            .map(|share| format!("its share of {export} is {}", truenas_words(share)))
            .collect();
        if of_path.is_empty() {
            vec![format!("it has no NFS share of {export}")]
        } else {
            of_path
        }
    }

    /// Says what to set on a TrueNAS, which writes its exports itself.
    fn truenas(&self, clients: &[String]) -> Refusal {
        let on = &self.share.on;
        let map = match &self.share.squash {
            Squash::Root => "no maproot and no mapall".to_owned(),
            Squash::MapRoot { user, group } => match group {
                Some(group) => format!("maproot user {user} and group {group}"),
                None => format!("maproot user {user}"),
            },
            Squash::MapAll(user) => format!("mapall user and group {user}"),
        };
        let message =
            format!("{on} is a TrueNAS, whose shares this version reads and does not change");
        let finding = self
            .error("BK142", message)
            .because(self.on_truenas())
            .fix(format!(
                "in its web interface, Shares, NFS: {} for {}, with {map}",
                self.share.export,
                words::list(clients)
            ));
        refusal(format!("{on} does not export it as declared"), finding)
    }
}

fn is_as_wanted(export: &Export, squashing: Squashing) -> bool {
    let security = export.security.iter().any(|flavour| flavour == "sys");
    let same = export.squashing.of == squashing.of
        && (squashing.of == SquashOf::Nobody
            || (export.squashing.uid, export.squashing.gid) == (squashing.uid, squashing.gid));
    same && !export.read_only && (security || export.security.is_empty())
}

/// Says how a share of a TrueNAS is set.
fn truenas_words(share: &TrueNasShare) -> String {
    let mut words = Vec::new();
    if !share.enabled {
        words.push("switched off".to_owned());
    }
    if share.locked {
        words.push("not exported while its dataset is locked".to_owned());
    }
    if share.read_only {
        words.push("read-only".to_owned());
    }
    words.push(match share.clients.as_slice() {
        [] => "for everybody".to_owned(),
        clients => format!("for {}", words::list(clients)),
    });
    words.push(match (&share.maproot, &share.mapall) {
        (_, Some(all)) => format!("with mapall user {all}"),
        (Some(root), None) => format!("with maproot user {root}"),
        (None, None) => "with no maproot and no mapall".to_owned(),
    });
    words.join(", ")
}

/// Says to whom a file exports, and how.
fn before(text: &str) -> String {
    let exports = Export::of_file(text);
    let clients: Vec<&str> = exports.iter().map(|e| e.clients.as_str()).collect();
    match exports.first() {
        Some(first) => format!("to {}, {}", words::list(&clients), first.squashing.words()),
        None => "to nobody".to_owned(),
    }
}
