//! What an NFS server exports, as its own table has it.

use crate::model::Export;
use crate::model::mounts::unescape;
use crate::model::observed::NfsFacts;
use crate::observe::records::{Records, text};

/// The table is read where it usually is: `exportfs` says the same, and may wait for names.
pub(super) const COMMAND: &str = r#"
x=$(head -c 1048576 /var/lib/nfs/etab 2>/dev/null)
[ -n "$x" ] || x=$(exportfs -v 2>/dev/null | head -c 1048576)
if [ -n "$x" ] || [ -e /proc/fs/nfsd/threads ]; then
    out nfs.exports "$x"
    out nfs.groups "$(nfsconf --get mountd manage-gids 2>/dev/null)"
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
    })
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

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = exports(&bytes);
            let _ = exports(&[b"/a ".as_slice(), &bytes].concat());
        }
    }
}
