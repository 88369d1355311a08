//! Attestations: what is said about an image, kept beside it at its registry.
//!
//! They are in-toto statements, each a blob of an artifact whose subject is the image, so that the
//! image stays what it is. BuildKit's older form, an index with the image and a manifest for no
//! platform, is written on request and into archives, and both are read.

mod arrive;
pub(crate) mod came;
mod kept;
mod layout;
mod provenance;
mod read;
mod write;

use std::collections::BTreeMap;

use bld_oci::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use provenance::{Material, ProvenanceMode, ProvenanceOptions, ProvenanceVersion};
pub(crate) use provenance::{material_of, materials};
pub(crate) use write::beside;

/// The type of a predicate that is an SPDX document.
pub const SPDX: &str = "https://spdx.dev/Document";

/// Media type of a statement.
const IN_TOTO: &str = "application/vnd.in-toto+json";
/// The annotation of a statement with the type of its predicate.
const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";
/// What the artifact with an image's statements is, as BuildKit calls it.
const ARTIFACT: &str = "application/vnd.docker.attestation.manifest.v1+json";
/// Annotations of an attestation in an index.
pub(crate) const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
pub(crate) const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
/// Largest statement that is read, bytes.
const STATEMENT_MAX: u64 = 256 << 20;

/// What a build is asked to say about its images.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attestations {
    /// How they were made.
    pub provenance: Option<ProvenanceOptions>,
    /// Which packages are in them.
    pub sbom: bool,
    /// Where that is kept at registries. In archives, it is always in the index.
    pub form: AttestationForm,
}

impl Attestations {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.provenance.is_none() && !self.sbom
    }
}

/// What is said about an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// The type of the predicate: a URI.
    pub predicate_type: String,
    /// The predicate.
    pub predicate: Value,
}

/// Where attestations are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AttestationForm {
    /// In an artifact that refers to the image.
    #[default]
    Referrer,
    /// In an index with the image, which takes the image's place under its tag.
    Index,
}

/// An attestation at a registry.
#[derive(Debug, Clone, PartialEq)]
pub struct Attestation {
    /// The type of the predicate.
    pub predicate_type: String,
    /// The digest of the statement.
    pub digest: Digest,
    /// The manifest that it is about.
    pub subject: Digest,
    /// The statement.
    pub statement: Value,
}

/// What there is to say about the images of a build.
#[derive(Debug, Clone, Default)]
pub(crate) struct Claims {
    /// How all of them were made.
    pub(crate) provenance: Option<Claim>,
    /// The packages in each, by the image's id.
    pub(crate) packages: BTreeMap<Digest, Claim>,
}

impl Claims {
    /// All there is to say about one image.
    pub(crate) fn about(&self, id: &Digest) -> Vec<&Claim> {
        self.provenance.iter().chain(self.packages.get(id)).collect()
    }
}
