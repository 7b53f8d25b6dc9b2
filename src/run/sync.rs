//! Copies what one datastore lacks of another, without any key.

use crate::engine::Selection;
use crate::engine::env::Env;
use crate::model::{ByteSize, Name};
use crate::run::Cancel;
use crate::run::backup::Tell;
use crate::run::fleet::{Fleet, Rights};
use crate::run::job::SyncReport;
use crate::run::message::{Fault, FaultKind};
use crate::run::meter::Meter;

/// Copies the snapshots of some sources, or of all, from one datastore to another.
pub fn sync(
    fleet: &Fleet,
    from: &Name,
    to: &Name,
    sources: Option<&[Name]>,
    tell: Tell<'_>,
    cancel: &Cancel,
) -> Result<SyncReport, Fault> {
    let source = fleet.store(from, Rights::Get)?;
    let target = fleet.store(to, Rights::PutGet)?;
    let selection = Selection {
        sources: sources
            .unwrap_or_default()
            .iter()
            .map(ToString::to_string)
            .collect(),
        newest_only: false,
    };
    let meter = Meter::new(tell, None);
    let made = crate::engine::sync(&source, &target, &Env::system(), &selection, &meter, cancel)
        .map_err(|error| Fault::engine(&error))?;
    if made.lost > 0 {
        return Err(Fault::new(
            FaultKind::Incomplete,
            format!(
                "{} files that snapshots of {to} need are lost there and not in {from} either; what could be copied was; bkpctl store verify on {to}'s folder names them",
                made.lost
            ),
        ));
    }
    Ok(SyncReport {
        snapshots: made.snapshots.len() as u64,
        packs: made.packs,
        bytes: made.bytes,
        healed: made.healed,
    })
}

/// Says in a few words what a sync did.
pub fn words(report: &SyncReport) -> String {
    let snapshots = if report.snapshots == 1 {
        "snapshot"
    } else {
        "snapshots"
    };
    let packs = if report.packs == 1 { "pack" } else { "packs" };
    let healed = match report.healed {
        0 => String::new(),
        n => format!(", {n} lost or cut files brought back"),
    };
    format!(
        "{} {snapshots}, {} {packs}, {} copied{healed}",
        report.snapshots,
        report.packs,
        ByteSize(report.bytes)
    )
}
