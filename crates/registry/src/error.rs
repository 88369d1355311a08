//! What can go wrong with a registry, told apart by what the user can do about it.

use std::fmt;
use std::time::Duration;

use bld_http::TransportError;
use bld_oci::{Digest, DocumentError, Platform};
use bld_store::StoreError;
use reqwest::{Method, StatusCode};
use serde::Deserialize;

use crate::auth::CredentialError;

/// Why a registry operation failed. URLs in messages have no query, since queries carry signatures.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// No connection: the name does not resolve, nothing listens, or the certificate is not
    /// trusted.
    #[error("registry {registry} cannot be reached")]
    Unreachable {
        /// Host and port.
        registry: String,
        /// Why.
        source: TransportError,
    },

    /// A connection broke and trying again did not help.
    #[error("connection to registry {registry} was lost to {action}")]
    Interrupted {
        /// Host and port.
        registry: String,
        /// What was being done, as a verb phrase.
        action: String,
        /// Why.
        source: TransportError,
    },

    /// The registry answered with an error.
    #[error(transparent)]
    Status(#[from] Box<Refusal>),

    /// Not logged in, not allowed, or (many registries hide the difference) not there.
    #[error("access to {repository} is denied: it may be private, or not exist{errors}")]
    Denied {
        /// Registry and path of the repository.
        repository: String,
        /// What the registry says about it.
        errors: ErrorList,
        /// Why no credentials were sent, when there was a reason.
        source: Option<Box<CredentialError>>,
    },

    /// The credentials are wrong, or there are none.
    #[error("registry {registry} does not accept the credentials{errors}")]
    NotAccepted {
        /// Host and port.
        registry: String,
        /// What the registry says about it.
        errors: ErrorList,
        /// Why no credentials were sent, when there was a reason.
        source: Option<Box<CredentialError>>,
    },

    /// There is no such tag or digest.
    #[error("image {reference} does not exist")]
    NotFound {
        /// The reference asked for.
        reference: String,
    },

    /// There is no image for the platform.
    #[error("image {reference} is not available for {wanted}, only for {}", list(available))]
    NoPlatform {
        /// The reference asked for.
        reference: String,
        /// The platform asked for.
        wanted: Box<Platform>,
        /// The platforms there are.
        available: Vec<Platform>,
    },

    /// The reference names something that is not a container image.
    #[error("{reference} is not a container image but {media_type:?}")]
    NotAnImage {
        /// The reference asked for.
        reference: String,
        /// What it is.
        media_type: String,
    },

    /// A manifest, index or configuration does not make sense.
    #[error("{what} is malformed: {reason}")]
    Malformed {
        /// The document.
        what: String,
        /// What is wrong with it.
        reason: String,
    },

    /// The bytes are not the ones that were asked for. Nothing of them was kept.
    #[error("{what} has the wrong content: it hashes to {found}")]
    WrongDigest {
        /// What was asked for, by its digest.
        what: String,
        /// What the bytes hash to.
        found: Digest,
    },

    /// More or fewer bytes than announced. Nothing of them was kept.
    #[error("{what} has {found} bytes instead of {expected}")]
    WrongSize {
        /// What was asked for, by its digest.
        what: String,
        /// Bytes the descriptor announces.
        expected: u64,
        /// Bytes that came, or that the registry says would come.
        found: u64,
    },

    /// The registry does not follow the protocol.
    #[error("registry {registry} broke the protocol: {reason}")]
    Protocol {
        /// Host and port.
        registry: String,
        /// What it did.
        reason: String,
    },

    /// A setting cannot be used.
    #[error("registry setting is not usable: {reason}")]
    Config {
        /// Which one, and why.
        reason: String,
    },

    /// The local store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RegistryError {
    /// Whether the same request may succeed a little later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Interrupted { .. } => true,
            Self::Status(refusal) => refusal.is_transient(),
            _ => false,
        }
    }

    /// Whether the bytes that came are not those that were asked for, or the registry says so of those
    /// that it got.
    pub(crate) fn is_about_content(&self) -> bool {
        match self {
            Self::WrongDigest { .. } | Self::WrongSize { .. } => true,
            Self::Status(refusal) => refusal.is_about_content(),
            _ => false,
        }
    }

    /// Whether another source of the same content may do better. Trouble of this machine's own
    /// stays the same wherever the bytes come from.
    pub(crate) fn is_of_the_source(&self) -> bool {
        !matches!(self, Self::Store(_) | Self::Config { .. })
    }

    /// The status that the registry answered with, if it answered with an error.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status(refusal) => Some(refusal.status),
            _ => None,
        }
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status(refusal) => refusal.retry_after,
            _ => None,
        }
    }

    pub(crate) fn document(what: impl Into<String>, error: &DocumentError) -> Self {
        let reason = match error {
            DocumentError::Json(json) => json.to_string(),
            other => other.to_string(),
        };
        Self::Malformed { what: what.into(), reason }
    }
}

/// An answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("registry {registry} answered {status} to {method} {url}{errors}")]
pub struct Refusal {
    /// Host and port.
    pub registry: String,
    /// The method of the request.
    pub method: Method,
    /// Where the request went, without its query.
    pub url: String,
    /// The answer.
    pub status: StatusCode,
    /// What the registry says about it.
    pub errors: ErrorList,
    /// How long the registry asks to wait before the next attempt.
    pub retry_after: Option<Duration>,
}

/// What registries call bytes that do not make sense to them.
const SPOILT: [&str; 5] = [
    "DIGEST_INVALID",
    "SIZE_INVALID",
    "BLOB_UPLOAD_INVALID",
    "MANIFEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
];

impl Refusal {
    fn is_about_content(&self) -> bool {
        let errors = &self.errors.errors;
        let sent = matches!(self.method, Method::PUT | Method::PATCH);
        let malformed = matches!(self.status, StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND);
        sent && malformed && errors.iter().any(|error| SPOILT.contains(&error.code.as_str()))
    }

    fn is_transient(&self) -> bool {
        match self.status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => true,
            StatusCode::NOT_IMPLEMENTED => false,
            other => other.is_server_error(),
        }
    }
}

fn list(platforms: &[Platform]) -> String {
    match platforms {
        [] => "no platform at all".to_owned(),
        some => some.iter().map(Platform::to_string).collect::<Vec<_>>().join(", "),
    }
}

/// The errors in the body of an answer, as the [distribution specification][spec] has them.
///
/// [spec]: https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#error-codes
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorList {
    /// The structured errors.
    pub errors: Vec<ErrorEntry>,
    /// The beginning of a body that has none, when it is text.
    pub text: String,
}

/// One error in the body of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ErrorEntry {
    /// The code, e.g. `MANIFEST_UNKNOWN`.
    #[serde(default)]
    pub code: String,
    /// The explanation.
    #[serde(default)]
    pub message: String,
}

/// What is kept of a body that is not structured.
const TEXT_MAX: usize = 200;

impl ErrorList {
    /// Reads the body of an answer; whatever it is, there is a result.
    pub(crate) fn parse(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Body {
            errors: Vec<ErrorEntry>,
        }
        /// Token servers answer in their own way.
        #[derive(Deserialize)]
        struct TokenBody {
            #[serde(alias = "details", alias = "error_description", alias = "error")]
            message: String,
        }
        if let Ok(Body { errors }) = serde_json::from_slice(body) {
            return Self { errors, text: String::new() };
        }
        let text = match serde_json::from_slice(body) {
            Ok(TokenBody { message }) => message,
            Err(_) => String::from_utf8_lossy(body).into_owned(),
        };
        // A page of HTML explains nothing on a terminal.
        let text = text.trim();
        let shown = if text.starts_with('<') { "" } else { text };
        Self { errors: Vec::new(), text: shown.chars().take(TEXT_MAX).collect() }
    }

    /// Whether one of the errors has this code.
    pub fn has(&self, code: &str) -> bool {
        self.errors.iter().any(|error| error.code == code)
    }
}

impl fmt::Display for ErrorList {
    /// Empty, or a colon and the errors: made to end a sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, ErrorEntry { code, message }) in self.errors.iter().enumerate() {
            f.write_str(if n == 0 { ": " } else { "; " })?;
            match (code.as_str(), message.as_str()) {
                (code, "") => f.write_str(code)?,
                ("", message) => f.write_str(message)?,
                (code, message) => write!(f, "{code}: {message}")?,
            }
        }
        if !self.text.is_empty() {
            write!(f, ": {}", self.text)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_read_whatever_they_are() {
        for (body, shown) in [
            (
                r#"{"errors":[{"code":"NAME_UNKNOWN","message":"no such name","detail":{"x":1}},{"code":"DENIED"}]}"#,
                ": NAME_UNKNOWN: no such name; DENIED",
            ),
            (r#"{"details":"incorrect username or password"}"#, ": incorrect username or password"),
            ("<html>nginx</html>", ""),
            ("", ""),
            ("slow down\n", ": slow down"),
        ] {
            assert_eq!(ErrorList::parse(body.as_bytes()).to_string(), shown);
        }
        assert_eq!(ErrorList::parse("x".repeat(9999).as_bytes()).text.len(), TEXT_MAX);
    }
}
