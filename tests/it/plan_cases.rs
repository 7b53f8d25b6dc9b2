//! Plans as data: each case changes a system that is in sync, and shows the plan for it.
//!
//! `tests/cases/plan/base` holds the topology and what was seen of it. A case's
//! `case.json` says why it exists and patches both (JSON Merge Patch, RFC 7396), after the patches
//! of the case that it is `like`; with `part` it plans a part. `plan.txt`, `plan.md` and
//! `status.txt` are what a person sees. `BKPCTL_UPDATE=1` rewrites them: read what changed before
//! accepting it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bkpctl::cli::render::drift::render as render_drift;
use bkpctl::cli::render::{Style, render, render_markdown, render_status};
use bkpctl::model::{Observed, Timestamp, Topology};
use bkpctl::plan::drift::drift;
use bkpctl::plan::selection::Asked;
use bkpctl::plan::{Plan, lint, plan, plan_part, simulate};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/plan")
}

fn json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Merges a patch into a document: null removes, objects merge, all else replaces.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let fields = target.as_object_mut().expect("it was just made an object");
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

pub(crate) struct Case {
    pub(crate) name: String,
    folder: PathBuf,
    pub(crate) topology: Topology,
    pub(crate) observed: Observed,
    pub(crate) now: Timestamp,
    /// The part that is planned, where it is not the whole.
    part: Asked,
    detail: bool,
}

impl Case {
    fn plan(&self) -> Plan {
        let whole = plan(&self.topology, &self.observed, self.now);
        plan_part(&whole, &self.observed, &self.part)
            .unwrap_or_else(|unclear| panic!("{}: {unclear:?}", self.name))
    }
}

/// Returns the time at which every case plays.
pub(crate) fn now() -> Timestamp {
    let text = fs::read_to_string(root().join("base/now.txt")).expect("the base says when it is");
    Timestamp(text.trim().parse().expect("a number of nanoseconds"))
}

/// Returns the system that is in sync, from which the cases start.
pub(crate) fn base() -> (Topology, Observed) {
    let read = |name: &str| json(&root().join("base").join(name));
    (
        serde_json::from_value(read("topology.json")).expect("the base is a topology"),
        serde_json::from_value(read("observed.json")).expect("the base was observed"),
    )
}

pub(crate) fn cases() -> Vec<Case> {
    let mut folders: Vec<PathBuf> = fs::read_dir(root())
        .expect("the cases are in the source tree")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.join("case.json").exists())
        .collect();
    folders.sort();
    folders.into_iter().map(case).collect()
}

fn case(folder: PathBuf) -> Case {
    let patch = json(&folder.join("case.json"));
    let like = patch.get("like").and_then(Value::as_str);
    let like = like.map(|like| json(&root().join(like).join("case.json")));
    let patched = |name: &str| {
        let mut document = json(&root().join(format!("base/{name}.json")));
        let patches = like.iter().chain([&patch]);
        for patch in patches.filter_map(|patch| patch.get(name)) {
            merge(&mut document, patch);
        }
        document
    };
    let words = |option: &str| -> Vec<String> {
        let words = patch.get("part").and_then(|part| part.get(option));
        let words = words.and_then(Value::as_array).into_iter().flatten();
        words
            .map(|word| word.as_str().expect("a word").to_owned())
            .collect()
    };
    let name = folder
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    Case {
        topology: serde_json::from_value(patched("topology"))
            .unwrap_or_else(|e| panic!("{name}: {e}")),
        observed: serde_json::from_value(patched("observed"))
            .unwrap_or_else(|e| panic!("{name}: {e}")),
        now: now(),
        part: Asked {
            targets: words("target"),
            exclude: words("exclude"),
            nodes: words("node"),
        },
        detail: patch.get("detail").is_some_and(|detail| detail == true),
        name,
        folder,
    }
}

pub(crate) fn style(detail: bool) -> Style {
    Style {
        color: false,
        width: 100,
        detail,
        took: Some(Duration::from_millis(600)),
        next: true,
    }
}

/// Compares a text with a file of a case, or writes it there when asked to.
pub(crate) fn expect(path: &Path, text: &str) -> Result<(), String> {
    if std::env::var_os("BKPCTL_UPDATE").is_some() {
        return fs::write(path, text).map_err(|e| e.to_string());
    }
    let wanted = fs::read_to_string(path).unwrap_or_default();
    if wanted == text {
        return Ok(());
    }
    let diff = similar::TextDiff::from_lines(&wanted, text)
        .unified_diff()
        .to_string();
    Err(format!("{} differs:\n{diff}", path.display()))
}

#[test]
fn each_case_shows_its_plan_and_status() {
    let mut problems = Vec::new();
    for case in cases() {
        let plan = case.plan();
        let style = style(case.detail);
        let shown = [
            ("plan.txt", render(&plan, &style)),
            ("plan.md", render_markdown(&plan)),
            ("status.txt", render_status(&plan, &style)),
        ];
        for (file, text) in shown {
            problems.extend(expect(&case.folder.join(file), &text).err());
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// One page for all, since most cases have none.
#[test]
fn each_case_shows_its_drift() {
    let shown = cases().into_iter().map(|case| {
        let plan = plan(&case.topology, &case.observed, case.now);
        let selection = case.part.look_up(&plan).expect("words that are known");
        let drift = drift(&plan, &case.observed, &selection);
        let text = render_drift(&drift, &style(case.detail));
        format!("## {}\n\n{text}\n\n", case.name)
    });
    let page: String = shown.collect();
    expect(&root().join("drift.txt"), &page).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn every_case_gives_a_sound_plan_and_the_same_bytes_twice() {
    for case in cases() {
        let make = || case.plan();
        let first = make();
        assert_eq!(lint(&first), Vec::<String>::new(), "{}", case.name);
        let bytes = |plan: &Plan| serde_json::to_vec(plan).expect("a plan serialises");
        assert_eq!(bytes(&first), bytes(&make()), "{}", case.name);
        let back: Plan = serde_json::from_slice(&bytes(&first)).expect("a plan is read back");
        assert_eq!(back, first, "{}", case.name);
    }
}

#[test]
fn after_each_case_only_what_was_deferred_is_left() {
    for case in cases() {
        let mut observed = case.observed.clone();
        // A phase opens when the one before it was recorded, so each takes one plan.
        for _ in 0..=case.topology.phases.len() {
            let plan = plan(&case.topology, &observed, case.now);
            observed = simulate(&observed, &plan);
        }
        let rest = plan(&case.topology, &observed, case.now);
        let pending: Vec<_> = rest.pending().map(|action| &action.step).collect();
        assert!(pending.is_empty(), "{}: {pending:?}", case.name);
    }
}

#[test]
fn no_byte_of_a_host_reaches_the_terminal_unescaped() {
    for case in cases() {
        let plan = plan(&case.topology, &case.observed, case.now);
        let style = Style {
            detail: true,
            ..style(true)
        };
        for text in [
            render(&plan, &style),
            render_status(&plan, &style),
            render_markdown(&plan),
        ] {
            let bad = text.chars().find(|c| c.is_control() && *c != '\n');
            assert_eq!(bad, None, "{}", case.name);
        }
    }
}

#[test]
fn lines_stay_within_the_width_they_are_given() {
    for case in cases() {
        let plan = plan(&case.topology, &case.observed, case.now);
        for width in [80, 100, 140] {
            let style = Style {
                width,
                ..style(true)
            };
            let text = render(&plan, &style);
            // A word that is longer than a line stays whole, so that it can be copied.
            let too_long = |line: &&str| {
                let is_one_word = !line.trim().contains(' ');
                !is_one_word && unicode_width::UnicodeWidthStr::width(*line) > width
            };
            let long = text.lines().find(too_long);
            assert_eq!(long, None, "{} at {width}", case.name);
        }
    }
}

#[test]
fn a_comment_on_a_pull_request_has_room_however_much_there_is_to_say() {
    let plans = cases().into_iter();
    let plans = plans.map(|case| plan(&case.topology, &case.observed, case.now));
    let mut plan = plans
        .max_by_key(|plan| plan.findings.len())
        .expect("there are cases");
    let marker = format!("<!-- bkpctl plan {} -->\n", plan.topology.name);
    let some = plan.findings.clone();
    for findings in [0, 1, 200, 3000] {
        plan.findings = some.iter().cycle().take(findings).cloned().collect();
        let text = render_markdown(&plan);
        assert!(text.len() <= 60_000, "{} bytes", text.len());
        assert!(text.starts_with(&marker), "{text}");
        // With two hundred, the folded text goes; with three thousand, findings go too.
        assert_eq!(
            text.contains("Left out, since"),
            findings >= 200,
            "{findings}"
        );
        assert_eq!(text.contains("- … and "), findings == 3000, "{findings}");
        assert_eq!(
            text.matches("<details>").count(),
            text.matches("</details>").count()
        );
    }
}

#[test]
fn a_plan_ends_without_the_next_command_where_it_is_being_carried_out() {
    for case in cases() {
        let plan = plan(&case.topology, &case.observed, case.now);
        let with = render(&plan, &style(case.detail));
        let without = render(
            &plan,
            &Style {
                next: false,
                ..style(case.detail)
            },
        );
        assert!(!without.contains("Next: "), "{}", case.name);
        assert!(with.starts_with(&without), "{}", case.name);
    }
}

#[test]
fn a_higher_reserve_or_other_times_change_no_digest() {
    let (topology, observed) = base();
    let mut later = observed.clone();
    if let Some(bkpctl::model::observed::NodeState::Reached(facts)) = later.nodes.get_mut("nas") {
        facts.skew_ms += 100;
        for path in facts.paths.values_mut() {
            if let Some(space) = &mut path.space {
                space.free.0 -= 1 << 20;
            }
        }
    }
    let first = plan(&topology, &observed, now());
    let second = plan(&topology, &later, Timestamp(now().0 + 1_000_000_000));
    assert_eq!(first.digest, second.digest);
}

#[test]
fn the_published_schema_is_that_of_the_plan() {
    let schema = schemars::schema_for!(Plan);
    let text = serde_json::to_string_pretty(&schema).expect("a schema serialises") + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/plan.v1.json");
    expect(&path, &text).unwrap_or_else(|e| panic!("{e}\nBKPCTL_UPDATE=1 writes it anew"));
}

#[test]
fn the_same_on_two_nodes_is_not_the_same_twice() {
    let case = cases()
        .into_iter()
        .find(|case| case.name == "removed-destroy");
    let mut plan = case.expect("the case is there").plan();
    let destroys = plan.actions.iter().find(|action| action.gate.is_some());
    let mut again = destroys.expect("it destroys something").clone();
    again.id = plan.actions.len();
    plan.actions.push(again);
    let says_twice = |plan: &Plan| lint(plan).iter().any(|words| words.contains("do the same"));
    assert!(says_twice(&plan));
    let last = plan.actions.last_mut().expect("it was just added");
    last.node = bkpctl::model::Name::new("web").expect("a name");
    assert!(!says_twice(&plan));
}
