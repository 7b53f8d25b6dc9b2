//! What differs between two topologies, whatever their files look like.
//!
//! Both are resolved first, so that comments, order, includes and templates make no difference.
//! No machine is reached and no key is needed: what only the live state can tell, a plan tells.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::hazard::{self, Hazard};
use crate::model::{Address, ByteSize, Name, Period, Topology};

/// The version of the difference's JSON form.
pub const DIFFERENCE_FORMAT: u32 = 1;

/// What differs between two topologies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// The version of this form, see [`DIFFERENCE_FORMAT`].
    pub format: u32,
    /// The topology's name, as it is now.
    pub topology: Name,
    /// What a reviewer should look at first.
    pub hazards: Vec<Hazard>,
    /// Everything that differs, by address.
    pub changes: Vec<Change>,
}

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// What it is.
    pub address: Address,
    /// Whether it is new, gone or different.
    pub kind: ChangeKind,
    /// What of it; of a new thing all that is set, of one that is gone all that was.
    pub attributes: Vec<Attribute>,
}

/// How a thing differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It was not there before.
    Added,
    /// It is not there any more.
    Removed,
    /// It is there in both, and different.
    Changed,
}

/// One attribute of a thing, before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attribute {
    /// Its name, such as `keep daily`.
    pub name: String,
    /// The value before; left out where it was not set.
    pub before: Option<String>,
    /// The value after; left out where it is not set.
    pub after: Option<String>,
}

impl Difference {
    /// Tells whether both are the same.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// Compares two topologies; none before means that all is new.
pub fn difference(before: Option<&Topology>, after: &Topology) -> Difference {
    let old = before.map(things).unwrap_or_default();
    let new = things(after);
    let addresses: BTreeSet<&Address> = old.keys().chain(new.keys()).collect();
    let changes = addresses
        .into_iter()
        .filter_map(|address| change(address, old.get(address), new.get(address)))
        .collect();
    Difference {
        format: DIFFERENCE_FORMAT,
        topology: after.name.clone(),
        hazards: before.map_or_else(Vec::new, |before| hazard::hazards(before, after)),
        changes,
    }
}

/// The attributes of a thing, by name.
type Attributes = BTreeMap<String, String>;

fn change(
    address: &Address,
    before: Option<&Attributes>,
    after: Option<&Attributes>,
) -> Option<Change> {
    let kind = match (before, after) {
        (None, Some(_)) => ChangeKind::Added,
        (Some(_), None) => ChangeKind::Removed,
        _ => ChangeKind::Changed,
    };
    let none = Attributes::new();
    let (before, after) = (before.unwrap_or(&none), after.unwrap_or(&none));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let attributes: Vec<_> = names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| Attribute {
            name: name.clone(),
            before: before.get(name).cloned(),
            after: after.get(name).cloned(),
        })
        .collect();
    let differs = kind != ChangeKind::Changed || !attributes.is_empty();
    differs.then(|| Change {
        address: address.clone(),
        kind,
        attributes,
    })
}

/// Returns everything a topology declares, each with its attributes.
fn things(topology: &Topology) -> BTreeMap<Address, Attributes> {
    let mut things = BTreeMap::new();
    collect(&mut things, "user", &topology.users);
    collect(&mut things, "node", &topology.nodes);
    collect(&mut things, "share", &topology.shares);
    collect(&mut things, "datastore", &topology.datastores);
    collect(&mut things, "key", &topology.keys);
    collect(&mut things, "source", &topology.sources);
    collect(&mut things, "guests", &topology.guests);
    for (number, phase) in topology.phases.iter().enumerate() {
        let mut order = Attributes::new();
        order.insert("number".to_owned(), (number + 1).to_string());
        if let Some(after) = &phase.after {
            order.insert("after".to_owned(), after.to_string());
        }
        things.insert(Address::new("phase", &phase.name), order);
        for job in &phase.jobs {
            let mut attributes = attributes(job);
            attributes.remove("name");
            attributes.insert("phase".to_owned(), phase.name.to_string());
            attributes.insert("kind".to_owned(), job.work.kind().to_owned());
            things.insert(Address::new("job", &job.name), attributes);
        }
    }
    let mut own = attributes(&topology.policy);
    own.insert("id".to_owned(), topology.id.0.clone());
    for removed in &topology.removed {
        let destroy = if removed.destroy {
            "destroy"
        } else {
            "keep what is there"
        };
        own.insert(format!("removed {}", removed.address), destroy.to_owned());
    }
    for moved in &topology.moved {
        own.insert(format!("moved {}", moved.from), moved.to.to_string());
    }
    things.insert(Address::new("topology", &topology.name), own);
    things
}

fn collect<T: Serialize>(
    things: &mut BTreeMap<Address, Attributes>,
    kind: &str,
    declared: &BTreeMap<Name, T>,
) {
    for (name, thing) in declared {
        things.insert(Address::new(kind, name), attributes(thing));
    }
}

/// Takes a thing's own form apart, so that no attribute can be forgotten here.
fn attributes(thing: &impl Serialize) -> Attributes {
    let value = serde_json::to_value(thing).expect("a topology has a JSON form");
    let mut attributes = Attributes::new();
    walk(&mut Vec::new(), &value, &mut attributes);
    attributes
}

/// One step on the way to a value.
struct Step {
    word: String,
    /// Whether a person chose the word, so that it is no field of ours whatever it says.
    is_free: bool,
}

fn walk(path: &mut Vec<Step>, value: &Value, out: &mut Attributes) {
    let field = path.last().filter(|step| !step.is_free);
    if let Some(text) = scalar(field.map_or("", |step| &step.word), value) {
        if !text.is_empty() {
            out.insert(title(path), text);
        }
        return;
    }
    let fields: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), value))
            .collect(),
        Value::Array(items) => {
            let numbered = items.iter().enumerate();
            numbered
                .map(|(at, item)| ((at + 1).to_string(), item))
                .collect()
        }
        _ => Vec::new(),
    };
    let in_domain = field.is_some_and(|step| step.word == "domain");
    for (word, value) in fields {
        let is_free = in_domain || word.starts_with('/');
        // Where something stands in a file is no part of it.
        if is_free || word != "declared" {
            path.push(Step { word, is_free });
            walk(path, value, out);
            path.pop();
        }
    }
}

/// Puts a value into words if it is one, by the name of its field; empty if it is not set.
fn scalar(field: &str, value: &Value) -> Option<String> {
    match (field, value) {
        (_, Value::Null | Value::Bool(false)) => Some(String::new()),
        (_, Value::Bool(true)) => Some("yes".to_owned()),
        ("mode", Value::Number(mode)) => Some(format!("{:04o}", mode.as_u64()?)),
        ("percent", Value::Number(percent)) => Some(format!("{percent}%")),
        ("bytes" | "quota", Value::Number(bytes)) => Some(exact_size(bytes.as_u64()?)),
        (
            "rpo" | "drill_within" | "every" | "verify_every" | "timeout" | "object_lock",
            Value::Number(seconds),
        ) => Some(exact_period(seconds.as_u64()?)),
        (_, Value::Number(number)) => Some(number.to_string()),
        (_, Value::String(text)) => Some(plain(text)),
        ("owner", Value::Object(owner)) => {
            let part = |name: &str| owner.get(name).map(|value| scalar(name, value));
            let [user, uid, gid] = [part("user"), part("uid"), part("gid")];
            Some(format!("{} ({}:{})", user??, uid??, gid??))
        }
        (_, Value::Array(items)) => {
            let texts = items.iter().map(|item| match item {
                Value::String(text) if text.contains(',') => Some(format!("{text:?}")),
                Value::Object(_) | Value::Array(_) => None,
                item => scalar("", item),
            });
            let texts: Option<Vec<_>> = texts.collect();
            texts.map(|texts| texts.join(", "))
        }
        (_, Value::Object(_)) => None,
    }
}

/// Returns a text as it is, unless it could be taken for another one or for none.
fn plain(text: &str) -> String {
    if text.is_empty() || text.starts_with('"') {
        format!("{text:?}")
    } else {
        text.to_owned()
    }
}

/// Says a size so that two that differ never look the same.
fn exact_size(bytes: u64) -> String {
    let rounded = ByteSize(bytes).to_string();
    match rounded.parse::<ByteSize>() {
        Ok(size) if size.0 == bytes => rounded,
        _ => format!("{rounded} ({bytes} B)"),
    }
}

/// Says a length of time so that two that differ never look the same.
fn exact_period(seconds: u64) -> String {
    let rounded = Period(seconds).to_string();
    match rounded.replace(' ', "").parse::<Period>() {
        Ok(period) if period.0 == seconds => rounded,
        _ => format!("{rounded} ({seconds} s)"),
    }
}

/// Returns an attribute's name: the fields on the way, without those that only give shape.
fn title(path: &[Step]) -> String {
    const SHAPE: [&str; 7] = [
        "kind",
        "content",
        "work",
        "directory",
        "reach",
        "percent",
        "bytes",
    ];
    let mut words: Vec<String> = Vec::new();
    for step in path {
        if step.is_free {
            words.push(step.word.clone());
        } else if !SHAPE.contains(&step.word.as_str()) && words.last() != Some(&step.word) {
            words.push(step.word.replace('_', " "));
        }
    }
    if words.is_empty() {
        words.extend(path.last().map(|step| step.word.clone()));
    }
    words.join(" ")
}
