//! In which order and how much at a time: needs first, then by node and by disk.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::apply::order::{Order, Stop};
use crate::apply::outcome::{Ended, Observer, Outcome};
use crate::plan::change::{Action, Step};
use crate::plan::readiness::Readiness;
use crate::run::message::Fault;

/// What an action must have for itself while it runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    /// The small state of a node.
    Node(String),
    /// What a datastore lies on, as a whole.
    Datastore(String),
    /// A disk of a node that is written to.
    Disk(String, String),
}

struct State {
    ended: Vec<Option<Ended>>,
    started: Vec<bool>,
    running: BTreeMap<Claim, usize>,
}

/// Carries actions out with `work`, each after what it needs; independent branches go on
/// when one fails.
pub(super) fn run_all(
    order: &Order<'_>,
    observer: &dyn Observer,
    stop: &Stop,
    work: &(dyn Fn(&Action) -> Result<String, Fault> + Sync),
) -> Outcome {
    let count = order.plan.actions.len();
    let state = Mutex::new(State {
        ended: vec![None; count],
        started: vec![false; count],
        running: BTreeMap::new(),
    });
    let changed = Condvar::new();
    thread::scope(|scope| {
        for _ in 0..order.limits.at_once.clamp(1, count.max(1)) {
            scope.spawn(|| worker(order, &state, &changed, observer, stop, work));
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
    order: &Order<'_>,
    state: &Mutex<State>,
    changed: &Condvar,
    observer: &dyn Observer,
    stop: &Stop,
    work: &(dyn Fn(&Action) -> Result<String, Fault> + Sync),
) {
    let mut guard = state.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        settle(order, &mut guard, stop, observer);
        if guard.ended.iter().all(Option::is_some) {
            changed.notify_all();
            return;
        }
        let Some(action) = next(order, &mut guard) else {
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
            if let Some(count) = guard.running.get_mut(&claim) {
                *count -= 1;
            }
        }
        guard.ended[action.id] = Some(ended);
        changed.notify_all();
    }
}

/// Ends every action that will not be tried.
fn settle(order: &Order<'_>, state: &mut State, stop: &Stop, observer: &dyn Observer) {
    for action in &order.plan.actions {
        if state.started[action.id] || state.ended[action.id].is_some() {
            continue;
        }
        let blocked = action.after.iter().copied().find(|&needed| {
            let ended = &state.ended[needed];
            matches!(ended, Some(ended) if !is_there(ended))
        });
        let ended = match order.readiness.get(action.id) {
            Some(Readiness::Deferred(reason)) => Ended::Deferred {
                reason: reason.clone(),
            },
            Some(Readiness::Already) => Ended::Already,
            Some(Readiness::Ready) if stop.is_asked() => Ended::Stopped,
            Some(Readiness::Ready) => match blocked {
                Some(needed) => Ended::Skipped { needed },
                None => continue,
            },
            // Whoever gives the order has refused a stale plan.
            Some(Readiness::Stale(_)) | None => Ended::Stopped,
        };
        observer.ended(action.id, &ended);
        state.ended[action.id] = Some(ended);
    }
}

/// Tells whether what an action was to bring about is there.
fn is_there(ended: &Ended) -> bool {
    matches!(ended, Ended::Done { .. } | Ended::Already)
}

/// Picks the first action that may start now and marks it as started.
fn next<'p>(order: &Order<'p>, state: &mut State) -> Option<&'p Action> {
    let ready = order.plan.actions.iter().find(|action| {
        let has_room = |claim: &Claim| {
            let running = state.running.get(claim).copied().unwrap_or_default();
            running < limit(order, claim)
        };
        !state.started[action.id]
            && state.ended[action.id].is_none()
            && action
                .after
                .iter()
                .all(|&needed| state.ended[needed].as_ref().is_some_and(is_there))
            && claims(action).iter().all(has_room)
    })?;
    state.started[ready.id] = true;
    for claim in claims(ready) {
        *state.running.entry(claim).or_default() += 1;
    }
    Some(ready)
}

/// Returns how many actions may have the same claim at a time.
fn limit(order: &Order<'_>, claim: &Claim) -> usize {
    match claim {
        Claim::Node(_) => 1,
        Claim::Datastore(_) | Claim::Disk(..) => order.limits.writers_per_disk.max(1),
    }
}

fn claims(action: &Action) -> Vec<Claim> {
    let datastore = |name: &crate::model::Name| Claim::Datastore(name.to_string());
    let mut claims = match &action.step {
        Step::Copy { datastore: to, .. } => vec![datastore(to)],
        Step::Sync { from, to, .. } => vec![datastore(from), datastore(to)],
        Step::Drill { from, .. } => vec![datastore(from)],
        Step::MakeRepository { datastore: of }
        | Step::WriteManaged { datastore: of, .. }
        | Step::DestroyRepository { datastore: of, .. } => {
            vec![datastore(of)]
        }
        _ => return vec![Claim::Node(action.node.to_string())],
    };
    for landing in &action.landing {
        if let Some(disk) = &landing.disk {
            claims.push(Claim::Disk(landing.node.to_string(), disk.clone()));
        }
    }
    claims.sort();
    claims.dedup();
    claims
}
