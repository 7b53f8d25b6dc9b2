//! Shares: the folder on the server, who owns it, how much it may hold and who may mount it.
//!
//! What an administrator exported by hand and serves as declared is left alone; what is
//! exported otherwise by hand is never overwritten.

use crate::model::observed::{Component, NodeFacts, PathFacts};
use crate::model::system_files::{exports_file, is_kept};
use crate::model::topology::{Agent, Share};
use crate::model::{Address, Name};
use crate::plan::access::Identity;
use crate::plan::change::{Finding, Gate, GateKind, Step};
use crate::plan::dataset;
use crate::plan::draft::{Draft, Goal, Proposal, World};
use crate::plan::folder::{Folder, Refusal};
use crate::plan::registry;

/// The mode of a share's folder that is made, if the topology says nothing.
const MODE: u32 = 0o755;

/// One share with everything its rules look at.
pub(super) struct Server<'a> {
    pub(super) world: World<'a>,
    pub(super) name: &'a Name,
    pub(super) share: &'a Share,
    pub(super) facts: &'a NodeFacts,
    login: Identity,
    /// The datastores that lie on it.
    pub(super) datastores: Vec<&'a Name>,
}

/// Plans every share.
pub(super) fn shares(world: World<'_>, draft: &mut Draft) {
    for (name, share) in &world.topology.shares {
        plan(world, name, share, draft);
    }
}

/// Tells whether anything has to be done on its server for a share.
pub(super) fn is_changed(world: World<'_>, name: &Name) -> bool {
    let mut draft = Draft::default();
    if let Some((name, share)) = world.topology.shares.get_key_value(name) {
        plan(world, name, share, &mut draft);
    }
    !draft.proposals.is_empty()
}

/// Returns the file that exports a share, and whether it is there and kept by bkpctl.
pub(super) fn kept_file(world: World<'_>, name: &Name) -> Option<(String, bool)> {
    let (name, share) = world.topology.shares.get_key_value(name)?;
    let server = server(world, name, share)?;
    let (file, text) = server.file();
    Some((file, text.is_some_and(|(_, ours)| ours)))
}

fn server<'a>(world: World<'a>, name: &'a Name, share: &'a Share) -> Option<Server<'a>> {
    let facts = world.observed.reached(share.on.as_str())?;
    let on_it = |datastore: &&Name| {
        let share = world.topology.share_of(datastore);
        share.is_some_and(|(of, _)| of == name)
    };
    Some(Server {
        world,
        name,
        share,
        facts,
        login: Identity::login(&facts.login),
        datastores: world.topology.datastores.keys().filter(on_it).collect(),
    })
}

fn plan<'a>(world: World<'a>, name: &'a Name, share: &'a Share, draft: &mut Draft) {
    let goals = [
        Goal::SharedFolder(name.clone()),
        Goal::SharedRights(name.clone()),
        Goal::Exported(name.clone()),
    ];
    let Some(server) = server(world, name, share) else {
        return;
    };
    if world.topology.nodes[&share.on].agent == Agent::None {
        return;
    }
    if let Err((reason, finding)) = server.folder(draft) {
        for goal in goals {
            draft.block(goal, reason.clone());
        }
        return draft.find(*finding);
    }
    dataset::quota(&server, draft);
    if let Err((reason, finding)) = server.exports(draft) {
        draft.refuse(Goal::Exported(name.clone()), reason, *finding);
    }
}

impl Server<'_> {
    pub(super) fn address(&self) -> Address {
        Address::new("share", self.name)
    }

    pub(super) fn error(&self, code: &str, message: String) -> Finding {
        Finding::error(code, self.address(), message)
    }

    pub(super) fn proposal(&self, step: Step, after: String) -> Proposal {
        Proposal {
            needs: vec![Goal::Binary(self.share.on.clone())],
            deferred: (!self.facts.login.privileged).then(|| {
                format!(
                    "this needs root on {}, and the login is {}",
                    self.share.on, self.facts.login.user
                )
            }),
            ..Proposal::new(self.address(), &self.share.on, step, after)
        }
    }

    /// Returns what an action brings about: its own goal, and that datastores can be written
    /// which are there and were waiting for nothing else.
    pub(super) fn gives(&self, goal: Goal) -> Vec<Goal> {
        let there = self.datastores.iter().filter(|name| {
            let store = self.facts.datastores.get(**name);
            store.is_some_and(|store| store.marker.is_some())
        });
        let usable = there.map(|name| Goal::Repository((*name).clone()));
        std::iter::once(goal).chain(usable).collect()
    }

    /// Returns the text of the file that exports it, and whether that is ours.
    pub(super) fn file(&self) -> (String, Option<(&str, bool)>) {
        let topology = self.world.topology;
        let path = exports_file(&topology.name, self.name);
        let text = self.facts.files.get(&path).map(String::as_str);
        let ours = |text: &str| is_kept(text, &self.address(), &topology.id);
        (path, text.map(|text| (text, ours(text))))
    }

    /// Returns its folder, as it is declared.
    fn as_folder(&self) -> Folder<'_> {
        Folder {
            address: self.address(),
            node: &self.share.on,
            path: &self.share.export,
            declared: &self.share.declared,
            facts: self.facts,
            login: &self.login,
        }
    }

    fn folder(&self, draft: &mut Draft) -> Result<(), Refusal> {
        let folder = self.as_folder();
        let seen = folder.seen()?;
        if let Some(last) = seen.last() {
            folder.is_folder(last)?;
            self.owner(draft, seen, last);
            self.mode(draft, seen, last);
        } else {
            folder.has_parent(seen.components.last())?;
            self.make(draft);
        }
        Ok(())
    }

    fn make(&self, draft: &mut Draft) {
        let owner = self.share.owner.as_ref().map_or((0, 0), |o| (o.uid, o.gid));
        let mode = self.share.mode.unwrap_or(MODE);
        let (step, after) = self.as_folder().make(owner, mode);
        let mut gives = self.gives(Goal::SharedFolder(self.name.clone()));
        gives.push(Goal::SharedRights(self.name.clone()));
        let is_lost = self.is_lost();
        draft.propose(Proposal {
            reason: if is_lost {
                "it was here and is gone".to_owned()
            } else {
                "it does not exist".to_owned()
            },
            gives,
            gate: is_lost.then(|| self.gate(GateKind::Recreate)),
            ..self.proposal(step, after)
        });
    }

    /// Plans the owner that is declared; without one, the folder's owner is nobody's business.
    fn owner(&self, draft: &mut Draft, seen: &PathFacts, last: &Component) {
        let Some(owner) = &self.share.owner else {
            return;
        };
        // Only what was counted against this owner is known.
        let stores = self.datastores.iter();
        let facts = stores.filter_map(|name| self.facts.datastores.get(*name));
        let foreign = facts.filter_map(|store| store.foreign_entries).max();
        let numbers = (owner.uid, owner.gid);
        let Some(change) = self.as_folder().own(numbers, seen, last, foreign) else {
            return;
        };
        draft.propose(Proposal {
            gate: if change.is_recursive() {
                Some(self.gate(GateKind::Owner))
            } else {
                self.first_change_gate(seen)
            },
            before: Some(change.before),
            reason: format!("{} writes here and must own it", owner.user),
            gives: self.gives(Goal::SharedRights(self.name.clone())),
            ..self.proposal(change.step, change.after)
        });
    }

    fn mode(&self, draft: &mut Draft, seen: &PathFacts, last: &Component) {
        let change = self
            .share
            .mode
            .and_then(|mode| self.as_folder().set_mode(mode, seen, last));
        let Some(change) = change else {
            return;
        };
        draft.propose(Proposal {
            before: Some(change.before),
            reason: "the topology declares it".to_owned(),
            gives: self.gives(Goal::SharedRights(self.name.clone())),
            gate: self.first_change_gate(seen),
            ..self.proposal(change.step, change.after)
        });
    }

    fn gate(&self, kind: GateKind) -> Gate {
        Gate {
            address: self.address(),
            kind,
        }
    }

    /// Tells whether a repository of ours is in it.
    fn holds_ours(&self) -> bool {
        let stores = self.datastores.iter();
        let mut stores = stores.filter_map(|name| self.facts.datastores.get(*name));
        stores.any(|store| store.marker.is_some() || store.marker_problem.is_some())
    }

    /// Tells whether a datastore was in it, and is not: most often a disk of the server's that is
    /// not mounted.
    fn is_lost(&self) -> bool {
        let mut names = self.datastores.iter();
        let was_there = names.any(|name| registry::listed(self.world, name).is_some());
        was_there && !self.holds_ours()
    }

    /// Returns the yes that a first change to a folder wants: it is somebody's, or was ours.
    fn first_change_gate(&self, seen: &PathFacts) -> Option<Gate> {
        if self.is_lost() {
            return Some(self.gate(GateKind::Recreate));
        }
        let somebodys = !self.holds_ours() && seen.empty == Some(false);
        somebodys.then(|| self.gate(GateKind::NonEmpty))
    }
}
