//! Requests and their redirects.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Certificate, Method, Request, Response, StatusCode, Url};
use tokio::time::timeout;
use tokio_util::bytes::Bytes;

use crate::{Identity, TransportError};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
const REDIRECTS_MAX: usize = 10;
const USER_AGENT: &str = concat!("bld/", env!("CARGO_PKG_VERSION"));

/// How connections to some hosts are made.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether certificates are verified.
    pub verify: bool,
    /// Whether a redirect may lead from HTTPS to plain HTTP.
    pub downgrade: bool,
    /// Trusted besides the system's, PEM.
    pub authorities: Vec<Vec<u8>>,
    /// The certificate we show, and the host that gets to see it, whatever its port.
    pub identity: Option<(String, Identity)>,
    /// Whether proxies are ignored.
    pub direct: bool,
    /// How long a connection may be silent.
    pub idle: Duration,
}

/// Makes requests and follows redirects.
///
/// Redirects are followed here and not by the HTTP library, so that the rules are in one place:
/// the `Authorization` header, and any whose value is marked as sensitive, go to the host they are
/// meant for and to no other, and HTTPS never turns into HTTP. It also lets plain HTTP do without
/// certificates, which cost milliseconds to load and are missing on some machines.
#[derive(Debug)]
pub struct Transport {
    plain: reqwest::Client,
    tls: OnceLock<Result<reqwest::Client, String>>,
    /// The same with a certificate of ours.
    known: OnceLock<Result<reqwest::Client, String>>,
    options: Options,
}

impl Transport {
    /// A transport with these options. Nothing is connected to yet.
    ///
    /// If the process has no TLS provider installed, ring becomes it.
    ///
    /// # Errors
    /// When TLS or a proxy of the environment cannot be set up.
    pub fn new(options: Options) -> Result<Self, TransportError> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Fails only if somebody else was faster, which is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let no_roots = rustls::ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::ring::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .map_err(|error| TransportError::new(error.to_string()))?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
        let plain = base(&options).tls_backend_preconfigured(no_roots).build()?;
        Ok(Self { plain, tls: OnceLock::new(), known: OnceLock::new(), options })
    }

    /// The client for `url`.
    fn client(&self, url: &Url) -> Result<&reqwest::Client, TransportError> {
        if url.scheme() != "https" {
            return Ok(&self.plain);
        }
        let shown = self.options.identity.as_ref();
        let shown = shown.filter(|(host, _)| url.host_str() == Some(host));
        let tls = match shown {
            None => self.tls.get_or_init(|| self.over_tls(None)),
            Some((_, identity)) => self.known.get_or_init(|| self.over_tls(Some(identity))),
        };
        tls.as_ref().map_err(|reason| TransportError {
            reason: format!("TLS cannot be set up: {reason}"),
            before_connection: true,
        })
    }

    fn over_tls(&self, identity: Option<&Identity>) -> Result<reqwest::Client, String> {
        let mut builder = base(&self.options);
        let mut authorities = Vec::new();
        for pem in &self.options.authorities {
            authorities.extend(Certificate::from_pem_bundle(pem).map_err(innermost)?);
        }
        if !self.options.verify {
            builder = builder.tls_danger_accept_invalid_certs(true);
        }
        if let Some(identity) = identity {
            builder = builder.identity(identity.parse().map_err(|error| error.reason)?);
        }
        builder.tls_certs_merge(authorities).build().map_err(innermost)
    }

    /// Sends `request` and follows redirects.
    ///
    /// A body that is streamed cannot be sent twice, so such a request is not redirected; nor does
    /// the time limit hold for it, since nothing comes back while a body is on its way.
    ///
    /// # Errors
    /// When there is no connection or it breaks, and when a redirect leads where none may.
    pub async fn execute(&self, request: Request) -> Result<Response, TransportError> {
        let mut request = request;
        for _ in 0..=REDIRECTS_MAX {
            let again = request.try_clone();
            let client = self.client(request.url())?;
            let response = match &again {
                Some(_) => timeout(self.options.idle, client.execute(request))
                    .await
                    .map_err(|_| TransportError::timed_out(self.options.idle))??,
                None => client.execute(request).await?,
            };
            match again.filter(|again| may_redirect(again.method(), response.status())) {
                Some(again) => match self.redirected(again, &response)? {
                    Some(next) => request = next,
                    None => return Ok(response),
                },
                None => return Ok(response),
            }
        }
        Err(TransportError::new("too many redirects"))
    }

    /// `request` as `response` wants it sent elsewhere, if it does.
    fn redirected(
        &self,
        mut request: Request,
        response: &Response,
    ) -> Result<Option<Request>, TransportError> {
        let Some(location) = response.headers().get(LOCATION) else { return Ok(None) };
        let from = request.url().clone();
        let to = location.to_str().ok().and_then(|location| from.join(location).ok());
        let to = to.filter(|to| matches!(to.scheme(), "http" | "https"));
        let to = to.ok_or_else(|| TransportError::new("redirected to a malformed location"))?;
        if !self.options.downgrade && from.scheme() == "https" && to.scheme() == "http" {
            return Err(TransportError::new("redirected from HTTPS to plain HTTP"));
        }
        if from.origin() != to.origin() {
            remove_credentials(request.headers_mut());
        }
        *request.url_mut() = to;
        Ok(Some(request))
    }

    /// The next piece of a body; `None` at its end.
    ///
    /// # Errors
    /// When the connection breaks or is silent for too long.
    pub async fn chunk(&self, response: &mut Response) -> Result<Option<Bytes>, TransportError> {
        let idle = self.options.idle;
        let chunk = timeout(idle, response.chunk()).await;
        Ok(chunk.map_err(|_| TransportError::timed_out(idle))??)
    }

    /// A whole body of at most `limit` bytes; `None` when there are more.
    ///
    /// # Errors
    /// When the connection breaks or is silent for too long.
    pub async fn body(
        &self,
        mut response: Response,
        limit: usize,
    ) -> Result<Option<Vec<u8>>, TransportError> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk(&mut response).await? {
            if body.len() + chunk.len() > limit {
                return Ok(None);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Some(body))
    }
}

fn base(options: &Options) -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none());
    if options.direct { builder.no_proxy() } else { builder }
}

fn remove_credentials(headers: &mut HeaderMap) {
    let is_secret = |(name, value): &(&HeaderName, &HeaderValue)| {
        **name == AUTHORIZATION || value.is_sensitive()
    };
    let names: Vec<HeaderName> =
        headers.iter().filter(is_secret).map(|(name, _)| name.clone()).collect();
    for name in names {
        headers.remove(name);
    }
}

/// Reading may always be sent elsewhere; writing only where the answer promises that the method
/// and the body stay the same.
fn may_redirect(method: &Method, status: StatusCode) -> bool {
    match status.as_u16() {
        307 | 308 => true,
        301..=303 => matches!(*method, Method::GET | Method::HEAD),
        _ => false,
    }
}

fn innermost(error: reqwest::Error) -> String {
    TransportError::from(error).reason
}

/// `url` without what may be secret: credentials and the query, which may be a signature.
pub fn redacted(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Fails only for URLs that cannot have credentials.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

/// Whether `url` points to this machine.
pub fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_is_shown() {
        let url = Url::parse("https://me:pw@s3.example/blob?X-Amz-Signature=abc#x").unwrap();
        assert_eq!(redacted(&url), "https://s3.example/blob");
    }

    #[test]
    fn credentials_do_not_go_elsewhere() {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, "Basic x".parse().unwrap());
        headers.insert("x-date", "today".parse().unwrap());
        let mut token: HeaderValue = "token".parse().unwrap();
        token.set_sensitive(true);
        headers.insert("x-token", token);
        remove_credentials(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-date"]);
    }

    #[test]
    fn loopback_has_many_names() {
        for (url, expected) in [
            ("http://localhost:5000/v2/", true),
            ("http://127.1.2.3/", true),
            ("http://[::1]:80/", true),
            ("http://10.0.0.1/", false),
            ("http://localhost.example/", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }
}
