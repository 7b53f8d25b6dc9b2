//! What a machine remembers from one backup to the next, if it may.

use super::cache::{CacheError, CacheWriter, Place, Scope};
use super::previous::{Previous, PreviousSnapshot};
use super::{BackupOptions, CacheOptions, Start};
use crate::engine::repository::Repository;
use crate::engine::writer::Writer;

/// Is what this machine remembers of earlier backups and will of this one.
#[derive(Default)]
pub(super) struct Remembered {
    place: Option<Place>,
    /// Where this backup writes what the next one begins with.
    pub(super) cache: Option<CacheWriter>,
    warnings: Vec<String>,
}

impl Remembered {
    /// Opens the cache; without one the backup goes on all the same.
    pub(super) fn open(
        repository: &Repository,
        options: &BackupOptions,
        writer: &Writer<'_>,
        start: &Start,
    ) -> Self {
        let mut remembered = Self::default();
        if let Some(cache) = &options.cache
            && let Err(error) = remembered.try_open(cache, repository, options, writer, start)
        {
            remembered.warn(&error);
        }
        remembered
    }

    fn try_open(
        &mut self,
        cache: &CacheOptions,
        repository: &Repository,
        options: &BackupOptions,
        writer: &Writer<'_>,
        start: &Start,
    ) -> Result<(), CacheError> {
        let scope = Scope {
            writer: writer.key().clone(),
            repository: repository.marker.repository.clone(),
            source: options.source.clone(),
            machine: options.machine.clone(),
        };
        let place = self.place.insert(Place::open(&cache.folder, scope)?);
        let env = &repository.env;
        let writer = place.create(env, start.started, start.snapshot, cache.bytes_max)?;
        self.cache = Some(writer);
        Ok(())
    }

    /// Returns what earlier backups found, unless everything is to be read.
    pub(super) fn previous(&self, repository: &Repository, options: &BackupOptions) -> Previous {
        if options.read_all {
            return Previous::default();
        }
        let place = self.place.as_ref();
        let complete = place.and_then(Place::complete);
        let snapshot = match complete {
            Some(_) => None,
            None => PreviousSnapshot::open(repository, options),
        };
        Previous {
            interrupted: place.and_then(Place::interrupted),
            complete,
            snapshot,
        }
    }

    /// Ends the cache of a backup whose snapshot is there, and returns what went wrong.
    pub(super) fn finish(mut self) -> Vec<String> {
        if let Some(Err(error)) = self.cache.take().map(CacheWriter::finish) {
            self.warn(&error);
        }
        self.warnings
    }

    fn warn(&mut self, error: &CacheError) {
        let cause = std::error::Error::source(error);
        let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
        self.warnings.push(format!(
            "the next backup of this source may read files again that did not change: {error}{cause}"
        ));
    }
}
