//! What there is to say about an image at its registry.

use std::collections::BTreeMap;

use bld_oci::document::parse_manifest;
use bld_oci::{Digest, Platform, Reference};
use bld_registry::{Client, Manifest, RegistryError};
use serde::Deserialize;
use serde_json::Value;

use super::entry::{Entry, EntryPlatform, IndexDocument};
use super::location::Location;
use crate::{Engine, Result};

/// The largest configuration that is read, bytes.
const CONFIG_MAX: u64 = 16 << 20;

/// What a name stands for where the image is.
#[derive(Debug, Clone)]
pub struct RemoteImage {
    /// The name, complete.
    pub location: Location,
    /// The manifest or index.
    pub manifest: Manifest,
    /// The index, read.
    pub index: Option<IndexDocument>,
}

impl Engine {
    /// Reads what `name` stands for at its registry, or in the layout that it names.
    ///
    /// # Errors
    /// What the registry answers, or the directory lacks.
    pub fn remote_image(&self, name: &str) -> Result<RemoteImage> {
        let location = Location::parse(name)?;
        let manifest = match &location {
            Location::Registry(reference) => self.block_on(self.client()?.resolve(reference))??,
            Location::Layout(layout) => layout.resolve()?,
        };
        let index = manifest.is_index().then(|| IndexDocument::parse(&manifest)).transpose()?;
        Ok(RemoteImage { location, manifest, index })
    }

    /// The configurations of the images that `image` consists of, with the digests of their manifests,
    /// by platform.
    ///
    /// # Errors
    /// What the registry answers.
    pub fn remote_configs(&self, image: &RemoteImage) -> Result<BTreeMap<String, (Digest, Value)>> {
        let config_of = |manifest: &Manifest| match &image.location {
            Location::Registry(reference) => {
                Ok(self.block_on(config_of(self.client()?, reference, manifest))??)
            }
            Location::Layout(layout) => layout.config(manifest),
        };
        let Some(index) = &image.index else {
            let config = config_of(&image.manifest)?;
            let platform = EntryPlatform::deserialize(&config).unwrap_or_default();
            let platform = platform.normalized().to_string();
            return Ok([(platform, (image.manifest.digest, config))].into());
        };
        let mut configs = BTreeMap::new();
        for entry in index.manifests.iter().filter(|entry| !entry.is_attestation()) {
            let Ok(digest) = entry.sha256() else { continue };
            let manifest = match &image.location {
                Location::Registry(reference) => {
                    self.block_on(self.client()?.manifest(reference, digest))??
                }
                Location::Layout(layout) => layout.manifest(digest)?,
            };
            if manifest.is_index() {
                continue;
            }
            let config = config_of(&manifest)?;
            let stated = entry.platform.clone();
            let platform = stated.or_else(|| EntryPlatform::deserialize(&config).ok());
            let platform = platform.as_ref().map_or_else(Platform::host, EntryPlatform::normalized);
            configs.insert(platform.to_string(), (digest, config));
        }
        Ok(configs)
    }
}

/// The configuration that a manifest names.
async fn config_of(
    client: &Client,
    reference: &Reference,
    manifest: &Manifest,
) -> Result<Value, RegistryError> {
    let malformed = |what: &str, reason: String| RegistryError::Malformed {
        what: format!("{what} of {reference}"),
        reason,
    };
    let document = parse_manifest(&manifest.bytes)
        .map_err(|error| malformed("manifest", error.to_string()))?;
    let bytes = client.read_blob(reference, document.config(), CONFIG_MAX).await?;
    serde_json::from_slice(&bytes).map_err(|error| malformed("configuration", error.to_string()))
}

/// Completes what is said of the platform of an image by its configuration.
pub(super) async fn complete_platform(
    client: &Client,
    reference: &Reference,
    manifest: &Manifest,
    entry: &mut Entry,
) -> Result<(), RegistryError> {
    let platform = entry.platform.get_or_insert_default();
    if !platform.os.is_empty() && !platform.architecture.is_empty() {
        return Ok(());
    }
    complete(&config_of(client, reference, manifest).await?, entry);
    Ok(())
}

/// The same by the configuration `config`.
pub(super) fn complete(config: &Value, entry: &mut Entry) {
    let platform = entry.platform.get_or_insert_default();
    let found = EntryPlatform::deserialize(config).unwrap_or_default().normalized();
    if platform.architecture.is_empty() {
        platform.architecture = found.architecture;
        if platform.variant.is_empty() {
            platform.variant = found.variant.unwrap_or_default();
        }
    }
    if platform.os.is_empty() {
        platform.os = found.os;
    }
}
