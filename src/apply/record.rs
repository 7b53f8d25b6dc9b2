//! What is written down of an apply: each node's journal has its opening, its steps, its end.
//!
//! A node's lock is held from its opening on, so nobody else writes there meanwhile.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::apply::order::Order;
use crate::apply::outcome::{Observer, Outcome};
use crate::model::journal::Event;
use crate::model::{JournalLine, Name};
use crate::plan::change::{Action, Step};
use crate::plan::readiness::Readiness;
use crate::run::fleet::Fleet;
use crate::run::here;
use crate::run::journal::Opening;
use crate::run::message::{Fault, FaultKind};
use crate::run::node::{NodeCall, NodeReply};

/// How many actions one line of a journal names, so that lines stay short enough to be read.
const LABELS_A_LINE: usize = 200;

/// The journals of one apply.
pub(super) struct Record<'a> {
    order: &'a Order<'a>,
    fleet: &'a Fleet,
    /// The nodes whose journals say that the plan was begun.
    opened: Mutex<BTreeSet<Name>>,
}

/// Makes sure that a plan was not carried out before.
///
/// # Errors
///
/// It was, or somebody else holds a node.
pub fn refuse_used(order: &Order<'_>, fleet: &Fleet) -> Result<(), Fault> {
    let record = Record {
        order,
        fleet,
        opened: Mutex::default(),
    };
    record.lock_unused().map(drop)
}

impl<'a> Record<'a> {
    /// Locks every node, makes sure that the plan was not carried out before, and writes down
    /// that it begins.
    ///
    /// A node that is lost meanwhile stands in nobody's way: its actions fail by themselves.
    pub(super) fn open(order: &'a Order<'a>, fleet: &'a Fleet) -> Result<Self, Fault> {
        let record = Self {
            order,
            fleet,
            opened: Mutex::default(),
        };
        let there = record.lock_unused()?;
        at_once(&there, |node| record.open_on(node))
            .into_iter()
            .filter(|opened| !matches!(opened, Err(fault) if fault.kind == FaultKind::Lost))
            .collect::<Result<Vec<()>, Fault>>()?;
        Ok(record)
    }

    /// Locks every node, makes sure that the plan was not carried out before, and returns the
    /// nodes.
    fn lock_unused(&self) -> Result<Vec<&'a Name>, Fault> {
        let nodes = self.nodes_with_an_agent();
        let used = at_once(&nodes, |node| self.used(node));
        let mut there = Vec::new();
        for (node, used) in nodes.iter().zip(used) {
            match used {
                Ok(None) => there.push(*node),
                Ok(Some(_)) if self.order.resumes.is_some() => there.push(*node),
                Ok(Some(opening)) => return Err(used_before(node, &opening)),
                Err(fault) if fault.kind == FaultKind::Lost => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(there)
    }

    /// Returns the nodes that something is or was to be done on, and where bkpctl is already.
    fn nodes_with_an_agent(&self) -> Vec<&'a Name> {
        let ready = || self.ready();
        let waits_for_the_binary =
            |node: &&Name| ready().any(|a| places_binary(a) && a.node == **node);
        let nodes: BTreeSet<&Name> = self
            .not_deferred()
            .map(|action| &action.node)
            .filter(|node| self.order.plan.topology.nodes.contains_key(*node))
            .filter(|node| !waits_for_the_binary(node))
            .chain(self.order.resumes.iter().flatten())
            .collect();
        nodes.into_iter().collect()
    }

    fn not_deferred(&self) -> impl Iterator<Item = &'a Action> {
        let all = self.order.plan.actions.iter().zip(&self.order.readiness);
        all.filter(|(_, ready)| !matches!(ready, Readiness::Deferred(_)))
            .map(|(action, _)| action)
    }

    fn ready(&self) -> impl Iterator<Item = &'a Action> {
        let all = self.order.plan.actions.iter();
        all.zip(&self.order.readiness)
            .filter(|(_, ready)| **ready == Readiness::Ready)
            .map(|(action, _)| action)
    }

    /// Returns what the journal of a node says of this plan, and makes sure that nobody else
    /// has changed anything there since it was looked at.
    fn used(&self, node: &Name) -> Result<Option<Opening>, Fault> {
        let call = NodeCall::Plans {
            folder: self.fleet.state_folder(node)?,
            plan: Some(self.order.id.clone()),
        };
        let NodeReply::Plans(plans) = self.fleet.hands(node)?.ask(call)? else {
            return Err(Fault::lost(
                "the agent answered another question than the one asked",
            ));
        };
        if let Some(last) = plans
            .last_of_others
            .filter(|last| *last > self.order.looked)
        {
            return Err(Fault::stale(format!(
                "another apply changed something on {node} at {last}, after it was looked at; nothing was changed now"
            )));
        }
        Ok(plans.opening)
    }

    fn open_on(&self, node: &Name) -> Result<(), Fault> {
        let here = self.ready().filter(|action| action.node == *node);
        let mut labels: Vec<String> = here.map(Action::label).collect();
        loop {
            let rest = labels.split_off(labels.len().min(LABELS_A_LINE));
            let line = JournalLine {
                holder: Some(self.order.holder.clone()),
                actions: labels,
                allowed: self.order.allowed.clone(),
                ..self.line(Event::Opened, "")
            };
            self.append(node, &line)?;
            if rest.is_empty() {
                break;
            }
            labels = rest;
        }
        self.lock_opened().insert(node.clone());
        Ok(())
    }

    /// Returns the nodes that are locked and whose journals say that the plan was begun.
    pub(super) fn locked(&self) -> Vec<Name> {
        self.lock_opened().iter().cloned().collect()
    }

    fn lock_opened(&self) -> std::sync::MutexGuard<'_, BTreeSet<Name>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down that an action begins.
    pub(super) fn begin(&self, action: &Action) -> Result<(), Fault> {
        if places_binary(action) {
            return Ok(());
        }
        self.step(action, Event::Begin, &action.after_words)
    }

    /// Writes down how an action ended.
    pub(super) fn end(&self, action: &Action, result: &Result<String, Fault>) -> Result<(), Fault> {
        match result {
            Ok(words) => {
                if places_binary(action) && !self.lock_opened().contains(&action.node) {
                    self.open_on(&action.node)?;
                }
                self.step(action, Event::Done, words)
            }
            // Where there is no binary there is nobody to write a journal.
            Err(_) if places_binary(action) => Ok(()),
            Err(fault) => self.step(action, Event::Failed, &fault.message),
        }
    }

    /// Writes down on every node how the whole ended.
    pub(super) fn close(&self, outcome: &Outcome, observer: &dyn Observer) {
        let left = outcome.failed() + outcome.skipped();
        let event = if left == 0 {
            Event::Closed
        } else {
            Event::BrokenOff
        };
        let words = format!("{} done, {left} left", outcome.done());
        let nodes = self.locked();
        let nodes: Vec<&Name> = nodes.iter().collect();
        let line = self.line(event, &words);
        let written = at_once(&nodes, |node| self.append(node, &line));
        for (node, written) in nodes.iter().zip(written) {
            if let Err(fault) = written {
                let words = format!("the end could not be written down: {}", fault.message);
                observer.note(node, &words);
            }
        }
    }

    fn step(&self, action: &Action, event: Event, words: &str) -> Result<(), Fault> {
        // Actions where bkpctl itself runs, outside any node, leave no journal.
        if !self.order.plan.topology.nodes.contains_key(&action.node) {
            return Ok(());
        }
        let line = JournalLine {
            action: Some(action.id),
            address: Some(action.address.clone()),
            ..self.line(event, words)
        };
        self.append(&action.node, &line)
    }

    fn line(&self, event: Event, words: &str) -> JournalLine {
        JournalLine {
            plan: Some(self.order.id.clone()),
            ..JournalLine::new(here::now(), event, words)
        }
    }

    fn append(&self, node: &Name, line: &JournalLine) -> Result<(), Fault> {
        let call = NodeCall::Journal {
            folder: self.fleet.state_folder(node)?,
            line: line.text(),
        };
        self.fleet.hands(node)?.ask(call).map(drop)
    }
}

/// Tells whether an action makes a node's journal possible in the first place.
fn places_binary(action: &Action) -> bool {
    matches!(action.step, Step::PlaceBinary { .. })
}

fn used_before(node: &Name, opening: &Opening) -> Fault {
    let how = match (opening.closed, opening.done, opening.failed) {
        (true, ..) => "and came to its end".to_owned(),
        (false, done, 0) => format!("and was broken off after {done} of its actions there"),
        (false, done, failed) => {
            format!("and was broken off: {done} of its actions were done there, {failed} failed")
        }
    };
    Fault::stale(format!(
        "this plan was carried out before: it began on {node} at {}, {how}; nothing was changed now",
        opening.line.time
    ))
}

/// Does something for every node at the same time.
fn at_once<T: Send>(nodes: &[&Name], work: impl Fn(&Name) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let running: Vec<_> = nodes
            .iter()
            .map(|node| scope.spawn(|| work(node)))
            .collect();
        running
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    })
}
