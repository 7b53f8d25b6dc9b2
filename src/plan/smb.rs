//! Mounts over SMB: their options say who owns everything, and no chown and no chmod changes that.

use crate::model::observed::{MountFacts, PathFacts};
use crate::model::{Address, Name};
use crate::plan::access::{self, Identity};
use crate::plan::change::{Finding, Severity};
use crate::plan::container;
use crate::plan::datastore::Site;
use crate::plan::draft::{Draft, World};
use crate::plan::folder::{Refusal, refusal};

/// The code of what such a mount shows.
pub(super) const BY_MOUNT: &str = "BK108";

/// A datastore's folder on a node, and who writes there.
pub(super) struct Spot<'a> {
    pub(super) world: World<'a>,
    pub(super) address: Address,
    pub(super) node: &'a Name,
    pub(super) path: &'a str,
    pub(super) seen: &'a PathFacts,
    pub(super) writer: &'a Identity,
    pub(super) mode: u32,
}

impl Site<'_> {
    /// Checks that a mount over SMB, if the datastore is on one, gives everything to the owner.
    pub(super) fn given_by_mount(
        &self,
        draft: &mut Draft,
        seen: &PathFacts,
    ) -> Result<(), Refusal> {
        let spot = Spot {
            world: self.world,
            address: self.address(),
            node: &self.place.node,
            path: &self.place.path,
            seen,
            writer: &self.owner,
            mode: self.datastore.mode,
        };
        match spot.judge() {
            None => Ok(()),
            Some(Judged::Works(finding)) => {
                draft.find(*finding);
                Ok(())
            }
            Some(Judged::Fails(finding)) => Err(refusal(
                format!("the mount of {} gives it to somebody else", self.on()),
                *finding,
            )),
        }
    }
}

/// What a mount's word comes to.
pub(super) enum Judged {
    /// The writer can work there, and something is not as declared.
    Works(Box<Finding>),
    /// It can't.
    Fails(Box<Finding>),
}

impl Spot<'_> {
    /// Judges what the mount says; nothing where owners are told by whoever has the files, or where
    /// all is as declared.
    pub(super) fn judge(&self) -> Option<Judged> {
        let mount = self.seen.mount.as_ref()?;
        // Of a folder that is not there yet, the one above shows what it would look like.
        let shown = self.seen.components.last()?;
        if !mount.invents_owners() {
            return None;
        }
        let who = self.writer;
        let is_above = who.uid == 0 && container::is_below_root(self.world, self.node, shown);
        let is_shut = shown.mode & 0o700 != 0o700;
        let is_other = shown.uid != who.uid;
        let on = format!("{}:{}", self.node, self.path);
        let all = format!(
            "its mount over SMB gives everything to {}:{}",
            shown.uid, shown.gid
        );
        if (is_other || is_shut) && !is_above && !mount.is_unchecked() {
            let symptom = if who.may(shown, access::WRITE) {
                format!(
                    "touching what is in {on} would fail for {} with \"Operation not permitted (os error 1)\"",
                    who.words()
                )
            } else {
                format!(
                    "writes by {} to {on} would fail with \"Permission denied (os error 13)\"",
                    who.words()
                )
            };
            let all = if is_other {
                all
            } else {
                format!(
                    "its mount over SMB gives folders mode {:o}",
                    shown.mode & 0o7777
                )
            };
            let message = format!("{symptom}: {all}");
            let finding = Finding::error(BY_MOUNT, self.address.clone(), message);
            return Some(Judged::Fails(Box::new(self.explained(finding, mount))));
        }
        let message = if is_other && !is_above {
            format!(
                "{on} belongs to nobody in particular: {all}, and noperm lets everybody on {} write",
                self.node
            )
        } else if shown.gid != who.gid && !is_above {
            format!("{on} has another group than {}: {all}", who.gid)
        } else if shown.mode & 0o7777 != self.mode && self.is_there() {
            format!(
                "{on} has mode {:o}, declared is {:o}: its mount over SMB decides that",
                shown.mode & 0o7777,
                self.mode
            )
        } else {
            return None;
        };
        let finding = Finding::warning(BY_MOUNT, self.address.clone(), message);
        Some(Judged::Works(Box::new(self.explained(finding, mount))))
    }

    fn is_there(&self) -> bool {
        self.seen.last().is_some()
    }

    fn explained(&self, finding: Finding, mount: &MountFacts) -> Finding {
        let mut because = vec![
            format!(
                "it is on {} ({}) at {}",
                mount.source, mount.fstype, mount.target
            ),
            "a chown or chmod there changes nothing, and says nothing of it".to_owned(),
        ];
        if finding.severity == Severity::Error {
            because.push(
                "a check of access times that fails there, such as gc-atime-safety-check, is right: without it a garbage collection deletes what is in use"
                    .to_owned(),
            );
        }
        finding.because(because).fix(self.mend(mount))
    }

    /// Returns how whoever mounts it would mount it.
    fn mend(&self, mount: &MountFacts) -> String {
        let who = self.writer;
        // A container sees a mount of its host, whose numbers are others.
        let (on, uid, gid) =
            container::outside(self.world, self.node, who).unwrap_or((self.node, who.uid, who.gid));
        format!(
            "on {on}: unmount {} and mount it with {}",
            mount.source,
            options(uid, gid, self.mode)
        )
    }
}

/// Returns the options of a mount that gives everything to somebody, as mount.cifs(8) reads them.
pub(super) fn options(uid: u32, gid: u32, mode: u32) -> String {
    format!(
        "uid={uid},gid={gid},dir_mode=0{mode:o},file_mode=0{:o}",
        mode & 0o666
    )
}
