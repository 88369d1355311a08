//! What can go wrong below the answers of a server.

use std::time::Duration;

/// Why bytes did not get through, in the words of the innermost cause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct TransportError {
    /// What happened.
    pub reason: String,
    /// Whether there never was a connection.
    pub before_connection: bool,
}

impl TransportError {
    /// A connection that failed in some other way than the library's.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), before_connection: false }
    }

    /// A connection that was silent for too long.
    pub fn timed_out(after: Duration) -> Self {
        Self::new(format!("nothing was received for {} s", after.as_secs_f32()))
    }
}

impl From<reqwest::Error> for TransportError {
    /// The chain of an HTTP error is long and says little; its end says what happened.
    fn from(error: reqwest::Error) -> Self {
        let before_connection = error.is_connect();
        let error = error.without_url();
        let mut cause: &dyn std::error::Error = &error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        Self { reason: cause.to_string(), before_connection }
    }
}
