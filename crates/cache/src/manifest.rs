//! Caches as registries and layouts have them: a manifest, or an index, of the layers and the document.

use bld_oci::document::{new_index, new_manifest, parse_index, parse_manifest, to_bytes};
use bld_oci::media_type::{self, LayerCompression};
use bld_oci::{Descriptor, Digest, MediaType};
use bld_store::LayerBlob;

use crate::{Cache, CacheError, MEDIA_TYPE};

/// In which form a manifest is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// As the manifest of an image, which registries keep from their own collection of garbage and show;
    /// as an index otherwise.
    pub image: bool,
    /// With OCI's media types; with Docker's otherwise.
    pub oci: bool,
}

impl Default for Form {
    fn default() -> Self {
        Self { image: true, oci: true }
    }
}

/// A manifest and the document that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The manifest or index.
    pub bytes: Vec<u8>,
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: &'static str,
    /// The document.
    pub config: Vec<u8>,
    /// Digest of the document.
    pub config_digest: Digest,
    /// The layers and archives of cache mounts, each blob once.
    pub layers: Vec<Descriptor>,
}

/// Writes the manifest of `cache`.
///
/// # Errors
/// [`CacheError::Malformed`] when there is no such form.
pub fn write(cache: &Cache, form: Form) -> Result<Written, CacheError> {
    let refused = |error: &dyn std::fmt::Display| CacheError::malformed("the cache", error);
    if form.image && !form.oci {
        return Err(refused(&"an image manifest of a cache has OCI's media types"));
    }
    let config = cache.to_bytes()?;
    let config_digest = Digest::of(&config);
    let mut layers: Vec<Descriptor> = Vec::with_capacity(cache.layers.len());
    for layer in &cache.layers {
        let mut described = layer.descriptor();
        let kind = translate(&layer.blob.media_type, form.oci);
        described.set_media_type(MediaType::from(kind));
        if !layers.iter().any(|known| known.digest() == described.digest()) {
            layers.push(described);
        }
    }
    // Registries and layouts keep what a manifest names.
    for mount in &cache.mounts {
        let LayerBlob { digest, size, media_type } = mount.blob();
        layers.push(bld_oci::descriptor(&media_type, digest, size));
    }
    let about = bld_oci::descriptor(MEDIA_TYPE, config_digest, config.len() as u64);
    let (media_type, bytes) = if form.image {
        let kind = media_type::OCI_MANIFEST;
        (kind, to_bytes(&new_manifest(kind, about, layers.clone())))
    } else {
        let kind = if form.oci { media_type::OCI_INDEX } else { media_type::DOCKER_INDEX };
        let all = layers.iter().cloned().chain([about]).collect();
        (kind, to_bytes(&new_index(kind, all)))
    };
    let bytes = bytes.map_err(|error| refused(&error))?;
    let digest = Digest::of(&bytes);
    Ok(Written { bytes, digest, media_type, config, config_digest, layers })
}

/// What a manifest leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A cache: its document and its layers.
    Cache {
        /// The document.
        config: Descriptor,
        /// The layers.
        layers: Vec<Descriptor>,
    },
    /// An image, which may have a cache in its configuration.
    Image {
        /// The configuration.
        config: Descriptor,
        /// The layers.
        layers: Vec<Descriptor>,
    },
    /// Several images.
    Images(Vec<Descriptor>),
}

/// Reads a manifest or index.
///
/// # Errors
/// [`CacheError::Malformed`]
pub fn read(bytes: &[u8], is_index: bool) -> Result<Found, CacheError> {
    let refused = |error| CacheError::malformed("the manifest of the cache", error);
    let is_config = |descriptor: &Descriptor| descriptor.media_type().as_ref() == MEDIA_TYPE;
    if !is_index {
        let manifest = parse_manifest(bytes).map_err(refused)?;
        let (config, layers) = (manifest.config().clone(), manifest.layers().clone());
        return Ok(if is_config(&config) {
            Found::Cache { config, layers }
        } else {
            Found::Image { config, layers }
        });
    }
    let mut all = parse_index(bytes).map_err(refused)?.manifests().clone();
    Ok(match all.iter().position(is_config) {
        Some(index) => Found::Cache { config: all.remove(index), layers: all },
        None => Found::Images(all),
    })
}

/// The media type of a layer in the family asked for; Docker has none for zstd.
fn translate(kind: &str, oci: bool) -> &str {
    match (media_type::layer_compression(kind), oci) {
        (Some(LayerCompression::None), true) => media_type::OCI_LAYER,
        (Some(LayerCompression::Gzip), true) => media_type::OCI_LAYER_GZIP,
        (Some(LayerCompression::Zstd), true) => media_type::OCI_LAYER_ZSTD,
        (Some(LayerCompression::None), false) => media_type::DOCKER_LAYER,
        (Some(LayerCompression::Gzip), false) => media_type::DOCKER_LAYER_GZIP,
        (Some(LayerCompression::Zstd), false) => media_type::DOCKER_LAYER_ZSTD,
        (None, _) => kind,
    }
}
