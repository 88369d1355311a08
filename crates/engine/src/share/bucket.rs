//! Buckets of S3 that caches are in.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bld_cache::s3::{self, AccessKeys, Bucket, S3};
use bld_cache::{Cache, CacheError};
use bld_event::Task;
use bld_http::{Options, Transport, is_loopback};
use bld_store::LayerBlob;

use super::S3Target;
use super::export::Exporter;
use super::objects::Objects;
use crate::{EngineError, Net, Result, trust};

/// The buckets of one engine. Keys that a build gave for one are good for all that it needs of it.
#[derive(Debug, Default)]
pub(crate) struct Buckets(Mutex<HashMap<Bucket, S3>>);

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

/// A bucket that a cache is written to.
struct Target<'a> {
    client: S3,
    s3: &'a S3Target,
}

impl Objects for Target<'_> {
    /// What is there is renewed if that is due.
    async fn has(&self, blob: &LayerBlob) -> Result<bool, CacheError> {
        let (key, size) = (self.s3.cache.blob_key(&blob.digest), blob.size);
        let there = self.client.head(&key).await?.filter(|object| object.size == size);
        Ok(match there {
            None => false,
            Some(object) if is_old(object.modified, self.s3.refresh) => {
                self.client.touch(&key, size).await
            }
            Some(_) => true,
        })
    }

    async fn put(&self, blob: &LayerBlob, file: &Path) -> Result<(), CacheError> {
        self.client.upload(&self.s3.cache.blob_key(&blob.digest), file, blob.size).await
    }
}

impl Exporter<'_> {
    /// Writes `cache` as an object for each of its names, and as one for each blob that is not there.
    pub(super) fn upload(&self, s3: &S3Target, cache: &Cache, task: &Task) -> Result<()> {
        let place = &s3.cache;
        let client = self.engine.net().s3(&place.bucket, place.keys.as_ref())?;
        let target = Target { client, s3 };
        self.write_blobs(&target, cache, s3.parallelism, task)?;
        let document = cache.to_bytes_alone()?;
        for name in &place.names {
            let key = place.manifest_key(name);
            self.engine.block_on(target.client.write(&key, document.clone()))??;
            task.progress(format!("writing cache manifest {key}"), 1, Some(1), true);
        }
        Ok(())
    }
}

fn is_old(modified: SystemTime, refresh: Duration) -> bool {
    // A time in the future is that of a clock which is ahead.
    modified.elapsed().is_ok_and(|age| age > refresh)
}
