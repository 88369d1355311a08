//! Receiving blobs: verified while they stream, resumed where they broke off.

use std::ops::Range;
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bld_http::TransportError;
use bld_oci::{Descriptor, DescriptorExt as _, Digest, Hasher, Reference};
use bld_store::{KeyLock, Lease, Store, StoreError};
use futures_util::stream::{self, Stream, TryStreamExt as _};
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderValue, RANGE};
use reqwest::{Method, Request, Response, StatusCode};
use tokio_util::bytes::Bytes;

use crate::ahead::Ahead;
use crate::client::{Client, Need};
use crate::error::RegistryError;
use crate::progress::{Item, Reporter};
use crate::repository::Repository;
use crate::retry::Backoff;
use crate::sink::Sink;
use crate::sync::lock;
use crate::tap::Tap;

/// An attempt that brought this much counts as a fresh start: a large blob over a bad line takes
/// many.
const GOOD_PROGRESS: u64 = 1 << 20;
/// What is less than so many pieces is received in one.
const PIECES_MIN: u64 = 4;
/// How often another process that receives the same blob is looked after.
const PEER_INTERVAL: Duration = Duration::from_millis(50);

impl Client {
    /// Puts the blob that `descriptor` describes into `store`, from a repository that has it. A
    /// blob that is there already, or that another process is receiving, is not transferred again,
    /// but held by `lease`.
    ///
    /// # Errors
    /// [`RegistryError::WrongDigest`] and [`RegistryError::WrongSize`] when the bytes are not those
    /// described; nothing of them is kept then.
    pub async fn fetch_blob(
        &self,
        store: &Store,
        lease: &Lease,
        reference: &Reference,
        descriptor: &Descriptor,
        reporter: &Reporter,
    ) -> Result<Digest, RegistryError> {
        self.fetch_tapped(store, lease, reference, descriptor, reporter, Tap::default()).await
    }

    /// As [`Client::fetch_blob`]; what is received goes through `tap` at the same time. A blob that
    /// did not have to be received does not: the tap just closes.
    ///
    /// # Errors
    /// As [`Client::fetch_blob`].
    pub async fn fetch_tapped(
        &self,
        store: &Store,
        lease: &Lease,
        reference: &Reference,
        descriptor: &Descriptor,
        reporter: &Reporter,
        tap: Tap,
    ) -> Result<Digest, RegistryError> {
        let digest = descriptor.sha256().map_err(|error| RegistryError::Malformed {
            what: format!("manifest of {reference}"),
            reason: error.to_string(),
        })?;
        let item = reporter.blob(descriptor);
        // Held until the blob is there, so that it is received once on this machine.
        let Some(_lock) = lock_unless_there(store, lease, &digest).await? else {
            item.done();
            return Ok(digest);
        };
        item.set(0);
        if let Some(data) = inline(descriptor) {
            store.put_blob(&data)?;
            item.done();
            return Ok(digest);
        }
        let piece_size = self.config().piece_size.max(1);
        let wanted = Wanted { digest, size: descriptor.size(), piece_size };
        // Of several places to receive it from, the first that has it.
        let tap = Mutex::new(tap);
        let receive = async |repository| receive(store, &repository, wanted, &item, &tap).await;
        self.find(reference, Need::Content, receive).await?;
        item.done();
        Ok(digest)
    }
}

impl Client {
    /// Reads a small blob into memory, such as a configuration, without keeping it.
    ///
    /// # Errors
    /// As [`Client::fetch_blob`]; [`RegistryError::Malformed`] for what is larger than `limit`, in
    /// bytes.
    pub async fn read_blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        limit: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        let malformed = |reason: String| RegistryError::Malformed {
            what: format!("manifest of {reference}"),
            reason,
        };
        let digest = descriptor.sha256().map_err(|error| malformed(error.to_string()))?;
        let size = descriptor.size();
        if size > limit {
            return Err(malformed(format!("{digest} is larger than {limit} bytes")));
        }
        if let Some(data) = inline(descriptor) {
            return Ok(data);
        }
        let read = |repository: Repository| async move {
            let attempt = || {
                let pieces = pieces(repository.clone(), digest, size, 0..size);
                pieces.try_fold(Vec::new(), |mut all: Vec<u8>, piece: Bytes| async move {
                    all.extend_from_slice(&piece);
                    Ok(all)
                })
            };
            repository.persist(attempt).await
        };
        self.find(reference, Need::Content, read).await
    }
}

/// The bytes in `range` of a blob of `size` bytes, as they come. Those of a whole blob are verified:
/// the last piece comes only if they have the digest.
pub(crate) fn pieces(
    repository: Repository,
    digest: Digest,
    size: u64,
    range: Range<u64>,
) -> impl Stream<Item = Result<Bytes, RegistryError>> + Send + 'static {
    let whole = range.start == 0 && range.end == size;
    let begin = Piecewise { open: None, left: range.end - range.start, hasher: Hasher::new() };
    stream::try_unfold(begin, move |mut at| {
        let (repository, Range { start, end }) = (repository.clone(), range.clone());
        async move {
            let action = format!("download {}", blob_name(digest));
            while at.left > 0 {
                let (response, skip) = match &mut at.open {
                    Some(open) => open,
                    none => {
                        let end = (!whole).then_some(end);
                        let response = request(&repository, digest, start, end, &action).await?;
                        let is_part = response.status() == StatusCode::PARTIAL_CONTENT;
                        none.insert((response, if is_part { 0 } else { start }))
                    }
                };
                let chunk = repository.endpoint.transport.chunk(response).await;
                let chunk = chunk.map_err(|source| repository.interrupted(&action, source))?;
                let Some(mut chunk) = chunk else {
                    let source = TransportError::new("the connection was closed too early");
                    return Err(repository.interrupted(&action, source));
                };
                let known = chunk.len().min(usize::try_from(*skip).unwrap_or(usize::MAX));
                *skip -= known as u64;
                let mut chunk = chunk.split_off(known);
                chunk.truncate(usize::try_from(at.left).unwrap_or(usize::MAX));
                if chunk.is_empty() {
                    continue;
                }
                at.left -= chunk.len() as u64;
                at.hasher.update(&chunk);
                if whole && at.left == 0 {
                    let found = std::mem::take(&mut at.hasher).finish();
                    if found != digest {
                        return Err(RegistryError::WrongDigest { what: blob_name(digest), found });
                    }
                }
                return Ok(Some((chunk, at)));
            }
            Ok(None)
        }
    })
}

/// A blob that is being read.
struct Piecewise {
    /// The answer it comes in, and how many of its next bytes are of no interest.
    open: Option<(Response, u64)>,
    /// Bytes that are still to come.
    left: u64,
    hasher: Hasher,
}

/// A blob that is to be received.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) digest: Digest,
    /// Bytes in all.
    pub(crate) size: u64,
    /// Bytes of a piece, if it is received in pieces.
    pub(crate) piece_size: u64,
}

impl Wanted {
    /// Where the first piece ends of what is missing from `start` on; none: it is worth one request only.
    fn first_end(self, start: u64) -> Option<u64> {
        let is_large = (self.size - start) / self.piece_size >= PIECES_MIN;
        is_large.then_some(start + self.piece_size)
    }
}

/// The right to receive a blob, `None` when it is there. Asks again and again instead of waiting
/// for the lock, so that a caller who gives up is not held by it.
async fn lock_unless_there(
    store: &Store,
    lease: &Lease,
    digest: &Digest,
) -> Result<Option<KeyLock>, StoreError> {
    let key = format!("receive-{}", digest.hex());
    loop {
        let lock = store.try_lock(&key)?;
        // Looked for after the lock: whoever had it before has made the blob by now.
        if lease.hold_blob(digest)? {
            return Ok(None);
        }
        if lock.is_some() {
            return Ok(lock);
        }
        tokio::time::sleep(PEER_INTERVAL).await;
    }
}

/// The content of a descriptor that carries it. What does not fit is ignored: the blob itself is
/// what counts.
fn inline(descriptor: &Descriptor) -> Option<Vec<u8>> {
    let data = STANDARD.decode(descriptor.data().as_ref()?).ok()?;
    let fits = data.len() as u64 == descriptor.size()
        && descriptor.sha256().is_ok_and(|digest| digest == Digest::of(&data));
    fits.then_some(data)
}

/// Receives a blob from one repository, in as many attempts as it takes.
async fn receive(
    store: &Store,
    repository: &Repository,
    wanted: Wanted,
    item: &Item,
    tap: &Mutex<Tap>,
) -> Result<(), RegistryError> {
    let digest = wanted.digest;
    let mut sink = Sink::open(store, std::mem::take(&mut *lock(tap)));
    let mut backoff = Backoff::new(repository.retry);
    loop {
        let before = sink.received();
        let error = match receive_more(repository, wanted, &mut sink, item).await {
            Ok(()) => {
                let committed = sink.commit(digest).await;
                // Which of the bytes are wrong is not known.
                sink = Sink::open(store, Tap::default());
                match committed {
                    Ok(()) => return Ok(()),
                    Err(StoreError::DigestMismatch { found, .. }) => {
                        RegistryError::WrongDigest { what: blob_name(digest), found }
                    }
                    Err(other) => other.into(),
                }
            }
            Err(error) if error.is_about_content() => {
                sink.discard().await;
                sink = Sink::open(store, Tap::default());
                error
            }
            Err(error) => {
                if sink.received() - before >= GOOD_PROGRESS {
                    backoff.reset();
                }
                error
            }
        };
        if let Err(error) = backoff.after(error).await {
            sink.discard().await;
            return Err(error);
        }
    }
}

/// Receives what is missing, or as much of it as one connection gives.
async fn receive_more(
    repository: &Repository,
    wanted: Wanted,
    sink: &mut Sink,
    item: &Item,
) -> Result<(), RegistryError> {
    let Wanted { digest, size, .. } = wanted;
    let start = sink.received();
    let wrong_size =
        |found| RegistryError::WrongSize { what: blob_name(digest), expected: size, found };
    let action = format!("download {}", blob_name(digest));
    if start == size && size > 0 {
        return Ok(());
    }
    let end = wanted.first_end(start);
    let mut response = request(repository, digest, start, end, &action).await?;
    let is_part = response.status() == StatusCode::PARTIAL_CONTENT;
    // A registry that cannot resume begins anew, and what is known is skipped.
    let mut skip = if is_part {
        let from = range_start(&response);
        if from != Some(start) {
            return Err(
                repository.protocol(format!("a range began at {from:?} instead of {start}"))
            );
        }
        0
    } else {
        start
    };
    let announced = response.headers().get(CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    // What else there is in pieces is asked for as soon as it is clear that there are such.
    let end = end.filter(|_| is_part).unwrap_or(size);
    if let Some(length) = announced
        && start - skip + length != end
    {
        return Err(wrong_size(start - skip + length));
    }
    let ahead = (end < size).then(|| Ahead::begin(repository, wanted, end));
    let transport = &repository.endpoint.transport;
    loop {
        let chunk = transport.chunk(&mut response).await;
        let Some(mut chunk) = chunk.map_err(|source| repository.interrupted(&action, source))?
        else {
            break;
        };
        let known = chunk.len().min(usize::try_from(skip).unwrap_or(usize::MAX));
        skip -= known as u64;
        let chunk = chunk.split_off(known);
        let received = sink.received() + chunk.len() as u64;
        if received > end {
            return Err(wrong_size(received));
        }
        sink.write(chunk).await?;
        item.set(received);
    }
    if sink.received() < end {
        let source = TransportError::new("the connection was closed too early");
        return Err(repository.interrupted(&action, source));
    }
    let Some(mut ahead) = ahead else { return Ok(()) };
    while let Some(chunk) = ahead.next().await? {
        sink.write(chunk).await?;
        item.set(sink.received());
    }
    Ok(())
}

/// Asks for a blob, from the byte `start` on, and before `end` if there is one.
async fn request(
    repository: &Repository,
    digest: Digest,
    start: u64,
    end: Option<u64>,
    action: &str,
) -> Result<Response, RegistryError> {
    let url = repository.url(&format!("blobs/{digest}"))?;
    let request = || {
        let mut request = Request::new(Method::GET, url.clone());
        let last = end.map_or_else(String::new, |end| (end - 1).to_string());
        if (start > 0 || end.is_some())
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={start}-{last}"))
        {
            request.headers_mut().insert(RANGE, range);
        }
        Ok(request)
    };
    repository.send_once(action, &request).await
}

/// Where the answer to a range request begins.
fn range_start(response: &Response) -> Option<u64> {
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    range.trim().strip_prefix("bytes")?.trim_start().split('-').next()?.parse().ok()
}

fn blob_name(digest: Digest) -> String {
    format!("blob {digest}")
}
