//! Sending blobs: not at all where the registry has them, in pieces where they are large.
//!
//! A blob goes through an upload session, `POST` to open it, `PUT` to name the result. In between,
//! a small blob is the body of the `PUT`, which every registry takes; a large one comes in `PATCH`
//! requests of one piece each, so that after a broken connection the registry is asked how far it
//! got and sending goes on from there. Registries that take no pieces get large blobs whole, too.

use std::io::{self, Seek as _, SeekFrom};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bld_http::TransportError;
use bld_oci::Digest;
use bld_store::{Store, StoreError};
use futures_util::stream::{BoxStream, StreamExt as _};
use reqwest::header::{
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RANGE,
};
use reqwest::{Body, Method, Request, Response, StatusCode, Url};
use tokio::io::AsyncReadExt as _;
use tokio_util::bytes::Bytes;
use tokio_util::io::ReaderStream;

use crate::blob::pieces;
use crate::error::RegistryError;
use crate::progress::Item;
use crate::repository::Repository;
use crate::retry::Backoff;
use crate::sync::lock;

/// What is read from disk at once.
const READ: usize = 256 << 10;
/// Registries hash and move a blob before they confirm it; a large one takes its time.
const CONFIRMATION: Duration = Duration::from_mins(5);
/// How often it is looked whether anything still moves.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Where the bytes of a blob come from.
#[derive(Debug)]
pub(crate) enum Source<'a> {
    Store(&'a Store),
    /// A repository, and why it did not give the bytes, if so.
    Repository(Repository, Arc<Mutex<Option<RegistryError>>>),
}

impl Source<'_> {
    /// The bytes in `range` of the blob `digest`.
    fn read(
        &self,
        digest: Digest,
        size: u64,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, io::Result<Bytes>>, RegistryError> {
        match self {
            Self::Store(store) => {
                let mut file = store.open_blob(&digest)?;
                file.seek(SeekFrom::Start(range.start)).map_err(|source| StoreError::Io {
                    action: "seek in",
                    path: store.blob_path(&digest),
                    source,
                })?;
                let file = tokio::fs::File::from_std(file).take(range.end - range.start);
                Ok(ReaderStream::with_capacity(file, READ).boxed())
            }
            Self::Repository(repository, failure) => {
                let failure = Arc::clone(failure);
                let read = pieces(repository.clone(), digest, size, range).map(move |piece| {
                    piece.map_err(|error| {
                        let told = io::Error::other(error.to_string());
                        *lock(&failure) = Some(error);
                        told
                    })
                });
                Ok(read.boxed())
            }
        }
    }

    /// Why sending the bytes has failed, if it was for reading them.
    fn cause(&self) -> Option<RegistryError> {
        match self {
            Self::Store(_) => None,
            Self::Repository(_, failure) => lock(failure).take(),
        }
    }
}

/// A blob to be sent.
#[derive(Debug)]
pub(crate) struct Upload<'a> {
    pub(crate) source: Source<'a>,
    pub(crate) repository: &'a Repository,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// Repositories of the same registry that may have the blob.
    pub(crate) mount_from: &'a [String],
    /// Size above which, and in which, the blob is sent in pieces.
    pub(crate) chunk_size: u64,
    pub(crate) idle: Duration,
    pub(crate) item: Item,
}

/// How far a session is.
struct Session {
    location: Url,
    offset: u64,
    /// The smallest piece that the registry takes.
    least: u64,
}

/// What opening a session came to.
enum Opened {
    /// The registry took the blob from another repository.
    Mounted,
    Session(Session),
}

impl Upload<'_> {
    /// Makes sure that the repository has the blob.
    pub(crate) async fn run(&self) -> Result<(), RegistryError> {
        if !self.exists().await?
            && let Err(error) = self.send().await
        {
            if let Source::Store(store) = self.source {
                // No registry takes what is not what its name says, and few tell why.
                store.verify_blob(&self.digest)?;
            }
            return Err(error);
        }
        self.item.done();
        Ok(())
    }

    async fn exists(&self) -> Result<bool, RegistryError> {
        let url = self.repository.url(&format!("blobs/{}", self.digest))?;
        self.is_at(&url).await
    }

    async fn is_at(&self, url: &Url) -> Result<bool, RegistryError> {
        let request = || Ok(Request::new(Method::HEAD, url.clone()));
        match self.repository.send("look for a blob", &request).await {
            Ok(_) => Ok(true),
            // Who may not look may still be allowed to send, and is told so if not.
            Err(error) if is_refusal(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn send(&self) -> Result<(), RegistryError> {
        let mut backoff = Backoff::new(self.repository.retry);
        let mut chunked = self.size > self.chunk_size;
        let mut session = None;
        let mut furthest = 0;
        loop {
            let mut current = match session.take() {
                Some(session) => session,
                None => match self.open().await? {
                    Opened::Mounted => return Ok(()),
                    Opened::Session(session) => {
                        self.item.set(0);
                        session
                    }
                },
            };
            let location = current.location.clone();
            let result = if chunked {
                self.send_chunks(&mut current).await
            } else {
                self.finish(&current, true).await
            };
            let Err(error) = result else { return Ok(()) };
            if chunked && current.offset == 0 && is_refusal(&error) {
                chunked = false;
                continue;
            }
            // Only new ground counts: sessions that all break at the same place do not go on.
            if current.offset > furthest {
                furthest = current.offset;
                backoff.reset();
            }
            backoff.after(self.with_lost_count(error)).await?;
            if chunked {
                session = self.resume(&location, current).await;
            }
            // The registry may have got it all, and only its answer was lost.
            if session.is_none() && self.exists().await? {
                return Ok(());
            }
            self.item.set(session.as_ref().map_or(0, |session| session.offset));
        }
    }

    /// A registry that counts otherwise than we do gets the piece again, like one that was lost.
    fn with_lost_count(&self, error: RegistryError) -> RegistryError {
        match error.status() {
            Some(StatusCode::RANGE_NOT_SATISFIABLE) => {
                let source = TransportError::new("the registry lost count of the bytes");
                self.repository.interrupted(&self.action(), source)
            }
            _ => error,
        }
    }

    /// Opens a session, or has the blob mounted from another repository.
    async fn open(&self) -> Result<Opened, RegistryError> {
        if let Some(from) = self.lender().await? {
            let pairs = [("mount", self.digest.to_string()), ("from", from.clone())];
            match self.post(&pairs).await {
                Ok(response) if response.status() == StatusCode::CREATED => {
                    return Ok(Opened::Mounted);
                }
                Ok(response) => return self.opened(&response),
                // A repository that may not be mounted from is no reason not to upload.
                Err(error) if is_refusal(&error) => {}
                Err(error) => return Err(error),
            }
        }
        self.opened(&self.post(&[]).await?)
    }

    /// The repository to mount the blob from. One is asked straight away, by mounting; of several,
    /// the first that has the blob.
    async fn lender(&self) -> Result<Option<&String>, RegistryError> {
        if self.mount_from.len() <= 1 {
            return Ok(self.mount_from.first());
        }
        for from in self.mount_from {
            let path = format!("{from}/blobs/{}", self.digest);
            let url = self.repository.endpoint.base.join(&path);
            let url = url.map_err(|_| self.repository.protocol(format!("{path:?} has no URL")))?;
            if self.is_at(&url).await? {
                return Ok(Some(from));
            }
        }
        Ok(None)
    }

    async fn post(&self, query: &[(&str, String)]) -> Result<Response, RegistryError> {
        let mut url = self.repository.url("blobs/uploads/")?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = || {
            let mut request = Request::new(Method::POST, url.clone());
            request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            Ok(request)
        };
        self.repository.send("open an upload", &request).await
    }

    fn opened(&self, response: &Response) -> Result<Opened, RegistryError> {
        let location = self.location(response, response.url())?;
        let least = number(response, "oci-chunk-min-length").unwrap_or(1);
        Ok(Opened::Session(Session { location, offset: 0, least }))
    }

    /// Sends what is missing in pieces and closes the session.
    async fn send_chunks(&self, session: &mut Session) -> Result<(), RegistryError> {
        let step = self.chunk_size.max(session.least).max(1);
        while session.offset < self.size {
            let (start, end) = (session.offset, self.size.min(session.offset + step));
            let location = session.location.clone();
            let request = |sent: &Arc<AtomicU64>| {
                let mut request = self.with_body(Method::PATCH, &location, start, end, sent)?;
                let range = HeaderValue::from_str(&format!("{start}-{}", end - 1));
                request.headers_mut().extend(range.ok().map(|range| (CONTENT_RANGE, range)));
                Ok(request)
            };
            let response = self.stream(end - start, &request).await?;
            session.location = self.location(&response, &session.location)?;
            session.offset =
                accepted(&response).filter(|&at| at > start && at <= end).unwrap_or(end);
        }
        self.finish(session, false).await
    }

    /// Closes the session, with the whole blob as the body or with none.
    async fn finish(&self, session: &Session, with_body: bool) -> Result<(), RegistryError> {
        let mut url = session.location.clone();
        url.query_pairs_mut().append_pair("digest", &self.digest.to_string());
        let end = if with_body { self.size } else { 0 };
        let request = |sent: &Arc<AtomicU64>| self.with_body(Method::PUT, &url, 0, end, sent);
        self.stream(end, &request).await.map(drop)
    }

    /// Where a broken session goes on, `None` when it does not.
    async fn resume(&self, location: &Url, session: Session) -> Option<Session> {
        // The newest location is the better one, but its answer may have been lost on the way.
        let locations = [&session.location, location];
        for location in locations {
            let request = || Ok(Request::new(Method::GET, location.clone()));
            let answer = self.repository.send_once("ask how far an upload is", &request).await;
            if let Ok(response) = answer
                && let Ok(next) = self.location(&response, location)
            {
                let offset = accepted(&response).filter(|&at| at <= self.size)?;
                return Some(Session { location: next, offset, least: session.least });
            }
        }
        None
    }

    /// Sends a request that streams `length` bytes, and gives up when nothing moves any more.
    async fn stream(
        &self,
        length: u64,
        request: &(dyn Fn(&Arc<AtomicU64>) -> Result<Request, RegistryError> + Send + Sync),
    ) -> Result<Response, RegistryError> {
        let sent = Arc::new(AtomicU64::new(0));
        let build = || {
            sent.store(0, Ordering::Relaxed);
            request(&sent)
        };
        let action = self.action();
        tokio::select! {
            answer = self.repository.send_once(&action, &build) => {
                answer.map_err(|error| self.source.cause().unwrap_or(error))
            }
            after = stalled(&sent, length, self.idle) => {
                Err(self.repository.interrupted(&action, TransportError::timed_out(after)))
            }
        }
    }

    /// A request whose body are the bytes from `start` to `end` of the blob, counted in `sent`.
    fn with_body(
        &self,
        method: Method,
        url: &Url,
        start: u64,
        end: u64,
        sent: &Arc<AtomicU64>,
    ) -> Result<Request, RegistryError> {
        let length = end - start;
        let mut request = Request::new(method, url.clone());
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        if length > 0 {
            let (sent, item) = (Arc::clone(sent), self.item.clone());
            let pieces = self.source.read(self.digest, self.size, start..end)?;
            let body = pieces.inspect(move |piece| {
                if let Ok(piece) = piece {
                    let now = sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
                    item.set(start + now + piece.len() as u64);
                }
            });
            *request.body_mut() = Some(Body::wrap_stream(body));
        }
        Ok(request)
    }

    /// Where the session goes on, as an answer says.
    fn location(&self, response: &Response, base: &Url) -> Result<Url, RegistryError> {
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        location
            .and_then(|location| base.join(location).ok())
            .ok_or_else(|| self.repository.protocol("an upload has no location"))
    }

    fn action(&self) -> String {
        format!("upload blob {}", self.digest)
    }
}

/// Ends when an upload has stood still for too long; says for how long.
async fn stalled(sent: &AtomicU64, length: u64, idle: Duration) -> Duration {
    let mut last = (0, tokio::time::Instant::now());
    loop {
        tokio::time::sleep(WATCH_INTERVAL.min(idle)).await;
        let now = sent.load(Ordering::Relaxed);
        if now != last.0 {
            last = (now, tokio::time::Instant::now());
        }
        let limit = if now >= length { idle.max(CONFIRMATION) } else { idle };
        if last.1.elapsed() >= limit {
            return limit;
        }
    }
}

/// How many bytes of a session the registry has, by the `Range` of its answer, `0-<last>`. A fresh
/// session says `0-0`, which stands for none here: one byte too few is found out, one too many not.
fn accepted(response: &Response) -> Option<u64> {
    let range = response.headers().get(RANGE)?.to_str().ok()?;
    let range = range.strip_prefix("bytes=").unwrap_or(range);
    let last: u64 = range.strip_prefix("0-")?.parse().ok()?;
    Some(if last == 0 { 0 } else { last + 1 })
}

fn number(response: &Response, header: &'static str) -> Option<u64> {
    response.headers().get(HeaderName::from_static(header))?.to_str().ok()?.parse().ok()
}

/// Whether the registry understood and does not want: not what another attempt would change.
fn is_refusal(error: &RegistryError) -> bool {
    let denied = matches!(error, RegistryError::Denied { .. });
    denied || (error.status().is_some() && !error.is_transient())
}
