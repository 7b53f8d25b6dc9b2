//! The journal: what was done on a node, one JSON object a line, as written and as read.
//!
//! A line is appended before an action begins and after it ended, so a journal is also the log
//! that `bkpctl log` shows. What reads it takes lines of other versions: fields it does not
//! know are passed over, and events it does not know are shown as they are called.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::address::Address;
use super::name::Name;
use super::time::Timestamp;

/// The file of a journal in bkpctl's folder on a node.
pub const JOURNAL_FILE: &str = "journal.ndjson";

/// The form of lines that this version writes.
pub const JOURNAL_VERSION: u32 = 1;

/// The longest line that is read as one.
const LINE_MAX: usize = 64 << 10;

/// The end of a node's journal, as far as it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// The folder it is in.
    pub folder: String,
    /// Its lines, in their order.
    pub lines: Vec<JournalLine>,
    /// How many lines make no sense.
    pub broken: usize,
    /// Whether the last line has no end, because it was being written or never was to its end.
    pub torn: bool,
    /// Whether there are earlier lines that were not read.
    pub cut: bool,
}

impl Journal {
    /// Reads the end of a file of lines; `cut` says that there is more before it.
    pub fn read(folder: String, end: &[u8], cut: bool) -> Self {
        let mut journal = Self {
            folder,
            cut,
            ..Self::default()
        };
        let mut pieces: Vec<&[u8]> = end.split(|byte| *byte == b'\n').collect();
        // What follows the last line's end is nothing, or a line without one.
        journal.torn = pieces.pop().is_some_and(|rest| !rest.is_empty());
        // The first line of a cut journal is the rest of one.
        for piece in pieces.into_iter().skip(usize::from(cut)) {
            match JournalLine::read(piece) {
                _ if piece.len() > LINE_MAX => journal.broken += 1,
                Some(line) => journal.lines.push(line),
                None => journal.broken += 1,
            }
        }
        journal
    }
}

/// One line of a node's journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JournalLine {
    /// The form of the line; 0 for those that were written before it was told.
    #[serde(default)]
    pub v: u32,
    /// When it was written, by the clock of the machine that bkpctl ran on; RFC 3339.
    #[serde(with = "rfc3339")]
    #[schemars(with = "String")]
    pub time: Timestamp,
    /// The id of the plan that was carried out; none for a job that was run by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// The job that was run by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Name>,
    /// The action's number in its plan, or the piece's in its job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<usize>,
    /// What was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    /// What happened to it.
    pub event: Event,
    /// Who carries a plan out, where it is opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// What of the plan is to be done on this node, where it is opened.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<String>,
    /// The gates that were said yes to, where it is opened.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<String>,
    /// What is done, what was done, or why it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub words: String,
}

/// What a line tells of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A plan is about to be carried out.
    Opened,
    /// A plan came to its end, and nothing of it is left to do.
    Closed,
    /// A plan was broken off: something of it failed or was not tried.
    BrokenOff,
    /// It is about to be done.
    Begin,
    /// It is done.
    Done,
    /// It failed, and the words say why.
    Failed,
    /// Something that another version writes.
    #[serde(untagged)]
    Other(String),
}

impl JournalLine {
    /// Starts a line of this version with its time and event, and nothing more.
    pub fn new(time: Timestamp, event: Event, words: impl Into<String>) -> Self {
        Self {
            v: JOURNAL_VERSION,
            time,
            plan: None,
            job: None,
            action: None,
            address: None,
            holder: None,
            actions: Vec::new(),
            allowed: Vec::new(),
            event,
            words: words.into(),
        }
    }

    /// Returns the line as it is appended, without its end.
    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("names, numbers and texts always serialise")
    }

    /// Reads one line; none if it is not one.
    pub fn read(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }
}

impl Event {
    /// Returns the event's word.
    pub fn word(&self) -> &str {
        match self {
            Self::Opened => "opened",
            Self::Closed => "closed",
            Self::BrokenOff => "broken_off",
            Self::Begin => "begin",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Other(word) => word,
        }
    }
}

/// Times as RFC 3339 to the millisecond, which people and other programs read.
mod rfc3339 {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    use super::Timestamp;

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde hands values over by reference"
    )]
    pub(super) fn serialize<S: Serializer>(
        time: &Timestamp,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let time = jiff::Timestamp::from_millisecond(time.0.div_euclid(1_000_000))
            .unwrap_or(jiff::Timestamp::MAX);
        serializer.collect_str(&format_args!("{time:.3}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time: jiff::Timestamp = text.parse().map_err(de::Error::custom)?;
        i64::try_from(time.as_nanosecond())
            .map(Timestamp)
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let mut line = JournalLine::new(
            Timestamp(1_700_000_000_123_456_789),
            Event::Failed,
            "a\n\u{1b}[2J\"b",
        );
        line.plan = Some("ab12".to_owned());
        line.action = Some(3);
        line.address = "copy.etc/primary".parse().ok();
        let text = line.text();
        assert_eq!(
            text,
            r#"{"v":1,"time":"2023-11-14T22:13:20.123Z","plan":"ab12","action":3,"address":"copy.etc/primary","event":"failed","words":"a\n\u001b[2J\"b"}"#
        );
        line.time = Timestamp(1_700_000_000_123_000_000);
        assert_eq!(JournalLine::read(text.as_bytes()), Some(line));
    }

    #[test]
    fn lines_of_other_versions_are_read_as_far_as_they_are_known() {
        let before = br#"{"action":0,"address":"node.here","event":"begin","plan":"00","time":"2026-01-02T03:04:05Z","words":"x"}"#;
        let line = JournalLine::read(before).expect("a line of before");
        assert_eq!((line.v, line.event), (0, Event::Begin));
        let later =
            br#"{"v":9,"time":"2026-01-02T03:04:05+01:00","event":"paused","by":{"who":1}}"#;
        let line = JournalLine::read(later).expect("a line of a later version");
        assert_eq!(line.event.word(), "paused");
        assert_eq!((line.v, line.address, line.words), (9, None, String::new()));
    }

    #[test]
    fn what_is_no_line_is_none() {
        for text in [
            "",
            "{}",
            "[]",
            r#"{"time":"yesterday","event":"done"}"#,
            r#"{"time":"2026-01-02T03:04:05Z"}"#,
            r#"{"time":"2026-01-02T03:04:05Z","event":"done","address":"; rm"}"#,
            r#"{"time":"2026-01-02T03:04:05Z","event":"do"#,
        ] {
            assert_eq!(JournalLine::read(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_end_of_a_journal_is_read_whatever_is_in_it() {
        let good = JournalLine::new(Timestamp(0), Event::Done, "x").text();
        let long = JournalLine::new(Timestamp(0), Event::Done, "x".repeat(LINE_MAX)).text();
        let read = |text: &str, cut| {
            let journal = Journal::read("/f".to_owned(), text.as_bytes(), cut);
            (journal.lines.len(), journal.broken, journal.torn)
        };
        assert_eq!(read("", false), (0, 0, false));
        assert_eq!(read(&format!("{good}\n{good}\n"), false), (2, 0, false));
        assert_eq!(read(&format!("{good}\n{good}"), false), (1, 0, true));
        assert_eq!(read(&format!("{good}\n{{\"v\""), false), (1, 0, true));
        assert_eq!(
            read(&format!("\0\n\n{good}\n{long}\n"), false),
            (1, 3, false)
        );
        assert_eq!(read(&format!("ail\"}}\n{good}\n"), true), (1, 0, false));
        assert_eq!(read("no end", true), (0, 0, true));
    }

    proptest! {
        #[test]
        fn any_line_survives_its_text(ms in 0_i64..4_000_000_000_000, words: String, word in "[a-z]{1,8}") {
            let event = serde_json::from_value(word.into()).expect("a word is an event");
            let line = JournalLine::new(Timestamp(ms * 1_000_000), event, words);
            prop_assert_eq!(JournalLine::read(line.text().as_bytes()), Some(line));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = JournalLine::read(&bytes);
            let _ = Journal::read(String::new(), &bytes, true);
        }
    }
}
