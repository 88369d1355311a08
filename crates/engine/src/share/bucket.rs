//! Buckets of S3 that caches are in.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bld_cache::s3::{self, AccessKeys, Bucket, S3};
use bld_cache::{Cache, CacheError};
use bld_event::Task;
use bld_http::{Options, Transport, is_loopback};
use bld_oci::{Descriptor, DescriptorExt as _};
use bld_registry::{Item, Sink, Tap};
use bld_store::{LayerBlob, Store};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::S3Target;
use super::export::Exporter;
use crate::{EngineError, Net, Result, trust};

/// The buckets of one engine. Keys that a build gave for one are good for all that it needs of it.
#[derive(Debug, Default)]
pub(crate) struct Buckets(Mutex<HashMap<Bucket, S3>>);

/// Blobs that are looked for at the same time.
const LOOKS_AT_ONCE: usize = 16;

impl Net {
    /// A client for `bucket`; `keys` count before those of the surroundings.
    pub(super) fn s3(&self, bucket: &Bucket, keys: Option<&AccessKeys>) -> Result<S3> {
        let mut known = self.buckets.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = known.get(bucket)
            && keys.is_none()
        {
            return Ok(client.clone());
        }
        let client = S3::open(bucket, keys, &self.config.aws, |url| {
            let mut settings = trust::registries(&self.config)?;
            let host = url.authority();
            // Authorities are those of the service, of whose name that of the bucket may be a part.
            let service = host.strip_prefix(&format!("{}.", bucket.name)).unwrap_or(host);
            let trusted = settings.registries.remove(service).unwrap_or_default();
            let options = Options {
                verify: settings.tls_verify,
                downgrade: false,
                authorities: trusted.authorities,
                identity: trusted
                    .identity
                    .map(|identity| (url.host_str().unwrap_or_default().to_owned(), identity)),
                direct: is_loopback(url),
                idle: s3::IDLE,
            };
            let refused = |reason| CacheError::Bucket { bucket: bucket.to_string(), reason };
            Transport::new(options).map_err(|error| EngineError::from(refused(error.to_string())))
        })?;
        known.insert(bucket.clone(), client.clone());
        Ok(client)
    }
}

/// Brings a blob into the store, and to `tap` while it arrives.
pub(super) async fn receive(
    store: &Store,
    client: &S3,
    key: &str,
    blob: &Descriptor,
    (item, tap): (Item, Tap),
) -> Result<()> {
    let gone = |reason: &str| CacheError::Object {
        action: "read",
        object: key.to_owned(),
        reason: reason.to_owned(),
    };
    let digest = blob.sha256().map_err(|error| gone(&error.to_string()))?;
    if store.has_blob(&digest) {
        return Ok(());
    }
    let pieces = client.stream(key).await?;
    let mut pieces = pieces.ok_or_else(|| gone("there is no such object"))?;
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

impl Exporter<'_> {
    /// Writes `cache` as an object for each of its names, and as one for each blob that is not there.
    pub(super) fn upload(&self, target: &S3Target, cache: &Cache, task: &Task) -> Result<()> {
        let S3Target { cache: place, parallelism, .. } = target;
        let client = self.engine.net().s3(&place.bucket, place.keys.as_ref())?;
        let missing = self.engine.block_on(missing(&client, target, cache.blobs()))??;
        let store = self.engine.store()?;
        for blob in &missing {
            self.check_canceled()?;
            self.provide(cache, &blob.digest, task)?;
            store.verify_blob(&blob.digest)?;
        }
        let write = |LayerBlob { digest, size, .. }| {
            let (key, file) = (place.blob_key(&digest), store.blob_path(&digest));
            let client = &client;
            async move {
                self.check_canceled()?;
                client.upload(&key, &file, size).await?;
                task.progress(format!("writing layer {digest}"), 1, Some(1), true);
                Ok::<_, EngineError>(())
            }
        };
        let writing = stream::iter(missing.into_iter().map(write));
        self.engine.block_on(writing.buffer_unordered(*parallelism).try_collect::<()>())??;
        let document = cache.to_bytes_alone()?;
        for name in &place.names {
            let key = place.manifest_key(name);
            self.engine.block_on(client.write(&key, document.clone()))??;
            task.progress(format!("writing cache manifest {key}"), 1, Some(1), true);
        }
        Ok(())
    }
}

/// Those of `blobs` that must be written; those that are there are renewed if that is due.
async fn missing(
    client: &S3,
    target: &S3Target,
    blobs: Vec<LayerBlob>,
) -> Result<Vec<LayerBlob>, CacheError> {
    let looks = blobs.into_iter().map(|blob| async move {
        let (key, size) = (target.cache.blob_key(&blob.digest), blob.size);
        let there = client.head(&key).await?.filter(|object| object.size == size);
        let is_there = match there {
            None => false,
            Some(object) if is_old(object.modified, target.refresh) => {
                client.touch(&key, size).await
            }
            Some(_) => true,
        };
        Ok((!is_there).then_some(blob))
    });
    let looks = stream::iter(looks).buffered(LOOKS_AT_ONCE);
    looks.try_filter_map(async |found| Ok(found)).try_collect().await
}

fn is_old(modified: SystemTime, refresh: Duration) -> bool {
    // A time in the future is that of a clock which is ahead.
    modified.elapsed().is_ok_and(|age| age > refresh)
}
