//! What is said about images of the store: kept with them, until they are pushed or saved.
//!
//! Kept are the claims, not the statements: what a statement is about is known when a manifest leaves.

use bld_export::{IndexEntry, Manifest};
use bld_oci::{Digest, Platform, Reference};
use bld_store::ImageRecord;
use serde::{Deserialize, Serialize};

use super::{Attestation, AttestationForm, Claim, Claims, SPDX, beside, write};
use crate::images::find;
use crate::{Engine, EngineError, Result};

/// The claims about one image.
#[derive(Debug, Serialize, Deserialize)]
struct Document {
    /// Whether they are to be in an index with the image.
    enclosed: bool,
    claims: Vec<Claim>,
}

/// The claims about some images of the store.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Where a registry is to have them.
    pub(crate) form: AttestationForm,
    /// What they are.
    pub(crate) claims: Claims,
}

impl Engine {
    /// Keeps what `claims` says about the image `id` of the store, in place of what was said before.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn keep_claims(
        &self,
        id: &Digest,
        claims: &Claims,
        form: AttestationForm,
    ) -> Result<()> {
        let store = self.store()?;
        let claims: Vec<Claim> = claims.about(id).into_iter().cloned().collect();
        if claims.is_empty() {
            return match store.said(id)? {
                Some(_) => Ok(store.set_said(id, None)?),
                None => Ok(()),
            };
        }
        let document = Document { enclosed: form == AttestationForm::Index, claims };
        let bytes = serde_json::to_vec(&document).map_err(|error| unreadable(id, &error))?;
        let said = store.put_blob(&bytes)?;
        Ok(store.set_said(id, Some(&said))?)
    }

    /// What is kept about these images, if anything is.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn kept_claims<'a>(
        &self,
        ids: impl IntoIterator<Item = &'a Digest>,
    ) -> Result<Option<Kept>> {
        let store = self.store()?;
        let mut kept = None;
        for id in ids {
            let Some(said) = store.said(id)? else { continue };
            let document: Document = serde_json::from_slice(&store.read_blob(&said)?)
                .map_err(|error| unreadable(id, &error))?;
            let kept = kept.get_or_insert_with(|| Kept {
                form: AttestationForm::Referrer,
                claims: Claims::default(),
            });
            if document.enclosed {
                kept.form = AttestationForm::Index;
            }
            for claim in document.claims {
                if claim.predicate_type == SPDX {
                    kept.claims.packages.insert(*id, claim);
                } else {
                    kept.claims.provenance = Some(claim);
                }
            }
        }
        Ok(kept)
    }

    /// What an index lists beside the `images` it lists, which are called `names`, by what is kept about
    /// them.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn beside_all(
        &self,
        kept: &Kept,
        names: &[Reference],
        images: &[IndexEntry],
    ) -> Result<Vec<IndexEntry>> {
        let mut said = Vec::new();
        for IndexEntry { manifest, platform, .. } in images {
            let claims = kept.claims.about(&manifest.config.digest);
            if !claims.is_empty() {
                said.push(beside(self.store()?, names, manifest, platform, &claims)?);
            }
        }
        Ok(said)
    }

    /// What is said about the image `name` of the store; nothing if there is no such image.
    ///
    /// # Errors
    /// What the store says.
    pub(super) fn kept_attestations(&self, name: &Reference) -> Result<Vec<Attestation>> {
        let store = self.store()?;
        let Ok(found) = find::find(store, &name.to_string()) else { return Ok(Vec::new()) };
        let mut ids = store.variants(&name.to_string())?;
        if ids.is_empty() {
            ids.push(found.record.id);
        }
        let Some(kept) = self.kept_claims(&ids)? else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        for id in ids {
            let Some(image) = store.image(&id)? else { continue };
            let Some(subject) = image.manifest else { continue };
            let platform = Platform::parse(&image.platform)?;
            for claim in kept.claims.about(&id) {
                let names = std::slice::from_ref(name);
                let statement = write::statement(names, subject, &platform, claim);
                let digest = Digest::of(statement.to_string().as_bytes());
                let predicate_type = claim.predicate_type.clone();
                all.push(Attestation { predicate_type, digest, subject, statement });
            }
        }
        Ok(all)
    }

    /// The index over `image` and what is kept about it, which is called `names`, if anything is.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn index_with_claims(
        &self,
        kept: &Kept,
        names: &[Reference],
        image: &ImageRecord,
        manifest: Manifest,
    ) -> Result<bld_export::Index> {
        let platform = Platform::parse(&image.platform)?;
        let mut entries = vec![IndexEntry { manifest, platform, annotations: [].into() }];
        let said = self.beside_all(kept, names, &entries)?;
        entries.extend(said);
        Ok(bld_export::Index::write(self.store()?, &entries, &[].into())?)
    }
}

fn unreadable(id: &Digest, error: &serde_json::Error) -> EngineError {
    EngineError::Archive { problem: format!("what is said about {id}: {error}") }
}
