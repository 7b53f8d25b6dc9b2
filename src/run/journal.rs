//! The journal of this machine: appended durably, and asked which plans were begun.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::model::Timestamp;
use crate::model::journal::{Event, JOURNAL_FILE, JournalLine};
use crate::run::message::Fault;

/// The longest line that is read; ours are far shorter.
const LINE_MAX: u64 = 4 << 20;

/// A plan that was begun on a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// The line that says so.
    pub line: JournalLine,
    /// How many of its actions were carried out there.
    pub done: u64,
    /// How many failed there.
    pub failed: u64,
    /// Whether it came to its end, with nothing left to do.
    pub closed: bool,
}

/// What a journal says of plans.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plans {
    /// The plan that was asked for, or what was broken off; none if there is no such plan.
    pub opening: Option<Opening>,
    /// When something was last written for any other plan.
    pub last_of_others: Option<Timestamp>,
}

/// Appends one line and makes it durable; a line that does not fit leaves nothing behind.
pub(super) fn append(folder: &Path, line: &str) -> Result<(), Fault> {
    let path = folder.join(JOURNAL_FILE);
    let append = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)?;
        // Jobs write here too, beside an apply that holds the node.
        rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
        let length = file.metadata()?.len();
        let start = if is_torn(&mut file, length)? {
            "\n"
        } else {
            ""
        };
        let written = file
            .write_all(format!("{start}{line}\n").as_bytes())
            .and_then(|()| file.sync_all());
        if written.is_err() {
            // Half a line would spoil nothing, and be one more thing to explain.
            drop(file.set_len(length));
        }
        written?;
        File::open(folder)?.sync_all()
    };
    append().map_err(|e| match e.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            let mut fault = Fault::io(&format!("write {}", path.display()), &e);
            fault.kind = crate::run::message::FaultKind::NoSpace;
            fault
        }
        _ => Fault::io(&format!("write {}", path.display()), &e),
    })
}

/// Tells whether the last line was cut off, as by a power loss.
fn is_torn(file: &mut File, length: u64) -> io::Result<bool> {
    if length == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::Start(length - 1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != [b'\n'])
}

/// Returns when a plan was begun here, or else the newest plan that was begun and is not at
/// its end.
pub(super) fn plans(folder: &Path, plan: Option<&str>) -> Result<Plans, Fault> {
    let path = folder.join(JOURNAL_FILE);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Plans::default()),
        Err(error) => return Err(Fault::io(&format!("read {}", path.display()), &error)),
    };
    find(BufReader::new(file), plan)
        .map_err(|error| Fault::io(&format!("read {}", path.display()), &error))
}

fn find(mut journal: impl BufRead, plan: Option<&str>) -> io::Result<Plans> {
    let mut found: Option<Opening> = None;
    let mut last_of_others = None;
    let mut text = Vec::new();
    loop {
        text.clear();
        let length = journal
            .by_ref()
            .take(LINE_MAX)
            .read_until(b'\n', &mut text)?;
        if length == 0 {
            break;
        }
        let Some(line) = JournalLine::read(&text) else {
            continue;
        };
        if line.plan.is_some() && line.plan.as_deref() != plan {
            last_of_others = last_of_others.max(Some(line.time));
        }
        let is_of = |opening: &Opening| opening.line.plan == line.plan;
        match (&line.event, &mut found) {
            (Event::Opened, Some(opening)) if is_of(opening) => {
                opening.closed = false;
                opening.line.actions.extend(line.actions);
                opening.line.allowed.extend(line.allowed);
            }
            (Event::Opened, _) if plan.is_none_or(|plan| line.plan.as_deref() == Some(plan)) => {
                found = Some(Opening {
                    line,
                    done: 0,
                    failed: 0,
                    closed: false,
                });
            }
            (Event::Closed, Some(opening)) if is_of(opening) => opening.closed = true,
            (Event::Done, Some(opening)) if is_of(opening) => opening.done += 1,
            (Event::Failed, Some(opening)) if is_of(opening) => opening.failed += 1,
            _ => {}
        }
    }
    // Whoever asks for no plan in particular asks for what is left to do.
    Ok(Plans {
        opening: found.filter(|opening| plan.is_some() || !opening.closed),
        last_of_others,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(plan: &str, event: Event) -> String {
        let line = JournalLine {
            plan: Some(plan.to_owned()),
            ..JournalLine::new(Timestamp(1_700_000_000_000_000_000), event, "")
        };
        format!("{}\n", line.text())
    }

    fn asked(journal: &str, plan: Option<&str>) -> Option<(String, u64, u64, bool)> {
        let found = find(journal.as_bytes(), plan)
            .expect("bytes are read")
            .opening;
        found.map(|o| (o.line.plan.unwrap_or_default(), o.done, o.failed, o.closed))
    }

    #[test]
    fn a_plan_is_known_from_its_first_line_on() {
        let journal = [
            line("a", Event::Opened),
            line("a", Event::Begin),
            line("a", Event::Done),
            "not a line\n".to_owned(),
            line("a", Event::Failed),
            line("b", Event::Opened),
            line("b", Event::Done),
            line("b", Event::Closed),
        ]
        .concat();
        assert_eq!(asked(&journal, Some("a")), Some(("a".into(), 1, 1, false)));
        assert_eq!(asked(&journal, Some("b")), Some(("b".into(), 1, 0, true)));
        assert_eq!(asked(&journal, Some("c")), None);
    }

    #[test]
    fn only_the_newest_plan_can_be_what_is_left_to_do() {
        let left = [line("a", Event::Opened), line("a", Event::Done)].concat();
        assert_eq!(asked(&left, None), Some(("a".into(), 1, 0, false)));
        let closed = [
            left.clone(),
            line("b", Event::Opened),
            line("b", Event::Closed),
        ]
        .concat();
        assert_eq!(asked(&closed, None), None);
        let resumed = [left, line("a", Event::Opened), line("a", Event::Closed)].concat();
        assert_eq!(asked(&resumed, None), None);
    }

    #[test]
    fn what_others_wrote_last_is_told_apart_from_ones_own() {
        let journal = [line("a", Event::Opened), line("b", Event::Opened)].concat();
        let last = |plan: &str| {
            let plans = find(journal.as_bytes(), Some(plan)).expect("bytes are read");
            plans.last_of_others
        };
        assert_eq!(last("a"), Some(Timestamp(1_700_000_000_000_000_000)));
        let own = find(line("a", Event::Done).as_bytes(), Some("a")).expect("bytes are read");
        assert_eq!(own.last_of_others, None);
        let job = JournalLine::new(Timestamp(5), Event::Done, "a job by itself");
        let job = find(job.text().as_bytes(), Some("a")).expect("bytes are read");
        assert_eq!(job.last_of_others, None);
    }

    #[test]
    fn a_line_after_one_that_was_cut_off_stands_by_itself() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(JOURNAL_FILE);
        std::fs::write(&path, "{\"v\":1,\"ti").expect("half a line");
        append(folder.path(), "{}").expect("a line");
        append(folder.path(), "{}").expect("a line");
        let text = std::fs::read_to_string(&path).expect("the journal");
        assert_eq!(text, "{\"v\":1,\"ti\n{}\n{}\n");
    }
}
