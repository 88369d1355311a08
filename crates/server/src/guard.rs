//! Who gets an answer.
//!
//! Whoever can reach the port can send requests, and so can any page in a browser on this machine.
//! Hence three checks before anything else is looked at: the name by which we were reached is an
//! address or `localhost`, so that no foreign name can be made to lead here (DNS rebinding); a request
//! that a page sends comes from our own page (CSRF); and it carries the secret of this start. The
//! address that is printed has the token; opened once, it becomes a cookie that no script can read
//! and no other site can send.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::error::{ApiError, ServerError};

/// What the page may do: load itself, and speak to us.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const UNKNOWN: &str = "This page is private: open it by the whole address that \"bld ui\" printed, \
    with its token.\n";

/// The secrets of one start.
#[derive(Debug)]
pub(crate) struct Guard {
    /// For the address that is opened, and for programs.
    token: String,
    /// For the cookie: an address that was seen lets nobody in by itself once the server ended.
    session: String,
    /// The cookie's name. Cookies do not know ports, and two servers may run.
    cookie: String,
    port: u16,
}

impl Guard {
    pub(crate) fn new(address: SocketAddr) -> Result<Self, ServerError> {
        let port = address.port();
        let cookie = format!("bld-ui-{port}");
        Ok(Self { token: secret()?, session: secret()?, cookie, port })
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Whether `host` is a name of ours that nobody else can give away.
    fn is_own(&self, host: &str) -> bool {
        let Some((name, port)) = host.rsplit_once(':') else {
            return self.port == 80 && is_plain(host);
        };
        port.parse() == Ok(self.port) && is_plain(name)
    }

    fn is_known(&self, headers: &HeaderMap) -> bool {
        let bearer = text(headers, &header::AUTHORIZATION)
            .and_then(|value| value.strip_prefix("Bearer "))
            .is_some_and(|token| same(token, &self.token));
        let mut cookies = headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok());
        let cookie = cookies.any(|line| {
            line.split(';')
                .filter_map(|pair| pair.trim().split_once('='))
                .any(|(name, value)| name == self.cookie && same(value, &self.session))
        });
        bearer || cookie
    }

    /// The answer to the address with the token: a cookie, and the same address without it.
    fn admit(&self, uri: &Uri) -> Option<Response> {
        let query = uri.query()?;
        let is_token = |pair: &&str| pair.starts_with("token=");
        let token = query.split('&').find(is_token)?.strip_prefix("token=")?;
        if !same(token, &self.token) {
            return None;
        }
        let rest: Vec<&str> = query.split('&').filter(|pair| !is_token(pair)).collect();
        // Two slashes would begin the name of a host.
        let path = format!("/{}", uri.path().trim_start_matches('/'));
        let place = if rest.is_empty() { path } else { format!("{path}?{}", rest.join("&")) };
        let cookie = format!("{}={}; Path=/; HttpOnly; SameSite=Strict", self.cookie, self.session);
        let headers = [(header::LOCATION, place), (header::SET_COOKIE, cookie)];
        Some((StatusCode::SEE_OTHER, headers).into_response())
    }
}

/// An address, or the one name that always means this machine.
fn is_plain(name: &str) -> bool {
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

/// 256 bits from the kernel, hexadecimal.
fn secret() -> Result<String, ServerError> {
    let mut bytes = [0; 32];
    let length = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| ServerError::Token(errno.into()))?;
    if length != bytes.len() {
        return Err(ServerError::Token(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    }))
}

/// Compares in a time that does not tell where they differ.
fn same(a: &str, b: &str) -> bool {
    let differs = a.bytes().zip(b.bytes()).fold(0, |found, (a, b)| found | (a ^ b));
    a.len() == b.len() && differs == 0
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Lets requests through, or not, and tells browsers what they may do with the answers.
pub(crate) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let is_api = request.uri().path().starts_with("/api");
    let mut response = match check(&app, &request) {
        Ok(None) => next.run(request).await,
        Ok(Some(response)) => response,
        Err(Refusal::Unknown) if !is_api => (StatusCode::UNAUTHORIZED, UNKNOWN).into_response(),
        Err(refusal) => refusal.error().into_response(),
    };
    let headers = response.headers_mut();
    let always = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in always {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Why a request is not answered.
enum Refusal {
    Host,
    Origin,
    Unknown,
    ReadOnly,
}

impl Refusal {
    fn error(self) -> ApiError {
        let (status, code, message) = match self {
            Self::Host => {
                (StatusCode::FORBIDDEN, "wrong_host", "this server is not known by that name")
            }
            Self::Origin => {
                (StatusCode::FORBIDDEN, "wrong_origin", "another site may not ask this")
            }
            Self::Unknown => (StatusCode::UNAUTHORIZED, "no_token", UNKNOWN.trim_end()),
            Self::ReadOnly => return ApiError::read_only(),
        };
        ApiError::new(status, code, message)
    }
}

/// Whether a request is to be answered; a response if that is all there is to it.
fn check(app: &App, request: &Request) -> Result<Option<Response>, Refusal> {
    let headers = request.headers();
    // HTTP/2 and absolute forms have it in the address.
    let authority = request.uri().authority().map(axum::http::uri::Authority::as_str);
    let host = authority.or_else(|| text(headers, &header::HOST)).unwrap_or_default();
    if !app.guard.is_own(host) {
        return Err(Refusal::Host);
    }
    if let Some(origin) = headers.get(header::ORIGIN)
        && origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://")) != Some(host)
    {
        return Err(Refusal::Origin);
    }
    let site = text(headers, &HeaderName::from_static("sec-fetch-site"));
    let is_change = !matches!(*request.method(), Method::GET | Method::HEAD);
    if is_change && !matches!(site, None | Some("same-origin")) {
        return Err(Refusal::Origin);
    }
    let is_page = *request.method() == Method::GET && !request.uri().path().starts_with("/api");
    if is_page && let Some(response) = app.guard.admit(request.uri()) {
        return Ok(Some(response));
    }
    if !app.guard.is_known(headers) {
        return Err(Refusal::Unknown);
    }
    if app.read_only && is_change {
        return Err(Refusal::ReadOnly);
    }
    Ok(None)
}
