//! The question that a script answers, as data in front of it.
//!
//! A key may be bound to one program on a machine (`command=` in `authorized_keys`): whatever
//! is asked to run there, that program starts in its place and is given our input. So a script
//! that only looks begins with its question, in a comment. A shell passes over it; a program
//! that answers questions reads this one line and nothing else, and runs none of the script.

use std::io::{BufRead, Read as _};

use super::error::printable_tail;
use super::frame::{find, frame};

/// How the line begins; for a shell it is a comment.
const MARK: &str = "#bkpctl-look ";

/// How a program that only answers questions says that it did not.
const REFUSAL: &str = "bkpctl look: ";

/// The longest line that is read.
const LINE_MAX: u64 = 4 << 20;

/// Is a question as it arrived at the program that answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The question itself, not judged yet.
    pub text: String,
    /// Whether root rights are wanted to answer it.
    pub privileged: bool,
    nonce: String,
}

/// Says why an input is no question.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoQuestion {
    /// Something else was asked for.
    #[error("this key may only look, and something else was asked for")]
    SomethingElse,
    /// The line has no end within its bounds, or is no text.
    #[error("the question is too long or no text")]
    Unreadable,
}

impl Question {
    /// Reads the first line of an input, and nothing behind it.
    pub fn read(input: &mut dyn BufRead) -> Result<Self, NoQuestion> {
        let mut line = Vec::new();
        input
            .take(LINE_MAX)
            .read_until(b'\n', &mut line)
            .map_err(|_| NoQuestion::Unreadable)?;
        let Some(rest) = line.strip_prefix(MARK.as_bytes()) else {
            return Err(NoQuestion::SomethingElse);
        };
        let rest = rest.strip_suffix(b"\n").ok_or(NoQuestion::Unreadable)?;
        let rest = std::str::from_utf8(rest).map_err(|_| NoQuestion::Unreadable)?;
        let mut words = rest.splitn(3, ' ');
        let (Some(nonce), Some(rights), Some(text)) = (words.next(), words.next(), words.next())
        else {
            return Err(NoQuestion::SomethingElse);
        };
        let is_nonce = nonce.len() == 32 && nonce.bytes().all(|byte| byte.is_ascii_hexdigit());
        let privileged = match rights {
            "root" => true,
            "login" => false,
            _ => return Err(NoQuestion::SomethingElse),
        };
        if !is_nonce {
            return Err(NoQuestion::SomethingElse);
        }
        Ok(Self {
            text: text.to_owned(),
            privileged,
            nonce: nonce.to_owned(),
        })
    }

    /// Returns the line that this question came as, to pass it on.
    pub fn line(&self) -> String {
        line(&self.text, &self.nonce, self.privileged)
    }

    /// Wraps an answer so that whoever asked knows it for the whole answer to this question.
    pub fn wrap(&self, answer: &[u8]) -> Vec<u8> {
        frame(&self.nonce, answer, 0)
    }
}

/// Writes the line in front of a script; it is one line whatever the question holds.
pub(crate) fn line(question: &str, nonce: &str, privileged: bool) -> String {
    let rights = if privileged { "root" } else { "login" };
    let question = question.replace(['\n', '\r', '\0'], " ");
    format!("{MARK}{nonce} {rights} {question}\n")
}

/// Words why a program that only answers questions did not.
pub fn refusal(why: impl std::fmt::Display) -> String {
    format!("{REFUSAL}{why}")
}

/// Returns why a program that only answers questions did not, if that is what was said.
pub(crate) fn refused(stderr: &[u8]) -> Option<String> {
    let at = find(stderr, REFUSAL.as_bytes())? + REFUSAL.len();
    let line = stderr[at..].split(|byte| *byte == b'\n').next()?;
    Some(printable_tail(line, 600))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::transport::{Local, Script, Transport as _};

    const NONCE: &str = "00112233445566778899aabbccddeeff";

    fn read(bytes: &[u8]) -> Result<Question, NoQuestion> {
        Question::read(&mut { bytes })
    }

    #[test]
    fn a_question_arrives_as_it_was_asked() {
        for privileged in [true, false] {
            let mut input = line("{\"a\": \"b c\"}", NONCE, privileged);
            input.push_str("rm -rf /\n");
            let question = read(input.as_bytes()).expect("a question");
            assert_eq!(
                (question.text.as_str(), question.privileged),
                ("{\"a\": \"b c\"}", privileged)
            );
            assert!(input.starts_with(&question.line()));
        }
    }

    #[test]
    fn all_else_is_refused() {
        let bad_nonce = line("{}", "../../etc", true);
        let no_rights = format!("{MARK}{NONCE} admin {{}}\n");
        let cut = format!("{MARK}{NONCE} root {{}}");
        for (text, why) in [
            ("", NoQuestion::SomethingElse),
            ("rm -rf /\n", NoQuestion::SomethingElse),
            ("echo #bkpctl-look \n", NoQuestion::SomethingElse),
            (MARK, NoQuestion::Unreadable),
            (&bad_nonce, NoQuestion::SomethingElse),
            (&no_rights, NoQuestion::SomethingElse),
            (&cut, NoQuestion::Unreadable),
        ] {
            assert_eq!(read(text.as_bytes()), Err(why), "{text:?}");
        }
        let endless = [MARK.as_bytes(), &vec![b'x'; 5 << 20]].concat();
        assert_eq!(read(&endless), Err(NoQuestion::Unreadable));
    }

    #[test]
    fn a_shell_passes_over_a_question_whatever_it_holds() {
        let hostile = "'\"`id`$(id)\\\necho pwned\r\necho pwned \\";
        let script = Script::new("echo done").question(hostile);
        let output = Local::new().run(&script).expect("sh runs");
        assert_eq!(output.stdout, b"done\n");
        assert_eq!(output.stderr, b"");
    }

    #[test]
    fn a_refusal_is_found_among_other_words_and_is_printable() {
        let said = format!("welcome\nerror: {}\nbye", refusal("no \x1b[2J"));
        let found = refused(said.as_bytes());
        assert_eq!(found.as_deref(), Some("no \\u{1b}[2J"));
        assert_eq!(refused(b"sh: not found"), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = read(&bytes);
            let _ = read(&[MARK.as_bytes(), &bytes].concat());
            let _ = refused(&bytes);
        }
    }
}
