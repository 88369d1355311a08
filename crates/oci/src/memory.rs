//! A small image held in memory: tests need no files and no network.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use oci_spec::image::Descriptor;

use crate::descriptor::{DescriptorExt as _, describe};
use crate::{Digest, DocumentError, Image, ImageConfig, ImageError, document, media_type};

/// An image whose blobs are byte vectors. Each part can be replaced, to make it wrong on purpose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryImage {
    /// The manifest.
    pub manifest: Vec<u8>,
    /// The configuration.
    pub config: Vec<u8>,
    /// The layers, as shipped, by digest.
    pub blobs: BTreeMap<Digest, Vec<u8>>,
}

impl MemoryImage {
    /// An OCI image of `config` with `layers`, uncompressed tars, lowest first. The diff ids are
    /// set from the layers.
    ///
    /// # Errors
    /// None: the document written is well-formed.
    pub fn new(mut config: ImageConfig, layers: Vec<Vec<u8>>) -> Result<Self, DocumentError> {
        config.rootfs.diff_ids = layers.iter().map(|layer| Digest::of(layer)).collect();
        let config = config.to_bytes();
        let manifest = document::new_manifest(
            media_type::OCI_MANIFEST,
            describe(media_type::OCI_CONFIG, &config),
            layers.iter().map(|layer| describe(media_type::OCI_LAYER, layer)).collect(),
        );
        Ok(Self {
            manifest: document::to_bytes(&manifest)?,
            config,
            blobs: layers.into_iter().map(|layer| (Digest::of(&layer), layer)).collect(),
        })
    }
}

impl Image for MemoryImage {
    fn manifest_bytes(&self) -> Result<Vec<u8>, ImageError> {
        Ok(self.manifest.clone())
    }

    fn config_bytes(&self) -> Result<Vec<u8>, ImageError> {
        Ok(self.config.clone())
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>, ImageError> {
        let digest = descriptor.sha256()?;
        let blob = self.blobs.get(&digest).ok_or(ImageError::Missing { digest })?;
        Ok(Box::new(Cursor::new(blob.clone())))
    }
}
