//! Downloads.

use std::fs::{File, FileTimes, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::{Duration, SystemTime};

use bld_dockerfile::value::redacted;
use bld_graph::HttpOp;
use bld_http::{Options, Transport, TransportError};
use bld_oci::{Digest, Hasher};
use bld_store::SnapshotId;
use reqwest::header::{
    AUTHORIZATION, CONTENT_LENGTH, DATE, ETAG, HeaderMap, HeaderName, HeaderValue,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};
use reqwest::{Method, Request, Response, StatusCode, Url};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::Remote;
use crate::error::{RemoteError, Result};

/// What is remembered of downloads.
const BUCKET: &str = "http";
/// How long a connection may be silent.
const IDLE: Duration = Duration::from_mins(1);
/// How often a download is tried.
const ATTEMPTS: u32 = 3;
/// Pause after the first failure.
const PAUSE: Duration = Duration::from_millis(500);
/// Mode of a downloaded file.
const MODE: u32 = 0o600;

/// Told how many bytes have come, and how many there are if that is known.
pub type Progress<'a> = &'a dyn Fn(u64, Option<u64>);

/// What is known of a URL from the last time.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    /// As it was sent; only if it may be asked by.
    #[serde(skip_serializing_if = "Option::is_none")]
    modified_since: Option<String>,
    /// Seconds since 1970.
    last_modified: Option<i64>,
    digest: Digest,
    snapshot: SnapshotId,
}

enum Answer {
    /// The server has what we have.
    Unchanged,
    /// What came instead.
    New(Note),
}

impl Remote {
    /// Fills in the digest of what `op` names now. Nothing is asked when its checksum says it, and
    /// nothing is downloaded when the server says that it has not changed.
    ///
    /// # Errors
    /// When the server cannot be reached or answers with an error.
    pub fn resolve_http(&self, op: &mut HttpOp, progress: Progress<'_>) -> Result<()> {
        op.content = Some(match op.checksum {
            Some(checksum) => checksum,
            None => self.current(op, progress)?.digest,
        });
        Ok(())
    }

    /// A snapshot of the file, mode 0600, with the time of its `Last-Modified`. Once `op` is
    /// resolved, it is that file or none.
    ///
    /// # Errors
    /// [`RemoteError::Checksum`] when something else arrives.
    pub fn download(&self, op: &HttpOp, progress: Progress<'_>) -> Result<SnapshotId> {
        let wanted = op.content.or(op.checksum);
        if let Some(note) = self.note(op)?
            && Some(note.digest) == wanted
            && self.is_there(note.snapshot)?
        {
            return Ok(note.snapshot);
        }
        let Note { snapshot, digest: found, .. } = self.current(op, progress)?;
        match wanted.filter(|wanted| *wanted != found) {
            Some(expected) => {
                Err(RemoteError::Checksum { url: redacted(&op.url), expected, found })
            }
            None => Ok(snapshot),
        }
    }

    /// When what `op` names was last modified, in seconds since 1970; none: the server does not
    /// say.
    ///
    /// # Errors
    /// When the server cannot be reached or answers with an error.
    pub fn modified(&self, op: &HttpOp) -> Result<Option<i64>> {
        Ok(self.current(op, &|_, _| {})?.last_modified)
    }

    /// What `op` names now, with a snapshot that is there.
    fn current(&self, op: &HttpOp, progress: Progress<'_>) -> Result<Note> {
        // Several builds that want the same file get it once.
        let _flight = self.store().lock(&format!("download {}", key(op)))?;
        let known = match self.note(op)? {
            Some(note) if self.is_there(note.snapshot)? => Some(note),
            _ => None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(RemoteError::io("start the network runtime"))?;
        let (cancel, canceled) = oneshot::channel();
        let _guard = self.cancel().on_cancel(move || {
            let _ = cancel.send(());
        });
        let answer = runtime.block_on(async {
            tokio::select! {
                answer = self.fetch(op, known.as_ref(), progress) => answer,
                Ok(()) = canceled => Err(RemoteError::Canceled),
            }
        })?;
        match (answer, known) {
            (Answer::Unchanged, Some(known)) => Ok(known),
            (Answer::New(note), _) => {
                let text = serde_json::to_vec(&note).unwrap_or_default();
                self.store().put(BUCKET, &key(op), &text)?;
                Ok(note)
            }
            (Answer::Unchanged, None) => Err(RemoteError::Status {
                url: redacted(&op.url),
                status: StatusCode::NOT_MODIFIED.to_string(),
            }),
        }
    }

    fn note(&self, op: &HttpOp) -> Result<Option<Note>> {
        let note = self.store().get(BUCKET, &key(op))?;
        Ok(note.and_then(|note| serde_json::from_slice(&note).ok()))
    }

    /// Whether the snapshot exists; it is not removed as long as this process lives.
    pub(crate) fn is_there(&self, id: SnapshotId) -> Result<bool> {
        Ok(self.store().snapshot(id)?.is_some() && self.0.lease.hold(id)?)
    }

    async fn fetch(
        &self,
        op: &HttpOp,
        known: Option<&Note>,
        progress: Progress<'_>,
    ) -> Result<Answer> {
        let url = || redacted(&op.url);
        let broken = |source| RemoteError::Transport { url: url(), source };
        let transport = Transport::new(Options {
            verify: true,
            // Browsers and curl follow these, and a checksum is the way to be sure.
            downgrade: true,
            authorities: Vec::new(),
            identity: None,
            direct: false,
            idle: IDLE,
        })
        .map_err(broken)?;
        let mut pause = PAUSE;
        for attempt in 1.. {
            let request = self.request(op, known)?;
            let answer = match transport.execute(request).await {
                Ok(response) => self.receive(op, known, response, &transport, progress).await,
                Err(source) => Err(broken(source)),
            };
            match answer {
                Err(error) if attempt < ATTEMPTS && may_pass(&error) => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                answer => return answer,
            }
        }
        Err(broken(TransportError::new("it was not tried")))
    }

    fn request(&self, op: &HttpOp, known: Option<&Note>) -> Result<Request> {
        let mut url = Url::parse(&op.url).map_err(|error| RemoteError::Url {
            url: redacted(&op.url),
            reason: error.to_string(),
        })?;
        let authorization = self.authorization(&mut url)?;
        let mut request = Request::new(Method::GET, url);
        let mut set = |name: HeaderName, value: Option<HeaderValue>| {
            if let Some(value) = value {
                request.headers_mut().insert(name, value);
            }
        };
        let header = |text: Option<&String>| HeaderValue::from_str(text?).ok();
        set(AUTHORIZATION, authorization);
        set(IF_NONE_MATCH, header(known.and_then(|note| note.etag.as_ref())));
        set(IF_MODIFIED_SINCE, header(known.and_then(|note| note.modified_since.as_ref())));
        Ok(request)
    }

    async fn receive(
        &self,
        op: &HttpOp,
        known: Option<&Note>,
        mut response: Response,
        transport: &Transport,
        progress: Progress<'_>,
    ) -> Result<Answer> {
        if response.status() == StatusCode::NOT_MODIFIED && known.is_some() {
            return Ok(Answer::Unchanged);
        }
        if !response.status().is_success() {
            let status = response.status().to_string();
            return Err(RemoteError::Status { url: redacted(&op.url), status });
        }
        let total = length(response.headers());
        let last_modified = time(response.headers(), &LAST_MODIFIED);
        let active = self.store().prepare(None)?;
        let path = active.upper().join(&op.filename);
        let io = |what: &str| RemoteError::io(format!("{what} {}", path.display()));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(MODE)
            .open(&path)
            .map_err(io("create"))?;
        let mut hasher = Hasher::new();
        let mut done = 0;
        progress(done, total);
        while let Some(chunk) = transport
            .chunk(&mut response)
            .await
            .map_err(|source| RemoteError::Transport { url: redacted(&op.url), source })?
        {
            hasher.update(&chunk);
            file.write_all(&chunk).map_err(io("write"))?;
            done += chunk.len() as u64;
            progress(done, total);
        }
        stamp(&file, last_modified).map_err(io("set the time of"))?;
        let headers = response.headers();
        let note = Note {
            etag: text(headers, &ETAG),
            modified_since: text(headers, &LAST_MODIFIED).filter(|_| is_strong(headers)),
            last_modified,
            digest: hasher.finish(),
            snapshot: active.commit()?,
        };
        Ok(Answer::New(note))
    }
}

/// What a download is remembered by. URLs may hold secrets, digests of them don't.
fn key(op: &HttpOp) -> String {
    Digest::of(format!("{}\0{}", op.url, op.filename).as_bytes()).hex()
}

/// Whether trying again may help.
fn may_pass(error: &RemoteError) -> bool {
    match error {
        RemoteError::Transport { .. } => true,
        RemoteError::Status { status, .. } => {
            ["429", "502", "503", "504"].iter().any(|code| status.starts_with(code))
        }
        _ => false,
    }
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn length(headers: &HeaderMap) -> Option<u64> {
    text(headers, &CONTENT_LENGTH)?.parse().ok()
}

/// A date of HTTP in seconds since 1970.
fn time(headers: &HeaderMap, name: &HeaderName) -> Option<i64> {
    let date = text(headers, name)?;
    jiff::fmt::rfc2822::parse(&date).ok().map(|date| date.timestamp().as_second())
}

/// Whether `Last-Modified` says for sure what content it belongs to: it must be older than the
/// answer ([RFC 9110, 8.8.2.2](https://www.rfc-editor.org/rfc/rfc9110#section-8.8.2.2)).
fn is_strong(headers: &HeaderMap) -> bool {
    match (time(headers, &LAST_MODIFIED), time(headers, &DATE)) {
        (Some(modified), Some(date)) => modified < date,
        _ => false,
    }
}

fn stamp(file: &File, seconds: Option<i64>) -> std::io::Result<()> {
    let seconds = u64::try_from(seconds.unwrap_or(0)).unwrap_or(0);
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    file.set_times(FileTimes::new().set_modified(time).set_accessed(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_counts_when_it_is_older_than_the_answer() {
        let headers = |modified: &'static str, date: &'static str| {
            HeaderMap::from_iter([
                (LAST_MODIFIED, HeaderValue::from_static(modified)),
                (DATE, HeaderValue::from_static(date)),
            ])
        };
        let (early, late) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:38 GMT");
        assert_eq!(time(&headers(early, late), &LAST_MODIFIED), Some(784_111_777));
        assert!(is_strong(&headers(early, late)));
        assert!(!is_strong(&headers(late, late)));
        assert!(!is_strong(&HeaderMap::new()));
    }
}
