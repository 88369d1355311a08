//! Why credentials cannot be had.

use std::io;
use std::path::PathBuf;

/// Why credentials cannot be had. Never contains a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// The file cannot be read or written.
    #[error("{action} {}", path.display())]
    File {
        /// Verb: "read", "write", ...
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error("{} is malformed: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The credential helper cannot be run.
    #[error("credential helper {program} cannot be run")]
    HelperStart {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The credential helper failed.
    #[error("credential helper {program} failed: {reason}")]
    HelperFailed {
        /// The program.
        program: String,
        /// What it said.
        reason: String,
    },
    /// The kind of credential cannot be kept where it should go.
    #[error("an access token cannot be stored")]
    NotStorable,
}
