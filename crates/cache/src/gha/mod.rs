//! Caches in the cache service of GitHub Actions, or in one that speaks like it, laid out as BuildKit does:
//! an entry for each blob, called by its digest, and documents.
//!
//! An entry is never replaced, so a document is an entry with a number, and the newest counts. Branches
//! have documents of their own: a job writes that of its branch, and reads those of all branches that
//! its token is for.

mod listing;
mod protocol;
mod token;
mod wire;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bld_http::Transport;
use bld_oci::Digest;
use futures_util::StreamExt as _;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::CacheError;
use crate::s3::Pieces;
use protocol::{Source, Speaker};
use token::Scope;
use wire::Wire;

pub use listing::Listing;
pub use protocol::Protocol;
pub use token::Token;

/// How long a server may be silent. A part must get through in this time.
pub const IDLE: Duration = Duration::from_mins(2);

/// How long to wait for somebody else who writes the same document, before the next number is taken.
const PATIENCE: Duration = Duration::from_secs(15);

/// Pause before such a document is looked for again.
const PAUSE: Duration = Duration::from_secs(2);

/// A cache service. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Service {
    /// Its URL.
    pub url: String,
    /// How it is spoken to.
    pub protocol: Protocol,
}

impl std::fmt::Display for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match Url::parse(&self.url) {
            Ok(url) => {
                write!(f, "gha://{}", url.authority().rsplit('@').next().unwrap_or_default())
            }
            Err(_) => f.write_str("gha://"),
        }
    }
}

/// Which entries of a service are a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GhaCache {
    /// Where it is.
    pub service: Service,
    /// Who asks.
    pub token: Token,
    /// What tells caches of one branch apart.
    pub scope: String,
    /// How long reading or writing may take.
    pub timeout: Duration,
    /// Where the service has a list of all that it has.
    pub listing: Option<Listing>,
}

/// The key of the entry of a blob.
fn blob_key(digest: &Digest) -> String {
    format!("buildkit-blob-1-{digest}")
}

/// What the key of the document `name` of a branch begins with; a number follows.
fn index_key(name: &str, branch: &str) -> String {
    let hash = Digest::of(branch.as_bytes()).hex();
    format!("index-{name}-1-{}#", hash.get(..8).unwrap_or_default())
}

/// Reads and writes the entries of one service.
#[derive(Debug, Clone)]
pub struct Gha {
    service: Service,
    speaker: Speaker,
    scopes: Arc<Vec<Scope>>,
    timeout: Duration,
}

impl Gha {
    /// A client for `service`, which makes its requests over what `connect` makes for its URL; nothing that
    /// it does takes longer than `limit`. Nothing is asked for yet.
    ///
    /// # Errors
    /// [`CacheError::Service`] when there is no such URL, or the token is none.
    pub fn open<E: From<CacheError>>(
        service: &Service,
        token: &Token,
        limit: Duration,
        connect: impl FnOnce(&Url) -> Result<Transport, E>,
    ) -> Result<Self, E> {
        let refused = |reason: &str| CacheError::Service {
            service: service.to_string(),
            reason: reason.to_owned(),
        };
        let url = Url::parse(&format!("{}/", service.url.trim_end_matches('/')));
        let url = url.ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = url.ok_or_else(|| refused("its URL is none of http or https"))?;
        let scopes = Arc::new(token.scopes().map_err(refused)?);
        let wire = Wire::new(connect(&url)?);
        let speaker = Speaker { wire, url, protocol: service.protocol, token: token.clone() };
        Ok(Self { service: service.clone(), speaker, scopes, timeout: limit })
    }

    /// Whether the blob is there.
    ///
    /// # Errors
    /// [`CacheError::Object`]
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool, CacheError> {
        let key = blob_key(digest);
        let found = self.within("look for", &key, self.speaker.find(&key)).await?;
        Ok(found.is_some_and(|found| found.key == key))
    }

    /// The blob as it arrives; none when there is none.
    ///
    /// # Errors
    /// [`CacheError::Object`]
    pub async fn blob(&self, digest: &Digest) -> Result<Option<Pieces>, CacheError> {
        let key = blob_key(digest);
        let found = self.within("read", &key, self.speaker.find(&key)).await?;
        match found.filter(|found| found.key == key) {
            Some(found) => self.stream(&key, found.url).await,
            None => Ok(None),
        }
    }

    /// Writes the blob, of `size` bytes, which is in `file`; nothing happens if somebody else is about to.
    ///
    /// # Errors
    /// [`CacheError::Object`]
    pub async fn put_blob(
        &self,
        digest: &Digest,
        file: &Path,
        size: u64,
    ) -> Result<(), CacheError> {
        let key = blob_key(digest);
        let write = self.speaker.write(&key, Source::File(file, size));
        self.within("write", &key, write).await.map(drop)
    }

    /// The documents called `name` of all branches that may be read, of at most `limit` bytes each.
    ///
    /// # Errors
    /// [`CacheError::Object`]
    pub async fn indexes(&self, name: &str, limit: u64) -> Result<Vec<Vec<u8>>, CacheError> {
        let mut all = Vec::new();
        for scope in self.scopes.iter() {
            let key = index_key(name, &scope.name);
            let found = self.within("read", &key, self.speaker.find(&key)).await?;
            let Some(found) = found.filter(|found| found.key.starts_with(&key)) else { continue };
            let Some(mut pieces) = self.stream(&key, found.url).await? else { continue };
            let mut bytes = Vec::new();
            while let Some(piece) = pieces.next().await {
                bytes.extend(piece?);
                if bytes.len() as u64 > limit {
                    let reason = format!("it is larger than {limit} bytes");
                    return Err(self.failed("read", &key, &reason));
                }
            }
            all.push(bytes);
        }
        Ok(all)
    }

    /// Writes the document called `name` of the branch that may be written; its key.
    ///
    /// # Errors
    /// [`CacheError::Object`], also when none may be written.
    pub async fn put_index(&self, name: &str, bytes: &[u8]) -> Result<String, CacheError> {
        let scope = self.scopes.iter().rfind(|scope| scope.may_write());
        let key = index_key(name, scope.map(|scope| scope.name.as_str()).unwrap_or_default());
        if scope.is_none() {
            return Err(self.failed("write", &key, "its token is for reading only"));
        }
        self.within("write", &key, self.put_numbered(&key, bytes)).await
    }

    async fn put_numbered(&self, key: &str, bytes: &[u8]) -> Result<String, String> {
        let begun = Instant::now();
        let mut skipped = 0;
        loop {
            let newest = self.speaker.find(key).await?;
            let newest = newest.and_then(|found| found.key.strip_prefix(key)?.parse::<u64>().ok());
            let next = format!("{key}{}", newest.unwrap_or(0) + 1 + skipped);
            if self.speaker.write(&next, Source::Bytes(bytes)).await? {
                return Ok(next);
            }
            if begun.elapsed() < PATIENCE {
                tokio::time::sleep(PAUSE).await;
            } else {
                // Whoever has begun with it will not end.
                skipped += 1;
            }
        }
    }

    /// The digests of all blobs that the service has, by its list.
    ///
    /// # Errors
    /// [`CacheError::Object`]
    pub async fn listed(&self, listing: &Listing) -> Result<HashSet<String>, CacheError> {
        let prefix = blob_key(&Digest::of(b""));
        let prefix = prefix.split("sha256").next().unwrap_or_default();
        let branches: HashSet<&str> = self.scopes.iter().map(|scope| scope.name.as_str()).collect();
        let keys = listing.keys(&self.speaker.wire, prefix, &branches);
        let keys = self.within("list", prefix, keys).await.map_err(|error| match error {
            CacheError::Object { action, object, reason } => {
                CacheError::Object { action, object, reason: listing.token.hide(&reason) }
            }
            other => other,
        })?;
        Ok(keys.iter().filter_map(|key| Some(key.strip_prefix(prefix)?.to_owned())).collect())
    }

    async fn stream(&self, key: &str, url: Url) -> Result<Option<Pieces>, CacheError> {
        let (client, name) = (self.clone(), key.to_owned());
        let failed = move |reason: String| client.failed("read", &name, &reason);
        let opened = self.speaker.wire.stream(url, failed);
        self.within("read", key, opened).await
    }

    async fn within<T>(
        &self,
        action: &'static str,
        key: &str,
        work: impl Future<Output = Result<T, String>>,
    ) -> Result<T, CacheError> {
        let done = match timeout(self.timeout, work).await {
            Ok(done) => done,
            Err(_) => Err(format!("it takes longer than {} s", self.timeout.as_secs_f32())),
        };
        done.map_err(|reason| self.failed(action, key, &reason))
    }

    fn failed(&self, action: &'static str, key: &str, reason: &str) -> CacheError {
        let object = format!("{}/{key}", self.service);
        CacheError::Object { action, object, reason: self.speaker.token.hide(reason) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_buildkits() {
        let digest = Digest::of(b"");
        assert_eq!(blob_key(&digest), format!("buildkit-blob-1-sha256:{}", digest.hex()));
        // The first characters of the hash of refs/heads/main.
        assert_eq!(index_key("buildkit", "refs/heads/main"), "index-buildkit-1-f921bd05#");
    }

    #[test]
    fn a_service_is_known_by_its_host() {
        let service = |url: &str| Service { url: url.to_owned(), protocol: Protocol::V2 };
        assert_eq!(service("https://me:pw@r.example/x/?sig=y").to_string(), "gha://r.example");
        let refused = Gha::open(&service("r.example"), &Token::new("x"), IDLE, |_| {
            Err(CacheError::malformed("x", "x"))
        });
        assert!(matches!(refused, Err(CacheError::Service { .. })));
    }
}
