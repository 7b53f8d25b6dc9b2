//! A process that sees this machine's folders, and whose changes there nobody else sees.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::sandbox::Ran;
use crate::support::skip;

/// Overlays what a test changes; the last line tells that all is in place.
const SCRIPT: &str = r#"
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
for folder in etc home usr/local; do
    layer=$1/$(echo "$folder" | tr / -)
    mkdir -p "$layer/upper" "$layer/work"
    mount -t overlay overlay -o "lowerdir=/$folder,upperdir=$layer/upper,workdir=$layer/work" "/$folder"
done
echo ready
exec sleep 600
"#;

/// A mount namespace with folders of its own over `/etc`, `/home` and `/usr/local`.
pub(crate) struct PrivateRoot(Child);

impl PrivateRoot {
    /// Makes one; `scratch` is an empty folder. Where that can't be done, the reason is printed.
    pub(crate) fn new(scratch: &Path) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skip("only root may mount an overlay");
            return None;
        }
        let mut child = Command::new("unshare")
            .args(["--mount", "sh", "-c", SCRIPT, "sh"])
            .arg(scratch)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare(1) is part of Debian's essential util-linux");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("it answers");
        let made = Self(child);
        if line != "ready\n" {
            skip("an overlay can't be mounted here");
            return None;
        }
        Some(made)
    }

    /// Makes a command that runs inside.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.0.id()))
            .args(["--mount", "--", program]);
        command
    }

    /// Runs a shell script inside, as root.
    pub(crate) fn sh(&self, script: &str) -> Ran {
        let mut command = self.command("sh");
        command.args(["-c", script]).stdin(Stdio::null());
        Ran::of(&command.output().expect("nsenter(1) is part of util-linux"))
    }
}

impl Drop for PrivateRoot {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
