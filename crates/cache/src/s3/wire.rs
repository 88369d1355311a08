//! Requests to S3 over our own HTTP, and what its answers mean.

use std::error::Error;
use std::fmt::Write as _;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bld_http::{Transport, TransportError};
use http_body_util::BodyExt as _;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use reqwest::{Body, Request, Url};
use tokio::time::timeout;

use super::credentials::NO_CREDENTIALS;

/// The header with the token of credentials that last for a session only.
const SESSION_TOKEN: &str = "x-amz-security-token";

/// Where a virtual machine learns of its own credentials; nothing answers elsewhere.
const METADATA: &str = "169.254.169.254";

/// How long that may take.
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);

/// The most that is told of an answer that is not S3's, characters.
const EXCERPT: usize = 200;

/// Makes requests of `object_store` over ours.
#[derive(Debug, Clone)]
pub(super) struct Connector(Arc<Transport>);

impl Connector {
    pub(super) fn new(transport: Transport) -> Self {
        Self(Arc::new(transport))
    }

    pub(super) fn client(&self) -> HttpClient {
        HttpClient::new(self.clone())
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let malformed = |error| HttpError::new(HttpErrorKind::Unknown, error);
        let (parts, body) = request.into_parts();
        let url: Url = parts
            .uri
            .to_string()
            .parse()
            .map_err(|_| malformed(TransportError::new("the URL is malformed")))?;
        let is_metadata = url.host_str() == Some(METADATA);
        let mut request = Request::new(parts.method, url);
        *request.headers_mut() = parts.headers;
        if let Some(token) = request.headers_mut().get_mut(SESSION_TOKEN) {
            // It goes to no other host that a redirect leads to.
            token.set_sensitive(true);
        }
        // A body in one piece can be sent again.
        *request.body_mut() = Some(match body.as_bytes() {
            Some(bytes) => Body::from(bytes.clone()),
            None => Body::wrap(body),
        });
        let limit = if is_metadata { METADATA_TIMEOUT } else { Duration::MAX };
        let sent = timeout(limit, self.0.execute(request)).await;
        let answer = sent.unwrap_or_else(|_| Err(TransportError::timed_out(limit)));
        let mut answer = answer.map_err(|error| {
            let kind = match &error {
                _ if is_metadata => HttpErrorKind::Unknown,
                error if error.before_connection => HttpErrorKind::Connect,
                _ => HttpErrorKind::Interrupted,
            };
            HttpError::new(kind, error)
        })?;
        let (status, headers) = (answer.status(), mem::take(answer.headers_mut()));
        let broken =
            |error| HttpError::new(HttpErrorKind::Interrupted, TransportError::from(error));
        let body = HttpResponseBody::new(Body::from(answer).map_err(broken));
        let mut response = HttpResponse::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

impl HttpService for Connector {
    fn call<'a, 'b>(
        &'a self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(self.send(request))
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(self.client())
    }
}

/// What went wrong, in the words of the server or of the connection. The answer as a whole is not
/// told: what S3 says of a signature that is wrong has the session's token in it.
pub(super) fn reason(error: &object_store::Error) -> String {
    let mut cause: &dyn Error = error;
    loop {
        let text = cause.to_string();
        if text.contains(METADATA) {
            return NO_CREDENTIALS.to_owned();
        }
        if let Some(code) = element(&text, "Code") {
            let message = element(&text, "Message").unwrap_or_default();
            return format!("{code}: {message}").trim_end_matches([':', ' ', '.']).to_owned();
        }
        match cause.source() {
            Some(source) => cause = source,
            None => break first_words(&text),
        }
    }
}

/// The text of an XML element that has no attributes.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

fn first_words(text: &str) -> String {
    let text = text.lines().next().unwrap_or_default();
    let text = text.split_once('<').map_or(text, |(before, _)| before);
    text.trim_end_matches([':', ' ']).chars().take(EXCERPT).collect()
}

/// `key` as a path of a URL.
pub(super) fn encoded(key: &str) -> String {
    let mut path = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                path.push(byte as char);
            }
            // Cannot fail: a String takes all.
            _ => drop(write!(path, "%{byte:02X}")),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_words_and_no_more() {
        let body = "Server returned non-2xx status code: 403 Forbidden: <?xml version=\"1.0\"?>\
                    <Error><Code>SignatureDoesNotMatch</Code><Message>It does not match.</Message>\
                    <CanonicalRequest>x-amz-security-token:geheim</CanonicalRequest></Error>";
        let of =
            |text: &str| reason(&object_store::Error::Generic { store: "S3", source: text.into() });
        assert_eq!(of(body), "SignatureDoesNotMatch: It does not match");
        let page = "Server returned non-2xx status code: 502 Bad Gateway: <html>geheim</html>";
        assert_eq!(of(page), "Server returned non-2xx status code: 502 Bad Gateway");
    }

    #[test]
    fn keys_in_urls() {
        assert_eq!(encoded("a b/sha256:0"), "a%20b/sha256%3A0");
    }
}
