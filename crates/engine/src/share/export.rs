//! Writing what a build knows, for others.

use std::collections::{HashMap, HashSet};

use bld_cache::manifest::{self, Written};
use bld_cache::{Cache, Input, Layer, Place, Record, layout};
use bld_event::{Cancel, Events, Task};
use bld_export::{ExportError, ManifestOptions};
use bld_oci::{Digest, Reference};
use bld_registry::{Manifest, RegistryError, Reporter};
use bld_solve::{Solved, SolvedStep};
use bld_store::{Lease, SnapshotId, SnapshotInfo, Store, StoreError};

use super::{Bringer, CacheOptions, CacheTarget, ExportMode, LocalTarget};
use crate::images::find;
use crate::{Engine, EngineError, Result};

/// Writes caches of one build.
pub(crate) struct Exporter<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) solved: &'a Solved,
    pub(crate) bringer: &'a Bringer,
    pub(crate) events: &'a Events,
    pub(crate) cancel: &'a Cancel,
}

impl Exporter<'_> {
    /// To all of `targets`, one after the other; gives the last manifest that was written.
    ///
    /// # Errors
    /// What the first target meets whose failures are not to be ignored.
    pub(crate) fn all(&self, targets: &[CacheTarget]) -> Result<Option<Written>> {
        let mut last = None;
        for target in targets {
            let (title, options) = match target {
                CacheTarget::Registry { options, .. } => ("exporting cache to registry", options),
                CacheTarget::Local { options, .. } => {
                    ("exporting cache to client directory", options)
                }
                CacheTarget::S3 { options, .. } => ("exporting cache to Amazon S3", options),
                CacheTarget::Gha { options, .. } => {
                    ("exporting cache to GitHub Actions Cache", options)
                }
                CacheTarget::Inline => continue,
            };
            let task = self.events.task(title);
            let written = self.one(target, options, &task);
            match task.finish(written) {
                Ok(written) => last = written.or(last),
                // It is shown as a step that failed, and the build goes on.
                Err(_) if options.ignore_error && !self.cancel.is_canceled() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(last)
    }

    fn one(
        &self,
        target: &CacheTarget,
        options: &CacheOptions,
        task: &Task,
    ) -> Result<Option<Written>> {
        let held = self.engine.store()?.lease();
        let cache = self.collect(options, &held, task)?;
        if cache.records.is_empty() {
            task.progress("skipping cache export for empty result", 1, Some(1), true);
            return Ok(None);
        }
        if let CacheTarget::S3 { s3, .. } = target {
            return self.upload(s3, &cache, task).map(|()| None);
        }
        if let CacheTarget::Gha { gha, .. } = target {
            return self.write_entries(gha, &cache, task).map(|()| None);
        }
        let written = manifest::write(&cache, options.form)?;
        match target {
            CacheTarget::Registry { reference, .. } => {
                self.push(reference, &cache, &written, task)?;
            }
            CacheTarget::Local { local, .. } => self.write(local, &cache, &written, task)?,
            CacheTarget::S3 { .. } | CacheTarget::Gha { .. } | CacheTarget::Inline => {}
        }
        Ok(Some(written))
    }

    /// What there is to say, with a blob for every layer.
    fn collect(&self, options: &CacheOptions, held: &Lease, task: &Task) -> Result<Cache> {
        let store = self.engine.store()?;
        let steps = chosen(store, self.solved, options.mode)?;
        let packing = ManifestOptions {
            compression: options.compression,
            force_compression: options.force_compression,
            cancel: self.cancel.clone(),
            ..ManifestOptions::default()
        };
        let mut cache = Cache::default();
        let mut places = HashMap::new();
        for (done, step) in steps.iter().enumerate() {
            let item = "preparing build cache for export";
            task.progress(item, done as u64, Some(steps.len() as u64), false);
            for id in store.ancestry(step.snapshot)? {
                self.check_canceled()?;
                if places.contains_key(&id) {
                    continue;
                }
                let info = info(store, id)?;
                let (diff_id, blob) = match bld_export::layer_blob(store, held, &info, &packing) {
                    Err(ExportError::Store(StoreError::Elsewhere { .. })) => {
                        self.bringer.bring_or_forget(id, task.id())?;
                        bld_export::layer_blob(store, held, &info, &packing)?
                    }
                    found => found?,
                };
                let parent = info.parent.and_then(|parent| places.get(&parent).copied());
                places.insert(id, cache.layers.len());
                cache.layers.push(Layer { blob, diff_id, parent, created: Some(info.created) });
            }
            if let Some(&layer) = places.get(&step.snapshot) {
                cache.records.push(record(store, step, layer)?);
            }
        }
        if options.mounts {
            cache.mounts = self.mounts(held, task)?;
        }
        let all = Some(steps.len() as u64);
        task.progress("preparing build cache for export", steps.len() as u64, all, true);
        Ok(cache)
    }

    fn push(&self, reference: &str, cache: &Cache, written: &Written, task: &Task) -> Result<()> {
        let reference = find::parse(reference)?;
        let (store, client) = (self.engine.store()?, self.engine.client()?);
        let lease = store.lease();
        lease.hold_blob(&store.put_blob(&written.config)?)?;
        let (bytes, digest) = (written.bytes.clone(), written.digest);
        let manifest = Manifest { bytes, digest, media_type: written.media_type.to_owned() };
        let config = bld_oci::describe(bld_cache::MEDIA_TYPE, &written.config);
        let blobs: Vec<_> = written.layers.iter().cloned().chain([config]).collect();
        let lenders = lenders(store, cache.layers.iter().map(|layer| layer.diff_id))?;
        let reporter = Reporter::from(task);
        providing(
            || {
                let push = client.push_parts(
                    store,
                    &reference,
                    &manifest,
                    blobs.clone(),
                    &lenders,
                    &reporter,
                );
                Ok(self.engine.block_on(push)??)
            },
            |missing| self.provide(cache, missing, task),
        )?;
        let form = if written.media_type == bld_oci::media_type::OCI_MANIFEST {
            "cache image manifest"
        } else {
            "cache manifest"
        };
        task.progress(format!("writing {form} {}", written.digest), 1, Some(1), true);
        Ok(())
    }

    fn write(
        &self,
        local: &LocalTarget,
        cache: &Cache,
        written: &Written,
        task: &Task,
    ) -> Result<()> {
        let store = self.engine.store()?;
        let writer = layout::Writer::open(&local.dir)?;
        for blob in cache.blobs() {
            self.check_canceled()?;
            if layout::has_blob(&local.dir, &blob.digest, blob.size) {
                continue;
            }
            self.provide(cache, &blob.digest, task)?;
            store.verify_blob(&blob.digest)?;
            writer.copy(&blob.digest, &store.blob_path(&blob.digest))?;
            task.progress(format!("writing layer {}", blob.digest), 1, Some(1), true);
        }
        task.progress(format!("writing config {}", written.config_digest), 1, Some(1), true);
        writer.finish(written, &local.tag, local.prune)?;
        Ok(())
    }

    pub(super) fn check_canceled(&self) -> Result<()> {
        if self.cancel.is_canceled() { Err(EngineError::Canceled) } else { Ok(()) }
    }

    /// Makes sure that the blob of a layer or a cache mount is here.
    pub(super) fn provide(&self, cache: &Cache, digest: &Digest, task: &Task) -> Result<()> {
        match cache.layers.iter().find(|layer| layer.blob.digest == *digest) {
            Some(layer) => self.bringer.fetch_blob(&layer.diff_id, digest, task.id()),
            None => self.bringer.fetch_mount(digest, task.id()),
        }
    }
}

/// Does `send`, which fails where a blob is needed that is not here: then that is provided, and it is
/// done again. What the other side has, or gets from a neighbour, is never needed here.
pub(crate) fn providing<T>(
    mut send: impl FnMut() -> Result<T>,
    mut provide: impl FnMut(&Digest) -> Result<()>,
) -> Result<T> {
    let mut provided = HashSet::new();
    loop {
        let missing = match send() {
            Err(EngineError::Registry(error)) => match *error {
                RegistryError::Store(StoreError::MissingBlob { digest })
                    if provided.insert(digest) =>
                {
                    digest
                }
                other => return Err(other.into()),
            },
            result => return result,
        };
        provide(&missing)?;
    }
}

/// Repositories where some of the layers are.
pub(crate) fn lenders(
    store: &Store,
    diff_ids: impl Iterator<Item = Digest>,
) -> Result<Vec<Reference>> {
    let mut found: Vec<Reference> = Vec::new();
    let diff_ids: HashSet<Digest> = diff_ids.collect();
    for diff_id in &diff_ids {
        for source in store.layer_sources(diff_id)? {
            if let Some(Place::Registry { repository }) = Place::from_text(&source.place) {
                found.extend(Reference::parse(&repository));
            }
        }
    }
    for image in store.images()? {
        if image.layers.iter().any(|layer| diff_ids.contains(layer)) {
            for known in store.repo_digests_of(&image.id)? {
                found.extend(Reference::parse(&known.repo));
            }
        }
    }
    Ok(found)
}

/// The steps that are told of.
fn chosen<'a>(store: &Store, solved: &'a Solved, mode: ExportMode) -> Result<Vec<&'a SolvedStep>> {
    let mut of_result: HashSet<SnapshotId> = HashSet::new();
    if mode == ExportMode::Min {
        for top in solved.snapshots.iter().flatten() {
            of_result.extend(store.ancestry(*top)?);
        }
    }
    let is_wanted =
        |step: &&SolvedStep| mode == ExportMode::Max || of_result.contains(&step.snapshot);
    Ok(solved.steps.iter().filter(is_wanted).collect())
}

fn record(store: &Store, step: &SolvedStep, layer: usize) -> Result<Record> {
    let info = info(store, step.snapshot)?;
    let inputs = step.inputs.iter().map(|input| Input {
        name: input.name.clone(),
        definition: input.definition,
        // What is its own definition need not be said twice.
        content: input.content.filter(|content| *content != input.definition),
    });
    Ok(Record {
        definition: step.definition,
        op: step.op,
        inputs: inputs.collect(),
        content: info.content,
        layer,
        created: info.created,
    })
}

fn info(store: &Store, id: SnapshotId) -> Result<SnapshotInfo> {
    Ok(store.snapshot(id)?.ok_or(StoreError::MissingSnapshot { id })?)
}

/// What the configuration of the image says of the steps that made it.
///
/// # Errors
/// What the store meets.
pub(crate) fn inline(
    store: &Store,
    steps: &[SolvedStep],
    top: Option<SnapshotId>,
) -> Result<Option<serde_json::Value>> {
    let Some(top) = top else { return Ok(None) };
    let places: HashMap<SnapshotId, usize> =
        store.ancestry(top)?.into_iter().enumerate().map(|(index, id)| (id, index)).collect();
    let mut cache = Cache::default();
    for step in steps {
        if let Some(&layer) = places.get(&step.snapshot) {
            cache.records.push(record(store, step, layer)?);
        }
    }
    Ok(Some(bld_cache::inline::write(&cache)?))
}
