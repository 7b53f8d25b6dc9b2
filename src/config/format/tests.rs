//! Formatting changes nothing that a text says, and has nothing left to do afterwards.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::config::document::{Kind, Node};

/// What a text means to the `kdl` crate.
fn meaning(text: &str) -> Result<String, String> {
    let document = kdl::KdlDocument::parse(text).map_err(|error| format!("{error:?}"))?;
    Ok(of_document(&document))
}

/// What a document says, types and all.
fn of_document(document: &kdl::KdlDocument) -> String {
    fn typed(out: &mut String, ty: Option<&kdl::KdlIdentifier>) {
        if let Some(ty) = ty {
            let _ = write!(out, "({:?})", ty.value());
        }
    }
    fn nodes(out: &mut String, document: &kdl::KdlDocument) {
        for node in document.nodes() {
            out.push('[');
            typed(out, node.ty());
            let _ = write!(out, "{:?}", node.name().value());
            for entry in node.entries() {
                out.push(' ');
                if let Some(name) = entry.name() {
                    let _ = write!(out, "{:?}=", name.value());
                }
                typed(out, entry.ty());
                let _ = write!(out, "{:?}", entry.value());
            }
            if let Some(children) = node.children() {
                out.push('{');
                nodes(out, children);
                out.push('}');
            }
            out.push(']');
        }
    }
    let mut out = String::new();
    nodes(&mut out, document);
    out
}

/// What a text means to the rest of `config`.
fn topology_meaning(text: &str) -> String {
    fn nodes(out: &mut String, all: &[Node]) {
        for node in all {
            let _ = write!(out, "[{:?}", node.name.text);
            for entry in &node.entries {
                let name = entry.name.as_ref().map(|name| &name.text);
                let _ = write!(out, " {name:?}={:?}", entry.value);
            }
            if let Some(children) = &node.children {
                out.push('{');
                nodes(out, children);
                out.push('}');
            }
            out.push(']');
        }
    }
    let (all, _) = crate::config::document::parse(text, 0, &mut 60_000);
    let mut out = String::new();
    nodes(&mut out, &all);
    out
}

/// Everything in a text but spaces, ends of lines and what stands for them, in order.
fn substance(text: &str) -> Vec<String> {
    let text = text.replace("\r\n", "\n");
    let tokens = tokens(&text).expect("a text without mistakes");
    let kept = tokens
        .iter()
        .filter(|token| !matches!(token.kind, Kind::Newline | Kind::Escape | Kind::Semicolon));
    kept.map(|token| match token.kind {
        Kind::LineComment => token.text.trim_end().to_owned(),
        _ => token.text.to_owned(),
    })
    .collect()
}

/// Holds a text to every law.
fn obeys(text: &str) -> Result<(), TestCaseError> {
    let Some(once) = form(text) else {
        let (_, mistakes) = crate::config::document::parse(text, 0, &mut 60_000);
        return Err(TestCaseError::fail(format!(
            "refused: {text:?}: {mistakes:?}"
        )));
    };
    prop_assert_eq!(
        topology_meaning(&once),
        topology_meaning(text),
        "{:?}\nbecame {}",
        text,
        &once
    );
    prop_assert_eq!(
        substance(&once),
        substance(text),
        "{:?}\nbecame {}",
        text,
        &once
    );
    let twice = form(&once);
    prop_assert_eq!(twice.as_ref(), Some(&once), "{:?}", text);
    prop_assert!(once.is_empty() || once.ends_with('\n'));
    prop_assert!(!once.contains("\n\n\n") || text.contains("\"\"\"") || text.contains("/*"));
    Ok(())
}

/// Draws from bytes that proptest makes, so that a failure shrinks to few and low throws.
struct Dice<'a>(&'a [u8]);

impl Dice<'_> {
    fn below(&mut self, n: usize) -> usize {
        let (throw, rest) = match self.0 {
            [] => (0, self.0),
            [throw, rest @ ..] => (*throw, rest),
        };
        self.0 = rest;
        usize::from(throw) % n
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    fn of<'b>(&mut self, items: &[&'b str]) -> &'b str {
        items[self.below(items.len())]
    }
}

const NEWLINES: &[&str] = &[
    "\n", "\n", "\r\n", "\n\n\n", "\u{85}", "\u{2028}", "\r", "\u{c}",
];
const SPACES: &[&str] = &[" ", "  ", "\t", "\u{a0}", " \u{3000}"];
const BLOCK_COMMENTS: &[&str] = &[
    "/* c */",
    "/**/",
    "/* a /* b */ c */",
    "/* two\n  lines */",
    "/* // */",
    "/* { ; \" */",
    "/* ü\r\n */",
];
const LINE_COMMENTS: &[&str] = &[
    "// c",
    "//",
    "// \" { /* /-",
    "// ends in space  ",
    "// \\",
    "//\u{fc}\t",
];
const NAMES: &[&str] = &[
    "a",
    "node",
    "\"quoted name\"",
    "\"\"",
    "-",
    "+.a",
    "größe",
    "<x>,",
    "#\"raw\"#",
    "\"\"\"\n  lines\n  \"\"\"",
    "r",
];
const VALUES: &[&str] = &[
    "\"text\"",
    "word",
    "1",
    "-1_000",
    "0x1F",
    "-0xff",
    "0o750",
    "0b1010_1",
    "1.50",
    "+1e10",
    "-1.5E-3",
    "#true",
    "#false",
    "#null",
    "#inf",
    "#-inf",
    "#nan",
    "\"\\n\\t\\\"\\\\\\s\\u{1F512}\"",
    "\"a\\   b\"",
    "\"a\\\n     b\"",
    "\"a\\\r\n\r\n     b\"",
    "#\"raw \\ \" text\"#",
    "##\"raw \"# text\"##",
    "\"\"\"\n  several\n    lines  \n\n\n\n  \"\"\"",
    "#\"\"\"\n\t\\raw \"\"\n\t\"\"\"#",
    "\"\"\"\r\n  with \\\"\"\" in it\r\n  \"\"\"",
    "\"a text so long that what is around it has little room left on its line, seventy columns\"",
    "\"日本語の文字は二列を取る\"",
];

struct Writer<'d> {
    dice: Dice<'d>,
    out: String,
    depth: usize,
}

impl Writer<'_> {
    fn put(&mut self, items: &[&str]) {
        let item = self.dice.of(items);
        self.out.push_str(item);
    }

    fn newline(&mut self) {
        self.put(NEWLINES);
    }

    /// Writes spaces, comments and ends of lines that go on, at least one if asked for.
    fn space(&mut self, needed: bool) {
        if needed || self.dice.one_in(6) {
            self.put(SPACES);
        }
        while self.dice.one_in(9) {
            match self.dice.below(3) {
                0 => {
                    self.put(BLOCK_COMMENTS);
                    self.put(SPACES);
                }
                1 => {
                    self.out.push_str(" \\");
                    self.newline_here();
                }
                _ => {
                    self.out.push_str("\\ ");
                    if self.dice.one_in(3) {
                        self.put(BLOCK_COMMENTS);
                    }
                    self.put(LINE_COMMENTS);
                    self.newline_here();
                }
            }
            self.put(SPACES);
        }
    }

    /// Writes the end of exactly one line.
    fn newline_here(&mut self) {
        let newline = self.dice.of(&["\n", "\r\n", "\u{2029}"]);
        self.out.push_str(newline);
    }

    /// Writes what may stand between statements.
    fn lines(&mut self) {
        while self.dice.one_in(3) {
            match self.dice.below(5) {
                0 | 1 => self.newline(),
                2 => {
                    self.put(LINE_COMMENTS);
                    self.newline();
                }
                3 => {
                    self.put(BLOCK_COMMENTS);
                    self.space(true);
                }
                _ => self.space(true),
            }
        }
    }

    /// Writes a `/-` now and then, with what may follow it; says whether it did.
    fn slash_dash(&mut self) -> bool {
        let here = self.dice.one_in(8);
        if here {
            self.out.push_str("/-");
            self.lines();
        }
        here
    }

    fn annotation(&mut self) {
        if self.dice.one_in(8) {
            self.out.push('(');
            self.space(false);
            self.put(NAMES);
            self.space(false);
            self.out.push(')');
            self.space(false);
        }
    }

    fn value(&mut self) {
        self.annotation();
        self.put(VALUES);
    }

    fn entry(&mut self) {
        if self.dice.one_in(3) {
            self.put(NAMES);
            self.space(false);
            self.out.push('=');
            self.space(false);
        }
        self.value();
    }

    fn children(&mut self) {
        self.out.push('{');
        self.depth += 1;
        self.nodes();
        self.depth -= 1;
        self.out.push('}');
    }

    /// Writes a statement; says whether it is left out.
    fn node(&mut self) -> bool {
        let left_out = self.slash_dash();
        self.annotation();
        self.put(NAMES);
        while self.dice.one_in(2) {
            self.space(true);
            self.slash_dash();
            self.entry();
        }
        while self.dice.one_in(12) {
            self.space(true);
            self.out.push_str("/-");
            self.lines();
            self.children();
        }
        if self.depth < 5 && self.dice.one_in(3) {
            self.space(true);
            self.children();
            while self.dice.one_in(12) {
                self.space(true);
                self.out.push_str("/-");
                self.lines();
                self.children();
            }
        }
        self.space(false);
        left_out
    }

    fn nodes(&mut self) {
        self.lines();
        let share = if self.depth == 0 { 12 } else { 3 };
        while self.dice.below(share) > 0 && self.out.len() < 3_000 {
            let left_out = self.node();
            match self.dice.below(5) {
                // The crate knows no semicolon behind what is left out.
                2 | 3 if !left_out => self.out.push(';'),
                0..=3 => self.newline(),
                _ => {
                    self.space(true);
                    self.put(LINE_COMMENTS);
                    self.newline();
                }
            }
            self.lines();
        }
        // The last statement of a block needs no end.
        if self.dice.one_in(2) {
            self.node();
        }
        self.space(false);
    }
}

/// Writes a document with everything that KDL allows in places where nobody would put it.
fn document(throws: &[u8]) -> String {
    let mut writer = Writer {
        dice: Dice(throws),
        out: String::new(),
        depth: 0,
    };
    let start = writer.dice.of(&[
        "",
        "\u{feff}a;",
        "/- kdl-version 2\n",
        "\n /-kdl-version  2 // v\n",
    ]);
    writer.out.push_str(start);
    writer.nodes();
    if writer.dice.one_in(8) {
        writer.put(LINE_COMMENTS);
    }
    writer.out
}

const OLD_NAMES: &[&str] = &[
    "a",
    "node",
    "inf",
    "#tag",
    "\"quoted\\/name\"",
    "-",
    ".5x",
    "größe",
    "r",
];
const OLD_VALUES: &[&str] = &[
    "\"text\"",
    "true",
    "false",
    "null",
    "1",
    "-1_000",
    "0x1F",
    "0o17",
    "0b101",
    "1.5e3",
    "r\"C:\\x\"",
    "r#\"say \"x\" \\ \"#",
    "r#\"\"\"#",
    "r\"two\nlines \\\"",
    "\"two\r\nlines\\n\\/\\\\\\u{1F512}\"",
    "\"\"",
    "\"\u{2028}\u{c}\"",
];
const OLD_SPACES: &[&str] = &[
    " ",
    "\t",
    " /* c /* d */ */ ",
    " \\\n  ",
    " \\ // c\n  ",
    "\u{feff}",
    " /- true ",
    " /- \"a\"=null ",
];
const OLD_ENDS: &[&str] = &[
    "\n",
    "\r\n",
    ";",
    " // true\n",
    " ; /-b true\n",
    ";\n\n/* r\"x\" */\n",
];

impl Writer<'_> {
    /// Writes statements in KDL 1.
    fn old_nodes(&mut self) {
        let share = if self.depth == 0 { 8 } else { 3 };
        while self.dice.below(share) > 0 {
            self.old_annotation();
            self.put(OLD_NAMES);
            while self.dice.one_in(2) {
                self.put(OLD_SPACES);
                if self.dice.one_in(3) {
                    self.put(OLD_NAMES);
                    self.out.push('=');
                }
                self.old_annotation();
                self.put(OLD_VALUES);
            }
            if self.depth < 4 && self.dice.one_in(4) {
                self.out.push_str(" {");
                self.depth += 1;
                self.put(&["", "\n"]);
                self.old_nodes();
                self.depth -= 1;
                self.out.push('}');
            }
            self.put(OLD_ENDS);
        }
    }

    fn old_annotation(&mut self) {
        self.put(&["", "", "", "(t)", "(\"a b\")", "(inf)"]);
    }
}

/// Writes a document in KDL 1.
fn old_document(throws: &[u8]) -> String {
    let mut writer = Writer {
        dice: Dice(throws),
        out: String::new(),
        depth: 0,
    };
    writer.put(&["", "/- kdl-version 1\n", "\u{feff}", "// c\n"]);
    writer.old_nodes();
    writer.out
}

/// Returns the comments that `old_document` writes, in their order.
fn old_comments(text: &str) -> Vec<&str> {
    let all = ["/* c /* d */ */", "// c\n", "// true\n", "/* r\"x\" */"];
    let mut found: Vec<(usize, &str)> = all
        .iter()
        .flat_map(|comment| text.match_indices(comment))
        .collect();
    found.sort_unstable();
    found.into_iter().map(|(_, comment)| comment).collect()
}

fn throws(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..max)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_form_says_what_the_text_said_and_has_a_form_already(throws in throws(1_500)) {
        let text = document(&throws);
        let meant = meaning(&text);
        prop_assert!(meant.is_ok(), "the crate refuses {:?}: {:?}", text, meant);
        obeys(&text)?;
        prop_assert_eq!(form(&text).map(|form| meaning(&form)), Some(meant), "{:?}", text);
    }

    #[test]
    fn a_file_in_kdl_1_says_the_same_in_kdl_2(throws in throws(300)) {
        let old = old_document(&throws);
        let read = kdl::KdlDocument::parse_v1(&old);
        prop_assert!(read.is_ok(), "the crate refuses {:?}", old);
        let meant = of_document(&read.expect("it is fine"));
        let new = from_v1(&old);
        prop_assert!(new.is_some(), "refused: {:?}", old);
        let new = new.expect("it is there");
        prop_assert_eq!(meaning(&new), Ok(meant), "{:?}\nbecame {:?}", old, new);
        prop_assert_eq!(old_comments(&old), old_comments(&new), "{:?}\nbecame {:?}", old, new);
        prop_assert!(is_sound(&new), "{:?}\nbecame {:?}", old, new);
    }

    #[test]
    fn arbitrary_texts_are_formatted_or_refused(text in prop_oneof![".{0,60}", "[a \n\\\\{};=()/*\"#-]{0,40}"]) {
        if let Some(once) = form(&text) {
            prop_assert_eq!(substance(&once), substance(&text));
            prop_assert_eq!(form(&once), Some(once), "{:?}", text);
        }
        let _ = from_v1(&text);
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the KDL files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut found: Vec<PathBuf> = paths
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .filter(|path| path.extension().is_some_and(|ending| ending == "kdl"))
        .collect();
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Set `BKPCTL_UPDATE=1` to write what is made now, then read every difference.
#[test]
fn texts_get_the_form_that_is_expected() {
    let mut wrong = Vec::new();
    let mut cases = 0;
    for path in files(&root().join("tests/cases/format")) {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name");
        let Some(name) = name.strip_suffix(".written.kdl") else {
            continue;
        };
        cases += 1;
        let old = name.starts_with("kdl-1");
        let made = format_text("topology.kdl", &read(&path), old);
        let made = made.files[0]
            .after
            .clone()
            .expect("a text without mistakes");
        let expected = path.with_file_name(format!("{name}.formatted.kdl"));
        if std::env::var_os("BKPCTL_UPDATE").is_some() {
            fs::write(&expected, &made).expect("a writable checkout");
        }
        if read(&expected) != made {
            wrong.push(format!("{name}:\n{made}"));
        }
    }
    assert!(cases > 0);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_topology_in_the_project_says_the_same_in_its_form() {
    let mut held = 0;
    let all = ["examples", "tests/cases"].map(|folder| files(&root().join(folder)));
    for path in all.into_iter().flatten() {
        // Files with mistakes are left as they are.
        if is_sound(&read(&path)) {
            obeys(&read(&path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            held += 1;
        }
    }
    assert!(held > 10, "{held} files");
}

#[test]
fn a_file_with_mistakes_has_no_form_and_the_mistakes_are_told() {
    for text in [
        "a {",
        "a \"b",
        "a true",
        "a 24h",
        "a \u{202e}",
        "a \"\\q\"",
        "a #x",
        "= 3",
    ] {
        let made = format_text("topology.kdl", text, false);
        assert_eq!(made.files[0].after, None, "{text}");
        assert!(!made.files[0].changes(), "{text}");
        assert!(!made.diagnostics.is_empty(), "{text}");
    }
    let typed = format_text("topology.kdl", "a  (t)b\n", false);
    assert_eq!(typed.files[0].after.as_deref(), Some("a (t)b\n"));
    assert!(typed.diagnostics.is_empty());
}

#[test]
fn hostile_texts_are_refused_or_formatted_within_seconds() {
    let many = |unit: &str| unit.repeat((64 << 10) / unit.len());
    let nested = |open: &str, close: &str| open.repeat(60) + &close.repeat(60);
    for text in [
        many("a {"),
        many("/- "),
        many("a /-{"),
        format!("a {}", many("/-{} ")),
        format!("a {}", many("/* */ ")),
        format!("a {}", many("/*\n*/ ")),
        format!("a {}", many("\\\n")),
        format!("a {}", many("\\ // c\n")),
        many("/* */"),
        many("a{};"),
        many("a {} // c\n"),
        many("\u{2028}"),
        nested("a {", "}"),
        nested("a { b; ", "}"),
        nested("a {\n b { c }; ", "}"),
        many("r\"x\" "),
        many("a r#\"x\"#\n"),
        format!("r{}", many("#")),
        many("r#"),
    ] {
        let start = std::time::Instant::now();
        let made = format_text("topology.kdl", &text, true);
        let took = start.elapsed();
        let shown: String = text.chars().take(20).collect();
        assert!(took.as_secs() < 10, "{shown:?} took {took:?}");
        assert!(
            made.files[0].after.is_some() || !made.diagnostics.is_empty(),
            "{shown:?}"
        );
    }
}

#[test]
fn only_a_whole_file_in_kdl_1_is_converted() {
    assert_eq!(from_v1("a word"), None, "values have quotes there");
    assert_eq!(from_v1("a \"\\s\""), None, "an escape of KDL 2");
    assert_eq!(from_v1("true 1"), None, "no name");
    let made = format_text("topology.kdl", "a true /* c */\n", false);
    assert_eq!(made.files[0].after, None);
    let help = made.diagnostics[0].help.as_deref().unwrap_or_default();
    assert!(help.contains("bkpctl fmt --from-v1"), "{help}");
    let made = format_text("topology.kdl", "a true /* c */\n", true);
    assert_eq!(made.files[0].after.as_deref(), Some("a #true /* c */\n"));
    assert_eq!(made.files[0].before, "a true /* c */\n");
}
