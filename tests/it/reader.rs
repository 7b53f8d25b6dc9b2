//! A second program, written from `docs/format.md` alone, reads what this one writes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::fixture;
use crate::support::sandbox::{Ran, Sandbox};
use crate::support::skip;
use crate::support::tree::{assert_same, each_below, make_tree};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns a Python with the packages that the reader needs, installed once a target folder.
fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match PYTHON.get_or_init(install) {
        Ok(python) => Some(python),
        Err(reason) => {
            skip(reason);
            None
        }
    }
}

fn install() -> Result<PathBuf, String> {
    let requirements = root().join("tests/reader/requirements.txt");
    let wanted = fs::read(&requirements).expect("what the reader needs");
    let hash = blake3::hash(&wanted).to_hex();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("reader-{}", &hash[..8]));
    let (python, done) = (folder.join("bin/python"), folder.join("complete"));
    if done.exists() {
        return Ok(python);
    }
    let run = |command: &mut Command| match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(last_line(&output.stderr)),
        Err(error) => Err(error.to_string()),
    };
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder))
        .map_err(|error| format!("the second reader needs Python 3 with venv: {error}"))?;
    run(Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "-r"])
        .arg(&requirements))
    .map_err(|error| format!("the second reader's packages can't be had: {error}"))?;
    fs::write(done, "").map_err(|error| error.to_string())?;
    Ok(python)
}

fn last_line(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    text.lines().last().unwrap_or_default().to_owned()
}

fn read(python: &Path, arguments: &[&str]) -> Ran {
    let output = Command::new(python)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("BKPCTL_PASSPHRASE", passphrase())
        .arg(root().join("tests/reader/main.py"))
        .args(arguments)
        .output()
        .expect("Python runs");
    Ran::of(&output)
}

fn passphrase() -> String {
    fs::read_to_string(fixture::folder().join("passphrase")).expect("the passphrase")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

#[test]
fn it_restores_the_fixture_with_each_secret() {
    let Some(python) = python() else { return };
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = fixture::folder();
    let (repository, key) = fixture::copy_to(scratch.path());
    let (repository, key) = (text(&repository), text(&key));
    let code = folder.join("code");
    read(python, &[repository, "--key-file", key, "verify"])
        .exits(0)
        .says("3 snapshots");
    for (number, (id, then)) in fixture::expected().into_iter().enumerate() {
        let target = scratch.path().join(&id);
        let secret: &[&str] = match number {
            0 => &["--code-file", text(&code)],
            _ => &[],
        };
        let restore: &[&str] = &["restore", &id, text(&target)];
        read(python, &[&[repository], secret, restore].concat()).exits(0);
        fixture::assert_same(&fixture::shapes(&target), &then);
    }
}

#[test]
fn it_refuses_a_fixture_with_one_changed_byte() {
    let Some(python) = python() else { return };
    let scratch = tempfile::tempdir().expect("a folder");
    let (repository, key) = fixture::copy_to(scratch.path());
    let mut files = Vec::new();
    each_below(&repository, &mut |path, meta| {
        if meta.is_file() {
            files.push(path.to_owned());
        }
    });
    assert!(files.len() > 10, "{files:?}");
    for (number, file) in files.iter().enumerate() {
        let whole = fs::read(file).expect("content");
        let mut changed = whole.clone();
        let place = whole.len() * (number % 7) / 7;
        changed[place] ^= 1;
        fs::write(file, &changed).expect("written");
        read(
            python,
            &[text(&repository), "--key-file", text(&key), "verify"],
        )
        .exits(1)
        .says("refused: ");
        fs::write(file, &whole).expect("written");
    }
}

#[test]
fn it_reads_what_the_program_writes_today() {
    let Some(python) = python() else { return };
    let sandbox = Sandbox::new();
    make_tree(&sandbox.join("data"));
    // Enough for several leaves.
    for n in 0..3000 {
        sandbox.write(
            &format!("data/many/{n:04}-{}", "x".repeat(n % 60)),
            n.to_string(),
        );
    }
    let key = ["--key-file", "lab.key"];
    let store = |arguments: &[&str]| {
        sandbox
            .run(&[&["store"], arguments, &key].concat())
            .exits(0)
    };
    store(&["init", "repository"]);
    store(&["backup", "repository", "data"]);
    sandbox.write("data/many/0007-more", "a second snapshot");
    store(&["backup", "repository", "data"]);
    let (repository, target) = (sandbox.join("repository"), sandbox.join("restored"));
    let key = sandbox.join("lab.key");
    let opened = [text(&repository), "--key-file", text(&key)];
    read(python, &[&opened[..], &["verify"]].concat())
        .exits(0)
        .says("2 snapshots");
    read(
        python,
        &[&opened[..], &["restore", "latest", text(&target)]].concat(),
    )
    .exits(0);
    assert_same(&sandbox.join("data"), &target);
}

#[test]
fn it_gives_the_known_answers() {
    let Some(python) = python() else { return };
    let output = Command::new(python)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(root().join("tests/reader/vectors.py"))
        .arg(root().join("tests/vectors"))
        .output()
        .expect("Python runs");
    Ran::of(&output).exits(0).says("known answers");
}
