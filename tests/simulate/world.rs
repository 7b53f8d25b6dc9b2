//! A repository on a simulated machine, what its processes do, and what must hold of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bkpctl::engine::crypto::ReadingKey;
use bkpctl::engine::disk::Disk;
use bkpctl::engine::env::{Cancel, Clock, Entropy, Env};
use bkpctl::engine::files::ScanOptions;
use bkpctl::engine::store::{Dir, DirOptions, Store, StoreError};
use bkpctl::engine::{
    Access, BackupOptions, CollectOptions, CreateOptions, EngineError, Level, OpenSnapshot,
    PackSize, Repository, Silent, Snapshot, backup, backup_stream, collect, forget, verify,
};

use crate::disk::SimDisk;
use crate::machine::{Machine, Pid};
use crate::mutants::{Lie, Lying};
use crate::rng::Rng;
use crate::sources::{Content, Sources};

const MACHINE: &str = "machine-a";
const SECOND: i64 = 1_000_000_000;
/// How much later each process begins than the one before: no process looks at the clock so often.
const PROCESS_SECONDS: i64 = 1_000_000;

/// Says what a process does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Makes the repository, unless it is there.
    Init,
    /// Backs up a stream.
    Stream { source: &'static str, number: usize },
    /// Backs up a tree.
    Tree { source: &'static str, number: usize },
    /// Reads every snapshot there is and compares it.
    Read,
    /// Makes snapshots disappear.
    Forget { names: Vec<String> },
    /// Deletes what no snapshot needs; perhaps without patience for the sessions of others.
    Collect { is_patient: bool },
}

/// Says how an action ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It succeeded; with the name of the snapshot it made.
    Done(Option<String>),
    /// It failed, and said so.
    Failed(EngineError),
    /// It did what it never may.
    Wrong(String),
}

/// Is one process that was started, and what it was to do.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) pid: Pid,
    pub(crate) action: Action,
    starts: i64,
}

/// Is a machine with a repository, and what is known of it.
pub(crate) struct World {
    pub(crate) machine: Arc<Machine>,
    sources: Arc<Sources>,
    key: ReadingKey,
    seed: u64,
    by_link: bool,
    pack_bytes: usize,
    /// One thread does everything, or one seals and another stores.
    threads: usize,
    now: i64,
    /// The snapshots that must be there, by name, and what is in them.
    acknowledged: BTreeMap<String, Action>,
    /// The snapshots that somebody began to forget.
    forgotten: BTreeSet<String>,
    attempts: Vec<Attempt>,
    /// The snapshots whose content was compared; a verification says that it is the same still.
    compared: BTreeSet<String>,
    /// Attempts that failed and must not show a snapshot.
    refused: BTreeSet<Pid>,
}

struct SimClock(AtomicI64);

impl Clock for SimClock {
    fn now_ns(&self) -> i64 {
        self.0.fetch_add(SECOND, Ordering::Relaxed)
    }
}

struct SimEntropy {
    seed: [u8; 16],
    count: AtomicU64,
}

impl Entropy for SimEntropy {
    fn fill(&self, bytes: &mut [u8]) -> std::io::Result<()> {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed);
        hasher.update(&count.to_le_bytes());
        hasher.finalize_xof().fill(bytes);
        Ok(())
    }
}

impl World {
    pub(crate) fn new(
        seed: u64,
        rng: &mut Rng,
        sources: Arc<Sources>,
        lie: Lie,
        traced: bool,
    ) -> Self {
        Self {
            machine: Arc::new(Machine::new(rng.fork(), lie, traced)),
            sources,
            key: ReadingKey::from_seed(&[42; 32]),
            seed,
            by_link: rng.one_in(4),
            pack_bytes: rng.pick(&[1, 600, 4096, 4096]),
            threads: rng.pick(&[1, 2]),
            now: 4_000_000_000,
            acknowledged: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            attempts: Vec::new(),
            compared: BTreeSet::new(),
            refused: BTreeSet::new(),
        }
    }

    /// Makes a process for an action.
    pub(crate) fn attempt(&mut self, action: Action) -> Attempt {
        let attempt = Attempt {
            pid: self.machine.add_process(),
            action,
            starts: self.now * SECOND,
        };
        self.now += PROCESS_SECONDS;
        self.attempts.push(attempt.clone());
        attempt
    }

    /// Returns the snapshots that are known to be there.
    pub(crate) fn snapshots(&self) -> Vec<String> {
        self.acknowledged.keys().cloned().collect()
    }

    /// Returns what was done to make these snapshots, the newest first.
    pub(crate) fn actions_of(&self, names: &[String]) -> Vec<Action> {
        let known = names
            .iter()
            .rev()
            .filter_map(|name| self.acknowledged.get(name));
        known.cloned().collect()
    }

    /// Runs attempts beside each other and notes what they promised.
    pub(crate) fn run(&mut self, attempts: &[Attempt]) -> Result<Vec<Outcome>, String> {
        for attempt in attempts {
            if let Action::Forget { names } = &attempt.action {
                self.forgotten.extend(names.iter().cloned());
            }
        }
        let world = &*self;
        let work = attempts
            .iter()
            .map(|attempt| {
                let perform = move || world.perform(attempt);
                let perform: Box<dyn FnOnce() -> Outcome + Send + '_> = Box::new(perform);
                (attempt.pid, perform)
            })
            .collect();
        let outcomes = self.machine.run(work);
        let mut ended = Vec::new();
        for (attempt, outcome) in attempts.iter().zip(outcomes) {
            let outcome = outcome.map_err(|_| format!("{:?} panicked", attempt.action))?;
            self.machine
                .note(|| format!("{} ends: {:?}: {outcome:?}", attempt.pid, attempt.action));
            match &outcome {
                Outcome::Done(Some(name)) => {
                    self.acknowledged
                        .insert(name.clone(), attempt.action.clone());
                }
                Outcome::Wrong(what) => return Err(what.clone()),
                _ => {}
            }
            if let (Outcome::Done(_), Action::Forget { names }) = (&outcome, &attempt.action) {
                for name in names {
                    self.acknowledged.remove(name);
                }
            }
            ended.push(outcome);
        }
        if self.machine.is_stuck() {
            return Err("the processes wait for each other, or for ever".to_owned());
        }
        match self.machine.syncs_again() {
            0 => Ok(ended),
            _ => Err("a file was synced again after a sync of it had failed".to_owned()),
        }
    }

    /// Says that an attempt failed in a way that must leave no snapshot.
    pub(crate) fn refuse(&mut self, attempt: &Attempt) {
        self.refused.insert(attempt.pid);
    }

    /// Does one thing alone and without faults, which must succeed.
    pub(crate) fn must(&mut self, action: Action) -> Result<(), String> {
        let attempt = self.attempt(action);
        match self.run(std::slice::from_ref(&attempt))?.pop() {
            Some(Outcome::Failed(error)) => Err(format!(
                "{:?} fails without a fault: {error}",
                attempt.action
            )),
            _ => Ok(()),
        }
    }

    fn perform(&self, attempt: &Attempt) -> Outcome {
        let done = match &attempt.action {
            Action::Init => self.init(attempt).map(|()| None),
            Action::Stream { source, number } => self.stream(attempt, source, *number).map(Some),
            Action::Tree { source, number } => self.tree(attempt, source, *number).map(Some),
            Action::Read => match self.read(attempt, &BTreeSet::new()) {
                Ok(Some(wrong)) => return Outcome::Wrong(wrong),
                read => read.map(|_| None),
            },
            Action::Forget { names } => self.forget(attempt, names).map(|()| None),
            Action::Collect { is_patient } => self.collect(attempt, *is_patient).map(|()| None),
        };
        done.map_or_else(Outcome::Failed, Outcome::Done)
    }

    fn env(&self, attempt: &Attempt) -> Env {
        let mut seed = [0; 16];
        seed[..8].copy_from_slice(&self.seed.to_le_bytes());
        seed[8..].copy_from_slice(&(attempt.pid as u64).to_le_bytes());
        Env {
            clock: Arc::new(SimClock(AtomicI64::new(attempt.starts))),
            entropy: Arc::new(SimEntropy {
                seed,
                count: AtomicU64::new(0),
            }),
        }
    }

    fn disk(&self, attempt: &Attempt) -> Arc<dyn Disk> {
        let disk = SimDisk::new(self.machine.clone(), attempt.pid, self.by_link);
        Arc::new(disk)
    }

    fn dir(&self, attempt: &Attempt) -> Result<Dir, StoreError> {
        Dir::open(self.disk(attempt), self.env(attempt), &dir_options())
    }

    fn repository(&self, attempt: &Attempt, access: Access) -> Result<Repository, EngineError> {
        let store: Arc<dyn Store> = Arc::new(Lying::new(self.dir(attempt)?, self.machine.lie));
        Repository::open(store, self.env(attempt), access)
    }

    fn reader(&self, attempt: &Attempt) -> Result<Repository, EngineError> {
        self.repository(attempt, Access::Reader(self.key.clone()))
    }

    fn init(&self, attempt: &Attempt) -> Result<(), EngineError> {
        match self.dir(attempt) {
            Ok(_) => return Ok(()),
            Err(StoreError::NoRepository { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let env = self.env(attempt);
        let dir = Dir::create(self.disk(attempt), env.clone(), &dir_options())?;
        let options = CreateOptions::for_key(MACHINE, &self.key);
        Repository::create(&dir, &env, &options).map(|_| ())
    }

    fn options(&self, source: &str) -> BackupOptions {
        BackupOptions {
            pack_size: PackSize::Fixed(self.pack_bytes),
            threads: self.threads,
            ..BackupOptions::new(source, source, MACHINE)
        }
    }

    fn stream(
        &self,
        attempt: &Attempt,
        source: &str,
        number: usize,
    ) -> Result<String, EngineError> {
        let key = self.key.writer(source)?;
        let repository = self.repository(attempt, Access::Writer(key))?;
        let made = backup_stream(
            &repository,
            &mut self.sources.stream(number),
            "stream",
            &self.options(source),
            &Silent,
            &Cancel::new(),
        )?;
        Ok(made.name.to_string())
    }

    fn tree(&self, attempt: &Attempt, source: &str, number: usize) -> Result<String, EngineError> {
        let repository = self.reader(attempt)?;
        let made = backup(
            &repository,
            &[self.sources.tree(number)],
            ScanOptions::default(),
            &self.options(source),
            &Silent,
            &Cancel::new(),
        )?;
        Ok(made.name.to_string())
    }

    fn forget(&self, attempt: &Attempt, names: &[String]) -> Result<(), EngineError> {
        let repository = self.repository(attempt, Access::Keyless)?;
        let names: Result<Vec<_>, _> = names.iter().map(|name| name.parse()).collect();
        forget(&repository, &names?)
    }

    fn collect(&self, attempt: &Attempt, is_patient: bool) -> Result<(), EngineError> {
        let repository = self.repository(attempt, Access::Keyless)?;
        let looks = if is_patient { 100_000 } else { 3 };
        let options = CollectOptions {
            expire_after: Some(Duration::from_millis(looks)),
            pause: Duration::ZERO,
            pack_size: PackSize::Fixed(self.pack_bytes),
            ..CollectOptions::default()
        };
        collect(&repository, &options, &Silent, &Cancel::new()).map(|_| ())
    }

    /// Reads all snapshots but those to skip; returns what is wrong with them.
    fn read(
        &self,
        attempt: &Attempt,
        skip: &BTreeSet<String>,
    ) -> Result<Option<String>, EngineError> {
        let repository = self.reader(attempt)?;
        let listed = repository.snapshots(None)?;
        if let Some((name, reason)) = listed.damaged.first() {
            return Ok(Some(format!("{name}: {reason}")));
        }
        let names: BTreeSet<_> = listed.found.iter().map(|s| s.name.to_string()).collect();
        let must = self.acknowledged.keys();
        for name in must.filter(|name| !self.forgotten.contains(*name)) {
            if !names.contains(name) {
                return Ok(Some(format!("the acknowledged {name} is gone")));
            }
        }
        let wanted = |snapshot: &&Snapshot| !skip.contains(snapshot.name.as_str());
        for snapshot in listed.found.iter().filter(wanted) {
            match self.compare(&repository, snapshot) {
                Ok(None) => {}
                Err(_) if self.forgotten.contains(snapshot.name.as_str()) => {}
                wrong => return wrong,
            }
        }
        Ok(None)
    }

    fn attempt_of(&self, snapshot: &Snapshot) -> Option<&Attempt> {
        let started = snapshot.clear.started;
        self.attempts
            .iter()
            .rev()
            .find(|attempt| attempt.starts <= started)
    }

    fn content(&self, action: &Action) -> Option<&Content> {
        match action {
            Action::Stream { number, .. } => Some(self.sources.stream_content(*number)),
            Action::Tree { number, .. } => Some(self.sources.tree_content(*number)),
            _ => None,
        }
    }

    /// Compares a snapshot with what it was made of.
    fn compare(
        &self,
        repository: &Repository,
        snapshot: &Snapshot,
    ) -> Result<Option<String>, EngineError> {
        let name = &snapshot.name;
        let made_of = self.attempt_of(snapshot);
        let Some(content) = made_of.and_then(|attempt| self.content(&attempt.action)) else {
            return Ok(Some(format!("nobody made {name}")));
        };
        if !snapshot.clear.complete {
            return Ok(Some(format!("{name} is not complete")));
        }
        let open = OpenSnapshot::open(repository, snapshot)?;
        let mut found = Content::new();
        for entry in open.entries()? {
            let entry = entry?;
            let mut bytes = Vec::new();
            open.write_content(&entry, &mut bytes)?;
            let is_file = !entry.kind.is_dir();
            found.insert(entry.path.as_bytes().to_vec(), is_file.then_some(bytes));
        }
        Ok((found != *content).then(|| format!("{name} holds something else than was backed up")))
    }

    /// Checks everything that must hold now, without a fault and before anything is repeated.
    pub(crate) fn check(&mut self, everything: bool) -> Result<(), String> {
        let level = if everything {
            Level::Full
        } else {
            // A disk that lies about bytes cannot make them hash to their names.
            Level::Packs
        };
        let attempt = self.attempt(Action::Read);
        let world = &*self;
        let check = move || world.check_all(&attempt, level);
        let pid = self.attempts.last().map_or(0, |attempt| attempt.pid);
        let checked = self.machine.run(vec![(pid, Box::new(check))]).pop();
        let found = match checked {
            Some(Ok(checked)) => checked?,
            _ => return Err("a check panicked".to_owned()),
        };
        for (name, action) in found {
            self.compared.insert(name.clone());
            // A snapshot that shows though its backup failed stays once the disk has it.
            if self.machine.is_durable(&dir_options().root.join(&name)) {
                self.acknowledged.insert(name, action);
            }
        }
        Ok(())
    }

    fn check_all(&self, attempt: &Attempt, level: Level) -> Result<Vec<(String, Action)>, String> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |error: EngineError| format!("{what} fails: {error}")
        };
        let repository = self.reader(attempt).map_err(failed("opening"))?;
        let report =
            verify(&repository, level, &Silent, &Cancel::new()).map_err(failed("verification"))?;
        if let Some(finding) = report.findings.first() {
            return Err(format!("verification finds: {finding}"));
        }
        if let Some(wrong) = self
            .read(attempt, &self.compared)
            .map_err(failed("a restore"))?
        {
            return Err(wrong);
        }
        let mut found = Vec::new();
        for snapshot in repository
            .snapshots(None)
            .map_err(failed("a listing"))?
            .found
        {
            let name = snapshot.name.to_string();
            let made = self.attempt_of(&snapshot);
            let made = made.ok_or_else(|| format!("nobody made {name}"))?;
            if self.refused.contains(&made.pid) {
                return Err(format!("{:?} failed and shows {name}", made.action));
            }
            if !self.forgotten.contains(&name) {
                found.push((name, made.action.clone()));
            }
        }
        Ok(found)
    }

    /// Checks that nothing is left of processes that are gone.
    pub(crate) fn check_leftovers(&mut self) -> Result<(), String> {
        let attempt = self.attempt(Action::Read);
        let disk = self.disk(&attempt);
        let look = move || {
            let root = dir_options().root;
            let mut left = Vec::new();
            for folder in ["sessions", "tmp"] {
                let items = disk.list(&root.join(folder)).map_err(|e| e.to_string())?;
                let items = items.into_iter().filter(|item| item.is_folder);
                left.extend(items.map(|item| format!("{folder}/{}", item.name)));
            }
            Ok::<_, String>(left)
        };
        let work: Box<dyn FnOnce() -> _ + Send> = Box::new(look);
        match self.machine.run(vec![(attempt.pid, work)]).pop() {
            Some(Ok(Ok(left))) if left.is_empty() => Ok(()),
            Some(Ok(Ok(left))) => Err(format!("left behind: {}", left.join(", "))),
            _ => Err("the leftovers cannot be listed".to_owned()),
        }
    }
}

fn dir_options() -> DirOptions {
    DirOptions {
        root: PathBuf::from(Path::new("/srv/backup/repository")),
        machine: MACHINE.to_owned(),
    }
}
