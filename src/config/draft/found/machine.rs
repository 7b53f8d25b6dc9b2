//! Machines as they are: how they are reached, what they are, what is remarkable about them.

use std::collections::BTreeMap;

use super::body::Body;
use super::{Host, Way};
use crate::config::draft::words::{is_hidden, quoted};
use crate::model::Name;
use crate::model::export::{Export, SquashOf, Squashing};
use crate::model::idmap::OVERFLOW_ID;
use crate::model::lvm::VolumeKind;
use crate::model::observed::{NodeFacts, NodeState};
use crate::model::pve::{DumpJob, DumpedGuests, Guest, PveFacts};

/// The longest path or word that is declared.
const WORD_MAX: usize = 1024;

/// The most lines that are said about one kind of thing on a machine.
const LINES_MAX: usize = 24;

impl Body<'_> {
    /// Declares every machine that was reached, and says which were not.
    pub(super) fn machines(&mut self) {
        let named: Vec<(Name, &Host)> = self
            .found
            .names()
            .into_iter()
            .zip(&self.found.hosts)
            .collect();
        for (name, host) in &named {
            self.text.push('\n');
            let reach = host.way.statement(true);
            match &host.state {
                NodeState::Unreachable(why) => {
                    self.note(&format!("{name} was not reached: {}", why.message));
                    self.write(&format!("/- node {} {{ {reach} }}", quoted(name)));
                }
                NodeState::Reached(facts) => {
                    let os = facts.os.as_deref().unwrap_or("an unknown system");
                    self.note(&format!("{name}: {os}, {}", facts.arch));
                    for line in remarks(facts) {
                        self.note(&line);
                    }
                    let container = container(&named, name, facts);
                    let is_plain =
                        container.is_none() && !matches!(&host.way, Way::Ssh { key: Some(_), .. });
                    let reach = if is_plain {
                        format!("{{ {reach} }}")
                    } else {
                        format!("{{\n{reach}\n{}}}", container.unwrap_or_default())
                    };
                    self.write(&format!("node {} {reach}", quoted(name)));
                }
            }
        }
    }
}

/// Says which container of another machine this one is.
fn container(named: &[(Name, &Host)], name: &Name, facts: &NodeFacts) -> Option<String> {
    if facts.pve.is_some() || facts.hostname.is_empty() {
        return None;
    }
    let mut fits = named
        .iter()
        .filter(|(host, _)| host != name)
        .flat_map(|(host, seen)| {
            let pve = match &seen.state {
                NodeState::Reached(facts) => facts.pve.as_ref(),
                NodeState::Unreachable(_) => None,
            };
            let guests = pve.map_or(&[][..], |pve| &pve.guests);
            guests
                .iter()
                .filter(|guest| is_it(guest, facts))
                .map(move |guest| (host, guest))
        });
    let (host, guest) = fits.next()?;
    // Two of one name can't be told apart.
    if fits.next().is_some() || !(1..=999_999_999).contains(&guest.id) {
        return None;
    }
    let kind = if guest.unprivileged || !guest.idmap.is_empty() {
        "unprivileged"
    } else {
        "privileged"
    };
    let maps: Vec<String> = guest
        .idmap
        .iter()
        .filter(|line| is_sayable(line))
        .map(|line| format!("idmap {}", quoted(line)))
        .collect();
    let maps = if maps.is_empty() || kind == "privileged" {
        String::new()
    } else {
        format!(" {{\n{}\n}}", maps.join("\n"))
    };
    Some(format!(
        "container {} on={} kind=\"{kind}\"{maps}\n",
        guest.id,
        quoted(host)
    ))
}

fn is_it(guest: &Guest, facts: &NodeFacts) -> bool {
    let name = guest.name.as_deref().map(str::trim);
    guest.is_container
        && name.is_some_and(|name| super::short(name) == super::short(&facts.hostname))
}

/// Says what a person should know of a machine before choosing anything.
fn remarks(facts: &NodeFacts) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(found) = &facts.discovered {
        let remote = found
            .filesystems
            .iter()
            .filter(|fs| fs.mount.fstype.starts_with("nfs"));
        lines.extend(
            remote
                .map(|fs| format!("mounts {} at {}", fs.mount.source, fs.mount.target))
                .take(LINES_MAX),
        );
    }
    for volume in facts.lvm.iter().flat_map(|lvm| &lvm.volumes).take(1024) {
        if let VolumeKind::Pool { data, .. } = &volume.kind
            && lines.len() < 2 * LINES_MAX
        {
            lines.push(format!(
                "thin pool {}/{}: {data} of {} taken",
                volume.group, volume.name, volume.size
            ));
        }
    }
    if let Some(pve) = &facts.pve {
        lines.extend(inventory(pve));
    }
    if let Some(found) = &facts.discovered
        && !found.tools.is_empty()
    {
        let tools: Vec<&str> = found
            .tools
            .iter()
            .take(LINES_MAX)
            .map(String::as_str)
            .collect();
        lines.push(format!("other backup tools: {}", tools.join(", ")));
    }
    lines
}

fn inventory(pve: &PveFacts) -> Vec<String> {
    let storages = pve.storages.iter().take(LINES_MAX).map(|storage| {
        let place = storage
            .path
            .as_deref()
            .or(storage.dataset.as_deref())
            .or(storage.group.as_deref());
        let off = if storage.disabled {
            ", switched off"
        } else {
            ""
        };
        format!(
            "storage {}: {} at {}{off}",
            storage.id,
            storage.kind,
            place.unwrap_or("another machine")
        )
    });
    let jobs = pve.jobs.iter().take(LINES_MAX).map(|job| dump(pve, job));
    storages.chain(jobs).collect()
}

fn dump(pve: &PveFacts, job: &DumpJob) -> String {
    let guests = match &job.guests {
        DumpedGuests::AllBut(except) if except.is_empty() => "all guests".to_owned(),
        DumpedGuests::AllBut(except) => format!("all guests but {}", list(except)),
        DumpedGuests::These(these) => format!("guests {}", list(these)),
        DumpedGuests::Unknown => "guests of a pool".to_owned(),
    };
    let settings = job.settings.or(&pve.defaults);
    let to = settings
        .storage
        .or(settings.dumpdir)
        .unwrap_or_else(|| "local".to_owned());
    let at = job.schedule.as_deref().unwrap_or("no time");
    let off = if job.enabled { "" } else { ", switched off" };
    format!("vzdump {}: {guests} to {to} at {at}{off}", job.id)
}

fn list(numbers: &[u32]) -> String {
    let numbers: Vec<String> = numbers.iter().take(LINES_MAX).map(u32::to_string).collect();
    numbers.join(", ")
}

/// One exported path with everything that is the same for its clients.
#[derive(Debug)]
pub(super) struct Exported {
    pub(super) path: String,
    pub(super) squash: Squashing,
    pub(super) clients: Vec<String>,
    /// Why a topology can't say it.
    pub(super) problem: Option<String>,
}

/// Returns what a server exports, each path once.
pub(super) fn exported(facts: &NodeFacts) -> Vec<Exported> {
    let Some(nfs) = &facts.nfs else {
        return Vec::new();
    };
    let mut paths: BTreeMap<&str, Vec<&Export>> = BTreeMap::new();
    for export in &nfs.exports {
        paths.entry(&export.path).or_default().push(export);
    }
    paths
        .into_iter()
        .map(|(path, exports)| Exported {
            path: path.to_owned(),
            squash: exports[0].squashing,
            clients: exports
                .iter()
                .map(|export| export.clients.clone())
                .filter(|client| is_client(client))
                .take(LINES_MAX)
                .collect(),
            problem: problem(&exports, nfs.truenas.is_some()),
        })
        .collect()
}

fn problem(exports: &[&Export], is_truenas: bool) -> Option<String> {
    let squash = exports[0].squashing;
    let is_usual = (squash.uid, squash.gid) == (OVERFLOW_ID, OVERFLOW_ID);
    let problem = if is_truenas {
        "a TrueNAS writes its exports itself"
    } else if exports.iter().any(|export| export.squashing != squash) {
        "its clients are squashed in different ways"
    } else if exports.iter().any(|export| export.read_only) {
        "it is exported read-only"
    } else if exports
        .iter()
        .any(|export| export.security.iter().any(|flavour| flavour != "sys"))
    {
        "it wants more than sec=sys"
    } else if squash.of == SquashOf::Root && !is_usual {
        "root becomes a user by number"
    } else if squash.of == SquashOf::All && squash.uid.max(squash.gid) == u32::MAX {
        "everybody becomes nobody that a topology can say"
    } else if exports.iter().any(|export| !is_client(&export.clients)) {
        "its clients are named in a way that a topology can't say"
    } else {
        return None;
    };
    Some(problem.to_owned())
}

fn is_client(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".:/_*?@-".contains(c);
    !text.is_empty() && text.len() <= 256 && !text.starts_with('-') && text.chars().all(is_plain)
}

/// Tells whether a topology may hold a text at all.
pub(super) fn is_sayable(text: &str) -> bool {
    !text.is_empty() && text.len() <= WORD_MAX && !text.chars().any(is_hidden)
}

/// Returns a path in quotes, if a topology can say it.
pub(super) fn say_path(path: &str) -> Option<String> {
    let parts = path.strip_prefix('/')?;
    // Two spellings of one path would be two places.
    let is_plain = path == "/"
        || parts
            .split('/')
            .all(|part| !["", ".", ".."].contains(&part));
    (is_plain && is_sayable(path)).then(|| quoted(path))
}
