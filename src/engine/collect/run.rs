//! The steps of a collection, in their order.

use std::collections::HashSet;

use super::plan::{Plan, plan};
use super::survey::{Sizes, Survey, roots, sizes};
use super::{CollectOptions, CollectReport};
use crate::engine::crypto::CryptoError;
use crate::engine::env::{Cancel, Env};
use crate::engine::error::EngineError;
use crate::engine::features::Deed;
use crate::engine::index::{Index, PackEntries, PackInfo};
use crate::engine::progress::{Event, Observer};
use crate::engine::repository::{Repository, load_index, scan_pack};
use crate::engine::store::{Folder, SessionId, SessionKind, Store, StoreError, StoreName};

/// Deletes what no snapshot needs. Needs no key; backups, restores and copies may run beside it.
///
/// A manifest or a list of references that cannot be read ends it with
/// [`EngineError::Uncollectable`] before anything is deleted.
pub fn collect(
    repository: &Repository,
    options: &CollectOptions,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<CollectReport, EngineError> {
    let store = &*repository.store;
    let env = &repository.env;
    let (deed, kind) = if options.dry_run {
        (Deed::Read, SessionKind::Read)
    } else {
        (Deed::Collect, SessionKind::Collect)
    };
    repository.marker.check(deed)?;
    let session = SessionId::new(env.random().map_err(CryptoError::Entropy)?);
    store.open_session(&session, kind)?;
    let collection = Collection {
        store,
        env,
        options,
        observer,
        cancel,
        session,
        found: Vec::new(),
        report: CollectReport::default(),
    };
    let collected = collection.run();
    let closed = store.close_session(&session);
    let report = collected?;
    closed?;
    Ok(report)
}

/// Is one collection at work.
pub(super) struct Collection<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) env: &'a Env,
    pub(super) options: &'a CollectOptions,
    pub(super) observer: &'a dyn Observer,
    pub(super) cancel: &'a Cancel,
    pub(super) session: SessionId,
    /// Packs that no segment names, as they were found at the start.
    found: Vec<PackEntries>,
    pub(super) report: CollectReport,
}

impl Collection<'_> {
    fn run(mut self) -> Result<CollectReport, EngineError> {
        // What an interrupted collection condemned; its lists go when this one is done.
        let old_lists = self.store.list(Folder::Gc)?;
        let survey = self.survey(None)?;
        let plan = plan(&survey.packs, self.options.max_repack);
        self.describe(&survey, &plan);
        if self.options.dry_run {
            self.foresee(&survey, &plan);
            return Ok(self.report);
        }
        let moved = self.repack(&survey, &plan.repack)?;
        self.report.repacked_packs = moved.len() as u64;
        self.postpone(&survey, &plan, &moved);
        let condemned: HashSet<[u8; 32]> = plan
            .dead
            .iter()
            .chain(&moved)
            .map(|number| survey.index.packs()[*number].hash)
            .collect();
        if condemned.is_empty() && old_lists.is_empty() && survey.stale.is_empty() {
            return Ok(self.report);
        }
        drop(survey);
        let list = self.condemn(&condemned)?;
        let waited = self.wait_for_sessions();
        let survey = match waited.and_then(|()| self.survey(Some(&condemned))) {
            Ok(survey) => survey,
            Err(error) => {
                // Nothing was deleted, so writers may use all of it again. If this fails, the
                // next collection does it.
                drop(self.store.remove(&list));
                return Err(error);
            }
        };
        // A snapshot whose removal did not last would come back without its packs.
        self.store.settle_removals(Folder::Snapshots)?;
        let mut gone = self.delete(&survey, &condemned)?;
        gone.extend(&survey.stale);
        drop(survey);
        self.leave_out(&gone)?;
        for name in old_lists.iter().map(|file| &file.name).chain([&list]) {
            self.store.remove(name)?;
        }
        Ok(self.report)
    }

    /// Marks what snapshots need: the first time, or again with what was condemned meanwhile.
    fn survey(&mut self, going: Option<&HashSet<[u8; 32]>>) -> Result<Survey, EngineError> {
        // In this order all that a listed snapshot needs is there to be found.
        let roots = roots(self.store)?;
        let (mut index, _) = load_index(self.store)?;
        let sizes = sizes(self.store)?;
        if going.is_none() {
            self.find_unindexed(&index, &sizes)?;
        }
        for pack in &self.found {
            index.add(pack);
        }
        index.sort();
        let mut survey = Survey::make(self.store, &roots, index, &sizes, self.cancel)?;
        let none = HashSet::new();
        survey.find_spares(self.store, going.unwrap_or(&none), self.cancel)?;
        Ok(survey)
    }

    /// Reads the packs that no segment names: rests of interrupted backups, or of a lost index.
    fn find_unindexed(&mut self, index: &Index, sizes: &Sizes) -> Result<(), EngineError> {
        let named: HashSet<(bool, [u8; 32])> = index
            .packs()
            .iter()
            .map(|pack| (pack.is_data, pack.hash))
            .collect();
        let mut unknown: Vec<_> = sizes
            .iter()
            .filter(|(key, _)| !named.contains(*key))
            .collect();
        unknown.sort_unstable();
        for ((is_data, hash), size) in unknown {
            self.check_cancel()?;
            let pack = PackInfo {
                hash: *hash,
                size: *size,
                is_data: *is_data,
            };
            let scanned = scan_pack(self.store, &pack.name()).and_then(|entries| {
                // Others may be deleted because of what it holds, so it has to last.
                self.store.settle(&pack.name())?;
                Ok(entries)
            });
            let entries = self.or_leave(&pack.name(), scanned)?;
            self.found.extend(entries);
            self.observer.event(Event::Checked { bytes: *size });
        }
        Ok(())
    }

    /// Reports what is there.
    fn describe(&mut self, survey: &Survey, plan: &Plan) {
        let report = &mut self.report;
        report.snapshots = survey.snapshots;
        report.lost = survey.lost.len() as u64;
        for pack in survey.packs.iter().filter(|pack| pack.size.is_some()) {
            report.packs += 1;
            report.bytes += pack.size.unwrap_or(0);
            report.live_bytes += pack.live;
            report.dead_bytes += pack.dead;
        }
        let size = |number: &usize| survey.packs[*number].size.unwrap_or(0);
        let bytes = plan.repack.iter().map(size).sum();
        self.observer.event(Event::Expected { bytes });
    }

    /// Reports what would be done.
    fn foresee(&mut self, survey: &Survey, plan: &Plan) {
        for number in plan.dead.iter().chain(&plan.repack) {
            self.report.deleted_packs += 1;
            self.report.deleted_bytes += survey.packs[*number].size.unwrap_or(0);
        }
        for number in &plan.repack {
            self.report.repacked_packs += 1;
            self.report.written_bytes += survey.packs[*number].live;
        }
        self.postpone(survey, plan, &plan.repack);
    }

    /// Reports what is left for another collection.
    fn postpone(&mut self, survey: &Survey, plan: &Plan, moved: &[usize]) {
        let moved: HashSet<&usize> = moved.iter().collect();
        let left = plan.postponed.iter().chain(&plan.repack);
        for number in left.filter(|number| !moved.contains(number)) {
            self.report.postponed_packs += 1;
            self.report.postponed_bytes += survey.packs[*number].dead;
        }
    }

    /// Reports a pack that is left alone.
    pub(super) fn leave(&mut self, name: &StoreName, reason: &str) {
        self.report
            .doubtful
            .push((name.to_string(), reason.to_owned()));
    }

    /// Leaves a pack alone that cannot be read; that the store is gone stays an error.
    pub(super) fn or_leave<T>(
        &mut self,
        name: &StoreName,
        read: Result<T, EngineError>,
    ) -> Result<Option<T>, EngineError> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(EngineError::Damaged { reason, .. }) => {
                self.leave(name, &reason);
                Ok(None)
            }
            Err(EngineError::Store(error)) if !matches!(error, StoreError::Closed { .. }) => {
                self.leave(name, &error.to_string());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn check_cancel(&self) -> Result<(), EngineError> {
        if self.cancel.is_cancelled() {
            Err(EngineError::Cancelled)
        } else {
            Ok(())
        }
    }
}
