//! LVM's volumes and groups, as its own programs report them.

use serde::Deserialize;

use crate::model::ByteSize;
use crate::model::lvm::{LogicalVolume, LvmFacts, Percent, VolumeGroup, VolumeKind};
use crate::observe::records::Records;

/// Only root may ask. Nothing is activated; a group whose disk hangs is given up on.
pub(super) const COMMAND: &str = r#"
lvm() { $within "$@" </dev/null 2>/dev/null | head -c 4194304; }
report() {
    lvm "$1" --reportformat json --units b --nosuffix -o "$2"
}
if [ "$uid" = 0 ] && command -v lvs >/dev/null 2>&1; then
    out lvm.lvs "$(report lvs vg_name,lv_name,lv_size,lv_attr,pool_lv,data_percent,metadata_percent,lv_when_full,lv_health_status)"
    out lvm.vgs "$(report vgs vg_name,vg_size,vg_free)"
    out lvm.autoextend "$(lvm lvmconfig --type full activation/thin_pool_autoextend_threshold)"
fi
"#;

/// The most volumes that are kept.
const VOLUMES_MAX: usize = 10_000;

/// Returns what LVM said; none where there is no LVM or no group.
pub(super) fn parse(records: &Records<'_>) -> Option<LvmFacts> {
    let groups: Vec<VolumeGroup> = rows(records.get("lvm.vgs")?)
        .filter_map(|row| group(&row))
        .collect();
    if groups.is_empty() {
        return None;
    }
    let volumes = rows(records.get("lvm.lvs").unwrap_or_default());
    Some(LvmFacts {
        volumes: volumes.filter_map(volume).collect(),
        groups,
        autoextend_at: records.text("lvm.autoextend").and_then(|line| {
            let (_, value) = line.split_once('=')?;
            value.trim().parse().ok()
        }),
    })
}

/// Is LVM's report: a list of reports, each with the rows of one kind of thing.
#[derive(Debug, Default, Deserialize)]
struct Report {
    report: Vec<Rows>,
}

#[derive(Debug, Default, Deserialize)]
struct Rows {
    #[serde(rename = "lv", alias = "vg", default)]
    rows: Vec<Row>,
}

/// Is a row; LVM writes every value as a text.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Row {
    vg_name: String,
    vg_size: String,
    vg_free: String,
    lv_name: String,
    lv_size: String,
    lv_attr: String,
    pool_lv: String,
    data_percent: String,
    metadata_percent: String,
    lv_when_full: String,
    lv_health_status: String,
}

fn rows(json: &[u8]) -> impl Iterator<Item = Row> + use<> {
    let report: Report = serde_json::from_slice(json).unwrap_or_default();
    let rows = report.report.into_iter().flat_map(|kind| kind.rows);
    rows.take(VOLUMES_MAX)
}

fn group(row: &Row) -> Option<VolumeGroup> {
    Some(VolumeGroup {
        name: row.vg_name.clone(),
        size: ByteSize(row.vg_size.parse().ok()?),
        free: ByteSize(row.vg_free.parse().ok()?),
    })
}

/// Reads a volume; the first letter of its attributes says what kind it is, see lvs(8).
fn volume(row: Row) -> Option<LogicalVolume> {
    let data = Percent::read(&row.data_percent);
    let kind = match row.lv_attr.chars().next()? {
        't' => VolumeKind::Pool {
            data: data?,
            metadata: Percent::read(&row.metadata_percent)?,
            fails_at_once: row.lv_when_full == "error",
            health: Some(row.lv_health_status).filter(|word| !word.is_empty()),
        },
        'V' => VolumeKind::Thin {
            pool: row.pool_lv,
            // A volume that is not active says nothing, and may be full.
            data: data.unwrap_or(Percent(10_000)),
        },
        _ => VolumeKind::Thick,
    };
    Some(LogicalVolume {
        group: row.vg_name,
        name: row.lv_name,
        size: ByteSize(row.lv_size.parse().ok()?),
        kind,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // Recorded: lvs of LVM 2.03 on Linux 6.1, after the pool was filled; the thick one and the
    // group are synthetic.
    const LVS: &str = r#"{"report":[{"lv":[
        {"vg_name":"pve", "lv_name":"data", "lv_size":"314572800", "lv_attr":"twi-aotzD-", "lv_layout":"thin,pool", "pool_lv":"", "data_percent":"100.00", "metadata_percent":"12.89", "lv_metadata_size":"4194304", "lv_when_full":"queue", "lv_health_status":"out_of_data", "seg_monitor":""},
        {"vg_name":"pve", "lv_name":"vm-100-disk-0", "lv_size":"209715200", "lv_attr":"Vwi-aotz--", "lv_layout":"thin,sparse", "pool_lv":"data", "data_percent":"3.22", "metadata_percent":"", "lv_when_full":"", "lv_health_status":""},
        {"vg_name":"pve", "lv_name":"vm-201-disk-0", "lv_size":"524288000", "lv_attr":"Vwi---tz--", "pool_lv":"data", "data_percent":""},
        {"vg_name":"pve", "lv_name":"root", "lv_size":"4194304", "lv_attr":"-wi-ao----"}
    ]}]}"#;
    const VGS: &str =
        r#"{"report":[{"vg":[{"vg_name":"pve", "vg_size":"624951296", "vg_free":"301989888"}]}]}"#;

    fn answer(lvs: &str, vgs: &str, threshold: &str) -> String {
        let record = |key: &str, value: &str| format!("{key} {}\n{value}\n", value.len());
        record("lvm.lvs", lvs) + &record("lvm.vgs", vgs) + &record("lvm.autoextend", threshold)
    }

    fn read(text: &str) -> Option<LvmFacts> {
        parse(&Records::read(text.as_bytes()).expect("well-formed"))
    }

    #[test]
    fn volumes_are_told_by_their_attributes() {
        let facts = read(&answer(LVS, VGS, "thin_pool_autoextend_threshold=100\n"));
        let facts = facts.expect("there is a group");
        let pool = facts.volume("pve", "data").expect("the pool");
        let VolumeKind::Pool {
            data,
            health,
            fails_at_once,
            ..
        } = &pool.kind
        else {
            panic!("{pool:?}");
        };
        assert_eq!(
            (data.0, health.as_deref(), *fails_at_once),
            (10_000, Some("out_of_data"), false)
        );
        let bytes: Vec<(&str, u64)> = facts
            .in_pool(pool)
            .map(|volume| (volume.name.as_str(), volume.allocated().0))
            .collect();
        // One that is not active is taken for full.
        assert_eq!(
            bytes,
            [("vm-100-disk-0", 6_752_829), ("vm-201-disk-0", 524_288_000)]
        );
        assert_eq!(
            facts.volume("pve", "root").map(|v| &v.kind),
            Some(&VolumeKind::Thick)
        );
        assert_eq!(facts.groups[0].free, ByteSize(301_989_888));
        assert_eq!(facts.autoextend_at, Some(100));
    }

    #[test]
    fn without_a_group_there_is_no_lvm() {
        assert_eq!(read(""), None);
        assert_eq!(read(&answer("", r#"{"report":[{"vg":[]}]}"#, "")), None);
        assert_eq!(read(&answer("{", "not json", "")), None);
        let bare = read(&answer("", VGS, "")).expect("a group");
        assert_eq!((bare.volumes.len(), bare.autoextend_at), (0, None));
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text: String) {
            let _ = read(&answer(&text, VGS, &text));
            let _ = read(&answer(LVS, &text, &text));
        }
    }
}
