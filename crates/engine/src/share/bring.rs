//! Bringing layers from where they are: into the store, and into their snapshots.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use bld_cache::{Place, s3};
use bld_event::{Cancel, EventKind, Events, VertexId};
use bld_layer::View;
use bld_oci::{Digest, Reference, descriptor};
use bld_registry::Reporter;
use bld_store::{
    AbsentLayer, ImageRecord, KeyLock, LayerBlob, LayerElsewhere, LayerSource, SnapshotId, Store,
    StoreError,
};
use futures_util::future::join_all;
use tokio::sync::Semaphore;

use super::lost::{Gone, Lost, is_about_the_network};
use super::mounts::OfferedMount;
use super::objects::receive;
use crate::error::{IoContext as _, in_one_line};
use crate::images::ensure_unpacked;
use crate::images::record::note_layer;
use crate::images::unpack::{Job, Unpacked, inherit, remember};
use crate::{Engine, EngineError, Net, Result};

/// Layers that are fetched at the same time.
const AT_ONCE: usize = 6;

/// How long to wait before a lock that somebody has is asked for again.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Brings layers here. Clones share what they know to be lost.
#[derive(Clone)]
pub(crate) struct Bringer {
    pub(super) store: Store,
    pub(super) net: Arc<Net>,
    pub(super) events: Events,
    /// Ends all waits.
    pub(super) stop: Cancel,
    lost: Arc<Mutex<Lost>>,
    /// Cache mounts that others have.
    pub(super) mounts: Arc<Vec<OfferedMount>>,
}

impl Engine {
    /// Brings layers of the store here, and tells `events`.
    pub(crate) fn bringer(&self, events: &Events) -> Result<Bringer> {
        Ok(Bringer {
            store: self.store()?.clone(),
            net: Arc::clone(self.net()),
            events: events.clone(),
            stop: self.stop.clone(),
            lost: Arc::default(),
            mounts: Arc::default(),
        })
    }
}

impl Bringer {
    /// What turned out not to be had.
    pub(super) fn lost(&self) -> Lost {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Brings the files of a snapshot and of all it lies on. Progress is reported on `vertex`.
    ///
    /// # Errors
    /// [`EngineError::LayerGone`]; what came until then stays.
    pub(crate) fn bring(&self, id: SnapshotId, vertex: VertexId) -> Result<()> {
        self.try_bring(id, vertex, &mut Vec::new())
    }

    /// The same; layers that cannot be had are forgotten, with all that lies on them.
    ///
    /// # Errors
    /// As [`bring`](Self::bring).
    pub(crate) fn bring_or_forget(&self, id: SnapshotId, vertex: VertexId) -> Result<()> {
        let mut lost = Vec::new();
        let brought = self.try_bring(id, vertex, &mut lost);
        if let Err(error @ EngineError::LayerGone { .. }) = &brought {
            let message = format!("{}: what needs it is made again", in_one_line(error));
            self.events.emit(vertex, EventKind::Warning { message, url: None });
        }
        for layer in lost {
            // What is not forgotten now is not had the next time, too.
            let _ = self.forget(&layer);
        }
        brought
    }

    /// The snapshot of an image's topmost layer, with its files here. Progress is reported on `vertex`.
    ///
    /// # Errors
    /// [`EngineError::LayerGone`], and what unpacking meets.
    pub(crate) fn bring_image(&self, image: &ImageRecord, vertex: VertexId) -> Result<SnapshotId> {
        let known = match image.snapshot {
            Some(id) if self.store.snapshot(id)?.is_some() => Some(id),
            _ => None,
        };
        let id = match known {
            Some(id) => id,
            None => match ensure_unpacked(&self.store, image, &self.events, vertex) {
                Err(EngineError::MissingLayer { .. }) => self.stand_in(&image.layers)?,
                unpacked => return unpacked,
            },
        };
        if !self.store.is_here(id)? {
            self.bring(id, vertex)?;
            return remember(&self.store, image, id);
        }
        Ok(id)
    }

    fn forget(&self, layer: &AbsentLayer) -> Result<()> {
        for source in self.store.layer_sources(&layer.diff_id)? {
            let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
            lost.blobs.insert(source.blob.digest);
            drop(lost);
            self.store.forget_layer_source(&layer.diff_id, &source)?;
        }
        Ok(self.store.forget_absent(layer.id)?)
    }

    /// The layers that cannot be had are added to `lost`.
    fn try_bring(
        &self,
        id: SnapshotId,
        vertex: VertexId,
        lost: &mut Vec<AbsentLayer>,
    ) -> Result<()> {
        let mut locks = Vec::new();
        // From below, as everybody does: so nobody waits in a circle.
        for layer in self.store.absent_layers(id)? {
            locks.push(self.lock(&format!("bring {}", layer.id))?);
        }
        let wanted = self.store.absent_layers(id)?;
        if wanted.is_empty() {
            return Ok(());
        }
        let slots = Slots::new();
        let work = wanted.iter().map(|layer| self.obtain(layer, vertex, &slots));
        let obtained = self.net.block_on(&self.stop, join_all(work))?;
        let mut first = None;
        for (layer, obtained) in wanted.into_iter().zip(obtained) {
            match obtained {
                Ok(unpacked) if first.is_none() => self.place(&layer, &unpacked)?,
                Ok(_) => {}
                Err(error) => {
                    lost.push(layer);
                    first.get_or_insert(error);
                }
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// Puts an unpacked layer into its place. Those below are here.
    fn place(&self, layer: &AbsentLayer, unpacked: &Unpacked) -> Result<()> {
        let id = layer.id;
        let info = self.store.snapshot(id)?.ok_or(StoreError::MissingSnapshot { id })?;
        if let Some(parent) = info.parent {
            inherit(&View::new(self.store.layers(parent)?), unpacked)?;
        }
        Ok(self.store.fill(id, &unpacked.active, unpacked.size)?)
    }

    /// Fetches and unpacks one layer.
    async fn obtain(
        &self,
        layer: &AbsentLayer,
        vertex: VertexId,
        slots: &Slots,
    ) -> Result<Unpacked> {
        let diff_id = layer.diff_id;
        let job = |blob: LayerBlob| Job {
            store: self.store.clone(),
            diff_id,
            blob,
            events: self.events.clone(),
            vertex,
        };
        let here = self.store.any_layer_blob(&diff_id)?;
        if let Some(blob) = here.filter(|blob| self.store.has_blob(&blob.digest)) {
            let _core = slots.unpack.acquire().await;
            if let Ok(unpacked) = job(blob).run().await {
                return Ok(unpacked);
            }
        }
        let mut gone = Gone::new(diff_id);
        for source in self.store.layer_sources(&diff_id)? {
            match self.obtain_from(job(source.blob.clone()), &source, slots).await {
                Ok(unpacked) => return Ok(unpacked),
                Err(error) => {
                    if is_about_the_network(&error) {
                        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
                        lost.places.insert(source.place.clone());
                    }
                    gone.from(&source, &error);
                }
            }
        }
        Err(gone.into())
    }

    /// Waits for a lock for as long as nobody asks to stop.
    fn lock(&self, key: &str) -> Result<KeyLock> {
        loop {
            if self.stop.is_canceled() {
                return Err(EngineError::Canceled);
            }
            match self.store.try_lock(key)? {
                Some(lock) => return Ok(lock),
                None => thread::sleep(LOCK_PAUSE),
            }
        }
    }

    async fn obtain_from(&self, job: Job, source: &LayerSource, slots: &Slots) -> Result<Unpacked> {
        let permit = slots.fetch.acquire().await;
        let (diff_id, vertex) = (job.diff_id, job.vertex);
        let fetch = |tap| async move {
            self.fetch(source, vertex, Some(tap)).await?;
            note_layer(&self.store, &diff_id, &source.blob)?;
            drop(permit);
            Ok(())
        };
        job.fetched(&slots.unpack, fetch).await
    }

    /// Brings a blob into the store.
    pub(super) async fn fetch(
        &self,
        source: &LayerSource,
        vertex: VertexId,
        tap: Option<bld_registry::Tap>,
    ) -> Result<()> {
        let LayerBlob { digest, size, media_type } = &source.blob;
        match Place::from_text(&source.place) {
            Some(Place::Registry { repository }) => {
                let reference = Reference::parse(&repository)
                    .map_err(|source| EngineError::Reference { reference: repository, source })?;
                let described = descriptor(media_type, *digest, *size);
                let reporter = Reporter::new(&self.events, vertex);
                let (store, tap) = (&self.store, tap.unwrap_or_default());
                let lease = store.lease();
                let client = self.net.client()?;
                client.fetch_tapped(store, &lease, &reference, &described, &reporter, tap).await?;
                Ok(())
            }
            Some(Place::Local { dir }) => {
                let (store, digest) = (self.store.clone(), *digest);
                let work = move || copy(&store, &bld_oci::layout::blob(&dir, &digest), &digest);
                tokio::task::spawn_blocking(work).await.map_err(|_| EngineError::Canceled)?
            }
            Some(Place::S3 { bucket, blobs }) => {
                let client = self.net.s3(&bucket, None)?;
                let described = descriptor(media_type, *digest, *size);
                let item = Reporter::new(&self.events, vertex).blob(&described);
                let key = s3::blob_key(&blobs, digest);
                let pieces = client.stream(&key);
                receive(&self.store, pieces, &key, &described, (item, tap.unwrap_or_default()))
                    .await
            }
            Some(Place::Gha { service }) => {
                let client = self.net.gha(&service, None)?;
                let described = descriptor(media_type, *digest, *size);
                let item = Reporter::new(&self.events, vertex).blob(&described);
                let (pieces, name) = (client.blob(digest), digest.to_string());
                receive(&self.store, pieces, &name, &described, (item, tap.unwrap_or_default()))
                    .await
            }
            None => Err(EngineError::Invalid { what: format!("unknown place {}", source.place) }),
        }
    }

    /// Brings the blob `digest` of a layer into the store, without unpacking it.
    ///
    /// # Errors
    /// [`EngineError::LayerGone`]
    pub(crate) fn fetch_blob(
        &self,
        diff_id: &Digest,
        digest: &Digest,
        vertex: VertexId,
    ) -> Result<()> {
        if self.store.has_blob(digest) {
            return Ok(());
        }
        let mut gone = Gone::new(*diff_id);
        for source in self.store.layer_sources(diff_id)? {
            if source.blob.digest != *digest {
                continue;
            }
            match self.net.block_on(&self.stop, self.fetch(&source, vertex, None))? {
                Ok(()) => return note_layer(&self.store, diff_id, &source.blob),
                Err(error) => gone.from(&source, &error),
            }
        }
        Err(gone.into())
    }

    /// A snapshot of the layers `diff_ids`, some of which are blobs here or known to be elsewhere.
    ///
    /// # Errors
    /// [`EngineError::LayerGone`]
    pub(crate) fn stand_in(&self, diff_ids: &[Digest]) -> Result<SnapshotId> {
        let chains = bld_oci::chain_ids(diff_ids);
        let layers = diff_ids.iter().zip(chains).map(|(diff_id, chain)| {
            let source = match self.store.layer_sources(diff_id)?.into_iter().next() {
                Some(source) => source,
                None => self.here(diff_id)?.ok_or_else(|| Gone::new(*diff_id))?,
            };
            let LayerSource { blob, place } = source;
            let (content, created) = (Some(chain), None);
            Ok(LayerElsewhere { diff_id: *diff_id, blob, place, content, created })
        });
        Ok(self.store.put_elsewhere(&layers.collect::<Result<Vec<_>>>()?)?)
    }

    /// A blob of the store as if it was elsewhere.
    fn here(&self, diff_id: &Digest) -> Result<Option<LayerSource>> {
        let blob = self.store.any_layer_blob(diff_id)?;
        let blob = blob.filter(|blob| self.store.has_blob(&blob.digest));
        Ok(blob.map(|blob| LayerSource { blob, place: String::new() }))
    }
}

/// How much is done at the same time.
struct Slots {
    fetch: Semaphore,
    unpack: Semaphore,
}

impl Slots {
    fn new() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self { fetch: Semaphore::new(AT_ONCE), unpack: Semaphore::new(cores) }
    }
}

/// Takes a file in as a blob, if it is what it should be.
fn copy(store: &Store, from: &Path, digest: &Digest) -> Result<()> {
    if store.has_blob(digest) {
        return Ok(());
    }
    let mut file = File::open(from).at("open", from)?;
    let mut blob = store.blob_writer()?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer).at("read", from)? {
            0 => break,
            length => blob.write_all(&buffer[..length]).at("write a blob of", store.root())?,
        }
    }
    blob.commit(Some(*digest))?;
    Ok(())
}
