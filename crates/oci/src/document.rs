//! Manifests and indexes: reading them with the checks the specification asks for, writing them
//! with stable bytes.

use oci_spec::image::{
    Descriptor, ImageIndex, ImageIndexBuilder, ImageManifest, ImageManifestBuilder, MediaType,
};
use serde::Serialize;

use crate::{json, media_type};

/// The only version that has ever been both in use and content-addressed.
const SCHEMA_VERSION: u32 = 2;

/// Reads the manifest of one image, OCI or Docker version 2 schema 2.
///
/// # Errors
/// When the bytes are not JSON, a required field is missing or a value is malformed.
pub fn parse_manifest(bytes: &[u8]) -> Result<ImageManifest, DocumentError> {
    let manifest: ImageManifest = serde_json::from_slice(bytes)?;
    check_version(manifest.schema_version())?;
    check_descriptor(manifest.config())?;
    manifest.layers().iter().chain(manifest.subject()).try_for_each(check_descriptor)?;
    Ok(manifest)
}

/// Reads an OCI index or a Docker manifest list.
///
/// # Errors
/// When the bytes are not JSON, a required field is missing or a value is malformed.
pub fn parse_index(bytes: &[u8]) -> Result<ImageIndex, DocumentError> {
    let index: ImageIndex = serde_json::from_slice(bytes)?;
    check_version(index.schema_version())?;
    index.manifests().iter().chain(index.subject()).try_for_each(check_descriptor)?;
    Ok(index)
}

/// Reads a descriptor that stands alone.
///
/// # Errors
/// When the bytes are not JSON, a required field is missing or a value is malformed.
pub fn parse_descriptor(bytes: &[u8]) -> Result<Descriptor, DocumentError> {
    let descriptor = serde_json::from_slice(bytes)?;
    check_descriptor(&descriptor)?;
    Ok(descriptor)
}

/// Writes a manifest, an index or another document of the specification: the same value always
/// gives the same bytes. Never write back what was read from elsewhere; keep the bytes instead.
///
/// # Errors
/// None for the types of this crate; see [`json::to_canonical`].
pub fn to_bytes(document: &impl Serialize) -> Result<Vec<u8>, DocumentError> {
    Ok(json::to_canonical(document)?)
}

/// The manifest of an image: `media_type` says whose, [`media_type::OCI_MANIFEST`] or Docker's.
#[expect(clippy::expect_used, reason = "every field without a default is set")]
pub fn new_manifest(
    media_type: &str,
    config: Descriptor,
    layers: Vec<Descriptor>,
) -> ImageManifest {
    ImageManifestBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::from(media_type))
        .config(config)
        .layers(layers)
        .build()
        .expect("all fields are set")
}

/// The index of some manifests: `media_type` says whose, [`media_type::OCI_INDEX`] or Docker's.
#[expect(clippy::expect_used, reason = "every field without a default is set")]
pub fn new_index(media_type: &str, manifests: Vec<Descriptor>) -> ImageIndex {
    ImageIndexBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::from(media_type))
        .manifests(manifests)
        .build()
        .expect("all fields are set")
}

fn check_version(version: u32) -> Result<(), DocumentError> {
    if version == SCHEMA_VERSION { Ok(()) } else { Err(DocumentError::Version { version }) }
}

fn check_descriptor(descriptor: &Descriptor) -> Result<(), DocumentError> {
    let types = [Some(descriptor.media_type()), descriptor.artifact_type().as_ref()];
    for media_type in types.into_iter().flatten().map(AsRef::<str>::as_ref) {
        if !media_type::is_well_formed(media_type) {
            return Err(DocumentError::MediaType { media_type: media_type.to_owned() });
        }
    }
    match descriptor.urls().iter().flatten().find(|url| !is_absolute_url(url)) {
        Some(url) => Err(DocumentError::Url { url: url.clone() }),
        None => Ok(()),
    }
}

/// Whether `text` begins with a scheme and is free of what RFC 3986 never allows; the rest is for
/// whoever downloads from it to judge.
fn is_absolute_url(text: &str) -> bool {
    let scheme_char = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    text.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(scheme_char)
    }) && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// Why bytes are not a manifest, an index or a descriptor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// Not JSON, or not of the right shape.
    #[error("document is malformed")]
    Json(#[from] serde_json::Error),
    /// The document is of another version.
    #[error("manifest schema version {version} is not supported, only {SCHEMA_VERSION} is")]
    Version {
        /// The version as written.
        version: u32,
    },
    /// A media type is not of the form `type/subtype`.
    #[error("media type {media_type:?} is malformed")]
    MediaType {
        /// The media type as written.
        media_type: String,
    },
    /// A URL of a descriptor is malformed.
    #[error("descriptor has the malformed URL {url:?}")]
    Url {
        /// The URL as written.
        url: String,
    },
}
