//! Makes the best of a damaged repository, without a key: what is good stays reachable, what
//! is damaged is set aside, and the next backup stores anew what was lost.
//!
//! The order matters, and is: read everything; put what is good of damaged packs into new
//! ones; put index segments; only then move damaged packs and manifests aside and remove
//! segments that were wrong. Nothing is deleted but segments, which follow from the packs. A
//! repair that was interrupted is finished by the next.

mod manifests;
mod needs;
mod packs;
mod segments;

use super::crypto::CryptoError;
use super::env::Cancel;
use super::error::EngineError;
use super::features::Deed;
use super::index::{Index, PackEntries};
use super::progress::Observer;
use super::repository::Repository;
use super::store::{SessionId, SessionKind, Store, StoreError};
use super::writer::ReadSession;

use self::manifests::Manifests;
use self::packs::Packs;
use self::segments::Claims;

/// Says how a repair is done.
#[derive(Debug, Clone, Copy, Default)]
pub struct RepairOptions {
    /// Whether only to say what would be done.
    pub dry_run: bool,
}

/// Describes a pack that is not what its name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedPack {
    /// Its name.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
    /// How many of its blobs are whole, and can be read with the right key.
    pub good: u64,
    /// How many of those were nowhere else, and are in a new pack now.
    pub salvaged: u64,
}

/// Describes a snapshot that lacks something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacking {
    /// The manifest's name.
    pub name: String,
    /// How many blobs it lacks, as far as its references can be read.
    pub blobs: u64,
    /// Whether references are among them, so that it may lack more.
    pub references: bool,
    /// With the reading key, the paths that cannot be restored; the first thousand.
    pub paths: Vec<String>,
    /// How many such paths there are.
    pub paths_total: u64,
}

/// Says what a repair found and did.
#[derive(Debug, Default)]
pub struct RepairReport {
    /// How many packs were read.
    pub packs: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// Packs that are not what their names say; they are set aside.
    pub damaged: Vec<DamagedPack>,
    /// Packs that the index names and that are not there.
    pub missing: Vec<String>,
    /// Files that could not be judged, and why; they stay where they are.
    pub unreadable: Vec<(String, String)>,
    /// Index segments that were wrong; they are replaced.
    pub segments: Vec<String>,
    /// How many packs no good segment named, or not rightly.
    pub indexed: u64,
    /// Manifests that make no sense, and why; they are set aside.
    pub manifests: Vec<(String, String)>,
    /// How many snapshots were looked at.
    pub snapshots: u64,
    /// Snapshots that lack something.
    pub lacking: Vec<Lacking>,
}

impl RepairReport {
    /// Tells whether nothing was wrong.
    pub fn is_clean(&self) -> bool {
        self.damaged.is_empty()
            && self.missing.is_empty()
            && self.unreadable.is_empty()
            && self.segments.is_empty()
            && self.is_whole()
    }

    /// Tells whether no snapshot lacks anything, as far as could be read.
    pub fn is_whole(&self) -> bool {
        self.manifests.is_empty() && self.lacking.is_empty()
    }
}

/// Repairs a repository; with the reading key the report names the files that are lost.
///
/// Running it again goes on where an earlier one was interrupted.
pub fn repair(
    repository: &Repository,
    options: RepairOptions,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<RepairReport, EngineError> {
    let deed = if options.dry_run {
        Deed::Read
    } else {
        Deed::Collect
    };
    repository.marker.check(deed)?;
    if options.dry_run {
        let _reading = ReadSession::open(repository)?;
        return Repair::new(repository, options, observer, cancel).run();
    }
    let session = SessionId::new(repository.env.random().map_err(CryptoError::Entropy)?);
    let store = &*repository.store;
    store.open_session(&session, SessionKind::Collect)?;
    let repaired =
        no_writers(store).and_then(|()| Repair::new(repository, options, observer, cancel).run());
    let closed = store.close_session(&session);
    let report = repaired?;
    closed?;
    Ok(report)
}

/// Refuses to work while writers are at work that may have begun to replace segments.
///
/// Those that begin later see that somebody collects or repairs, and leave segments alone.
fn no_writers(store: &dyn Store) -> Result<(), EngineError> {
    let open = store.list_sessions()?;
    let writers = open.iter().filter(|open| open.kind == SessionKind::Write);
    match writers.count() {
        0 => Ok(()),
        writers => Err(EngineError::Busy { writers }),
    }
}

struct Repair<'a> {
    repository: &'a Repository,
    store: &'a dyn Store,
    options: RepairOptions,
    observer: &'a dyn Observer,
    cancel: &'a Cancel,
    report: RepairReport,
}

impl<'a> Repair<'a> {
    fn new(
        repository: &'a Repository,
        options: RepairOptions,
        observer: &'a dyn Observer,
        cancel: &'a Cancel,
    ) -> Self {
        Self {
            repository,
            store: &*repository.store,
            options,
            observer,
            cancel,
            report: RepairReport::default(),
        }
    }

    fn run(mut self) -> Result<RepairReport, EngineError> {
        // Snapshots are read before packs: what is added meanwhile is then no loss.
        let manifests = Manifests::read(&mut self)?;
        let claims = Claims::read(&mut self)?;
        let mut packs = Packs::scan(&mut self, &claims, manifests.sessions())?;
        let mut index = Index::new();
        let kept = claims.judge(&mut self, &packs, &mut index)?;
        packs.add_to(&mut index);
        packs.salvage(&mut self, &mut index)?;
        if !self.options.dry_run {
            let fresh: Vec<PackEntries> = packs.take_unnamed().into_iter().chain(kept).collect();
            self.replace(&fresh, &packs, &manifests)?;
        }
        self.find_lacking(&manifests, &index)?;
        Ok(self.report)
    }

    /// Names packs in new segments, and only then moves away what is damaged or wrong.
    fn replace(
        &mut self,
        unnamed: &[PackEntries],
        packs: &Packs,
        manifests: &Manifests,
    ) -> Result<(), EngineError> {
        self.check_cancel()?;
        let new = super::index::put_segments(self.store, unnamed)?;
        packs.set_aside(self)?;
        manifests.set_aside(self)?;
        for name in &self.report.segments {
            let name = name.parse()?;
            if !new.contains(&name) {
                self.store.remove(&name)?;
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

    /// Notes a file that cannot be read; none if it is gone.
    ///
    /// That the store as a whole is gone is an error: nothing is judged by what it withholds.
    fn readable<T>(
        &mut self,
        name: &super::store::StoreName,
        read: Result<T, StoreError>,
    ) -> Result<Read<T>, EngineError> {
        match read {
            Ok(value) => Ok(Read::There(value)),
            Err(error) if error.is_not_found() => Ok(Read::Gone),
            Err(error @ StoreError::Closed { .. }) => Err(error.into()),
            Err(error) => {
                let unreadable = (name.to_string(), error.to_string());
                self.report.unreadable.push(unreadable);
                Ok(Read::Withheld)
            }
        }
    }
}

/// Is what became of an attempt to read a file.
enum Read<T> {
    There(T),
    /// Somebody removed it since it was listed.
    Gone,
    /// It is there and the store cannot read it now.
    Withheld,
}
