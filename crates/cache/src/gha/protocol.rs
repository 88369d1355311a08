//! The two protocols of the service: the older one, of `ACTIONS_CACHE_URL`, and the one of
//! `ACTIONS_RESULTS_URL`, which leaves what is large to a storage of Azure's.

use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::{Method, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Token;
use super::wire::{Answer, Ask, Wire};

/// What both protocols want besides a key: entries of different versions never meet. It is the hash of
/// `|go-actionscache-1.0`, the one of BuildKit.
const VERSION: &str = "693bb7016429d80366022f036f84856888c9f13e00145f5f6f4dce303a38d6f2";

/// Bytes that are sent in one request.
const PART: u64 = 16 << 20;

/// Parts of one entry that are sent at the same time.
const PARTS_AT_ONCE: usize = 4;

/// The version of Azure's protocol that is spoken.
const AZURE: &str = "2021-12-02";

/// Which of the protocols is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// That of `ACTIONS_CACHE_URL`.
    V1,
    /// That of `ACTIONS_RESULTS_URL`.
    V2,
}

/// What is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source<'a> {
    Bytes(&'a [u8]),
    /// A file of so many bytes.
    File(&'a Path, u64),
}

impl Source<'_> {
    fn size(self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, size) => size,
        }
    }

    /// The bytes from `start` to `end`.
    fn part(self, start: u64, end: u64) -> Result<Vec<u8>, String> {
        match self {
            Self::Bytes(bytes) => {
                let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
                let part = range.and_then(|(start, end)| bytes.get(start..end));
                part.map(<[u8]>::to_vec).ok_or_else(|| "it has become shorter".to_owned())
            }
            Self::File(path, _) => {
                let mut part = vec![0; usize::try_from(end - start).unwrap_or_default()];
                let read = File::open(path).and_then(|file| file.read_exact_at(&mut part, start));
                read.map(|()| part).map_err(|error| format!("{}: {error}", path.display()))
            }
        }
    }

    /// Where its parts begin and end; one at least.
    fn ranges(self) -> Vec<(u64, u64)> {
        let size = self.size();
        let starts = (0..size.div_ceil(PART).max(1)).map(|number| number * PART);
        starts.map(|start| (start, size.min(start + PART))).collect()
    }
}

/// An entry that is there.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) key: String,
    pub(super) url: Url,
}

/// A place for an entry that is to be written.
#[derive(Debug)]
enum Slot {
    V1(u64),
    V2(Url),
}

/// Speaks to one service.
#[derive(Debug, Clone)]
pub(super) struct Speaker {
    pub(super) wire: Wire,
    pub(super) url: Url,
    pub(super) protocol: Protocol,
    pub(super) token: Token,
}

impl Speaker {
    /// The newest entry whose key begins with `key`.
    pub(super) async fn find(&self, key: &str) -> Result<Option<Found>, String> {
        #[derive(Deserialize)]
        struct V1 {
            #[serde(rename = "cacheKey", default)]
            key: String,
            #[serde(rename = "archiveLocation", default)]
            url: String,
        }
        #[derive(Deserialize)]
        struct V2 {
            #[serde(default)]
            ok: bool,
            #[serde(default, alias = "signedDownloadUrl")]
            signed_download_url: String,
            #[serde(default, alias = "matchedKey")]
            matched_key: String,
        }
        let (key, url) = match self.protocol {
            Protocol::V1 => {
                let mut url = self.at("cache")?;
                url.query_pairs_mut().append_pair("keys", key).append_pair("version", VERSION);
                let answer = self.ask(Method::GET, url, None).await?;
                if answer.status.as_u16() == 204 {
                    return Ok(None);
                }
                let V1 { key, url } = parse(&answer.success()?)?;
                (key, url)
            }
            Protocol::V2 => {
                let body = json!({ "key": key, "restore_keys": [key], "version": VERSION });
                let answer = self.call("GetCacheEntryDownloadURL", &body).await?;
                if answer.status.as_u16() == 404 {
                    return Ok(None);
                }
                let found: V2 = parse(&answer.success()?)?;
                if !found.ok {
                    return Ok(None);
                }
                (found.matched_key, found.signed_download_url)
            }
        };
        if key.is_empty() {
            return Ok(None);
        }
        let url = Url::parse(&url).map_err(|_| "it is at no URL".to_owned())?;
        Ok(Some(Found { key, url }))
    }

    /// Writes the entry `key`; whether that was done, and not somebody else has or does.
    pub(super) async fn write(&self, key: &str, source: Source<'_>) -> Result<bool, String> {
        let Some(slot) = self.reserve(key, source.size()).await? else { return Ok(false) };
        match &slot {
            Slot::V1(id) => self.send_parts(*id, source).await?,
            Slot::V2(url) => self.send_blocks(url, source).await?,
        }
        self.commit(&slot, key, source.size()).await.map(|()| true)
    }

    /// A place for the entry `key`; none if it is taken.
    async fn reserve(&self, key: &str, size: u64) -> Result<Option<Slot>, String> {
        #[derive(Deserialize)]
        struct V1 {
            #[serde(rename = "cacheId", alias = "cacheID")]
            id: u64,
        }
        #[derive(Deserialize)]
        struct V2 {
            #[serde(default)]
            ok: bool,
            #[serde(default, alias = "signedUploadUrl")]
            signed_upload_url: String,
        }
        let answer = match self.protocol {
            Protocol::V1 => {
                let body = json!({ "key": key, "version": VERSION, "cacheSize": size });
                self.ask(Method::POST, self.at("caches")?, Some(&body)).await?
            }
            Protocol::V2 => {
                let body = json!({ "key": key, "version": VERSION });
                self.call("CreateCacheEntry", &body).await?
            }
        };
        if !answer.status.is_success() && answer.is_taken() {
            return Ok(None);
        }
        let body = answer.success()?;
        Ok(match self.protocol {
            Protocol::V1 => Some(Slot::V1(parse::<V1>(&body)?.id)),
            Protocol::V2 => {
                let V2 { ok, signed_upload_url: url } = parse(&body)?;
                let url = ok.then(|| Url::parse(&url)).transpose();
                url.map_err(|_| "it is to be written to no URL".to_owned())?.map(Slot::V2)
            }
        })
    }

    async fn send_parts(&self, id: u64, source: Source<'_>) -> Result<(), String> {
        let url = self.at(&format!("caches/{id}"))?;
        let sent = source.ranges().into_iter().filter(|(start, end)| start < end);
        let sent = sent.map(|(start, end)| {
            let url = url.clone();
            async move {
                let ask = Ask::new(Method::PATCH, url, source.part(start, end)?)
                    .with("accept", ACCEPT)
                    .with("content-type", "application/octet-stream")
                    .with("content-range", &format!("bytes {start}-{}/*", end - 1));
                self.wire.ask(&ask.authorized(&self.token)).await?.success().map(drop)
            }
        });
        stream::iter(sent).buffer_unordered(PARTS_AT_ONCE).try_collect::<()>().await
    }

    /// To Azure, which is not told who we are: the address itself is the permission.
    async fn send_blocks(&self, url: &Url, source: Source<'_>) -> Result<(), String> {
        let put = |url: Url, body: Vec<u8>| async move {
            let is_whole = !url.query_pairs().any(|(name, _)| name == "comp");
            let ask = Ask::new(Method::PUT, url, body).with("x-ms-version", AZURE);
            let ask = if is_whole { ask.with("x-ms-blob-type", "BlockBlob") } else { ask };
            self.wire.ask(&ask).await?.success().map(drop)
        };
        let ranges = source.ranges();
        if let [(start, end)] = ranges[..] {
            return put(url.clone(), source.part(start, end)?).await;
        }
        let ids = (0..ranges.len()).map(|number| STANDARD.encode(format!("{number:08}")));
        let ids: Vec<String> = ids.collect();
        let sent = ids.iter().zip(ranges).map(|(id, (start, end))| {
            let mut url = url.clone();
            url.query_pairs_mut().append_pair("comp", "block").append_pair("blockid", id);
            async move { put(url, source.part(start, end)?).await }
        });
        stream::iter(sent).buffer_unordered(PARTS_AT_ONCE).try_collect::<()>().await?;
        let mut list = "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>".to_owned();
        for id in &ids {
            // Cannot fail: it is a string.
            let _ = write!(list, "<Latest>{id}</Latest>");
        }
        list.push_str("</BlockList>");
        let mut url = url.clone();
        url.query_pairs_mut().append_pair("comp", "blocklist");
        put(url, list.into_bytes()).await
    }

    async fn commit(&self, slot: &Slot, key: &str, size: u64) -> Result<(), String> {
        #[derive(Deserialize)]
        struct Done {
            #[serde(default)]
            ok: bool,
        }
        match slot {
            Slot::V1(id) => {
                let url = self.at(&format!("caches/{id}"))?;
                let body = json!({ "size": size });
                self.ask(Method::POST, url, Some(&body)).await?.success().map(drop)
            }
            Slot::V2(_) => {
                let body = json!({ "key": key, "size_bytes": size, "version": VERSION });
                let answer = self.call("FinalizeCacheEntryUpload", &body).await?;
                match parse::<Done>(&answer.success()?)? {
                    Done { ok: true } => Ok(()),
                    Done { ok: false } => Err("the service does not take it".to_owned()),
                }
            }
        }
    }

    /// The address of something of the older protocol.
    fn at(&self, path: &str) -> Result<Url, String> {
        let url = self.url.join(&format!("_apis/artifactcache/{path}"));
        url.map_err(|error| error.to_string())
    }

    async fn ask(&self, method: Method, url: Url, body: Option<&Value>) -> Result<Answer, String> {
        let body = body.map_or_else(String::new, Value::to_string);
        let ask = Ask::new(method, url, body).with("accept", ACCEPT);
        let ask = ask.with("content-type", "application/json").authorized(&self.token);
        self.wire.ask(&ask).await
    }

    /// Calls a method of the newer protocol.
    async fn call(&self, method: &str, body: &Value) -> Result<Answer, String> {
        let path = format!("twirp/github.actions.results.api.v1.CacheService/{method}");
        let url = self.url.join(&path).map_err(|error| error.to_string())?;
        let ask = Ask::new(Method::POST, url, body.to_string());
        let ask = ask.with("content-type", "application/json").authorized(&self.token);
        self.wire.ask(&ask).await
    }
}

/// The version of the older protocol.
const ACCEPT: &str = "application/json;api-version=6.0-preview.1";

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("its answer is malformed: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_buildkits() {
        assert_eq!(bld_oci::Digest::of(b"|go-actionscache-1.0").hex(), VERSION);
    }

    #[test]
    fn parts_cover_everything() {
        let ranges = |size| Source::File(Path::new("x"), size).ranges();
        assert_eq!(ranges(0), [(0, 0)]);
        assert_eq!(ranges(7), [(0, 7)]);
        assert_eq!(ranges(PART), [(0, PART)]);
        assert_eq!(ranges(PART + 1), [(0, PART), (PART, PART + 1)]);
    }
}
