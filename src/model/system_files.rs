//! The files of a system that say what is exported and mounted: their places and their texts.
//!
//! Sources: exports(5), systemd.mount(5), systemd.unit(5), systemd-escape(1), fstab(5).

use std::fmt::Write as _;

use super::topology::TopologyId;
use super::{Address, Name};

/// The table of what is mounted at every start.
pub const FSTAB: &str = "/etc/fstab";

/// How the first line of a file ends that bkpctl keeps.
const KEPT: &str = ": kept by bkpctl";

/// The folder of files that each export something.
pub const EXPORTS_FOLDER: &str = "/etc/exports.d";

/// The folder of systemd units that a machine's administrator made.
pub const UNITS_FOLDER: &str = "/etc/systemd/system";

/// Returns the file that exports a share.
///
/// Two topologies may come to the same name; the first line of the file says whose it is.
pub fn exports_file(topology: &Name, share: &Name) -> String {
    format!("{EXPORTS_FOLDER}/bkpctl-{topology}-{share}.exports")
}

/// Returns the file of the unit that mounts something at a path.
pub fn unit_file(path: &str) -> String {
    format!("{UNITS_FOLDER}/{}", unit_name(path))
}

/// Returns the name of the unit that a file is, if it is one.
pub fn unit_of_file(file: &str) -> Option<&str> {
    file.strip_prefix(UNITS_FOLDER)?.strip_prefix('/')
}

/// Returns the name that systemd wants for the unit of a mount point, as `systemd-escape
/// --path --suffix=mount` writes it.
pub fn unit_name(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let path = parts.join("/");
    let mut name = String::new();
    for (at, byte) in path.bytes().enumerate() {
        match byte {
            b'/' => name.push('-'),
            b'.' if at == 0 => name.push_str(r"\x2e"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' | b'.' => {
                name.push(char::from(byte));
            }
            _ => write!(name, r"\x{byte:02x}").expect("writing to a String never fails"),
        }
    }
    if name.is_empty() {
        name.push('-');
    }
    format!("{name}.mount")
}

/// Returns the first line of a file that bkpctl keeps, which says whose it is.
pub fn heading(address: &Address, topology: &TopologyId) -> String {
    format!("# {address} of topology {}{KEPT}", topology.0)
}

/// Tells whether a path is one that bkpctl gives to files of the system that it keeps.
pub fn may_be_kept(path: &str) -> bool {
    let in_folder = |folder: &str, beginning: &str, ending: &str| {
        let name = path
            .strip_prefix(folder)
            .and_then(|rest| rest.strip_prefix('/'));
        name.is_some_and(|name| {
            !name.contains('/') && name.starts_with(beginning) && name.ends_with(ending)
        })
    };
    in_folder(EXPORTS_FOLDER, "bkpctl-", ".exports") || in_folder(UNITS_FOLDER, "", ".mount")
}

/// Returns what may be told of such a file: its text if it is kept, and that it is there.
///
/// What a person wrote may hold a password.
pub fn told(text: &str) -> &str {
    let heading = text.lines().next().unwrap_or_default();
    let is_kept = heading.starts_with("# ") && heading.ends_with(KEPT);
    if is_kept { text } else { "" }
}

/// Tells whether a file was made for a thing of a topology.
pub fn is_kept(text: &str, address: &Address, topology: &TopologyId) -> bool {
    text.lines().next() == Some(heading(address, topology).as_str())
}

/// Returns a path as one word of an exports file: what is not plain goes in octal.
pub fn exports_word(path: &str) -> String {
    let mut word = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_graphic() && !b"\"\\#()".contains(&byte) {
            word.push(char::from(byte));
        } else {
            write!(word, "\\{byte:03o}").expect("writing to a String never fails");
        }
    }
    word
}

/// What a unit mounts, where and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MountUnit<'a> {
    /// The whole first line, see [`heading`].
    pub heading: &'a str,
    /// What it is for, in words.
    pub description: &'a str,
    /// What is mounted.
    pub what: &'a str,
    /// Where.
    pub path: &'a str,
    /// The filesystem's type, if it is known.
    pub fstype: Option<&'a str>,
    /// The options, if any.
    pub options: Option<&'a str>,
    /// The unit that pulls it in.
    pub wanted_by: &'a str,
}

impl MountUnit<'_> {
    /// Returns the text of the unit.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{}\n[Unit]\nDescription={}\n\n[Mount]\nWhat={}\nWhere={}\n",
            self.heading,
            specifiers(self.description),
            specifiers(self.what),
            specifiers(self.path),
        );
        let settings = [("Type", self.fstype), ("Options", self.options)];
        for (name, value) in settings {
            if let Some(value) = value {
                writeln!(text, "{name}={}", specifiers(value))
                    .expect("writing to a String never fails");
            }
        }
        // A server that is gone must not hold up whoever waits for the unit.
        text.push_str("TimeoutSec=30s\n\n[Install]\nWantedBy=");
        text.push_str(&specifiers(self.wanted_by));
        text.push('\n');
        text
    }
}

/// Doubles the sign by which systemd knows its specifiers.
fn specifiers(text: &str) -> String {
    text.replace('%', "%%")
}

/// Returns the unit of a disk's device, which is there while the disk is.
pub fn device_unit(uuid: &str) -> String {
    let path = format!("/dev/disk/by-uuid/{uuid}");
    let name = unit_name(&path);
    format!("{}.device", name.trim_end_matches(".mount"))
}

/// Returns where a table like fstab(5) mounts something.
pub fn fstab_targets(table: &str) -> impl Iterator<Item = String> {
    let lines = table.lines().map(str::trim_start);
    let lines = lines.filter(|line| !line.starts_with('#'));
    let targets = lines.filter_map(|line| line.split_ascii_whitespace().nth(1));
    targets
        .filter(|target| target.starts_with('/'))
        .map(super::mounts::unescape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_named_as_systemd_names_them() {
        // Recorded: systemd-escape --path --suffix=mount, systemd 252.
        for (path, name) in [
            ("/mnt/datastore/primary", "mnt-datastore-primary.mount"),
            ("/mnt/a-b", r"mnt-a\x2db.mount"),
            ("/mnt/my disk/", r"mnt-my\x20disk.mount"),
            ("/.hidden/.x", r"\x2ehidden-.x.mount"),
            ("/srv/ä", r"srv-\xc3\xa4.mount"),
            ("/", "-.mount"),
        ] {
            assert_eq!(unit_name(path), name, "{path}");
            assert_eq!(unit_of_file(&unit_file(path)), Some(name));
        }
        assert_eq!(
            device_unit("1b2c-3d"),
            r"dev-disk-by\x2duuid-1b2c\x2d3d.device"
        );
    }

    #[test]
    fn a_unit_says_what_is_mounted_where_and_when() {
        let unit = MountUnit {
            heading: "# datastore.primary of topology 01JD: kept by bkpctl",
            description: "share pbs for datastore primary",
            what: "10.0.0.20:/srv/100%",
            path: "/mnt/primary",
            fstype: Some("nfs"),
            options: Some("vers=4.2,hard"),
            wanted_by: "remote-fs.target",
        };
        let text = unit.text();
        assert!(text.contains("What=10.0.0.20:/srv/100%%\n"), "{text}");
        assert!(text.contains("Options=vers=4.2,hard\n"), "{text}");
        assert!(
            text.ends_with("[Install]\nWantedBy=remote-fs.target\n"),
            "{text}"
        );
    }

    #[test]
    fn whatever_a_path_holds_it_is_one_word_of_the_exports() {
        for (path, word) in [
            ("/srv/pbs", "/srv/pbs"),
            ("/srv/my disk", r"/srv/my\040disk"),
            ("/srv/a(rw)", r"/srv/a\050rw\051"),
            ("/srv/#1", r"/srv/\0431"),
        ] {
            assert_eq!(exports_word(path), word);
        }
    }

    #[test]
    fn the_table_of_mounts_is_read_by_its_targets() {
        let table = "# /dev/sdb1 /mnt/old ext4\nUUID=1 / ext4 defaults 0 1\nnas:/x\t/mnt/my\\040disk nfs rw 0 0\n";
        let targets: Vec<String> = fstab_targets(table).collect();
        assert_eq!(targets, ["/", "/mnt/my disk"]);
    }

    #[test]
    fn what_a_person_wrote_is_not_told() {
        let kept = "# share.pbs of topology LAB1: kept by bkpctl\n/srv *(rw)\n";
        assert_eq!(told(kept), kept);
        for text in [
            "",
            "[Mount]\nOptions=password=x\n",
            "# by hand\n: kept by bkpctl\n",
        ] {
            assert_eq!(told(text), "");
        }
        for (path, expected) in [
            ("/etc/exports.d/bkpctl-a-b.exports", true),
            ("/etc/systemd/system/mnt-a.mount", true),
            ("/etc/exports.d/other.exports", false),
            ("/etc/systemd/system/../../shadow.mount", false),
            ("/etc/systemd/system/a.service", false),
            ("/etc/shadow", false),
        ] {
            assert_eq!(may_be_kept(path), expected, "{path}");
        }
    }
}
