//! What can go wrong between a tree on disk and an archive.

use std::io;
use std::path::{Path, PathBuf};

/// The result of reading or writing trees and archives.
pub type Result<T, E = LayerError> = std::result::Result<T, E>;

/// Why a tree could not be read, written, packed or unpacked. Messages read after "failed to".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The kernel refused an operation on a path.
    #[error("{action} {}", path.display())]
    Io {
        /// What was being done, as a verb phrase such as `open`.
        action: &'static str,
        /// The path it was done to.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The archive could not be read, or the packed layer not be written out.
    #[error("{action}")]
    Stream {
        /// What was being done, as a verb phrase such as `read the archive`.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The bytes are not the archive they claim to be.
    #[error("read the archive at byte {offset}: {problem}")]
    Malformed {
        /// Where the offending header begins in the uncompressed stream.
        offset: u64,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An archive entry may not or cannot be unpacked.
    #[error("unpack {}: {problem}", entry.display())]
    Entry {
        /// The name of the entry as the archive spells it.
        entry: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A file of the tree has no faithful form in a layer.
    #[error("pack {}: {problem}", path.display())]
    Unrepresentable {
        /// The file, relative to the root of the layer.
        path: PathBuf,
        /// Why not.
        problem: &'static str,
    },
    /// A chain of symbolic links does not end.
    #[error("resolve {}: too many levels of symbolic links", path.display())]
    SymlinkLoop {
        /// The path that was being resolved.
        path: PathBuf,
    },
    /// A file is larger than the caller is ready to hold in memory.
    #[error("read {}: larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file, as seen from inside the tree.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
}

impl LayerError {
    /// An [`Io`](Self::Io) error, made where the path is known.
    pub(crate) fn io(
        action: &'static str,
        path: impl AsRef<Path>,
        error: impl Into<io::Error>,
    ) -> Self {
        Self::Io { action, path: path.as_ref().to_owned(), source: error.into() }
    }

    /// An [`Entry`](Self::Entry) error.
    pub(crate) fn entry(entry: impl AsRef<Path>, problem: &'static str) -> Self {
        Self::Entry { entry: entry.as_ref().to_owned(), problem }
    }
}

/// Names the path in a bare I/O result.
pub(crate) trait Context<T> {
    /// Says what was being done to which path.
    fn context(self, action: &'static str, path: impl AsRef<Path>) -> Result<T>;

    /// The same where many calls succeed for each that fails: the path is only made then.
    fn with_context(self, action: &'static str, path: impl FnOnce() -> PathBuf) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, action: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|error| LayerError::io(action, path, error))
    }

    fn with_context(self, action: &'static str, path: impl FnOnce() -> PathBuf) -> Result<T> {
        self.map_err(|error| LayerError::io(action, path(), error))
    }
}
