//! Writing attestations: beside images in an index, and as artifacts that refer to images.

use std::collections::BTreeMap;

use bld_export::{Document, IndexEntry, Manifest as Packed};
use bld_oci::document::{new_manifest, parse_index, parse_manifest, to_bytes};
use bld_oci::{Descriptor, DescriptorExt as _, Digest, Platform, Reference, describe, media_type};
use bld_registry::{Manifest, RegistryError};
use bld_store::Store;
use serde_json::{Value, json};

use super::came::Came;
use super::{
    ARTIFACT, Claim, Claims, IN_TOTO, PREDICATE_TYPE, REFERENCE_DIGEST, REFERENCE_TYPE, provenance,
};
use crate::{Engine, Result};

/// What an index lists beside `image`, which is called `names` and is for `platform`: the statements
/// about it, set apart so that nobody takes them for an image.
pub(crate) fn beside(
    store: &Store,
    names: &[Reference],
    image: &Packed,
    platform: &Platform,
    claims: &[&Claim],
) -> Result<IndexEntry> {
    let documents: Vec<Document> = claims
        .iter()
        .map(|claim| Document {
            media_type: IN_TOTO.to_owned(),
            bytes: statement(names, image.digest, platform, claim).to_string().into_bytes(),
            annotations: [(PREDICATE_TYPE.to_owned(), claim.predicate_type.clone())].into(),
        })
        .collect();
    let diff_ids: Vec<_> = documents.iter().map(|document| Digest::of(&document.bytes)).collect();
    let config = json!({
        "architecture": "unknown", "os": "unknown", "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let manifest = Packed::of_documents(store, config.to_string().as_bytes(), documents)?;
    let annotations = entry_annotations(image.digest);
    Ok(IndexEntry { manifest, platform: nowhere(), annotations })
}

/// The platform that an index gives for what is no image.
pub(super) fn nowhere() -> Platform {
    let unknown = || "unknown".to_owned();
    Platform { os: unknown(), architecture: unknown(), variant: None, os_version: None }
}

/// The annotations of what an index says about the manifest `subject`.
pub(super) fn entry_annotations(subject: Digest) -> BTreeMap<String, String> {
    let kind = (REFERENCE_TYPE.to_owned(), "attestation-manifest".to_owned());
    [kind, (REFERENCE_DIGEST.to_owned(), subject.to_string())].into()
}

impl Engine {
    /// Keeps `claims` at the registry of `name`, as artifacts that refer to the images: to the
    /// manifest `top` for `platform`, or to the index `top` and what it lists. What refers is in
    /// the store.
    ///
    /// # Errors
    /// What the registry answers. The images themselves are not touched.
    pub(crate) fn attest(
        &self,
        name: &Reference,
        top: &Descriptor,
        platform: &Platform,
        claims: &Claims,
    ) -> Result<()> {
        let store = self.store()?;
        let read = |descriptor: &Descriptor| -> Result<Vec<u8>> {
            let digest = descriptor.sha256().map_err(|error| malformed(&error))?;
            Ok(store.read_blob(&digest)?)
        };
        let image_of = |bytes: &[u8]| -> Result<Digest> {
            let manifest = parse_manifest(bytes).map_err(|error| malformed(&error))?;
            Ok(manifest.config().sha256().map_err(|error| malformed(&error))?)
        };
        let document = read(top)?;
        if !media_type::is_index(top.media_type().as_ref()) {
            let claims = claims.about(&image_of(&document)?);
            return self.refer(name, top, platform, &claims);
        }
        // Each image has a list of its own; how they were made is said of all of them at once.
        let index = parse_index(&document).map_err(|error| malformed(&error))?;
        for entry in index.manifests().iter().filter(|entry| !entry.is_attestation()) {
            let id = image_of(&read(entry)?)?;
            let platform = entry.platform().as_ref().map_or_else(Platform::host, Platform::from);
            let packages: Vec<_> = claims.packages.get(&id).into_iter().collect();
            self.refer(name, entry, &platform, &packages)?;
        }
        let provenance: Vec<_> = claims.provenance.iter().collect();
        self.refer(name, top, &Platform::host(), &provenance)
    }

    /// What can be referred to of what was pushed as `top`: it, and if it is an index what that lists.
    ///
    /// # Errors
    /// What the store says.
    pub(super) fn subjects(&self, top: &Descriptor) -> Result<Vec<Digest>> {
        let digest = top.sha256().map_err(|error| malformed(&error))?;
        let mut subjects = vec![digest];
        if media_type::is_index(top.media_type().as_ref()) {
            let index = parse_index(&self.store()?.read_blob(&digest)?);
            let index = index.map_err(|error| malformed(&error))?;
            subjects.extend(index.manifests().iter().filter_map(|entry| entry.sha256().ok()));
        }
        Ok(subjects)
    }

    /// Pushes an artifact that came from a registry, whose subject is in the repository of `name`.
    ///
    /// # Errors
    /// What the registry answers.
    pub(super) fn refer_again(&self, name: &Reference, came: &Came) -> Result<()> {
        let (store, client) = (self.store()?, self.client()?);
        let packed = came.packed(store)?;
        let manifest = Manifest::new(&packed.media_type, packed.bytes.clone())?;
        let mut described = manifest.descriptor();
        let document = parse_manifest(&packed.bytes).map_err(|error| malformed(&error))?;
        described.set_artifact_type(document.artifact_type().clone());
        let push = client.push_referrer(store, name, came.subject, &manifest, described);
        self.block_on(push)??;
        Ok(())
    }

    /// Pushes an artifact with `claims` that refers to `subject`, if there are any.
    fn refer(
        &self,
        name: &Reference,
        subject: &Descriptor,
        platform: &Platform,
        claims: &[&Claim],
    ) -> Result<()> {
        if claims.is_empty() {
            return Ok(());
        }
        let (store, client) = (self.store()?, self.client()?);
        let lease = store.lease();
        let digest = subject.sha256().map_err(|error| malformed(&error))?;
        let put = |media_type: &str, bytes: &[u8]| -> Result<Descriptor> {
            lease.hold_blob(&store.put_blob(bytes)?)?;
            Ok(describe(media_type, bytes))
        };
        let layers = claims.iter().map(|claim| {
            let statement = statement(std::slice::from_ref(name), digest, platform, claim);
            let mut layer = put(IN_TOTO, statement.to_string().as_bytes())?;
            let kind = (PREDICATE_TYPE.to_owned(), claim.predicate_type.clone());
            layer.set_annotations(Some([kind].into()));
            Ok(layer)
        });
        let layers = layers.collect::<Result<_>>()?;
        let config = put(media_type::OCI_EMPTY, b"{}")?;
        let mut manifest = new_manifest(media_type::OCI_MANIFEST, config, layers);
        manifest.set_artifact_type(Some(ARTIFACT.into()));
        // Its platform and annotations are those of a place in an index.
        let subject = bld_oci::descriptor(subject.media_type().as_ref(), digest, subject.size());
        manifest.set_subject(Some(subject));
        let bytes = to_bytes(&manifest).map_err(|error| malformed(&error))?;
        let manifest = Manifest::new(media_type::OCI_MANIFEST, bytes)?;
        let mut described = manifest.descriptor();
        described.set_artifact_type(Some(ARTIFACT.into()));
        self.block_on(client.push_referrer(store, name, digest, &manifest, described))??;
        Ok(())
    }
}

/// The in-toto statement of a claim about the image `digest`.
pub(super) fn statement(
    names: &[Reference],
    digest: Digest,
    platform: &Platform,
    claim: &Claim,
) -> Value {
    let subject = |name: String| json!({ "name": name, "digest": { "sha256": digest.hex() } });
    let mut subjects: Vec<_> =
        names.iter().map(|name| subject(provenance::image_url(name, platform))).collect();
    if subjects.is_empty() {
        // What BuildKit calls an image without a name.
        subjects.push(subject("_".to_owned()));
    }
    json!({
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": claim.predicate_type,
        "subject": subjects,
        "predicate": claim.predicate,
    })
}

fn malformed(reason: &dyn std::fmt::Display) -> RegistryError {
    RegistryError::Malformed { what: "attestation".to_owned(), reason: reason.to_string() }
}
