//! Caches in the cache service of GitHub Actions.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bld_cache::gha::{self, Gha, GhaCache, Service, Token};
use bld_cache::{Cache, CacheError};
use bld_event::Task;
use bld_http::{Options, Transport, is_loopback};
use bld_store::LayerBlob;

use super::export::Exporter;
use super::objects::Objects;
use crate::{EngineError, Net, Result, trust};

/// The services of one engine. A token that a build gave for one is good for all that it needs of it.
#[derive(Debug, Default)]
pub(crate) struct Services(Mutex<HashMap<Service, Gha>>);

/// How long something may take where nobody has said it.
const TIMEOUT: Duration = Duration::from_mins(10);

/// Blobs that are sent at the same time; each is sent in parts, several at the same time.
const PARALLELISM: usize = 2;

impl Net {
    /// A client for `service`, by what a build says of it, or else by the token of the surroundings.
    pub(super) fn gha(&self, service: &Service, cache: Option<&GhaCache>) -> Result<Gha> {
        let mut known = self.services.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = known.get(service)
            && cache.is_none()
        {
            return Ok(client.clone());
        }
        let refused = |reason: String| {
            EngineError::from(CacheError::Service { service: service.to_string(), reason })
        };
        let token: Option<&Token> =
            cache.map(|cache| &cache.token).or(self.config.actions_token.as_ref());
        let token = token.ok_or_else(|| {
            refused(
                "there is no token: set ACTIONS_RUNTIME_TOKEN, as jobs of GitHub have it".into(),
            )
        })?;
        let limit = cache.map_or(TIMEOUT, |cache| cache.timeout);
        let client = Gha::open(service, token, limit, |url| {
            let mut settings = trust::registries(&self.config)?;
            let trusted = settings.registries.remove(url.authority()).unwrap_or_default();
            let options = Options {
                verify: settings.tls_verify,
                downgrade: false,
                authorities: trusted.authorities,
                identity: None,
                direct: is_loopback(url),
                idle: gha::IDLE,
            };
            Transport::new(options).map_err(|error| refused(error.to_string()))
        })?;
        known.insert(service.clone(), client.clone());
        Ok(client)
    }
}

/// A service that a cache is written to.
struct Target {
    client: Gha,
    /// What it says it has, if it has said that.
    listed: Option<HashSet<String>>,
}

impl Objects for Target {
    async fn has(&self, blob: &LayerBlob) -> Result<bool, CacheError> {
        match &self.listed {
            Some(listed) => Ok(listed.contains(&blob.digest.to_string())),
            None => self.client.has_blob(&blob.digest).await,
        }
    }

    async fn put(&self, blob: &LayerBlob, file: &Path) -> Result<(), CacheError> {
        self.client.put_blob(&blob.digest, file, blob.size).await
    }
}

impl Exporter<'_> {
    /// Writes `cache` as a document, and as an entry for each blob that is not there.
    pub(super) fn write_entries(&self, gha: &GhaCache, cache: &Cache, task: &Task) -> Result<()> {
        let client = self.engine.net().gha(&gha.service, Some(gha))?;
        let listed = match &gha.listing {
            Some(listing) => Some(self.engine.block_on(client.listed(listing))??),
            None => None,
        };
        let target = Target { client, listed };
        self.write_blobs(&target, cache, PARALLELISM, task)?;
        let document = cache.to_bytes_alone()?;
        let written = target.client.put_index(&gha.scope, &document);
        let key = self.engine.block_on(written)??;
        task.progress(format!("writing cache manifest {key}"), 1, Some(1), true);
        Ok(())
    }
}
