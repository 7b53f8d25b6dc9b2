//! Where the bytes of a job of vzdump land.
//!
//! That depends on the guest's kind, the mode, the storages and the filesystem below the target,
//! as Proxmox VE's `VZDump.pm` has it; each place is summed up as if nothing were compressed.

use std::collections::BTreeMap;

use crate::model::ByteSize;
use crate::model::lvm::LvmFacts;
use crate::model::pve::{Disk, DumpJob, DumpSettings, FolderFacts, Guest, PveFacts, Storage};
use crate::model::zfs::ZfsFacts;

/// Storages on which a container's volumes can be snapshotted.
const SNAPSHOT_KINDS: [&str; 4] = ["lvmthin", "zfspool", "btrfs", "rbd"];
/// Filesystems that keep a container's owners and attributes, so that a copy may go there.
const KEEPING_FILESYSTEMS: [&str; 6] = ["ext3", "ext4", "xfs", "nfs", "nfs4", "reiserfs"];
/// Where dumps go if nothing is said.
const USUAL_STORAGE: &str = "local";
/// Where temporary files go if they can't go beside the dumps.
const USUAL_TMPDIR: &str = "/var/tmp";
/// A place that has room for bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Room {
    /// Its name for people.
    pub(super) label: String,
    /// Where it is mounted, if it is a filesystem.
    pub(super) target: Option<String>,
    pub(super) free: ByteSize,
    pub(super) total: ByteSize,
}

/// What a job brings to one room.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// The sum of what stays.
    pub(super) stays: u64,
    /// The most that is there for a while: guests are dumped one after the other.
    pub(super) passes: u64,
    pub(super) lines: Vec<(u64, String)>,
}

/// A job's run on a node.
pub(super) struct Dump<'a> {
    pub(super) pve: &'a PveFacts,
    pub(super) lvm: Option<&'a LvmFacts>,
    pub(super) zfs: Option<&'a ZfsFacts>,
    pub(super) settings: DumpSettings,
}

/// Where a job's dumps go.
enum Target<'a> {
    /// Into a folder.
    Folder(&'a FolderFacts),
    /// To a Proxmox Backup Server.
    Server,
}

impl Dump<'_> {
    /// Returns what a job brings to each place.
    pub(super) fn loads(&self, job: &DumpJob) -> BTreeMap<Room, Load> {
        let mut loads = BTreeMap::new();
        let Some(target) = self.target() else {
            return loads;
        };
        let guests = self.pve.guests.iter();
        for guest in guests.filter(|guest| job.dumps(guest.id) == Some(true)) {
            let bytes = self.bytes(guest);
            if let Target::Folder(folder) = &target {
                let line = format!("{}: {bytes} to {}", words_of(guest), folder.path);
                stays(&mut loads, folder_room(folder), bytes, line);
            }
            if guest.is_container {
                self.copied_first(&mut loads, &target, guest, bytes);
            } else if let Some(storage) = &self.settings.fleecing {
                let line = format!(
                    "{}: up to {bytes} that it overwrites meanwhile, to {storage}",
                    words_of(guest)
                );
                passes(&mut loads, self.storage_room(storage), bytes, line);
            }
        }
        loads
    }

    /// Returns where dumps go; none if that is not known, or nothing would be written.
    fn target(&self) -> Option<Target<'_>> {
        if let Some(folder) = &self.settings.dumpdir {
            return self.pve.folder(folder).map(Target::Folder);
        }
        let id = self.settings.storage.as_deref().unwrap_or(USUAL_STORAGE);
        let storage = self.pve.storage(id).filter(|storage| !storage.disabled)?;
        if storage.kind == "pbs" {
            return Some(Target::Server);
        }
        let path = storage.path.as_ref()?;
        let folder = self.pve.folder(path)?;
        let is_mounted = folder
            .mount
            .as_ref()
            .is_some_and(|mount| mount.target == *path);
        // Those are refused, or mounted first, if nothing is mounted there now.
        let is_always_mounted =
            storage.wants_mount || matches!(storage.kind.as_str(), "nfs" | "cifs");
        (is_mounted || !is_always_mounted).then_some(Target::Folder(folder))
    }

    /// Adds the copy of a container that can't be read as it lies there.
    ///
    /// A volume without snapshots makes `snapshot` a `suspend`, which copies all of it first.
    fn copied_first(
        &self,
        loads: &mut BTreeMap<Room, Load>,
        target: &Target<'_>,
        guest: &Guest,
        bytes: ByteSize,
    ) {
        let kind = |storage: &str| {
            self.pve
                .storage(storage)
                .map(|storage| storage.kind.as_str())
        };
        let mut dumped = guest.disks.iter().filter(|disk| disk.dumped);
        let unable = dumped
            .find(|disk| kind(&disk.storage).is_some_and(|kind| !SNAPSHOT_KINDS.contains(&kind)));
        let why = match (self.settings.mode.as_deref(), unable) {
            (Some("stop"), _) => return,
            (Some("suspend"), _) => "its mode is suspend".to_owned(),
            (_, Some(disk)) => format!("{} can't snapshot {}", disk.storage, disk.slot),
            (_, None) => return,
        };
        let Some(folder) = self.temporary(target) else {
            return;
        };
        let line = format!(
            "{}: {bytes} copied to {} first, as {why}",
            words_of(guest),
            folder.path
        );
        passes(loads, folder_room(folder), bytes, line);
    }

    /// Returns the folder for temporary files.
    fn temporary<'a>(&'a self, target: &Target<'a>) -> Option<&'a FolderFacts> {
        if let Some(folder) = &self.settings.tmpdir {
            return self.pve.folder(folder);
        }
        let keeps = |folder: &FolderFacts| {
            let mount = folder.mount.as_ref();
            mount.is_some_and(|mount| KEEPING_FILESYSTEMS.contains(&mount.fstype.as_str()))
        };
        match target {
            Target::Folder(folder) if keeps(folder) => Some(*folder),
            _ => self.pve.folder(USUAL_TMPDIR),
        }
    }

    /// Returns how many bytes a guest's dump has at most: what is allocated of its disks.
    fn bytes(&self, guest: &Guest) -> ByteSize {
        let disks = guest.disks.iter().filter(|disk| disk.dumped);
        let sizes = disks.map(|disk| {
            let storage = self.pve.storage(&disk.storage);
            let allocated = storage.and_then(|storage| self.allocated(storage, disk));
            allocated.or(disk.size).unwrap_or_default().0
        });
        ByteSize(sizes.fold(0, u64::saturating_add))
    }

    /// Returns what was written to a disk, where its storage can tell.
    fn allocated(&self, storage: &Storage, disk: &Disk) -> Option<ByteSize> {
        if let Some(group) = &storage.group {
            return Some(self.lvm?.volume(group, &disk.volume)?.allocated());
        }
        let name = format!("{}/{}", storage.dataset.as_ref()?, disk.volume);
        Some(self.zfs?.dataset(&name)?.logical)
    }

    fn storage_room(&self, id: &str) -> Option<Room> {
        let storage = self.pve.storage(id)?;
        if let Some(path) = &storage.path {
            return folder_room(self.pve.folder(path)?);
        }
        if let Some(name) = &storage.dataset {
            let dataset = self.zfs?.dataset(name)?;
            return Some(Room {
                label: format!("ZFS dataset {name}"),
                target: None,
                free: dataset.available,
                total: ByteSize(dataset.available.0.saturating_add(dataset.used.0)),
            });
        }
        let (lvm, group) = (self.lvm?, storage.group.as_ref()?);
        if let Some(pool) = &storage.thin_pool {
            let volume = lvm.volume(group, pool)?;
            return Some(Room {
                label: format!("thin pool {group}/{pool}"),
                target: None,
                free: volume.left(),
                total: volume.size,
            });
        }
        let group = lvm.groups.iter().find(|known| known.name == *group)?;
        Some(Room {
            label: format!("volume group {}", group.name),
            target: None,
            free: group.free,
            total: group.size,
        })
    }
}

fn folder_room(folder: &FolderFacts) -> Option<Room> {
    let (mount, space) = (folder.mount.as_ref()?, folder.space?);
    Some(Room {
        label: match mount.target.as_str() {
            "/" => "the root filesystem".to_owned(),
            target => format!("the filesystem at {target}"),
        },
        target: Some(mount.target.clone()),
        free: space.free,
        total: space.total,
    })
}

fn stays(loads: &mut BTreeMap<Room, Load>, room: Option<Room>, bytes: ByteSize, line: String) {
    if let Some(room) = room {
        let load = loads.entry(room).or_default();
        load.stays = load.stays.saturating_add(bytes.0);
        load.lines.push((bytes.0, line));
    }
}

fn passes(loads: &mut BTreeMap<Room, Load>, room: Option<Room>, bytes: ByteSize, line: String) {
    if let Some(room) = room {
        let load = loads.entry(room).or_default();
        load.passes = load.passes.max(bytes.0);
        load.lines.push((bytes.0, line));
    }
}

fn words_of(guest: &Guest) -> String {
    let kind = if guest.is_container {
        "container"
    } else {
        "VM"
    };
    match &guest.name {
        Some(name) => format!("{kind} {} ({name})", guest.id),
        None => format!("{kind} {}", guest.id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::lvm::{LogicalVolume, Percent, VolumeGroup, VolumeKind};
    use crate::model::observed::{MountFacts, Space};
    use crate::model::pve::DumpedGuests;
    use crate::model::zfs::ZfsDataset;

    const GIB: u64 = 1 << 30;

    fn folder(path: &str, target: &str, fstype: &str) -> FolderFacts {
        FolderFacts {
            path: path.to_owned(),
            mount: Some(MountFacts {
                target: target.to_owned(),
                source: "x".to_owned(),
                fstype: fstype.to_owned(),
                device: "0:1".to_owned(),
                read_only: false,
                smb: None,
            }),
            space: Some(Space {
                total: ByteSize(90 * GIB),
                free: ByteSize(60 * GIB),
                inodes_total: 0,
                inodes_free: 0,
            }),
        }
    }

    fn storage(id: &str, kind: &str, path: Option<&str>) -> Storage {
        Storage {
            id: id.to_owned(),
            kind: kind.to_owned(),
            path: path.map(str::to_owned),
            ..Storage::default()
        }
    }

    /// A node with every kind of storage, a VM of 100 GiB and containers of 10 GiB.
    fn node() -> (PveFacts, LvmFacts) {
        let thin = Storage {
            group: Some("pve".to_owned()),
            thin_pool: Some("data".to_owned()),
            ..storage("thin", "lvmthin", None)
        };
        let thick = Storage {
            group: Some("pve".to_owned()),
            ..storage("thick", "lvm", None)
        };
        let optional = Storage {
            wants_mount: true,
            ..storage("usb", "dir", Some("/mnt/usb"))
        };
        let guest = |id: u32, is_container: bool, on: &str, size: u64| Guest {
            id,
            is_container,
            name: None,
            unprivileged: false,
            idmap: Vec::new(),
            disks: vec![Disk {
                slot: "rootfs".to_owned(),
                storage: on.to_owned(),
                volume: format!("vm-{id}-disk-0"),
                size: Some(ByteSize(size * GIB)),
                dumped: true,
            }],
        };
        let volume = |name: &str, size: u64, kind: VolumeKind| LogicalVolume {
            group: "pve".to_owned(),
            name: name.to_owned(),
            size: ByteSize(size * GIB),
            kind,
        };
        let pve = PveFacts {
            storages: vec![
                storage("local", "dir", Some("/var/lib/vz")),
                storage("nas", "nfs", Some("/mnt/pve/nas")),
                storage("gone", "nfs", Some("/mnt/pve/gone")),
                storage("win", "cifs", Some("/mnt/pve/win")),
                storage("pbs", "pbs", None),
                optional,
                thin,
                thick,
                Storage {
                    dataset: Some("rpool/data".to_owned()),
                    ..storage("zfs", "zfspool", None)
                },
            ],
            guests: vec![
                guest(201, false, "thin", 100),
                guest(105, true, "thin", 10),
                guest(106, true, "local", 10),
                guest(107, true, "zfs", 30),
            ],
            folders: vec![
                folder("/var/lib/vz", "/", "ext4"),
                folder("/var/tmp", "/", "ext4"),
                folder("/mnt/pve/nas", "/mnt/pve/nas", "nfs4"),
                folder("/mnt/pve/gone", "/", "ext4"),
                folder("/mnt/pve/win", "/mnt/pve/win", "cifs"),
                folder("/mnt/usb", "/", "ext4"),
                folder("/fast", "/fast", "xfs"),
                folder("/tank/dump", "/tank", "zfs"),
            ],
            ..PveFacts::default()
        };
        let thin = |data| VolumeKind::Thin {
            pool: "data".to_owned(),
            data: Percent(data),
        };
        let pool = VolumeKind::Pool {
            data: Percent(5_000),
            metadata: Percent(0),
            fails_at_once: false,
            health: None,
        };
        let lvm = LvmFacts {
            volumes: vec![
                volume("data", 200, pool),
                volume("vm-201-disk-0", 100, thin(4_000)),
                volume("vm-105-disk-0", 10, thin(10_000)),
            ],
            groups: vec![VolumeGroup {
                name: "pve".to_owned(),
                size: ByteSize(400 * GIB),
                free: ByteSize(16 * GIB),
            }],
            autoextend_at: Some(100),
        };
        (pve, lvm)
    }

    fn zfs() -> ZfsFacts {
        let dataset = |name: &str, logical: u64| ZfsDataset {
            name: name.to_owned(),
            logical: ByteSize(logical * GIB),
            available: ByteSize(50 * GIB),
            ..ZfsDataset::default()
        };
        ZfsFacts {
            datasets: vec![
                dataset("rpool/data", 0),
                dataset("rpool/data/vm-107-disk-0", 7),
            ],
        }
    }

    /// What a job brings where, in GiB: what stays, and what is there for a while.
    fn loads(guest: u32, settings: &str) -> Vec<(String, u64, u64)> {
        let (pve, lvm) = node();
        let value = |key: &str| {
            let mut words = settings.split(' ');
            words.find_map(|word| word.strip_prefix(key)?.strip_prefix('=').map(str::to_owned))
        };
        let job = DumpJob {
            guests: DumpedGuests::These(vec![guest]),
            ..DumpJob::default()
        };
        let dump = Dump {
            pve: &pve,
            lvm: Some(&lvm),
            zfs: Some(&zfs()),
            settings: DumpSettings {
                storage: value("storage"),
                dumpdir: value("dumpdir"),
                tmpdir: value("tmpdir"),
                mode: value("mode"),
                fleecing: value("fleecing"),
                keep: None,
            },
        };
        let loads = dump.loads(&job).into_iter();
        loads
            .map(|(room, load)| (room.label, load.stays / GIB, load.passes / GIB))
            .collect()
    }

    #[test]
    fn bytes_land_where_vzdump_puts_them() {
        const ROOT: &str = "the root filesystem";
        type Expected = &'static [(&'static str, u64, u64)];
        let cases: [(u32, &str, Expected); 22] = [
            // A VM is written straight to its dump, in any mode: what its thin disk has.
            (201, "", &[(ROOT, 40, 0)]),
            (201, "storage=local mode=stop", &[(ROOT, 40, 0)]),
            (201, "storage=local mode=suspend", &[(ROOT, 40, 0)]),
            (
                201,
                "storage=nas",
                &[("the filesystem at /mnt/pve/nas", 40, 0)],
            ),
            (201, "dumpdir=/fast", &[("the filesystem at /fast", 40, 0)]),
            (201, "storage=pbs", &[]),
            (
                201,
                "storage=pbs fleecing=thin",
                &[("thin pool pve/data", 0, 40)],
            ),
            (
                201,
                "storage=pbs fleecing=thick",
                &[("volume group pve", 0, 40)],
            ),
            (
                201,
                "storage=pbs fleecing=zfs",
                &[("ZFS dataset rpool/data", 0, 40)],
            ),
            (107, "storage=local", &[(ROOT, 7, 0)]),
            // Not mounted now: Proxmox mounts it first, or refuses.
            (201, "storage=gone", &[]),
            (201, "storage=usb", &[]),
            (201, "storage=unknown", &[]),
            // A container on a thin pool is read from a snapshot.
            (105, "storage=local", &[(ROOT, 10, 0)]),
            (105, "storage=pbs", &[]),
            // One that can't be snapshotted is copied first, beside its dump where that keeps owners.
            (106, "storage=local mode=snapshot", &[(ROOT, 10, 10)]),
            (106, "storage=local mode=stop", &[(ROOT, 10, 0)]),
            (
                106,
                "storage=nas",
                &[("the filesystem at /mnt/pve/nas", 10, 10)],
            ),
            (
                106,
                "storage=win",
                &[("the filesystem at /mnt/pve/win", 10, 0), (ROOT, 0, 10)],
            ),
            (
                106,
                "dumpdir=/tank/dump",
                &[("the filesystem at /tank", 10, 0), (ROOT, 0, 10)],
            ),
            (106, "storage=pbs", &[(ROOT, 0, 10)]),
            (
                105,
                "storage=nas mode=suspend tmpdir=/fast",
                &[
                    ("the filesystem at /fast", 0, 10),
                    ("the filesystem at /mnt/pve/nas", 10, 0),
                ],
            ),
        ];
        for (guest, settings, expected) in cases {
            let found = loads(guest, settings);
            let found: Vec<_> = found.iter().map(|(l, s, p)| (l.as_str(), *s, *p)).collect();
            assert_eq!(found, expected, "{guest} {settings}");
        }
    }
}
