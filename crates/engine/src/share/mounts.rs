//! Cache mounts that travel along with a cache: each is an archive, as `bld cache export` writes it.
//!
//! One comes back when a step is about to run that has it, and only where there is none: what is here is
//! never replaced, and a build in which nothing runs brings none.

use std::collections::HashSet;
use std::sync::Arc;

use bld_cache::Mount;
use bld_event::{EventKind, Task, VertexId};
use bld_layer::Compression;
use bld_oci::Digest;
use bld_store::{CacheName, LayerSource, Lease, StoreError};

use super::Bringer;
use super::export::Exporter;
use super::import::Imported;
use crate::caches::{Cache, WhenBusy, put_archive};
use crate::error::in_one_line;
use crate::{EngineError, Result};

/// The level of zstd for archives: what took long to come by is worth it, what is large goes fast.
const LEVEL: i32 = 3;

/// A cache mount that others have.
#[derive(Debug)]
pub(crate) struct OfferedMount {
    mount: Mount,
    source: LayerSource,
}

impl Bringer {
    /// With the cache mounts of `caches`; the first that has one counts.
    pub(crate) fn offering(mut self, caches: &[Arc<Imported>]) -> Self {
        let mounts = caches.iter().flat_map(|cache| {
            cache.cache.mounts.iter().map(|mount| OfferedMount {
                mount: mount.clone(),
                source: LayerSource { blob: mount.blob(), place: cache.place.to_text() },
            })
        });
        self.mounts = Arc::new(mounts.collect());
        self
    }

    fn offered(&self, name: &CacheName) -> Option<&OfferedMount> {
        self.mounts.iter().find(|offered| offered.mount.name == *name)
    }

    /// Makes the cache mount of this name of what others have; whether that was done.
    pub(super) fn bring_mount(&self, name: &CacheName, vertex: VertexId) -> bool {
        let Some(offered) = self.offered(name) else { return false };
        let brought = self.fetch_mount(&offered.mount.blob, vertex).and_then(|()| {
            put_archive(&self.store, name, self.store.open_blob(&offered.mount.blob)?)
        });
        if let Err(error) = &brought {
            let why = in_one_line(error);
            let message = format!("the cache mount {} begins empty: {why}", name.id);
            self.events.emit(vertex, EventKind::Warning { message, url: None });
        }
        brought.is_ok()
    }

    /// Brings the archive of a cache mount into the store.
    pub(super) fn fetch_mount(&self, digest: &Digest, vertex: VertexId) -> Result<()> {
        if self.store.has_blob(digest) {
            return Ok(());
        }
        let offered = self.mounts.iter().find(|offered| offered.mount.blob == *digest);
        let offered = offered.ok_or(StoreError::MissingBlob { digest: *digest })?;
        self.net.block_on(&self.stop, self.fetch(&offered.source, vertex, None))?
    }
}

impl Exporter<'_> {
    /// The cache mounts of all steps, with their archives in the store; or where they came from, for
    /// those that nothing has needed here.
    pub(super) fn mounts(&self, held: &Lease, task: &Task) -> Result<Vec<Mount>> {
        let here = self.engine.caches()?;
        let mut seen = HashSet::new();
        let names = self.solved.steps.iter().flat_map(|step| &step.cache_mounts);
        let mut mounts = Vec::new();
        for name in names.filter(|name| seen.insert(name.key())) {
            self.check_canceled()?;
            let archived = match here.iter().find(|cache| cache.key == name.key()) {
                Some(cache) => self.archive(name, cache, held, task)?,
                None => None,
            };
            let kept = || self.bringer.offered(name).map(|offered| offered.mount.clone());
            mounts.extend(archived.or_else(kept));
        }
        Ok(mounts)
    }

    /// None: it is in use, and stays what others know it to be.
    fn archive(
        &self,
        name: &CacheName,
        cache: &Cache,
        held: &Lease,
        task: &Task,
    ) -> Result<Option<Mount>> {
        let mut blob = self.engine.store()?.blob_writer()?;
        let compression = Compression::Zstd { level: LEVEL };
        match self.engine.export_cache(cache, &mut blob, &compression, &WhenBusy::Fail) {
            Err(error @ EngineError::CacheInUse { .. }) => {
                let message = format!("not exported: {}", in_one_line(&error));
                task.events().emit(task.id(), EventKind::Warning { message, url: None });
                return Ok(None);
            }
            // Removed meanwhile.
            Err(EngineError::NoSuchCache { .. }) => return Ok(None),
            done => done?,
        }
        let (digest, size) = blob.commit(None)?;
        held.hold_blob(&digest)?;
        task.progress(format!("packing cache mount {}", name.id), 1, Some(1), true);
        Ok(Some(Mount { name: name.clone(), blob: digest, size }))
    }
}
