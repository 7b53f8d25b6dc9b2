//! The end of each node's journal, read by a script that only looks.

use std::collections::BTreeMap;
use std::time::Duration;

use super::look::{Connect, at_once};
use super::probe;
use super::question;
use super::records::Records;
use super::wanted::{Folder, of_folder};
use crate::model::journal::Journal;
use crate::model::topology::{Node, Reach};
use crate::model::{Name, Topology};
use crate::transport::{Script, TransportError};

/// How much of a journal is read: its end, which is some ten thousand lines.
pub(super) const END_MAX: u64 = 4 << 20;

/// How long a node may take to answer once it was reached.
const ANSWER_WITHIN: Duration = Duration::from_secs(40);

/// The most a node may answer; lines taken apart are longer than in their file.
const ANSWER_MAX: usize = 32 << 20;

/// Writes the size of the journal and its end. It only grows, so the end is where it was.
const SCRIPT: &str = r#"
f=$folder/journal.ndjson
if [ -f "$f" ] && [ -r "$f" ]; then
    size=$(($(wc -c <"$f")))
    from=0
    if [ "$size" -gt "$max" ]; then from=$((size - max)); fi
    out journal.from "$from"
    printf 'journal.end %d\n' "$((size - from))"
    tail -c "+$((from + 1))" "$f" | head -c "$((size - from))"
    echo
elif [ -e "$f" ]; then
    out journal.denied yes
fi
"#;

/// Reads the end of every node's journal, of all nodes at once.
///
/// Nodes where nothing is placed have none. Why one could not be read stands in its place.
pub fn journals(
    topology: &Topology,
    connect: &Connect<'_>,
    only: &dyn Fn(&Name) -> bool,
) -> BTreeMap<Name, Result<Journal, String>> {
    let todo: Vec<(Name, Folder)> = topology
        .nodes
        .keys()
        .filter(|name| only(name))
        .filter_map(|name| Some((name.clone(), of_folder(topology, name)?)))
        .collect();
    at_once(&todo, 20, &|name, folder| {
        read(name, &topology.nodes[name], folder, connect)
    })
}

fn read(
    name: &Name,
    node: &Node,
    folder: &Folder,
    connect: &Connect<'_>,
) -> Result<Journal, String> {
    let failed = |error: TransportError| format!("failed to {error}");
    let transport = connect(name, node).map_err(failed)?;
    let sudo = matches!(&node.reach, Reach::Ssh(ssh) if ssh.sudo);
    let script = script(folder)
        .privileged(sudo)
        .question(question::ask_journal(folder));
    let output = transport.run(&script).map_err(failed)?;
    let journal = question::journal(&output.stdout).unwrap_or_else(|| parse(&output.stdout));
    journal.map_err(|why| format!("{why} (it said: {:?})", output.complaint()))
}

/// Writes the script that reads the end of a journal.
pub(super) fn script(folder: &Folder) -> Script {
    let text = format!("{}max={END_MAX}\n{SCRIPT}", probe::in_folder(folder));
    Script::new(text)
        .purpose("read the journal")
        .deadline(ANSWER_WITHIN)
        .output_max(ANSWER_MAX)
}

/// Reads what the script wrote.
pub(super) fn parse(answer: &[u8]) -> Result<Journal, String> {
    let records = Records::read(answer).map_err(|error| error.to_string())?;
    let folder = records.text("state.folder").unwrap_or_default();
    if records.get("journal.denied").is_some() {
        return Err(format!("the journal in {folder} may not be read"));
    }
    let cut = records
        .number("journal.from")
        .is_some_and(|from: u64| from > 0);
    let end = records.get("journal.end").unwrap_or_default();
    Ok(Journal::read(folder, end, cut))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::model::Timestamp;
    use crate::model::journal::{Event, JournalLine};
    use crate::transport::{Local, Transport as _};

    fn look(base: &Path) -> Result<Journal, String> {
        let name = |text| Name::new(text).expect("a name");
        let folder = Folder {
            base: Some(base.to_str().expect("utf-8").to_owned()),
            topology: name("t"),
            node: name("n"),
        };
        let output = Local::new().run(&script(&folder)).expect("sh runs");
        parse(&output.stdout)
    }

    #[test]
    fn the_end_of_a_long_journal_is_read_and_a_missing_one_is_empty() {
        let base = tempfile::tempdir().expect("a temporary folder");
        let folder = base.path().join("t/n");
        let none = look(base.path()).expect("read");
        assert_eq!(none.folder, folder.to_str().expect("utf-8"));
        assert_eq!((none.lines.len(), none.cut), (0, false));

        fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("journal.ndjson");
        let line = JournalLine::new(Timestamp(0), Event::Done, "x\n\u{1b}").text();
        let short = [line.as_bytes(), b"\n\0\xff\n", line.as_bytes(), b"\n{\"v"].concat();
        fs::write(&file, short).expect("written");
        let read = look(base.path()).expect("read");
        assert_eq!((read.lines.len(), read.broken), (2, 1));
        assert!(read.torn && !read.cut);

        let long = format!("{line}\n").repeat(END_MAX as usize / line.len() + 10);
        fs::write(&file, &long).expect("written");
        let read = look(base.path()).expect("read");
        assert!(read.cut && read.broken == 0, "{}", read.broken);
        assert_eq!(read.lines.len(), END_MAX as usize / (line.len() + 1));
    }

    #[test]
    fn an_answer_that_makes_no_sense_is_an_error() {
        assert!(parse(b"journal.end 5\nab").is_err());
        assert!(parse(b"journal.denied 3\nyes\n").is_err());
    }
}
