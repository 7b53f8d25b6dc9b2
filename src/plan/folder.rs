//! A folder as it is declared: looked at, and how its owner and mode would change.
//!
//! Datastores and shares have one; each says itself what that is for and what it wants a yes for.

use crate::model::observed::{Component, MountFacts, NodeFacts, Outcome, PathFacts};
use crate::model::topology::Declared;
use crate::model::{Address, Name};
use crate::plan::access::{self, Identity};
use crate::plan::change::{Finding, Step};
use crate::plan::words::{self, shell_word};

/// Why something can't be used: a short reason and the finding that explains it.
pub(super) type Refusal = (String, Box<Finding>);

pub(super) fn refusal(reason: impl Into<String>, finding: Finding) -> Refusal {
    (reason.into(), Box::new(finding))
}

/// A declared folder on a node that was reached.
pub(super) struct Folder<'a> {
    /// What has it.
    pub(super) address: Address,
    pub(super) node: &'a Name,
    pub(super) path: &'a str,
    pub(super) declared: &'a Declared,
    pub(super) facts: &'a NodeFacts,
    pub(super) login: &'a Identity,
}

/// A change of a folder, before anybody said why.
pub(super) struct Change {
    pub(super) step: Step,
    pub(super) before: String,
    pub(super) after: String,
}

impl Folder<'_> {
    pub(super) fn on(&self) -> String {
        format!("{}:{}", self.node, self.path)
    }

    fn error(&self, code: &str, message: String) -> Finding {
        Finding::error(code, self.address.clone(), message)
    }

    /// Returns what was seen of it, if it could be looked at.
    pub(super) fn seen(&self) -> Result<&PathFacts, Refusal> {
        let Some(seen) = self.facts.paths.get(self.path) else {
            let message = format!("{} was not looked at", self.on());
            let finding = self.error("BK119", message.clone()).fix("observe again");
            return Err(refusal(message, finding));
        };
        match seen.outcome {
            Outcome::Ok | Outcome::Missing => Ok(seen),
            Outcome::Denied => {
                let message = format!(
                    "{} may not look at {}: \"Permission denied (os error 13)\"",
                    self.login.words(),
                    self.on()
                );
                let finding = self
                    .error("BK101", message)
                    .because(access::chain(
                        self.login,
                        self.node.as_str(),
                        &seen.components,
                    ))
                    .fix("log in as root, or add become \"sudo\" to the node");
                Err(refusal(
                    format!("{} can't be looked at", self.on()),
                    finding,
                ))
            }
            Outcome::Timeout => {
                let message = format!("{} did not answer in time", self.on());
                let finding = self
                    .error("BK102", message)
                    .because(vec![
                        "a network mount whose server is gone hangs whoever touches it".to_owned(),
                    ])
                    .fix("bring its server back, or unmount it");
                Err(refusal(format!("{} does not answer", self.on()), finding))
            }
        }
    }

    /// Checks that what is there is a folder.
    pub(super) fn is_folder(&self, last: &Component) -> Result<(), Refusal> {
        if access::first_obstacle(std::slice::from_ref(last)).is_none() {
            return Ok(());
        }
        let message = format!("{} is not a folder", self.on());
        let finding = self
            .error("BK105", message.clone())
            .fix(format!("correct the path at {}", self.declared));
        Err(refusal(message, finding))
    }

    /// Checks that the folder it would be made in is there, given what is.
    pub(super) fn has_parent(&self, there: Option<&Component>) -> Result<(), Refusal> {
        let parent = words::parent(self.path);
        let there = there.map_or("/", |last| last.path.as_str());
        if words::same_path(there, parent) {
            return Ok(());
        }
        let message = format!(
            "{parent} does not exist on {}; only the last folder of a {} is made",
            self.node,
            self.address.kind()
        );
        let finding = self
            .error("BK103", message)
            .because(vec![format!("the path exists as far as {there}")])
            .fix(format!(
                "on {}: mkdir -p {}   or correct the path at {}",
                self.node,
                shell_word(parent),
                self.declared
            ));
        Err(refusal(format!("{parent} does not exist"), finding))
    }

    /// Returns how it would be made.
    pub(super) fn make(&self, (uid, gid): (u32, u32), mode: u32) -> (Step, String) {
        let path = self.path.to_owned();
        let after = format!("{path}, owner {uid}:{gid}, mode {mode:o}");
        let step = Step::MakeFolder {
            path,
            uid,
            gid,
            mode,
        };
        (step, after)
    }

    /// Returns how its owner would change, and that of `foreign` entries below, if anything would.
    ///
    /// Unless they were counted, entries of others are assumed wherever there are entries. Where a
    /// mount says who owns everything, nothing would change.
    pub(super) fn own(
        &self,
        (uid, gid): (u32, u32),
        seen: &PathFacts,
        last: &Component,
        foreign: Option<u64>,
    ) -> Option<Change> {
        let same = (last.uid, last.gid) == (uid, gid);
        if (same && foreign.unwrap_or(0) == 0) || is_by_mount(seen) {
            return None;
        }
        let path = self.path;
        let recursive = foreign.map_or(seen.empty != Some(true), |foreign| foreign > 0);
        let entries = foreign.unwrap_or(0) + u64::from(!same);
        let what = match (recursive, foreign) {
            (false, _) => path.to_owned(),
            (true, Some(_)) => {
                format!("{} under {path}", words::count(entries, "entry", "entries"))
            }
            (true, None) => format!("{path} and everything below it"),
        };
        let before = if same {
            "partly others".to_owned()
        } else {
            format!("{}:{}", last.uid, last.gid)
        };
        Some(Change {
            step: Step::SetOwner {
                path: path.to_owned(),
                uid,
                gid,
                recursive,
                entries,
            },
            before,
            after: format!("{what} owned by {uid}:{gid}"),
        })
    }

    /// Returns how its mode would change, if it would.
    pub(super) fn set_mode(
        &self,
        wanted: u32,
        seen: &PathFacts,
        last: &Component,
    ) -> Option<Change> {
        let mode = last.mode & 0o7777;
        (mode != wanted && !is_by_mount(seen)).then(|| Change {
            step: Step::SetMode {
                path: self.path.to_owned(),
                mode: wanted,
            },
            before: format!("{mode:o}"),
            after: format!("{} mode {wanted:o}", self.path),
        })
    }
}

/// Tells whether owner and mode are what the options of a mount say.
fn is_by_mount(seen: &PathFacts) -> bool {
    let mount = seen.mount.as_ref();
    mount.is_some_and(MountFacts::invents_owners)
}

impl Change {
    /// Tells whether entries below the folder change too.
    pub(super) fn is_recursive(&self) -> bool {
        matches!(
            self.step,
            Step::SetOwner {
                recursive: true,
                ..
            }
        )
    }
}
