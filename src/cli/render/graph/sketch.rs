//! What is on the picture: cards on machines and arrows between them, still without places.
//!
//! Sources of one machine that the same jobs read are one card; many of them are one line.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::graph::{Flow, FlowKind, Graph, Machine, Thing, ThingKind};

/// The most sources that have a line each.
const LINES_MAX: usize = 4;

/// How many are named where there are more.
const NAMED: usize = 2;

/// What is drawn.
pub(super) struct Sketch<'g> {
    pub(super) graph: &'g Graph,
    pub(super) cards: Vec<Card<'g>>,
    pub(super) arrows: Vec<Arrow>,
}

/// One card: a thing, or several sources.
pub(super) struct Card<'g> {
    pub(super) kind: ThingKind,
    /// The number of its machine.
    pub(super) at: usize,
    pub(super) lines: Vec<Line>,
    /// Everything on it in words, also what has no room.
    pub(super) whole: String,
    /// Whether it is not there yet.
    pub(super) later: bool,
    things: Vec<&'g Thing>,
}

/// A name, and what more is to be said.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) words: String,
}

/// One arrow; several tails join on their way to one head.
pub(super) struct Arrow {
    pub(super) kind: FlowKind,
    /// The number of its phase.
    pub(super) phase: Option<usize>,
    pub(super) label: String,
    /// What it says in a sentence.
    pub(super) whole: String,
    pub(super) from: Vec<usize>,
    pub(super) to: usize,
}

impl<'g> Sketch<'g> {
    pub(super) fn new(graph: &'g Graph) -> Self {
        let mut sketch = Self {
            graph,
            cards: cards(graph),
            arrows: Vec::new(),
        };
        let arrows = graph.flows.iter().filter_map(|flow| sketch.arrow(flow));
        sketch.arrows = arrows.collect();
        sketch
    }

    /// Returns whether phases are told apart at all.
    pub(super) fn has_phases(&self) -> bool {
        self.graph.phases.len() > 1
    }

    /// Returns an arrow's label with the number of its phase before it, where there are several.
    pub(super) fn numbered(&self, arrow: &Arrow) -> String {
        match arrow.phase.filter(|_| self.has_phases()) {
            Some(phase) => format!("{}: {}", phase + 1, arrow.label),
            None => arrow.label.clone(),
        }
    }

    fn arrow(&self, flow: &Flow) -> Option<Arrow> {
        let card = |id: &String| {
            let holds = |card: &Card<'_>| card.things.iter().any(|thing| thing.id == *id);
            self.cards.iter().position(holds)
        };
        let mut from: Vec<usize> = flow.from.iter().filter_map(card).collect();
        from.sort_unstable();
        from.dedup();
        if from.is_empty() {
            return None;
        }
        let to = card(&flow.to)?;
        let phases = &self.graph.phases;
        let is_its = |phase: &_| phases.iter().position(|other| other == phase);
        Some(Arrow {
            kind: flow.kind,
            phase: flow.phase.as_ref().and_then(is_its),
            label: label(flow),
            whole: self.sentence(flow, &self.cards[to]),
            from,
            to,
        })
    }

    fn sentence(&self, flow: &Flow, to: &Card<'_>) -> String {
        let names = flow
            .from
            .iter()
            .filter_map(|id| self.graph.things.iter().find(|t| t.id == *id));
        let names = some(
            &names.map(|thing| thing.name.as_str()).collect::<Vec<_>>(),
            8,
        );
        let to = to.lines.first().map_or("", |line| line.name.as_str());
        let what = match (flow.kind, &flow.through) {
            (FlowKind::Backup, _) => format!("copies {names} to {to}"),
            (FlowKind::Sync | FlowKind::Cloud, _) => format!("copies {names} on to {to}"),
            (FlowKind::Drill, _) => format!("proves copies in {names} by a restore"),
            (FlowKind::Mount, None) => format!("{names} is kept on share {to}"),
            (FlowKind::Mount, Some(by)) => {
                format!("{names} is kept on share {to}, mounted by {by}")
            }
            (FlowKind::Move, _) => format!("{to} moves"),
        };
        let job = flow.job.as_ref().map(|job| format!("{job} "));
        let when = flow.when.as_ref().map(|when| {
            let at = if when.starts_with("every ") {
                ""
            } else {
                "at "
            };
            format!(", {at}{when}")
        });
        let phase = flow
            .phase
            .as_ref()
            .map(|phase| format!(", in phase {phase}"));
        [job, Some(what), when, phase]
            .into_iter()
            .flatten()
            .collect()
    }
}

fn label(flow: &Flow) -> String {
    match (&flow.job, &flow.when, &flow.through) {
        (Some(job), Some(when), _) => format!("{job} {when}"),
        (Some(job), None, _) => format!("{job} on demand"),
        (None, _, Some(by)) => format!("{} through {by}", flow.kind.word()),
        (None, ..) => flow.kind.word().to_owned(),
    }
}

/// Returns the failure domains of machines, each once, in the order of their names.
pub(super) fn groups(graph: &Graph) -> BTreeSet<Option<&str>> {
    let machines = graph.machines.iter();
    machines.map(|machine| machine.group.as_deref()).collect()
}

/// Returns the machines of a failure domain that are on no other, by their numbers.
pub(super) fn roots<'g>(
    graph: &'g Graph,
    group: Option<&'g str>,
) -> impl Iterator<Item = usize> + 'g {
    let machines = graph.machines.iter().enumerate();
    machines
        .filter(move |(_, machine)| machine.on.is_none() && machine.group.as_deref() == group)
        .map(|(number, _)| number)
}

/// Returns the containers on a machine, by their numbers.
pub(super) fn containers<'g>(
    graph: &'g Graph,
    host: &'g Machine,
) -> impl Iterator<Item = usize> + 'g {
    let machines = graph.machines.iter().enumerate();
    machines
        .filter(|(_, machine)| machine.on.as_ref() == Some(&host.id))
        .map(|(number, _)| number)
}

/// Puts things on cards: sources together by machine and by what reads them, others alone.
fn cards(graph: &Graph) -> Vec<Card<'_>> {
    let mut together: BTreeMap<(usize, Vec<usize>), usize> = BTreeMap::new();
    let mut cards: Vec<Card<'_>> = Vec::new();
    for thing in &graph.things {
        let Some(at) = graph
            .machines
            .iter()
            .position(|machine| machine.id == thing.at)
        else {
            continue;
        };
        let is_read = matches!(thing.kind, ThingKind::Source | ThingKind::Guests);
        let key = (at, readers(graph, thing));
        match together.get(&key) {
            Some(card) if is_read => cards[*card].things.push(thing),
            _ => {
                if is_read {
                    together.insert(key, cards.len());
                }
                cards.push(Card {
                    kind: thing.kind,
                    at,
                    lines: Vec::new(),
                    whole: String::new(),
                    later: thing.from_phase.is_some(),
                    things: vec![thing],
                });
            }
        }
    }
    for card in &mut cards {
        card.lines = lines(&card.things);
        if is_idle(graph, card) {
            let (name, words) = (String::new(), "no job copies it".to_owned());
            card.lines.push(Line { name, words });
        }
        let whole = card.things.iter().map(|thing| whole(thing));
        card.whole = whole.collect::<Vec<_>>().join("\n");
    }
    cards
}

/// Tells whether sources are read by no job, which a picture must not hide.
fn is_idle(graph: &Graph, card: &Card<'_>) -> bool {
    let is_read = matches!(card.kind, ThingKind::Source | ThingKind::Guests);
    is_read
        && card
            .things
            .iter()
            .all(|thing| readers(graph, thing).is_empty())
}

/// Returns the flows that read a thing, by their numbers.
fn readers(graph: &Graph, thing: &Thing) -> Vec<usize> {
    let reads = |(_, flow): &(usize, &Flow)| flow.from.contains(&thing.id);
    let flows = graph.flows.iter().enumerate().filter(reads);
    flows.map(|(number, _)| number).collect()
}

fn lines(things: &[&Thing]) -> Vec<Line> {
    if things.len() > LINES_MAX {
        let names: Vec<&str> = things.iter().map(|thing| thing.name.as_str()).collect();
        return vec![Line {
            name: some(&names, NAMED),
            words: String::new(),
        }];
    }
    let line = |thing: &&Thing| Line {
        name: thing.name.clone(),
        words: match &thing.from_phase {
            Some(phase) => format!("from phase {phase} · {}", thing.words),
            None => thing.words.clone(),
        },
    };
    things.iter().map(line).collect()
}

fn whole(thing: &Thing) -> String {
    let kind = match thing.kind {
        ThingKind::Source => "source",
        ThingKind::Guests => "guests",
        ThingKind::Datastore => "datastore",
        ThingKind::Share => "share",
        ThingKind::Drill => "drill",
    };
    format!("{kind} {}: {}", thing.name, thing.words)
}

/// Names the first of some, and how many more there are.
fn some(names: &[&str], named: usize) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., last] if names.len() <= named + 1 => format!("{} and {last}", most.join(", ")),
        _ => format!(
            "{} and {} more",
            names[..named].join(", "),
            names.len() - named
        ),
    }
}
