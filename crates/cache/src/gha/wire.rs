//! Requests to the service, and to the storage that it hands out addresses of.

use std::sync::Arc;
use std::time::Duration;

use bld_http::{Transport, redacted};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, RANGE, RETRY_AFTER};
use reqwest::{Method, Request, Response, StatusCode, Url};
use serde::Deserialize;
use tokio_util::bytes::Bytes;

use super::Token;
use crate::s3::Pieces;

/// The largest answer of the service that is read.
const ANSWER_MAX: usize = 4 << 20;

/// How often something is tried.
const ATTEMPTS: u32 = 6;

/// Pause after the first failure; doubled after each further one.
const PAUSE: Duration = Duration::from_millis(250);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What is asked.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Ask {
    pub(super) fn new(method: Method, url: Url, body: impl Into<Bytes>) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: body.into() }
    }

    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// With the token, which goes to no other host.
    pub(super) fn authorized(mut self, token: &Token) -> Self {
        if let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {}", token.secret())) {
            value.set_sensitive(true);
            self.headers.insert(AUTHORIZATION, value);
        }
        self
    }

    fn request(&self) -> Request {
        let mut request = Request::new(self.method.clone(), self.url.clone());
        *request.headers_mut() = self.headers.clone();
        if self.method != Method::GET {
            *request.body_mut() = Some(self.body.clone().into());
        }
        request
    }
}

/// What was answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// Whether something of that name is there, or somebody is about to write it.
    pub(super) fn is_taken(&self) -> bool {
        let said = String::from_utf8_lossy(&self.body).to_lowercase();
        self.status == StatusCode::CONFLICT
            || said.contains("already_exists")
            || said.contains("alreadyexists")
            || said.contains("already exists")
    }

    /// The reason of a failure, as far as the server gives one.
    pub(super) fn reason(&self) -> String {
        #[derive(Deserialize)]
        struct Said {
            #[serde(alias = "msg")]
            message: String,
        }
        // Some of them begin with a mark of the order of bytes.
        let body = self.body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&self.body);
        let said = serde_json::from_slice::<Said>(body).map(|said| said.message);
        match said {
            Ok(said) if !said.is_empty() => {
                format!("{}: {}", self.status, said.chars().take(300).collect::<String>())
            }
            _ => self.status.to_string(),
        }
    }

    /// The answer, if it is one of success.
    pub(super) fn success(self) -> Result<Vec<u8>, String> {
        if self.status.is_success() { Ok(self.body) } else { Err(self.reason()) }
    }
}

/// Makes requests, again where that may help.
#[derive(Debug, Clone)]
pub(super) struct Wire(Arc<Transport>);

impl Wire {
    pub(super) fn new(transport: Transport) -> Self {
        Self(Arc::new(transport))
    }

    /// Sends a request until it is answered by something else than trouble that passes.
    pub(super) async fn ask(&self, ask: &Ask) -> Result<Answer, String> {
        let mut pause = PAUSE;
        for attempt in 1.. {
            let (reason, asked) = match self.once(ask).await {
                Ok((answer, _)) if !may_pass(answer.status) => return Ok(answer),
                Ok((answer, asked)) => (answer.reason(), asked),
                Err(reason) => (reason, None),
            };
            if attempt >= ATTEMPTS {
                return Err(reason);
            }
            tokio::time::sleep(asked.unwrap_or(pause).min(PAUSE_MAX)).await;
            pause *= 2;
        }
        Err("it was not tried".to_owned())
    }

    /// The answer, and for how long it asks to wait.
    async fn once(&self, ask: &Ask) -> Result<(Answer, Option<Duration>), String> {
        let failed =
            |error: bld_http::TransportError| format!("{}: {}", redacted(&ask.url), error.reason);
        let response = self.0.execute(ask.request()).await.map_err(failed)?;
        let (status, wait) = (response.status(), retry_after(response.headers()));
        let body = self.0.body(response, ANSWER_MAX).await.map_err(failed)?;
        let body = body.ok_or_else(|| format!("its answer is larger than {ANSWER_MAX} bytes"))?;
        Ok((Answer { status, body }, wait))
    }

    /// What is at `url` as it arrives; none when there is nothing. Where it breaks off, the rest is asked
    /// for.
    pub(super) async fn stream(
        &self,
        url: Url,
        failed: impl Fn(String) -> crate::CacheError + Send + Sync + 'static,
    ) -> Result<Option<Pieces>, String> {
        let Some(response) = self.open(&url, 0).await? else { return Ok(None) };
        let begin = Download { wire: self.clone(), url, response: Some(response), done: 0 };
        let failed = Arc::new(failed);
        let pieces = futures_util::stream::unfold(Some(begin), move |download| {
            let failed = Arc::clone(&failed);
            async move {
                let mut download = download?;
                match download.next().await {
                    Ok(Some(piece)) => Some((Ok(piece), Some(download))),
                    Ok(None) => None,
                    Err(reason) => Some((Err(failed(reason)), None)),
                }
            }
        });
        Ok(Some(Box::pin(pieces)))
    }

    async fn open(&self, url: &Url, from: u64) -> Result<Option<Response>, String> {
        let mut pause = PAUSE;
        for attempt in 1.. {
            let mut request = Request::new(Method::GET, url.clone());
            if from > 0
                && let Ok(range) = HeaderValue::from_str(&format!("bytes={from}-"))
            {
                request.headers_mut().insert(RANGE, range);
            }
            let (reason, asked) = match self.0.execute(request).await {
                Ok(response) => match response.status() {
                    StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(None),
                    StatusCode::PARTIAL_CONTENT if from > 0 => return Ok(Some(response)),
                    status if status.is_success() && from == 0 => return Ok(Some(response)),
                    status if may_pass(status) => {
                        (status.to_string(), retry_after(response.headers()))
                    }
                    status if status.is_success() => {
                        return Err("it broke off, and no part of it can be had".to_owned());
                    }
                    status => return Err(status.to_string()),
                },
                Err(error) => (error.reason, None),
            };
            if attempt >= ATTEMPTS {
                return Err(format!("{}: {reason}", redacted(url)));
            }
            tokio::time::sleep(asked.unwrap_or(pause).min(PAUSE_MAX)).await;
            pause *= 2;
        }
        Ok(None)
    }
}

/// A body on its way.
struct Download {
    wire: Wire,
    url: Url,
    response: Option<Response>,
    /// Bytes that have come.
    done: u64,
}

impl Download {
    async fn next(&mut self) -> Result<Option<Bytes>, String> {
        for _ in 0..ATTEMPTS {
            let response = match &mut self.response {
                Some(response) => response,
                None => {
                    let again = self.wire.open(&self.url, self.done).await?;
                    let again = again.ok_or_else(|| "it is gone".to_owned())?;
                    self.response.insert(again)
                }
            };
            match self.wire.0.chunk(response).await {
                Ok(Some(piece)) => {
                    self.done += piece.len() as u64;
                    return Ok(Some(piece));
                }
                Ok(None) => return Ok(None),
                Err(_) => self.response = None,
            }
        }
        Err("the connection breaks all the time".to_owned())
    }
}

fn may_pass(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
