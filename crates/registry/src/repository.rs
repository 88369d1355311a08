//! Requests to one repository of one registry, with permission and perseverance.

use std::sync::Arc;
use std::time::Duration;

use bld_http::{TransportError, redacted};
use reqwest::header::{AUTHORIZATION, HeaderMap, RETRY_AFTER};
use reqwest::{Method, Request, Response, StatusCode, Url};

use crate::auth::session::Target;
use crate::config::Retry;
use crate::endpoint::Endpoint;
use crate::error::{ErrorList, Refusal, RegistryError};
use crate::retry::Backoff;

/// The largest error message that is read.
const ERROR_MAX: usize = 64 << 10;

/// What is going to be done to a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Pull,
    Push,
}

/// A repository, and the permission to use it.
#[derive(Debug, Clone)]
pub(crate) struct Repository {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) target: Target,
    pub(crate) retry: Retry,
    /// The registry whose content is asked for, where that is another one.
    pub(crate) mirrored: Option<String>,
}

impl Repository {
    /// The repository at `path`; `mount_from` are the repositories that blobs are taken from.
    pub(crate) fn new(
        endpoint: Arc<Endpoint>,
        path: &str,
        access: Access,
        mount_from: &[String],
        retry: Retry,
    ) -> Self {
        let rights = if access == Access::Push { "pull,push" } else { "pull" };
        let mut scopes = vec![format!("repository:{path}:{rights}")];
        scopes.extend(mount_from.iter().map(|from| format!("repository:{from}:pull")));
        let target = Target { repository: path.to_owned(), scopes };
        Self { endpoint, target, retry, mirrored: None }
    }

    /// The address of something in the repository, e.g. `blobs/sha256:...`.
    pub(crate) fn url(&self, tail: &str) -> Result<Url, RegistryError> {
        let path = format!("{}/{tail}", self.target.repository);
        let url = self.endpoint.base.join(&path);
        let mut url = url.map_err(|_| self.protocol(format!("{path:?} has no URL")))?;
        // What containerd tells a mirror, which may have the content of several registries.
        if let Some(registry) = &self.mirrored {
            url.query_pairs_mut().append_pair("ns", registry);
        }
        Ok(url)
    }

    /// Sends a request until it succeeds or is not worth another attempt.
    pub(crate) async fn send(
        &self,
        action: &str,
        request: &(dyn Fn() -> Result<Request, RegistryError> + Send + Sync),
    ) -> Result<Response, RegistryError> {
        self.persist(|| self.send_once(action, request)).await
    }

    /// Makes attempts at something until one succeeds or no other is worth it.
    pub(crate) async fn persist<T, F>(&self, attempt: impl Fn() -> F) -> Result<T, RegistryError>
    where
        F: Future<Output = Result<T, RegistryError>>,
    {
        let mut backoff = Backoff::new(self.retry);
        loop {
            match attempt().await {
                Ok(result) => return Ok(result),
                Err(error) => backoff.after(error).await?,
            }
        }
    }

    /// Sends a request, again if permission has to be renewed. Anything but success is an error.
    pub(crate) async fn send_once(
        &self,
        action: &str,
        request: &(dyn Fn() -> Result<Request, RegistryError> + Send + Sync),
    ) -> Result<Response, RegistryError> {
        let Endpoint { transport, session, .. } = &*self.endpoint;
        let mut renewed = false;
        loop {
            let mut request = request()?;
            // Uploads may be sent to another host, whose business the permission is not.
            if request.url().origin() == self.endpoint.base.origin() {
                for (name, value) in &self.endpoint.headers {
                    request.headers_mut().append(name, value.clone());
                }
                if let Some(header) = session.authorization(transport, &self.target).await? {
                    request.headers_mut().insert(AUTHORIZATION, header);
                }
            }
            let (method, url) = (request.method().clone(), request.url().clone());
            let response = transport.execute(request).await;
            let response = response.map_err(|source| self.interrupted(action, source))?;
            if response.status().is_success() {
                return Ok(response);
            }
            if response.status() == StatusCode::UNAUTHORIZED
                && !std::mem::replace(&mut renewed, true)
                && session.refused(&self.target, response.headers()).await
            {
                continue;
            }
            return Err(self.refusal(method, &url, response).await);
        }
    }

    /// The error that an answer without success is.
    async fn refusal(&self, method: Method, url: &Url, response: Response) -> RegistryError {
        let Endpoint { registry, transport, session, .. } = &*self.endpoint;
        let status = response.status();
        let retry_after = retry_after(response.headers());
        // The answer counts even when its explanation does not come through. HEAD has none.
        let body = transport.body(response, ERROR_MAX).await.ok().flatten().unwrap_or_default();
        let errors = ErrorList::parse(&body);
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return RegistryError::Denied {
                repository: session.full_name(&self.target),
                errors,
                source: session.credential_error(&self.target).await.map(Box::new),
            };
        }
        RegistryError::Status(Box::new(Refusal {
            registry: registry.clone(),
            method,
            url: redacted(url),
            status,
            errors,
            retry_after,
        }))
    }

    /// A connection that broke while doing `action`.
    pub(crate) fn interrupted(&self, action: &str, source: TransportError) -> RegistryError {
        RegistryError::Interrupted {
            registry: self.endpoint.registry.clone(),
            action: action.to_owned(),
            source,
        }
    }

    /// An answer that no registry should give.
    pub(crate) fn protocol(&self, reason: impl Into<String>) -> RegistryError {
        RegistryError::Protocol { registry: self.endpoint.registry.clone(), reason: reason.into() }
    }
}

/// The pause a registry asks for, in seconds. The form with a date is not understood: it needs
/// clocks that agree, and no registry uses it.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
