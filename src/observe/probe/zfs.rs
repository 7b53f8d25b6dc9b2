//! ZFS's datasets, as its own program lists them.

use std::collections::BTreeMap;

use crate::model::ByteSize;
use crate::model::zfs::{ZfsDataset, ZfsFacts};
use crate::observe::records::{Records, text};

/// Asking would load the module where it is not; older versions have no `aclmode` to ask for.
pub(super) const COMMAND: &str = r#"
zfs_says() { $within zfs "$@" </dev/null 2>/dev/null | head -c 4194304; }
if [ -d /sys/module/zfs ] && command -v zfs >/dev/null 2>&1; then
    out zfs.list "$(zfs_says list -Hp -t filesystem,volume -o name,used,available,quota,refquota,volsize,logicalreferenced,mountpoint)"
    out zfs.acl "$(zfs_says get -Hp -t filesystem -o name,property,value acltype,aclmode)"
fi
"#;

/// The most datasets that are kept.
const DATASETS_MAX: usize = 10_000;

/// Returns what ZFS said; none where there is no pool.
pub(super) fn parse(records: &Records<'_>) -> Option<ZfsFacts> {
    let list = String::from_utf8_lossy(records.get("zfs.list")?);
    let lines = list.lines().take(DATASETS_MAX);
    let mut datasets: Vec<ZfsDataset> = lines.filter_map(dataset).collect();
    if datasets.is_empty() {
        return None;
    }
    let properties = String::from_utf8_lossy(records.get("zfs.acl").unwrap_or_default());
    let properties = acls(&properties);
    for dataset in &mut datasets {
        let value = |property: &str| {
            let value = properties.get(&(dataset.name.as_str(), property))?;
            Some(text(value.as_bytes()))
        };
        (dataset.acl_type, dataset.acl_mode) = (value("acltype"), value("aclmode"));
    }
    Some(ZfsFacts { datasets })
}

/// Reads a line; the fields stand between tabs, and `-` is for what a kind does not have.
fn dataset(line: &str) -> Option<ZfsDataset> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [
        name,
        used,
        available,
        quota,
        refquota,
        volume_size,
        logical,
        mountpoint,
    ] = fields[..]
    else {
        return None;
    };
    let number = |field: &str| field.parse().ok().map(ByteSize);
    // Zero stands for no quota.
    let limit = |field: &str| number(field).filter(|bytes| bytes.0 > 0);
    Some(ZfsDataset {
        name: text(name.as_bytes()),
        volume_size: number(volume_size),
        used: number(used)?,
        available: number(available)?,
        logical: number(logical)?,
        quota: limit(quota),
        refquota: limit(refquota),
        mountpoint: mountpoint
            .starts_with('/')
            .then(|| text(mountpoint.as_bytes())),
        acl_type: None,
        acl_mode: None,
    })
}

/// Reads lines `name property value` into values by name and property.
fn acls(lines: &str) -> BTreeMap<(&str, &str), &str> {
    let lines = lines.lines().filter_map(|line| {
        let mut fields = line.split('\t');
        Some(((fields.next()?, fields.next()?), fields.next()?))
    });
    lines.filter(|(_, value)| *value != "-").collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // Recorded: ZFS 2.1.11 on Linux 6.1, what the two commands above said.
    const LIST: &str = include_str!("../../../tests/cases/zfs/list.txt");
    const ACL: &str = include_str!("../../../tests/cases/zfs/acl.txt");

    fn read(list: &str, acl: &str) -> Option<ZfsFacts> {
        let record = |key: &str, value: &str| format!("{key} {}\n{value}\n", value.len());
        let answer = record("zfs.list", list) + &record("zfs.acl", acl);
        parse(&Records::read(answer.as_bytes()).expect("well-formed"))
    }

    #[test]
    fn datasets_are_read_with_their_limits() {
        let facts = read(LIST, ACL).expect("there is a pool");
        let of = |name: &str| facts.dataset(name).expect("it is listed");
        assert_eq!(facts.datasets.len(), 7);
        assert_eq!((of("tank").quota, of("tank").refquota), (None, None));
        assert_eq!(of("tank/shared").refquota, Some(ByteSize(209_715_200)));
        let limited = of("tank/pbs");
        assert_eq!(limited.quota, Some(ByteSize(104_857_600)));
        // What is available is what the quota leaves, to the byte.
        assert_eq!(limited.used.0 + limited.available.0, 104_857_600);
        let kinds = ["tank", "tank/pbs", "tank/shared"].map(|name| of(name).acl_type.clone());
        assert_eq!(
            kinds.map(Option::unwrap_or_default),
            ["off", "posix", "nfsv4"]
        );
        assert_eq!(of("tank").acl_mode.as_deref(), Some("discard"));
        // A thick volume uses what is reserved, a thin one what was written.
        let volume = |name: &str| {
            let volume = of(name);
            assert_eq!((&volume.mountpoint, &volume.acl_type), (&None, &None));
            let size = volume.volume_size.expect("it is a volume");
            (size.0, volume.used.0, volume.logical.0)
        };
        assert_eq!(
            volume("tank/vm-100-disk-0"),
            (67_108_864, 8_483_840, 8_436_224)
        );
        assert_eq!(volume("tank/vm-101-disk-0"), (83_886_080, 88_604_672, 6144));
        // Neither is mounted by ZFS at a place that could be told.
        for name in ["tank/legacy", "tank/none"] {
            assert_eq!(of(name).mountpoint, None);
        }
    }

    #[test]
    fn without_a_pool_there_is_no_zfs() {
        assert_eq!(read("", ACL), None);
        assert_eq!(read("no datasets available\n", ""), None);
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text: String) {
            let _ = read(&text, ACL);
            let _ = read(LIST, &text);
        }
    }
}
