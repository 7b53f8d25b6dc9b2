//! Completions and manual pages: every command is in them, and shells and readers take them.

use std::fs;
use std::process::Command;

use bkpctl::cli::args::Cli;
use clap::CommandFactory;

use crate::support::sandbox::Sandbox;
use crate::support::skip;

/// Returns the names of all commands that people see.
fn commands() -> Vec<String> {
    let cli = Cli::command();
    let shown = cli
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    shown.map(|command| command.get_name().to_owned()).collect()
}

/// Runs a program; none where it is not installed, which is said.
fn run(program: &str, arguments: &[&str]) -> Option<std::process::Output> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) => {
            skip(&format!("{program} can't be run here: {error}"));
            None
        }
    }
}

#[test]
fn completions_name_every_command_and_their_shell_reads_them() {
    let sandbox = Sandbox::new();
    for (shell, checks) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let text = sandbox.run(&["completions", shell]).exits(0).stdout;
        for command in commands() {
            assert!(text.contains(&command), "{shell}: {command}");
        }
        let file = sandbox.write(&format!("completions.{shell}"), &text);
        let file = file.to_str().expect("a plain path");
        if let Some(output) = run(shell, &[checks, file]) {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success() && said.is_empty(),
                "{shell}: {said}"
            );
        }
        let broken = sandbox.write("broken", format!("{text}\nif (((\n"));
        let broken = broken.to_str().expect("a plain path");
        if let Some(output) = run(shell, &[checks, broken]) {
            assert!(!output.status.success(), "{shell} would take anything");
        }
    }
}

#[test]
fn bash_completes_the_beginning_of_a_command() {
    let sandbox = Sandbox::new();
    let text = sandbox.run(&["completions", "bash"]).exits(0).stdout;
    let file = sandbox.write("completions.bash", text);
    let script = r#"source "$1"; COMP_WORDS=(bkpctl imp); COMP_CWORD=1; _bkpctl bkpctl imp bkpctl; echo "${COMPREPLY[@]}""#;
    let arguments = ["-c", script, "bash", file.to_str().expect("a plain path")];
    if let Some(output) = run("bash", &arguments) {
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "import");
    }
}

#[test]
fn every_command_has_a_manual_page_that_readers_render() {
    let sandbox = Sandbox::new();
    sandbox.run(&["man", "pages"]).exits(0);
    let mut pages = vec!["bkpctl.1".to_owned()];
    pages.extend(
        commands()
            .iter()
            .map(|command| format!("bkpctl-{command}.1")),
    );
    for page in pages {
        let file = sandbox.join("pages").join(&page);
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(text.contains(".SH NAME"), "{page}");
    }
    let page = sandbox.join("pages/bkpctl-import.1");
    let page = page.to_str().expect("a plain path");
    let Some(version) = run("man", &["--version"]) else {
        return;
    };
    // Slim images have a program of that name that only says it is not the real one.
    if !version.status.success() || run("groff", &["--version"]).is_none() {
        return skip("there is no man here that renders pages");
    }
    if let Some(output) = run("man", &["--warnings", "-l", page]) {
        let shown = String::from_utf8_lossy(&output.stdout);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && shown.contains("SYNOPSIS"),
            "{shown}{said}"
        );
    }
}

#[test]
fn every_schema_is_listed_once_and_printed_as_json() {
    let sandbox = Sandbox::new();
    let list = sandbox.run(&["schema"]).exits(0).stdout;
    assert!(list.lines().count() > 10);
    for line in list.lines() {
        let name = line.split(' ').next().expect("a name");
        assert_eq!(
            list.lines()
                .filter(|other| other.starts_with(&format!("{name} ")))
                .count(),
            1
        );
        let text = sandbox.run(&["schema", name]).exits(0).stdout;
        let schema: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert!(schema.is_object(), "{name}");
    }
}
