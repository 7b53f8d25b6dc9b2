//! Data cases for the whole way from text to topology.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::model::topology::{Content, DatastoreKind, Reach};

/// Files in memory.
struct Texts(BTreeMap<String, String>);

impl Files for Texts {
    fn read(&mut self, path: &str) -> Result<String, FilesError> {
        self.0.get(path).cloned().ok_or(FilesError::NotFound)
    }

    fn list(&mut self, folder: &str) -> Result<Vec<String>, FilesError> {
        let names: Vec<String> = self
            .0
            .keys()
            .filter_map(|path| match path.rsplit_once('/') {
                Some((parent, name)) => (parent == folder).then(|| name.to_owned()),
                None => folder.is_empty().then(|| path.clone()),
            })
            .collect();
        if names.is_empty() {
            Err(FilesError::NotFound)
        } else {
            Ok(names)
        }
    }
}

fn load_files(files: &[(&str, &str)]) -> Loaded {
    let texts = files
        .iter()
        .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
        .collect();
    load("topology.kdl", "/srv/lab", &mut Texts(texts))
}

pub(super) fn load_text(text: &str) -> Loaded {
    load_files(&[("topology.kdl", text)])
}

/// A case's files: the text up to the first `//- PATH` line is the root.
fn load_case(text: &str) -> Loaded {
    let mut files = BTreeMap::new();
    let mut path = "topology.kdl".to_owned();
    for line in text.split_inclusive('\n') {
        if let Some(next) = line.strip_prefix("//- ") {
            next.trim().clone_into(&mut path);
            files.entry(path.clone()).or_insert_with(String::new);
        } else {
            files
                .entry(path.clone())
                .or_insert_with(String::new)
                .push_str(line);
        }
    }
    load("topology.kdl", "/srv/lab", &mut Texts(files))
}

fn report(loaded: &Loaded) -> String {
    let mut out = String::new();
    for d in &loaded.diagnostics {
        let severity = if d.severity == Severity::Error {
            "error"
        } else {
            "warning"
        };
        let p = &d.place;
        let marked = loaded.sources[&p.file].get(p.offset..p.offset + p.len);
        let _ = writeln!(
            out,
            "{severity}[{}] {}:{}:{}: {}",
            d.code, p.file, p.line, p.column, d.message
        );
        let _ = writeln!(out, "  at: {:?}", marked.expect("a place lies in its file"));
        if let Some(label) = &d.label {
            let _ = writeln!(out, "  label: {label}");
        }
        if let Some(help) = &d.help {
            let _ = writeln!(out, "  help: {help}");
        }
        for r in &d.related {
            let _ = writeln!(out, "  see: {}:{}: {}", r.place.file, r.place.line, r.text);
        }
    }
    out
}

fn cases(kind: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/cases/config")
        .join(kind);
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("the folder of cases")
        .map(|entry| entry.expect("a folder entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "kdl"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

#[test]
fn valid_cases_load_without_a_word() {
    for path in cases("valid") {
        let loaded = load_case(&fs::read_to_string(&path).expect("a case"));
        assert_eq!(report(&loaded), "", "{}", path.display());
        assert!(loaded.topology.is_some(), "{}", path.display());
    }
}

/// Set `BKPCTL_UPDATE=1` to write what is reported now, then read every difference.
#[test]
fn invalid_cases_report_what_their_neighbour_says() {
    let update = std::env::var_os("BKPCTL_UPDATE").is_some();
    for path in cases("invalid") {
        let loaded = load_case(&fs::read_to_string(&path).expect("a case"));
        let seen = report(&loaded);
        let neighbour = path.with_extension("txt");
        if update {
            fs::write(&neighbour, &seen).expect("a writable checkout");
        }
        let expected = fs::read_to_string(&neighbour).unwrap_or_default();
        assert_eq!(seen, expected, "{}", path.display());
        assert_eq!(loaded.topology.is_some(), loaded.errors() == 0);
        assert_ne!(seen, "", "{} is expected to be wrong", path.display());
    }
}

const WORDS: &[&str] = &[
    "topology",
    "node",
    "datastore",
    "source",
    "phase",
    "policy",
    "template",
    "use",
    "local",
    "ssh",
    "place",
    "keep",
    "backup",
    "sync",
    "drill",
    "to",
    "from",
    "on",
    "on=",
    "path=",
    "id=",
    "include",
    "removed",
    "moved",
    "waive",
    "\"a\"",
    "\"b\"",
    "\"*.kdl\"",
    "\"-x\"",
    "\"abcd\"",
    "\"02:00\"",
    "1",
    "daily=",
    "key",
    "file",
    "share",
    "guests",
    "{",
    "}",
    "{",
    "}",
    ";",
    "\n",
    " ",
    " ",
    " ",
    " ",
    "/-",
    "\"",
    "#true",
    "24h",
    "after=",
    "from=",
    "to=",
    "jump",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_topologies_never_panic_and_places_lie_inside(
        words in prop::collection::vec(prop::sample::select(WORDS), 0..80),
    ) {
        let loaded = load_text(&words.concat());
        let _ = report(&loaded);
        prop_assert_eq!(loaded.topology.is_some(), loaded.errors() == 0);
    }
}

#[test]
fn hostile_topologies_are_judged_within_a_second() {
    let head = "topology \"t\" id=\"abcd\"\nkey \"k\" { file \"k\" }\nnode \"n\" { local }\n";
    let many = |unit: &dyn Fn(usize) -> String, count: usize| -> String {
        std::iter::once(head.to_owned())
            .chain((0..count).map(unit))
            .collect()
    };
    let chain = |i: usize| format!("phase \"p{i}\" after=\"p{}\" {{}}\n", i + 1);
    let copies = |i: usize| {
        format!(
            "datastore \"d{i}\" {{ place \"n\" path=\"{i}\"; keep last=1 }}\nphase \"p{i}\" {{ sync \"s{i}\" {{ from \"d{i}\"; to \"d{}\" }} }}\n",
            i + 1
        )
    };
    for (name, text) in [
        (
            "unknown statements",
            many(&|i| format!("noed \"x{i}\"\n"), 70_000),
        ),
        (
            "declared twice",
            many(&|_| "node \"x\" { local }\n".to_owned(), 50_000),
        ),
        (
            "unknown names",
            many(
                &|i| format!("source \"s{i}\" on=\"n{i}\" {{ path \"/x\" }}\n"),
                20_000,
            ),
        ),
        ("a long chain", many(&chain, 25_000)),
        ("many copies", many(&copies, 6_000)),
        (
            "many properties",
            format!(
                "{head}node \"x\" {{ local; domain {} }}",
                "a=\"b\" ".repeat(100_000)
            ),
        ),
        (
            "many switches",
            format!("{head}node \"x\" {{ {} }}", "local;".repeat(100_000)),
        ),
        (
            "a large template",
            format!(
                "{head}template \"t\" {{ {} }}",
                "reserve \"/\" \"1%\";".repeat(50_000)
            ),
        ),
        (
            "a template for many",
            many(
                &|i| format!("node \"x{i}\" {{ local; use \"t\" }}\n"),
                20_000,
            ) + &format!("template \"t\" {{ scratch \"/{}\" }}", "x".repeat(4_000)),
        ),
        (
            "many includes",
            format!("{head}include {}", "\"a*.kdl\" ".repeat(50_000)),
        ),
    ] {
        let start = Instant::now();
        let loaded = load_text(&text);
        let took = start.elapsed();
        let limit = Duration::from_secs(if cfg!(debug_assertions) { 5 } else { 1 });
        assert!(took < limit, "{name} took {took:?}");
        assert!(loaded.diagnostics.len() <= 100, "{name}");
    }
}

#[test]
fn a_topology_says_what_its_text_says() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/config/valid/whole-language.kdl");
    let loaded = load_text(&fs::read_to_string(path).expect("a case"));
    let t = loaded.topology.expect("a valid topology");
    assert_eq!(
        (
            t.nodes.len(),
            t.datastores.len(),
            t.sources.len(),
            t.phases.len()
        ),
        (9, 6, 5, 3)
    );

    let Reach::Ssh(ssh) = &t.nodes["pve1"].reach else {
        panic!("pve1 is reached over SSH")
    };
    assert_eq!(
        (ssh.user.as_deref(), ssh.host.as_str(), ssh.port),
        (Some("root"), "10.0.0.11", Some(22))
    );
    assert_eq!(
        ssh.jump.as_ref().map(crate::model::Name::as_str),
        Some("bastion")
    );
    assert_eq!(ssh.identity_file.as_deref(), Some("~/.ssh/id_ed25519"));
    assert_eq!(
        t.nodes["pve2"].domain["power"], "ups-a",
        "taken over from the template"
    );
    assert_eq!(t.nodes["here"].scratch.as_deref(), Some("/srv/lab/scratch"));

    let primary = &t.datastores["primary"];
    let owner = primary.owner.as_ref().expect("an owner");
    assert_eq!((owner.uid, owner.gid, primary.mode), (34, 34, 0o750));
    let DatastoreKind::Directory { places } = &primary.kind else {
        panic!("primary is a directory")
    };
    assert_eq!(places.len(), 2);
    assert_eq!(
        places[1]
            .from_phase
            .as_ref()
            .map(crate::model::Name::as_str),
        Some("appliance")
    );
    assert_eq!(t.keys["demo"].file, "/srv/lab/keys/demo.key");
    assert_eq!(t.keys["lab"].file, "~/.config/bkpctl/lab.key");
    let Content::Paths { paths, exclude, .. } = &t.sources["notes"].content else {
        panic!("notes are paths")
    };
    assert_eq!(
        (paths.as_slice(), exclude.len()),
        (["/srv/lab/data/notes".to_owned()].as_slice(), 0)
    );
    assert_eq!(t.guests["lab"].except, [900, 901]);
    assert_eq!(t.jobs().count(), 6);
}

#[test]
fn where_a_thing_was_declared_is_kept_across_files() {
    let loaded = load_files(&[
        (
            "topology.kdl",
            "topology t id=abcd\ninclude \"sub/*.kdl\"\n",
        ),
        (
            "sub/a.kdl",
            "\n\nnode \"a\" { local }\nkey \"k\" { file \"k.key\" }\n",
        ),
    ]);
    let topology = loaded.topology.expect("a valid topology");
    assert_eq!(topology.nodes["a"].declared.to_string(), "sub/a.kdl:3");
    assert_eq!(topology.keys["k"].file, "/srv/lab/sub/k.key");
}

#[test]
fn the_schema_knows_every_statement_of_the_whole_language() {
    let text = schema().to_string();
    for word in [
        "service-user",
        "from-phase",
        "one-file-system",
        "beyond-reach",
    ] {
        assert!(text.contains(word), "{word}");
    }
}

/// Set `BKPCTL_UPDATE=1` to write the reference anew.
#[test]
fn the_reference_in_the_documentation_is_that_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/topology.md");
    let page = fs::read_to_string(&path).expect("the page about the language");
    let (head, rest) = page
        .split_once("<!-- reference: begin")
        .expect("the mark where it begins");
    let (mark, rest) = rest.split_once('\n').expect("the mark's end");
    let (_, tail) = rest
        .split_once("<!-- reference: end")
        .expect("the mark where it ends");
    let fresh = format!(
        "{head}<!-- reference: begin{mark}\n\n{}\n<!-- reference: end{tail}",
        reference()
    );
    if std::env::var_os("BKPCTL_UPDATE").is_some() {
        fs::write(&path, &fresh).expect("a writable checkout");
    }
    assert!(
        page == fresh || std::env::var_os("BKPCTL_UPDATE").is_some(),
        "docs/topology.md is stale"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_topology_is_reported_and_never_panics(
        at in 0.0..1.0_f64,
        len in 0_usize..40,
        put in prop::sample::select(WORDS),
    ) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/config/valid/whole-language.kdl");
        let text = fs::read_to_string(path).expect("a case");
        // The case is ASCII, so any byte is the border of a character.
        let from = (text.len() as f64 * at) as usize;
        let to = (from + len).min(text.len());
        let loaded = load_text(&format!("{}{put}{}", &text[..from], &text[to..]));
        let _ = report(&loaded);
        prop_assert_eq!(loaded.topology.is_some(), loaded.errors() == 0);
    }
}
