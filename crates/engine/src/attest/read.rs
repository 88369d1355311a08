//! Attestations at registries.

use bld_oci::document::{parse_index, parse_manifest};
use bld_oci::{Descriptor, DescriptorExt as _, Digest, Reference};
use bld_registry::{Manifest, RegistryError, Reporter};
use serde_json::Value;

use super::{Attestation, IN_TOTO, REFERENCE_DIGEST, STATEMENT_MAX, layout};
use crate::imagetools::Location;
use crate::{Engine, Result};

impl Engine {
    /// What is said about the image `name`: what is kept with it in the store; if nothing is, what is at
    /// its registry, in both forms; or what the index of a layout says.
    ///
    /// # Errors
    /// What the registry answers. That nothing is said is no error.
    pub fn attestations(&self, name: &str) -> Result<Vec<Attestation>> {
        let reference = match Location::parse(name)? {
            Location::Registry(reference) => reference,
            Location::Layout(layout) => return layout::attestations(&layout),
        };
        let kept = self.kept_attestations(&reference)?;
        if !kept.is_empty() {
            return Ok(kept);
        }
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

/// What an index lists.
pub(super) fn index_of(index: &Manifest) -> Result<Vec<Descriptor>> {
    let parsed = parse_index(&index.bytes).map_err(|error| RegistryError::Malformed {
        what: format!("index {}", index.digest),
        reason: error.to_string(),
    })?;
    Ok(parsed.manifests().clone())
}
