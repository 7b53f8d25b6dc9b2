//! What can go wrong between this machine and another.

use std::time::Duration;

/// Says why a machine could not be reached or a command's result does not count.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The machine did not accept a connection.
    #[error("reach {host}: {why}; check the address, the port and that the SSH server runs")]
    Unreachable {
        /// The machine, as [`crate::transport::Transport::describe`] names it.
        host: String,
        /// The system's reason.
        why: String,
    },
    /// The machine offered another host key than the one on file.
    #[error(
        "trust {host}: it offered the host key {offered}, but {place} holds {}; if the key was changed on purpose, compare it on the machine itself, then pin the line that `bkpctl host-key NODE` prints",
        .expected.join(", ")
    )]
    HostKeyMismatch {
        /// The machine.
        host: String,
        /// Type and SHA-256 fingerprint of the offered key.
        offered: String,
        /// Types and fingerprints on file.
        expected: Vec<String>,
        /// Where the expected keys are written down.
        place: String,
    },
    /// No host key is on file for the machine.
    #[error(
        "trust {host}: no host key is on file (looked in {looked_in}); it offered {fingerprint}; compare that with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the machine, then pin it: host-key {line:?}"
    )]
    HostKeyUnknown {
        /// The machine.
        host: String,
        /// The offered key as `type base64`, ready to paste.
        line: String,
        /// Type and SHA-256 fingerprint of the offered key.
        fingerprint: String,
        /// The places that were searched.
        looked_in: String,
    },
    /// The machine accepted none of the identities.
    #[error(
        "log in to {host} as {user}: no identity was accepted (tried {}); add the public key to that user's authorized_keys or name the right identity-file",
        if .tried.is_empty() { "none, because no key file and no agent was found".to_owned() } else { .tried.join("; ") }
    )]
    Auth {
        /// The machine.
        host: String,
        /// The login name.
        user: String,
        /// Each identity tried, with the reason it failed.
        tried: Vec<String>,
    },
    /// The machine did not answer in time.
    #[error(
        "{doing} on {host}: no answer within {} s; the machine may be overloaded or a filesystem on it may hang",
        .after.as_secs_f32()
    )]
    Timeout {
        /// The machine.
        host: String,
        /// What was being done.
        doing: String,
        /// The deadline that passed.
        after: Duration,
    },
    /// The command was killed or the connection was lost before the end.
    #[error(
        "{doing} on {host}: cut off before the end ({detail}); it may have run in part, so look before trying again"
    )]
    Cut {
        /// The machine.
        host: String,
        /// What was being done.
        doing: String,
        /// What was seen instead of the end, already escaped.
        detail: String,
    },
    /// The command printed more than was asked for.
    #[error(
        "{doing} on {host}: more than {limit} bytes of output; refused, because no honest answer is that long"
    )]
    TooMuchOutput {
        /// The machine.
        host: String,
        /// What was being done.
        doing: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// The login may not become root.
    #[error(
        "become root on {host}: {detail}; allow it without a password in sudoers, or log in as root"
    )]
    Denied {
        /// The machine.
        host: String,
        /// What `sudo` said, already escaped.
        detail: String,
    },
    /// Our key is bound to a program on the machine, and that program did not do it.
    #[error("{doing} on {host}: refused: {detail}")]
    Refused {
        /// The machine.
        host: String,
        /// What was being done.
        doing: String,
        /// What that program said, already escaped.
        detail: String,
    },
    /// The program does not exist on the machine.
    #[error("start {program} on {host}: no such program there; install it, or check the path")]
    NoSuchProgram {
        /// The machine.
        host: String,
        /// The program asked for.
        program: String,
    },
    /// The machine can be reached only in a way that is not carried out.
    #[error("reach {host}: {what}; {next}")]
    Unsupported {
        /// The machine.
        host: String,
        /// What is needed.
        what: String,
        /// What to do instead.
        next: String,
    },
    /// An argument or setting cannot be sent safely.
    #[error("talk to {host}: {what}")]
    BadInput {
        /// The machine.
        host: String,
        /// What is wrong with which value, already escaped.
        what: String,
    },
    /// A file could not be placed.
    #[error("write {path} on {host}: {detail}")]
    Upload {
        /// The machine.
        host: String,
        /// The target path, already escaped.
        path: String,
        /// What the machine said, already escaped.
        detail: String,
    },
    /// The system refused an operation on this side.
    #[error("{doing} for {host}: {source}")]
    Io {
        /// The machine.
        host: String,
        /// What was being done.
        doing: String,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
}

impl TransportError {
    /// Returns the stable word for this kind of error, for machine-readable output.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::HostKeyMismatch { .. } => "host-key-mismatch",
            Self::HostKeyUnknown { .. } => "host-key-unknown",
            Self::Auth { .. } => "auth",
            Self::Timeout { .. } => "timeout",
            Self::Cut { .. } => "cut",
            Self::TooMuchOutput { .. } => "too-much-output",
            Self::Denied { .. } => "denied",
            Self::Refused { .. } => "refused",
            Self::NoSuchProgram { .. } => "no-such-program",
            Self::Unsupported { .. } => "unsupported",
            Self::BadInput { .. } => "bad-input",
            Self::Upload { .. } => "upload",
            Self::Io { .. } => "io",
        }
    }

    pub(crate) fn io(host: &str, doing: &str, source: impl Into<std::io::Error>) -> Self {
        Self::Io {
            host: host.to_owned(),
            doing: doing.to_owned(),
            source: source.into(),
        }
    }

    pub(crate) fn timeout(host: &str, doing: &str, after: Duration) -> Self {
        Self::Timeout {
            host: host.to_owned(),
            doing: doing.to_owned(),
            after,
        }
    }

    pub(crate) fn cut(host: &str, doing: &str, detail: impl Into<String>) -> Self {
        Self::Cut {
            host: host.to_owned(),
            doing: doing.to_owned(),
            detail: detail.into(),
        }
    }

    pub(crate) fn refused(host: &str, doing: &str, detail: impl Into<String>) -> Self {
        Self::Refused {
            host: host.to_owned(),
            doing: doing.to_owned(),
            detail: detail.into(),
        }
    }

    pub(crate) fn bad_input(host: &str, what: impl Into<String>) -> Self {
        Self::BadInput {
            host: host.to_owned(),
            what: what.into(),
        }
    }
}

/// Makes bytes from a host printable on one line: the last `max` of them, escaped.
pub(crate) fn printable_tail(bytes: &[u8], max: usize) -> String {
    let trimmed = bytes.trim_ascii();
    let tail = &trimmed[trimmed.len().saturating_sub(max)..];
    let mut shown = String::with_capacity(tail.len());
    if tail.len() < trimmed.len() {
        shown.push('…');
    }
    for c in String::from_utf8_lossy(tail).chars() {
        if c == '\n' {
            shown.push_str(" / ");
        } else if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Returns what `sudo`, or the shell that found none, said in refusal.
pub(crate) fn sudo_refusal(stderr: &[u8]) -> Option<String> {
    let mut lines = stderr.split(|byte| *byte == b'\n');
    let line = lines.rfind(|line| line.windows(4).any(|word| word == b"sudo"))?;
    Some(printable_tail(line, 200))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printable_tail_escapes_control_bytes_and_bounds_length() {
        assert_eq!(printable_tail(b"a\nb\x1b[31m\n", 100), "a / b\\u{1b}[31m");
        assert_eq!(printable_tail(b"0123456789", 3), "…789");
        assert_eq!(printable_tail(b"\xff", 3), "\u{fffd}");
    }

    #[test]
    fn the_refusal_is_told_from_a_login_shells_noise() {
        let said = b"welcome\nsudo: a password is required\n\nbye";
        assert_eq!(
            sudo_refusal(said).as_deref(),
            Some("sudo: a password is required")
        );
        assert!(sudo_refusal(b"sh: 1: sudo: not found").is_some());
        assert_eq!(sudo_refusal(b"permission denied\n"), None);
    }

    #[test]
    fn messages_say_what_where_why_and_next() {
        let error = TransportError::Auth {
            host: "nas:22".into(),
            user: "root".into(),
            tried: vec![],
        };
        assert_eq!(
            error.to_string(),
            "log in to nas:22 as root: no identity was accepted (tried none, because no key file \
             and no agent was found); add the public key to that user's authorized_keys or name \
             the right identity-file"
        );
        assert_eq!(error.kind(), "auth");
    }
}
