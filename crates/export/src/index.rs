//! An index over the images of several platforms, see image-index.md of the OCI image specification.

use std::collections::BTreeMap;

use bld_oci::{Digest, Platform, media_type};
use bld_store::Store;
use serde::Serialize;

use crate::error::ExportError;
use crate::manifest::Manifest;

/// One image of an index.
#[derive(Debug, Clone)]
pub struct IndexEntry {
    /// The image.
    pub manifest: Manifest,
    /// What it runs on.
    pub platform: Platform,
    /// Annotations of the entry.
    pub annotations: BTreeMap<String, String>,
}

/// An index in the store, with all it names.
#[derive(Debug, Clone)]
pub struct Index {
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its media type.
    pub media_type: String,
    /// The images, in order.
    pub manifests: Vec<Manifest>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    schema_version: u32,
    media_type: &'a str,
    manifests: Vec<Entry<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    media_type: &'a str,
    digest: Digest,
    size: usize,
    platform: &'a Platform,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

impl Index {
    /// Writes the index over `entries`, with these annotations. Of images in Docker's media types
    /// it is a manifest list, which has no annotations.
    pub fn write(
        store: &Store,
        entries: &[IndexEntry],
        annotations: &BTreeMap<String, String>,
    ) -> Result<Self, ExportError> {
        let is_docker =
            |entry: &IndexEntry| entry.manifest.media_type == media_type::DOCKER_MANIFEST;
        let is_list =
            !entries.is_empty() && entries.iter().all(is_docker) && annotations.is_empty();
        let media_type = if is_list { media_type::DOCKER_INDEX } else { media_type::OCI_INDEX };
        let manifests =
            entries.iter().map(|IndexEntry { manifest, platform, annotations }| Entry {
                media_type: &manifest.media_type,
                digest: manifest.digest,
                size: manifest.bytes.len(),
                platform,
                annotations,
            });
        let document =
            Document { schema_version: 2, media_type, manifests: manifests.collect(), annotations };
        let bytes = serde_json::to_vec(&document)
            .map_err(|error| ExportError::malformed("the index", error))?;
        let digest = store.put_blob(&bytes)?;
        let manifests = entries.iter().map(|entry| entry.manifest.clone()).collect();
        Ok(Self { digest, bytes, media_type: media_type.to_owned(), manifests })
    }
}
