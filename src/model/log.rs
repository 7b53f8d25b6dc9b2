//! The log: the journals of all nodes as one story, in the order of time.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::journal::{Event, Journal, JournalLine};
use super::name::Name;
use super::time::Timestamp;

/// The version of a log's JSON form.
pub const LOG_FORMAT: u32 = 1;

/// What was done on the nodes of a topology.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Log {
    /// The version of this form, see [`LOG_FORMAT`].
    pub format: u32,
    /// The topology's name.
    pub topology: Name,
    /// What happened, the oldest first.
    pub entries: Vec<LogEntry>,
    /// The nodes whose journals were asked for.
    pub nodes: Vec<LogNode>,
}

/// One line of a journal, with the node it was found on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogEntry {
    /// The node.
    pub node: Name,
    /// What its journal says.
    #[serde(flatten)]
    pub line: JournalLine,
    /// Where it is an end: how long it took since the beginning, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
    /// Where it is a beginning: whether an end follows. Without one it goes on, or was cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<bool>,
}

/// How much is known of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogNode {
    /// The node.
    pub name: Name,
    /// Why its journal could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable: Option<String>,
    /// Where its journal is, or would be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// How many of its lines make no sense and are left out.
    #[serde(default)]
    pub broken: usize,
    /// Whether its last line has no end and is left out.
    #[serde(default)]
    pub torn: bool,
    /// Where its journal was not read from its beginning: when the first line is that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_since: Option<String>,
}

/// What of a log is wanted; everything, unless it is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// How the plan's digest begins.
    pub plan: Option<String>,
    /// The source that it is about.
    pub source: Option<String>,
    /// The address that it is about.
    pub address: Option<String>,
    /// The time it happened at, or after.
    pub since: Option<Timestamp>,
}

/// Joins the journals of nodes; an error says why one could not be read.
pub fn merge(topology: &Name, journals: BTreeMap<Name, Result<Journal, String>>) -> Log {
    let mut log = Log {
        format: LOG_FORMAT,
        topology: topology.clone(),
        entries: Vec::new(),
        nodes: Vec::new(),
    };
    for (name, journal) in journals {
        log.nodes.push(LogNode::new(&name, &journal));
        if let Ok(journal) = journal {
            log.entries.extend(entries(&name, journal.lines));
        }
    }
    // Lines of one node and one moment stay in the order in which they were written.
    log.entries.sort_by_key(|entry| entry.line.time);
    log
}

impl LogNode {
    fn new(name: &Name, journal: &Result<Journal, String>) -> Self {
        let journal = journal.as_ref();
        let read = journal.ok();
        let first = |journal: &Journal| journal.lines.first().map(|line| line.time.to_string());
        Self {
            name: name.clone(),
            unreachable: journal.err().cloned(),
            folder: read.map(|journal| journal.folder.clone()),
            broken: read.map_or(0, |journal| journal.broken),
            torn: read.is_some_and(|journal| journal.torn),
            only_since: read.filter(|journal| journal.cut).and_then(first),
        }
    }
}

/// Finds the beginning of each end, in the order in which one node wrote them.
fn entries(node: &Name, lines: Vec<JournalLine>) -> Vec<LogEntry> {
    let mut entries: Vec<LogEntry> = Vec::with_capacity(lines.len());
    let mut begun = BTreeMap::new();
    for (at, line) in lines.into_iter().enumerate() {
        let what = (
            line.plan.clone(),
            line.job.clone(),
            line.action,
            line.address.clone(),
        );
        let (mut took_ms, mut ended) = (None, None);
        match line.event {
            Event::Opened | Event::Begin => {
                ended = Some(false);
                begun.insert(what, at);
            }
            Event::Done | Event::Failed | Event::Closed | Event::BrokenOff => {
                let begin = begun.remove(&what).map(|at| &mut entries[at]);
                took_ms = begin.map(|begin| {
                    begin.ended = Some(true);
                    line.time.0.saturating_sub(begin.line.time.0).max(0) as u64 / 1_000_000
                });
            }
            Event::Other(_) => {}
        }
        entries.push(LogEntry {
            node: node.clone(),
            line,
            took_ms,
            ended,
        });
    }
    entries
}

impl Wish {
    /// Tells whether an entry is one that is wanted.
    pub fn fits(&self, entry: &LogEntry) -> bool {
        let line = &entry.line;
        let plan = |plan: &String| line.plan.as_ref().is_some_and(|has| has.starts_with(plan));
        let address = |wanted: &String| {
            line.address
                .as_ref()
                .is_some_and(|has| has.to_string() == *wanted)
        };
        self.plan.as_ref().is_none_or(plan)
            && self.address.as_ref().is_none_or(address)
            && self
                .source
                .as_ref()
                .is_none_or(|source| line.is_about(source))
            && self.since.is_none_or(|since| line.time >= since)
    }
}

impl JournalLine {
    /// Tells whether it is about a source: itself, a copy of it, or a proof of it.
    fn is_about(&self, source: &str) -> bool {
        self.address
            .as_ref()
            .is_some_and(|address| match address.kind() {
                "source" | "copy" => address.name() == source,
                "drill" => address.part().is_some_and(|part| part == source),
                _ => false,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    fn line(ms: i64, action: usize, address: &str, event: Event) -> JournalLine {
        JournalLine {
            plan: Some("abcd".to_owned()),
            action: Some(action),
            address: address.parse().ok(),
            ..JournalLine::new(Timestamp(ms * 1_000_000), event, "")
        }
    }

    fn log(journals: Vec<(&str, Result<Vec<JournalLine>, &str>)>) -> Log {
        let journal = |lines| Journal {
            lines,
            ..Journal::default()
        };
        let journals = journals
            .into_iter()
            .map(|(node, lines)| (name(node), lines.map(journal).map_err(str::to_owned)));
        merge(&name("t"), journals.collect())
    }

    #[test]
    fn what_several_nodes_did_is_told_in_the_order_of_time() {
        let log = log(vec![
            (
                "a",
                Ok(vec![
                    line(1, 0, "copy.x/y", Event::Begin),
                    line(9, 0, "copy.x/y", Event::Done),
                ]),
            ),
            (
                "b",
                Ok(vec![
                    line(1, 1, "copy.z/y", Event::Begin),
                    line(5, 1, "copy.z/y", Event::Failed),
                ]),
            ),
            ("c", Err("gone")),
        ]);
        let told: Vec<_> = log
            .entries
            .iter()
            .map(|e| (e.node.as_str(), e.line.event.word(), e.took_ms, e.ended))
            .collect();
        assert_eq!(
            told,
            [
                ("a", "begin", None, Some(true)),
                ("b", "begin", None, Some(true)),
                ("b", "failed", Some(4), None),
                ("a", "done", Some(8), None),
            ]
        );
        assert_eq!(log.nodes[2].unreachable.as_deref(), Some("gone"));
    }

    #[test]
    fn a_beginning_without_its_end_is_not_taken_for_ended() {
        let log = log(vec![(
            "a",
            Ok(vec![
                line(1, 0, "copy.x/y", Event::Begin),
                line(2, 1, "copy.x/y", Event::Done),
                line(3, 0, "copy.x/y", Event::Begin),
                line(2, 0, "copy.x/y", Event::Done),
                line(8, 7, "node.n", Event::Other("paused".to_owned())),
            ]),
        )]);
        let begun: Vec<_> = log.entries.iter().filter_map(|e| e.ended).collect();
        // The end before its beginning took no time: a clock was set back.
        assert_eq!(begun, [false, true]);
        let took: Vec<_> = log.entries.iter().filter_map(|e| e.took_ms).collect();
        assert_eq!(took, [0]);
    }

    #[test]
    fn only_what_is_wished_for_fits() {
        let log = log(vec![(
            "a",
            Ok(vec![
                line(1, 0, "copy.x/y", Event::Done),
                line(2, 1, "copy.y/x", Event::Done),
                line(3, 2, "drill.proof/x", Event::Done),
                line(4, 3, "datastore.x", Event::Done),
            ]),
        )]);
        let fitting = |wish: &Wish| -> Vec<usize> {
            let fits = log.entries.iter().filter(|entry| wish.fits(entry));
            fits.filter_map(|entry| entry.line.action).collect()
        };
        let all = Wish::default();
        assert_eq!(fitting(&all), [0, 1, 2, 3]);
        let source = Some("x".to_owned());
        assert_eq!(
            fitting(&Wish {
                source,
                ..all.clone()
            }),
            [0, 2]
        );
        let address = Some("datastore.x".to_owned());
        assert_eq!(
            fitting(&Wish {
                address,
                ..all.clone()
            }),
            [3]
        );
        let since = Some(Timestamp(3_000_000));
        assert_eq!(
            fitting(&Wish {
                since,
                ..all.clone()
            }),
            [2, 3]
        );
        let plan = Some("abd".to_owned());
        assert_eq!(fitting(&Wish { plan, ..all }), [0_usize; 0]);
    }
}
