//! Who a writer is at each hop of the way to a share, and what its server says to it.
//!
//! A number inside a container becomes another one on its host, travels as that, and is
//! replaced where the export says so. The verdict is the server's: what a client sees of
//! owners may be old, and what it thinks of modes counts for nothing.

mod report;

use core::net::IpAddr;

use crate::model::export::Export;
use crate::model::idmap::IdMap;
use crate::model::observed::{Component, ContainerFacts, MountFacts, NodeFacts, Outcome};
use crate::model::topology::{Container, Datastore, Place, Share};
use crate::model::{Name, Observed, Topology};
use crate::plan::access::{self, Identity};
use crate::plan::{container, smb};

pub(super) use self::report::report;

/// The way of one writer to a datastore's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// What the writer does there.
    pub role: Role,
    /// The stations, from the writer on.
    pub hops: Vec<Hop>,
    /// What comes of it.
    pub verdict: Verdict,
}

/// What somebody does with a datastore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Making its folder and giving it to its owner, as whoever logs in.
    Making,
    /// Writing backups, as its owner.
    Writing,
}

/// A station on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// Where.
    pub place: String,
    /// Who the writer is there, in words.
    pub who: String,
    /// Why it is that.
    pub why: String,
}

/// What comes of a way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The writer may make entries.
    MayWrite,
    /// It may not.
    Denied(Denial),
    /// It can't be told.
    Unknown(String),
}

/// Why a writer may not make entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The code of the finding.
    pub code: &'static str,
    /// What is in the way.
    pub at: String,
    /// What a user would see.
    pub symptom: &'static str,
    /// What to do.
    pub fix: String,
}

/// The code of a folder that somebody may not pass or write to.
const WITHOUT_RIGHT: &str = "BK106";
/// The code of a share that is not exported to who mounts it.
const NOT_EXPORTED: &str = "BK121";
const DENIED: &str = "Permission denied (os error 13)";

/// Follows both writers of a datastore; nothing for a bucket or an unknown name.
pub fn chains(topology: &Topology, observed: &Observed, datastore: &str) -> Vec<Chain> {
    let Some(datastore) = topology.datastores.get(datastore) else {
        return Vec::new();
    };
    let Some(place) = datastore.first_place() else {
        return Vec::new();
    };
    let site = Site {
        topology,
        observed,
        datastore,
        place,
    };
    [Role::Making, Role::Writing]
        .map(|role| site.follow(role))
        .into()
}

struct Site<'a> {
    topology: &'a Topology,
    observed: &'a Observed,
    datastore: &'a Datastore,
    place: &'a Place,
}

/// Ends a way early.
type Way<T> = Result<T, Verdict>;

impl Site<'_> {
    fn follow(&self, role: Role) -> Chain {
        let mut hops = Vec::new();
        let verdict = match self.judge(role, &mut hops) {
            Ok(()) => Verdict::MayWrite,
            Err(verdict) => verdict,
        };
        Chain {
            role,
            hops,
            verdict,
        }
    }

    fn judge(&self, role: Role, hops: &mut Vec<Hop>) -> Way<()> {
        let facts = self.reached(&self.place.node)?;
        let who = self.writer(role, facts);
        hops.push(Hop {
            place: self.place.node.to_string(),
            who: words(&who),
            why: match role {
                Role::Making => "whoever logs in makes the folder".to_owned(),
                Role::Writing => "the datastore's owner writes".to_owned(),
            },
        });
        self.on_the_way(&who, facts)?;
        let Some(mount) = &self.place.mount else {
            return self.on_the_node(who, facts, hops);
        };
        let Some(share) = mount.share() else {
            return self.on_a_disk(who, facts, hops);
        };
        let outside = self.on_the_host(who, hops)?;
        let share = &self.topology.shares[share];
        let client = mount.on.as_ref().unwrap_or(&self.place.node);
        let client = self.client(client);
        self.on_the_server(&outside, share, &client, role, hops)
    }

    fn reached(&self, node: &Name) -> Way<&NodeFacts> {
        self.observed
            .reached(node.as_str())
            .ok_or_else(|| Verdict::Unknown(format!("{node} was not reached")))
    }

    fn writer(&self, role: Role, facts: &NodeFacts) -> Identity {
        match role {
            Role::Making if facts.login.privileged => Identity::numbers("root", 0, 0),
            Role::Making => Identity::login(&facts.login),
            Role::Writing => Identity::owner(self.datastore.owner.as_ref(), &facts.login),
        }
    }

    /// Checks that somebody may pass the folders above a mount: the client itself judges those.
    fn on_the_way(&self, who: &Identity, facts: &NodeFacts) -> Result<(), Verdict> {
        let path = &self.place.path;
        let Some(seen) = facts.paths.get(path).filter(|_| self.place.mount.is_some()) else {
            return Ok(());
        };
        let above = match (seen.outcome, seen.components.split_last()) {
            (Outcome::Ok, Some((_, above))) => above,
            _ => &seen.components,
        };
        let way = Ground {
            node: &self.place.node,
            facts,
            path,
            by_handle: false,
        };
        way.open(above, who)
    }

    /// Judges a folder of the node's own.
    fn on_the_node(&self, who: Identity, facts: &NodeFacts, hops: &mut Vec<Hop>) -> Way<()> {
        let mut outside = None;
        let who = match &self.topology.nodes[&self.place.node].container {
            Some(container) => {
                let (map, _) = self.map(container)?;
                if map.is_identity() {
                    who
                } else {
                    outside = who.outside(&map);
                    who.inside(&map)
                }
            }
            None => who,
        };
        let at = Ground {
            node: &self.place.node,
            facts,
            path: &self.place.path,
            by_handle: false,
        };
        at.judge(&who, hops).map_err(|verdict| match verdict {
            // Whoever mounted it over SMB knows a container's writer by another number.
            Verdict::Denied(denial) if denial.code == smb::BY_MOUNT => {
                let who = outside.as_ref().unwrap_or(&who);
                let options = smb::options(who.uid, who.gid, self.datastore.mode);
                Verdict::Denied(Denial {
                    fix: format!("{} with {options}", denial.fix),
                    ..denial
                })
            }
            other => other,
        })
    }

    /// Judges a folder on a disk, which shows who owns it only while it is mounted.
    fn on_a_disk(&self, who: Identity, facts: &NodeFacts, hops: &mut Vec<Hop>) -> Way<()> {
        let path = &self.place.path;
        let seen = facts.paths.get(path);
        let mount = seen.and_then(|seen| seen.mount.as_ref());
        if mount.is_some_and(|mount| mount.target == *path) {
            return self.on_the_node(who, facts, hops);
        }
        Err(Verdict::Unknown(format!(
            "nothing is mounted at {}:{path}",
            self.place.node
        )))
    }

    /// Follows a writer out of its container, if it is in one.
    fn on_the_host(&self, who: Identity, hops: &mut Vec<Hop>) -> Way<Identity> {
        let node = &self.topology.nodes[&self.place.node];
        let Some(container) = &node.container else {
            return Ok(who);
        };
        let (map, why) = self.map(container)?;
        let mounts_itself = self
            .place
            .mount
            .as_ref()
            .is_some_and(|mount| mount.on.is_none());
        if mounts_itself {
            self.may_mount(container, &map)?;
        }
        let Some(outside) = who.outside(&map) else {
            return Err(Verdict::Denied(Denial {
                code: "BK124",
                at: format!(
                    "uid {} gid {} of container {} have no numbers on {}",
                    who.uid, who.gid, container.id, container.on
                ),
                symptom: "Invalid argument (os error 22)",
                fix: format!("widen the id map of container {}", container.id),
            }));
        };
        hops.push(Hop {
            place: format!("{}, outside container {}", container.on, container.id),
            who: words(&outside),
            why,
        });
        Ok(outside)
    }

    fn may_mount(&self, container: &Container, map: &IdMap) -> Way<()> {
        let allowed = self
            .seen(container)
            .is_none_or(|facts| facts.may_mount_nfs || !facts.running);
        if map.is_identity() && allowed {
            return Ok(());
        }
        Err(Verdict::Denied(Denial {
            code: "BK125",
            at: format!("container {} may not mount NFS itself", container.id),
            symptom: "mount.nfs: Operation not permitted",
            fix: format!(
                "mount the share on {} and bind it: mount … on=\"{}\" bind=\"PATH\"",
                container.on, container.on
            ),
        }))
    }

    fn seen(&self, container: &Container) -> Option<&ContainerFacts> {
        container::facts(self.observed, container)
    }

    fn map(&self, container: &Container) -> Way<(IdMap, String)> {
        let map = container::map_of(self.observed, container);
        map.ok_or_else(|| Verdict::Unknown("its idmap can't be read".to_owned()))
    }

    fn client(&self, node: &Name) -> Client {
        Client {
            name: node.to_string(),
            addresses: self
                .observed
                .reached(node.as_str())
                .map(|facts| facts.addresses.clone())
                .unwrap_or_default(),
        }
    }

    fn on_the_server(
        &self,
        who: &Identity,
        share: &Share,
        client: &Client,
        role: Role,
        hops: &mut Vec<Hop>,
    ) -> Way<()> {
        let facts = self.reached(&share.on)?;
        let nfs = facts.nfs.as_ref().ok_or_else(|| {
            Verdict::Unknown(format!("{} says nothing of its NFS exports", share.on))
        })?;
        let export = client.export(&nfs.exports, share)?;
        let (uid, gid) = export.squashing.apply(who.uid, who.gid);
        let name = if uid == who.uid {
            &who.name
        } else {
            "replaced"
        };
        let there = Identity::numbers(name, uid, gid);
        hops.push(Hop {
            place: format!("{}, NFS server", share.on),
            who: words(&there),
            why: format!(
                "{} exported with {}",
                share.export,
                export.squashing.words()
            ),
        });
        if export.read_only {
            return Err(Verdict::Denied(Denial {
                code: "BK122",
                at: format!("{} is exported read-only", share.export),
                symptom: "Read-only file system (os error 30)",
                fix: format!("on {}: export it with rw", share.on),
            }));
        }
        let at = Ground {
            node: &share.on,
            facts,
            path: &share.export,
            by_handle: true,
        };
        at.judge(&there, hops).map_err(|verdict| match verdict {
            Verdict::Denied(denial) if denial.code != WITHOUT_RIGHT => Verdict::Denied(denial),
            Verdict::Denied(denial) if role == Role::Writing => Verdict::Denied(Denial {
                code: "BK120",
                ..denial
            }),
            Verdict::Denied(denial) => Verdict::Denied(Denial {
                code: "BK123",
                fix: format!(
                    "on {}: make the folder there and give it to its writer, so that nothing is made over NFS",
                    share.on
                ),
                ..denial
            }),
            other => other,
        })
    }
}

/// Whoever mounts a share.
struct Client {
    name: String,
    addresses: Vec<IpAddr>,
}

impl Client {
    /// Returns the export of a share that is meant for this client, the closest one.
    fn export<'a>(&self, exports: &'a [Export], share: &Share) -> Way<&'a Export> {
        let paths = exports.iter().filter(|export| export.path == share.export);
        // A name may be this client or another one; an address that fits is certain.
        let rank = |export: &&Export| match export.admits(&self.addresses) {
            Some(true) if export.clients != "*" => 0,
            None => 1,
            Some(true) => 2,
            Some(false) => 3,
        };
        let best = paths.min_by_key(rank);
        best.filter(|export| rank(export) < 3 || self.addresses.is_empty())
            .ok_or_else(|| {
                Verdict::Denied(Denial {
                    code: NOT_EXPORTED,
                    at: match best {
                        None => format!("{} does not export {}", share.on, share.export),
                        Some(export) => format!(
                            "{} exports {} to {}, and {} is not among them",
                            share.on, share.export, export.clients, self.name
                        ),
                    },
                    symptom: "mount.nfs: access denied by server, or No such file or directory",
                    fix: format!("on {}: export {} to {}", share.on, share.export, self.name),
                })
            })
    }
}

/// A folder on the machine whose kernel judges.
struct Ground<'a> {
    node: &'a Name,
    facts: &'a NodeFacts,
    path: &'a str,
    /// Whether writers come by its file handle, as over NFS, and walk no folder above it there.
    by_handle: bool,
}

impl Ground<'_> {
    fn judge(&self, who: &Identity, hops: &mut Vec<Hop>) -> Way<()> {
        let unknown = |why: &str| {
            Err(Verdict::Unknown(format!(
                "{}:{} {why}",
                self.node, self.path
            )))
        };
        let Some(seen) = self.facts.paths.get(self.path) else {
            return unknown("was not looked at");
        };
        match seen.outcome {
            Outcome::Denied => return unknown("could not be looked at"),
            Outcome::Timeout => return unknown("did not answer in time"),
            Outcome::Ok | Outcome::Missing => {}
        }
        if let Some(mount) = seen.mount.as_ref().filter(|mount| mount.read_only) {
            return Err(Verdict::Denied(Denial {
                code: "BK110",
                at: format!("{} is mounted read-only", mount.target),
                symptom: "Read-only file system (os error 30)",
                fix: format!("on {}: find out why, then mount it read-write", self.node),
            }));
        }
        // Of a folder that is not there yet, the one above decides.
        let Some((last, above)) = seen.components.split_last() else {
            return unknown("shows no components");
        };
        if !self.by_handle {
            self.open(above, who)?;
        }
        let by = who.by_acl(last, access::WRITE);
        let mount = seen.mount.as_ref();
        if let Some(mount) = mount.filter(|mount| mount.invents_owners()) {
            return by_mount(mount, last, who, hops);
        }
        if !who.may(last, access::WRITE) {
            let enter = who.enter(last, access::ALL);
            let mend = enter.unwrap_or_else(|| format!("chown {}:{}", who.uid, who.gid));
            return Err(self.denied(last, &format!("no right to write{by}"), &mend));
        }
        hops.push(Hop {
            place: access::words(last),
            who: words(who),
            why: format!("may write{by}"),
        });
        Ok(())
    }

    /// Checks that somebody may pass some folders.
    fn open(&self, above: &[Component], who: &Identity) -> Result<(), Verdict> {
        let Some(closed) = access::first_closed(above, who) else {
            return Ok(());
        };
        let by = who.by_acl(closed, access::PASS);
        let enter = who.enter(closed, access::PASS);
        let mend = enter.unwrap_or_else(|| "chmod o+x".to_owned());
        Err(self.denied(closed, &format!("no right to pass{by}"), &mend))
    }

    fn denied(&self, at: &Component, why: &str, command: &str) -> Verdict {
        Verdict::Denied(Denial {
            code: WITHOUT_RIGHT,
            at: format!("{}: {why}", access::words(at)),
            symptom: DENIED,
            fix: format!(
                "on {}, as root: {command} {}",
                self.node,
                crate::plan::words::shell_word(&at.path)
            ),
        })
    }
}

/// Judges a folder whose owner and mode are what a mount over SMB says.
fn by_mount(mount: &MountFacts, last: &Component, who: &Identity, hops: &mut Vec<Hop>) -> Way<()> {
    if !mount.is_unchecked() && !who.may(last, access::WRITE) {
        return Err(Verdict::Denied(Denial {
            code: smb::BY_MOUNT,
            at: format!(
                "{}: no right to write, and its mount over SMB gives that owner to everything",
                access::words(last)
            ),
            symptom: DENIED,
            fix: format!("unmount {} and mount it", mount.source),
        }));
    }
    let why = if mount.is_unchecked() {
        "its mount over SMB leaves every judgement to its server"
    } else {
        "may write, as its mount over SMB says"
    };
    hops.push(Hop {
        place: access::words(last),
        who: words(who),
        why: why.to_owned(),
    });
    Ok(())
}

fn words(who: &Identity) -> String {
    format!("{} {}:{}", who.name, who.uid, who.gid)
}

impl Chain {
    /// Tells whether it ends where nothing is exported to the client.
    fn lacks_export(&self) -> bool {
        matches!(&self.verdict, Verdict::Denied(denial) if denial.code == NOT_EXPORTED)
    }
}

impl Hop {
    /// Returns the station on one line.
    pub fn words(&self) -> String {
        format!("{}: {} ({})", self.place, self.who, self.why)
    }
}
