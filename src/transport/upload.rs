//! Places a file through a channel.

use std::io::{self, Write as _};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use super::error::printable_tail;
use crate::transport::{Exit, Killer, Launch, Transport, TransportError};

/// Receives the file; its arguments are the path, the mode and the length.
///
/// `set -C` makes the temporary file a new one, never one that a symlink points to.
const RECEIVE: &str = "set -eu; p=$1; d=${p%/*}; \
    if [ -d \"$p\" ]; then echo 'a folder has that name' >&2; exit 1; fi; \
    umask 022; mkdir -p -- \"${d:-/}\"; umask 077; set -C; \
    t=$p.bkpctl-new.$$; trap 'rm -f -- \"$t\"' EXIT; cat >\"$t\"; \
    n=$(wc -c <\"$t\"); \
    if [ \"$n\" -ne \"$3\" ]; then echo \"only $n of $3 bytes arrived\" >&2; exit 1; fi; \
    chmod \"$2\" \"$t\"; sync \"$t\" 2>/dev/null || :; mv -f -- \"$t\" \"$p\"; trap - EXIT";

/// The slowest link that is still waited for.
const BYTES_PER_SECOND_MIN: u64 = 16 << 10;

pub(super) fn upload(
    transport: &(impl Transport + ?Sized),
    path: &str,
    mode: u32,
    privileged: bool,
    data: &[u8],
) -> Result<(), TransportError> {
    let host = transport.describe();
    if !path.starts_with('/') || path.ends_with('/') {
        let what = format!("the path {path:?} does not name a file from the root");
        return Err(TransportError::bad_input(&host, what));
    }
    let (mode, length) = (format!("{:o}", mode & 0o7777), data.len().to_string());
    let argv = ["sh", "-c", RECEIVE, "bkpctl-upload", path, &mode, &length];
    let mut running = transport.open(&Launch::new(argv).privileged(privileged))?;
    let deadline = Duration::from_secs(60 + data.len() as u64 / BYTES_PER_SECOND_MIN);
    let killer = running.process.killer();
    let (sent, exit) = within(deadline, &killer, || {
        let sent = running
            .stdin
            .write_all(data)
            .and_then(|()| running.stdin.flush());
        drop(running.stdin);
        (sent, running.process.wait())
    })
    .ok_or_else(|| TransportError::timeout(&host, &format!("write {path}"), deadline))?;
    judge(&host, path, sent, &exit?)
}

/// The receiver's own word comes first: a failed send is only its echo.
fn judge(host: &str, path: &str, sent: io::Result<()>, exit: &Exit) -> Result<(), TransportError> {
    let detail = match (exit.success(), sent) {
        (true, Ok(())) => return Ok(()),
        (true, Err(error)) => error.to_string(),
        (false, _) if exit.stderr.is_empty() => {
            format!("the receiver ended with status {}", exit.status)
        }
        (false, _) => exit.complaint(),
    };
    Err(TransportError::Upload {
        host: host.to_owned(),
        path: printable_tail(path.as_bytes(), 400),
        detail,
    })
}

/// Does the work; kills the program and returns `None` if it takes too long.
fn within<T>(deadline: Duration, killer: &Killer, work: impl FnOnce() -> T) -> Option<T> {
    let (done, watch) = channel::<()>();
    thread::scope(|scope| {
        let watchdog = scope.spawn(move || {
            let late = watch.recv_timeout(deadline) == Err(RecvTimeoutError::Timeout);
            if late {
                killer.kill();
            }
            late
        });
        let result = work();
        drop(done);
        let late = watchdog.join().unwrap_or(false);
        (!late).then_some(result)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::transport::Local;

    #[test]
    fn a_file_arrives_whole_with_its_mode_and_replaces_the_old_one() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("new folder/b 'in'/agent");
        let name = path.to_str().expect("utf-8");
        for data in [vec![1_u8; 3 << 20], b"shorter".to_vec(), vec![]] {
            Local::new()
                .upload(name, 0o750, false, &data)
                .expect("it is placed");
            assert_eq!(fs::read(&path).expect("it is there"), data);
            let mode = fs::metadata(&path)
                .expect("it is there")
                .permissions()
                .mode();
            assert_eq!(mode & 0o7777, 0o750);
        }
        let beside = fs::read_dir(path.parent().expect("a folder"))
            .expect("readable")
            .count();
        assert_eq!(beside, 1, "no temporary file is left");
    }

    #[test]
    fn what_cannot_be_written_is_said() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        fs::write(dir.path().join("file"), "x").expect("written");
        let cases = [
            ("relative".to_owned(), "bad-input"),
            (format!("{}/line\nbreak", dir.path().display()), "bad-input"),
            (dir.path().display().to_string(), "upload"),
            (format!("{}/file/below", dir.path().display()), "upload"),
        ];
        for (path, kind) in cases {
            let refused = Local::new().upload(&path, 0o644, false, b"data");
            assert_eq!(refused.map_err(|error| error.kind()), Err(kind), "{path}");
        }
    }

    #[test]
    fn a_cut_transfer_leaves_no_file() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("agent");
        let argv = [
            "sh",
            "-c",
            RECEIVE,
            "x",
            path.to_str().expect("utf-8"),
            "755",
            "10",
        ];
        let mut running = Local::new().open(&Launch::new(argv)).expect("sh starts");
        running.stdin.write_all(b"four").expect("sh reads");
        drop(running.stdin);
        let exit = running.process.wait().expect("sh ends");
        assert_eq!(exit.complaint(), "only 4 of 10 bytes arrived");
        assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 0);
    }
}
