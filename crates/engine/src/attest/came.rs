//! Attestations that came with an image, kept byte for byte, so that what leaves is what came.

use bld_export::IndexEntry;
use bld_oci::document::{parse_index, parse_manifest};
use bld_oci::{Descriptor, DescriptorExt as _, Digest, Platform};
use bld_store::Store;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::write::{entry_annotations, nowhere};
use super::{Attestation, Claim, IN_TOTO, REFERENCE_DIGEST};
use crate::Result;

/// No more than so many bytes are kept of what one manifest says.
const KEPT_MAX: u64 = 64 << 20;

/// A manifest with statements about an image, and what it names, as they came. All of it is text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Came {
    /// The manifest that it is about.
    pub(crate) subject: Digest,
    /// Its media type.
    pub(crate) media_type: String,
    /// The manifest with the statements.
    pub(crate) manifest: String,
    /// Its configuration and its layers, in its own order.
    blobs: Vec<String>,
}

/// Where documents come from: none is one that is not there.
pub(crate) type Read<'a> = dyn FnMut(&Descriptor) -> Result<Option<Vec<u8>>> + 'a;

impl Came {
    /// What the manifest `descriptor` says about the manifest `subject`; `None` if it has no statements, is not all
    /// there, or is too large.
    ///
    /// # Errors
    /// What `read` says.
    pub(crate) fn read(
        descriptor: &Descriptor,
        subject: Digest,
        read: &mut Read<'_>,
    ) -> Result<Option<Self>> {
        let mut text = |descriptor: &Descriptor| -> Result<Option<String>> {
            if descriptor.size() > KEPT_MAX {
                return Ok(None);
            }
            Ok(read(descriptor)?.and_then(|bytes| String::from_utf8(bytes).ok()))
        };
        let Some(manifest) = text(descriptor)? else { return Ok(None) };
        let Ok(document) = parse_manifest(manifest.as_bytes()) else { return Ok(None) };
        if !document.layers().iter().any(is_statement) {
            return Ok(None);
        }
        let named = || [document.config()].into_iter().chain(document.layers());
        if named().map(Descriptor::size).fold(0, u64::saturating_add) > KEPT_MAX {
            return Ok(None);
        }
        let mut blobs = Vec::new();
        for descriptor in named() {
            let Some(blob) = text(descriptor)? else { return Ok(None) };
            blobs.push(blob);
        }
        let media_type = descriptor.media_type().to_string();
        Ok(Some(Self { subject, media_type, manifest, blobs }))
    }

    /// What the `index` lists beside the manifest `subject`.
    ///
    /// # Errors
    /// What `read` says.
    pub(crate) fn enclosed(
        index: &[u8],
        subject: Digest,
        read: &mut Read<'_>,
    ) -> Result<Vec<Self>> {
        let Ok(index) = parse_index(index) else { return Ok(Vec::new()) };
        let about = subject.to_string();
        let mut came = Vec::new();
        for descriptor in index.manifests() {
            if descriptor.annotation(REFERENCE_DIGEST) == Some(about.as_str())
                && descriptor.is_attestation()
            {
                came.extend(Self::read(descriptor, subject, read)?);
            }
        }
        Ok(came)
    }

    /// Its statements, with their digests; what is none is left out.
    pub(crate) fn statements(&self) -> Vec<Attestation> {
        let Ok(document) = parse_manifest(self.manifest.as_bytes()) else { return Vec::new() };
        let layers = document.layers().iter().zip(self.blobs.iter().skip(1));
        let statements = layers.filter(|(layer, _)| is_statement(layer)).filter_map(|(_, text)| {
            let statement: Value = serde_json::from_str(text).ok()?;
            let predicate_type = statement["predicateType"].as_str()?.to_owned();
            let (digest, subject) = (Digest::of(text.as_bytes()), self.subject);
            Some(Attestation { predicate_type, digest, subject, statement })
        });
        statements.collect()
    }

    /// What it claims, whatever it is about.
    pub(crate) fn claims(&self) -> impl Iterator<Item = Claim> {
        self.statements().into_iter().map(|mut said| Claim {
            predicate_type: said.predicate_type,
            predicate: said.statement["predicate"].take(),
        })
    }

    /// It, in the store.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn packed(&self, store: &Store) -> Result<bld_export::Manifest> {
        let blobs: Vec<&[u8]> = self.blobs.iter().map(String::as_bytes).collect();
        let (kind, bytes) = (&self.media_type, self.manifest.as_bytes());
        Ok(bld_export::Manifest::as_it_came(store, kind, bytes, &blobs)?)
    }

    /// How an index lists it.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn entry(&self, store: &Store) -> Result<IndexEntry> {
        let (manifest, platform): (_, Platform) = (self.packed(store)?, nowhere());
        Ok(IndexEntry { manifest, platform, annotations: entry_annotations(self.subject) })
    }
}

fn is_statement(layer: &Descriptor) -> bool {
    layer.media_type().as_ref() == IN_TOTO
}
