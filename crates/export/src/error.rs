//! What can go wrong on the way out.

use std::io;
use std::path::{Path, PathBuf};

use bld_oci::Digest;

/// Why a result could not be handed out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] bld_store::StoreError),
    /// A layer could not be read or written.
    #[error(transparent)]
    Layer(#[from] bld_layer::LayerError),
    /// Files could not be copied out.
    #[error(transparent)]
    Copy(#[from] bld_layer::copy::CopyError),
    /// The layer encoder failed.
    #[error("compress a layer: {0}")]
    Encode(#[from] io::Error),
    /// A config or manifest does not decode or encode.
    #[error("{what} is malformed: {reason}")]
    Malformed {
        /// Which one.
        what: String,
        /// Why.
        reason: String,
    },
    /// The files of a layer are in the store neither as a blob nor unpacked.
    #[error("layer {diff_id} of image {image} is not in the store: pull or build the image again")]
    MissingLayer {
        /// The layer.
        diff_id: Digest,
        /// The image that needs it.
        image: Digest,
    },
    /// The files of a layer give another archive: somebody changed them in the store, or its blob is
    /// gone, and another program made that.
    #[error(
        "the files of layer {diff_id} in {} do not make that layer: they were changed, or it was packed \
         elsewhere; remove the image and build, pull or load it again",
        path.display()
    )]
    ChangedLayer {
        /// The layer.
        diff_id: Digest,
        /// Where its files are.
        path: PathBuf,
    },
    /// A blob holds another layer than whoever made it said.
    #[error("blob {blob} is not the layer {diff_id}: remove the image and pull or load it again")]
    OtherLayer {
        /// The layer that was meant.
        diff_id: Digest,
        /// The blob.
        blob: Digest,
    },
    /// The caller asked to stop.
    #[error("canceled")]
    Canceled,
    /// The destination could not be written.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// Verb: `create`, `write`, ...
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl ExportError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    pub(crate) fn malformed(what: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Malformed { what: what.into(), reason: reason.to_string() }
    }
}
