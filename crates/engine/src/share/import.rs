//! Reading caches that others have written.

use std::collections::HashMap;
use std::error::Error;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use bld_cache::gha::GhaCache;
use bld_cache::manifest::{self, Found};
use bld_cache::s3::S3Cache;
use bld_cache::{Cache, CacheError, MAX_SIZE, Parsed, Place, inline, layout};
use bld_event::{Cancel, CancelGuard, EventKind, Events, Task, VertexId};
use bld_oci::{Descriptor, DescriptorExt as _, Digest, ImageConfig, Reference, chain_ids};
use bld_registry::Reporter;
use bld_solve::{Offer, Shared};
use bld_store::{CacheName, LayerElsewhere, RecordInput, SnapshotId};

use super::lost::Lost;
use super::{Bringer, CacheSource};
use crate::images::find;
use crate::{Engine, EngineError, Result};

/// The largest configuration of an image that is read.
const CONFIG_MAX: u64 = 16 << 20;

/// What others have made, and the way to their files.
pub(crate) struct Imports {
    caches: Vec<Arc<Imported>>,
    bringer: Bringer,
}

/// One cache.
#[derive(Debug)]
pub(crate) struct Imported {
    /// As users call it.
    from: String,
    pub(super) place: Place,
    pub(super) cache: Cache,
    by_definition: HashMap<Digest, usize>,
    by_op: HashMap<Digest, Vec<usize>>,
    /// The content up to each layer that is the result of a step.
    contents: HashMap<usize, Option<Digest>>,
}

impl Imported {
    fn new(from: &str, place: &Place, cache: Cache) -> Self {
        let (mut by_definition, mut contents) = (HashMap::new(), HashMap::new());
        let mut by_op: HashMap<Digest, Vec<usize>> = HashMap::new();
        for (index, record) in cache.records.iter().enumerate() {
            by_definition.entry(record.definition).or_insert(index);
            by_op.entry(record.op).or_default().push(index);
            let content = contents.entry(record.layer).or_insert(record.content);
            *content = content.or(record.content);
        }
        Self { from: from.to_owned(), place: place.clone(), cache, by_definition, by_op, contents }
    }

    fn offer(&self, record: usize, lost: &Lost) -> Option<Offer> {
        if lost.places.contains(&self.place.to_text()) {
            return None;
        }
        let record = self.cache.records.get(record)?;
        let line = self.cache.line(record.layer);
        let diff_ids: Vec<Digest> =
            line.iter().map(|&index| self.cache.layers[index].diff_id).collect();
        let layers = line.iter().zip(chain_ids(&diff_ids)).map(|(index, chain)| {
            let layer = &self.cache.layers[*index];
            let is_top = *index == record.layer;
            LayerElsewhere {
                diff_id: layer.diff_id,
                blob: layer.blob.clone(),
                place: self.place.to_text(),
                // What is no result of a step was pulled, and is known by its chain.
                content: self.contents.get(index).copied().unwrap_or(Some(chain)),
                created: if is_top { Some(record.created) } else { layer.created },
            }
        });
        let layers: Vec<LayerElsewhere> = layers.collect();
        if layers.is_empty() || layers.iter().any(|layer| lost.blobs.contains(&layer.blob.digest)) {
            return None;
        }
        let inputs = record.inputs.iter().map(|input| RecordInput {
            name: input.name.clone(),
            definition: input.definition,
            snapshot: None,
            content: input.content,
        });
        Some(Offer { inputs: inputs.collect(), layers, from: self.from.clone() })
    }
}

impl Imports {
    /// What `caches` say; files come by way of `bringer`.
    pub(crate) fn new(caches: Vec<Arc<Imported>>, bringer: Bringer) -> Self {
        Self { caches, bringer }
    }
}

impl Shared for Imports {
    fn find(&self, definition: &Digest) -> Option<Offer> {
        let lost = self.bringer.lost();
        self.caches.iter().find_map(|cache| {
            cache.by_definition.get(definition).and_then(|&record| cache.offer(record, &lost))
        })
    }

    fn find_by_op(&self, op: &Digest) -> Vec<Offer> {
        let lost = self.bringer.lost();
        let records = self.caches.iter().flat_map(|cache| {
            cache.by_op.get(op).into_iter().flatten().map(move |&record| (cache, record))
        });
        records.filter_map(|(cache, record)| cache.offer(record, &lost)).collect()
    }

    fn bring_cache_mount(&self, name: &CacheName, vertex: VertexId) -> bool {
        self.bringer.bring_mount(name, vertex)
    }

    fn bring(&self, id: SnapshotId, vertex: VertexId) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(self.bringer.bring_or_forget(id, vertex)?)
    }
}

/// Caches that are read while the build is planned.
#[derive(Debug)]
pub(crate) struct Importing {
    reading: Option<JoinHandle<Vec<Arc<Imported>>>>,
    /// Ends it.
    stop: Cancel,
    _stopped_with: CancelGuard,
}

impl Importing {
    /// Begins to read `sources`, until `cancel` is asked for.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn start(
        engine: &Engine,
        sources: &[CacheSource],
        events: &Events,
        cancel: &Cancel,
    ) -> Result<Self> {
        let (stop, stopped_with) = cancel.child();
        let mut reading = None;
        if !sources.is_empty() {
            // Both would open it.
            engine.store()?;
            let (engine, events) = (engine.stopped_by(&stop), events.clone());
            let sources = sources.to_vec();
            reading = Some(thread::spawn(move || import(&engine, &sources, &events)));
        }
        Ok(Self { reading, stop, _stopped_with: stopped_with })
    }

    /// What was read.
    pub(crate) fn finish(mut self) -> Vec<Arc<Imported>> {
        let read = self.reading.take().map(JoinHandle::join);
        read.map_or_else(Vec::new, |read| read.unwrap_or_else(|panic| resume_unwind(panic)))
    }
}

/// A build that comes to nothing does not wait for its caches.
impl Drop for Importing {
    fn drop(&mut self) {
        if let Some(reading) = self.reading.take() {
            self.stop.cancel();
            let _of_no_use = reading.join();
        }
    }
}

/// Reads all `sources`, at the same time. What cannot be read is told, and does without.
fn import(engine: &Engine, sources: &[CacheSource], events: &Events) -> Vec<Arc<Imported>> {
    let found = Mutex::new(vec![Vec::new(); sources.len()]);
    let read = |(index, source): (usize, &CacheSource)| {
        let name = name_of(source);
        let task = events.task(format!("importing cache manifest from {name}"));
        let caches = read(engine, source, &name, &task);
        // What cannot be read is shown as a step that failed, and the build does without.
        if let Ok(caches) = task.finish(caches) {
            let caches = caches.into_iter().map(Arc::new).collect();
            found.lock().unwrap_or_else(PoisonError::into_inner)[index] = caches;
        }
    };
    match sources {
        [source] => read((0, source)),
        _ => thread::scope(|scope| {
            for source in sources.iter().enumerate() {
                let read = &read;
                scope.spawn(move || read(source));
            }
        }),
    }
    found.into_inner().unwrap_or_else(PoisonError::into_inner).concat()
}

/// What a source is called.
fn name_of(source: &CacheSource) -> String {
    match source {
        CacheSource::Registry { reference } => reference.clone(),
        CacheSource::Local { dir, tag, digest: None } if tag == "latest" => {
            dir.display().to_string()
        }
        CacheSource::Local { dir, tag, digest: None } => format!("{}:{tag}", dir.display()),
        CacheSource::Local { dir, digest: Some(digest), .. } => {
            format!("{}@{digest}", dir.display())
        }
        CacheSource::S3(cache) => {
            format!("{}/{}", cache.bucket, cache.manifest_key(&cache.names.join(";")))
        }
        CacheSource::Gha(cache) => format!("{}/{}", cache.service, cache.scope),
    }
}

fn read(engine: &Engine, source: &CacheSource, name: &str, task: &Task) -> Result<Vec<Imported>> {
    let (place, parsed) = match source {
        CacheSource::Registry { reference } => from_registry(engine, reference)?,
        CacheSource::Local { dir, tag, digest } => from_layout(dir, tag, *digest)?,
        CacheSource::S3(cache) => from_bucket(engine, cache)?,
        CacheSource::Gha(cache) => from_service(engine, cache)?,
    };
    let foreign: usize = parsed.iter().map(|parsed| parsed.foreign).sum();
    let own: usize = parsed.iter().map(|parsed| parsed.cache.records.len()).sum();
    if own == 0 && foreign > 0 {
        let message = format!(
            "the {foreign} results in {name} were written by another builder, whose keys are other \
             ones: none of them is used"
        );
        task.events().emit(task.id(), EventKind::Warning { message, url: None });
    }
    task.progress(format!("found {own} results"), 1, Some(1), true);
    Ok(parsed.into_iter().map(|parsed| Imported::new(name, &place, parsed.cache)).collect())
}

fn from_registry(engine: &Engine, reference: &str) -> Result<(Place, Vec<Parsed>)> {
    let reference = find::parse(reference)?;
    let place = Place::Registry { repository: reference.name() };
    let client = engine.client()?;
    let manifest = engine.block_on(client.resolve(&reference))??;
    let read_blob = |descriptor: &Descriptor| blob(engine, &reference, descriptor);
    let read_manifest = |descriptor: &Descriptor| {
        let digest = sha256(descriptor)?;
        Ok(engine.block_on(client.manifest(&reference, digest))??.bytes)
    };
    let found = manifest::read(&manifest.bytes, manifest.is_index())?;
    Ok((place, parse(found, &read_blob, &read_manifest)?))
}

/// Reads a small blob of a registry, by way of the store.
fn blob(engine: &Engine, reference: &Reference, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let (store, client) = (engine.store()?, engine.client()?);
    let lease = store.lease();
    let reporter = Reporter::none();
    let fetch = client.fetch_blob(store, &lease, reference, descriptor, &reporter);
    let digest = engine.block_on(fetch)??;
    Ok(store.read_blob(&digest)?)
}

fn from_layout(dir: &Path, tag: &str, digest: Option<Digest>) -> Result<(Place, Vec<Parsed>)> {
    let descriptor = layout::find(dir, tag, digest)?;
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let place = Place::Local { dir: dir.clone() };
    let read_blob =
        |descriptor: &Descriptor| layout::read_blob(&dir, descriptor).map_err(EngineError::from);
    let bytes = read_blob(&descriptor)?;
    let is_index = bld_oci::media_type::is_index(descriptor.media_type().as_ref());
    let found = manifest::read(&bytes, is_index)?;
    Ok((place, parse(found, &read_blob, &read_blob)?))
}

/// All documents of the names given that are there.
fn from_bucket(engine: &Engine, cache: &S3Cache) -> Result<(Place, Vec<Parsed>)> {
    let S3Cache { bucket, keys, blobs, names, .. } = cache;
    let client = engine.net().s3(bucket, keys.as_ref())?;
    let mut found = Vec::new();
    for name in names {
        let key = cache.manifest_key(name);
        if let Some(bytes) = engine.block_on(client.read(&key, MAX_SIZE))?? {
            found.push(Cache::parse(&bytes, &[])?);
        }
    }
    if found.is_empty() {
        let name = cache.manifest_key(&names.join(";"));
        return Err(CacheError::NotFound { name, place: bucket.to_string() }.into());
    }
    Ok((Place::S3 { bucket: bucket.clone(), blobs: blobs.clone() }, found))
}

/// The documents of all branches that the token is for.
fn from_service(engine: &Engine, cache: &GhaCache) -> Result<(Place, Vec<Parsed>)> {
    let client = engine.net().gha(&cache.service, Some(cache))?;
    // A timer needs the runtime that it runs on.
    let read =
        async { tokio::time::timeout(cache.timeout, client.indexes(&cache.scope, MAX_SIZE)).await };
    let place = || cache.service.to_string();
    let found = engine.block_on(read)?.map_err(|_| CacheError::Service {
        service: place(),
        reason: format!("it takes longer than {} s", cache.timeout.as_secs_f32()),
    })??;
    if found.is_empty() {
        return Err(CacheError::NotFound { name: cache.scope.clone(), place: place() }.into());
    }
    let found = found.iter().map(|bytes| Ok(Cache::parse(bytes, &[])?));
    Ok((Place::Gha { service: cache.service.clone() }, found.collect::<Result<_>>()?))
}

type ReadBlob<'a> = &'a dyn Fn(&Descriptor) -> Result<Vec<u8>>;

/// What there is in a cache, an image or several of them.
fn parse(found: Found, blob: ReadBlob<'_>, manifest: ReadBlob<'_>) -> Result<Vec<Parsed>> {
    Ok(match found {
        Found::Cache { config, layers } => {
            check_size(&config, MAX_SIZE)?;
            vec![Cache::parse(&blob(&config)?, &layers)?]
        }
        Found::Image { config, layers } => {
            check_size(&config, CONFIG_MAX)?;
            let config = ImageConfig::parse(&blob(&config)?)
                .map_err(|error| malformed("the configuration of the image", &error))?;
            match inline::read(&config, &layers)? {
                Some(parsed) => vec![parsed],
                None => return Err(malformed("the image", &"it has no cache in it")),
            }
        }
        Found::Images(images) => {
            let mut all = Vec::new();
            for image in images.iter().filter(|image| !image.is_attestation()) {
                let found = manifest::read(&manifest(image)?, false)?;
                // Of several platforms, not all need to have a cache.
                all.extend(parse(found, blob, manifest).unwrap_or_default());
            }
            if all.is_empty() {
                return Err(malformed("the index", &"none of its images has a cache in it"));
            }
            all
        }
    })
}

fn check_size(descriptor: &Descriptor, most: u64) -> Result<()> {
    if descriptor.size() <= most {
        return Ok(());
    }
    Err(malformed("the cache", &format!("its document is larger than {most} bytes")))
}

fn sha256(descriptor: &Descriptor) -> Result<Digest> {
    descriptor.sha256().map_err(|error| malformed("the cache", &error))
}

fn malformed(what: &str, reason: &dyn std::fmt::Display) -> EngineError {
    CacheError::Malformed { what: what.to_owned(), reason: reason.to_string() }.into()
}
