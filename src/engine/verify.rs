//! Checks a repository: its structure, its packs' hashes, and with a key everything.
//!
//! Nothing is repaired or changed. A problem is a finding with the file's name; that the store
//! itself fails is an error.

mod snapshots;

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::crypto::{ReadingKey, SessionKey, WriterKey};
use super::env::Cancel;
use super::error::EngineError;
use super::hex;
use super::index::{Index, PackEntries, PackInfo, Place};
use super::manifest::codec;
use super::pack::{BlobKind, Header, PackView};
use super::progress::{Event, Observer};
use super::repository::{Repository, condemned, scan_pack};
use super::slots::slots;
use super::store::{Folder, Receipt, Store, StoreError, StoreName};
use super::writer::ReadSession;

/// How many findings are named.
const FINDINGS_MAX: usize = 10_000;

/// Says how much is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Names, sizes, references; no pack is read.
    Structure,
    /// Also every byte of every pack, by hash and without a key.
    Packs,
    /// Also every blob and every tree, with the reading key.
    Full,
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
    /// Packs that no index segment names: harmless rests of interrupted backups.
    pub unindexed: u64,
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

/// Checks a repository; [`Level::Full`] needs the reading key.
pub fn verify(
    repository: &Repository,
    level: Level,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<VerifyReport, EngineError> {
    let key = match level {
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
    verification.run(level)?;
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
    fn run(&mut self, level: Level) -> Result<(), EngineError> {
        // Snapshots are listed first: what is added to the index later does no harm.
        let listed = self.repository.snapshots(None)?;
        self.read_index()?;
        let packs = self.check_packs()?;
        if level >= Level::Packs {
            let bytes = packs.iter().map(|pack| pack.size).sum();
            self.observer.event(Event::Expected { bytes });
            for pack in packs {
                self.check_cancel()?;
                self.check_pack(&pack, level)?;
            }
        }
        self.check_snapshots(listed, level)?;
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

    fn check_pack(&mut self, pack: &PackInfo, level: Level) -> Result<(), EngineError> {
        let name = pack.name();
        let bytes = match self.store.get(&name) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() && self.is_condemned(&name) => {
                self.bad_packs.insert(pack.hash);
                return Ok(());
            }
            Err(error) => {
                self.bad_packs.insert(pack.hash);
                return self.store_failed(&name, error);
            }
        };
        self.report.bytes += bytes.len() as u64;
        self.observer.event(Event::Checked {
            bytes: bytes.len() as u64,
        });
        let intact = name.check_bytes(&bytes).is_ok();
        if !intact {
            self.report.add(&name, Problem::Hash);
        }
        let view = match PackView::parse(&bytes) {
            Ok(view) => view,
            Err(error) => {
                if intact {
                    self.report.add(&name, Problem::Form(error.to_string()));
                }
                self.bad_packs.insert(pack.hash);
                return Ok(());
            }
        };
        for (header, _, payload) in &view.blobs {
            if header.hash_with(payload) != header.hash {
                self.bad_blobs.insert((pack.hash, header.id));
            }
        }
        self.compare_with_index(pack, &view.entries(pack.is_data));
        match (level, self.key) {
            (Level::Full, Some(key)) => self.open_blobs(pack, &view, key),
            _ => Ok(()),
        }
    }

    /// Checks that the index says of a pack what is in it.
    fn compare_with_index(&mut self, pack: &PackInfo, found: &PackEntries) {
        let agrees = |place: &&Place| {
            let mut places = self.index.find(&place.id);
            places.any(|(known, info)| info.hash == pack.hash && known == **place)
        };
        let agreeing = found.places.iter().filter(agrees).count();
        if self.counts.get(&pack.hash) == Some(&agreeing) {
            return;
        }
        let there: HashSet<_> = found.places.iter().collect();
        let wrong: Vec<[u8; 32]> = self
            .index
            .places()
            .filter(|(place, info)| info.hash == pack.hash && !there.contains(place))
            .map(|(place, _)| place.id)
            .collect();
        if !wrong.is_empty() {
            let reason = format!("the index places {} chunks in it wrongly", wrong.len());
            self.report.add(pack.name(), Problem::Form(reason));
        }
        self.bad_blobs
            .extend(wrong.into_iter().map(|id| (pack.hash, id)));
    }

    /// Opens every blob of a pack and checks its keyed id.
    fn open_blobs(
        &mut self,
        pack: &PackInfo,
        view: &PackView<'_>,
        key: &ReadingKey,
    ) -> Result<(), EngineError> {
        let mut codec = codec()?;
        let mut sessions: HashMap<[u8; 16], (SessionKey, WriterKey)> = HashMap::new();
        for sealed in &view.sessions {
            if let (Ok(session), Ok(writer)) = (sealed.open(key), key.writer(&sealed.label)) {
                sessions.insert(sealed.id, (session, writer));
            } else {
                let reason = "a session's key in it cannot be opened".to_owned();
                self.report.add(pack.name(), Problem::Forged(reason));
            }
        }
        let mut forged = 0_u64;
        for (header, _, payload) in &view.blobs {
            // References are in the clear; they are checked from their snapshot.
            if header.cipher.is_none() {
                continue;
            }
            let opened = sessions
                .get(&header.session)
                .is_some_and(|(session, writer)| {
                    let plain = header.open(payload, Some(session), &mut codec);
                    plain.is_ok_and(|plain| is_id_of(writer, header, &plain))
                });
            if !opened && self.bad_blobs.insert((pack.hash, header.id)) {
                forged += 1;
            }
        }
        if forged > 0 {
            let reason = format!("{forged} chunks in it are not what they claim to be");
            self.report.add(pack.name(), Problem::Forged(reason));
        }
        Ok(())
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
            last = Some((receipt, *blake3::hash(&bytes).as_bytes()));
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

fn is_id_of(writer: &WriterKey, header: &Header, plain: &[u8]) -> bool {
    let plausible = header.kind != BlobKind::Refs;
    plausible && writer.id(header.kind as u8, plain) == header.id
}
