//! Proxmox VE's inventory: its own files are read and its programs left alone.
//!
//! `pvesm status` and its like activate storage: they mount and make folders. A plan only
//! looks.

use std::collections::BTreeMap;

use super::paths;
use crate::model::ByteSize;
use crate::model::mounts::Mounts;
use crate::model::pve::{
    Disk, DumpJob, DumpSettings, DumpedGuests, FolderFacts, Guest, PveFacts, Storage,
};
use crate::observe::records::{Records, text};

/// Folders that files name are touched like all paths: at once, and given up on after a while.
pub(super) const COMMAND: &str = r#"
pve_folders() {
    sed -n 's/^[[:blank:]]*\(path\|dumpdir\|tmpdir\)[[:blank:]]*:\{0,1\}[[:blank:]]*\(\/.*\)$/\2/p' \
        /etc/pve/storage.cfg /etc/pve/jobs.cfg /etc/vzdump.conf 2>/dev/null
    printf '%s\n' /var/lib/vz /var/tmp
}
pve_space() {
    a=$1
    until [ -e "$a" ] || [ "$a" = / ]; do a=${a%/*}; a=${a:-/}; done
    stat -f -c '%S %b %a %c %d' "$a" 2>/dev/null
}
pve() {
    show pve.storage /etc/pve/storage.cfg 262144
    show pve.jobs /etc/pve/jobs.cfg 262144
    show pve.vzdump /etc/vzdump.conf 65536
    out pve.guests "$(grep -H '' /etc/pve/qemu-server/*.conf /etc/pve/lxc/*.conf 2>/dev/null | head -c 4194304)"
    set --
    while IFS= read -r p; do set -- "$@" "$p"; done <<LIST
$(pve_folders | sort -u | head -n 64)
LIST
    others=$touched
    touched="$nl$(touch_all "$@")$nl"
    i=0
    for p in "$@"; do
        s=
        if is_alive $i; then
            space_of $i
            [ -n "$s" ] || s=$(pve_space "$p")
        fi
        out "pve.folder.$i" "$s$nl$p"
        i=$((i + 1))
    done
    touched=$others
}
if [ -r /etc/pve/storage.cfg ]; then pve; fi
"#;

/// The most storages, jobs, guests and folders that are kept, of each.
const THINGS_MAX: usize = 5_000;

/// The most lines of a container's id map that are kept.
const IDMAP_MAX: usize = 64;

pub(super) fn parse(records: &Records<'_>, mounts: &Mounts) -> Option<PveFacts> {
    let file = |key: &str| records.get(key).map(String::from_utf8_lossy);
    let storages = file("pve.storage")?;
    let jobs = file("pve.jobs").unwrap_or_default();
    let folders = records.below("pve.folder").take(THINGS_MAX);
    Some(PveFacts {
        storages: sections(&storages).iter().map(storage).collect(),
        jobs: sections(&jobs)
            .iter()
            .filter(|section| section.kind == "vzdump")
            .map(job)
            .collect(),
        defaults: defaults(&file("pve.vzdump").unwrap_or_default()),
        guests: guests(&file("pve.guests").unwrap_or_default()),
        folders: folders
            .filter_map(|(_, value)| folder(value, mounts))
            .collect(),
    })
}

/// Is a section of a file of Proxmox VE's: `kind: id`, then indented `key value` lines.
#[derive(Debug)]
struct Section<'a> {
    kind: &'a str,
    id: &'a str,
    fields: BTreeMap<&'a str, &'a str>,
}

impl Section<'_> {
    fn text(&self, key: &str) -> Option<String> {
        let value = self.fields.get(key).filter(|value| !value.is_empty())?;
        Some(text(value.as_bytes()))
    }

    /// Reads a switch; a key alone switches on.
    fn is_on(&self, key: &str, otherwise: bool) -> bool {
        match self.fields.get(key) {
            Some(value) => matches!(*value, "" | "1" | "yes" | "on" | "true"),
            None => otherwise,
        }
    }

    fn list(&self, key: &str) -> Option<impl Iterator<Item = &str>> {
        self.fields.get(key).map(|value| words(value))
    }
}

/// Splits a list at commas, semicolons and blanks.
fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split([',', ';', ' ', '\0'])
        .filter(|word| !word.is_empty())
}

fn sections(text: &str) -> Vec<Section<'_>> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    for line in text.lines() {
        let is_indented = line.starts_with([' ', '\t']);
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if is_indented {
            let (key, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
            if let Some(section) = sections.last_mut() {
                section.fields.insert(key, value.trim());
            }
        } else if let Some((kind, id)) = line.split_once(':') {
            if sections.len() == THINGS_MAX {
                break;
            }
            sections.push(Section {
                kind: kind.trim(),
                id: id.trim(),
                fields: BTreeMap::new(),
            });
        }
    }
    sections
}

fn storage(section: &Section<'_>) -> Storage {
    // It is a switch, or the path where something must be mounted.
    let mount = section.fields.get("is_mountpoint");
    Storage {
        id: text(section.id.as_bytes()),
        kind: text(section.kind.as_bytes()),
        path: section.text("path"),
        group: section.text("vgname"),
        thin_pool: section.text("thinpool"),
        dataset: section.text("pool").filter(|_| section.kind == "zfspool"),
        nodes: section
            .list("nodes")
            .map(|nodes| nodes.map(str::to_owned).collect())
            .unwrap_or_default(),
        disabled: section.is_on("disable", false),
        wants_mount: mount.is_some_and(|value| !matches!(*value, "0" | "no" | "off" | "false")),
    }
}

fn job(section: &Section<'_>) -> DumpJob {
    let numbers = |key: &str| -> Option<Vec<u32>> {
        let list = section.list(key)?;
        Some(list.filter_map(|word| word.parse().ok()).collect())
    };
    let guests = if let Some(these) = numbers("vmid") {
        DumpedGuests::These(these)
    } else if section.is_on("all", false) {
        DumpedGuests::AllBut(numbers("exclude").unwrap_or_default())
    } else {
        DumpedGuests::Unknown
    };
    DumpJob {
        id: text(section.id.as_bytes()),
        enabled: section.is_on("enabled", true),
        node: section.text("node"),
        schedule: section
            .text("schedule")
            .or_else(|| section.text("starttime")),
        guests,
        settings: settings(&|key| section.text(key)),
    }
}

/// Reads lines `key: value`.
fn defaults(file: &str) -> DumpSettings {
    let fields: BTreeMap<&str, &str> = file
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.trim(), value.trim()))
        .collect();
    settings(&|key| {
        let value = fields.get(key).filter(|value| !value.is_empty())?;
        Some(text(value.as_bytes()))
    })
}

fn settings(value: &dyn Fn(&str) -> Option<String>) -> DumpSettings {
    let fleecing = value("fleecing").and_then(|value| {
        let is_on = words(&value).any(|word| matches!(word, "1" | "enabled=1"));
        let storage = words(&value).find_map(|word| word.strip_prefix("storage="));
        storage.filter(|_| is_on).map(str::to_owned)
    });
    DumpSettings {
        storage: value("storage"),
        dumpdir: value("dumpdir"),
        tmpdir: value("tmpdir"),
        mode: value("mode"),
        fleecing,
        keep: value("prune-backups").and_then(|value| keep(&value)),
    }
}

/// Adds up what is kept; none where everything is.
fn keep(prune: &str) -> Option<u32> {
    let counts = words(prune).filter_map(|word| {
        let (rule, count) = word.split_once('=')?;
        let rule = rule.strip_prefix("keep-")?;
        Some((rule, count.parse::<u32>().ok()?))
    });
    let mut sum = 0_u32;
    for (rule, count) in counts {
        match rule {
            "all" if count > 0 => return None,
            "all" => {}
            _ => sum = sum.saturating_add(count),
        }
    }
    (sum > 0).then_some(sum)
}

/// Reads lines `/etc/pve/qemu-server/100.conf:key: value` of all guests.
fn guests(lines: &str) -> Vec<Guest> {
    let mut guests: BTreeMap<u32, Guest> = BTreeMap::new();
    // Snapshots and pending changes follow the present state, in sections of their own.
    let mut past: Option<u32> = None;
    for line in lines.lines() {
        let Some((id, is_container, line)) = guest_line(line) else {
            continue;
        };
        if guests.len() == THINGS_MAX && !guests.contains_key(&id) {
            break;
        }
        let guest = guests.entry(id).or_insert_with(|| Guest {
            id,
            is_container,
            ..Guest::default()
        });
        if line.starts_with('[') {
            past = Some(id);
        }
        if past == Some(id) {
            continue;
        }
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        match key.trim() {
            "name" | "hostname" => guest.name = Some(text(value.as_bytes())),
            "unprivileged" => guest.unprivileged = value.trim() == "1",
            "lxc.idmap" if guest.idmap.len() < IDMAP_MAX => {
                guest.idmap.push(text(value.as_bytes()));
            }
            slot => guest.disks.extend(disk(slot, value.trim(), is_container)),
        }
    }
    guests.into_values().collect()
}

fn guest_line(line: &str) -> Option<(u32, bool, &str)> {
    let line = line.strip_prefix("/etc/pve/")?;
    let (folder, line) = line.split_once('/')?;
    let (id, line) = line.split_once(".conf:")?;
    Some((id.parse().ok()?, folder == "lxc", line))
}

/// Slots of a VM that hold disks.
const DISK_SLOTS: [&str; 6] = ["ide", "sata", "scsi", "virtio", "efidisk", "tpmstate"];

/// Reads `STORAGE:VOLUME,size=32G,…` of a slot that holds a disk.
///
/// Of a container the root is dumped, and a mount point only where it says so.
fn disk(slot: &str, value: &str, is_container: bool) -> Option<Disk> {
    let kind = slot.trim_end_matches(|c: char| c.is_ascii_digit());
    let is_numbered = kind != slot;
    let holds_disk = if is_container {
        slot == "rootfs" || (kind == "mp" && is_numbered)
    } else {
        DISK_SLOTS.contains(&kind) && is_numbered
    };
    let mut parts = value.split(',');
    let volume = parts.next()?;
    let volume = volume
        .strip_prefix("file=")
        .or(volume.strip_prefix("volume="))
        .unwrap_or(volume);
    // Bound folders and devices are no volumes, and no vzdump reads them.
    let (storage, volume) = volume
        .split_once(':')
        .filter(|_| !volume.starts_with('/'))?;
    let options: BTreeMap<&str, &str> = parts.filter_map(|part| part.split_once('=')).collect();
    if !holds_disk || options.get("media") == Some(&"cdrom") {
        return None;
    }
    let backup = options.get("backup").map(|value| *value == "1");
    Some(Disk {
        slot: text(slot.as_bytes()),
        storage: text(storage.as_bytes()),
        volume: text(volume.as_bytes()),
        size: options.get("size").and_then(|size| size_of(size)),
        dumped: backup.unwrap_or(!is_container) || slot == "rootfs",
    })
}

/// Reads `32G`; the letters are powers of 1024.
fn size_of(size: &str) -> Option<ByteSize> {
    let digits = size.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &size[digits.len()..] {
        "" => "B",
        "K" => "KiB",
        "M" => "MiB",
        "G" => "GiB",
        "T" => "TiB",
        _ => return None,
    };
    format!("{digits}{unit}").parse().ok()
}

/// Reads a line of space and, below it, the folder.
fn folder(value: &[u8], mounts: &Mounts) -> Option<FolderFacts> {
    let value = String::from_utf8_lossy(value);
    let (space, path) = value.split_once('\n')?;
    Some(FolderFacts {
        mount: mounts.covering(path).cloned(),
        space: paths::space(space),
        path: text(path.as_bytes()),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // All synthetic, after the examples in Proxmox VE's documentation of its files.
    const STORAGE: &str = "\
dir: local
\tpath /var/lib/vz
\tcontent iso,vztmpl,backup

lvmthin: local-lvm
\tthinpool data
\tvgname pve
\tcontent rootdir,images

nfs: nas
\texport /mnt/tank/dump
\tpath /mnt/pve/nas
\tserver 10.0.0.20
\tnodes pve1,pve2
\tdisable

zfspool: local-zfs
\tpool rpool/data
\tsparse 1

dir: usb
\tpath /mnt/usb
\tis_mountpoint yes
";
    const JOBS: &str = "\
vzdump: nightly
\tschedule 21:00
\tall 1
\tenabled 1
\texclude 900,901
\tmode snapshot
\tstorage local
\tprune-backups keep-daily=7,keep-last=3
\tfleecing enabled=1,storage=local-lvm

vzdump: two
\tvmid 100,105
\tenabled 0
\tnode pve2
\tdumpdir /srv/dump

realm-sync: other
\tschedule daily

vzdump: pool
\tpool lab
";
    const GUESTS: &str = "\
/etc/pve/qemu-server/201.conf:boot: order=scsi0
/etc/pve/qemu-server/201.conf:name: web
/etc/pve/qemu-server/201.conf:scsi0: local-lvm:vm-201-disk-0,discard=on,size=100G
/etc/pve/qemu-server/201.conf:scsi1: local-lvm:vm-201-disk-1,backup=0,size=1T
/etc/pve/qemu-server/201.conf:ide2: local:iso/debian.iso,media=cdrom,size=600M
/etc/pve/qemu-server/201.conf:scsihw: virtio-scsi-single
/etc/pve/qemu-server/201.conf:net0: virtio=BC:24:11:00:00:01,bridge=vmbr0
/etc/pve/qemu-server/201.conf:
/etc/pve/qemu-server/201.conf:[before]
/etc/pve/qemu-server/201.conf:scsi2: local-lvm:vm-201-disk-9,size=9G
/etc/pve/lxc/105.conf:hostname: pbs
/etc/pve/lxc/105.conf:rootfs: local-lvm:vm-105-disk-0,size=8G
/etc/pve/lxc/105.conf:mp0: local:105/vm-105-disk-1.raw,mp=/data,backup=1,size=512M
/etc/pve/lxc/105.conf:mp1: local:105/vm-105-disk-2.raw,mp=/cache,size=4G
/etc/pve/lxc/105.conf:mp2: /mnt/tank,mp=/tank
";

    #[test]
    fn storages_are_read() {
        let storages: Vec<Storage> = sections(STORAGE).iter().map(storage).collect();
        let ids: Vec<_> = storages
            .iter()
            .map(|s| (s.id.as_str(), s.kind.as_str()))
            .collect();
        assert_eq!(
            ids,
            [
                ("local", "dir"),
                ("local-lvm", "lvmthin"),
                ("nas", "nfs"),
                ("local-zfs", "zfspool"),
                ("usb", "dir")
            ]
        );
        assert_eq!(storages[0].path.as_deref(), Some("/var/lib/vz"));
        let pool = (
            storages[1].group.as_deref(),
            storages[1].thin_pool.as_deref(),
        );
        assert_eq!(pool, (Some("pve"), Some("data")));
        assert!(storages[2].disabled && !storages[0].disabled);
        assert_eq!(storages[2].nodes, ["pve1", "pve2"]);
        assert_eq!(storages[3].dataset.as_deref(), Some("rpool/data"));
        assert!(storages[4].wants_mount && !storages[0].wants_mount);
    }

    #[test]
    fn jobs_are_read_and_others_are_not() {
        let records = format!(
            "pve.storage {}\n{STORAGE}\npve.jobs {}\n{JOBS}\n",
            STORAGE.len(),
            JOBS.len()
        );
        let records = Records::read(records.as_bytes()).expect("well-formed");
        let jobs = parse(&records, &Mounts::default()).expect("it is one").jobs;
        let ids: Vec<&str> = jobs.iter().map(|job| job.id.as_str()).collect();
        assert_eq!(ids, ["nightly", "two", "pool"]);
        let nightly = &jobs[0];
        assert_eq!(nightly.guests, DumpedGuests::AllBut(vec![900, 901]));
        assert_eq!(nightly.settings.keep, Some(10));
        assert_eq!(nightly.settings.fleecing.as_deref(), Some("local-lvm"));
        assert_eq!(
            (jobs[1].enabled, jobs[1].dumps(105), jobs[1].dumps(7)),
            (false, Some(true), Some(false))
        );
        assert_eq!(jobs[1].settings.dumpdir.as_deref(), Some("/srv/dump"));
        assert_eq!(jobs[2].dumps(100), None, "pools are not looked into");
    }

    #[test]
    fn what_a_job_leaves_out_its_node_says() {
        let node = defaults(
            "# comment\nstorage: local\ntmpdir: /fast\nmode: stop\n#mode: x\nprune-backups: keep-all=1\n",
        );
        assert_eq!((node.keep, node.mode.as_deref()), (None, Some("stop")));
        let job = DumpSettings {
            dumpdir: Some("/srv".to_owned()),
            mode: Some("snapshot".to_owned()),
            ..DumpSettings::default()
        };
        let both = job.or(&node);
        assert_eq!(
            (
                both.storage.as_deref(),
                both.dumpdir.as_deref(),
                both.tmpdir.as_deref(),
                both.mode.as_deref()
            ),
            (None, Some("/srv"), Some("/fast"), Some("snapshot"))
        );
        assert_eq!(
            DumpSettings::default().or(&node).storage.as_deref(),
            Some("local")
        );
    }

    #[test]
    fn what_is_kept_is_added_up() {
        for (prune, expected) in [
            ("keep-last=3", Some(3)),
            ("keep-daily=7,keep-weekly=4", Some(11)),
            ("keep-all=1", None),
            ("keep-all=0,keep-last=2", Some(2)),
            ("", None),
            ("nonsense", None),
        ] {
            assert_eq!(keep(prune), expected, "{prune}");
        }
    }

    #[test]
    fn of_a_guest_only_its_present_disks_count() {
        let guests = guests(GUESTS);
        let disks = |guest: &Guest| -> Vec<(String, u64, bool)> {
            let disks = guest.disks.iter();
            disks
                .map(|d| (d.slot.clone(), d.size.map_or(0, |s| s.0 >> 20), d.dumped))
                .collect()
        };
        let of = |id: u32| {
            guests
                .iter()
                .find(|guest| guest.id == id)
                .expect("it is there")
        };
        assert_eq!(of(201).name.as_deref(), Some("web"));
        assert_eq!(
            disks(of(201)),
            [
                ("scsi0".to_owned(), 102_400, true),
                ("scsi1".to_owned(), 1 << 20, false)
            ]
        );
        assert!(of(105).is_container);
        assert_eq!(
            disks(of(105)),
            [
                ("rootfs".to_owned(), 8192, true),
                ("mp0".to_owned(), 512, true),
                ("mp1".to_owned(), 4096, false),
            ]
        );
    }

    #[test]
    fn a_folder_that_does_not_answer_has_no_space() {
        let folder = |text: &str| folder(text.as_bytes(), &Mounts::default());
        let seen = folder("4096 1000 250 64 60\n/var/lib/vz").expect("a folder");
        assert_eq!(
            seen.space.map(|space| space.free),
            Some(ByteSize(1_024_000))
        );
        let hung = folder("\n/mnt/pve/nas").expect("a folder");
        assert_eq!((hung.path.as_str(), hung.space), ("/mnt/pve/nas", None));
        assert_eq!(folder("/no/line"), None);
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text: String) {
            let _: Vec<_> = sections(&text).iter().map(job).collect();
            let _: Vec<_> = sections(&format!("a: b\n\t{text}")).iter().map(storage).collect();
            let _ = (defaults(&text), keep(&text), size_of(&text));
            let _ = guests(&format!("/etc/pve/lxc/1.conf:{text}"));
            let _ = disk("scsi0", &text, false);
        }
    }
}
