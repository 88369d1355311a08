//! An image as three methods; everything else about it is derived.

use std::io::{self, Read};

use oci_spec::image::{Descriptor, ImageManifest};

use crate::{Digest, DigestError, DocumentError, ImageConfig, document};

/// One image for one platform, wherever it lies: in a store, a layout, an archive, in memory.
///
/// Documents are passed as the bytes that have the digest, never as parsed values written back.
/// The methods may do I/O.
pub trait Image {
    /// The manifest.
    fn manifest_bytes(&self) -> Result<Vec<u8>, ImageError>;

    /// The configuration that the manifest names.
    fn config_bytes(&self) -> Result<Vec<u8>, ImageError>;

    /// The content that a descriptor of the manifest names, as it is shipped. Not verified.
    fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>, ImageError>;
}

/// What follows from the methods of [`Image`], written once.
pub trait ImageExt: Image {
    /// The manifest, read.
    fn manifest(&self) -> Result<ImageManifest, ImageError> {
        Ok(document::parse_manifest(&self.manifest_bytes()?)?)
    }

    /// The configuration, read.
    fn config(&self) -> Result<ImageConfig, ImageError> {
        ImageConfig::parse(&self.config_bytes()?).map_err(ImageError::Config)
    }

    /// The digest that the image is pulled by: that of its manifest.
    fn digest(&self) -> Result<Digest, ImageError> {
        Ok(Digest::of(&self.manifest_bytes()?))
    }

    /// The id that the image is known by on a machine: the digest of its configuration.
    fn id(&self) -> Result<Digest, ImageError> {
        Ok(Digest::of(&self.config_bytes()?))
    }

    /// The layers, lowest first.
    fn layers(&self) -> Result<Vec<Descriptor>, ImageError> {
        Ok(self.manifest()?.layers().clone())
    }
}

impl<I: Image + ?Sized> ImageExt for I {}

/// Why an image cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The content is not there.
    #[error("{digest} is missing")]
    Missing {
        /// What was looked for.
        digest: Digest,
    },
    /// The manifest is malformed.
    #[error("manifest is malformed")]
    Manifest(#[from] DocumentError),
    /// The configuration is malformed.
    #[error("image configuration is malformed")]
    Config(#[source] serde_json::Error),
    /// A descriptor names its content by something else than SHA-256.
    #[error("digest of a descriptor is not usable")]
    Digest(#[from] DigestError),
    /// The content cannot be read.
    #[error("content cannot be read")]
    Io(#[from] io::Error),
}
