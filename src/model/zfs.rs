//! What ZFS says of a node's datasets.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::size::ByteSize;

/// The datasets of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ZfsFacts {
    /// Its filesystems and volumes.
    pub datasets: Vec<ZfsDataset>,
}

/// A filesystem or volume, see zfsprops(7).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ZfsDataset {
    /// Its name, from its pool on.
    pub name: String,
    /// What a volume pretends to have; none for a filesystem.
    pub volume_size: Option<ByteSize>,
    /// What it takes from its pool, with all below it and what is reserved.
    pub used: ByteSize,
    /// What it may still take.
    pub available: ByteSize,
    /// How many bytes were written to it and are still there, before compression.
    pub logical: ByteSize,
    /// The most it may take with all below it.
    pub quota: Option<ByteSize>,
    /// The most it may take itself.
    pub refquota: Option<ByteSize>,
    /// Where it is mounted; none for a volume, or where it never is.
    pub mountpoint: Option<String>,
    /// Which ACLs it has, such as `nfsv4`.
    pub acl_type: Option<String>,
    /// What a change of mode does to ACLs, such as `restricted`.
    pub acl_mode: Option<String>,
}

impl ZfsFacts {
    /// Returns the dataset of that name.
    pub fn dataset(&self, name: &str) -> Option<&ZfsDataset> {
        self.datasets.iter().find(|dataset| dataset.name == name)
    }

    /// Returns what a dataset could still take if this were its quota.
    ///
    /// What it may take now is bounded by the quota it has, so what is above it counts.
    pub fn room(&self, dataset: &ZfsDataset, quota: ByteSize) -> ByteSize {
        let above = dataset.name.rsplit_once('/');
        let above = above.and_then(|(above, _)| self.dataset(above));
        let left = |limit: ByteSize| ByteSize(limit.0.saturating_sub(dataset.used.0));
        let bounds = [Some(left(quota)), dataset.refquota.map(left)];
        let pool = above.map_or(dataset.available, |above| above.available);
        bounds.into_iter().flatten().fold(pool, ByteSize::min)
    }

    /// Returns the volume that a device's path names, `/dev/zvol/NAME`.
    pub fn at(&self, device: &str) -> Option<&ZfsDataset> {
        let name = device.strip_prefix("/dev/zvol/")?;
        self.dataset(name)
            .filter(|dataset| dataset.volume_size.is_some())
    }

    /// Returns the filesystem that a path is on, by where each is to be mounted.
    pub fn holding(&self, path: &str) -> Option<&ZfsDataset> {
        let holds = |dataset: &&ZfsDataset| {
            let point = dataset.mountpoint.as_deref();
            point.is_some_and(|point| is_at_or_below(path, point))
        };
        let held = self.datasets.iter().filter(holds);
        held.max_by_key(|dataset| dataset.mountpoint.as_ref().map(String::len))
    }

    /// Returns the filesystems that are mounted below a path.
    pub fn below<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a ZfsDataset> {
        self.datasets.iter().filter(move |dataset| {
            let point = dataset.mountpoint.as_deref();
            point.is_some_and(|point| point != path && is_at_or_below(point, path))
        })
    }
}

fn is_at_or_below(path: &str, top: &str) -> bool {
    let rest = path.strip_prefix(top.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> ZfsFacts {
        let mounted = |name: &str, point: &str| ZfsDataset {
            name: name.to_owned(),
            mountpoint: Some(point.to_owned()),
            ..ZfsDataset::default()
        };
        let volume = ZfsDataset {
            name: "tank/vm-100-disk-0".to_owned(),
            volume_size: Some(ByteSize(1)),
            ..ZfsDataset::default()
        };
        ZfsFacts {
            datasets: vec![
                mounted("tank", "/mnt/tank"),
                mounted("tank/pbs", "/mnt/tank/pbs"),
                mounted("tank/pbs/old", "/mnt/tank/pbs/old"),
                mounted("root", "/"),
                volume,
            ],
        }
    }

    #[test]
    fn a_path_is_on_the_nearest_filesystem_above_it() {
        for (path, expected) in [
            ("/mnt/tank/pbs", "tank/pbs"),
            ("/mnt/tank/pbs/a", "tank/pbs"),
            ("/mnt/tank/pbs2", "tank"),
            ("/srv", "root"),
            ("/", "root"),
        ] {
            let facts = facts();
            let found = facts.holding(path).map(|dataset| dataset.name.as_str());
            assert_eq!(found, Some(expected), "{path}");
        }
    }

    #[test]
    fn a_quota_leaves_what_it_and_everything_above_allow() {
        let mut facts = facts();
        for dataset in &mut facts.datasets {
            (dataset.available, dataset.used) = match dataset.name.as_str() {
                "tank" => (ByteSize(1000), ByteSize(300)),
                "tank/pbs" => (ByteSize(20), ByteSize(80)),
                _ => (ByteSize(500), ByteSize(10)),
            };
        }
        let room = |facts: &ZfsFacts, name: &str, quota: u64| {
            let dataset = facts.dataset(name).expect("it is listed");
            facts.room(dataset, ByteSize(quota)).0
        };
        // More than what its own quota of now leaves, and never more than the pool has.
        assert_eq!(room(&facts, "tank/pbs", 500), 420);
        assert_eq!(room(&facts, "tank/pbs", 9000), 1000);
        assert_eq!(room(&facts, "tank/pbs", 50), 0);
        assert_eq!(room(&facts, "tank", 9000), 1000);
        facts.datasets[1].refquota = Some(ByteSize(100));
        assert_eq!(room(&facts, "tank/pbs", 500), 20);
    }

    #[test]
    fn what_is_mounted_below_is_no_part_of_it() {
        let facts = facts();
        let names: Vec<&str> = facts.below("/mnt/tank").map(|d| d.name.as_str()).collect();
        assert_eq!(names, ["tank/pbs", "tank/pbs/old"]);
        assert_eq!(facts.below("/mnt/tank/pbs/old").count(), 0);
        assert!(facts.at("/dev/zvol/tank/vm-100-disk-0").is_some());
        assert!(facts.at("/dev/zvol/tank/pbs").is_none(), "it is no volume");
    }
}
