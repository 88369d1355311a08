//! What is known about convincing one registry: its challenge, the credentials, the tokens.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bld_http::{Transport, TransportError, is_loopback, redacted};
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Request, StatusCode, Url};

use super::challenge::Challenge;
use super::token::{self, Token, basic, bearer};
use super::{Credential, CredentialError, Credentials};
use crate::error::{ErrorList, Refusal, RegistryError};
use crate::sync::lock;

/// The largest answer of a token server that is read.
const ANSWER_MAX: usize = 1 << 20;

/// What a request is about, as far as permission goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    /// The repository; empty for the registry as a whole.
    pub(crate) repository: String,
    /// The rights, `repository:name:pull,push` each.
    pub(crate) scopes: Vec<String>,
}

/// A credential that was looked for: it, or none, or why there is none.
type Known = Arc<Result<Option<Credential>, CredentialError>>;

/// The state of our relation to one registry.
pub(crate) struct Session {
    registry: String,
    /// Whether the registry itself speaks plain HTTP, so that its token server may as well.
    plain: bool,
    credentials: Arc<dyn Credentials>,
    challenge: Mutex<Option<Challenge>>,
    /// Rights that a refused request turned out to need, beyond the usual ones.
    asked: Mutex<HashMap<Target, String>>,
    known: tokio::sync::Mutex<HashMap<String, Known>>,
    /// Locked while a token is fetched: many blobs start at once, and one token serves them all.
    tokens: tokio::sync::Mutex<HashMap<Target, Token>>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("registry", &self.registry).finish_non_exhaustive()
    }
}

impl Session {
    pub(crate) fn new(registry: &str, plain: bool, credentials: Arc<dyn Credentials>) -> Self {
        Self {
            registry: registry.to_owned(),
            plain,
            credentials,
            challenge: Mutex::default(),
            asked: Mutex::default(),
            known: tokio::sync::Mutex::default(),
            tokens: tokio::sync::Mutex::default(),
        }
    }

    /// Learns how the registry wants to be convinced.
    pub(crate) fn challenged(&self, headers: &HeaderMap) {
        if let Some(challenge) = Challenge::of(headers) {
            *lock(&self.challenge) = Some(challenge);
        }
    }

    fn challenge(&self) -> Option<Challenge> {
        lock(&self.challenge).clone()
    }

    /// The `Authorization` of a request about `target`, `None` to send it without.
    pub(crate) async fn authorization(
        &self,
        transport: &Transport,
        target: &Target,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        let Some(challenge) = self.challenge() else { return Ok(None) };
        let credential = self.credential(&target.repository).await;
        let credential = credential.as_ref().as_ref().ok().and_then(Option::as_ref);
        let header = match (challenge, credential) {
            (_, Some(Credential::AccessToken(token))) => bearer(token),
            (Challenge::Basic, Some(Credential::Password { username, password })) => {
                basic(username, password)
            }
            (Challenge::Basic, _) => return Ok(None),
            (Challenge::Bearer { realm, service, .. }, credential) => {
                let mut tokens = self.tokens.lock().await;
                if let Some(token) = tokens.get(target).filter(|token| token.is_fresh()) {
                    token.header()
                } else {
                    let mut scopes = target.scopes.clone();
                    scopes.extend(lock(&self.asked).get(target).cloned());
                    let realm = self.realm(&realm)?;
                    let request = token::request(&realm, service.as_deref(), &scopes, credential)
                        .map_err(|source| self.interrupted(source))?;
                    let token = self.fetch(transport, target, &realm, request).await?;
                    let header = token.header();
                    tokens.insert(target.clone(), token);
                    header
                }
            }
        };
        header.map(Some).ok_or_else(|| RegistryError::Protocol {
            registry: self.registry.clone(),
            reason: "the token does not fit into a header".to_owned(),
        })
    }

    /// Takes notice that a request about `target` was refused. Says whether another attempt may
    /// fare better, because there was no token yet or it has ended meanwhile.
    pub(crate) async fn refused(&self, target: &Target, headers: &HeaderMap) -> bool {
        let before = self.challenge();
        self.challenged(headers);
        if let Some(Challenge::Bearer { scope: Some(scope), .. }) = self.challenge()
            && !target.scopes.contains(&scope)
        {
            lock(&self.asked).insert(target.clone(), scope);
        }
        let dropped = self.tokens.lock().await.remove(target).is_some();
        dropped || (before.is_none() && self.challenge().is_some())
    }

    /// Why nothing was sent to convince the registry, if there is a reason.
    pub(crate) async fn credential_error(&self, target: &Target) -> Option<CredentialError> {
        let mut known = self.known.lock().await;
        match known.get(&target.repository)?.as_ref() {
            Ok(_) => None,
            // Told once; the next request asks again.
            Err(_) => Arc::into_inner(known.remove(&target.repository)?)?.err(),
        }
    }

    async fn credential(&self, repository: &str) -> Known {
        let mut known = self.known.lock().await;
        if let Some(credential) = known.get(repository) {
            return Arc::clone(credential);
        }
        let (credentials, registry) = (Arc::clone(&self.credentials), self.registry.clone());
        let name = repository.to_owned();
        let found = tokio::task::spawn_blocking(move || credentials.get(&registry, &name)).await;
        // A panic in foreign code counts as not knowing.
        let found = Arc::new(found.unwrap_or(Ok(None)));
        known.insert(repository.to_owned(), Arc::clone(&found));
        found
    }

    /// The token server's address, if a password may go there.
    fn realm(&self, realm: &str) -> Result<Url, RegistryError> {
        let protocol =
            |reason: String| RegistryError::Protocol { registry: self.registry.clone(), reason };
        let url = Url::parse(realm)
            .map_err(|_| protocol(format!("its token server {realm:?} is not a URL")))?;
        let safe = url.scheme() == "https"
            || (url.scheme() == "http" && (self.plain || is_loopback(&url)));
        if safe {
            Ok(url)
        } else {
            Err(protocol(format!("its token server {} does not use HTTPS", redacted(&url))))
        }
    }

    async fn fetch(
        &self,
        transport: &Transport,
        target: &Target,
        realm: &Url,
        request: Request,
    ) -> Result<Token, RegistryError> {
        // What was spoilt on its way comes right the next time.
        let again = request.try_clone();
        match (self.fetch_once(transport, target, realm, request).await, again) {
            (Err(RegistryError::Protocol { .. }), Some(again)) => {
                self.fetch_once(transport, target, realm, again).await
            }
            (result, _) => result,
        }
    }

    async fn fetch_once(
        &self,
        transport: &Transport,
        target: &Target,
        realm: &Url,
        request: Request,
    ) -> Result<Token, RegistryError> {
        let method = request.method().clone();
        let response =
            transport.execute(request).await.map_err(|source| self.interrupted(source))?;
        let status = response.status();
        let retry_after = crate::repository::retry_after(response.headers());
        let body = transport.body(response, ANSWER_MAX).await;
        let body = body.map_err(|source| self.interrupted(source))?.unwrap_or_default();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(RegistryError::Denied {
                repository: self.full_name(target),
                errors: ErrorList::parse(&body),
                source: self.credential_error(target).await.map(Box::new),
            });
        }
        if !status.is_success() {
            return Err(RegistryError::Status(Box::new(Refusal {
                registry: self.registry.clone(),
                method,
                url: redacted(realm),
                status,
                errors: ErrorList::parse(&body),
                retry_after,
            })));
        }
        Token::parse(&body).ok_or_else(|| RegistryError::Protocol {
            registry: self.registry.clone(),
            reason: format!("its token server {} gave no token", redacted(realm)),
        })
    }

    /// Registry and repository, for people.
    pub(crate) fn full_name(&self, target: &Target) -> String {
        match target.repository.as_str() {
            "" => format!("registry {}", self.registry),
            repository => format!("{}/{repository}", self.registry),
        }
    }

    fn interrupted(&self, source: TransportError) -> RegistryError {
        RegistryError::Interrupted {
            registry: self.registry.clone(),
            action: "get an access token".to_owned(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Anonymous;

    #[test]
    fn passwords_do_not_travel_in_the_open() {
        let realm = |plain: bool, realm: &str| {
            let session = Session::new("r.example", plain, Arc::new(Anonymous));
            session.realm(realm).map(|url| url.to_string()).map_err(|error| error.to_string())
        };
        assert!(realm(false, "https://auth.example/token").is_ok());
        assert!(realm(false, "http://127.0.0.1:5001/token").is_ok());
        assert!(realm(true, "http://auth.example/token").is_ok());
        for (url, reason) in [
            ("http://auth.example/token?key=x", "http://auth.example/token does not use HTTPS"),
            ("ftp://auth.example/", "does not use HTTPS"),
            ("token", "is not a URL"),
        ] {
            let error = realm(false, url).unwrap_or_else(|error| error);
            assert!(error.ends_with(reason), "{error}");
        }
    }
}
