//! What can go wrong when files are brought from elsewhere.

use bld_http::TransportError;
use bld_oci::Digest;
use bld_store::StoreError;

/// Result of bringing something.
pub type Result<T, E = RemoteError> = std::result::Result<T, E>;

/// Why files could not be brought. Locations have no passwords in them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// A URL is malformed.
    #[error("invalid URL {url:?}: {reason}")]
    Url {
        /// As given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The server answered with an error.
    #[error("{url}: invalid response status {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// Number and name, e.g. `404 Not Found`.
        status: String,
    },
    /// The bytes did not get through.
    #[error("{url} could not be fetched")]
    Transport {
        /// What was asked for.
        url: String,
        /// Why.
        source: TransportError,
    },
    /// The bytes are not the ones that were asked for. Nothing of them was kept.
    #[error("digest mismatch for {url}: {found} (expected: {expected})")]
    Checksum {
        /// What was asked for.
        url: String,
        /// What it must hash to.
        expected: Digest,
        /// What it hashes to.
        found: Digest,
    },
    /// A secret cannot be sent as a header.
    #[error("the secret {name} is not the value of an HTTP header")]
    Secret {
        /// Its id.
        name: String,
    },
    /// There is no git.
    #[error("git is needed to fetch {remote}, and it is not installed")]
    NoGit {
        /// What was asked for.
        remote: String,
    },
    /// A git command failed.
    #[error("failed to {action} {remote}: {message}")]
    Git {
        /// What was tried, as a verb.
        action: &'static str,
        /// The repository.
        remote: String,
        /// What git says, in one line.
        message: String,
    },
    /// There is no such branch or tag.
    #[error("repository {remote} does not contain ref {reference}")]
    NoReference {
        /// The repository.
        remote: String,
        /// As given.
        reference: String,
    },
    /// The reference leads to another commit.
    #[error("expected checksum to match {expected}, got {found}")]
    Commit {
        /// The commit, or the beginning of it, that was asked for.
        expected: String,
        /// What the reference leads to.
        found: String,
    },
    /// A commit is not written as one, or not in full where it has to be.
    #[error("invalid checksum {checksum:?} for a git repository: it is not a commit hash")]
    NotACommit {
        /// As given.
        checksum: String,
    },
    /// The directory is not in the checkout.
    #[error("{remote} has no directory {subdir:?}")]
    Subdir {
        /// The repository.
        remote: String,
        /// As given.
        subdir: String,
    },
    /// The caller asked to stop.
    #[error("canceled")]
    Canceled,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file could not be used.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, with the path.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl RemoteError {
    /// For `map_err`: `what` was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { what: what.into(), source }
    }
}
