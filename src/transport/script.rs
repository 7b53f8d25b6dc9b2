//! What is asked of a machine, and what it answered.

use std::fmt::Write as _;
use std::time::Duration;

/// Is a POSIX `sh` script to run in one exec.
///
/// The text is ours; data inside it is written with [`shell_assign`] only. The script
/// has an empty stdin, `LC_ALL=C`, and the system folders of programs in its `PATH`.
#[derive(Debug, Clone)]
pub struct Script {
    /// The script's text.
    pub text: String,
    /// What the script is for, as a verb phrase for messages.
    pub purpose: String,
    /// The same question as data, for a machine where our key is bound to a program that
    /// answers questions and runs no script.
    pub question: Option<String>,
    /// Whether it should run as root where the login is not root.
    pub privileged: bool,
    /// How long it may take, from the moment the machine was reached.
    pub deadline: Duration,
    /// How many bytes it may print.
    pub output_max: usize,
}

impl Script {
    /// Creates a script with a minute to run and a mebibyte to print.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            purpose: "run a script".to_owned(),
            question: None,
            privileged: false,
            deadline: Duration::from_mins(1),
            output_max: 1 << 20,
        }
    }

    /// Says what the script is for, such as `look at the disks`.
    #[must_use]
    pub fn purpose(mut self, purpose: impl Into<String>) -> Self {
        self.purpose = purpose.into();
        self
    }

    /// Says what the script is to find out, as data.
    #[must_use]
    pub fn question(mut self, question: impl Into<String>) -> Self {
        self.question = Some(question.into());
        self
    }

    /// Asks for root.
    #[must_use]
    pub fn privileged(mut self, privileged: bool) -> Self {
        self.privileged = privileged;
        self
    }

    /// Sets how long the script may take.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets how many bytes the script may print.
    #[must_use]
    pub fn output_max(mut self, bytes: usize) -> Self {
        self.output_max = bytes;
        self
    }
}

/// Is what a script printed, and the status it ended with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// Standard output, whole.
    pub stdout: Vec<u8>,
    /// Standard error, its last part where it was long.
    pub stderr: Vec<u8>,
    /// The script's exit status.
    pub status: i32,
}

impl Output {
    /// Tells whether the script ended with status 0.
    pub fn success(&self) -> bool {
        self.status == 0
    }

    /// Returns the end of standard error on one line, escaped for printing.
    pub fn complaint(&self) -> String {
        super::error::printable_tail(&self.stderr, 400)
    }
}

/// Is a program to start with its stdin and stdout as a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// Program and arguments; none may hold a line break or a NUL byte.
    pub argv: Vec<String>,
    /// Whether it should run as root where the login is not root.
    pub privileged: bool,
}

impl Launch {
    /// Creates a launch of this program with these arguments.
    pub fn new<I, S>(argv: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            privileged: false,
        }
    }

    /// Asks for root.
    #[must_use]
    pub fn privileged(mut self, privileged: bool) -> Self {
        self.privileged = privileged;
        self
    }

    /// Returns the program's name, for messages.
    pub fn program(&self) -> &str {
        self.argv.first().map_or("", String::as_str)
    }
}

/// Writes the line of a POSIX `sh` script that sets a variable to these bytes.
///
/// Letters, digits and `/._-` stand for themselves; every other byte becomes an octal
/// escape that `printf %b` turns back, so what stands between the quotes is inert
/// whatever the data is. NUL bytes, which no shell variable can hold, are dropped.
pub fn shell_assign(name: &str, data: impl AsRef<[u8]>) -> String {
    let mut word = String::new();
    let mut plain = true;
    for &byte in data.as_ref().iter().filter(|byte| **byte != 0) {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(&byte) {
            word.push(char::from(byte));
        } else {
            plain = false;
            write!(word, "\\0{byte:03o}").expect("writing to a String never fails");
        }
    }
    if plain {
        format!("{name}='{word}'\n")
    } else {
        // Command substitution drops line breaks at the end, which the underscore guards.
        format!("{name}=$(printf '%b_' '{word}'); {name}=${{{name}%_}}\n")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::transport::{Local, Transport};

    fn through_the_shell(data: &[u8]) -> Vec<u8> {
        let text = format!("{}printf %s \"$x\"", shell_assign("x", data));
        let output = Local::new().run(&Script::new(text)).expect("sh runs");
        output.stdout
    }

    #[test]
    fn plain_paths_stay_readable() {
        assert_eq!(shell_assign("p", "/srv/a-b_c.d"), "p='/srv/a-b_c.d'\n");
    }

    #[test]
    fn awkward_text_arrives_unchanged() {
        for text in [
            "",
            "a b",
            "'; touch /x; '",
            "$(id)`id`",
            "back\\slash\n\n",
            "ü %s",
            "!#~*?",
        ] {
            assert_eq!(
                through_the_shell(text.as_bytes()),
                text.as_bytes(),
                "{text:?}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_bytes_but_nul_arrive_unchanged(data in proptest::collection::vec(1_u8.., 0..60)) {
            prop_assert_eq!(through_the_shell(&data), data);
        }
    }
}
