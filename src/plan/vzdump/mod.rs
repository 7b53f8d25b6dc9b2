//! Jobs of vzdump that can fill what they write to, which vzdump itself does not look at.

mod loads;

use self::loads::{Dump, Load, Room};
use crate::model::observed::NodeFacts;
use crate::model::pve::{DumpJob, DumpSettings};
use crate::model::{Address, ByteSize, Name};
use crate::plan::capacity::reserve_of_node;
use crate::plan::change::Finding;
use crate::plan::draft::{Draft, World};
use crate::plan::words;

/// How many guests a finding names.
const NAMED_MAX: usize = 6;

/// Looks at every enabled job of the Proxmox VE nodes that were reached.
pub(super) fn report(world: World<'_>, draft: &mut Draft) {
    for name in world.topology.nodes.keys() {
        let facts = world.observed.reached(name.as_str());
        let Some((facts, pve)) = facts.and_then(|facts| Some((facts, facts.pve.as_ref()?))) else {
            continue;
        };
        for job in pve.jobs.iter().filter(|job| is_for(job, facts)) {
            let dump = Dump {
                pve,
                lvm: facts.lvm.as_ref(),
                zfs: facts.zfs.as_ref(),
                settings: job.settings.or(&pve.defaults),
            };
            for (room, load) in dump.loads(job) {
                let target = room.target.as_deref();
                let reserve = target.map_or(ByteSize(0), |target| {
                    reserve_of_node(world, name, target, target, room.total)
                });
                let found = overfull(name, job, &dump.settings, &room, &load, reserve);
                draft.findings.extend(found);
            }
        }
    }
}

/// Tells whether a job runs, and on this node.
fn is_for(job: &DumpJob, facts: &NodeFacts) -> bool {
    let own = facts.hostname.split('.').next().unwrap_or_default();
    job.enabled
        && job
            .node
            .as_ref()
            .is_none_or(|node| node.eq_ignore_ascii_case(own))
}

fn overfull(
    node: &Name,
    job: &DumpJob,
    settings: &DumpSettings,
    room: &Room,
    load: &Load,
    reserve: ByteSize,
) -> Option<Finding> {
    let needed = ByteSize(load.stays.saturating_add(load.passes));
    if needed.0 == 0 || room.free.0 >= needed.0.saturating_add(reserve.0) {
        return None;
    }
    let message = if room.free.0 < needed.0 {
        format!(
            "job {} of vzdump can fill {}: up to {needed} would land there, where {} is free",
            job.id, room.label, room.free
        )
    } else {
        format!(
            "job {} of vzdump can leave less than the reserve of {reserve} in {}: up to {needed} would land there, where {} is free",
            job.id, room.label, room.free
        )
    };
    Some(
        Finding::warning("BK223", Address::new("node", node), message)
            .because(because(settings, room, load))
            .fix("send its dumps to a storage with room, leave guests out, or let a backup job of the topology take its place"),
    )
}

fn because(settings: &DumpSettings, room: &Room, load: &Load) -> Vec<String> {
    let mut by_size: Vec<&(u64, String)> = load.lines.iter().collect();
    by_size.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let named = by_size.iter().take(NAMED_MAX).map(|(_, line)| line.clone());
    let mut lines: Vec<String> = named.collect();
    let rest = by_size.len().saturating_sub(NAMED_MAX) as u64;
    if rest > 0 {
        lines.push(format!("and {}", words::count(rest, "more", "more")));
    }
    lines.push("vzdump does not look at free space before it writes".to_owned());
    if load.stays > 0 {
        lines.push(match settings.keep {
            Some(1) => {
                "the last dump of a guest is deleted only after the next one is whole".to_owned()
            }
            Some(keep) => format!(
                "it keeps up to {keep} dumps of each guest: up to {} in all, in a filesystem of {}",
                ByteSize(load.stays.saturating_mul(keep.into())),
                room.total
            ),
            None => "nothing limits how many dumps are kept".to_owned(),
        });
    }
    lines.push(match room.target.as_deref() {
        Some("/") => {
            "without room there the node's own services fail, and guests with disks on it stop"
                .to_owned()
        }
        Some(_) => "without room there, guests with disks on it stop".to_owned(),
        None => "when it is full, new writes of every guest in it fail".to_owned(),
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_of_another_node_or_one_switched_off_is_passed_over() {
        let facts = NodeFacts {
            hostname: "pve1.lan".to_owned(),
            ..NodeFacts::default()
        };
        for (enabled, node, expected) in [
            (true, None, true),
            (false, None, false),
            (true, Some("pve1"), true),
            (true, Some("pve2"), false),
        ] {
            let job = DumpJob {
                enabled,
                node: node.map(str::to_owned),
                ..DumpJob::default()
            };
            assert_eq!(is_for(&job, &facts), expected, "{enabled} {node:?}");
        }
    }
}
