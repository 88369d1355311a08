//! What can go wrong with a shared cache.

use std::io;
use std::path::{Path, PathBuf};

/// Why a cache could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// What is there is no cache.
    #[error("{what} is malformed: {reason}")]
    Malformed {
        /// What was read.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no cache there.
    #[error("there is no cache {name} in {place}")]
    NotFound {
        /// Its tag or digest.
        name: String,
        /// Where it was looked for.
        place: String,
    },
    /// A bucket cannot be used as things are.
    #[error("use the bucket {bucket}: {reason}")]
    Bucket {
        /// Which.
        bucket: String,
        /// What is missing or wrong.
        reason: String,
    },
    /// A cache service cannot be used as things are.
    #[error("use the cache service {service}: {reason}")]
    Service {
        /// Which.
        service: String,
        /// What is missing or wrong.
        reason: String,
    },
    /// An object of a bucket, or an entry of a cache service, could not be read or written.
    #[error("{action} {object}: {reason}")]
    Object {
        /// Verb: `read`, `write`, ...
        action: &'static str,
        /// The object, as `s3://bucket/key` or `gha://host/key`.
        object: String,
        /// What the server said, or became of the connection.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("{action} {}", path.display())]
    Io {
        /// Verb: `read`, `write`, ...
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl CacheError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    pub(crate) fn malformed(what: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Malformed { what: what.into(), reason: reason.to_string() }
    }
}
