//! Asking a token server, by the [token][token] and [OAuth2][oauth] protocols of Docker.
//!
//! [token]: https://distribution.github.io/distribution/spec/auth/token/
//! [oauth]: https://distribution.github.io/distribution/spec/auth/oauth/

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bld_http::TransportError;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Body, Method, Request, Url};
use serde::Deserialize;

use super::Credential;

/// The specification's life of a token that does not say how long it lives.
const DEFAULT_LIFE: u64 = 60;
/// A token is renewed this long before its end, so that it does not end under way.
const MARGIN: Duration = Duration::from_secs(10);
const CLIENT_ID: &str = "bld";

/// An access token.
#[derive(Clone)]
pub(super) struct Token {
    value: String,
    ends: Instant,
}

impl Token {
    /// Reads the answer of a token server.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
            expires_in: Option<u64>,
        }
        let answer: Answer = serde_json::from_slice(body).ok()?;
        let value = answer.token.or(answer.access_token).filter(|token| !token.is_empty())?;
        let life = Duration::from_secs(answer.expires_in.unwrap_or(DEFAULT_LIFE));
        Some(Self { value, ends: Instant::now().checked_add(life)? })
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.ends.saturating_duration_since(Instant::now()) > MARGIN
    }

    pub(super) fn header(&self) -> Option<HeaderValue> {
        bearer(&self.value)
    }
}

/// `Authorization: Bearer`, `None` when the token has characters that a header cannot have.
pub(super) fn bearer(token: &str) -> Option<HeaderValue> {
    sensitive(&format!("Bearer {token}"))
}

/// `Authorization: Basic`.
pub(super) fn basic(username: &str, password: &str) -> Option<HeaderValue> {
    sensitive(&format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))))
}

fn sensitive(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The request that asks the server at `realm` for a token with the rights `scopes`.
pub(super) fn request(
    realm: &Url,
    service: Option<&str>,
    scopes: &[String],
    credential: Option<&Credential>,
) -> Result<Request, TransportError> {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    pairs.extend(service.map(|service| ("service", service)));
    if let Some(Credential::IdentityToken(token)) = credential {
        let scope = scopes.join(" ");
        pairs.extend([
            ("client_id", CLIENT_ID),
            ("grant_type", "refresh_token"),
            ("refresh_token", token),
            ("scope", &scope),
        ]);
        let mut form = realm.clone();
        form.query_pairs_mut().clear().extend_pairs(pairs);
        let mut request = Request::new(Method::POST, realm.clone());
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(CONTENT_TYPE, kind);
        *request.body_mut() = form.query().map(|form| Body::from(form.to_owned()));
        return Ok(request);
    }
    pairs.extend(scopes.iter().map(|scope| ("scope", scope.as_str())));
    let mut url = realm.clone();
    let password = match credential {
        Some(Credential::Password { username, password }) => {
            pairs.extend([("account", username.as_str()), ("client_id", CLIENT_ID)]);
            Some((username, password))
        }
        _ => None,
    };
    url.query_pairs_mut().extend_pairs(pairs);
    let mut request = Request::new(Method::GET, url);
    if let Some((username, password)) = password {
        let header = basic(username, password)
            .ok_or_else(|| TransportError::new("credentials do not fit into a header"))?;
        request.headers_mut().insert(AUTHORIZATION, header);
    }
    Ok(request)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_two_spellings() {
        let long = Token::parse(br#"{"access_token":"a","expires_in":300}"#).unwrap();
        assert!(long.is_fresh());
        let brief = Token::parse(br#"{"token":"a","access_token":"b","expires_in":5}"#).unwrap();
        assert!(!brief.is_fresh());
        assert_eq!(brief.value, "a");
        assert!(Token::parse(br#"{"token":"a"}"#).unwrap().is_fresh());
        assert!(Token::parse(br#"{"token":""}"#).is_none());
        assert!(Token::parse(b"<html>").is_none());
    }

    #[test]
    fn the_query_of_the_realm_is_kept() {
        let realm = Url::parse("https://t.example/token?tenant=1").unwrap();
        let scopes = ["repository:a/b:pull".to_owned(), "repository:c:pull".to_owned()];
        let request = request(&realm, Some("r.example"), &scopes, None).unwrap();
        assert_eq!(
            request.url().as_str(),
            "https://t.example/token?tenant=1&service=r.example\
             &scope=repository%3Aa%2Fb%3Apull&scope=repository%3Ac%3Apull"
        );
        assert!(request.headers().get(AUTHORIZATION).is_none());
    }

    #[test]
    fn an_identity_token_travels_in_the_body() {
        let realm = Url::parse("https://t.example/token").unwrap();
        let secret = Credential::IdentityToken("s3cret+/".into());
        let request =
            request(&realm, Some("r"), &["repository:a:pull".into()], Some(&secret)).unwrap();
        assert_eq!(request.url().as_str(), "https://t.example/token");
        let body = request.body().unwrap().as_bytes().unwrap();
        assert_eq!(
            std::str::from_utf8(body).unwrap(),
            "service=r&client_id=bld&grant_type=refresh_token&refresh_token=s3cret%2B%2F\
             &scope=repository%3Aa%3Apull"
        );
    }
}
