//! Nodes: reached or not, and whether their clocks agree.

use crate::model::observed::{NodeFacts, NodeState, Unreachable, UnreachableKind};
use crate::model::{Address, Name, Period};
use crate::plan::change::{Finding, NodeLine};
use crate::plan::draft::{Draft, Goal, World};

/// How far a node's clock may be off before ages can no longer be trusted.
const SKEW_MAX_MS: u64 = 5 * 60 * 1000;

/// Says which nodes can't be used, and returns a line for each node.
pub(super) fn nodes(world: World<'_>, draft: &mut Draft) -> Vec<NodeLine> {
    world
        .topology
        .nodes
        .keys()
        .map(|name| node(world, draft, name))
        .collect()
}

fn node(world: World<'_>, draft: &mut Draft, name: &Name) -> NodeLine {
    let (via, why) = match world.observed.nodes.get(name) {
        Some(NodeState::Reached(facts)) => {
            clock(draft, name, facts);
            (Some(facts.via.clone()), None)
        }
        Some(NodeState::Unreachable(why)) => (None, Some(why.clone())),
        None => (None, Some(not_looked_at())),
    };
    if let Some(why) = &why {
        let reason = format!("{name} was not reached");
        let address = Address::new("node", name);
        let code = code(why.kind);
        // What is not carried out has its own finding.
        if why.kind == UnreachableKind::Unsupported {
            draft.block(Goal::Node(name.clone()), reason);
        } else {
            let finding = Finding::error(code, address, format!("not reached: {}", why.message));
            draft.refuse(Goal::Node(name.clone()), reason, finding);
        }
    }
    NodeLine {
        name: name.clone(),
        via,
        unreachable: why.map(|why| why.message),
    }
}

fn not_looked_at() -> Unreachable {
    Unreachable {
        kind: UnreachableKind::Answer,
        message: "it was not looked at; observe it again".to_owned(),
    }
}

fn code(kind: UnreachableKind) -> &'static str {
    match kind {
        UnreachableKind::Connect | UnreachableKind::Timeout => "BK310",
        UnreachableKind::HostKey => "BK312",
        UnreachableKind::Login => "BK313",
        UnreachableKind::Answer | UnreachableKind::Unsupported => "BK314",
    }
}

fn clock(draft: &mut Draft, name: &Name, facts: &NodeFacts) {
    let off = facts.skew_ms.unsigned_abs();
    if off <= SKEW_MAX_MS {
        return;
    }
    let direction = if facts.skew_ms > 0 { "ahead" } else { "behind" };
    let message = format!(
        "its clock is {} {direction}: ages of its copies can't be trusted",
        Period(off / 1000)
    );
    draft.find(
        Finding::warning("BK311", Address::new("node", name), message).fix(format!(
            "set the clock on {name}, for example with timedatectl set-ntp true"
        )),
    );
}
