//! What is said about images of the store: kept with them, until they are pushed or saved.
//!
//! Of what a build says the claims are kept, not the statements: what a statement is about is known when
//! a manifest leaves. What came with an image is kept as it came, and leaves so when the image does.

use std::collections::BTreeMap;

use bld_export::{Index, IndexEntry, Manifest};
use bld_oci::{Descriptor, Digest, Platform, Reference};
use bld_store::ImageRecord;
use serde::{Deserialize, Serialize};

use super::came::Came;
use super::{Attestation, AttestationForm, Claim, Claims, SPDX, beside, write};
use crate::images::find;
use crate::{Engine, EngineError, Result};

/// What is said about one image.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Document {
    /// Whether it is to be in an index with the image.
    pub(crate) enclosed: bool,
    /// What is claimed.
    pub(crate) claims: Vec<Claim>,
    /// That, as it came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) came: Vec<Came>,
    /// The index that the image came in, with all there is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) index: Option<String>,
}

/// What is said about some images of the store.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Where a registry is to have it.
    pub(crate) form: AttestationForm,
    claims: Claims,
    came: Vec<Came>,
    index: Option<String>,
}

impl Kept {
    /// Whether it says nothing of any image.
    pub(crate) fn is_silent(&self) -> bool {
        let Claims { provenance, packages } = &self.claims;
        self.came.is_empty() && provenance.is_none() && packages.is_empty()
    }
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
        let enclosed = form == AttestationForm::Index;
        self.keep(id, &Document { enclosed, claims, ..Document::default() })
    }

    /// Keeps a document about the image `id` of the store.
    ///
    /// # Errors
    /// What the store says.
    pub(super) fn keep(&self, id: &Digest, document: &Document) -> Result<()> {
        let store = self.store()?;
        let bytes = serde_json::to_vec(document).map_err(|error| unreadable(id, &error))?;
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
                came: Vec::new(),
                index: None,
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
            kept.came.extend(document.came);
            kept.index = document.index.or(kept.index.take());
        }
        Ok(kept)
    }

    /// What an index lists beside the `images` it lists, which are called `names`, by what is kept about
    /// them.
    fn beside_all(
        &self,
        kept: &Kept,
        names: &[Reference],
        images: &[IndexEntry],
    ) -> Result<Vec<IndexEntry>> {
        let store = self.store()?;
        let mut said = Vec::new();
        for IndexEntry { manifest, platform, .. } in images {
            let came = kept.came.iter().filter(|came| came.subject == manifest.digest);
            let came = came.map(|came| came.entry(store)).collect::<Result<Vec<_>>>()?;
            let claims = kept.claims.about(&manifest.config.digest);
            if !came.is_empty() {
                said.extend(came);
            } else if !claims.is_empty() {
                said.push(beside(store, names, manifest, platform, &claims)?);
            }
        }
        Ok(said)
    }

    /// The index over `images`, which are called `names`, and what is kept about them, if anything is: the one they came
    /// in, if it has the very same in it.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn index_with_claims(
        &self,
        kept: Option<&Kept>,
        names: &[Reference],
        images: Vec<IndexEntry>,
    ) -> Result<Index> {
        let store = self.store()?;
        let mut entries = images;
        if let Some(kept) = kept {
            let said = self.beside_all(kept, names, &entries)?;
            entries.extend(said);
            if let Some(index) = &kept.index
                && let Some(index) = Index::as_it_came(store, index.as_bytes(), &entries)?
            {
                return Ok(index);
            }
        }
        Ok(Index::write(store, &entries, &BTreeMap::new())?)
    }

    /// As [`index_with_claims`](Self::index_with_claims), over one image.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn index_of_one(
        &self,
        kept: &Kept,
        names: &[Reference],
        image: &ImageRecord,
        manifest: Manifest,
    ) -> Result<Index> {
        let platform = Platform::parse(&image.platform)?;
        let entry = IndexEntry { manifest, platform, annotations: [].into() };
        self.index_with_claims(Some(kept), names, vec![entry])
    }

    /// Keeps at the registry of `name` what refers to `top`, which is an image for `platform` or an index: as it
    /// came, if what came is about the very same, else as new statements.
    ///
    /// # Errors
    /// What the registry answers. The images themselves are not touched.
    pub(crate) fn attest_kept(
        &self,
        name: &Reference,
        top: &Descriptor,
        platform: &Platform,
        kept: &Kept,
    ) -> Result<()> {
        let subjects = self.subjects(top)?;
        if kept.came.is_empty() || !kept.came.iter().all(|came| subjects.contains(&came.subject)) {
            return self.attest(name, top, platform, &kept.claims);
        }
        kept.came.iter().try_for_each(|came| self.refer_again(name, came))
    }

    /// What is said about the image `name` of the store; nothing if there is no such image.
    ///
    /// # Errors
    /// What the store says.
    pub(super) fn kept_attestations(&self, name: &Reference) -> Result<Vec<Attestation>> {
        let store = self.store()?;
        let Ok(found) = find::find(self, &name.to_string()) else { return Ok(Vec::new()) };
        let mut ids = store.variants(&name.to_string())?;
        if ids.is_empty() {
            ids.push(found.record.id);
        }
        let Some(kept) = self.kept_claims(&ids)? else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        for id in ids {
            let Some(image) = store.image(&id)? else { continue };
            let Some(subject) = image.manifest else { continue };
            let came = kept.came.iter().filter(|came| came.subject == subject);
            let came: Vec<_> = came.flat_map(Came::statements).collect();
            if !came.is_empty() {
                all.extend(came);
                continue;
            }
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
}

fn unreadable(id: &Digest, error: &serde_json::Error) -> EngineError {
    EngineError::Archive { problem: format!("what is said about {id}: {error}") }
}
