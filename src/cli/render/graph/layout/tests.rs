use proptest::prelude::*;

use super::*;
use crate::model::Name;
use crate::plan::graph::{Flow, FlowKind, GRAPH_FORMAT, Graph, Machine, MachineKind, Thing};

/// A graph of some machines, where things and flows between datastores are anywhere.
fn any_graph() -> impl Strategy<Value = Graph> {
    let machines = proptest::collection::vec((any::<u8>(), any::<u8>()), 1..7);
    let things = proptest::collection::vec((any::<u8>(), 0..5_u8), 1..14);
    let flows = proptest::collection::vec((any::<u8>(), any::<u8>(), any::<u8>()), 0..14);
    (machines, things, flows).prop_map(|(machines, things, flows)| {
        let mut graph = Graph {
            format: GRAPH_FORMAT,
            topology: Name::new("t").expect("a name"),
            grouped_by: "site".to_owned(),
            machines: Vec::new(),
            things: Vec::new(),
            flows: Vec::new(),
            phases: Vec::new(),
        };
        for (number, (on, group)) in machines.iter().enumerate() {
            let on = usize::from(*on) % (number + 1);
            graph.machines.push(Machine {
                id: number.to_string(),
                name: format!("machine-{number}"),
                kind: MachineKind::Machine,
                on: (on < number).then(|| on.to_string()),
                group: (group % 3 > 0).then(|| (group % 3).to_string()),
                words: String::new(),
            });
        }
        for (number, (at, kind)) in things.iter().enumerate() {
            graph.things.push(Thing {
                id: number.to_string(),
                name: format!("thing-{number}"),
                kind: match kind {
                    0 => ThingKind::Source,
                    1 => ThingKind::Share,
                    _ => ThingKind::Datastore,
                },
                at: (usize::from(*at) % machines.len()).to_string(),
                words: "/a/path".to_owned(),
                from_phase: None,
            });
        }
        let of = |kinds: &[ThingKind]| -> Vec<String> {
            let things = graph
                .things
                .iter()
                .filter(|thing| kinds.contains(&thing.kind));
            things.map(|thing| thing.id.clone()).collect()
        };
        let (sources, stores) = (of(&[ThingKind::Source]), of(&[ThingKind::Datastore]));
        for (from, to, kind) in flows {
            let pick =
                |ids: &[String], at: u8| ids.get(usize::from(at) % ids.len().max(1)).cloned();
            let Some(to) = pick(&stores, to) else {
                continue;
            };
            let from = match kind % 3 {
                0 => sources
                    .iter()
                    .skip(usize::from(from) % 3)
                    .cloned()
                    .collect(),
                _ => pick(&stores, from)
                    .into_iter()
                    .filter(|from| *from != to)
                    .collect(),
            };
            graph.flows.push(Flow {
                kind: FlowKind::Sync,
                job: Name::new("a-job").ok(),
                phase: None,
                when: Some("02:00".to_owned()),
                through: None,
                from,
                to,
            });
        }
        graph
    })
}

fn overlap(a: Rect, b: Rect) -> bool {
    a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h
}

fn contains(outer: Rect, inner: Rect) -> bool {
    outer.x <= inner.x
        && outer.y <= inner.y
        && inner.x + inner.w <= outer.x + outer.w
        && inner.y + inner.h <= outer.y + outer.h
}

/// Returns the room that a piece of a line takes; a line along a card's edge is in nobody's way.
fn room((from, to): ((i64, i64), (i64, i64))) -> Rect {
    Rect {
        x: from.0.min(to.0),
        y: from.1.min(to.1),
        w: (from.0 - to.0).abs(),
        h: (from.1 - to.1).abs(),
    }
}

proptest! {
    #[test]
    fn boxes_keep_apart_and_no_line_runs_through_one(graph in any_graph()) {
        let sketch = Sketch::new(&graph);
        let layout = layout(&sketch);
        let whole = Rect { x: 0, y: 0, w: layout.width, h: layout.height };
        prop_assert_eq!(layout.lanes.len(), graph.machines.len());
        for (number, (rect, card)) in layout.cards.iter().zip(&sketch.cards).enumerate() {
            let lane = layout.lanes.iter().find(|lane| lane.machine == card.at);
            let lane = lane.expect("every machine has a lane").rect;
            prop_assert!(contains(lane, *rect), "{rect:?} is not in {lane:?}");
            prop_assert!(contains(whole, lane));
            prop_assert!(rect.h >= text_height(card));
            for other in &layout.cards[..number] {
                prop_assert!(!overlap(*rect, *other), "{rect:?} {other:?}");
            }
            for lane in layout.lanes.iter().filter(|lane| lane.machine != card.at) {
                let inside = contains(lane.rect, *rect);
                prop_assert!(inside || !overlap(lane.rect, *rect));
                let header = Rect { w: 1, ..lane.header };
                prop_assert!(!overlap(header, *rect));
            }
        }
        for (route, arrow) in layout.routes.iter().zip(&sketch.arrows) {
            prop_assert_eq!(route.lines.len(), arrow.from.len());
            for line in &route.lines {
                for piece in line.windows(2) {
                    let piece = (piece[0], piece[1]);
                    prop_assert!(piece.0.0 == piece.1.0 || piece.0.1 == piece.1.1, "{piece:?}");
                    let room = room(piece);
                    prop_assert!(contains(whole, room));
                    for card in &layout.cards {
                        prop_assert!(!overlap(*card, room), "{card:?} {room:?}");
                    }
                }
            }
            // The arrow ends at the edge of what it points to.
            let to = layout.cards[arrow.to];
            let edge = if route.to_the_left { to.x + to.w } else { to.x };
            prop_assert_eq!(route.tip.0, edge);
            prop_assert!((to.y..=to.y + to.h).contains(&route.tip.1));
        }
    }
}
