//! `bkpctl collect`: topology, facts and plan without names, as one file for a report.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cli::args;
use crate::cli::commands::observe;
use crate::cli::context::{Context, asks, confirm};
use crate::cli::documents::{self, unreadable};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::redact::{redact, system};
use crate::cli::render::render_collected;
use crate::model::{Facts, Topology};
use crate::plan::{Plan, plan};
use crate::transport::{Local, Script, Transport as _};

/// The format of bundles that this version writes and reads.
pub const BUNDLE_FORMAT: u32 = 1;

/// What a report needs, without what names somebody.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Bundle {
    /// The format of this document.
    pub bundle: u32,
    /// Which programs were at work.
    pub versions: Versions,
    /// The codes of what was found in the original, each as often as it was found.
    pub found: Vec<String>,
    /// Whether the same is found in what is written here.
    pub finds_the_same: bool,
    /// The topology.
    pub topology: Topology,
    /// What was seen.
    pub facts: Facts,
    /// The plan for both, as they are written here.
    pub plan: Plan,
}

/// The programs at work where bkpctl ran.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Versions {
    /// The version of bkpctl.
    pub bkpctl: String,
    /// The operating system, if it is a known one.
    pub os: Option<String>,
    /// The architecture.
    pub arch: String,
    /// The version of OpenSSH's client, if there is one.
    pub ssh: Option<String>,
}

/// Looks, replaces, shows what it comes to, and writes.
pub fn run(context: &Context, args: &args::Collect) -> Outcome {
    let (topology, facts) = observe::facts(context, &args.nodes, args.facts.as_deref())?;
    let redacted = redact(&topology, &facts, random()?).map_err(|why| {
        Failure::new(format!(
            "what is left without names is not understood any more: {why}"
        ))
        .help("this is a mistake in bkpctl; please report this line")
    })?;
    let before = plan(&topology, &facts.observed, facts.at);
    let after = plan(&redacted.topology, &redacted.facts.observed, facts.at);
    let found = codes(&before);
    let bundle = Bundle {
        bundle: BUNDLE_FORMAT,
        versions: versions(),
        finds_the_same: found == codes(&after),
        found,
        topology: redacted.topology,
        facts: redacted.facts,
        plan: after,
    };
    context.print(&render_collected(
        &bundle,
        &redacted.counts,
        &context.style(false),
    ));
    if asks() {
        let question = format!("Type yes to write {}: ", args.out.display());
        confirm(&question, "yes")?;
    }
    documents::write(&args.out, &bundle)?;
    let file = args.out.display();
    context.print(&format!(
        "Wrote {file}, readable by you alone. Read it before you send it: bkpctl plan --facts {file}"
    ));
    Ok(Exit::Ok)
}

/// Reads a bundle; none if the file is something else.
pub fn read(file: &Path, value: &serde_json::Value) -> Option<Result<Bundle, Failure>> {
    let format = value.get("bundle")?.as_u64();
    if format != Some(u64::from(BUNDLE_FORMAT)) {
        let why = format!("it is a bundle of another format than {BUNDLE_FORMAT}");
        return Some(Err(
            unreadable(file, why).help("read it with the version that wrote it")
        ));
    }
    let read = Bundle::deserialize(value);
    Some(read.map_err(|error| unreadable(file, format!("it is no bundle: {error}"))))
}

/// Returns the codes of all findings, sorted.
fn codes(plan: &Plan) -> Vec<String> {
    let mut codes: Vec<String> = plan
        .findings
        .iter()
        .map(|found| found.code.clone())
        .collect();
    codes.sort();
    codes
}

fn random() -> Result<[u8; 32], Failure> {
    let mut key = [0; 32];
    getrandom::fill(&mut key)
        .map_err(|error| Failure::new(format!("failed to draw a random key: {error}")))?;
    Ok(key)
}

fn versions() -> Versions {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let said = Local::new().run(&Script::new("ssh -V 2>&1").purpose("ask ssh for its version"));
    let said = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    Versions {
        bkpctl: env!("CARGO_PKG_VERSION").to_owned(),
        os: name.and_then(|name| system(name.trim_matches(['"', '\'']))),
        arch: std::env::consts::ARCH.to_owned(),
        ssh: said.ok().and_then(|said| openssh(&said)),
    }
}

/// Returns `OpenSSH_9.2p1` of what the program says; what a distributor adds is left out.
fn openssh(said: &str) -> Option<String> {
    let version = said.strip_prefix("OpenSSH_")?;
    let end = version.find(|c: char| !c.is_ascii_alphanumeric() && c != '.');
    let version = &version[..end.unwrap_or(version.len()).min(16)];
    Some(format!("OpenSSH_{version}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_version_of_ssh_is_told() {
        let said = "OpenSSH_9.2p1 Debian-2+deb12u3, OpenSSL 3.0.15 3 Sep 2024";
        assert_eq!(openssh(said).as_deref(), Some("OpenSSH_9.2p1"));
        assert_eq!(openssh("dropbear"), None);
    }
}
