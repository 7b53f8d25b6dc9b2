//! What is declared and does nothing, or has no end.

use super::{Outlook, coverage};
use crate::model::{Address, Name};
use crate::plan::change::Finding;
use crate::plan::draft::Draft;
use crate::plan::words;

/// Says which declared sources no job protects, and which datastores grow for ever.
pub(in crate::plan) fn gaps(outlook: &Outlook<'_>, draft: &mut Draft) {
    let topology = outlook.world.topology;
    coverage::note(outlook.world, draft);
    for name in topology.sources.keys() {
        if !outlook.demands.copies.iter().any(|d| d.source == name) {
            draft.find(
                Finding::warning(
                    "BK610",
                    Address::new("source", name),
                    "no job copies it anywhere".to_owned(),
                )
                .fix("add it to a backup job, or remove it"),
            );
        }
    }
    let endless: Vec<&Name> = topology
        .datastores
        .iter()
        .filter(|(_, datastore)| datastore.keep.is_none() && !datastore.pbs)
        .map(|(name, _)| name)
        .collect();
    if let Some(first) = endless.first() {
        let message = format!(
            "{} no keep: every snapshot stays, and space runs out one day",
            if endless.len() == 1 {
                format!("{first} has")
            } else {
                format!("{} have", words::list(&endless))
            }
        );
        draft.find(
            Finding::note("BK612", Address::new("datastore", first), message)
                .fix("add for example: keep last=3 daily=7 weekly=4"),
        );
    }
}
