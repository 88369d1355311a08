//! An index over the images of several platforms, see image-index.md of the OCI image specification.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bld_oci::document::{new_index, parse_index, to_bytes};
use bld_oci::{Descriptor, DescriptorExt, Digest, Platform, descriptor, media_type};
use bld_store::Store;

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
        let mut index = new_index(media_type, entries.iter().map(IndexEntry::descriptor).collect());
        index.set_annotations(some(annotations));
        let bytes = to_bytes(&index).map_err(|error| ExportError::malformed("the index", error))?;
        let digest = store.put_blob(&bytes)?;
        let manifests = entries.iter().map(|entry| entry.manifest.clone()).collect();
        Ok(Self { digest, bytes, media_type: media_type.to_owned(), manifests })
    }

    /// An index as somebody else has written it, which lists `entries` and nothing else; `None` if it does
    /// not.
    ///
    /// # Errors
    /// What the store says.
    pub fn as_it_came(
        store: &Store,
        bytes: &[u8],
        entries: &[IndexEntry],
    ) -> Result<Option<Self>, ExportError> {
        let Ok(index) = parse_index(bytes) else { return Ok(None) };
        let listed: Result<BTreeSet<Digest>, _> =
            index.manifests().iter().map(DescriptorExt::sha256).collect();
        let given: BTreeSet<Digest> = entries.iter().map(|entry| entry.manifest.digest).collect();
        if listed.ok() != Some(given) {
            return Ok(None);
        }
        let stated = index.media_type().as_ref().map(ToString::to_string);
        let media_type = stated.unwrap_or_else(|| media_type::OCI_INDEX.to_owned());
        let digest = store.put_blob(bytes)?;
        let manifests = entries.iter().map(|entry| entry.manifest.clone()).collect();
        Ok(Some(Self { digest, bytes: bytes.to_vec(), media_type, manifests }))
    }
}

impl IndexEntry {
    fn descriptor(&self) -> Descriptor {
        let Manifest { media_type, digest, bytes, .. } = &self.manifest;
        let mut descriptor = descriptor(media_type, *digest, bytes.len() as u64);
        descriptor.set_platform(Some((&self.platform).into()));
        descriptor.set_annotations(some(&self.annotations));
        descriptor
    }
}

/// Annotations, unless there are none.
fn some(annotations: &BTreeMap<String, String>) -> Option<HashMap<String, String>> {
    (!annotations.is_empty()).then(|| annotations.clone().into_iter().collect())
}
