//! The order of a plan: what is needed comes first, and ties are broken the same way each time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

use crate::plan::change::{Action, Step};
use crate::plan::draft::{Goal, Proposal};

/// Numbers the proposals in an order that respects what each of them needs.
///
/// Among actions that could come next, the earlier stage wins, then the address, then
/// the order in which they were proposed.
pub(super) fn order(proposals: Vec<Proposal>) -> Vec<Action> {
    let graph = graph(&proposals);
    let sequence = sequence(&graph, &proposals);
    let mut number = vec![0; proposals.len()];
    for (position, &index) in sequence.iter().enumerate() {
        number[index] = position;
    }
    let mut proposals: Vec<Option<Proposal>> = proposals.into_iter().map(Some).collect();
    sequence
        .iter()
        .enumerate()
        .filter_map(|(id, &index)| {
            let after = graph
                .edges_directed(NodeIndex::new(index), Direction::Incoming)
                .map(|edge| number[edge.source().index()])
                .collect();
            proposals[index].take().map(|p| action(id, p, after))
        })
        .collect()
}

/// Draws an edge from every proposal to those that need what it gives.
fn graph(proposals: &[Proposal]) -> DiGraph<(), ()> {
    let mut graph = DiGraph::new();
    let nodes: Vec<NodeIndex> = proposals.iter().map(|_| graph.add_node(())).collect();
    let mut givers: BTreeMap<&Goal, Vec<usize>> = BTreeMap::new();
    for (index, proposal) in proposals.iter().enumerate() {
        for goal in &proposal.needs {
            // Only what was proposed before can be needed, so there is no cycle to find.
            for &giver in givers.get(goal).into_iter().flatten() {
                graph.update_edge(nodes[giver], nodes[index], ());
            }
        }
        for goal in &proposal.gives {
            givers.entry(goal).or_default().push(index);
        }
    }
    graph
}

fn sequence(graph: &DiGraph<(), ()>, proposals: &[Proposal]) -> Vec<usize> {
    let rank = |index: usize| {
        let proposal = &proposals[index];
        Reverse((stage(&proposal.step), proposal.address.clone(), index))
    };
    let mut waiting: Vec<usize> = graph
        .node_indices()
        .map(|node| graph.edges_directed(node, Direction::Incoming).count())
        .collect();
    let mut ready: BinaryHeap<_> = (0..proposals.len())
        .filter(|&index| waiting[index] == 0)
        .map(rank)
        .collect();
    let mut sequence = Vec::with_capacity(proposals.len());
    while let Some(Reverse((_, _, index))) = ready.pop() {
        sequence.push(index);
        for edge in graph.edges(NodeIndex::new(index)) {
            let next = edge.target().index();
            waiting[next] -= 1;
            if waiting[next] == 0 {
                ready.push(rank(next));
            }
        }
    }
    sequence
}

/// Returns how early a kind of step comes when nothing else decides.
fn stage(step: &Step) -> u8 {
    match step {
        Step::CreateKey { .. } => 0,
        Step::PlaceBinary { .. } => 1,
        Step::MakeFolder { .. } => 2,
        Step::SetOwner { .. } => 3,
        Step::SetMode { .. } => 4,
        Step::SetQuota { .. } => 5,
        Step::Export { .. } => 6,
        Step::Mount { .. } => 7,
        Step::MakeRepository { .. } => 8,
        Step::WriteManaged { .. } => 9,
        Step::Register { .. } => 10,
        Step::Copy { .. } => 11,
        Step::Sync { .. } => 12,
        Step::Drill { .. } => 13,
        Step::DestroyRepository { .. } => 14,
        Step::Withdraw { .. } => 15,
    }
}

fn action(id: usize, proposal: Proposal, after: BTreeSet<usize>) -> Action {
    Action {
        id,
        address: proposal.address,
        node: proposal.node,
        step: proposal.step,
        before: proposal.before,
        after_words: proposal.after_words,
        reason: proposal.reason,
        after,
        gate: proposal.gate,
        deferred: proposal.deferred,
        needs: Vec::new(),
        done: Vec::new(),
        reads: proposal.reads,
        landing: proposal.landing,
    }
}
