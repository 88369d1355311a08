//! Attestations of images that arrive: those that an index lists beside them, and on request those that
//! refer to them at their registry.

use bld_oci::{Descriptor, DescriptorExt as _, Reference, media_type};
use bld_registry::{Manifest, RegistryError, Reporter};
use bld_store::ImageRecord;

use super::came::{Came, Read};
use super::kept::Document;
use crate::{Engine, Result};

impl Engine {
    /// Keeps what an `index` that `images` came in says about them, if it says anything. An index of several images
    /// is kept in any case, to leave as it came.
    ///
    /// # Errors
    /// What `read` and the store say.
    pub(crate) fn keep_enclosed(
        &self,
        index: &[u8],
        images: &[ImageRecord],
        read: &mut Read<'_>,
    ) -> Result<()> {
        let Ok(text) = std::str::from_utf8(index) else { return Ok(()) };
        for image in images {
            let Some(manifest) = image.manifest else { continue };
            let came = Came::enclosed(index, manifest, read)?;
            if !came.is_empty() || images.len() > 1 {
                self.keep(&image.id, &document(came, Some(text)))?;
            }
        }
        Ok(())
    }

    /// Keeps what is said about the image `id`, which was pulled by `reference` as `manifest`, out of `index` if that
    /// named an index: what the index says, and with `referrers` what refers to one of them, if the index says nothing.
    ///
    /// # Errors
    /// What the registry answers.
    pub(crate) fn keep_from_registry(
        &self,
        reference: &Reference,
        image: &ImageRecord,
        index: Option<&Manifest>,
        referrers: bool,
    ) -> Result<()> {
        let (store, client) = (self.store()?, self.client()?);
        let Some(manifest) = image.manifest else { return Ok(()) };
        let lease = store.lease();
        let mut read = |descriptor: &Descriptor| -> Result<Option<Vec<u8>>> {
            let Ok(digest) = descriptor.sha256() else { return Ok(None) };
            if media_type::is_manifest(descriptor.media_type().as_ref()) {
                return match self.block_on(client.manifest(&reference.by_digest(digest), digest))? {
                    Ok(manifest) => Ok(Some(manifest.bytes)),
                    Err(error) if is_gone(&error) => Ok(None),
                    Err(error) => Err(error.into()),
                };
            }
            let reporter = Reporter::none();
            let fetch = client.fetch_blob(store, &lease, reference, descriptor, &reporter);
            match self.block_on(fetch)? {
                Ok(digest) => Ok(Some(store.read_blob(&digest)?)),
                Err(error) if is_gone(&error) => Ok(None),
                Err(error) => Err(error.into()),
            }
        };
        if let Some(index) = index {
            let came = Came::enclosed(&index.bytes, manifest, &mut read)?;
            if !came.is_empty() {
                let text = std::str::from_utf8(&index.bytes).ok();
                return self.keep(&image.id, &document(came, text));
            }
        }
        if !referrers {
            return Ok(());
        }
        let mut came = Vec::new();
        for subject in [Some(manifest), index.map(|index| index.digest)].into_iter().flatten() {
            for referrer in self.block_on(client.referrers(reference, subject))?? {
                came.extend(Came::read(&referrer, subject, &mut read)?);
            }
        }
        if came.is_empty() {
            return Ok(());
        }
        self.keep(&image.id, &document(came, None))
    }
}

fn is_gone(error: &RegistryError) -> bool {
    matches!(error, RegistryError::NotFound { .. } | RegistryError::NotAnImage { .. })
}

/// What is kept of what came, in an `index` or as referrers.
fn document(came: Vec<Came>, index: Option<&str>) -> Document {
    let claims = came.iter().flat_map(Came::claims).collect();
    Document { enclosed: index.is_some(), claims, came, index: index.map(str::to_owned) }
}
