//! Caches in a bucket of S3, or of what speaks like it, laid out as BuildKit does: a document for each
//! name, and blobs called by their digests.
//!
//! Requests go over [`bld_http`], as all others do; signing, retries and the ways to get credentials
//! in a cloud are `object_store`'s.

mod credentials;
mod wire;

use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bld_http::Transport;
use bld_oci::Digest;
use futures_util::stream::FuturesUnordered;
use futures_util::{Stream, StreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, AwsAuthorizer};
use object_store::client::{HttpClient, HttpRequest, HttpRequestBody};
use object_store::path::Path as Key;
use object_store::{BackoffConfig, ObjectStoreExt as _, RetryConfig};
use reqwest::{Method, Url};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tokio_util::bytes::Bytes;

use crate::CacheError;

pub use credentials::{AccessKeys, Surroundings};

/// Bytes of a part of an object that is sent in several; S3 takes no less than 5 MiB.
const PART: u64 = 8 << 20;

/// Parts of an object that are sent at the same time.
const PARTS_AT_ONCE: usize = 4;

/// Parts that an object has at most.
const PARTS_MAX: u64 = 10_000;

/// The largest object that S3 copies in one request.
const COPY_MAX: u64 = 5 << 30;

/// How long a server may be silent. A part must get through in this time.
pub const IDLE: Duration = Duration::from_mins(2);

/// A bucket. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// Its region; that of the surroundings if none.
    pub region: Option<String>,
    /// URL of the service; that of the surroundings, or Amazon's, if none.
    pub endpoint: Option<String>,
    /// Whether the bucket is the first part of the path, and not of the host's name.
    pub path_style: bool,
}

impl std::fmt::Display for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "s3://{}", self.name)
    }
}

/// Which objects of a bucket are a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Cache {
    /// Where it is.
    pub bucket: Bucket,
    /// Keys, if not those of the surroundings.
    pub keys: Option<AccessKeys>,
    /// What the keys of documents begin with.
    pub manifests: String,
    /// What the keys of blobs begin with.
    pub blobs: String,
    /// Names of the document, one at least.
    pub names: Vec<String>,
}

impl S3Cache {
    /// The key of the document called `name`.
    pub fn manifest_key(&self, name: &str) -> String {
        format!("{}{name}", self.manifests)
    }

    /// The key of a blob.
    pub fn blob_key(&self, digest: &Digest) -> String {
        blob_key(&self.blobs, digest)
    }
}

/// The key of a blob where such keys begin with `prefix`.
pub fn blob_key(prefix: &str, digest: &Digest) -> String {
    format!("{prefix}{digest}")
}

/// What is known of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object {
    /// Bytes.
    pub size: u64,
    /// When it was written.
    pub modified: SystemTime,
}

/// A body as it arrives.
pub type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, CacheError>> + Send>>;

/// Reads and writes the objects of one bucket.
#[derive(Debug, Clone)]
pub struct S3 {
    bucket: Bucket,
    region: String,
    /// URL of the bucket, without a slash at its end.
    base: String,
    store: Arc<AmazonS3>,
    http: HttpClient,
}

impl S3 {
    /// A client for `bucket`, which makes its requests over what `connect` makes for the URL of the
    /// service. Nothing is asked for yet.
    ///
    /// # Errors
    /// [`CacheError::Bucket`] when there is no saying where it is, or who we are.
    pub fn open<E>(
        bucket: &Bucket,
        keys: Option<&AccessKeys>,
        surroundings: &Surroundings,
        connect: impl FnOnce(&Url) -> Result<Transport, E>,
    ) -> Result<Self, E>
    where
        E: From<CacheError>,
    {
        let refused = |reason: String| CacheError::Bucket { bucket: bucket.to_string(), reason };
        let profile = surroundings.profile().map_err(refused)?;
        let endpoint = bucket.endpoint.clone().or_else(|| profile.endpoint.clone());
        let region = bucket.region.clone().or_else(|| profile.region.clone());
        let region = match (region, &endpoint) {
            (Some(region), _) => region,
            // Services other than Amazon's have one, and this is what they call it.
            (None, Some(_)) => "us-east-1".to_owned(),
            (None, None) => {
                let reason = "its region is not known: give region=, or set AWS_REGION";
                return Err(refused(reason.to_owned()).into());
            }
        };
        let url = base(bucket, endpoint.as_deref(), &region).map_err(refused)?;
        let base = url.as_str().trim_end_matches('/').to_owned();
        let connector = wire::Connector::new(connect(&url)?);
        let http = connector.client();
        let mut builder = AmazonS3Builder::new()
            .with_http_connector(connector)
            .with_bucket_name(&bucket.name)
            .with_region(&region)
            // The bucket is in the URL already.
            .with_virtual_hosted_style_request(true)
            .with_endpoint(&base)
            .with_allow_http(true)
            .with_retry(RetryConfig {
                max_retries: 5,
                backoff: BackoffConfig {
                    init_backoff: Duration::from_millis(200),
                    max_backoff: Duration::from_secs(5),
                    base: 2.,
                },
                ..RetryConfig::default()
            });
        for (name, value) in surroundings.of_cloud() {
            if let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() {
                builder = builder.with_config(key, value);
            }
        }
        if let Some(keys) = keys.or(profile.keys.as_ref()) {
            if !keys.are_sound() {
                return Err(refused("its keys have characters that no key has".to_owned()).into());
            }
            builder = builder.with_access_key_id(&keys.id).with_secret_access_key(&keys.secret);
            if let Some(token) = &keys.token {
                builder = builder.with_token(token);
            }
        } else if !surroundings.has_cloud() {
            profile.usable().map_err(refused)?;
        }
        let store = builder.build().map_err(|error| refused(wire::reason(&error)))?;
        Ok(Self { bucket: bucket.clone(), region, base, store: Arc::new(store), http })
    }

    /// What is known of the object `key`; none when there is none.
    ///
    /// # Errors
    /// [`CacheError::Object`]
    pub async fn head(&self, key: &str) -> Result<Option<Object>, CacheError> {
        match self.store.head(&self.key(key)?).await {
            Ok(meta) => Ok(Some(Object { size: meta.size, modified: meta.last_modified.into() })),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("look for", key, &error)),
        }
    }

    /// The object `key`, which has at most `limit` bytes; none when there is none.
    ///
    /// # Errors
    /// [`CacheError::Object`]
    pub async fn read(&self, key: &str, limit: u64) -> Result<Option<Vec<u8>>, CacheError> {
        let Some(mut pieces) = self.stream(key).await? else { return Ok(None) };
        let mut bytes = Vec::new();
        while let Some(piece) = pieces.next().await {
            bytes.extend(piece?);
            if bytes.len() as u64 > limit {
                let reason = format!("it is larger than {limit} bytes");
                return Err(self.refused("read", key, reason));
            }
        }
        Ok(Some(bytes))
    }

    /// The object `key` as it arrives; none when there is none.
    ///
    /// # Errors
    /// [`CacheError::Object`]
    pub async fn stream(&self, key: &str) -> Result<Option<Pieces>, CacheError> {
        let found = match self.store.get(&self.key(key)?).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            other => other.map_err(|error| self.failed("read", key, &error))?,
        };
        let (client, key) = (self.clone(), key.to_owned());
        let pieces = futures_util::stream::unfold(found.into_stream(), move |mut stream| {
            let (client, key) = (client.clone(), key.clone());
            async move {
                let piece = match timeout(IDLE, stream.next()).await {
                    Ok(piece) => piece?.map_err(|error| client.failed("read", &key, &error)),
                    Err(_) => Err(client.refused("read", &key, "nothing was received".to_owned())),
                };
                Some((piece, stream))
            }
        });
        Ok(Some(Box::pin(pieces)))
    }

    /// Makes `bytes` the object `key`.
    ///
    /// # Errors
    /// [`CacheError::Object`]
    pub async fn write(&self, key: &str, bytes: Vec<u8>) -> Result<(), CacheError> {
        let written = self.store.put(&self.key(key)?, bytes.into()).await;
        written.map(drop).map_err(|error| self.failed("write", key, &error))
    }

    /// Makes the contents of a file of `size` bytes the object `key`.
    ///
    /// # Errors
    /// [`CacheError::Object`], [`CacheError::Io`]
    pub async fn upload(&self, key: &str, file: &Path, size: u64) -> Result<(), CacheError> {
        let mut from = File::open(file).map_err(CacheError::io("open", file))?;
        let part_size = PART.max(size.div_ceil(PARTS_MAX));
        let mut part = || {
            let mut part = Vec::new();
            let read = from.by_ref().take(part_size).read_to_end(&mut part);
            read.map(|_| part).map_err(CacheError::io("read", file))
        };
        if size <= part_size {
            return self.write(key, part()?).await;
        }
        let failed = |error: object_store::Error| self.failed("write", key, &error);
        let mut upload = self.store.put_multipart(&self.key(key)?).await.map_err(failed)?;
        let sent = async {
            let mut sending = FuturesUnordered::new();
            loop {
                let next = part()?;
                if next.is_empty() {
                    break;
                }
                sending.push(upload.put_part(next.into()));
                if sending.len() == PARTS_AT_ONCE
                    && let Some(sent) = sending.next().await
                {
                    sent.map_err(failed)?;
                }
            }
            while let Some(sent) = sending.next().await {
                sent.map_err(failed)?;
            }
            Ok(())
        };
        let sent: Result<(), CacheError> = sent.await;
        if sent.is_err() {
            // Its parts would be paid for; that they could not be removed says nothing new.
            let _ = upload.abort().await;
            return sent;
        }
        upload.complete().await.map(drop).map_err(failed)
    }

    /// Makes the object `key`, of `size` bytes, as new as if it had just been written, so that rules of
    /// the bucket that remove what is old spare it; whether that was possible.
    pub async fn touch(&self, key: &str, size: u64) -> bool {
        size <= COPY_MAX && self.copy_onto_itself(key).await.is_ok()
    }

    /// `object_store` makes no copies with other metadata, and none that are the same may be made.
    async fn copy_onto_itself(&self, key: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
        let path = wire::encoded(key);
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = Method::PUT;
        *request.uri_mut() = format!("{}/{path}", self.base).parse()?;
        let now = jiff::Timestamp::now().to_string();
        for (name, value) in [
            ("x-amz-copy-source", format!("{}/{path}", self.bucket.name).as_str()),
            ("x-amz-metadata-directive", "REPLACE"),
            ("x-amz-meta-updated-at", &now),
        ] {
            request.headers_mut().insert(name, value.parse()?);
        }
        let credentials = self.store.credentials().get_credential().await?;
        AwsAuthorizer::new(&credentials, "s3", &self.region).try_authorize(&mut request, None)?;
        let answer = self.http.execute(request).await?;
        let is_done = answer.status().is_success();
        let mut body = Vec::new();
        let mut pieces = answer.into_body().bytes_stream();
        while let Some(piece) = timeout(IDLE, pieces.next()).await? {
            body.extend_from_slice(&piece?);
        }
        // A copy can fail after it was said to be well.
        if is_done && !String::from_utf8_lossy(&body).contains("<Error>") {
            return Ok(());
        }
        Err("the copy was refused".into())
    }

    fn key(&self, key: &str) -> Result<Key, CacheError> {
        Key::parse(key).map_err(|_| {
            let reason = "a part of its name is empty, `.` or `..`, or has odd characters";
            self.refused("use", key, reason.to_owned())
        })
    }

    fn failed(&self, action: &'static str, key: &str, error: &object_store::Error) -> CacheError {
        self.refused(action, key, wire::reason(error))
    }

    fn refused(&self, action: &'static str, key: &str, reason: String) -> CacheError {
        CacheError::Object { action, object: format!("{}/{key}", self.bucket), reason }
    }
}

/// URL of a bucket.
fn base(bucket: &Bucket, endpoint: Option<&str>, region: &str) -> Result<Url, String> {
    let name = &bucket.name;
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if name.is_empty() || !name.bytes().all(is_host) || !region.bytes().all(is_host) {
        return Err("the name of a bucket or of its region has other characters".to_owned());
    }
    let amazon = || {
        let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        format!("https://s3.{region}.{domain}")
    };
    let text = endpoint.map_or_else(amazon, str::to_owned);
    let malformed = || format!("its endpoint {text:?} is no URL of http or https");
    let mut url = Url::parse(&text).map_err(|_| malformed())?;
    let host = url.host_str().map(str::to_owned).ok_or_else(malformed)?;
    if !matches!(url.scheme(), "http" | "https") || url.query().is_some() {
        return Err(malformed());
    }
    let is_address = host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok();
    // A certificate for all buckets is good for one label only.
    let has_dots = url.scheme() == "https" && name.contains('.');
    if bucket.path_style || is_address || has_dots {
        let path = format!("{}/{name}", url.path().trim_end_matches('/'));
        url.set_path(&path);
    } else {
        url.set_host(Some(&format!("{name}.{host}"))).map_err(|_| malformed())?;
    }
    Ok(url)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    fn url(name: &str, endpoint: Option<&str>, path_style: bool) -> String {
        let bucket = Bucket { name: name.to_owned(), region: None, endpoint: None, path_style };
        base(&bucket, endpoint, "eu-west-1").map_or_else(|error| error, |url| url.to_string())
    }

    #[test]
    fn where_buckets_are() {
        assert_eq!(url("b", None, false), "https://b.s3.eu-west-1.amazonaws.com/");
        assert_eq!(url("b", None, true), "https://s3.eu-west-1.amazonaws.com/b");
        assert_eq!(url("b.c", None, false), "https://s3.eu-west-1.amazonaws.com/b.c");
        assert_eq!(url("b", Some("https://s3.example:9000/"), false), "https://b.s3.example:9000/");
        assert_eq!(url("b", Some("https://s3.example/x/"), true), "https://s3.example/x/b");
        assert_eq!(url("b", Some("http://127.0.0.1:9000"), false), "http://127.0.0.1:9000/b");
        assert!(url("b", Some("s3.example"), false).contains("no URL"));
        assert!(url("a/b", None, false).contains("other characters"));
    }

    #[test]
    fn keys_are_buildkits() {
        let cache = S3Cache {
            bucket: Bucket {
                name: "b".to_owned(),
                region: None,
                endpoint: None,
                path_style: false,
            },
            keys: None,
            manifests: "team/manifests/".to_owned(),
            blobs: "team/blobs/".to_owned(),
            names: vec!["buildkit".to_owned()],
        };
        let digest = Digest::of(b"");
        assert_eq!(cache.manifest_key("main"), "team/manifests/main");
        assert_eq!(cache.blob_key(&digest), format!("team/blobs/sha256:{}", digest.hex()));
        Key::parse(cache.blob_key(&digest)).unwrap();
    }
}
