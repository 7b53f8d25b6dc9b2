//! What becomes of the files of a system that bkpctl keeps: exports and mount units.

use super::pseudonyms::Pseudonyms;
use super::{rules, words};

/// Returns what stands for a kept file's text, line by line.
pub(super) fn text(text: &str, pseudonyms: &mut Pseudonyms) -> String {
    let lines = text.split_inclusive('\n').map(|line| {
        let (line, end) = match line.strip_suffix('\n') {
            Some(line) => (line, "\n"),
            None => (line, ""),
        };
        format!("{}{end}", one(line, pseudonyms))
    });
    lines.collect()
}

fn one(line: &str, pseudonyms: &mut Pseudonyms) -> String {
    if let Some(heading) = line
        .strip_prefix("# ")
        .and_then(|line| heading(line, pseudonyms))
    {
        return format!("# {heading}");
    }
    if line.starts_with('/') {
        let words = line.split(' ').map(|word| exported(word, pseudonyms));
        return words.collect::<Vec<_>>().join(" ");
    }
    let setting = line.split_once('=');
    let value = setting.and_then(|(name, value)| value_of(name, value, pseudonyms));
    match (setting, value) {
        (Some((name, _)), Some(value)) => format!("{name}={value}"),
        _ if words::is_section(line) => line.to_owned(),
        _ => pseudonyms.of("text", line),
    }
}

/// Replaces `ADDRESS of topology ID: kept by bkpctl`.
fn heading(line: &str, pseudonyms: &mut Pseudonyms) -> Option<String> {
    let (address, rest) = line.split_once(" of topology ")?;
    let (topology, rest) = rest.split_once(": ")?;
    (rest == "kept by bkpctl").then(|| {
        let address = rules::address_of_plan(address, pseudonyms);
        let topology = pseudonyms.of("topology", topology);
        format!("{address} of topology {topology}: {rest}")
    })
}

/// Replaces a path, or a client with its options.
fn exported(word: &str, pseudonyms: &mut Pseudonyms) -> String {
    match word.split_once('(') {
        Some((client, options)) => {
            let options = options.trim_end_matches(')');
            format!(
                "{}({})",
                rules::client(client, pseudonyms),
                rules::options(options, pseudonyms)
            )
        }
        None => rules::path(word, pseudonyms),
    }
}

fn value_of(name: &str, value: &str, pseudonyms: &mut Pseudonyms) -> Option<String> {
    Some(match name {
        "Description" => {
            let (what, datastore) = value.split_once(" for datastore ")?;
            let (kind, what) = what
                .split_once(' ')
                .filter(|(kind, _)| ["share", "disk"].contains(kind))?;
            let what = rules::anything(what, pseudonyms);
            let datastore = pseudonyms.of("name", datastore);
            format!("{kind} {what} for datastore {datastore}")
        }
        "What" => rules::mounted(value, pseudonyms),
        "Where" => rules::path(value, pseudonyms),
        "Type" if words::is_fstype(value) => pseudonyms.keep(value),
        "Options" => rules::options(value, pseudonyms),
        "TimeoutSec" if value == "30s" => value.to_owned(),
        "WantedBy" if value == "remote-fs.target" => value.to_owned(),
        "WantedBy" => pseudonyms.of("text", value),
        _ => return None,
    })
}
