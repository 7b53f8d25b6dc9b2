//! What LVM says of a node's volumes, thin pools above all.

use core::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::size::ByteSize;

/// The volumes and groups of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LvmFacts {
    /// Its logical volumes.
    pub volumes: Vec<LogicalVolume>,
    /// Its volume groups.
    pub groups: Vec<VolumeGroup>,
    /// How full a thin pool gets before it is extended, in percent; 100 is never.
    pub autoextend_at: Option<u32>,
}

/// A volume group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VolumeGroup {
    /// Its name.
    pub name: String,
    /// Its size.
    pub size: ByteSize,
    /// What no volume has taken.
    pub free: ByteSize,
}

/// A logical volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogicalVolume {
    /// The group it is in.
    pub group: String,
    /// Its name.
    pub name: String,
    /// Its size, which a thin volume does not have from the start.
    pub size: ByteSize,
    /// What kind it is.
    pub kind: VolumeKind,
}

/// The kind of a logical volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VolumeKind {
    /// All of its size is taken from the group.
    Thick,
    /// It takes from a pool what is written.
    Thin {
        /// The pool, in the same group.
        pool: String,
        /// How much of its size it has.
        data: Percent,
    },
    /// A pool that thin volumes take from.
    Pool {
        /// How much of its size is taken.
        data: Percent,
        /// How much of its metadata's size is taken.
        metadata: Percent,
        /// Whether writes fail at once when it is full, instead of after a minute.
        fails_at_once: bool,
        /// What is wrong with it, in LVM's word, such as `out_of_data`.
        health: Option<String>,
    },
}

/// A share in hundredths of a percent.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Percent(pub u32);

impl Percent {
    /// Reads `12.89`, as LVM prints it; more than two decimals are cut.
    pub fn read(text: &str) -> Option<Self> {
        let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), "0"));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if fraction.is_empty() || !digits(fraction) || !digits(whole) {
            return None;
        }
        let fraction = format!("{fraction:0<2}");
        let hundredths: u32 = fraction.get(..2)?.parse().ok()?;
        let whole: u32 = whole.parse().ok()?;
        Some(Self(whole.checked_mul(100)?.checked_add(hundredths)?))
    }

    /// Returns that share of a size.
    pub fn of(self, size: ByteSize) -> ByteSize {
        let share = u128::from(size.0) * u128::from(self.0) / 10_000;
        ByteSize(u64::try_from(share).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0 / 100)
    }
}

impl LvmFacts {
    /// Returns the volume of that name.
    pub fn volume(&self, group: &str, name: &str) -> Option<&LogicalVolume> {
        let mut volumes = self.volumes.iter();
        volumes.find(|volume| volume.group == group && volume.name == name)
    }

    /// Returns the volume that a device's path names, `/dev/GROUP/NAME` or `/dev/mapper/…`.
    ///
    /// The mapper doubles each hyphen of the names and puts a single one between them.
    pub fn at(&self, device: &str) -> Option<&LogicalVolume> {
        let path = device.strip_prefix("/dev/")?;
        let doubled = |name: &str| name.replace('-', "--");
        self.volumes.iter().find(|volume| {
            let (group, name) = (&volume.group, &volume.name);
            match path.strip_prefix("mapper/") {
                Some(mapped) => mapped == format!("{}-{}", doubled(group), doubled(name)),
                None => path == format!("{group}/{name}"),
            }
        })
    }

    /// Returns the volumes that take from a pool.
    pub fn in_pool<'a>(
        &'a self,
        pool: &'a LogicalVolume,
    ) -> impl Iterator<Item = &'a LogicalVolume> {
        self.volumes.iter().filter(move |volume| {
            matches!(&volume.kind, VolumeKind::Thin { pool: name, .. } if *name == pool.name)
                && volume.group == pool.group
        })
    }
}

impl LogicalVolume {
    /// Returns how many bytes it has: those written, where it is thin.
    pub fn allocated(&self) -> ByteSize {
        match &self.kind {
            VolumeKind::Thick => self.size,
            VolumeKind::Thin { data, .. } | VolumeKind::Pool { data, .. } => data.of(self.size),
        }
    }

    /// Returns how many bytes of its size nothing has taken yet.
    pub fn left(&self) -> ByteSize {
        ByteSize(self.size.0.saturating_sub(self.allocated().0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_exactly() {
        for (text, expected) in [
            ("0.00", Some(0)),
            ("12.89", Some(1289)),
            ("100.00", Some(10_000)),
            ("7", Some(700)),
            ("3.5", Some(350)),
            ("3.999", Some(399)),
            ("", None),
            (".5", None),
            ("1.", None),
            ("-1.0", None),
            ("99999999999", None),
        ] {
            assert_eq!(Percent::read(text).map(|p| p.0), expected, "{text:?}");
        }
        assert_eq!(Percent(1289).of(ByteSize(1 << 30)), ByteSize(138_405_321));
    }

    #[test]
    fn a_device_is_found_under_both_of_its_names() {
        let volume = LogicalVolume {
            group: "pve-two".into(),
            name: "vm-201-disk-0".into(),
            size: ByteSize(1),
            kind: VolumeKind::Thick,
        };
        let facts = LvmFacts {
            volumes: vec![volume.clone()],
            ..LvmFacts::default()
        };
        for (path, found) in [
            ("/dev/pve-two/vm-201-disk-0", true),
            ("/dev/mapper/pve--two-vm--201--disk--0", true),
            ("/dev/mapper/pve-two-vm-201-disk-0", false),
            ("/dev/pve/vm-201-disk-0", false),
            ("/dev/sda", false),
        ] {
            assert_eq!(facts.at(path).is_some(), found, "{path}");
        }
    }
}
