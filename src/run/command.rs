//! A program whose output is a source: started, watched, and ended with all it started.
//!
//! It gets an empty standard input and a process group of its own. Its output ends well only
//! after the program itself ended well, so that a stream that broke off is never committed.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::users::{self, User};
use crate::run::message::{Fault, FaultKind};
use crate::run::{Cancel, here};

/// How often a program that says nothing is looked after.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a program may take to end once it was asked to.
const GRACE: Duration = Duration::from_secs(3);
/// How long what a program said last is waited for after it ended.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How much of what a program says on standard error is kept.
const SAID_BYTES_MAX: usize = 4096;
/// How many of its last lines an error tells.
const SAID_LINES_MAX: usize = 6;
/// What is searched for programs where our own environment says nothing.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What of our own environment a program gets that is started on behalf of a topology.
const PASSED_ON: [&str; 8] = [
    "HOME", "LANG", "LC_ALL", "LOGNAME", "SHELL", "TMPDIR", "TZ", "USER",
];

/// The process groups of programs that run now.
static GROUPS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Says which program is run, and how.
#[derive(Debug, Clone)]
pub struct Program {
    /// The program and its arguments.
    pub argv: Vec<OsString>,
    /// The user it runs as, if not ours.
    pub run_as: Option<String>,
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// What it finds around it.
    pub surroundings: Surroundings,
}

/// Says what a program finds around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surroundings {
    /// The root folder and a short environment without anything that could be a secret.
    Bare,
    /// Our own folder and environment, without what opens repositories.
    Ours,
}

/// Is a running program; reading gives its output.
///
/// Dropped before its end, it is asked to stop, then killed, with all that it started in its
/// process group, and waited for.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    group: Pid,
    stdout: ChildStdout,
    said: Arc<Mutex<Said>>,
    listener: Option<JoinHandle<()>>,
    deadline: Option<(Instant, Duration)>,
    cancel: Cancel,
    is_reaped: bool,
    failure: Option<Fault>,
}

impl Program {
    /// Starts it.
    pub fn start(&self, cancel: &Cancel) -> Result<Running, Fault> {
        let Some((program, arguments)) = self.argv.split_first() else {
            return Err(Fault::refused("no program was named"));
        };
        let name = program.to_string_lossy().into_owned();
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        self.surround(&mut command);
        if let Some(user) = &self.run_as {
            become_user(&mut command, &users::find(user)?)?;
        }
        let mut child = command
            .spawn()
            .map_err(|error| Fault::io(&format!("start {name}"), &error))?;
        let group = Pid::from_child(&child);
        groups().insert(group.as_raw_nonzero().get());
        let stdout = child.stdout.take().expect("it was asked to be a pipe");
        let stderr = child.stderr.take().expect("it was asked to be a pipe");
        let said = Arc::<Mutex<Said>>::default();
        let hears = Arc::clone(&said);
        Ok(Running {
            name,
            child,
            group,
            stdout,
            said,
            listener: Some(thread::spawn(move || listen(stderr, &hears))),
            deadline: self.timeout.map(|limit| (Instant::now() + limit, limit)),
            cancel: cancel.clone(),
            is_reaped: false,
            failure: None,
        })
    }

    fn surround(&self, command: &mut Command) {
        if self.surroundings == Surroundings::Ours {
            let ours = std::env::vars_os().map(|(name, _)| name);
            for name in ours.filter(|name| name.to_string_lossy().starts_with("BKPCTL_")) {
                command.env_remove(name);
            }
            return;
        }
        let path = std::env::var_os("PATH").filter(|path| !path.is_empty());
        command
            .env_clear()
            .env("PATH", path.unwrap_or_else(|| USUAL_PATH.into()))
            .current_dir("/");
        for name in PASSED_ON {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
    }
}

/// Makes a program run as a user, with its own group only.
fn become_user(command: &mut Command, user: &User) -> Result<(), Fault> {
    let us = here::effective_uid();
    if us != 0 && us != user.uid {
        return Err(Fault::refused(format!(
            "only root can run a program as {}, and bkpctl runs as uid {us} here; add become \"sudo\" to the node, or leave `as` out",
            user.name
        )));
    }
    if us == 0 {
        // This drops root's other groups too.
        command.uid(user.uid).gid(user.gid);
    }
    command
        .env("HOME", &user.home)
        .env("USER", &user.name)
        .env("LOGNAME", &user.name)
        .env_remove("SHELL")
        .env_remove("TMPDIR");
    Ok(())
}

impl Read for Running {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.check_time()?;
            if !self.has_output()? {
                continue;
            }
            match self.stdout.read(buffer) {
                Ok(0) => return self.finish().map(|()| 0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

impl Running {
    /// Returns why the program failed, if it did.
    pub fn failure(&self) -> Option<Fault> {
        self.failure.clone()
    }

    /// Waits a moment for output, or for its end.
    fn has_output(&self) -> io::Result<bool> {
        let moment = Timespec {
            tv_sec: 0,
            tv_nsec: LOOK_EVERY.subsec_nanos().into(),
        };
        match poll(
            &mut [PollFd::new(&self.stdout, PollFlags::IN)],
            Some(&moment),
        ) {
            Ok(count) => Ok(count > 0),
            Err(Errno::INTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Fails if somebody asked to stop, or if the program takes too long.
    fn check_time(&mut self) -> io::Result<()> {
        if self.cancel.is_cancelled() {
            let fault = Fault::new(FaultKind::Stopped, "stopped on request");
            return Err(self.fail(fault));
        }
        match self.deadline {
            Some((deadline, limit)) if Instant::now() >= deadline => {
                let seconds = limit.as_secs();
                self.end();
                let words = format!("took longer than the {seconds} s it may take");
                let fault = self.fault(&words);
                Err(self.fail(fault))
            }
            _ => Ok(()),
        }
    }

    /// Waits for the program's end after that of its output.
    fn finish(&mut self) -> io::Result<()> {
        while !self.is_reaped && !self.has_exited() {
            self.check_time()?;
            thread::sleep(LOOK_EVERY / 5);
        }
        let status = self.reap()?;
        if status.success() {
            return Ok(());
        }
        let fault = self.fault(&format!("ended with {status}"));
        Err(self.fail(fault))
    }

    fn reap(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait()?;
        self.is_reaped = true;
        groups().remove(&self.group.as_raw_nonzero().get());
        Ok(status)
    }

    fn fail(&mut self, fault: Fault) -> io::Error {
        let error = io::Error::other(fault.message.clone());
        self.failure.get_or_insert(fault);
        error
    }

    /// Tells whether the program ended; it stays a zombie, so that its group's number stays taken.
    fn has_exited(&self) -> bool {
        let how = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        !matches!(waitid(WaitId::Pid(self.group), how), Ok(None))
    }

    /// Ends the program and what it started, the hard way if it must be.
    fn end(&mut self) {
        if self.is_reaped {
            return;
        }
        let start = Instant::now();
        let _ = kill_process_group(self.group, Signal::TERM);
        while !self.has_exited() && start.elapsed() < GRACE {
            thread::sleep(LOOK_EVERY / 5);
        }
        let _ = kill_process_group(self.group, Signal::KILL);
        // Whatever it says now, it is gone.
        drop(self.reap());
    }

    /// Says what went wrong, with what the program said last.
    fn fault(&mut self, what: &str) -> Fault {
        if let Some(listener) = self.listener.take() {
            let start = Instant::now();
            // Something it left behind may keep its standard error open for ever.
            while !listener.is_finished() && start.elapsed() < LAST_WORDS {
                thread::sleep(LOOK_EVERY / 5);
            }
        }
        let said = lock(&self.said).to_string();
        let said = if said.is_empty() {
            "; it said nothing on standard error".to_owned()
        } else {
            format!("; it said: {said}")
        };
        Fault::new(FaultKind::Io, format!("{} {what}{said}", self.name))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Kills every program that runs, for a process that is about to end.
pub fn end_all() {
    for group in groups().iter() {
        if let Some(group) = Pid::from_raw(*group) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

fn groups() -> MutexGuard<'static, BTreeSet<i32>> {
    lock(&GROUPS)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps the end of what a program says.
#[derive(Debug, Default)]
struct Said(VecDeque<u8>);

impl Said {
    fn hear(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        let surplus = self.0.len().saturating_sub(SAID_BYTES_MAX);
        self.0.drain(..surplus);
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: Vec<u8> = self.0.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|l| !l.is_empty())
            .collect();
        let last = &lines[lines.len().saturating_sub(SAID_LINES_MAX)..];
        f.write_str(&last.join(" | "))
    }
}

fn listen(mut stderr: ChildStderr, said: &Mutex<Said>) {
    let mut buffer = [0; 4096];
    loop {
        match stderr.read(&mut buffer) {
            Ok(0) => return,
            Ok(len) => lock(said).hear(&buffer[..len]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Program {
        Program {
            argv: ["sh", "-c", script].map(OsString::from).to_vec(),
            run_as: None,
            timeout: None,
            surroundings: Surroundings::Bare,
        }
    }

    fn output(program: &Program) -> Result<String, Fault> {
        let mut running = program.start(&Cancel::default())?;
        let mut text = String::new();
        match running.read_to_string(&mut text) {
            Ok(_) => Ok(text),
            Err(error) => {
                let fault = running.failure().expect("the program's own failure");
                assert_eq!(fault.message, error.to_string());
                Err(fault)
            }
        }
    }

    fn is_alive(pid: &str) -> bool {
        std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| !stat.contains(") Z "))
    }

    /// Tells whether a process ends soon: one that was killed and is not our child needs a moment.
    fn ends(pid: &str) -> bool {
        let start = Instant::now();
        while is_alive(pid) && start.elapsed() < Duration::from_secs(30) {
            thread::sleep(LOOK_EVERY);
        }
        !is_alive(pid)
    }

    #[test]
    fn output_ends_well_only_if_the_program_does() {
        assert_eq!(output(&shell("cat; echo out")).expect("it"), "out\n");
        let cases = [
            (
                "echo x; echo why >&2; echo not >&2; exit 3",
                "sh ended with exit status: 3; it said: why | not",
            ),
            (
                "kill -9 $$",
                "sh ended with signal: 9 (SIGKILL); it said nothing on standard error",
            ),
            (
                "exec >&-; sleep 0.2; exit 1",
                "sh ended with exit status: 1; it said nothing on standard error",
            ),
        ];
        for (script, expected) in cases {
            assert_eq!(
                output(&shell(script)).expect_err("it failed").message,
                expected
            );
        }
        let gone = Program {
            argv: vec!["no-such-program".into()],
            ..shell("")
        };
        let refused = output(&gone).expect_err("there is none").message;
        assert!(
            refused.starts_with("failed to start no-such-program: "),
            "{refused}"
        );
    }

    #[test]
    fn a_flood_on_standard_error_is_bounded_and_holds_nothing_up() {
        let script = "for i in $(seq 20000); do echo line $i >&2; done; exit 1";
        let message = output(&shell(script)).expect_err("it failed").message;
        assert!(message.ends_with("line 19999 | line 20000"), "{message}");
        assert!(message.len() < 300, "{message}");
    }

    #[test]
    fn a_program_that_takes_too_long_is_ended_with_all_it_started() {
        let program = Program {
            timeout: Some(Duration::from_millis(300)),
            ..shell("trap '' TERM; sleep 600 & echo $!; echo $$; wait; sleep 600")
        };
        let mut running = program.start(&Cancel::default()).expect("started");
        let mut text = String::new();
        let late = running.read_to_string(&mut text).expect_err("too long");
        assert!(late.to_string().contains("took longer than"), "{late}");
        let pids: Vec<&str> = text.lines().collect();
        assert_eq!(pids.len(), 2);
        for pid in pids {
            assert!(ends(pid), "{pid} lives on");
        }
    }

    #[test]
    fn a_program_is_ended_when_its_reader_goes_or_is_asked_to_stop() {
        let cancel = Cancel::default();
        for stop in [false, true] {
            let mut running = shell("echo $$; exec sleep 600")
                .start(&cancel)
                .expect("started");
            let mut buffer = [0; 100];
            let len = running.read(&mut buffer).expect("its number");
            let pid = String::from_utf8_lossy(&buffer[..len]).trim().to_owned();
            assert!(is_alive(&pid));
            if stop {
                cancel.cancel();
                running.read(&mut buffer).expect_err("stopped");
                let fault = running.failure().expect("the reason");
                assert_eq!(fault.kind, FaultKind::Stopped);
            }
            drop(running);
            assert!(!is_alive(&pid));
        }
    }

    #[test]
    fn the_environment_holds_nothing_but_what_is_meant_for_it() {
        let text = output(&shell("env; pwd")).expect("it");
        let known = ["PATH", "PWD", "SHLVL", "OLDPWD", "_"];
        for line in text.lines().filter(|line| line.contains('=')) {
            let name = line.split('=').next().unwrap_or_default();
            assert!(known.contains(&name) || PASSED_ON.contains(&name), "{line}");
        }
        assert!(text.ends_with("/\n"));
    }

    #[test]
    fn another_user_gets_its_own_home_and_none_of_our_groups() {
        if here::effective_uid() != 0 {
            return;
        }
        let program = Program {
            run_as: Some("nobody".to_owned()),
            ..shell("id -u; id -G; echo $USER")
        };
        let nobody = users::find("nobody").expect("every system has it");
        assert_eq!(
            output(&program).expect("it"),
            format!("{}\n{}\nnobody\n", nobody.uid, nobody.gid)
        );
        let program = Program {
            run_as: Some("no such user".to_owned()),
            ..shell("true")
        };
        assert!(program.start(&Cancel::default()).is_err());
    }
}
