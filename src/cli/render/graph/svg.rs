//! The graph as an SVG picture: text first, few colours, no script, no font of its own.

use std::fmt::Write as _;

use super::layout::{CORNER, Layout, NAME, Rect, Route, SMALL, layout};
use super::measure::{fit, width};
use super::sketch::{Arrow, Card, Sketch};
use crate::cli::render::text::{count, escape};
use crate::plan::graph::{FlowKind, Graph, MachineKind, ThingKind};

/// How many colours phases have before they begin anew.
const COLORS: usize = 5;

/// Both themes; whoever shows the picture chooses.
const STYLE: &str = r#"
text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;font-size:11px;fill:#5b6573}
.n{font-size:13px;font-weight:600;fill:#1b2430}.t{font-size:19px;font-weight:600;fill:#1b2430}.l{fill:#38424f}
.i{font-size:10px;font-weight:700;fill:#fff;text-anchor:middle}.r{text-anchor:end}
.bg{fill:#fff}.g{fill:#f4f6f8;stroke:none}.m{fill:#fff;stroke:#c9d1da}.c{fill:#fff;stroke:#c9d1da}
.s{fill:none;stroke:#dde3e9}.d{fill:#eaf0f7;stroke:#a9bbcf}.x{fill:#fff;stroke:#a9bbcf}
.later{stroke-dasharray:4 3}
.halo{stroke:#fff;stroke-width:4px;stroke-linejoin:round;paint-order:stroke}
path{fill:none;stroke-width:1.6}
.p{stroke:#8792a0}.a{fill:#8792a0}
.p0{stroke:#2463c4}.a0{fill:#2463c4}.p1{stroke:#b4540a}.a1{fill:#b4540a}.p2{stroke:#7a3fc0}.a2{fill:#7a3fc0}
.p3{stroke:#0f766e}.a3{fill:#0f766e}.p4{stroke:#b02a63}.a4{fill:#b02a63}
.drill{stroke-dasharray:7 4}.mount{stroke-dasharray:2 3}.move{stroke-dasharray:10 4 2 4}
@media (prefers-color-scheme:dark){
text{fill:#9aa6b4}.n,.t{fill:#e8edf3}.l{fill:#c3ccd6}.i{fill:#0f141a}
.bg{fill:#0f141a}.g{fill:#161d26}.m{fill:#1b232d;stroke:#38434f}.c{fill:#1b232d;stroke:#38434f}
.s{stroke:#303a46}.d{fill:#223146;stroke:#4a6180}.x{fill:#1b232d;stroke:#4a6180}.halo{stroke:#1b232d}
.p{stroke:#77838f}.a{fill:#77838f}
.p0{stroke:#6ea8fe}.a0{fill:#6ea8fe}.p1{stroke:#f0a04b}.a1{fill:#f0a04b}.p2{stroke:#b794f4}.a2{fill:#b794f4}
.p3{stroke:#4fd1c5}.a3{fill:#4fd1c5}.p4{stroke:#f687b3}.a4{fill:#f687b3}
}
"#;

/// Draws a graph.
pub fn render(graph: &Graph) -> String {
    let sketch = Sketch::new(graph);
    let layout = layout(&sketch);
    let mut picture = Picture {
        sketch: &sketch,
        text: String::new(),
        right: 0,
    };
    for (group, rect) in &layout.groups {
        picture.group(group, *rect);
    }
    picture.lanes(&layout);
    for (route, arrow) in layout.routes.iter().zip(&sketch.arrows) {
        picture.line(route, arrow);
    }
    for (rect, card) in layout.cards.iter().zip(&sketch.cards) {
        picture.card(*rect, card);
    }
    // Above all else, so that nothing is drawn through them.
    for (route, arrow) in layout.routes.iter().zip(&sketch.arrows) {
        picture.label(route, arrow);
    }
    picture.finish(&layout)
}

struct Picture<'s> {
    sketch: &'s Sketch<'s>,
    text: String,
    /// Where the rightmost text of the legend ends.
    right: i64,
}

/// Makes a text safe inside XML, and visible where it is no text.
fn xml(text: &str) -> String {
    let text = escape(text);
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            // What XML can't hold at all.
            '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

impl Picture<'_> {
    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        self.text
            .write_fmt(text)
            .expect("writing to a String never fails");
        self.text.push('\n');
    }

    fn rect(&mut self, rect: Rect, radius: i64, class: &str) {
        let Rect { x, y, w, h } = rect;
        self.push(format_args!(
            r#"<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="{radius}" class="{class}"/>"#
        ));
    }

    fn words(&mut self, x: i64, y: i64, class: &str, text: &str) {
        let text = xml(text);
        self.push(format_args!(
            r#"<text x="{x}" y="{y}" class="{class}">{text}</text>"#
        ));
    }

    /// Opens a group of shapes that says in words what it is.
    fn open(&mut self, title: &str) {
        let lines: Vec<String> = title.lines().map(xml).collect();
        let title = lines.join("\n");
        self.push(format_args!("<g><title>{title}</title>"));
    }

    fn close(&mut self) {
        self.push(format_args!("</g>"));
    }

    fn group(&mut self, name: &str, rect: Rect) {
        self.rect(rect, 10, "g");
        let text = format!("{} {name}", self.sketch.graph.grouped_by);
        let text = fit(&escape(&text), SMALL, false, (rect.w - 24) as f64);
        self.words(rect.x + 12, rect.y + 16, "l", &text);
    }

    fn lanes(&mut self, layout: &Layout<'_>) {
        for lane in &layout.lanes {
            let machine = &self.sketch.graph.machines[lane.machine];
            let class = if lane.inside { "c" } else { "m" };
            let class = match machine.kind {
                MachineKind::Store | MachineKind::Controller => format!("{class} later"),
                _ => class.to_owned(),
            };
            self.open(&format!("{}: {}", machine.name, machine.words));
            self.rect(lane.rect, 8, &class);
            let room = lane.header.w as f64;
            let name = fit(&escape(&machine.name), NAME, true, room);
            let words = fit(&escape(&machine.words), SMALL, false, room);
            self.words(lane.header.x, lane.header.y + 13, "n", &name);
            self.words(lane.header.x, lane.header.y + 29, "", &words);
            self.close();
        }
    }

    fn card(&mut self, rect: Rect, card: &Card<'_>) {
        let (class, radius, kind) = match card.kind {
            ThingKind::Source | ThingKind::Guests => ("s", 5, ""),
            ThingKind::Datastore => ("d", 5, "datastore"),
            ThingKind::Share => ("x", 5, "share"),
            ThingKind::Drill => ("x", 14, "drill"),
        };
        let later = if card.later { " later" } else { "" };
        self.open(&card.whole);
        self.rect(rect, radius, &format!("{class}{later}"));
        let is_read = kind.is_empty();
        let line_height = if is_read { 18 } else { 33 };
        let high = line_height * card.lines.len() as i64;
        let mut y = rect.y + (rect.h - high) / 2 + 13;
        let (x, room) = (rect.x + 10, (rect.w - 20) as f64);
        for line in &card.lines {
            let kind_room = if is_read {
                0.0
            } else {
                width(kind, SMALL, false) + 8.0
            };
            let name = fit(&escape(&line.name), NAME, true, room - kind_room);
            let words = escape(&line.words);
            if is_read {
                let gap = if name.is_empty() { 0 } else { 8 };
                let taken = width(&name, NAME, true) + f64::from(gap);
                let words = fit(&words, SMALL, false, room - taken);
                // One text, so that the words follow the name in whatever font it is drawn.
                let (name, words) = (xml(&name), xml(&words));
                self.push(format_args!(
                    r#"<text x="{x}" y="{y}"><tspan class="n">{name}</tspan><tspan dx="{gap}">{words}</tspan></text>"#
                ));
            } else {
                self.words(x, y, "n", &name);
                self.words(rect.x + rect.w - 10, y, "r", kind);
                self.words(x, y + 16, "", &fit(&words, SMALL, false, room));
            }
            y += line_height;
        }
        self.close();
    }

    /// Returns what ends the names of an arrow's classes.
    fn color(arrow: &Arrow) -> String {
        match (arrow.kind, arrow.phase) {
            (FlowKind::Mount, _) | (_, None) => String::new(),
            (_, Some(phase)) => (phase % COLORS).to_string(),
        }
    }

    fn line(&mut self, route: &Route, arrow: &Arrow) {
        let color = Self::color(arrow);
        let dash = dash(arrow.kind);
        self.open(&arrow.whole);
        for line in &route.lines {
            let line = path(line);
            self.push(format_args!(r#"<path d="{line}" class="p{color}{dash}"/>"#));
        }
        let ((x, y), back) = (route.tip, if route.to_the_left { 8 } else { -8 });
        let from = x + back;
        let (above, below) = (y - 4, y + 4);
        self.push(format_args!(
            r#"<polygon points="{x},{y} {from},{above} {from},{below}" class="a{color}"/>"#
        ));
        self.close();
    }

    fn label(&mut self, route: &Route, arrow: &Arrow) {
        let (mut x, y) = route.label;
        if let Some(phase) = arrow.phase.filter(|_| self.sketch.has_phases()) {
            self.bubble(x + 8, y - 4, phase, &Self::color(arrow));
            x += 20;
        }
        self.words(x, y, "l halo", &arrow.label);
    }

    /// Draws the number of a phase, so that colour alone tells nothing.
    fn bubble(&mut self, x: i64, y: i64, phase: usize, color: &str) {
        let (baseline, number) = (y + 4, phase + 1);
        self.push(format_args!(
            r#"<circle cx="{x}" cy="{y}" r="7" class="a{color}"/>"#
        ));
        self.push(format_args!(
            r#"<text x="{x}" y="{baseline}" class="i">{number}</text>"#
        ));
    }

    /// Says what numbers and lines mean.
    fn legend(&mut self, y: i64) {
        let mut x = 20;
        if self.sketch.has_phases() {
            for (number, phase) in self.sketch.graph.phases.iter().enumerate() {
                self.bubble(x + 7, y - 4, number, &(number % COLORS).to_string());
                self.words(x + 20, y, "l", phase.as_str());
                x += 20 + width(phase.as_str(), SMALL, false).ceil() as i64 + 22;
            }
        }
        for (kinds, words) in [
            (
                &[FlowKind::Backup, FlowKind::Sync, FlowKind::Cloud][..],
                "copies",
            ),
            (&[FlowKind::Drill], "proves by a restore"),
            (&[FlowKind::Mount], "is kept on"),
            (&[FlowKind::Move], "moves to"),
        ] {
            if !self
                .sketch
                .arrows
                .iter()
                .any(|arrow| kinds.contains(&arrow.kind))
            {
                continue;
            }
            let (from, to, line, dash) = (x, x + 26, y - 4, dash(kinds[0]));
            self.push(format_args!(
                r#"<path d="M{from} {line}H{to}" class="p{dash}"/>"#
            ));
            self.words(x + 32, y, "l", words);
            x += 32 + width(words, SMALL, false).ceil() as i64 + 22;
        }
        self.right = x;
    }

    fn finish(mut self, layout: &Layout<'_>) -> String {
        let graph = self.sketch.graph;
        let legend = layout.height + 14;
        self.legend(legend);
        let title = xml(graph.topology.as_str());
        let title_end = 40 + width(graph.topology.as_str(), 19.0, true).ceil() as i64;
        let counts = counts(graph);
        let counts_end = 40 + width(&counts, SMALL, false).ceil() as i64;
        let width = layout.width.max(self.right).max(title_end).max(counts_end);
        let height = legend + 22;
        let flows = self.sketch.arrows.iter();
        let sentences: Vec<String> = flows.map(|arrow| xml(&arrow.whole)).collect();
        let description = sentences.join(".\n");
        let body = &self.text;
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" aria-labelledby="graph-title graph-desc">
<title id="graph-title">{title}: {counts}</title>
<desc id="graph-desc">{description}</desc>
<style>{STYLE}</style>
<rect width="{width}" height="{height}" class="bg"/>
<text x="20" y="34" class="t">{title}</text>
<text x="20" y="54">{counts}</text>
{body}</svg>
"#
        )
    }
}

fn counts(graph: &Graph) -> String {
    let things = |kinds: &[ThingKind]| {
        let things = graph
            .things
            .iter()
            .filter(|thing| kinds.contains(&thing.kind));
        // Guests on several nodes are one group, and a datastore with two places is one.
        let mut names: Vec<&str> = things.map(|thing| thing.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names.len()
    };
    let is_node = |kind| matches!(kind, MachineKind::Machine | MachineKind::Container);
    let nodes = graph
        .machines
        .iter()
        .filter(|machine| is_node(machine.kind));
    [
        count(nodes.count(), "node", "nodes"),
        count(
            things(&[ThingKind::Source, ThingKind::Guests]),
            "source",
            "sources",
        ),
        count(things(&[ThingKind::Datastore]), "datastore", "datastores"),
        count(graph.phases.len(), "phase", "phases"),
    ]
    .join(" · ")
}

fn dash(kind: FlowKind) -> &'static str {
    match kind {
        FlowKind::Backup | FlowKind::Sync | FlowKind::Cloud => "",
        FlowKind::Drill => " drill",
        FlowKind::Mount => " mount",
        FlowKind::Move => " move",
    }
}

/// Writes a line of right angles with its corners rounded.
fn path(points: &[(i64, i64)]) -> String {
    let mut text = String::new();
    for (number, &(x, y)) in points.iter().enumerate() {
        let (before, after) = (
            number.checked_sub(1).map(|n| points[n]),
            points.get(number + 1),
        );
        let (Some(before), Some(&after)) = (before, after) else {
            let verb = if number == 0 { 'M' } else { 'L' };
            let _ = write!(text, "{verb}{x} {y}");
            continue;
        };
        let towards = |other: (i64, i64)| {
            let (dx, dy) = (other.0 - x, other.1 - y);
            let radius = (dx.abs().max(dy.abs()) / 2).min(CORNER);
            (x + dx.signum() * radius, y + dy.signum() * radius)
        };
        let (start, end) = (towards(before), towards(after));
        let _ = write!(text, "L{} {}Q{x} {y} {} {}", start.0, start.1, end.0, end.1);
    }
    text
}
