//! The ZFS below a share: its dataset as declared, and what in it clients would stumble over.

use crate::model::observed::NodeFacts;
use crate::model::topology::{Dataset, Share};
use crate::model::zfs::{ZfsDataset, ZfsFacts};
use crate::model::{Address, ByteSize};
use crate::plan::change::{Finding, Step};
use crate::plan::draft::{Draft, Proposal, World};
use crate::plan::share::Server;
use crate::plan::words::{self, shell_word};

/// How many datasets below a share are named.
const NAMED_MAX: usize = 5;

/// Looks at the ZFS of every share whose server was reached.
pub(super) fn report(world: World<'_>, draft: &mut Draft) {
    for (name, share) in &world.topology.shares {
        let Some(facts) = world.observed.reached(share.on.as_str()) else {
            continue;
        };
        let address = Address::new("share", name);
        if let Some(declared) = &share.dataset {
            let is_set = sets_quota(draft, &declared.name);
            draft
                .findings
                .extend(differs(&address, share, declared, facts, is_set));
        }
        if let Some(zfs) = &facts.zfs {
            draft.findings.extend(hidden(&address, share, zfs));
            draft
                .findings
                .extend(restricted(&address, share, facts, zfs));
        }
    }
}

/// Tells whether the plan sets the quota of a dataset.
fn sets_quota(draft: &Draft, dataset: &str) -> bool {
    let mut pending = draft.proposals.iter().filter(|p| p.deferred.is_none());
    pending.any(
        |proposal| matches!(&proposal.step, Step::SetQuota { dataset: of, .. } if of == dataset),
    )
}

/// Says how the dataset differs from what is declared.
fn differs(
    address: &Address,
    share: &Share,
    declared: &Dataset,
    facts: &NodeFacts,
    is_set: bool,
) -> Option<Finding> {
    let on = &share.on;
    let found = |message: String, fix: String| {
        Some(Finding::warning("BK127", address.clone(), message).fix(fix))
    };
    let name = &declared.name;
    let Some(dataset) = facts.zfs.as_ref().and_then(|zfs| zfs.dataset(name)) else {
        let quota = declared.quota.map(|quota| format!(" -o quota={}", quota.0));
        return found(
            format!("there is no dataset {name} on {on}"),
            format!(
                "on {on}: zfs create{} {}   or correct it at {}",
                quota.unwrap_or_default(),
                shell_word(name),
                share.declared
            ),
        );
    };
    if let Some(point) = dataset
        .mountpoint
        .as_ref()
        .filter(|point| **point != share.export)
    {
        return found(
            format!(
                "dataset {name} is mounted at {point}, and the share exports {}",
                share.export
            ),
            format!(
                "export {point}, or name the dataset that is at {}",
                share.export
            ),
        );
    }
    let wanted = other_quota(declared, dataset)?;
    let message = format!(
        "the quota of {name} is {}, declared is {wanted}",
        quota_words(dataset.quota)
    );
    if dataset.used > wanted {
        return found(
            format!(
                "{message}, and {} are in it: it would not fit",
                dataset.used
            ),
            format!("free some of it, or declare more at {}", share.declared),
        );
    }
    let fix = format!("on {on}: zfs set quota={} {}", wanted.0, shell_word(name));
    found(message, fix).map(|finding| finding.fixed(is_set))
}

/// Returns the declared quota where the dataset has another.
fn other_quota(declared: &Dataset, dataset: &ZfsDataset) -> Option<ByteSize> {
    declared.quota.filter(|quota| dataset.quota != Some(*quota))
}

fn quota_words(quota: Option<ByteSize>) -> String {
    quota.map_or("none".to_owned(), |bytes| bytes.to_string())
}

/// Plans the declared quota, where what is in the dataset fits into it.
pub(super) fn quota(server: &Server<'_>, draft: &mut Draft) {
    let Some(declared) = &server.share.dataset else {
        return;
    };
    let Some(zfs) = &server.facts.zfs else {
        return;
    };
    let Some(dataset) = zfs.dataset(&declared.name) else {
        return;
    };
    let export = &server.share.export;
    let elsewhere = dataset
        .mountpoint
        .as_ref()
        .is_some_and(|point| point != export);
    let Some(quota) = other_quota(declared, dataset).filter(|quota| dataset.used <= *quota) else {
        return;
    };
    if elsewhere {
        return;
    }
    let name = &declared.name;
    let step = Step::SetQuota {
        dataset: name.clone(),
        quota,
    };
    let is_set = draft.propose(Proposal {
        before: Some(quota_words(dataset.quota)),
        reason: "the topology declares it".to_owned(),
        ..server.proposal(step, format!("{name} holds at most {quota}"))
    });
    // What lands there afterwards has no more room than it leaves.
    let seen = server.facts.paths.get(export).filter(|seen| {
        let mount = seen.mount.as_ref();
        is_set && mount.is_some_and(|mount| mount.source == *name)
    });
    if let Some(seen) = seen {
        let free = zfs.room(dataset, quota);
        draft.ledger.limit(&server.share.on, export, seen, free);
    }
}

/// Says which datasets below the share its clients would see as empty folders.
fn hidden(address: &Address, share: &Share, zfs: &ZfsFacts) -> Option<Finding> {
    let below: Vec<&ZfsDataset> = zfs.below(&share.export).collect();
    let first = below.first()?;
    let points = below
        .iter()
        .filter_map(|dataset| dataset.mountpoint.as_deref());
    let mut named: Vec<String> = points.take(NAMED_MAX).map(str::to_owned).collect();
    if below.len() > NAMED_MAX {
        named.push(words::count(
            (below.len() - NAMED_MAX) as u64,
            "other",
            "others",
        ));
    }
    let message = format!(
        "clients of the share see empty folders at {}: other datasets are mounted there",
        words::list(&named)
    );
    Some(
        Finding::warning("BK128", address.clone(), message)
            .because(vec![
                "what a client writes there lands in the dataset above, and is hidden on the server"
                    .to_owned(),
            ])
            .fix(format!("share {} by itself, and mount that", first.name)),
    )
}

/// Says that changes of mode would be refused, even to root.
fn restricted(
    address: &Address,
    share: &Share,
    facts: &NodeFacts,
    zfs: &ZfsFacts,
) -> Option<Finding> {
    let seen = facts.paths.get(&share.export);
    let mount = seen.and_then(|seen| seen.mount.as_ref());
    let dataset = match mount.filter(|mount| mount.fstype == "zfs") {
        Some(mount) => zfs.dataset(&mount.source)?,
        None => zfs.holding(&share.export)?,
    };
    let is = |value: &Option<String>, word: &str| value.as_deref() == Some(word);
    if !is(&dataset.acl_type, "nfsv4") || !is(&dataset.acl_mode, "restricted") {
        return None;
    }
    let name = &dataset.name;
    let message = format!(
        "modes can't be changed on {name}: even root gets \"Operation not permitted (os error 1)\""
    );
    Some(
        Finding::warning("BK129", address.clone(), message)
            .because(vec![format!(
                "{name} has acltype=nfsv4 and aclmode=restricted, as TrueNAS makes it for SMB"
            )])
            .fix(format!(
                "on {}: zfs set aclmode=passthrough {}",
                share.on,
                shell_word(name)
            )),
    )
}
