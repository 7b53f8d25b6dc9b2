//! In which order and how much at a time: needs first, one heavy writer a datastore.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::apply::outcome::{Ended, Observer, Outcome};
use crate::plan::Plan;
use crate::plan::change::{Action, Step};
use crate::run::Cancel;
use crate::run::message::Fault;

/// How many actions run at a time.
const PARALLEL_MAX: usize = 10;

/// What an action must have for itself while it runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    /// The small state of a node.
    Node(String),
    /// The disks of a datastore.
    Datastore(String),
}

struct State {
    ended: Vec<Option<Ended>>,
    started: Vec<bool>,
    running: BTreeSet<Claim>,
}

/// Carries actions out with `work`, each after what it needs; independent branches go on
/// when one fails.
pub(super) fn run_all(
    plan: &Plan,
    observer: &dyn Observer,
    cancel: &Cancel,
    work: &(dyn Fn(&Action) -> Result<String, Fault> + Sync),
) -> Outcome {
    let count = plan.actions.len();
    let state = Mutex::new(State {
        ended: vec![None; count],
        started: vec![false; count],
        running: BTreeSet::new(),
    });
    let changed = Condvar::new();
    thread::scope(|scope| {
        for _ in 0..PARALLEL_MAX.min(count) {
            scope.spawn(|| worker(plan, &state, &changed, observer, cancel, work));
        }
    });
    let ended = state
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .ended;
    Outcome {
        ended: ended
            .into_iter()
            .map(|e| e.unwrap_or(Ended::Stopped))
            .collect(),
    }
}

fn worker(
    plan: &Plan,
    state: &Mutex<State>,
    changed: &Condvar,
    observer: &dyn Observer,
    cancel: &Cancel,
    work: &(dyn Fn(&Action) -> Result<String, Fault> + Sync),
) {
    let mut guard = state.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        settle(plan, &mut guard, cancel, observer);
        if guard.ended.iter().all(Option::is_some) {
            changed.notify_all();
            return;
        }
        let Some(action) = next(plan, &mut guard) else {
            // Woken by an action's end; the timeout lets a request to stop be seen.
            let wait = changed.wait_timeout(guard, Duration::from_millis(200));
            guard = wait.unwrap_or_else(PoisonError::into_inner).0;
            continue;
        };
        drop(guard);
        observer.started(action.id);
        let start = Instant::now();
        // A bug in one action must neither hang the others nor hide what they did.
        let result = catch_unwind(AssertUnwindSafe(|| work(action))).unwrap_or_else(|_| {
            Err(Fault::refused(
                "bkpctl itself failed here; please report it",
            ))
        });
        let ended = match result {
            Ok(words) => Ended::Done {
                words,
                took: start.elapsed(),
            },
            Err(fault) => Ended::Failed {
                fault,
                took: start.elapsed(),
            },
        };
        observer.ended(action.id, &ended);
        guard = state.lock().unwrap_or_else(PoisonError::into_inner);
        for claim in claims(action) {
            guard.running.remove(&claim);
        }
        guard.ended[action.id] = Some(ended);
        changed.notify_all();
    }
}

/// Ends every action that will not be tried.
fn settle(plan: &Plan, state: &mut State, cancel: &Cancel, observer: &dyn Observer) {
    for action in &plan.actions {
        if state.started[action.id] || state.ended[action.id].is_some() {
            continue;
        }
        let blocked = action.after.iter().copied().find(|&needed| {
            matches!(&state.ended[needed], Some(ended) if !matches!(ended, Ended::Done { .. }))
        });
        let ended = if let Some(reason) = &action.deferred {
            Ended::Deferred {
                reason: reason.clone(),
            }
        } else if cancel.is_cancelled() {
            Ended::Stopped
        } else if let Some(needed) = blocked {
            Ended::Skipped { needed }
        } else {
            continue;
        };
        observer.ended(action.id, &ended);
        state.ended[action.id] = Some(ended);
    }
}

/// Picks the first action that may start now and marks it as started.
fn next<'p>(plan: &'p Plan, state: &mut State) -> Option<&'p Action> {
    let ready = plan.actions.iter().find(|action| {
        !state.started[action.id]
            && state.ended[action.id].is_none()
            && action
                .after
                .iter()
                .all(|&n| matches!(state.ended[n], Some(Ended::Done { .. })))
            && claims(action)
                .iter()
                .all(|claim| !state.running.contains(claim))
    })?;
    state.started[ready.id] = true;
    state.running.extend(claims(ready));
    Some(ready)
}

fn claims(action: &Action) -> Vec<Claim> {
    let datastore = |name: &crate::model::Name| Claim::Datastore(name.to_string());
    match &action.step {
        Step::Copy { datastore: to, .. } => vec![datastore(to)],
        Step::Sync { from, to, .. } => vec![datastore(from), datastore(to)],
        Step::Drill { from, .. } => vec![datastore(from)],
        Step::MakeRepository { datastore: of } | Step::WriteManaged { datastore: of, .. } => {
            vec![datastore(of)]
        }
        _ => vec![Claim::Node(action.node.to_string())],
    }
}
