//! Which versions a machine has of what decides how it behaves.

use crate::model::observed::Versions;
use crate::observe::records::Records;

/// The longest version that is kept.
const LENGTH_MAX: usize = 64;

/// Files tell it where they can. Debian's database of packages takes time to read, so it is asked
/// only where a product of Proxmox has a folder.
pub(super) const COMMAND: &str = r#"
version() { if [ -r "$2" ]; then l=; IFS= read -r l <"$2"; out "version.$1" "$l"; fi; }
version kernel /proc/sys/kernel/osrelease
version zfs /sys/module/zfs/version
if command -v midclt >/dev/null 2>&1; then version truenas /etc/version; fi
if [ -d /etc/pve ] || [ -d /etc/proxmox-backup ]; then
    out version.packages "$($within dpkg-query -W -f '${Package} ${Version}\n' pve-manager proxmox-backup-server 2>/dev/null)"
fi
"#;

pub(super) fn parse(records: &Records<'_>) -> Versions {
    let packages = records.text("version.packages").unwrap_or_default();
    let package = |name: &str| {
        let mut lines = packages.lines();
        lines.find_map(|line| plausible(line.strip_prefix(name)?.strip_prefix(' ')?))
    };
    let file = |name: &str| plausible(&records.text(&format!("version.{name}"))?);
    Versions {
        kernel: file("kernel"),
        zfs: file("zfs"),
        truenas: file("truenas"),
        proxmox_ve: package("pve-manager"),
        proxmox_backup_server: package("proxmox-backup-server"),
    }
}

/// Returns what could be a version; a package that is known and not installed has an empty one.
fn plausible(text: &str) -> Option<String> {
    let text = text.trim();
    let is_one = |c: char| c.is_ascii_alphanumeric() || ".+~:_-".contains(c);
    let plausible = !text.is_empty() && text.len() <= LENGTH_MAX && text.chars().all(is_one);
    plausible.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Versions {
        let lines = pairs.iter().map(|(key, value)| {
            let length = value.len();
            format!("version.{key} {length}\n{value}\n")
        });
        let text: String = lines.collect();
        parse(&Records::read(text.as_bytes()).expect("well-formed"))
    }

    // Synthetic, in the form of dpkg-query(1).
    #[test]
    fn versions_are_those_of_their_files_and_packages() {
        let versions = read(&[
            ("kernel", "6.8.12-4-pve"),
            ("zfs", "2.2.6-pve1"),
            ("packages", "pve-manager 8.3.0\nproxmox-backup-server "),
        ]);
        let expected = Versions {
            kernel: Some("6.8.12-4-pve".to_owned()),
            zfs: Some("2.2.6-pve1".to_owned()),
            proxmox_ve: Some("8.3.0".to_owned()),
            ..Versions::default()
        };
        assert_eq!(versions, expected);
        assert_eq!(
            read(&[("truenas", "TrueNAS-SCALE-24.04.2")])
                .truenas
                .as_deref(),
            Some("TrueNAS-SCALE-24.04.2")
        );
    }

    #[test]
    fn what_is_no_version_is_not_kept() {
        for text in ["", " ", "6.1 \u{1b}[2J", "a b", &"9".repeat(65)] {
            let versions = read(&[
                ("kernel", text),
                ("packages", &format!("pve-manager {text}")),
            ]);
            assert_eq!(versions, Versions::default(), "{text:?}");
        }
        assert_eq!(read(&[]), Versions::default());
    }
}
