//! Sending images to registries.

use bld_event::{EventKind, Events, Task, VertexId};
use bld_export::{Index, ManifestOptions};
use bld_oci::{Digest, Platform, Reference, media_type};
use bld_registry::{Manifest, Pushed, Reporter};
use bld_store::{ImageRecord, Store, StoreError};

use super::find;
use super::variants::{index_entries, records};
use crate::attest::AttestationForm;
use crate::share::{lenders, providing};
use crate::{Engine, EngineError, Result};

impl Engine {
    /// Sends the image called `name` to the registry of that name. An image that was pulled goes
    /// out as it came; the layers of others are compressed first, once.
    /// Where the name stands for images of several platforms, all of them are sent, or only the one for
    /// `platform`.
    pub fn push_image(
        &self,
        name: &str,
        platform: Option<&Platform>,
        events: &Events,
    ) -> Result<(Reference, Pushed)> {
        self.mending(events, || self.push_once(name, platform, events))
    }

    fn push_once(
        &self,
        name: &str,
        platform: Option<&Platform>,
        events: &Events,
    ) -> Result<(Reference, Pushed)> {
        let reference = find::parse(name)?;
        let store = self.store()?;
        let missing = || EngineError::NothingToPush { name: reference.familiar_name() };
        let id = store.resolve(&reference.to_string())?.ok_or_else(missing)?;
        let (image, variants) = match platform {
            Some(_) => (find::find_exactly(self, name, platform)?.record, Vec::new()),
            None => {
                let image = store.image(&id)?.ok_or_else(missing)?;
                (image, store.variants(&reference.to_string())?)
            }
        };
        let task = events.task(format!("push {}", reference.familiar()));
        if !variants.is_empty() {
            let pushed = self.push_variants(&reference, &variants, &task);
            let pushed = task.finish(pushed)?;
            self.announce_image("push", &id, &reference.familiar());
            return Ok((reference, pushed));
        }
        let pushed = self.push_one(&reference, &image, &task);
        let pushed = task.finish(pushed)?;
        self.announce_image("push", &id, &reference.familiar());
        Ok((reference, pushed))
    }

    /// Sends one image, and what is kept about it.
    fn push_one(&self, reference: &Reference, image: &ImageRecord, task: &Task) -> Result<Pushed> {
        let store = self.store()?;
        let (events, vertex) = (task.events(), task.id());
        let kept = self.kept_claims([&image.id])?.filter(|kept| !kept.is_silent());
        let enclosed = kept.as_ref().is_some_and(|kept| kept.form == AttestationForm::Index);
        let came = if enclosed { None } else { as_it_came(store, image)? };
        let pushed = match came {
            Some(manifest) => {
                let pushed = self.send(reference, &[image], &manifest, events, vertex)?;
                (pushed, manifest.media_type)
            }
            None => {
                let progress = |done, all| {
                    task.progress("compressing layers", done as u64, Some(all as u64), done == all);
                };
                let stored =
                    if enclosed { bld_export::stored_manifest(store, image)? } else { None };
                let manifest = match stored {
                    Some(manifest) => manifest,
                    None => {
                        let options = ManifestOptions::default();
                        bld_export::manifest(store, image, &options, &progress)?
                    }
                };
                if let Some(kept) = kept.as_ref().filter(|_| enclosed) {
                    let names = std::slice::from_ref(reference);
                    let index = self.index_of_one(kept, names, image, manifest)?;
                    let images = std::slice::from_ref(image);
                    return self.push_index(reference, images, &index, events, vertex);
                }
                (
                    self.push_manifest(reference, image, &manifest, events, vertex)?,
                    manifest.media_type,
                )
            }
        };
        let (pushed, media_type) = pushed;
        if let Some(kept) = kept {
            let top = bld_oci::descriptor(&media_type, pushed.digest, pushed.size);
            self.attest_kept(reference, &top, &Platform::parse(&image.platform)?, &kept)?;
        }
        Ok(pushed)
    }

    /// Sends every tag of the repository `name`.
    pub fn push_all(
        &self,
        name: &str,
        platform: Option<&Platform>,
        events: &Events,
    ) -> Result<Vec<(Reference, Pushed)>> {
        let repository = find::parse(name)?;
        let mut pushed = Vec::new();
        for tag in self.store()?.tags()? {
            if find::parse(&tag.name)?.name() == repository.name() {
                pushed.push(self.push_image(&tag.name, platform, events)?);
            }
        }
        if pushed.is_empty() {
            return Err(EngineError::NothingToPush { name: repository.familiar_name() });
        }
        Ok(pushed)
    }

    /// Sends `image` under a manifest that was written for it. Progress is reported on `vertex`.
    pub fn push_manifest(
        &self,
        reference: &Reference,
        image: &ImageRecord,
        manifest: &bld_export::Manifest,
        events: &Events,
        vertex: VertexId,
    ) -> Result<Pushed> {
        let manifest = Manifest {
            bytes: manifest.bytes.clone(),
            digest: manifest.digest,
            media_type: manifest.media_type.clone(),
        };
        self.send(reference, &[image], &manifest, events, vertex)
    }

    fn push_variants(
        &self,
        reference: &Reference,
        variants: &[Digest],
        task: &Task,
    ) -> Result<Pushed> {
        let store = self.store()?;
        let images = records(store, variants)?;
        let entries = index_entries(store, &images, task)?;
        let kept = self.kept_claims(variants)?;
        let enclosed = kept.as_ref().filter(|kept| kept.form == AttestationForm::Index);
        let names = std::slice::from_ref(reference);
        let index = self.index_with_claims(enclosed, names, entries)?;
        let pushed = self.push_index(reference, &images, &index, task.events(), task.id())?;
        if let Some(kept) = kept.filter(|kept| kept.form == AttestationForm::Referrer) {
            let top = bld_oci::descriptor(&index.media_type, pushed.digest, pushed.size);
            self.attest_kept(reference, &top, &Platform::host(), &kept)?;
        }
        Ok(pushed)
    }

    /// Sends an index that was written for `images`, and all of them. Progress is reported on
    /// `vertex`.
    pub fn push_index(
        &self,
        reference: &Reference,
        images: &[ImageRecord],
        index: &Index,
        events: &Events,
        vertex: VertexId,
    ) -> Result<Pushed> {
        let manifest = Manifest {
            bytes: index.bytes.clone(),
            digest: index.digest,
            media_type: index.media_type.clone(),
        };
        let images: Vec<&ImageRecord> = images.iter().collect();
        self.send(reference, &images, &manifest, events, vertex)
    }

    fn send(
        &self,
        reference: &Reference,
        images: &[&ImageRecord],
        manifest: &Manifest,
        events: &Events,
        vertex: VertexId,
    ) -> Result<Pushed> {
        let (store, client) = (self.store()?, self.client()?);
        let layers = images.iter().flat_map(|image| image.layers.iter().copied());
        let lenders = lenders(store, layers)?;
        let configs = images.iter().map(|image| image.id.to_string()).collect();
        let reporter = Reporter::new(&without(events, configs), vertex);
        let bringer = self.bringer(events)?;
        let pushed = providing(
            || Ok(self.block_on(client.push(store, reference, manifest, &lenders, &reporter))??),
            |missing| {
                let mut layer = None;
                for image in images {
                    layer = layer.or(layer_of(store, image, missing)?);
                }
                let layer = layer.ok_or(StoreError::MissingBlob { digest: *missing })?;
                bringer.fetch_blob(&layer, missing, vertex)
            },
        )?;
        if let Some(image) = images.first() {
            store.add_repo_digest(&reference.name(), &pushed.digest, &image.id)?;
        }
        Ok(pushed)
    }
}

/// The same events without the progress of the configurations, which are no layers.
fn without(events: &Events, configs: Vec<String>) -> Events {
    let events = events.clone();
    Events::new(move |event| match &event.kind {
        EventKind::Progress(progress) if configs.contains(&progress.item) => {}
        _ => events.emit(event.id, event.kind),
    })
}

/// The manifest an image was pulled with, when all of it is still here.
fn as_it_came(store: &Store, image: &ImageRecord) -> Result<Option<Manifest>> {
    let Some(digest) = image.manifest.filter(|digest| store.has_blob(digest)) else {
        return Ok(None);
    };
    let bytes = store.read_blob(&digest)?;
    let Ok(document) = bld_oci::document::parse_manifest(&bytes) else { return Ok(None) };
    let has = |descriptor: &bld_oci::Descriptor| {
        bld_oci::DescriptorExt::sha256(descriptor)
            .is_ok_and(|digest: Digest| store.has_blob(&digest))
    };
    // A layer that is elsewhere is as good as one that is here.
    let is_elsewhere = |descriptor: &bld_oci::Descriptor| -> Result<bool> {
        let Ok(digest) = bld_oci::DescriptorExt::sha256(descriptor) else { return Ok(false) };
        Ok(layer_of(store, image, &digest)?.is_some())
    };
    for descriptor in document.layers().iter().chain([document.config()]) {
        if !has(descriptor) && !is_elsewhere(descriptor)? {
            return Ok(None);
        }
    }
    let stated = document.media_type().as_ref().map(ToString::to_string);
    let media_type = stated.unwrap_or_else(|| media_type::OCI_MANIFEST.to_owned());
    Ok(Some(Manifest { bytes, digest, media_type }))
}

/// The layer of an image that is in the blob `digest` elsewhere.
pub(crate) fn layer_of(
    store: &Store,
    image: &ImageRecord,
    digest: &Digest,
) -> Result<Option<Digest>> {
    for diff_id in &image.layers {
        let sources = store.layer_sources(diff_id)?;
        if sources.iter().any(|source| source.blob.digest == *digest) {
            return Ok(Some(*diff_id));
        }
    }
    Ok(None)
}
