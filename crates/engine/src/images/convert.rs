//! The same image in another form.

use bld_event::Events;
use bld_export::{Derivation, Manifest, ManifestOptions, derive};
use bld_layer::Compression;
use bld_oci::{Digest, History, media_type};
use bld_store::{ImageRecord, Store};

use super::find;
use crate::{Engine, EngineError, Result, images};

/// What becomes of an image.
#[derive(Debug, Clone, Default)]
pub struct Conversion {
    /// All layers are compressed anew in this way. Absent, they stay as they are.
    pub compression: Option<Compression>,
    /// Docker's media types; OCI's when false.
    pub docker_types: bool,
    /// All layers become one, which makes another image of it.
    pub squash: bool,
}

impl Engine {
    /// Gives the image `source`, converted, the name `target`; its id and the digest of its manifest.
    ///
    /// The id of an image does not depend on how its layers are compressed and its manifest is
    /// written. So unless it is squashed, the image that is converted is the one that `source` names,
    /// too.
    ///
    /// # Errors
    /// [`EngineError::Conversion`] for a form that there is not.
    pub fn convert_image(
        &self,
        source: &str,
        target: &str,
        conversion: &Conversion,
        events: &Events,
    ) -> Result<(Digest, Digest)> {
        let name = find::parse(target)?;
        if name.digest().is_some() {
            return Err(EngineError::TagWithDigest { reference: target.to_owned() });
        }
        if conversion.docker_types
            && conversion.compression.is_some_and(|compression| compression.is_zstd())
        {
            let problem = "docker's format has no media type for zstd: use OCI's".to_owned();
            return Err(EngineError::Conversion { problem });
        }
        if matches!(conversion.compression, Some(Compression::Estargz { .. })) {
            let problem =
                "eStargz makes other layers, so it is for `bld build`; zstd:chunked does not";
            return Err(EngineError::Conversion { problem: problem.to_owned() });
        }
        let store = self.store()?;
        let mut image = find::find(self, source)?.record;
        if conversion.squash {
            image = self.squashed(image, events)?;
        }
        let manifest = convert(store, &image, conversion, events)?;
        image.manifest = Some(manifest.digest);
        store.put_image(&image)?;
        store.tag(&name.to_string(), &image.id, None)?;
        Ok((image.id, manifest.digest))
    }

    /// An image with the files of `image` in one layer. It is in the store.
    fn squashed(&self, image: ImageRecord, events: &Events) -> Result<ImageRecord> {
        if image.layers.len() < 2 {
            return Ok(image);
        }
        let store = self.store()?;
        let held = store.lease();
        let snapshot = self.unpack_image(&image, events)?;
        let derivation = Derivation { squash: true, ..Derivation::default() };
        let snapshot = derive(store, snapshot, 0, derivation, &held)?;
        let mut config = images::config(store, &image.id)?;
        for entry in &mut config.history {
            entry.empty_layer = true;
        }
        config.history.push(History {
            created: config.created.clone(),
            created_by: Some("squash".to_owned()),
            comment: Some(format!("{} layers in one", image.layers.len())),
            ..History::default()
        });
        let info = store.snapshot(snapshot)?;
        let known = info.and_then(|info| Some((info.diff_id?, info.diff_size?)));
        let (diff_id, size) = match known {
            Some(known) => known,
            None => {
                let dir = store.layer(snapshot);
                let (diff_id, size) =
                    bld_layer::diff_id(&dir, &bld_layer::TarOptions::default())
                        .map_err(|source| EngineError::Tree { path: "/".into(), source })?;
                store.set_diff_id(snapshot, &diff_id, size)?;
                (diff_id, size)
            }
        };
        config.rootfs.diff_ids = vec![diff_id];
        let id = store.put_blob(&config.to_bytes())?;
        let record = ImageRecord {
            id,
            manifest: None,
            layers: vec![diff_id],
            size,
            snapshot: Some(snapshot),
            ..image
        };
        store.put_image(&record)?;
        Ok(record)
    }
}

/// Writes the manifest, and the layers in another compression.
fn convert(
    store: &Store,
    image: &ImageRecord,
    conversion: &Conversion,
    events: &Events,
) -> Result<Manifest> {
    let options = ManifestOptions {
        compression: conversion.compression.unwrap_or_default(),
        force_compression: conversion.compression.is_some(),
        docker_types: conversion.docker_types,
        ..ManifestOptions::default()
    };
    let task = events.task(format!("converting {}", image.id));
    let progress = |done, all| {
        task.progress("compressing layers", done as u64, Some(all as u64), done == all);
    };
    let mut manifest = bld_export::manifest(store, image, &options, &progress);
    if let Ok(found) = &manifest
        && conversion.docker_types
        && found.media_type != media_type::DOCKER_MANIFEST
    {
        // Some layer is compressed with zstd.
        let options = ManifestOptions { force_compression: true, ..options };
        manifest = bld_export::manifest(store, image, &options, &progress);
    }
    Ok(task.finish(manifest)?)
}
