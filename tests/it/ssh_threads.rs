//! The cryptography under SSH has to bear many threads at once.

use std::process::Command;
use std::thread;

use ssh2::{KnownHostFileKind, Session};

const HAMMER: &str = "ssh_threads::hammer";

/// A name that was hashed with a salt, as `ssh-keygen -H` writes it, and some key.
const HASHED: &str = "|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg= ssh-ed25519 \
    AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

#[test]
#[ignore = "is run by the test below, in a process that may die"]
fn hammer() {
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let session = Session::new().expect("a session");
                    let mut known = session.known_hosts().expect("a list of hosts");
                    known
                        .read_str(HASHED, KnownHostFileKind::OpenSSH)
                        .expect("a well-formed line");
                    for _ in 0..50 {
                        // Every look-up of a hashed name computes a keyed hash.
                        let _ = known.check("nas", b"no such key");
                    }
                }
            });
        }
    });
}

/// OpenSSL without locks corrupts the heap as soon as two sessions meet; a static libc
/// makes its configuration leave them out unless it is told otherwise.
#[test]
fn sessions_in_many_threads_do_not_disturb_each_other() {
    let program = std::env::current_exe().expect("this program's path");
    for round in 0..3 {
        let output = Command::new(&program)
            .args(["--exact", HAMMER, "--ignored"])
            .output()
            .expect("it runs");
        assert!(
            output.status.success(),
            "round {round}: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
