//! Which lane comes below which.

use std::collections::BTreeSet;

use super::super::sketch::Sketch;
use super::ranks::Ranks;

/// Which lane comes below which: what bytes come from is above what they go to.
pub(super) struct Order<'g> {
    pub(super) groups: Vec<(Option<&'g str>, Vec<usize>)>,
    /// The containers of each machine.
    pub(super) inside: Vec<Vec<usize>>,
}

impl<'g> Order<'g> {
    pub(super) fn new(sketch: &Sketch<'g>, ranks: &Ranks) -> Self {
        let machines = &sketch.graph.machines;
        let host = |machine: usize| {
            let on = machines[machine].on.as_ref()?;
            machines.iter().position(|other| other.id == *on)
        };
        let mut inside = vec![Vec::new(); machines.len()];
        let mut roots = Vec::new();
        for machine in 0..machines.len() {
            match host(machine) {
                Some(host) if host != machine => inside[host].push(machine),
                _ => roots.push(machine),
            }
        }
        let weight = |machine: usize| weight(sketch, ranks, &inside, &[machine]);
        let mut sorted = inside.clone();
        for machines_inside in &mut sorted {
            machines_inside.sort_by_key(|machine| (weight(*machine), *machine));
        }
        roots.sort_by_key(|machine| (weight(*machine), *machine));
        let mut groups: Vec<(Option<&str>, Vec<usize>)> = Vec::new();
        for root in roots {
            let group = machines[root].group.as_deref();
            match groups.iter_mut().find(|(name, _)| *name == group) {
                Some((_, members)) => members.push(root),
                None => groups.push((group, vec![root])),
            }
        }
        groups.sort_by_key(|(name, roots)| (self::weight(sketch, ranks, &inside, roots), *name));
        Self {
            groups,
            inside: sorted,
        }
    }
}

/// Returns the mean column of what is on some machines and their containers, in thousandths.
fn weight(sketch: &Sketch<'_>, ranks: &Ranks, inside: &[Vec<usize>], roots: &[usize]) -> usize {
    let mut all: BTreeSet<usize> = roots.iter().copied().collect();
    let mut todo: Vec<usize> = roots.to_vec();
    while let Some(machine) = todo.pop() {
        todo.extend(inside[machine].iter().filter(|one| all.insert(**one)));
    }
    let on = sketch.cards.iter().zip(&ranks.of);
    let columns: Vec<usize> = on
        .filter(|(card, _)| all.contains(&card.at))
        .map(|(_, column)| *column)
        .collect();
    match columns.len() {
        0 => usize::MAX,
        count => columns.iter().sum::<usize>() * 1000 / count,
    }
}
