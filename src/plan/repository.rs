//! The repository in a datastore's folder, and the marker that says whose it is.

use std::collections::BTreeMap;

use crate::model::markers::Managed;
use crate::model::observed::KeyState;
use crate::model::{Address, Name};
use crate::plan::change::{Finding, GateKind, Step};
use crate::plan::datastore::Site;
use crate::plan::draft::{Draft, Goal, Proposal};
use crate::plan::folder::{Refusal, refusal};
use crate::plan::orphan;

impl Site<'_> {
    /// Plans the repository, and checks that the one that is there is ours.
    pub(super) fn repository(&self, draft: &mut Draft) -> Result<(), Refusal> {
        if let Some(problem) = &self.store.marker_problem {
            let finding = self
                .error(
                    "BK130",
                    format!("the marker of its repository can't be used: {problem}"),
                )
                .because(vec![format!("{}/bkpctl.json", self.place.path)])
                .fix(
                    "use a version that knows it, or restore the file from a copy of the datastore",
                );
            return Err(refusal(
                format!("the repository of {} can't be used", self.name),
                finding,
            ));
        }
        if self
            .store
            .managed
            .as_ref()
            .is_some_and(|managed| managed.removing.is_some())
        {
            return Err(self.half_removed());
        }
        if self.store.marker.is_some() {
            self.check_marker()?;
        } else {
            self.make_repository(draft);
        }
        self.managed(draft)
    }

    fn make_repository(&self, draft: &mut Draft) {
        self.missed(draft);
        let ground = self.world.ground(self.name);
        let step = Step::MakeRepository {
            datastore: self.name.clone(),
        };
        let key = &self.datastore.key;
        draft.propose(Proposal {
            reason: self.why_made("there is none yet"),
            needs: self.needs(key),
            gives: vec![Goal::Repository(self.name.clone())],
            gate: ground
                .and_then(|ground| ground.seen)
                .and_then(|seen| self.first_change_gate(seen)),
            ..self.proposal(
                step,
                format!("in {}, sealed for key {key}", self.place.path),
            )
        });
    }

    /// Returns what must be there before a repository is made.
    fn needs(&self, key: &Name) -> Vec<Goal> {
        let mut needs = vec![
            Goal::Folder(self.name.clone()),
            Goal::Owner(self.name.clone()),
            Goal::Mode(self.name.clone()),
            Goal::Mounted(self.name.clone()),
            Goal::Binary(self.place.node.clone()),
            Goal::Key(key.clone()),
        ];
        if let Some((share, _)) = self.world.topology.share_of(self.name) {
            needs.extend([
                Goal::SharedFolder(share.clone()),
                Goal::SharedRights(share.clone()),
                Goal::Exported(share.clone()),
            ]);
        }
        needs
    }

    /// Checks that the repository that is there is the one we mean.
    fn check_marker(&self) -> Result<(), Refusal> {
        let Some(marker) = &self.store.marker else {
            return Ok(());
        };
        if let Some(KeyState::Present { domain, .. }) =
            self.world.observed.keys.get(&self.datastore.key)
            && *domain != marker.domain
        {
            let message = format!(
                "the repository in {} is sealed for another key than {}",
                self.on(),
                self.datastore.key
            );
            let finding = self
                .error("BK131", message)
                .because(vec![
                    format!("its key domain is {}", short(&marker.domain)),
                    format!("that of {} is {}", self.datastore.key, short(domain)),
                ])
                .fix("name the key it was made with, or another folder");
            return Err(refusal(format!("{} has another key", self.name), finding));
        }
        if let Some(machine) = &self.facts.machine_id
            && *machine != marker.home
        {
            let message = format!("the repository in {} belongs to another machine", self.on());
            let finding = self
                .error("BK132", message)
                .because(vec![
                    format!("its home is machine {}", short(&marker.home)),
                    format!("{} is machine {}", self.place.node, short(machine)),
                    "two machines that write one repository by path would break it".to_owned(),
                ])
                .fix(format!(
                    "if that machine no longer writes: set home to \"{machine}\" in {}/bkpctl.json",
                    self.place.path
                ));
            return Err(refusal(
                format!("{} belongs to another machine", self.name),
                finding,
            ));
        }
        Ok(())
    }

    fn managed(&self, draft: &mut Draft) -> Result<(), Refusal> {
        let ours = &self.world.topology.id;
        let Some(managed) = &self.store.managed else {
            let managed = Managed {
                topology: ours.clone(),
                object: self.name.clone(),
                generation: 1,
                guard: self.datastore.guard,
                phases: BTreeMap::new(),
                removing: None,
            };
            self.first_marker(draft, managed);
            return Ok(());
        };
        if managed.topology != *ours {
            let message = format!(
                "{} is managed by another topology, {}, as {}",
                self.on(),
                managed.topology.0,
                managed.object
            );
            let finding = self.error("BK133", message).fix(
                "name another folder; if the other topology is gone, remove managed.json there",
            );
            return Err(refusal(
                format!("{} belongs to another topology", self.name),
                finding,
            ));
        }
        if managed.object == *self.name {
            self.guard(draft, managed);
            return Ok(());
        }
        let old = Address::new("datastore", &managed.object);
        let moved = self
            .world
            .topology
            .moved
            .iter()
            .any(|moved| moved.from == old && moved.to == self.address());
        if moved {
            let managed = Managed {
                object: self.name.clone(),
                generation: managed.generation + 1,
                ..managed.clone()
            };
            let marker = self.marker(draft, managed);
            draft.propose(Proposal {
                before: Some(format!("marked as {old}")),
                reason: "the topology says that it moved".to_owned(),
                ..marker
            });
            return Ok(());
        }
        let message = format!("{} is marked as {old} of this topology", self.on());
        let finding = self.error("BK134", message).fix(format!(
            "if it was renamed, say so: moved from=\"{old}\" to=\"{}\"; else name another folder",
            self.address()
        ));
        Err(refusal(
            format!("{} is marked as {old}", self.name),
            finding,
        ))
    }

    /// Marks a repository for the first time; one that holds snapshots already is somebody's
    /// work, and becomes ours only by a yes.
    fn first_marker(&self, draft: &mut Draft, managed: Managed) {
        let is_found = self.store.counts.values().any(|count| *count > 0);
        let marker = self.marker(draft, managed);
        if !is_found {
            draft.propose(Proposal {
                reason: "it is not marked as ours yet".to_owned(),
                ..marker
            });
            return;
        }
        let what = orphan::contents(self.store);
        let finding = Finding::note(
            "BK137",
            self.address(),
            format!(
                "{} holds a repository that nobody has marked: {what}",
                self.on()
            ),
        )
        .fix(format!(
            "bkpctl adopt {} shows it and marks it as this topology's",
            self.name
        ));
        draft.find(finding);
        draft.propose(Proposal {
            before: Some(what),
            reason: "it was there already, and is not marked as ours".to_owned(),
            gate: Some(self.gate(GateKind::Adopt)),
            ..marker
        });
    }

    /// Plans what the marker says of destroying it.
    fn guard(&self, draft: &mut Draft, managed: &Managed) {
        let guard = self.datastore.guard;
        if managed.guard == guard {
            draft.managed.insert(self.name.clone(), managed.clone());
            return;
        }
        let words = |guard: bool| if guard { "guarded" } else { "not guarded" };
        let managed = Managed {
            guard,
            generation: managed.generation + 1,
            ..managed.clone()
        };
        let marker = self.marker(draft, managed);
        draft.propose(Proposal {
            before: Some(words(!guard).to_owned()),
            after_words: words(guard).to_owned(),
            reason: "the topology declares it".to_owned(),
            gate: (!guard).then(|| self.gate(GateKind::Unguard)),
            ..marker
        });
    }

    /// Refuses to make anything of a repository that is half removed.
    fn half_removed(&self) -> Refusal {
        let message = format!("the repository in {} is half removed", self.on());
        let finding = self
            .error("BK136", message)
            .because(vec![
                "its removal was planned, agreed to and begun, and broken off".to_owned(),
            ])
            .fix(format!(
                "go on with that: bkpctl apply --resume; or with removed \"{}\" {{ destroy }} in place of its declaration",
                self.address()
            ));
        refusal(format!("{} is half removed", self.name), finding)
    }

    /// Starts the proposal that writes its marker.
    fn marker(&self, draft: &mut Draft, managed: Managed) -> Proposal {
        let step = Step::WriteManaged {
            datastore: self.name.clone(),
            managed: managed.clone(),
        };
        draft.managed.insert(self.name.clone(), managed);
        Proposal {
            needs: vec![
                Goal::Binary(self.place.node.clone()),
                Goal::Repository(self.name.clone()),
            ],
            gives: vec![Goal::Managed(self.name.clone())],
            ..self.proposal(
                step,
                format!("managed by topology {}", self.world.topology.name),
            )
        }
    }
}

/// Shortens an id for people.
fn short(id: &str) -> String {
    let head: String = id.chars().take(12).collect();
    if head.len() < id.len() {
        format!("{head}…")
    } else {
        head
    }
}
