//! Finding out how one registry is spoken to.

use std::sync::Arc;

use bld_http::header::HeaderMap;
use bld_http::{Options, Transport, TransportError, is_loopback};
use reqwest::{Method, Request, Response, StatusCode, Url};

use crate::auth::session::Session;
use crate::config::{Config, RegistryConfig};
use crate::error::RegistryError;
use crate::retry::Backoff;

/// What Docker Hub is called in references, and where it is.
const DOCKER_HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");
/// The largest refusal of a probe that is read.
const PROBE_MAX: usize = 64 << 10;

/// A registry that has answered.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Its name in references.
    pub(crate) registry: String,
    /// The root of its API, `https://host/v2/`.
    pub(crate) base: Url,
    /// Sent along with each request to it.
    pub(crate) headers: HeaderMap,
    pub(crate) transport: Transport,
    pub(crate) session: Session,
}

impl Endpoint {
    /// Finds the registry called `registry`, with settings of its own: which protocol it speaks and
    /// how it wants to be convinced. One request, for a registry that speaks what is expected.
    pub(crate) async fn connect(
        registry: &str,
        settings: &RegistryConfig,
        config: &Config,
    ) -> Result<Self, RegistryError> {
        if let Some(reason) = &settings.fault {
            return Err(RegistryError::Config { reason: reason.clone() });
        }
        let insecure = settings.insecure || !config.tls_verify;
        let candidates = match &settings.server {
            Some(server) => vec![server.clone()],
            None => candidates(registry, insecure)?,
        };
        let registry = &name_of(registry, settings.server.as_ref());
        let host = candidates.first().and_then(Url::host_str).unwrap_or_default();
        let options = Options {
            verify: !insecure,
            downgrade: insecure,
            authorities: [&config.authorities[..], &settings.authorities[..]].concat(),
            identity: settings.identity.clone().map(|identity| (host.to_owned(), identity)),
            direct: candidates.iter().any(is_loopback),
            idle: config.idle_timeout,
        };
        let transport = Transport::new(options)
            .map_err(|error| RegistryError::Config { reason: error.reason })?;
        let mut backoff = Backoff::new(config.retry);
        loop {
            // A server that expects TLS may hang up on plain HTTP, so the other way is tried before
            // the same again.
            let mut failure = not_a_host(registry);
            for base in &candidates {
                match probe(registry, base, &settings.headers, &transport).await {
                    Ok(response) => {
                        let (registry, base) = (registry.to_owned(), base.clone());
                        let credentials = Arc::clone(&config.credentials);
                        let session = Session::new(&registry, base.scheme() == "http", credentials);
                        session.challenged(response.headers());
                        let headers = settings.headers.clone();
                        return Ok(Self { registry, base, headers, transport, session });
                    }
                    Err(error) if failure.is_transient() && !is_about_trust(&error) => drop(error),
                    Err(error) => failure = error,
                }
            }
            backoff.after(failure).await?;
        }
    }
}

/// The name that the credentials of the registry `name` are known by, if its API is at `server`.
fn name_of(name: &str, server: Option<&Url>) -> String {
    let host = server.map(Url::authority).unwrap_or_default();
    if server.is_none() {
        name.to_owned()
    } else if host == DOCKER_HUB.1 {
        DOCKER_HUB.0.to_owned()
    } else {
        host.to_owned()
    }
}

/// The addresses a registry may have, the likeliest first.
fn candidates(registry: &str, insecure: bool) -> Result<Vec<Url>, RegistryError> {
    let host = if registry == DOCKER_HUB.0 { DOCKER_HUB.1 } else { registry };
    let parse = |scheme: &str| {
        let url = Url::parse(&format!("{scheme}://{host}/v2/"));
        url.map_err(|_| not_a_host(registry))
    };
    let (https, http) = (parse("https")?, parse("http")?);
    Ok(if is_loopback(&http) {
        vec![http, https]
    } else if insecure {
        vec![https, http]
    } else {
        vec![https]
    })
}

fn not_a_host(registry: &str) -> RegistryError {
    RegistryError::Config { reason: format!("{registry:?} is not a host name") }
}

/// Asks for the root of the API. Any answer will do, except for one that says that the wrong
/// protocol was spoken.
async fn probe(
    registry: &str,
    base: &Url,
    headers: &HeaderMap,
    transport: &Transport,
) -> Result<Response, RegistryError> {
    let mut request = Request::new(Method::GET, base.clone());
    *request.headers_mut() = headers.clone();
    let answer = transport.execute(request).await;
    let registry = registry.to_owned();
    match answer {
        Ok(response) if is_wrong_protocol(base, &response) => {
            let body = transport.body(response, PROBE_MAX).await.ok().flatten();
            let reason = crate::error::ErrorList::parse(&body.unwrap_or_default()).text;
            let source = TransportError::new(if reason.is_empty() {
                "it does not speak plain HTTP".to_owned()
            } else {
                reason
            });
            Err(RegistryError::Unreachable { registry, source })
        }
        Ok(response) => Ok(response),
        Err(source) if source.before_connection => {
            Err(RegistryError::Unreachable { registry, source })
        }
        Err(source) => {
            let action = "ask for its version".to_owned();
            Err(RegistryError::Interrupted { registry, action, source })
        }
    }
}

/// Whether TLS was answered, by somebody who is not trusted.
fn is_about_trust(error: &RegistryError) -> bool {
    match error {
        RegistryError::Unreachable { source, .. } => source.reason.contains("peer certificate"),
        _ => false,
    }
}

/// Servers that expect TLS answer plain HTTP with 400.
fn is_wrong_protocol(base: &Url, response: &Response) -> bool {
    base.scheme() == "http" && response.status() == StatusCode::BAD_REQUEST
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    fn urls(registry: &str, insecure: bool) -> Vec<String> {
        candidates(registry, insecure).unwrap().iter().map(Url::to_string).collect()
    }

    #[test]
    fn credentials_are_those_of_the_host_that_is_asked() {
        let name = |server: &str| name_of("r.example", Some(&Url::parse(server).unwrap()));
        assert_eq!(name("https://r.example/v2/"), "r.example");
        assert_eq!(name("https://m.example:5000/x/v2/"), "m.example:5000");
        assert_eq!(name("https://registry-1.docker.io/v2/"), "docker.io");
        assert_eq!(name_of("r.example", None), "r.example");
    }

    #[test]
    fn plain_http_only_where_it_is_local_or_allowed() {
        assert_eq!(urls("docker.io", false), ["https://registry-1.docker.io/v2/"]);
        assert_eq!(urls("r.example:5000", false), ["https://r.example:5000/v2/"]);
        assert_eq!(urls("r.example", true), ["https://r.example/v2/", "http://r.example/v2/"]);
        assert_eq!(
            urls("localhost:5000", false),
            ["http://localhost:5000/v2/", "https://localhost:5000/v2/"]
        );
        assert_eq!(urls("[::1]:5000", false)[0], "http://[::1]:5000/v2/");
        assert!(candidates("a b", false).is_err());
    }
}
