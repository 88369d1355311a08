//! What can go wrong in a store, told apart by what the caller can do about it.

use std::io;
use std::path::{Path, PathBuf};

use bld_oci::Digest;
use rustix::io::Errno;

use crate::SnapshotId;

/// Result of a store operation.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Why a store operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file system is full or the quota used up. Nothing half-written stays behind: freeing
    /// space (for instance with [`Store::gc`](crate::Store::gc)) and trying again is enough.
    #[error("no space left on the device of {}", path.display())]
    NoSpace {
        /// What was being written.
        path: PathBuf,
    },

    /// The database was written by a newer version. It was not touched.
    #[error(
        "the store {} was written by a newer version (schema {found}, this one knows up to {supported})",
        path.display()
    )]
    NewerSchema {
        /// The store's root.
        path: PathBuf,
        /// Schema version of the database.
        found: u32,
        /// Highest schema version this code reads.
        supported: u32,
    },

    /// No such blob.
    #[error("blob {digest} is not in the store")]
    MissingBlob {
        /// The blob asked for.
        digest: Digest,
    },

    /// A blob's bytes are not the ones its name promises. Drop it with
    /// [`Store::drop_damaged`](crate::Store::drop_damaged) and fetch or make it again.
    #[error("blob {digest} is damaged: its bytes hash to {found}")]
    DamagedBlob {
        /// Name of the blob.
        digest: Digest,
        /// Digest of the bytes on disk.
        found: Digest,
    },

    /// The bytes written are not the ones expected; nothing was stored.
    #[error("expected {expected}, received bytes that hash to {found}")]
    DigestMismatch {
        /// Digest the caller asked for.
        expected: Digest,
        /// Digest of the bytes that were written.
        found: Digest,
    },

    /// No such snapshot, or garbage collection is removing it right now.
    #[error("snapshot {id} is not in the store")]
    MissingSnapshot {
        /// The snapshot asked for.
        id: SnapshotId,
    },

    /// The files of a snapshot, or of one that it lies on, are somewhere else. They have to be brought
    /// first.
    #[error("the files of snapshot {id} are not in the store")]
    Elsewhere {
        /// The lowest snapshot whose files are not here.
        id: SnapshotId,
    },

    /// The snapshot is a parent, named by an image, or held by a live process.
    #[error("snapshot {id} is in use")]
    SnapshotInUse {
        /// The snapshot asked for.
        id: SnapshotId,
    },

    /// No such image.
    #[error("image {id} is not in the store")]
    MissingImage {
        /// Config digest of the image asked for.
        id: Digest,
    },

    /// No such container.
    #[error("no such container: {name}")]
    MissingContainer {
        /// Id, name or prefix as given.
        name: String,
    },

    /// The container name belongs to another container.
    #[error("container name {name:?} is already in use by container {id}")]
    NameTaken {
        /// The name that was asked for.
        name: String,
        /// Full id of the container that has it.
        id: String,
    },

    /// A prefix fits more than one object.
    #[error("prefix {prefix:?} is ambiguous: it fits {}", matches.join(", "))]
    Ambiguous {
        /// The prefix as given.
        prefix: String,
        /// Full ids that start with it.
        matches: Vec<String>,
    },

    /// A row or file of the store does not decode.
    #[error("{what} is malformed: {reason}")]
    Malformed {
        /// What was being read.
        what: String,
        /// Why it does not decode.
        reason: String,
    },

    /// The operating system refused.
    #[error("{action} {}", path.display())]
    Io {
        /// Verb: "open", "rename", ...
        action: &'static str,
        /// The file concerned.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },

    /// SQLite refused.
    #[error("access the database")]
    Database {
        /// The cause.
        #[from]
        source: rusqlite::Error,
    },
}

impl StoreError {
    /// An I/O error at `path`, with a full disk told apart.
    pub(crate) fn io(
        action: &'static str,
        path: impl AsRef<Path>,
        source: impl Into<io::Error>,
    ) -> Self {
        let (path, source) = (path.as_ref().to_owned(), source.into());
        match source.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOSPC | Errno::DQUOT) => Self::NoSpace { path },
            _ => Self::Io { action, path, source },
        }
    }
}
