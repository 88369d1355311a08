//! Who we are to a registry: where credentials come from, and how they are presented.
//!
//! A registry says in a challenge how it wants to be convinced: with the password
//! itself (basic), or with a token that a server elsewhere gives for it (bearer). Tokens are asked
//! for per repository and right, and kept until they expire.

pub(crate) mod challenge;
mod error;
mod files;
mod helper;
mod login;
pub(crate) mod session;
mod token;

use std::fmt;

pub use error::CredentialError;
pub use files::{CredentialFiles, registry_of, server_of};
pub use login::{erase, store};

/// What proves who we are.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// Name and password.
    Password {
        /// The name.
        username: String,
        /// The password.
        password: String,
    },
    /// A refresh token, which a token server exchanges for access tokens.
    IdentityToken(String),
    /// An access token, sent as it is.
    AccessToken(String),
}

impl fmt::Debug for Credential {
    /// Shows no secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { username, .. } => write!(f, "Password({username:?}, ...)"),
            Self::IdentityToken(_) => f.write_str("IdentityToken(...)"),
            Self::AccessToken(_) => f.write_str("AccessToken(...)"),
        }
    }
}

/// Knows credentials.
pub trait Credentials: Send + Sync {
    /// The credential for `repository` (`library/busybox`) on `registry` (`docker.io`,
    /// `host:port`), `None` when there is none. May take long: it is called on a thread of its own.
    ///
    /// # Errors
    /// When there may be one but it cannot be had. The request is then made without, and the error
    /// shown if that is refused.
    fn get(&self, registry: &str, repository: &str) -> Result<Option<Credential>, CredentialError>;
}

/// Knows one credential, for one registry: what was typed in to log in.
#[derive(Debug, Clone)]
pub struct Single {
    /// The registry it is for.
    pub registry: String,
    /// The credential.
    pub credential: Credential,
}

impl Credentials for Single {
    fn get(&self, registry: &str, _: &str) -> Result<Option<Credential>, CredentialError> {
        Ok((registry == self.registry).then(|| self.credential.clone()))
    }
}

/// Knows no credentials.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anonymous;

impl Credentials for Anonymous {
    fn get(&self, _: &str, _: &str) -> Result<Option<Credential>, CredentialError> {
        Ok(None)
    }
}
