//! What must be mounted at a folder before anything is read from it or written to it.
//!
//! Without this a datastore whose share or disk is gone would fill the filesystem below its
//! mount point.

use std::fs;
use std::path::Path;
use std::str::FromStr;

use super::message::{Fault, FaultKind};
use crate::model::mounts::Mounts;
use crate::model::observed::MountFacts;
use crate::model::topology::{Mount, Mounted, Topology};

/// What must be mounted, as an argument of `serve` says it: `nfs:/srv/pbs` or `uuid:1b2c-3d`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MustMount {
    /// What an NFS server exports under this path, whatever the server is called.
    Nfs(String),
    /// The filesystem with this UUID.
    Uuid(String),
}

impl MustMount {
    /// Returns what a topology declares.
    pub fn declared(topology: &Topology, mount: &Mount) -> Option<Self> {
        Some(match &mount.what {
            Mounted::Share(share) => Self::Nfs(topology.shares.get(share)?.export.clone()),
            Mounted::Disk(disk) => Self::Uuid(disk.uuid.clone()),
        })
    }

    /// Fails unless it is mounted exactly at a folder of this machine.
    pub fn check(&self, folder: &str) -> Result<(), Fault> {
        let real = fs::canonicalize(folder).unwrap_or_else(|_| folder.into());
        let table = fs::read("/proc/self/mountinfo")
            .map_err(|e| Fault::io("read the table of mounts", &e))?;
        let mounts = Mounts::read(&table);
        let there = real.to_str().and_then(|real| mounts.covering(real));
        match there {
            Some(mount) if Path::new(&mount.target) == real && self.is_it(mount) => Ok(()),
            Some(mount) if Path::new(&mount.target) == real => Err(refused(format!(
                "{} is mounted at {folder}, and should be {self}",
                mount.source
            ))),
            _ => Err(refused(format!(
                "{folder} should be a mount of {self} and is not: nothing is read or written there; bkpctl plan says why"
            ))),
        }
    }

    fn is_it(&self, mount: &MountFacts) -> bool {
        match self {
            Self::Nfs(path) => mount.exported() == Some(path),
            Self::Uuid(uuid) => {
                let device = fs::canonicalize(Path::new("/dev/disk/by-uuid").join(uuid));
                device.is_ok_and(|device| device == Path::new(&mount.source))
            }
        }
    }
}

fn refused(message: String) -> Fault {
    Fault::new(FaultKind::Refused, message)
}

impl std::fmt::Display for MustMount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nfs(path) => write!(f, "nfs:{path}"),
            Self::Uuid(uuid) => write!(f, "uuid:{uuid}"),
        }
    }
}

impl FromStr for MustMount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("nfs", path)) if path.starts_with('/') => Ok(Self::Nfs(path.to_owned())),
            Some(("uuid", uuid)) if !uuid.is_empty() && !uuid.contains('/') => {
                Ok(Self::Uuid(uuid.to_owned()))
            }
            _ => Err(format!("{text:?} is neither nfs:/PATH nor uuid:UUID")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_no_mount_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().to_str().expect("a plain path");
        for what in ["nfs:/srv/pbs", "uuid:1b2c-3d"] {
            let what: MustMount = what.parse().expect("it is one");
            let fault = what.check(path).expect_err("nothing is mounted there");
            assert!(
                fault.message.contains("should be a mount"),
                "{}",
                fault.message
            );
            let fault = what.check(&format!("{path}/gone")).expect_err("it is gone");
            assert!(
                fault.message.contains("should be a mount"),
                "{}",
                fault.message
            );
            // Something is mounted here, and it is not that.
            assert!(what.check("/proc").is_err());
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for text in ["nfs:/srv/a:b", "uuid:1b2c-3d"] {
            let what: MustMount = text.parse().expect("it is one");
            assert_eq!(what.to_string(), text);
        }
        for text in ["", "nfs:", "nfs:srv", "uuid:", "uuid:../sda", "ext4:/x"] {
            assert!(text.parse::<MustMount>().is_err(), "{text}");
        }
    }
}
