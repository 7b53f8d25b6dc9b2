//! Thin pools: close to full, or promised to more than they can hold.

use crate::model::lvm::{LogicalVolume, LvmFacts, Percent, VolumeKind};
use crate::model::{Address, ByteSize, Name};
use crate::plan::change::Finding;
use crate::plan::draft::{Draft, World};
use crate::plan::words;

/// From here on a pool may be full before anybody looks again.
const DATA_HIGH: Percent = Percent(8_000);
/// Metadata that runs out is worse than data: the pool has to be repaired.
const METADATA_HIGH: Percent = Percent(7_500);
/// The threshold at which LVM never extends a pool.
const NEVER: u32 = 100;

/// Looks at every thin pool of the nodes that were reached.
pub(super) fn report(world: World<'_>, draft: &mut Draft) {
    for name in world.topology.nodes.keys() {
        let facts = world.observed.reached(name.as_str());
        let Some(lvm) = facts.and_then(|facts| facts.lvm.as_ref()) else {
            continue;
        };
        for pool in &lvm.volumes {
            pool_of(draft, name, lvm, pool);
        }
    }
}

fn pool_of(draft: &mut Draft, node: &Name, lvm: &LvmFacts, pool: &LogicalVolume) {
    let VolumeKind::Pool {
        data,
        metadata,
        fails_at_once,
        health,
    } = &pool.kind
    else {
        return;
    };
    let label = format!("{}/{}", pool.group, pool.name);
    let promise = Promise::of(lvm, pool);
    let mut find = |code: &str, message: String, because: Vec<String>, fix: String| {
        let finding = Finding::warning(code, Address::new("node", node), message);
        draft.find(finding.because(because).fix(fix));
    };
    if let Some(health) = health {
        let message = format!(
            "thin pool {label} is not well ({health}): its guests' writes fail with \"Buffer I/O error\""
        );
        find("BK220", message, promise.because(), extend(node, &label));
    } else if *data >= DATA_HIGH {
        let how = if *fails_at_once {
            "at once"
        } else {
            "after a minute"
        };
        let message = format!(
            "thin pool {label} is {data} full; when it is full, new writes of every guest in it fail {how}"
        );
        find("BK220", message, promise.because(), extend(node, &label));
    } else if promise.is_broken() {
        let message = format!(
            "thin pool {label} is promised to more than it can hold: {} to a size of {}",
            promise.to, pool.size
        );
        find(
            "BK221",
            message,
            vec![promise.extension()],
            extend(node, &label),
        );
    }
    if *metadata >= METADATA_HIGH {
        let message = format!(
            "the metadata of thin pool {label} is {metadata} full; a pool without room for it has to be repaired"
        );
        let because = vec!["each snapshot and each scattered write takes some".to_owned()];
        let fix = format!("on {node}: lvextend --poolmetadatasize +1G {label}");
        find("BK222", message, because, fix);
    }
}

fn extend(node: &Name, label: &str) -> String {
    format!(
        "delete what is not needed and trim the guests (fstrim), or on {node}: lvextend -L +SIZE {label}"
    )
}

/// What a pool's volumes may still want, and where it could come from.
struct Promise {
    volumes: usize,
    to: ByteSize,
    size: ByteSize,
    group: String,
    group_free: ByteSize,
    extended_at: Option<u32>,
}

impl Promise {
    fn of(lvm: &LvmFacts, pool: &LogicalVolume) -> Self {
        let sizes = lvm.in_pool(pool).map(|volume| volume.size.0);
        let group = lvm.groups.iter().find(|group| group.name == pool.group);
        Self {
            volumes: lvm.in_pool(pool).count(),
            to: ByteSize(sizes.fold(0, u64::saturating_add)),
            size: pool.size,
            group: pool.group.clone(),
            group_free: group.map(|group| group.free).unwrap_or_default(),
            extended_at: lvm.autoextend_at.filter(|at| *at < NEVER),
        }
    }

    fn is_broken(&self) -> bool {
        let more = self.extended_at.map_or(0, |_| self.group_free.0);
        self.to.0 > self.size.0.saturating_add(more)
    }

    fn because(&self) -> Vec<String> {
        let volumes = words::count(self.volumes as u64, "volume", "volumes");
        let promised = format!(
            "{volumes} in it may grow to {} in all, it has {}",
            self.to, self.size
        );
        vec![promised, self.extension()]
    }

    fn extension(&self) -> String {
        match self.extended_at {
            Some(at) => format!(
                "it is extended when it is {at} % full, as long as group {} has room: {} now",
                self.group, self.group_free
            ),
            None => {
                "it is not extended by itself: thin_pool_autoextend_threshold is 100".to_owned()
            }
        }
    }
}
