//! Checks a repository: its structure, its packs' hashes, and with a key everything.
//!
//! Nothing is repaired. A problem is a finding with the file's name; that the store itself
//! fails is an error. Which packs were read and when is kept in a ledger, so that a
//! verification with a budget goes on where the last one ended.

mod ledger;
mod packs;
mod snapshots;

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::crypto::ReadingKey;
use super::env::Cancel;
use super::error::EngineError;
use super::hex;
use super::index::{Index, PackInfo};
use super::progress::Observer;
use super::repository::{Repository, condemned, scan_pack};
use super::slots::slots;
use super::store::{Folder, Listed, Receipt, Store, StoreError, StoreName};
use super::writer::ReadSession;

/// How many findings are named.
const FINDINGS_MAX: usize = 10_000;

/// Says how much is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Names, sizes, references; no pack is read.
    Structure,
    /// Also every byte of every pack, by hash and without a key.
    Packs,
    /// Also every blob and every tree, with the reading key.
    Full,
}

/// Says how much a verification may read before it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// So many nanoseconds of the clock.
    Time(u64),
    /// So many bytes of packs.
    Bytes(u64),
}

/// Says what to check, and how far.
#[derive(Debug, Clone, Copy)]
pub struct VerifyOptions {
    /// How much is checked.
    pub level: Level,
    /// Where to end; the packs that were not checked for longest come first. With a budget,
    /// snapshots are checked for what they need and their trees are not walked.
    pub budget: Option<Budget>,
    /// What counts as checked lately, in nanoseconds.
    pub lately: u64,
}

impl VerifyOptions {
    /// Returns the options to check everything at a level; thirty days are lately.
    pub fn new(level: Level) -> Self {
        Self {
            level,
            budget: None,
            lately: 30 * 86_400 * 1_000_000_000,
        }
    }
}

/// Says how many packs the ledger knows to be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Coverage {
    /// How many packs there are.
    pub packs: u64,
    /// How many of them were found intact lately, at this level or a deeper one.
    pub lately: u64,
    /// How many were never checked so.
    pub never: u64,
}

/// Says what is wrong with a file of the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The index names it and it is not there.
    Missing,
    /// It has another length than the index says.
    Size {
        /// What the index says.
        expected: u64,
        /// What it has.
        found: u64,
    },
    /// Its bytes do not hash to its name.
    Hash,
    /// It was changed, in the words of a reader that holds the key.
    Forged(String),
    /// It makes no sense.
    Form(String),
    /// A snapshot needs a blob that is nowhere intact.
    Needs {
        /// The blob's id.
        id: [u8; 32],
    },
    /// The store could not read it.
    Unreadable(String),
}

/// Is one thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file in the repository.
    pub name: String,
    /// What is wrong with it.
    pub problem: Problem,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.problem {
            Problem::Missing => write!(out, "{name} is missing"),
            Problem::Size { expected, found } => {
                write!(out, "{name} has {found} bytes instead of {expected}")
            }
            Problem::Hash => write!(out, "{name} has changed: its bytes do not fit its name"),
            Problem::Forged(reason) | Problem::Form(reason) => write!(out, "{name}: {reason}"),
            Problem::Needs { id } => {
                write!(
                    out,
                    "{name} needs chunk {}, which is lost",
                    hex::encode(&id[..8])
                )
            }
            Problem::Unreadable(reason) => write!(out, "{name} cannot be read: {reason}"),
        }
    }
}

/// Says what a verification found.
#[derive(Debug, Default)]
pub struct VerifyReport {
    /// What is wrong; the first ten thousand.
    pub findings: Vec<Finding>,
    /// How many findings there are.
    pub total: u64,
    /// How many snapshots were checked.
    pub snapshots: u64,
    /// How many packs were checked.
    pub packs: u64,
    /// How many bytes of packs were read.
    pub bytes: u64,
    /// How many packs were read.
    pub read: u64,
    /// Packs that no index segment names: harmless rests of interrupted backups.
    pub unindexed: u64,
    /// How many packs are known to be checked, where packs were read.
    pub coverage: Option<Coverage>,
    /// Why the ledger could not be written; the next verification with a budget starts again.
    pub forgotten: Option<String>,
}

impl VerifyReport {
    /// Tells whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.total == 0
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers pass names and texts alike"
    )]
    fn add(&mut self, name: impl ToString, problem: Problem) {
        self.total += 1;
        if self.findings.len() < FINDINGS_MAX {
            let name = name.to_string();
            self.findings.push(Finding { name, problem });
        }
    }
}

/// Checks all of a repository at a level; [`Level::Full`] needs the reading key.
pub fn verify(
    repository: &Repository,
    level: Level,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<VerifyReport, EngineError> {
    verify_with(repository, &VerifyOptions::new(level), observer, cancel)
}

/// Tells whether bytes are a record of what was verified, for those who fuzz its decoder.
pub(crate) fn is_ledger(bytes: &[u8]) -> bool {
    ledger::decode(bytes).is_some()
}

/// Checks a repository as far as the options say; [`Level::Full`] needs the reading key.
pub fn verify_with(
    repository: &Repository,
    options: &VerifyOptions,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<VerifyReport, EngineError> {
    let key = match options.level {
        Level::Full => Some(repository.require_reading_key("verify everything")?),
        _ => repository.reading_key(),
    };
    let _session = ReadSession::open(repository)?;
    let mut verification = Verification {
        repository,
        store: &*repository.store,
        key,
        observer,
        cancel,
        index: Index::new(),
        absent: HashSet::new(),
        condemned: condemned(&*repository.store)?,
        counts: HashMap::new(),
        bad_packs: HashSet::new(),
        bad_blobs: HashSet::new(),
        report: VerifyReport::default(),
    };
    verification.run(options)?;
    Ok(verification.report)
}

struct Verification<'a> {
    repository: &'a Repository,
    store: &'a dyn Store,
    key: Option<&'a ReadingKey>,
    observer: &'a dyn Observer,
    cancel: &'a Cancel,
    index: Index,
    /// Packs that the index names and that are not there.
    absent: HashSet<[u8; 32]>,
    /// Packs that a collection may delete meanwhile.
    condemned: HashSet<[u8; 32]>,
    /// How many blobs the index places in each pack.
    counts: HashMap<[u8; 32], usize>,
    /// Packs that are missing, have the wrong length or cannot be taken apart.
    bad_packs: HashSet<[u8; 32]>,
    /// Blobs with their pack that are damaged within a pack that can be taken apart.
    bad_blobs: HashSet<([u8; 32], [u8; 32])>,
    report: VerifyReport,
}

impl Verification<'_> {
    fn run(&mut self, options: &VerifyOptions) -> Result<(), EngineError> {
        // Snapshots are listed first: what is added to the index later does no harm.
        let listed = self.repository.snapshots(None)?;
        self.read_index()?;
        let packs = self.check_packs()?;
        if options.level >= Level::Packs {
            self.read_packs(packs, options)?;
        }
        let depth = match options.budget {
            Some(_) => Level::Structure,
            None => options.level,
        };
        self.check_snapshots(listed, depth)?;
        self.check_receipts()?;
        self.check_slots()?;
        self.check_recovery()
    }

    /// Checks that every key slot is whole; whether a passphrase opens it takes the passphrase.
    fn check_slots(&mut self) -> Result<(), EngineError> {
        for slot in slots(self.store)? {
            if let Err(reason) = slot.state {
                self.report.add(&slot.name, Problem::Form(reason));
            }
        }
        Ok(())
    }

    /// Checks files whose names hold their hash.
    fn check_recovery(&mut self) -> Result<(), EngineError> {
        for file in self.store.list(Folder::Recovery)? {
            if file.name.content_hash().is_none() {
                continue;
            }
            match self.store.get(&file.name) {
                Ok(bytes) if file.name.check_bytes(&bytes).is_ok() => {}
                Ok(_) => self.report.add(&file.name, Problem::Hash),
                Err(error) => self.store_failed(&file.name, error)?,
            }
        }
        Ok(())
    }

    fn check_cancel(&self) -> Result<(), EngineError> {
        if self.cancel.is_cancelled() {
            Err(EngineError::Cancelled)
        } else {
            Ok(())
        }
    }

    fn read_index(&mut self) -> Result<(), EngineError> {
        let (index, damaged) = self.repository.load_index()?;
        self.index = index;
        for (name, reason) in damaged {
            self.report.add(name, Problem::Form(reason));
        }
        Ok(())
    }

    /// Compares the packs that are there with those the index names; returns the ones to read.
    fn check_packs(&mut self) -> Result<Vec<PackInfo>, EngineError> {
        let mut there = HashMap::new();
        for folder in [Folder::Packs, Folder::Meta] {
            for file in self.store.list(folder)? {
                if let Some(hash) = file.name.content_hash() {
                    there.insert((folder == Folder::Packs, hash), file);
                }
            }
        }
        let mut packs = Vec::new();
        for pack in self.index.packs().to_vec() {
            self.report.packs += 1;
            let problem = match there.remove(&(pack.is_data, pack.hash)) {
                None => {
                    self.bad_packs.insert(pack.hash);
                    self.absent.insert(pack.hash);
                    continue;
                }
                Some(file) if file.size != pack.size => Problem::Size {
                    expected: pack.size,
                    found: file.size,
                },
                Some(_) => {
                    packs.push(pack);
                    continue;
                }
            };
            self.bad_packs.insert(pack.hash);
            self.report.add(pack.name(), problem);
        }
        for file in there.into_values() {
            self.report.packs += 1;
            self.report.unindexed += 1;
            match scan_pack(self.store, &file.name) {
                Ok(entries) => {
                    packs.push(PackInfo {
                        hash: entries.hash,
                        size: entries.size,
                        is_data: entries.is_data,
                    });
                    self.index.add(&entries);
                }
                Err(EngineError::Damaged { name, reason }) => {
                    self.report.add(name, Problem::Form(reason));
                }
                // A collection deleted it.
                Err(EngineError::Store(error))
                    if error.is_not_found() && self.is_condemned(&file.name) => {}
                Err(EngineError::Store(error)) => self.store_failed(&file.name, error)?,
                Err(error) => return Err(error),
            }
        }
        self.index.sort();
        self.counts = self.index.counts();
        Ok(packs)
    }

    /// Tells whether a collection may delete a pack meanwhile, which is no finding.
    fn is_condemned(&self, name: &StoreName) -> bool {
        let hash = name.content_hash();
        hash.is_some_and(|hash| self.condemned.contains(&hash))
    }

    /// Reports a file that cannot be read, unless the store as a whole is gone.
    fn store_failed(&mut self, name: &StoreName, error: StoreError) -> Result<(), EngineError> {
        match error {
            StoreError::Closed { .. } => Err(error.into()),
            error => {
                self.report
                    .add(name, Problem::Unreadable(error.to_string()));
                Ok(())
            }
        }
    }

    /// Tells whether a blob is in some pack that is not known to be bad.
    fn is_intact(&self, id: &[u8; 32]) -> bool {
        self.index.find(id).any(|(_, pack)| {
            !self.bad_packs.contains(&pack.hash) && !self.bad_blobs.contains(&(pack.hash, *id))
        })
    }

    /// Checks that no receipt was changed, taken out or moved.
    fn check_receipts(&mut self) -> Result<(), EngineError> {
        let mut last: Option<(Receipt, [u8; 32])> = None;
        let mut received = HashSet::new();
        for file in self.store.list(Folder::Receipts)? {
            let name = file.name;
            let bytes = match self.store.get(&name) {
                Ok(bytes) => bytes,
                Err(error) => {
                    self.store_failed(&name, error)?;
                    continue;
                }
            };
            let receipt = match Receipt::decode(&bytes) {
                Ok(receipt) if receipt.name().ok().as_ref() == Some(&name) => receipt,
                _ => {
                    self.report.add(
                        &name,
                        Problem::Form("it is no receipt of its name".to_owned()),
                    );
                    continue;
                }
            };
            if !follows(last.as_ref(), &receipt) {
                let reason = "it does not follow the receipt before it".to_owned();
                self.report.add(&name, Problem::Forged(reason));
            }
            received.insert((receipt.snapshot.clone(), receipt.manifest.clone()));
            last = Some((receipt, *blake3::hash(&bytes).as_bytes()));
        }
        self.check_received(&received)
    }

    /// Checks that every snapshot has a receipt, which is stored before a snapshot shows.
    fn check_received(&mut self, received: &HashSet<(String, String)>) -> Result<(), EngineError> {
        for Listed { name, .. } in self.store.list(Folder::Snapshots)? {
            let bytes = match self.store.get(&name) {
                // Forgotten between the listing and now.
                Err(error) if error.is_not_found() => continue,
                Err(error) => {
                    self.store_failed(&name, error)?;
                    continue;
                }
                Ok(bytes) => bytes,
            };
            let manifest = blake3::hash(&bytes).to_hex().to_string();
            if !received.contains(&(name.to_string(), manifest)) {
                let reason = "no receipt says when it was received".to_owned();
                self.report.add(&name, Problem::Form(reason));
            }
        }
        Ok(())
    }
}

fn follows(last: Option<&(Receipt, [u8; 32])>, receipt: &Receipt) -> bool {
    match last.filter(|(last, _)| last.chain == receipt.chain) {
        Some((last, hash)) => {
            receipt.number == last.number + 1 && receipt.previous == hex::encode(hash)
        }
        None => receipt.number == 1,
    }
}
