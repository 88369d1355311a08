//! What an index says of its manifests, with the fields and in the order of Go's writers: an index made
//! here has the bytes, and so the digest, that buildx gives it.

use std::collections::BTreeMap;

use bld_oci::document::DocumentError;
use bld_oci::{Digest, DigestError, Platform, media_type};
use bld_registry::{Manifest, RegistryError};
use serde::{Deserialize, Serialize};

/// A descriptor. One that a user gives may lack anything but the digest: empty stands for absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Entry {
    /// Media type of the manifest.
    pub media_type: String,
    /// Its digest.
    pub digest: String,
    /// Its size in bytes.
    pub size: u64,
    /// Where else it can be had.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Annotations of the descriptor.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The content itself, in Base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// What the image is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<EntryPlatform>,
    /// What it is, if it is no image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

/// The platform of an entry, as it is written there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EntryPlatform {
    /// CPU architecture.
    pub architecture: String,
    /// Operating system.
    pub os: String,
    /// Version of the operating system.
    #[serde(rename = "os.version", skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// Features of the operating system that it needs.
    #[serde(rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// Variant of the architecture.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// An index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IndexDocument {
    /// 2.
    pub schema_version: u32,
    /// That of an OCI index or of Docker's manifest list.
    #[serde(default)]
    pub media_type: String,
    /// What it lists.
    pub manifests: Vec<Entry>,
    /// What it refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Entry>,
    /// Its annotations.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}

fn null_is_empty<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Entry {
    /// The entry of a manifest, without a platform.
    pub fn of(manifest: &Manifest) -> Self {
        Self {
            media_type: manifest.media_type.clone(),
            digest: manifest.digest.to_string(),
            size: manifest.bytes.len() as u64,
            ..Self::default()
        }
    }

    /// The digest.
    ///
    /// # Errors
    /// When it is not SHA-256.
    pub fn sha256(&self) -> Result<Digest, DigestError> {
        self.digest.parse()
    }

    /// Whether it is no image but a statement about one.
    pub fn is_attestation(&self) -> bool {
        self.annotations
            .get(crate::attest::REFERENCE_TYPE)
            .is_some_and(|kind| kind == "attestation-manifest")
            || self.platform.as_ref().is_some_and(|platform| {
                platform.os == "unknown" && platform.architecture == "unknown"
            })
    }
}

impl EntryPlatform {
    /// As it is written, e.g. `linux/arm64/v8`.
    pub fn shown(&self) -> String {
        let Self { os, architecture, variant, .. } = self;
        let words = [os, architecture, variant].map(String::as_str);
        let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
        words.join("/")
    }

    /// In its one spelling, without the version of the system.
    pub fn normalized(&self) -> Platform {
        Platform::new(&self.os, &self.architecture, Some(&self.variant))
    }
}

impl From<&Platform> for EntryPlatform {
    fn from(platform: &Platform) -> Self {
        Self {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            os_version: platform.os_version.clone().unwrap_or_default(),
            os_features: Vec::new(),
            variant: platform.variant.clone().unwrap_or_default(),
        }
    }
}

impl IndexDocument {
    /// The index over `manifests`: Docker's list where all of them are Docker's and nothing is said that
    /// it has no place for.
    pub fn new(manifests: Vec<Entry>, annotations: BTreeMap<String, String>) -> Self {
        let is_docker = |entry: &Entry| entry.media_type.starts_with("application/vnd.docker.");
        let is_plain = |entry: &Entry| entry.annotations.is_empty();
        let is_list =
            annotations.is_empty() && manifests.iter().all(|one| is_docker(one) && is_plain(one));
        let media_type = if is_list { media_type::DOCKER_INDEX } else { media_type::OCI_INDEX };
        let media_type = media_type.to_owned();
        Self { schema_version: 2, media_type, manifests, subject: None, annotations }
    }

    /// Reads an index.
    ///
    /// # Errors
    /// [`RegistryError::Malformed`]
    pub fn parse(index: &Manifest) -> Result<Self, RegistryError> {
        serde_json::from_slice(&index.bytes).map_err(|error| RegistryError::Malformed {
            what: format!("index {}", index.digest),
            reason: error.to_string(),
        })
    }

    /// The bytes of the index.
    ///
    /// # Errors
    /// None for what was made here or read from JSON.
    pub fn to_manifest(&self) -> Result<Manifest, RegistryError> {
        let bytes = serde_json::to_vec_pretty(self).map_err(DocumentError::from);
        let bytes = bytes.map_err(|error| RegistryError::Malformed {
            what: "index".to_owned(),
            reason: error.to_string(),
        })?;
        Manifest::new(self.media_type.as_str(), bytes)
    }
}
