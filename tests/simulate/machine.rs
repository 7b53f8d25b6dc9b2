//! A machine with processes that take turns, and what may befall it.
//!
//! Each process is a thread, and at every call to the disk the seed decides which goes on. So
//! a run follows from its seed alone. Faults strike at calls that are counted.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::files::{Files, Ino};
use crate::mutants::Lie;
use crate::rng::Rng;

/// Names a process.
pub(crate) type Pid = usize;

/// How many calls a machine serves before its run counts as endless.
const STEPS_MAX: u64 = 200_000;

/// How many calls of others a process that was stopped misses.
const STOPPED_STEPS: u64 = 1000;

/// Names a kind of call to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Create,
    Write,
    Sync,
    Publish,
    Rename,
    SyncFolder,
    List,
    Stat,
    Remove,
    MakeFolder,
    Read,
    Lock,
}

/// Says which calls a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Calls {
    Any,
    /// Those that need space.
    Growing,
    Syncs,
    Reads,
}

impl Calls {
    fn contain(self, call: Call) -> bool {
        let syncs = matches!(call, Call::Sync | Call::SyncFolder);
        let reads = matches!(call, Call::List | Call::Stat | Call::Read);
        match self {
            Self::Any => true,
            Self::Syncs => syncs,
            Self::Reads => reads,
            // Space that was promised to a write may turn out to be missing at the sync.
            Self::Growing => !(reads || matches!(call, Call::SyncFolder | Call::Remove)),
        }
    }
}

/// Is something that befalls a machine or one of its processes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// A process ends at its call number `at`, before or after that took effect.
    Kill { pid: Pid, at: u64, after: bool },
    /// A process stops there and goes on long after, or when nobody else can.
    Stop { pid: Pid, at: u64 },
    /// The power goes at the machine's call number `at`, before or after that took effect.
    Power { at: u64, after: bool },
    /// The file system refuses everything from there on.
    Shutdown { at: u64 },
    /// Calls fail: one, or all from there on.
    Error {
        pid: Pid,
        calls: Calls,
        at: u64,
        code: i32,
        for_good: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Ready,
    /// Until the machine has served so many calls.
    Stopped(u64),
    Waiting(Ino),
    Ended,
    Killed,
}

#[derive(Debug)]
struct Process {
    status: Status,
    calls: u64,
}

#[derive(Debug)]
struct Armed {
    fault: Fault,
    seen: u64,
    has_struck: bool,
}

struct State {
    files: Files,
    processes: Vec<Process>,
    running: Option<Pid>,
    rng: Rng,
    /// One in so many calls gives the turn away.
    patience: u64,
    steps: u64,
    armed: Vec<Armed>,
    struck: u64,
    locks: u64,
    held: BTreeMap<u64, (Pid, Ino)>,
    is_off: bool,
    is_shut: bool,
    is_stuck: bool,
    syncs_again: u64,
    print: u64,
    trace: Option<Vec<String>>,
}

/// Runs processes on one file system.
pub(crate) struct Machine {
    state: Mutex<State>,
    turn: Condvar,
    pub(crate) lie: Lie,
}

enum Verdict {
    Go,
    Fail(i32),
    /// The process is gone; whether the call took effect before.
    Gone(bool),
}

const EIO: i32 = 5;

fn gone() -> io::Error {
    io::Error::other("this process was killed")
}

impl Machine {
    pub(crate) fn new(mut rng: Rng, lie: Lie, traced: bool) -> Self {
        let patience = rng.pick(&[2, 3, 8, 30]);
        Self {
            state: Mutex::new(State {
                files: Files::new(),
                processes: Vec::new(),
                running: None,
                rng,
                patience,
                steps: 0,
                armed: Vec::new(),
                struck: 0,
                locks: 0,
                held: BTreeMap::new(),
                is_off: false,
                is_shut: false,
                is_stuck: false,
                syncs_again: 0,
                print: 0,
                trace: traced.then(Vec::new),
            }),
            turn: Condvar::new(),
            lie,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a process that has not begun.
    pub(crate) fn add_process(&self) -> Pid {
        let mut state = self.state();
        state.processes.push(Process {
            status: Status::Ended,
            calls: 0,
        });
        state.processes.len() - 1
    }

    /// Arms faults; their counts begin now.
    pub(crate) fn arm(&self, faults: &[Fault]) {
        let mut state = self.state();
        state.steps = 0;
        state.armed = faults.iter().map(|fault| armed(*fault)).collect();
    }

    /// Ends all faults, with what the power loss among them did; returns how many struck.
    pub(crate) fn disarm(&self) -> u64 {
        let mut state = self.state();
        let state = &mut *state;
        state.armed.clear();
        if state.is_off || state.is_shut {
            state.files.crash(&mut state.rng);
            state.held.clear();
            (state.is_off, state.is_shut) = (false, false);
            note(state, || "power is back".to_owned());
        }
        std::mem::take(&mut state.struck)
    }

    /// Loses power while no process runs.
    pub(crate) fn crash(&self) {
        self.state().is_off = true;
        self.disarm();
    }

    /// Tells whether what a path names would outlive a power loss.
    pub(crate) fn is_durable(&self, path: &Path) -> bool {
        self.state().files.is_durable(path)
    }

    /// Tells whether processes waited for each other or made no end of calls.
    pub(crate) fn is_stuck(&self) -> bool {
        self.state().is_stuck
    }

    /// Returns how often a file was synced again after a sync of it had failed.
    pub(crate) fn syncs_again(&self) -> u64 {
        self.state().syncs_again
    }

    /// Returns a number that tells two runs apart which made other calls.
    pub(crate) fn print(&self) -> u64 {
        self.state().print
    }

    pub(crate) fn trace(&self) -> Vec<String> {
        self.state().trace.take().unwrap_or_default()
    }

    pub(crate) fn note(&self, text: impl FnOnce() -> String) {
        note(&mut self.state(), text);
    }

    /// Runs processes to their ends, each in a thread of its own if there are several.
    pub(crate) fn run<T: Send>(
        &self,
        mut work: Vec<(Pid, Box<dyn FnOnce() -> T + Send + '_>)>,
    ) -> Vec<std::thread::Result<T>> {
        {
            let mut state = self.state();
            for (pid, _) in &work {
                state.processes[*pid].status = Status::Ready;
            }
            choose(&mut state);
        }
        if work.len() == 1
            && let Some((pid, work)) = work.pop()
        {
            return vec![self.live(pid, work)];
        }
        std::thread::scope(|scope| {
            let threads: Vec<_> = work
                .into_iter()
                .map(|(pid, work)| scope.spawn(move || self.live(pid, work)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().and_then(|done| done))
                .collect()
        })
    }

    fn live<T>(&self, pid: Pid, work: impl FnOnce() -> T) -> std::thread::Result<T> {
        drop(self.wait_for_turn(self.state(), pid));
        let done = catch_unwind(AssertUnwindSafe(work));
        let mut state = self.state();
        if state.processes[pid].status != Status::Killed {
            leave(&mut state, pid, Status::Ended);
        }
        self.turn.notify_all();
        done
    }

    /// Waits until a process has its turn or is gone.
    fn wait_for_turn<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        pid: Pid,
    ) -> MutexGuard<'a, State> {
        while state.running != Some(pid) && state.processes[pid].status != Status::Killed {
            state = self
                .turn
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    /// Serves one call: gives the turn to somebody perhaps, lets faults strike, then works.
    ///
    /// `broken` is what the call does to the files when it fails.
    pub(crate) fn call<T>(
        &self,
        pid: Pid,
        call: Call,
        what: &dyn Fn() -> String,
        work: impl FnOnce(&mut Files) -> io::Result<T>,
        broken: impl FnOnce(&mut Files, &mut Rng),
    ) -> io::Result<T> {
        let mut state = self.wait_for_turn(self.state(), pid);
        if state.processes[pid].status == Status::Killed {
            return Err(gone());
        }
        state.steps += 1;
        if state.steps > STEPS_MAX {
            give_up(&mut state);
        } else {
            let patience = state.patience;
            if state.rng.one_in(patience) {
                choose(&mut state);
            }
            if stops_here(&mut state, pid) {
                state.processes[pid].status = Status::Stopped(state.steps + STOPPED_STEPS);
                choose(&mut state);
            }
        }
        self.turn.notify_all();
        let mut guard = self.wait_for_turn(state, pid);
        let state = &mut *guard;
        if state.processes[pid].status == Status::Killed {
            return Err(gone());
        }
        state.processes[pid].calls += 1;
        let done = match judge(state, pid, call) {
            Verdict::Go => work(&mut state.files),
            Verdict::Fail(code) => {
                broken(&mut state.files, &mut state.rng);
                Err(io::Error::from_raw_os_error(code))
            }
            Verdict::Gone(took_effect) => {
                if took_effect {
                    drop(work(&mut state.files));
                }
                self.turn.notify_all();
                Err(gone())
            }
        };
        let error = done.as_ref().err().map(ToString::to_string);
        let mark = (pid as u64) << 8 | (call as u64) << 1 | u64::from(error.is_some());
        state.print = (state.print ^ mark)
            .wrapping_mul(0x0100_0000_01b3)
            .rotate_left(7);
        note(state, || {
            let error = error.map(|error| format!(": {error}")).unwrap_or_default();
            format!("{pid} {call:?} {}{error}", what())
        });
        done
    }

    /// Takes a lock that was opened; waits for it if `wait` says so.
    pub(crate) fn take_lock(&self, pid: Pid, ino: Ino, wait: bool) -> io::Result<Option<u64>> {
        let mut state = self.state();
        loop {
            if state.processes[pid].status == Status::Killed {
                return Err(gone());
            }
            state.locks += 1;
            let number = state.locks;
            if self.lie == Lie::LocksAreFree || state.files.take_lock(ino, number) {
                state.held.insert(number, (pid, ino));
                return Ok(Some(number));
            }
            if !wait {
                return Ok(None);
            }
            leave(&mut state, pid, Status::Waiting(ino));
            self.turn.notify_all();
            state = self.wait_for_turn(state, pid);
        }
    }

    pub(crate) fn free_lock(&self, number: u64) {
        let mut state = self.state();
        free(&mut state, number);
    }

    pub(crate) fn sync_again(&self) {
        self.state().syncs_again += 1;
    }
}

fn armed(fault: Fault) -> Armed {
    Armed {
        fault,
        seen: 0,
        has_struck: false,
    }
}

fn note(state: &mut State, text: impl FnOnce() -> String) {
    if let Some(trace) = &mut state.trace {
        trace.push(text());
    }
}

/// Gives the turn to a process that can go on.
fn choose(state: &mut State) {
    let with = |state: &State, wanted: fn(Status) -> bool| -> Vec<Pid> {
        let processes = state.processes.iter().enumerate();
        let fitting = processes.filter(|(_, process)| wanted(process.status));
        fitting.map(|(pid, _)| pid).collect()
    };
    let steps = state.steps;
    for process in &mut state.processes {
        if matches!(process.status, Status::Stopped(until) if steps >= until) {
            process.status = Status::Ready;
        }
    }
    let mut ready = with(state, |status| status == Status::Ready);
    if ready.is_empty() {
        ready = with(state, |status| matches!(status, Status::Stopped(_)));
        for pid in &ready {
            state.processes[*pid].status = Status::Ready;
        }
    }
    if ready.is_empty() {
        let stuck = with(state, |status| matches!(status, Status::Waiting(_)));
        state.is_stuck |= !stuck.is_empty();
        for pid in stuck {
            state.processes[pid].status = Status::Killed;
        }
        state.running = None;
    } else {
        let number = state.rng.index(ready.len());
        state.running = Some(ready[number]);
    }
}

/// Takes a process off the turn, and its locks if it is gone.
fn leave(state: &mut State, pid: Pid, status: Status) {
    state.processes[pid].status = status;
    if matches!(status, Status::Ended | Status::Killed) {
        let held: Vec<u64> = state
            .held
            .iter()
            .filter(|(_, (owner, _))| *owner == pid)
            .map(|(number, _)| *number)
            .collect();
        for number in held {
            free(state, number);
        }
    }
    if state.running == Some(pid) {
        choose(state);
    }
}

fn free(state: &mut State, number: u64) {
    let Some((_, ino)) = state.held.remove(&number) else {
        return;
    };
    if state.files.free_lock(ino, number) {
        for process in &mut state.processes {
            if process.status == Status::Waiting(ino) {
                process.status = Status::Ready;
            }
        }
    }
}

fn kill_all(state: &mut State) {
    for process in &mut state.processes {
        if process.status != Status::Ended {
            process.status = Status::Killed;
        }
    }
    state.running = None;
}

fn give_up(state: &mut State) {
    state.is_stuck = true;
    kill_all(state);
}

fn stops_here(state: &mut State, pid: Pid) -> bool {
    let next = state.processes[pid].calls;
    for armed in &mut state.armed {
        if let Fault::Stop { pid: victim, at } = armed.fault
            && victim == pid
            && next >= at
            && !armed.has_struck
        {
            armed.has_struck = true;
            state.struck += 1;
            return true;
        }
    }
    false
}

/// Lets what is due strike.
fn judge(state: &mut State, pid: Pid, call: Call) -> Verdict {
    if state.is_shut {
        return Verdict::Fail(EIO);
    }
    let (calls, steps) = (state.processes[pid].calls - 1, state.steps - 1);
    let mut verdict = Verdict::Go;
    for armed in &mut state.armed {
        let struck = match armed.fault {
            Fault::Kill {
                pid: victim,
                at,
                after,
            } if victim == pid && calls == at => {
                verdict = Verdict::Gone(after);
                true
            }
            Fault::Power { at, after } if steps >= at => {
                verdict = Verdict::Gone(after);
                state.is_off = true;
                true
            }
            Fault::Shutdown { at } if steps >= at => {
                verdict = Verdict::Fail(EIO);
                state.is_shut = true;
                true
            }
            Fault::Error {
                pid: victim,
                calls,
                at,
                code,
                for_good,
            } if victim == pid && calls.contain(call) => {
                armed.seen += 1;
                let due = armed.seen == at + 1 || (for_good && armed.seen > at);
                if due {
                    verdict = Verdict::Fail(code);
                }
                due
            }
            _ => false,
        };
        state.struck += u64::from(struck && !armed.has_struck);
        armed.has_struck |= struck;
    }
    if let Verdict::Gone(_) = verdict {
        if state.is_off {
            kill_all(state);
        } else {
            leave(state, pid, Status::Killed);
        }
    }
    verdict
}
