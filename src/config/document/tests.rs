//! What the scan lets through is what the `kdl` crate reads, and hostile texts are refused.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::read::both_ways;
use super::{ATOMS_MAX, Entry, Node, Value, parse};
use crate::config::diagnostic::Mistake;

fn read(text: &str) -> (Vec<Node>, Vec<Mistake>) {
    parse(text, 0, &mut ATOMS_MAX.clone())
}

/// A tree in a form that both readers can be brought to.
fn ours(nodes: &[Node]) -> String {
    nodes.iter().fold(String::new(), |mut out, node| {
        let _ = write!(out, "[{:?}", node.name.text);
        for entry in entries(&node.entries) {
            let _ = write!(out, " {entry}");
        }
        if let Some(children) = &node.children {
            let _ = write!(out, " {{{}}}", ours(children));
        }
        out + "]"
    })
}

fn entries(entries: &[Entry]) -> Vec<String> {
    let shown = |entry: &Entry| {
        let value = match &entry.value {
            Value::Text(text) => format!("{text:?}"),
            Value::Integer(n) => n.to_string(),
            Value::OtherNumber => "number".to_owned(),
            Value::Bool(b) => b.to_string(),
            Value::Null => "null".to_owned(),
        };
        let name = entry.name.as_ref().map(|name| format!("{:?}=", name.text));
        format!("{}{value}", name.unwrap_or_default())
    };
    entries.iter().map(shown).collect()
}

fn theirs(nodes: &[kdl::KdlNode]) -> String {
    nodes.iter().fold(String::new(), |mut out, node| {
        let _ = write!(out, "[{:?}", node.name().value());
        for entry in node.entries() {
            let value = match entry.value() {
                kdl::KdlValue::String(text) => format!("{text:?}"),
                kdl::KdlValue::Integer(n) => n.to_string(),
                kdl::KdlValue::Float(_) => "number".to_owned(),
                kdl::KdlValue::Bool(b) => b.to_string(),
                kdl::KdlValue::Null => "null".to_owned(),
            };
            let name = entry.name().map(|name| format!("{:?}=", name.value()));
            let _ = write!(out, " {}{value}", name.unwrap_or_default());
        }
        if let Some(children) = node.children() {
            let _ = write!(out, " {{{}}}", theirs(children.nodes()));
        }
        out + "]"
    })
}

/// Reads a text directly and by way of the scan, and compares.
fn agree(text: &str) -> Result<(), String> {
    let (nodes, mistakes) = read(text);
    let direct = kdl::KdlDocument::parse(text);
    match (mistakes.is_empty(), direct) {
        (true, Ok(document)) => {
            let (a, b) = (ours(&nodes), theirs(document.nodes()));
            if a == b {
                Ok(())
            } else {
                Err(format!("{text:?}\nscanned {a}\ndirect  {b}"))
            }
        }
        (false, Err(_)) => Ok(()),
        // Between a word and a comment the crate wants a space; the scan does without.
        (true, Err(_)) if text.contains('/') => Ok(()),
        (true, Err(error)) => Err(format!(
            "{text:?}\nonly the scan lets it through: {:?}",
            error.diagnostics
        )),
        // A (type) is KDL, but means nothing in a topology.
        (false, Ok(_)) if text.contains('(') => Ok(()),
        // What a /- leaves out the crate reads without minding its mistakes, and it does
        // without the space that belongs before it.
        (false, Ok(_)) if text.contains("/-") => {
            let kept = text.replace("/-", "");
            let refused = kdl::KdlDocument::parse(&kept).is_err();
            let glued = mistakes
                .iter()
                .any(|m| text[m.span.start as usize..].starts_with("/-"));
            if refused || glued {
                Ok(())
            } else {
                Err(format!("{text:?}\nonly the scan refuses it: {mistakes:?}"))
            }
        }
        (false, Ok(_)) => Err(format!("{text:?}\nonly the scan refuses it: {mistakes:?}")),
    }
}

#[test]
fn a_scan_changes_nothing_in_what_is_read() {
    for text in [
        "",
        "a",
        "a;b",
        "a 1 2 b=3 c=\"d\" {e; f}",
        "a{b}",
        "a {b\n}\nc",
        "a /-b c /-d=1 /-{x} {y} /-{z}",
        "/-a {b}\nc",
        "/- \n a\nb",
        "a \\\n b",
        "a \\ // c\n b",
        "a /* b /* c */ */ d // e",
        "\"a b\" #\"c\\\"# ##\"d\"# e\"##",
        "a 0x1F 0o17 0b101 1_000 -5 +5 1.5 1e3 -1.5E-3 #inf #-inf #nan",
        "a #true #false #null",
        "a \"\\n\\t\\\\\\\"\\s\\u{41}\\\n   x\"",
        "a \"\"\"\n  b\n    c\n\n  \"\"\"",
        "a #\"\"\"\n  b \\n\n  \"\"\"#",
        "a (t)b c=(t)d (t)\"e\"",
        "(t)a",
        "a - -- -a .b . +",
        "a b = c",
        "a\u{85}b\u{2028}c",
        "\u{feff}a",
        "kdl-version 2",
        "a -1x",
        "a 1x",
        "a .1",
        "a true",
        "a \"b",
        "a {",
        "a }",
        "a b{} c",
        "a\"b\"",
        "a (",
        "a b=",
        "a =b",
        "/-",
        "a #x",
        "a \"\\q\"",
        "a \"\"\"b\"\"\"",
        "a/b",
        "a [b]",
        "a \u{200e}",
        "a {} {}",
        "a {} b",
        "a 99999999999999999999999999999999999999999999",
    ] {
        agree(text).unwrap_or_else(|difference| panic!("{difference}"));
    }
}

const TOKENS: &[&str] = &[
    "a",
    "b",
    "node",
    "\"t\"",
    "\"\"",
    "#\"r\"#",
    "1",
    "-2",
    "0x1f",
    "1.5",
    "24h",
    "true",
    "#true",
    "#null",
    "=",
    "{",
    "}",
    ";",
    "\n",
    " ",
    " ",
    "  ",
    "\t",
    "/-",
    "/- ",
    "// c\n",
    "/* c */",
    "\\\n",
    "(t)",
    "(",
    ")",
    "\"",
    "#",
    "-",
    ".",
    "\"\"\"\n x\n \"\"\"",
    "\\",
    "/",
    "é",
    "\r\n",
];

fn text_of_tokens(max: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(TOKENS), 0..max).prop_map(|tokens| tokens.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_scan_changes_nothing_in_what_is_read_of_arbitrary_texts(text in text_of_tokens(10)) {
        if let Err(difference) = agree(&text) {
            prop_assert!(false, "{}", difference);
        }
    }

    #[test]
    fn arbitrary_texts_never_panic_and_places_lie_inside(text in prop_oneof![text_of_tokens(60), ".{0,60}"]) {
        let (_, mistakes) = read(&text);
        for mistake in mistakes {
            let span = mistake.span;
            prop_assert!(text.get(span.start as usize..(span.start + span.len) as usize).is_some());
            prop_assert!(!mistake.message.contains("expected end of document"), "{:?}", mistake);
        }
    }
}

/// Tells whether a text is read without the crate, and demands that it would read the same.
#[track_caller]
fn is_everyday(text: &str) -> bool {
    let Some((ours, theirs)) = both_ways(text) else {
        return false;
    };
    assert_eq!(ours, theirs, "{text:?}");
    true
}

#[test]
fn what_is_read_without_the_crate_has_the_same_names_values_and_places() {
    for text in [
        "a",
        "a 1 -2 +3 b=4 c=\"d\" { e; f }\n",
        "a \"x y\" \"\" #true #false #null {\n    b c = d // e\n}\n",
        "a \"\\n\\t\\\\\\\"\\s\"\r\nb /-c d {}",
        "é \"ü\" {b{c}}",
        include_str!("../../../examples/quickstart/topology.kdl"),
    ] {
        assert!(is_everyday(text), "{text:?}");
    }
    for text in [
        "a 0x1f",
        "a 1_0",
        "a 1.5",
        "a #\"r\"#",
        "a \"\\u{41}\"",
        "a \"\"\"\n b\n \"\"\"",
    ] {
        assert!(!is_everyday(text), "{text:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_read_without_the_crate_is_the_same_for_arbitrary_texts(text in text_of_tokens(12)) {
        let sound = read(&text).1.is_empty();
        if sound {
            is_everyday(&text);
        }
    }
}

#[test]
fn after_a_brace_that_closes_nothing_the_next_node_is_read() {
    for text in [
        "a{aa}}a1",
        "a}b",
        "a {\n}\n}\nb",
        "a {} }b",
        "a \\\n} b",
        "a /-{}}b",
    ] {
        let (nodes, mistakes) = read(text);
        let said: Vec<&str> = mistakes.iter().map(|m| m.message.as_str()).collect();
        assert_eq!(said, ["this } closes nothing"], "{text:?}");
        assert_eq!(nodes.len(), 2, "{text:?}: {}", ours(&nodes));
    }
}

#[test]
fn hostile_texts_are_refused_or_read_within_a_second() {
    // Without optimisation a quarter of the size and a share of the machine must do.
    let (size, limit) = if cfg!(debug_assertions) {
        (1 << 18, Duration::from_secs(4))
    } else {
        (1 << 20, Duration::from_secs(1))
    };
    let mut texts: Vec<String> = TOKENS
        .iter()
        .chain(&[
            "a {",
            "a {\n",
            "/* ",
            "/*/",
            "a /-{",
            "/-a {",
            "a=",
            "a b\n",
            "a =\n",
            "{}",
            "\"\n",
            "#\"\n",
            "####",
            "\"\"\"",
            "\\u{",
            "/- /- ",
            "a \"\\u{41}\"\n",
            "r#\"",
            "x\\",
        ])
        .flat_map(|unit| {
            let many = unit.repeat(size / unit.len() - 8);
            [format!("a {many}"), many]
        })
        .collect();
    let nested = |open: &str, n: usize| format!("{}{}", open.repeat(n), "}".repeat(n));
    texts.extend([
        nested("a {", 64),
        nested("a {", 65),
        nested("a /-{", 64),
        nested("/-a {", 100_000),
    ]);
    for text in texts {
        let start = Instant::now();
        let (_, mistakes) = read(&text);
        let took = start.elapsed();
        let shown: String = text.chars().take(30).collect();
        assert!(took < limit, "{shown:?} took {took:?}");
        assert!(mistakes.len() <= 60, "{shown:?}");
    }
}

#[test]
fn nesting_and_size_have_a_limit_that_is_named() {
    for (text, word) in [
        ("a {".repeat(65), "nested deeper than 64"),
        ("/*".repeat(17), "nested deeper than 16"),
        (" ".repeat((1 << 20) + 1), "1048577 bytes"),
    ] {
        let (_, mistakes) = read(&text);
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert!(mistakes[0].message.contains(word), "{mistakes:?}");
    }
}
