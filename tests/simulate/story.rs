//! What happens in one seed: who does what, and what befalls them.

use std::sync::Arc;

use bkpctl::engine::EngineError;
use bkpctl::engine::store::StoreError;

use crate::machine::{Calls, Fault};
use crate::mutants::Lie;
use crate::rng::Rng;
use crate::sources::Sources;
use crate::world::{Action, Attempt, Outcome, World};

const ENOSPC: i32 = 28;
const EIO: i32 = 5;
const SOURCES: [&str; 2] = ["web", "db"];

/// About as many calls as a small backup makes.
const CALLS_OF_A_BACKUP: u64 = 110;

/// Is what a seed did, and what was wrong.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) wrong: Option<String>,
    pub(crate) trace: Vec<String>,
    pub(crate) armed: u64,
    pub(crate) struck: u64,
    pub(crate) print: u64,
}

struct Story {
    world: World,
    rng: Rng,
    armed: u64,
    struck: u64,
}

/// Plays a seed to its end.
pub(crate) fn play(seed: u64, sources: &Arc<Sources>, lie: Lie, traced: bool) -> Told {
    let mut rng = Rng::new(seed);
    let world = World::new(seed, &mut rng, sources.clone(), lie, traced);
    let mut story = Story {
        world,
        rng,
        armed: 0,
        struck: 0,
    };
    let wrong = story.play().err();
    Told {
        wrong,
        armed: story.armed,
        struck: story.struck,
        print: story.world.machine.print(),
        trace: story.world.machine.trace(),
    }
}

impl Story {
    fn play(&mut self) -> Result<(), String> {
        if self.rng.one_in(5) {
            self.chapter(vec![Action::Init])?;
        }
        self.world.must(Action::Init)?;
        for _ in 0..=self.rng.below(3) {
            let actions = self.actions();
            self.chapter(actions)?;
        }
        self.epilogue()
    }

    /// Picks who runs beside whom.
    fn actions(&mut self) -> Vec<Action> {
        let mut actions = vec![self.backup()];
        match self.rng.below(14) {
            0 | 1 => {}
            2 | 3 => actions.push(self.backup()),
            4 => actions.push(Action::Read),
            5 => actions.push(self.forget()),
            6 => actions.extend([self.backup(), Action::Read]),
            7 => actions.extend([self.collect(), Action::Read]),
            8 => actions = vec![self.forget(), self.collect()],
            9 => actions.extend([self.forget(), self.collect()]),
            // The same as somebody is deleting.
            10 | 11 => {
                let names = self.world.snapshots();
                actions = self.world.actions_of(&names);
                actions.truncate(2);
                actions.extend([Action::Forget { names }, self.collect()]);
            }
            _ => actions.push(self.collect()),
        }
        actions
    }

    fn collect(&mut self) -> Action {
        let is_patient = !self.rng.one_in(4);
        Action::Collect { is_patient }
    }

    /// Forgets some of the snapshots, or all.
    fn forget(&mut self) -> Action {
        let mut names = self.world.snapshots();
        if !self.rng.one_in(4) {
            names.retain(|_| self.rng.one_in(2));
        }
        Action::Forget { names }
    }

    fn backup(&mut self) -> Action {
        let source = self.rng.pick(&SOURCES);
        if self.rng.one_in(3) {
            let number = Sources::pick_tree(&mut self.rng);
            Action::Tree { source, number }
        } else {
            let number = Sources::pick_stream(&mut self.rng);
            Action::Stream { source, number }
        }
    }

    /// Lets actions run under a fault, and checks what is left.
    fn chapter(&mut self, actions: Vec<Action>) -> Result<(), String> {
        let is_init = actions == [Action::Init];
        let mut attempts: Vec<_> = actions
            .into_iter()
            .map(|action| self.world.attempt(action))
            .collect();
        let faults = self.faults(&attempts);
        let stops = |fault: &Fault| matches!(fault, Fault::Stop { .. });
        if faults.iter().any(stops) {
            let is_patient = false;
            attempts.push(self.world.attempt(Action::Collect { is_patient }));
        }
        let impatient = Action::Collect { is_patient: false };
        let sessions_end = attempts.iter().any(|attempt| attempt.action == impatient);
        self.world.machine.note(|| format!("armed: {faults:?}"));
        self.world.machine.arm(&faults);
        let outcomes = self.world.run(&attempts);
        self.armed += faults.len() as u64;
        self.struck += self.world.machine.disarm();
        let outcomes = outcomes?;
        let mut unfinished = Vec::new();
        for (attempt, outcome) in attempts.iter().zip(outcomes) {
            if let Outcome::Failed(error) = outcome {
                let may_fail = sessions_end && uses_session(&attempt.action)
                    || matches!(error, EngineError::Store(StoreError::Collecting));
                self.judge(attempt, &faults, may_fail, &error.to_string())?;
                unfinished.push(attempt.action.clone());
            }
        }
        if self.rng.one_in(4) {
            self.world.machine.crash();
        }
        if is_init {
            self.world.must(Action::Init)?;
        }
        self.world.check(false)?;
        // Now and then nobody repeats anything before the next fault.
        if !self.rng.one_in(3) {
            for action in unfinished {
                self.world.must(action)?;
            }
        }
        Ok(())
    }

    /// Decides whether an attempt may have failed, and whether its snapshot may show all the same.
    fn judge(
        &mut self,
        attempt: &Attempt,
        faults: &[Fault],
        mut may_fail: bool,
        error: &str,
    ) -> Result<(), String> {
        let mut may_show = false;
        for fault in faults {
            match *fault {
                Fault::Kill { pid, .. } => {
                    may_fail |= pid == attempt.pid;
                    may_show |= pid == attempt.pid;
                }
                Fault::Stop { .. } => {}
                Fault::Power { .. } | Fault::Shutdown { .. } => {
                    may_fail = true;
                    may_show = true;
                }
                Fault::Error { pid, for_good, .. } => {
                    may_fail |= pid == attempt.pid;
                    // What cannot be taken back shows.
                    may_show |= pid == attempt.pid && for_good;
                }
            }
        }
        if !may_fail {
            return Err(format!(
                "{:?} fails without a fault: {error}",
                attempt.action
            ));
        }
        if !may_show {
            self.world.refuse(attempt);
        }
        Ok(())
    }

    fn faults(&mut self, attempts: &[Attempt]) -> Vec<Fault> {
        let pid = attempts[self.rng.index(attempts.len())].pid;
        // What is short, such as forgetting, is struck as often as what is long.
        let reach = self.rng.pick(&[12, CALLS_OF_A_BACKUP, CALLS_OF_A_BACKUP]);
        let calls = self.rng.below(reach);
        let steps = self.rng.below(CALLS_OF_A_BACKUP * attempts.len() as u64);
        let after = self.rng.one_in(2);
        let kill = Fault::Kill {
            pid,
            at: calls,
            after,
        };
        match self.rng.below(10) {
            0 => Vec::new(),
            1 | 2 => vec![kill],
            3 | 4 => vec![Fault::Power { at: steps, after }],
            5 => vec![Fault::Shutdown { at: steps }],
            6 if attempts[0].action != Action::Init => vec![Fault::Stop {
                pid: attempts[0].pid,
                at: calls,
            }],
            7 => vec![kill, Fault::Power { at: steps, after }],
            _ => vec![self.error(pid)],
        }
    }

    fn error(&mut self, pid: usize) -> Fault {
        let (calls, count) = self.rng.pick(&[
            (Calls::Any, CALLS_OF_A_BACKUP),
            (Calls::Growing, 45),
            (Calls::Syncs, 24),
            (Calls::Reads, 50),
        ]);
        let full = calls == Calls::Growing && self.rng.one_in(2);
        Fault::Error {
            pid,
            calls,
            at: self.rng.below(count),
            code: if full { ENOSPC } else { EIO },
            for_good: self.rng.one_in(2),
        }
    }

    /// Does what a person would do next, and expects everything of it.
    fn epilogue(&mut self) -> Result<(), String> {
        let last = self.backup();
        self.world.must(last)?;
        self.world.machine.crash();
        self.world.check(true)?;
        let forget = self.forget();
        self.world.must(forget)?;
        self.world.must(Action::Collect { is_patient: true })?;
        let last = self.backup();
        self.world.must(last)?;
        self.world.check(false)?;
        self.world.check_leftovers()
    }
}

/// Tells whether an action fails when somebody ends its session.
fn uses_session(action: &Action) -> bool {
    matches!(
        action,
        Action::Stream { .. } | Action::Tree { .. } | Action::Read
    )
}
