//! A command's way as a stream of events: one JSON object a line, each written at once.
//!
//! The first line says which form it is. Where nothing else is to be told for [`HEARTBEAT`],
//! a line says what is waited for. However the command ends, its last line says so, and there is
//! exactly one such line: also where it was refused, failed or was interrupted.

mod line;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::apply::outcome::{Ended, Observer, Outcome as Applied};
use crate::cli::exit::{Exit, Outcome};
use crate::cli::render::text::escape_json;
use crate::cli::signal;
use crate::model::observed::NodeState;
use crate::model::{Address, Name};
use crate::observe::Watch;
use crate::plan::Plan;
use crate::plan::change::Severity;
use crate::run::here::now;
use crate::run::job::Progress;

pub use self::line::{ApplyCounts, EVENTS_FORMAT, Ending, Event, Line, PlanCounts, Summary};

/// The longest time without a line.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How often the progress of one action is told.
const PROGRESS: Duration = Duration::from_secs(1);
/// How long an interrupt waits for a line that is being written; its reader may be gone.
const LAST_LINE_WITHIN: Duration = Duration::from_secs(1);

/// Writes events to standard output.
pub struct Events {
    state: Mutex<State>,
    changed: Condvar,
    start: Instant,
}

struct State {
    /// When the last line was written.
    last: Instant,
    /// Whether the last line of all was written.
    ended: bool,
    /// The nodes that are looked at.
    nodes: BTreeMap<Name, Instant>,
    /// What the plan's actions change, and where, by their ids.
    actions: Vec<(Address, Name)>,
    /// The actions that run.
    running: BTreeMap<usize, Running>,
    summary: Summary,
}

struct Running {
    start: Instant,
    mentioned: Instant,
    bytes: Option<u64>,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Events {
    /// Begins the stream of a command, and ends it where somebody interrupts the command.
    pub fn start(command: &str) -> Arc<Self> {
        let start = Instant::now();
        let events = Arc::new(Self {
            state: Mutex::new(State {
                last: start,
                ended: false,
                nodes: BTreeMap::new(),
                actions: Vec::new(),
                running: BTreeMap::new(),
                summary: Summary::default(),
            }),
            changed: Condvar::new(),
            start,
        });
        events.tell(Event::Start {
            format: EVENTS_FORMAT,
            command: command.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        });
        let beating = Arc::clone(&events);
        thread::spawn(move || beating.beat());
        let interrupted = Arc::clone(&events);
        signal::end_with(move || interrupted.interrupted());
        events
    }

    /// Tells what a plan has, line by line.
    pub fn plan(&self, plan: &Plan) {
        for finding in &plan.findings {
            let finding = finding.clone();
            self.tell(Event::Finding { finding });
        }
        for action in &plan.actions {
            let action = Box::new(action.clone());
            self.tell(Event::Action { action });
        }
        for rule in &plan.policy {
            self.tell(Event::Policy { rule: rule.clone() });
        }
        let of = |severity| {
            let all = plan.findings.iter();
            all.filter(|found| found.severity == severity).count()
        };
        let gates: BTreeSet<String> = plan
            .pending()
            .filter_map(|action| Some(action.gate.as_ref()?.to_string()))
            .collect();
        let unreached = plan.nodes.iter().filter(|node| node.unreachable.is_some());
        let counts = PlanCounts {
            nodes: plan.nodes.len(),
            unreached: unreached.count(),
            errors: of(Severity::Error),
            warnings: of(Severity::Warning),
            actions: plan.actions.len(),
            deferred: plan.actions.len() - plan.pending().count(),
            gates: gates.len(),
        };
        let mut state = self.lock();
        let heads = plan.actions.iter();
        state.actions = heads
            .map(|action| (action.address.clone(), action.node.clone()))
            .collect();
        state.summary.digest = Some(plan.digest.clone());
        state.summary.plan = Some(counts);
    }

    /// Remembers how an apply ended, for the summary.
    pub fn applied(&self, applied: &Applied) {
        self.lock().summary.applied = Some(ApplyCounts {
            done: applied.done(),
            already: applied.already(),
            failed: applied.failed(),
            skipped: applied.skipped(),
            deferred: applied.deferred(),
        });
    }

    /// Tells what a new look finds after an apply.
    pub fn looked_again(&self, after: &Plan) {
        self.tell(Event::Converged {
            converged: after.is_empty(),
            left: after.actions.len(),
        });
    }

    /// Tells something that is about no single action.
    pub fn remark(&self, text: &str) {
        self.tell(Event::Note {
            node: None,
            text: text.to_owned(),
        });
    }

    /// Writes the last line.
    pub fn end(&self, outcome: &Outcome) {
        let mut state = self.lock();
        let last = match outcome {
            Ok(exit) => Event::Summary(Summary {
                exit: *exit as u8,
                seconds: self.start.elapsed().as_secs_f64(),
                ..state.summary.clone()
            }),
            Err(failure) => Event::Error {
                exit: failure.exit as u8,
                message: failure.message.clone(),
                help: failure.help.clone(),
            },
        };
        self.end_with(&mut state, last);
    }

    /// Writes the last line in the place of whoever is interrupted.
    fn interrupted(&self) {
        let asked = Instant::now();
        while asked.elapsed() < LAST_LINE_WITHIN {
            if let Ok(mut state) = self.state.try_lock() {
                let last = Event::Error {
                    exit: Exit::Interrupted as u8,
                    message: "interrupted".to_owned(),
                    help: None,
                };
                return self.end_with(&mut state, last);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn end_with(&self, state: &mut State, last: Event) {
        write(state, last);
        state.ended = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, event: Event) {
        write(&mut self.lock(), event);
    }

    /// Says that work goes on, as long as it does and nothing else is said.
    fn beat(&self) {
        let mut state = self.lock();
        while !state.ended {
            let quiet = state.last.elapsed();
            if quiet >= HEARTBEAT {
                let running = state.running.keys();
                let actions = running.filter_map(|id| Some(state.actions.get(*id)?.0.clone()));
                let heartbeat = Event::Heartbeat {
                    seconds: self.start.elapsed().as_secs_f64(),
                    nodes: state.nodes.keys().cloned().collect(),
                    actions: actions.collect(),
                };
                write(&mut state, heartbeat);
                continue;
            }
            let wait = self
                .changed
                .wait_timeout(state, HEARTBEAT.saturating_sub(quiet));
            state = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Writes a line; nothing follows the last one.
///
/// Whoever reads may stop reading; the work and its exit code go on all the same.
fn write(state: &mut State, event: Event) {
    if state.ended {
        return;
    }
    let line = Line { time: now(), event };
    if let Ok(text) = serde_json::to_string(&line) {
        let text = escape_json(&text) + "\n";
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
    state.last = Instant::now();
}

impl Watch for Events {
    fn started(&self, node: &Name) {
        let mut state = self.lock();
        state.nodes.insert(node.clone(), Instant::now());
        write(&mut state, Event::ObserveStarted { node: node.clone() });
    }

    fn ended(&self, node: &Name, seen: &NodeState) {
        let mut state = self.lock();
        let since = state.nodes.remove(node);
        let unreached = match seen {
            NodeState::Reached(_) => None,
            NodeState::Unreachable(why) => Some(why.clone()),
        };
        let ended = Event::ObserveEnded {
            node: node.clone(),
            seconds: since.map_or(0.0, |since| since.elapsed().as_secs_f64()),
            unreached,
        };
        write(&mut state, ended);
    }
}

impl Observer for Events {
    fn locked(&self, nodes: &[Name]) {
        let nodes = nodes.to_vec();
        self.tell(Event::Locked { nodes });
    }

    fn started(&self, action: usize) {
        let mut state = self.lock();
        let now = Instant::now();
        let running = Running {
            start: now,
            mentioned: now,
            bytes: None,
        };
        state.running.insert(action, running);
        let Some((address, node)) = state.actions.get(action).cloned() else {
            return;
        };
        let started = Event::ActionStarted {
            id: action,
            address,
            node,
        };
        write(&mut state, started);
    }

    fn progress(&self, action: usize, progress: Progress) {
        let mut state = self.lock();
        let Some(running) = state.running.get_mut(&action) else {
            return;
        };
        running.bytes = Some(progress.bytes);
        if running.mentioned.elapsed() < PROGRESS {
            return;
        }
        running.mentioned = Instant::now();
        let seconds = running.start.elapsed().as_secs_f64();
        let Some((address, _)) = state.actions.get(action).cloned() else {
            return;
        };
        let progress = Event::Progress {
            id: action,
            address,
            bytes: progress.bytes,
            total: progress.total,
            stored: progress.stored,
            seconds,
        };
        write(&mut state, progress);
    }

    fn ended(&self, action: usize, ended: &Ended) {
        let mut state = self.lock();
        let running = state.running.remove(&action);
        let Some((address, node)) = state.actions.get(action).cloned() else {
            return;
        };
        let (outcome, took, words) = match ended {
            Ended::Done { words, took } => (Ending::Done, Some(*took), Some(words.clone())),
            Ended::Failed { fault, took } => {
                (Ending::Failed, Some(*took), Some(fault.message.clone()))
            }
            Ended::Skipped { needed } => {
                let needed = state.actions.get(*needed);
                let words = needed.map(|(address, node)| format!("needs {address} on {node}"));
                (Ending::Skipped, None, words)
            }
            Ended::Already => (Ending::Already, None, None),
            Ended::Deferred { reason } => (Ending::Deferred, None, Some(reason.clone())),
            Ended::Stopped => (Ending::Stopped, None, None),
        };
        let ended = Event::ActionEnded {
            id: action,
            address,
            node,
            outcome,
            seconds: took.map(|took| took.as_secs_f64()),
            bytes: running
                .and_then(|running| running.bytes)
                .filter(|bytes| *bytes > 0),
            words,
        };
        write(&mut state, ended);
    }

    fn note(&self, node: &Name, text: &str) {
        self.tell(Event::Note {
            node: Some(node.clone()),
            text: text.to_owned(),
        });
    }
}
