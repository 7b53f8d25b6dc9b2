//! A folder of its own with a topology in it, and the real binary run there.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

/// A temporary folder that a test runs bkpctl in, with a home of its own.
pub(crate) struct Sandbox {
    folder: TempDir,
}

/// What a run of the binary gave.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        // Service users must be able to walk through it.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
        fs::create_dir(folder.path().join("home")).expect("a home");
        Self { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file below the folder, making the folders in between.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        fs::write(&path, content).expect("a written file");
        path
    }

    /// Makes a command of the real binary, in the folder, with nothing of the user's own.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bkpctl"));
        command.args(arguments);
        self.enclose(command)
    }

    fn enclose(&self, mut command: Command) -> Command {
        command
            .current_dir(self.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.join("home"))
            .env("XDG_CACHE_HOME", self.join("home/.cache"))
            .stdin(Stdio::null());
        command
    }

    /// Runs the binary to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&self.command(arguments).output().expect("the binary runs"))
    }

    /// Runs the binary, which is killed once it has used this much processor time.
    ///
    /// Unlike the time on the wall, that does not grow with what else the machine does.
    pub(crate) fn run_within(&self, cpu_seconds: u32, arguments: &[&str]) -> Ran {
        let mut command = Command::new("sh");
        command
            .args(["-c", "ulimit -t \"$1\" && shift && exec \"$@\"", "sh"])
            .arg(cpu_seconds.to_string())
            .arg(env!("CARGO_BIN_EXE_bkpctl"))
            .args(arguments);
        Ran::of(&self.enclose(command).output().expect("a shell runs"))
    }

    /// Runs the binary on a terminal of its own, where somebody types these lines.
    ///
    /// What it prints on the terminal is all on standard output.
    pub(crate) fn on_terminal(&self, arguments: &[&str], typed: &str) -> Ran {
        type_on(self.open_terminal(arguments), typed)
    }

    /// Starts the binary on a terminal of its own, where nothing is typed yet.
    pub(crate) fn open_terminal(&self, arguments: &[&str]) -> Child {
        let line = [&[env!("CARGO_BIN_EXE_bkpctl")], arguments]
            .concat()
            .join(" ");
        let mut command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]);
        self.enclose(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("script(1) is part of Debian's essential bsdutils")
    }

    /// Runs git in the folder, as somebody without settings, and returns what it prints.
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .current_dir(self.path())
            .env("HOME", self.join("home"))
            .args(["-c", "user.name=test", "-c", "user.email=test@localhost"])
            .args(arguments)
            .output()
            .expect("git runs");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        let printed = String::from_utf8(output.stdout).expect("text");
        printed.trim().to_owned()
    }

    /// Starts the binary and returns at once.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts")
    }
}

/// Types something on a terminal and waits for the program to end.
pub(crate) fn type_on(mut terminal: Child, typed: &str) -> Ran {
    let mut stdin = terminal.stdin.take().expect("it is piped");
    stdin.write_all(typed.as_bytes()).expect("it reads");
    // A terminal whose keyboard is gone would hang the program up.
    let output = terminal.wait_with_output().expect("it ends");
    drop(stdin);
    Ran::of(&output)
}

impl Ran {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Demands this exit code, and shows everything that was printed if it is another.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "\nstdout:\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        self
    }

    /// Demands that a text was printed somewhere.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        let said = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(
            said,
            "nothing says {text:?}\nstdout:\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        self
    }
}
