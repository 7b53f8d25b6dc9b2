use std::collections::BTreeSet;
use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// What must not be seen in the result, in any case.
const CANARY: &str = "kanarienvogel";

const KEY: [u8; 32] = [9; 32];

/// Returns how a canary may sit in a text, in the forms that texts here have.
fn disguised(form: usize, original: &str) -> String {
    match form % 18 {
        0 => CANARY.to_owned(),
        1 => format!("/srv/{CANARY}/x"),
        2 => format!("{CANARY}@10.0.0.1:22"),
        3 => format!("root@{CANARY}:22"),
        4 => format!("node.{CANARY}"),
        5 => format!("{CANARY}.nas/x"),
        6 => format!("nas:/{CANARY}"),
        7 => format!("/dev/mapper/{CANARY}-root"),
        8 => format!("vm-{CANARY}-disk-0"),
        9 => format!("Debian GNU/Linux 12 ({CANARY})"),
        10 => format!("defaults,{CANARY}=1"),
        11 => format!("{CANARY} 0:0"),
        12 => format!("mon {CANARY} 02:00"),
        13 => format!("~/{CANARY}.key"),
        14 => format!("{original}{CANARY}"),
        15 => format!("{CANARY}{original}"),
        16 => format!("u 0 {CANARY} 1"),
        _ => CANARY.to_uppercase(),
    }
}

fn shows(value: &Value) -> bool {
    value.to_string().to_lowercase().contains(CANARY)
}

/// Replaces every text, or the one with this number; fields keep their names.
fn poison(value: &mut Value, form: usize, only: Option<usize>, at: &mut usize) {
    match value {
        Value::String(text) => {
            if only.is_none_or(|only| only == *at) {
                *text = disguised(form, text);
            }
            *at += 1;
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| poison(item, form, only, at)),
        Value::Object(fields) => {
            for (_, value) in fields.iter_mut() {
                poison(value, form, only, at);
            }
        }
        _ => {}
    }
}

/// Adds an entry whose key and values are canaries to every object, which no schema knows.
fn infest(value: &mut Value, form: usize) {
    match value {
        Value::Array(items) => {
            for item in items.iter_mut() {
                infest(item, form);
            }
            items.push(Value::String(disguised(form, "x")));
        }
        Value::Object(fields) => {
            for (_, value) in fields.iter_mut() {
                infest(value, form);
            }
            let deep = json!({ disguised(form, "y"): [disguised(form, "z"), {"user": CANARY}] });
            fields.insert(disguised(form, "x"), deep);
            fields.insert(disguised(form + 1, "x"), Value::String(disguised(form, "")));
        }
        _ => {}
    }
}

/// Topologies with facts of theirs that have something in every field.
static FULL: LazyLock<Vec<(Value, Value)>> = LazyLock::new(full);

fn full() -> Vec<(Value, Value)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/plan");
    let read = |path: std::path::PathBuf| -> Value {
        let text = std::fs::read_to_string(path).expect("a case");
        serde_json::from_str(&text).expect("JSON")
    };
    let base = |name: &str| read(std::path::Path::new(folder).join("base").join(name));
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the cases") {
        let case = entry.expect("an entry").path().join("case.json");
        if !case.exists() {
            continue;
        }
        let patch = read(case);
        let (mut topology, mut observed) = (base("topology.json"), base("observed.json"));
        for (document, name) in [(&mut topology, "topology"), (&mut observed, "observed")] {
            if let Some(patch) = patch.get(name) {
                merge(document, patch);
            }
        }
        let facts = json!({"format": 1, "topology": topology["id"], "at": 1, "observed": observed});
        all.push((topology, facts));
    }
    assert!(all.len() > 20, "{}", all.len());
    all
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let (Value::Object(patch), true) = (patch, target.is_object()) else {
        *target = patch.clone();
        return;
    };
    let fields = target.as_object_mut().expect("it is one");
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

#[test]
fn no_canary_gets_by_whatever_field_it_sits_in_and_whatever_it_looks_like() {
    for (topology, facts) in FULL.iter() {
        for form in 0..18 {
            let (mut topology, mut facts) = (topology.clone(), facts.clone());
            poison(&mut topology, form, None, &mut 0);
            poison(&mut facts, form, None, &mut 0);
            infest(&mut topology, form);
            infest(&mut facts, form);
            let (topology, facts, counts) = redact_values(&topology, &facts, KEY);
            assert!(
                !shows(&topology) && !shows(&facts),
                "form {form}: {topology} {facts}"
            );
            assert!(!counts.kept.iter().any(|word| word.contains(CANARY)));
        }
    }
}

#[test]
fn the_names_of_the_cases_are_gone() {
    for (topology, facts) in FULL.iter() {
        let (topology, facts, counts) = redact_values(topology, facts, KEY);
        let text = format!("{topology}{facts}");
        for name in [
            "homelab",
            "attic",
            "10.0.0.20",
            "AAAAC3Nza",
            "nas-77e0",
            "d0d0cafe",
            "/srv/www",
            "nightly",
        ] {
            assert!(!text.contains(name), "{name}: {text}");
        }
        assert!(text.contains("/srv/backup/"), "what every system has stays");
        assert!(
            counts.replaced["host"] >= 3 && counts.kept.contains("srv"),
            "{counts:?}"
        );
    }
}

#[test]
fn another_key_gives_other_ids_and_the_same_key_the_same() {
    let (topology, facts) = &FULL[0];
    let ids = |key| redact_values(topology, facts, key).1.to_string();
    assert_eq!(ids(KEY), ids(KEY));
    assert_ne!(ids(KEY), ids([8; 32]));
}

#[test]
fn equal_texts_stay_equal_and_different_ones_different() {
    for (topology, facts) in FULL.iter() {
        let (_, redacted, _) = redact_values(topology, facts, KEY);
        let mut before = BTreeSet::new();
        let mut after = BTreeSet::new();
        leaves(facts, &mut before);
        leaves(&redacted, &mut after);
        // A name may stay in a path and not elsewhere, so there may be some more.
        assert!(
            after.len() >= before.len(),
            "{} {}",
            before.len(),
            after.len()
        );
        assert!(
            after.len() <= before.len() + 8,
            "{} {}",
            before.len(),
            after.len()
        );
    }
}

fn leaves(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => drop(found.insert(text.clone())),
        Value::Array(items) => items.iter().for_each(|item| leaves(item, found)),
        Value::Object(fields) => fields.values().for_each(|value| leaves(value, found)),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn a_canary_in_one_field_alone_does_not_get_by(case in 0_usize..20, at in 0_usize..400, form in 0_usize..18) {
        let (mut topology, mut facts) = FULL[case].clone();
        let mut number = 0;
        poison(&mut topology, form, Some(at), &mut number);
        poison(&mut facts, form, Some(at), &mut number);
        let (topology, facts, _) = redact_values(&topology, &facts, KEY);
        prop_assert!(!shows(&topology) && !shows(&facts));
    }

    #[test]
    fn arbitrary_text_never_panics(text: String) {
        let value = json!({"nodes": {text.clone(): text.clone()}, "observed": {text.clone(): [text]}});
        let _ = redact_values(&value, &value, KEY);
    }
}
