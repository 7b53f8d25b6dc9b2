//! What must be mounted where a datastore is: a share over NFS, or a disk by its UUID.
//!
//! What is mounted as declared already is left alone where `/etc/fstab` brings it back after a
//! restart. What a person mounted otherwise is never taken away.

use crate::model::observed::{MountFacts, NodeFacts, PathFacts, UnitFacts};
use crate::model::system_files::{
    FSTAB, MountUnit, device_unit, heading, is_kept, unit_file, unit_name,
};
use crate::model::topology::{Agent, Container, Disk, Mount, Mounted, Place, Share};
use crate::model::{Address, Name};
use crate::plan::change::{Finding, Gate, GateKind, Step};
use crate::plan::draft::{Draft, Goal, Proposal, World};
use crate::plan::folder::{Refusal, refusal};
use crate::plan::registry;
use crate::plan::words::{self, shell_word};

/// One mount with everything its rules look at.
struct Point<'a> {
    world: World<'a>,
    datastore: &'a Name,
    place: &'a Place,
    mount: &'a Mount,
    /// The node that mounts it.
    on: &'a Name,
    /// Where, on that node.
    path: &'a str,
    facts: &'a NodeFacts,
}

/// Plans what must be mounted for each datastore of a list.
pub(super) fn mounts(world: World<'_>, datastores: &[&Name], draft: &mut Draft) {
    for name in datastores {
        plan(world, name, draft);
    }
}

/// Tells whether anything has to be mounted anew for a datastore.
pub(super) fn is_changed(world: World<'_>, datastore: &Name) -> bool {
    let mut draft = Draft::default();
    plan(world, datastore, &mut draft);
    !draft.proposals.is_empty()
}

/// Tells whether what a datastore lies on is mounted at its place.
pub(super) fn is_mounted(world: World<'_>, datastore: &Name) -> bool {
    point(world, datastore).is_some_and(|point| point.is_live())
}

/// Tells whether nothing can be said of what is in a datastore: it lies on something that is not
/// mounted, and whoever exports that was not reached or is nobody.
pub(super) fn hides(world: World<'_>, datastore: &Name) -> bool {
    let declared = world.topology.datastores.get(datastore);
    let place = declared.and_then(|declared| declared.first_place());
    if place.is_none_or(|place| place.mount.is_none()) || is_mounted(world, datastore) {
        return false;
    }
    let server = world.topology.share_of(datastore);
    server.is_none_or(|(_, share)| world.observed.reached(share.on.as_str()).is_none())
}

/// Returns the unit's file of a datastore's mount, and whether bkpctl keeps it already.
pub(super) fn kept_unit(world: World<'_>, datastore: &Name) -> Option<(String, bool)> {
    let point = point(world, datastore)?;
    let file = unit_file(point.path);
    let kept = point.unit().is_some_and(|(_, ours)| ours);
    Some((file, kept))
}

fn point<'a>(world: World<'a>, name: &Name) -> Option<Point<'a>> {
    let (datastore, declared) = world.topology.datastores.get_key_value(name)?;
    let place = declared.first_place()?;
    let mount = place.mount.as_ref()?;
    let (on, path) = place.mount_point(mount);
    let facts = world.observed.reached(on.as_str())?;
    Some(Point {
        world,
        datastore,
        place,
        mount,
        on,
        path,
        facts,
    })
}

fn plan(world: World<'_>, name: &Name, draft: &mut Draft) {
    let declared = world.topology.datastores.get(name);
    let place = declared.and_then(|declared| declared.first_place());
    let Some((place, mount)) = place.and_then(|place| Some((place, place.mount.as_ref()?))) else {
        return;
    };
    let goal = Goal::Mounted(name.clone());
    let Some(point) = point(world, name) else {
        let (on, _) = place.mount_point(mount);
        return draft.block(goal, format!("{on} was not reached"));
    };
    if world.topology.nodes[point.on].agent == Agent::None {
        return draft.block(goal, format!("{} has agent \"none\"", point.on));
    }
    if let Err((reason, finding)) = point.mounted(draft).and_then(|()| point.bound()) {
        draft.refuse(goal, reason, *finding);
    }
}

impl Point<'_> {
    fn address(&self) -> Address {
        Address::new("datastore", self.datastore)
    }

    fn error(&self, code: &str, message: String) -> Finding {
        Finding::error(code, self.address(), message)
    }

    fn at(&self) -> String {
        format!("{}:{}", self.on, self.path)
    }

    fn share(&self) -> Option<(&Name, &Share)> {
        let name = self.mount.share()?;
        self.world.topology.shares.get_key_value(name)
    }

    fn seen(&self) -> Option<&PathFacts> {
        self.facts.paths.get(self.path)
    }

    /// Returns what is mounted exactly there.
    fn live(&self) -> Option<&MountFacts> {
        let seen = self.seen()?;
        let mount = seen.mount.as_ref()?;
        let real = seen.last().map_or(self.path, |last| last.path.as_str());
        (mount.target == real).then_some(mount)
    }

    fn is_live(&self) -> bool {
        self.live().is_some_and(|mount| self.is_it(mount))
    }

    /// Tells whether a mount is the declared one, however its server is spelt.
    fn is_it(&self, mount: &MountFacts) -> bool {
        match &self.mount.what {
            Mounted::Share(name) => {
                let share = &self.world.topology.shares[name];
                mount.exported() == Some(share.export.as_str())
            }
            Mounted::Disk(disk) => self.facts.disks.get(&disk.uuid) == Some(&mount.source),
        }
    }

    /// Returns the unit that is there, and whether bkpctl keeps it for this.
    fn unit(&self) -> Option<(&str, bool)> {
        let text = self.facts.files.get(&unit_file(self.path))?;
        // A datastore that was renamed has its unit under its old name still.
        let earlier = self.world.topology.moved.iter();
        let earlier = earlier.filter(|moved| moved.to == self.address());
        let mut names = earlier.map(|moved| moved.from.clone());
        let kept = |name: &Address| is_kept(text, name, &self.world.topology.id);
        let ours = kept(&self.address()) || names.any(|name| kept(&name));
        Some((text, ours))
    }

    /// Tells whether its unit is pulled in at the next start; where systemd says nothing of it,
    /// that is taken for granted.
    fn comes_back(&self) -> bool {
        self.systemd()
            .is_none_or(|unit| unit.enabled != Some(false))
    }

    fn failed(&self) -> bool {
        self.systemd().is_some_and(|unit| unit.failed)
    }

    /// Returns what systemd says of the unit.
    fn systemd(&self) -> Option<&UnitFacts> {
        self.facts.units.get(&unit_file(self.path))
    }

    fn in_fstab(&self) -> bool {
        let mut targets = self.facts.fstab.iter();
        targets.any(|target| words::same_path(target, self.path))
    }

    fn mounted(&self, draft: &mut Draft) -> Result<(), Refusal> {
        let content = self.content()?;
        let unit = self.unit();
        let live = self.live();
        if let Some(other) = live.filter(|mount| !self.is_it(mount)) {
            return Err(self.something_else(other));
        }
        if let Some((_, false)) = unit {
            return if live.is_some() {
                Ok(())
            } else {
                Err(self.not_ours())
            };
        }
        if self.in_fstab() {
            return if live.is_some() {
                Ok(())
            } else {
                Err(self.of_fstab())
            };
        }
        let kept = unit.map(|(text, _)| text);
        if live.is_some() && kept == Some(content.as_str()) && self.comes_back() {
            return Ok(());
        }
        self.can_mount()?;
        self.should_be_there(draft, live.is_none());
        let hides = live.is_none() && self.seen().and_then(|seen| seen.empty) == Some(false);
        if hides {
            self.hidden(draft);
        }
        self.propose(draft, content, hides);
        Ok(())
    }

    fn propose(&self, draft: &mut Draft, content: String, hides: bool) {
        let kept = self.unit().map(|(text, _)| text.to_owned());
        let live = self.live().is_some();
        // All is as declared, and can be used, but for what the next start would bring.
        let is_for_later = live && kept.as_ref() == Some(&content);
        let path = self.path.to_owned();
        let after = format!("{} at {path}", self.what());
        let there = self.world.served(self.datastore);
        let marked = there.is_some_and(|(.., store)| store.marker.is_some());
        let mut gives = vec![Goal::Mounted(self.datastore.clone())];
        // A repository that lies there can be used as soon as it is mounted.
        gives.extend(marked.then(|| Goal::Repository(self.datastore.clone())));
        if is_for_later {
            gives.clear();
        }
        let mut needs = vec![Goal::Binary(self.on.clone())];
        if let Some((name, _)) = self.share() {
            needs.push(Goal::SharedFolder(name.clone()));
            needs.push(Goal::Exported(name.clone()));
        }
        let step = Step::Mount {
            datastore: self.datastore.clone(),
            path,
            file: unit_file(self.path),
            content,
            was: kept.clone(),
        };
        draft.propose(Proposal {
            before: match (live, &kept) {
                (true, Some(_)) if is_for_later => {
                    Some("mounted until the next restart, its unit is not enabled".to_owned())
                }
                (true, Some(_)) => Some("mounted by another unit text".to_owned()),
                (true, None) => Some("mounted until the next restart".to_owned()),
                (false, Some(_)) => Some("not mounted".to_owned()),
                (false, None) => None,
            },
            reason: match (live, &kept) {
                (true, Some(_)) if !is_for_later => "the topology declares it".to_owned(),
                (true, _) => "nothing would mount it after a restart".to_owned(),
                (false, _) if self.failed() => "it is not mounted, and its unit failed".to_owned(),
                (false, _) => "it is not mounted".to_owned(),
            },
            needs,
            gives,
            gate: hides.then(|| Gate {
                address: self.address(),
                kind: GateKind::NonEmpty,
            }),
            deferred: (!self.facts.login.privileged).then(|| {
                format!(
                    "mounting needs root on {}, and the login is {}",
                    self.on, self.facts.login.user
                )
            }),
            ..Proposal::new(self.address(), self.on, step, after)
        });
    }

    /// Returns what is mounted, in words.
    fn what(&self) -> String {
        match &self.mount.what {
            Mounted::Share(share) => format!("share {share}"),
            Mounted::Disk(disk) => format!("disk {}", disk.uuid),
        }
    }

    /// Returns the text of the unit.
    fn content(&self) -> Result<String, Refusal> {
        let heading = heading(&self.address(), &self.world.topology.id);
        let description = format!("{} for datastore {}", self.what(), self.datastore);
        let (what, wanted_by) = match &self.mount.what {
            Mounted::Share(name) => (self.source(name)?, "remote-fs.target".to_owned()),
            // Pulled in by its device, it is mounted when plugged in and missed by nobody else.
            Mounted::Disk(Disk { uuid, .. }) => {
                (format!("/dev/disk/by-uuid/{uuid}"), device_unit(uuid))
            }
        };
        let fstype = match &self.mount.what {
            Mounted::Share(_) => Some("nfs"),
            Mounted::Disk(disk) => disk.filesystem.as_deref(),
        };
        let unit = MountUnit {
            heading: &heading,
            description: &description,
            what: &what,
            path: self.path,
            fstype,
            options: self.mount.options.as_deref(),
            wanted_by: &wanted_by,
        };
        Ok(unit.text())
    }

    fn source(&self, name: &Name) -> Result<String, Refusal> {
        let share = &self.world.topology.shares[name];
        let Some(server) = self.world.topology.address_of(name) else {
            let message = format!("{} is this machine, and has no address here", share.on);
            let finding = self.error("BK140", message).fix(format!(
                "say where the share is mounted from, address \"10.0.0.20\", at {}",
                share.declared
            ));
            return Err(refusal(
                format!("no address of {} is known", share.on),
                finding,
            ));
        };
        Ok(if server.contains(':') {
            format!("[{server}]:{}", share.export)
        } else {
            format!("{server}:{}", share.export)
        })
    }

    fn something_else(&self, other: &MountFacts) -> Refusal {
        let message = format!(
            "{} ({}) is mounted at {}, declared is {}",
            other.source,
            other.fstype,
            self.at(),
            self.what()
        );
        let finding = self.error("BK150", message).fix(format!(
            "if nobody needs it there, on {}: umount {}",
            self.on,
            shell_word(self.path)
        ));
        refusal(
            format!("something else is mounted at {}", self.at()),
            finding,
        )
    }

    fn not_ours(&self) -> Refusal {
        let file = unit_file(self.path);
        let finding = self
            .error(
                "BK158",
                format!("{file} on {} is not kept for this", self.on),
            )
            .because(vec![
                "its first line names another thing, or a person changed it".to_owned(),
            ])
            .fix(format!(
                "on {}: start it, or move it away if nobody needs it",
                self.on
            ));
        refusal(format!("{file} is somebody's"), finding)
    }

    fn of_fstab(&self) -> Refusal {
        let message = format!(
            "{} should be a mount and is not: {FSTAB} mounts it, and did not",
            self.at()
        );
        let finding = self
            .error("BK151", message)
            .because(vec!["nothing is written there meanwhile".to_owned()])
            .fix(format!("on {}: mount {}", self.on, shell_word(self.path)));
        refusal(format!("{} is not mounted", self.at()), finding)
    }

    /// Says that something that was mounted is not, before it is mounted again.
    fn should_be_there(&self, draft: &mut Draft, is_missing: bool) {
        let was_there = registry::listed(self.world, self.datastore).is_some();
        if !is_missing || !was_there {
            return;
        }
        let message = format!(
            "{} should be a mount and is not: nothing is written there meanwhile",
            self.at()
        );
        let unit = shell_word(&unit_name(self.path));
        let mut because = Vec::new();
        if self.failed() {
            because.push(format!(
                "its unit failed; why, says on {}: journalctl -u {unit}",
                self.on
            ));
        } else if !self.comes_back() {
            because.push("its unit is not enabled, so that no start mounts it".to_owned());
        }
        draft.find(
            self.error("BK152", message)
                .because(because)
                .fix(format!("on {}: systemctl start {unit}", self.on))
                .fixed(self.facts.login.privileged),
        );
    }

    /// Says that the mount would hide what is in the folder itself.
    fn hidden(&self, draft: &mut Draft) {
        let store = self.facts.datastores.get(self.datastore);
        let is_repository = store.is_some_and(|store| store.marker.is_some());
        let message = if is_repository && self.place.node == *self.on {
            format!(
                "a repository lies in {} itself, from when nothing was mounted there",
                self.at()
            )
        } else {
            format!(
                "{} is not empty: the mount would hide what is in it",
                self.at()
            )
        };
        draft.find(
            Finding::warning("BK153", self.address(), message).fix(format!(
                "look at it on {}, and move what is needed away first",
                self.on
            )),
        );
    }

    fn can_mount(&self) -> Result<(), Refusal> {
        let on = self.on;
        let has = |tool: &str| self.facts.tools.get(tool) == Some(&true);
        if !has("systemctl") {
            let message = format!("{on} has no systemd, by which this version mounts");
            let finding = self
                .error("BK155", message)
                .fix(format!("mount it by {FSTAB} on {on}, which is left alone"));
            return Err(refusal(format!("{on} has no systemd"), finding));
        }
        match &self.mount.what {
            Mounted::Share(_) if !has("mount.nfs") => {
                let finding = self
                    .error("BK154", format!("{on} has no program to mount NFS with"))
                    .because(vec![
                        "mounting would fail with \"bad option; … you might need a /sbin/mount.<type> helper program\"".to_owned(),
                    ])
                    .fix(format!("on {on}: apt-get install nfs-common"));
                Err(refusal(format!("{on} can't mount NFS"), finding))
            }
            Mounted::Disk(disk) if !self.facts.disks.contains_key(&disk.uuid) => {
                let message = format!("disk {} is not plugged into {on}", disk.uuid);
                let finding = self
                    .error("BK157", message.clone())
                    .because(vec![format!("there is no /dev/disk/by-uuid/{}", disk.uuid)])
                    .fix("plug it in, or correct the UUID: lsblk -o NAME,UUID,FSTYPE shows them");
                Err(refusal(message, finding))
            }
            _ => Ok(()),
        }
    }

    /// Checks that a container sees what its host has mounted for it.
    fn bound(&self) -> Result<(), Refusal> {
        if self.mount.on.is_none() {
            return Ok(());
        }
        let node = &self.place.node;
        let Some(inside) = self.world.observed.reached(node.as_str()) else {
            return Ok(());
        };
        let seen = inside.paths.get(&self.place.path);
        let mount = seen.and_then(|seen| seen.mount.as_ref());
        let is_bound =
            mount.is_some_and(|mount| mount.target == self.place.path && self.is_it(mount));
        if is_bound {
            return Ok(());
        }
        let message = format!(
            "{node} does not see at {} what {} mounts at {}",
            self.place.path, self.on, self.path
        );
        let container = self.world.topology.nodes[node].container.as_ref();
        let finding = self
            .error("BK156", message)
            .because(vec![
                "a container sees a mount of its host only if it binds it and was started after it"
                    .to_owned(),
            ])
            .fix(self.bind(container));
        Err(refusal(
            format!("{node} does not bind {}", self.path),
            finding,
        ))
    }

    fn bind(&self, container: Option<&Container>) -> String {
        let inside = &self.place.path;
        match container {
            Some(container) => format!(
                "on {}: pct set {id} -mp0 {},mp={}   unless it has such a line, then pct reboot {id}",
                self.on,
                shell_word(self.path),
                shell_word(inside),
                id = container.id
            ),
            None => format!("bind {} to {inside} in {}", self.path, self.place.node),
        }
    }
}
