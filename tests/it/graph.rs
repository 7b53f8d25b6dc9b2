//! The topology as a picture: what each form says, and that none can be made to say more.

use std::path::{Path, PathBuf};

use bkpctl::cli::commands::schema;
use bkpctl::cli::render::graph::{dot, mermaid, svg};
use bkpctl::model::topology::Content;
use bkpctl::plan::graph::{Graph, graph};
use serde_json::Value;

use crate::access_cases::topology_of;
use crate::plan_cases;
use crate::support::sandbox::Sandbox;
use crate::support::schema::assert_fits;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/graph")
}

fn text(name: &str) -> String {
    std::fs::read_to_string(folder().join(name).with_extension("kdl")).expect("a case")
}

fn json(graph: &Graph) -> String {
    serde_json::to_string_pretty(graph).expect("plain data") + "\n"
}

/// `tests/cases/graph/NAME.*` are what each form says; `BKPCTL_UPDATE=1` writes them anew.
#[test]
fn each_case_is_drawn_in_every_form() {
    let mut problems = Vec::new();
    for name in ["homelab", "edges"] {
        let graph = graph(&topology_of(&text(name)), "site");
        for (ending, text) in [
            ("svg", svg::render(&graph)),
            ("dot", dot::render(&graph)),
            ("mmd", mermaid::render(&graph)),
            ("json", json(&graph)),
        ] {
            let file = folder().join(name).with_extension(ending);
            problems.extend(plan_cases::expect(&file, &text).err());
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn its_json_fits_its_schema() {
    let text = schema::text("graph.v1").expect("the schema of graphs");
    let schema: Value = serde_json::from_str(&text).expect("a schema");
    for case in plan_cases::cases() {
        let graph = graph(&case.topology, "site");
        assert_fits(&serde_json::to_value(&graph).expect("plain data"), &schema);
    }
}

#[test]
fn no_text_of_a_topology_becomes_part_of_a_picture_and_no_argument_is_shown() {
    let mut topology = topology_of(&text("edges"));
    // The language refuses such text; a topology inside a saved plan did not come through it.
    let source = topology.sources.get_mut("left").expect("a source");
    source.content = Content::Volume {
        device: "/left\u{1b}[2J\u{202e}\u{0}\n\u{fffe}".to_owned(),
        via: None,
    };
    let graph = graph(&topology, "site");
    let svg = svg::render(&graph);
    let tags = svg.split('<').skip(1).map(|tag| {
        let end = tag.find(|c: char| !c.is_ascii_alphanumeric() && c != '/');
        &tag[..end.unwrap_or(tag.len())]
    });
    let known = [
        "svg", "/svg", "title", "/title", "desc", "/desc", "style", "/style", "g", "/g", "rect",
        "text", "/text", "tspan", "/tspan", "path", "polygon", "circle",
    ];
    for tag in tags {
        assert!(known.contains(&tag), "{tag}");
    }
    for picture in [
        svg,
        dot::render(&graph),
        mermaid::render(&graph),
        json(&graph),
    ] {
        assert!(!picture.contains("canary"), "{picture}");
        let hidden = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        // JSON writes what is no text as escapes of its own, except marks of direction.
        if !picture.starts_with('{') {
            assert!(!picture.contains(hidden), "{picture}");
        }
    }
}

#[test]
fn a_picture_is_the_same_every_time_and_every_case_has_one() {
    for case in plan_cases::cases() {
        let draw = || {
            let graph = graph(&case.topology, "site");
            [
                svg::render(&graph),
                dot::render(&graph),
                mermaid::render(&graph),
            ]
        };
        assert_eq!(draw(), draw());
    }
}

#[test]
fn the_form_follows_the_word_or_the_name_of_the_file() {
    let sandbox = Sandbox::new();
    sandbox.write("topology.kdl", text("homelab"));
    for (words, begins) in [
        (&["graph"][..], "<svg "),
        (&["graph", "--format", "mermaid"], "flowchart LR"),
        (&["graph", "--format", "dot"], "digraph "),
        (&["graph", "--format", "json"], "{"),
    ] {
        let ran = sandbox.run(words).exits(0);
        assert!(ran.stdout.starts_with(begins), "{words:?}: {}", ran.stdout);
    }
    for (file, begins) in [
        ("a.svg", "<svg "),
        ("a.mmd", "flowchart"),
        ("a.dot", "digraph"),
    ] {
        let ran = sandbox.run(&["graph", "-o", file]).exits(0);
        assert_eq!(ran.stdout, "");
        let drawn = std::fs::read_to_string(sandbox.join(file)).expect("a picture");
        assert!(drawn.starts_with(begins), "{file}: {drawn}");
    }
    let by = sandbox
        .run(&["graph", "--by", "power", "--format", "json"])
        .exits(0);
    assert!(by.stdout.contains("ups-b"));
    sandbox
        .run(&["graph", "--by", "rack"])
        .exits(1)
        .says("power, site");
    sandbox
        .run(&["graph", "-o", "no/such/a.svg"])
        .exits(1)
        .says("a folder that exists");
}
