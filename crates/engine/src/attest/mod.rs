//! Attestations: what is said about an image, kept beside it at its registry.
//!
//! They are in-toto statements, each a blob of an artifact whose subject is the image, so that the
//! image stays what it is. BuildKit's older form, an index with the image and a manifest for no
//! platform, is written on request, and both are read.

mod layout;
mod provenance;

use bld_oci::document::{new_index, new_manifest, parse_index, parse_manifest, to_bytes};
use bld_oci::{
    Descriptor, DescriptorExt as _, Digest, ImageIndex, Platform, Reference, describe, media_type,
};
use bld_registry::{Manifest, RegistryError, Reporter};
use bld_store::Lease;
use serde_json::{Value, json};

pub use provenance::{Material, ProvenanceMode, ProvenanceOptions, ProvenanceVersion};
pub(crate) use provenance::{material_of, materials};

use crate::images::find;
use crate::imagetools::Location;
use crate::{Engine, Result};

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

/// What is said about an image.
#[derive(Debug, Clone, PartialEq)]
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

impl Engine {
    /// Keeps `claims` about the image `name`, which was pushed as `digest` for `platform`, at its
    /// registry. Gives the digest that leads to the image and the attestations.
    ///
    /// # Errors
    /// What the registry answers. The image itself is not touched.
    pub fn attest(
        &self,
        name: &str,
        digest: Digest,
        platform: &Platform,
        claims: &[Claim],
        form: AttestationForm,
    ) -> Result<Digest> {
        let (store, client) = (self.store()?, self.client()?);
        let reference = find::parse(name)?;
        let lease = store.lease();
        let layers = self.statements_of(&reference, digest, platform, claims, &lease)?;
        let image = reference.by_digest(digest);
        let subject = self.block_on(client.resolve(&image))??;
        match form {
            AttestationForm::Referrer => {
                self.refer(&reference, &subject, layers, &lease).map(|()| digest)
            }
            AttestationForm::Index => {
                let said = self.push_said(&reference, &subject, layers, &lease)?;
                let mut image = subject.descriptor();
                image.set_platform(Some(platform.into()));
                let index = new_index(media_type::OCI_INDEX, vec![image, said]);
                self.put_index(&reference, &index, media_type::OCI_INDEX)
            }
        }
    }

    /// Keeps what there is to say about each image of the index `digest`, which was pushed as `name`:
    /// `claims`, and with `sbom` which packages are in it, for which the store has to have it. As
    /// referrers, `claims` are about the index. Gives the digest that leads to the images and the
    /// attestations.
    ///
    /// # Errors
    /// As [`attest`](Self::attest), and what [`sbom`](Self::sbom) meets.
    pub fn attest_each(
        &self,
        name: &str,
        digest: Digest,
        claims: &[Claim],
        sbom: bool,
        form: AttestationForm,
    ) -> Result<Digest> {
        let (store, client) = (self.store()?, self.client()?);
        let reference = find::parse(name)?;
        let lease = store.lease();
        let index = self.block_on(client.resolve(&reference.by_digest(digest)))??;
        let is_enclosed = form == AttestationForm::Index;
        let mut said = Vec::new();
        for entry in index_of(&index)?.iter().filter(|entry| !entry.is_attestation()) {
            let Ok(image) = entry.sha256() else { continue };
            let manifest = self.block_on(client.manifest(&reference, image))??;
            let platform = entry.platform().as_ref().map_or_else(Platform::host, Platform::from);
            let mut own = if is_enclosed { claims.to_vec() } else { Vec::new() };
            if sbom {
                let events = bld_event::Events::none();
                let predicate = self.sbom(&config_of(&manifest)?.to_string(), &events)?;
                own.push(Claim { predicate_type: SPDX.to_owned(), predicate });
            }
            if own.is_empty() {
                continue;
            }
            let layers = self.statements_of(&reference, image, &platform, &own, &lease)?;
            if is_enclosed {
                said.push(self.push_said(&reference, &manifest, layers, &lease)?);
            } else {
                self.refer(&reference, &manifest, layers, &lease)?;
            }
        }
        if is_enclosed {
            // What else it says stays.
            let mut document = parsed(&index)?;
            said.splice(..0, document.manifests().iter().cloned());
            document.set_manifests(said);
            return self.put_index(&reference, &document, &index.media_type);
        }
        if !claims.is_empty() {
            let host = Platform::host();
            let layers = self.statements_of(&reference, digest, &host, claims, &lease)?;
            self.refer(&reference, &index, layers, &lease)?;
        }
        Ok(digest)
    }

    /// The statements that `claims` are about the image `digest`, in the store.
    fn statements_of(
        &self,
        reference: &Reference,
        digest: Digest,
        platform: &Platform,
        claims: &[Claim],
        lease: &Lease,
    ) -> Result<Vec<Descriptor>> {
        let store = self.store()?;
        let statements = claims.iter().map(|claim| {
            let bytes = statement(reference, digest, platform, claim).to_string().into_bytes();
            lease.hold_blob(&store.put_blob(&bytes)?)?;
            let mut layer = describe(IN_TOTO, &bytes);
            let kind = (PREDICATE_TYPE.to_owned(), claim.predicate_type.clone());
            layer.set_annotations(Some([kind].into()));
            Ok(layer)
        });
        statements.collect()
    }

    /// Pushes an artifact of `layers` that refers to `subject`.
    fn refer(
        &self,
        reference: &Reference,
        subject: &Manifest,
        layers: Vec<Descriptor>,
        lease: &Lease,
    ) -> Result<()> {
        let (store, client) = (self.store()?, self.client()?);
        lease.hold_blob(&store.put_blob(b"{}")?)?;
        let config = describe(media_type::OCI_EMPTY, b"{}");
        let mut manifest = new_manifest(media_type::OCI_MANIFEST, config, layers);
        manifest.set_artifact_type(Some(ARTIFACT.into()));
        manifest.set_subject(Some(subject.descriptor()));
        let manifest = written(&to_bytes(&manifest), media_type::OCI_MANIFEST)?;
        let mut described = manifest.descriptor();
        described.set_artifact_type(Some(ARTIFACT.into()));
        let push = client.push_referrer(store, reference, subject.digest, &manifest, described);
        self.block_on(push)??;
        Ok(())
    }

    /// Pushes a manifest of `layers`, for no platform; how an index lists it as what is said of `subject`.
    fn push_said(
        &self,
        reference: &Reference,
        subject: &Manifest,
        layers: Vec<Descriptor>,
        lease: &Lease,
    ) -> Result<Descriptor> {
        let (store, client) = (self.store()?, self.client()?);
        let diff_ids: Vec<_> = layers.iter().map(Descriptor::digest).collect();
        let config = json!({
            "architecture": "unknown", "os": "unknown", "config": {},
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = config.to_string();
        lease.hold_blob(&store.put_blob(config.as_bytes())?)?;
        let config = describe(media_type::OCI_CONFIG, config.as_bytes());
        let manifest = new_manifest(media_type::OCI_MANIFEST, config, layers);
        let manifest = written(&to_bytes(&manifest), media_type::OCI_MANIFEST)?;
        let place = reference.by_digest(manifest.digest);
        let reporter = Reporter::none();
        self.block_on(client.push(store, &place, &manifest, &[], &reporter))??;
        Ok(set_apart(&manifest, subject.digest))
    }

    /// Gives the tag of `reference` to an index; its digest.
    fn put_index(
        &self,
        reference: &Reference,
        index: &ImageIndex,
        media_type: &str,
    ) -> Result<Digest> {
        let index = written(&to_bytes(index), media_type)?;
        self.block_on(self.client()?.put(reference, &index))??;
        Ok(index.digest)
    }

    /// Size in bytes of the manifest or index that `name` names at its registry.
    ///
    /// # Errors
    /// What the registry answers.
    pub fn manifest_size(&self, name: &str) -> Result<u64> {
        let manifest = self.block_on(self.client()?.resolve(&find::parse(name)?))??;
        Ok(manifest.bytes.len() as u64)
    }

    /// What is said at its registry about the image `name`, in both forms; or by the index of a layout.
    ///
    /// # Errors
    /// What the registry answers. That nothing is said is no error.
    pub fn attestations(&self, name: &str) -> Result<Vec<Attestation>> {
        let reference = match Location::parse(name)? {
            Location::Registry(reference) => reference,
            Location::Layout(layout) => return layout::attestations(&layout),
        };
        let client = self.client()?;
        let named = self.block_on(client.resolve(&reference))??;
        let mut subjects = vec![named.digest];
        let mut found = Vec::new();
        if named.is_index() {
            for entry in index_of(&named)? {
                let Ok(digest) = entry.sha256() else { continue };
                if !entry.is_attestation() {
                    subjects.push(digest);
                    continue;
                }
                let subject = entry.annotation(REFERENCE_DIGEST).and_then(|text| text.parse().ok());
                let subject = subject.unwrap_or(named.digest);
                found.extend(self.statements(&reference, digest, subject)?);
            }
        }
        for subject in subjects {
            for referrer in self.block_on(client.referrers(&reference, subject))?? {
                if let Ok(digest) = referrer.sha256() {
                    found.extend(self.statements(&reference, digest, subject)?);
                }
            }
        }
        Ok(found)
    }

    /// The statements in the manifest `digest`; other artifacts have none.
    fn statements(
        &self,
        reference: &Reference,
        digest: Digest,
        subject: Digest,
    ) -> Result<Vec<Attestation>> {
        let (store, client) = (self.store()?, self.client()?);
        let lease = store.lease();
        let manifest = match self.block_on(client.manifest(&reference.by_digest(digest), digest))? {
            Ok(manifest) if !manifest.is_index() => manifest,
            Ok(_) | Err(RegistryError::NotFound { .. } | RegistryError::NotAnImage { .. }) => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(error.into()),
        };
        let malformed = |reason: String| RegistryError::Malformed {
            what: format!("attestation {digest} of {reference}"),
            reason,
        };
        let document =
            parse_manifest(&manifest.bytes).map_err(|error| malformed(error.to_string()))?;
        let mut found = Vec::new();
        for layer in document.layers() {
            if layer.media_type().as_ref() != IN_TOTO || layer.size() > STATEMENT_MAX {
                continue;
            }
            let reporter = Reporter::none();
            let fetch = client.fetch_blob(store, &lease, reference, layer, &reporter);
            let digest = self.block_on(fetch)??;
            lease.hold_blob(&digest)?;
            let statement: Value = serde_json::from_slice(&store.read_blob(&digest)?)
                .map_err(|error| malformed(error.to_string()))?;
            let predicate_type = statement["predicateType"].as_str().unwrap_or_default().to_owned();
            found.push(Attestation { predicate_type, digest, subject, statement });
        }
        Ok(found)
    }
}

/// How an index lists the attestations of `subject`, so that nobody takes them for an image.
fn set_apart(manifest: &Manifest, subject: Digest) -> Descriptor {
    let unknown = || "unknown".to_owned();
    let nowhere =
        Platform { os: unknown(), architecture: unknown(), variant: None, os_version: None };
    let mut described = manifest.descriptor();
    described.set_platform(Some((&nowhere).into()));
    let kind = (REFERENCE_TYPE.to_owned(), "attestation-manifest".to_owned());
    let digest = (REFERENCE_DIGEST.to_owned(), subject.to_string());
    described.set_annotations(Some([kind, digest].into()));
    described
}

/// The in-toto statement of a claim.
fn statement(reference: &Reference, digest: Digest, platform: &Platform, claim: &Claim) -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": claim.predicate_type,
        "subject": [{
            "name": provenance::image_url(reference, platform),
            "digest": { "sha256": digest.hex() },
        }],
        "predicate": claim.predicate,
    })
}

/// A document made here.
fn written(
    bytes: &std::result::Result<Vec<u8>, bld_oci::document::DocumentError>,
    media_type: &str,
) -> Result<Manifest> {
    let bytes = bytes.as_ref().map_err(|error| RegistryError::Malformed {
        what: "attestation".to_owned(),
        reason: error.to_string(),
    })?;
    Ok(Manifest::new(media_type, bytes.clone())?)
}

/// The digest of the configuration that a manifest names: the image's id.
fn config_of(manifest: &Manifest) -> Result<Digest> {
    let malformed = |reason: String| RegistryError::Malformed {
        what: format!("manifest {}", manifest.digest),
        reason,
    };
    let parsed = parse_manifest(&manifest.bytes).map_err(|error| malformed(error.to_string()))?;
    Ok(parsed.config().sha256().map_err(|error| malformed(error.to_string()))?)
}

/// What an index lists.
fn index_of(index: &Manifest) -> Result<Vec<Descriptor>> {
    Ok(parsed(index)?.manifests().clone())
}

fn parsed(index: &Manifest) -> Result<ImageIndex> {
    let parsed = parse_index(&index.bytes).map_err(|error| RegistryError::Malformed {
        what: format!("index {}", index.digest),
        reason: error.to_string(),
    })?;
    Ok(parsed)
}
