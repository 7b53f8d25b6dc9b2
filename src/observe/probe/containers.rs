//! Containers as their host knows them: which numbers their users have here.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::model::IdMap;
use crate::model::idmap::IdGrants;
use crate::model::observed::ContainerFacts;
use crate::observe::records::Records;

/// Proxmox VE's files are read and its programs left alone: those are slow, and some activate
/// storage. A running container's maps are the kernel's own.
///
/// What root may give to containers is asked for where newuidmap judges it, by files: without that
/// program lxc writes maps itself, and with a line in nsswitch.conf another service knows.
const FUNCTION: &str = r#"
container() {
    show "ct.$1.config" "/etc/pve/lxc/$1.conf" 65536
    p=$($within lxc-info -n "$1" -pH 2>/dev/null)
    case $p in ''|*[!0-9]*) return ;; esac
    show_proc "ct.$1.uids" "/proc/$p/uid_map"
    show_proc "ct.$1.gids" "/proc/$p/gid_map"
}
granted() {
    [ -f "$2" ] && [ -r "$2" ] || return 0
    out "$1" "$(grep -e '^root:' -e '^0:' "$2" 2>/dev/null | head -c 65536)"
}
grants() {
    command -v newuidmap >/dev/null 2>&1 && command -v newgidmap >/dev/null 2>&1 || return 0
    ! grep -q '^[[:blank:]]*subid[[:blank:]]*:' /etc/nsswitch.conf 2>/dev/null || return 0
    granted subid.uids /etc/subuid
    granted subid.gids /etc/subgid
}
show_proc() { if [ -r "$2" ]; then out "$1" "$(head -c 16384 "$2" 2>/dev/null)"; fi; }
"#;

pub(super) fn command(numbers: &[u32]) -> String {
    if numbers.is_empty() {
        return String::new();
    }
    let mut text = FUNCTION.to_owned();
    text.push_str("grants\n");
    for number in numbers {
        writeln!(text, "container {number}").expect("writing to a String never fails");
    }
    text
}

pub(super) fn parse(records: &Records<'_>, numbers: &[u32]) -> BTreeMap<u32, ContainerFacts> {
    let facts = |number: &u32| {
        let record = |part: &str| {
            let bytes = records.get(&format!("ct.{number}.{part}"))?;
            Some(String::from_utf8_lossy(bytes).into_owned())
        };
        let running = match (record("uids"), record("gids")) {
            (Some(uids), Some(gids)) => IdMap::from_proc(&uids, &gids),
            _ => None,
        };
        let config = record("config");
        let declared = config.as_deref().and_then(Config::read);
        let map = running
            .clone()
            .or_else(|| declared.as_ref().map(|config| config.map.clone()))?;
        Some((
            *number,
            ContainerFacts {
                running: running.is_some(),
                map,
                may_mount_nfs: declared.as_ref().is_some_and(|config| config.may_mount_nfs),
                asked_map: declared
                    .filter(|config| config.asks)
                    .map(|config| config.map),
            },
        ))
    };
    numbers.iter().filter_map(facts).collect()
}

/// Reads what root may give to containers; none unless both of its files were told.
pub(super) fn grants(records: &Records<'_>) -> Option<IdGrants> {
    let runs = |part: &str| {
        let file = records.get(&format!("subid.{part}"))?;
        Some(IdGrants::runs(&String::from_utf8_lossy(file)))
    };
    Some(IdGrants {
        uids: runs("uids")?,
        gids: runs("gids")?,
    })
}

/// What a container's file says, see pct.conf(5).
#[derive(Debug, PartialEq, Eq)]
struct Config {
    map: IdMap,
    /// Whether the map has lines of its own.
    asks: bool,
    may_mount_nfs: bool,
}

impl Config {
    /// Reads the present state; snapshots and pending changes follow in sections of their own.
    ///
    /// None if its id map can't be read.
    fn read(text: &str) -> Option<Self> {
        let present = text.lines().take_while(|line| !line.starts_with('['));
        let (mut lines, mut unprivileged, mut features) = (Vec::new(), false, "");
        for line in present {
            let Some((key, value)) = line.split_once([':', '=']) else {
                continue;
            };
            match (key.trim(), value.trim()) {
                ("unprivileged", value) => unprivileged = value == "1",
                ("lxc.idmap" | "lxc.id_map", value) => lines.push(value),
                ("features", value) => features = value,
                _ => {}
            }
        }
        let asks = !lines.is_empty();
        let map = match (lines.is_empty(), unprivileged) {
            (false, _) => IdMap::from_lxc(lines)?,
            (true, true) => IdMap::unprivileged(),
            (true, false) => IdMap::identity(),
        };
        let may_mount_nfs = features
            .split(',')
            .filter_map(|feature| feature.strip_prefix("mount="))
            .any(|kinds| kinds.split(';').any(|kind| kind == "nfs"));
        Some(Self {
            map,
            asks,
            may_mount_nfs,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // Synthetic, after pct.conf(5) and the map that the Proxmox wiki shows.
    #[test]
    fn a_containers_file_says_how_it_maps() {
        for (text, uid, nfs) in [
            (
                "arch: amd64\nfeatures: mount=nfs;cifs,nesting=1\n",
                Some(34),
                true,
            ),
            ("unprivileged: 1\n", Some(100_034), false),
            (
                "unprivileged: 1\nlxc.idmap: u 0 100000 34\nlxc.idmap: g 0 100000 65536\nlxc.idmap: u 34 34 1\n",
                Some(34),
                false,
            ),
            (
                "unprivileged: 0\nfeatures: nesting=1\n[before]\nunprivileged: 1\n",
                Some(34),
                false,
            ),
            ("lxc.idmap = u 0 1 1\nlxc.idmap = g 0 1 1\n", None, false),
        ] {
            let config = Config::read(text).expect(text);
            assert_eq!(
                (config.map.uid(34), config.may_mount_nfs),
                (uid, nfs),
                "{text}"
            );
            assert_eq!(config.asks, text.contains("idmap"), "{text}");
        }
        assert_eq!(Config::read("lxc.idmap: u nonsense\n"), None);
    }

    #[test]
    fn what_runs_counts_more_than_what_is_written() {
        let text = "ct.7.config 15\nunprivileged: 1\nct.7.uids 7\n0 0 100\nct.7.gids 7\n0 0 100\n";
        let records = Records::read(text.as_bytes()).expect("well-formed");
        let all = parse(&records, &[7, 8]);
        assert_eq!(all.len(), 1, "8 is not there");
        assert_eq!((all[&7].running, all[&7].map.uid(34)), (true, Some(34)));
        assert_eq!(all[&7].asked_map, None, "its file has no lines for it");
    }

    // Synthetic, after subuid(5).
    #[test]
    fn what_root_may_give_is_known_only_where_both_files_are() {
        let read = |text: &str| grants(&Records::read(text.as_bytes()).expect("well-formed"));
        let both = "subid.uids 27\nroot:100000:65536\nroot:34:1\nsubid.gids 0\n\n";
        let granted = read(both).expect("both were told");
        assert_eq!((granted.uids.len(), granted.gids.len()), (2, 0));
        assert_eq!(read("subid.uids 0\n\n"), None);
        assert_eq!(read(""), None);
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text: String) {
            let _ = Config::read(&text);
            let _ = Config::read(&format!("lxc.idmap: {text}"));
        }
    }
}
