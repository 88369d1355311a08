//! What can go wrong in the engine, told apart by what a user can do about it.

use std::io;
use std::path::PathBuf;

use bld_oci::{Digest, PlatformError, ReferenceError};
use bld_store::StoreError;

/// Result of an engine operation.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;

/// Why an engine operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// No image has this name or id.
    #[error("no such image: {name}")]
    NoSuchImage {
        /// As given.
        name: String,
    },
    /// No container has this name or id.
    #[error("no such container: {name}")]
    NoSuchContainer {
        /// As given.
        name: String,
    },
    /// The engine was opened without a command that runs monitors.
    #[error("containers cannot be detached: the engine was opened without a monitor command")]
    NotDetachable,
    /// The name of an image is malformed.
    #[error("invalid reference format: {reference:?}")]
    Reference {
        /// As given.
        reference: String,
        /// What is wrong with it.
        source: ReferenceError,
    },
    /// The operating system refused.
    #[error("{action} {}", path.display())]
    Io {
        /// Verb: `read`, `create`, ...
        action: &'static str,
        /// The file concerned.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
