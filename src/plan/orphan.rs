//! What bkpctl put on nodes and the topology no longer has: reported, and destroyed only where
//! the topology says so and somebody agrees.

use crate::model::markers::Kept;
use crate::model::observed::{DatastoreFacts, NodeFacts};
use crate::model::system_files::is_kept;
use crate::model::topology::Removed;
use crate::model::{Address, Name};
use crate::plan::change::{Finding, Gate, GateKind, Step};
use crate::plan::draft::{Draft, Goal, Proposal, World};
use crate::plan::words;

/// The kinds of things, in the order in which they can be taken away: what lies on a mount
/// before the mount, and mounts before what exports them.
const KINDS: [&str; 3] = ["datastore", "mount", "share"];

/// One thing that a node's registry lists and the topology no longer has there.
struct Orphan<'a> {
    world: World<'a>,
    node: &'a Name,
    facts: &'a NodeFacts,
    address: &'a Address,
    words: &'a str,
}

/// Why an orphan can't be destroyed: in a few words, and as a finding.
type Refusal = (&'static str, Box<Finding>);

/// Reports what is left on nodes, and plans to destroy what the topology says may be.
pub(super) fn orphans(world: World<'_>, draft: &mut Draft) {
    let orphans: Vec<Orphan<'_>> = all(world);
    for kind in KINDS {
        for orphan in orphans.iter().filter(|o| o.address.kind() == kind) {
            orphan.plan(draft);
        }
    }
}

/// Tells whether a thing that is not declared is to be listed no longer, and left as it is.
pub(super) fn is_forgotten(world: World<'_>, node: &Name, address: &Address) -> bool {
    if is_renamed(world, address) {
        return true;
    }
    match removed(world, address) {
        None => false,
        Some(removed) if !removed.destroy => true,
        // An export or a mount whose file is gone left nothing behind.
        Some(_) => {
            let mut all = all(world).into_iter();
            let orphan = all.find(|o| o.node == node && o.address == address);
            orphan.is_some_and(|orphan| match orphan.file() {
                Some(file) => !orphan.facts.files.contains_key(file),
                None => false,
            })
        }
    }
}

fn all(world: World<'_>) -> Vec<Orphan<'_>> {
    let mut found = Vec::new();
    for node in world.topology.nodes.keys() {
        let Some(facts) = world.observed.reached(node.as_str()) else {
            continue;
        };
        for (address, words) in facts.state.registry.iter().flat_map(|r| &r.objects) {
            if KINDS.contains(&address.kind()) && !is_declared(world, node, address) {
                found.push(Orphan {
                    world,
                    node,
                    facts,
                    address,
                    words,
                });
            }
        }
    }
    found
}

/// Tells whether the topology has a thing on a node.
pub(super) fn is_declared(world: World<'_>, node: &Name, address: &Address) -> bool {
    match address.kind() {
        "datastore" => world.home(address.name()) == Some(node),
        "node" => address.name() == node,
        "share" => {
            let share = world.topology.shares.get(address.name());
            share.is_some_and(|share| share.on == *node)
        }
        "mount" => {
            let mut mounts = world.topology.mounts();
            mounts.any(|(datastore, place, mount)| {
                datastore == address.name() && place.mount_point(mount).0 == node
            })
        }
        // A newer version may manage more kinds of things; they are not ours to judge.
        _ => true,
    }
}

/// Returns what the topology says of a thing that is gone from it.
fn removed<'a>(world: World<'a>, address: &Address) -> Option<&'a Removed> {
    let of = declared_as(address);
    let mut removed = world.topology.removed.iter();
    removed.find(|removed| removed.address == of)
}

/// Tells whether a datastore, or its mount, only has another name now.
///
/// A share's name is in that of its file, so that a renamed one leaves its old file behind.
fn is_renamed(world: World<'_>, address: &Address) -> bool {
    let of = declared_as(address);
    let mut moved = world.topology.moved.iter();
    of.kind() == "datastore" && moved.any(|moved| moved.from == of)
}

/// Returns the address that a topology knows a thing by: a mount belongs to its datastore.
fn declared_as(address: &Address) -> Address {
    match address.kind() {
        "mount" => Address::new("datastore", address.name()),
        _ => address.clone(),
    }
}

impl Orphan<'_> {
    fn plan(&self, draft: &mut Draft) {
        if is_renamed(self.world, self.address) || self.has_another_name() {
            return;
        }
        let Some(removed) = removed(self.world, self.address) else {
            return draft.find(self.left());
        };
        if !removed.destroy || is_forgotten(self.world, self.node, self.address) {
            return;
        }
        let goal = Goal::Gone(self.address.clone());
        let step = match Kept::read(self.words) {
            Some(Kept::Repository(folder)) => self.repository(folder),
            Some(Kept::Export(file) | Kept::Mount(file)) => self.system_file(file),
            None => Err(self.not_ours(format!("the registry says of it: {}", self.words))),
        };
        match step {
            Ok((step, before)) => self.propose(draft, step, before, removed),
            Err((reason, finding)) => draft.refuse(goal, reason, *finding),
        }
    }

    fn propose(&self, draft: &mut Draft, step: Step, before: String, removed: &Removed) {
        // A mount stays while there is something on it, and an export while it is mounted.
        let needed = KINDS
            .iter()
            .take_while(|kind| **kind != self.address.kind());
        let needed: Vec<&str> = needed.copied().collect();
        let all = all(self.world);
        let before_it = all.iter().filter(|o| needed.contains(&o.address.kind()));
        let before_it = before_it.filter(|o| {
            let same = o.address.name() == self.address.name();
            (same || self.address.kind() == "share")
                && self::removed(self.world, o.address).is_some_and(|removed| removed.destroy)
        });
        let gone = before_it.map(|orphan| Goal::Gone(orphan.address.clone()));
        let login = &self.facts.login;
        draft.propose(Proposal {
            before: Some(before),
            reason: format!("{} says so", removed.declared),
            needs: std::iter::once(Goal::Binary(self.node.clone()))
                .chain(gone)
                .collect(),
            gives: vec![Goal::Gone(self.address.clone())],
            gate: Some(Gate {
                address: declared_as(self.address),
                kind: GateKind::Destroy,
            }),
            deferred: (!login.privileged && !self.belongs_to(login.uid)).then(|| {
                format!(
                    "this needs root on {}, and the login is {}",
                    self.node, login.user
                )
            }),
            ..Proposal::new(self.address.clone(), self.node, step, "nothing".to_owned())
        });
    }

    /// Tells whether a repository's folder belongs to a user.
    fn belongs_to(&self, uid: u32) -> bool {
        let Some(Kept::Repository(folder)) = Kept::read(self.words) else {
            return false;
        };
        let seen = self.facts.paths.get(folder);
        let last = seen.and_then(|seen| seen.last());
        last.is_some_and(|last| last.uid == uid)
    }

    fn store(&self) -> Option<&DatastoreFacts> {
        self.facts.datastores.get(self.address.name())
    }

    /// Returns the file of the system that keeps it.
    fn file(&self) -> Option<&str> {
        match Kept::read(self.words)? {
            Kept::Export(file) | Kept::Mount(file) => Some(file),
            Kept::Repository(_) => None,
        }
    }

    /// Returns the datastore that is declared in an orphan's folder.
    fn successor(&self) -> Option<&Name> {
        let Some(Kept::Repository(folder)) = Kept::read(self.words) else {
            return None;
        };
        let here = |node: &Name, path: &str| node == self.node && words::same_path(path, folder);
        let topology = self.world.topology;
        topology.datastores.keys().find(|name| {
            let place = topology.datastores[*name].first_place();
            place.is_some_and(|place| here(&place.node, &place.path))
                || topology
                    .ground(name)
                    .is_some_and(|(node, path)| here(node, path))
        })
    }

    /// Tells whether what is declared in its folder carries its marker: it was renamed, which
    /// is said there.
    fn has_another_name(&self) -> bool {
        let marked = self.successor().and_then(|name| {
            let (.., store) = self.world.served(name)?;
            store.managed.as_ref()
        });
        marked.is_some_and(|managed| {
            managed.topology == self.world.topology.id && managed.object == *self.address.name()
        })
    }

    /// Reports what is left and nobody asked to destroy.
    fn left(&self) -> Finding {
        let address = declared_as(self.address);
        let message = format!(
            "the topology no longer has it, and it is still on {}: {}",
            self.node, self.words
        );
        let guarded = self.store().and_then(|store| store.managed.as_ref());
        let guarded = guarded.is_some_and(|managed| managed.guard);
        let mut because: Vec<String> = self.contents().into_iter().collect();
        if guarded {
            because.push("it is guarded, so that it can't be destroyed".to_owned());
        }
        let fix = if is_declared_anywhere(self.world, self.address) {
            format!("the topology has {address} on another node now: move it there by hand")
        } else if guarded {
            format!("nothing is destroyed; to forget it, add: removed \"{address}\"")
        } else {
            format!(
                "nothing is destroyed; to forget it, add: removed \"{address}\"; to destroy it: removed \"{address}\" {{ destroy }}"
            )
        };
        Finding::note("BK190", self.address.clone(), message)
            .because(because)
            .fix(fix)
    }

    /// Says what is in its repository, if that was seen.
    fn contents(&self) -> Option<String> {
        let store = self.store()?;
        store.marker.as_ref()?;
        Some(contents(store))
    }

    /// Returns the step that destroys its repository, and what is there before.
    fn repository(&self, folder: &str) -> Result<(Step, String), Refusal> {
        if let Some(name) = self.successor() {
            return Err(self.not_ours(format!("datastore.{name} is declared in the same folder")));
        }
        let store = self.store().ok_or_else(|| self.not_seen(folder))?;
        let Some(managed) = &store.managed else {
            return Err(match (&store.marker, &store.marker_problem) {
                (None, None) => self.not_seen(folder),
                (_, Some(problem)) => {
                    self.not_ours(format!("bkpctl.json in it can't be read: {problem}"))
                }
                (Some(_), None) => {
                    self.not_ours("managed.json does not mark it as this topology's".to_owned())
                }
            });
        };
        if managed.topology != self.world.topology.id || managed.object != *self.address.name() {
            return Err(self.not_ours(format!(
                "managed.json says that it is datastore.{} of topology {}",
                managed.object, managed.topology.0
            )));
        }
        if managed.guard {
            return Err(self.guarded());
        }
        let repository = match (&store.marker, &managed.removing) {
            (Some(marker), _) => marker.id.clone(),
            // It was broken off after its marker was gone.
            (None, Some(removing)) => removing.clone(),
            (None, None) => {
                return Err(self.not_ours("bkpctl.json in it can't be read".to_owned()));
            }
        };
        self.not_the_only_copy(store)?;
        let before = if managed.removing.is_some() {
            format!("the rest of a repository in {folder}, whose removal was broken off")
        } else {
            format!("{} in {folder}", contents(store))
        };
        let step = Step::DestroyRepository {
            datastore: self.address.name().clone(),
            path: folder.to_owned(),
            repository,
        };
        Ok((step, before))
    }

    /// Checks that no declared source has its only copy in it.
    fn not_the_only_copy(&self, store: &DatastoreFacts) -> Result<(), Refusal> {
        let world = self.world;
        let elsewhere = |source: &Name| {
            world.topology.datastores.keys().any(|name| {
                let seen = world.served(name);
                let heads = seen.and_then(|(.., store)| store.snapshots.get(source));
                heads.is_some_and(|heads| heads.iter().any(|head| head.complete))
            })
        };
        let here = store.counts.iter().filter(|(_, count)| **count > 0);
        let only: Vec<&Name> = here
            .map(|(source, _)| source)
            .filter(|source| world.topology.sources.contains_key(*source))
            .filter(|source| !elsewhere(source))
            .collect();
        if only.is_empty() {
            return Ok(());
        }
        let message = format!("it holds the only copy of {}", words::list(&only));
        let finding = Finding::error("BK194", declared_as(self.address), message)
            .because(vec![contents(store)])
            .fix("copy it to another datastore first: a plan without destroy does that");
        Err(("it holds an only copy", Box::new(finding)))
    }

    /// Returns the step that takes an export or a mount back, and what is there before.
    fn system_file(&self, file: &str) -> Result<(Step, String), Refusal> {
        let text = self.facts.files.get(file).map_or("", String::as_str);
        if !is_kept(text, &declared_as(self.address), &self.world.topology.id) {
            return Err(self.not_ours(format!("{file} is not kept by bkpctl for it")));
        }
        let step = Step::Withdraw {
            file: file.to_owned(),
            was: text.to_owned(),
        };
        Ok((step, self.words.to_owned()))
    }

    fn guarded(&self) -> Refusal {
        let address = declared_as(self.address);
        let message = "it is guarded, and the topology says that it may be destroyed".to_owned();
        let finding = Finding::error("BK191", address.clone(), message)
            .because(self.contents().into_iter().collect())
            .fix(format!(
                "declare it again without guard and apply that with --allow {address}:unguard; then remove it"
            ));
        ("it is guarded", Box::new(finding))
    }

    fn not_seen(&self, folder: &str) -> Refusal {
        let address = declared_as(self.address);
        let message = format!(
            "no repository is to be seen in {}:{folder}: is its disk mounted?",
            self.node
        );
        let finding = Finding::warning("BK192", address.clone(), message).fix(format!(
            "mount it, then bkpctl plan again; if nothing is left, take the destroy out of removed \"{address}\""
        ));
        ("nothing of it is to be seen", Box::new(finding))
    }

    fn not_ours(&self, why: String) -> Refusal {
        let address = declared_as(self.address);
        let message = format!(
            "what is on {} can't be told to be it, and is not destroyed",
            self.node
        );
        let finding = Finding::error("BK193", address.clone(), message)
            .because(vec![format!("the registry says: {}", self.words), why])
            .fix(format!(
                "look at it, remove it by hand if it is not needed, and write removed \"{address}\" without destroy"
            ));
        ("it can't be told to be ours", Box::new(finding))
    }
}

fn is_declared_anywhere(world: World<'_>, address: &Address) -> bool {
    let mut nodes = world.topology.nodes.keys();
    nodes.any(|node| is_declared(world, node, address))
}

/// Says what is in a repository: how many snapshots of what, the newest, and how much.
pub(super) fn contents(store: &DatastoreFacts) -> String {
    let count: u64 = store.counts.values().sum();
    if count == 0 {
        return "a repository without snapshots".to_owned();
    }
    let sources: Vec<&Name> = store.counts.keys().collect();
    let mut parts = vec![format!(
        "{} of {}",
        words::count(count, "snapshot", "snapshots"),
        words::list(&sources)
    )];
    let heads = store.snapshots.values().flatten();
    if let Some(newest) = heads.map(|head| head.started).max() {
        parts.push(format!("the newest from {newest}"));
    }
    parts.extend(store.bytes.map(|bytes| bytes.to_string()));
    parts.join(", ")
}
