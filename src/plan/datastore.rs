//! Datastores: the folder, who owns it and who may write there.

use crate::model::observed::{Component, DatastoreFacts, NodeFacts, Outcome, PathFacts};
use crate::model::topology::{Datastore, Place};
use crate::model::{Address, Name};
use crate::plan::access::{self, Identity};
use crate::plan::change::{Finding, Gate, GateKind, Step};
use crate::plan::container;
use crate::plan::draft::{Draft, Goal, Ground, Proposal, World};
use crate::plan::folder::{Folder, Refusal, refusal};
use crate::plan::mount;
use crate::plan::phase::Survey;
use crate::plan::words::{self, shell_word};

/// One datastore with everything its rules look at.
pub(super) struct Site<'a> {
    pub(super) world: World<'a>,
    pub(super) survey: &'a Survey<'a>,
    pub(super) name: &'a Name,
    pub(super) datastore: &'a Datastore,
    pub(super) place: &'a Place,
    pub(super) facts: &'a NodeFacts,
    pub(super) store: &'a DatastoreFacts,
    pub(super) owner: Identity,
    login: Identity,
}

/// Plans every datastore of a list; those that can't be used are blocked.
pub(super) fn datastores<'a>(
    world: World<'a>,
    survey: &'a Survey<'a>,
    names: &[&Name],
    draft: &mut Draft,
) {
    for name in names {
        let Some((datastore, place, facts, store)) = world.served(name) else {
            let node = world.home(name).map_or("its node", Name::as_str);
            draft.block(
                Goal::Repository((*name).clone()),
                format!("{node} was not reached"),
            );
            continue;
        };
        let Some((name, _)) = world.topology.datastores.get_key_value(*name) else {
            continue;
        };
        let site = Site {
            world,
            survey,
            name,
            datastore,
            place,
            facts,
            store,
            owner: Identity::owner(datastore.owner.as_ref(), &facts.login),
            login: container::seen_from(world, &place.node, Identity::login(&facts.login)),
        };
        site.numbers(draft);
        if let Some(reason) = site.out_of_sight(draft) {
            draft.block(Goal::Repository(name.clone()), reason);
        }
        // A datastore that its share's server would not let be written is out of the plan.
        if draft.obstacle(&Goal::Repository(name.clone())).is_some() {
            continue;
        }
        let folder = if world.topology.share_of(name).is_some() {
            // Its owner and mode are the share's, and changed where that is exported.
            site.gone_from_share(draft);
            site.serve_as_owner()
                .and_then(|()| site.servers_verdict(draft))
        } else {
            site.folder(draft)
        };
        if let Err((reason, finding)) = folder.and_then(|()| site.repository(draft)) {
            draft.refuse(Goal::Repository(name.clone()), reason, *finding);
        }
    }
}

impl Site<'_> {
    pub(super) fn address(&self) -> Address {
        Address::new("datastore", self.name)
    }

    pub(super) fn error(&self, code: &str, message: String) -> Finding {
        Finding::error(code, self.address(), message)
    }

    pub(super) fn gate(&self, kind: GateKind) -> Gate {
        Gate {
            address: self.address(),
            kind,
        }
    }

    /// Returns the yes that a first change to a folder wants: it is somebody's, or was ours.
    pub(super) fn first_change_gate(&self, seen: &PathFacts) -> Option<Gate> {
        if self.lost().is_some() {
            return Some(self.gate(GateKind::Recreate));
        }
        let ours = self.store.marker.is_some();
        (!ours && seen.empty == Some(false)).then(|| self.gate(GateKind::NonEmpty))
    }

    fn privileged(&self) -> bool {
        self.facts.login.privileged || self.login.uid == 0
    }

    /// Tells whether we are root where a folder is, and above whoever owns it.
    fn is_above(&self, folder: &Component) -> bool {
        self.privileged() && container::is_below_root(self.world, &self.place.node, folder)
    }

    /// Returns why owner and mode of a folder can't be changed, if so.
    fn cant_give(&self, folder: &Component) -> Option<String> {
        let node = &self.place.node;
        if !self.privileged() {
            return Some(format!(
                "changing owner or mode needs root on {node}, and the login is {}",
                self.login.name
            ));
        }
        (!self.is_above(folder)).then(|| {
            format!(
                "it belongs to nobody who has a number in {node}: even its root gets \"Operation not permitted (os error 1)\""
            )
        })
    }

    pub(super) fn on(&self) -> String {
        format!("{}:{}", self.place.node, self.place.path)
    }

    pub(super) fn proposal(&self, step: Step, after: String) -> Proposal {
        Proposal::new(self.address(), &self.place.node, step, after)
    }

    /// Returns why nothing can be said of what is in the datastore, if so: it lies on something
    /// that is not mounted, and whoever exports that was not reached.
    fn out_of_sight(&self, draft: &Draft) -> Option<String> {
        if !mount::hides(self.world, self.name) {
            return None;
        }
        let server = self.world.topology.share_of(self.name);
        let obstacle = draft.obstacle(&Goal::Mounted(self.name.clone()));
        Some(match (obstacle, server) {
            (Some(why), _) => why.to_owned(),
            (None, Some((_, share))) => format!("{} was not reached", share.on),
            (None, None) => {
                "what is on its disk is seen once that is mounted: plan again then".to_owned()
            }
        })
    }

    /// Compares the owner's declared numbers with those of the user of that name.
    fn numbers(&self, draft: &mut Draft) {
        let Some(owner) = &self.datastore.owner else {
            return;
        };
        let Some(there) = self.facts.users.get(owner.user.as_str()) else {
            return;
        };
        if (there.uid, there.gid) == (owner.uid, owner.gid) {
            return;
        }
        let message = format!(
            "{} is {}:{} in the topology and {}:{} on {}; numbers decide, names do not",
            owner.user, owner.uid, owner.gid, there.uid, there.gid, self.place.node
        );
        draft.find(
            Finding::warning("BK117", self.address(), message).fix(format!(
                "correct service-user \"{}\", or give {} the number {} on {}",
                owner.user, owner.user, owner.uid, self.place.node
            )),
        );
    }

    fn folder(&self, draft: &mut Draft) -> Result<(), Refusal> {
        let folder = self.as_folder();
        let seen = folder.seen()?;
        self.not_lost(draft, seen)?;
        self.writable_mount(seen)?;
        let (ancestors, last) = match (seen.outcome, seen.components.split_last()) {
            (Outcome::Ok, Some((last, ancestors))) => (ancestors, Some(last)),
            _ => (seen.components.as_slice(), None),
        };
        self.ancestors(ancestors)?;
        if last.is_none() {
            folder.has_parent(ancestors.last())?;
        }
        self.serve_as_owner()?;
        self.given_by_mount(draft, seen)?;
        match last {
            None => self.make_folder(draft, ancestors),
            Some(last) => {
                folder.is_folder(last)?;
                self.ownership(draft, seen, last);
                self.mode(draft, seen, last);
                let ground = Ground {
                    node: &self.place.node,
                    path: &self.place.path,
                    seen: Some(seen),
                };
                let goals = [
                    Goal::Owner(self.name.clone()),
                    Goal::Mode(self.name.clone()),
                ];
                self.system_verdict(draft, ground, &goals)
            }
        }
    }

    /// Returns its folder, as it is declared.
    fn as_folder(&self) -> Folder<'_> {
        Folder {
            address: self.address(),
            node: &self.place.node,
            path: &self.place.path,
            declared: &self.datastore.declared,
            facts: self.facts,
            login: &self.login,
        }
    }

    fn writable_mount(&self, seen: &PathFacts) -> Result<(), Refusal> {
        let Some(mount) = seen.mount.as_ref().filter(|mount| mount.read_only) else {
            return Ok(());
        };
        let message = "writes would fail: \"Read-only file system (os error 30)\"".to_owned();
        let finding = self
            .error("BK110", message)
            .because(vec![format!(
                "{} is on {} ({}), mounted read-only at {} on {}",
                self.place.path, mount.source, mount.fstype, mount.target, self.place.node
            )])
            .fix(format!(
                "on {}: find out why (a damaged disk is remounted read-only), then mount -o remount,rw {}",
                self.place.node,
                shell_word(&mount.target)
            ));
        Err(refusal(format!("{} is read-only", self.name), finding))
    }

    /// Checks that the folders above are folders and open to the writer.
    fn ancestors(&self, ancestors: &[Component]) -> Result<(), Refusal> {
        if let Some(other) = access::first_obstacle(ancestors) {
            let message = format!("{} on {} is not a folder", other.path, self.place.node);
            let finding = self
                .error("BK104", message)
                .fix(format!("correct the path at {}", self.datastore.declared));
            return Err(refusal(format!("{} is not a folder", other.path), finding));
        }
        if let Some(closed) = access::first_closed(ancestors, &self.owner) {
            let message = format!(
                "{} can't pass {} on {}: writes would fail with \"Permission denied (os error 13)\"",
                self.owner.words(),
                closed.path,
                self.place.node
            );
            let path = shell_word(&closed.path);
            let mend = match self.owner.enter(closed, access::PASS) {
                Some(enter) => format!("{enter} {path}"),
                None => format!("chmod o+x {path}   (opens the way, shows no names)"),
            };
            let finding = self
                .error("BK106", message)
                .because(vec![format!(
                    "{}: no right to pass for uid {}{}",
                    access::words(closed),
                    self.owner.uid,
                    self.owner.by_acl(closed, access::PASS)
                )])
                .fix(format!("on {}: {mend}", self.place.node));
            return Err(refusal(
                format!("{} can't pass {}", self.owner.name, closed.path),
                finding,
            ));
        }
        Ok(())
    }

    /// Checks that whoever serves can become the owner.
    fn serve_as_owner(&self) -> Result<(), Refusal> {
        if self.owner.uid == self.login.uid || self.privileged() {
            return Ok(());
        }
        let message = format!(
            "serving it as {} needs root on {}, and the login is {}",
            self.owner.words(),
            self.place.node,
            self.login.words()
        );
        let finding = self.error("BK112", message).fix(format!(
            "log in as root or as {}, or add become \"sudo\" to node \"{}\"",
            self.owner.name, self.place.node
        ));
        Err(refusal(
            format!("{} can't become {}", self.login.name, self.owner.name),
            finding,
        ))
    }

    fn make_folder(&self, draft: &mut Draft, ancestors: &[Component]) -> Result<(), Refusal> {
        if let Some(parent) = ancestors.last()
            && !self.is_above(parent)
            && !self.login.may(parent, access::WRITE)
        {
            let message = format!(
                "{} can't make a folder in {}: \"Permission denied (os error 13)\"",
                self.login.words(),
                parent.path
            );
            let finding = self
                .error("BK107", message)
                .because(vec![format!(
                    "{}: no right to write{}",
                    access::words(parent),
                    self.login.by_acl(parent, access::WRITE)
                )])
                .fix(self.as_root(|(uid, gid)| {
                    format!("install -d -o {uid} -g {gid} -m {:o}", self.datastore.mode)
                }));
            return Err(refusal(format!("{} can't be made", self.on()), finding));
        }
        let owner = (self.owner.uid, self.owner.gid);
        let (step, after) = self.as_folder().make(owner, self.datastore.mode);
        draft.propose(Proposal {
            reason: self.why_made("it does not exist"),
            gives: vec![Goal::Folder(self.name.clone())],
            gate: self.lost().map(|_| self.gate(GateKind::Recreate)),
            ..self.proposal(step, after)
        });
        Ok(())
    }

    fn ownership(&self, draft: &mut Draft, seen: &PathFacts, last: &Component) {
        let owner = (self.owner.uid, self.owner.gid);
        let foreign = self.store.foreign_entries;
        let Some(change) = self.as_folder().own(owner, seen, last, foreign) else {
            return;
        };
        let recursive = change.is_recursive();
        let deferred = self.cant_give(last);
        let finding = if (last.uid, last.gid) == owner {
            self.foreign_entries(foreign.unwrap_or(0))
        } else {
            self.wrong_owner(seen, last)
        };
        draft.find(finding.fix(self.chown(recursive)).fixed(deferred.is_none()));
        draft.propose(Proposal {
            before: Some(change.before),
            reason: format!("{} writes here and must own it", self.owner.words()),
            gives: vec![Goal::Owner(self.name.clone())],
            gate: if recursive {
                Some(self.gate(GateKind::Owner))
            } else {
                self.first_change_gate(seen)
            },
            deferred,
            ..self.proposal(change.step, change.after)
        });
    }

    fn chown(&self, recursive: bool) -> String {
        let whole = if recursive { "-R " } else { "" };
        self.as_root(|(uid, gid)| format!("chown {whole}{uid}:{gid}"))
    }

    /// Returns where to run a command on the folder, given the owner's numbers there: of a
    /// container whose numbers are others outside, on its host.
    fn as_root(&self, command: impl Fn((u32, u32)) -> String) -> String {
        let node = &self.place.node;
        let path = shell_word(&self.place.path);
        match container::outside(self.world, node, &self.owner) {
            Some((host, uid, gid)) => format!(
                "on {host}, which {node} runs on, as root: {} what is {path} inside",
                command((uid, gid))
            ),
            None => format!(
                "on {node}, as root: {} {path}",
                command((self.owner.uid, self.owner.gid))
            ),
        }
    }

    fn wrong_owner(&self, seen: &PathFacts, last: &Component) -> Finding {
        let may = match self.store.owner_may_write {
            Some(verdict) => verdict,
            None => self.owner.may(last, access::WRITE),
        };
        let because = access::chain(&self.owner, self.place.node.as_str(), &seen.components);
        if may {
            let message = format!(
                "{} belongs to {}:{}, declared is {} {}:{}: touching what others made would fail with \"Operation not permitted (os error 1)\"",
                self.on(),
                last.uid,
                last.gid,
                self.owner.name,
                self.owner.uid,
                self.owner.gid
            );
            Finding::warning("BK114", self.address(), message).because(because)
        } else {
            let message = format!(
                "writes by {} to {} would fail: \"Permission denied (os error 13)\"",
                self.owner.words(),
                self.on()
            );
            self.error("BK113", message).because(because)
        }
    }

    fn foreign_entries(&self, foreign: u64) -> Finding {
        let belong = if foreign == 1 { "belongs" } else { "belong" };
        let message = format!(
            "below {}, {} {belong} to somebody else than {}: touching them would fail with \"Operation not permitted (os error 1)\"",
            self.on(),
            words::count(foreign, "entry", "entries"),
            self.owner.words()
        );
        let because = self
            .store
            .foreign_example
            .iter()
            .map(|example| format!("for example {example}"))
            .collect();
        self.error("BK115", message).because(because)
    }

    fn mode(&self, draft: &mut Draft, seen: &PathFacts, last: &Component) {
        let (mode, wanted) = (last.mode & 0o7777, self.datastore.mode);
        let Some(change) = self.as_folder().set_mode(wanted, seen, last) else {
            return;
        };
        let message = format!("{} has mode {mode:o}, declared is {wanted:o}", self.on());
        let fix = format!(
            "on {}: chmod {wanted:o} {}",
            self.place.node,
            shell_word(&self.place.path)
        );
        let ours = last.uid == self.login.uid;
        let deferred = if ours { None } else { self.cant_give(last) };
        let shut = mode & 0o700 != 0o700 && self.owner.uid != 0;
        let finding = if shut {
            let message =
                format!("{message}: its owner can't write, \"Permission denied (os error 13)\"");
            self.error("BK116", message)
        } else {
            Finding::warning("BK116", self.address(), message)
        };
        draft.find(finding.fix(fix).fixed(deferred.is_none()));
        draft.propose(Proposal {
            before: Some(change.before),
            reason: "the topology declares it".to_owned(),
            needs: vec![Goal::Owner(self.name.clone())],
            gives: vec![Goal::Mode(self.name.clone())],
            gate: self.first_change_gate(seen),
            deferred,
            ..self.proposal(change.step, change.after)
        });
    }

    /// Believes the system where it knows more than mode bits say.
    ///
    /// Where one of `goals` is planned it spoke of another state.
    fn system_verdict(
        &self,
        draft: &Draft,
        ground: Ground<'_>,
        goals: &[Goal],
    ) -> Result<(), Refusal> {
        let changing = goals.iter().any(|goal| draft.proposed(goal));
        if changing || self.store.owner_may_write != Some(false) {
            return Ok(());
        }
        let (node, path) = (ground.node, ground.path);
        let message = format!(
            "the system says that {} can't make an entry in {node}:{path}: \"Permission denied (os error 13)\"",
            self.owner.words(),
        );
        let denying = ground.seen.and_then(|seen| seen.last());
        let denying = denying.filter(|last| !self.owner.may(last, access::WRITE));
        let by = denying.map(|last| self.owner.by_acl(last, access::WRITE));
        let mut because = vec![match by.filter(|by| !by.is_empty()) {
            Some(by) => format!("owner and mode are right, and it is denied{by}"),
            None => "owner and mode are right, so something else denies it: an ACL, NFS squashing, or an immutable flag".to_owned(),
        }];
        if let Some(mount) = ground.seen.and_then(|seen| seen.mount.as_ref()) {
            because.push(format!(
                "it is on {} ({}) at {}",
                mount.source, mount.fstype, mount.target
            ));
        }
        let finding = self.error("BK118", message).because(because).fix(format!(
            "on {node}: look at getfacl and lsattr of {}, and at the export if it is NFS",
            shell_word(path)
        ));
        Err(refusal(format!("{} can't write", self.owner.name), finding))
    }

    /// Believes the system of a share's server, which knows of ACLs; it was asked for the share's
    /// owner.
    fn servers_verdict(&self, draft: &Draft) -> Result<(), Refusal> {
        let share = self.world.topology.share_of(self.name);
        let Some((name, share)) = share.filter(|(_, share)| share.owner.is_some()) else {
            return Ok(());
        };
        let server = self.world.ground(self.name);
        let Some(ground) = server.filter(|ground| *ground.node == share.on) else {
            return Ok(());
        };
        let owner = Identity::owner(share.owner.as_ref(), &self.facts.login);
        let above = ground.seen.and_then(|seen| seen.components.split_last());
        // It was asked by path, and clients come by the folder's handle: they pass nothing above.
        if above.is_some_and(|(_, above)| access::first_closed(above, &owner).is_some()) {
            return Ok(());
        }
        let goals = [
            Goal::SharedFolder(name.clone()),
            Goal::SharedRights(name.clone()),
        ];
        self.system_verdict(draft, ground, &goals)
    }
}
