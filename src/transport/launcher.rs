//! Starts a program with arguments that never become part of a command line.
//!
//! The remote command is [`COMMAND`], a constant. Its first input line is a nonce, then
//! comes one line an argument, each behind an `=`, then a line with a dot. A shell's
//! `read` takes single bytes from a pipe, so all that follows is left for the program.
//! The launcher answers with the nonce on stdout when it starts the program (what stands
//! before it is a login shell's noise), marks the same place on stderr, and writes the
//! nonce and the status there when the program has ended.

use super::frame::find;
use crate::transport::{Launch, TransportError};

/// The constant handed to the login shell, which may be any of sh, bash, zsh, fish, csh.
pub(crate) const COMMAND: &str = "sh -c 'IFS= read -r n || exit 96; set --; \
    while IFS= read -r a; do case $a in .) break ;; =*) set -- \"$@\" \"${a#=}\" ;; *) exit 96 ;; esac; done; \
    PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin; export PATH; \
    command -v \"$1\" >/dev/null || { echo \"$n none\" >&2; exit 127; }; \
    echo \"$n\"; echo \"$n start\" >&2; \"$@\"; echo \"$n $?\" >&2'";

/// The same as root, for logins that are not.
pub(crate) const SUDO_PREFIX: &str = "sudo -n ";

/// The constant that runs a script which comes on stdin.
pub(crate) const SCRIPT_COMMAND: &str = "sh";

/// Returns the lines that tell the launcher what to start.
pub(crate) fn preamble(
    launch: &Launch,
    nonce: &str,
    host: &str,
) -> Result<Vec<u8>, TransportError> {
    if launch.program().is_empty() {
        return Err(TransportError::bad_input(
            host,
            "there is no program to start",
        ));
    }
    let mut lines = format!("{nonce}\n").into_bytes();
    for arg in &launch.argv {
        if arg.contains(['\n', '\0']) {
            return Err(TransportError::bad_input(
                host,
                format!("the argument {arg:?} holds a line break or a NUL byte; rename it"),
            ));
        }
        lines.push(b'=');
        lines.extend_from_slice(arg.as_bytes());
        lines.push(b'\n');
    }
    lines.extend_from_slice(b".\n");
    Ok(lines)
}

/// What the launcher said on stderr when the program ended or could not start.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The program ended with this status.
    Ended(i32),
    /// There is no such program.
    NoProgram,
}

/// Finds the launcher's last line, and what the program itself wrote before it.
pub(crate) fn verdict(stderr: &[u8], nonce: &str) -> Option<(Verdict, Vec<u8>)> {
    let start = format!("{nonce} start\n");
    // The start of a long stderr is not kept, and the login shell's noise went with it.
    let from = find(stderr, start.as_bytes()).map_or(0, |at| at + start.len());
    let stderr = &stderr[from..];
    let mark = format!("{nonce} ");
    let at = find(stderr, mark.as_bytes())?;
    let rest = &stderr[at + mark.len()..];
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let verdict = match std::str::from_utf8(&rest[..end]).ok()? {
        "none" => Verdict::NoProgram,
        digits => Verdict::Ended(i32::from(digits.parse::<u8>().ok()?)),
    };
    Some((verdict, stderr[..at].to_vec()))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Output, Stdio};

    use proptest::prelude::*;

    use super::*;

    fn launch(shell: &str, argv: &[&str], input: &[u8]) -> Output {
        let mut child = Command::new(shell)
            .args(["-c", COMMAND])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the shell starts");
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let mut lines =
            preamble(&Launch::new(argv.iter().copied()), "beef", "here").expect("clean");
        lines.extend_from_slice(input);
        stdin.write_all(&lines).expect("the launcher reads");
        drop(stdin);
        child.wait_with_output().expect("the launcher ends")
    }

    #[test]
    #[expect(
        clippy::print_stderr,
        reason = "a shell that is not there is reported as skipped"
    )]
    fn arguments_and_input_arrive_unchanged() {
        for shell in ["sh", "bash", "dash", "zsh", "fish", "tcsh"] {
            if Command::new(shell).args(["-c", "true"]).output().is_err() {
                eprintln!("skipped: {shell} is not installed");
                continue;
            }
            let args = [
                "printf", "%s|", "a b", "", "$(id)", "'\"\\", "*", "-n", ".", "=x", " lead",
            ];
            let output = launch(shell, &args, b"");
            assert_eq!(
                String::from_utf8_lossy(&output.stdout),
                "beef\na b||$(id)|'\"\\|*|-n|.|=x| lead|",
            );
            assert_eq!(
                verdict(&output.stderr, "beef"),
                Some((Verdict::Ended(0), vec![]))
            );

            let output = launch(shell, &["cat"], b"first\n\x00\xffrest");
            assert_eq!(output.stdout, b"beef\nfirst\n\x00\xffrest");
        }
    }

    #[test]
    fn the_end_of_the_program_is_told_on_stderr() {
        let output = launch("sh", &["sh", "-c", "echo oops >&2; exit 9"], b"");
        assert_eq!(
            verdict(&output.stderr, "beef"),
            Some((Verdict::Ended(9), b"oops\n".to_vec()))
        );
        let output = launch("sh", &["sh", "-c", "kill -9 $$"], b"");
        assert_eq!(
            verdict(&output.stderr, "beef").map(|(v, _)| v),
            Some(Verdict::Ended(137))
        );
        let output = launch("sh", &["/no/such/program"], b"");
        assert_eq!(
            verdict(&output.stderr, "beef").map(|(v, _)| v),
            Some(Verdict::NoProgram)
        );
        let noisy = b"motd\nbeef start\nwhy\nbeef 4\n";
        assert_eq!(
            verdict(noisy, "beef"),
            Some((Verdict::Ended(4), b"why\n".to_vec()))
        );
        assert_eq!(verdict(b"beef start\n", "beef"), None);
        assert_eq!(verdict(b"beef 0", "beef"), None);
        assert_eq!(verdict(b"", "beef"), None);
    }

    #[test]
    fn commands_survive_any_login_shell() {
        for constant in [COMMAND, SUDO_PREFIX, SCRIPT_COMMAND] {
            assert!(!constant.contains(['!', '\\', '\n']), "{constant}");
        }
        assert_eq!(COMMAND.matches('\'').count(), 2);
    }

    #[test]
    fn arguments_that_lines_cannot_carry_are_refused() {
        for argv in [vec![], vec![""], vec!["a", "b\nc"], vec!["a", "b\0"]] {
            let refused = preamble(&Launch::new(argv.clone()), "n", "here");
            assert_eq!(
                refused.map_err(|error| error.kind()),
                Err("bad-input"),
                "{argv:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn arbitrary_stderr_never_panics(stderr: Vec<u8>) {
            let _ = verdict(&stderr, "");
            let _ = verdict(&stderr, "0");
        }
    }
}
