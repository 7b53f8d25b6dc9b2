//! Exit codes, stable and documented; and the error that carries one.

use std::fmt;

/// How the program ends, as scripts see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything went well.
    Ok = 0,
    /// Something failed; nothing else fits better.
    Error = 1,
    /// Changes are pending (`plan --detailed-exitcode`).
    Changes = 2,
    /// A node could not be reached, so the answer is incomplete.
    Incomplete = 3,
    /// A rule of the policy is broken.
    Policy = 4,
    /// A saved plan no longer fits what is there.
    Stale = 5,
    /// Some changes were made and some failed.
    Partial = 6,
    /// Somebody else holds the lock.
    Locked = 7,
    /// Interrupted by a person.
    Interrupted = 130,
}

/// The table that `bkpctl help exit-codes` and the docs print.
pub const TABLE: [(Exit, &str); 9] = [
    (Exit::Ok, "everything went well"),
    (
        Exit::Error,
        "an error, or files that fmt --check would change; nothing below fits better",
    ),
    (
        Exit::Changes,
        "changes are pending (plan --detailed-exitcode)",
    ),
    (Exit::Incomplete, "incomplete: a node could not be reached"),
    (Exit::Policy, "a rule of the policy is broken"),
    (Exit::Stale, "a saved plan no longer fits what is there"),
    (
        Exit::Partial,
        "partly applied: some changes were made, some failed",
    ),
    (Exit::Locked, "another bkpctl holds the lock"),
    (Exit::Interrupted, "interrupted"),
];

/// An error as a person sees it: what failed and why, and what to do next.
#[derive(Debug)]
pub struct Failure {
    /// The exit code it leads to.
    pub exit: Exit,
    /// What failed, where and why.
    pub message: String,
    /// The next thing to do.
    pub help: Option<String>,
}

/// What a command returns.
pub type Outcome = Result<Exit, Failure>;

impl Failure {
    /// Makes a plain error.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Error,
            message: message.into(),
            help: None,
        }
    }

    /// Says that nothing of a kind has that name, and which names there are.
    pub fn unknown<'a, N: fmt::Display + 'a>(
        kind: &str,
        name: &str,
        declared: impl IntoIterator<Item = &'a N>,
    ) -> Self {
        let names: Vec<String> = declared.into_iter().map(ToString::to_string).collect();
        let known = if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        };
        Self::new(format!("no {kind} is called {name:?}"))
            .help(format!("the topology declares: {known}"))
    }

    /// Sets the exit code.
    #[must_use]
    pub fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_every_code_once_in_order() {
        let codes: Vec<u8> = TABLE.iter().map(|(exit, _)| *exit as u8).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 130]);
    }
}
