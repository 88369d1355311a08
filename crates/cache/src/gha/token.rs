//! The token of a job: what it may read and write, as it says itself.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

/// What proves to the service which job asks. It is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The token `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(super) fn secret(&self) -> &str {
        &self.0
    }

    /// `text` without the token, should a server have said it again.
    pub(super) fn hide(&self, text: &str) -> String {
        if self.0.is_empty() { text.to_owned() } else { text.replace(&self.0, "***") }
    }

    /// The scopes that it says it is for. Only the service can tell whether that is true.
    pub(super) fn scopes(&self) -> Result<Vec<Scope>, &'static str> {
        #[derive(Deserialize)]
        struct Claims {
            ac: Option<String>,
            exp: Option<f64>,
        }
        let claims = self.0.split('.').nth(1).ok_or("its token is none of a job")?;
        let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('='));
        let claims = claims.map_err(|_| "its token is none of a job")?;
        let claims: Claims =
            serde_json::from_slice(&claims).map_err(|_| "its token is none of a job")?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        if claims.exp.is_some_and(|ends| ends < now) {
            return Err("its token has expired");
        }
        let scopes = claims.ac.ok_or("its token says nothing of caches")?;
        serde_json::from_str(&scopes).map_err(|_| "its token says nothing of caches")
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(...)")
    }
}

/// A branch or tag that has caches of its own, and what may be done with them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Scope {
    #[serde(rename = "Scope")]
    pub(super) name: String,
    #[serde(rename = "Permission")]
    permission: u32,
}

impl Scope {
    pub(super) fn may_write(&self) -> bool {
        self.permission & 2 != 0
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    fn token(claims: &str) -> Token {
        Token::new(format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims)))
    }

    #[test]
    fn a_token_says_what_it_is_for() {
        let claims = r#"{"ac":"[{\"Scope\":\"refs/heads/a\",\"Permission\":3},{\"Scope\":\"refs/heads/main\",\"Permission\":1}]","exp":99999999999}"#;
        let scopes = token(claims).scopes().unwrap();
        let found: Vec<_> =
            scopes.iter().map(|scope| (scope.name.as_str(), scope.may_write())).collect();
        assert_eq!(found, [("refs/heads/a", true), ("refs/heads/main", false)]);
        let error = |token: Token| token.scopes().unwrap_err();
        assert!(error(token(r#"{"exp":1}"#)).contains("expired"));
        assert!(error(token("{}")).contains("nothing of caches"));
        assert!(error(Token::new("geheim")).contains("none of a job"));
        let token = Token::new("geheim");
        assert_eq!(format!("{token:?}"), "Token(...)");
        assert_eq!(token.hide("no geheim here"), "no *** here");
    }
}
