//! Where everything on the picture goes.
//!
//! A layered layout whose layers are columns and whose groups are lanes. A card's column is the
//! number of steps that its bytes have come: sources first, then the datastores they are copied
//! to, then what those are copied to, are kept on and are proven by. Its row is its machine, which
//! is a lane across all columns, with the lanes of its containers inside; machines of one failure
//! domain lie together. So a box is always whole, and arrows go from left to right: between
//! columns they turn in a gutter, each on a track of its own, and they pass a column in a slot
//! that is kept free for them.
//!
//! All lengths are whole pixels, so the same topology gives the same picture everywhere.

mod gutter;
mod order;
mod ranks;

use self::gutter::{Turn, give_tracks, join};
use self::order::Order;
use self::ranks::Ranks;
use super::measure::width;
use super::sketch::{Card, Sketch};
use crate::plan::graph::ThingKind;

/// Sizes of letters.
pub(super) const NAME: f64 = 13.0;
pub(super) const SMALL: f64 = 11.0;

const MARGIN: i64 = 20;
const TOP: i64 = 70;
const GROUP_PAD: i64 = 10;
const GROUP_TITLE: i64 = 24;
const LANE_PAD: i64 = 12;
const LANE_GAP: i64 = 10;
const HEADER: i64 = 36;
const CARD_PAD: i64 = 10;
const CARD_GAP: i64 = 10;
const PASS: i64 = 22;
const PORT_IN: i64 = 22;
const PORT_OUT: i64 = 14;
const TRACK: i64 = 12;
/// How round the corners of lines are.
pub(super) const CORNER: i64 = 6;
const FIRST_COLUMN: (i64, i64) = (150, 290);
const COLUMN: (i64, i64) = (130, 240);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Rect {
    pub(super) x: i64,
    pub(super) y: i64,
    pub(super) w: i64,
    pub(super) h: i64,
}

impl Rect {
    fn middle(self) -> i64 {
        self.y + self.h / 2
    }
}

/// Is a machine's lane.
pub(super) struct Lane {
    pub(super) machine: usize,
    pub(super) rect: Rect,
    /// Where its name begins, and how much room it has.
    pub(super) header: Rect,
    /// Whether it lies inside another.
    pub(super) inside: bool,
    /// How high its own row is, without its containers.
    tall: i64,
}

/// Is a way from a tail, or from several, to a head.
pub(super) struct Route {
    /// One line for each tail; all end at the head.
    pub(super) lines: Vec<Vec<(i64, i64)>>,
    /// Where the arrow points, and whether to the left.
    pub(super) tip: (i64, i64),
    pub(super) to_the_left: bool,
    /// Where the label begins.
    pub(super) label: (i64, i64),
}

pub(super) struct Layout<'g> {
    pub(super) width: i64,
    pub(super) height: i64,
    /// The frames of failure domains.
    pub(super) groups: Vec<(&'g str, Rect)>,
    pub(super) lanes: Vec<Lane>,
    /// By the card's number.
    pub(super) cards: Vec<Rect>,
    /// By the arrow's number.
    pub(super) routes: Vec<Route>,
}

/// What takes room in a column of a lane.
#[derive(Debug, Clone, Copy)]
enum Slot {
    Card(usize),
    /// An arrow that passes.
    Pass(usize),
}

pub(super) fn layout<'g>(sketch: &Sketch<'g>) -> Layout<'g> {
    let ranks = Ranks::new(sketch);
    let order = Order::new(sketch, &ranks);
    let mut board = Board::new(sketch, &ranks);
    board.stack(&order);
    board.connect();
    board.finish(&order)
}

fn is_read(card: &Card<'_>) -> bool {
    matches!(card.kind, ThingKind::Source | ThingKind::Guests)
}

/// What is placed so far.
struct Board<'s, 'g> {
    sketch: &'s Sketch<'g>,
    ranks: &'s Ranks,
    /// By machine, then by column.
    cells: Vec<Vec<Vec<Slot>>>,
    column_x: Vec<i64>,
    column_w: Vec<i64>,
    cards: Vec<Rect>,
    /// By arrow: the heights at which it passes columns, in their order.
    passes: Vec<Vec<i64>>,
    groups: Vec<(&'g str, Rect)>,
    lanes: Vec<Lane>,
    gutters: Vec<Vec<Turn>>,
    bottom: i64,
}

impl<'s, 'g> Board<'s, 'g> {
    fn new(sketch: &'s Sketch<'g>, ranks: &'s Ranks) -> Self {
        let columns = ranks.columns();
        let mut cells = vec![vec![Vec::new(); columns]; sketch.graph.machines.len()];
        for (number, card) in sketch.cards.iter().enumerate() {
            cells[card.at][ranks.of[number]].push(Slot::Card(number));
        }
        let mut board = Self {
            sketch,
            ranks,
            cells,
            column_x: Vec::new(),
            column_w: Vec::new(),
            cards: vec![Rect::default(); sketch.cards.len()],
            passes: vec![Vec::new(); sketch.arrows.len()],
            groups: Vec::new(),
            lanes: Vec::new(),
            gutters: Vec::new(),
            bottom: 0,
        };
        for arrow in 0..sketch.arrows.len() {
            board.reserve(arrow);
        }
        board.column_w = (0..columns)
            .map(|column| board.column_width(column))
            .collect();
        board
    }

    /// Returns an arrow's first cards and its last one, as they are laid out.
    fn ends(&self, arrow: usize) -> (Vec<usize>, usize) {
        let (from, to) = (
            &self.sketch.arrows[arrow].from,
            self.sketch.arrows[arrow].to,
        );
        if self.ranks.reversed[arrow] {
            (vec![to], from[0])
        } else {
            (from.clone(), to)
        }
    }

    /// Returns the columns that an arrow begins and ends at. Its tails are all sources, which
    /// are in the first column, or one card.
    fn span(&self, arrow: usize) -> (usize, usize) {
        let (from, to) = self.ends(arrow);
        let first = from.iter().map(|card| self.ranks.of[*card]).min();
        (first.unwrap_or(0), self.ranks.of[to])
    }

    /// Keeps room where an arrow passes columns: where nothing else is, if that can be had.
    fn reserve(&mut self, arrow: usize) {
        let (first, last) = self.span(arrow);
        let (from, to) = self.ends(arrow);
        let (head, tail) = (self.sketch.cards[to].at, self.sketch.cards[from[0]].at);
        self.passes[arrow] = vec![0; (first + 1..last).len()];
        for column in first + 1..last {
            let free = [head, tail]
                .into_iter()
                .find(|at| self.cells[*at][column].is_empty());
            self.cells[free.unwrap_or(head)][column].push(Slot::Pass(arrow));
        }
    }

    fn column_width(&self, column: usize) -> i64 {
        let cards = self.sketch.cards.iter().zip(&self.ranks.of);
        let cards = cards
            .filter(|(_, rank)| **rank == column)
            .map(|(card, _)| card_width(card));
        let headers = self
            .sketch
            .graph
            .machines
            .iter()
            .filter(|_| column == 0)
            .map(|machine| {
                let words = width(&machine.words, SMALL, false);
                width(&machine.name, NAME, true).max(words).ceil() as i64
            });
        let (least, most) = if column == 0 { FIRST_COLUMN } else { COLUMN };
        cards.chain(headers).max().unwrap_or(0).clamp(least, most)
    }

    fn ports(&self, card: usize) -> (Vec<usize>, Vec<usize>) {
        let arrows = 0..self.sketch.arrows.len();
        let into = arrows.clone().filter(|arrow| self.ends(*arrow).1 == card);
        let out = arrows.filter(|arrow| self.ends(*arrow).0.contains(&card));
        (into.collect(), out.collect())
    }

    fn card_height(&self, card: usize) -> i64 {
        let (into, out) = self.ports(card);
        let ports = (into.len() as i64 * PORT_IN + 6).max(out.len() as i64 * PORT_OUT + 6);
        text_height(&self.sketch.cards[card]).max(ports)
    }

    /// Gives every lane, card and pass its height.
    fn stack(&mut self, order: &Order<'g>) {
        let mut y = TOP;
        for (group, roots) in &order.groups {
            let top = y;
            if group.is_some() {
                y += GROUP_TITLE;
            }
            for root in roots {
                y = self.stack_lane(order, *root, y, 0) + LANE_GAP;
            }
            if let Some(group) = group {
                let h = y - top;
                self.groups.push((
                    group,
                    Rect {
                        x: 0,
                        y: top,
                        w: 0,
                        h,
                    },
                ));
                y += LANE_GAP;
            }
        }
        self.bottom = y;
    }

    /// Stacks what is in a lane from a height on, and returns where the lane ends.
    fn stack_lane(&mut self, order: &Order<'g>, machine: usize, top: i64, depth: i64) -> i64 {
        let number = self.lanes.len();
        self.lanes.push(Lane {
            machine,
            rect: Rect {
                x: depth,
                y: top,
                w: 0,
                h: 0,
            },
            header: Rect {
                x: 0,
                y: top + LANE_PAD,
                w: 0,
                h: HEADER,
            },
            inside: depth > 0,
            tall: 0,
        });
        let start = top + LANE_PAD;
        let cells = std::mem::take(&mut self.cells[machine]);
        let height = |slots: &[Slot]| -> i64 {
            let slots = slots.iter().map(|slot| self.slot_height(*slot) + CARD_GAP);
            (slots.sum::<i64>() - CARD_GAP).max(0)
        };
        let heights: Vec<i64> = cells.iter().map(|slots| height(slots)).collect();
        let below_header = |column: usize| match (column, heights[column]) {
            (0, 0) | (1.., _) => 0,
            (0, _) => HEADER + 6,
        };
        let tall = (0..heights.len()).map(|column| below_header(column) + heights[column]);
        let tall = tall.max().unwrap_or(0).max(HEADER);
        for (column, slots) in cells.iter().enumerate() {
            let spare = tall - heights[column];
            let mut y = start
                + if column == 0 {
                    below_header(0)
                } else {
                    spare / 2
                };
            for slot in slots {
                let h = self.slot_height(*slot);
                match *slot {
                    Slot::Card(card) => self.cards[card] = Rect { x: 0, y, w: 0, h },
                    Slot::Pass(arrow) => {
                        let (first, _) = self.span(arrow);
                        self.passes[arrow][column - first - 1] = y + h / 2;
                    }
                }
                y += h + CARD_GAP;
            }
        }
        self.cells[machine] = cells;
        self.lanes[number].tall = tall;
        let mut y = start + tall + LANE_PAD;
        for container in &order.inside[machine] {
            y = self.stack_lane(order, *container, y, depth + 1) + LANE_GAP;
        }
        self.lanes[number].rect.h = y - top;
        y
    }

    fn slot_height(&self, slot: Slot) -> i64 {
        match slot {
            Slot::Card(card) => self.card_height(card),
            Slot::Pass(_) => PASS,
        }
    }

    /// Says at which height each arrow leaves, passes and arrives, and by which tracks it turns.
    fn connect(&mut self) {
        let ends: Vec<(Vec<usize>, usize)> = (0..self.sketch.arrows.len())
            .map(|a| self.ends(a))
            .collect();
        let middle = |card: usize| self.cards[card].middle();
        // What an arrow goes to next after its tails, and what it comes from before its head.
        let next = |arrow: usize| {
            self.passes[arrow]
                .first()
                .copied()
                .unwrap_or_else(|| middle(ends[arrow].1))
        };
        let last = |arrow: usize| {
            let tails = ends[arrow].0.iter().map(|card| middle(*card));
            let mean = tails.sum::<i64>() / ends[arrow].0.len() as i64;
            self.passes[arrow].last().copied().unwrap_or(mean)
        };
        let mut arrive = vec![0; ends.len()];
        let mut leave = vec![Vec::new(); ends.len()];
        for card in 0..self.cards.len() {
            let (mut into, mut out) = self.ports(card);
            into.sort_by_key(|arrow| (last(*arrow), *arrow));
            out.sort_by_key(|arrow| (next(*arrow), *arrow));
            for (number, arrow) in into.iter().enumerate() {
                arrive[*arrow] = port(self.cards[card], number, into.len(), PORT_IN);
            }
            for (number, arrow) in out.iter().enumerate() {
                leave[*arrow].push(port(self.cards[card], number, out.len(), PORT_OUT));
            }
        }
        self.straighten(&arrive);
        let mut gutters: Vec<Vec<Turn>> = (1..self.ranks.columns()).map(|_| Vec::new()).collect();
        for arrow in 0..ends.len() {
            let (first, _) = self.span(arrow);
            let mut left = leave[arrow].clone();
            let rights = self.passes[arrow].iter().copied().chain([arrive[arrow]]);
            for (step, right) in rights.enumerate() {
                gutters[first + step].push(Turn {
                    arrow,
                    left,
                    right,
                    track: None,
                });
                left = vec![right];
            }
        }
        for turns in &mut gutters {
            give_tracks(turns);
        }
        self.gutters = gutters;
    }

    /// Lets arrows pass at the height at which they arrive, where nothing else is in the way.
    fn straighten(&mut self, arrive: &[i64]) {
        for (arrow, arrives) in arrive.iter().enumerate() {
            let (first, last) = self.span(arrow);
            for column in (first + 1..last).rev() {
                let holds = |cells: &Vec<Vec<Slot>>| matches!(cells[column][..], [Slot::Pass(only)] if only == arrow);
                let Some(machine) = self.cells.iter().position(holds) else {
                    break;
                };
                let lane = self.lanes.iter().find(|lane| lane.machine == machine);
                let is_in = |lane: &Lane| {
                    let low = lane.rect.y + LANE_PAD;
                    (low..low + lane.tall).contains(arrives)
                };
                if !lane.is_some_and(is_in) {
                    break;
                }
                self.passes[arrow][column - first - 1] = *arrives;
            }
        }
    }

    fn gutter_width(&self, gutter: usize) -> i64 {
        let turns = &self.gutters[gutter];
        let tracks = turns
            .iter()
            .filter_map(|turn| turn.track)
            .max()
            .map_or(0, |last| last + 1);
        let ending = turns
            .iter()
            .filter(|turn| self.span(turn.arrow).1 == gutter + 1);
        let label = ending
            .map(|turn| self.label_width(turn.arrow))
            .max()
            .unwrap_or(0);
        16 + tracks as i64 * TRACK + label + 28
    }

    fn label_width(&self, arrow: usize) -> i64 {
        let arrow = &self.sketch.arrows[arrow];
        let number = if self.numbered(arrow.phase) { 20 } else { 0 };
        width(&arrow.label, SMALL, false).ceil() as i64 + number
    }

    fn numbered(&self, phase: Option<usize>) -> bool {
        self.sketch.has_phases() && phase.is_some()
    }

    /// Gives everything its place from left to right.
    fn finish(mut self, order: &Order<'g>) -> Layout<'g> {
        let deepest = self.lanes.iter().map(|lane| lane.rect.x).max().unwrap_or(0);
        let is_grouped = order.groups.iter().any(|(group, _)| group.is_some());
        let frame = if is_grouped { GROUP_PAD } else { 0 };
        let indent = MARGIN + frame + LANE_PAD + deepest * LANE_PAD;
        let mut x = indent;
        for column in 0..self.column_w.len() {
            self.column_x.push(x);
            x += self.column_w[column];
            if column < self.gutters.len() {
                x += self.gutter_width(column);
            }
        }
        let width = x + indent;
        for (number, card) in self.cards.iter_mut().enumerate() {
            let column = self.ranks.of[number];
            (card.x, card.w) = (self.column_x[column], self.column_w[column]);
        }
        for lane in &mut self.lanes {
            let depth = lane.rect.x;
            lane.rect.x = MARGIN + frame + depth * LANE_PAD;
            lane.rect.w = width - 2 * lane.rect.x;
            (lane.header.x, lane.header.w) = (self.column_x[0], self.column_w[0]);
        }
        for (_, rect) in &mut self.groups {
            (rect.x, rect.w) = (MARGIN, width - 2 * MARGIN);
        }
        let routes = (0..self.sketch.arrows.len())
            .map(|arrow| self.route(arrow))
            .collect();
        Layout {
            width,
            height: self.bottom,
            groups: self.groups,
            lanes: self.lanes,
            cards: self.cards,
            routes,
        }
    }

    fn route(&self, arrow: usize) -> Route {
        let (first, last) = self.span(arrow);
        let right_of = |column: usize| self.column_x[column] + self.column_w[column];
        let turn_in = |gutter: usize| {
            let turn = self.gutters[gutter].iter().find(|turn| turn.arrow == arrow);
            turn.expect("an arrow turns in every gutter between its ends")
        };
        let begin = turn_in(first);
        let tails = begin.left.iter();
        let mut lines: Vec<Vec<(i64, i64)>> = tails.map(|y| vec![(right_of(first), *y)]).collect();
        for gutter in first..last {
            let turn = turn_in(gutter);
            for line in &mut lines {
                if let (Some(track), Some((_, y))) = (turn.track, line.last().copied()) {
                    let x = right_of(gutter) + 16 + track as i64 * TRACK;
                    line.extend([(x, y), (x, turn.right)]);
                }
                line.push((self.column_x[gutter + 1], turn.right));
            }
        }
        join(&mut lines);
        let end = (self.column_x[last], turn_in(last - 1).right);
        let label = (end.0 - 14 - self.label_width(arrow), end.1 - 5);
        let to_the_left = self.ranks.reversed[arrow];
        Route {
            tip: if to_the_left { lines[0][0] } else { end },
            lines,
            to_the_left,
            label,
        }
    }
}

/// Returns the height of one of several ports on a card's side.
fn port(card: Rect, number: usize, count: usize, apart: i64) -> i64 {
    card.middle() + number as i64 * apart - (count as i64 - 1) * apart / 2
}

/// Returns how high the text on a card is.
pub(super) fn text_height(card: &Card<'_>) -> i64 {
    let lines = card.lines.len() as i64;
    let high = if is_read(card) { 18 } else { 18 + 15 };
    2 * 8 + high * lines
}

fn card_width(card: &Card<'_>) -> i64 {
    let lines = card.lines.iter().map(|line| {
        let name = width(&line.name, NAME, true);
        let words = width(&line.words, SMALL, false);
        if is_read(card) {
            name + 8.0 + words
        } else {
            (name + 70.0).max(words)
        }
    });
    lines.fold(0.0, f64::max).ceil() as i64 + 2 * CARD_PAD
}

#[cfg(test)]
mod tests;
