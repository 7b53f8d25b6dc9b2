//! The statements of a found topology, one kind after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::machine::{Exported, exported, say_path};
use super::{Found, Users};
use crate::config::draft::words::{Taken, as_name, quoted, remark};
use crate::model::discovered::{Filesystem, FoundFolder};
use crate::model::export::{SquashOf, Squashing};
use crate::model::lvm::VolumeKind;
use crate::model::observed::NodeFacts;
use crate::model::topology::TopologyId;
use crate::model::{Address, ByteSize, Name};

/// The most proposals of a kind on one machine.
const PROPOSED_MAX: usize = 12;

/// The most things of a kind that are declared on one machine.
const DECLARED_MAX: usize = 64;

/// The highest user or group number that a topology may say.
const NUMBER_MAX: u32 = u32::MAX - 1;

/// Less room than this is proposed to nobody.
const ROOM_MIN: ByteSize = ByteSize(4 << 30);

/// A topology that is being written.
pub(super) struct Body<'a> {
    pub(super) found: &'a Found,
    id: TopologyId,
    reached: Vec<(Name, &'a NodeFacts)>,
    users: Users,
    keys: BTreeMap<String, Name>,
    proposed_store: Option<Name>,
    declared_store: Option<Name>,
    source: Option<Name>,
    stores: Taken,
    sources: Taken,
    shares: Taken,
    pub(super) text: String,
}

impl<'a> Body<'a> {
    pub(super) fn new(found: &'a Found) -> Self {
        let mut users = Users::default();
        let reached = found.reached();
        if let Some(backup) = reached
            .iter()
            .find_map(|(_, facts)| facts.users.get("backup"))
            && backup.uid.max(backup.gid) <= NUMBER_MAX
        {
            users.name(backup.uid, backup.gid, true);
        }
        Self {
            found,
            id: found.identity(),
            reached,
            users,
            keys: BTreeMap::new(),
            proposed_store: None,
            declared_store: None,
            source: None,
            stores: Taken::default(),
            sources: Taken::default(),
            shares: Taken::default(),
            text: String::new(),
        }
    }

    /// Returns the whole text: what every part needed stands before the parts.
    pub(super) fn finish(self) -> String {
        let mut keys: Vec<String> = self
            .keys
            .iter()
            .map(|(domain, name)| {
                let file = quoted(&format!("~/.config/bkpctl/{}-{name}.key", self.found.name));
                format!(
                    "key {} {{ file {file} }} // domain {}\n",
                    quoted(name),
                    remark(domain)
                )
            })
            .collect();
        if keys.is_empty() {
            let file = quoted(&format!("~/.config/bkpctl/{}.key", self.found.name));
            keys.push(format!("key \"main\" {{ file {file} }}\n"));
        }
        format!(
            "/- kdl-version 2
// What `bkpctl import` found, as it is: a plan of this changes nothing but bkpctl's own files.
// What begins with /- is a proposal and not in force; without the /- it is.
topology {} id={} // the id stays for ever: copies are known by it

{}
{}
// Opens copies; `bkpctl key new NAME` makes one, with a sheet to be kept somewhere else.
{}",
            quoted(&self.found.name),
            quoted(&self.id.0),
            self.users.text(),
            self.text,
            keys.concat(),
        )
    }

    pub(super) fn note(&mut self, text: &str) {
        writeln!(self.text, "// {}", remark(text)).expect("writing to a String never fails");
    }

    pub(super) fn write(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    /// Declares a thing, or proposes it where declaring it would change something.
    fn declare(&mut self, address: &Address, reason: Option<&str>, statement: &str) {
        let aside = self.found.aside.get(address).cloned();
        match aside.as_deref().or(reason) {
            None => self.write(statement),
            Some(reason) => {
                self.note(&format!("{address} is not declared: {reason}"));
                self.write(&format!("/- {statement}"));
            }
        }
    }

    fn is_aside(&self, address: &Address) -> bool {
        self.found.aside.contains_key(address)
    }

    /// Declares what each NFS server exports, as it does.
    pub(super) fn shares(&mut self) {
        for (node, facts) in self.reached.clone() {
            let all = exported(facts);
            if !all.is_empty() {
                self.write("");
                self.note(&format!("what {node} exports"));
            }
            for export in all.iter().take(DECLARED_MAX) {
                self.share(&node, facts, export);
            }
        }
    }

    fn share(&mut self, node: &Name, facts: &NodeFacts, export: &Exported) {
        let Some(path) = say_path(&export.path) else {
            return self.note(&format!(
                "exported, and no path that a topology can say: {}",
                export.path
            ));
        };
        let name = self.shares.take(as_name(last(&export.path), "share"));
        let address = Address::new("share", &name);
        let folder = folder(facts, &export.path);
        let reason = match (&export.problem, folder) {
            (Some(problem), _) => Some(problem.clone()),
            (None, None) => Some("nobody could look at its folder".to_owned()),
            (None, Some(folder)) if folder.uid.max(folder.gid) > NUMBER_MAX => {
                Some("its owner has no number that a topology can say".to_owned())
            }
            _ => None,
        };
        let in_force = reason.is_none() && !self.is_aside(&address);
        let mut inside = format!("export {path}\n");
        match export.squash.of {
            SquashOf::Nobody => inside.push_str("maproot user=\"root\" group=\"root\"\n"),
            SquashOf::All => {
                let Squashing { uid, gid, .. } = export.squash;
                let user = self.users.name(uid, gid, in_force);
                writeln!(inside, "mapall {}", quoted(&user))
                    .expect("writing to a String never fails");
            }
            SquashOf::Root => {}
        }
        if let Some(folder) = folder {
            inside.push_str(&self.owner(folder, in_force));
        }
        let clients: Vec<String> = export.clients.iter().map(|client| quoted(client)).collect();
        if !clients.is_empty() {
            writeln!(inside, "clients {}", clients.join(" "))
                .expect("writing to a String never fails");
        }
        let statement = format!("share {} on={} {{\n{inside}}}", quoted(&name), quoted(node));
        self.declare(&address, reason.as_deref(), &statement);
    }

    fn owner(&mut self, folder: &FoundFolder, in_force: bool) -> String {
        let user = self.users.name(folder.uid, folder.gid, in_force);
        format!(
            "owner {} mode=\"{:04o}\"\n",
            quoted(&user),
            folder.mode & 0o7777
        )
    }

    /// Declares repositories that are there, and proposes places with room.
    pub(super) fn datastores(&mut self) {
        let mut homes: BTreeMap<String, Vec<(Name, &'a NodeFacts, &'a FoundFolder)>> =
            BTreeMap::new();
        for (node, facts) in &self.reached {
            let folders = facts.discovered.iter().flat_map(|found| &found.folders);
            let mut once = BTreeSet::new();
            for folder in folders
                .filter(|folder| folder.marker.is_some() && once.insert(&folder.path))
                .take(DECLARED_MAX)
            {
                let id = folder.marker.as_ref().map_or("", |marker| &marker.id);
                homes
                    .entry(id.to_owned())
                    .or_default()
                    .push((node.clone(), facts, folder));
            }
        }
        if !homes.is_empty() {
            self.write("\n// Repositories that are there.");
        }
        for (_, mut seen) in homes {
            // A server and its clients see one repository; one of them may open it by path.
            seen.sort_by_key(|(_, facts, folder)| {
                let home = folder.marker.as_ref().map(|marker| marker.home.as_str());
                (
                    home != facts.machine_id.as_deref(),
                    is_remote(facts, &folder.path),
                )
            });
            let (node, _, folder) = seen[0].clone();
            for (other, _, folder) in seen.iter().skip(1) {
                self.note(&format!(
                    "{other} sees the same repository at {}",
                    folder.path
                ));
            }
            self.repository(&node, folder);
        }
        for (node, facts) in self.reached.clone() {
            self.rooms(&node, facts);
        }
    }

    fn repository(&mut self, node: &Name, folder: &FoundFolder) {
        let Some(path) = say_path(&folder.path) else {
            return self.note(&format!(
                "a repository at no path that a topology can say: {}",
                folder.path
            ));
        };
        let managed = folder.managed.as_ref();
        let ours = managed.filter(|managed| managed.topology == self.id);
        let wish = ours.map_or_else(
            || as_name(last(&folder.path), "store"),
            |managed| managed.object.clone(),
        );
        let name = self.stores.take(wish);
        let address = Address::new("datastore", &name);
        let reason = match managed {
            Some(other) if ours.is_none() => {
                Some(format!("it belongs to the topology {}", other.topology.0))
            }
            _ if folder.uid.max(folder.gid) > NUMBER_MAX => {
                Some("its owner has no number that a topology can say".to_owned())
            }
            _ => None,
        };
        let in_force = reason.is_none() && !self.is_aside(&address);
        let domain = folder
            .marker
            .as_ref()
            .map(|marker| marker.domain.clone())
            .unwrap_or_default();
        let mut key = String::new();
        if in_force {
            self.declared_store.get_or_insert_with(|| name.clone());
            let number = self.keys.len() + 1;
            let wish = if number == 1 {
                "main".to_owned()
            } else {
                format!("key-{number}")
            };
            let name = self
                .keys
                .entry(domain)
                .or_insert_with(|| as_name(&wish, "key"));
            key = format!("key {}\n", quoted(name));
        }
        let owner = self.owner(folder, in_force);
        let statement = format!(
            "datastore {} {{\nplace {} path={path}\n{owner}/- keep last=3 daily=7 weekly=4 monthly=12\n{key}}}",
            quoted(&name),
            quoted(node)
        );
        self.declare(&address, reason.as_deref(), &statement);
    }

    /// Proposes the filesystems with the most room.
    fn rooms(&mut self, node: &Name, facts: &NodeFacts) {
        let filesystems = facts.discovered.iter().flat_map(|found| &found.filesystems);
        let mut rooms: Vec<(ByteSize, &Filesystem)> = filesystems
            .filter(|fs| {
                !fs.mount.read_only
                    && !fs.mount.fstype.starts_with("nfs")
                    && !fs.mount.target.starts_with("/boot")
            })
            .filter_map(|fs| Some((fs.space?.free, fs)))
            .filter(|(free, _)| *free >= ROOM_MIN)
            .collect();
        rooms.sort_by(|a, b| {
            b.0.cmp(&a.0)
                .then_with(|| a.1.mount.target.cmp(&b.1.mount.target))
        });
        let mut devices = BTreeSet::new();
        rooms.retain(|(_, fs)| devices.insert(fs.mount.device.as_str()));
        for (number, (free, fs)) in rooms.into_iter().take(2).enumerate() {
            let top = match fs.mount.target.as_str() {
                "/" if is_top(facts, "/srv") => "",
                "/" => "/srv",
                top => top,
            };
            let Some(path) = say_path(&format!("{top}/bkpctl")) else {
                continue;
            };
            if number == 0 {
                self.write(&format!("\n// Where {node} has room."));
            }
            let name = self.stores.take(as_name(
                &format!("{node}-{}", last(&fs.mount.target)),
                "store",
            ));
            let owner = quoted(&self.users.name(34, 34, false));
            // A user that is only proposed is not declared, so the owner is that of the login.
            let owner = if self.users.declared.contains(&(34, 34)) {
                format!("owner {owner} mode=\"0750\"\n")
            } else {
                String::new()
            };
            self.write(&format!(
                "/- datastore {} {{\nplace {} path={path} // {free} free on {}\n{owner}keep last=3 daily=7 weekly=4 monthly=12\n}}",
                quoted(&name),
                quoted(node),
                remark(&fs.mount.fstype),
            ));
            self.proposed_store.get_or_insert(name);
        }
    }

    /// Declares what every machine has to protect, and proposes what a person must choose.
    pub(super) fn sources(&mut self) {
        self.write("\n// What could be protected: nothing is copied until a job says so.");
        for (node, facts) in self.reached.clone() {
            let name = self.sources.take(as_name(&format!("{node}-etc"), "etc"));
            self.write(&format!(
                "source {} on={} {{ path \"/etc\" }}",
                quoted(&name),
                quoted(&node)
            ));
            self.source.get_or_insert(name);
            self.guests(&node, facts);
            self.volumes(&node, facts);
            self.datasets(&node, facts);
        }
    }

    fn guests(&mut self, node: &Name, facts: &NodeFacts) {
        let guests = facts.pve.iter().flat_map(|pve| &pve.guests);
        let mut count = 0;
        for guest in guests {
            count += 1;
            if count <= DECLARED_MAX {
                let kind = if guest.is_container {
                    "container"
                } else {
                    "VM"
                };
                let size: u64 = guest
                    .disks
                    .iter()
                    .filter_map(|disk| disk.size)
                    .fold(0, |sum, size| sum.saturating_add(size.0));
                let name = guest.name.as_deref().unwrap_or("without a name");
                self.note(&format!(
                    "{kind} {} {name}: {} of disks",
                    guest.id,
                    ByteSize(size)
                ));
            }
        }
        if count > 0 {
            let name = self
                .sources
                .take(as_name(&format!("{node}-guests"), "guests"));
            self.write(&format!(
                "guests {} on={} {{ all }}",
                quoted(&name),
                quoted(node)
            ));
        }
    }

    /// Proposes volumes that are neither a pool's nor a guest's.
    fn volumes(&mut self, node: &Name, facts: &NodeFacts) {
        let is_pve = facts.pve.is_some();
        let volumes = facts
            .lvm
            .iter()
            .flat_map(|lvm| &lvm.volumes)
            .filter(|volume| {
                let is_system = ["root", "swap"].contains(&volume.name.as_str());
                let is_pool = matches!(volume.kind, VolumeKind::Pool { .. });
                let is_a_guests = is_pve && is_guests(&volume.name);
                !(is_system || is_pool || is_a_guests)
            });
        for volume in volumes.take(PROPOSED_MAX) {
            let Some(device) = say_path(&format!("/dev/{}/{}", volume.group, volume.name)) else {
                continue;
            };
            let via = match volume.kind {
                VolumeKind::Thin { .. } => " via=\"lvm-thin\"",
                _ => "",
            };
            let name = self
                .sources
                .take(as_name(&format!("{node}-{}", volume.name), "volume"));
            self.write(&format!(
                "/- source {} on={} {{ volume {device}{via} }} // {}",
                quoted(&name),
                quoted(node),
                volume.size
            ));
        }
    }

    fn datasets(&mut self, node: &Name, facts: &NodeFacts) {
        let is_pve = facts.pve.is_some();
        let datasets = facts.zfs.iter().flat_map(|zfs| &zfs.datasets);
        let own = |name: &str| is_pve && is_guests(last(name));
        for dataset in datasets
            .filter(|dataset| !own(&dataset.name))
            .take(PROPOSED_MAX)
        {
            let path = match (&dataset.mountpoint, dataset.volume_size) {
                (Some(point), None) => say_path(point).map(|path| format!("path {path}")),
                (None, Some(_)) => say_path(&format!("/dev/zvol/{}", dataset.name))
                    .map(|device| format!("volume {device} via=\"zfs\"")),
                _ => None,
            };
            let Some(what) = path else { continue };
            let name = self
                .sources
                .take(as_name(&format!("{node}-{}", dataset.name), "dataset"));
            self.write(&format!(
                "/- source {} on={} {{ {what} }} // {} used",
                quoted(&name),
                quoted(node),
                dataset.used
            ));
        }
    }

    /// Proposes a first phase and a policy.
    pub(super) fn rest(&mut self) {
        let store = self
            .declared_store
            .clone()
            .or_else(|| self.proposed_store.clone());
        let (Some(source), Some(store)) = (self.source.clone(), store) else {
            return;
        };
        let (source, store) = (quoted(&source), quoted(&store));
        self.write(&format!(
            "\n/- phase \"baseline\" {{\nbackup \"nightly\" {{ source {source}; to {store}; at \"02:00\" }}\ndrill \"proof\" {{ source {source}; from {store}; every \"7d\" }}\n}}\n\n/- policy {{ copies 1; rpo \"30h\"; drill-within \"30d\" }}\n"
        ));
    }
}

/// Returns the part of a path or dataset by which people know it.
pub(super) fn last(path: &str) -> &str {
    path.rsplit('/')
        .find(|part| !part.is_empty())
        .unwrap_or("root")
}

fn folder<'a>(facts: &'a NodeFacts, path: &str) -> Option<&'a FoundFolder> {
    let found = facts.discovered.as_ref()?;
    found.folders.iter().find(|folder| folder.path == path)
}

/// Tells whether a filesystem is mounted at a path.
fn is_top(facts: &NodeFacts, path: &str) -> bool {
    let mut filesystems = facts.discovered.iter().flat_map(|found| &found.filesystems);
    filesystems.any(|fs| fs.mount.target == path)
}

/// Tells whether a volume's name is one that Proxmox VE gives to guests' disks.
fn is_guests(name: &str) -> bool {
    ["vm-", "base-", "subvol-"]
        .iter()
        .any(|start| name.starts_with(start))
}

/// Tells whether a path lies on another machine.
fn is_remote(facts: &NodeFacts, path: &str) -> bool {
    let filesystems = facts.discovered.iter().flat_map(|found| &found.filesystems);
    let holds = |fs: &&Filesystem| {
        let rest = path.strip_prefix(fs.mount.target.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let nearest = filesystems
        .filter(holds)
        .max_by_key(|fs| fs.mount.target.len());
    nearest.is_some_and(|fs| fs.mount.fstype.starts_with("nfs"))
}
