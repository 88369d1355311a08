//! Signatures of images at registries, in the layout of cosign: beside the image, under a tag made of
//! its digest, lies a manifest whose layers are signed statements that name this digest.

mod der;
mod key;
mod pem;
mod sealed;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bld_event::Events;
use bld_oci::document::{new_manifest, parse_manifest, to_bytes};
use bld_oci::{Descriptor, DescriptorExt as _, Digest, Reference, describe, media_type};
use bld_registry::{Manifest, RegistryError, Reporter};
use bld_store::Lease;
use serde_json::{Value, json};

pub use key::{KeyError, SigningKey, VerifyingKey};

use crate::images::find;
use crate::{Engine, EngineError, Result};

/// Media type of a statement: what "simple signing" signs.
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation of a statement with its signature, in base64.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// What a statement about an image says it is.
const STATEMENT: &str = "cosign container image signature";
/// Largest statement that is read, bytes.
const STATEMENT_MAX: u64 = 1 << 20;

/// An image that was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The image, by its digest.
    pub image: Reference,
    /// Where its signatures are.
    pub signatures: Reference,
    /// The same key had signed the same statement before, so nothing was uploaded.
    pub was_known: bool,
}

/// An image with signatures that are right.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// The image, by the digest that was signed.
    pub image: Reference,
    /// The statements that the key has signed, as they were written.
    pub statements: Vec<Value>,
}

/// Why an image does not count as signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There are none.
    #[error("no signatures found for {image}")]
    None {
        /// The image, by its digest.
        image: String,
    },
    /// None of them is what it should be.
    #[error("no matching signatures for {image}: {}", .reasons.join("; "))]
    NoMatch {
        /// The image, by its digest.
        image: String,
        /// What is wrong with each.
        reasons: Vec<String>,
    },
}

/// A statement and its signature, as they are at the registry.
struct Entry {
    descriptor: Descriptor,
    statement: Vec<u8>,
    signature: Vec<u8>,
}

impl Engine {
    /// Signs the image that `name` names at its registry, and puts the signature beside it.
    /// `annotations` become part of what is signed.
    ///
    /// # Errors
    /// What the registry answers; nothing is changed then.
    pub fn sign_image(
        &self,
        name: &str,
        key: &SigningKey,
        annotations: &BTreeMap<String, String>,
        events: &Events,
    ) -> Result<Signed> {
        let reference = find::parse(name)?;
        let task = events.task(format!("sign {}", reference.familiar()));
        task.finish(self.sign(&reference, key, annotations))
    }

    fn sign(
        &self,
        reference: &Reference,
        key: &SigningKey,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Signed> {
        let (store, client) = (self.store()?, self.client()?);
        let digest = self.block_on(client.digest(reference))??;
        let image = reference.by_digest(digest);
        let signatures = place(reference, digest)?;
        let lease = store.lease();
        let mut entries = self.entries(&signatures, &lease)?;
        let statement = statement(reference, digest, annotations).into_bytes();
        let public = key.public();
        let known = |entry: &Entry| {
            entry.statement == statement && public.verifies(&entry.statement, &entry.signature)
        };
        if entries.iter().any(known) {
            return Ok(Signed { image, signatures, was_known: true });
        }
        let signature = key.sign(&statement)?;
        let mut descriptor = describe(SIMPLE_SIGNING, &statement);
        let annotation = (SIGNATURE.to_owned(), STANDARD.encode(&signature));
        descriptor.set_annotations(Some([annotation].into()));
        entries.push(Entry { descriptor, statement, signature });

        let mut diff_ids = Vec::with_capacity(entries.len());
        for entry in &entries {
            let blob = store.put_blob(&entry.statement)?;
            lease.hold_blob(&blob)?;
            diff_ids.push(blob.to_string());
        }
        let config = json!({
            "architecture": "", "os": "", "config": {},
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = config.to_string();
        lease.hold_blob(&store.put_blob(config.as_bytes())?)?;
        let config = describe(media_type::OCI_CONFIG, config.as_bytes());
        let layers = entries.into_iter().map(|entry| entry.descriptor).collect();
        let bytes =
            to_bytes(&new_manifest(media_type::OCI_MANIFEST, config, layers)).map_err(|error| {
                RegistryError::Malformed {
                    what: format!("signatures of {image}"),
                    reason: error.to_string(),
                }
            })?;
        let manifest = Manifest::new(media_type::OCI_MANIFEST, bytes)?;
        let reporter = Reporter::none();
        self.block_on(client.push(store, &signatures, &manifest, &[], &reporter))??;
        Ok(Signed { image, signatures, was_known: false })
    }

    /// Checks that the image that `name` names at its registry was signed with the other half of
    /// `key`, in a statement with all of `annotations`.
    ///
    /// # Errors
    /// [`SignatureError`] when it was not, and what the registry answers.
    pub fn verify_image(
        &self,
        name: &str,
        key: &VerifyingKey,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Verified> {
        let reference = find::parse(name)?;
        let (store, client) = (self.store()?, self.client()?);
        let digest = self.block_on(client.digest(&reference))??;
        let image = reference.by_digest(digest);
        let entries = self.entries(&place(&reference, digest)?, &store.lease())?;
        if entries.is_empty() {
            return Err(SignatureError::None { image: image.familiar() }.into());
        }
        let (mut statements, mut reasons) = (Vec::new(), Vec::new());
        for entry in &entries {
            match check(entry, key, digest, annotations) {
                Ok(statement) => statements.push(statement),
                Err(reason) => reasons.push(reason),
            }
        }
        if statements.is_empty() {
            return Err(SignatureError::NoMatch { image: image.familiar(), reasons }.into());
        }
        Ok(Verified { image, statements })
    }

    /// The signed statements at `place`; none: there is no such place.
    fn entries(&self, place: &Reference, lease: &Lease) -> Result<Vec<Entry>> {
        let (store, client) = (self.store()?, self.client()?);
        let manifest = match self.block_on(client.resolve(place))? {
            Ok(manifest) => manifest,
            Err(RegistryError::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let malformed = |reason: String| RegistryError::Malformed {
            what: format!("signatures {place}"),
            reason,
        };
        let document =
            parse_manifest(&manifest.bytes).map_err(|error| malformed(error.to_string()))?;
        let mut entries = Vec::new();
        for descriptor in document.layers() {
            let signature = descriptor.annotation(SIGNATURE);
            let signature = signature.and_then(|text| STANDARD.decode(text).ok());
            let Some(signature) = signature else { continue };
            if descriptor.media_type().as_ref() != SIMPLE_SIGNING
                || descriptor.size() > STATEMENT_MAX
            {
                continue;
            }
            let reporter = Reporter::none();
            let fetch = client.fetch_blob(store, lease, place, descriptor, &reporter);
            let digest = self.block_on(fetch)??;
            lease.hold_blob(&digest)?;
            let statement = store.read_blob(&digest)?;
            entries.push(Entry { descriptor: descriptor.clone(), statement, signature });
        }
        Ok(entries)
    }
}

/// Where the signatures of an image are.
fn place(reference: &Reference, digest: Digest) -> Result<Reference> {
    find::parse(&format!("{}:sha256-{}.sig", reference.name(), digest.hex()))
}

/// What is signed. The keys are in the order that cosign writes them in.
fn statement(
    reference: &Reference,
    digest: Digest,
    annotations: &BTreeMap<String, String>,
) -> String {
    // The name that cosign's libraries have for the hub.
    let domain =
        if reference.domain() == "docker.io" { "index.docker.io" } else { reference.domain() };
    let name = format!("{domain}/{}", reference.path());
    let optional = if annotations.is_empty() { Value::Null } else { json!(annotations) };
    json!({
        "critical": {
            "identity": { "docker-reference": name },
            "image": { "docker-manifest-digest": digest },
            "type": STATEMENT,
        },
        "optional": optional,
    })
    .to_string()
}

/// The statement of `entry`, if it is signed with `key` and about `digest`; else why it is no good.
fn check(
    entry: &Entry,
    key: &VerifyingKey,
    digest: Digest,
    annotations: &BTreeMap<String, String>,
) -> std::result::Result<Value, String> {
    // Nothing of what is not signed is looked at.
    if !key.verifies(&entry.statement, &entry.signature) {
        return Err("a signature was not made with this key".to_owned());
    }
    let statement: Value = serde_json::from_slice(&entry.statement)
        .map_err(|error| format!("a signed statement is not JSON: {error}"))?;
    let critical = &statement["critical"];
    if critical["type"] != STATEMENT {
        return Err(format!("a signed statement is of the type {}", critical["type"]));
    }
    if critical["image"]["docker-manifest-digest"] != json!(digest) {
        let other = &critical["image"]["docker-manifest-digest"];
        return Err(format!("a signed statement is about {other}"));
    }
    match annotations.iter().find(|(key, value)| statement["optional"][key] != **value) {
        Some((key, value)) => Err(format!("a signed statement does not say {key}={value}")),
        None => Ok(statement),
    }
}

impl From<SignatureError> for EngineError {
    fn from(error: SignatureError) -> Self {
        Self::Signature(error)
    }
}
