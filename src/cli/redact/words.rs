//! The words that name nobody, and may stay.

/// Folders, devices and files that every system has, and names that installers give.
const PARTS: &[&str] = &[
    "bin",
    "boot",
    "dev",
    "etc",
    "home",
    "lib",
    "lib64",
    "lost+found",
    "media",
    "mnt",
    "opt",
    "proc",
    "root",
    "run",
    "sbin",
    "srv",
    "sys",
    "tmp",
    "usr",
    "var",
    "local",
    "share",
    "cache",
    "log",
    "state",
    "config",
    ".config",
    ".local",
    ".ssh",
    ".cache",
    "systemd",
    "mapper",
    "disk",
    "block",
    "by-id",
    "by-uuid",
    "zvol",
    "nfs",
    "vz",
    "pve",
    "lxc",
    "qemu-server",
    "images",
    "dump",
    "template",
    "data",
    "backup",
    "backups",
    "snapshots",
    "bkpctl",
    "topology.kdl",
    "swap",
    "local-lvm",
    "local-zfs",
    "rpool",
    "zroot",
    "ROOT",
    "none",
    "tmpfs",
    "overlay",
    "devtmpfs",
    "proc",
    "sysfs",
    "udev",
    "sh",
    "getent",
    "setpriv",
    "systemctl",
    "bash",
    "pg_dump",
    "pg_dumpall",
    "mysqldump",
    "mariadb-dump",
    "tar",
    "fsck",
    "rootfs",
    "proxmox-backup",
    "authkey.pub",
    "jobstates",
    "tasks",
    "mount.nfs",
    "exportfs",
    "midclt",
    "exports.d",
    "system",
];

const USERS: &[&str] = &[
    "root",
    "backup",
    "nobody",
    "nogroup",
    "daemon",
    "bin",
    "www-data",
    "postgres",
    "mysql",
    "wheel",
    "proxmox-backup",
];

const ARCHES: &[&str] = &[
    "x86_64", "aarch64", "armv7l", "riscv64", "i686", "ppc64le", "s390x",
];

const FSTYPES: &[&str] = &[
    "ext2",
    "ext3",
    "ext4",
    "xfs",
    "btrfs",
    "zfs",
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "vfat",
    "exfat",
    "ntfs",
    "tmpfs",
    "devtmpfs",
    "overlay",
    "fuse",
    "fuseblk",
    "fuse.sshfs",
    "fuse.mergerfs",
    "f2fs",
    "jfs",
    "reiserfs",
    "bcachefs",
    "squashfs",
    "iso9660",
    "ramfs",
    "rootfs",
    "autofs",
    "9p",
    "virtiofs",
    "ceph",
];

const STORAGES: &[&str] = &[
    "dir",
    "nfs",
    "cifs",
    "lvm",
    "lvmthin",
    "zfspool",
    "zfs",
    "btrfs",
    "pbs",
    "rbd",
    "cephfs",
    "iscsi",
    "iscsidirect",
    "glusterfs",
    "esxi",
];

const SETTINGS: &[&str] = &["snapshot", "suspend", "stop"];

const SECURITY: &[&str] = &["sys", "krb5", "krb5i", "krb5p", "none"];

const ACLS: &[&str] = &[
    "off",
    "noacl",
    "posix",
    "posixacl",
    "nfsv4",
    "discard",
    "groupmask",
    "passthrough",
    "passthrough-x",
    "restricted",
];

const VIAS: &[&str] = &["raw", "lvm", "lvm-thin", "zfs", "qcow2", "btrfs"];

const HEALTHS: &[&str] = &[
    "partial",
    "refresh needed",
    "mismatches exist",
    "failed",
    "out_of_data",
    "metadata_read_only",
];

const RULES: &[&str] = &[
    "copies",
    "media",
    "offsite",
    "beyond-reach",
    "rpo",
    "drill-within",
    "restore",
    "encryption",
    "immutability",
    "retention",
    "capacity",
    "users",
    "covered",
    "encrypted",
];

const DOMAINS: &[&str] = &[
    "site", "building", "room", "rack", "power", "host", "network", "provider", "region", "zone",
    "cloud",
];

const KINDS: &[&str] = &[
    "node",
    "datastore",
    "source",
    "copy",
    "sync",
    "cloud",
    "drill",
    "backup",
    "job",
    "key",
    "share",
    "mount",
    "phase",
    "policy",
    "guests",
    "vzdump",
    "user",
    "topology",
    "timer",
    "guest",
];

const OPTIONS: &[&str] = &[
    "defaults",
    "hard",
    "soft",
    "ro",
    "rw",
    "noatime",
    "nodiratime",
    "relatime",
    "nofail",
    "_netdev",
    "nolock",
    "nosuid",
    "nodev",
    "noexec",
    "sync",
    "async",
    "tcp",
    "udp",
    "vers=3",
    "vers=4",
    "vers=4.0",
    "vers=4.1",
    "vers=4.2",
    "nfsvers=3",
    "nfsvers=4",
    "nfsvers=4.1",
    "nfsvers=4.2",
    "sec=sys",
    "no_subtree_check",
    "root_squash",
    "no_root_squash",
    "all_squash",
];

const DAYS: &[&str] = &[
    "mon", "tue", "wed", "thu", "fri", "sat", "sun", "daily", "hourly", "weekly", "monthly",
];

const SYSTEMS: &[&str] = &[
    "Debian GNU/Linux",
    "Ubuntu",
    "Alpine Linux",
    "Proxmox VE",
    "TrueNAS",
    "TrueNAS SCALE",
    "Fedora Linux",
    "Arch Linux",
    "Rocky Linux",
    "AlmaLinux",
    "Raspbian GNU/Linux",
    "Gentoo Linux",
    "NixOS",
    "openSUSE Leap",
    "openSUSE Tumbleweed",
    "CentOS Stream",
    "CentOS Linux",
    "Red Hat Enterprise Linux",
    "OpenWrt",
    "Alpine",
    "Oracle Linux Server",
    "Void Linux",
    "Linux Mint",
];

/// Words that are a part of versions that distributions give.
const VERSION_WORDS: &[&str] = &[
    "pve",
    "amd64",
    "arm64",
    "generic",
    "cloud",
    "rt",
    "lts",
    "TrueNAS",
    "SCALE",
    "production",
];

/// What numbers begin with in versions that distributions give.
const VERSION_PREFIXES: &[&str] = &["deb", "rc", "bpo", "pve", "u", ""];

/// The names that releases of those systems have.
const RELEASES: &[&str] = &[
    "buster",
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "sid",
    "LTS",
    "Focal Fossa",
    "Jammy Jellyfish",
    "Noble Numbat",
    "Blue Onyx",
    "Green Obsidian",
    "Container Image",
    "Server Edition",
];

const SLOTS: &[&str] = &[
    "scsi", "virtio", "ide", "sata", "mp", "rootfs", "efidisk", "tpmstate", "unused",
];

const DEVICES: &[&str] = &[
    "sd", "vd", "xvd", "hd", "dm-", "md", "loop", "zd", "sr", "nbd",
];

/// Tells whether a part of a path, a volume's or a program's name is everybody's.
pub(super) fn is_part(text: &str) -> bool {
    PARTS.contains(&text) || is_small_number(text) || is_device(text) || is_guest_volume(text)
}

pub(super) fn is_user(text: &str) -> bool {
    USERS.contains(&text)
}

pub(super) fn is_arch(text: &str) -> bool {
    ARCHES.contains(&text)
}

pub(super) fn is_fstype(text: &str) -> bool {
    FSTYPES.contains(&text)
}

pub(super) fn is_storage(text: &str) -> bool {
    STORAGES.contains(&text)
}

pub(super) fn is_setting(text: &str) -> bool {
    SETTINGS.contains(&text)
}

pub(super) fn is_security(text: &str) -> bool {
    SECURITY.contains(&text)
}

pub(super) fn is_acl(text: &str) -> bool {
    ACLS.contains(&text)
}

/// Tells whether a text is the rights of an entry of an access control list.
pub(super) fn is_letters(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|letter| b"rwxpDdaARWcCos-".contains(&letter))
}

pub(super) fn is_via(text: &str) -> bool {
    VIAS.contains(&text)
}

pub(super) fn is_health(text: &str) -> bool {
    HEALTHS.contains(&text)
}

pub(super) fn is_rule(text: &str) -> bool {
    RULES.contains(&text)
}

pub(super) fn is_domain(text: &str) -> bool {
    DOMAINS.contains(&text)
}

pub(super) fn is_kind(text: &str) -> bool {
    KINDS.contains(&text)
}

pub(super) fn is_option(text: &str) -> bool {
    let number = ["anonuid=", "anongid="];
    let is_numbered = number.iter().filter_map(|name| text.strip_prefix(name));
    OPTIONS.contains(&text)
        || is_numbered
            .into_iter()
            .any(|number| number.parse::<u32>().is_ok())
}

/// Tells whether it is a line of a mount unit that begins a section, or an empty one.
pub(super) fn is_section(line: &str) -> bool {
    ["", "[Unit]", "[Mount]", "[Install]"].contains(&line)
}

/// Tells whether it is an operating system's name, with a version and a release that it has.
pub(super) fn is_system(text: &str) -> bool {
    let rest = SYSTEMS
        .iter()
        .filter_map(|system| text.strip_prefix(system));
    rest.into_iter().any(|rest| {
        let (version, release) = match rest.split_once(" (") {
            Some((version, release)) => (version, release.strip_suffix(')')),
            None => (rest, Some("")),
        };
        let of_version = |word: &str| is_number_like(word) || RELEASES.contains(&word);
        version.split(' ').all(of_version)
            && release.is_some_and(|release| release.is_empty() || RELEASES.contains(&release))
    })
}

/// Tells whether it is a version as distributions number them; a kernel of somebody's own making
/// may have his name in it.
pub(super) fn is_version(text: &str) -> bool {
    let is_part = |part: &str| {
        let number = VERSION_PREFIXES
            .iter()
            .find_map(|prefix| part.strip_prefix(prefix));
        VERSION_WORDS.contains(&part)
            || number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    text.len() <= 64 && text.split(['.', '-', '+', '~', ':', '_']).all(is_part)
}

/// Tells whether it is a time at which Proxmox VE runs jobs: days, numbers and signs.
pub(super) fn is_schedule(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphabetic())
        .all(|word| word.is_empty() || DAYS.contains(&word))
        && text.len() <= 64
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b" :*,/.-".contains(&byte))
}

pub(super) fn is_slot(text: &str) -> bool {
    is_numbered(text, SLOTS)
}

/// Tells whether it is a date, `2027-01-01`.
pub(super) fn is_day(text: &str) -> bool {
    text.len() == 10
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'-')
}

/// Tells whether it is a line of lxc.idmap, `u 0 100000 65536`.
pub(super) fn is_idmap(text: &str) -> bool {
    let mut words = text.split(' ');
    matches!(words.next(), Some("u" | "g" | "b"))
        && words.all(|word| word.len() <= 10 && word.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Tells whether it is two numbers with a colon, as of a device or an owner.
pub(super) fn is_pair(text: &str) -> bool {
    text.split_once(':').is_some_and(|(left, right)| {
        [left, right].iter().all(|part| {
            (1..=10).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
        })
    })
}

fn is_number_like(text: &str) -> bool {
    text.len() <= 16
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
}

fn is_small_number(text: &str) -> bool {
    (1..=6).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_numbered(text: &str, words: &[&str]) -> bool {
    let digits = |rest: &str| rest.len() <= 3 && rest.bytes().all(|byte| byte.is_ascii_digit());
    words
        .iter()
        .any(|word| text.strip_prefix(word).is_some_and(digits))
}

/// Tells whether it is a disk or a partition as the kernel names it.
fn is_device(text: &str) -> bool {
    let letters = |rest: &str| {
        let rest = rest.trim_end_matches(|c: char| c.is_ascii_digit());
        rest.len() <= 2 && rest.bytes().all(|byte| byte.is_ascii_lowercase())
    };
    let is_disk = ["sd", "vd", "xvd", "hd"]
        .iter()
        .any(|word| text.strip_prefix(word).is_some_and(letters));
    let is_nvme = || {
        let rest = text.strip_prefix("nvme")?;
        let (controller, rest) = rest.split_once('n')?;
        let (namespace, partition) = rest.split_once('p').unwrap_or((rest, "0"));
        Some(
            [controller, namespace, partition]
                .iter()
                .all(|part| is_small_number(part)),
        )
    };
    is_numbered(text, DEVICES) || (is_disk && text.len() <= 8) || is_nvme() == Some(true)
}

/// Tells whether it is a volume as Proxmox VE names them after guests, `vm-100-disk-0`.
fn is_guest_volume(text: &str) -> bool {
    let bare = [".raw", ".qcow2", ".vmdk", ".subvol"]
        .iter()
        .find_map(|ending| text.strip_suffix(ending))
        .unwrap_or(text);
    let words: Vec<&str> = bare.split('-').collect();
    let is_kind = |word: &str| matches!(word, "vm" | "base" | "subvol" | "basevol");
    match words[..] {
        [kind, guest, "cloudinit"] => is_kind(kind) && is_small_number(guest),
        [kind, guest, "disk" | "state" | "fleece", number] => {
            is_kind(kind) && is_small_number(guest) && is_small_number(number)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_are_known_and_what_is_added_to_them_is_not() {
        for text in [
            "Debian GNU/Linux 12 (bookworm)",
            "Debian GNU/Linux 13",
            "Ubuntu 24.04.1 LTS",
            "Rocky Linux 9.4 (Blue Onyx)",
            "TrueNAS SCALE",
        ] {
            assert!(is_system(text), "{text}");
        }
        for text in [
            "",
            "Debian of somebody",
            "Ubuntu 24.04 (mine)",
            "Debian GNU/Linux 12 (x",
        ] {
            assert!(!is_system(text), "{text}");
        }
    }

    #[test]
    fn versions_of_distributions_are_nobodys() {
        for text in [
            "6.8.12-4-pve",
            "6.12.48+deb13-amd64",
            "6.12.0-rc1",
            "2.2.6-pve1",
            "TrueNAS-SCALE-24.04.2",
            "8.3.0",
        ] {
            assert!(is_version(text), "{text}");
        }
        for text in ["6.1.0-annas-box", "8.3.0 of anna", "6.1/x", "anna"] {
            assert!(!is_version(text), "{text}");
        }
    }

    #[test]
    fn what_the_kernel_and_installers_name_is_nobodys() {
        for text in [
            "sda1",
            "nvme0n1p2",
            "dm-3",
            "vm-201-disk-0",
            "vm-1-disk-0.qcow2",
            "etc",
            "100",
        ] {
            assert!(is_part(text), "{text}");
        }
        for text in [
            "sdsecret",
            "nvmexn1",
            "vm-201-disk-secret",
            "vm-anna-disk-0",
            "1234567",
            "anna",
        ] {
            assert!(!is_part(text), "{text}");
        }
        assert!(is_schedule("mon..fri 02:30") && !is_schedule("anna 02:30"));
        assert!(is_slot("scsi0") && is_slot("rootfs") && !is_slot("scsix"));
    }
}
