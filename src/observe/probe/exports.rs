//! What an NFS server exports, as its own table has it.

use crate::model::Export;
use serde_json::Value;

use crate::model::mounts::unescape;
use crate::model::observed::NfsFacts;
use crate::model::truenas::TrueNasShare;
use crate::observe::records::{Records, text};

/// The table is read where it usually is: `exportfs` says the same, and may wait for names.
pub(super) const COMMAND: &str = r#"
x=$(head -c 1048576 /var/lib/nfs/etab 2>/dev/null)
[ -n "$x" ] || x=$($within exportfs -v 2>/dev/null | head -c 1048576)
m=
if command -v midclt >/dev/null 2>&1; then m=$($within midclt call sharing.nfs.query 2>/dev/null | head -c 1048576); fi
if [ -n "$x" ] || [ -n "$m" ] || [ -e /proc/fs/nfsd/threads ]; then
    out nfs.exports "$x"
    [ -n "$m" ] && out nfs.truenas "$m"
    out nfs.groups "$($within nfsconf --get mountd manage-gids 2>/dev/null)"
fi
"#;

/// The most exports that are kept.
const EXPORTS_MAX: usize = 4096;

pub(super) fn parse(records: &Records<'_>) -> Option<NfsFacts> {
    let table = records.get("nfs.exports")?;
    let answer = records.text("nfs.groups").unwrap_or_default();
    Some(NfsFacts {
        exports: exports(table),
        manages_groups: match answer.to_ascii_lowercase().as_str() {
            "1" | "y" | "yes" | "t" | "true" | "on" => Some(true),
            "0" | "n" | "no" | "f" | "false" | "off" => Some(false),
            _ => None,
        },
        truenas: records.get("nfs.truenas").and_then(truenas),
    })
}

/// Reads the answer of `sharing.nfs.query`; what is odd in it is left out.
fn truenas(json: &[u8]) -> Option<Vec<TrueNasShare>> {
    let rows: Vec<Value> = serde_json::from_slice(json).ok()?;
    let share = |row: &Value| {
        let word = |name: &str| {
            let word = row.get(name)?.as_str()?;
            (!word.is_empty()).then(|| text(word.as_bytes()))
        };
        let is = |name: &str| row.get(name).and_then(Value::as_bool);
        let words = |name: &str| {
            let words = row
                .get(name)
                .and_then(Value::as_array)
                .into_iter()
                .flatten();
            words
                .filter_map(Value::as_str)
                .map(|word| text(word.as_bytes()))
        };
        Some(TrueNasShare {
            path: word("path")?,
            enabled: is("enabled")?,
            locked: is("locked").unwrap_or(false),
            read_only: is("ro").unwrap_or(false),
            clients: words("hosts").chain(words("networks")).collect(),
            maproot: word("maproot_user"),
            mapall: word("mapall_user"),
        })
    };
    Some(rows.iter().take(EXPORTS_MAX).filter_map(share).collect())
}

/// Reads lines of a path and `clients(options)`; a long path has a line of its own.
fn exports(table: &[u8]) -> Vec<Export> {
    let mut exports = Vec::new();
    let mut path = String::new();
    for line in table.split(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(&line[..line.len().min(8192)]);
        let rest = if line.starts_with('/') {
            let end = line.find([' ', '\t']).unwrap_or(line.len());
            path = unescape(&text(line[..end].as_bytes()));
            &line[end..]
        } else {
            &line[..]
        };
        exports.extend(Export::read(&path, rest).filter(|_| !path.is_empty()));
        if exports.len() >= EXPORTS_MAX {
            break;
        }
    }
    exports
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::export::SquashOf;

    // Recorded: `exportfs -v` of nfs-utils 2.6.2 on Debian 12; the long path is synthetic.
    const RECORDED: &str = "\
/srv/rs       \t127.0.0.1(sync,wdelay,hide,no_subtree_check,fsid=1,sec=sys,rw,insecure,root_squash,no_all_squash)
/srv/as34     \t127.0.0.1(sync,wdelay,hide,no_subtree_check,fsid=3,anonuid=34,anongid=34,sec=sys,rw,insecure,root_squash,all_squash)
/srv/a\\040rather\\040long\\040path
\t\t<world>(sync,wdelay,hide,sec=sys,ro,secure,no_root_squash,no_all_squash)
";

    #[test]
    fn the_servers_own_table_is_read() {
        let exports = exports(RECORDED.as_bytes());
        let short: Vec<_> = exports
            .iter()
            .map(|e| {
                (
                    e.path.as_str(),
                    e.clients.as_str(),
                    e.squashing.of,
                    e.squashing.uid,
                )
            })
            .collect();
        assert_eq!(
            short,
            [
                ("/srv/rs", "127.0.0.1", SquashOf::Root, 65_534),
                ("/srv/as34", "127.0.0.1", SquashOf::All, 34),
                ("/srv/a rather long path", "*", SquashOf::Nobody, 65_534),
            ]
        );
        assert!(exports[2].read_only);
    }

    #[test]
    fn the_table_in_its_file_is_read_too() {
        // Recorded: /var/lib/nfs/etab of the same server, shortened.
        let etab = "/srv/nrs\t127.0.0.1(rw,sync,no_root_squash,no_all_squash,no_subtree_check,anonuid=65534,anongid=65534,sec=sys,rw)\n";
        let exports = exports(etab.as_bytes());
        assert_eq!(exports.len(), 1);
        assert_eq!(exports[0].squashing.of, SquashOf::Nobody);
    }

    #[test]
    fn a_server_without_exports_is_told_from_none() {
        let parse = |text: &str| parse(&Records::read(text.as_bytes()).expect("well-formed"));
        assert_eq!(parse(""), None);
        let empty = parse("nfs.exports 0\n\nnfs.groups 1\ny\n").expect("a server");
        assert_eq!((empty.exports.len(), empty.manages_groups), (0, Some(true)));
    }

    #[test]
    fn the_shares_of_a_truenas_are_read() {
        // Synthetic, after the schema of sharing.nfs.query in TrueNAS SCALE 24.
        let answer = br#"[
            {"id": 1, "path": "/mnt/tank/pbs", "comment": "", "networks": ["10.0.0.0/24"], "hosts": ["10.0.0.15"],
             "ro": false, "maproot_user": "root", "maproot_group": "wheel", "mapall_user": null, "mapall_group": null,
             "security": [], "enabled": true, "locked": false},
            {"id": 2, "path": "/mnt/tank/off", "networks": [], "hosts": [], "ro": true, "maproot_user": null,
             "mapall_user": "backup", "enabled": false, "locked": true},
            {"id": 3}, 7
        ]"#;
        let shares = truenas(answer).expect("it is a list");
        assert_eq!(shares.len(), 2);
        assert_eq!(shares[0].clients, ["10.0.0.15", "10.0.0.0/24"]);
        assert_eq!(
            (shares[0].maproot.as_deref(), &shares[0].mapall),
            (Some("root"), &None)
        );
        assert!(!shares[1].enabled && shares[1].locked && shares[1].read_only);
        assert_eq!(truenas(b"[EFAULT] not allowed"), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = truenas(&bytes);
            let _ = exports(&bytes);
            let _ = exports(&[b"/a ".as_slice(), &bytes].concat());
        }
    }
}
