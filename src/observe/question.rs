//! The probe as a question and an answer, for keys that may only look.
//!
//! Such a key is bound to bkpctl itself on the node. What arrives there is data, [`Wanted`]
//! and [`Limits`]; the node makes the probe of its own, and sends facts back: never what a
//! file holds beyond them. Whoever has the key learns what a probe may see of any path, and can
//! change nothing.

use std::sync::OnceLock;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::journal;
use super::probe::{self, Limits};
use super::records::Records;
use super::wanted::{Folder, Wanted, WantedDatastore, WantedSource};
use crate::model::journal::Journal;
use crate::model::observed::NodeFacts;
use crate::model::system_files;
use crate::model::{Name, Timestamp};
use crate::transport::{Transport, TransportError};

/// The key of the one record that an answer consists of.
const RECORD: &str = "facts";

/// The key of the one record that an answer with a journal consists of.
const JOURNAL: &str = "journal";

/// The most that is asked for, of each kind of thing.
const THINGS_MAX: usize = 4096;

/// The longest path or word.
const TEXT_MAX: usize = 4096;

/// The longest that a whole look may take, and that one part of it may.
const WHOLE_MAX: Duration = Duration::from_mins(2);
const PART_MAX: Duration = Duration::from_secs(30);

/// What a node is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Asked {
    /// For facts about it.
    Facts(Box<AskedFacts>),
    /// For the end of the journal in our folder there.
    Journal(Folder),
}

/// What facts a node is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedFacts {
    wanted: Wanted,
    whole_ms: u64,
    path_ms: u64,
    estimate_ms: Option<u64>,
}

/// What every version of a question begins with, so that another version is told from nonsense.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Envelope<T> {
    /// The version that asks.
    version: String,
    /// The digest of how it looks, see [`manner`].
    manner: String,
    asked: T,
}

/// Says why a question was not answered.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// It makes no sense.
    #[error("the question is not understood: {0}")]
    Nonsense(String),
    /// It asks for what a probe does not look at.
    #[error("the question asks for what is never looked at: {0}")]
    OutOfBounds(String),
    /// Whoever asks looks in another way than this program.
    #[error(
        "the program there is bkpctl {here}, and bkpctl {asks}, which asks, looks in another way; copy that one there, as bkpctl bootstrap says"
    )]
    OtherVersion {
        /// The version of this program.
        here: &'static str,
        /// The version of the program that asks.
        asks: String,
    },
    /// The probe could not be run.
    #[error("it failed to {0}")]
    Failed(#[from] TransportError),
    /// The probe's own output makes no sense.
    #[error("the probe ended early and said {0:?}; a POSIX sh with the usual tools is needed")]
    Broken(String),
}

/// Words what a node is asked, as one line.
pub(super) fn ask(wanted: &Wanted, limits: Limits) -> String {
    let millis = |duration: Duration| duration.as_millis() as u64;
    word(Asked::Facts(Box::new(AskedFacts {
        wanted: wanted.clone(),
        whole_ms: millis(limits.whole),
        path_ms: millis(limits.path),
        estimate_ms: limits.estimate.map(millis),
    })))
}

/// Words the question for the end of a journal, as one line.
pub(super) fn ask_journal(folder: &Folder) -> String {
    word(Asked::Journal(folder.clone()))
}

fn word(asked: Asked) -> String {
    let envelope = Envelope {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        manner: manner().to_owned(),
        asked,
    };
    serde_json::to_string(&envelope).expect("names, numbers and texts always serialise")
}

/// Answers a question on the machine that a transport runs scripts on.
pub fn answer(
    question: &str,
    transport: &dyn Transport,
    now: &dyn Fn() -> Timestamp,
) -> Result<Vec<u8>, NoAnswer> {
    match understand(question)? {
        Asked::Facts(asked) => answer_facts(&asked, transport, now),
        Asked::Journal(folder) => answer_journal(&folder, transport),
    }
}

fn answer_facts(
    asked: &AskedFacts,
    transport: &dyn Transport,
    now: &dyn Fn() -> Timestamp,
) -> Result<Vec<u8>, NoAnswer> {
    let wanted = &asked.wanted;
    let output = transport.run(&probe::script(wanted, asked.limits()).privileged(false))?;
    let facts = probe::parse(&output.stdout, wanted, String::new(), now())
        .map_err(|_| NoAnswer::Broken(output.complaint()))?;
    record(RECORD, &facts)
}

/// Answers with the lines of a journal as they were understood, and with nothing else of it.
fn answer_journal(folder: &Folder, transport: &dyn Transport) -> Result<Vec<u8>, NoAnswer> {
    let output = transport.run(&journal::script(folder))?;
    let read = journal::parse(&output.stdout).map_err(NoAnswer::Broken)?;
    record(JOURNAL, &read)
}

fn record(key: &str, value: &impl Serialize) -> Result<Vec<u8>, NoAnswer> {
    let json = serde_json::to_vec(value).map_err(|e| NoAnswer::Broken(e.to_string()))?;
    let head = format!("{key} {}\n", json.len());
    Ok([head.as_bytes(), &json, b"\n"].concat())
}

/// Reads an answer that is a journal's lines; none if it is the output of a script itself.
pub(super) fn journal(answer: &[u8]) -> Option<Result<Journal, String>> {
    let records = Records::read(answer).ok()?;
    let json = records.get(JOURNAL)?;
    let understood = serde_json::from_slice(json);
    Some(understood.map_err(|error| format!("the journal it sent is not understood: {error}")))
}

/// Reads an answer that consists of facts; none if it is the output of a probe itself.
pub(super) fn facts(
    answer: &[u8],
    wanted: &Wanted,
    via: &str,
    after: Timestamp,
) -> Option<Result<NodeFacts, String>> {
    let records = Records::read(answer).ok()?;
    let json = records.get(RECORD)?;
    Some(read_facts(json, wanted, via, after))
}

fn read_facts(
    json: &[u8],
    wanted: &Wanted,
    via: &str,
    after: Timestamp,
) -> Result<NodeFacts, String> {
    let mut facts: NodeFacts = serde_json::from_slice(json)
        .map_err(|error| format!("the facts it sent are not understood: {error}"))?;
    via.clone_into(&mut facts.via);
    facts.skew_ms = facts.clock.0.saturating_sub(after.0) / 1_000_000;
    facts.login.only_looks = true;
    // What nobody asked for is no fact, and what was asked for is never missing.
    let folder = facts.state.folder.clone();
    facts
        .paths
        .retain(|path, _| *path == folder || wanted.paths.contains(path));
    facts.users.retain(|user, _| wanted.users.contains(user));
    facts.tools.retain(|tool, _| wanted.tools.contains(tool));
    facts.files.retain(|path, _| wanted.files.contains(path));
    facts.units.retain(|path, _| wanted.files.contains(path));
    facts.routes.retain(|to, _| wanted.routes.contains(to));
    facts.disks.retain(|uuid, _| wanted.disks.contains(uuid));
    let stores = wanted.datastores.iter().map(|store| &store.name);
    let sources = wanted.sources.iter().map(|source| &source.name);
    let is_whole = has_exactly(facts.datastores.keys(), stores)
        && has_exactly(facts.sources.keys(), sources)
        && facts.tools.len() == wanted.tools.len();
    if is_whole {
        Ok(facts)
    } else {
        Err("the facts it sent are not the ones that were asked for".to_owned())
    }
}

fn has_exactly<'a>(
    given: impl Iterator<Item = &'a Name>,
    asked: impl Iterator<Item = &'a Name>,
) -> bool {
    let mut asked: Vec<_> = asked.collect();
    asked.sort();
    given.eq(asked)
}

/// Reads and judges a question.
fn understand(question: &str) -> Result<Asked, NoAnswer> {
    let nonsense = |error: serde_json::Error| {
        NoAnswer::Nonsense(format!(
            "{:?} at column {}",
            error.classify(),
            error.column()
        ))
    };
    let envelope: Envelope<serde_json::Value> = serde_json::from_str(question).map_err(nonsense)?;
    if envelope.manner != manner() {
        return Err(NoAnswer::OtherVersion {
            here: env!("CARGO_PKG_VERSION"),
            asks: envelope.version.chars().take(40).collect(),
        });
    }
    let asked: Asked = serde_json::from_value(envelope.asked).map_err(nonsense)?;
    let judged = match &asked {
        Asked::Facts(facts) => judge(&facts.wanted),
        Asked::Journal(folder) => judge_folder(folder),
    };
    judged.map_err(NoAnswer::OutOfBounds)?;
    Ok(asked)
}

impl AskedFacts {
    /// Returns how long it may take, at most what a look may take at all.
    fn limits(&self) -> Limits {
        let within = |ms: u64, most: Duration| Duration::from_millis(ms).min(most);
        Limits {
            whole: within(self.whole_ms, WHOLE_MAX),
            path: within(self.path_ms, PART_MAX),
            estimate: self.estimate_ms.map(|ms| within(ms, PART_MAX)),
        }
    }
}

/// Says what in a question is no name, no path, or too much.
///
/// Every field is named here, so that a new one is judged too.
fn judge(wanted: &Wanted) -> Result<(), String> {
    let Wanted {
        folder,
        sudo: _,
        users,
        tools,
        paths,
        datastores,
        sources,
        addresses: _,
        exports: _,
        files,
        routes,
        disks,
        containers,
        storage: _,
        discovery: _,
    } = wanted;
    let counts = [
        users.len(),
        tools.len(),
        paths.len(),
        datastores.len(),
        sources.iter().map(|source| source.paths.len() + 1).sum(),
        files.len(),
        routes.len(),
        disks.len(),
        containers.len(),
    ];
    if counts.into_iter().any(|count| count > THINGS_MAX) {
        return Err(format!("more than {THINGS_MAX} of a kind"));
    }
    folder.as_ref().map_or(Ok(()), judge_folder)?;
    users.iter().try_for_each(|text| user(text))?;
    tools.iter().try_for_each(|text| tool(text))?;
    paths.iter().try_for_each(|text| path(text))?;
    files.iter().try_for_each(|text| file(text))?;
    routes.iter().try_for_each(|text| server(text))?;
    disks.iter().try_for_each(|text| disk(text))?;
    for WantedDatastore {
        name: _,
        path: text,
        owner: _,
        measured: _,
    } in datastores
    {
        path(text)?;
    }
    for WantedSource {
        name: _,
        paths,
        is_volume: _,
        one_file_system: _,
    } in sources
    {
        paths.iter().try_for_each(|text| path(text))?;
    }
    Ok(())
}

/// Names were judged when they were read.
fn judge_folder(folder: &Folder) -> Result<(), String> {
    let Folder {
        base,
        topology: _,
        node: _,
    } = folder;
    base.as_deref().map_or(Ok(()), path)
}

fn path(text: &str) -> Result<(), String> {
    if text.starts_with('/') && is_plain(text) {
        return Ok(());
    }
    Err(format!("{} is no path from the root", shown(text)))
}

/// Of the system's files only those are read that bkpctl keeps itself.
fn file(text: &str) -> Result<(), String> {
    if is_plain(text) && system_files::may_be_kept(text) {
        return Ok(());
    }
    Err(format!("{} is no file of exports or mounts", shown(text)))
}

fn server(text: &str) -> Result<(), String> {
    if !text.is_empty() && !text.starts_with('-') && is_plain(text) {
        return Ok(());
    }
    Err(format!("{} is no server", shown(text)))
}

fn disk(text: &str) -> Result<(), String> {
    if Name::new(text).is_ok() {
        return Ok(());
    }
    Err(format!("{} is no UUID", shown(text)))
}

fn tool(text: &str) -> Result<(), String> {
    if !text.is_empty() && !text.starts_with('-') && is_plain(text) {
        return Ok(());
    }
    Err(format!("{} is no program", shown(text)))
}

/// A user's name is also sought with a pattern, so it holds nothing that means more there.
fn user(text: &str) -> Result<(), String> {
    let is_name = !text.is_empty()
        && !text.starts_with('-')
        && text.len() <= 256
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-$+@\\".contains(&byte));
    if is_name {
        return Ok(());
    }
    Err(format!("{} is no user", shown(text)))
}

fn is_plain(text: &str) -> bool {
    text.len() <= TEXT_MAX && !text.chars().any(char::is_control)
}

fn shown(text: &str) -> String {
    let start: String = text.chars().take(80).collect();
    format!("{start:?}")
}

/// Returns the digest of how this version looks: the probe it makes and the facts it reads.
///
/// Facts of another version's probe may lack what this version's plan judges by, and a plan
/// would take that for absent. So only the same manner of looking answers.
fn manner() -> &'static str {
    static MANNER: OnceLock<String> = OnceLock::new();
    MANNER.get_or_init(|| {
        let limits = Limits {
            whole: PART_MAX,
            path: PART_MAX,
            estimate: Some(PART_MAX),
        };
        let script = probe::script(&everything(), limits).text;
        let facts = schemars::schema_for!(NodeFacts).to_value().to_string();
        let folder = everything().folder.expect("everything has a folder");
        let journal = journal::script(&folder).text;
        let mut hash = blake3::Hasher::new();
        hash.update(script.as_bytes());
        hash.update(facts.as_bytes());
        hash.update(journal.as_bytes());
        hash.update(env!("CARGO_PKG_VERSION").as_bytes());
        hash.finalize().to_hex()[..16].to_owned()
    })
}

/// Returns a question whose probe has every part.
fn everything() -> Wanted {
    let name = |text: &str| Name::new(text).expect("a plain word is a name");
    Wanted {
        folder: Some(Folder {
            base: None,
            topology: name("t"),
            node: name("n"),
        }),
        sudo: true,
        users: vec!["u".to_owned()],
        tools: vec!["t".to_owned()],
        paths: vec!["/d".to_owned(), "/s".to_owned()],
        datastores: vec![WantedDatastore {
            name: name("d"),
            path: "/d".to_owned(),
            owner: Some((1, 1)),
            measured: true,
        }],
        sources: vec![WantedSource {
            name: name("s"),
            paths: vec!["/s".to_owned()],
            is_volume: true,
            one_file_system: true,
        }],
        addresses: true,
        exports: true,
        files: vec![system_files::unit_file("/d")],
        routes: vec!["r".to_owned()],
        disks: vec!["k".to_owned()],
        containers: vec![1],
        storage: true,
        discovery: true,
    }
}

#[cfg(test)]
mod tests;
