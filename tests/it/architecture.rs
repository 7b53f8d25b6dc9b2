//! The table in src/lib.rs holds: imports point down, and pure folders stay pure.
//!
//! The sources are read as text, without comments, strings and tests, so that the rule
//! holds however an import is written: grouped, renamed, through `super`, or in full.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Which folders a folder may import, and whether it is pure.
struct Layer {
    may_import: BTreeSet<String>,
    everything: bool,
    pure: bool,
}

/// What pure folders never touch, as paths or parts of paths.
const WORLD: &[&str] = &[
    "std::fs",
    "std::env",
    "std::net",
    "std::process",
    "std::thread",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "std::os",
    "rustix",
    "tokio",
    "ssh2",
    "getrandom",
    "rpassword",
    "ignore",
];

/// Names that read a clock or a disk, wherever they come from.
const READERS: &[&str] = &[
    "SystemTime",
    "Instant",
    "now",
    "exists",
    "try_exists",
    "is_file",
    "is_dir",
    "canonicalize",
    "read_dir",
    "read_link",
    "metadata",
    "symlink_metadata",
    "home_dir",
    "current_dir",
    "temp_dir",
];

#[test]
fn imports_point_down_and_pure_folders_stay_pure() {
    let layers = layers();
    let mut wrong = Vec::new();
    for path in sources(&root().join("src")) {
        let relative = path
            .strip_prefix(root().join("src"))
            .expect("a file below src");
        let text = fs::read_to_string(&path).expect("a source file");
        for problem in problems(&layers, relative, &text) {
            wrong.push(format!("src/{}: {problem}", relative.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_folder_has_a_row_in_the_table() {
    let mut folders: Vec<String> = fs::read_dir(root().join("src"))
        .expect("the sources")
        .map(|entry| entry.expect("an entry"))
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().expect("an ASCII name"))
        .collect();
    folders.sort();
    let rows: Vec<String> = layers().into_keys().collect();
    assert_eq!(folders, rows);
}

#[test]
fn the_check_sees_what_it_is_there_to_see() {
    let layers = layers();
    let found = |file: &str, text: &str| problems(&layers, Path::new(file), text);
    for (file, text) in [
        ("model/x.rs", "use crate::plan::Plan;"),
        ("model/x.rs", "pub use crate::{config, name};"),
        (
            "config/x.rs",
            "use crate::{\n    model::{Name, Topology},\n    engine::chunk as c,\n};",
        ),
        ("plan/x/y.rs", "use super::super::super::config::load;"),
        ("plan/mod.rs", "use super::apply;"),
        ("engine/x.rs", "fn f() { crate::model::Name::new(\"x\"); }"),
        ("engine/x.rs", "use crate :: run;"),
        ("observe/x.rs", "use crate::plan;"),
        ("run/x.rs", "use crate::*;"),
        ("model/x.rs", "use std::fs;"),
        ("plan/x.rs", "use std::{collections::BTreeMap, env};"),
        (
            "plan/x.rs",
            "use std::{io::{self, Read}, time::SystemTime};",
        ),
        ("config/x.rs", "fn f() { std::fs::read(\"x\"); }"),
        ("config/x.rs", "fn f(p: &Path) -> bool { p.exists() }"),
        ("plan/x.rs", "let t = jiff::Timestamp::now();"),
        (
            "plan/x.rs",
            "use std::time; fn f() { time::Instant::now(); }",
        ),
        ("plan/x.rs", "use std as s;"),
        ("plan/x.rs", "use std::*;"),
        ("model/x.rs", "use rustix::fs::openat;"),
        ("model/x.rs", "// \"\nuse std::fs; // \""),
        (
            "model/x.rs",
            "const C: char = '\"'; use std::fs; const D: char = '\"';",
        ),
        ("model/x.rs", "const R: &str = r#\"a \" b\"#; use std::fs;"),
        (
            "model/x.rs",
            "#[cfg(test)]\nmod tests { fn f() { \"}\" } }\nuse std::fs;",
        ),
        ("lost/x.rs", "fn f() {}"),
    ] {
        assert!(!found(file, text).is_empty(), "{file}: {text}");
    }
    for (file, text) in [
        (
            "model/x.rs",
            "use super::name::Name; use crate::model::size;",
        ),
        (
            "config/x/y.rs",
            "use super::super::check; use crate::model::{Name, Topology};",
        ),
        (
            "plan/x.rs",
            "//! Reads std::fs, not. /* use crate::apply; */\nfn f() { \"use crate::cli;\" }",
        ),
        (
            "plan/x.rs",
            "#[cfg(test)]\nmod tests { use std::fs; use crate::config; }",
        ),
        ("plan/tests.rs", "use std::fs;"),
        (
            "apply/x.rs",
            "use crate::{plan::Plan, run, transport::Transport, model};",
        ),
        ("cli/x.rs", "use crate::{apply, config}; use std::env;"),
        ("engine/x.rs", "use std::fs; use std::time::Instant;"),
        ("config/x.rs", "fn f<'a>(x: &'a str) -> &'a str { x }"),
    ] {
        assert_eq!(found(file, text), Vec::<String>::new(), "{file}: {text}");
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Reads the table in the docs of src/lib.rs.
fn layers() -> BTreeMap<String, Layer> {
    let lib = fs::read_to_string(root().join("src/lib.rs")).expect("src/lib.rs");
    let cell = |text: &str| -> BTreeSet<String> {
        let names = text
            .split(',')
            .map(|name| name.trim().trim_matches(['`', '[', ']']));
        names.map(str::to_owned).collect()
    };
    let layers: BTreeMap<String, Layer> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("//! | [`"))
        .map(|row| {
            let (name, rest) = row.split_once("`] | ").expect("a row names its folder");
            let (imports, reads) = rest.split_once(" | ").expect("a row has three cells");
            let layer = Layer {
                may_import: cell(imports),
                everything: imports == "everything",
                pure: reads.starts_with("never"),
            };
            (name.to_owned(), layer)
        })
        .collect();
    assert!(layers.len() >= 9 && layers.values().filter(|layer| layer.pure).count() >= 3);
    layers
}

/// Returns what is wrong with one source file.
fn problems(layers: &BTreeMap<String, Layer>, file: &Path, text: &str) -> Vec<String> {
    let parts: Vec<&str> = file.iter().filter_map(|part| part.to_str()).collect();
    let [folder, inner @ ..] = parts.as_slice() else {
        return vec!["has no folder".to_owned()];
    };
    if inner.is_empty() || inner.contains(&"tests.rs") || inner.contains(&"tests") {
        return Vec::new();
    }
    let Some(layer) = layers.get(*folder) else {
        return vec![format!("{folder} has no row in the table of src/lib.rs")];
    };
    // `super` as often as this from a file leads to the root of the crate.
    let depth = if inner.last() == Some(&"mod.rs") {
        inner.len()
    } else {
        inner.len() + 1
    };
    let code = without_tests(&without_comments(text));
    let paths = paths(&code);
    let mut wrong = Vec::new();
    for path in &paths {
        let target = match path.first().map(String::as_str) {
            Some("crate") => path.get(1),
            Some("super") if path.iter().take_while(|part| *part == "super").count() >= depth => {
                path.get(depth)
            }
            _ => None,
        };
        if let Some(target) = target {
            let known = layers.contains_key(target) || target == "*";
            let allowed = layer.everything || target == folder || layer.may_import.contains(target);
            if known && !allowed {
                wrong.push(format!("{folder} imports {target}"));
            }
        }
        if layer.pure {
            let whole = path.join("::");
            let world = WORLD
                .iter()
                .find(|world| whole == **world || whole.starts_with(&format!("{world}::")));
            let blanket = path[0] == "std" && (path.len() == 1 || path[1] == "*");
            let reader = path.iter().any(|part| READERS.contains(&part.as_str())) && path.len() > 1;
            if world.is_some() || blanket || reader {
                wrong.push(format!("{folder} is pure and uses {whole}"));
            }
        }
    }
    if layer.pure {
        for reader in READERS {
            if code.contains(&format!(".{reader}(")) {
                wrong.push(format!("{folder} is pure and calls .{reader}()"));
            }
        }
    }
    wrong
}

/// Replaces comments and the insides of strings by nothing.
fn without_comments(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let raw_hashes = rest
            .strip_prefix('r')
            .map(|r| r.len() - r.trim_start_matches('#').len());
        let raw = raw_hashes.filter(|&n| {
            rest[1 + n..].starts_with('"')
                && !out.ends_with(|c: char| c.is_alphanumeric() || c == '_')
        });
        let len = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(hashes) = raw {
            let close = format!("\"{}", "#".repeat(hashes));
            let body = hashes + 2;
            rest[body..]
                .find(&close)
                .map_or(rest.len(), |end| body + end + close.len())
        } else if c == '"' {
            quoted_len(rest, '"')
        } else if c == '\'' && is_char(rest) {
            quoted_len(rest, '\'')
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        out.push(' ');
        rest = &rest[len..];
    }
    out
}

/// Tells a character from a lifetime.
fn is_char(text: &str) -> bool {
    let mut chars = text.chars().skip(1);
    match chars.next() {
        Some('\\') => true,
        Some(_) => chars.next() == Some('\''),
        None => false,
    }
}

fn quoted_len(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return at + 1;
        }
    }
    text.len()
}

/// Cuts out what is compiled for tests only.
fn without_tests(code: &str) -> String {
    let mut out = String::new();
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        out.push_str(&rest[..at]);
        let item = &rest[at..];
        let end = match (item.find(';'), item.find('{')) {
            (Some(semicolon), brace) if brace.is_none_or(|brace| semicolon < brace) => {
                semicolon + 1
            }
            (_, Some(brace)) => brace + block_len(&item[brace..]),
            _ => item.len(),
        };
        rest = &item[end..];
    }
    out + rest
}

fn block_len(text: &str) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if depth == 0 {
            return at + 1;
        }
    }
    text.len()
}

/// Returns every path in the code, those of grouped imports spelt out.
fn paths(code: &str) -> Vec<Vec<String>> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let starts = is_name(&tokens[at]) && (at == 0 || tokens[at - 1] != "::");
        let imports = at > 0 && tokens[at - 1] == "use";
        if starts && (imports || tokens.get(at + 1).is_some_and(|t| t == "::")) {
            at = tree(&tokens, at, &[], &mut found);
        } else {
            at += 1;
        }
    }
    found
}

/// Reads a path or an import tree and returns where it ends.
fn tree(
    tokens: &[String],
    mut at: usize,
    prefix: &[String],
    found: &mut Vec<Vec<String>>,
) -> usize {
    let mut path = prefix.to_vec();
    while at < tokens.len() {
        match tokens[at].as_str() {
            "{" => {
                at += 1;
                while at < tokens.len() && tokens[at] != "}" {
                    at = if tokens[at] == "," {
                        at + 1
                    } else {
                        tree(tokens, at, &path, found)
                    };
                }
                return at + 1;
            }
            "*" => {
                path.push("*".to_owned());
                at += 1;
                break;
            }
            name if is_name(name) => path.push(name.to_owned()),
            _ => break,
        }
        at += 1;
        // A path goes on after `::`; generics end it, as nothing of interest follows.
        let goes_on = tokens.get(at).is_some_and(|t| t == "::")
            && tokens
                .get(at + 1)
                .is_some_and(|t| is_name(t) || t == "{" || t == "*");
        if !goes_on {
            break;
        }
        at += 1;
    }
    if tokens.get(at).is_some_and(|t| t == "as") {
        at += 2;
    }
    found.push(path);
    at.max(1)
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

fn tokens(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = code.trim_start();
    while let Some(c) = rest.chars().next() {
        let len = if c.is_alphanumeric() || c == '_' {
            rest.find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            c.len_utf8()
        };
        found.push(rest[..len].to_owned());
        rest = rest[len..].trim_start();
    }
    found
}
