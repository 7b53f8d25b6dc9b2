//! What the documentation shows is true: every topology in it is valid, every link leads
//! somewhere, and the pages that others rely on are there.

use std::fs;
use std::path::{Path, PathBuf};

use bkpctl::cli::topology_files::FolderFiles;
use bkpctl::config::{Files, FilesError, Loaded, format_text, load};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the files below a folder with that ending, none if there is no such folder.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else {
        return found;
    };
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|e| e == ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn pages() -> Vec<PathBuf> {
    let readme = root().join("README.md");
    let mut pages = files(&root().join("docs"), "md");
    pages.extend(readme.exists().then_some(readme));
    assert!(!pages.is_empty());
    pages
}

/// One text, which includes nothing but files that declare nothing.
struct Shown(String);

impl Files for Shown {
    fn read(&mut self, path: &str) -> Result<String, FilesError> {
        Ok(if path == "topology.kdl" {
            self.0.clone()
        } else {
            String::new()
        })
    }

    fn list(&mut self, _: &str) -> Result<Vec<String>, FilesError> {
        Ok(vec!["shown.kdl".to_owned()])
    }
}

/// A fenced block: its info string, its text, and the line it begins on.
struct Block {
    info: String,
    text: String,
    line: usize,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in page.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), open.take()) {
            (Some(_), Some(block)) => found.push(block),
            (Some(info), None) => {
                open = Some(Block {
                    info: info.trim().to_owned(),
                    text: String::new(),
                    line: number + 1,
                });
            }
            (None, Some(mut block)) => {
                block.text.push_str(line);
                block.text.push('\n');
                open = Some(block);
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    found
}

/// Reads a shown topology; a fragment gets the name and identity it leaves out.
fn load_block(block: &Block) -> Loaded {
    let text = if block.info.contains("fragment") {
        format!("{}topology \"shown\" id=\"SHOWN\"\n", block.text)
    } else {
        block.text.clone()
    };
    load("topology.kdl", "/srv/shown", &mut Shown(text))
}

fn complaints(loaded: &Loaded) -> String {
    let lines = loaded.diagnostics.iter().map(|d| {
        let help = d.help.as_deref().unwrap_or_default();
        format!(
            "  [{}] {}:{}: {} ({help})",
            d.code, d.place.line, d.place.column, d.message
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_topology_that_a_page_shows_is_valid() {
    let mut shown = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a page");
        for block in blocks(&text)
            .iter()
            .filter(|b| b.info.split(' ').next() == Some("kdl"))
        {
            let loaded = load_block(block);
            shown += 1;
            assert!(
                loaded.topology.is_some(),
                "{}:{}\n{}",
                page.display(),
                block.line,
                complaints(&loaded)
            );
        }
    }
    assert!(shown > 0);
}

#[test]
fn a_wrong_topology_on_a_page_would_be_noticed() {
    let page = "```kdl fragment\nnode \"a\" { locl }\n```\n```sh\nls\n```\n";
    let blocks = blocks(page);
    assert_eq!((blocks.len(), blocks[1].info.as_str()), (2, "sh"));
    assert!(load_block(&blocks[0]).topology.is_none());
}

#[test]
fn every_example_is_valid() {
    for path in files(&root().join("examples"), "kdl") {
        // Files beside a topology.kdl are read through its includes.
        let whole = path.file_name().is_some_and(|name| name == "topology.kdl")
            || !path.with_file_name("topology.kdl").exists();
        if !whole {
            continue;
        }
        let (mut files, root_file) = FolderFiles::find(&path).expect("the example");
        let folder = files
            .folder()
            .to_str()
            .expect("a checkout with a name in UTF-8")
            .to_owned();
        let loaded = load(&root_file, &folder, &mut files);
        let said = complaints(&loaded);
        assert!(
            loaded.topology.is_some() && said.is_empty(),
            "{}\n{said}",
            path.display()
        );
    }
}

#[test]
fn every_topology_on_a_page_and_in_an_example_is_in_form() {
    let in_form = |place: String, text: &str| {
        let made = format_text("topology.kdl", text, false);
        let after = made.files[0].after.as_deref();
        assert_eq!(after, Some(text), "{place}: bkpctl fmt changes it");
    };
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a page");
        for block in blocks(&text) {
            if block.info.split(' ').next() == Some("kdl") {
                in_form(format!("{}:{}", page.display(), block.line), &block.text);
            }
        }
    }
    for path in files(&root().join("examples"), "kdl") {
        let text = fs::read_to_string(&path).expect("an example");
        in_form(path.display().to_string(), &text);
    }
}

#[test]
fn links_between_pages_lead_somewhere() {
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a page");
        let folder = page.parent().expect("a page lies in a folder");
        for (at, _) in text.match_indices("](") {
            let target = &text[at + 2..];
            let target = &target[..target.find(')').unwrap_or(0)];
            let path = target.split('#').next().unwrap_or_default();
            if path.is_empty() || path.contains("://") || path.starts_with("mailto:") {
                continue;
            }
            assert!(folder.join(path).exists(), "{}: {target}", page.display());
        }
    }
}

#[test]
fn the_pages_that_people_look_for_are_there() {
    for page in [
        "docs/architecture.md",
        "docs/changelog.md",
        "docs/topology.md",
        "docs/words.md",
        "LICENSE",
    ] {
        assert!(root().join(page).is_file(), "{page}");
    }
    let decisions = files(&root().join("docs/decisions"), "md");
    assert!(!decisions.is_empty());
    for (number, path) in decisions.iter().enumerate() {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let expected = format!("{:03}-", number + 1);
        assert!(
            name.starts_with(&expected),
            "{name} is not the one after {number}"
        );
        let lines = fs::read_to_string(path).expect("a page").lines().count();
        assert!(lines <= 60, "{name} is longer than a page");
    }
}
