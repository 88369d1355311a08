//! Places where each blob is an object of its own: buckets, and the cache service of GitHub Actions.

use std::path::Path;

use bld_cache::s3::Pieces;
use bld_cache::{Cache, CacheError};
use bld_event::Task;
use bld_oci::{Descriptor, DescriptorExt as _};
use bld_registry::{Item, Sink, Tap};
use bld_store::{LayerBlob, Store};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::export::Exporter;
use crate::{EngineError, Result};

/// Blobs that are looked for at the same time.
const LOOKS_AT_ONCE: usize = 16;

/// Where blobs are written to.
pub(super) trait Objects {
    /// Whether the blob is there, and stays.
    async fn has(&self, blob: &LayerBlob) -> Result<bool, CacheError>;

    /// Writes the blob, which is in `file`.
    async fn put(&self, blob: &LayerBlob, file: &Path) -> Result<(), CacheError>;
}

impl Exporter<'_> {
    /// Writes those blobs of `cache` that are not there, so many at the same time.
    pub(super) fn write_blobs(
        &self,
        objects: &impl Objects,
        cache: &Cache,
        parallelism: usize,
        task: &Task,
    ) -> Result<()> {
        let missing = self.engine.block_on(missing(objects, cache.blobs()))??;
        let store = self.engine.store()?;
        for blob in &missing {
            self.check_canceled()?;
            self.provide(cache, &blob.digest, task)?;
            store.verify_blob(&blob.digest)?;
        }
        let write = |blob: LayerBlob| async move {
            self.check_canceled()?;
            objects.put(&blob, &store.blob_path(&blob.digest)).await?;
            task.progress(format!("writing layer {}", blob.digest), 1, Some(1), true);
            Ok::<_, EngineError>(())
        };
        let writing = stream::iter(missing.into_iter().map(write));
        self.engine.block_on(writing.buffer_unordered(parallelism).try_collect::<()>())?
    }
}

/// Those of `blobs` that must be written.
async fn missing(
    objects: &impl Objects,
    blobs: Vec<LayerBlob>,
) -> Result<Vec<LayerBlob>, CacheError> {
    let looks = blobs
        .into_iter()
        .map(|blob| async move { Ok((!objects.has(&blob).await?).then_some(blob)) });
    let looks = stream::iter(looks).buffered(LOOKS_AT_ONCE);
    looks.try_filter_map(async |found| Ok(found)).try_collect().await
}

/// Brings the blob that `pieces` are into the store, and to `tap` while it arrives. `object` is what it
/// is called there.
pub(super) async fn receive(
    store: &Store,
    pieces: impl Future<Output = Result<Option<Pieces>, CacheError>>,
    object: &str,
    blob: &Descriptor,
    (item, tap): (Item, Tap),
) -> Result<()> {
    let gone = |reason: &str| CacheError::Object {
        action: "read",
        object: object.to_owned(),
        reason: reason.to_owned(),
    };
    let digest = blob.sha256().map_err(|error| gone(&error.to_string()))?;
    if store.has_blob(&digest) {
        return Ok(());
    }
    let mut pieces = pieces.await?.ok_or_else(|| gone("there is no such object"))?;
    let mut sink = Sink::open(store, tap);
    while let Some(piece) = pieces.next().await {
        let wrote = match piece {
            Ok(piece) if sink.received() + piece.len() as u64 <= blob.size() => {
                sink.write(piece).await.map_err(EngineError::from)
            }
            Ok(_) => Err(gone("it is larger than it should be").into()),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = wrote {
            sink.discard().await;
            return Err(error);
        }
        item.set(sink.received());
    }
    sink.commit(digest).await?;
    item.done();
    Ok(())
}
