//! Takes what names somebody out of a topology and its facts, and keeps what they mean.
//!
//! Nothing passes because nobody thought of it: a text stays only where its schema lists it, or
//! where a rule knows the very word; all else gets a pseudonym, the same for the same text
//! everywhere in one bundle and another in the next. Numbers stay. A plan made from the result
//! finds what a plan made from the original finds.
//!
//! Pure: the key from which pseudonyms come is an argument.

mod address;
mod kept;
mod pseudonyms;
mod rules;
mod walk;
mod words;

use std::sync::LazyLock;

use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::pseudonyms::Pseudonyms;
use self::walk::walk;
use crate::model::topology::Mounted;
use crate::model::{Facts, Topology, system_files};

pub use self::pseudonyms::Counts;

static OF_TOPOLOGY: LazyLock<Value> = LazyLock::new(|| schemars::schema_for!(Topology).to_value());
static OF_FACTS: LazyLock<Value> = LazyLock::new(|| schemars::schema_for!(Facts).to_value());

/// A topology and its facts without what names somebody.
#[derive(Debug)]
pub struct Redacted {
    /// The topology.
    pub topology: Topology,
    /// The facts.
    pub facts: Facts,
    /// What was replaced and kept.
    pub counts: Counts,
}

/// Replaces what names somebody, by pseudonyms from this key.
///
/// An error says that the result is not understood any more, which is a mistake of ours.
pub fn redact(topology: &Topology, facts: &Facts, key: [u8; 32]) -> Result<Redacted, String> {
    let plain = |error: serde_json::Error| error.to_string();
    let topology = serde_json::to_value(topology).map_err(plain)?;
    let facts = serde_json::to_value(facts).map_err(plain)?;
    let (topology, facts, counts) = redact_values(&topology, &facts, key);
    Ok(Redacted {
        topology: understood(topology)?,
        facts: understood(facts)?,
        counts,
    })
}

/// Replaces in documents as they are written; whatever they hold, no text of theirs gets by.
pub fn redact_values(topology: &Value, facts: &Value, key: [u8; 32]) -> (Value, Value, Counts) {
    let mut pseudonyms = Pseudonyms::new(key);
    register(topology, &mut pseudonyms);
    let redacted = walk(topology, &OF_TOPOLOGY, &mut pseudonyms);
    for (before, after) in made_of_names(topology, &redacted) {
        pseudonyms.set(before, after);
    }
    let facts = walk(facts, &OF_FACTS, &mut pseudonyms);
    (redacted, facts, pseudonyms.counts())
}

/// Returns texts that facts make of a topology's names, with what is to stand for each.
fn made_of_names(before: &Value, after: &Value) -> Vec<(String, String)> {
    let texts = |topology: &Value| -> Vec<Option<String>> {
        Topology::deserialize(topology).map_or_else(|_| Vec::new(), |topology| texts_of(&topology))
    };
    // Pseudonyms are in the order of the names, so that what is made of them is too.
    let pairs = texts(before).into_iter().zip(texts(after));
    pairs
        .filter_map(|(before, after)| Some((before?, after?)))
        .collect()
}

/// Returns what registries say of programs that sources run, and the files of shares and mounts.
fn texts_of(topology: &Topology) -> Vec<Option<String>> {
    let programs = topology.sources.values().map(crate::plan::program);
    let exports = topology.shares.keys().flat_map(|share| {
        let file = system_files::exports_file(&topology.name, share);
        [format!("exported by {file}"), file]
    });
    let mounts = topology.mounts().flat_map(|(_, place, mount)| {
        let file = system_files::unit_file(place.mount_point(mount).1);
        let disk = match &mount.what {
            Mounted::Disk(disk) => Some(system_files::device_unit(&disk.uuid)),
            Mounted::Share(_) => None,
        };
        [Some(format!("mounted by {file}")), Some(file), disk]
    });
    programs.chain(exports.map(Some)).chain(mounts).collect()
}

fn understood<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    // The error may repeat a value, and a pseudonym is one that may be repeated.
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// Returns the name of an operating system if it is one that many have.
pub fn system(name: &str) -> Option<String> {
    words::is_system(name).then(|| name.to_owned())
}

/// Gives declared names pseudonyms that say what they are, in the order of the names.
fn register(topology: &Value, pseudonyms: &mut Pseudonyms) {
    let keys = |field: &str| -> Vec<&str> {
        let map = topology.get(field).and_then(Value::as_object);
        map.into_iter()
            .flatten()
            .map(|(key, _)| key.as_str())
            .collect()
    };
    for (field, class) in [
        ("nodes", "host"),
        ("datastores", "store"),
        ("sources", "source"),
        ("keys", "key"),
        ("shares", "share"),
        ("guests", "guests"),
    ] {
        pseudonyms.register(class, keys(field));
    }
    let users = keys("users")
        .into_iter()
        .filter(|user| !words::is_user(user));
    pseudonyms.register("user", users.collect());
    let phases = topology.get("phases").and_then(Value::as_array);
    let phases: Vec<&Value> = phases.into_iter().flatten().collect();
    let names = |list: &[&Value]| -> Vec<String> {
        let name = |one: &&Value| one.get("name")?.as_str().map(str::to_owned);
        list.iter().filter_map(name).collect()
    };
    let jobs: Vec<&Value> = phases
        .iter()
        .filter_map(|phase| phase.get("jobs")?.as_array())
        .flatten()
        .collect();
    for (class, list) in [("phase", names(&phases)), ("job", names(&jobs))] {
        pseudonyms.register(class, list.iter().map(String::as_str).collect());
    }
    let name = topology.get("name").and_then(Value::as_str);
    pseudonyms.register("topology", name.into_iter().collect());
}

#[cfg(test)]
mod tests;
