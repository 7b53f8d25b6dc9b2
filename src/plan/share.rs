//! Shares: the folder on the server, who owns it, how much it may hold and who may mount it.
//!
//! What an administrator exported by hand and serves as declared is left alone; what is
//! exported otherwise by hand is never overwritten.

use crate::model::observed::{Component, NodeFacts, Outcome, PathFacts};
use crate::model::system_files::{exports_file, is_kept};
use crate::model::topology::{Agent, Share};
use crate::model::{Address, Name};
use crate::plan::access::{self, Identity};
use crate::plan::change::{Finding, Gate, GateKind, Step};
use crate::plan::dataset;
use crate::plan::datastore::{Refusal, refusal, same_path};
use crate::plan::draft::{Draft, Goal, Proposal, World};
use crate::plan::registry;
use crate::plan::words::{self, shell_word};

/// The mode of a share's folder that is made, if the topology says nothing.
const MODE: u32 = 0o755;

/// One share with everything its rules look at.
pub(super) struct Server<'a> {
    pub(super) world: World<'a>,
    pub(super) name: &'a Name,
    pub(super) share: &'a Share,
    pub(super) facts: &'a NodeFacts,
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

    fn on(&self) -> String {
        format!("{}:{}", self.share.on, self.share.export)
    }

    fn folder(&self, draft: &mut Draft) -> Result<(), Refusal> {
        let seen = self.seen()?;
        match (seen.outcome, seen.components.split_last()) {
            (Outcome::Ok, Some((last, _))) => {
                if access::first_obstacle(std::slice::from_ref(last)).is_some() {
                    let finding = self
                        .error("BK105", format!("{} is not a folder", self.on()))
                        .fix(format!("correct the path at {}", self.share.declared));
                    return Err(refusal(format!("{} is not a folder", self.on()), finding));
                }
                self.owner(draft, seen, last);
                self.mode(draft, seen, last);
                Ok(())
            }
            _ => self.make(draft, seen),
        }
    }

    fn seen(&self) -> Result<&PathFacts, Refusal> {
        let login = Identity::login(&self.facts.login);
        let (code, message, fix) = match self.facts.paths.get(&self.share.export) {
            Some(seen) if matches!(seen.outcome, Outcome::Ok | Outcome::Missing) => {
                return Ok(seen);
            }
            None => (
                "BK119",
                format!("{} was not looked at", self.on()),
                "observe again",
            ),
            Some(seen) if seen.outcome == Outcome::Denied => (
                "BK101",
                format!(
                    "{} may not look at {}: \"Permission denied (os error 13)\"",
                    login.words(),
                    self.on()
                ),
                "log in as root, or add become \"sudo\" to the node",
            ),
            Some(_) => (
                "BK102",
                format!("{} did not answer in time", self.on()),
                "look at its disk: a pool that hangs holds up whoever touches it",
            ),
        };
        let reason = format!("{} can't be looked at", self.on());
        Err(refusal(reason, self.error(code, message).fix(fix)))
    }

    fn make(&self, draft: &mut Draft, seen: &PathFacts) -> Result<(), Refusal> {
        let parent = words::parent(&self.share.export);
        let there = seen.components.last().map_or("/", |last| &last.path);
        if !same_path(there, parent) {
            let message = format!(
                "{parent} does not exist on {}; only the last folder of a share is made",
                self.share.on
            );
            let finding = self
                .error("BK103", message)
                .because(vec![format!("the path exists as far as {there}")])
                .fix(format!(
                    "on {}: mkdir -p {}   or correct the path at {}",
                    self.share.on,
                    shell_word(parent),
                    self.share.declared
                ));
            return Err(refusal(format!("{parent} does not exist"), finding));
        }
        let (uid, gid) = self.share.owner.as_ref().map_or((0, 0), |o| (o.uid, o.gid));
        let mode = self.share.mode.unwrap_or(MODE);
        let path = self.share.export.clone();
        let after = format!("{path}, owner {uid}:{gid}, mode {mode:o}");
        let step = Step::MakeFolder {
            path,
            uid,
            gid,
            mode,
        };
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
        Ok(())
    }

    /// Plans the owner that is declared; without one, the folder's owner is nobody's business.
    fn owner(&self, draft: &mut Draft, seen: &PathFacts, last: &Component) {
        let Some(owner) = &self.share.owner else {
            return;
        };
        let stores = || self.datastores.iter();
        let facts = || stores().filter_map(|name| self.facts.datastores.get(*name));
        // Only what was counted against this owner is known.
        let foreign = facts().filter_map(|store| store.foreign_entries).max();
        let same = (last.uid, last.gid) == (owner.uid, owner.gid);
        if same && foreign.unwrap_or(0) == 0 {
            return;
        }
        let empty = seen.empty == Some(true);
        let recursive = foreign.map_or(!empty, |foreign| foreign > 0);
        let from = format!("{}:{}", last.uid, last.gid);
        let to = format!("{}:{}", owner.uid, owner.gid);
        let path = self.share.export.clone();
        let entries = foreign.unwrap_or(0) + u64::from(!same);
        let what = match (recursive, foreign) {
            (false, _) => path.clone(),
            (true, Some(_)) => {
                format!("{} under {path}", words::count(entries, "entry", "entries"))
            }
            (true, None) => format!("{path} and everything below it"),
        };
        let step = Step::SetOwner {
            path,
            uid: owner.uid,
            gid: owner.gid,
            recursive,
            entries,
        };
        draft.propose(Proposal {
            before: Some(if same {
                "partly others".to_owned()
            } else {
                from
            }),
            reason: format!("{} writes here and must own it", owner.user),
            gives: self.gives(Goal::SharedRights(self.name.clone())),
            gate: if recursive {
                Some(self.gate(GateKind::Owner))
            } else {
                self.first_change_gate(seen)
            },
            ..self.proposal(step, format!("{what} owned by {to}"))
        });
    }

    fn mode(&self, draft: &mut Draft, seen: &PathFacts, last: &Component) {
        let Some(wanted) = self.share.mode else {
            return;
        };
        let mode = last.mode & 0o7777;
        if mode == wanted {
            return;
        }
        let path = self.share.export.clone();
        let step = Step::SetMode {
            path: path.clone(),
            mode: wanted,
        };
        draft.propose(Proposal {
            before: Some(format!("{mode:o}")),
            reason: "the topology declares it".to_owned(),
            gives: self.gives(Goal::SharedRights(self.name.clone())),
            gate: self.first_change_gate(seen),
            ..self.proposal(step, format!("{path} mode {wanted:o}"))
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
